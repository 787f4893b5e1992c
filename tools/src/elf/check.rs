//! What a program must be like to run as a cVM. The monitor checks the same again and trusts nothing of this.

use std::fmt;

use abi::hostcall::HANDLER;
use object::elf;

use super::purecap::R_RISCV_FUNC_RELATIVE;
use super::{Facts, PAGE, RelocationProblem, Segment};
use crate::Architecture;

/// End of the addresses that a program may be linked at: beyond any machine this runs on.
const ADDRESS_LIMIT: u64 = 1 << 40;
/// Greatest alignment of a segment of a purecap program.
const ALIGNMENT_LIMIT: u64 = 1 << 30;

/// Most loaded segments of a program.
const SEGMENT_LIMIT: usize = 64;

/// How many more there are of what a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct More(pub usize);

impl fmt::Display for More {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            more => write!(formatter, " (and {more} more)"),
        }
    }
}

/// Why a file is not a program that can run as a cVM. Every message says what was found and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// Another kind of file.
    #[error("not an ELF file: it does not start with 7f 45 4c 46")]
    NotElf,
    /// 32 bits or big endian.
    #[error("not ELF64 little endian")]
    Class,
    /// A table lies outside of the file or is otherwise unreadable.
    #[error("malformed ELF: {0}")]
    Malformed(String),
    /// For another processor.
    #[error(
        "ELF machine is {found} ({}), expected {} ({}) for {arch}",
        Architecture::elf_machine_name(*found),
        arch.elf_machine(),
        Architecture::elf_machine_name(arch.elf_machine())
    )]
    Machine {
        /// `e_machine`.
        found: u16,
        /// The architecture of the image.
        arch: Architecture,
    },
    /// Needs registers of quadruple precision.
    #[error(
        "built for floating point registers of quadruple precision (e_flags {flags:#x}), which cVMs do not have; expected \
         -mabi=lp64d or -mabi=lp64"
    )]
    HardFloat {
        /// `e_flags`.
        flags: u32,
    },
    /// Neither ET_EXEC nor ET_DYN.
    #[error("ELF type is {0}, expected 2 (ET_EXEC) or 3 (ET_DYN, static position-independent)")]
    Kind(u16),
    /// Wants a dynamic linker.
    #[error("dynamically linked: it needs the interpreter {0:?}; expected a static program")]
    Interpreter(String),
    /// Wants a shared object.
    #[error("dynamically linked: it needs {0:?}; expected a static program")]
    Needed(String),
    /// Nothing to load.
    #[error("no PT_LOAD segment, expected at least one")]
    NoSegments,
    /// Too many segments.
    #[error("{0} loaded segments, expected at most {SEGMENT_LIMIT}")]
    Segments(usize),
    /// The file ends before the segment does.
    #[error("segment {index}: bytes {offset:#x}+{size:#x} of the file, which has only {file:#x} bytes")]
    OutsideFile {
        /// Number among the loaded segments.
        index: usize,
        /// Offset in the file.
        offset: u64,
        /// Bytes in the file.
        size: u64,
        /// Bytes of the file.
        file: u64,
    },
    /// More bytes in the file than in memory.
    #[error("segment {index}: {file:#x} bytes in the file do not fit into {memory:#x} bytes of memory")]
    LargerThanMemory {
        /// Number among the loaded segments.
        index: usize,
        /// Bytes in the file.
        file: u64,
        /// Bytes in memory.
        memory: u64,
    },
    /// Beyond the address space of any machine.
    #[error("segment {index}: {size:#x} bytes at {address:#x}: absurd, expected to end below {ADDRESS_LIMIT:#x}")]
    Absurd {
        /// Number among the loaded segments.
        index: usize,
        /// Address.
        address: u64,
        /// Bytes in memory.
        size: u64,
    },
    /// An alignment that is none.
    #[error("segment {index}: alignment {alignment:#x}, expected a power of two, up to 2^30 in a purecap program")]
    Alignment {
        /// Number among the loaded segments.
        index: usize,
        /// Its alignment.
        alignment: u64,
    },
    /// Two segments in the same memory.
    #[error("segments {first} and {second} overlap at {address:#x}")]
    Overlap {
        /// Number of one.
        first: usize,
        /// Number of the other.
        second: usize,
        /// First common address.
        address: u64,
    },
    /// Writable and executable.
    #[error("segment {index} at {address:#x} is writable and executable, expected one or the other")]
    WriteExecute {
        /// Number among the loaded segments.
        index: usize,
        /// Address.
        address: u64,
    },
    /// Two segments on one page.
    #[error("segments {first} and {second} share the page at {page:#x}, expected different pages of {PAGE} bytes")]
    SharedPage {
        /// Number of one.
        first: usize,
        /// Number of the other.
        second: usize,
        /// Address of the page.
        page: u64,
    },
    /// Starts nowhere.
    #[error("entry point {0:#x} is not in an executable segment")]
    Entry(u64),
    /// The relocations are not in a loaded segment.
    #[error("relocation table: {size:#x} bytes at {address:#x} are not whole entries inside a loaded segment")]
    RelocationTable {
        /// Address as linked.
        address: u64,
        /// Its bytes.
        size: u64,
    },
    /// A table that is not made of whole entries.
    #[error("{section}: {size:#x} bytes are not whole entries")]
    TableSize {
        /// The table.
        section: &'static str,
        /// Its bytes.
        size: usize,
    },
    /// A relocation of a purecap program.
    #[error("{section} entry {index}{more}: {problem}")]
    PurecapRelocation {
        /// The table.
        section: &'static str,
        /// Number in it, counted from 0.
        index: usize,
        /// How many others of the table are wrong in the same way.
        more: More,
        /// What is wrong with it.
        problem: RelocationProblem,
    },
    /// More than one RELRO range, or one that is not in a writable segment.
    #[error("RELRO at {address:#x}, {size:#x} bytes: expected one at most, inside a writable segment")]
    Relro {
        /// Address as linked.
        address: u64,
        /// Its bytes.
        size: u64,
    },
    /// Writable data between what a purecap program's code capability covers.
    #[error(
        "segment {index} has writable data in {start:#x}-{end:#x}, which holds text, constants and RELRO; expected it \
         before or behind"
    )]
    WritableCode {
        /// Number among the loaded segments.
        index: usize,
        /// First address of the code capability.
        start: u64,
        /// Its end.
        end: u64,
    },
    /// No bounds can be said exactly for a purecap program's code capability.
    #[error(
        "text, constants and RELRO at {start:#x}-{end:#x} have no bounds that can be said exactly and leave writable data \
         out; expected them to start and end at multiples of {alignment:#x}"
    )]
    CodeBounds {
        /// First address.
        start: u64,
        /// End.
        end: u64,
        /// What both would have to be multiples of.
        alignment: u64,
    },
    /// A handler that is no code.
    #[error("{HANDLER} at {0:#x} is not in an executable segment")]
    Handler(u64),
    /// Relocations in an encoding that the loader does not read.
    #[error("relocations in {0}, expected only DT_RELA")]
    RelocationEncoding(&'static str),
    /// A relocation that needs a symbol.
    #[error("relocation of type {kind} at {address:#x}{more}, expected only type {expected} (RELATIVE)")]
    RelocationKind {
        /// Its type.
        kind: u32,
        /// Its place.
        address: u64,
        /// How many others of the type there are.
        more: More,
        /// The type that is served.
        expected: u32,
    },
    /// A relocation outside of the program.
    #[error("relocation at {0:#x}{1} is not inside a loaded segment")]
    RelocationPlace(u64, More),
    /// A TLS template outside of the program.
    #[error("TLS segment at {0:#x} is not inside a loaded segment")]
    Tls(u64),
    /// More than one TLS template, or an alignment beyond a page.
    #[error(
        "{count} TLS segments, the first with alignment {alignment:#x}; expected one, with a power of two up to {PAGE}"
    )]
    TlsShape {
        /// Their number.
        count: usize,
        /// Alignment of the first.
        alignment: u64,
    },
    /// Thread-local variables by a table that the monitor does not fill.
    #[error(
        "thread-local variables by a table of capabilities (PT_CHERI_TGOT), expected them behind the thread pointer, as \
         -no-cheri-tgot-tls builds it"
    )]
    Tgot,
    /// A TLS template that the file does not have, or that is absurd.
    #[error(
        "TLS segment: {size:#x} bytes in a file of {file:#x}, {memory:#x} in memory; expected no more in the file than in \
         memory, and that below {ADDRESS_LIMIT:#x}"
    )]
    TlsSize {
        /// Bytes in the file.
        size: u64,
        /// Bytes in memory.
        memory: u64,
        /// Bytes of the file.
        file: u64,
    },
}

