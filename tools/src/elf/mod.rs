//! ELF programs: the facts about them, what a cVM may look like, stripping, and writing them for tests.

mod check;
mod dynamic;
mod flags;
pub mod purecap;
mod purecap_check;
mod strip;
pub mod synthesis;

use abi::hostcall::HANDLER;
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _, Sym as _};
use object::{LittleEndian, elf};
use serde::Serialize;

use crate::Architecture;
use dynamic::Dynamic;
use purecap::{PurecapRelocation, Wanted};

pub use abi::elf::{EF_AARCH64_CHERI_PURECAP, EF_RISCV_CAP_MODE, EF_RISCV_CHERIABI, PAGE};
pub use check::{ElfError, More};
pub use flags::{Patch, patches};
pub use purecap_check::RelocationProblem;
pub use strip::{strip, without_dynamic};

/// Dynamic tag of a table of relative relocations in packed form (ELF gABI, 2022).
pub const DT_RELR: u32 = 36;

/// Dynamic tag of CHERI-RISC-V (CHERI LLVM): address of `__cap_relocs`.
pub const DT_RISCV_CHERI_CAP_RELOCS: u32 = 0x7000_c000;
/// Dynamic tag of CHERI-RISC-V (CHERI LLVM): bytes of `__cap_relocs`.
pub const DT_RISCV_CHERI_CAP_RELOCS_SIZE: u32 = 0x7000_c001;

/// Program header: the template of a table of capabilities for thread-local variables (CHERI ELF gABI).
pub const PT_CHERI_TGOT: u32 = 0x6434_8451;

/// Most program headers.
const PROGRAM_HEADER_LIMIT: usize = 256;

const LE: LittleEndian = LittleEndian;
type Header = elf::FileHeader64<LittleEndian>;
type Rela = elf::Rela64<LittleEndian>;

/// A part of a program that is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// Address as linked.
    pub address: u64,
    /// Bytes in memory.
    pub memory_size: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Bytes in the file; the rest of the memory is zeroed.
    pub file_size: u64,
    /// Alignment in bytes; 0 and 1 mean none.
    pub alignment: u64,
    /// `PF_R`, `PF_W`, `PF_X`.
    pub flags: u32,
}

impl Segment {
    /// End of its memory, `None` when it lies beyond the address space.
    pub fn end(&self) -> Option<u64> {
        self.address.checked_add(self.memory_size)
    }

    /// Whether it may be executed.
    pub fn executable(&self) -> bool {
        self.flags & elf::PF_X != 0
    }

    /// Whether it may be written.
    pub fn writable(&self) -> bool {
        self.flags & elf::PF_W != 0
    }

    /// The permissions, as `r-x`.
    pub fn permissions(&self) -> String {
        [(elf::PF_R, 'r'), (elf::PF_W, 'w'), (elf::PF_X, 'x')]
            .map(|(flag, letter)| if self.flags & flag != 0 { letter } else { '-' })
            .iter()
            .collect()
    }
}

/// A dynamic relocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Relocation {
    /// Address of the place, as linked.
    pub address: u64,
    /// Type, `r_type`.
    pub kind: u32,
    /// Number of its symbol, 0 = none.
    pub symbol: u32,
}

