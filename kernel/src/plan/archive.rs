//! The initrd: cpio archives in the "new ASCII" format (`newc`, and `crc` with checksums; cpio(5)), read in place. Several
//! may stand one behind the other, as Linux takes an initramfs (Documentation/driver-api/early-userspace/buffer-format.rst):
//! zeros lie between them, and a file of a later one takes the place of an earlier one's of the same name.

use alloc::vec::Vec;
use core::fmt::{self, Write as _};

/// Of an archive without checksums, and of one with them.
const MAGIC: &[u8] = b"070701";
const MAGIC_CHECKED: &[u8] = b"070702";
const HEADER: usize = 110;
/// Fields of a header behind its magic number, of eight digits each.
const FIELDS: usize = 13;
/// Most members of the archives together.
const MEMBER_LIMIT: usize = 1024;
const TRAILER: &str = "TRAILER!!!";
/// File type bits of the mode.
const TYPE_MASK: u32 = 0o170_000;
const TYPE_REGULAR: u32 = 0o100_000;
const TYPE_DIRECTORY: u32 = 0o040_000;
const TYPE_LINK: u32 = 0o120_000;
/// How files begin that Linux would unpack first.
const COMPRESSED: [(&[u8], &str); 6] = [
    (b"\x1f\x8b", "an archive as it is, not one compressed by gzip"),
    (b"\x28\xb5\x2f\xfd", "an archive as it is, not one compressed by zstd"),
    (b"\xfd7zXZ", "an archive as it is, not one compressed by xz"),
    (b"\x02\x21\x4c\x18", "an archive as it is, not one compressed by lz4"),
    (b"BZh", "an archive as it is, not one compressed by bzip2"),
    (b"\x5d\0\0", "an archive as it is, not one compressed by lzma"),
];

/// What is wrong with an archive, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ArchiveError<'a> {
    /// Byte offset in the archive.
    pub(crate) offset: usize,
    /// The member; empty when it is not about one.
    pub(crate) name: &'a str,
    /// What was expected there.
    pub(crate) expected: &'static str,
}

impl fmt::Display for ArchiveError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "archive: at offset {:#x}: ", self.offset)?;
        for character in self.name.chars() {
            let visible = character.is_ascii_graphic() || character == ' ';
            f.write_char(if visible { character } else { '?' })?;
        }
        let separator = if self.name.is_empty() { "" } else { ": " };
        write!(f, "{separator}expected {}", self.expected)
    }
}

/// Checked archives.
pub(crate) struct Archive<'a> {
    /// The regular files, by their names.
    members: Vec<Member<'a>>,
}

/// One regular file.
pub(crate) struct Member<'a> {
    pub(crate) name: &'a str,
    pub(crate) data: &'a [u8],
    /// Which of the archives it comes from.
    archive: usize,
    /// What names of one file have in common in one archive, where there is more than one name.
    link: Option<[u32; 3]>,
}

impl<'a> Archive<'a> {
    /// Walks the archives once.
    ///
    /// # Errors
    /// [`ArchiveError`] at the first thing that is not as the format wants it, and at what could be understood in two ways.
    pub(crate) fn check(bytes: &'a [u8]) -> Result<Archive<'a>, ArchiveError<'a>> {
        let mut members = Vec::new();
        let (mut offset, mut archive, mut count) = (0, 0, 0);
        loop {
            let entry = Entry::read(bytes, offset)?;
            if entry.name == TRAILER {
                let rest = bytes.get(entry.next..).unwrap_or(&[]);
                let Some(gap) = rest.iter().position(|byte| *byte != 0) else {
                    return Ok(Archive { members });
                };
                offset = entry.next + gap;
                archive += 1;
                continue;
            }
            count += 1;
            if count > MEMBER_LIMIT {
                return Err(fail(offset, "the trailer after at most 1024 members"));
            }
            let name = entry.name;
            let refused = |expected| ArchiveError { offset, name, expected };
            add(&mut members, &entry, archive).map_err(refused)?;
            offset = entry.next;
        }
    }

    /// The regular files, by their names.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn members(&self) -> &[Member<'a>] {
        &self.members
    }

    /// All files, by their names.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &'a [u8])> {
        self.members.iter().map(|member| (member.name, member.data))
    }

    /// The file with this name.
    pub(crate) fn find(&self, name: &str) -> Option<&'a [u8]> {
        let found = self.members.binary_search_by(|member| member.name.cmp(name));
        found.ok().map(|at| self.members[at].data)
    }
}

