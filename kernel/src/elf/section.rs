//! The section headers: for what only a section name tells, and for symbol tables.

use super::ElfError;
use super::bytes::{File, double, file_range, word};
use core::ops::Range;

const HEADER_SIZE: usize = 64;
/// Longest name that is looked for, and the NUL behind it.
const NAME_SIZE: usize = 16;

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
    fn read(header: &[u8; HEADER_SIZE]) -> Section {
        Section {
            name: word(header, 0),
            kind: word(header, 4),
            offset: double(header, 24),
            size: double(header, 32),
            link: word(header, 40),
        }
    }

    /// Where its bytes are, when the file has them all.
    pub(super) fn range(&self, elf: File) -> Option<Range<usize>> {
        file_range(self.offset, self.size, elf.len())
    }

    /// Its bytes, when the file has them all.
    pub(super) fn file(&self, elf: File) -> Option<File> {
        elf.part(self.range(elf)?)
    }
}

/// The section headers of a file.
pub(super) struct Sections {
    elf: File,
    headers: File,
    names: Option<File>,
}

impl Sections {
    /// The section headers; none when the file has none.
    ///
    /// # Errors
    /// [`ElfError::Sections`] when they, or the section of their names, are not in the file.
    pub(super) fn read(elf: File) -> Result<Option<Sections>, ElfError> {
        let header = elf.array::<64>(0).ok_or(ElfError::NotElf)?;
        let half = |offset: usize| u16::from_le_bytes([header[offset], header[offset + 1]]);
        let (offset, size, count) = (double(&header, 40), half(58), half(60));
        if count == 0 || offset == 0 {
            return Ok(None);
        }
        let error = || ElfError::Sections {
            offset,
            count,
            file: elf.len(),
        };
        let range = file_range(offset, u64::from(count) * HEADER_SIZE as u64, elf.len());
        let headers = range.filter(|_| usize::from(size) == HEADER_SIZE);
        let mut sections = Sections {
            elf,
            headers: headers.and_then(|range| elf.part(range)).ok_or_else(error)?,
            names: None,
        };
        // Number 0 says that they have no names.
        let names = u32::from(half(62));
        if names != 0 {
            let names = sections.get(names).and_then(|section| section.file(elf));
            sections.names = Some(names.ok_or_else(error)?);
        }
        Ok(Some(sections))
    }

    /// The section with this number.
    pub(super) fn get(&self, index: u32) -> Option<Section> {
        let at = (index as usize).checked_mul(HEADER_SIZE)?;
        self.headers.array(at).as_ref().map(Section::read)
    }

    /// The first section that this holds of.
    pub(super) fn find(&self, wanted: impl Fn(&Section) -> bool) -> Option<Section> {
        self.headers
            .find_map(|header| Some(Section::read(header)).filter(&wanted))
    }

    /// File range of the section with this name, which is a table of entries of this many bytes; empty when there is none.
    ///
    /// # Errors
    /// [`ElfError::Section`] when the file does not have it whole.
    pub(super) fn table(&self, name: &'static str, entry: u64) -> Result<Range<usize>, ElfError> {
        let named = |section: &Section| {
            let mut found = [0; NAME_SIZE];
            let names = self.names.map(|names| names.from(section.name as usize));
            let found = names.map_or(&[][..], |names| names.first(&mut found[..=name.len()]));
            found.strip_prefix(name.as_bytes()) == Some(&[0])
        };
        let Some(section) = self.find(named) else {
            return Ok(0..0);
        };
        let range = section
            .range(self.elf)
            .filter(|range| (range.len() as u64).is_multiple_of(entry));
        range.ok_or(ElfError::Section { name, entry })
    }
}
