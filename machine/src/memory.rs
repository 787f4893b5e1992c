//! Tagged RAM: bytes, and for every 16-byte granule a tag that only a capability store can set.
//!
//! Every other store clears the tags of the granules that it touches. Beside the tag, a granule can be *watched*: a core
//! that keeps decoded instructions watches the granules they came from, and learns here which of them were written.

/// Bytes in a granule, the unit that carries one tag.
pub const GRANULE: usize = 16;

mod journal;

pub use journal::Change;

const TAG: u8 = 1;
const WATCHED: u8 = 2;
/// The next store is noted in the journal.
const JOURNALED: u8 = 4;

/// RAM at a fixed place in the physical address space. Accesses are little endian and may be misaligned.
///
/// Methods take *offsets* from the base, which [`TaggedMemory::offset`] makes from an address; an offset beyond the end
/// is a bug of the caller and panics.
#[derive(Clone)]
pub struct TaggedMemory {
    base: u64,
    bytes: Vec<u8>,
    /// One byte a granule: `TAG`, `WATCHED`, `JOURNALED`. Stores look here first; nearly always it is zero and they are done.
    granules: Vec<u8>,
    changed: Vec<usize>,
    journal: Option<Box<journal::Journal>>,
}

impl TaggedMemory {
    /// Zeroed, untagged RAM of `size` bytes (a multiple of [`GRANULE`]) at the physical address `base`.
    pub fn new(base: u64, size: usize) -> Self {
        assert!(
            size.is_multiple_of(GRANULE),
            "RAM size {size:#x} is not a multiple of {GRANULE}"
        );
        TaggedMemory {
            base,
            bytes: vec![0; size],
            granules: vec![0; size / GRANULE],
            changed: Vec::new(),
            journal: None,
        }
    }

    /// Physical address of the first byte.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Size in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Offset of `length` bytes at the physical address `address`, if all of them are in this RAM.
    #[inline]
    pub fn offset(&self, address: u64, length: usize) -> Option<usize> {
        let offset = address.wrapping_sub(self.base);
        let size = self.bytes.len() as u64;
        (offset <= size && size - offset >= length as u64).then_some(offset as usize)
    }

