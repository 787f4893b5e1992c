//! Which memory is used, where the monitor's data ends, and from where the archive is read.

use super::cvm::{POOL_END, POOL_START};
use crate::authority::ledger::Ledger;
use crate::authority::pool::{Pool, Room};
use crate::plan::platform::Board;
use crate::start::{Memory, Placed, heap_end};
use arch::protection::{END, REGIONS};
use arch::{BootInfo, Derivation, DeriveError, Slot};
use capability::Permissions;
use proptest::prelude::*;
use std::ops::Range;

const MEMORY: Range<u64> = 0x8000_0000..0x1_0000_0000;
/// Where the image lies.
const IMAGE: u64 = MEMORY.start + 0x20_0000;

/// What there is of memory when firmware has left these regions, or the tree has them.
fn memory(regions: &[Range<u64>], by_firmware: bool, lost: u64) -> Memory {
    let mut board = Board::default();
    let mut boot = BootInfo {
        hart: 0,
        device_tree: 0,
        early_console: 0,
        memory: &[],
        memory_lost: lost,
        initrd: None,
        arguments: None,
        bias: 0,
        text: (IMAGE, IMAGE + 0x1_0000),
        data: (IMAGE + 0x1_0000, IMAGE + 0x2_0000),
        zeros_end: IMAGE + 0x2_0000,
        relocations: (0, 0),
    };
    if by_firmware {
        let pairs: Vec<_> = regions.iter().map(|region| (region.start, region.end)).collect();
        boot.memory = pairs.leak();
    } else {
        board.memory = regions.iter().cloned().collect();
    }
    Memory::of(&board, &boot)
}

fn bytes(regions: &[Range<u64>]) -> u64 {
    regions.iter().map(|region| region.end - region.start).sum()
}

/// Whether an address is in one of these regions.
fn is_in(regions: &[Range<u64>], address: u64) -> bool {
    regions.iter().any(|region| region.contains(&address))
}

