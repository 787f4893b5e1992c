//! ELF64 programs: everything that a crafted file could lie about is checked before anything is loaded. What comes out
//! is a [`Program`] whose ranges lie within the file and do not overlap in memory.

mod bytes;
mod dynamic;
mod error;
mod relocation;
mod section;
mod symbol;

pub(crate) use error::{ElfError, Reason};
pub(crate) use relocation::{Relocation, Value};

use alloc::vec::Vec;
use bytes::file_range;
use core::ops::Range;
use dynamic::{CAP_RELOC_SIZE, Dynamic};
use relocation::Tables;
use section::Sections;
use symbol::SymbolTable;
use xmas_elf::ElfFile;
use xmas_elf::header;
use xmas_elf::program::{ProgramHeader, Type};

const HEADER_SIZE: usize = 64;
const PROGRAM_HEADER_SIZE: u16 = 56;
/// Offset of the header's flags.
const FLAGS: usize = 48;
/// Alignment of everything with permissions of its own.
pub(crate) const PAGE: u64 = 4096;
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
    pub(crate) fn check(bytes: &[u8]) -> Result<Program, ElfError> {
        if bytes.len() < HEADER_SIZE || bytes[..4] != *b"\x7fELF" {
            return Err(ElfError::NotElf);
        }
        if bytes[4..7] != [2, 1, 1] {
            return Err(ElfError::Header("ELF64, little endian, version 1"));
        }
        let elf = ElfFile::new(bytes).map_err(|_| ElfError::NotElf)?;
        let header = elf.header.pt2;
        let machine = u16::from_le_bytes([bytes[18], bytes[19]]);
        if machine != arch::ELF_MACHINE {
            return Err(ElfError::Machine {
                found: machine,
                expected: arch::ELF_MACHINE,
            });
        }
        let flags = bytes::word(bytes, FLAGS);
        if arch::refuses_elf_flags(flags) {
            return Err(ElfError::Header(
                "flags of a program without registers of quadruple precision",
            ));
        }
        let purecap = flags & arch::ELF_PURECAP_FLAGS != 0;
        let relocatable = match header.type_().as_type() {
            header::Type::SharedObject => true,
            header::Type::Executable => false,
            _ => return Err(ElfError::Kind(u16::from_le_bytes([bytes[16], bytes[17]]))),
        };
        if header.ph_count() != 0 && header.ph_entry_size() != PROGRAM_HEADER_SIZE {
            return Err(ElfError::Header("program headers of 56 bytes"));
        }
        let table = u64::from(header.ph_count()) * u64::from(PROGRAM_HEADER_SIZE);
        if header.ph_offset() % 8 != 0 {
            return Err(ElfError::Header("a program header table at a multiple of 8"));
        }
        if header
            .ph_offset()
            .checked_add(table)
            .is_none_or(|end| end > bytes.len() as u64)
        {
            let (offset, count) = (header.ph_offset(), header.ph_count());
            return Err(ElfError::ProgramHeaders {
                offset,
                count,
                file: bytes.len(),
            });
        }
        let segments = segments(&elf, bytes.len())?;
        let entry = header.entry_point();
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
        let alignment = if purecap { alignment(&elf)? } else { PAGE };
        let relro = if purecap { relro(&elf, &segments)? } else { 0..0 };
        let Dynamic {
            present,
            relocations,
            procedures,
            capabilities,
            symbols,
        } = dynamic::read(&elf, &segments, purecap, bytes)?;
        let mut program = Program {
            relocatable,
            alignment: if relocatable { alignment } else { PAGE },
            entry,
            segments,
            extent,
            code: text.clone(),
            text,
            tls: tls(&elf, bytes.len())?,
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
            program.find_tables(bytes, present)?;
        }
        program.check_relocations(bytes)?;
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
    fn find_tables(&mut self, bytes: &[u8], dynamic: bool) -> Result<(), ElfError> {
        let Some(sections) = Sections::read(bytes)? else {
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

fn kind(header: &ProgramHeader<'_>) -> Option<Type> {
    header.get_type().ok()
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

fn segments(elf: &ElfFile<'_>, file: usize) -> Result<Vec<Segment>, ElfError> {
    let mut segments: Vec<(usize, Segment)> = Vec::new();
    for (index, header) in elf.program_iter().enumerate() {
        if kind(&header) != Some(Type::Load) || header.mem_size() == 0 {
            continue;
        }
        let (address, memory_size) = (header.virtual_addr(), header.mem_size());
        if address.checked_add(memory_size).is_none_or(|end| end > EXTENT_LIMIT) {
            return Err(ElfError::Extent {
                segment: index,
                address,
                size: memory_size,
            });
        }
        if header.file_size() > memory_size {
            return Err(ElfError::FileSize {
                segment: index,
                file: header.file_size(),
                memory: memory_size,
            });
        }
        let range = file_range(header.offset(), header.file_size(), file).ok_or(ElfError::Truncated {
            segment: index,
            end: header.offset().saturating_add(header.file_size()),
            file,
        })?;
        let (writable, executable) = (header.flags().is_write(), header.flags().is_execute());
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
fn alignment(elf: &ElfFile<'_>) -> Result<u64, ElfError> {
    let mut greatest = PAGE;
    for (segment, header) in elf.program_iter().enumerate() {
        if kind(&header) != Some(Type::Load) || header.mem_size() == 0 {
            continue;
        }
        // 0 and 1: none.
        let alignment = header.align().max(1);
        if !alignment.is_power_of_two() || alignment > ALIGNMENT_LIMIT {
            return Err(ElfError::Alignment { segment, alignment });
        }
        greatest = greatest.max(alignment);
    }
    Ok(greatest)
}

/// Thread-local storage; an empty segment, as linker scripts leave it, is none.
fn tls(elf: &ElfFile<'_>, file: usize) -> Result<Option<Tls>, ElfError> {
    let mut headers = elf
        .program_iter()
        .filter(|header| kind(header) == Some(Type::Tls) && header.mem_size() != 0);
    let Some(header) = headers.next() else { return Ok(None) };
    if headers.next().is_some() {
        return Err(ElfError::Tls);
    }
    let alignment = header.align().max(1);
    let sane = alignment.is_power_of_two()
        && alignment <= PAGE
        && header.mem_size() <= EXTENT_LIMIT
        && header.file_size() <= header.mem_size();
    let range = file_range(header.offset(), header.file_size(), file)
        .filter(|_| sane)
        .ok_or(ElfError::Tls)?;
    Ok(Some(Tls {
        file: range,
        memory_size: header.mem_size(),
        alignment,
    }))
}

/// What becomes read-only when the program is loaded: part of one writable segment, to the end of its last page at most.
fn relro(elf: &ElfFile<'_>, segments: &[Segment]) -> Result<Range<u64>, ElfError> {
    let mut headers = elf
        .program_iter()
        .filter(|header| kind(header) == Some(Type::GnuRelro) && header.mem_size() != 0);
    let Some(header) = headers.next() else { return Ok(0..0) };
    let start = header.virtual_addr();
    let end = start.saturating_add(header.mem_size());
    let inside = |segment: &Segment| segment.writable && start >= segment.address && end <= pages_of(segment).end;
    if headers.next().is_some() || !segments.iter().any(inside) {
        return Err(ElfError::Relro { start, end });
    }
    Ok(start..end)
}
