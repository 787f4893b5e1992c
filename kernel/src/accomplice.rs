//! A virtio device for tests: it sits in a slot of the stand-in and does to its rings what the test says, right or wrong. Why
//! `unsafe` here: a device reads and writes the monitor's memory by addresses.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use arch::stand_in;
use core::cell::RefCell;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::SeqCst};

/// Descriptors of its queues at most.
const QUEUE_SIZE: u32 = 256;
const QUEUES: usize = 2;

/// What the monitor has written to the registers, and what they show.
#[derive(Debug, Default)]
pub(crate) struct Registers {
    pub(crate) version: u32,
    pub(crate) kind: u32,
    pub(crate) features: u64,
    pub(crate) agreed: u64,
    pub(crate) status: u32,
    pub(crate) interrupt: u32,
    /// Bits of the status that it does not take.
    pub(crate) refused: u32,
    /// Whether its status stays when it is reset.
    pub(crate) endless: bool,
    pub(crate) resets: usize,
    pub(crate) notified: Vec<u32>,
    /// What it answers at once to who asks for its serial number.
    pub(crate) serial: Option<[u8; 20]>,
    select: [u32; 2],
    queue: usize,
    page_size: u64,
    origin: u64,
    size: u32,
    alignment: u64,
    rings: [Option<[u64; 3]>; QUEUES],
    addresses: [u64; 3],
    seen: [u16; QUEUES],
    given: [u16; QUEUES],
}

/// A piece of memory in a request: address, length, and whether the device may write it.
pub(crate) type Piece = (u64, u32, bool);

/// The device, and the test's way to it.
#[derive(Clone)]
pub(crate) struct Accomplice(Rc<RefCell<Registers>>);

fn set_half(word: &mut u64, high: bool, value: u32) {
    let shift = if high { 32 } else { 0 };
    *word = *word & !(0xffff_ffff << shift) | u64::from(value) << shift;
}

impl Registers {
    fn access(&mut self, offset: u64, written: Option<u32>) -> u32 {
        let Some(value) = written else {
            return match offset {
                0x000 => 0x7472_6976,
                0x004 => self.version,
                0x008 => self.kind,
                0x010 => (self.features >> (32 * self.select[0])) as u32,
                0x034 if self.queue < QUEUES => QUEUE_SIZE,
                0x060 => self.interrupt,
                0x070 => self.status,
                0x0fc => 7,
                // The configuration space counts its bytes.
                0x100.. => (offset as u32 - 0x100) * 0x0101_0101,
                _ => 0,
            };
        };
        match offset {
            0x014 => self.select[0] = value,
            0x020 => set_half(&mut self.agreed, self.select[1] == 1, value),
            0x024 => self.select[1] = value,
            0x028 => self.page_size = value.into(),
            0x030 => self.queue = value as usize,
            0x038 => self.size = value,
            0x03c => self.alignment = value.into(),
            0x040 => {
                // The host's addresses have more bits than a page number holds.
                let descriptors = self.origin | (u64::from(value) * self.page_size);
                let available = descriptors + 16 * u64::from(self.size);
                let end = available + 6 + 2 * u64::from(self.size);
                let used = end.next_multiple_of(self.alignment);
                self.rings[self.queue] = Some([descriptors, available, used]);
            }
            0x044 => self.rings[self.queue] = Some(self.addresses),
            0x050 => {
                self.notified.push(value);
                self.tell_serial();
            }
            0x064 => self.interrupt &= !value,
            0x070 if value == 0 => {
                self.resets += 1;
                if !self.endless {
                    (self.status, self.interrupt) = (0, 0);
                    (self.seen, self.given) = ([0; QUEUES], [0; QUEUES]);
                }
            }
            0x070 => self.status = value & !self.refused,
            0x080..0x0a8 => {
                let which = (offset as usize - 0x80) / 0x10;
                set_half(&mut self.addresses[which], offset % 8 == 4, value);
            }
            _ => {}
        }
        0
    }
}

impl Registers {
    /// Answers the first request of the first queue, as a disk that is asked for its serial number.
    fn tell_serial(&mut self) {
        let (Some(serial), Some([descriptors, _, used])) = (self.serial, self.rings[0]) else {
            return;
        };
        let [header, text, status] = [0, 16, 32].map(|place| at::<AtomicU64>(descriptors + place).load(SeqCst));
        assert_eq!(at::<AtomicU32>(header).load(SeqCst), 8, "VIRTIO_BLK_T_GET_ID");
        for (address, byte) in (text..).zip(serial) {
            at::<AtomicU8>(address).store(byte, SeqCst);
        }
        at::<AtomicU8>(status).store(0, SeqCst);
        at::<AtomicU32>(used + 4).store(0, SeqCst);
        at::<AtomicU32>(used + 8).store(21, SeqCst);
        at::<AtomicU16>(used + 2).store(1, SeqCst);
    }
}

