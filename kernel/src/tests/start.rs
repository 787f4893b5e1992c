//! The bounds of the monitor's data.

use crate::start::heap_end;
use proptest::prelude::*;

const MEMORY: std::ops::Range<u64> = 0x8000_0000..0x1_0000_0000;

proptest! {
    #[test]
    fn the_data_is_always_representable_from_where_it_starts(
        granule in 14_u32..18, start in 1_u64..8, image in 0_u64..4 << 20, extra in 0_u64..4 << 20, memory in 26_u32..31
    ) {
        let data = MEMORY.start + (start << granule);
        let image_end = (data + image).next_multiple_of(4096);
        let end = heap_end(data, image_end..MEMORY.end, &(MEMORY.start..MEMORY.start + (1 << memory)), extra);
        let (length, alignment) = arch::representable(end - data);
        prop_assert_eq!(length, end - data);
        prop_assert!(data.is_multiple_of(alignment));
        prop_assert!(end >= image_end + (1 << 20) + extra);
    }
}

#[test]
#[should_panic(expected = "leave no room for a heap below")]
fn an_archive_that_no_bounds_can_hold_is_refused() {
    heap_end(0x8001_4000, 0x8001_4000 + (17 << 20)..MEMORY.end, &MEMORY, 0);
}

#[test]
#[should_panic(expected = "too small for the monitor")]
fn memory_that_is_too_small_is_refused() {
    heap_end(0x8001_4000, 0x8002_8000..0x8010_0000, &(0x8000_0000..0x8010_0000), 0);
}

#[test]
fn the_heap_ends_before_what_is_reserved() {
    let end = heap_end(0x8001_4000, 0x8002_8000..0x8023_4567, &MEMORY, 0);
    assert_eq!(end, 0x8023_4000);
}
