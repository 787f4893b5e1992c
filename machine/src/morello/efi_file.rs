//! A PE file as far as the EFI environment looks at it (Microsoft PE Format).

use super::efi::PAGE;

/// A section of a PE file.
pub(super) struct Section {
    pub(super) address: u64,
    /// Bytes of the file; in memory, zeros may follow.
    pub(super) size: u64,
    pub(super) executable: bool,
}

/// A PE file as far as it is looked at (Microsoft PE Format).
pub(super) struct Pe {
    pub(super) size: u64,
    pub(super) entry: u64,
    pub(super) headers: u64,
    pub(super) sections: Vec<Section>,
}

impl Pe {
    /// `None` when it is not an EFI application for arm64.
    pub(super) fn parse(file: &[u8]) -> Option<Pe> {
        const ARM64: u16 = 0xaa64;
        const PE32_PLUS: u16 = 0x20b;
        const EFI_APPLICATION: u16 = 10;
        const EXECUTABLE: u32 = 1 << 29;
        let half = |at: usize| Some(u16::from_le_bytes(*file.get(at..)?.first_chunk()?));
        let word = |at: usize| Some(u32::from_le_bytes(*file.get(at..)?.first_chunk()?));
        let header = word(0x3c)? as usize;
        let optional = header + 24;
        let is_application = file.starts_with(b"MZ")
            && file.get(header..)?.starts_with(b"PE\0\0")
            && half(header + 4)? == ARM64
            && half(optional)? == PE32_PLUS
            && half(optional + 68)? == EFI_APPLICATION;
        let first = optional + usize::from(half(header + 20)?);
        let sections = (0..usize::from(half(header + 6)?)).map(|index| {
            let section = first + index * 40;
            let (address, size) = (word(section + 12)?, word(section + 16)?);
            // What is loaded lies in the file as in memory: all that this firmware can do.
            (word(section + 8)? >= size && word(section + 20)? == address).then_some(())?;
            Some(Section {
                address: u64::from(address),
                size: u64::from(size),
                executable: word(section + 36)? & EXECUTABLE != 0,
            })
        });
        let pe = Pe {
            size: u64::from(word(optional + 56)?),
            entry: u64::from(word(optional + 16)?),
            headers: u64::from(word(optional + 60)?),
            sections: sections.collect::<Option<_>>()?,
        };
        let inside = |section: &Section| {
            section.address >= pe.headers
                && section.address.is_multiple_of(PAGE)
                && section.address + section.size <= (file.len() as u64).min(pe.size)
        };
        (is_application && pe.sections.iter().all(inside)).then_some(pe)
    }
}
