//! Purecap programs: every relocation that CHERI toolchains emit is read, counted and checked; every one that would make
//! authority which the program does not have is refused with its table, number and reason.

use std::fs;

use object::elf;
use tools::Architecture::{self, CheriRiscv, Morello};
use tools::elf::purecap::{
    CAP_RELOC_CODE, CAP_RELOC_CONSTANT, CAP_RELOC_FUNCTION, FRAGMENT_CONSTANT, FRAGMENT_DATA, FRAGMENT_FUNCTION,
    R_MORELLO_CAPINIT, R_MORELLO_GLOB_DAT, R_MORELLO_JUMP_SLOT, R_MORELLO_RELATIVE, R_RISCV_CHERI_CAPABILITY,
};
use tools::elf::synthesis::{CapReloc, DynamicSymbol, Elf, Fragment, Load, Purecap, Rela, Section, Tables};
use tools::elf::{Facts, strip};
use tools::pack::pack;

fn facts(elf: &Elf) -> Facts {
    Facts::read(&elf.to_bytes()).unwrap()
}

fn errors_of(elf: &Elf, arch: Architecture) -> Vec<String> {
    facts(elf).check(arch).iter().map(ToString::to_string).collect()
}

fn errors(program: &Purecap) -> Vec<String> {
    errors_of(&program.to_elf(), program.arch)
}

fn only(program: &Purecap) -> String {
    let errors = errors(program);
    assert_eq!(errors.len(), 1, "{errors:#?}");
    errors.into_iter().next().unwrap()
}

/// A program with something of everything; data at 0x13000, code at 0x11000, slots at 0x12000, constants at 0x10000.
fn program(arch: Architecture) -> Purecap {
    let program = Purecap::new(arch, &[0x13; 64]);
    assert_eq!(program.constants_address(), 0x1_0000);
    assert_eq!(program.code_address(), 0x1_1000);
    assert_eq!(program.slot(0), 0x1_2000);
    assert_eq!(program.data_address(), 0x1_3000);
    program
}

fn with_cap_reloc(entry: CapReloc) -> Purecap {
    Purecap {
        cap_relocs: vec![entry],
        ..program(CheriRiscv)
    }
}

/// An entry that is right: a capability over 32 bytes of data in the first slot.
const DATA: CapReloc = CapReloc {
    location: 0x1_2000,
    object: 0x1_3000,
    offset: 8,
    size: 32,
    permissions: 0,
};

fn symbol_kind(arch: Architecture) -> u32 {
    match arch {
        CheriRiscv => R_RISCV_CHERI_CAPABILITY,
        Morello => R_MORELLO_CAPINIT,
    }
}

/// One relocation by a symbol.
fn with_symbol(arch: Architecture, symbol: DynamicSymbol, addend: u64) -> Purecap {
    Purecap {
        relocations: vec![Rela {
            location: 0x1_2010,
            kind: symbol_kind(arch),
            symbol: 1,
            addend,
        }],
        symbols: vec![symbol],
        ..program(arch)
    }
}

/// One Morello fragment in the first slot.
fn with_fragment(start: u64, length: u64, permissions: u8, addend: u64) -> Purecap {
    Purecap {
        relocations: vec![Rela {
            location: 0x1_2000,
            kind: R_MORELLO_RELATIVE,
            symbol: 0,
            addend,
        }],
        fragments: vec![Fragment {
            location: 0x1_2000,
            start,
            length,
            permissions,
        }],
        ..program(Morello)
    }
}

#[test]
fn cap_relocs_of_every_kind_pass_by_section_and_by_dynamic_tags() {
    for tables in [Tables::Dynamic, Tables::Sections] {
        for kind in [elf::ET_DYN, elf::ET_EXEC] {
            let slots = Purecap {
                tables,
                kind,
                cap_relocs: vec![
                    DATA,
                    CapReloc {
                        location: 0x1_2010,
                        object: 0x1_0000,
                        offset: 0,
                        size: 64,
                        permissions: CAP_RELOC_CONSTANT,
                    },
                    CapReloc {
                        location: 0x1_2020,
                        object: 0x1_1000,
                        offset: 4,
                        size: 64,
                        permissions: CAP_RELOC_FUNCTION,
                    },
                    CapReloc {
                        location: 0x1_3000,
                        ..CapReloc::default()
                    },
                ],
                ..program(CheriRiscv)
            };
            assert_eq!(errors(&slots), [""; 0]);
            let facts = facts(&slots.to_elf());
            assert!(facts.purecap());
            assert_eq!(facts.capability_relocations(), 4);
            let stripped = strip(&slots.to_bytes()).unwrap();
            assert_eq!(
                Facts::read(&stripped).unwrap().purecap_relocations,
                facts.purecap_relocations
            );
        }
    }
}

