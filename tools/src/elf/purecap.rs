//! Relocations of purecap programs: reading them from the three places where CHERI toolchains put them. Nothing is judged
//! here; [`check`](super::check) does.

use object::elf;
use object::read::elf::{FileHeader as _, Rela as _, SectionHeader as _, Sym as _};
use serde::Serialize;

use super::{ElfError, Facts, Header, LE, Rela, dynamic::Dynamic, malformed};

/// Name of the table of relocations with addend.
pub const RELA_DYN: &str = ".rela.dyn";
/// Name of the table of relocations of a procedure linkage table.
pub const RELA_PLT: &str = ".rela.plt";
/// Name of the table that CHERI LLVM makes for CHERI-RISC-V.
pub const CAP_RELOCS: &str = "__cap_relocs";

pub use abi::elf::{
    CAP_RELOC_CODE, CAP_RELOC_CONSTANT, CAP_RELOC_FUNCTION, FRAGMENT_CONSTANT, FRAGMENT_DATA, FRAGMENT_FUNCTION,
    R_MORELLO_CAPINIT, R_MORELLO_GLOB_DAT, R_MORELLO_JUMP_SLOT, R_MORELLO_RELATIVE, R_RISCV_CHERI_CAPABILITY,
    R_RISCV_CHERI_CAPABILITY_CODE, R_RISCV_FUNC_RELATIVE,
};

/// Bytes of an entry of `__cap_relocs`: place, object, offset, size, permissions, a word each.
const CAP_RELOC_SIZE: usize = 40;

/// A relocation of a purecap program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PurecapRelocation {
    /// The table: [`RELA_DYN`], [`RELA_PLT`] or [`CAP_RELOCS`].
    pub section: &'static str,
    /// Number in its table, counted from 0.
    pub index: usize,
    /// Address of the place, as linked.
    pub location: u64,
    /// What shall be put there.
    pub wanted: Wanted,
}

/// What a relocation wants, as its table says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wanted {
    /// A word: the addend plus where the program is loaded.
    Word,
    /// A capability to a symbol plus an addend.
    Symbol {
        /// Number in the dynamic symbol table.
        index: u32,
        /// The symbol; `None` when the table has no such entry.
        symbol: Option<Symbol>,
        /// What is added to its address.
        addend: u64,
    },
    /// A capability that the place itself describes.
    Fragment {
        /// Address and length with permissions, as they stand there; `None` when the file has no bytes for the place.
        content: Option<(u64, u64)>,
        /// What is added to the address.
        addend: u64,
    },
    /// A capability that the entry describes.
    Entry {
        /// First address of the object.
        object: u64,
        /// What is added to it.
        offset: u64,
        /// Bytes of the object.
        size: u64,
        /// [`CAP_RELOC_FUNCTION`], [`CAP_RELOC_CONSTANT`] or 0.
        permissions: u64,
    },
    /// Something else.
    Unknown {
        /// `r_type`.
        kind: u32,
    },
}

/// A symbol of the dynamic symbol table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Symbol {
    /// Its name.
    pub name: String,
    /// `STT_…`.
    pub kind: u8,
    /// `STB_…`.
    pub binding: u8,
    /// Whether the program defines it.
    pub defined: bool,
    /// Its address, as linked.
    pub value: u64,
    /// Its bytes.
    pub size: u64,
}

