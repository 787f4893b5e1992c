//! What a program finds on its stack when it starts: arguments, environment, and the auxiliary vector that tells it where its
//! own program headers are.

use crate::arena::PAGE;
use crate::slot::{self, PF_W, PF_X, Texts};
use crate::{Error, Platform, Roles, Window};
use abi::start::StartHeader;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use linux_raw_sys::auxvec::{AT_CLKTCK, AT_PHENT, AT_PHNUM, AT_RANDOM, AT_SECURE, AT_SYSINFO_EHDR, AT_UID};
use linux_raw_sys::auxvec::{AT_EGID, AT_ENTRY, AT_EUID, AT_EXECFN, AT_GID, AT_HWCAP, AT_NULL, AT_PAGESZ, AT_PHDR};
use linux_raw_sys::elf_uapi::{Elf64_Ehdr, Elf64_Phdr};

/// Bytes of the stack that arguments and environment may take at most, of four.
const SHARE: u64 = 4;
/// Ticks of the user's clock in a second, a constant of the interface.
const TICKS: u64 = 100;

/// What the monitor's call before the first instruction tells, and the start block.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// The program's memory.
    pub window: Window,
    /// Where its start block is, as it sees it.
    pub block: u64,
    /// What was added to the addresses that it is linked at.
    pub bias: u64,
}

/// Why a program cannot start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// Something lies outside of its memory.
    Outside(&'static str),
    /// The start block is none.
    Block,
    /// There is no ELF header at the address that its file's begin is linked at.
    Header,
    /// Its program headers are not loaded.
    ProgramHeaders,
    /// It writes what lies below its text.
    Order,
    /// There are as many processes as there can be.
    Number,
    /// Arguments and environment are larger than a quarter of its stack.
    Arguments {
        /// Bytes that they take.
        needed: u64,
        /// Bytes of the stack.
        stack: u64,
    },
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageError::Outside(what) => write!(f, "its {what} is not within this cVM's memory, or not in its own"),
            ImageError::Block => write!(f, "the start block is malformed"),
            ImageError::Header => write!(
                f,
                "no ELF header at linked address 0: expected a static position-independent program (-static-pie)"
            ),
            ImageError::ProgramHeaders => write!(f, "its program headers are not in its memory"),
            ImageError::Order => write!(
                f,
                "it writes what lies below its text: expected the text first, as linkers have it"
            ),
            ImageError::Number => write!(f, "there are as many processes as there can be"),
            ImageError::Arguments { needed, stack } => write!(
                f,
                "arguments and environment take {needed} bytes: expected at most a quarter of its stack of {stack} bytes"
            ),
        }
    }
}

/// The start block's header.
fn header<P: Platform>(platform: &P, start: &Start) -> Result<StartHeader, ImageError> {
    let mut bytes = [0; StartHeader::SIZE];
    let read = start.window.read(platform, start.block, &mut bytes);
    read.map_err(|_| ImageError::Outside("start block"))?;
    let header = StartHeader::from_bytes(&bytes);
    let header = header.filter(|header| header.magic == abi::start::MAGIC && header.size as usize >= StartHeader::SIZE);
    header.ok_or(ImageError::Block)
}

/// `count` texts, one behind the other, as they are in memory: each with its NUL.
fn texts<P: Platform>(platform: &P, window: &Window, mut at: u64, count: u32) -> Result<Vec<Vec<u8>>, ImageError> {
    let mut found = Vec::new();
    for _ in 0..count {
        let mut text = window.text(platform, at).map_err(|_| ImageError::Block)?;
        text.push(0);
        at = at.wrapping_add(text.len() as u64);
        found.push(text);
    }
    Ok(found)
}

/// The program in a cVM's memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image {
    pub(crate) window: Window,
    pub(crate) entry: u64,
    /// Its program headers: where, the bytes of each, how many.
    pub(crate) headers: u64,
    pub(crate) header_size: u64,
    pub(crate) count: u64,
    /// Whether it uses registers for floating-point numbers.
    pub(crate) floats: bool,
    /// Where its text ends, if what it writes lies behind that.
    pub(crate) text_end: Option<u64>,
}

/// Whether the flags of an ELF file say that it uses registers for floating-point numbers (RISC-V ELF psABI; elsewhere they all do).
pub(crate) fn floats(machine: u16, flags: u32) -> bool {
    machine != Roles::RISCV.machine || flags & 6 != 0
}

