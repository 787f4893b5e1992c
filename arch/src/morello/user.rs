//! The only way to a cVM's memory: copies through a capability that belongs to the cVM. The hardware checks tag, seal,
//! permissions and bounds; a refusal comes back as an error by the exception table.

use super::slot::Slot;
use crate::types::Refused;
use core::arch::asm;
use core::ops::Range;

unsafe extern "C" {
    fn intravisor_copy_in(to: *mut u8, authority: *const u64, address: u64, length: usize) -> usize;
    fn intravisor_copy_out(from: *const u8, authority: *const u64, address: u64, length: usize) -> usize;
    fn intravisor_copy(from: *const u64, authority: *const u64, address: u64, length: usize, source: u64) -> usize;
    fn intravisor_zero(unused: usize, authority: *const u64, address: u64, length: usize) -> usize;
    fn intravisor_store_capability(from: *const u64, authority: *const u64, address: u64) -> usize;
    fn intravisor_clear_tags(unused: usize, authority: *const u64, address: u64, length: u64) -> u64;
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

/// Bytes of a capability.
const SIZE: usize = 16;
/// Bytes whose tags LDCT reads.
const TAGS_SIZE: u64 = 64;

/// Absolute address of an integer pointer that a hybrid program with this data capability passes: DDC does not relocate.
#[inline]
pub fn absolute(_data: &Slot, pointer: u64) -> u64 {
    pointer
}

fn outcome(length: usize, left: usize) -> Result<(), Refused> {
    if left == 0 {
        Ok(())
    } else {
        Err(Refused { copied: length - left })
    }
}

/// Copies from a cVM. `address` is absolute.
///
/// # Errors
/// [`Refused`] when `authority` does not allow the access.
pub fn copy_in(to: &mut [u8], authority: &Slot, address: u64) -> Result<(), Refused> {
    // SAFETY: `to` is writable for its length; the cVM's side is checked by the hardware.
    let left = unsafe { intravisor_copy_in(to.as_mut_ptr(), authority.pointer(), address, to.len()) };
    outcome(to.len(), left)
}

/// A 32-bit word of a cVM, loaded by one access. `address` is absolute and a multiple of 4.
///
/// # Errors
/// [`Refused`] when `authority` does not allow the access.
#[inline]
pub fn load_word(authority: &Slot, address: u64) -> Result<u64, Refused> {
    let word: i64;
    // SAFETY: the cVM's side is checked by the hardware, and a refusal goes on at label 9; the register is cleared.
    unsafe {
        asm!(
            ".inst 0xc2400009 | 10 << 5",           // LDR c9, [x10]
            "mov x11, #-1",
            ".inst 0xc2c04129 | 12 << 16",          // SCVALUE c9, c9, x12
            ".pushsection .intravisor_fixups, \"a\"",
            ".balign 4",
            ".word 771f - .",
            ".word 9f - .",
            ".popsection",
            "771:",
            ".inst 0x8260092b",                     // LDR w11, [c9]
            "9: mov x9, xzr",
            in("x10") authority.pointer(),
            in("x12") address,
            out("x9") _,
            out("x11") word,
            options(nostack, readonly),
        );
    }
    u64::try_from(word).map_err(|_| Refused { copied: 0 })
}

/// Copies to a cVM. `address` is absolute.
///
/// # Errors
/// [`Refused`] when `authority` does not allow the access.
pub fn copy_out(from: &[u8], authority: &Slot, address: u64) -> Result<(), Refused> {
    // SAFETY: `from` is readable for its length; the cVM's side is checked by the hardware.
    let left = unsafe { intravisor_copy_out(from.as_ptr(), authority.pointer(), address, from.len()) };
    outcome(from.len(), left)
}

/// Copies to a cVM what another capability reaches, without tags. `address` and `source` are absolute.
///
/// # Errors
/// [`Refused`] when `from` or `authority` does not allow the access.
pub fn copy(from: &Slot, source: u64, authority: &Slot, address: u64, length: usize) -> Result<(), Refused> {
    // SAFETY: reads and writes only through the two capabilities, checked by the hardware.
    let left = unsafe { intravisor_copy(from.pointer(), authority.pointer(), address, length, source) };
    outcome(length, left)
}

/// Zeroes memory of a cVM, tags included. `address` is absolute.
///
/// # Errors
/// [`Refused`] when `authority` does not allow the access.
pub fn zero(authority: &Slot, address: u64, length: usize) -> Result<(), Refused> {
    // SAFETY: writes only through `authority`, checked by the hardware.
    let left = unsafe { intravisor_zero(0, authority.pointer(), address, length) };
    outcome(length, left)
}

/// Stores a capability, tag included, to memory of a cVM. `address` is absolute.
///
/// # Errors
/// [`Refused`] when `authority` does not allow the access, or `address` is no multiple of 16.
pub fn store_capability(from: &Slot, authority: &Slot, address: u64) -> Result<(), Refused> {
    // SAFETY: reads a live, aligned slot; the cVM's side is checked by the hardware, alignment included.
    let left = unsafe { intravisor_store_capability(from.pointer(), authority.pointer(), address) };
    outcome(SIZE, left)
}

/// Zeroes every capability with a tag in memory of a cVM, and nothing else. `address`, absolute, and `length` are multiples
/// of 64.
///
/// # Errors
/// [`Refused`] when `authority` does not allow to load capabilities and to store, or something is no multiple of 64.
pub fn clear_tags(authority: &Slot, address: u64, length: u64) -> Result<(), Refused> {
    if !length.is_multiple_of(TAGS_SIZE) {
        return Err(Refused { copied: 0 });
    }
    // SAFETY: writes only through `authority`, checked by the hardware, alignment included.
    let left = unsafe { intravisor_clear_tags(0, authority.pointer(), address, length) };
    outcome(length as usize, left as usize)
}

/// Makes a slot hold what is in memory of a cVM, tag included. `address` is absolute.
///
/// # Errors
/// [`Refused`] when `authority` does not allow the load, or `address` is no multiple of 16.
pub fn load_capability(to: &Slot, authority: &Slot, address: u64) -> Result<(), Refused> {
    // SAFETY: writes a live slot; the cVM's side is checked by the hardware, alignment included.
    let left = unsafe { intravisor_load_capability(to.pointer(), authority.pointer(), address) };
    outcome(SIZE, left)
}

/// The first 16 bytes of an area that hold a capability whose bounds reach a range; with `take` all of them are zeroed instead. `address`, absolute, and `length` are
/// multiples of 16, and the end is one of 64.
///
/// # Panics
/// When `authority` does not allow to look.
pub fn next_reaching(authority: &Slot, address: u64, length: u64, range: &Range<u64>, take: bool) -> Option<u64> {
    // SAFETY: only looks, through `authority`, checked by the hardware.
    let left =
        unsafe { intravisor_next_reaching(0, authority.pointer(), address, length, range.start, range.end, take) };
    assert!(left <= length, "an area is looked at without authority");
    (left != 0).then(|| address + length - left)
}

/// Checks that a cVM may write `length` bytes at an absolute address, by what `authority` says; nothing is written.
///
/// # Errors
/// [`Refused`] when a later [`copy_out`] would be.
pub fn probe_write(authority: &Slot, address: u64, length: usize) -> Result<(), Refused> {
    if length == 0 || authority.covers(address, length as u64, true).is_some() {
        Ok(())
    } else {
        Err(Refused { copied: 0 })
    }
}

/// Where a refused instruction goes on: the fixup of the guarded instruction at this address, if it is one.
pub(super) fn fixup(pc: u64) -> Option<u64> {
    // SAFETY: the linker script brackets the table with these symbols; entries are pairs of 32-bit distances.
    let table = unsafe {
        let start = intravisor_fixups_start.as_ptr();
        let count = intravisor_fixups_end.as_ptr().offset_from(start) as usize;
        core::slice::from_raw_parts(start, count)
    };
    let target = |word: &i32| (&raw const *word as u64).wrapping_add_signed(i64::from(*word));
    table
        .iter()
        .find(|entry| target(&entry[0]) == pc)
        .map(|entry| target(&entry[1]))
}
