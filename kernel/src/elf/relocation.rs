//! Relocations. Those of a hybrid program are words; those of a purecap one make capabilities besides, from three tables:
//! `.rela.dyn`, the relocations of a procedure linkage table, and `__cap_relocs`. None may make more of the program
//! accessible than its segments say.

use super::bytes::{File, double, loaded_range};
use super::dynamic::CAP_RELOC_SIZE;
use super::symbol::{STT_FUNC, STT_NOTYPE, STT_OBJECT};
use super::{ElfError, Program, RELA_SIZE, Reason, Segment, is_code};
use abi::elf::{
    CAP_RELOC_CODE, CAP_RELOC_CONSTANT, CAP_RELOC_FUNCTION, FRAGMENT_CONSTANT, FRAGMENT_DATA, FRAGMENT_FUNCTION,
};
use core::ops::Range;

/// Bytes of a capability, and the alignment of its place.
const CAPABILITY_SIZE: u64 = 16;
/// Bytes that the address of a capability may lie below its object and above, however small that is.
const REACH_BELOW: u64 = 1024;
const REACH_ABOVE: u64 = 2048;
/// Where the permissions of a fragment stand in its second word: the highest 8 bits.
const FRAGMENT_PERMISSIONS: u32 = 56;

/// File ranges of the tables, each made of whole entries.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Tables {
    pub(super) relocations: Range<usize>,
    pub(super) procedures: Range<usize>,
    pub(super) capabilities: Range<usize>,
}

/// What becomes of the memory at an address. Addresses are as linked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relocation {
    pub(crate) address: u64,
    pub(crate) value: Value,
}

/// What a relocation puts at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// 8 bytes: the addend plus the load bias.
    Word(u64),
    /// 16 bytes: this integer, without a tag.
    Null(u64),
    /// A capability over an object.
    Object {
        bounds: Range<u64>,
        address: u64,
        writable: bool,
    },
    /// A sentry to a function.
    Function(u64),
}

impl Program {
    /// Hands the relocations of a hybrid program from this number on, checked by [`Program::check`], to `each`: the address
    /// of a word, and the addend; until that returns something. Those before are not walked through.
    #[inline]
    pub(crate) fn words<T>(&self, elf: File, from: usize, mut each: impl FnMut(u64, u64) -> Option<T>) -> Option<T> {
        let table = elf.part(self.tables.relocations.clone())?;
        let rest = table.from(from * RELA_SIZE as usize);
        rest.find_map(|entry: &[u8; RELA_SIZE as usize]| each(double(entry, 0), double(entry, 16)))
    }

    /// Hands the relocations of a purecap program from this number on, counted through all tables, to `each`, until that
    /// returns something. Those before are not walked through. None is an error after [`Program::check`] has accepted the
    /// same bytes.
    pub(crate) fn relocations<T>(
        &self,
        elf: File,
        from: usize,
        mut each: impl FnMut(Result<Relocation, ElfError>) -> Option<T>,
    ) -> Option<T> {
        let mut skipped = from;
        for (table, range) in [
            (".rela.dyn", &self.tables.relocations),
            (".rela.plt", &self.tables.procedures),
        ] {
            let size = RELA_SIZE as usize;
            let mut index = skipped.min(range.len() / size);
            skipped -= index;
            let rest = elf.part(range.start + index * size..range.end)?;
            let found = rest.find_map(|entry: &[u8; RELA_SIZE as usize]| {
                let relocation = self.relative(elf, entry);
                index += 1;
                each(relocation.map_err(|reason| ElfError::Relocation {
                    table,
                    index: index - 1,
                    reason,
                }))
            });
            if found.is_some() {
                return found;
            }
        }
        let (table, range) = ("__cap_relocs", &self.tables.capabilities);
        let mut index = skipped.min(range.len() / CAP_RELOC_SIZE as usize);
        let rest = elf.part(range.start + index * CAP_RELOC_SIZE as usize..range.end)?;
        rest.find_map(|entry: &[u8; CAP_RELOC_SIZE as usize]| {
            let relocation = self.capability(entry);
            index += 1;
            each(relocation.map_err(|reason| ElfError::Relocation {
                table,
                index: index - 1,
                reason,
            }))
        })
    }

