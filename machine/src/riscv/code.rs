//! Decoded instructions by page, so that an instruction is decoded once.

use crate::memory::{GRANULE, TaggedMemory};

use super::compressed::decode16;
use super::coverage::Coverage;
use super::decode::decode32;
use super::operation::{Kind, Operation};

/// Bytes in a page.
pub(super) const PAGE: usize = 4096;
const SLOTS: usize = PAGE / 2;

pub(super) type Page = [Operation; SLOTS];

/// The decoded pages of the RAM, for hybrid and for capability mode.
pub(super) struct Pages([Vec<Option<Box<Page>>>; 2]);

/// What has been decoded, and what of it is counted.
pub(super) struct Code {
    pub(super) pages: Pages,
    pub(super) coverage: Option<Box<Coverage>>,
}

/// Decodes a word that was fetched: compressed or not.
pub(super) fn decode(word: u32, capability_mode: bool) -> Operation {
    if word & 3 == 3 {
        decode32(word, capability_mode)
    } else {
        decode16(word as u16, capability_mode)
    }
}

impl Code {
    pub(super) fn new(memory_size: usize) -> Self {
        let pages = || (0..memory_size.div_ceil(PAGE)).map(|_| None).collect();
        Code {
            pages: Pages([pages(), pages()]),
            coverage: None,
        }
    }

    /// Drops what was decoded from granules that have been written since.
    pub(super) fn forget_changed(&mut self, memory: &mut TaggedMemory) {
        if !memory.has_changed() {
            return;
        }
        for offset in memory.take_changed() {
            for pages in &mut self.pages.0 {
                // A 4-byte instruction may begin two bytes before the granule; one that crosses pages is never kept.
                if let Some(page) = &mut pages[offset / PAGE] {
                    let in_page = offset % PAGE;
                    let first = in_page.saturating_sub(2) / 2;
                    page[first..(in_page + GRANULE) / 2].fill(Operation::UNDECODED);
                }
            }
        }
    }
}

impl Pages {
    /// The page at `offset` in RAM; slots that were not yet executed hold [`Kind::Undecoded`].
    #[inline]
    pub(super) fn page(&mut self, offset: usize, capability_mode: bool) -> &mut Page {
        self.0[usize::from(capability_mode)][offset / PAGE]
            .get_or_insert_with(|| Box::new([Operation::UNDECODED; SLOTS]))
    }
}

/// Decodes the instruction at `offset` in RAM into its slot. The instruction does not cross the page's end.
pub(super) fn fill(page: &mut Page, memory: &mut TaggedMemory, offset: usize, capability_mode: bool) {
    let word = u32::from_le_bytes(memory.read(offset));
    let operation = decode(word, capability_mode);
    debug_assert!(operation.kind != Kind::Undecoded);
    page[offset % PAGE / 2] = operation;
    memory.watch(offset);
    memory.watch(offset + usize::from(operation.length) - 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_into_decoded_code_makes_it_undecoded_again() {
        let mut memory = TaggedMemory::new(0, 2 * PAGE);
        let mut code = Code::new(memory.size());
        memory.fill(0x0e, &0x0010_0093u32.to_le_bytes()); // addi x1, x0, 1 across a granule's edge
        fill(code.pages.page(0, false), &mut memory, 0x0e, false);
        assert_eq!(code.pages.page(0, false)[7].kind, Kind::Addi);
        memory.write(0x10, [0x20u8]);
        code.forget_changed(&mut memory);
        assert_eq!(code.pages.page(0, false)[7].kind, Kind::Undecoded);
        fill(code.pages.page(0, false), &mut memory, 0x0e, false);
        memory.write(0x0e, [0x13u8]);
        code.forget_changed(&mut memory);
        assert_eq!(code.pages.page(0, false)[7].kind, Kind::Undecoded);
    }
}
