//! What has booted, as digests that `intravisor inspect` says of the image, too. Only on request, by the boot argument `measure`:
//! hashing takes longer than all the rest of a boot.

use crate::elf::File;
use crate::report::console::say;
use abi::image::ImageHeader;
use arch::BootInfo;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};

/// Whether it was asked for.
static WANTED: AtomicBool = AtomicBool::new(false);

/// A SHA-256 digest (FIPS 180-4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest(pub(crate) [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
const ROUNDS: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98,
    0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
    0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8,
    0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
    0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819,
    0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
    0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
    0xc67178f2,
];

fn compress(state: &mut [u32; 8], block: &[u8; 64]) {
    let mut words = [0_u32; 64];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
        *word = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
    }
    for at in 16..64 {
        let (early, late) = (words[at - 15], words[at - 2]);
        words[at] = (early.rotate_right(7) ^ early.rotate_right(18) ^ early >> 3)
            .wrapping_add(late.rotate_right(17) ^ late.rotate_right(19) ^ late >> 10)
            .wrapping_add(words[at - 16])
            .wrapping_add(words[at - 7]);
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for (word, round) in words.iter().zip(ROUNDS) {
        let one = (e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25))
            .wrapping_add(e & f ^ !e & g)
            .wrapping_add(h)
            .wrapping_add(round)
            .wrapping_add(*word);
        let two = (a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22)).wrapping_add(a & b ^ a & c ^ b & c);
        (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(one), c, b, a, one.wrapping_add(two));
    }
    for (sum, value) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *sum = sum.wrapping_add(value);
    }
}

/// Makes a digest, byte by byte.
struct Hasher {
    state: [u32; 8],
    block: [u8; 64],
    length: u64,
}

impl Hasher {
    fn new() -> Hasher {
        Hasher {
            state: [
                0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
            ],
            block: [0; 64],
            length: 0,
        }
    }

    fn put(&mut self, byte: u8) {
        self.block[(self.length % 64) as usize] = byte;
        self.length += 1;
        if self.length.is_multiple_of(64) {
            compress(&mut self.state, &self.block);
        }
    }

    fn finish(mut self) -> Digest {
        let bits = self.length * 8;
        self.put(0x80);
        while self.length % 64 != 56 {
            self.put(0);
        }
        bits.to_be_bytes().into_iter().for_each(|byte| self.put(byte));
        let mut digest = Digest::default();
        for (bytes, word) in digest.0.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        digest
    }
}

/// The digest of a file.
#[inline(never)]
pub(crate) fn digest(file: File) -> Digest {
    let mut hasher = Hasher::new();
    file.each(|bytes| bytes.iter().for_each(|byte| hasher.put(*byte)));
    hasher.finish()
}

/// Looks whether the command line asks for it: as long as nothing has been written over the device tree, where that may stand.
pub(crate) fn ask(arguments: &str) {
    let wanted = arguments.split_ascii_whitespace().any(|argument| argument == "measure");
    WANTED.store(wanted, Ordering::Relaxed);
}

/// Measures the monitor, when that is asked for: now, as long as the monitor can read its text.
#[inline(never)]
pub(crate) fn begin(boot: &BootInfo, header: &ImageHeader) {
    if !WANTED.load(Ordering::Relaxed) {
        return;
    }
    let image = |range: Range<u64>| {
        // SAFETY: the monitor's own data capability still covers all memory; nobody writes to the constant part of the image.
        unsafe {
            core::slice::from_raw_parts(
                arch::pointer(boot.text.0 + range.start),
                (range.end - range.start) as usize,
            )
        }
    };
    let table = image(boot.relocations.0 - boot.text.0..boot.relocations.1 - boot.text.0);
    // What the reset code has added to each word of the table.
    let moved = boot.text.0.wrapping_sub(boot.bias).wrapping_sub(header.link_address);
    let mut relocated = relocated(table)
        .map(|address| address.wrapping_sub(header.link_address))
        .peekable();
    let zeros = boot.data.0 - boot.text.0..boot.zeros_end - boot.text.0;
    let bytes = image(0..header.constant_end);
    let words = (0..header.constant_end).step_by(8).flat_map(|offset| {
        let mut word = [0; 8];
        if !zeros.contains(&offset) {
            word.copy_from_slice(&bytes[offset as usize..][..8]);
        }
        if relocated.next_if_eq(&offset).is_some() {
            word = u64::from_le_bytes(word).wrapping_sub(moved).to_le_bytes();
        }
        word
    });
    let mut hasher = Hasher::new();
    words
        .skip(header.constant_start as usize)
        .for_each(|byte| hasher.put(byte));
    say("monitor", hasher.finish());
}

/// The addresses in a table of relative relocations, ascending: an even entry is one, an odd one says by its bits which of the
/// 63 words behind are.
fn relocated(table: &[u8]) -> impl Iterator<Item = u64> {
    let mut next = 0_u64;
    let entries = table.chunks_exact(8).map(move |entry| {
        let entry = entry.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        let (at, bits) = if entry & 1 == 0 { (entry, 1) } else { (next, entry >> 1) };
        next = at + if entry & 1 == 0 { 8 } else { 63 * 8 };
        (at, bits)
    });
    entries.flat_map(|(at, bits)| {
        (0..63)
            .filter(move |bit| bits >> bit & 1 == 1)
            .map(move |bit| at + 8 * bit)
    })
}

/// Measures a file of the archive, when it was asked for.
pub(crate) fn file(name: &str, file: File) -> Option<Digest> {
    let measured = WANTED.load(Ordering::Relaxed).then(|| digest(file))?;
    say(name, measured);
    Some(measured)
}

fn say(name: &str, digest: Digest) {
    say!(Info, "measured: {name} SHA-256 {digest}");
}
