//! Reading files that may lie, through a capability over where they lie; and names for error messages.

use super::Segment;
use alloc::string::String;
use arch::{Refused, Slot, user};
use core::ops::Range;

/// Most characters of a name that a message shows.
const NAME_LIMIT: usize = 64;
/// Bytes of a table that are read at a time: whole entries of 4, 16 and 24 bytes.
const BUFFER: usize = 480;

/// Some bytes of physical memory that the monitor reads, and never writes, through a capability over an archive.
#[derive(Clone, Copy)]
pub(crate) struct File {
    authority: &'static Slot,
    /// Where they lie.
    start: u64,
    length: usize,
}

impl File {
    /// The bytes in this range, which `authority` reaches.
    pub(crate) fn new(authority: &'static Slot, range: &Range<u64>) -> File {
        File {
            authority,
            start: range.start,
            length: (range.end - range.start) as usize,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Whether another file lies at the same place.
    #[cfg(test)]
    pub(crate) fn is(&self, other: &File) -> bool {
        (self.start, self.length) == (other.start, other.length)
    }

    /// A part of it; none when it does not have all of that.
    pub(crate) fn part(&self, range: Range<usize>) -> Option<File> {
        let length = range.end.checked_sub(range.start)?;
        (range.end <= self.length).then(|| File {
            start: self.start + range.start as u64,
            length,
            ..*self
        })
    }

    /// What is behind an offset; empty behind the end.
    pub(crate) fn from(&self, offset: usize) -> File {
        let offset = offset.min(self.length);
        File {
            start: self.start + offset as u64,
            length: self.length - offset,
            ..*self
        }
    }

    /// Its first bytes, as many as there are and `to` has room for.
    pub(crate) fn first<'b>(&self, to: &'b mut [u8]) -> &'b [u8] {
        let count = to.len().min(self.length);
        let read = user::copy_in(&mut to[..count], self.authority, self.start);
        assert!(read.is_ok(), "the archive cannot be read at {:#x}", self.start);
        &to[..count]
    }

    /// Some bytes at an offset; none when it does not have them all.
    pub(crate) fn array<const SIZE: usize>(&self, offset: usize) -> Option<[u8; SIZE]> {
        let mut bytes = Aligned([0; SIZE]);
        let part = self.part(offset..offset.checked_add(SIZE)?)?;
        part.first(&mut bytes.0);
        Some(bytes.0)
    }

    /// The first result of `found` over it as a table of entries of this many bytes; what is left at its end is none.
    #[inline]
    pub(crate) fn find_map<const SIZE: usize, T>(&self, mut found: impl FnMut(&[u8; SIZE]) -> Option<T>) -> Option<T> {
        let mut buffer = Aligned([0; BUFFER]);
        let mut rest = *self;
        loop {
            let (entries, _) = rest.first(&mut buffer.0[..BUFFER / SIZE * SIZE]).as_chunks();
            if entries.is_empty() {
                return None;
            }
            let result = entries.iter().find_map(&mut found);
            if result.is_some() {
                return result;
            }
            rest = rest.from(entries.len() * SIZE);
        }
    }

    /// Its bytes from the first to the last, some at a time.
    pub(crate) fn each(&self, mut take: impl FnMut(&[u8])) {
        let mut buffer = Aligned([0; BUFFER]);
        let mut rest = *self;
        while rest.length > 0 {
            let bytes = rest.first(&mut buffer.0);
            take(bytes);
            rest = rest.from(bytes.len());
        }
    }

    /// All its bytes.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn bytes(&self) -> alloc::vec::Vec<u8> {
        let mut bytes = alloc::vec![0; self.length];
        self.first(&mut bytes);
        bytes
    }

    /// Copies a part of it, which it has, to memory that `authority` reaches.
    ///
    /// # Errors
    /// [`Refused`] when that does not allow it.
    pub(crate) fn copy(&self, part: Range<usize>, authority: &Slot, address: u64) -> Result<(), Refused> {
        let length = part.len();
        user::copy(
            self.authority,
            self.start + part.start as u64,
            authority,
            address,
            length,
        )
    }
}

/// Bytes that are read fastest.
#[repr(align(16))]
struct Aligned<const SIZE: usize>([u8; SIZE]);

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

/// A name that ends with a NUL or with the file, fit for a message: shortened, and nothing but visible ASCII.
#[cold]
#[inline(never)]
pub(super) fn name(file: Option<File>) -> String {
    let mut bytes = [0; NAME_LIMIT];
    let bytes = file.map_or(&[][..], |file| file.first(&mut bytes));
    let visible = |byte: &u8| {
        if byte.is_ascii_graphic() {
            char::from(*byte)
        } else {
            '?'
        }
    };
    let name: String = bytes.iter().take_while(|byte| **byte != 0).map(visible).collect();
    if name.is_empty() {
        String::from("(without a name)")
    } else {
        name
    }
}