#[test]
fn relocations_by_symbol_of_every_kind_pass() {
    for (arch, kinds) in [
        (CheriRiscv, &[R_RISCV_CHERI_CAPABILITY][..]),
        (Morello, &[R_MORELLO_CAPINIT, R_MORELLO_GLOB_DAT, R_MORELLO_JUMP_SLOT]),
    ] {
        let symbols = vec![
            DynamicSymbol::new("function", elf::STT_FUNC, 0x1_1000 | u64::from(arch == Morello), 8),
            DynamicSymbol::new("object", elf::STT_OBJECT, 0x1_3010, 16),
            DynamicSymbol::new("constant", elf::STT_OBJECT, 0x1_0000, 4),
            DynamicSymbol {
                defined: false,
                binding: elf::STB_WEAK,
                ..DynamicSymbol::new("weak", elf::STT_NOTYPE, 0, 0)
            },
        ];
        let entry = |(index, kind): (usize, u32)| Rela {
            location: 0x1_3000 + 16 * index as u64,
            kind,
            symbol: 1 + (index % 4) as u32,
            addend: 0,
        };
        let all = kinds.iter().flat_map(|kind| [*kind; 4]);
        let relocations: Vec<Rela> = all.enumerate().map(entry).collect();
        let by_symbol = Purecap {
            procedures: relocations[..2].to_vec(),
            relocations,
            symbols,
            ..program(arch)
        };
        assert_eq!(errors(&by_symbol), [""; 0], "{arch}");
        let facts = facts(&by_symbol.to_elf());
        assert_eq!(facts.capability_relocations(), 4 * kinds.len() + 2);
    }
}

#[test]
fn morello_fragments_of_every_kind_pass_and_words_are_no_capabilities() {
    for fragment in [
        with_fragment(0x1_0000, 64, FRAGMENT_CONSTANT, 0),
        with_fragment(0x1_2010, 16, FRAGMENT_CONSTANT, 0),
        with_fragment(0x1_3000, 4096, FRAGMENT_DATA, 4096),
        with_fragment(0x1_1000, 64, FRAGMENT_FUNCTION, 1),
        with_fragment(0x1_0000, 0, FRAGMENT_DATA, 0),
    ] {
        assert_eq!(errors(&fragment), [""; 0]);
        let by_section = Purecap {
            tables: Tables::Sections,
            ..fragment
        };
        assert_eq!(errors(&by_section), [""; 0]);
        assert_eq!(facts(&by_section.to_elf()).capability_relocations(), 1);
    }
    for (arch, kind) in [(CheriRiscv, elf::R_RISCV_RELATIVE), (Morello, elf::R_AARCH64_RELATIVE)] {
        let word = Rela {
            location: 0x1_3008,
            kind,
            ..Rela::default()
        };
        let words = Purecap {
            relocations: vec![word],
            ..program(arch)
        };
        assert_eq!(errors(&words), [""; 0]);
        assert_eq!(facts(&words.to_elf()).capability_relocations(), 0);
    }
}

