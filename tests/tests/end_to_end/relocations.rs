//! Relocations of purecap programs: every kind makes exactly the capability that it asks for.

use capability::{Decoded, Permissions, Seal};
use machine::Stop;
use object::elf::{ET_EXEC, R_AARCH64_RELATIVE, R_RISCV_RELATIVE, STB_WEAK, STT_FUNC, STT_NOTYPE, STT_OBJECT};
use tests::code::assembler::Assembler;
use tests::{Board, Outcome, Platform, Scenario, cvm, on_every_platform, on_machine};
use tools::Architecture;
use tools::elf::purecap::{
    CAP_RELOC_CODE, CAP_RELOC_CONSTANT, CAP_RELOC_FUNCTION, FRAGMENT_CONSTANT, FRAGMENT_DATA, FRAGMENT_FUNCTION,
    R_MORELLO_CAPINIT, R_MORELLO_GLOB_DAT, R_MORELLO_JUMP_SLOT, R_MORELLO_RELATIVE, R_RISCV_CHERI_CAPABILITY,
};
use tools::elf::synthesis::{CapReloc, DynamicSymbol, Fragment, Purecap, Rela, Tables};
use tools::manifest::CvmSpec;

use crate::authority::Auditor;

on_every_platform!(
    programs_of_every_shape_run,
    bounds_that_cannot_be_exact_are_refused_at_boot,
    memory_that_is_not_there_is_not_given,
);

on_machine!(
    a_position_independent_program_gets_exactly_what_its_relocations_say,
    tables_found_by_section_names_say_the_same,
    a_program_at_fixed_addresses_gets_the_same,
    thousands_of_symbols_are_found,
);

/// Where a program at fixed addresses is put, from the start of the RAM.
pub(crate) const FIXED: u64 = 0x0400_0000;

/// A purecap program that exits with 0.
pub(crate) fn minimal(platform: Platform) -> Purecap {
    let code = Assembler::new(platform.arch()).exit(0).elf(&[]);
    Purecap::new(platform.arch(), &code.loads[0].data)
}

/// The relocation type for a word.
pub(crate) fn word_kind(platform: Platform) -> u32 {
    match platform.arch() {
        Architecture::CheriRiscv => R_RISCV_RELATIVE,
        Architecture::Morello => R_AARCH64_RELATIVE,
    }
}

/// The relocation types for capabilities to symbols.
pub(crate) fn symbol_kinds(platform: Platform) -> &'static [u32] {
    match platform.arch() {
        Architecture::CheriRiscv => &[R_RISCV_CHERI_CAPABILITY],
        Architecture::Morello => &[R_MORELLO_CAPINIT, R_MORELLO_GLOB_DAT, R_MORELLO_JUMP_SLOT],
    }
}

pub(crate) fn scenario(spec: CvmSpec, file: Vec<u8>) -> Scenario {
    let runtime = spec.runtime.clone();
    Scenario::new([spec]).member(&runtime, file)
}

/// What must stand at a place when the program starts. Addresses are as linked.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Object {
        base: u64,
        size: u64,
        address: u64,
        writable: bool,
    },
    Function(u64),
    Word(u64),
    /// 16 bytes without a tag.
    Untagged(u64),
}

/// A program and what its relocations must have made.
struct Case {
    program: Purecap,
    expected: Vec<(u64, Expected)>,
    /// Address of the next free slot.
    next: usize,
}

impl Case {
    fn new(program: Purecap) -> Case {
        Case {
            program,
            expected: Vec::new(),
            next: 0,
        }
    }

    /// The place of the next relocation, whose result is known.
    fn slot(&mut self, expected: Expected) -> u64 {
        let place = self.program.slot(self.next);
        self.next += 1;
        self.expected.push((place, expected));
        place
    }

    fn cap_reloc(&mut self, object: u64, offset: u64, size: u64, permissions: u64, expected: Expected) {
        let location = self.slot(expected);
        self.program.cap_relocs.push(CapReloc {
            location,
            object,
            offset,
            size,
            permissions,
        });
    }

