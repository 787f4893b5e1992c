//! What the relocations of purecap programs want, and the lies in them.

use super::*;
use crate::elf::{ElfError, Program, Reason, Value};
use arch::{Derivation, Slot};
use proptest::prelude::*;

/// Why the first entry of a table is refused.
fn reason(elf: &Purecap) -> Reason {
    match elf.first().expect_err("a refusal") {
        ElfError::Relocation {
            table,
            index: 0,
            reason,
        } => {
            let expected = if elf.relative.is_empty() {
                "__cap_relocs"
            } else {
                ".rela.dyn"
            };
            assert_eq!(table, expected);
            reason
        }
        other => panic!("{other}"),
    }
}

#[test]
fn words_are_relocated_anywhere_in_the_segments() {
    let relative_kind = kind_of(arch::Relocation::Relative);
    assert_eq!(wants(&relative([0x4ff8, relative_kind, 0x123])), Value::Word(0x123));
    // R_RISCV_FUNC_RELATIVE: the address of a function, as an integer.
    assert_eq!(wants(&relative([0x4ff8, 194, 0x2010])), Value::Word(0x2010));
    for address in [0x4ff9, 0x5000, 0x1700, 0xff8, u64::MAX - 3] {
        assert_eq!(
            reason(&relative([address, relative_kind, 0])),
            Reason::Location(address)
        );
    }
    assert_eq!(
        reason(&relative([0x4000, relative_kind | 1 << 32, 0])),
        Reason::Type(relative_kind as u32),
        "with a symbol"
    );
    assert_eq!(
        reason(&relative([0x4000, 2, 0])),
        Reason::Type(2),
        "a word that needs a symbol"
    );
    assert_eq!(reason(&relative([0x4000, 0, 0])), Reason::Type(0));
}

#[test]
fn a_symbol_becomes_what_its_type_and_its_place_allow() {
    assert_eq!(wants(&symbolic(0x3000, SYMBOL_FUNCTION, 0)), Value::Function(0x2011));
    assert_eq!(wants(&symbolic(0x3000, SYMBOL_FUNCTION, 4)), Value::Function(0x2015));
    assert_eq!(
        wants(&symbolic(0x3000, SYMBOL_OBJECT, 8)),
        object(0x4010..0x4030, 0x4018, true)
    );
    assert_eq!(
        wants(&symbolic(0x3000, SYMBOL_CONSTANT, 0)),
        object(0x1010..0x1040, 0x1010, false)
    );
    assert_eq!(
        wants(&symbolic(0x3000, SYMBOL_RELRO, 0)),
        object(0x3040..0x3050, 0x3040, false)
    );
    assert_eq!(wants(&symbolic(0x3000, SYMBOL_MAYBE, 3)), Value::Null(3), "weak");
}

#[test]
fn symbols_that_lie_are_refused_by_name() {
    let missing = symbolic(0x3000, SYMBOL_MISSING, 0);
    assert_eq!(reason(&missing), Reason::Undefined("missing".into()));
    assert_eq!(
        missing.check().unwrap_err().to_string(),
        ".rela.dyn entry 0: symbol missing is not defined in the program"
    );
    assert_eq!(
        reason(&symbolic(0x3000, SYMBOL_THREAD, 0)),
        Reason::SymbolType {
            name: "thread".into(),
            found: 6
        }
    );
    for symbol in [100, 0xffff_ffff] {
        assert_eq!(
            reason(&symbolic(0x3000, symbol, 0)),
            Reason::NoSymbol(symbol as u32),
            "not in the file"
        );
    }
    assert_eq!(
        reason(&symbolic(0x3000, SYMBOL_FUNCTION, 0x30)),
        Reason::Function(0x2041)
    );
    assert_eq!(
        reason(&symbolic(0x3000, SYMBOL_FUNCTION, 0x2000)),
        Reason::Function(0x4011),
        "data is not code"
    );
    for (start, size) in [
        (0x4ff8, 9),
        (0x1ff0, 0x20),
        (0x6000, 1),
        (0x4000, u64::MAX),
        (u64::MAX, 1),
    ] {
        let mut elf = symbolic(0x3000, SYMBOL_OBJECT, 0);
        elf.pokes.push((
            SYMBOLS_AT as usize + 24 * SYMBOL_OBJECT as usize + 8,
            words(&[start, size]),
        ));
        assert_eq!(reason(&elf), Reason::Object { start, size });
    }
    let mut no_table = symbolic(0x3000, SYMBOL_OBJECT, 0);
    no_table.tags = vec![11, 16];
    assert_eq!(
        reason(&no_table),
        Reason::NoSymbol(SYMBOL_OBJECT as u32),
        "entries of another size"
    );
}

#[test]
fn a_fragment_says_what_its_place_becomes() {
    assert_eq!(wants(&fragment(0x1000, 0x3000, 4, 0x1011)), Value::Function(0x2011));
    assert_eq!(
        wants(&fragment(0x1010, 0x20, 1, 4)),
        object(0x1010..0x1030, 0x1014, false)
    );
    assert_eq!(
        wants(&fragment(0x4010, 0x20, 2, u64::MAX)),
        object(0x4010..0x4030, 0x400f, true)
    );
    assert_eq!(
        wants(&fragment(0x3010, 0, 2, 0)),
        object(0x3010..0x3010, 0x3010, true),
        "no bytes"
    );
}