    /// The relocation of a purecap program with this number; none behind the last.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn relocation(&self, elf: File, number: usize) -> Option<Result<Relocation, ElfError>> {
        self.relocations(elf, number, Some)
    }

    /// Checks all relocations.
    pub(super) fn check_relocations(&self, elf: File) -> Result<(), ElfError> {
        if self.purecap {
            let wrong = self.relocations(elf, 0, Result::err);
            return wrong.map_or(Ok(()), Err);
        }
        let relative = |info: u64| {
            let kind = u32::try_from(info).ok().and_then(arch::relocation);
            kind == Some(arch::Relocation::Relative)
        };
        let mut known = None;
        let Some(table) = elf.part(self.tables.relocations.clone()) else {
            return Ok(());
        };
        let mut index = 0;
        let wrong = table.find_map(|entry: &[u8; RELA_SIZE as usize]| {
            let (address, info) = (double(entry, 0), double(entry, 8));
            if known != Some(info) {
                if !relative(info) {
                    let found = info as u32;
                    return Some(ElfError::RelocationType { index, found });
                }
                known = Some(info);
            }
            if self.segment_of(address, 8).is_none() {
                return Some(ElfError::RelocationTarget { index, address });
            }
            index += 1;
            None
        });
        wrong.map_or(Ok(()), Err)
    }

    /// An entry of a table of Elf64_Rela.
    fn relative(&self, elf: File, entry: &[u8; RELA_SIZE as usize]) -> Result<Relocation, Reason> {
        let (address, info, addend) = (double(entry, 0), double(entry, 8), double(entry, 16));
        let (kind, symbol) = (info as u32, (info >> 32) as u32);
        let value = match arch::relocation(kind) {
            Some(arch::Relocation::Relative) if symbol == 0 => {
                self.segment_of(address, 8).ok_or(Reason::Location(address))?;
                Value::Word(addend)
            }
            Some(arch::Relocation::Symbol) => {
                self.check_place(address)?;
                self.symbol_value(elf, symbol, addend)?
            }
            Some(arch::Relocation::Fragment) => {
                self.check_place(address)?;
                self.fragment_value(elf, address, addend)?
            }
            _ => return Err(Reason::Type(kind)),
        };
        Ok(Relocation { address, value })
    }

    /// An entry of `__cap_relocs`: place, object, offset, size, permissions.
    fn capability(&self, entry: &[u8; CAP_RELOC_SIZE as usize]) -> Result<Relocation, Reason> {
        let [address, object, offset, size, permissions] = [0, 8, 16, 24, 32].map(|at| double(entry, at));
        self.check_place(address)?;
        let known = CAP_RELOC_FUNCTION | CAP_RELOC_CONSTANT | CAP_RELOC_CODE;
        if permissions & !known != 0 || permissions & (CAP_RELOC_FUNCTION | CAP_RELOC_CODE) == CAP_RELOC_CODE {
            return Err(Reason::Permissions(permissions));
        }
        let target = object.wrapping_add(offset);
        let value = if object == 0 && size == 0 {
            // What a weak symbol that nobody defines becomes. Of a function, newer linkers give the object and the size of
            // all code that one PCC covers, from 0 on perhaps (PT_CHERI_PCC).
            Value::Null(offset)
        } else if permissions & CAP_RELOC_FUNCTION != 0 {
            self.function(target)?
        } else {
            self.object(object, size, target, permissions & CAP_RELOC_CONSTANT == 0)?
        };
        Ok(Relocation { address, value })
    }

    fn symbol_value(&self, elf: File, index: u32, addend: u64) -> Result<Value, Reason> {
        let table = self.symbols.as_ref();
        let found = table.and_then(|table| Some((table, table.get(&self.segments, elf, index)?)));
        let (table, symbol) = found.ok_or(Reason::NoSymbol(index))?;
        let name = || table.name_of(&self.segments, elf, &symbol);
        let target = symbol.value.wrapping_add(addend);
        if !symbol.is_defined() {
            return if symbol.is_weak() {
                Ok(Value::Null(addend))
            } else {
                Err(Reason::Undefined(name()))
            };
        }
        match symbol.kind() {
            STT_FUNC => self.function(target),
            STT_NOTYPE | STT_OBJECT => {
                let writable = self.may_write(symbol.value, symbol.size);
                self.object(symbol.value, symbol.size, target, writable)
            }
            found => Err(Reason::SymbolType { name: name(), found }),
        }
    }

    fn fragment_value(&self, elf: File, address: u64, addend: u64) -> Result<Value, Reason> {
        let fragment = loaded_range(&self.segments, address, CAPABILITY_SIZE);
        let fragment = fragment.and_then(|fragment| elf.array::<16>(fragment.start));
        let fragment = fragment.ok_or(Reason::Fragment(address))?;
        let (start, what) = (double(&fragment, 0), double(&fragment, 8));
        let (size, permissions) = (
            what & ((1 << FRAGMENT_PERMISSIONS) - 1),
            (what >> FRAGMENT_PERMISSIONS) as u8,
        );
        let target = start.wrapping_add(addend);
        match permissions {
            // The fragment's bounds are those that the linker has computed for PCC: the monitor has its own.
            FRAGMENT_FUNCTION => self.function(target),
            FRAGMENT_CONSTANT | FRAGMENT_DATA => self.object(start, size, target, permissions == FRAGMENT_DATA),
            _ => Err(Reason::Permissions(permissions.into())),
        }
    }

    fn function(&self, address: u64) -> Result<Value, Reason> {
        if is_code(&self.segments, address) {
            Ok(Value::Function(address))
        } else {
            Err(Reason::Function(address))
        }
    }

    fn object(&self, start: u64, size: u64, address: u64, writable: bool) -> Result<Value, Reason> {
        self.segment_of(start, size).ok_or(Reason::Object { start, size })?;
        // No bytes, no authority: linkers say of symbols without a size that they are writable.
        if writable && size != 0 && !self.may_write(start, size) {
            return Err(Reason::Writable { start, size });
        }
        // Only so much is known of where it will lie; of a program at fixed addresses, all.
        let (length, alignment) = arch::representable(size);
        let known = !self.relocatable || alignment <= self.alignment;
        if length != size || !known || !start.is_multiple_of(alignment) {
            return Err(Reason::Bounds {
                start,
                size,
                length,
                alignment,
            });
        }
        // Compressed bounds keep their meaning this far from the object wherever it lies (CHERI Concentrate).
        let (below, above) = ((size / 8).max(REACH_BELOW), (size / 4).max(REACH_ABOVE));
        // Seen from the lowest such address, which may lie below 0.
        if address.wrapping_sub(start).wrapping_add(below) > below + size + above {
            return Err(Reason::Address { start, size, address });
        }
        Ok(Value::Object {
            bounds: start..start + size,
            address,
            writable,
        })
    }

    /// Whether all of an object inside one segment is writable when the program runs.
    fn may_write(&self, start: u64, size: u64) -> bool {
        let constant = start < self.relro.end && start.saturating_add(size.max(1)) > self.relro.start;
        !constant && self.segment_of(start, size).is_some_and(|segment| segment.writable)
    }

    /// The segment that has all of `size` bytes at an address.
    fn segment_of(&self, address: u64, size: u64) -> Option<&Segment> {
        self.segments.iter().find(|segment| {
            address >= segment.address
                && address
                    .checked_add(size)
                    .is_some_and(|end| end - segment.address <= segment.memory_size)
        })
    }

    fn check_place(&self, address: u64) -> Result<(), Reason> {
        if !address.is_multiple_of(CAPABILITY_SIZE) {
            return Err(Reason::Alignment(address));
        }
        self.segment_of(address, CAPABILITY_SIZE)
            .map(|_| ())
            .ok_or(Reason::Location(address))
    }
}