/// Adds what an entry of an archive is: a name for a file, or a directory, which is of no use here.
///
/// # Errors
/// What was expected instead.
fn add<'a>(members: &mut Vec<Member<'a>>, entry: &Entry<'a>, archive: usize) -> Result<(), &'static str> {
    match entry.mode & TYPE_MASK {
        TYPE_REGULAR => {}
        TYPE_DIRECTORY => return Ok(()),
        TYPE_LINK => return Err("files and directories, not a symbolic link"),
        _ => return Err("files and directories, not a device or another type"),
    }
    let mut name = entry.name;
    while let Some(rest) = name.strip_prefix("./").or(name.strip_prefix('/')) {
        name = rest;
    }
    if name.is_empty() {
        return Err("a file with a name");
    }
    let mut member = Member {
        name,
        data: entry.data,
        archive,
        link: entry.link,
    };
    if entry.link.is_some() {
        // All names of one file have its data, which stands with one of them, as a rule the last.
        let same = |other: &&mut Member<'_>| (other.archive, other.link) == (archive, entry.link);
        for other in members.iter_mut().filter(same) {
            if entry.data.is_empty() {
                member.data = other.data;
            } else {
                other.data = entry.data;
            }
        }
    }
    match members.binary_search_by(|other| other.name.cmp(name)) {
        Ok(at) if members[at].archive == archive => return Err("a name only once in an archive"),
        Ok(at) => members[at] = member,
        Err(at) => members.insert(at, member),
    }
    Ok(())
}

fn fail<'a>(offset: usize, expected: &'static str) -> ArchiveError<'a> {
    let name = "";
    ArchiveError { offset, name, expected }
}

/// What stands at one place of an archive.
struct Entry<'a> {
    name: &'a str,
    mode: u32,
    link: Option<[u32; 3]>,
    data: &'a [u8],
    /// Offset of the next entry.
    next: usize,
}

impl<'a> Entry<'a> {
    fn read(bytes: &'a [u8], offset: usize) -> Result<Entry<'a>, ArchiveError<'a>> {
        let rest = bytes.get(offset..).unwrap_or(&[]);
        if let Some((_, expected)) = COMPRESSED.iter().find(|(start, _)| rest.starts_with(start)) {
            return Err(fail(offset, expected));
        }
        let header = rest.get(..HEADER);
        let header = header.ok_or(fail(offset, "a header of 110 bytes or the trailer"))?;
        let magic = &header[..6];
        if ![MAGIC, MAGIC_CHECKED].contains(&magic) || !offset.is_multiple_of(4) {
            return Err(fail(
                offset,
                "the magic number 070701 or 070702 of a newc archive, at a multiple of 4",
            ));
        }
        let mut fields = [0; FIELDS];
        for (index, field) in fields.iter_mut().enumerate() {
            let at = 6 + index * 8;
            let digits = core::str::from_utf8(&header[at..at + 8]).ok();
            let digits = digits.filter(|text| !text.starts_with('+'));
            let value = digits.and_then(|text| u32::from_str_radix(text, 16).ok());
            *field = value.ok_or(fail(offset + at, "eight hexadecimal digits"))?;
        }
        let [inode, mode, _, _, links, _, size, major, minor, _, _, name_size, sum] = fields;
        let (size, name_size) = (size as usize, name_size as usize);
        let name_start = offset + HEADER;
        let name = bytes.get(name_start..name_start + name_size);
        let name = name.ok_or(fail(name_start, "a name within the archive"))?;
        let end = name.iter().position(|byte| *byte == 0);
        let end = end.ok_or(fail(name_start, "a name that ends with NUL"))?;
        let name = core::str::from_utf8(&name[..end]).map_err(|_| fail(name_start, "a name in UTF-8"))?;
        let start = (name_start + name_size).next_multiple_of(4);
        // Of a member without data, the last one above all, the padding need not be there.
        let data = if size == 0 {
            Some(&[][..])
        } else {
            bytes.get(start..start + size)
        };
        let data = data.ok_or(fail(start, "the whole data of a member"))?;
        let added = || data.iter().fold(0, |sum: u32, byte| sum.wrapping_add(u32::from(*byte)));
        if magic == MAGIC_CHECKED && mode & TYPE_MASK == TYPE_REGULAR && added() != sum {
            let expected = "data whose bytes add up to the checksum";
            return Err(ArchiveError {
                offset: start,
                name,
                expected,
            });
        }
        Ok(Entry {
            name,
            mode,
            link: (links > 1).then_some([inode, major, minor]),
            data,
            next: (start + size).next_multiple_of(4),
        })
    }
}
