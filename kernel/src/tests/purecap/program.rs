//! The check of purecap programs as a whole.

use super::*;
use crate::elf::{ElfError, Program, Value};
use abi::hostcall::HANDLER;
use proptest::prelude::*;

#[test]
fn pcc_covers_text_constants_and_relro_and_nothing_that_is_writable() {
    let program = Purecap::new().check().unwrap();
    assert!(program.purecap && program.relocatable);
    assert_eq!((program.entry, program.code.clone()), (0x2004, 0x1000..0x4000));
    assert_eq!(program.writable().collect::<Vec<_>>(), [(3, 0x4000..0x5000)]);
    let mut part = Purecap::new();
    part.headers[4][5] = 0x800;
    assert_eq!(part.check().unwrap().code, 0x1000..0x3800);
    assert_eq!(
        part.check().unwrap().writable().collect::<Vec<_>>(),
        [(2, 0x3800..0x4000), (3, 0x4000..0x5000)]
    );
    let mut without = Purecap::new();
    without.headers.pop();
    assert_eq!(without.check().unwrap().code, 0x1000..0x3000);
}

#[test]
fn writable_data_among_the_code_is_refused() {
    let mut between = Purecap::new();
    between.headers[3] = [LOAD, READ, 0x4c0, 0x4000, 0x40, 0x40];
    between.headers.pop();
    let error = between.check().unwrap_err();
    assert_eq!(
        error,
        ElfError::Code {
            segment: 2,
            start: 0x1000,
            end: 0x5000
        }
    );
    assert_eq!(
        error.to_string(),
        "segment 2 is writable and lies in the range of PCC 0x1000-0x5000, which holds text, constants and RELRO"
    );
    let mut before_relro = Purecap::new();
    before_relro.headers[4] = [RELRO, READ, 0x4c0, 0x4000, 0x40, 0x1000];
    assert!(matches!(before_relro.check(), Err(ElfError::Code { segment: 2, .. })));
}

#[test]
fn relro_is_part_of_one_writable_segment() {
    for (address, size) in [
        (0x2000, 0x40),
        (0x3000, 0x1001),
        (0x2ff0, 0x20),
        (0x6000, 1),
        (0x3000, u64::MAX),
    ] {
        let mut elf = Purecap::new();
        elf.headers[4][3] = address;
        elf.headers[4][5] = size;
        let expected = ElfError::Relro {
            start: address,
            end: address.saturating_add(size),
        };
        assert_eq!(elf.check(), Err(expected), "{address:#x} {size:#x}");
    }
    let mut twice = Purecap::new();
    twice.headers.push([RELRO, READ, 0x4c0, 0x4000, 0x40, 0x40]);
    assert!(matches!(twice.check(), Err(ElfError::Relro { .. })));
}

#[test]
fn a_table_may_end_with_its_segment() {
    let mut elf = relative([0x4ff8, kind_of(arch::Relocation::Relative), 0x123]);
    let size = RELATIVE_AT + 24 - elf.headers[0][2];
    for (size, expected) in [
        (size, None),
        (size - 1, Some(ElfError::DynamicRange("the relocation table"))),
    ] {
        elf.headers[0][4] = size;
        elf.headers[0][5] = size;
        assert_eq!(elf.check().err(), expected, "{size:#x} bytes");
    }
}

#[test]
fn tables_that_lie_are_refused() {
    for tags in [
        vec![0x7000_c000, 0x1000, 0x7000_c001, 41],
        vec![0x7000_c000, 0x1000, 0x7000_c001, 40_000],
        vec![0x7000_c000, u64::MAX, 0x7000_c001, 40],
        vec![0x7000_c000, 0x4800, 0x7000_c001, 40],
        vec![23, 0x1000, 2, 25],
        vec![23, 0x5000, 2, 24],
    ] {
        let elf = Purecap { tags, ..Purecap::new() };
        assert!(matches!(elf.check(), Err(ElfError::DynamicRange(_))), "{:x?}", elf.tags);
    }
    let rel = Purecap {
        tags: vec![20, 17],
        ..Purecap::new()
    };
    assert_eq!(rel.check(), Err(ElfError::Dynamic("DT_PLTREL")));
}

