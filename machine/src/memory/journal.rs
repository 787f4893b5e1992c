//! What was written since a moment, and the way back to it: the cost is by granule written, not by size of the RAM.

use super::{GRANULE, JOURNALED, TAG, TaggedMemory, WATCHED};

/// The RAM as it was when the journal began, and the granules that were written since.
#[derive(Clone)]
pub(super) struct Journal {
    bytes: Vec<u8>,
    tags: Vec<bool>,
    written: Vec<usize>,
}

/// A granule that was written since the journal began, whether or not that changed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Physical address of the granule.
    pub address: u64,
    /// What it held when the journal began: low word, high word, tag.
    pub before: (u64, u64, bool),
    /// What it holds now.
    pub after: (u64, u64, bool),
}

impl TaggedMemory {
    /// Begins a journal, in place of any that there was.
    pub fn begin_journal(&mut self) {
        self.journal = Some(Box::new(Journal {
            bytes: self.bytes.clone(),
            tags: self.granules.iter().map(|granule| granule & TAG != 0).collect(),
            written: Vec::new(),
        }));
        for granule in &mut self.granules {
            *granule |= JOURNALED;
        }
    }

    /// Every granule that was written or had its tag set since the journal began, in the order of the first write; none
    /// without a journal.
    pub fn changes(&self) -> impl Iterator<Item = Change> + '_ {
        let journal = self.journal.as_deref().into_iter();
        journal.flat_map(move |journal| {
            journal.written.iter().map(move |granule| {
                let offset = granule * GRANULE;
                let word = |at: usize| {
                    let mut word = [0; 8];
                    word.copy_from_slice(&journal.bytes[at..at + 8]);
                    u64::from_le_bytes(word)
                };
                Change {
                    address: self.base + offset as u64,
                    before: (word(offset), word(offset + 8), journal.tags[*granule]),
                    after: self.read_granule(offset),
                }
            })
        })
    }

    /// Puts every granule back to what it was when the journal began; nothing without a journal.
    pub fn rewind(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        for granule in journal.written.drain(..) {
            if self.granules[granule] & WATCHED != 0 {
                self.changed.push(granule);
            }
            let bytes = granule * GRANULE..(granule + 1) * GRANULE;
            self.bytes[bytes.clone()].copy_from_slice(&journal.bytes[bytes]);
            self.granules[granule] = JOURNALED | u8::from(journal.tags[granule]);
        }
    }

    /// Notes that a granule is written for the first time since the journal began.
    pub(super) fn note(&mut self, granule: usize) {
        if self.granules[granule] & JOURNALED != 0
            && let Some(journal) = &mut self.journal
        {
            journal.written.push(granule);
            self.granules[granule] &= !JOURNALED;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_write_is_noted_once_and_taken_back() {
        let mut memory = TaggedMemory::new(0x1000, 0x80);
        memory.write_granule(0x20, 1, 2, true);
        memory.write_granule(0x50, 3, 4, true);
        memory.begin_journal();
        memory.write(0x0f, [7u8, 8]);
        memory.write(0x0e, [9u8]);
        memory.write_granule(0x20, 5, 6, false);
        memory.set_tag(0x30, true);
        memory.fill(0x40, &[1; 16]);
        memory.write_granule(0x40, 7, 7, true);
        let changes: Vec<_> = memory.changes().collect();
        let places: Vec<_> = changes.iter().map(|change| change.address).collect();
        assert_eq!(places, [0x1000, 0x1010, 0x1020, 0x1030, 0x1040]);
        assert_eq!((changes[2].before, changes[2].after), ((1, 2, true), (5, 6, false)));
        assert_eq!((changes[3].before, changes[3].after), ((0, 0, false), (0, 0, true)));
        memory.rewind();
        assert_eq!(memory.changes().count(), 0);
        assert_eq!(memory.tagged().collect::<Vec<_>>(), [0x1020, 0x1050]);
        assert_eq!(memory.bytes(0, 0x20), [0; 0x20]);
        assert_eq!(memory.read_granule(0x20), (1, 2, true));
        memory.write(0x50, [1u8]);
        assert_eq!(memory.changes().count(), 1, "noted again after the way back");
    }

    #[test]
    fn code_decoded_after_the_write_is_dropped_on_the_way_back() {
        let mut memory = TaggedMemory::new(0, 0x40);
        memory.watch(0x10);
        memory.begin_journal();
        memory.write(0x10, [1u8]);
        assert_eq!(memory.take_changed(), [0x10]);
        memory.watch(0x10);
        memory.rewind();
        assert_eq!(memory.take_changed(), [0x10]);
    }
}