#[test]
fn places_outside_of_the_program_or_of_no_capability_are_refused() {
    for (location, problem) in [
        (0x1_2008, "it puts a capability at 0x12008, expected a multiple of 16"),
        (0x1_2001, "it puts a capability at 0x12001, expected a multiple of 16"),
        (0x1_4000, "it changes 0x14000, which is not inside a loaded segment"),
        (
            0x8000_0000,
            "it changes 0x80000000, which is not inside a loaded segment",
        ),
        (
            0xffff_ffff_ffff_fff0,
            "it changes 0xfffffffffffffff0, which is not inside a loaded segment",
        ),
    ] {
        let entry = CapReloc { location, ..DATA };
        assert_eq!(only(&with_cap_reloc(entry)), format!("__cap_relocs entry 0: {problem}"));
        let object = DynamicSymbol::new("object", elf::STT_OBJECT, 0x1_3000, 16);
        for arch in Architecture::ALL {
            let mut by_symbol = with_symbol(arch, object.clone(), 0);
            by_symbol.relocations[0].location = location;
            assert_eq!(only(&by_symbol), format!(".rela.dyn entry 0: {problem}"));
        }
    }
    let mut fragment = with_fragment(0x1_3000, 16, FRAGMENT_DATA, 0);
    fragment.bss = 4096;
    fragment.relocations[0].location = fragment.bss_address();
    assert_eq!(
        only(&fragment),
        ".rela.dyn entry 0: what it wants stands at 0x14000, which is not in the file"
    );
}

#[test]
fn objects_beyond_one_segment_are_refused_to_the_byte() {
    let object = |object, size| only(&with_cap_reloc(CapReloc { object, size, ..DATA }));
    assert_eq!(
        object(0x1_3000, 4097),
        "__cap_relocs entry 0: object of 0x1001 bytes at 0x13000, expected inside one segment"
    );
    for (start, size) in [
        (0x1_2ff0, 32),
        (0x1_2fff, 2),
        (0x8000_0000, 16),
        (0x1_3ff0, 17),
        (u64::MAX - 7, 16),
        (1 << 63, 1 << 63),
    ] {
        let text =
            format!("__cap_relocs entry 0: object of {size:#x} bytes at {start:#x}, expected inside one segment");
        assert_eq!(object(start, size), text);
    }
    let symbol = DynamicSymbol::new("wide", elf::STT_OBJECT, 0x1_3000, u64::MAX);
    for arch in Architecture::ALL {
        assert_eq!(
            only(&with_symbol(arch, symbol.clone(), 0)),
            ".rela.dyn entry 0: object of 0xffffffffffffffff bytes at 0x13000, expected inside one segment"
        );
    }
    assert_eq!(
        only(&with_fragment(0x1_3000, (1 << 56) - 1, FRAGMENT_DATA, 0)),
        ".rela.dyn entry 0: object of 0xffffffffffffff bytes at 0x13000, expected inside one segment"
    );
}

#[test]
fn text_constants_and_relro_are_never_made_writable() {
    for (start, what) in [(0x1_0000, "constants"), (0x1_1000, "text"), (0x1_2000, "RELRO")] {
        let text = format!("writable object of 0x20 bytes at {start:#x}, which is text, constant or RELRO");
        let entry = CapReloc { object: start, ..DATA };
        assert_eq!(
            only(&with_cap_reloc(entry)),
            format!("__cap_relocs entry 0: {text}"),
            "{what}"
        );
        let fragment = with_fragment(start, 32, FRAGMENT_DATA, 0);
        assert_eq!(only(&fragment), format!(".rela.dyn entry 0: {text}"), "{what}");
        let constant = CapReloc {
            object: start,
            permissions: CAP_RELOC_CONSTANT,
            ..DATA
        };
        assert_eq!(errors(&with_cap_reloc(constant)), [""; 0], "{what}");
    }
}

#[test]
fn functions_are_code_and_nothing_else() {
    for address in [0x1_0000, 0x1_1040, 0x1_2000, 0x1_3000, 0, 0x8000_0000] {
        let text = format!("function at {address:#x}, which is not in an executable segment");
        let entry = CapReloc {
            object: 0x1_1000,
            offset: u64::wrapping_sub(address, 0x1_1000),
            permissions: CAP_RELOC_FUNCTION,
            ..DATA
        };
        assert_eq!(only(&with_cap_reloc(entry)), format!("__cap_relocs entry 0: {text}"));
        let fragment = with_fragment(address, 64, FRAGMENT_FUNCTION, 0);
        assert_eq!(only(&fragment), format!(".rela.dyn entry 0: {text}"));
        for arch in Architecture::ALL {
            let symbol = DynamicSymbol::new("f", elf::STT_FUNC, address, 4);
            assert_eq!(
                only(&with_symbol(arch, symbol, 0)),
                format!(".rela.dyn entry 0: {text}")
            );
        }
    }
}

