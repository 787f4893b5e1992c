//! Purecap programs that lie: a relocation that asks for more than its program's own segments is refused by the monitor
//! before anything runs. The tool, which would refuse them, is not asked.

use object::elf::{
    DT_JMPREL, DT_NEEDED, DT_PLTREL, DT_PLTRELSZ, DT_REL, DT_RELA, DT_RELASZ, ET_REL, PF_R, PF_W, PT_GNU_RELRO,
    PT_INTERP, STT_FUNC, STT_NOTYPE, STT_OBJECT, STT_TLS,
};
use tests::{Platform, Scenario, cvm, on_every_platform, on_machine};
use tools::Architecture;
use tools::elf::purecap::{
    CAP_RELOC_CONSTANT, CAP_RELOC_FUNCTION, FRAGMENT_CONSTANT, FRAGMENT_DATA, FRAGMENT_FUNCTION, R_MORELLO_RELATIVE,
    R_RISCV_CHERI_CAPABILITY,
};
use tools::elf::synthesis::{CapReloc, DynamicSymbol, Elf, Fragment, Load, Purecap, Rela, Tables};
use tools::elf::{DT_RISCV_CHERI_CAP_RELOCS, DT_RISCV_CHERI_CAP_RELOCS_SIZE};

use crate::relocations::{FIXED, minimal, scenario, symbol_kinds, word_kind};

on_every_platform!(a_lie_in_each_table_stops_the_boot,);

on_machine!(
    places_that_lie_are_refused,
    objects_that_lie_are_refused,
    symbols_that_lie_are_refused,
    fragments_that_lie_are_refused,
    tables_that_lie_are_refused,
    headers_that_lie_are_refused,
);

/// Compressed relocations, which nothing here can have made.
const DT_RELR: u32 = 36;

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
    for found in [1, 1 << 61, 1 << 60, u64::MAX, CAP_RELOC_FUNCTION | 2] {
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
