//! How often each instruction was executed in user mode, in a range of addresses. Off, it costs nothing.

use std::collections::BTreeMap;
use std::ops::Range;

use super::board::Board;
use super::disassemble::mnemonic;
use super::hart::{Hart, Privilege};
use super::operation::Kind;

/// Counts by what the decoder calls the instruction.
pub(super) struct Coverage {
    range: Range<u64>,
    counts: [(Kind, u64); 256],
}

impl Coverage {
    /// Whether what `hart` executes next is counted; that holds until it leaves the page or user mode.
    pub(super) fn counts(&self, hart: &Hart) -> bool {
        hart.privilege == Privilege::User && self.range.contains(&hart.pc)
    }

    #[inline(always)]
    pub(super) fn count(&mut self, kind: Kind) {
        let entry = &mut self.counts[kind as usize];
        *entry = (kind, entry.1 + 1);
    }
}

impl Board {
    /// Counts from now on what is executed in user mode at these addresses; both ends are on a page's boundary.
    pub fn begin_coverage(&mut self, range: Range<u64>) {
        self.code.coverage = Some(Box::new(Coverage {
            range,
            counts: [(Kind::Undecoded, 0); 256],
        }));
    }

    /// Instructions counted so far.
    pub fn covered(&self) -> u64 {
        let coverage = self.code.coverage.iter();
        coverage
            .flat_map(|coverage| &coverage.counts)
            .map(|(_, count)| count)
            .sum()
    }

    /// How often each instruction was counted, by mnemonic.
    pub fn coverage(&self) -> BTreeMap<&'static str, u64> {
        let mut names = BTreeMap::new();
        for (kind, count) in self.code.coverage.iter().flat_map(|coverage| &coverage.counts) {
            if *count > 0 {
                *names.entry(mnemonic(*kind)).or_default() += count;
            }
        }
        names
    }
}
