//! The driver's side of virtio devices: registers and rings with anything in them.

use std::collections::VecDeque;
use std::ops::Range;

use machine::TaggedMemory;
use machine::net::{Interest, Wire};
use machine::virtio::{Block, Entropy, Network, Slots, Version};

/// RAM for rings and buffers.
const BASE: u64 = 0x8000_0000;
const SIZE: usize = 0x8000;
const STRIDE: u64 = 0x200;
/// The queues of devices that were set up as it should be; their buffers may be anywhere.
const RING: u64 = BASE + 0x1000;
const RING_SPACE: u64 = 0x800;
/// From the start of a queue of up to 16 descriptors.
const USED: u64 = 0x400;
const DISK: usize = 8 * 512;
/// Every queue: its slot, and its number there. The lowest slot has a network card, then come entropy and a disk.
const QUEUES: [(u64, u32); 4] = [(0, 0), (0, 1), (1, 0), (2, 0)];
const ENTROPY: usize = 2;

/// The registers that a driver can write.
const REGISTERS: [u64; 21] = [
    0x14, 0x20, 0x24, 0x28, 0x30, 0x38, 0x3c, 0x40, 0x44, 0x50, 0x64, 0x70, 0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4, 0xac,
    0x100, 0x104,
];
/// Of a legacy driver: small, so that queues may lie close.
const PAGE: u32 = 0x400;
const QUEUE_SIZE: u64 = 0x38;
const NOTIFY: u64 = 0x50;
const ACKNOWLEDGE: u64 = 0x64;
const STATUS: u64 = 0x70;

const WRITE: u16 = 2;

/// What a driver does next.
enum Step {
    Register(u64, u64, u32),
    Memory(u64, Vec<u8>),
    Descriptor(usize, u16, [u8; 16]),
    Offer(usize, u16),
    SetUp(u64, u16),
    Time(u64),
}

/// A wire on which everything comes back.
#[derive(Default)]
struct Echo(VecDeque<Vec<u8>>);

impl Wire for Echo {
    fn send(&mut self, frame: &[u8], _now: u64) {
        if self.0.len() < 16 {
            self.0.push_back(frame.to_vec());
        }
    }

    fn receive(&mut self, _now: u64) -> Option<Vec<u8>> {
        self.0.pop_front()
    }

    fn next_event(&mut self, _now: u64) -> Option<u64> {
        None
    }

    fn interests(&self) -> Vec<Interest<'_>> {
        Vec::new()
    }
}

/// Makes steps out of bytes until there are no more.
struct Steps<'a>(&'a [u8]);

impl Steps<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (now, later) = self.0.split_first_chunk()?;
        self.0 = later;
        Some(*now)
    }

    fn half(&mut self) -> Option<u16> {
        self.bytes().map(u16::from_le_bytes)
    }
}

impl Iterator for Steps<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let [kind] = self.bytes()?;
        let queue = usize::from(kind >> 4 & 3);
        let (slot, _) = QUEUES[queue];
        Some(match kind & 7 {
            0 => {
                let [register] = self.bytes()?;
                let register = REGISTERS[usize::from(register) % REGISTERS.len()];
                Step::Register(slot, register, u32::from_le_bytes(self.bytes()?))
            }
            1 => {
                let address = BASE + u64::from(self.half()?) % SIZE as u64;
                Step::Memory(address, self.bytes::<8>()?.to_vec())
            }
            2 | 3 => {
                let number = self.half()?;
                let [address, length, flags, next] = [self.half()?, self.half()?, self.half()?, self.half()?];
                // Most of them within the RAM.
                let high = if flags & 0x100 == 0 { BASE } else { BASE - 0x4000 };
                let mut descriptor = [0; 16];
                descriptor[..8].copy_from_slice(&(high + u64::from(address)).to_le_bytes());
                descriptor[8..12].copy_from_slice(&u32::from(length).to_le_bytes());
                descriptor[12..14].copy_from_slice(&(flags & 7).to_le_bytes());
                descriptor[14..].copy_from_slice(&next.to_le_bytes());
                Step::Descriptor(queue, number % 16, descriptor)
            }
            4 | 5 => Step::Offer(queue, self.half()?),
            6 => Step::SetUp(slot, self.half()?),
            _ => Step::Time(self.half()?.into()),
        })
    }
}