    /// Reads `N` bytes.
    #[inline(always)]
    pub fn read<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut value = [0; N];
        value.copy_from_slice(&self.bytes[offset..offset + N]);
        value
    }

    /// Writes `N` bytes (at most a granule) and clears the tags of the granules they lie in.
    #[inline(always)]
    pub fn write<const N: usize>(&mut self, offset: usize, value: [u8; N]) {
        const { assert!(N <= GRANULE) };
        self.bytes[offset..offset + N].copy_from_slice(&value);
        let first = offset / GRANULE;
        let last = (offset + N - 1) / GRANULE;
        if self.granules[first] != 0 {
            self.written(first);
        }
        if last != first && self.granules[last] != 0 {
            self.written(last);
        }
    }

    /// Writes `N` bytes at a multiple of `N`, as [`TaggedMemory::write`] does; whether a watched granule has changed.
    #[inline(always)]
    pub fn write_aligned<const N: usize>(&mut self, offset: usize, value: [u8; N]) -> bool {
        const { assert!(N.is_power_of_two() && N <= GRANULE) };
        debug_assert!(offset.is_multiple_of(N));
        self.bytes[offset..offset + N].copy_from_slice(&value);
        let granule = offset / GRANULE;
        if self.granules[granule] == 0 {
            return false;
        }
        self.written(granule);
        self.has_changed()
    }

    #[cold]
    fn written(&mut self, granule: usize) {
        if self.granules[granule] & WATCHED != 0 {
            self.changed.push(granule);
        }
        self.note(granule);
        self.granules[granule] = 0;
    }

    /// Reads the granule at `offset` (a multiple of [`GRANULE`]): low word, high word, tag.
    #[inline(always)]
    pub fn read_granule(&self, offset: usize) -> (u64, u64, bool) {
        debug_assert!(offset.is_multiple_of(GRANULE));
        let low = u64::from_le_bytes(self.read(offset));
        let high = u64::from_le_bytes(self.read(offset + 8));
        (low, high, self.granules[offset / GRANULE] & TAG != 0)
    }

    /// Writes the granule at `offset` (a multiple of [`GRANULE`]) together with its tag.
    #[inline(always)]
    pub fn write_granule(&mut self, offset: usize, low: u64, high: u64, tag: bool) {
        debug_assert!(offset.is_multiple_of(GRANULE));
        self.bytes[offset..offset + 8].copy_from_slice(&low.to_le_bytes());
        self.bytes[offset + 8..offset + 16].copy_from_slice(&high.to_le_bytes());
        let granule = offset / GRANULE;
        if self.granules[granule] & !TAG != 0 {
            self.written(granule);
        }
        self.granules[granule] = u8::from(tag);
    }

    /// The tag of the granule that holds the byte at `offset`.
    #[inline]
    pub fn tag(&self, offset: usize) -> bool {
        self.granules[offset / GRANULE] & TAG != 0
    }

    /// Sets or clears a tag and leaves the bytes alone: for fault injection and for instructions that write tags.
    pub fn set_tag(&mut self, offset: usize, tag: bool) {
        self.note(offset / GRANULE);
        let granule = &mut self.granules[offset / GRANULE];
        *granule = *granule & !TAG | u8::from(tag);
    }

    /// `length` bytes at `offset`.
    pub fn bytes(&self, offset: usize, length: usize) -> &[u8] {
        &self.bytes[offset..offset + length]
    }

    /// Writes any number of bytes as a loader or a device would: tags are cleared, decoded instructions dropped.
    pub fn fill(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        for granule in offset / GRANULE..=(offset + bytes.len() - 1) / GRANULE {
            if self.granules[granule] != 0 {
                self.written(granule);
            }
        }
    }

    /// Physical addresses of all granules whose tag is set, ascending.
    pub fn tagged(&self) -> impl Iterator<Item = u64> + '_ {
        const STEP: usize = 4096;
        let base = self.base;
        self.granules
            .chunks(STEP)
            .enumerate()
            .filter(|(_, chunk)| chunk.iter().any(|granule| granule & TAG != 0))
            .flat_map(move |(number, chunk)| {
                let first = number * STEP;
                (chunk.iter().enumerate())
                    .filter(|(_, granule)| *granule & TAG != 0)
                    .map(move |(index, _)| base + ((first + index) * GRANULE) as u64)
            })
    }

    /// Asks that the next store into the granule that holds the byte at `offset` be noted.
    #[inline]
    pub fn watch(&mut self, offset: usize) {
        self.granules[offset / GRANULE] |= WATCHED;
    }

    /// Whether a watched granule was written since the last [`TaggedMemory::take_changed`].
    #[inline(always)]
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Offsets of the watched granules that were written; they are watched no more.
    pub fn take_changed(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.changed)
            .into_iter()
            .map(|granule| granule * GRANULE)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_store_clears_the_tags_of_every_granule_it_touches() {
        let mut memory = TaggedMemory::new(0x8000_0000, 0x100);
        for offset in [0x10, 0x20, 0x30] {
            memory.write_granule(offset, 1, 2, true);
        }
        memory.write(0x1d, 0x1122_3344_5566_7788u64.to_le_bytes());
        assert_eq!(memory.tagged().collect::<Vec<_>>(), [0x8000_0030]);
        assert_eq!(u64::from_le_bytes(memory.read(0x1d)), 0x1122_3344_5566_7788);
    }

    #[test]
    fn a_capability_store_keeps_or_clears_the_tag_it_is_given() {
        let mut memory = TaggedMemory::new(0, 0x40);
        memory.write_granule(0x10, 7, 9, true);
        assert_eq!(memory.read_granule(0x10), (7, 9, true));
        memory.write_granule(0x10, 8, 10, false);
        assert_eq!(memory.read_granule(0x10), (8, 10, false));
    }

    #[test]
    fn a_watched_granule_reports_the_store_once() {
        let mut memory = TaggedMemory::new(0, 0x40);
        memory.watch(0x24);
        memory.write(0x10, [1u8]);
        assert!(!memory.has_changed());
        memory.write(0x2f, [1u8]);
        memory.write(0x20, [1u8]);
        assert_eq!(memory.take_changed(), [0x20]);
        memory.watch(0x20);
        memory.write_granule(0x20, 0, 0, true);
        assert_eq!(memory.take_changed(), [0x20]);
        assert!(memory.tag(0x20));
    }

    #[test]
    fn offsets_exist_only_for_ranges_inside_the_ram() {
        let memory = TaggedMemory::new(0x1000, 0x100);
        assert_eq!(memory.offset(0x1000, 0x100), Some(0));
        assert_eq!(memory.offset(0x10f8, 8), Some(0xf8));
        assert_eq!(memory.offset(0x10f9, 8), None);
        assert_eq!(memory.offset(0xfff, 1), None);
        assert_eq!(memory.offset(u64::MAX, 8), None);
    }

    #[test]
    fn a_loader_write_clears_tags() {
        let mut memory = TaggedMemory::new(0, 0x40);
        memory.write_granule(0, 1, 1, true);
        memory.write_granule(0x30, 1, 1, true);
        memory.fill(0x3f, &[5]);
        memory.fill(0x20, &[]);
        assert_eq!(memory.tagged().collect::<Vec<_>>(), [0]);
    }
}