/// Finds the program that the monitor has loaded.
pub(crate) fn image<P: Platform>(platform: &P, start: &Start) -> Result<Image, ImageError> {
    let window = start.window;
    let mut elf = [0; size_of::<Elf64_Ehdr>()];
    let read = window.read(platform, start.bias, &mut elf);
    read.map_err(|_| ImageError::Header)?;
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return Err(ImageError::Header);
    }
    let half = |at: usize| u64::from(u16::from_le_bytes([elf[at], elf[at + 1]]));
    let word = |at: usize| {
        elf[at..at + 8]
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u64::from(*byte))
    };
    let entry = word(core::mem::offset_of!(Elf64_Ehdr, e_entry));
    let headers = start
        .bias
        .wrapping_add(word(core::mem::offset_of!(Elf64_Ehdr, e_phoff)));
    let header_size = half(core::mem::offset_of!(Elf64_Ehdr, e_phentsize));
    let count = half(core::mem::offset_of!(Elf64_Ehdr, e_phnum));
    let flags = word(core::mem::offset_of!(Elf64_Ehdr, e_flags)) as u32;
    let machine = half(core::mem::offset_of!(Elf64_Ehdr, e_machine)) as u16;
    if header_size != size_of::<Elf64_Phdr>() as u64 || window.check(headers, header_size * count).is_err() {
        return Err(ImageError::ProgramHeaders);
    }
    let mut text_end = 0;
    let mut written = u64::MAX;
    for index in 0..count {
        let mut bytes = [0; size_of::<Elf64_Phdr>()];
        let read = window.read(platform, headers + index * header_size, &mut bytes);
        read.map_err(|_| ImageError::ProgramHeaders)?;
        let (start, end, flags) = slot::loaded(&bytes).unwrap_or_default();
        if flags & PF_X != 0 {
            text_end = text_end.max(end.next_multiple_of(PAGE));
        }
        if flags & PF_W != 0 {
            written = written.min(start);
        }
    }
    Ok(Image {
        window,
        entry: start.bias.wrapping_add(entry),
        headers,
        header_size,
        count,
        floats: floats(machine, flags),
        text_end: (text_end <= written).then(|| start.bias.wrapping_add(text_end)),
    })
}

/// A start block: its header, and what it says to the program.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) header: StartHeader,
    pub(crate) texts: Texts,
}

/// Reads the start block.
pub(crate) fn block<P: Platform>(platform: &P, start: &Start) -> Result<Block, ImageError> {
    let header = header(platform, start)?;
    let at = |offset: u32| start.block.wrapping_add(offset.into());
    let window = &start.window;
    let arguments = texts(platform, window, at(header.arguments), header.argument_count)?;
    let environment = texts(platform, window, at(header.environment), header.environment_count)?;
    Ok(Block {
        header,
        texts: Texts { arguments, environment },
    })
}

/// Fills the stack in that range of addresses; the stack pointer.
pub(crate) fn fill<P: Platform>(
    platform: &mut P,
    image: &Image,
    stack: &Range<u64>,
    texts: &Texts,
    page: u64,
) -> Result<u64, ImageError> {
    let Texts { arguments, environment } = texts;
    let window = &image.window;
    let size = stack.end.wrapping_sub(stack.start);

    let texts_size = |texts: &[Vec<u8>]| texts.iter().map(|text| text.len() as u64).sum::<u64>();
    let strings = texts_size(arguments) + texts_size(environment);
    let vector_words = 1 + arguments.len() as u64 + 1 + environment.len() as u64 + 1 + 2 * 17;
    let needed = strings + 16 + vector_words * 8 + 32;
    if needed > size / SHARE {
        return Err(ImageError::Arguments { needed, stack: size });
    }
    let outside = |_: Error| ImageError::Outside("stack");
    let top = stack.end & !15;
    // From the top: texts, random bytes; then the vectors, whose lowest word is where the stack pointer points to.
    let mut at = top.wrapping_sub(strings);
    let mut vector = Vec::with_capacity(vector_words as usize);
    vector.push(arguments.len() as u64);
    let mut name = 0;
    for (index, text) in arguments.iter().chain(environment).enumerate() {
        if index == 0 {
            name = at;
        }
        if index == arguments.len() {
            vector.push(0);
        }
        window.write(platform, at, text).map_err(outside)?;
        vector.push(at);
        at = at.wrapping_add(text.len() as u64);
    }
    if environment.is_empty() {
        vector.push(0);
    }
    vector.push(0);
    let random = (top.wrapping_sub(strings) & !15).wrapping_sub(16);
    let mut bytes = [0; 16];
    platform.random(&mut bytes);
    window.write(platform, random, &bytes).map_err(outside)?;
    for (kind, value) in [
        (AT_SYSINFO_EHDR, page),
        (AT_PHDR, image.headers),
        (AT_PHENT, image.header_size),
        (AT_PHNUM, image.count),
        (AT_PAGESZ, PAGE),
        (AT_ENTRY, image.entry),
        (AT_UID, 0),
        (AT_EUID, 0),
        (AT_GID, 0),
        (AT_EGID, 0),
        (AT_HWCAP, 0),
        (AT_CLKTCK, TICKS),
        (AT_SECURE, 0),
        (AT_RANDOM, random),
        (AT_EXECFN, name),
        (AT_NULL, 0),
    ] {
        vector.extend([kind.into(), value]);
    }
    let pointer = random.wrapping_sub(vector.len() as u64 * 8) & !15;
    let bytes: Vec<u8> = vector.iter().flat_map(|word| word.to_le_bytes()).collect();
    window.write(platform, pointer, &bytes).map_err(outside)?;
    Ok(pointer)
}
