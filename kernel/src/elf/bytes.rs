//! Reading fields of a file that may lie, and names for error messages.

use super::Segment;
use alloc::string::String;
use core::ops::Range;

/// Most characters of a name that a message shows.
const NAME_LIMIT: usize = 64;

/// The word at an offset that is known to lie in `bytes`.
pub(super) fn word(bytes: &[u8], offset: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(value)
}

/// The double word at an offset that is known to lie in `bytes`.
pub(super) fn double(bytes: &[u8], offset: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(value)
}

/// A range of a file of `file` bytes; none when it is not all in it.
pub(super) fn file_range(offset: u64, size: u64, file: usize) -> Option<Range<usize>> {
    let end = offset.checked_add(size).filter(|end| *end <= file as u64)?;
    Some(offset as usize..end as usize)
}

/// Where `size` bytes at a linked address stand in the file; none unless one segment has them all.
#[inline(never)]
pub(super) fn loaded_range(segments: &[Segment], address: u64, size: u64) -> Option<Range<usize>> {
    let segment = segments.iter().find(|segment| {
        address >= segment.address
            && address
                .checked_add(size)
                .is_some_and(|end| end - segment.address <= segment.file.len() as u64)
    })?;
    let start = segment.file.start + (address - segment.address) as usize;
    Some(start..start + size as usize)
}

/// A name that ends with a NUL or with `bytes`, fit for a message: shortened, and nothing but visible ASCII.
#[cold]
#[inline(never)]
pub(super) fn name(bytes: &[u8]) -> String {
    let visible = |byte: &u8| {
        if byte.is_ascii_graphic() {
            char::from(*byte)
        } else {
            '?'
        }
    };
    let name: String = bytes
        .iter()
        .take_while(|byte| **byte != 0)
        .take(NAME_LIMIT)
        .map(visible)
        .collect();
    if name.is_empty() {
        String::from("(without a name)")
    } else {
        name
    }
}
