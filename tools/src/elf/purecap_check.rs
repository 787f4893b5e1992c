//! What a purecap program must be like beyond a hybrid one: its code capability covers nothing writable, and every
//! relocation makes authority over its own program only, no more than the segment has that it points into. The monitor
//! decides by the same rules and trusts nothing of this.

use std::mem::discriminant;
use std::ops::Range;

use object::elf;

use super::check::{More, range};
use super::purecap::{
    CAP_RELOC_CODE, CAP_RELOC_CONSTANT, CAP_RELOC_FUNCTION, FRAGMENT_CONSTANT, FRAGMENT_DATA, FRAGMENT_FUNCTION,
    Symbol, Wanted,
};
use super::{ElfError, Facts, PAGE, PurecapRelocation};
use crate::Architecture;

/// Bytes of a capability, and the alignment of its place.
const CAPABILITY: u64 = 16;
/// Bits of the length in a fragment.
const FRAGMENT_LENGTH: u32 = 56;

/// What is wrong with a relocation of a purecap program: it may only make authority over its own program, and no more than
/// the segment has that it points into.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelocationProblem {
    /// A type that a static program does not have.
    #[error("type {0}, expected a relative one or one that makes a capability")]
    Kind(u32),
    /// Its place is outside of the program.
    #[error("it changes {0:#x}, which is not inside a loaded segment")]
    Location(u64),
    /// Its place is not one of a capability.
    #[error("it puts a capability at {0:#x}, expected a multiple of 16")]
    Alignment(u64),
    /// Its symbol does not exist.
    #[error("symbol {0} is not in the dynamic symbol table")]
    NoSymbol(u32),
    /// Its symbol is somebody else's.
    #[error("symbol {0} is not defined in the program, expected a static program")]
    Undefined(String),
    /// Its symbol is neither function nor data.
    #[error("symbol {name} has type {kind}, expected a function or an object")]
    SymbolKind {
        /// The symbol.
        name: String,
        /// `STT_…`.
        kind: u8,
    },
    /// A function that is no code.
    #[error("function at {0:#x}, which is not in an executable segment")]
    Function(u64),
    /// An object that is not the program's own, or several segments'.
    #[error("object of {size:#x} bytes at {start:#x}, expected inside one segment")]
    Object {
        /// First address.
        start: u64,
        /// Bytes.
        size: u64,
    },
    /// More authority than the segment has.
    #[error("writable object of {size:#x} bytes at {start:#x}, which is text, constant or RELRO")]
    Writable {
        /// First address.
        start: u64,
        /// Bytes.
        size: u64,
    },
    /// Bounds that no capability can have.
    #[error(
        "object of {size:#x} bytes at {start:#x}: bounds that cannot be said exactly, expected {length:#x} bytes at a \
             multiple of {alignment:#x} in a program aligned to as much"
    )]
    Bounds {
        /// First address.
        start: u64,
        /// Bytes.
        size: u64,
        /// The smallest length that could be said.
        length: u64,
        /// What the address would have to be a multiple of.
        alignment: u64,
    },
    /// An address that no capability over the object can have everywhere.
    #[error("address {address:#x} of an object of {size:#x} bytes at {start:#x}: too far away to be represented")]
    Address {
        /// First address of the object.
        start: u64,
        /// Bytes of it.
        size: u64,
        /// The address.
        address: u64,
    },
    /// Unknown permissions.
    #[error("permissions {0:#x}, expected those of a function, a constant or data")]
    Permissions(u64),
    /// There is nothing where a fragment should be.
    #[error("what it wants stands at {0:#x}, which is not in the file")]
    Fragment(u64),
}

/// What a capability may do with an object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

