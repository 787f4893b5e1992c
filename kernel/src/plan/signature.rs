//! Signed archives, for images that were built for a key: nothing of an archive is looked at before its signature fits.
//!
//! In front of the archive stands a small one with a single file, [`abi::image::SIGNATURE`]: other images, and tools, see one file more.

use crate::elf::File;
use abi::image::{SIGNATURE_AT, SIGNATURE_HEADER, SIGNED_AT};
use ed25519_compact::{PublicKey, Signature};

/// The key, 64 hexadecimal digits, of whoever may choose what runs.
const KEY: [u8; 32] = key(env!("INTRAVISOR_PUBLIC_KEY", "the feature `signed` needs a public key").as_bytes());

const fn key(digits: &[u8]) -> [u8; 32] {
    assert!(
        digits.len() == 64,
        "INTRAVISOR_PUBLIC_KEY: expected 64 hexadecimal digits"
    );
    let mut key = [0; 32];
    let mut at = 0;
    while at < 64 {
        let digit = match digits[at] {
            digit @ b'0'..=b'9' => digit - b'0',
            digit @ b'a'..=b'f' => digit - b'a' + 10,
            _ => panic!("INTRAVISOR_PUBLIC_KEY: expected lower-case hexadecimal digits"),
        };
        key[at / 2] = key[at / 2] << 4 | digit;
        at += 1;
    }
    key
}

/// What is signed of an archive.
///
/// # Errors
/// What was expected instead.
pub(crate) fn verified(archive: File) -> Result<File, &'static str> {
    let unsigned = "archive: not signed; this image runs what the holder of its key has signed";
    let front = archive.array::<SIGNED_AT>(0).ok_or(unsigned)?;
    if !front.starts_with(SIGNATURE_HEADER) {
        return Err(unsigned);
    }
    let signature =
        Signature::from_slice(&front[SIGNATURE_AT..SIGNATURE_AT + Signature::BYTES]).map_err(|_| unsigned)?;
    let signed = archive.from(SIGNED_AT);
    let fits = PublicKey::new(KEY)
        .verify_incremental(&signature)
        .and_then(|mut state| {
            signed.each(|bytes| state.absorb(bytes));
            state.verify()
        });
    fits.map_err(|_| "archive: its signature is not one of this image's key over these bytes")?;
    Ok(signed)
}