#[test]
fn permissions_beyond_the_known_ones_are_refused() {
    let newer = [
        CAP_RELOC_CODE,
        CAP_RELOC_FUNCTION | 1 << 61,
        CAP_RELOC_FUNCTION | 1 << 59,
    ];
    for permissions in [1, CAP_RELOC_CONSTANT | 1, 1 << 61, u64::MAX].into_iter().chain(newer) {
        let text = format!(
            "__cap_relocs entry 0: permissions {permissions:#x}, expected those of a function, a constant or data"
        );
        assert_eq!(only(&with_cap_reloc(CapReloc { permissions, ..DATA })), text);
    }
    for permissions in [0, 3, 5, 6, 7, 0xff] {
        let text = format!(
            ".rela.dyn entry 0: permissions {permissions:#x}, expected those of a function, a constant or data"
        );
        assert_eq!(only(&with_fragment(0x1_3000, 16, permissions, 0)), text);
    }
}

#[test]
fn symbols_of_others_are_refused_by_name() {
    for arch in Architecture::ALL {
        let undefined = DynamicSymbol {
            defined: false,
            ..DynamicSymbol::new("printf", elf::STT_FUNC, 0, 0)
        };
        assert_eq!(
            only(&with_symbol(arch, undefined, 0)),
            ".rela.dyn entry 0: symbol printf is not defined in the program, expected a static program"
        );
        let tls = DynamicSymbol::new("errno", elf::STT_TLS, 0, 8);
        assert_eq!(
            only(&with_symbol(arch, tls, 0)),
            ".rela.dyn entry 0: symbol errno has type 6, expected a function or an object"
        );
        let mut lost = with_symbol(arch, DynamicSymbol::new("x", elf::STT_OBJECT, 0x1_3000, 16), 0);
        lost.relocations[0].symbol = 0x00ff_ffff;
        assert_eq!(
            only(&lost),
            ".rela.dyn entry 0: symbol 16777215 is not in the dynamic symbol table"
        );
        lost.relocations[0].kind = 999;
        assert_eq!(
            only(&lost),
            ".rela.dyn entry 0: type 999, expected a relative one or one that makes a capability"
        );
    }
}

#[test]
fn libraries_and_interpreters_are_refused_by_name() {
    let mut needing = program(CheriRiscv);
    // The name of the first symbol stands behind the empty name.
    needing.symbols = vec![DynamicSymbol::new("libc.so.7", elf::STT_OBJECT, 0x1_3000, 0)];
    needing.dynamic = vec![(elf::DT_NEEDED, 1)];
    assert_eq!(
        only(&needing),
        "dynamically linked: it needs \"libc.so.7\"; expected a static program"
    );
    let mut interpreted = program(Morello).to_elf();
    interpreted.loads.push(Load {
        kind: elf::PT_INTERP,
        ..Load::new(0, b"/libexec/ld-elf.so.1\0", elf::PF_R)
    });
    assert_eq!(
        errors_of(&interpreted, Morello),
        ["dynamically linked: it needs the interpreter \"/libexec/ld-elf.so.1\"; expected a static program"]
    );
    for (tag, name) in [(elf::DT_REL, "DT_REL"), (36, "DT_RELR")] {
        let mut packed = program(Morello);
        packed.dynamic = vec![(tag, 0x1_0000)];
        assert_eq!(only(&packed), format!("relocations in {name}, expected only DT_RELA"));
    }
}

#[test]
fn bounds_that_cannot_be_said_exactly_are_refused() {
    // 1 MiB and a byte need larger units than bytes.
    for arch in Architecture::ALL {
        let mut large = program(arch);
        large.data_alignment = 0x10_0000;
        large.bss = 0x20_0000;
        let data = large.data_address();
        let object = |start, size| {
            let symbol = DynamicSymbol::new("large", elf::STT_OBJECT, start, size);
            Purecap {
                relocations: with_symbol(arch, symbol.clone(), 0).relocations,
                symbols: vec![symbol],
                ..large.clone()
            }
        };
        assert_eq!(errors(&object(data, 0x10_0000)), [""; 0]);
        let text = only(&object(data, 0x10_0001));
        assert!(
            text.contains("bounds that cannot be said exactly, expected 0x100"),
            "{arch}: {text}"
        );
        let text = only(&object(data + 1, 0x10_0000));
        assert!(
            text.contains("object of 0x100000 bytes at 0x100001: bounds that cannot be said exactly"),
            "{arch}: {text}"
        );
    }
}

