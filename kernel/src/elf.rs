//! ELF64 programs: everything that a crafted file could lie about is checked before anything is loaded. What comes out
//! is a [`Program`] whose ranges lie within the file and do not overlap in memory.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use xmas_elf::ElfFile;
use xmas_elf::header;
use xmas_elf::program::{ProgramHeader, Type};

const HEADER_SIZE: usize = 64;
const PROGRAM_HEADER_SIZE: u16 = 56;
/// Alignment of everything with permissions of its own.
pub(crate) const PAGE: u64 = 4096;
/// Largest address space of a program: no size below overflows when added to an address.
const EXTENT_LIMIT: u64 = 1 << 40;
const RELA_SIZE: u64 = 24;
/// Most loadable segments of a program.
const SEGMENT_LIMIT: usize = 64;

const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const DT_RELAENT: u64 = 9;
const DT_REL: u64 = 17;
const DT_JMPREL: u64 = 23;
const DT_RELR: u64 = 36;

/// What is wrong with an ELF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ElfError {
    /// Not even an ELF header.
    NotElf,
    /// The header's class, byte order, version or sizes.
    Header(&'static str),
    /// Another machine's program.
    Machine { found: u16, expected: u16 },
    /// Neither ET_DYN nor ET_EXEC.
    Kind(u16),
    /// A purecap program.
    Purecap,
    /// The program header table is not in the file.
    ProgramHeaders { offset: u64, count: u16, file: usize },
    /// A segment's file range is not in the file.
    Truncated { segment: usize, end: u64, file: usize },
    /// A segment's sizes or addresses are absurd.
    Extent { segment: usize, address: u64, size: u64 },
    /// A segment is larger in the file than in memory.
    FileSize { segment: usize, file: u64, memory: u64 },
    /// Two segments share a page.
    Overlap { segment: usize, other: usize },
    /// A segment is writable and executable.
    WriteExecute { segment: usize },
    /// Nothing to load.
    NoSegments,
    /// The entry point is in no executable segment.
    Entry(u64),
    /// The program wants a loader or libraries.
    Dynamic(&'static str),
    /// A dynamic section or relocation table that is not where it should be.
    DynamicRange(&'static str),
    /// A relocation of a type that a static position-independent program does not have.
    RelocationType { index: u64, found: u32 },
    /// A relocation of memory outside the writable or relocatable segments.
    RelocationTarget { index: u64, address: u64 },
    /// More than one TLS segment, or a bad one.
    Tls,
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ElfError::NotElf => write!(f, "not an ELF file"),
            ElfError::Header(expected) => write!(f, "ELF header: expected {expected}"),
            ElfError::Machine { found, expected } => write!(f, "machine {found}, expected {expected}"),
            ElfError::Kind(kind) => write!(f, "ELF type {kind}, expected ET_DYN (3) or ET_EXEC (2)"),
            ElfError::Purecap => write!(f, "a purecap program: not yet; build it for the hybrid ABI"),
            ElfError::ProgramHeaders { offset, count, file } => {
                write!(
                    f,
                    "{count} program headers at {offset:#x}, but the file has {file} bytes"
                )
            }
            ElfError::Truncated { segment, end, file } => {
                write!(
                    f,
                    "segment {segment} ends at file offset {end:#x}, but the file has {file} bytes"
                )
            }
            ElfError::Extent { segment, address, size } => {
                write!(
                    f,
                    "segment {segment} has {size:#x} bytes at {address:#x}, expected to end below 2^40"
                )
            }
            ElfError::FileSize { segment, file, memory } => {
                write!(
                    f,
                    "segment {segment} has {file:#x} bytes in the file but {memory:#x} in memory"
                )
            }
            ElfError::Overlap { segment, other } => write!(f, "segments {other} and {segment} share a page"),
            ElfError::WriteExecute { segment } => write!(f, "segment {segment} is writable and executable"),
            ElfError::NoSegments => write!(f, "no segment to load"),
            ElfError::Entry(entry) => write!(f, "entry point {entry:#x} is outside every executable segment"),
            ElfError::Dynamic(what) => write!(f, "dynamically linked ({what}), expected a static program"),
            ElfError::DynamicRange(what) => write!(f, "{what} is not within a loaded segment's file data"),
            ElfError::RelocationType { index, found } => {
                write!(f, "relocation {index} has type {found}, expected a relative one")
            }
            ElfError::RelocationTarget { index, address } => {
                write!(f, "relocation {index} changes {address:#x}, outside of every segment")
            }
            ElfError::Tls => write!(f, "TLS segment: expected one at most, within a loaded segment"),
        }
    }
}

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
    pub(crate) entry: u64,
    pub(crate) segments: Vec<Segment>,
    /// From the lowest page of a segment to the end of the highest.
    pub(crate) extent: Range<u64>,
    /// The pages of the executable segments, and what lies between them.
    pub(crate) text: Range<u64>,
    /// File range of the relocation table.
    pub(crate) relocations: Range<usize>,
    pub(crate) tls: Option<Tls>,
    /// Address of the exported handler.
    pub(crate) handler: Option<u64>,
}