/// What a program says about itself. Reading it judges nothing; [`Facts::check`] does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// `e_machine`.
    pub machine: u16,
    /// `e_type`.
    pub kind: u16,
    /// `e_flags`.
    pub flags: u32,
    /// Entry point.
    pub entry: u64,
    /// The loaded segments, in file order.
    pub segments: Vec<Segment>,
    /// The TLS segment.
    pub tls: Option<Segment>,
    /// All TLS segments, the empty ones left out.
    pub tls_headers: Vec<Segment>,
    /// What is writable only while the program is loaded (`PT_GNU_RELRO`), the empty ones left out.
    pub relro: Vec<Segment>,
    /// Whether thread-local variables are reached by a table of capabilities (`PT_CHERI_TGOT`).
    pub tgot: bool,
    /// The interpreter that it names (`PT_INTERP`).
    pub interpreter: Option<String>,
    /// Shared objects it needs (`DT_NEEDED`).
    pub needed: Vec<String>,
    /// Dynamic relocations, `DT_RELA`.
    pub relocations: Vec<Relocation>,
    /// Relocation tables that are not read: `DT_REL`, `DT_RELR`, a `DT_PLTREL` other than `DT_RELA`, and `DT_JMPREL` of a
    /// hybrid program.
    pub other_relocations: Vec<&'static str>,
    /// The relocations of a purecap program, from all its tables; empty in a hybrid one.
    pub purecap_relocations: Vec<PurecapRelocation>,
    /// Number of functions in its symbol table.
    pub functions: usize,
    /// Address of its handler for the hostcalls of others ([`abi::hostcall::HANDLER`]), as linked.
    pub handler: Option<u64>,
    /// Bytes of the file.
    pub file_size: usize,
}

impl Facts {
    /// Reads the facts from a file.
    ///
    /// # Errors
    /// It is not a little-endian ELF64 file, or one of the tables named in its header lies outside of it.
    pub fn read(file: &[u8]) -> Result<Facts, ElfError> {
        let header = header(file)?;
        let program_headers = header.program_headers(LE, file).map_err(malformed)?;
        check_section_names(header, file)?;
        if !program_headers.is_empty() && !header.e_phoff(LE).is_multiple_of(8) {
            let problem = format!("program headers at {:#x}, expected a multiple of 8", header.e_phoff(LE));
            return Err(ElfError::Malformed(problem));
        }
        if program_headers.len() > PROGRAM_HEADER_LIMIT {
            let count = program_headers.len();
            let problem = format!("{count} program headers, expected at most {PROGRAM_HEADER_LIMIT}");
            return Err(ElfError::Malformed(problem));
        }
        let segment = |program_header: &elf::ProgramHeader64<LittleEndian>| Segment {
            address: program_header.p_vaddr(LE),
            memory_size: program_header.p_memsz(LE),
            offset: program_header.p_offset(LE),
            file_size: program_header.p_filesz(LE),
            alignment: program_header.p_align(LE),
            flags: program_header.p_flags(LE),
        };
        let of_type = |kind| program_headers.iter().filter(move |entry| entry.p_type(LE) == kind);
        let mut facts = Facts {
            machine: header.e_machine(LE),
            kind: header.e_type(LE),
            flags: header.e_flags(LE),
            entry: header.e_entry(LE),
            segments: of_type(elf::PT_LOAD).map(segment).collect(),
            // A linker script that provides for TLS leaves an empty segment when there is none.
            tls: of_type(elf::PT_TLS)
                .map(segment)
                .find(|segment| segment.memory_size > 0),
            tls_headers: of_type(elf::PT_TLS)
                .map(segment)
                .filter(|segment| segment.memory_size > 0)
                .collect(),
            relro: of_type(elf::PT_GNU_RELRO)
                .map(segment)
                .filter(|segment| segment.memory_size > 0)
                .collect(),
            tgot: of_type(PT_CHERI_TGOT).any(|entry| entry.p_memsz(LE) > 0),
            interpreter: None,
            needed: Vec::new(),
            relocations: Vec::new(),
            other_relocations: Vec::new(),
            purecap_relocations: Vec::new(),
            functions: functions(file)?.len(),
            handler: function(file, HANDLER)?,
            file_size: file.len(),
        };
        if let Some(interpreter) = of_type(elf::PT_INTERP).next() {
            let path = interpreter.data(LE, file).unwrap_or_default();
            let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
            facts.interpreter = Some(String::from_utf8_lossy(path).into_owned());
        }
        let mut parts = Vec::new();
        for program_header in program_headers {
            parts.extend(program_header.dynamic(LE, file).map_err(malformed)?);
        }
        let dynamic = (!parts.is_empty()).then(|| Dynamic::new(&parts));
        if let Some(dynamic) = &dynamic {
            dynamic.facts(&mut facts, file)?;
        }
        if facts.purecap() {
            facts.purecap_relocations = purecap::read(&facts, file, header, dynamic.as_ref())?;
        }
        Ok(facts)
    }

