//! The archive: a `newc` cpio file (SVR4, magic `070701`), the data of its members on 16-byte boundaries.

mod reader;

use std::io::Write;
use std::iter::repeat_n;

/// A file of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub data: Vec<u8>,
}

impl Member {
    /// A file with this name and content.
    pub fn new(name: impl Into<String>, data: impl Into<Vec<u8>>) -> Member {
        Member {
            name: name.into(),
            data: data.into(),
        }
    }
}

/// Name of the member that ends an archive.
pub const TRAILER: &str = "TRAILER!!!";

/// Longest name, in bytes with the NUL behind it: as Linux has it (PATH_MAX).
const NAME_LIMIT: usize = 4096;

/// Mode of the members: a regular file, readable by all, writable by its owner.
const MODE: u32 = 0o100_644;

/// Bytes of a member's header.
const HEADER: usize = 110;
/// Alignment that the format gives to the data of a member, in bytes.
const ALIGNMENT: usize = 4;
/// What the data of members is aligned to beyond that: the monitor copies such data fastest.
const DATA_ALIGNMENT: usize = 16;

/// Why an archive cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A file is larger than the format can say.
    #[error("archive member {name:?}: {size} bytes do not fit into the 32-bit size of a newc archive")]
    TooLarge {
        /// Name of the file.
        name: String,
        /// Its bytes.
        size: usize,
    },
    /// A name that would end the archive or cannot be stored.
    #[error("archive member {name:?}: this name cannot be stored in a newc archive")]
    Name {
        /// The name.
        name: String,
    },
    /// The bytes are not an archive.
    #[error("at offset {offset:#x}: {problem}")]
    Malformed {
        /// Where.
        offset: usize,
        /// What is wrong, and what was expected.
        problem: String,
    },
    /// A member that has no meaning here, or more than one.
    #[error("archive member {name:?}, at offset {offset:#x}: {problem}")]
    Member {
        /// Its name.
        name: String,
        /// Offset of its header.
        offset: usize,
        /// What is wrong, and what was expected.
        problem: String,
    },
    /// Writing failed.
    #[error("archive: {0}")]
    Write(#[from] std::io::Error),
}

/// An archive of these files, in this order, the same for the same files.
///
/// # Errors
/// A file is 4 GiB or larger, or has a name that the format cannot hold.
pub fn write(members: &[Member]) -> Result<Vec<u8>, ArchiveError> {
    let mut archive = Vec::new();
    for (index, member) in members.iter().enumerate() {
        if member.name.is_empty()
            || member.name == TRAILER
            || member.name.contains('\0')
            || member.name.len() >= NAME_LIMIT
        {
            return Err(ArchiveError::Name {
                name: member.name.clone(),
            });
        }
        let size = member.data.len();
        let too_large = |_| ArchiveError::TooLarge {
            name: member.name.clone(),
            size,
        };
        let size = u32::try_from(size).map_err(too_large)?;
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        // NULs behind the name move the data: a name ends with its first NUL.
        let mut name = member.name.clone();
        let data = (archive.len() + HEADER + name.len() + 1).next_multiple_of(ALIGNMENT);
        name.extend(repeat_n('\0', data.next_multiple_of(DATA_ALIGNMENT) - data));
        let mut entry = cpio::newc::Builder::new(&name)
            .ino(number)
            .mode(MODE)
            .write(archive, size);
        entry.write_all(&member.data)?;
        archive = entry.finish()?;
    }
    Ok(cpio::newc::trailer(archive)?)
}

/// The files of the archives that these bytes are, in the order in which their names appear first. They are understood as the
/// monitor understands them, and as Linux understands an initramfs: a file of a later archive takes the place of an earlier
/// one's, all names of a file have its data, and names are paths from the root.
///
/// # Errors
/// The bytes are not complete `newc` archives, or could be understood in two ways.
pub fn read(bytes: &[u8]) -> Result<Vec<Member>, ArchiveError> {
    reader::read(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Member> {
        vec![
            Member::new("manifest.dtb", *b"12345"),
            Member::new("a", []),
            Member::new("hello.elf", [7; 4096]),
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        let archive = write(&sample()).unwrap();
        assert_eq!(read(&archive).unwrap(), sample());
        assert_eq!(archive.len() % 4, 0);
        assert_eq!(
            archive,
            write(&sample()).unwrap(),
            "the same files give the same archive"
        );
    }

    #[test]
    fn data_can_be_read_in_place_as_words() {
        for length in 1..20 {
            let name = "n".repeat(length);
            let archive = write(&[Member::new(&name, *b"MARKED"), Member::new("b", *b"MARKED")]).unwrap();
            let marks: Vec<usize> = (0..archive.len())
                .filter(|at| archive[*at..].starts_with(b"MARKED"))
                .collect();
            assert_eq!(marks.len(), 2);
            assert!(
                marks.iter().all(|at| at.is_multiple_of(8)),
                "name of {length} bytes: {marks:?}"
            );
            assert_eq!(read(&archive).unwrap()[0].name, name);
        }
    }

    #[test]
    fn a_truncated_archive_is_refused_at_every_length() {
        let archive = write(&sample()).unwrap();
        let end = archive.len() - archive.iter().rev().take_while(|byte| **byte == 0).count();
        for length in 0..end {
            assert!(read(&archive[..length]).is_err(), "cut to {length} bytes");
        }
    }

    #[test]
    fn names_that_would_break_the_archive_are_refused() {
        for name in ["", TRAILER, "a\0b"] {
            assert!(
                matches!(write(&[Member::new(name, [])]), Err(ArchiveError::Name { .. })),
                "{name:?}"
            );
        }
    }

    #[test]
    fn damage_is_reported_with_its_place() {
        let mut archive = write(&sample()).unwrap();
        archive[0] = b'x';
        let error = read(&archive).unwrap_err().to_string();
        assert!(
            error.starts_with("at offset 0x0: expected the magic number 070701"),
            "{error}"
        );
    }
}