impl Facts {
    pub(super) fn check_purecap(&self, arch: Architecture, errors: &mut Vec<ElfError>) {
        if self.tgot {
            errors.push(ElfError::Tgot);
        }
        let before = errors.len();
        self.check_relro(errors);
        if errors.len() == before {
            self.check_code(arch, errors);
        }
        // What is wrong in the same way is said once.
        let mut wrong: Vec<(&PurecapRelocation, RelocationProblem, usize)> = Vec::new();
        for relocation in &self.purecap_relocations {
            let Err(problem) = self.check_purecap_relocation(arch, relocation) else {
                continue;
            };
            let alike = |(other, known, _): &&mut (&PurecapRelocation, RelocationProblem, usize)| {
                other.section == relocation.section && discriminant(known) == discriminant(&problem)
            };
            match wrong.iter_mut().find(alike) {
                Some((_, _, more)) => *more += 1,
                None => wrong.push((relocation, problem, 0)),
            }
        }
        errors.extend(wrong.into_iter().map(|(relocation, problem, more)| {
            let (section, index) = (relocation.section, relocation.index);
            ElfError::PurecapRelocation {
                section,
                index,
                more: More(more),
                problem,
            }
        }));
    }

    fn check_relro(&self, errors: &mut Vec<ElfError>) {
        for (index, relro) in self.relro.iter().enumerate() {
            let inside = self.segments.iter().any(|segment| {
                let end = range(segment, PAGE).1;
                segment.writable() && relro.address >= segment.address && relro.end().is_some_and(|last| last <= end)
            });
            if index > 0 || !inside {
                let (address, size) = (relro.address, relro.memory_size);
                errors.push(ElfError::Relro { address, size });
            }
        }
    }

    /// What becomes read-only when the program is loaded; empty when nothing does.
    fn relro_range(&self) -> Range<u64> {
        let first = self.relro.first();
        first.map_or(0..0, |relro| {
            relro.address..relro.address.saturating_add(relro.memory_size)
        })
    }

    /// What a running program may write: number of the segment and addresses.
    fn writable_ranges(&self) -> Vec<(usize, Range<u64>)> {
        let relro = self.relro_range();
        let mut ranges = Vec::new();
        for (index, segment) in self
            .segments
            .iter()
            .enumerate()
            .filter(|(_, segment)| segment.writable())
        {
            let (start, end) = range(segment, 1);
            let pages = range(segment, PAGE);
            if relro.is_empty() || relro.start < pages.0 || relro.start >= pages.1 {
                ranges.push((index, start..end));
            } else {
                ranges.push((index, start..relro.start.min(end)));
                ranges.push((index, relro.end..end));
            }
        }
        ranges.retain(|(_, range)| !range.is_empty());
        ranges
    }

    /// What the code capability covers, before it is rounded: constants, text and RELRO. `None` without segments.
    pub(crate) fn code_range(&self) -> Option<Range<u64>> {
        let pages = || {
            let constant = self.segments.iter().filter(|segment| !segment.writable());
            constant.map(|segment| range(segment, PAGE))
        };
        let start = pages().map(|(start, _)| start).min()?;
        let end = pages().map(|(_, end)| end).max()?;
        Some(start..end.max(self.relro_range().end))
    }

    fn check_code(&self, arch: Architecture, errors: &mut Vec<ElfError>) {
        let Some(code) = self.code_range() else { return };
        let covered = |range: &Range<u64>| range.start < code.end && code.start < range.end;
        if let Some((index, _)) = self.writable_ranges().iter().find(|(_, range)| covered(range)) {
            return errors.push(ElfError::WritableCode {
                index: *index,
                start: code.start,
                end: code.end,
            });
        }
        if let Err(alignment) = self.code_bounds(arch) {
            errors.push(ElfError::CodeBounds {
                start: code.start,
                end: code.end,
                alignment,
            });
        }
    }

    /// The code capability of a purecap program, rounded to bounds that can be said exactly and leave writable data out.
    ///
    /// # Errors
    /// The alignment that both ends would need.
    pub(crate) fn code_bounds(&self, arch: Architecture) -> Result<CodeBounds, u64> {
        let code = self.code_range().unwrap_or(0..0);
        let writable = self.writable_ranges();
        let below = writable
            .iter()
            .map(|(_, range)| range.end)
            .filter(|end| *end <= code.start);
        let above = writable
            .iter()
            .map(|(_, range)| range.start)
            .filter(|start| *start >= code.end);
        let room = Room {
            below: below.max().map_or(u64::MAX, |end| code.start - end),
            above: above.min().unwrap_or(u64::MAX),
        };
        room.widen(arch, &code, self.known_alignment())
    }

