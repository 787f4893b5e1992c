//! Memory for a process: a cVM that the manifest has made ready, with a place for a program, a heap and a stack; the program is loaded
//! by this side. An executable file is bytes that lie: what it says is checked against the place before anything is changed.

use crate::arena::PAGE;
use crate::page::{self, Placed};
use crate::stack::{self, Block, Image, ImageError};
use crate::{Error, Platform, Result, Window};
use abi::hostcall::{RAW_TEXT, REGISTERS, TEXT_LIMIT};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::ops::Range;
use linux_raw_sys::elf_uapi::{Elf64_Ehdr, Elf64_Phdr};

/// Most program headers.
const HEADERS: u64 = 32;

/// What programs are called that are places for others.
const NAME: &[u8] = b"linux-process";

const ET_DYN: u16 = 3;
const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
pub(crate) const PF_X: u32 = 1;
pub(crate) const PF_W: u32 = 2;

/// A cVM for processes.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) window: Window,
    /// Where a program's file goes.
    image: Range<u64>,
    pub(crate) heap: Range<u64>,
    stack: Range<u64>,
    /// Where its page of text is.
    page: u64,
    /// What is text now.
    texts: Vec<Range<u64>>,
    /// How much of the image may hold something.
    dirty: u64,
    /// What of the heap may hold something.
    touched: Range<u64>,
    /// What answers the main thread's call, as far as that is known.
    pub(crate) main: Option<u64>,
    /// Threads of programs that are over, which will find out.
    pub(crate) leaving: BTreeSet<u16>,
}

/// What a program begins with that has been loaded.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) window: Window,
    pub(crate) page: Placed,
    pub(crate) entry: u64,
    pub(crate) stack: u64,
}

/// A segment of a file that goes to memory.
#[derive(Clone, Copy, Debug)]
struct Segment {
    address: u64,
    memory: u64,
    offset: u64,
    file: u64,
    flags: u32,
}

impl Segment {
    fn pages(&self) -> Range<u64> {
        self.address / PAGE * PAGE..(self.address + self.memory).next_multiple_of(PAGE)
    }
}

/// An executable file that has been checked.
#[derive(Debug)]
pub(crate) struct Executable {
    segments: Vec<Segment>,
    entry: u64,
    headers: u64,
    count: u64,
    end: u64,
    text_end: u64,
    /// Whether it uses registers for floating-point numbers.
    pub(crate) floats: bool,
}

fn number<const SIZE: usize>(bytes: &[u8], at: usize) -> [u8; SIZE] {
    let mut word = [0; SIZE];
    if let Some(part) = bytes.get(at..at + SIZE) {
        word.copy_from_slice(part);
    }
    word
}

macro_rules! read {
    ($bytes:expr, $type:ty, $field:ident as $integer:ty) => {
        <$integer>::from_le_bytes(number($bytes, core::mem::offset_of!($type, $field)))
    };
}

/// Of a program header that something is loaded by: the addresses it begins and ends at, and its flags.
pub(crate) fn loaded(header: &[u8; size_of::<Elf64_Phdr>()]) -> Option<(u64, u64, u32)> {
    let start = read!(header, Elf64_Phdr, p_vaddr as u64);
    let end = start.checked_add(read!(header, Elf64_Phdr, p_memsz as u64))?;
    let kind = read!(header, Elf64_Phdr, p_type as u32);
    (kind == PT_LOAD && end < 1 << 40).then_some((start, end, read!(header, Elf64_Phdr, p_flags as u32)))
}

