//! A split virtqueue in tagged memory, seen from the device.
//!
//! Code of our own, because the crates for it reach the guest's memory through shared references and host pointers: what
//! they write would leave the tags standing, and a malformed ring ends in a log line where it must end in a device that
//! says that it needs a reset. Of those crates the numbers of the standard are taken (`virtio-bindings`).
//!
//! Nothing in a ring is believed: every index is checked against the size of the queue, every range against the RAM, and
//! whatever does not fit is a [`Malformed`] queue.

use thiserror::Error;
use virtio_bindings::virtio_ring::{
    VRING_AVAIL_F_NO_INTERRUPT, VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE,
};

use crate::memory::TaggedMemory;

/// The most descriptors in a queue.
pub const MAX_QUEUE_SIZE: u16 = 256;

const DESCRIPTOR: usize = 16;
/// Flags and index in front of the entries of both rings.
const RING_HEADER: usize = 4;
const AVAILABLE_ENTRY: usize = 2;
const USED_ENTRY: usize = 8;

/// What is wrong with a queue; the device can do nothing more with it until it is reset.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Malformed {
    /// No queue has this number of descriptors.
    #[error("queue size is {0}; expected a power of two up to {MAX_QUEUE_SIZE}")]
    Size(u32),
    /// The distance between the parts of a legacy queue.
    #[error("queue alignment is {0:#x}; expected a power of two")]
    Alignment(u32),
    /// A part of the queue is not where it can be.
    #[error("{part} at {address:#x}: expected {length:#x} bytes of RAM, aligned to {alignment}")]
    Ring {
        /// Which part.
        part: &'static str,
        /// Its address.
        address: u64,
        /// Its length in bytes.
        length: usize,
        /// The alignment that it needs.
        alignment: u64,
    },
    /// The driver claims to have made more available than fits.
    #[error("available index is {index} after {taken}; expected at most {size} more")]
    Index {
        /// The driver's index.
        index: u16,
        /// How many the device has taken.
        taken: u16,
        /// The size of the queue.
        size: u16,
    },
    /// A descriptor number beyond the queue.
    #[error("descriptor {0} in a queue of {1}")]
    Descriptor(u16, u16),
    /// More descriptors in a chain than in the queue.
    #[error("the chain from descriptor {0} does not end")]
    Endless(u16),
    /// Indirect descriptors were not offered.
    #[error("descriptor {0} is indirect, which was not offered")]
    Indirect(u16),
    /// A descriptor without a byte.
    #[error("descriptor {0} has length 0")]
    Empty(u16),
    /// A descriptor for reading behind one for writing.
    #[error("descriptor {0} is to be read, but stands behind one to be written")]
    Order(u16),
    /// A descriptor for memory that is not there.
    #[error("descriptor {number}: {length:#x} bytes at {address:#x} are not RAM")]
    Range {
        /// Its number.
        number: u16,
        /// The address in it.
        address: u64,
        /// The length in it.
        length: u32,
    },
    /// A request that lacks a part that it must have.
    #[error("request at descriptor {head}: {length} bytes {which}; expected at least {least}")]
    Short {
        /// The first descriptor.
        head: u16,
        /// `to read` or `to write`.
        which: &'static str,
        /// What there is.
        length: u64,
        /// What there must be.
        least: u64,
    },
    /// A request of more bytes than a used ring can tell of.
    #[error("request at descriptor {0} has 4 GiB or more")]
    Long(u16),
    /// Nothing is: the device broke down of itself.
    #[error("the device was made to break down")]
    Broken,
}

/// Where the driver put the parts of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) size: u32,
    pub(super) descriptors: u64,
    pub(super) available: u64,
    pub(super) used: u64,
}

impl Layout {
    /// The layout of a legacy queue of `size` descriptors that begins at `address`.
    pub(super) fn legacy(size: u32, address: u64, alignment: u32) -> Result<Self, Malformed> {
        if !alignment.is_power_of_two() {
            return Err(Malformed::Alignment(alignment));
        }
        if !valid_size(size) {
            return Err(Malformed::Size(size));
        }
        let available = address.wrapping_add(u64::from(size) * DESCRIPTOR as u64);
        // The event index behind the entries belongs to the ring.
        let end = available.wrapping_add((RING_HEADER + AVAILABLE_ENTRY * (size as usize + 1)) as u64);
        let mask = u64::from(alignment) - 1;
        Ok(Layout {
            size,
            descriptors: address,
            available,
            used: end.wrapping_add(mask) & !mask,
        })
    }
}