    fn check_purecap_relocation(
        &self,
        arch: Architecture,
        relocation: &PurecapRelocation,
    ) -> Result<(), RelocationProblem> {
        let location = relocation.location;
        match &relocation.wanted {
            Wanted::Unknown { kind } => Err(RelocationProblem::Kind(*kind)),
            Wanted::Word if self.inside(location, 8) => Ok(()),
            Wanted::Word => Err(RelocationProblem::Location(location)),
            Wanted::Symbol { index, symbol, addend } => {
                self.check_place(location)?;
                let symbol = symbol.as_ref().ok_or(RelocationProblem::NoSymbol(*index))?;
                self.check_symbol(arch, symbol, *addend)
            }
            Wanted::Fragment { content, addend } => {
                self.check_place(location)?;
                let (start, what) = content.ok_or(RelocationProblem::Fragment(location))?;
                let (size, permissions) = (what & ((1 << FRAGMENT_LENGTH) - 1), (what >> FRAGMENT_LENGTH) as u8);
                match permissions {
                    FRAGMENT_FUNCTION => self.check_function(start.wrapping_add(*addend)),
                    FRAGMENT_CONSTANT => {
                        self.check_object(arch, start, size, start.wrapping_add(*addend), Access::Read)
                    }
                    FRAGMENT_DATA => self.check_object(arch, start, size, start.wrapping_add(*addend), Access::Write),
                    other => Err(RelocationProblem::Permissions(u64::from(other))),
                }
            }
            Wanted::Entry {
                object,
                offset,
                size,
                permissions,
            } => {
                self.check_place(location)?;
                match *permissions {
                    unknown if unknown & !(CAP_RELOC_FUNCTION | CAP_RELOC_CONSTANT | CAP_RELOC_CODE) != 0 => {
                        Err(RelocationProblem::Permissions(unknown))
                    }
                    code if code & (CAP_RELOC_FUNCTION | CAP_RELOC_CODE) == CAP_RELOC_CODE => {
                        Err(RelocationProblem::Permissions(code))
                    }
                    // A weak symbol that nobody defines: a null capability.
                    _ if *object == 0 && *size == 0 => Ok(()),
                    function if function & CAP_RELOC_FUNCTION != 0 => self.check_function(object.wrapping_add(*offset)),
                    0 => self.check_object(arch, *object, *size, object.wrapping_add(*offset), Access::Write),
                    _ => self.check_object(arch, *object, *size, object.wrapping_add(*offset), Access::Read),
                }
            }
        }
    }

    /// Whether a running program may write all of an object.
    pub(crate) fn may_write(&self, start: u64, size: u64) -> bool {
        let relro = self.relro_range();
        let constant = start < relro.end && relro.start < start.saturating_add(size.max(1));
        !constant && self.segment_of(start, size).is_some_and(|segment| segment.writable())
    }

    fn check_place(&self, location: u64) -> Result<(), RelocationProblem> {
        if !location.is_multiple_of(CAPABILITY) {
            return Err(RelocationProblem::Alignment(location));
        }
        if !self.inside(location, CAPABILITY) {
            return Err(RelocationProblem::Location(location));
        }
        Ok(())
    }

    fn check_symbol(&self, arch: Architecture, symbol: &Symbol, addend: u64) -> Result<(), RelocationProblem> {
        if !symbol.defined {
            let weak = symbol.binding == elf::STB_WEAK;
            return if weak {
                Ok(())
            } else {
                Err(RelocationProblem::Undefined(symbol.name.clone()))
            };
        }
        match symbol.kind {
            elf::STT_FUNC => self.check_function(symbol.value.wrapping_add(addend)),
            // What it may do follows from where it lies.
            elf::STT_NOTYPE | elf::STT_OBJECT => self.check_object(
                arch,
                symbol.value,
                symbol.size,
                symbol.value.wrapping_add(addend),
                Access::Read,
            ),
            kind => Err(RelocationProblem::SymbolKind {
                name: symbol.name.clone(),
                kind,
            }),
        }
    }

