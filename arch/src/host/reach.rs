//! Copies through a cVM's capability, checked as the hardware would: how many bytes are left when it would refuse.

use super::slot::Slot;
use super::stand_in::{GRANULE, WORLD};
use alloc::vec::Vec;
use capability::Permissions;
use core::ops::Range;

/// How many bytes from `address` on the authority allows, up to `length`.
fn allowed(authority: &Slot, address: u64, length: usize, permission: Permissions) -> usize {
    let what = authority.decoded();
    if !what.tag || what.seal.is_sealed() || !what.permissions.contains(permission) || address < what.base {
        return 0;
    }
    let room = what.top.saturating_sub(u128::from(address));
    usize::try_from(room).map_or(length, |room| room.min(length))
}

pub(crate) fn copy_in(to: &mut [u8], authority: &Slot, address: u64) -> usize {
    let count = allowed(authority, address, to.len(), Permissions::LOAD);
    to[..count].copy_from_slice(&super::stand_in::memory(address, count));
    to.len() - count
}

/// A 32-bit word of a cVM; -1 when it is refused.
pub(crate) fn load_word(authority: &Slot, address: u64) -> i64 {
    let mut bytes = [0; 4];
    match copy_in(&mut bytes, authority, address) {
        0 => u32::from_le_bytes(bytes).into(),
        _ => -1,
    }
}

pub(crate) fn copy_out(from: &[u8], authority: &Slot, address: u64) -> usize {
    let count = allowed(authority, address, from.len(), Permissions::STORE);
    WORLD.with_borrow_mut(|world| world.write(address, from[..count].iter().copied()));
    from.len() - count
}

pub(crate) fn copy((from, source): (&Slot, u64), authority: &Slot, address: u64, length: usize) -> usize {
    let count = allowed(from, source, length, Permissions::LOAD);
    length - count + copy_out(&super::stand_in::memory(source, count), authority, address)
}

pub(crate) fn zero(authority: &Slot, address: u64, length: usize) -> usize {
    let count = allowed(authority, address, length, Permissions::STORE);
    WORLD.with_borrow_mut(|world| world.write(address, core::iter::repeat_n(0, count)));
    length - count
}

pub(crate) fn store_capability(from: &Slot, authority: &Slot, address: u64) -> usize {
    let capability = from.get();
    let what = capability.decode();
    let mut needed = Permissions::STORE;
    if what.tag {
        needed |= Permissions::STORE_CAPABILITY;
        if !what.permissions.contains(Permissions::GLOBAL) {
            needed |= Permissions::STORE_LOCAL;
        }
    }
    if allowed(authority, address, GRANULE as usize, needed) < GRANULE as usize {
        return GRANULE as usize;
    }
    let (low, high) = capability.to_memory();
    WORLD.with_borrow_mut(|world| {
        world.write(address, low.to_le_bytes().into_iter().chain(high.to_le_bytes()));
        if what.tag {
            world.capabilities.insert(address, capability);
        }
    });
    0
}

pub(crate) fn clear_tags(authority: &Slot, address: u64, length: u64) -> usize {
    let needed = Permissions::LOAD | Permissions::LOAD_CAPABILITY | Permissions::STORE;
    let left = length as usize - allowed(authority, address, length as usize, needed);
    if left > 0 {
        return left;
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
    0
}

pub(crate) fn load_capability(to: &Slot, authority: &Slot, address: u64) -> usize {
    let needed = Permissions::LOAD | Permissions::LOAD_CAPABILITY;
    if allowed(authority, address, GRANULE as usize, needed) < GRANULE as usize {
        return GRANULE as usize;
    }
    let found = WORLD.with_borrow(|world| world.capabilities.get(&address).copied());
    to.hold(found);
    if found.is_none() {
        let mut integer = [0; 8];
        copy_in(&mut integer, authority, address);
        to.set_integer(u64::from_le_bytes(integer));
    }
    0
}

/// Bytes from the first capability on that reaches the range; 0 = none; more than `length` = refused.
pub(crate) fn next_reaching(authority: &Slot, address: u64, length: u64, range: &Range<u64>, take: bool) -> u64 {
    let needed = Permissions::LOAD | Permissions::LOAD_CAPABILITY;
    if (allowed(authority, address, length as usize, needed) as u64) < length {
        return u64::MAX;
    }
    let seen = Slot::null();
    let found = (address..address + length).step_by(GRANULE as usize).find(|at| {
        let found = load_capability(&seen, authority, *at) == 0 && seen.reaches(range);
        found && !(take && zero(authority, *at, GRANULE as usize) == 0)
    });
    found.map_or(0, |at| address + length - at)
}
