//! Virtio devices and the virtio-mmio slots that they sit in, the same for both boards.
//!
//! [`queue`] reads rings and believes nothing in them, [`transport`] is a slot's registers, and each device is one module.
//! A device reaches the guest by its queues and its interrupt line only; what it writes clears tags.

pub mod block;
pub mod entropy;
pub mod network;
pub mod queue;
mod transport;

use thiserror::Error;
use virtio_bindings::virtio_ids::{VIRTIO_ID_BLOCK, VIRTIO_ID_NET, VIRTIO_ID_RNG};

use self::queue::Malformed;
use self::transport::{State, Transport, Work};
use crate::memory::TaggedMemory;
use crate::net::Interest;

pub use self::block::{Block, DiskError, Mischief, Storage};
pub use self::entropy::Entropy;
pub use self::network::Network;
pub use self::transport::Version;

/// A device that a slot can take.
pub enum Device {
    /// A disk.
    Block(Block),
    /// A source of random bytes.
    Entropy(Entropy),
    /// A network card.
    Network(Network),
}

impl From<Network> for Device {
    fn from(device: Network) -> Self {
        Device::Network(device)
    }
}

impl From<Block> for Device {
    fn from(device: Block) -> Self {
        Device::Block(device)
    }
}

impl From<Entropy> for Device {
    fn from(device: Entropy) -> Self {
        Device::Entropy(device)
    }
}

impl Device {
    fn identity(&self) -> u32 {
        match self {
            Device::Block(_) => VIRTIO_ID_BLOCK,
            Device::Entropy(_) => VIRTIO_ID_RNG,
            Device::Network(_) => VIRTIO_ID_NET,
        }
    }

    fn queues(&self) -> usize {
        match self {
            Device::Block(_) | Device::Entropy(_) => 1,
            Device::Network(_) => 2,
        }
    }

    fn features(&self) -> u64 {
        match self {
            Device::Block(block) => block.features(),
            Device::Entropy(_) => 0,
            Device::Network(network) => network.features(),
        }
    }

    fn configuration(&self) -> Vec<u8> {
        match self {
            Device::Block(block) => block.configuration(),
            Device::Entropy(_) => Vec::new(),
            Device::Network(network) => network.configuration(),
        }
    }

    fn latency(&self) -> u64 {
        match self {
            Device::Block(block) => block.latency(),
            Device::Entropy(_) | Device::Network(_) => 0,
        }
    }

    /// Whether there is something for queue `number` of which its driver does not know yet.
    fn has_news(&mut self, number: usize, now: u64) -> bool {
        match self {
            Device::Block(_) | Device::Entropy(_) => false,
            Device::Network(network) => network.has_news(number, now),
        }
    }

    /// Forgets what it was about to do.
    fn reset(&mut self) {
        if let Device::Network(network) = self {
            network.reset();
        }
    }

    fn serve(&mut self, number: usize, work: Work<'_>) -> Result<(), Malformed> {
        match self {
            Device::Block(block) => block.serve(work),
            Device::Entropy(entropy) => entropy.serve(work),
            Device::Network(network) => network.serve(number, work),
        }
    }
}

/// There is no slot for another device.
#[derive(Debug, Error)]
#[error("all {0} virtio slots of the board are taken")]
pub struct NoSlot(pub usize);

/// What the slots of a board were at a moment: what drivers have set up, and where random bytes stand. What a disk holds
/// is not part of it.
#[derive(Clone)]
pub(crate) struct Saved {
    states: Vec<State>,
    random: Vec<Option<entropy::Mark>>,
}

/// The slots of a board, with a window of `stride` bytes each. A board has its own; by itself, they are for tests that want
/// to play the driver without a board.
pub struct Slots {
    slots: Vec<Transport>,
    stride: u64,
    occupied: bool,
}

impl Slots {
    /// Empty slots.
    pub fn new(count: u64, stride: u64, version: Version) -> Self {
        Slots {
            slots: (0..count).map(|_| Transport::new(version)).collect(),
            stride,
            occupied: false,
        }
    }

    /// Puts a device into the highest empty slot, as QEMU does, and tells which.
    ///
    /// # Errors
    /// There is no empty slot.
    pub fn attach(&mut self, device: Device) -> Result<usize, NoSlot> {
        let slot = self.slots.iter().rposition(|slot| slot.device.is_none());
        let slot = slot.ok_or(NoSlot(self.slots.len()))?;
        self.slots[slot].attach(device);
        self.occupied = true;
        Ok(slot)
    }