    fn symbol(&mut self, kind: u32, symbol: DynamicSymbol, addend: u64, expected: Expected) {
        let location = self.slot(expected);
        self.program.symbols.push(symbol);
        let rela = Rela {
            location,
            kind,
            symbol: self.program.symbols.len() as u32,
            addend,
        };
        // Compilers put these into a table of their own.
        if kind == R_MORELLO_JUMP_SLOT {
            self.program.procedures.push(rela);
        } else {
            self.program.relocations.push(rela);
        }
    }

    fn fragment(&mut self, start: u64, length: u64, permissions: u8, addend: u64, expected: Expected) {
        let location = self.slot(expected);
        self.program.fragments.push(Fragment {
            location,
            start,
            length,
            permissions,
        });
        self.program.relocations.push(Rela {
            location,
            kind: R_MORELLO_RELATIVE,
            symbol: 0,
            addend,
        });
    }
}

/// Relocations of every kind. Those that name symbols need a dynamic section.
fn every_kind(platform: Platform, mut program: Purecap) -> Case {
    program.slots = 64;
    program.bss = 0x3000;
    let (code, constants, data) = (
        program.code_address(),
        program.constants_address(),
        program.data_address(),
    );
    let c64 = u64::from(platform.arch() == Architecture::Morello);
    let dynamic = program.tables == Tables::Dynamic;
    let mut case = Case::new(program);
    let object = |base, size, offset: u64, writable| Expected::Object {
        base,
        size,
        address: base.wrapping_add(offset),
        writable,
    };

    let bss = case.program.bss_address();
    case.cap_reloc(data, 0, 4096, 0, object(data, 4096, 0, true));
    case.cap_reloc(data + 1, 3, 7, 0, object(data + 1, 7, 3, true));
    case.cap_reloc(data + 16, u64::MAX, 32, 0, object(data + 16, 32, u64::MAX, true));
    case.cap_reloc(data, 0, 8, CAP_RELOC_CONSTANT, object(data, 8, 0, false));
    case.cap_reloc(bss, 0, 0x3000, 0, object(bss, 0x3000, 0, true));
    case.cap_reloc(bss + 0x2fff, 0, 1, 0, object(bss + 0x2fff, 1, 0, true));
    case.cap_reloc(bss + 0x3000, 0, 0, 0, object(bss + 0x3000, 0, 0, true));
    case.cap_reloc(constants, 5, 64, CAP_RELOC_CONSTANT, object(constants, 64, 5, false));
    case.cap_reloc(code, 0, 8, CAP_RELOC_FUNCTION, Expected::Function(code));
    case.cap_reloc(code, 4 + c64, 8, CAP_RELOC_FUNCTION, Expected::Function(code + 4 + c64));
    let code_place = CAP_RELOC_FUNCTION | CAP_RELOC_CODE;
    case.cap_reloc(code, 4 + c64, 8, code_place, Expected::Function(code + 4 + c64));
    case.cap_reloc(0, 7, 0, 0, Expected::Untagged(7));

    if platform.arch() == Architecture::Morello {
        case.fragment(data + 16, 48, FRAGMENT_DATA, 8, object(data + 16, 48, 8, true));
        case.fragment(data, 4096, FRAGMENT_CONSTANT, 0, object(data, 4096, 0, false));
        case.fragment(constants, 64, FRAGMENT_CONSTANT, 63, object(constants, 64, 63, false));
        case.fragment(
            constants,
            0x1000,
            FRAGMENT_FUNCTION,
            code + 1 - constants,
            Expected::Function(code + 1),
        );
        case.fragment(data, 0, FRAGMENT_DATA, 0, object(data, 0, 0, true));
    }
    for (index, kind) in symbol_kinds(platform).iter().copied().enumerate().filter(|_| dynamic) {
        let symbol = |name: &str, kind: u8, value: u64, size: u64| {
            DynamicSymbol::new(&format!("{name}{index}"), kind, value, size)
        };
        let function = code + c64;
        case.symbol(
            kind,
            symbol("function", STT_FUNC, function, 8),
            0,
            Expected::Function(function),
        );
        case.symbol(
            kind,
            symbol("object", STT_OBJECT, data + 3, 9),
            4,
            object(data + 3, 9, 4, true),
        );
        case.symbol(
            kind,
            symbol("text", STT_OBJECT, constants + 8, 8),
            0,
            object(constants + 8, 8, 0, false),
        );
        case.symbol(
            kind,
            symbol("label", STT_NOTYPE, data, 16),
            0,
            object(data, 16, 0, true),
        );
        let slot = case.program.slot(0);
        case.symbol(
            kind,
            symbol("slots", STT_OBJECT, slot, 32),
            0,
            object(slot, 32, 0, false),
        );
        let absent = DynamicSymbol {
            binding: STB_WEAK,
            defined: false,
            ..symbol("absent", STT_NOTYPE, 0, 0)
        };
        case.symbol(kind, absent, 9, Expected::Untagged(9));
    }
    // Words stand anywhere.
    for (place, addend) in [(data + 8, data), (data + 4088, 0), (bss + 1, u64::MAX)] {
        case.program.relocations.push(Rela {
            location: place,
            kind: word_kind(platform),
            symbol: 0,
            addend,
        });
        case.expected.push((place, Expected::Word(addend)));
    }
    case
}

