//! Relocations. Those of a hybrid program are words; those of a purecap one make capabilities besides, from three tables:
//! `.rela.dyn`, the relocations of a procedure linkage table, and `__cap_relocs`. None may make more of the program
//! accessible than its segments say.

use super::bytes::{double, loaded_range};
use super::dynamic::CAP_RELOC_SIZE;
use super::symbol::{STT_FUNC, STT_NOTYPE, STT_OBJECT};
use super::{ElfError, Program, RELA_SIZE, Reason, Segment, is_code};
use core::ops::Range;

/// Bytes of a capability, and the alignment of its place.
const CAPABILITY_SIZE: u64 = 16;
/// Bytes that the address of a capability may lie below its object and above, however small that is.
const REACH_BELOW: u64 = 1024;
const REACH_ABOVE: u64 = 2048;
/// Permissions of an entry of `__cap_relocs`: a function, a constant; none = data.
const CAP_RELOC_FUNCTION: u64 = 1 << 63;
const CAP_RELOC_CONSTANT: u64 = 1 << 62;
/// … and a place in a function that nothing else may take the place of (CHERI LLVM, `lld/ELF/Arch/Cheri.cpp`).
const CAP_RELOC_CODE: u64 = 1 << 60;
/// Permissions of a fragment of R_MORELLO_RELATIVE, in the highest 8 bits of its second word.
const FRAGMENT_CONSTANT: u64 = 1;
const FRAGMENT_DATA: u64 = 2;
const FRAGMENT_FUNCTION: u64 = 4;
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
    /// The relocations of a hybrid program from this number on, checked by [`Program::check`]: the address of a word, and
    /// the addend. Those before are not walked through.
    pub(crate) fn words<'a>(&self, bytes: &'a [u8], from: usize) -> impl Iterator<Item = [u64; 2]> + use<'a> {
        let table = &bytes[self.tables.relocations.clone()];
        let start = table.len().min(from * RELA_SIZE as usize);
        table[start..]
            .chunks_exact(RELA_SIZE as usize)
            .map(|entry| [double(entry, 0), double(entry, 16)])
    }

    /// The relocation of a purecap program with this number, counted through all tables; none behind the last.
    ///
    /// # Errors
    /// [`ElfError::Relocation`]; not after [`Program::check`] has accepted the same bytes.
    pub(crate) fn relocation(&self, bytes: &[u8], number: usize) -> Option<Result<Relocation, ElfError>> {
        let tables = [
            (".rela.dyn", &self.tables.relocations, RELA_SIZE),
            (".rela.plt", &self.tables.procedures, RELA_SIZE),
            ("__cap_relocs", &self.tables.capabilities, CAP_RELOC_SIZE),
        ];
        let mut index = number;
        for (table, range, size) in tables {
            let size = size as usize;
            let count = range.len() / size;
            if index < count {
                let entry = &bytes[range.start + index * size..][..size];
                let relocation = if size as u64 == RELA_SIZE {
                    self.relative(bytes, entry)
                } else {
                    self.capability(entry)
                };
                return Some(relocation.map_err(|reason| ElfError::Relocation { table, index, reason }));
            }
            index -= count;
        }
        None
    }

    /// Checks all relocations.
    pub(super) fn check_relocations(&self, bytes: &[u8]) -> Result<(), ElfError> {
        if self.purecap {
            let mut all = (0..).map_while(|number| self.relocation(bytes, number));
            return all.try_for_each(|relocation| relocation.map(|_| ()));
        }
        let relative = |info: u64| {
            let kind = u32::try_from(info).ok().and_then(arch::relocation);
            kind == Some(arch::Relocation::Relative)
        };
        let mut known = None;
        for (index, entry) in bytes[self.tables.relocations.clone()]
            .chunks_exact(RELA_SIZE as usize)
            .enumerate()
        {
            let (index, address, info) = (index as u64, double(entry, 0), double(entry, 8));
            if known != Some(info) {
                if !relative(info) {
                    return Err(ElfError::RelocationType {
                        index,
                        found: info as u32,
                    });
                }
                known = Some(info);
            }
            if self.segment_of(address, 8).is_none() {
                return Err(ElfError::RelocationTarget { index, address });
            }
        }
        Ok(())
    }

    /// An entry of a table of Elf64_Rela.
    fn relative(&self, bytes: &[u8], entry: &[u8]) -> Result<Relocation, Reason> {
        let (address, info, addend) = (double(entry, 0), double(entry, 8), double(entry, 16));
        let (kind, symbol) = (info as u32, (info >> 32) as u32);
        let value = match arch::relocation(kind) {
            Some(arch::Relocation::Relative) if symbol == 0 => {
                self.segment_of(address, 8).ok_or(Reason::Location(address))?;
                Value::Word(addend)
            }
            Some(arch::Relocation::Symbol) => {
                self.check_place(address)?;
                self.symbol_value(bytes, symbol, addend)?
            }
            Some(arch::Relocation::Fragment) => {
                self.check_place(address)?;
                self.fragment_value(bytes, address, addend)?
            }
            _ => return Err(Reason::Type(kind)),
        };
        Ok(Relocation { address, value })
    }

    /// An entry of `__cap_relocs`: place, object, offset, size, permissions.
    fn capability(&self, entry: &[u8]) -> Result<Relocation, Reason> {
        let [address, object, offset, size, permissions] = [0, 8, 16, 24, 32].map(|at| double(entry, at));
        self.check_place(address)?;
        let known = CAP_RELOC_FUNCTION | CAP_RELOC_CONSTANT | CAP_RELOC_CODE;
        if permissions & !known != 0 || permissions & (CAP_RELOC_FUNCTION | CAP_RELOC_CODE) == CAP_RELOC_CODE {
            return Err(Reason::Permissions(permissions));
        }
        let target = object.wrapping_add(offset);
        let value = if object == 0 {
            // What a weak symbol that nobody defines becomes.
            Value::Null(offset)
        } else if permissions & CAP_RELOC_FUNCTION != 0 {
            self.function(target)?
        } else {
            self.object(object, size, target, permissions & CAP_RELOC_CONSTANT == 0)?
        };
        Ok(Relocation { address, value })
    }

    fn symbol_value(&self, bytes: &[u8], index: u32, addend: u64) -> Result<Value, Reason> {
        let table = self.symbols.as_ref();
        let found = table.and_then(|table| Some((table, table.get(&self.segments, bytes, index)?)));
        let (table, symbol) = found.ok_or(Reason::NoSymbol(index))?;
        let name = || table.name_of(&self.segments, bytes, &symbol);
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

    fn fragment_value(&self, bytes: &[u8], address: u64, addend: u64) -> Result<Value, Reason> {
        let fragment = loaded_range(&self.segments, address, CAPABILITY_SIZE).ok_or(Reason::Fragment(address))?;
        let (start, what) = (double(&bytes[fragment.clone()], 0), double(&bytes[fragment], 8));
        let (size, permissions) = (what & ((1 << FRAGMENT_PERMISSIONS) - 1), what >> FRAGMENT_PERMISSIONS);
        let target = start.wrapping_add(addend);
        match permissions {
            // The fragment's bounds are those that the linker has computed for PCC: the monitor has its own.
            FRAGMENT_FUNCTION => self.function(target),
            FRAGMENT_CONSTANT | FRAGMENT_DATA => self.object(start, size, target, permissions == FRAGMENT_DATA),
            _ => Err(Reason::Permissions(permissions)),
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
