//! How often each instruction was executed in user mode, in a range of addresses. Off, it costs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::board::Board;
use super::decode::decode32;
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

/// The mnemonic of every 32-bit instruction that the machine knows, found by decoding all of them that differ in more than
/// operands.
pub fn mnemonics() -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    for fixed in 0..1u32 << 15 {
        let (opcode, funct3, funct7) = (fixed & 31, fixed >> 5 & 7, fixed >> 8);
        for rs2 in 0..32 {
            // Where a destination selects something, these are its values.
            for rd in [0, 1, 3, 4, 8, 12, 16, 24] {
                let word = funct7 << 25 | rs2 << 20 | funct3 << 12 | rd << 7 | opcode << 2 | 3;
                found.extend([false, true].map(|mode| mnemonic(decode32(word, mode).kind)));
            }
        }
    }
    found
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

#[cfg(test)]
mod tests {
    use super::mnemonics;

    #[test]
    fn every_mnemonic_is_found() {
        let found = mnemonics();
        for name in [
            "illegal",
            "mret",
            "wfi",
            "sfence.vma",
            "lr",
            "sc (conditional)",
            "amo",
            "cinvoke",
            "clc",
            "sd",
            "jalr.pcc",
            "fld",
            "cfsw",
            "fnmadd",
            "fclass",
        ] {
            assert!(found.contains(name), "{name} is not in {found:?}");
        }
        assert!(found.len() > 150, "{}", found.len());
    }
}
