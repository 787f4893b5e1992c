//! Reading archives, by the same rules as the monitor and without its code: what one of the two accepts, the other accepts,
//! and both find the same files. The fuzz target `image` holds them to it.

use super::{ArchiveError, HEADER, Member, NAME_LIMIT, TRAILER};

/// Magic numbers of an archive without checksums and of one with them.
const PLAIN: &[u8] = b"070701";
const CHECKED: &[u8] = b"070702";
/// Most members of the archives together.
const MEMBER_LIMIT: usize = 1024;

/// How other kinds of files begin, what they are, and what to do.
const OTHERS: [(&[u8], &str); 8] = [
    (b"\x1f\x8b", "compressed by gzip: expected it unpacked, by gunzip"),
    (
        b"\x28\xb5\x2f\xfd",
        "compressed by zstd: expected it unpacked, by unzstd",
    ),
    (b"\xfd7zXZ", "compressed by xz: expected it unpacked, by unxz"),
    (b"\x02\x21\x4c\x18", "compressed by lz4: expected it unpacked, by unlz4"),
    (b"BZh", "compressed by bzip2: expected it unpacked, by bunzip2"),
    (b"\x5d\0\0", "compressed by lzma: expected it unpacked, by unlzma"),
    (
        b"070707",
        "an archive of the old format odc: expected newc, as cpio -H newc writes it",
    ),
    (
        b"\xc7\x71",
        "an archive of the old binary format: expected newc, as cpio -H newc writes it",
    ),
];

/// The parts of an entry that count here.
struct Entry<'a> {
    offset: usize,
    name: &'a str,
    mode: u32,
    /// Inode and device of a file with several names.
    link: Option<(u32, u32, u32)>,
    data: &'a [u8],
    /// Offset of the next one.
    next: usize,
}

/// A file that was read: its place in the list, what it says of other names, and which archive it is from.
struct Known<'a> {
    name: String,
    data: &'a [u8],
    link: Option<(u32, u32, u32)>,
    archive: usize,
}

pub(super) fn read(bytes: &[u8]) -> Result<Vec<Member>, ArchiveError> {
    let mut files: Vec<Known<'_>> = Vec::new();
    let (mut offset, mut archive, mut entries) = (0, 0, 0);
    loop {
        let entry = parse(bytes, offset)?;
        if entry.name != TRAILER {
            entries += 1;
            if entries > MEMBER_LIMIT {
                return Err(malformed(offset, format!("expected at most {MEMBER_LIMIT} members")));
            }
            add(&mut files, &entry, archive)?;
            offset = entry.next;
            continue;
        }
        let behind = bytes.iter().enumerate().skip(entry.next);
        let Some((next, _)) = behind.into_iter().find(|(_, byte)| **byte != 0) else {
            return Ok(files
                .into_iter()
                .map(|file| Member::new(file.name, file.data))
                .collect());
        };
        offset = next;
        archive += 1;
    }
}

/// The bits of a mode that say what kind of file it is of.
fn file_type(mode: u32) -> u32 {
    mode >> 12 & 0o17
}

/// A path from the root, without what leads to it.
fn from_root(path: &str) -> &str {
    let mut path = path;
    loop {
        let shorter = path.strip_prefix("./").unwrap_or(path);
        let shorter = shorter.strip_prefix('/').unwrap_or(shorter);
        if shorter == path {
            return path;
        }
        path = shorter;
    }
}

