//! What a test sees of the stand-in: its thread's memory, console and time.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use capability::Decoded;
use capability::riscv::Capability;
use core::cell::RefCell;
use core::ops::Range;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The world of one thread.
pub(super) struct World {
    /// The pages that were written to, by number.
    memory: BTreeMap<u64, Box<[u8; PAGE]>>,
    /// The tagged granules of the memory.
    pub(super) capabilities: BTreeMap<u64, Capability>,
    pub(super) output: Vec<u8>,
    pub(super) input: VecDeque<u8>,
    /// Whether input raises an interrupt.
    pub(super) interrupt: bool,
    pub(super) now: u64,
    pub(super) deadline: Option<u64>,
    /// Interrupts of devices that are pending, and those that are let through.
    pub(super) pending: BTreeSet<u32>,
    pub(super) open: BTreeSet<u32>,
    /// Memory that cVMs cannot write, whatever their capabilities say.
    pub(super) read_only: Range<u64>,
    /// The devices in the virtio slots.
    devices: BTreeMap<usize, Device>,
}

/// A virtio device: it is told the offset of a register, and what is written to it or none for a read, whose value it returns.
pub type Device = Box<dyn FnMut(u64, Option<u32>) -> u32>;

/// Bytes that share a tag.
pub(super) const GRANULE: u64 = 16;
/// Bytes of a page of the stand-in's memory.
const PAGE: usize = 4096;
/// What memory holds where nobody has written, so that forgotten zeroing shows.
const UNTOUCHED: u8 = 0xaa;

impl World {
    /// Writes plain data: the tags of the granules that it touches are gone.
    pub(super) fn write(&mut self, mut address: u64, mut bytes: impl Iterator<Item = u8>) {
        loop {
            let page = self.memory.entry(address / PAGE as u64);
            let page = page.or_insert_with(|| Box::new([UNTOUCHED; PAGE]));
            let rest = &mut page[(address % PAGE as u64) as usize..];
            let mut written = 0;
            for (place, byte) in rest.iter_mut().zip(bytes.by_ref()) {
                *place = byte;
                written += 1;
            }
            let granules = address - address % GRANULE..address + written;
            let tagged: Vec<u64> = self.capabilities.range(granules).map(|(granule, _)| *granule).collect();
            for granule in tagged {
                self.capabilities.remove(&granule);
            }
            if written == 0 || written < (PAGE as u64 - address % PAGE as u64) {
                return;
            }
            address += written;
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
            pending: BTreeSet::new(),
            open: BTreeSet::new(),
            read_only: 0..0,
            devices: BTreeMap::new(),
        })
    };
}

pub use super::switcher::{call_gate, return_from_gate};

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
    let mut bytes = vec![UNTOUCHED; length];
    let end = address + length as u64;
    WORLD.with_borrow(|world| {
        for (number, page) in world.memory.range(address / PAGE as u64..end.div_ceil(PAGE as u64)) {
            let start = number * PAGE as u64;
            let (from, to) = (address.max(start), end.min(start + PAGE as u64));
            bytes[(from - address) as usize..(to - address) as usize]
                .copy_from_slice(&page[(from - start) as usize..(to - start) as usize]);
        }
    });
    bytes
}

/// The capability in physical memory, when the granule at `address` has a tag.
pub fn capability(address: u64) -> Option<Decoded> {
    WORLD.with_borrow(|world| world.capabilities.get(&address).map(Capability::decode))
}

/// Puts a device into a virtio slot.
pub fn attach(slot: usize, device: Device) {
    WORLD.with_borrow_mut(|world| world.devices.insert(slot, device));
}

/// An access to a register of a virtio slot; 0 where there is no device.
pub(super) fn access(slot: usize, offset: u64, written: Option<u32>) -> u32 {
    // The device may look at memory.
    let Some(mut device) = WORLD.with_borrow_mut(|world| world.devices.remove(&slot)) else {
        return 0;
    };
    let value = device(offset, written);
    attach(slot, device);
    value
}

/// Raises the interrupt of a device.
pub fn interrupt(number: u32) {
    WORLD.with_borrow_mut(|world| world.pending.insert(number));
}

/// Makes memory such that cVMs cannot write it, whatever their capabilities say.
pub fn make_read_only(range: Range<u64>) {
    WORLD.with_borrow_mut(|world| world.read_only = range);
}

/// Writes to physical memory, as a device does: tags are gone.
pub fn write(address: u64, bytes: &[u8]) {
    WORLD.with_borrow_mut(|world| world.write(address, bytes.iter().copied()));
}
