//! The dynamic section: refuses what needs a dynamic loader, finds the tables of a static program.

use super::bytes::{File, double, file_range, loaded_range, name};
use super::symbol::SymbolTable;
use super::{ElfError, Header, PT_DYNAMIC, PT_INTERP, RELA_SIZE, Segment};
use alloc::string::String;
use core::ops::Range;

const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_PLTRELSZ: u64 = 2;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const DT_RELAENT: u64 = 9;
const DT_STRSZ: u64 = 10;
const DT_SYMENT: u64 = 11;
const DT_REL: u64 = 17;
const DT_PLTREL: u64 = 20;
const DT_JMPREL: u64 = 23;
const DT_RELR: u64 = 36;
/// Address and bytes of `__cap_relocs` (CHERI LLVM: DT_RISCV_CHERI___CAPRELOCS and …SZ).
const DT_CAP_RELOCS: u64 = 0x7000_c000;
const DT_CAP_RELOCS_SIZE: u64 = 0x7000_c001;

/// Bytes of an entry of `__cap_relocs`.
pub(super) const CAP_RELOC_SIZE: u64 = 40;

/// What a dynamic section says.
#[derive(Default)]
pub(super) struct Dynamic {
    /// Whether there is one.
    pub(super) present: bool,
    /// File range of the relocation table.
    pub(super) relocations: Range<usize>,
    /// File range of the relocations of a procedure linkage table.
    pub(super) procedures: Range<usize>,
    /// File range of `__cap_relocs`.
    pub(super) capabilities: Range<usize>,
    pub(super) symbols: Option<SymbolTable>,
}

/// A table that two tags describe: its address and its bytes.
#[derive(Clone, Copy, Default)]
struct Table {
    address: u64,
    size: u64,
}

impl Table {
    fn range(self, segments: &[Segment], entry: u64, what: [&'static str; 2]) -> Result<Range<usize>, ElfError> {
        let [table, entries] = what;
        if self.size == 0 {
            return Ok(0..0);
        }
        if !self.size.is_multiple_of(entry) {
            return Err(ElfError::DynamicRange(entries));
        }
        loaded_range(segments, self.address, self.size).ok_or(ElfError::DynamicRange(table))
    }
}

const RELOCATIONS: [&str; 2] = ["the relocation table", "a relocation table with entries of 24 bytes"];
const CAPABILITIES: [&str; 2] = ["__cap_relocs", "__cap_relocs with entries of 40 bytes"];

/// Reads the dynamic section.
///
/// # Errors
/// [`ElfError`] for a program that is not static, or tables that are not in the segments' file data.
pub(super) fn read(
    headers: impl Iterator<Item = Header>,
    segments: &[Segment],
    purecap: bool,
    elf: File,
) -> Result<Dynamic, ElfError> {
    let mut found = Dynamic::default();
    let [mut relocations, mut procedures, mut capabilities] = [Table::default(); 3];
    let (mut interpreter, mut needed): (Option<String>, Option<u64>) = (None, None);
    let mut entry_size = RELA_SIZE;
    let mut symbols = SymbolTable::default();
    for header in headers {
        match header.kind {
            PT_INTERP => {
                let path = file_range(header.offset, header.file_size, elf.len());
                interpreter = Some(name(path.and_then(|path| elf.part(path))));
                continue;
            }
            PT_DYNAMIC => {}
            _ => continue,
        }
        found.present = true;
        if header.file_size == 0 {
            continue;
        }
        let range = file_range(header.offset, header.file_size, elf.len());
        let table = range.and_then(|range| elf.part(range));
        let table = table.ok_or(ElfError::DynamicRange("the dynamic section"))?;
        let end = table.find_map::<16, _>(|entry| {
            let value = double(entry, 8);
            match double(entry, 0) {
                DT_NULL => return Some(Ok(())),
                DT_NEEDED => needed = needed.or(Some(value)),
                DT_REL => return Some(Err("DT_REL")),
                DT_RELR => return Some(Err("DT_RELR")),
                DT_JMPREL if !purecap => return Some(Err("DT_JMPREL")),
                DT_PLTREL if value != DT_RELA => return Some(Err("DT_PLTREL")),
                DT_RELA => relocations.address = value,
                DT_RELASZ => relocations.size = value,
                DT_RELAENT => entry_size = value,
                DT_JMPREL => procedures.address = value,
                DT_PLTRELSZ => procedures.size = value,
                DT_CAP_RELOCS => capabilities.address = value,
                DT_CAP_RELOCS_SIZE => capabilities.size = value,
                DT_HASH => symbols.hash = Some(value),
                DT_STRTAB => symbols.strings = value,
                DT_STRSZ => symbols.strings_size = value,
                DT_SYMTAB => symbols.start = value,
                DT_SYMENT => symbols.entry_size = value,
                _ => {}
            }
            None
        });
        end.unwrap_or(Ok(())).map_err(ElfError::Dynamic)?;
    }
    if let Some(offset) = needed {
        return Err(ElfError::Needed(symbols.name(segments, elf, offset)));
    }
    if let Some(path) = interpreter {
        return Err(ElfError::Interpreter(path));
    }
    if relocations.size != 0 && entry_size != RELA_SIZE {
        return Err(ElfError::DynamicRange(RELOCATIONS[1]));
    }
    found.relocations = relocations.range(segments, RELA_SIZE, RELOCATIONS)?;
    if purecap {
        found.procedures = procedures.range(segments, RELA_SIZE, RELOCATIONS)?;
        found.capabilities = capabilities.range(segments, CAP_RELOC_SIZE, CAPABILITIES)?;
    }
    found.symbols = (symbols.start != 0).then_some(symbols);
    Ok(found)
}