impl Facts {
    /// Everything that keeps the program from running as a cVM of this architecture; empty = it can.
    pub fn check(&self, arch: Architecture) -> Vec<ElfError> {
        let mut errors = Vec::new();
        if self.machine != arch.elf_machine() {
            return vec![ElfError::Machine {
                found: self.machine,
                arch,
            }];
        }
        let flags = self.flags;
        let quad = flags & elf::EF_RISCV_FLOAT_ABI == elf::EF_RISCV_FLOAT_ABI_QUAD;
        if arch == Architecture::CheriRiscv && quad {
            errors.push(ElfError::HardFloat { flags });
        }
        if ![elf::ET_EXEC, elf::ET_DYN].contains(&self.kind) {
            errors.push(ElfError::Kind(self.kind));
        }
        errors.extend(self.interpreter.clone().map(ElfError::Interpreter));
        errors.extend(self.needed.iter().cloned().map(ElfError::Needed));
        if self.segments.is_empty() {
            errors.push(ElfError::NoSegments);
            return errors;
        }
        let segments = self.segments.iter().filter(|segment| segment.memory_size > 0).count();
        if segments > SEGMENT_LIMIT {
            errors.push(ElfError::Segments(segments));
        }
        self.check_segments(&mut errors);
        // What follows computes with addresses that the segments have vouched for.
        if errors.is_empty() {
            self.check_places(&mut errors);
            errors.extend(self.other_relocations.iter().copied().map(ElfError::RelocationEncoding));
            if self.purecap() {
                self.check_purecap(arch, &mut errors);
            } else {
                self.check_relocations(arch, &mut errors);
            }
        }
        errors
    }

