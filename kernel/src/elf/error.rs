//! What can be wrong with a program.

use alloc::string::String;
use core::fmt;

/// What is wrong with an ELF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ElfError {
    /// Not even an ELF header.
    NotElf,
    /// The header's class, byte order, version or sizes.
    Header(&'static str),
    /// Another machine's program.
    Machine { found: u16, expected: u16 },
    /// Neither ET_DYN nor ET_EXEC.
    Kind(u16),
    /// The program header table is not in the file.
    ProgramHeaders { offset: u64, count: u16, file: usize },
    /// The section header table, or a section that is needed, is not in the file.
    Sections { offset: u64, count: u16, file: usize },
    /// A section that is needed is not in the file, or not made of whole entries.
    Section { name: &'static str, entry: u64 },
    /// A segment's file range is not in the file.
    Truncated { segment: usize, end: u64, file: usize },
    /// A segment's sizes or addresses are absurd.
    Extent { segment: usize, address: u64, size: u64 },
    /// A segment of a purecap program has an alignment that is none, or an absurd one.
    Alignment { segment: usize, alignment: u64 },
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
    /// The program wants relocations that only a dynamic loader carries out.
    Dynamic(&'static str),
    /// The program wants a library.
    Needed(String),
    /// The program wants a dynamic loader.
    Interpreter(String),
    /// A dynamic section or relocation table that is not where it should be.
    DynamicRange(&'static str),
    /// A relocation of a type that a static position-independent hybrid program does not have.
    RelocationType { index: u64, found: u32 },
    /// A relocation of memory outside of the segments.
    RelocationTarget { index: u64, address: u64 },
    /// A relocation of a purecap program.
    Relocation {
        table: &'static str,
        index: usize,
        reason: Reason,
    },
    /// More than one TLS segment, or a bad one.
    Tls,
    /// More than one RELRO range, or a bad one.
    Relro { start: u64, end: u64 },
    /// Writable data lies in the range of a purecap program's code capability.
    Code { segment: usize, start: u64, end: u64 },
    /// A handler that is not code.
    Handler(u64),
}

/// What is wrong with a relocation of a purecap program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A type that a static program does not have.
    Type(u32),
    /// It changes memory outside of the segments.
    Location(u64),
    /// The place of a capability is not aligned.
    Alignment(u64),
    /// Its symbol is not in the dynamic symbol table.
    NoSymbol(u32),
    /// Its symbol is not defined.
    Undefined(String),
    /// Its symbol is neither function nor object.
    SymbolType { name: String, found: u8 },
    /// It makes something else than code executable.
    Function(u64),
    /// The object is not inside one segment.
    Object { start: u64, size: u64 },
    /// It makes something writable that is not.
    Writable { start: u64, size: u64 },
    /// No capability has its bounds.
    Bounds {
        start: u64,
        size: u64,
        length: u64,
        alignment: u64,
    },
    /// Its address is too far from the object's bounds.
    Address { start: u64, size: u64, address: u64 },
    /// Unknown permissions.
    Permissions(u64),
    /// There is nothing in the file where it says what it wants.
    Fragment(u64),
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ElfError::NotElf => write!(f, "not an ELF file"),
            ElfError::Header(expected) => write!(f, "ELF header: expected {expected}"),
            ElfError::Machine { found, expected } => write!(f, "machine {found}, expected {expected}"),
            ElfError::Kind(kind) => write!(f, "ELF type {kind}, expected ET_DYN (3) or ET_EXEC (2)"),
            ElfError::ProgramHeaders { offset, count, file } => {
                write!(
                    f,
                    "{count} program headers at {offset:#x}, but the file has {file} bytes"
                )
            }
            ElfError::Sections { offset, count, file } => {
                write!(
                    f,
                    "{count} section headers of 64 bytes and their names at {offset:#x}, but the file has {file} bytes"
                )
            }
            ElfError::Section { name, entry } => {
                write!(
                    f,
                    "section {name}: expected entries of {entry} bytes and all of them in the file"
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
            ElfError::Alignment { segment, alignment } => {
                write!(
                    f,
                    "segment {segment} has alignment {alignment:#x}, expected a power of two up to 2^30"
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
            ElfError::Needed(library) => {
                write!(f, "dynamically linked: needs {library}, expected a static program")
            }
            ElfError::Interpreter(path) => {
                write!(
                    f,
                    "dynamically linked: needs the interpreter {path}, expected a static program"
                )
            }
            ElfError::DynamicRange(what) => write!(f, "{what} is not within a loaded segment's file data"),
            ElfError::RelocationType { index, found } => {
                write!(f, "relocation {index} has type {found}, expected a relative one")
            }
            ElfError::RelocationTarget { index, address } => {
                write!(f, "relocation {index} changes {address:#x}, outside of every segment")
            }
            ElfError::Relocation { table, index, reason } => write!(f, "{table} entry {index}: {reason}"),
            ElfError::Tls => write!(f, "TLS segment: expected one at most, within a loaded segment"),
            ElfError::Relro { start, end } => {
                write!(
                    f,
                    "RELRO {start:#x}-{end:#x}: expected one at most, within a writable segment"
                )
            }
            ElfError::Code { segment, start, end } => {
                write!(
                    f,
                    "segment {segment} is writable and lies in the range of PCC {start:#x}-{end:#x}, which holds text, \
                     constants and RELRO"
                )
            }
            ElfError::Handler(address) => {
                write!(
                    f,
                    "{} at {address:#x} is outside every executable segment",
                    abi::hostcall::HANDLER
                )
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Type(found) => {
                write!(
                    f,
                    "type {found}, expected a relative one or one that makes a capability"
                )
            }
            Reason::Location(address) => write!(f, "changes {address:#x}, outside of every segment"),
            Reason::Alignment(address) => {
                write!(f, "puts a capability at {address:#x}, expected a multiple of 16")
            }
            Reason::NoSymbol(index) => write!(f, "symbol {index} is not in the dynamic symbol table"),
            Reason::Undefined(name) => write!(f, "symbol {name} is not defined in the program"),
            Reason::SymbolType { name, found } => {
                write!(f, "symbol {name} has type {found}, expected a function or an object")
            }
            Reason::Function(address) => {
                write!(f, "function at {address:#x}, outside of every executable segment")
            }
            Reason::Object { start, size } => {
                write!(
                    f,
                    "object of {size:#x} bytes at {start:#x}, expected inside one segment"
                )
            }
            Reason::Writable { start, size } => {
                write!(
                    f,
                    "writable object of {size:#x} bytes at {start:#x}, which is text, constant or RELRO"
                )
            }
            Reason::Bounds {
                start,
                size,
                length,
                alignment,
            } => {
                write!(
                    f,
                    "object of {size:#x} bytes at {start:#x}: bounds that cannot be exact, expected {length:#x} bytes at a \
                     multiple of {alignment:#x} in a program aligned to as much"
                )
            }
            Reason::Address { start, size, address } => {
                write!(
                    f,
                    "address {address:#x} of an object of {size:#x} bytes at {start:#x}: too far away to be represented"
                )
            }
            Reason::Permissions(found) => {
                write!(
                    f,
                    "permissions {found:#x}, expected those of a function, a constant or data"
                )
            }
            Reason::Fragment(address) => {
                write!(f, "what it wants stands at {address:#x}, which is not in the file")
            }
        }
    }
}
