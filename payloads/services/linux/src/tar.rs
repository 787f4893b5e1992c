//! Archives in the format of tar, as bytes that lie: ustar, with GNU's long names. Unlike the crates that need no
//! standard library this reads folders, symbolic links and permissions, too.

use crate::Archive;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

/// Bytes of a header, and what members' sizes are multiples of.
const BLOCK: usize = 512;
/// Longest name that GNU's extension says.
const LONGEST: usize = 4096;

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder,
    /// A part of the archive.
    File(Range<usize>),
    /// A symbolic link, and where it leads.
    Link(Vec<u8>),
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    /// Nanoseconds since 1970.
    pub(crate) modified: u64,
}

/// An octal number, or GNU's binary one.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let low = &field[field.len() - 8..];
        return Some(low.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)));
    }
    let digits = field.iter().filter(|byte| !matches!(byte, b' ' | 0));
    digits.into_iter().try_fold(0_u64, |value, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 8)?;
        value.checked_mul(8)?.checked_add(digit.into())
    })
}

/// The bytes before the first NUL.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0);
    &field[..end.unwrap_or(field.len())]
}

/// The members of an archive, as far as it is one.
pub(crate) fn members(archive: &dyn Archive) -> impl Iterator<Item = Member> + '_ {
    let mut at = 0_usize;
    core::iter::from_fn(move || {
        let (mut long_name, mut long_link) = (None, None);
        let mut header = [0; BLOCK];
        loop {
            archive.read(at, &mut header).ok()?;
            if header.iter().all(|byte| *byte == 0) || &header[257..262] != b"ustar" {
                return None;
            }
            let size = usize::try_from(number(&header[124..136])?).ok()?;
            let data = at + BLOCK..(at + BLOCK).checked_add(size)?;
            if data.end > archive.size() {
                return None;
            }
            let long = || {
                let mut bytes = vec![0; size.min(LONGEST)];
                archive.read(data.start, &mut bytes).ok()?;
                Some(text(&bytes).to_vec())
            };
            at = data.end.checked_next_multiple_of(BLOCK)?;
            let name = long_name.take().unwrap_or_else(|| {
                let (name, prefix) = (text(&header[..100]), text(&header[345..500]));
                // GNU keeps other things where ustar has the first part of a name.
                if prefix.is_empty() || &header[262..265] != b"\x0000" {
                    name.to_vec()
                } else {
                    [prefix, b"/", name].concat()
                }
            });
            let kind = match header[156] {
                b'L' => {
                    long_name = Some(long()?);
                    continue;
                }
                b'K' => {
                    long_link = Some(long()?);
                    long_name = Some(name);
                    continue;
                }
                b'0' | b'7' | 0 if name.ends_with(b"/") => Kind::Folder,
                b'0' | b'7' | 0 => Kind::File(data),
                b'2' => Kind::Link(long_link.take().unwrap_or_else(|| text(&header[157..257]).to_vec())),
                b'5' => Kind::Folder,
                // Hard links, devices, and what pax says about the next member.
                _ => continue,
            };
            return Some(Member {
                name,
                kind,
                mode: number(&header[100..108])? as u32,
                modified: number(&header[136..148])?.saturating_mul(1_000_000_000),
            });
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_lies_ends_the_archive() {
        let mut header = [0_u8; 2 * BLOCK];
        header[..4].copy_from_slice(b"name");
        header[257..262].copy_from_slice(b"ustar");
        header[100..107].copy_from_slice(b"0000644");
        header[124..135].copy_from_slice(b"00000000004");
        header[136..147].copy_from_slice(b"00000000001");
        header[156] = b'0';
        header[512..516].copy_from_slice(b"data");
        let found: Vec<Member> = members(&header.to_vec()).collect();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].mode, found[0].modified), (0o644, 1_000_000_000));
        assert_eq!(found[0].kind, Kind::File(512..516));
        for size in [b"00000010000".as_slice(), b"77777777777", b"9", b"\xff"] {
            let mut lying = header;
            lying[124..124 + size.len()].copy_from_slice(size);
            lying[124 + size.len()..136].fill(if size[0] == 0xff { 0xff } else { 0 });
            assert_eq!(members(&lying.to_vec()).count(), 0, "{size:?}");
        }
        assert_eq!(members(&header[..100].to_vec()).count(), 0);
    }
}
