//! ELF64 programs: everything that a crafted file could lie about is checked before anything is loaded. What comes out
//! is a [`Program`] whose ranges lie within the file and do not overlap in memory.

mod bytes;
mod dynamic;
mod error;
mod relocation;
mod section;
mod symbol;

pub(crate) use abi::elf::PAGE;
pub(crate) use bytes::File;
pub(crate) use error::{ElfError, Reason};
pub(crate) use relocation::{Relocation, Value};

use alloc::vec;
use alloc::vec::Vec;
use bytes::{double, file_range, word};
use core::ops::Range;
use dynamic::{CAP_RELOC_SIZE, Dynamic};
use relocation::Tables;
use section::Sections;
use symbol::SymbolTable;

const HEADER_SIZE: usize = 64;
const PROGRAM_HEADER_SIZE: usize = 56;
const PROGRAM_HEADER_LIMIT: u16 = 256;
/// Types of files.
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
/// Types of segments.
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_TLS: u32 = 7;
const PT_GNU_RELRO: u32 = 0x6474_e552;
/// Of a purecap program: the template of a table of capabilities for thread-local variables (CHERI ELF gABI).
const PT_CHERI_TGOT: u32 = 0x6434_8451;
/// Flags of segments.
const PF_X: u32 = 1;
const PF_W: u32 = 2;
/// Largest address space of a program: no size below overflows when added to an address.
const EXTENT_LIMIT: u64 = 1 << 40;
/// Bytes of a relocation with addend.
const RELA_SIZE: u64 = 24;
/// Greatest alignment of a segment of a purecap program.
const ALIGNMENT_LIMIT: u64 = 1 << 30;
/// Most loadable segments of a program.
const SEGMENT_LIMIT: usize = 64;

/// A loadable segment. Addresses are as linked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) address: u64,
    pub(crate) memory_size: u64,
    /// Range in the file; not longer than `memory_size`.
    pub(crate) file: Range<usize>,
    pub(crate) writable: bool,
    pub(crate) executable: bool,
}

impl Segment {
    /// The pages that it lies in.
    pub(crate) fn pages(&self) -> Range<u64> {
        pages_of(self)
    }
}

/// Thread-local storage: the initial image and the size to reserve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) file: Range<usize>,
    pub(crate) memory_size: u64,
    pub(crate) alignment: u64,
}

/// A checked program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// Whether it may be loaded anywhere (ET_DYN).
    pub(crate) relocatable: bool,
    /// What the distance between linked and loaded addresses is a multiple of. A purecap program that may be loaded
    /// anywhere: the greatest alignment of its segments, for linkers align objects for exact bounds. Else a page.
    pub(crate) alignment: u64,
    pub(crate) entry: u64,
    pub(crate) segments: Vec<Segment>,
    /// From the lowest page of a segment to the end of the highest.
    pub(crate) extent: Range<u64>,
    /// The pages of the executable segments, and what lies between them.
    pub(crate) text: Range<u64>,
    pub(crate) tls: Option<Tls>,
    /// Whether all its pointers are capabilities.
    pub(crate) purecap: bool,
    /// Whether it asks for floating point registers.
    pub(crate) float: bool,
    /// What PCC covers. Hybrid: the text. Purecap: from the lowest page of text and constants to their end or that of
    /// RELRO, where compilers keep the capabilities that code loads through PCC.
    pub(crate) code: Range<u64>,
    /// Where the handler of a cVM that serves others is, after [`Program::find_handler`]. Morello: bit 0 = C64.
    pub(crate) handler: Option<u64>,
    /// What is writable only while the program is loaded; empty in a hybrid program.
    relro: Range<u64>,
    tables: Tables,
    symbols: Option<SymbolTable>,
}