#[test]
fn fragments_that_lie_are_refused() {
    assert_eq!(
        reason(&fragment(0x1000, 0x3000, 4, 0x2ff0)),
        Reason::Function(0x3ff0),
        "RELRO is not code"
    );
    for (start, size) in [(0x2000, 0x10), (0x1000, 8), (0x3000, 0x10), (0x3ff0, 0x10)] {
        assert_eq!(
            reason(&fragment(start, size, 2, 0)),
            Reason::Writable { start, size },
            "text, constants, RELRO"
        );
    }
    for (start, size) in [
        (0x1ff0, 0x20),
        (0x4000, 0x1001),
        (0x4000, (1 << 56) - 1),
        (u64::MAX - 1, 2),
    ] {
        for permissions in [1, 2] {
            assert_eq!(
                reason(&fragment(start, size, permissions, 0)),
                Reason::Object { start, size }
            );
        }
    }
    for permissions in [0, 3, 5, 8, 0xff] {
        assert_eq!(
            reason(&fragment(0x4000, 8, permissions, 0)),
            Reason::Permissions(permissions)
        );
    }
    let kind = kind_of(arch::Relocation::Fragment);
    assert_eq!(
        reason(&relative([0x4800, kind, 0])),
        Reason::Fragment(0x4800),
        "bss says nothing"
    );
}

#[test]
fn a_cap_reloc_becomes_what_its_permissions_say() {
    assert_eq!(
        wants(&capability([0x3000, 0x2010, 4, 0x10, FUNCTION])),
        Value::Function(0x2014)
    );
    assert_eq!(
        wants(&capability([0x3000, 0x2010, 0, 0x10, FUNCTION | CONSTANT])),
        Value::Function(0x2010)
    );
    assert_eq!(
        wants(&capability([0x3000, 0x2010, 4, 0x10, FUNCTION | CODE])),
        Value::Function(0x2014),
        "a place in a function"
    );
    assert_eq!(
        wants(&capability([0x3000, 0x1010, 2, 0x10, CONSTANT])),
        object(0x1010..0x1020, 0x1012, false)
    );
    assert_eq!(
        wants(&capability([0x3000, 0x4010, 0, 0x10, CONSTANT])),
        object(0x4010..0x4020, 0x4010, false),
        "less than could be"
    );
    assert_eq!(
        wants(&capability([0x4000, 0x4010, 0, 0xff0, 0])),
        object(0x4010..0x5000, 0x4010, true)
    );
    assert_eq!(wants(&capability([0x3000, 0, 7, 0, 0])), Value::Null(7));
    for (start, size) in [(0x2000, 0x1020), (0x1000, 0x2000), (0, 0x3000)] {
        assert_eq!(
            wants(&capability([0x3000, start, 0x2014 - start, size, FUNCTION])),
            Value::Function(0x2014),
            "with the bounds of PT_CHERI_PCC from {start:#x} on"
        );
    }
}

#[test]
fn cap_relocs_that_lie_are_refused() {
    // Code that is no function, a function that is called while loading, code that is no entry.
    let newer = [CODE, CODE | CONSTANT, FUNCTION | 1 << 61, FUNCTION | 1 << 59];
    for permissions in [1, 1 << 61, 0x7fff, u64::MAX].into_iter().chain(newer) {
        assert_eq!(
            reason(&capability([0x3000, 0x4000, 0, 8, permissions])),
            Reason::Permissions(permissions)
        );
    }
    for address in [0x4fff, 0x4008, 0x3001] {
        assert_eq!(
            reason(&capability([address, 0x4000, 0, 8, 0])),
            Reason::Alignment(address)
        );
    }
    for address in [0, 0x5000, 0x1700, 0xfff0, u64::MAX - 15] {
        assert_eq!(
            reason(&capability([address, 0x4000, 0, 8, 0])),
            Reason::Location(address)
        );
    }
    assert_eq!(
        reason(&capability([0x3000, 0x4000, 0, 8, FUNCTION])),
        Reason::Function(0x4000)
    );
    assert_eq!(
        reason(&capability([0x3000, 0x2000, u64::MAX, 8, FUNCTION])),
        Reason::Function(0x1fff)
    );
    for start in [0x1000, 0x2000, 0x3ff0] {
        assert_eq!(
            reason(&capability([0x3000, start, 0, 8, 0])),
            Reason::Writable { start, size: 8 }
        );
    }
    assert_eq!(
        reason(&capability([0x3000, 0x4800, 0, 0x801, CONSTANT])),
        Reason::Object {
            start: 0x4800,
            size: 0x801
        }
    );
    assert_eq!(
        capability([0x3000, 0x2000, 0, 8, 0]).check().unwrap_err().to_string(),
        "__cap_relocs entry 0: writable object of 0x8 bytes at 0x2000, which is text, constant or RELRO"
    );
}

