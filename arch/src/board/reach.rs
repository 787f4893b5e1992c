//! The copy routines of both ISAs: the same symbols, which say how many bytes are left when the hardware refuses. An exception
//! table tells where a refused instruction goes on.

use crate::isa::{Slot, physical};
use core::ops::Range;

unsafe extern "C" {
    fn intravisor_copy_in(to: *mut u8, authority: *const u64, address: u64, length: usize) -> usize;
    // Where pointers of the monitor are relocated, it needs the physical address, too.
    fn intravisor_copy_out(from: *const u8, authority: *const u64, address: u64, length: usize, physical: u64)
    -> usize;
    fn intravisor_copy(from: *const u64, authority: *const u64, address: u64, length: usize, source: u64) -> usize;
    fn intravisor_zero(unused: usize, authority: *const u64, address: u64, length: usize) -> usize;
    fn intravisor_store_capability(from: *const u64, authority: *const u64, address: u64) -> usize;
    fn intravisor_clear_tags(unused: usize, authority: *const u64, address: u64, length: u64) -> usize;
    fn intravisor_load_capability(to: *mut u64, authority: *const u64, address: u64) -> usize;
    fn intravisor_next_reaching(
        unused: usize,
        authority: *const u64,
        address: u64,
        length: u64,
        start: u64,
        end: u64,
        take: bool,
    ) -> u64;
    static intravisor_fixups_start: [[i32; 2]; 0];
    static intravisor_fixups_end: [[i32; 2]; 0];
}

pub(crate) fn copy_in(to: &mut [u8], authority: &Slot, address: u64) -> usize {
    // SAFETY: `to` is writable for its length; the cVM's side is checked by the hardware.
    unsafe { intravisor_copy_in(to.as_mut_ptr(), authority.pointer(), address, to.len()) }
}

pub(crate) fn copy_out(from: &[u8], authority: &Slot, address: u64) -> usize {
    let physical = physical(from.as_ptr());
    // SAFETY: `from` is readable for its length, there and here; the cVM's side is checked by the hardware.
    unsafe { intravisor_copy_out(from.as_ptr(), authority.pointer(), address, from.len(), physical) }
}

pub(crate) fn copy((from, source): (&Slot, u64), authority: &Slot, address: u64, length: usize) -> usize {
    // SAFETY: reads and writes only through the two capabilities, checked by the hardware.
    unsafe { intravisor_copy(from.pointer(), authority.pointer(), address, length, source) }
}

pub(crate) fn zero(authority: &Slot, address: u64, length: usize) -> usize {
    // SAFETY: writes only through `authority`, checked by the hardware.
    unsafe { intravisor_zero(0, authority.pointer(), address, length) }
}

pub(crate) fn store_capability(from: &Slot, authority: &Slot, address: u64) -> usize {
    // SAFETY: reads a live, aligned slot; the cVM's side is checked by the hardware.
    unsafe { intravisor_store_capability(from.pointer(), authority.pointer(), address) }
}

pub(crate) fn clear_tags(authority: &Slot, address: u64, length: u64) -> usize {
    // SAFETY: writes only through `authority`, checked by the hardware.
    unsafe { intravisor_clear_tags(0, authority.pointer(), address, length) }
}

pub(crate) fn load_capability(to: &Slot, authority: &Slot, address: u64) -> usize {
    // SAFETY: writes a live slot; the cVM's side is checked by the hardware.
    unsafe { intravisor_load_capability(to.pointer(), authority.pointer(), address) }
}

/// Bytes from the first capability on that reaches the range; 0 = none; more than `length` = refused.
pub(crate) fn next_reaching(authority: &Slot, address: u64, length: u64, range: &Range<u64>, take: bool) -> u64 {
    // SAFETY: only looks, and with `take` zeroes, through `authority`, checked by the hardware.
    unsafe { intravisor_next_reaching(0, authority.pointer(), address, length, range.start, range.end, take) }
}

/// Where a refused instruction goes on: the fixup of the guarded one at this absolute address, if it is one.
pub(super) fn fixup(pc: u64) -> Option<u64> {
    // SAFETY: the linker script brackets the table with these symbols; entries are pairs of 32-bit distances.
    let table = unsafe {
        let start = intravisor_fixups_start.as_ptr();
        let count = intravisor_fixups_end.as_ptr().offset_from(start) as usize;
        core::slice::from_raw_parts(start, count)
    };
    // The table lies with the data, whose pointers count from the same origin as the text's.
    let target = |word: &i32| physical(word).wrapping_add_signed(i64::from(*word));
    table
        .iter()
        .find(|entry| target(&entry[0]) == pc)
        .map(|entry| target(&entry[1]))
}
