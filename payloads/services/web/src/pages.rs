//! The disk: an archive of plain files (POSIX.1-1988 ustar), as `tar --format=ustar` writes it. One of the files counts the
//! visitors, in place.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

/// Bytes of a block of the archive, and of a sector.
pub const BLOCK: usize = 512;
/// Name of the file with the number of visitors: decimal digits, blanks in front or behind.
pub const VISITS: &str = "visits";
/// Most files.
const FILE_LIMIT: usize = 256;

/// A file on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path, without a slash in front.
    pub name: String,
    /// Its first block.
    pub block: u64,
    /// Its bytes.
    pub size: usize,
}

/// What is wrong with the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A header is none, or has another sum than it says.
    Header,
    /// A file reaches beyond the end of the disk.
    End,
    /// There are more files than fit.
    Many,
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// The archive ends here.
    End,
    /// A plain file, its name and its bytes.
    File(String, usize),
    /// Something else, with so many bytes behind its header.
    Other(usize),
}

fn octal(field: &[u8]) -> Option<usize> {
    let text = core::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    if text.is_empty() {
        return Some(0);
    }
    usize::from_str_radix(text, 8).ok()
}

fn text(field: &[u8]) -> Option<&str> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    core::str::from_utf8(&field[..end]).ok()
}

/// Reads a header.
///
/// # Errors
/// [`Damage::Header`].
pub fn header(block: &[u8; BLOCK]) -> Result<Header, Damage> {
    if block.iter().all(|byte| *byte == 0) {
        return Ok(Header::End);
    }
    // Its own field counts as blanks.
    let bytes = |range: core::ops::Range<usize>| block[range].iter().map(|byte| usize::from(*byte)).sum::<usize>();
    let sum = bytes(0..148) + 8 * usize::from(b' ') + bytes(156..BLOCK);
    let (size, said) = (octal(&block[124..136]), octal(&block[148..156]));
    let (Some(size), true) = (size, said == Some(sum) && &block[257..262] == b"ustar") else {
        return Err(Damage::Header);
    };
    if !matches!(block[156], b'0' | 0) {
        return Ok(Header::Other(size));
    }
    let (prefix, name) = (text(&block[345..500]), text(&block[..100]));
    let (Some(prefix), Some(name)) = (prefix, name) else {
        return Err(Damage::Header);
    };
    let mut whole = prefix.to_owned();
    if !prefix.is_empty() {
        whole.push('/');
    }
    whole.push_str(name);
    let plain = whole.trim_start_matches("./").to_owned();
    Ok(Header::File(plain, size))
}

/// Reads the whole list of files; `read` reads a block of the disk, which has so many.
///
/// # Errors
/// What is wrong with the archive, or what `read` said.
pub fn list<E: From<Damage>>(
    blocks: u64,
    mut read: impl FnMut(u64, &mut [u8; BLOCK]) -> Result<(), E>,
) -> Result<Vec<File>, E> {
    let (mut files, mut at) = (Vec::new(), 0);
    let mut block = [0; BLOCK];
    while at < blocks {
        read(at, &mut block)?;
        at += 1;
        let (name, size) = match header(&block)? {
            Header::End => break,
            Header::File(name, size) => (Some(name), size),
            Header::Other(size) => (None, size),
        };
        let start = at;
        at = at.saturating_add(size.div_ceil(BLOCK) as u64);
        if at > blocks {
            return Err(Damage::End.into());
        }
        if let Some(name) = name {
            if files.len() == FILE_LIMIT {
                return Err(Damage::Many.into());
            }
            files.push(File {
                name,
                block: start,
                size,
            });
        }
    }
    Ok(files)
}

/// The number of visitors in the first bytes of a file.
pub fn visits(bytes: &[u8]) -> Option<u64> {
    core::str::from_utf8(bytes).ok()?.trim().parse().ok()
}

/// Writes the number of visitors to all bytes of a file; false when there is no room.
pub fn set_visits(bytes: &mut [u8], visits: u64) -> bool {
    let digits = alloc::format!("{visits}\n");
    let Some(blanks) = bytes.len().checked_sub(digits.len()) else {
        return false;
    };
    bytes[..blanks].fill(b' ');
    bytes[blanks..].copy_from_slice(digits.as_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(name: &str, size: usize, kind: u8) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[156] = kind;
        block[257..262].copy_from_slice(b"ustar");
        block[148..156].fill(b' ');
        let sum: usize = block.iter().map(|byte| usize::from(*byte)).sum();
        block[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
        block[154] = 0;
        block
    }

    fn read(disk: &[[u8; BLOCK]]) -> Result<Vec<File>, Damage> {
        list(disk.len() as u64, |at, block| {
            *block = disk[at as usize];
            Ok(())
        })
    }

    #[test]
    fn files_are_found_with_their_places() {
        let disk = [
            block("./", 0, b'5'),
            block("./index.html", 513, b'0'),
            [1; BLOCK],
            [2; BLOCK],
            block("visits", 20, b'0'),
            [b' '; BLOCK],
            [0; BLOCK],
            [9; BLOCK],
        ];
        let file = |name: &str, block, size| File {
            name: name.to_owned(),
            block,
            size,
        };
        assert_eq!(read(&disk), Ok(vec![file("index.html", 2, 513), file("visits", 5, 20)]));
    }

    #[test]
    fn damage_is_found() {
        let mut wrong = block("a", 0, b'0');
        wrong[0] ^= 1;
        assert_eq!(read(&[wrong]), Err(Damage::Header));
        assert_eq!(read(&[block("a", 513, b'0'), [0; BLOCK]]), Err(Damage::End));
        assert_eq!(read(&[block("a", 0o77777777777, b'0')]), Err(Damage::End));
        assert_eq!(read(&vec![block("a", 0, b'0'); FILE_LIMIT + 1]), Err(Damage::Many));
    }

    #[test]
    fn visitors_are_counted_in_place() {
        let mut file = *b"       0\n";
        assert_eq!(visits(&file), Some(0));
        assert!(set_visits(&mut file, 12345678));
        assert_eq!(visits(&file), Some(12345678));
        assert!(!set_visits(&mut file, 123456789));
        assert_eq!(visits(b"x"), None);
    }
}
