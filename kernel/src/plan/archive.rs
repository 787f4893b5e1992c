//! The initrd: cpio archives in the "new ASCII" format (`newc`, and `crc` with checksums; cpio(5)), read where they lie,
//! through a capability of their own. Several may stand one behind the other, as Linux takes an initramfs (Documentation/driver-api/early-userspace/buffer-format.rst):
//! zeros lie between them, and a file of a later one takes the place of an earlier one's of the same name.

use crate::elf::File;
use crate::plan::refusal::{Entry, Problem, Refusal};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// Of an archive without checksums, and of one with them.
const MAGIC: &[u8] = b"070701";
const MAGIC_CHECKED: &[u8] = b"070702";
const HEADER: usize = 110;
/// Fields of a header behind its magic number, of eight digits each.
const FIELDS: usize = 13;
/// Most members of the archives together.
const MEMBER_LIMIT: usize = 1024;
/// Longest name, in bytes with the NUL behind it: as Linux has it (PATH_MAX).
const NAME_LIMIT: usize = 4096;
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

/// Checked archives.
pub(crate) struct Archive {
    /// The regular files, by their names.
    members: Vec<Member>,
}

/// One regular file.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) data: File,
    /// Which of the archives it comes from.
    archive: usize,
    /// What names of one file have in common in one archive, where there is more than one name.
    link: Option<[u32; 3]>,
}

