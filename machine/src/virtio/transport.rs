//! One virtio-mmio slot: the registers of version 1 (legacy) or 2, what the driver has set up through them, and the device
//! behind them if there is one.
//!
//! A notification is remembered here, and served when the board calls [`Transport::advance`]: after the guest's
//! instruction, or later if the device has a latency. Until then the driver can change its mind and reset.

use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_F_ANY_LAYOUT,
    VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_mmio::*;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;

use super::queue::{Chain, Layout, MAX_QUEUE_SIZE, Malformed, Queue};
use super::{Device, Network};
use crate::memory::TaggedMemory;

/// "virt", little endian.
const MAGIC: u32 = 0x7472_6976;
/// "QEMU": who made this transport, as far as a driver can tell.
const VENDOR: u32 = 0x554d_4551;

/// Version of the virtio-mmio transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Version {
    /// Version 1, QEMU's default
    #[default]
    Legacy,
    /// Version 2, of virtio 1.0 and later
    Modern,
}

/// What the driver has said of a queue, and the queue once it is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Setup {
    layout: Layout,
    /// Legacy: the distance between the rings, and the page number at which the queue begins.
    alignment: u32,
    page: u32,
    /// The driver says that the queue can be used.
    ready: bool,
    /// Made by the first use.
    queue: Option<Queue>,
    /// When to look at what the driver has made available.
    due: Option<u64>,
}

/// What a driver has set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    device_features_select: u32,
    driver_features_select: u32,
    features: u64,
    page_size: u32,
    queue_select: u32,
    status: u32,
    interrupt: u32,
    queues: Vec<Setup>,
    problem: Option<Malformed>,
}

impl State {
    fn new(queues: usize) -> Self {
        State {
            queues: vec![Setup::default(); queues],
            ..State::default()
        }
    }

    fn has_feature(&self, bit: u32) -> bool {
        self.features >> bit & 1 == 1
    }

    /// The settings that say which memory the device may use.
    pub(super) fn same_settings(&self, other: &State) -> bool {
        let place = |setup: &Setup| (setup.ready, setup.layout, setup.page, setup.alignment);
        let places = |state: &State| -> Vec<_> { state.queues.iter().map(place).collect() };
        (self.status, self.features, places(self)) == (other.status, other.features, places(other))
    }
}

/// What a device may do with a queue: take what the driver made available, use the memory, give back.
pub(super) struct Work<'a> {
    queue: &'a mut Queue,
    pub(super) memory: &'a mut TaggedMemory,
    features: u64,
    pub(super) now: u64,
}

impl Work<'_> {
    pub(super) fn has_feature(&self, bit: u32) -> bool {
        self.features >> bit & 1 == 1
    }

    /// The next chain, if there is one.
    pub(super) fn take(&mut self) -> Result<Option<Chain>, Malformed> {
        self.queue.take(self.memory)
    }

    /// Leaves the chain that was taken last to be taken again.
    pub(super) fn put_back(&mut self) {
        self.queue.put_back();
    }

    /// Gives `chain` back, into which `written` bytes were written, fewer than 4 GiB like everything in a chain.
    pub(super) fn give(&mut self, chain: &Chain, written: u64) {
        self.say(chain.head.into(), written as u32);
    }

    /// Says that a chain is done, whether there is one or not.
    pub(super) fn say(&mut self, head: u32, written: u32) {
        self.queue.give(self.memory, head, written);
    }
}

/// A slot.
pub(super) struct Transport {
    version: Version,
    pub(super) device: Option<Device>,
    pub(super) state: State,
}

impl Transport {
    pub(super) fn new(version: Version) -> Self {
        Transport {
            version,
            device: None,
            state: State::default(),
        }
    }

    /// Puts a device into the empty slot.
    pub(super) fn attach(&mut self, device: Device) {
        self.state = State::new(device.queues());
        self.device = Some(device);
    }

    /// What the driver did wrong since the last reset.
    pub(super) fn problem(&self) -> Option<&Malformed> {
        self.state.problem.as_ref()
    }

    /// Whether the interrupt line is high.
    pub(super) fn line(&self) -> bool {
        self.state.interrupt != 0
    }

    /// When the device has something to do of itself, at `now` or later.
    pub(super) fn next_event(&mut self, now: u64) -> Option<u64> {
        if !self.is_live() {
            return None;
        }
        let due = self.state.queues.iter().filter_map(|setup| setup.due);
        let own = match &mut self.device {
            Some(Device::Network(network)) => network.next_event(now),
            _ => None,
        };
        due.chain(own).min()
    }

    /// The network card in the slot, if its driver is ready.
    pub(super) fn network(&self) -> Option<&Network> {
        match &self.device {
            Some(Device::Network(network)) if self.is_live() => Some(network),
            _ => None,
        }
    }

    fn legacy(&self) -> bool {
        self.version == Version::Legacy
    }