fn add<'a>(files: &mut Vec<Known<'a>>, entry: &Entry<'a>, archive: usize) -> Result<(), ArchiveError> {
    let refuse = |problem: &str| {
        Err(ArchiveError::Member {
            name: entry.name.to_owned(),
            offset: entry.offset,
            problem: problem.to_owned(),
        })
    };
    match file_type(entry.mode) {
        0o10 => {}
        0o04 => return Ok(()),
        0o12 => return refuse("a symbolic link, expected regular files and directories"),
        0o01 => return refuse("a named pipe, expected regular files and directories"),
        0o02 | 0o06 => return refuse("a device, expected regular files and directories"),
        0o14 => return refuse("a socket, expected regular files and directories"),
        _ => return refuse("an unknown type of file, expected regular files and directories"),
    }
    let name = from_root(entry.name);
    if name.is_empty() {
        return refuse("a file without a name");
    }
    let mut data = entry.data;
    if entry.link.is_some() {
        let others = files
            .iter_mut()
            .filter(|file| file.archive == archive && file.link == entry.link);
        for other in others {
            if entry.data.is_empty() {
                data = other.data;
            } else {
                other.data = entry.data;
            }
        }
    }
    let known = files.iter_mut().find(|file| file.name == name);
    if known.as_ref().is_some_and(|known| known.archive == archive) {
        return refuse("this name stands twice in one archive, expected it once");
    }
    let file = Known {
        name: name.to_owned(),
        data,
        link: entry.link,
        archive,
    };
    match known {
        Some(known) => *known = file,
        None => files.push(file),
    }
    Ok(())
}

fn malformed(offset: usize, problem: impl Into<String>) -> ArchiveError {
    ArchiveError::Malformed {
        offset,
        problem: problem.into(),
    }
}

/// The entry whose header stands at `offset`.
fn parse(bytes: &[u8], offset: usize) -> Result<Entry<'_>, ArchiveError> {
    let rest = bytes.get(offset..).unwrap_or_default();
    if let Some((_, what)) = OTHERS.iter().find(|(start, _)| rest.starts_with(start)) {
        return Err(malformed(offset, *what));
    }
    if rest.len() < HEADER {
        return Err(malformed(
            offset,
            format!(
                "{} bytes, expected the {HEADER} of a header or of the trailer",
                rest.len()
            ),
        ));
    }
    let (magic, fields) = rest[..HEADER].split_at(PLAIN.len());
    if (magic != PLAIN && magic != CHECKED) || !offset.is_multiple_of(4) {
        let problem = "expected the magic number 070701 or 070702 of a newc archive, at a multiple of 4";
        return Err(malformed(offset, problem));
    }
    let field = |index: usize| -> Result<u32, ArchiveError> {
        let digits = &fields[index * 8..][..8];
        let value = digits.iter().try_fold(0, |value: u32, digit| {
            Some(value << 4 | char::from(*digit).to_digit(16)?)
        });
        value.ok_or_else(|| malformed(offset + PLAIN.len() + index * 8, "expected eight hexadecimal digits"))
    };
    let mut values = [0; 13];
    for (index, value) in values.iter_mut().enumerate() {
        *value = field(index)?;
    }
    let [
        inode,
        mode,
        _,
        _,
        links,
        _,
        size,
        major,
        minor,
        _,
        _,
        name_size,
        checksum,
    ] = values;
    let name_start = offset + HEADER;
    let name_end = name_start + name_size as usize;
    let stored = bytes.get(name_start..name_end).ok_or_else(|| {
        malformed(
            name_start,
            format!("a name of {name_size} bytes, expected it in the archive"),
        )
    })?;
    let name = stored.split(|byte| *byte == 0).next().unwrap_or_default();
    if name.len() == stored.len() || name.len() >= NAME_LIMIT {
        return Err(malformed(
            name_start,
            "a name without an end, expected a NUL behind at most 4095 bytes",
        ));
    }
    let name = str::from_utf8(name).map_err(|_| malformed(name_start, "a name that is not UTF-8"))?;
    let start = name_end.next_multiple_of(4);
    let found = bytes.get(start..).unwrap_or_default();
    let Some(data) = found.get(..size as usize) else {
        let problem = format!("{} of {size} bytes are there, expected all", found.len());
        return Err(ArchiveError::Member {
            name: name.to_owned(),
            offset,
            problem,
        });
    };
    let sum = data.iter().fold(0_u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    if magic == CHECKED && file_type(mode) == 0o10 && sum != checksum {
        return Err(ArchiveError::Member {
            name: name.to_owned(),
            offset,
            problem: format!("its bytes add up to {sum:#x}, expected the checksum {checksum:#x}"),
        });
    }
    Ok(Entry {
        offset,
        name,
        mode,
        link: (links >= 2).then_some((inode, major, minor)),
        data,
        next: (start + size as usize).next_multiple_of(4),
    })
}
