//! The memory pool.

use crate::authority::pool::Room;
use proptest::prelude::*;

proptest! {
    #[test]
    fn no_two_regions_overlap_and_none_leaves_the_pool(
        requests in proptest::collection::vec((1_u64..64, 0_u32..6, any::<bool>(), 0_u64..300), 1..40)
    ) {
        let mut pool = Room::new(0x10_0000..0x20_0000);
        let mut taken: Vec<std::ops::Range<u64>> = Vec::new();
        for (pages, alignment, exact, at) in requests {
            let (size, alignment) = (pages * 4096, 4096 << alignment);
            let base = if exact {
                let base = 0xf_0000 + at * 4096;
                pool.take(base, size).then_some(base)
            } else {
                pool.allocate(size, alignment)
            };
            if let Some(base) = base {
                prop_assert!(base >= 0x10_0000 && base + size <= 0x20_0000);
                prop_assert!(exact || base % alignment == 0);
                prop_assert!(taken.iter().all(|other| base + size <= other.start || other.end <= base));
                taken.push(base..base + size);
            }
        }
        let used: u64 = taken.iter().map(|range| range.end - range.start).sum();
        prop_assert_eq!(pool.bytes(), 0x10_0000 - used);
    }
}

#[test]
fn a_full_pool_gives_nothing() {
    let mut pool = Room::new(0x1000..0x3000);
    assert_eq!(pool.allocate(0x2000, 4096), Some(0x1000));
    assert_eq!(pool.allocate(1, 1), None);
    assert!(!pool.take(0x1000, 0x1000));
}

#[test]
fn absurd_sizes_do_not_wrap() {
    let mut pool = Room::new(0x1000..0x3000);
    assert!(!pool.take(0x1000, u64::MAX));
    assert_eq!(pool.allocate(u64::MAX, 4096), None);
    assert_eq!(pool.allocate(4096, 1 << 63), None);
}

#[test]
fn what_is_reserved_is_never_handed_out() {
    let mut pool = Room::new(0x1_0000..0x2_0000);
    for taken in [
        0..0x1_0010,
        0x1_4000..0x1_4001,
        0x1_8800..0x1_9800,
        0x1_f000..u64::MAX,
        0x1_4000..0x1_4000,
    ] {
        pool.reserve(&taken);
    }
    assert_eq!(pool.whole(&(0..u64::MAX)), 0x1_1000..0x1_f000);
    let mut got = Vec::new();
    while let Some(page) = pool.allocate(0x1000, 0x1000) {
        got.push(page >> 12);
    }
    assert_eq!(got, [0x11, 0x12, 0x13, 0x15, 0x16, 0x17, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e]);
}