impl Executable {
    /// Reads an executable's headers by `read(offset, to)`, which fills as much as there is; `machine` is what ELF calls it.
    ///
    /// # Errors
    /// `ENOEXEC` for what is no static position-independent program of this machine.
    pub(crate) fn check(
        machine: u16,
        length: u64,
        read: impl Fn(u64, &mut [u8]) -> Result<usize>,
    ) -> Result<Executable> {
        let mut header = [0; size_of::<Elf64_Ehdr>()];
        let got = read(0, &mut header)?;
        let kind = read!(&header, Elf64_Ehdr, e_type as u16);
        if got < header.len() || !header.starts_with(b"\x7fELF\x02\x01") || kind != ET_DYN {
            return Err(Error::ENOEXEC);
        }
        let size = read!(&header, Elf64_Ehdr, e_phentsize as u16);
        let count = u64::from(read!(&header, Elf64_Ehdr, e_phnum as u16));
        let offset = read!(&header, Elf64_Ehdr, e_phoff as u64);
        if read!(&header, Elf64_Ehdr, e_machine as u16) != machine
            || usize::from(size) != size_of::<Elf64_Phdr>()
            || !(1..=HEADERS).contains(&count)
        {
            return Err(Error::ENOEXEC);
        }
        let mut segments: Vec<Segment> = Vec::new();
        for index in 0..count {
            let mut header = [0; size_of::<Elf64_Phdr>()];
            let place = index * size_of::<Elf64_Phdr>() as u64;
            let got = read(offset.checked_add(place).ok_or(Error::ENOEXEC)?, &mut header)?;
            let kind = read!(&header, Elf64_Phdr, p_type as u32);
            // One that asks for a linker is not static.
            if got < header.len() || kind == PT_INTERP {
                return Err(Error::ENOEXEC);
            }
            if kind != PT_LOAD {
                continue;
            }
            let segment = Segment {
                address: read!(&header, Elf64_Phdr, p_vaddr as u64),
                memory: read!(&header, Elf64_Phdr, p_memsz as u64),
                offset: read!(&header, Elf64_Phdr, p_offset as u64),
                file: read!(&header, Elf64_Phdr, p_filesz as u64),
                flags: read!(&header, Elf64_Phdr, p_flags as u32),
            };
            let in_file = segment
                .offset
                .checked_add(segment.file)
                .is_some_and(|end| end <= length);
            let small = segment.address.max(segment.memory) < 1 << 40;
            let both = segment.flags & (PF_W | PF_X) == PF_W | PF_X;
            if !in_file || !small || segment.file > segment.memory || both {
                return Err(Error::ENOEXEC);
            }
            // No two of them share a page, and they follow each other.
            let follows = segments
                .last()
                .is_none_or(|last| last.pages().end <= segment.pages().start);
            if !follows {
                return Err(Error::ENOEXEC);
            }
            segments.push(segment);
        }
        let entry = read!(&header, Elf64_Ehdr, e_entry as u64);
        let executable = |segment: &Segment| {
            segment.flags & PF_X != 0 && entry >= segment.address && entry - segment.address < segment.file
        };
        let first = segments.first().ok_or(Error::ENOEXEC)?;
        let headers = offset
            .checked_add(count * size_of::<Elf64_Phdr>() as u64)
            .ok_or(Error::ENOEXEC)?;
        let seen = first.offset == 0 && first.address == 0 && headers <= first.file;
        if !segments.iter().any(executable) || !seen {
            return Err(Error::ENOEXEC);
        }
        let end = segments.last().map_or(0, |last| last.pages().end);
        let texts = segments.iter().filter(|segment| segment.flags & PF_X != 0);
        let text_end = texts.map(|segment| segment.pages().end).max().unwrap_or(0);
        // What is written lies behind the text.
        let below = |segment: &Segment| segment.flags & PF_W != 0 && segment.address < text_end;
        if segments.iter().any(below) {
            return Err(Error::ENOEXEC);
        }
        Ok(Executable {
            segments,
            entry,
            headers: offset,
            count,
            end,
            text_end,
            floats: stack::floats(machine, read!(&header, Elf64_Ehdr, e_flags as u32)),
        })
    }
}

impl Slot {
    /// The cVM that has begun, when it is one that was made for processes: its program is called so, and is a
    /// segment for programs and a page of text.
    pub(crate) fn find<P: Platform>(platform: &P, bias: u64, block: &Block, image: &Image) -> Option<Slot> {
        let name = block.texts.arguments.first()?;
        name.starts_with(NAME).then_some(())?;
        let segments = (0..image.count.min(HEADERS)).filter_map(|index| {
            let mut header = [0; size_of::<Elf64_Phdr>()];
            let at = image.headers.checked_add(index * image.header_size)?;
            image.window.read(platform, at, &mut header).ok()?;
            let writable = read!(&header, Elf64_Phdr, p_flags as u32) & PF_W != 0;
            let place = bias.checked_add(read!(&header, Elf64_Phdr, p_vaddr as u64))?;
            let end = place.checked_add(read!(&header, Elf64_Phdr, p_memsz as u64))?;
            writable.then_some(place..end)
        });
        let place = segments.last()?;
        let start = place.start.checked_next_multiple_of(PAGE)?;
        let stack = block.header.stack..block.header.stack.checked_add(block.header.stack_size)?;
        let heap = block.header.heap..block.header.heap.checked_add(block.header.heap_size)?;
        for part in [&place, &stack, &heap] {
            image.window.check(part.start, part.end - part.start).ok()?;
        }
        Some(Slot {
            window: image.window,
            image: start..place.end.max(start),
            heap,
            stack,
            page: bias.checked_sub(RAW_TEXT)?,
            texts: Vec::new(),
            dirty: 0,
            touched: 0..0,
            main: None,
            leaving: BTreeSet::new(),
        })
    }

