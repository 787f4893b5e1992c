//! Relocations of purecap programs: every kind makes exactly the capability that it asks for, and one that asks for more
//! than its program's own segments is refused by the monitor before anything runs. The tool is not asked.

use capability::{Decoded, Permissions, Seal};
use machine::Stop;
use object::elf::{
    DT_JMPREL, DT_NEEDED, DT_PLTREL, DT_PLTRELSZ, DT_REL, DT_RELA, DT_RELASZ, ET_EXEC, ET_REL, PF_R, PF_W,
    PT_GNU_RELRO, PT_INTERP, R_AARCH64_RELATIVE, R_RISCV_RELATIVE, STB_WEAK, STT_FUNC, STT_NOTYPE, STT_OBJECT, STT_TLS,
};
use tests::code::assembler::Assembler;
use tests::{Board, Outcome, Platform, Scenario, cvm, on_every_platform, on_machine};
use tools::Architecture;
use tools::elf::purecap::{
    CAP_RELOC_CONSTANT, CAP_RELOC_FUNCTION, FRAGMENT_CONSTANT, FRAGMENT_DATA, FRAGMENT_FUNCTION, R_MORELLO_CAPINIT,
    R_MORELLO_GLOB_DAT, R_MORELLO_JUMP_SLOT, R_MORELLO_RELATIVE, R_RISCV_CHERI_CAPABILITY,
};
use tools::elf::synthesis::{CapReloc, DynamicSymbol, Elf, Fragment, Load, Purecap, Rela, Tables};
use tools::elf::{DT_RISCV_CHERI_CAP_RELOCS, DT_RISCV_CHERI_CAP_RELOCS_SIZE};
use tools::manifest::CvmSpec;

use crate::authority::Auditor;

on_every_platform!(
    programs_of_every_shape_run,
    a_lie_in_each_table_stops_the_boot,
    bounds_that_cannot_be_represented_are_an_error_of_the_load,
    memory_that_is_not_there_is_not_given,
);

on_machine!(
    a_position_independent_program_gets_exactly_what_its_relocations_say,
    tables_found_by_section_names_say_the_same,
    a_program_at_fixed_addresses_gets_the_same,
    thousands_of_symbols_are_found,
    places_that_lie_are_refused,
    objects_that_lie_are_refused,
    symbols_that_lie_are_refused,
    fragments_that_lie_are_refused,
    tables_that_lie_are_refused,
    headers_that_lie_are_refused,
);

/// Compressed relocations, which nothing here can have made.
const DT_RELR: u32 = 36;
/// Where a program at fixed addresses is put, from the start of the RAM.
const FIXED: u64 = 0x0400_0000;

/// A purecap program that exits with 0.
fn minimal(platform: Platform) -> Purecap {
    let code = Assembler::new(platform.arch()).exit(0).elf(&[]);
    Purecap::new(platform.arch(), &code.loads[0].data)
}

/// The relocation type for a word.
fn word_kind(platform: Platform) -> u32 {
    match platform.arch() {
        Architecture::CheriRiscv => R_RISCV_RELATIVE,
        Architecture::Morello => R_AARCH64_RELATIVE,
    }
}

/// The relocation types for capabilities to symbols.
fn symbol_kinds(platform: Platform) -> &'static [u32] {
    match platform.arch() {
        Architecture::CheriRiscv => &[R_RISCV_CHERI_CAPABILITY],
        Architecture::Morello => &[R_MORELLO_CAPINIT, R_MORELLO_GLOB_DAT, R_MORELLO_JUMP_SLOT],
    }
}