fn word_at(board: &Board, address: u64) -> u64 {
    let bytes = match board {
        Board::CheriRiscv(board) => board.read_memory(address, 8),
        Board::Morello(board) => board.read_memory(address, 8),
    };
    u64::from_le_bytes(
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .expect("an address in RAM"),
    )
}

/// Boots to the program's first instruction and compares its memory, tag by tag.
fn assert_made(platform: Platform, spec: CvmSpec, case: &Case) {
    let name = spec.name.clone();
    let mut running = scenario(spec, case.program.to_bytes()).on_board(platform);
    running.until("cVMs started");
    let stop = running.board.run_into_user_mode(2_000_000_000, |_| true);
    assert_eq!(stop, Stop::Condition, "{}", running.board.console().text());
    let board = &running.board;
    let auditor = Auditor::new(board);
    let part = |part: &str| *auditor.entry(&format!("{name} {part}"));
    let (memory, code, stack, block) = (part("memory"), part("code"), part("stack"), part("start block"));
    let bias = board.pc(0).wrapping_sub(case.program.code_address());
    let linked = case.program.code_address()..case.program.code_address() + 1;
    assert!(code.in_bounds(bias.wrapping_add(linked.start), 8), "{code}");
    let tagged = board.tagged_memory();
    let mut seen = 0;
    for (place, expected) in &case.expected {
        let place = bias.wrapping_add(*place);
        let found = tagged
            .iter()
            .find(|(address, _)| *address == place)
            .map(|(_, what)| *what);
        match *expected {
            Expected::Word(addend) => {
                assert_eq!(word_at(board, place), addend.wrapping_add(bias), "{expected:x?}");
                assert_eq!(found, None, "{expected:x?}");
            }
            Expected::Untagged(value) => {
                assert_eq!(
                    (word_at(board, place), word_at(board, place + 8)),
                    (value, 0),
                    "{expected:x?}"
                );
                assert_eq!(found, None, "{expected:x?}");
            }
            Expected::Object {
                base,
                size,
                address,
                writable,
            } => {
                let found = found.unwrap_or_else(|| panic!("no capability: {expected:x?}"));
                let bounds = bias.wrapping_add(base);
                assert_eq!(
                    (found.base, found.top, found.address),
                    (bounds, u128::from(bounds + size), bias.wrapping_add(address)),
                    "{expected:x?}: {found}"
                );
                let permissions = if writable { stack.permissions } else { block.permissions };
                assert_eq!(
                    (found.permissions, found.seal),
                    (permissions, Seal::Unsealed),
                    "{expected:x?}: {found}"
                );
                seen += 1;
            }
            Expected::Function(address) => {
                let found = found.unwrap_or_else(|| panic!("no capability: {expected:x?}"));
                assert_eq!(
                    Decoded {
                        capability_mode: code.capability_mode,
                        ..found
                    },
                    Decoded {
                        address: bias.wrapping_add(address),
                        seal: Seal::Sentry,
                        ..code
                    },
                    "{expected:x?}"
                );
                // Morello: bit 0 of the address.
                let mode = platform.arch() == Architecture::CheriRiscv || address % 2 == 1;
                assert_eq!(found.capability_mode, mode, "{found}");
                seen += 1;
            }
        }
    }
    assert!(
        !stack
            .permissions
            .intersects(Permissions::STORE_LOCAL | Permissions::EXECUTE),
        "{stack}"
    );
    assert!(
        !block.permissions.intersects(Permissions::STORE | Permissions::EXECUTE),
        "{block}"
    );
    let own = tagged.iter().filter(|(address, _)| memory.in_bounds(*address, 16));
    assert_eq!(own.count(), seen, "nothing else is tagged");
    running.finish().assert_status(0);
}