#[test]
fn what_a_large_object_is_aligned_to_must_be_what_the_program_is_aligned_to() {
    for arch in Architecture::ALL {
        let (size, alignment) = arch.representable(1 << 26).unwrap();
        assert!(size == 1 << 26 && alignment > 4096, "{arch}: {alignment:#x}");
        let mut large = program(arch);
        large.bss = 1 << 26;
        large.data_alignment = alignment;
        let symbol = DynamicSymbol::new("large", elf::STT_OBJECT, large.data_address(), size);
        large.relocations = with_symbol(arch, symbol.clone(), 0).relocations;
        large.symbols = vec![symbol];
        assert_eq!(errors(&large), [""; 0]);
        assert_eq!(facts(&large.to_elf()).alignment(), alignment);
        let mut elf = large.to_elf();
        for load in &mut elf.loads {
            load.alignment = load.alignment.min(4096);
        }
        let text = errors_of(&elf, arch).join(", ");
        let expected = format!("at a multiple of {alignment:#x} in a program aligned to as much");
        assert!(text.ends_with(&expected), "{arch}: {text}");
        elf.kind = elf::ET_EXEC;
        assert_eq!(errors_of(&elf, arch), [""; 0], "its place is known");
        for load in &mut elf.loads {
            load.alignment = 1 << 31;
        }
        assert!(errors_of(&elf, arch)[0].starts_with("segment 0: alignment 0x80000000, expected a power of two"));
    }
}

#[test]
fn an_address_far_from_its_object_is_refused() {
    let far = |offset: i64| {
        with_cap_reloc(CapReloc {
            offset: offset.cast_unsigned(),
            ..DATA
        })
    };
    for offset in [-1024, 0, 32, 32 + 2048] {
        assert_eq!(errors(&far(offset)), [""; 0], "{offset}");
    }
    for offset in [-1025, 32 + 2049, i64::MIN, i64::MAX] {
        let text = only(&far(offset));
        assert!(
            text.ends_with("of an object of 0x20 bytes at 0x13000: too far away to be represented"),
            "{text}"
        );
    }
}

#[test]
fn writable_data_stays_out_of_the_code_capability() {
    let mut between = program(CheriRiscv).to_elf();
    // Constants behind the data: the code capability would cover the data.
    between.loads.push(Load::new(0x2_0000, &[1; 16], elf::PF_R));
    assert_eq!(
        errors_of(&between, CheriRiscv),
        [
            "segment 4 has writable data in 0x0-0x21000, which holds text, constants and RELRO; expected it before or \
             behind"
        ]
    );
    // Without RELRO the slots are data, behind the text: that is fine. RELRO in the middle of data is not.
    let mut open = program(CheriRiscv).to_elf();
    open.loads.retain(|load| load.kind != elf::PT_GNU_RELRO);
    assert_eq!(errors_of(&open, CheriRiscv), [""; 0]);
    let mut middle = program(CheriRiscv).to_elf();
    for load in middle.loads.iter_mut().filter(|load| load.kind == elf::PT_GNU_RELRO) {
        load.address += 0x800;
        load.memory_size = 0x400;
    }
    assert_eq!(
        errors_of(&middle, CheriRiscv)[0],
        "segment 3 has writable data in 0x0-0x12c00, which holds text, constants and RELRO; expected it before or behind"
    );
    let mut lost = program(CheriRiscv).to_elf();
    for load in lost.loads.iter_mut().filter(|load| load.kind == elf::PT_GNU_RELRO) {
        load.address = 0x1_0000;
    }
    assert_eq!(
        errors_of(&lost, CheriRiscv),
        ["RELRO at 0x10000, 0x1000 bytes: expected one at most, inside a writable segment"]
    );
}

