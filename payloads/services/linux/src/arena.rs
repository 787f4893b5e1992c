//! The memory that a program maps and unmaps: pages between two addresses, none of them twice.

use alloc::collections::BTreeMap;
use core::ops::Range;

/// Bytes of a page.
pub(crate) const PAGE: u64 = 4096;

/// Rounds up to whole pages, if there is such an address.
pub(crate) fn pages(length: u64) -> Option<u64> {
    length.checked_next_multiple_of(PAGE)
}

/// Which pages are free. Free parts never touch each other.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    whole: Range<u64>,
    /// Free parts: start, end.
    free: BTreeMap<u64, u64>,
    /// From here on nothing was ever used: it is zero.
    fresh: u64,
}

impl Arena {
    /// An arena of the whole pages in a range of addresses.
    pub(crate) fn new(range: Range<u64>) -> Arena {
        let start = pages(range.start).unwrap_or(range.end);
        let end = (range.end / PAGE * PAGE).max(start);
        let free = (start < end).then_some((start, end)).into_iter().collect();
        Arena {
            whole: start..end,
            free,
            fresh: start,
        }
    }

    /// Whether all of a range is in the arena.
    pub(crate) fn covers(&self, range: &Range<u64>) -> bool {
        self.whole.start <= range.start && range.start <= range.end && range.end <= self.whole.end
    }

    /// Whether none of these pages is taken.
    pub(crate) fn is_free(&self, range: &Range<u64>) -> bool {
        let before = self.free.range(..=range.start).next_back();
        before.is_some_and(|(_, end)| *end >= range.end)
    }

    /// Takes pages from the first free part that is large enough.
    pub(crate) fn take(&mut self, length: u64) -> Option<Range<u64>> {
        let (start, end) = self.free.iter().find(|(start, end)| *end - *start >= length)?;
        let (start, end) = (*start, *end);
        self.remove(start, end, start..start + length)
    }

    /// Takes these very pages, when they are free.
    pub(crate) fn take_at(&mut self, range: Range<u64>) -> Option<Range<u64>> {
        let (start, end) = self.free.range(..=range.start).next_back()?;
        let (start, end) = (*start, *end);
        if range.end > end {
            return None;
        }
        self.remove(start, end, range)
    }

    fn remove(&mut self, start: u64, end: u64, taken: Range<u64>) -> Option<Range<u64>> {
        self.free.remove(&start);
        if start < taken.start {
            self.free.insert(start, taken.start);
        }
        if taken.end < end {
            self.free.insert(taken.end, end);
        }
        Some(taken)
    }

    /// The part of pages just taken that may hold something; the rest is zero. From now on all of it may.
    pub(crate) fn used(&mut self, taken: &Range<u64>) -> Range<u64> {
        let used = taken.start..taken.end.min(self.fresh).max(taken.start);
        self.fresh = self.fresh.max(taken.end);
        used
    }

    /// What may hold something.
    pub(crate) fn touched(&self) -> Range<u64> {
        self.whole.start..self.fresh
    }

    /// Gives pages back, whether they were taken or not.
    pub(crate) fn give(&mut self, range: Range<u64>) {
        if range.is_empty() || !self.covers(&range) {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        if let Some((before, before_end)) = self.free.range(..=start).next_back()
            && *before_end >= start
        {
            start = *before;
            end = end.max(*before_end);
            self.free.remove(&start);
        }
        while let Some((next, next_end)) = self.free.range(start..=end).next() {
            let (next, next_end) = (*next, *next_end);
            end = end.max(next_end);
            self.free.remove(&next);
        }
        self.free.insert(start, end);
    }

    /// Bytes that are free.
    #[cfg(test)]
    fn left(&self) -> u64 {
        self.free.iter().map(|(start, end)| end - start).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_taken_once_and_joined_again() {
        let mut arena = Arena::new(0x1001..0xa00f);
        assert_eq!(arena.left(), 0x8000);
        let first = arena.take(0x2000).unwrap();
        let second = arena.take(0x3000).unwrap();
        let third = arena.take(0x3000).unwrap();
        assert_eq!((first.clone(), second.clone()), (0x2000..0x4000, 0x4000..0x7000));
        assert_eq!(arena.take(0x1000), None);
        arena.give(first);
        arena.give(third);
        assert_eq!(arena.take(0x4000), None, "two parts apart");
        arena.give(second.clone());
        arena.give(second);
        assert_eq!(arena.free.len(), 1, "twice is as once");
        assert_eq!(arena.take(0x8000), Some(0x2000..0xa000));
    }

    #[test]
    fn a_part_of_what_was_taken_can_be_given_back() {
        let mut arena = Arena::new(0..0x8000);
        arena.take(0x8000).unwrap();
        arena.give(0x2000..0x3000);
        assert_eq!(arena.take_at(0x1000..0x3000), None);
        assert_eq!(arena.take_at(0x2000..0x3000), Some(0x2000..0x3000));
        arena.give(0x9000..0xa000);
        arena.give(0x7000..0x9000);
        assert_eq!(arena.left(), 0, "nothing beyond the end");
    }

    #[test]
    fn what_was_never_used_is_zero() {
        let mut arena = Arena::new(0..0x8000);
        let taken = arena.take(0x2000).unwrap();
        assert!(arena.used(&taken).is_empty());
        arena.give(taken);
        let taken = arena.take(0x3000).unwrap();
        assert_eq!(arena.used(&taken), 0..0x2000);
    }
}