fn a_position_independent_program_gets_exactly_what_its_relocations_say(platform: Platform) {
    let case = every_kind(platform, minimal(platform));
    assert!(case.expected.len() > 15);
    assert_made(platform, cvm("program", "program.elf", &[]), &case);
}

fn tables_found_by_section_names_say_the_same(platform: Platform) {
    let program = Purecap {
        tables: Tables::Sections,
        ..minimal(platform)
    };
    assert_made(
        platform,
        cvm("program", "program.elf", &[]),
        &every_kind(platform, program),
    );
}

/// A program at fixed addresses and a cVM there.
fn fixed(platform: Platform) -> (CvmSpec, Purecap) {
    let base = platform.ram() + FIXED;
    let program = Purecap {
        kind: ET_EXEC,
        base: base + 0x1_0000,
        ..minimal(platform)
    };
    let spec = CvmSpec {
        isolation_base: Some(base),
        isolation_size: Some(1 << 20),
        ..cvm("program", "program.elf", &[])
    };
    (spec, program)
}

fn a_program_at_fixed_addresses_gets_the_same(platform: Platform) {
    let (spec, program) = fixed(platform);
    assert_made(platform, spec, &every_kind(platform, program));
}

fn thousands_of_symbols_are_found(platform: Platform) {
    const SYMBOLS: usize = 3000;
    let mut program = Purecap {
        table_space: 0x4_0000,
        slots: SYMBOLS,
        ..minimal(platform)
    };
    program.bss = 16 * SYMBOLS as u64;
    let mut case = Case::new(program);
    for number in 0..SYMBOLS as u64 {
        let (base, size) = (case.program.bss_address() + 16 * number, 1 + number % 16);
        let symbol = DynamicSymbol::new(&format!("object_{number}"), STT_OBJECT, base, size);
        let expected = Expected::Object {
            base,
            size,
            address: base,
            writable: true,
        };
        case.symbol(symbol_kinds(platform)[0], symbol, 0, expected);
    }
    assert_made(platform, cvm("program", "program.elf", &[]), &case);
}

