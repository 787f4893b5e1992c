//! The header of `intravisor.img` and the symbol table behind the monitor.
//!
//! In memory, an image is the monitor (text, stacks, bss, data), then what `intravisor pack` appends: the monitor's symbols
//! and the archive. The header stands at offset [`OFFSET`] of the image, after the 64 bytes that a boot loader may want for
//! its own header; `pack` fills in the appended parts.
//!
//! Stacks and bss, and what is behind the text's last instruction, are zeros when the monitor starts: the *gap*. The file has the
//! end of the image there, as much of it as there is room, and is shorter by that; the reset code puts it in its place.

use core::fmt;

/// Offset of the header in the image, in bytes.
pub const OFFSET: usize = 0x40;
/// First eight bytes of the header.
pub const MAGIC: [u8; 8] = *b"intravsr";
/// Version of this layout.
pub const VERSION: u32 = 4;
/// Alignment of the appended parts in bytes.
pub const PART_ALIGNMENT: u64 = 16;
/// Where both boot loaders' headers, that of RISC-V and that of arm64, have the bytes of the image in memory, a `u64`.
pub const MEMORY_SIZE_OFFSET: usize = 16;
/// The gap, the part of the image in it, and the image in memory are multiples of this many bytes.
pub const GAP_UNIT: u64 = 128;
/// Offset of [`ImageHeader::gap_used`] in the image.
pub const GAP_USED_OFFSET: u64 = (OFFSET + ImageHeader::SIZE - 8) as u64;

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
    /// … to its variables. The gap between counts as the zeros that it is when the monitor starts, words that the reset code
    /// relocates as they stand in the image.
    pub constant_end: u64,
    /// Address that the monitor is linked at.
    pub link_address: u64,
    /// Where the gap begins …
    pub gap_start: u64,
    /// … and ends.
    pub gap_end: u64,
    /// Bytes of the image's end that lie at the start of the gap.
    pub gap_used: u64,
}

impl ImageHeader {
    /// Size of the header in bytes.
    pub const SIZE: usize = 104;

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
            self.gap_start,
            self.gap_end,
            self.gap_used,
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
            gap_start: large(80),
            gap_end: large(88),
            gap_used: large(96),
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

/// Longest name in a symbol table, in bytes.
pub const SYMBOL_NAME_LIMIT: usize = 255;

/// The name of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SymbolName {
    bytes: [u8; SYMBOL_NAME_LIMIT],
    length: usize,
}

impl SymbolName {
    const EMPTY: SymbolName = SymbolName {
        bytes: [0; SYMBOL_NAME_LIMIT],
        length: 0,
    };

    /// Becomes its own first bytes and these.
    fn go_on(&mut self, shared: usize, rest: &[u8]) -> Option<()> {
        let length = shared + rest.len();
        if shared > self.length {
            return None;
        }
        self.bytes.get_mut(shared..length)?.copy_from_slice(rest);
        self.length = length;
        Some(())
    }

    /// The name; nothing where it is no text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl fmt::Display for SymbolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A symbol table: `u32` count of functions; the `u32` offset of each from the start of the image, sorted; the `u16` number of the
/// name of each; then the names in alphabetical order, each a byte that says how many bytes of the one before it begins
/// with, what follows these, and NUL.
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
        let bytes = self.bytes.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes))
    }

    fn start(&self, function: usize) -> Option<u32> {
        self.word(function.checked_mul(4)?.checked_add(4)?)
    }

    /// Name of the function that holds this offset from the start of the image, and the distance from its start.
    pub fn lookup(&self, offset: u32) -> Option<(SymbolName, u32)> {
        let count = self.word(0)? as usize;
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.start(middle)? <= offset {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let function = low.checked_sub(1)?;
        let start = self.start(function)?;
        let numbers = count.checked_mul(4)?.checked_add(4)?;
        let number = self.bytes.get(numbers + 2 * function..)?.first_chunk()?;
        let mut names = self.bytes.get(numbers + 2 * count..)?;
        let mut name = SymbolName::EMPTY;
        for _ in 0..=u16::from_le_bytes(*number) {
            let (shared, rest) = names.split_first()?;
            let end = rest.iter().position(|byte| *byte == 0)?;
            name.go_on(usize::from(*shared), &rest[..end])?;
            names = &rest[end + 1..];
        }
        Some((name, offset - start))
    }
}
