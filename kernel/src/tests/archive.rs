//! The archive.

use super::build::{FILE, FileHeader, archive, entry};
use super::{bytes_of, stored};
use crate::plan::archive::Archive;
use proptest::prelude::*;

fn sample() -> Vec<u8> {
    archive(&[("one", b"first"), ("two.elf", &[7; 100]), ("empty", b"")])
}

fn refusal(bytes: &[u8]) -> String {
    Archive::check(stored(bytes)).err().expect("a refusal").to_string()
}

#[test]
fn members_are_found_by_name() {
    let bytes = sample();
    let archive = Archive::check(stored(&bytes)).unwrap();
    assert_eq!(archive.find("one").map(bytes_of), Some(b"first".to_vec()));
    assert_eq!(archive.find("two.elf").map(bytes_of), Some(vec![7; 100]));
    assert_eq!(archive.find("empty").map(bytes_of), Some(Vec::new()));
    assert!(archive.find("three").is_none());
}

#[test]
fn directories_are_no_members() {
    let mut bytes = sample();
    bytes[14..22].copy_from_slice(b"000041ed");
    let archive = Archive::check(stored(&bytes)).unwrap();
    let names: Vec<&str> = archive.members().iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, ["empty", "two.elf"]);
}

/// These entries and a trailer.
fn ended(entries: &[Vec<u8>]) -> Vec<u8> {
    [entries.concat(), archive(&[])].concat()
}

#[test]
fn links_devices_and_files_without_a_name_are_refused() {
    let of = |mode, name| refusal(&ended(&[entry(FileHeader { mode, ..FILE }, name, b"one")]));
    assert_eq!(
        of(0o120_777, "manifest.dtb"),
        "archive: at offset 0x0: manifest.dtb: expected files and directories, not a symbolic link"
    );
    for mode in [0o020_644, 0o060_644, 0o010_644, 0o140_644, 0o644] {
        assert_eq!(
            of(mode, "a\u{202e}b"),
            "archive: at offset 0x0: a?b: expected files and directories, not a device or another type"
        );
    }
    assert!(of(0o100_644, "./").ends_with("./: expected a file with a name"));
    let directory = FileHeader {
        mode: 0o040_755,
        ..FILE
    };
    let root = ended(&[entry(directory, ".", b"")]);
    assert!(Archive::check(stored(&root)).is_ok());
}

#[test]
fn names_are_paths_from_the_root_as_linux_has_them() {
    for name in ["one", "./one", "/one", ".//./one"] {
        let bytes = archive(&[(name, b"1")]);
        assert_eq!(
            Archive::check(stored(&bytes)).unwrap().find("one").map(bytes_of),
            Some(b"1".to_vec()),
            "{name}"
        );
    }
    let twice = refusal(&archive(&[("one", b"1"), ("two", b"2"), ("./one", b"3")]));
    assert_eq!(
        twice,
        "archive: at offset 0xf0: ./one: expected a name only once in an archive"
    );
}

#[test]
fn later_archives_override_earlier_ones_across_zeros() {
    let first = archive(&[("one", b"old"), ("two", b"2")]);
    let second = archive(&[("./one", b"new"), ("three", b"3")]);
    for zeros in [0, 4, 512] {
        let bytes = [&first[..], &vec![0; zeros], &second].concat();
        let archive = Archive::check(stored(&bytes)).unwrap();
        let found = ["one", "two", "three"].map(|name| bytes_of(archive.find(name).unwrap()));
        assert_eq!(found, [&b"new"[..], b"2", b"3"]);
    }
    let shifted = [&first[..], &[0; 2], &second].concat();
    assert!(refusal(&shifted).ends_with("of a newc archive, at a multiple of 4"));
    let junk = [&first[..], &[0; 4], &[b'x'; 200]].concat();
    assert!(refusal(&junk).contains(&format!("at offset {:#x}: expected the magic number", first.len() + 4)));
}

#[test]
fn all_names_of_a_file_have_its_data_wherever_it_stands() {
    let linked = |inode| FileHeader {
        inode,
        links: 2,
        ..FILE
    };
    let bytes = [
        ended(&[
            entry(linked(7), "a", b""),
            entry(linked(8), "other", b"8"),
            entry(FILE, "single", b"s"),
            entry(linked(7), "b", b"data"),
            entry(linked(7), "c", b""),
        ]),
        // The numbers of another archive mean other files.
        ended(&[entry(linked(7), "d", b"")]),
    ]
    .concat();
    let archive = Archive::check(stored(&bytes)).unwrap();
    let found = ["a", "b", "c", "d", "other", "single"].map(|name| bytes_of(archive.find(name).unwrap()));
    assert_eq!(found, [&b"data"[..], b"data", b"data", b"", b"8", b"s"]);
}

#[test]
fn checksums_are_looked_at_where_there_are_some() {
    let checked = |sum| FileHeader {
        magic: "070702",
        sum,
        ..FILE
    };
    let bytes = ended(&[entry(checked(0x194), "one", b"\xff\x95"), entry(FILE, "two", b"2")]);
    assert_eq!(
        Archive::check(stored(&bytes)).unwrap().find("one").map(bytes_of),
        Some(b"\xff\x95".to_vec())
    );
    let wrong = refusal(&ended(&[entry(checked(0x195), "one", b"\xff\x95")]));
    assert_eq!(
        wrong,
        "archive: at offset 0x74: one: expected data whose bytes add up to the checksum"
    );
}

#[test]
fn a_compressed_archive_is_named() {
    let starts: [(&[u8], &str); 6] = [
        (b"\x1f\x8b\x08", "gzip"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x02\x21\x4c\x18", "lz4"),
        (b"BZh9", "bzip2"),
        (b"\x5d\0\0\x80", "lzma"),
    ];
    for (start, name) in starts {
        let expected = format!("archive: at offset 0x0: expected an archive as it is, not one compressed by {name}");
        assert_eq!(refusal(start), expected);
        let behind = [&archive(&[])[..], start].concat();
        assert!(refusal(&behind).ends_with(name), "behind another archive");
    }
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
        change(0, b"070707"),
        "archive: at offset 0x0: expected the magic number 070701 or 070702 of a newc archive, at a multiple of 4"
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
        "archive: at offset 0x6e: expected a name of at most 4095 bytes that ends with NUL"
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
    let names: Vec<String> = (0..1025).map(|number| format!("{number}")).collect();
    let members = |count| -> Vec<(&str, &[u8])> { names[..count].iter().map(|name| (&name[..], &b""[..])).collect() };
    assert!(Archive::check(stored(&archive(&members(1024)))).is_ok());
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
            if let Ok(archive) = Archive::check(stored(bytes)) {
                let total: usize = archive.members().iter().map(|member| member.data.len()).sum();
                prop_assert!(total <= bytes.len());
            }
        }
    }
}