#[test]
fn all_tables_are_gone_through_in_one_order() {
    let word = kind_of(arch::Relocation::Relative);
    let symbol = kind_of(arch::Relocation::Symbol);
    let mut elf = Purecap {
        relative: vec![[0x4000, word, 1], [0x4008, word, 2]],
        procedures: vec![[0x3010, symbol | SYMBOL_FUNCTION << 32, 0]],
        capabilities: vec![[0x3020, 0x4000, 0, 8, 0], [0x3030, 0x1010, 0, 8, CONSTANT]],
        ..Purecap::new()
    };
    let bytes = elf.bytes();
    let program = Program::check(stored(&bytes)).unwrap();
    let places = (0..).map_while(|number| {
        program
            .relocation(stored(&bytes), number)
            .map(|found| found.unwrap().address)
    });
    assert_eq!(places.collect::<Vec<_>>(), [0x4000, 0x4008, 0x3010, 0x3020, 0x3030]);
    elf.capabilities[1][4] = 1;
    assert!(matches!(
        elf.check(),
        Err(ElfError::Relocation {
            table: "__cap_relocs",
            index: 1,
            reason: Reason::Permissions(1)
        })
    ));
    elf.procedures[0][1] = 5;
    assert!(matches!(
        elf.check(),
        Err(ElfError::Relocation {
            table: ".rela.plt",
            index: 0,
            reason: Reason::Type(5)
        })
    ));
}

/// A program with an object of its data, which is as large as that and aligned for it.
fn sized(kind: u16, alignment: u64, entry: [u64; 5]) -> Purecap {
    let mut elf = capability(entry);
    elf.kind = kind;
    elf.headers[3] = [LOAD, READ_WRITE, 0x4c0, 1 << 24, 0x40, 1 << 26];
    elf.alignment = alignment;
    elf
}

#[test]
fn bounds_that_cannot_be_exact_are_refused_before_anything_is_loaded() {
    let start = 1 << 24;
    let inexact = sized(3, 4096, [0x3010, start + 1, 0, 0x8001, 0]);
    let (length, alignment) = (0x8040, 0x40);
    let bounds = |start, size, length, alignment| Reason::Bounds {
        start,
        size,
        length,
        alignment,
    };
    assert_eq!(reason(&inexact), bounds(start + 1, 0x8001, length, alignment));
    assert_eq!(
        inexact.check().unwrap_err().to_string(),
        "__cap_relocs entry 0: object of 0x8001 bytes at 0x1000001: bounds that cannot be exact, expected 0x8040 bytes \
         at a multiple of 0x40 in a program aligned to as much"
    );
    // More than a page, and the program may lie at any: but not when it says otherwise, or has its place.
    let large = [0x3000, start, 0, 1 << 25, 0];
    assert_eq!(arch::representable(1 << 25), (1 << 25, 1 << 16));
    assert_eq!(
        reason(&sized(3, 0x8000, large)),
        bounds(start, 1 << 25, 1 << 25, 1 << 16)
    );
    assert!(sized(3, 0x1_0000, large).check().is_ok());
    assert!(sized(2, 1, large).check().is_ok());
    let moved = [0x3000, start + 0x8000, 0, 1 << 25, 0];
    assert_eq!(
        reason(&sized(2, 0x1_0000, moved)),
        bounds(start + 0x8000, 1 << 25, 1 << 25, 1 << 16)
    );
    assert_eq!(
        reason(&capability([0x3000, 0x4000, 1 << 30, 8, 0])),
        Reason::Address {
            start: 0x4000,
            size: 8,
            address: 0x4000 + (1 << 30)
        }
    );
}

proptest! {
    #[test]
    fn whatever_passes_can_be_derived_wherever_the_program_lies(
        size in prop_oneof![0_u64..0x3000, 0_u64..1 << 25], start in 0_u64..1 << 25, page in 0_u64..1 << 30,
        offset in prop_oneof![-0x4000_i64..0x4000, -(1_i64 << 26)..1 << 26, any::<i64>()], shift in 12_u32..21
    ) {
        let (size, alignment) = arch::representable(size);
        let start = (1 << 24) + start / alignment * alignment;
        let elf = sized(3, 1 << shift, [0x3000, start, offset as u64, size, 0]);
        let Ok(wanted) = elf.first() else {
            let far = !(-1024..=size as i64 + 2048).contains(&offset);
            prop_assert!(alignment > 1 << shift || far || size > 1 << 25, "{start:#x} {size:#x} {offset:#x}");
            return Ok(());
        };
        let Value::Object { bounds, address, .. } = wanted.value else { panic!("{wanted:?}") };
        let bias = (page * 4096) >> shift << shift;
        let request = Derivation {
            base: bias + bounds.start,
            length: bounds.end - bounds.start,
            permissions: arch::read_only_permissions(),
            address: bias.wrapping_add(address),
        };
        prop_assert_eq!(Slot::null().derive(arch::root(), &request), Ok(()));
    }
}