    /// Whether a program can be loaded: it fits.
    pub(crate) fn takes(&self, executable: &Executable) -> bool {
        executable.end <= self.image.end - self.image.start
    }

    /// A program has used this part of the heap.
    pub(crate) fn used(&mut self, part: Range<u64>) {
        if !part.is_empty() {
            self.touched = part.start..part.end.max(self.touched.end);
        }
    }

    fn change_text<P: Platform>(&self, platform: &mut P, client: u32, text: &Range<u64>, on: bool) -> Result<()> {
        let mut at = text.start;
        while at < text.end {
            let length = (text.end - at).min(TEXT_LIMIT);
            platform.text(client, at, length, on)?;
            at += length;
        }
        Ok(())
    }

    /// Makes all of the memory zero that a program before may have used.
    pub(crate) fn clear<P: Platform>(&mut self, platform: &mut P, client: u32) -> Result<()> {
        for text in core::mem::take(&mut self.texts) {
            self.change_text(platform, client, &text, false)?;
        }
        let window = self.window;
        window.zero(platform, self.image.start, self.dirty)?;
        window.zero(platform, self.stack.start, self.stack.end - self.stack.start)?;
        if !self.touched.is_empty() {
            window.zero(platform, self.touched.start, self.touched.end - self.touched.start)?;
        }
        (self.dirty, self.touched) = (0, 0..0);
        Ok(())
    }

    /// Loads a program by `read(offset, to)`, and makes its stack. What it begins with.
    ///
    /// # Errors
    /// `E2BIG` for too many arguments; any other when memory or file are not what they were said to be. In both cases there is no
    /// program any more.
    pub(crate) fn load<P: Platform>(
        &mut self,
        platform: &mut P,
        client: u32,
        executable: &Executable,
        texts: &Texts,
        read: impl Fn(u64, &mut [u8]) -> Result<usize>,
    ) -> Result<Loaded> {
        self.clear(platform, client)?;
        let page = page::fill(platform, client, &self.window, self.page)?;
        self.dirty = executable.end;
        let mut buffer = alloc::vec![0; 4 * PAGE as usize];
        for segment in &executable.segments {
            let mut done = 0;
            while done < segment.file {
                let room = (segment.file - done).min(buffer.len() as u64) as usize;
                let part = &mut buffer[..room];
                let count = read(segment.offset + done, part)?;
                if count == 0 {
                    return Err(Error::EIO);
                }
                let to = self.image.start + segment.address + done;
                self.window.write(platform, to, &part[..count])?;
                done += count as u64;
            }
        }
        for segment in executable.segments.iter().filter(|segment| segment.flags & PF_X != 0) {
            let Range { start, end } = segment.pages();
            let text = self.image.start + start..self.image.start + end;
            self.change_text(platform, client, &text, true)?;
            self.texts.push(text);
        }
        let image = Image {
            window: self.window,
            entry: self.image.start + executable.entry,
            headers: self.image.start + executable.headers,
            header_size: size_of::<Elf64_Phdr>() as u64,
            count: executable.count,
            floats: executable.floats,
            // Of no matter for its stack.
            text_end: None,
        };
        let pointer = stack::fill(platform, &image, &self.stack, texts, page.start);
        let pointer = pointer.map_err(|error| match error {
            ImageError::Arguments { .. } => Error::E2BIG,
            _ => Error::EFAULT,
        })?;
        Ok(Loaded {
            window: self
                .window
                .with_text(&(page.start..self.image.start + executable.text_end)),
            page,
            entry: image.entry,
            stack: pointer,
        })
    }
}

/// Arguments and environment, each text with its NUL.
#[derive(Clone, Debug, Default)]
pub(crate) struct Texts {
    pub(crate) arguments: Vec<Vec<u8>>,
    pub(crate) environment: Vec<Vec<u8>>,
}

/// What the manifest gives places for processes that the first program is not to begin in.
const SPARE: &[u8] = b"INTRAVISOR_SPARE=yes\0";

impl Texts {
    /// Whether they are those of a place that the first program is not to begin in.
    pub(crate) fn is_spare(&self) -> bool {
        self.environment.iter().any(|text| text == SPARE)
    }
}

/// Registers of a thread, as the platform's architecture orders them.
pub(crate) type Words = [u64; REGISTERS];