/// Adds section headers behind the program: each a name, a type, a file offset, a size, and the number of another.
fn with_sections(mut bytes: Vec<u8>, sections: &[(&str, u32, u64, u64, u32)]) -> Vec<u8> {
    let mut names = vec![0];
    let mut headers = vec![0; 64];
    for (name, kind, offset, size, link) in sections {
        let at = names.len() as u64;
        names.extend(name.bytes().chain([0]));
        headers.extend(words(&[
            at | u64::from(*kind) << 32,
            0,
            0,
            *offset,
            *size,
            u64::from(*link),
            8,
            0,
        ]));
    }
    let count = sections.len() as u16 + 2;
    headers.extend(words(&[3 << 32, 0, 0, bytes.len() as u64, names.len() as u64, 0, 1, 0]));
    bytes.extend(names);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let offset = bytes.len() as u64;
    bytes.extend(headers);
    bytes[40..48].copy_from_slice(&offset.to_le_bytes());
    bytes[60..64].copy_from_slice(&[count.to_le_bytes(), (count - 1).to_le_bytes()].concat());
    bytes
}

#[test]
fn a_static_program_tells_of_its_tables_by_section_names() {
    let mut elf = Purecap::new();
    elf.pokes.push((0x900, words(&[0x3000, 0x4000, 0, 8, 0])));
    elf.pokes
        .push((0x700, words(&[0x4000, kind_of(arch::Relocation::Relative), 5])));
    let table = ("__cap_relocs", 1, 0x900, 40, 0);
    let other = ("__cap_relocs2", 1, 0x900, 400, 0);
    let bytes = with_sections(elf.bytes(), &[other, table]);
    let program = Program::check(stored(&bytes)).unwrap();
    assert_eq!(
        program.relocation(stored(&bytes), 0).unwrap().unwrap().value,
        object(0x4000..0x4008, 0x4000, true)
    );
    assert!(
        program.relocation(stored(&bytes), 1).is_none(),
        "the dynamic section has no relocations"
    );

    let mut fixed = elf.bytes();
    let at = 64 + 5 * 56;
    fixed[at..at + 4].fill(0);
    let bytes = with_sections(fixed, &[table, (".rela.dyn", 4, 0x700, 24, 0)]);
    let program = Program::check(stored(&bytes)).unwrap();
    assert_eq!(
        program.relocation(stored(&bytes), 0).unwrap().unwrap().value,
        Value::Word(5),
        "without a dynamic section"
    );
    assert!(program.relocation(stored(&bytes), 1).is_some() && program.relocation(stored(&bytes), 2).is_none());

    for (offset, size) in [(0x900, 41), (0x900, 0x10_0000), (u64::MAX, 40)] {
        let bytes = with_sections(elf.bytes(), &[("__cap_relocs", 1, offset, size, 0)]);
        assert_eq!(
            Program::check(stored(&bytes)),
            Err(ElfError::Section {
                name: "__cap_relocs",
                entry: 40
            })
        );
    }
    let mut cut = with_sections(elf.bytes(), &[table]);
    cut.pop();
    assert!(matches!(
        Program::check(stored(&cut)),
        Err(ElfError::Sections { count: 3, .. })
    ));
}