/// The relocations of a purecap program. The segments of `facts` are known.
///
/// # Errors
/// A table lies outside of the file, or is not made of whole entries.
pub(super) fn read(
    facts: &Facts,
    file: &[u8],
    header: &Header,
    dynamic: Option<&Dynamic<'_>>,
) -> Result<Vec<PurecapRelocation>, ElfError> {
    let sections = header.sections(LE, file).map_err(malformed)?;
    let section = |name: &'static str| -> Result<&[u8], ElfError> {
        match sections.section_by_name(LE, name.as_bytes()) {
            Some((_, section)) => section.data(LE, file).map_err(malformed),
            None => Ok(&[]),
        }
    };
    let mut found = Vec::new();
    let symbols = dynamic.map(|dynamic| &dynamic.symbols);
    let relocations = match dynamic {
        Some(dynamic) => dynamic.table(facts, file, elf::DT_RELA, elf::DT_RELASZ)?,
        None => section(RELA_DYN)?,
    };
    let procedures = match dynamic {
        Some(dynamic) => dynamic.table(facts, file, elf::DT_JMPREL, elf::DT_PLTRELSZ)?,
        None => &[],
    };
    for (section, bytes) in [(RELA_DYN, relocations), (RELA_PLT, procedures)] {
        let table: &[Rela] = object::pod::slice_from_all_bytes(bytes).map_err(|()| entries(section, bytes))?;
        for (index, entry) in table.iter().enumerate() {
            found.push(PurecapRelocation {
                section,
                index,
                location: entry.r_offset(LE),
                wanted: wanted(facts, file, symbols, entry),
            });
        }
    }
    let mut capabilities = section(CAP_RELOCS)?;
    if let (Some(dynamic), true) = (dynamic, capabilities.is_empty()) {
        capabilities = dynamic.table(
            facts,
            file,
            super::DT_RISCV_CHERI_CAP_RELOCS,
            super::DT_RISCV_CHERI_CAP_RELOCS_SIZE,
        )?;
    }
    if !capabilities.len().is_multiple_of(CAP_RELOC_SIZE) {
        return Err(entries(CAP_RELOCS, capabilities));
    }
    found.extend(
        capabilities
            .chunks_exact(CAP_RELOC_SIZE)
            .enumerate()
            .map(|(index, entry)| {
                let [location, object, offset, size, permissions] = [0, 8, 16, 24, 32].map(|at| word(&entry[at..]));
                PurecapRelocation {
                    section: CAP_RELOCS,
                    index,
                    location,
                    wanted: Wanted::Entry {
                        object,
                        offset,
                        size,
                        permissions,
                    },
                }
            }),
    );
    Ok(found)
}

/// The first word of at least 8 bytes.
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[..8]);
    u64::from_le_bytes(word)
}

fn entries(section: &'static str, bytes: &[u8]) -> ElfError {
    ElfError::TableSize {
        section,
        size: bytes.len(),
    }
}

fn wanted(facts: &Facts, file: &[u8], symbols: Option<&super::dynamic::Symbols>, entry: &Rela) -> Wanted {
    let (kind, addend) = (entry.r_type(LE, false), entry.r_addend(LE).cast_unsigned());
    let index = entry.r_sym(LE, false);
    let by_symbol = || Wanted::Symbol {
        index,
        symbol: symbols.and_then(|symbols| symbol(facts, file, symbols, index)),
        addend,
    };
    match (facts.machine, kind) {
        (elf::EM_RISCV, elf::R_RISCV_RELATIVE | R_RISCV_FUNC_RELATIVE) | (elf::EM_AARCH64, elf::R_AARCH64_RELATIVE)
            if index == 0 =>
        {
            Wanted::Word
        }
        (elf::EM_RISCV, R_RISCV_CHERI_CAPABILITY | R_RISCV_CHERI_CAPABILITY_CODE)
        | (elf::EM_AARCH64, R_MORELLO_CAPINIT | R_MORELLO_GLOB_DAT | R_MORELLO_JUMP_SLOT) => by_symbol(),
        (elf::EM_AARCH64, R_MORELLO_RELATIVE) => {
            let bytes = facts.loaded(file, entry.r_offset(LE), Some(16));
            Wanted::Fragment {
                content: bytes.map(|bytes| (word(bytes), word(&bytes[8..]))),
                addend,
            }
        }
        _ => Wanted::Unknown { kind },
    }
}

fn symbol(facts: &Facts, file: &[u8], symbols: &super::dynamic::Symbols, index: u32) -> Option<Symbol> {
    let size = size_of::<elf::Sym64<object::LittleEndian>>() as u64;
    if ![0, size].contains(&symbols.entry_size) {
        return None;
    }
    let address = symbols.start?.checked_add(u64::from(index) * size)?;
    let bytes = facts.loaded(file, address, Some(size))?;
    let (entry, _) = object::pod::from_bytes::<elf::Sym64<object::LittleEndian>>(bytes).ok()?;
    Some(Symbol {
        name: symbols.name(facts, file, u64::from(entry.st_name(LE))),
        kind: entry.st_type(),
        binding: entry.st_bind(),
        defined: entry.st_shndx(LE) != elf::SHN_UNDEF,
        value: entry.st_value(LE),
        size: entry.st_size(LE),
    })
}