    /// The bytes of the file that are loaded to `address`; `size` of them, or all to the end of the segment.
    fn loaded<'a>(&self, file: &'a [u8], address: u64, size: Option<u64>) -> Option<&'a [u8]> {
        let segment = self
            .segments
            .iter()
            .find(|segment| address >= segment.address && address - segment.address <= segment.file_size)?;
        let distance = address - segment.address;
        let size = size.unwrap_or(segment.file_size - distance);
        if size > segment.file_size - distance {
            return None;
        }
        let start = usize::try_from(segment.offset.checked_add(distance)?).ok()?;
        file.get(start..start.checked_add(usize::try_from(size).ok()?)?)
    }

    /// Whether its header says that it uses floating-point registers, which says nothing on Morello.
    pub fn uses_vectors(&self) -> bool {
        self.machine == elf::EM_RISCV && self.flags & elf::EF_RISCV_FLOAT_ABI != 0
    }

    /// Whether it is a pure-capability program, by the flags of its machine.
    pub fn purecap(&self) -> bool {
        match self.machine {
            elf::EM_RISCV => self.flags & (EF_RISCV_CHERIABI | EF_RISCV_CAP_MODE) != 0,
            elf::EM_AARCH64 => self.flags & EF_AARCH64_CHERI_PURECAP != 0,
            _ => false,
        }
    }

    /// What the distance between linked and loaded addresses is a multiple of. A position-independent purecap program: the
    /// greatest alignment of its segments, as its linker counts on it. Else a page.
    pub fn alignment(&self) -> u64 {
        let greatest = self
            .segments
            .iter()
            .filter(|segment| segment.memory_size > 0)
            .map(|segment| segment.alignment)
            .max();
        match greatest {
            Some(greatest) if self.purecap() && self.kind != elf::ET_EXEC => greatest.max(PAGE),
            _ => PAGE,
        }
    }

    /// Number of relocations that make capabilities.
    pub fn capability_relocations(&self) -> usize {
        let word = |relocation: &&PurecapRelocation| relocation.wanted != Wanted::Word;
        self.purecap_relocations.iter().filter(word).count()
    }

    /// Takes out the relocations whose values functions of the program return (`IRELATIVE`), which only it can carry out; whether there
    /// were any.
    pub fn take_indirect(&mut self, arch: Architecture) -> bool {
        let indirect = match arch {
            Architecture::CheriRiscv => elf::R_RISCV_IRELATIVE,
            Architecture::Morello => elf::R_AARCH64_IRELATIVE,
        };
        let before = self.relocations.len();
        self.relocations.retain(|relocation| relocation.kind != indirect);
        self.relocations.len() < before
    }

    /// First page and end of the last page of its segments as linked; `None` without segments or beyond the address
    /// space.
    pub fn span(&self) -> Option<(u64, u64)> {
        let start = self.segments.iter().map(|segment| segment.address).min()?;
        let mut end = 0;
        for segment in &self.segments {
            end = end.max(segment.end()?);
        }
        Some((start / PAGE * PAGE, end.checked_next_multiple_of(PAGE)?))
    }

    /// End of its segments as linked, 0 without segments or beyond the address space.
    pub fn end(&self) -> u64 {
        self.segments.iter().filter_map(Segment::end).max().unwrap_or(0)
    }

    /// Bytes of memory from the first to the last page of its segments.
    pub fn memory_size(&self) -> u64 {
        self.span().map_or(0, |(start, end)| end - start)
    }
}

/// A function or label in the text of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Address as linked.
    pub address: u64,
    /// Bytes; 0 = not known.
    pub size: u64,
    /// Name as linked, that is: mangled.
    pub name: String,
}

