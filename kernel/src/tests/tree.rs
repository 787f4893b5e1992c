//! The check of device trees.

use super::build::{Value, manifest};
use crate::tree::{check, used_size};
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
