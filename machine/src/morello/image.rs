//! The header of an arm64 Image (Linux, Documentation/arch/arm64/booting.rst).

/// What the header of an arm64 Image says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ImageHeader {
    /// From a 2 MiB boundary to the first byte.
    pub(super) offset: u64,
    /// Bytes in memory, what is not in the file included.
    pub(super) size: u64,
}

impl ImageHeader {
    /// Reads the header, if the bytes have one with a size.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        if bytes.get(0x38..0x3c)? != b"ARM\x64" {
            return None;
        }
        let size = word(16)?;
        // An Image without a size is an old one, whose offset means nothing.
        (size != 0).then_some(Self { offset: word(8)?, size })
    }
}