fn valid_size(size: u32) -> bool {
    size.is_power_of_two() && size <= u32::from(MAX_QUEUE_SIZE)
}

/// A range of RAM that a descriptor names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) offset: usize,
    pub(super) length: usize,
}

/// Bytes of several segments, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Segments(Vec<Segment>);

impl Segments {
    /// The number of bytes.
    pub(super) fn length(&self) -> u64 {
        self.0.iter().map(|segment| segment.length as u64).sum()
    }

    /// The parts of `length` bytes from byte `start` on, as far as they exist.
    pub(super) fn part(&self, start: u64, length: u64) -> impl Iterator<Item = Segment> + '_ {
        let (mut skip, mut left) = (start, length);
        self.0.iter().filter_map(move |segment| {
            let skipped = skip.min(segment.length as u64);
            skip -= skipped;
            let taken = left.min(segment.length as u64 - skipped);
            left -= taken;
            (taken > 0).then_some(Segment {
                offset: segment.offset + skipped as usize,
                length: taken as usize,
            })
        })
    }

    /// Reads up to `length` bytes from byte `start` on.
    pub(super) fn read(&self, memory: &TaggedMemory, start: u64, length: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for segment in self.part(start, length) {
            bytes.extend_from_slice(memory.bytes(segment.offset, segment.length));
        }
        bytes
    }

    /// Writes `bytes` from byte `start` on, as far as there is room.
    pub(super) fn write(&self, memory: &mut TaggedMemory, start: u64, bytes: &[u8]) {
        let mut rest = bytes;
        for segment in self.part(start, bytes.len() as u64) {
            let (now, later) = rest.split_at(segment.length);
            memory.fill(segment.offset, now);
            rest = later;
        }
    }
}

/// What the driver made available with one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// The first descriptor, by which the driver knows it.
    pub(super) head: u16,
    pub(super) readable: Segments,
    pub(super) writable: Segments,
}

impl Chain {
    /// The first `least` bytes to read, which there must be.
    pub(super) fn header(&self, memory: &TaggedMemory, least: u64) -> Result<Vec<u8>, Malformed> {
        let bytes = self.readable.read(memory, 0, least);
        if (bytes.len() as u64) < least {
            return Err(self.short("to read", bytes.len() as u64, least));
        }
        Ok(bytes)
    }

    /// That it has not enough bytes.
    pub(super) fn short(&self, which: &'static str, length: u64, least: u64) -> Malformed {
        let head = self.head;
        Malformed::Short {
            head,
            which,
            length,
            least,
        }
    }
}

/// A queue that the driver has set up, and how far the device is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Queue {
    size: u16,
    descriptors: usize,
    available: usize,
    used: usize,
    /// Entries of the available ring that were taken, and of the used ring that were written.
    taken: u16,
    given: u16,
    /// `given` when the driver was interrupted last.
    told: u16,
}

impl Queue {
    /// Looks whether the parts are where they can be.
    pub(super) fn new(layout: Layout, memory: &TaggedMemory) -> Result<Self, Malformed> {
        if !valid_size(layout.size) {
            return Err(Malformed::Size(layout.size));
        }
        let size = layout.size as usize;
        let place = |part, address: u64, length, alignment| {
            let offset = memory.offset(address, length);
            let error = Malformed::Ring {
                part,
                address,
                length,
                alignment,
            };
            offset.filter(|_| address.is_multiple_of(alignment)).ok_or(error)
        };
        Ok(Queue {
            size: layout.size as u16,
            descriptors: place("descriptor table", layout.descriptors, size * DESCRIPTOR, 16)?,
            available: place(
                "available ring",
                layout.available,
                RING_HEADER + AVAILABLE_ENTRY * (size + 1),
                2,
            )?,
            used: place("used ring", layout.used, RING_HEADER + USED_ENTRY * size + 2, 4)?,
            taken: 0,
            given: 0,
            told: 0,
        })
    }