    fn check_segments(&self, errors: &mut Vec<ElfError>) {
        let file = self.file_size as u64;
        for (index, segment) in self.segments.iter().enumerate() {
            let &Segment {
                address,
                memory_size,
                offset,
                file_size,
                alignment,
                ..
            } = segment;
            if offset.checked_add(file_size).is_none_or(|end| end > file) {
                errors.push(ElfError::OutsideFile {
                    index,
                    offset,
                    size: file_size,
                    file,
                });
            }
            if file_size > memory_size {
                errors.push(ElfError::LargerThanMemory {
                    index,
                    file: file_size,
                    memory: memory_size,
                });
            }
            if segment.end().is_none_or(|end| end > ADDRESS_LIMIT) {
                errors.push(ElfError::Absurd {
                    index,
                    address,
                    size: memory_size,
                });
            }
            let absurd = self.purecap() && memory_size > 0 && alignment > ALIGNMENT_LIMIT;
            if alignment > 1 && !alignment.is_power_of_two() || absurd {
                errors.push(ElfError::Alignment { index, alignment });
            }
            if segment.writable() && segment.executable() {
                errors.push(ElfError::WriteExecute { index, address });
            }
        }
    }

    fn check_places(&self, errors: &mut Vec<ElfError>) {
        for (first, left) in self.segments.iter().enumerate() {
            for (second, right) in self.segments.iter().enumerate().skip(first + 1) {
                if let Some((address, _)) = common(range(left, 1), range(right, 1)) {
                    errors.push(ElfError::Overlap { first, second, address });
                    continue;
                }
                if let Some((page, _)) = common(range(left, PAGE), range(right, PAGE)) {
                    errors.push(ElfError::SharedPage { first, second, page });
                }
            }
        }
        if !self.is_code(self.entry) {
            errors.push(ElfError::Entry(self.entry));
        }
        errors.extend(
            self.handler
                .filter(|handler| !self.is_code(*handler))
                .map(ElfError::Handler),
        );
        // Where there is nothing in the file, the address is only where the linker was.
        if let Some(tls) = self.tls
            && tls.file_size != 0
            && !self.inside(tls.address, tls.file_size)
        {
            errors.push(ElfError::Tls(tls.address));
        }
        let file = self.file_size as u64;
        for tls in &self.tls_headers {
            let in_file = tls.offset.checked_add(tls.file_size).is_some_and(|end| end <= file);
            if !in_file || tls.file_size > tls.memory_size || tls.memory_size > ADDRESS_LIMIT {
                let (size, memory) = (tls.file_size, tls.memory_size);
                errors.push(ElfError::TlsSize { size, memory, file });
            }
        }
        let alignment = self.tls_headers.first().map_or(1, |tls| tls.alignment.max(1));
        let count = self.tls_headers.len();
        if count > 1 || alignment > PAGE || !alignment.is_power_of_two() {
            errors.push(ElfError::TlsShape { count, alignment });
        }
    }