#[test]
fn code_between_writable_data_needs_bounds_that_can_be_said() {
    // Large code at a fixed address between data of others: rounding would cover them.
    for arch in Architecture::ALL {
        let mut tight = Purecap::new(arch, &vec![0x13; 0x200_1000]);
        tight.base = 0x8200_1000;
        tight.kind = elf::ET_EXEC;
        let mut program = tight.to_elf();
        let entry = program.entry;
        program
            .loads
            .push(Load::new(0x8200_0000, &[0; 4096], elf::PF_R | elf::PF_W));
        let text = errors_of(&program, arch);
        assert!(
            text[0].starts_with("text, constants and RELRO at 0x82001000-"),
            "{arch}: {text:?}"
        );
        // A position-independent one can be aligned, and only one end is tight.
        program.kind = elf::ET_DYN;
        assert!(errors_of(&program, arch).len() <= 1);
        program.loads.pop();
        assert_eq!(errors_of(&program, arch), [""; 0], "{arch}, entry {entry:#x}");
    }
}

#[test]
fn shapes_of_large_programs_pass() {
    for arch in Architecture::ALL {
        let mut large = program(arch);
        large.table_space = 1 << 20;
        large.slots = 8000;
        large.bss = 1 << 32;
        large.data_alignment = 1 << 30;
        large.tls = Some((vec![1; 100], 0x1000, 64));
        large.symbols = (0..8000)
            .map(|number| DynamicSymbol::new(&format!("object_{number}"), elf::STT_OBJECT, 0, 16))
            .collect();
        let (slot, data) = (large.slot(0), large.data_address());
        assert_eq!(data, 1 << 30);
        for (number, symbol) in large.symbols.iter_mut().enumerate() {
            symbol.value = data + 16 * (number as u64 % 200);
        }
        large.relocations = (0..8000)
            .map(|number| Rela {
                location: slot + 16 * number,
                kind: symbol_kind(arch),
                symbol: 1 + number as u32,
                addend: 0,
            })
            .collect();
        assert_eq!(errors(&large), [""; 0]);
        let facts = facts(&large.to_elf());
        assert_eq!(facts.capability_relocations(), 8000);
        assert_eq!(facts.tls.unwrap().memory_size, 0x1000);
        assert_eq!(facts.memory_size(), (1 << 30) + (1 << 32) + 0x1000);
    }
}

#[test]
fn tables_that_are_not_whole_are_refused() {
    let mut cut = with_cap_reloc(DATA);
    cut.tables = Tables::Sections;
    let mut elf = cut.to_elf();
    elf.sections[1].size = 39;
    let error = Facts::read(&elf.to_bytes()).unwrap_err().to_string();
    assert_eq!(error, "__cap_relocs: 0x27 bytes are not whole entries");
    elf.sections[1].size = 1 << 40;
    let error = Facts::read(&elf.to_bytes()).unwrap_err().to_string();
    assert!(error.starts_with("malformed ELF: "), "{error}");
    let mut lost = program(CheriRiscv);
    lost.dynamic = vec![(0x7000_c000, 0x70_0000), (0x7000_c001, 40)];
    let error = Facts::read(&lost.to_bytes()).unwrap_err().to_string();
    let text = "relocation table: 0x28 bytes at 0x700000 are not whole entries inside a loaded segment";
    assert_eq!(error, text);
}

#[test]
fn tls_is_one_template_with_an_alignment_up_to_a_page() {
    let with_alignment = |alignment| Purecap {
        tls: Some((vec![1; 16], 32, alignment)),
        ..program(Morello)
    };
    assert_eq!(errors(&with_alignment(4096)), [""; 0]);
    for alignment in [8192, 24] {
        assert_eq!(
            only(&with_alignment(alignment)),
            format!(
                "1 TLS segments, the first with alignment {alignment:#x}; expected one, with a power of two up to 4096"
            )
        );
    }
    let mut two = with_alignment(16).to_elf();
    let tls = two.loads.iter().find(|load| load.kind == elf::PT_TLS).unwrap().clone();
    two.loads.push(tls);
    assert!(errors_of(&two, Morello)[0].starts_with("2 TLS segments"));
    let mut cut = with_alignment(16).to_elf();
    for tls in cut.loads.iter_mut().filter(|load| load.kind == elf::PT_TLS) {
        tls.offset = Some(u64::MAX - 8);
    }
    assert!(errors_of(&cut, Morello)[0].starts_with("TLS segment: 0x10 bytes in a file of "));
}

