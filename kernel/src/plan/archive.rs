//! The initrd: a cpio archive in the "new ASCII" format (`newc`, cpio(5)), read in place.

use core::fmt;

const MAGIC: &[u8] = b"070701";
const HEADER: usize = 110;
/// Most members of an archive: they are searched one by one.
const MEMBER_LIMIT: usize = 1024;
const TRAILER: &str = "TRAILER!!!";
/// File type bits of the mode: only regular files are members.
const TYPE_MASK: u32 = 0o170_000;
const TYPE_REGULAR: u32 = 0o100_000;

/// What is wrong with an archive, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ArchiveError {
    /// Byte offset in the archive.
    pub(crate) offset: usize,
    /// What was expected there.
    pub(crate) expected: &'static str,
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "archive: at offset {:#x}: expected {}", self.offset, self.expected)
    }
}

/// A checked archive.
#[derive(Clone, Copy)]
pub(crate) struct Archive<'a> {
    bytes: &'a [u8],
}

/// One regular file of the archive.
#[derive(Clone, Copy)]
pub(crate) struct Member<'a> {
    pub(crate) name: &'a str,
    pub(crate) data: &'a [u8],
}

impl<'a> Archive<'a> {
    /// Walks the whole archive once.
    ///
    /// # Errors
    /// [`ArchiveError`] at the first thing that is not as the format wants it.
    pub(crate) fn check(bytes: &'a [u8]) -> Result<Archive<'a>, ArchiveError> {
        let mut offset = 0;
        let mut members = 0;
        while let Some(Entry { next, .. }) = entry(bytes, offset)? {
            members += 1;
            if members > MEMBER_LIMIT {
                let expected = "the trailer after at most 1024 members";
                return Err(ArchiveError { offset, expected });
            }
            offset = next;
        }
        Ok(Archive { bytes })
    }

    /// The regular files in their order.
    pub(crate) fn members(self) -> impl Iterator<Item = Member<'a>> {
        let mut offset = 0;
        core::iter::from_fn(move || {
            loop {
                let entry = entry(self.bytes, offset).ok()??;
                offset = entry.next;
                if entry.member.is_some() {
                    return entry.member;
                }
            }
        })
    }

    /// The file with this name; the first one if there are several.
    pub(crate) fn find(self, name: &str) -> Option<&'a [u8]> {
        self.members()
            .find(|member| member.name == name)
            .map(|member| member.data)
    }
}

/// What stands at one place of the archive.
struct Entry<'a> {
    /// The file, if it is a regular one.
    member: Option<Member<'a>>,
    /// Offset of the next entry.
    next: usize,
}

/// The entry at `offset`; `None` at the trailer.
fn entry(bytes: &[u8], offset: usize) -> Result<Option<Entry<'_>>, ArchiveError> {
    let fail = |at: usize, expected| ArchiveError { offset: at, expected };
    let header = offset.checked_add(HEADER).and_then(|end| bytes.get(offset..end));
    let header = header.ok_or(fail(offset, "a header of 110 bytes or the trailer"))?;
    if &header[..6] != MAGIC {
        return Err(fail(offset, "the magic number 070701"));
    }
    let field = |index: usize| -> Result<u32, ArchiveError> {
        let at = 6 + index * 8;
        let digits = core::str::from_utf8(&header[at..at + 8])
            .ok()
            .filter(|text| !text.starts_with('+'));
        digits
            .and_then(|text| u32::from_str_radix(text, 16).ok())
            .ok_or(fail(offset + at, "eight hexadecimal digits"))
    };
    let (mode, size, name_size) = (field(1)?, field(6)? as usize, field(11)? as usize);
    let name_start = offset + HEADER;
    let data_start = (name_start + name_size).next_multiple_of(4);
    let name = bytes
        .get(name_start..name_start + name_size)
        .ok_or(fail(name_start, "a name within the archive"))?;
    let end = name
        .iter()
        .position(|byte| *byte == 0)
        .ok_or(fail(name_start, "a name that ends with NUL"))?;
    let name = core::str::from_utf8(&name[..end]).map_err(|_| fail(name_start, "a name in UTF-8"))?;
    if name == TRAILER {
        return Ok(None);
    }
    let data = data_start.checked_add(size).and_then(|end| bytes.get(data_start..end));
    let data = data.ok_or(fail(data_start, "the whole data of a member"))?;
    let member = (mode & TYPE_MASK == TYPE_REGULAR).then_some(Member { name, data });
    let next = (data_start + size).next_multiple_of(4);
    Ok(Some(Entry { member, next }))
}
