//! Symbols for backtraces.

use super::build::words;
use super::stored;
use crate::report::symbols::Functions;
use proptest::prelude::*;

/// Name of the function that holds an address, and the distance from its start.
fn of_elf(elf: &[u8], address: u64) -> Option<(String, u64)> {
    let (name, offset) = Functions::find(stored(elf), [address]).name(address)?;
    Some((name.as_str().into(), offset))
}

fn found(name: &str, offset: u64) -> Option<(String, u64)> {
    Some((name.into(), offset))
}

/// An ELF with nothing but a section table, a symbol table and its strings.
fn sample() -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[40..48].copy_from_slice(&64_u64.to_le_bytes());
    bytes[58..64].copy_from_slice(&[64, 0, 2, 0, 0, 0]);
    // Section 0: the symbol table, linked to section 1: the strings.
    bytes.extend(words(&[2 << 32, 0, 0, 192, 72, 1]));
    bytes.extend(words(&[0, 24]));
    bytes.extend(words(&[3 << 32, 0, 0, 264, 16, 0]));
    bytes.extend(words(&[0, 0]));
    let symbol = |name: u64, info: u64, value: u64, size: u64| words(&[name | info << 32, value, size]);
    bytes.extend(symbol(1, 2, 0x1000, 0x100));
    bytes.extend(symbol(7, 2, 0x1040, 0x10));
    bytes.extend(symbol(1, 1, 0x2000, 0x100));
    bytes.extend(b"\0outer\0inner\0\0\0\0");
    bytes
}

#[test]
fn the_innermost_function_is_found() {
    let bytes = sample();
    assert_eq!(of_elf(&bytes, 0x1000), found("outer", 0));
    assert_eq!(of_elf(&bytes, 0x104f), found("inner", 0xf));
    assert_eq!(of_elf(&bytes, 0x1050), found("outer", 0x50));
    assert_eq!(of_elf(&bytes, 0x1100), None, "behind its end");
    assert_eq!(of_elf(&bytes, 0x2000), None, "an object, no function");
}

#[test]
fn many_addresses_are_found_at_once() {
    let bytes = sample();
    let functions = Functions::find(stored(&bytes), [0x1050, 0x2000, 0x1000, 0x1100, 0x104f, 0x1050, 0x1041]);
    let found = [0x1000, 0x1041, 0x104f, 0x1050, 0x1100, 0x2000].map(|address| functions.name(address));
    let found = found
        .each_ref()
        .map(|found| found.as_ref().map(|(name, offset)| (name.as_str(), *offset)));
    let expected = [
        Some(("outer", 0)),
        Some(("inner", 1)),
        Some(("inner", 0xf)),
        Some(("outer", 0x50)),
        None,
        None,
    ];
    assert_eq!(found, expected);
}

proptest! {
    #[test]
    fn damaged_symbols_are_absent_at_worst(
        pokes in proptest::collection::vec((any::<proptest::sample::Index>(), prop_oneof![any::<u64>(), Just(u64::MAX), Just(0)]), 1..4),
        address in prop_oneof![0x1000_u64..0x1100, any::<u64>()]
    ) {
        let mut bytes = sample();
        for (index, value) in pokes {
            let at = index.index(bytes.len() - 8);
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        if let Some((_, offset)) = of_elf(&bytes, address) {
            prop_assert!(offset <= address);
        }
    }
}

#[test]
fn the_bit_that_says_the_instruction_set_is_no_part_of_an_address() {
    let mut bytes = sample();
    bytes[192 + 8] |= 1;
    assert_eq!(of_elf(&bytes, 0x1000), found("outer", 0));
    assert_eq!(of_elf(&bytes, 0x1004), found("outer", 4));
    assert_eq!(of_elf(&bytes, 0x1100), None, "behind its end");
}

#[test]
fn names_that_are_no_names_are_absent() {
    for name in ["a b", "line\nend", "\u{fc}", &"x".repeat(257)] {
        let mut bytes = sample();
        let strings = bytes.len() - 16;
        bytes.truncate(strings + 1);
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        assert_eq!(of_elf(&bytes, 0x1000), None, "{name:?}");
    }
}