    /// Whether an address is that of an instruction. The lowest bit says the instruction set on Morello.
    pub(super) fn is_code(&self, address: u64) -> bool {
        let address = address & !1;
        self.segments.iter().any(|segment| {
            let (start, end) = range(segment, 1);
            segment.executable() && (start..end).contains(&address)
        })
    }

    fn check_relocations(&self, arch: Architecture, errors: &mut Vec<ElfError>) {
        let expected = match arch {
            Architecture::CheriRiscv => &[elf::R_RISCV_RELATIVE, R_RISCV_FUNC_RELATIVE][..],
            Architecture::Morello => &[elf::R_AARCH64_RELATIVE],
        };
        // What is wrong in the same way is said once: a type, or that a place is not in the program.
        let mut wrong: Vec<(Option<u32>, u64, usize)> = Vec::new();
        for relocation in &self.relocations {
            let known = expected.contains(&relocation.kind) && relocation.symbol == 0;
            let kind = (!known).then_some(relocation.kind);
            if known && self.inside(relocation.address, 8) {
                continue;
            }
            match wrong.iter_mut().find(|(other, ..)| *other == kind) {
                Some((_, _, more)) => *more += 1,
                None => wrong.push((kind, relocation.address, 0)),
            }
        }
        errors.extend(wrong.into_iter().map(|(kind, address, more)| match kind {
            Some(kind) => ElfError::RelocationKind {
                kind,
                address,
                more: More(more),
                expected: expected[0],
            },
            None => ElfError::RelocationPlace(address, More(more)),
        }));
    }

    /// Whether `size` bytes at `address` lie in the memory of one segment.
    pub(super) fn inside(&self, address: u64, size: u64) -> bool {
        self.segment_of(address, size).is_some()
    }

    /// The segment in whose memory `size` bytes at `address` lie.
    pub(super) fn segment_of(&self, address: u64, size: u64) -> Option<&Segment> {
        self.segments.iter().find(|segment| {
            let (start, end) = range(segment, 1);
            address >= start && address.checked_add(size).is_some_and(|last| last <= end)
        })
    }
}

/// Memory of a segment, widened to whole units.
pub(super) fn range(segment: &Segment, unit: u64) -> (u64, u64) {
    let end = segment.address.saturating_add(segment.memory_size);
    (
        segment.address / unit * unit,
        end.checked_next_multiple_of(unit).unwrap_or(u64::MAX),
    )
}

