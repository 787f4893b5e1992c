//! Copies through a cVM's capability, checked as the hardware would.

use super::slot::Slot;
use super::stand_in::{GRANULE, WORLD};
use crate::types::Refused;
use alloc::vec::Vec;
use capability::Permissions;
use core::ops::Range;

/// Absolute address of an integer pointer.
pub fn absolute(_data: &Slot, pointer: u64) -> u64 {
    pointer
}

/// How many bytes from `address` on the authority allows, up to `length`.
fn allowed(authority: &Slot, address: u64, length: usize, permission: Permissions) -> usize {
    let what = authority.decoded();
    if !what.tag || what.seal.is_sealed() || !what.permissions.contains(permission) || address < what.base {
        return 0;
    }
    let room = what.top.saturating_sub(u128::from(address));
    usize::try_from(room).map_or(length, |room| room.min(length))
}

fn outcome(length: usize, copied: usize) -> Result<(), Refused> {
    if copied == length {
        Ok(())
    } else {
        Err(Refused { copied })
    }
}

/// Copies from a cVM.
///
/// # Errors
/// [`Refused`] when `authority` does not allow the access.
pub fn copy_in(to: &mut [u8], authority: &Slot, address: u64) -> Result<(), Refused> {
    let count = allowed(authority, address, to.len(), Permissions::LOAD);
    to[..count].copy_from_slice(&super::stand_in::memory(address, count));
    outcome(to.len(), count)
}

/// A 32-bit word of a cVM. `address` is a multiple of 4.
///
/// # Errors
/// [`Refused`] when `authority` does not allow the access.
pub fn load_word(authority: &Slot, address: u64) -> Result<u64, Refused> {
    let mut bytes = [0; 4];
    copy_in(&mut bytes, authority, address).map_err(|_| Refused { copied: 0 })?;
    Ok(u32::from_le_bytes(bytes).into())
}

/// Copies to a cVM.
///
/// # Errors
/// [`Refused`] when `authority` does not allow the access.
pub fn copy_out(from: &[u8], authority: &Slot, address: u64) -> Result<(), Refused> {
    let count = allowed(authority, address, from.len(), Permissions::STORE);
    WORLD.with_borrow_mut(|world| world.write(address, from[..count].iter().copied()));
    outcome(from.len(), count)
}

/// Copies to a cVM what another capability reaches.
///
/// # Errors
/// [`Refused`] when `from` or `authority` does not allow the access.
pub fn copy(from: &Slot, source: u64, authority: &Slot, address: u64, length: usize) -> Result<(), Refused> {
    let count = allowed(from, source, length, Permissions::LOAD);
    copy_out(&super::stand_in::memory(source, count), authority, address)?;
    outcome(length, count)
}

/// Zeroes memory of a cVM.
///
/// # Errors
/// [`Refused`] when `authority` does not allow the access.
pub fn zero(authority: &Slot, address: u64, length: usize) -> Result<(), Refused> {
    let count = allowed(authority, address, length, Permissions::STORE);
    WORLD.with_borrow_mut(|world| world.write(address, core::iter::repeat_n(0, count)));
    outcome(length, count)
}

/// Checks that a cVM may write.
///
/// # Errors
/// [`Refused`] when a later [`copy_out`] would be.
pub fn probe_write(authority: &Slot, address: u64, length: usize) -> Result<(), Refused> {
    outcome(length, allowed(authority, address, length, Permissions::STORE)).map_err(|_| Refused { copied: 0 })
}

/// Stores what a slot holds to memory of a cVM, tag included. `address` is absolute.
///
/// # Errors
/// [`Refused`] when `authority` does not allow the store, or the address is not 16-byte aligned.
pub fn store_capability(from: &Slot, authority: &Slot, address: u64) -> Result<(), Refused> {
    let capability = from.get();
    let what = capability.decode();
    let mut needed = Permissions::STORE;
    if what.tag {
        needed |= Permissions::STORE_CAPABILITY;
        if !what.permissions.contains(Permissions::GLOBAL) {
            needed |= Permissions::STORE_LOCAL;
        }
    }
    if !address.is_multiple_of(GRANULE) || allowed(authority, address, GRANULE as usize, needed) < GRANULE as usize {
        return Err(Refused { copied: 0 });
    }
    let (low, high) = capability.to_memory();
    WORLD.with_borrow_mut(|world| {
        world.write(address, low.to_le_bytes().into_iter().chain(high.to_le_bytes()));
        if what.tag {
            world.capabilities.insert(address, capability);
        }
    });
    Ok(())
}

/// Zeroes every granule that has a tag. `address` is absolute; `address` and `length` are multiples of 64.
///
/// # Errors
/// [`Refused`] when `authority` does not allow to look and to store, or the range is not aligned.
pub fn clear_tags(authority: &Slot, address: u64, length: u64) -> Result<(), Refused> {
    let needed = Permissions::LOAD | Permissions::LOAD_CAPABILITY | Permissions::STORE;
    let count = allowed(authority, address, length as usize, needed) as u64;
    if !address.is_multiple_of(64) || !length.is_multiple_of(64) || count < length {
        return Err(Refused { copied: 0 });
    }
    WORLD.with_borrow_mut(|world| {
        let tagged: Vec<u64> = world
            .capabilities
            .range(address..address + length)
            .map(|(at, _)| *at)
            .collect();
        for at in tagged {
            world.write(at, core::iter::repeat_n(0, GRANULE as usize));
        }
    });
    Ok(())
}

/// Makes a slot hold what is in memory of a cVM, tag included.
///
/// # Errors
/// [`Refused`] when `authority` does not allow the load, or `address` is no multiple of 16.
pub fn load_capability(to: &Slot, authority: &Slot, address: u64) -> Result<(), Refused> {
    let needed = Permissions::LOAD | Permissions::LOAD_CAPABILITY;
    if !address.is_multiple_of(GRANULE) || allowed(authority, address, GRANULE as usize, needed) < GRANULE as usize {
        return Err(Refused { copied: 0 });
    }
    let found = WORLD.with_borrow(|world| world.capabilities.get(&address).copied());
    to.hold(found);
    Ok(())
}

/// The first 16 bytes of an area that hold a capability whose bounds reach a range; with `take` all of them are zeroed instead.
///
/// # Panics
/// When `authority` does not allow to look.
pub fn next_reaching(authority: &Slot, address: u64, length: u64, range: &Range<u64>, take: bool) -> Option<u64> {
    let needed = Permissions::LOAD | Permissions::LOAD_CAPABILITY;
    let looked = allowed(authority, address, length as usize, needed);
    assert_eq!(looked as u64, length, "an area is looked at without authority");
    let seen = Slot::null();
    (address..address + length).step_by(GRANULE as usize).find(|at| {
        let found = load_capability(&seen, authority, *at).is_ok() && seen.reaches(range);
        found && !(take && zero(authority, *at, GRANULE as usize).is_ok())
    })
}