impl Archive {
    /// Walks the archives once.
    ///
    /// # Errors
    /// [`Refusal`] at the first thing that is not as the format wants it, and at what could be understood in two ways.
    pub(crate) fn check(file: File) -> Result<Archive, Refusal> {
        let mut members = Vec::new();
        let (mut offset, mut archive, mut count) = (0, 0, 0);
        loop {
            let entry = Found::read(file, offset)?;
            if entry.name == TRAILER {
                // A header stands at a multiple of 4, and so does the end of the trailer.
                let rest = file.from(entry.next);
                let mut gap = 0;
                let more = rest.find_map(|word| {
                    gap += 4;
                    (*word != [0; 4]).then_some(gap - 4)
                });
                let end = rest.len() / 4 * 4;
                let behind = || rest.from(end).find_map(|byte| (*byte != [0]).then_some(end));
                let Some(gap) = more.or_else(behind) else {
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
            let next = entry.next;
            add(&mut members, entry, archive).map_err(|(member, expected)| wrong(offset, member, expected))?;
            offset = next;
        }
    }

    /// The regular files, by their names.
    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// The file with this name.
    pub(crate) fn find(&self, name: &str) -> Option<File> {
        let found = self.members.binary_search_by(|member| member.name.as_str().cmp(name));
        found.ok().map(|at| self.members[at].data)
    }
}

/// Adds what an entry of an archive is: a name for a file, or a directory, which is of no use here.
///
/// # Errors
/// Its name, and what was expected instead.
fn add(members: &mut Vec<Member>, entry: Found, archive: usize) -> Result<(), (String, &'static str)> {
    let Found { name, data, link, .. } = entry;
    match entry.mode & TYPE_MASK {
        TYPE_REGULAR => {}
        TYPE_DIRECTORY => return Ok(()),
        TYPE_LINK => return Err((name, "files and directories, not a symbolic link")),
        _ => return Err((name, "files and directories, not a device or another type")),
    }
    let mut path = name.as_str();
    while let Some(rest) = path.strip_prefix("./").or(path.strip_prefix('/')) {
        path = rest;
    }
    if path.is_empty() {
        return Err((name, "a file with a name"));
    }
    let found = members.binary_search_by(|other| other.name.as_str().cmp(path));
    if found.is_ok_and(|at| members[at].archive == archive) {
        return Err((name, "a name only once in an archive"));
    }
    let mut member = Member {
        name: path.into(),
        data,
        archive,
        link,
    };
    if link.is_some() {
        // All names of one file have its data, which stands with one of them, as a rule the last.
        let same = |other: &&mut Member| (other.archive, other.link) == (archive, link);
        for other in members.iter_mut().filter(same) {
            if data.len() == 0 {
                member.data = other.data;
            } else {
                other.data = data;
            }
        }
    }
    match found {
        Ok(at) => members[at] = member,
        Err(at) => members.insert(at, member),
    }
    Ok(())
}

/// Something else is expected at an offset, where this member is.
#[cold]
#[inline(never)]
fn wrong(offset: usize, member: String, expected: &'static str) -> Refusal {
    Entry::WHOLE.refused(Problem::Archive(offset, member, expected))
}

/// Something else is expected at an offset.
#[cold]
#[inline(never)]
fn fail(offset: usize, expected: &'static str) -> Refusal {
    wrong(offset, String::new(), expected)
}

/// The sum of all bytes.
fn added(data: File) -> u32 {
    let mut sum = 0_u32;
    let mut add = |bytes: &[u8]| {
        sum = bytes.iter().fold(sum, |sum, byte| sum.wrapping_add(u32::from(*byte)));
        None::<()>
    };
    data.find_map::<16, _>(|bytes| add(bytes));
    data.from(data.len() / 16 * 16).find_map::<1, _>(|byte| add(byte));
    sum
}

/// A hexadecimal digit.
fn digit(letter: u8) -> Option<u32> {
    let value = match letter {
        b'0'..=b'9' => letter - b'0',
        b'a'..=b'f' => letter - b'a' + 10,
        b'A'..=b'F' => letter - b'A' + 10,
        _ => return None,
    };
    Some(value.into())
}

/// What stands at one place of an archive.
struct Found {
    name: String,
    mode: u32,
    link: Option<[u32; 3]>,
    data: File,
    /// Offset of the next entry.
    next: usize,
}

impl Found {
    fn read(file: File, offset: usize) -> Result<Found, Refusal> {
        let mut header = [0; HEADER];
        let header = file.from(offset).first(&mut header);
        if let Some((_, expected)) = COMPRESSED.iter().find(|(start, _)| header.starts_with(start)) {
            return Err(fail(offset, expected));
        }
        if header.len() < HEADER {
            return Err(fail(offset, "a header of 110 bytes or the trailer"));
        }
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
            let mut digits = header[at..at + 8].iter();
            let value = digits.try_fold(0, |value, digit| Some(value << 4 | self::digit(*digit)?));
            *field = value.ok_or_else(|| fail(offset + at, "eight hexadecimal digits"))?;
        }
        let [inode, mode, _, _, links, _, size, major, minor, _, _, name_size, sum] = fields;
        let (size, name_size) = (size as usize, name_size as usize);
        let name_start = offset + HEADER;
        let name = file.part(name_start..name_start + name_size);
        let name = name.ok_or_else(|| fail(name_start, "a name within the archive"))?;
        let mut bytes = vec![0; name_size.min(NAME_LIMIT)];
        let end = name.first(&mut bytes).iter().position(|byte| *byte == 0);
        let end = end.ok_or_else(|| fail(name_start, "a name of at most 4095 bytes that ends with NUL"))?;
        bytes.truncate(end);
        let name = String::from_utf8(bytes).map_err(|_| fail(name_start, "a name in UTF-8"))?;
        let start = (name_start + name_size).next_multiple_of(4);
        // Of a member without data, the last one above all, the padding need not be there.
        let data = if size == 0 {
            file.part(0..0)
        } else {
            file.part(start..start + size)
        };
        let data = data.ok_or_else(|| fail(start, "the whole data of a member"))?;
        if magic == MAGIC_CHECKED && mode & TYPE_MASK == TYPE_REGULAR && added(data) != sum {
            return Err(wrong(start, name, "data whose bytes add up to the checksum"));
        }
        Ok(Found {
            name,
            mode,
            link: (links > 1).then_some([inode, major, minor]),
            data,
            next: (start + size).next_multiple_of(4),
        })
    }
}