#[test]
fn the_handler_is_found_by_name_in_each_kind_of_symbol_table() {
    let find = |bytes: &[u8]| {
        let mut program = Program::check(stored(bytes)).unwrap();
        program.find_handler(stored(bytes)).map(|()| program.handler)
    };
    let symbol = |info: u64, section: u64, value: u64| words(&[1 | info << 32 | section << 48, value, 8]);
    let name = format!("\0{HANDLER}\0");
    let with = |symbol: Vec<u8>, name: &str| {
        let mut elf = Purecap::new();
        elf.pokes.push((0xa18, symbol));
        elf.pokes.push((0xb80, name.as_bytes().to_vec()));
        elf
    };
    let sound = with(symbol(0x12, 1, 0x2021), &name);
    for kind in [2, 11] {
        let sections = [("symbols", kind, 0xa00, 48, 2), ("strings", 3, 0xb80, 32, 0)];
        let bytes = with_sections(sound.bytes(), &sections);
        assert_eq!(find(&bytes), Ok(Some(0x2021)), "section type {kind}, bit 0 kept");
        let hybrid = {
            let mut bytes = bytes.clone();
            bytes[48..52].fill(0);
            bytes
        };
        assert_eq!(find(&hybrid), Ok(Some(0x2021)));
    }
    assert_eq!(find(&sound.bytes()), Ok(Some(0x2021)), "from the dynamic section alone");
    assert_eq!(find(&Purecap::new().bytes()), Ok(None));
    assert_eq!(
        find(&with(symbol(0x12, 0, 0x2021), &name).bytes()),
        Ok(None),
        "undefined"
    );
    assert_eq!(
        find(&with(symbol(0x11, 1, 0x2021), &name).bytes()),
        Ok(None),
        "an object"
    );
    let longer = format!("\0{HANDLER}s\0");
    assert_eq!(find(&with(symbol(0x12, 1, 0x2021), &longer).bytes()), Ok(None));
    for address in [0x4000, 0x2040, u64::MAX] {
        assert_eq!(
            find(&with(symbol(0x12, 1, address), &name).bytes()),
            Err(ElfError::Handler(address))
        );
    }
}

proptest! {
    #[test]
    fn a_damaged_purecap_program_never_makes_more_accessible_than_its_segments(
        pokes in proptest::collection::vec((0_usize..0x380, prop_oneof![any::<u64>(), 0_u64..0x6000, Just(u64::MAX)]), 1..4)
    ) {
        let kind = kind_of(arch::Relocation::Symbol);
        let mut elf = fragment(0x4010, 0x20, 2, 0);
        elf.relative.push([0x3020, kind | SYMBOL_OBJECT << 32, 0]);
        elf.relative.push([0x3030, kind | SYMBOL_FUNCTION << 32, 0]);
        elf.capabilities = vec![[0x3000, 0x4000, 0, 8, 0], [0x4010, 0x2000, 0, 8, FUNCTION]];
        let mut bytes = elf.bytes();
        for (at, value) in pokes {
            let at = if at < 0x80 { at * 8 } else { 0x400 + (at - 0x80) * 2 };
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let Ok(mut program) = Program::check(stored(&bytes)) else { return Ok(()) };
        let found = program.find_handler(stored(&bytes));
        prop_assert!(found.is_err() || program.handler.is_none_or(|handler| program.text.contains(&handler)));
        if !program.purecap {
            return Ok(());
        }
        let writable: Vec<_> = program.writable().map(|(_, part)| part).collect();
        prop_assert!(writable.iter().all(|part| part.end <= program.code.start || part.start >= program.code.end));
        for relocation in (0..).map_while(|number| program.relocation(stored(&bytes), number)) {
            let relocation = relocation.unwrap();
            prop_assert!(program.extent.contains(&relocation.address));
            match relocation.value {
                Value::Function(address) => prop_assert!(program.text.contains(&address)),
                Value::Object { bounds, writable: true, .. } if !bounds.is_empty() => {
                    let inside = |part: &std::ops::Range<u64>| part.start <= bounds.start && bounds.end <= part.end;
                    prop_assert!(writable.iter().any(inside), "{bounds:x?}");
                }
                Value::Object { bounds, .. } => {
                    prop_assert!(program.extent.start <= bounds.start && bounds.end <= program.extent.end);
                }
                Value::Word(_) | Value::Null(_) => {}
            }
        }
    }
}

#[test]
fn thread_local_storage_by_a_table_of_capabilities_is_refused_by_name() {
    /// One more of the range of such segments, as what newer linkers say of PCC is: PCC is found without.
    const OTHER: u64 = 0x6434_8450;
    const PT_CHERI_TGOT: u64 = 0x6434_8451;
    let with = |kind| {
        let mut program = Purecap::new();
        program.headers.push([kind, READ, 0x440, 0x3000, 0x10, 0x10]);
        program.check()
    };
    assert_eq!(with(OTHER).unwrap().code, Purecap::new().check().unwrap().code);
    let refused = with(PT_CHERI_TGOT).unwrap_err().to_string();
    assert!(
        refused.contains("PT_CHERI_TGOT, as -no-cheri-tgot-tls builds it"),
        "{refused}"
    );
}