fn scenario(spec: CvmSpec, file: Vec<u8>) -> Scenario {
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
    let mut large = Purecap {
        bss: (2 << 20) - 4096,
        ..minimal(platform)
    };
    large.cap_relocs.push(CapReloc {
        location: large.slot(0),
        object: large.data_address(),
        size: 2 << 20,
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

/// Boots `file` as the program of one cVM beside another one, and asserts that the monitor refuses it, saying `message`
/// about it, and that nobody has run.
fn assert_refused(platform: Platform, file: Vec<u8>, message: &str) {
    let outcome = Scenario::new([cvm("hello", "hello", &[]), cvm("liar", "liar.elf", &[])])
        .member("liar.elf", file)
        .boot(platform);
    outcome.assert_status(1);
    let expected = format!("error: cVM liar: liar.elf: {message}");
    assert_eq!(outcome.monitor().last(), Some(&expected.as_str()), "{outcome}");
    assert!(outcome.of("hello").is_empty(), "nobody runs beside it\n{outcome}");
}

/// The same for a program with one entry of `__cap_relocs`, and what is said about that entry.
fn assert_cap_relocs_refused(platform: Platform, cases: &[([u64; 5], &str)]) {
    for ([location, object, offset, size, permissions], message) in cases {
        let program = Purecap {
            cap_relocs: vec![CapReloc {
                location: *location,
                object: *object,
                offset: *offset,
                size: *size,
                permissions: *permissions,
            }],
            bss: 0x1000,
            ..minimal(platform)
        };
        assert_refused(
            platform,
            program.to_bytes(),
            &format!("__cap_relocs entry 0: {message}"),
        );
    }
}

// Where the parts of a minimal program are linked; its data have 0x2000 bytes with one page of bss.
const CONSTANTS: u64 = 0x1_0000;
const CODE: u64 = 0x1_1000;
const SLOTS: u64 = 0x1_2000;
const DATA: u64 = 0x1_3000;
const END: u64 = 0x1_5000;

fn a_lie_in_each_table_stops_the_boot(platform: Platform) {
    let program = minimal(platform);
    assert_eq!(
        [
            program.constants_address(),
            program.code_address(),
            program.slot(0),
            program.data_address()
        ],
        [CONSTANTS, CODE, SLOTS, DATA]
    );
    // The control: without the lie it runs.
    scenario(cvm("liar", "liar.elf", &[]), program.to_bytes())
        .boot(platform)
        .assert_status(0);
    let beyond = "object of 0x8 bytes at 0x15ff9, expected inside one segment";
    assert_cap_relocs_refused(platform, &[([SLOTS, 0x1_5ff9, 0, 8, 0], beyond)]);
    let rela = |kind| Rela {
        location: END,
        kind,
        symbol: 0,
        addend: 0,
    };
    let word = word_kind(platform);
    let relocations = Purecap {
        relocations: vec![
            Rela {
                location: DATA,
                ..rela(word)
            },
            rela(word),
        ],
        ..minimal(platform)
    };
    let outside = ".rela.dyn entry 1: changes 0x15000, outside of every segment";
    assert_refused(platform, relocations.to_bytes(), outside);
    let procedures = Purecap {
        procedures: vec![rela(word)],
        ..minimal(platform)
    };
    let outside = ".rela.plt entry 0: changes 0x15000, outside of every segment";
    assert_refused(platform, procedures.to_bytes(), outside);
}

fn places_that_lie_are_refused(platform: Platform) {
    let outside = |place: u64| format!("changes {place:#x}, outside of every segment");
    let misaligned = |place: u64| format!("puts a capability at {place:#x}, expected a multiple of 16");
    // Those of the monitor and of another cVM, as physical addresses and as distances from somewhere in the pool.
    let monitor = platform.monitor();
    let foreign = platform.ram() + FIXED;
    let wrapped = monitor.wrapping_sub(foreign);
    let places = [
        0xfff0,
        END,
        END + 0x10_0000,
        1 << 40,
        monitor,
        foreign,
        wrapped,
        u64::MAX - 15,
    ];
    let mut cases: Vec<(u64, String)> = places.map(|place| (place, outside(place))).to_vec();
    cases.extend([SLOTS + 8, SLOTS + 1, DATA + 15, u64::MAX].map(|place| (place, misaligned(place))));
    let cases: Vec<_> = cases
        .iter()
        .map(|(place, message)| ([*place, DATA, 0, 8, 0], message.as_str()))
        .collect();
    assert_cap_relocs_refused(platform, &cases);
    // A word may end with its segment, not behind it.
    let word = |location| Purecap {
        relocations: vec![Rela {
            location,
            kind: word_kind(platform),
            ..Rela::default()
        }],
        ..minimal(platform)
    };
    let message = ".rela.dyn entry 0: changes 0x13ff9, outside of every segment";
    assert_refused(platform, word(DATA + 0xff9).to_bytes(), message);
    scenario(cvm("liar", "liar.elf", &[]), word(DATA + 0xff8).to_bytes())
        .boot(platform)
        .assert_status(0);
}

fn objects_that_lie_are_refused(platform: Platform) {
    let object =
        |start: u64, size: u64| format!("object of {size:#x} bytes at {start:#x}, expected inside one segment");
    let writable = |start: u64, size: u64| {
        format!("writable object of {size:#x} bytes at {start:#x}, which is text, constant or RELRO")
    };
    let function = |address: u64| format!("function at {address:#x}, outside of every executable segment");
    let permissions = |found: u64| format!("permissions {found:#x}, expected those of a function, a constant or data");
    let code_size = minimal(platform).code.len() as u64;
    let monitor = platform.monitor();
    let foreign = platform.ram() + FIXED;
    let mut cases: Vec<([u64; 5], String)> = Vec::new();
    let objects = [
        // One byte too many, at the end, at the start, and of nothing.
        (DATA, 0x2001),
        (DATA - 1, 2),
        (END - 1, 2),
        (END + 1, 0),
        // Over more than one segment.
        (CONSTANTS, 0x2000),
        (CODE, SLOTS + 1 - CODE),
        (SLOTS, 0x2000),
        (1, END - 1),
        // Huge, and around the end of the address space.
        (DATA, 1 << 40),
        (DATA, 1 << 63),
        (DATA, u64::MAX),
        (DATA, 0_u64.wrapping_sub(DATA)),
        (u64::MAX, 1),
        (u64::MAX, u64::MAX),
        // The monitor's and another cVM's, as addresses and as distances.
        (monitor, 16),
        (foreign, 16),
        (monitor.wrapping_sub(foreign), 16),
    ];
    for (start, size) in objects {
        for kind in [0, CAP_RELOC_CONSTANT] {
            cases.push(([SLOTS, start, 0, size, kind], object(start, size)));
        }
    }
    for (start, size) in [(16, 8), (CONSTANTS, 64), (CODE, 4), (SLOTS, 16), (SLOTS + 0xfff, 1)] {
        cases.push(([SLOTS, start, 0, size, 0], writable(start, size)));
    }
    for (start, offset) in [
        (CODE, code_size),
        (CODE, u64::MAX),
        (CODE, DATA - CODE),
        (DATA, 0),
        (SLOTS, 0),
        (CONSTANTS, 0),
        (monitor, 0),
        (CODE, monitor),
        (u64::MAX, 0),
    ] {
        let message = function(start.wrapping_add(offset));
        cases.push(([SLOTS, start, offset, 4, CAP_RELOC_FUNCTION], message));
    }
    for found in [1, 1 << 61, u64::MAX, CAP_RELOC_FUNCTION | 2] {
        cases.push(([SLOTS, DATA, 0, 8, found], permissions(found)));
    }
    let cases: Vec<_> = cases
        .iter()
        .map(|(entry, message)| (*entry, message.as_str()))
        .collect();
    assert_cap_relocs_refused(platform, &cases);
}

/// A program whose one relocation names a symbol.
fn symbolic(platform: Platform, kind: u32, index: u32, symbol: DynamicSymbol, addend: u64) -> Vec<u8> {
    let program = Purecap {
        symbols: vec![symbol],
        relocations: vec![Rela {
            location: SLOTS,
            kind,
            symbol: index,
            addend,
        }],
        ..minimal(platform)
    };
    program.to_bytes()
}

fn symbols_that_lie_are_refused(platform: Platform) {
    let object = |value, size| DynamicSymbol::new("object", STT_OBJECT, value, size);
    let of_type = |kind| DynamicSymbol::new("strange", kind, DATA, 8);
    let missing = DynamicSymbol {
        defined: false,
        ..DynamicSymbol::new("printf", STT_FUNC, 0, 0)
    };
    let function = |value| DynamicSymbol::new("function", STT_FUNC, value, 4);
    let monitor = platform.monitor();
    let cases: Vec<(u32, DynamicSymbol, u64, String)> = vec![
        (1, missing, 0, "symbol printf is not defined in the program".into()),
        (
            0xff_ffff,
            object(DATA, 8),
            0,
            "symbol 16777215 is not in the dynamic symbol table".into(),
        ),
        (
            u32::MAX,
            object(DATA, 8),
            0,
            "symbol 4294967295 is not in the dynamic symbol table".into(),
        ),
        (
            1,
            of_type(STT_TLS),
            0,
            "symbol strange has type 6, expected a function or an object".into(),
        ),
        (
            1,
            of_type(10),
            0,
            "symbol strange has type 10, expected a function or an object".into(),
        ),
        (
            1,
            object(DATA, 0x1001),
            0,
            "object of 0x1001 bytes at 0x13000, expected inside one segment".into(),
        ),
        (
            1,
            object(DATA, u64::MAX),
            0,
            "object of 0xffffffffffffffff bytes at 0x13000, expected inside one segment".into(),
        ),
        (
            1,
            object(monitor, 8),
            0,
            format!("object of 0x8 bytes at {monitor:#x}, expected inside one segment"),
        ),
        (
            1,
            function(DATA),
            0,
            "function at 0x13000, outside of every executable segment".into(),
        ),
        (
            1,
            function(CODE),
            0x1000,
            "function at 0x12000, outside of every executable segment".into(),
        ),
        (
            1,
            function(CODE),
            monitor,
            format!("function at {:#x}, outside of every executable segment", CODE + monitor),
        ),
    ];
    for kind in symbol_kinds(platform).iter().copied() {
        for (index, symbol, addend, message) in &cases {
            let file = symbolic(platform, kind, *index, symbol.clone(), *addend);
            assert_refused(platform, file, &format!(".rela.dyn entry 0: {message}"));
        }
    }
    // Types that need a dynamic linker, that do not exist, or that are the other architecture's.
    let other = match platform.arch() {
        Architecture::CheriRiscv => R_MORELLO_RELATIVE,
        Architecture::Morello => R_RISCV_CHERI_CAPABILITY,
    };
    for kind in [0, 2, 5, other, u32::MAX] {
        let message = format!(".rela.dyn entry 0: type {kind}, expected a relative one or one that makes a capability");
        assert_refused(platform, symbolic(platform, kind, 1, object(DATA, 8), 0), &message);
    }
    let word = word_kind(platform);
    let message = format!(".rela.dyn entry 0: type {word}, expected a relative one or one that makes a capability");
    assert_refused(platform, symbolic(platform, word, 1, object(DATA, 8), 0), &message);
}

fn fragments_that_lie_are_refused(platform: Platform) {
    if platform.arch() != Architecture::Morello {
        // Without the type there are no fragments.
        let program = fragment(platform, SLOTS, [DATA, 8, 2, 0]);
        let message = "type 59395, expected a relative one or one that makes a capability";
        return assert_refused(platform, program.to_bytes(), &format!(".rela.dyn entry 0: {message}"));
    }
    const LARGEST: u64 = (1 << 56) - 1;
    let monitor = platform.monitor();
    let mut cases: Vec<([u64; 4], String)> = Vec::new();
    for (start, size) in [
        (DATA, 0x1001),
        (DATA, LARGEST),
        (CONSTANTS, 0x2000),
        (u64::MAX, 1),
        (monitor, 16),
    ] {
        for permissions in [FRAGMENT_CONSTANT, FRAGMENT_DATA] {
            let message = format!("object of {size:#x} bytes at {start:#x}, expected inside one segment");
            cases.push(([start, size, permissions.into(), 0], message));
        }
    }
    for (start, size) in [(CONSTANTS, 64), (CODE, 4), (SLOTS, 16)] {
        let message = format!("writable object of {size:#x} bytes at {start:#x}, which is text, constant or RELRO");
        cases.push(([start, size, FRAGMENT_DATA.into(), 0], message));
    }
    for (start, addend) in [(DATA, 0), (CODE, 0x1000), (0, monitor), (CODE, u64::MAX)] {
        let address = start.wrapping_add(addend);
        let message = format!("function at {address:#x}, outside of every executable segment");
        cases.push(([start, 4, FRAGMENT_FUNCTION.into(), addend], message));
    }
    for permissions in [0, 3, 5, 0xff] {
        let message = format!("permissions {permissions:#x}, expected those of a function, a constant or data");
        cases.push(([DATA, 8, permissions, 0], message));
    }
    for (entry, message) in &cases {
        let program = fragment(platform, SLOTS, *entry);
        assert_refused(platform, program.to_bytes(), &format!(".rela.dyn entry 0: {message}"));
    }
    // In bss nothing says what is wanted.
    let mut program = fragment(platform, SLOTS, [DATA, 8, 2, 0]);
    program.bss = 0x1000;
    program.relocations[0].location = DATA + 0x1000;
    let message = ".rela.dyn entry 0: what it wants stands at 0x14000, which is not in the file";
    assert_refused(platform, program.to_bytes(), message);
}

/// A program with one relocation by a fragment: start, length, permissions, addend.
fn fragment(platform: Platform, location: u64, [start, length, permissions, addend]: [u64; 4]) -> Purecap {
    Purecap {
        fragments: vec![Fragment {
            location,
            start,
            length,
            permissions: permissions as u8,
        }],
        relocations: vec![Rela {
            location,
            kind: R_MORELLO_RELATIVE,
            symbol: 0,
            addend,
        }],
        ..minimal(platform)
    }
}

fn tables_that_lie_are_refused(platform: Platform) {
    let relocations = [DT_RELA, DT_RELASZ];
    let procedures = [DT_JMPREL, DT_PLTRELSZ];
    let capabilities = [DT_RISCV_CHERI_CAP_RELOCS, DT_RISCV_CHERI_CAP_RELOCS_SIZE];
    let tables = [
        (
            relocations,
            "the relocation table",
            "a relocation table with entries of 24 bytes",
            24,
        ),
        (
            procedures,
            "the relocation table",
            "a relocation table with entries of 24 bytes",
            24,
        ),
        (
            capabilities,
            "__cap_relocs",
            "__cap_relocs with entries of 40 bytes",
            40,
        ),
    ];
    for ([start, size], table, entries, entry) in tables {
        let with = |address: u64, bytes: u64| {
            let program = Purecap {
                dynamic: vec![(start, address), (size, bytes)],
                ..minimal(platform)
            };
            program.to_bytes()
        };
        // In no segment, half in one, in memory that is not in the file, around the end of the address space.
        let outside = [
            (0x8_0000, entry),
            (DATA + 0x1000 - 8, entry),
            (DATA, (1 << 40) / entry * entry),
            (u64::MAX, entry),
            (DATA, u64::MAX / entry * entry),
            (platform.monitor(), entry),
        ];
        for (address, bytes) in outside {
            let message = format!("{table} is not within a loaded segment's file data");
            assert_refused(platform, with(address, bytes), &message);
        }
        let message = format!("{entries} is not within a loaded segment's file data");
        assert_refused(platform, with(CONSTANTS, entry + 1), &message);
    }
    // Section headers that lie about the same.
    for (name, entry) in [(".rela.dyn", 24), ("__cap_relocs", 40)] {
        for size in [entry - 1, 1 << 40, u64::MAX / entry * entry] {
            let program = Purecap {
                tables: Tables::Sections,
                cap_relocs: vec![CapReloc {
                    location: SLOTS,
                    object: DATA,
                    ..CapReloc::default()
                }],
                relocations: vec![Rela {
                    location: DATA,
                    kind: word_kind(platform),
                    ..Rela::default()
                }],
                ..minimal(platform)
            };
            let mut elf = program.to_elf();
            let section = elf.sections.iter_mut().find(|section| section.name == name);
            section.expect("a section of this name").size = size;
            let message = format!("section {name}: expected entries of {entry} bytes and all of them in the file");
            assert_refused(platform, elf.to_bytes(), &message);
        }
    }
}

fn headers_that_lie_are_refused(platform: Platform) {
    let dynamic = |tag: u32, value: u64| {
        let program = Purecap {
            symbols: vec![DynamicSymbol::new("libc.so.7", STT_NOTYPE, DATA, 0)],
            dynamic: vec![(tag, value)],
            ..minimal(platform)
        };
        program.to_bytes()
    };
    let needs = |what: &str| format!("dynamically linked: needs {what}, expected a static program");
    // Offset 1 of the strings is the first symbol's name.
    assert_refused(platform, dynamic(DT_NEEDED, 1), &needs("libc.so.7"));
    let wants = |tag: &str| format!("dynamically linked ({tag}), expected a static program");
    assert_refused(platform, dynamic(DT_REL, DATA), &wants("DT_REL"));
    assert_refused(platform, dynamic(DT_RELR, DATA), &wants("DT_RELR"));
    assert_refused(platform, dynamic(DT_PLTREL, DT_REL.into()), &wants("DT_PLTREL"));

    let code_size = minimal(platform).code.len() as u64;
    let changed = |change: &dyn Fn(&mut Elf)| {
        let mut elf = minimal(platform).to_elf();
        change(&mut elf);
        elf.to_bytes()
    };
    let interpreter = changed(&|elf| {
        elf.loads.push(Load {
            kind: PT_INTERP,
            ..Load::new(CONSTANTS, b"/libexec/ld-elf.so.1\0", PF_R)
        });
    });
    assert_refused(platform, interpreter, &needs("the interpreter /libexec/ld-elf.so.1"));
    let c64 = u64::from(platform.arch() == Architecture::Morello);
    for entry in [CODE + code_size, DATA, CONSTANTS, platform.monitor()] {
        let message = format!("entry point {:#x} is outside every executable segment", entry | c64);
        assert_refused(platform, changed(&|elf| elf.entry = entry | c64), &message);
    }
    assert_refused(
        platform,
        changed(&|elf| elf.kind = ET_REL),
        "ELF type 1, expected ET_DYN (3) or ET_EXEC (2)",
    );
    // PCC would cover what is writable: data between constants and text, or before what RELRO protects.
    assert_refused(
        platform,
        changed(&|elf| elf.loads[1].flags = PF_R | PF_W),
        "segment 1 is writable and lies in the range of PCC 0x0-0x13000, which holds text, constants and RELRO",
    );
    let relro = |address: u64, size: u64| {
        changed(&|elf| {
            let relro = elf.loads.iter_mut().find(|load| load.kind == PT_GNU_RELRO);
            let relro = relro.expect("a RELRO range");
            (relro.address, relro.memory_size) = (address, size);
        })
    };
    for (address, size) in [
        (CODE, 0x1000),
        (SLOTS - 1, 0x1000),
        (SLOTS, 0x1001),
        (platform.monitor(), 16),
    ] {
        let message = format!(
            "RELRO {address:#x}-{:#x}: expected one at most, within a writable segment",
            address + size
        );
        assert_refused(platform, relro(address, size), &message);
    }
    assert_refused(
        platform,
        relro(DATA, 0x1000),
        "segment 3 is writable and lies in the range of PCC 0x0-0x14000, which holds text, constants and RELRO",
    );
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
    assert_eq!(program.data_address(), 4 << 30);
    let (message, outcome) = refusal(platform, cvm("liar", "liar.elf", &[]), &program);
    assert!(message.starts_with("error: cVM liar: needs 0x100"), "{outcome}");
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

fn bounds_that_cannot_be_represented_are_an_error_of_the_load(platform: Platform) {
    // More bytes than the mantissa has, at an odd address; and an address far away from its object.
    let bad = [(1, 0x8_0001, 0), (0, 8, 1 << 30)];
    for (start, size, offset) in bad {
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
        let outcome = Scenario::new([cvm("odd", "odd.elf", &[]), cvm("hello", "hello", &[])])
            .member("odd.elf", program.to_bytes())
            .boot(platform);
        outcome.assert_status(1);
        let expected = "error: odd: cannot start: relocation 0: bounds or address are not representable";
        assert!(outcome.monitor().contains(&expected), "{outcome}");
        assert_eq!(outcome.row("odd").state, "not started", "{outcome}");
        assert_eq!(outcome.row("odd").hostcalls, 0, "{outcome}");
        assert_eq!(outcome.row("hello").state, "exited 0", "{outcome}");
    }
}
