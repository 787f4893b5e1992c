//! The section headers: for what only a section name tells, and for symbol tables.

use super::ElfError;
use super::bytes::{double, file_range, word};
use core::ops::Range;

const HEADER_SIZE: u64 = 64;

/// One section header.
#[derive(Clone, Copy)]
pub(super) struct Section {
    name: u32,
    /// SHT_….
    pub(super) kind: u32,
    offset: u64,
    size: u64,
    /// The section that belongs to this one.
    pub(super) link: u32,
}

impl Section {
    /// Where its bytes are, when the file has them all.
    pub(super) fn file(&self, bytes: &[u8]) -> Option<Range<usize>> {
        file_range(self.offset, self.size, bytes.len())
    }
}

/// The section headers of a file.
pub(super) struct Sections<'a> {
    bytes: &'a [u8],
    headers: &'a [u8],
    names: &'a [u8],
}

impl<'a> Sections<'a> {
    /// The section headers; none when the file has none. `bytes` has an ELF header.
    ///
    /// # Errors
    /// [`ElfError::Sections`] when they, or the section of their names, are not in the file.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Option<Sections<'a>>, ElfError> {
        let half = |offset: usize| u16::from_le_bytes([bytes[offset], bytes[offset + 1]]);
        let (offset, size, count) = (double(bytes, 40), half(58), half(60));
        if count == 0 || offset == 0 {
            return Ok(None);
        }
        let error = || ElfError::Sections {
            offset,
            count,
            file: bytes.len(),
        };
        let range = file_range(offset, u64::from(count) * HEADER_SIZE, bytes.len());
        let range = range.filter(|_| u64::from(size) == HEADER_SIZE).ok_or_else(error)?;
        let mut sections = Sections {
            bytes,
            headers: &bytes[range],
            names: &[],
        };
        // Number 0 says that they have no names.
        let names = u32::from(half(62));
        if names != 0 {
            let names = sections.get(names).and_then(|section| section.file(bytes));
            sections.names = &bytes[names.ok_or_else(error)?];
        }
        Ok(Some(sections))
    }

    /// The section with this number.
    pub(super) fn get(&self, index: u32) -> Option<Section> {
        let size = HEADER_SIZE as usize;
        let header = self.headers.chunks_exact(size).nth(index as usize)?;
        Some(Section {
            name: word(header, 0),
            kind: word(header, 4),
            offset: double(header, 24),
            size: double(header, 32),
            link: word(header, 40),
        })
    }

    /// All sections.
    pub(super) fn iter(&self) -> impl Iterator<Item = Section> {
        (0..).map_while(|index| self.get(index))
    }

    /// File range of the section with this name, which is a table of entries of this many bytes; empty when there is none.
    ///
    /// # Errors
    /// [`ElfError::Section`] when the file does not have it whole.
    pub(super) fn table(&self, name: &'static str, entry: u64) -> Result<Range<usize>, ElfError> {
        let named = |section: &Section| {
            let at = self.names.get(section.name as usize..).unwrap_or(&[]);
            at.strip_prefix(name.as_bytes())
                .is_some_and(|rest| rest.first() == Some(&0))
        };
        let Some(section) = self.iter().find(named) else {
            return Ok(0..0);
        };
        let range = section
            .file(self.bytes)
            .filter(|range| (range.len() as u64).is_multiple_of(entry));
        range.ok_or(ElfError::Section { name, entry })
    }
}