impl Program {
    /// Checks an ELF file.
    ///
    /// # Errors
    /// [`ElfError`] for the first thing that is not as the loader needs it.
    #[inline(never)]
    pub(crate) fn check(elf: File) -> Result<Program, ElfError> {
        let header = elf
            .array::<HEADER_SIZE>(0)
            .filter(|header| header.starts_with(b"\x7fELF"));
        let header = header.ok_or(ElfError::NotElf)?;
        if header[4..7] != [2, 1, 1] {
            return Err(ElfError::Header("ELF64, little endian, version 1"));
        }
        let half = |offset: usize| u16::from_le_bytes([header[offset], header[offset + 1]]);
        let (kind, machine, entry, flags) = (half(16), half(18), double(&header, 24), word(&header, 48));
        if machine != arch::ELF_MACHINE {
            return Err(ElfError::Machine {
                found: machine,
                expected: arch::ELF_MACHINE,
            });
        }
        if arch::refuses_elf_flags(flags) {
            return Err(ElfError::Header(
                "flags of a program without registers of quadruple precision",
            ));
        }
        let purecap = flags & arch::ELF_PURECAP_FLAGS != 0;
        let relocatable = match kind {
            ET_DYN => true,
            ET_EXEC => false,
            _ => return Err(ElfError::Kind(kind)),
        };
        let (offset, size, count) = (double(&header, 32), half(54), half(56));
        if count != 0 && usize::from(size) != PROGRAM_HEADER_SIZE {
            return Err(ElfError::Header("program headers of 56 bytes"));
        }
        if !offset.is_multiple_of(8) {
            return Err(ElfError::Header("a program header table at a multiple of 8"));
        }
        let table = file_range(offset, u64::from(count) * PROGRAM_HEADER_SIZE as u64, elf.len());
        let table = table.and_then(|range| elf.part(range));
        let file = elf.len();
        let table = table.ok_or(ElfError::ProgramHeaders { offset, count, file })?;
        if count > PROGRAM_HEADER_LIMIT {
            return Err(ElfError::Header("at most 256 program headers"));
        }
        let mut headers = vec![0; table.len()];
        let (headers, _) = table.first(&mut headers).as_chunks();
        let headers = || headers.iter().map(Header::read);
        let segments = segments(headers(), file)?;
        if !is_code(&segments, entry) {
            return Err(ElfError::Entry(entry));
        }
        let pages = |segments: &mut dyn Iterator<Item = &Segment>| {
            segments
                .map(pages_of)
                .reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
                .ok_or(ElfError::NoSegments)
        };
        let extent = pages(&mut segments.iter())?;
        let text = pages(&mut segments.iter().filter(|segment| segment.executable))?;
        if purecap && headers().any(|header| header.is(PT_CHERI_TGOT)) {
            return Err(ElfError::Header(
                "thread-local storage without PT_CHERI_TGOT, as -no-cheri-tgot-tls builds it",
            ));
        }
        let alignment = if purecap { alignment(headers())? } else { PAGE };
        let relro = if purecap { relro(headers(), &segments)? } else { 0..0 };
        let Dynamic {
            present,
            relocations,
            procedures,
            capabilities,
            symbols,
        } = dynamic::read(headers(), &segments, purecap, elf)?;
        let mut program = Program {
            relocatable,
            alignment: if relocatable { alignment } else { PAGE },
            entry,
            segments,
            extent,
            code: text.clone(),
            text,
            tls: tls(headers(), file)?,
            purecap,
            float: arch::wants_float(flags),
            handler: None,
            relro,
            tables: Tables {
                relocations,
                procedures,
                capabilities,
            },
            symbols,
        };
        if purecap {
            program.code = program.code_range()?;
            program.find_tables(elf, present)?;
        }
        program.check_relocations(elf)?;
        Ok(program)
    }

    /// What the code capability of a purecap program covers.
    fn code_range(&self) -> Result<Range<u64>, ElfError> {
        let constant = self.segments.iter().filter(|segment| !segment.writable);
        let pages = constant
            .map(pages_of)
            .reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
            .ok_or(ElfError::NoSegments)?;
        let code = pages.start..pages.end.max(self.relro.end);
        let inside = |range: &Range<u64>| range.start < code.end && code.start < range.end;
        match self.writable().find(|(_, range)| inside(range)) {
            Some((segment, _)) => Err(ElfError::Code {
                segment,
                start: code.start,
                end: code.end,
            }),
            None => Ok(code),
        }
    }

    /// What is writable when the program runs: the writable segments without RELRO, each with the segment's position.
    pub(crate) fn writable(&self) -> impl Iterator<Item = (usize, Range<u64>)> {
        let relro = &self.relro;
        let segments = self.segments.iter().enumerate();
        let parts = segments
            .filter(|(_, segment)| segment.writable)
            .flat_map(|(index, segment)| {
                let whole = segment.address..segment.address + segment.memory_size;
                let parts = if relro.is_empty() || !pages_of(segment).contains(&relro.start) {
                    [whole, 0..0]
                } else {
                    [whole.start..relro.start.min(whole.end), relro.end..whole.end]
                };
                parts.into_iter().map(move |part| (index, part))
            });
        parts.filter(|(_, part)| !part.is_empty())
    }

    /// Tables of a purecap program that no dynamic section tells of.
    fn find_tables(&mut self, elf: File, dynamic: bool) -> Result<(), ElfError> {
        let Some(sections) = Sections::read(elf)? else {
            return Ok(());
        };
        if !dynamic {
            self.tables.relocations = sections.table(".rela.dyn", RELA_SIZE)?;
        }
        let capabilities = sections.table("__cap_relocs", CAP_RELOC_SIZE)?;
        if !capabilities.is_empty() {
            self.tables.capabilities = capabilities;
        }
        Ok(())
    }
}

/// A program header.
struct Header {
    /// PT_….
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    file_size: u64,
    memory_size: u64,
    alignment: u64,
}