    /// Takes the next chain that the driver made available.
    pub(super) fn take(&mut self, memory: &TaggedMemory) -> Result<Option<Chain>, Malformed> {
        let index = half(memory, self.available + 2);
        let waiting = index.wrapping_sub(self.taken);
        if waiting == 0 {
            return Ok(None);
        }
        let size = self.size;
        if waiting > size {
            return Err(Malformed::Index {
                index,
                taken: self.taken,
                size,
            });
        }
        let entry = usize::from(self.taken % size);
        let head = half(memory, self.available + RING_HEADER + AVAILABLE_ENTRY * entry);
        self.taken = self.taken.wrapping_add(1);
        self.chain(memory, head).map(Some)
    }

    /// Leaves the chain that was taken last to be taken again.
    pub(super) fn put_back(&mut self) {
        self.taken = self.taken.wrapping_sub(1);
    }

    fn chain(&self, memory: &TaggedMemory, head: u16) -> Result<Chain, Malformed> {
        let mut chain = Chain {
            head,
            readable: Segments::default(),
            writable: Segments::default(),
        };
        let (mut number, mut total) = (head, 0);
        for _ in 0..self.size {
            if number >= self.size {
                return Err(Malformed::Descriptor(number, self.size));
            }
            let place = self.descriptors + DESCRIPTOR * usize::from(number);
            let address = u64::from_le_bytes(memory.read(place));
            let length = u32::from_le_bytes(memory.read(place + 8));
            let flags = u32::from(half(memory, place + 12));
            if flags & VRING_DESC_F_INDIRECT != 0 {
                return Err(Malformed::Indirect(number));
            }
            if length == 0 {
                return Err(Malformed::Empty(number));
            }
            let offset = memory.offset(address, length as usize).ok_or(Malformed::Range {
                number,
                address,
                length,
            })?;
            let segment = Segment {
                offset,
                length: length as usize,
            };
            if flags & VRING_DESC_F_WRITE != 0 {
                chain.writable.0.push(segment);
            } else if chain.writable.0.is_empty() {
                chain.readable.0.push(segment);
            } else {
                return Err(Malformed::Order(number));
            }
            total += u64::from(length);
            if total > u64::from(u32::MAX) {
                return Err(Malformed::Long(head));
            }
            if flags & VRING_DESC_F_NEXT == 0 {
                return Ok(chain);
            }
            number = half(memory, place + 14);
        }
        Err(Malformed::Endless(head))
    }

    /// Gives a chain back to the driver, into which `written` bytes were written.
    pub(super) fn give(&mut self, memory: &mut TaggedMemory, head: u32, written: u32) {
        let entry = usize::from(self.given % self.size);
        let place = self.used + RING_HEADER + USED_ENTRY * entry;
        memory.fill(place, &head.to_le_bytes());
        memory.fill(place + 4, &written.to_le_bytes());
        self.given = self.given.wrapping_add(1);
        memory.fill(self.used + 2, &self.given.to_le_bytes());
    }

    /// Whether the driver wants to be interrupted for what it was given since the last call. With event indices it says by
    /// which entry it wants to be, and is told from which one on the device wants to be notified.
    pub(super) fn interrupts(&mut self, memory: &mut TaggedMemory, event_index: bool) -> bool {
        if event_index {
            let size = usize::from(self.size);
            memory.fill(self.used + RING_HEADER + USED_ENTRY * size, &self.taken.to_le_bytes());
        }
        let given_since = self.given.wrapping_sub(std::mem::replace(&mut self.told, self.given));
        if given_since == 0 {
            return false;
        }
        if !event_index {
            return u32::from(half(memory, self.available)) & VRING_AVAIL_F_NO_INTERRUPT == 0;
        }
        let size = usize::from(self.size);
        let event = half(memory, self.available + RING_HEADER + AVAILABLE_ENTRY * size);
        self.given.wrapping_sub(event).wrapping_sub(1) < given_since
    }
}

fn half(memory: &TaggedMemory, offset: usize) -> u16 {
    u16::from_le_bytes(memory.read(offset))
}
