//! The only way to a cVM's memory: copies through a capability that belongs to the cVM. The hardware checks tag, seal,
//! permissions and bounds; a refusal comes back as an error. Addresses are absolute.

use crate::isa::{self, Slot};
use crate::reach;
use crate::types::Refused;
use core::ops::Range;

/// Bytes of a capability, which share a tag.
const GRANULE: u64 = 16;
/// Bytes whose tags are looked at in one step.
const GRANULES: u64 = 4 * GRANULE;

/// Absolute address of an integer pointer that a hybrid program with this data capability passes.
#[inline]
pub fn absolute(data: &Slot, pointer: u64) -> u64 {
    if isa::relocates() {
        pointer.wrapping_add(data.integer())
    } else {
        pointer
    }
}

/// What an access by a pointer goes through, and its absolute address: a capability goes through itself, the integer of a hybrid
/// program through its data capability.
#[inline]
pub fn through<'a>(pointer: &'a Slot, data: &'a Slot) -> (&'a Slot, u64) {
    match pointer.tag() {
        true => (pointer, pointer.integer()),
        false => (data, absolute(data, pointer.integer())),
    }
}

fn outcome(length: usize, left: usize) -> Result<(), Refused> {
    if left == 0 {
        Ok(())
    } else {
        Err(Refused { copied: length - left })
    }
}

/// Copies from a cVM.
///
/// # Errors
/// [`Refused`] when `authority` does not allow the access.
pub fn copy_in(to: &mut [u8], authority: &Slot, address: u64) -> Result<(), Refused> {
    let length = to.len();
    outcome(length, reach::copy_in(to, authority, address))
}

/// A 32-bit word of a cVM, loaded by one access. `address` is a multiple of 4.
///
/// # Errors
/// [`Refused`] when `authority` does not allow the access.
#[inline]
pub fn load_word(authority: &Slot, address: u64) -> Result<u64, Refused> {
    u64::try_from(isa::load_word(authority, address)).map_err(|_| Refused { copied: 0 })
}

/// Copies to a cVM.
///
/// # Errors
/// [`Refused`] when `authority` does not allow the access.
pub fn copy_out(from: &[u8], authority: &Slot, address: u64) -> Result<(), Refused> {
    outcome(from.len(), reach::copy_out(from, authority, address))
}

/// Copies to a cVM what another capability reaches, without tags.
///
/// # Errors
/// [`Refused`] when `from` or `authority` does not allow the access.
pub fn copy(from: &Slot, source: u64, authority: &Slot, address: u64, length: usize) -> Result<(), Refused> {
    outcome(length, reach::copy((from, source), authority, address, length))
}

/// Zeroes memory of a cVM, tags included.
///
/// # Errors
/// [`Refused`] when `authority` does not allow the access.
pub fn zero(authority: &Slot, address: u64, length: usize) -> Result<(), Refused> {
    outcome(length, reach::zero(authority, address, length))
}

/// Stores what a slot holds to memory of a cVM, tag included.
///
/// # Errors
/// [`Refused`] when `authority` does not allow the store, or `address` is no multiple of 16.
pub fn store_capability(from: &Slot, authority: &Slot, address: u64) -> Result<(), Refused> {
    if !address.is_multiple_of(GRANULE) {
        return Err(Refused { copied: 0 });
    }
    outcome(GRANULE as usize, reach::store_capability(from, authority, address))
}

/// Zeroes every granule that has a tag, and looks only at the tags of the others. `address` and `length` are multiples of 64.
///
/// # Errors
/// [`Refused`] when `authority` does not allow to look and to store, or the range is not aligned.
pub fn clear_tags(authority: &Slot, address: u64, length: u64) -> Result<(), Refused> {
    if !address.is_multiple_of(GRANULES) || !length.is_multiple_of(GRANULES) {
        return Err(Refused { copied: 0 });
    }
    outcome(length as usize, reach::clear_tags(authority, address, length))
}

/// Makes a slot hold what is in memory of a cVM, tag included.
///
/// # Errors
/// [`Refused`] when `authority` does not allow the load, or `address` is no multiple of 16.
pub fn load_capability(to: &Slot, authority: &Slot, address: u64) -> Result<(), Refused> {
    if !address.is_multiple_of(GRANULE) {
        return Err(Refused { copied: 0 });
    }
    outcome(GRANULE as usize, reach::load_capability(to, authority, address))
}

/// The first 16 bytes of an area that hold a capability whose bounds reach a range; with `take` all of them are zeroed instead.
/// `address` and `length` are multiples of 16, and the end is one of 64.
///
/// # Panics
/// When `authority` does not allow to look.
pub fn next_reaching(authority: &Slot, address: u64, length: u64, range: &Range<u64>, take: bool) -> Option<u64> {
    let left = reach::next_reaching(authority, address, length, range, take);
    assert!(left <= length, "an area is looked at without authority");
    (left != 0).then(|| address + length - left)
}

/// Checks that a cVM may write `length` bytes, by what `authority` says; nothing is written.
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
