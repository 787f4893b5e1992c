//! Archives that others have made: what Linux unpacks as an initramfs is understood, the rest is named.

use abi::manifest::MEMBER;
use tools::Architecture::CheriRiscv;
use tools::archive::{Member, read, write};
use tools::audit::audit;
use tools::elf::synthesis::Elf;
use tools::inspect::inspect;
use tools::manifest::{self, CvmSpec};
use tools::run::Isa;

/// An entry: what its header says, its name and its data.
struct Entry<'a> {
    magic: &'a str,
    inode: usize,
    mode: usize,
    links: usize,
    sum: usize,
    name: &'a str,
    data: &'a [u8],
}

impl<'a> Entry<'a> {
    fn file(name: &'a str, data: &'a [u8]) -> Entry<'a> {
        Entry {
            magic: "070701",
            inode: 1,
            mode: 0o100_644,
            links: 1,
            sum: 0,
            name,
            data,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let (size, name) = (self.data.len(), self.name.len() + 1);
        let fields = [
            self.inode, self.mode, 0, 0, self.links, 0, size, 0, 0, 0, 0, name, self.sum,
        ];
        let digits: String = fields.iter().map(|field| format!("{field:08x}")).collect();
        let mut bytes = [self.magic, &digits, self.name, "\0"].concat().into_bytes();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(self.data);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }
}

fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let trailer = Entry::file("TRAILER!!!", b"");
    entries.iter().chain([&trailer]).flat_map(Entry::bytes).collect()
}

fn refusal(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

fn program() -> Vec<u8> {
    Elf::program(CheriRiscv, &[0x13; 16]).to_bytes()
}

fn tree(name: &str) -> Vec<u8> {
    manifest::encode(&[CvmSpec::new(name, "hello")]).unwrap()
}

#[test]
fn a_later_archive_overrides_an_earlier_one_and_the_audit_sees_what_boots() {
    let (old, new, program) = (tree("old"), tree("new"), program());
    let first = archive(&[Entry::file(MEMBER, &old), Entry::file("hello", &program)]);
    let second = archive(&[Entry::file("./manifest.dtb", &new)]);
    let both = [first, vec![0; 512], second].concat();
    let audit = audit(&both, Isa::V9).unwrap();
    assert_eq!(audit.cvms.iter().map(|cvm| &cvm.name).collect::<Vec<_>>(), ["new"]);
    assert_eq!(read(&both).unwrap().len(), 2);
}

#[test]
fn a_manifest_that_the_monitor_would_skip_is_not_audited() {
    let (evil, good, program) = (tree("harmless"), tree("boots"), program());
    let link = Entry {
        mode: 0o120_777,
        ..Entry::file(MEMBER, &evil)
    };
    let bytes = archive(&[link, Entry::file(MEMBER, &good), Entry::file("hello", &program)]);
    let expected =
        "archive member \"manifest.dtb\", at offset 0x0: a symbolic link, expected regular files and directories";
    assert_eq!(
        audit(&bytes, Isa::V9).unwrap_err().to_string(),
        format!("archive: {expected}")
    );
    assert!(
        inspect(&bytes)
            .unwrap_err()
            .to_string()
            .ends_with(&format!("({expected})"))
    );
    let twice = archive(&[Entry::file(MEMBER, &evil), Entry::file(MEMBER, &good)]);
    assert!(refusal(&twice).ends_with("this name stands twice in one archive, expected it once"));
    // A name ends with its first NUL, whoever reads it.
    let hidden = archive(&[Entry::file("manifest.dtb\0x", &good), Entry::file("hello", &program)]);
    assert_eq!(audit(&hidden, Isa::V9).unwrap().cvms[0].name, "boots");
}

#[test]
fn checksums_are_looked_at_and_hard_links_have_the_data_of_their_file() {
    let checked = |sum| Entry {
        magic: "070702",
        sum,
        ..Entry::file("a", b"\xff\x01")
    };
    assert_eq!(
        read(&archive(&[checked(0x100)])).unwrap(),
        [Member::new("a", b"\xff\x01")]
    );
    assert_eq!(
        refusal(&archive(&[checked(0x101)])),
        "archive member \"a\", at offset 0x0: its bytes add up to 0x100, expected the checksum 0x101"
    );
    let linked = |name, data| Entry {
        inode: 9,
        links: 2,
        ..Entry::file(name, data)
    };
    let bytes = archive(&[linked("a", b""), Entry::file("x", b"x"), linked("b", b"data")]);
    let members = [
        Member::new("a", b"data"),
        Member::new("x", b"x"),
        Member::new("b", b"data"),
    ];
    assert_eq!(read(&bytes).unwrap(), members);
}

#[test]
fn other_files_are_named_with_what_to_do() {
    for (start, what) in [
        (
            &b"\x1f\x8b\x08"[..],
            "compressed by gzip: expected it unpacked, by gunzip",
        ),
        (
            b"\x28\xb5\x2f\xfd",
            "compressed by zstd: expected it unpacked, by unzstd",
        ),
        (b"\xfd7zXZ\0", "compressed by xz: expected it unpacked, by unxz"),
        (
            b"070707",
            "an archive of the old format odc: expected newc, as cpio -H newc writes it",
        ),
    ] {
        assert_eq!(refusal(start), format!("at offset 0x0: {what}"));
    }
    let mut behind = write(&[Member::new("a", *b"a")]).unwrap();
    let end = behind.len();
    behind.extend(b"\x1f\x8b\x08");
    assert!(refusal(&behind).starts_with(&format!("at offset {end:#x}: compressed by gzip")));
    assert_eq!(
        refusal(b""),
        "at offset 0x0: 0 bytes, expected the 110 of a header or of the trailer"
    );
}

#[test]
fn there_are_limits_to_members_and_to_what_is_left_out() {
    let names: Vec<String> = (0..1025).map(|number| number.to_string()).collect();
    let many = |count: usize| -> Vec<u8> {
        let entries: Vec<Entry<'_>> = names[..count].iter().map(|name| Entry::file(name, b"")).collect();
        archive(&entries)
    };
    assert_eq!(read(&many(1024)).unwrap().len(), 1024);
    assert!(refusal(&many(1025)).ends_with("expected at most 1024 members"));
    let directory = Entry {
        mode: 0o040_755,
        ..Entry::file(".", b"")
    };
    assert_eq!(read(&archive(&[directory])).unwrap(), []);
    let device = Entry {
        mode: 0o020_644,
        ..Entry::file("dev/console", b"")
    };
    assert!(refusal(&archive(&[device])).ends_with("a device, expected regular files and directories"));
}