/// The functions of a program by its `.symtab`, sorted by address, one an address. Labels of assembly code without
/// symbol type count where no function covers them.
///
/// # Errors
/// The symbol table lies outside of the file.
pub fn functions(file: &[u8]) -> Result<Vec<Function>, ElfError> {
    let header = header(file)?;
    let sections = header.sections(LE, file).map_err(malformed)?;
    let symbols = sections.symbols(LE, file, elf::SHT_SYMTAB).map_err(malformed)?;
    let mut typed = Vec::new();
    let mut labels = Vec::new();
    for symbol in symbols.iter() {
        let in_text = sections
            .section(object::SectionIndex(usize::from(symbol.st_shndx(LE))))
            .is_ok_and(|section| section.sh_flags(LE) & u64::from(elf::SHF_EXECINSTR) != 0);
        let name = String::from_utf8_lossy(symbols.symbol_name(LE, symbol).map_err(malformed)?).into_owned();
        if !in_text || name.is_empty() || name.starts_with('$') || name.starts_with(".L") {
            continue;
        }
        let function = Function {
            address: symbol.st_value(LE),
            size: symbol.st_size(LE),
            name,
        };
        match symbol.st_type() {
            elf::STT_FUNC => typed.push(function),
            elf::STT_NOTYPE => labels.push(function),
            _ => {}
        }
    }
    typed.sort_by(|left, right| {
        left.address
            .cmp(&right.address)
            .then_with(|| left.name.cmp(&right.name))
    });
    typed.dedup_by_key(|function| function.address);
    labels.retain(|label| {
        let before = typed.partition_point(|function| function.address <= label.address);
        typed[..before]
            .last()
            .is_none_or(|function| label.address - function.address >= function.size.max(1))
    });
    typed.extend(labels);
    typed.sort_by(|left, right| {
        left.address
            .cmp(&right.address)
            .then_with(|| left.name.cmp(&right.name))
    });
    typed.dedup_by_key(|function| function.address);
    Ok(typed)
}

/// Address of a function that the program exports, by its `.symtab` or `.dynsym`.
///
/// # Errors
/// Its tables of symbols cannot be read.
pub fn function(file: &[u8], wanted: &str) -> Result<Option<u64>, ElfError> {
    let header = header(file)?;
    let sections = header.sections(LE, file).map_err(malformed)?;
    for table in [elf::SHT_SYMTAB, elf::SHT_DYNSYM] {
        let symbols = sections.symbols(LE, file, table).map_err(malformed)?;
        for symbol in symbols.iter() {
            let name = symbols.symbol_name(LE, symbol).map_err(malformed)?;
            if name == wanted.as_bytes() && symbol.st_shndx(LE) != elf::SHN_UNDEF {
                return Ok(Some(symbol.st_value(LE)));
            }
        }
    }
    Ok(None)
}

fn header(file: &[u8]) -> Result<&Header, ElfError> {
    if !file.starts_with(&elf::ELFMAG) {
        return Err(ElfError::NotElf);
    }
    match (file.get(4), file.get(5)) {
        (Some(&elf::ELFCLASS64), Some(&elf::ELFDATA2LSB)) => Header::parse(file).map_err(malformed),
        (Some(_), Some(_)) => Err(ElfError::Class),
        _ => Err(ElfError::Malformed("the header is cut short".into())),
    }
}

/// The section names, when there are any, lie in the file: the monitor insists on it.
fn check_section_names(header: &Header, file: &[u8]) -> Result<(), ElfError> {
    let sections = header.section_headers(LE, file).map_err(malformed)?;
    let number = usize::from(header.e_shstrndx(LE));
    if sections.is_empty() || number == 0 {
        return Ok(());
    }
    let names = sections.get(number).and_then(|names| {
        let end = names.sh_offset(LE).checked_add(names.sh_size(LE))?;
        (end <= file.len() as u64).then_some(())
    });
    names.ok_or_else(|| ElfError::Malformed(format!("the section names, section {number}, are not in the file")))
}

fn malformed(error: object::Error) -> ElfError {
    ElfError::Malformed(error.to_string())
}
