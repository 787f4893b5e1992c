//! Looking for foreign authority. It is local, so it lies in register frames and local areas and nowhere else; all of it can
//! be looked at. What is looked for says the caller; the memory is looked at by the pool's capability, because what lies in the
//! local area of a cVM counts when that cVM has ended, too: a cVM around it reaches it.

use crate::authority::ledger::POOL;
use arch::{Frame, Slot, user};
use core::ops::Range;

/// Bytes of a capability in memory, and bytes whose tags are looked at together.
pub(crate) const GRANULE: u64 = 16;
pub(crate) const LINE: u64 = 64;

/// Whether what the slot holds reaches a range.
#[inline]
pub(crate) fn reaches(slot: &Slot, range: &Range<u64>) -> bool {
    let (base, length, _) = slot.extent();
    base < range.end && base.saturating_add(length) > range.start
}

/// Clears the registers of a frame that hold what is wanted.
pub(crate) fn registers(frame: &Frame, wanted: &dyn Fn(&Slot) -> bool) -> bool {
    let mut found = false;
    for slot in frame.slots() {
        if slot.tag() && wanted(slot) {
            slot.clear();
            found = true;
        }
    }
    found
}

/// Clears what is wanted in a local area, which begins and ends at multiples of [`LINE`].
pub(crate) fn area(area: Range<u64>, wanted: &dyn Fn(&Slot) -> bool) {
    static SEEN: Slot = Slot::null();
    let mut at = area.start;
    while let Some(line) = user::next_tags(&POOL, at, area.end - at) {
        for granule in (line..line + LINE).step_by(GRANULE as usize) {
            let loaded = user::load_capability(&SEEN, &POOL, granule);
            if loaded.is_ok() && SEEN.tag() && wanted(&SEEN) {
                let cleared = user::zero(&POOL, granule, GRANULE as usize);
                assert!(cleared.is_ok(), "the local area {area:x?} cannot be cleared");
            }
        }
        at = line + LINE;
    }
    SEEN.clear();
}
