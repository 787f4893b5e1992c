//! The memory that cVMs are made of: free ranges of the pool, handed out with representable bounds.

use crate::elf::PAGE;
use alloc::vec::Vec;
use core::ops::Range;

/// Free ranges of physical memory, sorted, not touching each other.
#[derive(Default)]
pub(crate) struct Pool {
    free: Vec<Range<u64>>,
}

impl Pool {
    /// A pool over one range.
    pub(crate) fn new(range: Range<u64>) -> Pool {
        Pool {
            free: Vec::from([range]),
        }
    }

    /// Adds a range above all others.
    pub(crate) fn push(&mut self, range: Range<u64>) {
        self.free.push(range);
    }

    /// Takes the lowest free range of `size` bytes whose base is a multiple of `alignment` (a power of two).
    pub(crate) fn allocate(&mut self, size: u64, alignment: u64) -> Option<u64> {
        let base = self.free.iter().find_map(|range| {
            let base = range.start.checked_next_multiple_of(alignment)?;
            (base.checked_add(size)? <= range.end).then_some(base)
        })?;
        self.take(base, size).then_some(base)
    }

    /// Takes exactly `[base, base + size)`; false when not all of it is free.
    pub(crate) fn take(&mut self, base: u64, size: u64) -> bool {
        let Some(end) = base.checked_add(size) else {
            return false;
        };
        let Some(index) = self
            .free
            .iter()
            .position(|range| range.start <= base && end <= range.end)
        else {
            return false;
        };
        let range = self.free.remove(index);
        if end < range.end {
            self.free.insert(index, end..range.end);
        }
        if range.start < base {
            self.free.insert(index, range.start..base);
        }
        true
    }

    /// Takes out of the pool what is somebody else's, free or not.
    pub(crate) fn reserve(&mut self, taken: &Range<u64>) {
        let free = core::mem::take(&mut self.free);
        for range in free {
            let before = range.start..range.end.min(taken.start / PAGE * PAGE);
            let after = range
                .start
                .max(taken.end.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX))..range.end;
            if range.end <= taken.start || range.start >= taken.end {
                self.free.push(range);
            } else {
                self.free
                    .extend([before, after].into_iter().filter(|part| !part.is_empty()));
            }
        }
    }

    /// From the lowest free address of a region to the end of the highest.
    pub(crate) fn whole(&self, region: &Range<u64>) -> Range<u64> {
        let mut inside = self.free.iter().filter(|range| region.contains(&range.start));
        let (first, last) = (inside.next(), inside.next_back());
        first.map_or(0..0, |first| first.start..last.unwrap_or(first).end)
    }

    /// Bytes that are free.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.free.iter().map(|range| range.end - range.start).sum()
    }
}
