//! The check of device trees.

use super::build::{Value, manifest};
use crate::plan::tree::{check, used_size};
use fdt::Fdt;
use proptest::prelude::*;

fn sample() -> Vec<u8> {
    let names: &[&str] = &["one", "two"];
    manifest(
        "x",
        &[
            &[("label", Value::Text("a")), ("args", Value::Texts(names))],
            &[("stack", Value::Cells(7))],
        ],
    )
}

/// Walks everything that a parser can be asked for.
fn walk(bytes: &[u8]) {
    let tree = Fdt::new(bytes).expect("a checked tree is read");
    for node in tree.all_nodes() {
        for property in node.properties() {
            assert!(property.value.len() <= bytes.len());
        }
        node.children().for_each(drop);
    }
}

#[test]
fn a_sound_tree_passes() {
    walk(&check(sample()).unwrap());
}

#[test]
fn a_total_size_beyond_the_data_is_cut() {
    let mut bytes = sample();
    let used = used_size(&bytes).unwrap();
    bytes.resize(0x10000, 0);
    bytes[4..8].copy_from_slice(&0x10000_u32.to_be_bytes());
    assert_eq!(check(bytes).unwrap().len(), used);
}

#[test]
fn every_shorter_tree_is_refused() {
    let bytes = sample();
    let used = used_size(&bytes).unwrap();
    for length in 0..used {
        assert!(check(bytes[..length].to_vec()).is_err(), "{length} of {used} bytes");
    }
}

#[test]
fn errors_tell_offset_and_expectation() {
    assert_eq!(
        check(vec![0; 64]).unwrap_err().to_string(),
        "device tree: at offset 0x0: expected the magic number 0xd00dfeed"
    );
    assert_eq!(
        check(vec![]).unwrap_err().to_string(),
        "device tree: at offset 0x0: expected a device tree header of 40 bytes"
    );
}

/// The sample with another word in its header.
fn with_word(at: usize, value: u32) -> Vec<u8> {
    let mut bytes = sample();
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    bytes
}

fn refused(bytes: Vec<u8>) -> &'static str {
    check(bytes).unwrap_err().expected
}

#[test]
fn other_versions_of_the_format_are_refused() {
    for (at, value) in [(20, 16), (20, 3), (24, 18)] {
        assert_eq!(
            refused(with_word(at, value)),
            "a device tree compatible with version 17"
        );
    }
    assert!(check(with_word(20, 18)).is_ok(), "one that is compatible with 17");
}

#[test]
fn the_strings_stand_behind_the_structure() {
    for place in [0, 40, 56] {
        assert_eq!(
            refused(with_word(12, place)),
            "a strings block behind the structure block"
        );
    }
}

#[test]
fn the_reservations_end_before_the_structure() {
    let expected = "a terminated, 8-byte aligned memory reservation block before the structure";
    // In the middle of the tree, where zeros can be found as well.
    for place in [16, 41, 56, 72] {
        assert_eq!(refused(with_word(16, place)), expected, "{place}");
    }
}

/// A tree of these structure words, whose strings block holds this name.
fn tree_of(words: &[u32], name: &str) -> Vec<u8> {
    let structure: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    let strings = 56 + structure.len() as u32;
    let end = strings + name.len() as u32 + 1;
    let header = [
        0xd00d_feed,
        end,
        56,
        strings,
        40,
        17,
        16,
        0,
        name.len() as u32 + 1,
        structure.len() as u32,
    ];
    let mut bytes: Vec<u8> = header.iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
    bytes.extend([0; 16]);
    bytes.extend(structure);
    bytes.extend(name.as_bytes());
    bytes.push(0);
    bytes
}

#[test]
fn a_tree_has_one_root_and_nothing_beside_it() {
    let (begin, end, last) = (1, 2, 9);
    assert!(check(tree_of(&[begin, 0, end, last], "x")).is_ok());
    let without = refused(tree_of(&[last], "x"));
    assert_eq!(without, "a known token, nodes closed before the end");
    let two = refused(tree_of(&[begin, 0, end, begin, 0, end, last], "x"));
    assert_eq!(two, "one root node without a name");
    let named = refused(tree_of(&[begin, 0x6100_0000, end, last], "x"));
    assert_eq!(named, "one root node without a name");
}

#[test]
fn numbers_of_cells_have_four_bytes() {
    let (begin, property, end, last) = (1, 3, 2, 9);
    for name in ["#address-cells", "#size-cells"] {
        assert!(check(tree_of(&[begin, 0, property, 4, 0, 2, end, last], name)).is_ok());
        let short = refused(tree_of(&[begin, 0, property, 0, 0, end, last], name));
        assert_eq!(short, "4 bytes for a number of cells");
    }
}

#[test]
fn memory_and_chosen_may_be_missing() {
    let bytes = check(sample()).unwrap();
    let tree = Fdt::new(&bytes).unwrap();
    assert_eq!(crate::plan::tree::memory(&tree).count(), 0);
    assert!(crate::plan::tree::chosen(&tree).is_none());
    // An alias that is its own name: `/aliases` with the property `chosen` = "chosen".
    let (aliases, chosen) = (*b"aliases\0", *b"chosen\0\0");
    let word = |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let (aliases, chosen) = (
        [word(&aliases, 0), word(&aliases, 4)],
        [word(&chosen, 0), word(&chosen, 4)],
    );
    let alias = [1, aliases[0], aliases[1], 3, 7, 0, chosen[0], chosen[1], 2];
    let bytes = check(tree_of(&[&[1, 0], &alias[..], &[2, 9]].concat(), "chosen")).unwrap();
    assert!(crate::plan::tree::chosen(&Fdt::new(&bytes).unwrap()).is_none());
    // A node for the memory that does not say where it is.
    let bytes = check(tree_of(
        &[1, 0, 1, u32::from_be_bytes(*b"memo"), 0x7279_0000, 2, 2, 9],
        "x",
    ))
    .unwrap();
    let tree = Fdt::new(&bytes).unwrap();
    assert_eq!(crate::plan::tree::memory(&tree).count(), 0);
}

#[test]
fn nop_tokens_are_closed_gaps() {
    let sound = check(sample()).unwrap();
    let word = |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let (structure, size) = (word(&sound, 8), word(&sound, 36));
    let mut at = structure;
    while at < structure + size {
        let mut bytes = sound.clone();
        bytes.splice(at..at, 4_u32.to_be_bytes().repeat(3));
        for (field, block) in [(4, 0), (12, at), (16, at), (36, 0)] {
            let value = word(&sound, field);
            if value >= block {
                bytes[field..field + 4].copy_from_slice(&(value as u32 + 12).to_be_bytes());
            }
        }
        // Only where a token starts is a NOP a token.
        if let Ok(checked) = check(bytes) {
            walk(&checked);
            assert_eq!(
                checked[structure..structure + size],
                sound[structure..structure + size],
                "{at:#x}"
            );
        }
        at += 4;
    }
}

proptest! {
    #[test]
    fn a_damaged_tree_is_refused_or_can_be_walked(
        pokes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6)
    ) {
        let mut bytes = sample();
        for (index, value) in pokes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(checked) = check(bytes) {
            walk(&checked);
        }
    }

    #[test]
    fn a_damaged_word_is_refused_or_can_be_walked(
        word in any::<proptest::sample::Index>(), value in prop_oneof![any::<u32>(), 0_u32..64, Just(u32::MAX)]
    ) {
        let mut bytes = sample();
        let at = word.index(bytes.len() / 4) * 4;
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
        if let Ok(checked) = check(bytes) {
            walk(&checked);
        }
    }
}