proptest! {
    #[test]
    fn regions_are_apart_and_nothing_of_them_is_lost(
        others in proptest::collection::vec((0_u64..64, 0_u64..8), 0..12), place in 0_usize..12, by_firmware: bool
    ) {
        const UNIT: u64 = 16 << 20;
        let mut all: Vec<_> = others.iter().map(|(start, size)| start * UNIT..(start + size) * UNIT).collect();
        all.insert(place.min(all.len()), MEMORY.start..MEMORY.start + UNIT);
        let memory = memory(&all, by_firmware, 0);
        prop_assert!(memory.own.contains(&IMAGE) && memory.regions.contains(&memory.own));
        prop_assert!(memory.regions.len() <= REGIONS);
        // None touches the next, they ascend, and each address of them was there.
        prop_assert!(memory.regions.windows(2).all(|pair| pair[0].end < pair[1].start), "{:x?}", memory.regions);
        let units = || (0..256).map(|unit| unit * UNIT);
        let there = units().filter(|address| is_in(&all, *address)).count() as u64;
        let used = units().filter(|address| is_in(&memory.regions, *address)).count() as u64;
        prop_assert!(units().all(|address| !is_in(&memory.regions, address) || is_in(&all, address)));
        prop_assert_eq!(used * UNIT, bytes(&memory.regions));
        prop_assert_eq!((there - used) * UNIT, memory.unused);
        prop_assert!(memory.unused == 0 || memory.regions.len() == REGIONS);
    }

    #[test]
    fn pools_lie_in_their_regions_and_leave_out_what_is_not_free(
        sizes in proptest::collection::vec((1_u64..4096, 0_u64..4096), 1..=REGIONS), taken in (0_u64..1 << 28, 0_u64..1 << 24)
    ) {
        let mut at = 1 << 44;
        let mut regions = Vec::new();
        for (size, gap) in sizes {
            regions.push(at..at + (size << 12));
            at += (size + gap + 1) << 12;
        }
        let mut free = Room::default();
        regions.iter().for_each(|region| free.push(region.clone()));
        let taken = (1 << 44) + taken.0..(1 << 44) + taken.0 + taken.1;
        free.reserve(&taken);
        let mut expected = regions.iter().map(|region| free.whole(region)).collect::<Vec<_>>();
        expected.retain(|whole| !whole.is_empty());
        let mut pools = Vec::new();
        for region in &regions {
            pools.extend(Some(free.bound(region)).filter(|pool| !pool.is_empty()));
        }
        prop_assert_eq!(pools.len(), expected.len());
        for (pool, whole) in pools.iter().zip(&expected) {
            let (length, alignment) = arch::representable(pool.end - pool.start);
            prop_assert_eq!(length, pool.end - pool.start);
            prop_assert!(pool.start.is_multiple_of(alignment.max(4096)));
            prop_assert!(whole.start <= pool.start && pool.end <= whole.end);
        }
        // What is still free is in the pools.
        while let Some(base) = free.allocate(4096, 4096) {
            prop_assert!(is_in(&pools, base) && is_in(&regions, base) && !taken.contains(&base));
        }
    }

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

#[test]
fn regions_that_are_too_many_or_too_high_are_counted() {
    let region = |number: u64| number << 28..(number << 28) + (number << 20);
    let own = MEMORY.start..MEMORY.start + (4 << 20);
    // The image's own stays, though it is the smallest; of the others the largest stay.
    let all: Vec<_> = [own.clone()].into_iter().chain((9..=12).map(region)).collect();
    let memory_of = |lost| memory(&all, false, lost);
    assert_eq!(
        memory_of(0).regions[..],
        [own.clone(), region(10), region(11), region(12)]
    );
    assert_eq!(memory_of(0).unused, 9 << 20);
    assert_eq!(
        memory_of(5 << 20).unused,
        14 << 20,
        "with what firmware's list has lost"
    );
    let high = [own.clone(), END - 0x1000..END + 0x1000, END + 0x2000..END + 0x3000];
    let found = memory(&high, true, 0);
    assert_eq!(found.regions[..], [own, END - 0x1000..END]);
    assert_eq!(found.unused, 0x2000);
}

#[test]
#[should_panic(expected = "there is no memory at 0x80200000, where the image lies")]
fn an_image_outside_of_all_memory_is_refused() {
    memory(&[0..0x1000, 0x2000..0x3000], false, 0);
}

#[test]
fn no_pool_spans_the_hole_between_two_regions() {
    let regions = [POOL_START..POOL_END, 1 << 45..(1 << 45) + (1 << 20)];
    let mut free = Room::default();
    regions.iter().for_each(|region| free.push(region.clone()));
    let mut ledger = Ledger::new(arch::root());
    let mut pool = Pool::open(free, &regions, &mut ledger).unwrap();
    assert_eq!(pool.ranges(), regions);
    for region in &regions {
        for address in [region.start, region.end - 1] {
            let whole = pool.stock(address).slot.decoded();
            assert_eq!((whole.base, whole.top), (region.start, region.end.into()));
        }
    }
    // A range that begins in one and ends in the other is neither free nor to be derived.
    let across = regions[0].end - 0x1000..regions[1].start + 0x1000;
    assert!(!pool.free.take(across.start, across.end - across.start));
    let slot = Slot::null();
    let request = Derivation {
        base: across.start,
        length: 0x2000,
        permissions: Permissions::LOAD,
        address: across.start,
    };
    let stock = pool.stock(across.start);
    assert_eq!(slot.derive(&stock.slot, &request), Err(DeriveError::OutOfBounds));
    assert!(
        stock
            .derive(&mut ledger, &slot, ("across", "for nothing"), request)
            .is_err()
    );
    assert!(!slot.tag());
    // One that does not fit into what is left of the first lies in the second.
    assert_eq!(pool.free.allocate(0x38_0000, 4096), Some(regions[0].start));
    assert_eq!(pool.free.allocate(0xc_0000, 4096), Some(regions[1].start));
    assert_eq!(pool.free.allocate(0x8_0000, 4096), Some(regions[0].start + 0x38_0000));
}
