//! A virtio driver: registers, and one queue with its buffers.

use machine::virtio::{Device, Version};

use crate::boards::{Guest, Kind};

/// The registers, as offsets.
pub(crate) mod register {
    pub(crate) const MAGIC: u64 = 0x00;
    pub(crate) const VERSION: u64 = 0x04;
    pub(crate) const DEVICE: u64 = 0x08;
    pub(crate) const VENDOR: u64 = 0x0c;
    pub(crate) const DEVICE_FEATURES: u64 = 0x10;
    pub(crate) const DEVICE_FEATURES_SELECT: u64 = 0x14;
    pub(crate) const DRIVER_FEATURES: u64 = 0x20;
    pub(crate) const DRIVER_FEATURES_SELECT: u64 = 0x24;
    pub(crate) const PAGE_SIZE: u64 = 0x28;
    pub(crate) const QUEUE_SELECT: u64 = 0x30;
    pub(crate) const QUEUE_MAX: u64 = 0x34;
    pub(crate) const QUEUE_SIZE: u64 = 0x38;
    pub(crate) const QUEUE_ALIGNMENT: u64 = 0x3c;
    pub(crate) const QUEUE_PAGE: u64 = 0x40;
    pub(crate) const QUEUE_READY: u64 = 0x44;
    pub(crate) const NOTIFY: u64 = 0x50;
    pub(crate) const INTERRUPT: u64 = 0x60;
    pub(crate) const ACKNOWLEDGE: u64 = 0x64;
    pub(crate) const STATUS: u64 = 0x70;
    pub(crate) const QUEUE_DESCRIPTORS: u64 = 0x80;
    pub(crate) const QUEUE_AVAILABLE: u64 = 0x90;
    pub(crate) const QUEUE_USED: u64 = 0xa0;
    pub(crate) const CONFIGURATION: u64 = 0x100;
}

pub(crate) const DRIVER_OK: u32 = 4;
pub(crate) const FEATURES_OK: u32 = 8;
pub(crate) const NEEDS_RESET: u32 = 0x40;
pub(crate) const VERSION_1: u64 = 1 << 32;
pub(crate) const EVENT_INDEX: u64 = 1 << 29;

pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;

/// From the start of RAM: where queues are, and where buffers are.
const QUEUES: u64 = 0x20_0000;
const BUFFERS: u64 = 0x30_0000;
/// Distance of queues.
const QUEUE_SPACE: u64 = 0x1_0000;

/// A queue as its driver keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    pub(crate) size: u16,
    pub(crate) descriptors: u64,
    pub(crate) available: u64,
    pub(crate) used: u64,
    next: u16,
    seen: u16,
}

/// A device with its driver.
pub(crate) struct Driver {
    pub(crate) guest: Guest,
    pub(crate) version: Version,
    pub(crate) slot: usize,
    pub(crate) rings: Vec<Ring>,
}

impl Driver {
    /// A board with this device, and nothing set up.
    pub(crate) fn cold((kind, version): (Kind, Version), device: impl Into<Device>) -> Self {
        let mut guest = Guest::new(kind, version);
        let slot = guest.attach(device).expect("an empty slot");
        Driver {
            guest,
            version,
            slot,
            rings: Vec::new(),
        }
    }

    /// A device that is up, with queues of 8, and these features if the device has them.
    pub(crate) fn new(board: (Kind, Version), device: impl Into<Device>, queues: usize, features: u64) -> Self {
        let mut driver = Driver::cold(board, device);
        driver.start(queues, 8, features);
        driver
    }

    pub(crate) fn read(&mut self, register: u64) -> u32 {
        let address = self.guest.slot(self.slot) + register;
        self.guest.load(address)
    }

    pub(crate) fn write(&mut self, register: u64, value: u32) {
        let address = self.guest.slot(self.slot) + register;
        self.guest.store(address, value);
    }

    pub(crate) fn write_wide(&mut self, register: u64, value: u64) {
        self.write(register, value as u32);
        self.write(register + 4, (value >> 32) as u32);
    }

    pub(crate) fn features(&mut self) -> u64 {
        self.write(register::DEVICE_FEATURES_SELECT, 1);
        let high = self.read(register::DEVICE_FEATURES);
        self.write(register::DEVICE_FEATURES_SELECT, 0);
        u64::from(high) << 32 | u64::from(self.read(register::DEVICE_FEATURES))
    }

    pub(crate) fn set_features(&mut self, features: u64) {
        for (select, half) in [(0, features as u32), (1, (features >> 32) as u32)] {
            self.write(register::DRIVER_FEATURES_SELECT, select);
            self.write(register::DRIVER_FEATURES, half);
        }
    }

    /// Goes through the whole initialisation.
    pub(crate) fn start(&mut self, queues: usize, size: u16, features: u64) {
        self.write(register::STATUS, 0);
        self.write(register::STATUS, 1);
        self.write(register::STATUS, 3);
        let offered = self.features();
        let modern = self.version == Version::Modern;
        self.set_features(offered & (features | VERSION_1));
        if modern {
            self.write(register::STATUS, 3 | FEATURES_OK);
            assert_eq!(self.read(register::STATUS), 3 | FEATURES_OK);
        } else {
            self.write(register::PAGE_SIZE, 0x1000);
        }
        self.rings.clear();
        for queue in 0..queues {
            self.set_up(queue, size);
        }
        let agreed = if modern { FEATURES_OK } else { 0 };
        self.write(register::STATUS, 3 | agreed | DRIVER_OK);
    }

