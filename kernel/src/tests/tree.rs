//! The check of device trees.

use super::build::{Value, manifest};
use crate::plan::tree::{Token, Tokens, TreeError, reservations, used_size};
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

/// All tokens of a tree.
fn check(bytes: &[u8]) -> Result<Vec<Token<'_>>, TreeError> {
    let mut tokens = Tokens::new(bytes)?;
    let mut found = Vec::new();
    while let Some(token) = tokens.next()? {
        found.push(token);
    }
    let _ = reservations(bytes).count();
    Ok(found)
}

#[test]
fn a_sound_tree_passes() {
    let bytes = sample();
    let tokens = check(&bytes).unwrap();
    let begun: Vec<_> = tokens
        .iter()
        .filter_map(|token| match token {
            Token::Begin(name) => Some(core::str::from_utf8(name).unwrap()),
            _ => None,
        })
        .collect();
    assert_eq!(begun, ["", "cvms", "cvm@0", "cvm@1"]);
    assert!(tokens.contains(&Token::Property(b"label", b"a\0")));
    let ends = tokens.iter().filter(|token| **token == Token::End).count();
    assert_eq!(ends, begun.len());
}

#[test]
fn a_total_size_beyond_the_data_is_no_matter() {
    let mut bytes = sample();
    let used = used_size(&bytes).unwrap();
    bytes.resize(0x10000, 0);
    bytes[4..8].copy_from_slice(&0x10000_u32.to_be_bytes());
    assert_eq!(used_size(&bytes).unwrap(), used);
    assert_eq!(check(&bytes[..used]).unwrap(), check(&bytes).unwrap());
}

#[test]
fn every_shorter_tree_is_refused() {
    let bytes = sample();
    let used = used_size(&bytes).unwrap();
    for length in 0..used {
        assert!(check(&bytes[..length]).is_err(), "{length} of {used} bytes");
    }
}

#[test]
fn errors_tell_offset_and_expectation() {
    assert_eq!(
        check(&[0; 64]).unwrap_err().to_string(),
        "device tree: at offset 0x0: expected the magic number 0xd00dfeed"
    );
    assert_eq!(
        check(&[]).unwrap_err().to_string(),
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
    check(&bytes).unwrap_err().expected
}

#[test]
fn other_versions_of_the_format_are_refused() {
    for (at, value) in [(20, 16), (20, 3), (24, 18)] {
        assert_eq!(
            refused(with_word(at, value)),
            "a device tree compatible with version 17"
        );
    }
    assert!(check(&with_word(20, 18)).is_ok(), "one that is compatible with 17");
    assert!(
        check(&with_word(24, 17)).is_ok(),
        "one that is compatible with nothing older"
    );
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
    assert!(check(&tree_of(&[begin, 0, end, last], "x")).is_ok());
    let without = refused(tree_of(&[last], "x"));
    assert_eq!(without, "a known token, nodes closed before the end");
    let two = refused(tree_of(&[begin, 0, end, begin, 0, end, last], "x"));
    assert_eq!(two, "one root node without a name");
    let named = refused(tree_of(&[begin, 0x6100_0000, end, last], "x"));
    assert_eq!(named, "one root node without a name");
}

#[test]
fn nop_tokens_are_no_tokens() {
    let bytes = sample();
    let sound = check(&bytes).unwrap();
    let word = |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let (structure, size) = (word(&bytes, 8), word(&bytes, 36));
    let (mut at, mut gaps) = (structure, 0);
    while at < structure + size {
        let mut bytes = bytes.clone();
        bytes.splice(at..at, 4_u32.to_be_bytes().repeat(3));
        for (field, block) in [(4, 0), (12, at), (16, at), (36, 0)] {
            let value = word(&bytes, field);
            if value >= block {
                bytes[field..field + 4].copy_from_slice(&(value as u32 + 12).to_be_bytes());
            }
        }
        // Only where a token starts is a NOP a token.
        if check(&bytes).is_ok_and(|tokens| tokens == sound) {
            gaps += 1;
        }
        at += 4;
    }
    assert!(gaps > sound.len(), "{gaps} places for gaps");
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
        let _ = check(&bytes);
        let _ = crate::plan::platform::read(&bytes);
    }

    #[test]
    fn a_damaged_word_is_refused_or_can_be_walked(
        word in any::<proptest::sample::Index>(), value in prop_oneof![any::<u32>(), 0_u32..64, Just(u32::MAX)]
    ) {
        let mut bytes = sample();
        let at = word.index(bytes.len() / 4) * 4;
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
        let _ = check(&bytes);
        let _ = crate::plan::platform::read(&bytes);
    }
}
