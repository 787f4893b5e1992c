//! The header of `intravisor.img` and the symbol table behind the monitor.
//!
//! An image is the monitor as it lies in memory (text, data, zeroed bss), then what `intravisor pack` appends: the
//! monitor's symbols and the archive. The header stands at offset [`OFFSET`] of the image, after the 64 bytes that a
//! boot loader may want for its own header; `pack` fills in the appended parts.

/// Offset of the header in the image, in bytes.
pub const OFFSET: usize = 0x40;
/// First eight bytes of the header.
pub const MAGIC: [u8; 8] = *b"intravsr";
/// Version of this layout.
pub const VERSION: u32 = 2;
/// Alignment of the appended parts in bytes.
pub const PART_ALIGNMENT: u64 = 16;

/// Header of an image. Offsets count from the start of the image; a part of size 0 is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ImageHeader {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: u32,
    /// ELF machine number of the monitor (243 RISC-V, 183 AArch64).
    pub machine: u32,
    /// Bytes of the monitor, bss included.
    pub monitor_size: u64,
    /// Offset of the symbol table.
    pub symbols_offset: u64,
    /// Bytes of the symbol table.
    pub symbols_size: u64,
    /// Offset of the archive (newc cpio).
    pub archive_offset: u64,
    /// Bytes of the archive.
    pub archive_size: u64,
    /// What is measured of the monitor: from behind the headers, which `pack` fills in, …
    pub constant_start: u64,
    /// … to its variables. Stacks and bss between count as the zeros that they are in the image, words that the reset code
    /// relocates as they stand there.
    pub constant_end: u64,
    /// Address that the monitor is linked at.
    pub link_address: u64,
}

impl ImageHeader {
    /// Size of the header in bytes.
    pub const SIZE: usize = 80;

    /// The header as it stands in the image.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(&self.magic);
        bytes[8..12].copy_from_slice(&self.version.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.machine.to_le_bytes());
        let words = [
            self.monitor_size,
            self.symbols_offset,
            self.symbols_size,
            self.archive_offset,
            self.archive_size,
            self.constant_start,
            self.constant_end,
            self.link_address,
        ];
        for (slot, word) in bytes[16..].chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The header from an image; `None` when magic or version do not fit.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Option<ImageHeader> {
        let small = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let large = |at: usize| u64::from(small(at)) | u64::from(small(at + 4)) << 32;
        let mut magic = [0; 8];
        magic.copy_from_slice(&bytes[..8]);
        let header = ImageHeader {
            magic,
            version: small(8),
            machine: small(12),
            monitor_size: large(16),
            symbols_offset: large(24),
            symbols_size: large(32),
            archive_offset: large(40),
            archive_size: large(48),
            constant_start: large(56),
            constant_end: large(64),
            link_address: large(72),
        };
        (header.magic == MAGIC && header.version == VERSION).then_some(header)
    }
}

/// Where in a signed archive the archive itself begins, which is what is signed. In front of it stands a newc archive of one file,
/// the signature (Ed25519, 64 bytes), and zeros.
pub const SIGNED_AT: usize = 512;
/// Where the signature is.
pub const SIGNATURE_AT: usize = SIGNATURE_HEADER.len() + 1;
/// How a signed archive begins: the entry of a file `signature`, regular, readable, of 64 bytes. A NUL follows.
pub const SIGNATURE_HEADER: &[u8] = b"070701\
    00000000\
    00008124\
    00000000\
    00000000\
    00000001\
    00000000\
    00000040\
    00000000\
    00000000\
    00000000\
    00000000\
    0000000a\
    00000000\
    signature";

/// A symbol table: `u32` count, then per function `u32` offset from the start of the image and `u32` offset of its
/// NUL-terminated name from the start of the table, sorted by address; then the names.
#[derive(Clone, Copy)]
pub struct Symbols<'a> {
    bytes: &'a [u8],
}

impl<'a> Symbols<'a> {
    /// A table in the bytes of an image.
    pub const fn new(bytes: &'a [u8]) -> Symbols<'a> {
        Symbols { bytes }
    }

    fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// Name of the function that holds this offset from the start of the image, and the distance from its start.
    pub fn lookup(&self, offset: u32) -> Option<(&'a str, u32)> {
        let count = self.word(0)? as usize;
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.word(middle.checked_mul(8)?.checked_add(4)?)? <= offset {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let entry = low.checked_sub(1)?.checked_mul(8)?.checked_add(4)?;
        let start = self.word(entry)?;
        let name = self.bytes.get(self.word(entry + 4)? as usize..)?;
        let length = name.iter().position(|byte| *byte == 0)?;
        Some((core::str::from_utf8(&name[..length]).ok()?, offset - start))
    }
}
