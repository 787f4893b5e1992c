//! Physical memory protection: 16 entries, the lowest that matches decides (privileged architecture 1.11, section 3.6).

/// Number of entries.
pub(super) const ENTRIES: usize = 16;

pub(super) const READ: u8 = 1;
pub(super) const WRITE: u8 = 2;
pub(super) const EXECUTE: u8 = 4;
const LOCKED: u8 = 0x80;
const WRITABLE_BITS: u8 = 0x9f;
/// `pmpaddr` holds address bits 55:2.
const ADDRESS_MASK: u64 = (1 << 54) - 1;

/// The registers of one hart.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Pmp {
    configuration: [u8; ENTRIES],
    address: [u64; ENTRIES],
}

/// First and last byte.
type Range = (u64, u64);

impl Pmp {
    /// Reads `pmpcfg{number}`; `number` is even.
    pub(super) fn configuration(&self, number: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.configuration[number * 4..number * 4 + 8]);
        u64::from_le_bytes(bytes)
    }

    /// Writes `pmpcfg{number}`; `number` is even. Locked entries keep their value.
    pub(super) fn set_configuration(&mut self, number: usize, value: u64) {
        for (index, byte) in value.to_le_bytes().into_iter().enumerate() {
            let entry = number * 4 + index;
            if self.configuration[entry] & LOCKED == 0 {
                self.configuration[entry] = byte & WRITABLE_BITS;
            }
        }
    }

    /// Reads `pmpaddr{number}`.
    pub(super) fn address(&self, number: usize) -> u64 {
        self.address[number]
    }

    /// Writes `pmpaddr{number}` unless the entry, or a locked top-of-range entry above it, holds it fixed.
    pub(super) fn set_address(&mut self, number: usize, value: u64) {
        let next = self.configuration.get(number + 1).copied().unwrap_or(0);
        let fixed_by_next = next & LOCKED != 0 && next >> 3 & 3 == 1;
        if self.configuration[number] & LOCKED == 0 && !fixed_by_next {
            self.address[number] = value & ADDRESS_MASK;
        }
    }

    fn range(&self, entry: usize) -> Option<Range> {
        let address = self.address[entry];
        match self.configuration[entry] >> 3 & 3 {
            0 => None,
            1 => {
                let start = if entry == 0 { 0 } else { self.address[entry - 1] << 2 };
                let end = address << 2;
                (start < end).then(|| (start, end - 1))
            }
            2 => Some((address << 2, (address << 2) + 3)),
            _ => {
                let ones = address.trailing_ones();
                let size_mask = if ones >= 54 {
                    u64::MAX >> 7
                } else {
                    (1 << (ones + 3)) - 1
                };
                let start = (address << 2) & !size_mask;
                Some((start, start | size_mask))
            }
        }
    }

    /// Whether an access to all of `first..=last` is allowed, with the permissions it needs and the privilege it has.
    pub(super) fn allows(&self, first: u64, last: u64, need: u8, machine_mode: bool) -> bool {
        for entry in 0..ENTRIES {
            let Some((start, end)) = self.range(entry) else {
                continue;
            };
            if last < start || first > end {
                continue;
            }
            let configuration = self.configuration[entry];
            let inside = first >= start && last <= end;
            let bound = !machine_mode || configuration & LOCKED != 0;
            return inside && (!bound || configuration & need == need);
        }
        machine_mode
    }

    /// The largest range around `address`, within `start..=end`, in which the same entry decides for every byte.
    pub(super) fn uniform_around(&self, address: u64, start: u64, end: u64) -> Range {
        let (mut start, mut end) = (start, end);
        for entry in 0..ENTRIES {
            let Some((first, last)) = self.range(entry) else {
                continue;
            };
            if address < first {
                end = end.min(first - 1);
            } else if address > last {
                start = start.max(last + 1);
            } else {
                return (start.max(first), end.min(last));
            }
        }
        (start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pmp(entries: &[(u8, u64)]) -> Pmp {
        let mut pmp = Pmp::default();
        for (number, (configuration, address)) in entries.iter().enumerate() {
            pmp.configuration[number] = *configuration;
            pmp.address[number] = *address;
        }
        pmp
    }

    #[test]
    fn without_a_matching_entry_only_machine_mode_may_access() {
        let pmp = Pmp::default();
        assert!(pmp.allows(0x1000, 0x1007, READ, true));
        assert!(!pmp.allows(0x1000, 0x1007, READ, false));
    }

    #[test]
    fn an_all_ones_naturally_aligned_entry_covers_everything() {
        let pmp = pmp(&[(0x1f, (1 << 54) - 1)]);
        assert!(pmp.allows(0, 7, READ | WRITE | EXECUTE, false));
        assert!(pmp.allows(0x8000_0000_0000, 0x8000_0000_0007, READ, false));
    }

    #[test]
    fn the_lowest_entry_wins_and_partial_overlap_fails() {
        let closed_page = (0x8000_0000u64 >> 2) | (0x1000 / 8 - 1);
        let pmp = pmp(&[(0x18, closed_page), (0x1f, (1 << 54) - 1)]);
        assert!(!pmp.allows(0x8000_0000, 0x8000_0007, READ, false));
        assert!(!pmp.allows(0x8000_0ffc, 0x8000_1003, READ, false));
        assert!(pmp.allows(0x8000_1000, 0x8000_1007, READ, false));
        assert!(pmp.allows(0x8000_0000, 0x8000_0007, WRITE, true));
        assert_eq!(
            pmp.uniform_around(0x8000_2000, 0x8000_0000, 0x8fff_ffff),
            (0x8000_1000, 0x8fff_ffff)
        );
    }

    #[test]
    fn a_locked_entry_binds_machine_mode_and_cannot_be_changed() {
        let mut pmp = pmp(&[(0x99, (0x2000u64 >> 2) | (0x1000 / 8 - 1))]);
        assert!(!pmp.allows(0x2000, 0x2007, WRITE, true));
        assert!(pmp.allows(0x2000, 0x2007, READ, true));
        pmp.set_configuration(0, 0);
        pmp.set_address(0, 0);
        assert_eq!((pmp.configuration(0), pmp.address(0)), (0x99, (0x2000 >> 2) | 0x1ff));
    }

    #[test]
    fn a_top_of_range_entry_starts_where_the_one_before_ends() {
        let pmp = pmp(&[(0, 0x1000 >> 2), (0x09, 0x3000 >> 2)]);
        assert!(!pmp.allows(0xff8, 0xfff, READ, false));
        assert!(pmp.allows(0x1000, 0x2fff, READ, false));
        assert!(!pmp.allows(0x3000, 0x3000, READ, false));
    }
}
