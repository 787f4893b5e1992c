//! Where the monitor's data ends, and from where the archive is read.

use crate::plan::platform::Board;
use crate::start::{Placed, heap_end};
use proptest::prelude::*;

const MEMORY: std::ops::Range<u64> = 0x8000_0000..0x1_0000_0000;

proptest! {
    #[test]
    fn the_data_is_always_representable_from_where_it_starts(
        granule in 14_u32..18, start in 1_u64..8, image in 0_u64..4 << 20, memory in 26_u32..31
    ) {
        let data = MEMORY.start + (start << granule);
        let image_end = (data + image).next_multiple_of(4096);
        let end = heap_end(data, image_end..MEMORY.end, &(MEMORY.start..MEMORY.start + (1 << memory)));
        let (length, alignment) = arch::representable(end - data);
        prop_assert_eq!(length, end - data);
        prop_assert!(data.is_multiple_of(alignment));
        prop_assert!(end >= image_end + (1 << 20));
    }

    #[test]
    fn the_bounds_of_an_archive_where_it_lies_are_the_narrowest(start in 0_u64..1 << 30, size in 1_u64..1 << 28) {
        let file = MEMORY.start + start..MEMORY.start + start + size;
        let bounds = Placed::at(file.clone()).bounds;
        let (length, alignment) = arch::representable(bounds.end - bounds.start);
        prop_assert_eq!(length, bounds.end - bounds.start);
        prop_assert!(bounds.start.is_multiple_of(alignment));
        prop_assert!(bounds.start <= file.start && file.start - bounds.start < alignment);
        prop_assert!(file.end <= bounds.end && bounds.end - file.end < alignment);
    }

    #[test]
    fn an_archive_is_moved_to_the_highest_place_that_is_free(
        size in 1_u64..1 << 26, reserved in 0x8400_0000_u64..0xfff0_0000, length in 1_u64..1 << 20
    ) {
        let mut board = Board::default();
        let taken = reserved..reserved + length;
        board.reserved.push(taken.clone()).unwrap();
        let low = 0x8200_0000;
        let found = Placed::above(low, size, &board, &MEMORY);
        let placed = found.expect("room on one side of what is reserved");
        let (length, alignment) = arch::representable(placed.bounds.end - placed.bounds.start);
        prop_assert_eq!(length, placed.bounds.end - placed.bounds.start);
        prop_assert!(placed.bounds.start.is_multiple_of(alignment.max(4096)));
        prop_assert_eq!(placed.file.end - placed.file.start, size);
        prop_assert!(placed.file.start == placed.bounds.start && placed.file.end <= placed.bounds.end);
        prop_assert!(placed.bounds.start >= low && placed.bounds.end <= MEMORY.end);
        prop_assert!(placed.bounds.end <= taken.start || placed.bounds.start >= taken.end);
        // No room above it.
        let above = if placed.bounds.end <= taken.start { taken.start } else { MEMORY.end };
        prop_assert!(above - placed.bounds.end < alignment.max(4096));
    }
}

#[test]
fn an_archive_is_not_moved_down() {
    let board = Board::default();
    assert!(Placed::above(MEMORY.end - 0x1000, 0x1001, &board, &MEMORY).is_none());
    assert!(Placed::above(MEMORY.end - 0x1000, 0x1000, &board, &MEMORY).is_some());
    assert!(
        Placed::above(0, 1 << 40, &board, &MEMORY).is_none(),
        "larger than all memory"
    );
}

#[test]
#[should_panic(expected = "too small for the monitor")]
fn memory_that_is_too_small_is_refused() {
    heap_end(0x8001_4000, 0x8002_8000..0x8010_0000, &(0x8000_0000..0x8010_0000));
}

#[test]
fn the_heap_ends_before_what_is_reserved() {
    let end = heap_end(0x8001_4000, 0x8002_8000..0x8023_4567, &MEMORY);
    assert_eq!(end, 0x8023_4000);
}