fn programs_of_every_shape_run(platform: Platform) {
    let thread_local = Purecap {
        tls: Some((b"template".to_vec(), 100, 64)),
        ..minimal(platform)
    };
    let sections = Purecap {
        tables: Tables::Sections,
        ..minimal(platform)
    };
    let bare = Purecap {
        slots: 0,
        data: Vec::new(),
        ..minimal(platform)
    };
    // More than a page is needed for its bounds.
    let mut large = Purecap {
        bss: (16 << 20) - 4096,
        data_alignment: 64 << 10,
        ..minimal(platform)
    };
    large.cap_relocs.push(CapReloc {
        location: large.slot(0),
        object: large.data_address(),
        size: 16 << 20,
        ..CapReloc::default()
    });
    let aligned = Purecap {
        data_alignment: 2 << 20,
        ..minimal(platform)
    };
    let shapes = [
        ("kinds", every_kind(platform, minimal(platform)).program),
        ("sections", every_kind(platform, sections).program),
        ("thread-local", thread_local),
        ("bare", bare),
        ("large", large),
        ("aligned", aligned),
    ];
    let cvms: Vec<_> = shapes.iter().map(|(name, _)| cvm(name, name, &[])).collect();
    let mut scenario = Scenario::new(cvms);
    for (name, program) in &shapes {
        scenario = scenario.member(name, program.to_bytes());
    }
    scenario.boot(platform).assert_status(0);
    let (spec, program) = fixed(platform);
    self::scenario(spec, every_kind(platform, program).program.to_bytes())
        .boot(platform)
        .assert_status(0);
}

/// Boots a program that the monitor accepts and then cannot place; the message.
fn refusal(platform: Platform, spec: CvmSpec, program: &Purecap) -> (String, Outcome) {
    let outcome = scenario(spec, program.to_bytes()).boot(platform);
    outcome.assert_status(1);
    let last = outcome.monitor().last().map(|line| (*line).to_owned());
    (last.unwrap_or_default(), outcome)
}

fn memory_that_is_not_there_is_not_given(platform: Platform) {
    let program = Purecap {
        data_alignment: 4 << 30,
        ..minimal(platform)
    };
    let (message, outcome) = refusal(platform, cvm("liar", "liar.elf", &[]), &program);
    let start = "error: cVM liar: liar.elf: segment ";
    let end = " has alignment 0x100000000, expected a power of two up to 2^30";
    assert!(message.starts_with(start) && message.ends_with(end), "{outcome}");
    let program = Purecap {
        bss: 1 << 36,
        ..minimal(platform)
    };
    let (message, outcome) = refusal(platform, cvm("liar", "liar.elf", &[]), &program);
    assert!(message.starts_with("error: cVM liar: needs 0x100"), "{outcome}");

    // Fixed addresses: without a base, and outside of what was given.
    let (spec, program) = fixed(platform);
    let without = CvmSpec {
        isolation_base: None,
        isolation_size: None,
        ..spec.clone()
    };
    let (message, outcome) = refusal(platform, without, &program);
    let expected = "error: cVM program: program.elf: linked at fixed addresses: isolation base is needed";
    assert_eq!(message, expected, "{outcome}");
    for base in [
        platform.monitor(),
        platform.ram() + FIXED - 0x1_0000,
        platform.ram() + FIXED + (1 << 20),
    ] {
        let elsewhere = Purecap {
            base,
            ..program.clone()
        };
        let (message, outcome) = refusal(platform, spec.clone(), &elsewhere);
        let given = spec.isolation_base.unwrap_or_default();
        let start = format!("error: cVM program: program.elf: linked at {base:#x}-");
        let end = format!(", outside of the isolation that starts at {given:#x}");
        assert!(
            message.starts_with(&start) && message.ends_with(&end),
            "{message}: {outcome}"
        );
    }
}

fn bounds_that_cannot_be_exact_are_refused_at_boot(platform: Platform) {
    // More bytes than the mantissa has, at an odd address; and an address far away from its object.
    let bad = [
        (1, 0x8_0001, 0, "bounds that cannot be exact"),
        (0, 8, 1 << 30, "too far away to be represented"),
    ];
    for (start, size, offset, reason) in bad {
        let mut program = Purecap {
            bss: 1 << 20,
            ..minimal(platform)
        };
        program.cap_relocs.push(CapReloc {
            location: program.slot(0),
            object: program.data_address() + start,
            size,
            offset,
            permissions: 0,
        });
        let (message, outcome) = refusal(platform, cvm("odd", "odd.elf", &[]), &program);
        assert!(
            message.starts_with("error: cVM odd: odd.elf: __cap_relocs entry 0: ") && message.contains(reason),
            "{message}: {outcome}"
        );
    }
}
