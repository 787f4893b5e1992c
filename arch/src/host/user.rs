//! Copies through a cVM's capability, checked as the hardware would.

use super::slot::Slot;
use super::stand_in::WORLD;
use crate::types::Refused;
use capability::Permissions;

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

/// Copies to a cVM.
///
/// # Errors
/// [`Refused`] when `authority` does not allow the access.
pub fn copy_out(from: &[u8], authority: &Slot, address: u64) -> Result<(), Refused> {
    let count = allowed(authority, address, from.len(), Permissions::STORE);
    WORLD.with_borrow_mut(|world| world.memory.extend((address..).zip(from[..count].iter().copied())));
    outcome(from.len(), count)
}

/// Zeroes memory of a cVM.
///
/// # Errors
/// [`Refused`] when `authority` does not allow the access.
pub fn zero(authority: &Slot, address: u64, length: usize) -> Result<(), Refused> {
    let count = allowed(authority, address, length, Permissions::STORE);
    WORLD.with_borrow_mut(|world| world.memory.extend((address..).zip(core::iter::repeat_n(0, count))));
    outcome(length, count)
}

/// Checks that a cVM may write.
///
/// # Errors
/// [`Refused`] when a later [`copy_out`] would be.
pub fn probe_write(authority: &Slot, address: u64, length: usize) -> Result<(), Refused> {
    outcome(length, allowed(authority, address, length, Permissions::STORE)).map_err(|_| Refused { copied: 0 })
}
