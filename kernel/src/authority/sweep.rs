//! Looking for foreign authority. It is local, so it lies in register frames and local areas and nowhere else; all of it can
//! be looked at. The memory is looked at by its pool's capability: what lies in the local area of a cVM counts when that cVM has
//! ended, too, because a cVM around it reaches it.

use arch::{Frame, Slot, user};
use core::ops::Range;

/// Bytes of a capability in memory, and what a local area begins and ends at multiples of.
pub(crate) const GRANULE: u64 = 16;
pub(crate) const LINE: u64 = 64;

/// Whether a slot that reaches what is looked for is to be cleared; `None` = each.
pub(crate) type Wanted<'a> = Option<&'a dyn Fn(&Slot) -> bool>;

/// Clears the registers of a frame that reach a range and are wanted; which of its slots they were, a bit each.
#[inline]
pub(crate) fn registers(frame: &Frame, range: &Range<u64>, wanted: Wanted<'_>) -> u64 {
    let found = frame.reaching(range, wanted.is_none());
    match wanted {
        Some(wanted) if found != 0 => clear(frame, found, wanted),
        _ => found,
    }
}

#[inline(never)]
fn clear(frame: &Frame, found: u64, wanted: &dyn Fn(&Slot) -> bool) -> u64 {
    let mut taken = 0;
    for (index, slot) in frame.slots().enumerate() {
        if found >> index & 1 == 1 && wanted(slot) {
            slot.clear();
            taken |= 1 << index;
        }
    }
    taken
}

/// Clears what reaches a range in a local area and is wanted.
pub(crate) fn area(pool: &Slot, area: Range<u64>, range: &Range<u64>, wanted: Wanted<'_>) {
    static SEEN: Slot = Slot::null();
    let mut at = area.start;
    while let Some(granule) = user::next_reaching(pool, at, area.end - at, range, wanted.is_none()) {
        let loaded = user::load_capability(&SEEN, pool, granule);
        if loaded.is_ok() && wanted.is_none_or(|wanted| wanted(&SEEN)) {
            let cleared = user::zero(pool, granule, GRANULE as usize);
            assert!(cleared.is_ok(), "the local area {area:x?} cannot be cleared");
        }
        SEEN.clear();
        at = granule + GRANULE;
    }
}