    fn check_function(&self, address: u64) -> Result<(), RelocationProblem> {
        if self.is_code(address) {
            Ok(())
        } else {
            Err(RelocationProblem::Function(address))
        }
    }

    fn check_object(
        &self,
        arch: Architecture,
        start: u64,
        size: u64,
        address: u64,
        access: Access,
    ) -> Result<(), RelocationProblem> {
        if !self.inside(start, size) {
            return Err(RelocationProblem::Object { start, size });
        }
        // An object without bytes carries no authority.
        if access == Access::Write && size > 0 && !self.may_write(start, size) {
            return Err(RelocationProblem::Writable { start, size });
        }
        let (length, alignment) = arch.representable(size).unwrap_or((0, 1 << 63));
        if length != size || alignment > self.known_alignment() || !start.is_multiple_of(alignment) {
            return Err(RelocationProblem::Bounds {
                start,
                size,
                length,
                alignment,
            });
        }
        // A capability keeps its bounds with addresses an eighth of the object before it and a quarter behind it.
        let (below, above) = ((size / 8).max(1024), (size / 4).max(2048));
        let distance = i128::from(address.wrapping_sub(start).cast_signed());
        if distance < -i128::from(below) || distance > i128::from(size) + i128::from(above) {
            return Err(RelocationProblem::Address { start, size, address });
        }
        Ok(())
    }

    /// What linked addresses tell of those in memory: all, or what the monitor aligns a position-independent program to.
    fn known_alignment(&self) -> u64 {
        if self.kind == elf::ET_EXEC {
            u64::MAX
        } else {
            self.alignment()
        }
    }
}

/// Bounds of a code capability, as linked.
#[derive(Clone, Copy)]
pub(crate) struct CodeBounds {
    /// Bytes before the start of the code.
    pub(crate) before: u64,
    /// End.
    pub(crate) end: u64,
    /// What the start must be a multiple of in memory.
    pub(crate) alignment: u64,
}

/// How far the code capability may grow.
struct Room {
    /// Bytes before the code that nothing writable uses.
    below: u64,
    /// First writable address behind the code.
    above: u64,
}

impl Room {
    /// Bounds that can be said exactly and fit into the room. Addresses in memory differ from those here by a multiple of
    /// `known`; `u64::MAX` when they do not differ at all.
    ///
    /// # Errors
    /// The alignment that both ends would need.
    fn widen(&self, arch: Architecture, code: &Range<u64>, known: u64) -> Result<CodeBounds, u64> {
        let outwards = self.fit(arch, code, |(length, alignment), _, end| {
            let before = code.start % alignment.min(known);
            (before, end.max(code.start - before + length))
        });
        if outwards.is_ok() || known == u64::MAX {
            return outwards;
        }
        // The room before the start may be enough, when that behind the end is not.
        self.fit(arch, code, |(length, alignment), before, _| {
            let end = code.end.next_multiple_of(alignment.min(known));
            (before.max(length.saturating_sub(end - code.start)), end)
        })
    }

    /// Widens by `wider`, which is told the exact length and alignment so far, the bytes before the start and the end, until
    /// nothing changes.
    fn fit(
        &self,
        arch: Architecture,
        code: &Range<u64>,
        wider: impl Fn((u64, u64), u64, u64) -> (u64, u64),
    ) -> Result<CodeBounds, u64> {
        let (mut before, mut end) = (0, code.end);
        loop {
            let exact = arch.representable(before + (end - code.start)).ok_or(u64::MAX)?;
            let alignment = exact.1;
            let next = wider(exact, before, end);
            if next.0 > self.below || next.1 > self.above {
                return Err(alignment);
            }
            if next == (before, end) {
                return Ok(CodeBounds { before, end, alignment });
            }
            (before, end) = next;
        }
    }
}