    /// Clears a queue's memory and tells the device where it is.
    pub(crate) fn set_up(&mut self, queue: usize, size: u16) {
        let descriptors = self.guest.memory().base() + QUEUES + queue as u64 * QUEUE_SPACE;
        let available = descriptors + u64::from(size) * 16;
        let used = (available + 6 + 2 * u64::from(size)).next_multiple_of(0x1000);
        let place = self.guest.memory().offset(descriptors, 0x4000).expect("RAM");
        self.guest.memory_mut().fill(place, &[0; 0x4000]);
        self.write(register::QUEUE_SELECT, queue as u32);
        assert!(self.read(register::QUEUE_MAX) >= size.into());
        self.write(register::QUEUE_SIZE, size.into());
        if self.version == Version::Modern {
            self.write_wide(register::QUEUE_DESCRIPTORS, descriptors);
            self.write_wide(register::QUEUE_AVAILABLE, available);
            self.write_wide(register::QUEUE_USED, used);
            self.write(register::QUEUE_READY, 1);
        } else {
            self.write(register::QUEUE_ALIGNMENT, 0x1000);
            self.write(register::QUEUE_PAGE, (descriptors >> 12) as u32);
        }
        self.rings.push(Ring {
            size,
            descriptors,
            available,
            used,
            next: 0,
            seen: 0,
        });
    }

    /// Address of byte `offset` of the buffers.
    pub(crate) fn buffer(&self, offset: u64) -> u64 {
        self.guest.memory().base() + BUFFERS + offset
    }

    pub(crate) fn peek(&self, address: u64, length: usize) -> Vec<u8> {
        let memory = self.guest.memory();
        memory
            .bytes(memory.offset(address, length).expect("RAM"), length)
            .to_vec()
    }

    pub(crate) fn poke(&mut self, address: u64, bytes: &[u8]) {
        let memory = self.guest.memory_mut();
        let offset = memory.offset(address, bytes.len()).expect("RAM");
        memory.fill(offset, bytes);
    }

    pub(crate) fn half(&self, address: u64) -> u16 {
        u16::from_le_bytes(self.peek(address, 2).try_into().expect("two bytes"))
    }

    /// Writes descriptor `number` of a queue.
    pub(crate) fn describe(&mut self, queue: usize, number: u16, address: u64, length: u32, flags: u16, next: u16) {
        let place = self.rings[queue].descriptors + 16 * u64::from(number);
        let mut bytes = address.to_le_bytes().to_vec();
        bytes.extend(length.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(next.to_le_bytes());
        self.poke(place, &bytes);
    }

    /// Writes the descriptors from `first` on for these buffers: address, length, whether the device writes.
    pub(crate) fn chain(&mut self, queue: usize, first: u16, buffers: &[(u64, u32, bool)]) {
        for (number, (address, length, write)) in (first..).zip(buffers) {
            let last = usize::from(number - first) + 1 == buffers.len();
            let flags = if last { 0 } else { NEXT } | if *write { WRITE } else { 0 };
            self.describe(queue, number, *address, *length, flags, number + 1);
        }
    }

    /// Makes the chain that begins at `head` available, without a notification.
    pub(crate) fn offer(&mut self, queue: usize, head: u16) {
        let ring = &mut self.rings[queue];
        let entry = ring.available + 4 + 2 * u64::from(ring.next % ring.size);
        ring.next = ring.next.wrapping_add(1);
        let (available, next) = (ring.available, ring.next);
        self.poke(entry, &head.to_le_bytes());
        self.poke(available + 2, &next.to_le_bytes());
    }

    pub(crate) fn notify(&mut self, queue: usize) {
        self.write(register::NOTIFY, queue as u32);
    }

    /// What the device gave back since the last call: first descriptor and length.
    pub(crate) fn take(&mut self, queue: usize) -> Vec<(u32, u32)> {
        let mut taken = Vec::new();
        while self.half(self.rings[queue].used + 2) != self.rings[queue].seen {
            let ring = &mut self.rings[queue];
            let entry = ring.used + 4 + 8 * u64::from(ring.seen % ring.size);
            ring.seen = ring.seen.wrapping_add(1);
            let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
            let bytes = self.peek(entry, 8);
            taken.push((word(&bytes[..4]), word(&bytes[4..])));
        }
        taken
    }

    /// Makes a chain of these buffers available from descriptor 0 on, notifies, and tells what came back of it.
    pub(crate) fn submit(&mut self, queue: usize, buffers: &[(u64, u32, bool)]) -> Option<u32> {
        self.chain(queue, 0, buffers);
        self.offer(queue, 0);
        self.notify(queue);
        let taken = self.take(queue);
        assert!(taken.len() <= 1);
        taken.first().map(|(head, length)| {
            assert_eq!(*head, 0);
            *length
        })
    }

    /// Whether the interrupt line is high, and acknowledges what it was for.
    pub(crate) fn interrupted(&mut self) -> u32 {
        let slot = self.slot;
        let status = self.read(register::INTERRUPT);
        assert_eq!(self.guest.slot_pending(slot), status != 0);
        self.write(register::ACKNOWLEDGE, status);
        assert_eq!(self.read(register::INTERRUPT), 0);
        status
    }

    /// That the device needs a reset, says so with an interrupt, and works again after one.
    pub(crate) fn needs_reset(&mut self) -> String {
        assert_eq!(self.read(register::STATUS) & NEEDS_RESET, NEEDS_RESET);
        assert_eq!(self.interrupted() & 2, 2, "a change of the configuration");
        let problem = self.guest.problem(self.slot).expect("a problem").to_string();
        self.write(register::STATUS, DRIVER_OK);
        assert_eq!(
            self.read(register::STATUS),
            NEEDS_RESET | DRIVER_OK,
            "only a reset helps"
        );
        self.write(register::STATUS, 0);
        assert_eq!(self.read(register::STATUS), 0);
        assert_eq!(self.guest.problem(self.slot), None);
        problem
    }
}
