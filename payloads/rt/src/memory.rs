//! Memory in bulk.

use crate::arch::{ZERO_BLOCK, zero_blocks};
use core::ptr;

/// Zeroes memory: by the processor's widest stores where it is much. Its capabilities lose their tags.
///
/// # Safety
/// The caller may write `length` bytes at `start`.
pub unsafe fn zero(start: *mut u8, length: usize) {
    let head = start.align_offset(16).min(length);
    let blocks = (length - head) / ZERO_BLOCK;
    let tail = head + blocks * ZERO_BLOCK;
    // SAFETY: the three parts are what the caller may write; the middle one begins at a multiple of 16.
    unsafe {
        ptr::write_bytes(start, 0, head);
        zero_blocks(start.add(head), blocks);
        ptr::write_bytes(start.add(tail), 0, length - tail);
    }
}