    fn offered(&self, device: &Device) -> u64 {
        let ours = match self.version {
            Version::Legacy => 1 << VIRTIO_F_ANY_LAYOUT,
            Version::Modern => 1 << VIRTIO_F_VERSION_1,
        };
        device.features() | ours | 1 << VIRTIO_RING_F_EVENT_IDX
    }

    /// Whether the driver is done with its preparations and the device has no reason to refuse them.
    fn is_live(&self) -> bool {
        let needed = match self.version {
            Version::Legacy => VIRTIO_CONFIG_S_DRIVER_OK,
            Version::Modern => VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FEATURES_OK,
        };
        self.state.status & needed == needed && self.state.problem.is_none()
    }

    /// Reads a register of `size` bytes (1, 2 or 4). Those of the transport can be read whole only.
    pub(super) fn read(&self, offset: u64, size: usize) -> u32 {
        let version = if self.legacy() { 1 } else { 2 };
        let offset = offset as u32;
        let Some(device) = &self.device else {
            return match offset {
                VIRTIO_MMIO_MAGIC_VALUE => MAGIC,
                VIRTIO_MMIO_VERSION => version,
                VIRTIO_MMIO_VENDOR_ID => VENDOR,
                _ => 0,
            };
        };
        if let Some(place) = offset.checked_sub(VIRTIO_MMIO_CONFIG) {
            let bytes = device.configuration();
            let byte = |index: usize| bytes.get(place as usize + index).copied().unwrap_or(0);
            return (0..size)
                .rev()
                .fold(0, |value, index| value << 8 | u32::from(byte(index)));
        }
        if size != 4 {
            return 0;
        }
        let state = &self.state;
        let setup = state.queues.get(state.queue_select as usize);
        match offset {
            VIRTIO_MMIO_MAGIC_VALUE => MAGIC,
            VIRTIO_MMIO_VERSION => version,
            VIRTIO_MMIO_DEVICE_ID => device.identity(),
            VIRTIO_MMIO_VENDOR_ID => VENDOR,
            VIRTIO_MMIO_DEVICE_FEATURES => match state.device_features_select {
                0 => self.offered(device) as u32,
                1 => (self.offered(device) >> 32) as u32,
                _ => 0,
            },
            VIRTIO_MMIO_QUEUE_NUM_MAX => setup.map_or(0, |_| MAX_QUEUE_SIZE.into()),
            VIRTIO_MMIO_QUEUE_PFN if self.legacy() => setup.map_or(0, |setup| setup.page),
            VIRTIO_MMIO_QUEUE_READY if !self.legacy() => setup.map_or(0, |setup| setup.ready.into()),
            VIRTIO_MMIO_INTERRUPT_STATUS => state.interrupt,
            VIRTIO_MMIO_STATUS => state.status,
            // There is no shared memory: its length is -1.
            VIRTIO_MMIO_SHM_LEN_LOW | VIRTIO_MMIO_SHM_LEN_HIGH if !self.legacy() => u32::MAX,
            _ => 0,
        }
    }

    /// Writes a register of `size` bytes (1, 2 or 4) at the time `now`.
    pub(super) fn write(&mut self, offset: u64, size: usize, value: u32, now: u64) {
        let Some(device) = &self.device else { return };
        if size != 4 {
            return;
        }
        let (offered, latency, legacy) = (self.offered(device), device.latency(), self.legacy());
        let state = &mut self.state;
        let select = state.queue_select as usize;
        match offset as u32 {
            VIRTIO_MMIO_DEVICE_FEATURES_SEL => state.device_features_select = value,
            VIRTIO_MMIO_DRIVER_FEATURES => {
                let (shift, ready) = (32 * state.driver_features_select, VIRTIO_CONFIG_S_FEATURES_OK);
                if shift < 64 && state.status & ready == 0 {
                    let half = u64::from(u32::MAX) << shift;
                    state.features = state.features & !half | u64::from(value) << shift;
                    // A legacy device cannot refuse; it takes what it offered.
                    state.features &= if legacy { offered } else { u64::MAX };
                }
            }
            VIRTIO_MMIO_DRIVER_FEATURES_SEL => state.driver_features_select = value.min(2),
            VIRTIO_MMIO_GUEST_PAGE_SIZE if legacy => state.page_size = value,
            VIRTIO_MMIO_QUEUE_SEL => state.queue_select = value,
            VIRTIO_MMIO_QUEUE_NOTIFY => {
                if let Some(setup) = state.queues.get_mut(value as usize) {
                    setup.due.get_or_insert(now + latency);
                }
            }
            VIRTIO_MMIO_INTERRUPT_ACK => state.interrupt &= !value,
            VIRTIO_MMIO_STATUS if value & 0xff == 0 => self.reset(),
            VIRTIO_MMIO_STATUS => self.set_status(value & 0xff, offered, now),
            VIRTIO_MMIO_QUEUE_PFN if legacy && value == 0 => self.reset(),
            register => {
                if let Some(setup) = state.queues.get_mut(select) {
                    if legacy {
                        setup.write_legacy(register, value);
                    } else {
                        setup.write_modern(register, value);
                    }
                }
            }
        }
    }