fn common(left: (u64, u64), right: (u64, u64)) -> Option<(u64, u64)> {
    let (start, end) = (left.0.max(right.0), left.1.min(right.1));
    (start < end).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::super::synthesis::{Elf, Load};
    use super::*;

    fn errors(elf: &Elf) -> Vec<String> {
        errors_for(elf, Architecture::CheriRiscv)
    }

    fn errors_for(elf: &Elf, arch: Architecture) -> Vec<String> {
        Facts::read(&elf.to_bytes())
            .unwrap()
            .check(arch)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    fn only(elf: &Elf) -> String {
        let errors = errors(elf);
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors.into_iter().next().unwrap()
    }

    fn good() -> Elf {
        Elf::program(Architecture::CheriRiscv, &[0x73; 64])
    }

    #[test]
    fn a_plain_program_passes_on_its_own_architecture_only() {
        for arch in Architecture::ALL {
            assert_eq!(errors_for(&Elf::program(arch, &[0; 64]), arch), [""; 0]);
        }
        let wrong = errors_for(&good(), Architecture::Morello);
        assert_eq!(
            wrong,
            ["ELF machine is 243 (RISC-V), expected 183 (AArch64) for morello"]
        );
    }

    #[test]
    fn other_files_are_not_elf() {
        let read = |file: &[u8]| Facts::read(file).unwrap_err().to_string();
        assert_eq!(
            read(b"#!/bin/sh\n"),
            "not an ELF file: it does not start with 7f 45 4c 46"
        );
        assert_eq!(read(b""), "not an ELF file: it does not start with 7f 45 4c 46");
        assert_eq!(read(b"\x7fELF\x01\x01\x01"), "not ELF64 little endian");
        assert_eq!(read(b"\x7fELF\x02\x02\x01"), "not ELF64 little endian");
        let whole = good().to_bytes();
        assert!(read(&whole[..5]).starts_with("malformed ELF: "));
        assert!(read(&whole[..63]).starts_with("malformed ELF: "));
        assert!(read(&whole[..100]).starts_with("malformed ELF: "));
    }

    #[test]
    fn objects_and_dynamic_programs_are_refused() {
        let kind = "ELF type is 1, expected 2 (ET_EXEC) or 3 (ET_DYN, static position-independent)";
        assert_eq!(
            only(&Elf {
                kind: elf::ET_REL,
                ..good()
            }),
            kind
        );
        let mut interpreted = good();
        interpreted.loads.push(Load {
            kind: elf::PT_INTERP,
            ..Load::new(0, b"/ld.so\0", elf::PF_R)
        });
        assert_eq!(
            only(&interpreted),
            "dynamically linked: it needs the interpreter \"/ld.so\"; expected a static program"
        );
        let needing = good().with_dynamic(0x8000, &[(elf::DT_NEEDED, 1)]);
        assert_eq!(
            only(&needing),
            "dynamically linked: it needs \"\"; expected a static program"
        );
    }

    #[test]
    fn segments_must_lie_in_the_file_and_in_their_memory() {
        let mut cut = good();
        cut.loads[0].file_size = Some(0x10_0000);
        cut.loads[0].memory_size = 0x10_0000;
        let size = cut.to_bytes().len();
        let text = format!("segment 0: bytes 0x1000+0x100000 of the file, which has only {size:#x} bytes");
        assert_eq!(only(&cut), text);
        let mut wrapped = good();
        wrapped.loads[0].offset = Some(u64::MAX - 8);
        assert!(only(&wrapped).starts_with("segment 0: bytes 0xfffffffffffffff7+0x40 of the file"));
        let mut small = good();
        small.loads[0].memory_size = 8;
        assert_eq!(
            only(&small),
            "segment 0: 0x40 bytes in the file do not fit into 0x8 bytes of memory"
        );
        let none = Elf {
            loads: Vec::new(),
            ..good()
        };
        assert_eq!(only(&none), "no PT_LOAD segment, expected at least one");
    }

    #[test]
    fn absurd_addresses_sizes_and_alignments_are_refused() {
        for size in [u64::MAX, 1 << 41] {
            let mut huge = good();
            huge.loads[1].memory_size = size;
            assert!(
                only(&huge).contains("absurd, expected to end below 0x10000000000"),
                "{size:#x}"
            );
        }
        let mut far = good();
        far.loads[1].address = u64::MAX - 100;
        assert!(only(&far).starts_with("segment 1: "));
        let mut odd = good();
        odd.loads[1].alignment = 24;
        assert_eq!(
            only(&odd),
            "segment 1: alignment 0x18, expected a power of two, up to 2^30 in a purecap program"
        );
    }

    #[test]
    fn segments_may_not_overlap() {
        let mut elf = good();
        elf.loads[1].address = elf.loads[0].address + 0x10;
        assert_eq!(errors(&elf)[0], "segments 0 and 1 overlap at 0x1010");
    }

    #[test]
    fn segments_share_neither_write_with_execute_nor_a_page() {
        let mut both = good();
        both.loads[0].flags |= elf::PF_W;
        let text = "segment 0 at 0x1000 is writable and executable, expected one or the other";
        assert_eq!(only(&both), text);
        let mut neighbours = good();
        neighbours.loads[1].address = 0x1800;
        let text = "segments 0 and 1 share the page at 0x1000, expected different pages of 4096 bytes";
        assert_eq!(only(&neighbours), text);
    }

    #[test]
    fn the_entry_must_be_executable() {
        for entry in [0, 0x1040, 0x2000] {
            let text = format!("entry point {entry:#x} is not in an executable segment");
            assert_eq!(only(&Elf { entry, ..good() }), text);
        }
    }

    #[test]
    fn only_relative_relocations_inside_the_program_are_served() {
        let relocated = |address, kind| good().with_relocations(0x8000, &[(address, kind)]);
        assert_eq!(errors(&relocated(0x2000, elf::R_RISCV_RELATIVE)), [""; 0]);
        assert_eq!(
            only(&relocated(0x2000, elf::R_RISCV_64)),
            "relocation of type 2 at 0x2000, expected only type 3 (RELATIVE)"
        );
        assert_eq!(
            only(&relocated(0x7000_0000, elf::R_RISCV_RELATIVE)),
            "relocation at 0x70000000 is not inside a loaded segment"
        );
        let packed = good().with_dynamic(0x8000, &[(super::super::DT_RELR, 0x1000)]);
        let text = "relocations in DT_RELR, expected only DT_RELA";
        assert_eq!(only(&packed), text);
        let lost = good().with_dynamic(0x8000, &[(elf::DT_RELA, 0x70_0000), (elf::DT_RELASZ, 24)]);
        let text = "relocation table: 0x18 bytes at 0x700000 are not whole entries inside a loaded segment";
        assert_eq!(Facts::read(&lost.to_bytes()).unwrap_err().to_string(), text);
    }

    #[test]
    fn what_is_wrong_in_the_same_way_is_said_once() {
        let places: Vec<(u64, u32)> = (0..36).map(|number| (0x2000 + number * 8, elf::R_RISCV_64)).collect();
        let mut many = good();
        many.loads[1].memory_size = 0x1000;
        assert_eq!(
            only(&many.with_relocations(0x8000, &places)),
            "relocation of type 2 at 0x2000 (and 35 more), expected only type 3 (RELATIVE)"
        );
        let outside: Vec<(u64, u32)> = places
            .iter()
            .map(|(at, _)| (at + (1 << 30), elf::R_RISCV_RELATIVE))
            .collect();
        assert_eq!(
            only(&good().with_relocations(0x8000, &outside)),
            "relocation at 0x40002000 (and 35 more) is not inside a loaded segment"
        );
    }

    #[test]
    fn programs_that_need_registers_of_quadruple_precision_are_refused() {
        let text = "built for floating point registers of quadruple precision (e_flags 0x6), which cVMs do not have; expected \
                    -mabi=lp64d or -mabi=lp64";
        assert_eq!(only(&Elf { flags: 6, ..good() }), text);
        for flags in [1, 2, 4] {
            assert_eq!(errors(&Elf { flags, ..good() }), [""; 0], "{flags}");
        }
    }

    #[test]
    fn there_is_a_limit_to_the_number_of_segments() {
        let mut many = good();
        let more = (0..62).map(|number| Load::new(0x10_0000 + 4096 * number, &[1], elf::PF_R));
        many.loads.extend(more);
        assert_eq!(errors(&many), [""; 0]);
        many.loads.push(Load::new(0x20_0000, &[1], elf::PF_R));
        assert_eq!(only(&many), "65 loaded segments, expected at most 64");
    }
}
