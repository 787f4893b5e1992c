//! From archive, manifest and device tree to a checked plan: who exists, with what memory, where.

pub(crate) mod archive;
pub(crate) mod layout;
pub(crate) mod manifest;
pub(crate) mod placement;
pub(crate) mod platform;
pub(crate) mod refusal;
#[cfg(feature = "signed")]
pub(crate) mod signature;
pub(crate) mod tree;

use alloc::vec::Vec;
use core::cmp::Ordering;

/// The numbers below `count` in the order that `compare` gives them; equal ones as they are. Once for everything that is
/// ordered: the library's ways are larger, and there is one of them for every type.
pub(crate) fn ordered(count: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut order = Vec::with_capacity(count);
    for number in 0..count {
        let at = order.partition_point(|other| compare(*other, number) != Ordering::Greater);
        order.insert(at, number);
    }
    order
}
