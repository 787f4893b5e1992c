//! What a test sees of the stand-in: its thread's memory, console and time.

use alloc::vec::Vec;
use capability::Decoded;
use capability::riscv::Capability;
use core::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

/// The world of one thread.
pub(super) struct World {
    pub(super) memory: BTreeMap<u64, u8>,
    /// The tagged granules of the memory.
    pub(super) capabilities: BTreeMap<u64, Capability>,
    pub(super) output: Vec<u8>,
    pub(super) input: VecDeque<u8>,
    /// Whether input raises an interrupt.
    pub(super) interrupt: bool,
    pub(super) now: u64,
    pub(super) deadline: Option<u64>,
}

/// Bytes that share a tag.
pub(super) const GRANULE: u64 = 16;

impl World {
    /// Writes plain data: the tags of the granules that it touches are gone.
    pub(super) fn write(&mut self, address: u64, bytes: impl Iterator<Item = u8>) {
        for (address, byte) in (address..).zip(bytes) {
            self.memory.insert(address, byte);
            self.capabilities.remove(&(address - address % GRANULE));
        }
    }
}

std::thread_local! {
    pub(super) static WORLD: RefCell<World> = const {
        RefCell::new(World {
            memory: BTreeMap::new(),
            capabilities: BTreeMap::new(),
            output: Vec::new(),
            input: VecDeque::new(),
            interrupt: true,
            now: 0,
            deadline: None,
        })
    };
}

/// Takes what the monitor has sent to the console since the last call.
pub fn take_output() -> Vec<u8> {
    WORLD.with_borrow_mut(|world| core::mem::take(&mut world.output))
}

/// Types on the console.
pub fn type_input(bytes: &[u8]) {
    WORLD.with_borrow_mut(|world| world.input.extend(bytes));
}

/// Moves time forward.
pub fn advance(ticks: u64) {
    WORLD.with_borrow_mut(|world| world.now += ticks);
}

/// The deadline of the timer.
pub fn deadline() -> Option<u64> {
    WORLD.with_borrow(|world| world.deadline)
}

/// Reads physical memory; bytes never written are 0xaa, so that forgotten zeroing shows.
pub fn memory(address: u64, length: usize) -> Vec<u8> {
    WORLD.with_borrow(|world| {
        (0..length as u64)
            .map(|offset| world.memory.get(&(address + offset)).copied().unwrap_or(0xaa))
            .collect()
    })
}

/// The capability in physical memory, when the granule at `address` has a tag.
pub fn capability(address: u64) -> Option<Decoded> {
    WORLD.with_borrow(|world| world.capabilities.get(&address).map(Capability::decode))
}
