//! Symbols: those that relocations name, and the handler of a cVM that serves others.

use super::bytes::{File, double, loaded_range, name, word};
use super::section::Sections;
use super::{ElfError, Program, Segment, is_code};
use abi::hostcall::HANDLER;
use abi::manifest::NAME_LIMIT;
use alloc::string::String;

/// Bytes of a symbol.
const SYMBOL_SIZE: usize = 24;
/// Section types of symbol tables.
const SHT_SYMTAB: u32 = 2;
const SHT_DYNSYM: u32 = 11;
/// Section number of a symbol that is not defined.
const SHN_UNDEF: u16 = 0;
/// Symbol types.
pub(super) const STT_NOTYPE: u8 = 0;
pub(super) const STT_OBJECT: u8 = 1;
pub(super) const STT_FUNC: u8 = 2;
/// Binding of a symbol that may be absent.
const STB_WEAK: u8 = 2;

/// The dynamic symbol table, by linked addresses as the dynamic section gives them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct SymbolTable {
    pub(super) start: u64,
    /// Bytes of an entry, 0 = not said.
    pub(super) entry_size: u64,
    pub(super) strings: u64,
    pub(super) strings_size: u64,
    /// The hash table, which knows the number of symbols.
    pub(super) hash: Option<u64>,
}

/// One symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    name: u32,
    info: u8,
    section: u16,
    /// Address as linked.
    pub(super) value: u64,
    /// Bytes.
    pub(super) size: u64,
}

impl Symbol {
    /// STT_….
    pub(super) fn kind(&self) -> u8 {
        self.info & 0xf
    }

    pub(super) fn is_defined(&self) -> bool {
        self.section != SHN_UNDEF
    }

    pub(super) fn is_weak(&self) -> bool {
        self.info >> 4 == STB_WEAK
    }

    fn read(entry: &[u8; SYMBOL_SIZE]) -> Symbol {
        Symbol {
            name: word(entry, 0),
            info: entry[4],
            section: u16::from_le_bytes([entry[6], entry[7]]),
            value: double(entry, 8),
            size: double(entry, 16),
        }
    }
}

impl SymbolTable {
    /// The symbol with this number.
    pub(super) fn get(&self, segments: &[Segment], elf: File, index: u32) -> Option<Symbol> {
        let size = SYMBOL_SIZE as u64;
        let address = self.start.checked_add(u64::from(index) * size)?;
        let range = loaded_range(segments, address, size)?;
        let symbol = elf.array(range.start).as_ref().map(Symbol::read);
        symbol.filter(|_| [0, size].contains(&self.entry_size))
    }

    /// The name at an offset of the string table, fit for a message.
    pub(super) fn name(&self, segments: &[Segment], elf: File, offset: u64) -> String {
        let length = self.strings_size.saturating_sub(offset);
        let address = self.strings.wrapping_add(offset);
        let range = loaded_range(segments, address, length);
        name(range.and_then(|range| elf.part(range)))
    }

    /// The name of a symbol, fit for a message.
    pub(super) fn name_of(&self, segments: &[Segment], elf: File, symbol: &Symbol) -> String {
        self.name(segments, elf, u64::from(symbol.name))
    }

    /// The bytes of symbols and strings: as many symbols as the hash table says, or as lie before the strings.
    fn tables(&self, segments: &[Segment], elf: File) -> Option<[File; 2]> {
        let count = match self.hash.and_then(|hash| loaded_range(segments, hash, 8)) {
            Some(hash) => u64::from(word(&elf.array::<8>(hash.start)?, 4)),
            None => self.strings.checked_sub(self.start)? / SYMBOL_SIZE as u64,
        };
        let symbols = loaded_range(segments, self.start, count * SYMBOL_SIZE as u64)?;
        let strings = loaded_range(segments, self.strings, self.strings_size)?;
        Some([elf.part(symbols)?, elf.part(strings)?])
    }
}

/// Address of a function in a table of symbols.
fn function_in([symbols, strings]: [File; 2], wanted: &str) -> Option<u64> {
    symbols.find_map(|entry| {
        let symbol = Symbol::read(entry);
        if !symbol.is_defined() || ![STT_FUNC, STT_NOTYPE].contains(&symbol.kind()) {
            return None;
        }
        let mut name = [0; NAME_LIMIT + 1];
        let name = strings.from(symbol.name as usize).first(&mut name);
        let behind = name.strip_prefix(wanted.as_bytes());
        behind
            .is_some_and(|behind| behind.starts_with(&[0]))
            .then_some(symbol.value)
    })
}

impl Program {
    /// Looks for the function that serves the hostcalls of others.
    ///
    /// # Errors
    /// [`ElfError`] when the section headers are not in the file, or the symbol is no code.
    pub(crate) fn find_handler(&mut self, elf: File) -> Result<(), ElfError> {
        self.handler = self.find_function(elf, HANDLER)?;
        Ok(())
    }

    /// Looks for a function by its name, of [`NAME_LIMIT`] characters at most, in the symbol table or the dynamic one; each
    /// symbol is looked at once.
    ///
    /// # Errors
    /// [`ElfError`] when the section headers are not in the file, or the symbol is no code.
    #[inline(never)]
    pub(crate) fn find_function(&self, elf: File, name: &str) -> Result<Option<u64>, ElfError> {
        let sections = Sections::read(elf)?;
        let of_kind = |kind: u32| {
            let sections = sections.as_ref()?;
            let symbols = sections.find(|section| section.kind == kind)?;
            let strings = sections.get(symbols.link)?;
            function_in([symbols.file(elf)?, strings.file(elf)?], name)
        };
        let loaded = || {
            let table = self.symbols.as_ref()?.tables(&self.segments, elf)?;
            function_in(table, name)
        };
        let found = of_kind(SHT_SYMTAB).or_else(|| of_kind(SHT_DYNSYM)).or_else(loaded);
        match found.filter(|address| !is_code(&self.segments, *address)) {
            Some(address) => Err(ElfError::Handler(address)),
            None => Ok(found),
        }
    }
}
