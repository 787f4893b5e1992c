//! The dynamic section of a program: which tables it has, and what it would need from others.

use object::elf;
use object::read::elf::{Dyn as _, Rela as _};

use super::{
    DT_RELR, DT_RISCV_CHERI_CAP_RELOCS, DT_RISCV_CHERI_CAP_RELOCS_SIZE, ElfError, Facts, LE, Rela, Relocation,
};

/// The tags that are looked at; of one that stands there twice the last counts.
const TAGS: [u32; 15] = [
    elf::DT_RELA,
    elf::DT_RELASZ,
    elf::DT_RELAENT,
    elf::DT_REL,
    DT_RELR,
    elf::DT_JMPREL,
    elf::DT_PLTREL,
    elf::DT_PLTRELSZ,
    elf::DT_STRTAB,
    elf::DT_STRSZ,
    elf::DT_SYMTAB,
    elf::DT_SYMENT,
    elf::DT_NEEDED,
    DT_RISCV_CHERI_CAP_RELOCS,
    DT_RISCV_CHERI_CAP_RELOCS_SIZE,
];

/// Where the dynamic symbols and their names are, as linked.
pub(super) struct Symbols {
    pub(super) start: Option<u64>,
    /// Bytes of an entry, 0 = not said.
    pub(super) entry_size: u64,
    strings: Option<u64>,
    strings_size: Option<u64>,
}

impl Symbols {
    /// The name at an offset of the strings; empty when there is none.
    pub(super) fn name(&self, facts: &Facts, file: &[u8], offset: u64) -> String {
        let strings = self
            .strings
            .and_then(|start| facts.loaded(file, start, self.strings_size));
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| strings.unwrap_or_default().get(offset..));
        let name = rest.and_then(|rest| rest.split(|byte| *byte == 0).next());
        String::from_utf8_lossy(name.unwrap_or_default()).into_owned()
    }
}

/// A dynamic section.
pub(super) struct Dynamic<'a> {
    entries: Vec<&'a elf::Dyn64<object::LittleEndian>>,
    pub(super) symbols: Symbols,
}

impl<'a> Dynamic<'a> {
    /// The section that stands in these parts, each of which ends with its `DT_NULL`.
    pub(super) fn new(parts: &[&'a [elf::Dyn64<object::LittleEndian>]]) -> Dynamic<'a> {
        let known = |entry: &&elf::Dyn64<object::LittleEndian>| {
            u32::try_from(entry.d_tag(LE)).is_ok_and(|tag| TAGS.contains(&tag))
        };
        let mut dynamic = Dynamic {
            entries: parts
                .iter()
                .flat_map(|part| {
                    part.iter()
                        .take_while(|entry| entry.d_tag(LE) != u64::from(elf::DT_NULL))
                })
                .filter(known)
                .collect(),
            symbols: Symbols {
                start: None,
                entry_size: 0,
                strings: None,
                strings_size: None,
            },
        };
        dynamic.symbols = Symbols {
            start: dynamic.value(elf::DT_SYMTAB),
            entry_size: dynamic.value(elf::DT_SYMENT).unwrap_or_default(),
            strings: dynamic.value(elf::DT_STRTAB),
            strings_size: dynamic.value(elf::DT_STRSZ),
        };
        dynamic
    }

    fn value(&self, tag: u32) -> Option<u64> {
        let last = self.entries.iter().rfind(|entry| entry.d_tag(LE) == u64::from(tag));
        last.map(|entry| entry.d_val(LE))
    }

    /// The bytes of the table whose address and size two tags give; empty when there is none.
    ///
    /// # Errors
    /// They are not in the bytes of one segment.
    pub(super) fn table<'f>(&self, facts: &Facts, file: &'f [u8], at: u32, size: u32) -> Result<&'f [u8], ElfError> {
        let size = self.value(size).unwrap_or_default();
        if size == 0 {
            return Ok(&[]);
        }
        let address = self.value(at).unwrap_or_default();
        let bytes = facts.loaded(file, address, Some(size));
        bytes.ok_or(ElfError::RelocationTable { address, size })
    }

    /// What the section says of the program, apart from capabilities.
    ///
    /// # Errors
    /// The relocation table is not made of whole entries in one segment.
    pub(super) fn facts(&self, facts: &mut Facts, file: &[u8]) -> Result<(), ElfError> {
        for entry in &self.entries {
            match u32::try_from(entry.d_tag(LE)) {
                Ok(elf::DT_NEEDED) => {
                    let name = self.symbols.name(facts, file, entry.d_val(LE));
                    facts.needed.push(name);
                }
                Ok(elf::DT_REL) => facts.other_relocations.push("DT_REL"),
                Ok(DT_RELR) => facts.other_relocations.push("DT_RELR"),
                Ok(elf::DT_JMPREL) if !facts.purecap() => facts.other_relocations.push("DT_JMPREL"),
                Ok(elf::DT_PLTREL) if entry.d_val(LE) != u64::from(elf::DT_RELA) => {
                    facts.other_relocations.push("DT_PLTREL");
                }
                _ => {}
            }
        }
        let bytes = self.table(facts, file, elf::DT_RELA, elf::DT_RELASZ)?;
        let entry_size = self.value(elf::DT_RELAENT).unwrap_or(size_of::<Rela>() as u64);
        let table = object::pod::slice_from_all_bytes::<Rela>(bytes).ok();
        let table = table.filter(|table| table.is_empty() || entry_size == size_of::<Rela>() as u64);
        let table = table.ok_or(ElfError::RelocationTable {
            address: self.value(elf::DT_RELA).unwrap_or_default(),
            size: bytes.len() as u64,
        })?;
        facts.relocations.extend(table.iter().map(|relocation| Relocation {
            address: relocation.r_offset(LE),
            kind: relocation.r_type(LE, false),
            symbol: relocation.r_sym(LE, false),
        }));
        Ok(())
    }
}