#[test]
fn pack_refuses_a_purecap_program_whose_headers_do_not_say_so_yet() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let mut program = program(CheriRiscv).to_elf();
    program.sections.push(Section {
        name: ".purecap".to_owned(),
        kind: elf::SHT_PROGBITS,
        load: 0,
        offset: 0,
        size: 0,
        entry_size: 0,
    });
    let mut bytes = program.to_bytes();
    fs::write(at("x.yaml"), "cVMs:\n- {name: a, runtime: plain}\n").unwrap();
    fs::write(at("plain"), &bytes).unwrap();
    assert!(pack(&at("x.yaml"), CheriRiscv, &[]).is_ok(), "marked");
    bytes[48..52].fill(0);
    fs::write(at("plain"), &bytes).unwrap();
    let refused = pack(&at("x.yaml"), CheriRiscv, &[]).unwrap_err().to_string();
    let text = "plain: a purecap program that is not marked as one, for the linker cannot; expected one built by `intravisor \
                build`, which marks it";
    assert!(refused.ends_with(text), "{refused}");
}

#[test]
fn pack_names_the_file_and_refuses_a_purecap_outer() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let handler = (0x1_1000, 64, abi::hostcall::HANDLER.to_owned());
    let able = Purecap {
        functions: vec![handler],
        cap_relocs: vec![DATA],
        ..program(CheriRiscv)
    };
    fs::write(at("able"), able.to_bytes()).unwrap();
    let bad = with_cap_reloc(CapReloc { size: 1 << 40, ..DATA });
    fs::write(at("bad"), bad.to_bytes()).unwrap();
    let yaml = at("x.yaml");
    let pack_yaml = |text: &str| {
        fs::write(&yaml, text).unwrap();
        pack(&yaml, CheriRiscv, &[]).map_err(|error| error.to_string())
    };
    let served = "cVMs:\n- {name: a, runtime: able}\n- {name: b, runtime: able, callback_out: a}\n";
    let packed = pack_yaml(served).unwrap();
    let text = tools::inspect::inspect(&packed.archive).unwrap().to_string();
    assert!(
        text.contains("ET_DYN cheri-riscv purecap, entry 0x11000, 1 capability relocations, 1 functions, can serve"),
        "{text}"
    );
    let inside = pack_yaml(&served.replace("callback_out: a", "callback_out: a, within: a")).unwrap_err();
    assert!(
        inside.ends_with(
            "x.yaml:3:53: error: cVM b: within: \"a\": its program able is purecap, no capability of which covers a whole \
             cVM; expected a hybrid one"
        ),
        "{inside}"
    );
    let refused = pack_yaml("cVMs:\n- {name: a, runtime: bad}\n").unwrap_err();
    let text = "bad: __cap_relocs entry 0: object of 0x10000000000 bytes at 0x13000, expected inside one segment";
    assert!(refused.ends_with(text), "{refused}");
    assert!(refused.contains("cVM a: runtime: \"bad\": "), "{refused}");
}

#[test]
fn thread_local_storage_by_a_table_of_capabilities_is_refused_by_name() {
    /// One more of the range of such segments, as what newer linkers say of PCC is: PCC is found without.
    const OTHER: u32 = 0x6434_8450;
    for arch in Architecture::ALL {
        let with = |kind| {
            let program = program(arch);
            let mut elf = program.to_elf();
            elf.loads.push(Load {
                kind,
                memory_size: 16,
                ..Load::new(program.slot(0), &[], elf::PF_R)
            });
            errors_of(&elf, arch)
        };
        assert_eq!(with(OTHER), Vec::<String>::new());
        let refused = with(tools::elf::PT_CHERI_TGOT);
        let [refused] = refused.as_slice() else {
            panic!("one error: {refused:?}")
        };
        assert!(
            refused.contains("PT_CHERI_TGOT") && refused.contains("-no-cheri-tgot-tls"),
            "{refused}"
        );
    }
}