/// One relative relocation: the 8 bytes at `address` become `addend` plus the load bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Relocation {
    pub(crate) address: u64,
    pub(crate) addend: u64,
}

impl Program {
    /// Checks an ELF file.
    ///
    /// # Errors
    /// [`ElfError`] for the first thing that is not as the loader needs it.
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
        if flags(bytes) & arch::ELF_PURECAP_FLAGS != 0 {
            return Err(ElfError::Purecap);
        }
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
        let holds_entry = |segment: &Segment| {
            segment.executable && entry >= segment.address && entry - segment.address < segment.memory_size
        };
        if !segments.iter().any(holds_entry) {
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
        let mut program = Program {
            relocatable,
            entry,
            segments,
            extent,
            text,
            relocations: 0..0,
            tls: tls(&elf, bytes.len())?,
            handler: None,
        };
        program.relocations = program.dynamic(&elf, bytes)?;
        program.check_relocations(bytes)?;
        Ok(program)
    }

    /// The pages of each executable segment.
    pub(crate) fn executable_pages(&self) -> impl Iterator<Item = Range<u64>> {
        self.segments.iter().filter(|segment| segment.executable).map(pages_of)
    }

    /// The relocations; checked by [`Program::check`].
    pub(crate) fn relocations<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = Relocation> + use<'a> {
        bytes[self.relocations.clone()]
            .chunks_exact(RELA_SIZE as usize)
            .map(|entry| Relocation {
                address: double(entry, 0),
                addend: double(entry, 16),
            })
    }

    /// Looks through the dynamic section: refuses what needs a dynamic loader, finds the relocation table.
    fn dynamic(&self, elf: &ElfFile<'_>, bytes: &[u8]) -> Result<Range<usize>, ElfError> {
        let (mut table, mut size, mut entry_size) = (0, 0, RELA_SIZE);
        for header in elf.program_iter() {
            match kind(&header) {
                Some(Type::Interp) => return Err(ElfError::Dynamic("PT_INTERP")),
                Some(Type::Dynamic) => {}
                _ => continue,
            }
            let range = file_range(header.offset(), header.file_size(), bytes.len());
            let range = range.ok_or(ElfError::DynamicRange("the dynamic section"))?;
            for entry in bytes[range].chunks_exact(16) {
                let value = double(entry, 8);
                match double(entry, 0) {
                    DT_NULL => break,
                    DT_NEEDED => return Err(ElfError::Dynamic("DT_NEEDED")),
                    DT_REL => return Err(ElfError::Dynamic("DT_REL")),
                    DT_RELR => return Err(ElfError::Dynamic("DT_RELR")),
                    DT_JMPREL => return Err(ElfError::Dynamic("DT_JMPREL")),
                    DT_RELA => table = value,
                    DT_RELASZ => size = value,
                    DT_RELAENT => entry_size = value,
                    _ => {}
                }
            }
        }
        if size == 0 {
            return Ok(0..0);
        }
        if entry_size != RELA_SIZE || size % RELA_SIZE != 0 {
            return Err(ElfError::DynamicRange("a relocation table with entries of 24 bytes"));
        }
        let segment = self.segments.iter().find(|segment| {
            table >= segment.address
                && table
                    .checked_add(size)
                    .is_some_and(|end| end - segment.address <= segment.file.len() as u64)
        });
        let segment = segment.ok_or(ElfError::DynamicRange("the relocation table"))?;
        let start = segment.file.start + (table - segment.address) as usize;
        Ok(start..start + size as usize)
    }

    fn check_relocations(&self, bytes: &[u8]) -> Result<(), ElfError> {
        let table = &bytes[self.relocations.clone()];
        for (index, entry) in table.chunks_exact(RELA_SIZE as usize).enumerate() {
            let (index, address, info) = (index as u64, double(entry, 0), double(entry, 8));
            if u32::try_from(info).ok().and_then(arch::relocation) != Some(arch::Relocation::Relative) {
                return Err(ElfError::RelocationType {
                    index,
                    found: info as u32,
                });
            }
            let inside = |segment: &Segment| {
                address >= segment.address
                    && address
                        .checked_add(8)
                        .is_some_and(|end| end - segment.address <= segment.memory_size)
            };
            if !self.segments.iter().any(inside) {
                return Err(ElfError::RelocationTarget { index, address });
            }
        }
        Ok(())
    }
}

fn kind(header: &ProgramHeader<'_>) -> Option<Type> {
    header.get_type().ok()
}

fn flags(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[48], bytes[49], bytes[50], bytes[51]])
}

fn double(bytes: &[u8], offset: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(value)
}

fn file_range(offset: u64, size: u64, file: usize) -> Option<Range<usize>> {
    let end = offset.checked_add(size).filter(|end| *end <= file as u64)?;
    Some(offset as usize..end as usize)
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

fn tls(elf: &ElfFile<'_>, file: usize) -> Result<Option<Tls>, ElfError> {
    let mut headers = elf.program_iter().filter(|header| kind(header) == Some(Type::Tls));
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
