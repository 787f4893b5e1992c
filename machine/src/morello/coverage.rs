//! How often each instruction was executed at EL0, in a range of addresses. Off, it costs nothing.

use std::collections::BTreeMap;
use std::ops::Range;

use super::board::Board;
use super::core::{Core, Handler};
use super::decode;

/// Slots of the table, a power of two; there are far fewer functions that execute instructions.
const SLOTS: usize = 1024;

/// Counts by the function that executes the instruction.
pub(super) struct Coverage {
    range: Range<u64>,
    /// Address of the function, one of the words it has executed, how many it has executed.
    counts: Box<[(usize, u32, u64); SLOTS]>,
    total: u64,
}

impl Coverage {
    /// Whether what `core` executes next is counted.
    #[inline(always)]
    pub(super) fn counts(&self, core: &Core) -> bool {
        core.el == 0 && self.range.contains(&core.pc)
    }

    #[inline(always)]
    pub(super) fn count(&mut self, handler: Handler, word: u32) {
        self.total += 1;
        let function = handler as usize;
        let mut slot = function.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (usize::BITS - SLOTS.ilog2());
        loop {
            let entry = &mut self.counts[slot % SLOTS];
            if entry.0 == 0 {
                *entry = (function, word, 0);
            }
            if entry.0 == function {
                entry.2 += 1;
                return;
            }
            slot += 1;
        }
    }
}

impl Board {
    /// Counts from now on what is executed at EL0 at these addresses.
    pub fn begin_coverage(&mut self, range: Range<u64>) {
        self.code.coverage = Some(Box::new(Coverage {
            range,
            counts: Box::new([(0, 0, 0); SLOTS]),
            total: 0,
        }));
    }

    /// Instructions counted so far.
    pub fn covered(&self) -> u64 {
        self.code.coverage.as_ref().map_or(0, |coverage| coverage.total)
    }

    /// How often each instruction was counted, by the name that [`super::name`] gives.
    pub fn coverage(&self) -> BTreeMap<&'static str, u64> {
        let mut names = BTreeMap::new();
        let counts = self.code.coverage.iter().flat_map(|coverage| coverage.counts.iter());
        for (_, word, count) in counts.filter(|(function, ..)| *function != 0) {
            *names.entry(decode::name(*word)).or_default() += count;
        }
        names
    }
}
