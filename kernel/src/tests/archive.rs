//! The archive.

use super::build::archive;
use crate::plan::archive::Archive;
use proptest::prelude::*;

fn sample() -> Vec<u8> {
    archive(&[("one", b"first"), ("two.elf", &[7; 100]), ("empty", b"")])
}

fn refusal(bytes: &[u8]) -> String {
    Archive::check(bytes).err().expect("a refusal").to_string()
}

#[test]
fn members_are_found_by_name() {
    let bytes = sample();
    let archive = Archive::check(&bytes).unwrap();
    assert_eq!(archive.find("one"), Some(&b"first"[..]));
    assert_eq!(archive.find("two.elf"), Some(&[7; 100][..]));
    assert_eq!(archive.find("empty"), Some(&b""[..]));
    assert_eq!(archive.find("three"), None);
}

#[test]
fn directories_are_no_members() {
    let mut bytes = sample();
    bytes[14..22].copy_from_slice(b"000041ed");
    assert_eq!(
        Archive::check(&bytes)
            .unwrap()
            .members()
            .next()
            .map(|member| member.name),
        Some("two.elf")
    );
}

#[test]
fn what_is_wrong_is_told_with_its_offset() {
    let bytes = sample();
    assert_eq!(
        refusal(&[]),
        "archive: at offset 0x0: expected a header of 110 bytes or the trailer"
    );
    assert_eq!(
        refusal(b"070702"),
        "archive: at offset 0x0: expected a header of 110 bytes or the trailer"
    );
    let change = |at: usize, text: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + text.len()].copy_from_slice(text);
        refusal(&bytes)
    };
    assert_eq!(
        change(0, b"070702"),
        "archive: at offset 0x0: expected the magic number 070701"
    );
    assert_eq!(
        change(54, b"0000+005"),
        "archive: at offset 0x36: expected eight hexadecimal digits"
    );
    assert_eq!(
        change(54, b"ffffffff"),
        "archive: at offset 0x74: expected the whole data of a member"
    );
    assert_eq!(
        change(94, b"ffffffff"),
        "archive: at offset 0x6e: expected a name within the archive"
    );
    assert_eq!(
        change(110, b"one!"),
        "archive: at offset 0x6e: expected a name that ends with NUL"
    );
    assert_eq!(
        change(110, b"\xff"),
        "archive: at offset 0x6e: expected a name in UTF-8"
    );
    let without_trailer = &bytes[..bytes.len() - 124];
    let at = without_trailer.len();
    assert_eq!(
        refusal(without_trailer),
        format!("archive: at offset {at:#x}: expected a header of 110 bytes or the trailer")
    );
}

#[test]
fn too_many_members_are_refused() {
    let members = |count| vec![("x", &b""[..]); count];
    assert!(Archive::check(&archive(&members(1024))).is_ok());
    let many = archive(&members(1025));
    assert!(refusal(&many).ends_with("expected the trailer after at most 1024 members"));
}

proptest! {
    #[test]
    fn a_damaged_archive_is_refused_or_read_within_its_bytes(
        pokes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        length in any::<proptest::sample::Index>()
    ) {
        let mut bytes = sample();
        for (index, value) in pokes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        for bytes in [&bytes[..], &bytes[..length.index(bytes.len())]] {
            if let Ok(archive) = Archive::check(bytes) {
                let total: usize = archive.members().map(|member| member.data.len()).sum();
                prop_assert!(total <= bytes.len());
            }
        }
    }
}
