//! The memory that cVMs are made of: of each region the authority over it and its entry in the ledger, and what is free, handed
//! out with representable bounds.

use crate::authority::ledger::{AuthorityError, EntryId, Lack, Ledger};
use crate::elf::PAGE;
use alloc::boxed::Box;
use alloc::vec::Vec;
use arch::{Derivation, Slot, gate};
use capability::Permissions;
use core::ops::Range;

/// Authority over a region of memory, as long as the monitor runs.
pub(crate) struct Stock {
    /// Over the memory of all cVMs there.
    pub(crate) slot: Slot,
    /// To execute there as the switcher does.
    pub(crate) switcher: Slot,
    entry: EntryId,
    range: Range<u64>,
}

impl Stock {
    /// Derives a capability from it, and enters it.
    ///
    /// # Errors
    /// [`AuthorityError`] names what could not be derived.
    pub(crate) fn derive(
        &self,
        ledger: &mut Ledger,
        slot: &Slot,
        what: (&str, &'static str),
        request: Derivation,
    ) -> Result<EntryId, AuthorityError> {
        ledger.derive_at(slot, (self.entry, &self.slot), what, request)
    }
}

/// All of that memory, until every cVM has its own.
pub(crate) struct Pool {
    pub(crate) free: Room,
    /// In ascending order.
    stocks: Vec<&'static Stock>,
    /// To seal the switcher's tokens, where they are sealed.
    pub(crate) key: Box<Slot>,
}

impl Drop for Pool {
    /// The gates of the manifest are made, or it is clear that there are none.
    fn drop(&mut self) {
        self.stocks.iter().for_each(|stock| stock.switcher.clear());
        self.key.clear();
    }
}

impl Pool {
    /// Derives from the root what there has to be of these regions, as far as they are free, and bounds can say it.
    ///
    /// # Errors
    /// [`AuthorityError`] names what could not be derived.
    pub(crate) fn open(free: Room, regions: &[Range<u64>], ledger: &mut Ledger) -> Result<Pool, AuthorityError> {
        let (stocks, key) = (Vec::new(), Box::new(Slot::null()));
        let mut pool = Pool { free, stocks, key };
        let root = (Ledger::ROOT, arch::root());
        let part = |slot: &Slot, range: &Range<u64>, permissions| {
            let request = Derivation::over(range.clone(), permissions);
            let derived = slot.derive(root.1, &request);
            derived.map_err(|error| AuthorityError::new("switcher", Lack::Derivation(request, error)))
        };
        for region in regions {
            let range = pool.free.bound(region);
            if range.is_empty() {
                continue;
            }
            let mut stock = Box::new(Stock {
                slot: Slot::null(),
                switcher: Slot::null(),
                entry: Ledger::ROOT,
                range: range.clone(),
            });
            part(&stock.switcher, &range, gate::switcher_permissions())?;
            let permissions = arch::service_stack_permissions() | arch::code_permissions();
            let what = ("cVM pool", "memory of cVMs");
            stock.entry = ledger.derive(&stock.slot, root, what, range, permissions)?;
            pool.stocks.push(Box::leak(stock));
        }
        if let Some((first, count)) = gate::SEAL {
            part(&pool.key, &(first..first + count), Permissions::SEAL)?;
        }
        Ok(pool)
    }

    /// What holds an address that is in one of them.
    pub(crate) fn stock(&self, address: u64) -> &'static Stock {
        self.stocks[self.stocks.partition_point(|stock| stock.range.start <= address) - 1]
    }

    /// What each of them covers.
    pub(crate) fn ranges(&self) -> Vec<Range<u64>> {
        self.stocks.iter().map(|stock| stock.range.clone()).collect()
    }

    /// Takes memory for what has this name in the ledger: bounds of so many bytes at least, and the bytes of all its pages.
    ///
    /// # Errors
    /// [`AuthorityError`] when there is not as much.
    pub(crate) fn take(&mut self, name: &str, size: u64) -> Result<(&'static Stock, Range<u64>, u64), AuthorityError> {
        let (length, alignment) = arch::representable(size);
        let taken = length.next_multiple_of(PAGE);
        let base = self.free.allocate(taken, alignment.max(PAGE)).ok_or_else(|| {
            let (needed, free) = (taken, self.free.bytes());
            AuthorityError::new(name, Lack::Memory { needed, free })
        })?;
        Ok((self.stock(base), base..base + length, taken))
    }
}

/// Free ranges of memory, sorted, not touching each other.
#[derive(Default)]
pub(crate) struct Room(Vec<Range<u64>>);

impl Room {
    /// One range.
    pub(crate) fn new(range: Range<u64>) -> Room {
        Room(Vec::from([range]))
    }

    /// Adds a range above all others.
    pub(crate) fn push(&mut self, range: Range<u64>) {
        self.0.push(range);
    }

    /// Takes the lowest free range of `size` bytes whose base is a multiple of `alignment` (a power of two).
    pub(crate) fn allocate(&mut self, size: u64, alignment: u64) -> Option<u64> {
        let base = self.0.iter().find_map(|range| {
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
        let Some(index) = self.0.iter().position(|range| range.start <= base && end <= range.end) else {
            return false;
        };
        let range = self.0.remove(index);
        if end < range.end {
            self.0.insert(index, end..range.end);
        }
        if range.start < base {
            self.0.insert(index, range.start..base);
        }
        true
    }

    /// Takes out what is somebody else's, free or not.
    pub(crate) fn reserve(&mut self, taken: &Range<u64>) {
        let free = core::mem::take(&mut self.0);
        for range in free {
            let before = range.start..range.end.min(taken.start / PAGE * PAGE);
            let after = range
                .start
                .max(taken.end.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX))..range.end;
            if range.end <= taken.start || range.start >= taken.end {
                self.0.push(range);
            } else {
                self.0
                    .extend([before, after].into_iter().filter(|part| !part.is_empty()));
            }
        }
    }

    /// What bounds can say of a region from its lowest free address to the end of the highest. The rest is nobody's.
    pub(crate) fn bound(&mut self, region: &Range<u64>) -> Range<u64> {
        let whole = self.whole(region);
        let alignment = arch::representable(whole.end - whole.start).1.max(PAGE);
        let start = whole.start.next_multiple_of(alignment);
        let end = (whole.end / alignment * alignment).max(start);
        self.reserve(&(region.start..start));
        self.reserve(&(end..region.end));
        start..end
    }

    /// From the lowest free address of a region to the end of the highest.
    pub(crate) fn whole(&self, region: &Range<u64>) -> Range<u64> {
        let mut inside = self.0.iter().filter(|range| region.contains(&range.start));
        let (first, last) = (inside.next(), inside.next_back());
        first.map_or(0..0, |first| first.start..last.unwrap_or(first).end)
    }

    /// Bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }
}