impl Header {
    fn read(entry: &[u8; PROGRAM_HEADER_SIZE]) -> Header {
        Header {
            kind: word(entry, 0),
            flags: word(entry, 4),
            offset: double(entry, 8),
            address: double(entry, 16),
            file_size: double(entry, 32),
            memory_size: double(entry, 40),
            alignment: double(entry, 48),
        }
    }

    /// Whether it is of this type and not empty.
    fn is(&self, kind: u32) -> bool {
        self.kind == kind && self.memory_size != 0
    }
}

/// Whether an address, its lowest bit aside, is that of an instruction.
fn is_code(segments: &[Segment], address: u64) -> bool {
    let address = address & !1;
    segments.iter().any(|segment| {
        segment.executable && address >= segment.address && address - segment.address < segment.memory_size
    })
}

fn pages_of(segment: &Segment) -> Range<u64> {
    segment.address / PAGE * PAGE..(segment.address + segment.memory_size).next_multiple_of(PAGE)
}

fn segments(headers: impl Iterator<Item = Header>, file: usize) -> Result<Vec<Segment>, ElfError> {
    let mut segments: Vec<(usize, Segment)> = Vec::new();
    for (index, header) in headers.enumerate().filter(|(_, header)| header.is(PT_LOAD)) {
        let Header {
            address, memory_size, ..
        } = header;
        if address.checked_add(memory_size).is_none_or(|end| end > EXTENT_LIMIT) {
            return Err(ElfError::Extent {
                segment: index,
                address,
                size: memory_size,
            });
        }
        if header.file_size > memory_size {
            return Err(ElfError::FileSize {
                segment: index,
                file: header.file_size,
                memory: memory_size,
            });
        }
        let range = file_range(header.offset, header.file_size, file).ok_or(ElfError::Truncated {
            segment: index,
            end: header.offset.saturating_add(header.file_size),
            file,
        })?;
        let (writable, executable) = (header.flags & PF_W != 0, header.flags & PF_X != 0);
        if writable && executable {
            return Err(ElfError::WriteExecute { segment: index });
        }
        let segment = Segment {
            address,
            memory_size,
            file: range,
            writable,
            executable,
        };
        let pages = pages_of(&segment);
        let overlaps = |(_, other): &&(usize, Segment)| {
            let other = pages_of(other);
            pages.start < other.end && other.start < pages.end
        };
        if let Some((other, _)) = segments.iter().find(overlaps) {
            return Err(ElfError::Overlap {
                segment: index,
                other: *other,
            });
        }
        if segments.len() == SEGMENT_LIMIT {
            return Err(ElfError::Header("at most 64 loadable segments"));
        }
        segments.push((index, segment));
    }
    if segments.is_empty() {
        return Err(ElfError::NoSegments);
    }
    Ok(segments.into_iter().map(|(_, segment)| segment).collect())
}

/// The greatest alignment of a loadable segment, a page at least.
fn alignment(headers: impl Iterator<Item = Header>) -> Result<u64, ElfError> {
    let mut greatest = PAGE;
    for (segment, header) in headers.enumerate().filter(|(_, header)| header.is(PT_LOAD)) {
        // 0 and 1: none.
        let alignment = header.alignment.max(1);
        if !alignment.is_power_of_two() || alignment > ALIGNMENT_LIMIT {
            return Err(ElfError::Alignment { segment, alignment });
        }
        greatest = greatest.max(alignment);
    }
    Ok(greatest)
}

/// Thread-local storage; an empty segment, as linker scripts leave it, is none.
fn tls(headers: impl Iterator<Item = Header>, file: usize) -> Result<Option<Tls>, ElfError> {
    let mut headers = headers.filter(|header| header.is(PT_TLS));
    let Some(header) = headers.next() else { return Ok(None) };
    if headers.next().is_some() {
        return Err(ElfError::Tls);
    }
    let alignment = header.alignment.max(1);
    let sane = alignment.is_power_of_two()
        && alignment <= PAGE
        && header.memory_size <= EXTENT_LIMIT
        && header.file_size <= header.memory_size;
    let range = file_range(header.offset, header.file_size, file)
        .filter(|_| sane)
        .ok_or(ElfError::Tls)?;
    Ok(Some(Tls {
        file: range,
        memory_size: header.memory_size,
        alignment,
    }))
}

/// What becomes read-only when the program is loaded: part of one writable segment, to the end of its last page at most.
fn relro(headers: impl Iterator<Item = Header>, segments: &[Segment]) -> Result<Range<u64>, ElfError> {
    let mut headers = headers.filter(|header| header.is(PT_GNU_RELRO));
    let Some(header) = headers.next() else { return Ok(0..0) };
    let start = header.address;
    let end = start.saturating_add(header.memory_size);
    let inside = |segment: &Segment| segment.writable && start >= segment.address && end <= pages_of(segment).end;
    if headers.next().is_some() || !segments.iter().any(inside) {
        return Err(ElfError::Relro { start, end });
    }
    Ok(start..end)
}