/// What lies where the monitor's rings lie.
#[repr(align(4096))]
struct Page {
    _bytes: [u8; 4096],
}

/// A part of a ring.
fn at<T>(address: u64) -> &'static T {
    // SAFETY: the monitor said that its rings are here; they live for ever, and are made of these types.
    unsafe { &*core::ptr::with_exposed_provenance(address as usize) }
}

impl Accomplice {
    /// Puts a device of this kind and version into a slot.
    pub(crate) fn attach(slot: usize, kind: u32, version: u32) -> Accomplice {
        let here = (&raw const *Box::new(Page { _bytes: [0; 4096] })).expose_provenance() as u64;
        let registers = Registers {
            origin: here >> 44 << 44,
            version,
            kind,
            features: 0x1_3f00_00ff,
            ..Registers::default()
        };
        let device = Accomplice(Rc::new(RefCell::new(registers)));
        let registers = device.clone();
        stand_in::attach(
            slot,
            Box::new(move |offset, written| registers.0.borrow_mut().access(offset, written)),
        );
        device
    }

    /// What its registers are.
    pub(crate) fn registers(&self) -> core::cell::RefMut<'_, Registers> {
        self.0.borrow_mut()
    }

    /// Whether the monitor has set up a queue of it, and has not reset it since.
    #[cfg(feature = "fuzz")]
    pub(crate) fn is_set_up(&self, queue: usize) -> bool {
        let registers = self.0.borrow();
        registers.status & 4 != 0 && registers.rings.get(queue).is_some_and(Option::is_some)
    }

    fn rings(&self, queue: usize) -> [u64; 3] {
        let rings = self.0.borrow().rings[queue];
        rings.unwrap_or_else(|| panic!("queue {queue} was not set up"))
    }

    /// The requests that were made available since the last call, each with its id.
    pub(crate) fn requests(&self, queue: usize) -> Vec<(u16, Vec<Piece>)> {
        let [descriptors, available, _] = self.rings(queue);
        let index = at::<AtomicU16>(available + 2).load(SeqCst);
        let size = self.0.borrow().size as u16;
        let mut requests = Vec::new();
        let mut seen = self.0.borrow().seen[queue];
        while seen != index {
            let head = at::<AtomicU16>(available + 4 + 2 * u64::from(seen % size)).load(SeqCst);
            let (mut number, mut pieces) = (head, Vec::new());
            loop {
                let place = descriptors + 16 * u64::from(number);
                let address = at::<AtomicU64>(place).load(SeqCst);
                let rest = at::<AtomicU64>(place + 8).load(SeqCst);
                pieces.push((address, rest as u32, rest >> 33 & 1 == 1));
                assert!(pieces.len() <= size.into(), "an endless request");
                if rest >> 32 & 1 == 0 {
                    break;
                }
                number = (rest >> 48) as u16;
            }
            requests.push((head, pieces));
            seen = seen.wrapping_add(1);
        }
        self.0.borrow_mut().seen[queue] = seen;
        requests
    }

    /// Says that a request is finished, whether it is one or not.
    pub(crate) fn finish(&self, queue: usize, id: u32, written: u32) {
        let [_, _, used] = self.rings(queue);
        let size = self.0.borrow().size as u16;
        let given = self.0.borrow().given[queue];
        let entry = used + 4 + 8 * u64::from(given % size);
        at::<AtomicU32>(entry).store(id, SeqCst);
        at::<AtomicU32>(entry + 4).store(written, SeqCst);
        self.set_finished(queue, given.wrapping_add(1));
    }

    /// Says how many requests it has finished since it was started.
    pub(crate) fn set_finished(&self, queue: usize, index: u16) {
        let [_, _, used] = self.rings(queue);
        at::<AtomicU16>(used + 2).store(index, SeqCst);
        self.0.borrow_mut().given[queue] = index;
    }

    /// Sets the flags of the used ring.
    pub(crate) fn set_flags(&self, queue: usize, flags: u16) {
        let [_, _, used] = self.rings(queue);
        at::<AtomicU16>(used).store(flags, SeqCst);
    }
}
