//! Signing archives: for monitors that were built for a key and run nothing that it has not signed.

use abi::image::{SIGNATURE_AT, SIGNATURE_HEADER, SIGNED_AT};
use ed25519_dalek::pkcs8::DecodePrivateKey as _;
use ed25519_dalek::{Signer as _, SigningKey};

/// The end of the archive in front, of which the header and the name remain: `TRAILER!!!`.
const END: &[u8] = b"070701\
    00000000\
    00000000\
    00000000\
    00000000\
    00000001\
    00000000\
    00000000\
    00000000\
    00000000\
    00000000\
    00000000\
    0000000b\
    00000000\
    TRAILER!!!";

/// A private key.
pub struct Key(SigningKey);

impl Key {
    /// Reads an Ed25519 key as `openssl genpkey -algorithm ed25519` writes it: PKCS #8 in PEM.
    ///
    /// # Errors
    /// A message that says what was expected.
    pub fn from_pem(text: &str) -> Result<Key, String> {
        let key = SigningKey::from_pkcs8_pem(text);
        key.map(Key)
            .map_err(|error| format!("expected an Ed25519 private key, PKCS #8 in PEM: {error}"))
    }

    /// The public key in hexadecimal digits, as a monitor is built for it.
    pub fn public(&self) -> String {
        let bytes = self.0.verifying_key().to_bytes();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The archive with its signature in front.
    pub fn sign(&self, archive: &[u8]) -> Vec<u8> {
        let signature = self.0.sign(archive).to_bytes();
        let mut signed = SIGNATURE_HEADER.to_vec();
        signed.resize(SIGNATURE_AT, 0);
        signed.extend(signature);
        signed.extend(END);
        signed.resize(SIGNED_AT, 0);
        signed.extend(archive);
        signed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{self, Member};

    /// Made by `openssl genpkey -algorithm ed25519`, for this test.
    const PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
                       MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n\
                       -----END PRIVATE KEY-----\n";

    #[test]
    fn a_signed_archive_is_an_archive_with_one_file_more() {
        let member = Member::new("hello", b"world".as_slice());
        let plain = archive::write(std::slice::from_ref(&member)).unwrap();
        let signed = Key::from_pem(PEM).unwrap().sign(&plain);
        let members = archive::read(&signed).unwrap();
        let names: Vec<&str> = members.iter().map(|member| &*member.name).collect();
        assert_eq!(names, ["signature", "hello"]);
        assert_eq!(members[0].data, signed[SIGNATURE_AT..SIGNATURE_AT + 64]);
        assert_eq!(members[1], member);
    }

    #[test]
    fn keys_are_read_and_shown() {
        // RFC 8032 computes the public key of this private one so, and so does openssl.
        let key = Key::from_pem(PEM).unwrap();
        assert_eq!(
            key.public(),
            "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
        );
        assert!(
            Key::from_pem("x")
                .err()
                .unwrap()
                .contains("expected an Ed25519 private key")
        );
    }
}