    /// Puts the devices back that were detached from slots like these.
    pub(crate) fn attach_again(&mut self, devices: Vec<Device>) {
        for (slot, device) in self.slots.iter_mut().rev().zip(devices) {
            slot.attach(device);
            self.occupied = true;
        }
    }

    /// Takes all devices out, as after a reset: the first that was attached comes first.
    pub(crate) fn detach(&mut self) -> Vec<Device> {
        self.occupied = false;
        let slots = self.slots.iter_mut().rev();
        slots
            .filter_map(|slot| {
                slot.reset();
                slot.state = State::default();
                slot.device.take()
            })
            .collect()
    }

    /// Reads `size` bytes (1, 2, 4 or 8) at this offset from the first slot's start; zero behind the last one.
    pub fn read(&self, offset: u64, size: usize) -> u64 {
        if size == 8 {
            return self.read(offset, 4) | self.read(offset + 4, 4) << 32;
        }
        let slot = self.slots.get((offset / self.stride) as usize);
        slot.map_or(0, |slot| slot.read(offset % self.stride, size).into())
    }

    /// Writes `size` bytes (1, 2, 4 or 8) at this offset from the first slot's start; nothing behind the last one.
    pub fn write(&mut self, offset: u64, size: usize, value: u64, now: u64) {
        if size == 8 {
            self.write(offset, 4, value & u64::from(u32::MAX), now);
            return self.write(offset + 4, 4, value >> 32, now);
        }
        if let Some(slot) = self.slots.get_mut((offset / self.stride) as usize) {
            slot.write(offset % self.stride, size, value as u32, now);
        }
    }

    /// Lets the devices do what is due at `now`.
    pub fn advance(&mut self, now: u64, memory: &mut TaggedMemory) {
        if self.occupied {
            for slot in &mut self.slots {
                slot.advance(now, memory);
            }
        }
    }

    /// When a device has something to do of itself, at `now` or later.
    pub fn next_event(&mut self, now: u64) -> Option<u64> {
        if !self.occupied {
            return None;
        }
        self.slots.iter_mut().filter_map(|slot| slot.next_event(now)).min()
    }

    /// When to ask the host at the latest, while the guest has other things to do, whether there is something for a device.
    pub(crate) fn next_look(&self) -> Option<u64> {
        self.networks().filter_map(Network::next_look).min()
    }

    /// What the devices wait for of the host.
    pub(crate) fn interests(&self) -> Vec<Interest<'_>> {
        self.networks().flat_map(Network::interests).collect()
    }

    /// The network cards whose drivers are ready.
    fn networks(&self) -> impl Iterator<Item = &Network> {
        let slots = if self.occupied { &self.slots[..] } else { &[] };
        slots.iter().filter_map(Transport::network)
    }

    /// The guest has waited: the host is asked at once whether there is something.
    pub(crate) fn look(&mut self) {
        for slot in &mut self.slots {
            if let Some(Device::Network(network)) = &mut slot.device {
                network.look();
            }
        }
    }

    /// The interrupt lines of all slots; none when no device was ever there to raise one.
    pub fn lines(&self) -> impl Iterator<Item = (usize, bool)> + '_ {
        let slots = if self.occupied { &self.slots[..] } else { &[] };
        slots.iter().map(Transport::line).enumerate()
    }

    /// What the driver of a slot did wrong, so that its device needs a reset.
    pub(crate) fn problem(&self, slot: usize) -> Option<&Malformed> {
        self.slots.get(slot).and_then(Transport::problem)
    }

    pub(crate) fn save(&self) -> Saved {
        let random = |slot: &Transport| match &slot.device {
            Some(Device::Entropy(entropy)) => Some(entropy.mark()),
            _ => None,
        };
        Saved {
            states: self.slots.iter().map(|slot| slot.state.clone()).collect(),
            random: self.slots.iter().map(random).collect(),
        }
    }

    pub(crate) fn restore(&mut self, saved: &Saved) {
        for ((slot, state), random) in self.slots.iter_mut().zip(&saved.states).zip(&saved.random) {
            slot.state.clone_from(state);
            if let (Some(Device::Entropy(entropy)), Some(mark)) = (&mut slot.device, random) {
                entropy.rewind(mark);
            }
        }
    }

    /// Whether drivers have set up the same as when `saved` was.
    pub(crate) fn same_settings(&self, saved: &Saved) -> bool {
        let mut pairs = self.slots.iter().zip(&saved.states);
        pairs.all(|(slot, state)| slot.state.same_settings(state))
    }
}