    /// As when the board was switched on; whatever the device was about to do, it does not.
    pub(super) fn reset(&mut self) {
        if let Some(device) = &mut self.device {
            device.reset();
            self.state = State::new(device.queues());
        }
    }

    fn set_status(&mut self, value: u32, offered: u64, now: u64) {
        let state = &mut self.state;
        let was = state.status;
        let mut status = value & !VIRTIO_CONFIG_S_NEEDS_RESET | was & VIRTIO_CONFIG_S_NEEDS_RESET;
        let agreed = state.features & !offered == 0 && state.has_feature(VIRTIO_F_VERSION_1);
        if self.version == Version::Modern && was & VIRTIO_CONFIG_S_FEATURES_OK == 0 && !agreed {
            status &= !VIRTIO_CONFIG_S_FEATURES_OK;
        }
        state.status = status;
        if status & !was & VIRTIO_CONFIG_S_DRIVER_OK != 0 {
            // What was made available before belongs to the device from now on.
            for setup in &mut state.queues {
                setup.due.get_or_insert(now);
            }
        }
    }

    /// Serves what is due at `now`.
    pub(super) fn advance(&mut self, now: u64, memory: &mut TaggedMemory) {
        for number in 0..self.state.queues.len() {
            if !self.is_live() {
                return;
            }
            let Some(device) = &mut self.device else { return };
            let due = self.state.queues[number].due.is_some_and(|due| due <= now);
            if !due && !device.has_news(number, now) {
                continue;
            }
            let event_index = self.state.has_feature(VIRTIO_RING_F_EVENT_IDX);
            let features = self.state.features;
            let page_size = if self.version == Version::Legacy {
                Some(self.state.page_size)
            } else {
                None
            };
            let setup = &mut self.state.queues[number];
            setup.due = setup.due.filter(|due| *due > now);
            let served = setup.open(page_size, memory).and_then(|queue| match queue {
                None => Ok(false),
                Some(queue) => {
                    let work = Work {
                        queue,
                        memory,
                        features,
                        now,
                    };
                    device.serve(number, work)?;
                    Ok(queue.interrupts(memory, event_index))
                }
            });
            match served {
                Ok(interrupts) => self.state.interrupt |= u32::from(interrupts) * VIRTIO_MMIO_INT_VRING,
                Err(problem) => {
                    self.state.problem = Some(problem);
                    self.state.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
                    self.state.interrupt |= VIRTIO_MMIO_INT_CONFIG;
                }
            }
        }
    }
}

impl Setup {
    fn write_legacy(&mut self, register: u32, value: u32) {
        match register {
            VIRTIO_MMIO_QUEUE_NUM if !self.ready => self.layout.size = value,
            VIRTIO_MMIO_QUEUE_ALIGN if !self.ready => self.alignment = value,
            VIRTIO_MMIO_QUEUE_PFN => (self.page, self.ready, self.queue) = (value, true, None),
            _ => {}
        }
    }

    fn write_modern(&mut self, register: u32, value: u32) {
        let low = |old: u64| old & !u64::from(u32::MAX) | u64::from(value);
        let high = |old: u64| old & u64::from(u32::MAX) | u64::from(value) << 32;
        let layout = &mut self.layout;
        match register {
            VIRTIO_MMIO_QUEUE_READY => (self.ready, self.queue) = (value & 1 == 1, None),
            _ if self.ready => {}
            VIRTIO_MMIO_QUEUE_NUM => layout.size = value,
            VIRTIO_MMIO_QUEUE_DESC_LOW => layout.descriptors = low(layout.descriptors),
            VIRTIO_MMIO_QUEUE_DESC_HIGH => layout.descriptors = high(layout.descriptors),
            VIRTIO_MMIO_QUEUE_AVAIL_LOW => layout.available = low(layout.available),
            VIRTIO_MMIO_QUEUE_AVAIL_HIGH => layout.available = high(layout.available),
            VIRTIO_MMIO_QUEUE_USED_LOW => layout.used = low(layout.used),
            VIRTIO_MMIO_QUEUE_USED_HIGH => layout.used = high(layout.used),
            _ => {}
        }
    }

    /// The queue, if the driver has made it ready; `page_size` is that of a legacy driver.
    fn open(&mut self, page_size: Option<u32>, memory: &TaggedMemory) -> Result<Option<&mut Queue>, Malformed> {
        if self.ready && self.queue.is_none() {
            let layout = match page_size {
                Some(page_size) => {
                    let address = u64::from(self.page) * u64::from(page_size);
                    Layout::legacy(self.layout.size, address, self.alignment)?
                }
                None => self.layout,
            };
            self.queue = Some(Queue::new(layout, memory)?);
        }
        Ok(self.queue.as_mut().filter(|_| self.ready))
    }
}