/// The devices, their memory, and what is known of their queues.
struct Bench {
    slots: Slots,
    memory: TaggedMemory,
    version: Version,
    now: u64,
    /// Sizes of the queues that were set up properly and whose registers were left alone since.
    size: [Option<u16>; QUEUES.len()],
}

impl Bench {
    fn new(version: Version) -> Self {
        let mut slots = Slots::new(3, STRIDE, version);
        let disk = Block::new(vec![0xd5; DISK]).with_latency(100);
        let card = Network::new([2, 0, 0, 0, 0, 1], Echo::default());
        for device in [disk.into(), Entropy::seeded(1).into(), card.into()] {
            slots.attach(device).expect("three slots");
        }
        let mut memory = TaggedMemory::new(BASE, SIZE);
        for offset in (0..SIZE).step_by(16) {
            memory.set_tag(offset, true);
        }
        memory.begin_journal();
        Bench {
            slots,
            memory,
            version,
            now: 0,
            size: [None; QUEUES.len()],
        }
    }

    fn write(&mut self, slot: u64, register: u64, value: u32) {
        self.slots.write(slot * STRIDE + register, 4, value.into(), self.now);
    }

    fn poke(&mut self, address: u64, bytes: &[u8]) {
        if let Some(offset) = self.memory.offset(address, bytes.len()) {
            self.memory.fill(offset, bytes);
        }
    }

    fn rings(&self, queue: usize, size: u16) -> (u64, u64, u64) {
        let table = RING + queue as u64 * RING_SPACE;
        (table, table + 16 * u64::from(size), table + USED)
    }

    /// What a driver does that knows its trade.
    fn set_up(&mut self, slot: u64, size: u16) {
        self.write(slot, STATUS, 0);
        self.write(slot, STATUS, 3);
        for (select, features) in [(0, 0), (1, 1)] {
            self.write(slot, 0x24, select);
            self.write(slot, 0x20, features);
        }
        self.write(slot, STATUS, 3 | 8);
        self.write(slot, 0x28, PAGE);
        for (queue, (_, number)) in QUEUES.into_iter().enumerate().filter(|(_, (its, _))| *its == slot) {
            let (table, available, used) = self.rings(queue, size);
            self.poke(table, &[0; RING_SPACE as usize]);
            self.write(slot, 0x30, number);
            self.write(slot, QUEUE_SIZE, size.into());
            if self.version == Version::Legacy {
                self.write(slot, 0x3c, USED as u32);
                self.write(slot, 0x40, table as u32 / PAGE);
            } else {
                for (register, address) in [(0x80, table), (0x90, available), (0xa0, used)] {
                    self.write(slot, register, address as u32);
                    self.write(slot, register + 4, (address >> 32) as u32);
                }
                self.write(slot, 0x44, 1);
            }
            self.size[queue] = Some(size);
        }
        self.write(slot, STATUS, 3 | 8 | 4);
    }

    fn offer(&mut self, queue: usize, head: u16) {
        let Some(size) = self.size[queue] else { return };
        let (_, available, _) = self.rings(queue, size);
        let index = self.half(available + 2);
        self.poke(available + 4 + 2 * u64::from(index % size), &head.to_le_bytes());
        self.poke(available + 2, &index.wrapping_add(1).to_le_bytes());
        let (slot, number) = QUEUES[queue];
        self.write(slot, NOTIFY, number);
    }

    fn half(&self, address: u64) -> u16 {
        self.memory
            .offset(address, 2)
            .map_or(0, |offset| u16::from_le_bytes(self.memory.read(offset)))
    }

    /// The bytes that the devices may write now: what descriptors say that may be written, and the used rings. Nothing is
    /// known if a device was not set up properly, or if a descriptor lets a device write where descriptors come from.
    fn writable(&self) -> Option<Vec<Range<u64>>> {
        let mut ranges = Vec::new();
        let mut read = Vec::new();
        for (queue, size) in self.size.into_iter().enumerate() {
            let size = size?;
            let (table, available, used) = self.rings(queue, size);
            read.push(table..available + 6 + 2 * u64::from(size));
            ranges.push(used..used + 6 + 8 * u64::from(size));
            for number in 0..size {
                let place = self.memory.offset(table + 16 * u64::from(number), 16)?;
                let address = u64::from_le_bytes(self.memory.read(place));
                let length = u32::from_le_bytes(self.memory.read(place + 8));
                let flags = u16::from_le_bytes(self.memory.read(place + 12));
                if flags & WRITE != 0 {
                    ranges.push(address..address.saturating_add(length.into()));
                }
            }
        }
        let overlap = |one: &Range<u64>, other: &Range<u64>| one.start < other.end && other.start < one.end;
        let spoilt = ranges.iter().any(|range| read.iter().any(|read| overlap(range, read)));
        (!spoilt).then_some(ranges)
    }

    /// Lets the devices work, and looks at what they wrote.
    fn advance(&mut self, time: u64) {
        self.now += time;
        let allowed = self.writable();
        let before = self.memory.bytes(0, SIZE).to_vec();
        self.memory.begin_journal();
        self.slots.advance(self.now, &mut self.memory);
        for change in self.memory.changes() {
            assert!(!change.after.2, "a device left a tag at {:#x}", change.address);
        }
        let Some(allowed) = allowed else { return };
        let after = self.memory.bytes(0, SIZE);
        for (offset, _) in before
            .iter()
            .zip(after)
            .enumerate()
            .filter(|(_, (before, after))| before != after)
        {
            let address = BASE + offset as u64;
            let may = allowed.iter().any(|range| range.contains(&address));
            assert!(may, "a device wrote to {address:#x}, which nobody told it to");
        }
    }

    /// After a reset everything works as if nothing had been.
    fn serves(&mut self) {
        for (slot, _) in QUEUES {
            self.write(slot, STATUS, 0);
        }
        assert!(
            self.slots.lines().all(|(_, line)| !line),
            "an interrupt survived a reset"
        );
        let (slot, _) = QUEUES[ENTROPY];
        self.set_up(slot, 4);
        let (table, _, used) = self.rings(ENTROPY, 4);
        let buffer = BASE + 0x7000;
        let length = 8u32;
        let descriptor = [
            &buffer.to_le_bytes()[..],
            &length.to_le_bytes(),
            &WRITE.to_le_bytes(),
            &[0; 2],
        ];
        self.poke(table, &descriptor.concat());
        self.offer(ENTROPY, 0);
        self.advance(0);
        assert_eq!(self.half(used + 2), 1, "a request after a reset");
        assert_eq!(u32::from(self.half(used + 8)), length);
    }
}

/// Steps of a driver: registers of a disk, a source of entropy and a network card, rings, buffers, time. A device may refuse and may need a
/// reset; it writes only where its driver told it to, never a tag, and works after a reset.
pub fn virtio(bytes: &[u8]) {
    let Some((&kind, steps)) = bytes.split_first() else {
        return;
    };
    let version = if kind & 1 == 0 {
        Version::Legacy
    } else {
        Version::Modern
    };
    let mut bench = Bench::new(version);
    for step in Steps(steps) {
        match step {
            Step::Register(slot, register, value) => {
                if ![NOTIFY, ACKNOWLEDGE, 0x14, 0x30].contains(&register) {
                    for (queue, (its, _)) in QUEUES.into_iter().enumerate() {
                        bench.size[queue] = bench.size[queue].filter(|_| its != slot);
                    }
                }
                bench.write(slot, register, value);
            }
            Step::Memory(address, bytes) => bench.poke(address, &bytes),
            Step::Descriptor(queue, number, descriptor) => {
                let (table, ..) = bench.rings(queue, 16);
                bench.poke(table + 16 * u64::from(number), &descriptor);
            }
            Step::Offer(queue, head) => bench.offer(queue, head % 17),
            Step::SetUp(slot, size) => bench.set_up(slot, 1 << (size % 5)),
            Step::Time(time) => bench.now += time,
        }
        bench.advance(0);
    }
    bench.serves();
}
