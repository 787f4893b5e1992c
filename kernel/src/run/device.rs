//! Devices that cVMs drive. The driver says what memory the device may use, and gets back what it has done; the queues
//! between the two are the monitor's (virtio 1.2, sections 2.6, 4.2), and only what was checked of the driver's authority
//! goes into one.
//!
//! A device is believed nothing: an index, an id or a length that cannot be makes it broken, and a broken device is
//! reset. What no queue can prevent is a device that accesses other memory than it was told: there is no IOMMU.

use crate::authority::ledger::Ledger;
use crate::cvm::id::CvmId;
use crate::plan::ordered;
use crate::run::monitor::Monitor;
use abi::Errno;
use abi::hostcall::{DEVICE_CONFIG_LIMIT, DEVICE_QUEUE_SIZE as SIZE};
use abi::manifest::{DeviceKind, IDENTITY_LENGTH, Which};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use arch::{Platform, VIRTIO_WINDOW, VirtioSlot, virtio};
use core::mem::{forget, offset_of, take};
use core::ops::Range;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

// Registers of a slot (virtio 1.2, tables 4.1 and 4.2).
const MAGIC_VERSION_KIND: [u64; 3] = [0x000, 0x004, 0x008];
/// Features: the half that [`SELECT`] behind them says.
const OFFERED: u64 = 0x010;
const AGREED: u64 = 0x020;
const SELECT: u64 = 4;
const PAGE_SIZE: u64 = 0x028;
const QUEUE: u64 = 0x030;
const QUEUE_SIZE_LIMIT: u64 = 0x034;
const QUEUE_SIZE: u64 = 0x038;
const QUEUE_ALIGNMENT: u64 = 0x03c;
const QUEUE_PAGE: u64 = 0x040;
const QUEUE_READY: u64 = 0x044;
const NOTIFY: u64 = 0x050;
const CAUSE: u64 = 0x060;
const ACKNOWLEDGE: u64 = 0x064;
const STATUS: u64 = 0x070;
/// Where a modern device learns of descriptors, available and used ring: two halves each.
const QUEUE_PLACES: [u64; 3] = [0x080, 0x090, 0x0a0];
const GENERATION: u64 = 0x0fc;
const CONFIGURATION: u64 = 0x100;

/// The version of the registers; those of before virtio 1.0 have 1.
const MODERN: u32 = 2;

/// Bits of the status.
const ACKNOWLEDGED_BY_DRIVER: u32 = 1 | 2;
const DRIVER_READY: u32 = 4;
const FEATURES_READY: u32 = 8;
const NEEDS_RESET: u32 = 64;

/// Features that a driver may agree on: those of its kind of device, and that requests are laid out in any way. The others
/// change what a queue is, which the monitor decides.
const ALLOWED_FEATURES: u64 = 0xff_ffff | 1 << 27;
/// The device is none of before virtio 1.0.
const VERSION_1: u64 = 1 << 32;
/// A card has an address.
const HAS_ADDRESS: u64 = 1 << 5;

/// Flags of a descriptor.
const NEXT: u64 = 1;
const WRITTEN: u64 = 2;
/// Flag of a used ring: the device need not be notified.
const NO_NOTIFY: u16 = 1;

/// Most queues of a device; one behind them is not used.
const QUEUE_LIMIT: usize = 4;
/// How often a device is asked whether its reset is done, and a disk whether it has said who it is.
const RESET_PATIENCE: usize = 1000;
const IDENTITY_PATIENCE: usize = 1_000_000;

/// Bytes of a page, as a legacy device counts them, and how its used ring is aligned.
const PAGE: usize = 4096;
const USED_ALIGNMENT: usize = 64;
/// Half-words of the available ring - flags, index, entries - and of what lies between it and the used ring.
const AVAILABLE: usize = 2 + SIZE + 30;

/// What a device reads and writes of a queue, in one page, as a legacy device wants it: descriptors, the available ring, and the
/// used one, which begins with flags and index as well, and whose entries are ids and lengths.
#[repr(C, align(4096))]
struct Rings {
    descriptors: [[AtomicU64; 2]; SIZE],
    available: [AtomicU16; AVAILABLE],
    used_head: [AtomicU16; 2],
    used: [[AtomicU32; 2]; SIZE],
    /// What a disk says of itself: the question, its answer, and how it went.
    identity: [AtomicU32; 10],
}

const _: () = assert!(offset_of!(Rings, used_head).is_multiple_of(USED_ALIGNMENT) && size_of::<Rings>() == PAGE);

/// Rings of which nothing was used.
const fn rings() -> Rings {
    Rings {
        descriptors: [const { [const { AtomicU64::new(0) }; 2] }; SIZE],
        available: [const { AtomicU16::new(0) }; AVAILABLE],
        used_head: [const { AtomicU16::new(0) }; 2],
        used: [const { [const { AtomicU32::new(0) }; 2] }; SIZE],
        identity: [const { AtomicU32::new(0) }; 10],
    }
}

/// A piece of memory that the device may use: its address, how many bytes, and whether they are written. The caller has checked
/// that its driver may use them so.
pub(crate) type Transfer = (u64, u32, bool);

/// What the monitor knows of a descriptor. One that is not in flight has 0 bytes.
#[derive(Clone, Copy, Default)]
struct Descriptor {
    transfer: Transfer,
    /// Whether a request begins here.
    first: bool,
    /// The one behind it in its request.
    next: Option<u8>,
}

/// A queue. What it has in flight stands here: nothing is read back from memory that the device writes.
struct Queue {
    descriptors: Box<[Descriptor; SIZE]>,
    rings: Box<Rings>,
    free: heapless::Vec<u8, SIZE>,
    made: u16,
    taken: u16,
}

impl Queue {
    fn new() -> Queue {
        let (descriptors, rings) = (Box::new([Descriptor::default(); SIZE]), Box::new(rings()));
        Queue {
            descriptors,
            rings,
            free: (0..SIZE as u8).rev().collect(),
            made: 0,
            taken: 0,
        }
    }

    /// Nothing is in flight; the device does not use the rings.
    fn clear(&mut self) {
        for word in self.rings.used_head.iter().chain([&self.rings.available[1]]) {
            word.store(0, Relaxed);
        }
        self.descriptors.fill(Descriptor::default());
        self.free = (0..SIZE as u8).rev().collect();
        (self.made, self.taken) = (0, 0);
    }

    /// Makes a request available to the device: what it reads first. Its id; none when there are not enough descriptors.
    fn submit(&mut self, transfers: &[Transfer]) -> Option<u16> {
        let left = self.free.len().checked_sub(transfers.len())?;
        let mut next = None;
        // From its last descriptor on: each says which one is behind it.
        for (&(address, length, written), &number) in transfers.iter().rev().zip(&self.free[left..]) {
            let descriptor = &mut self.descriptors[number as usize % SIZE];
            (descriptor.transfer, descriptor.next) = ((address, length, written), next);
            let mut flags = next.map_or(0, |next| NEXT | u64::from(next) << 16);
            flags |= if written { WRITTEN } else { 0 };
            let [first, second] = &self.rings.descriptors[number as usize % SIZE];
            first.store(address, Relaxed);
            second.store(u64::from(length) | flags << 32, Relaxed);
            next = Some(number);
        }
        let head = next?;
        self.free.truncate(left);
        self.descriptors[head as usize % SIZE].first = true;
        self.rings.available[2 + self.made as usize % SIZE].store(head.into(), Relaxed);
        self.made = self.made.wrapping_add(1);
        self.rings.available[1].store(self.made, Release);
        Some(head.into())
    }

    /// How many requests the device says that it has finished, beyond those taken.
    fn finished(&self) -> u16 {
        self.rings.used_head[1].load(Acquire).wrapping_sub(self.taken)
    }

    /// Takes a request that the device has finished: its id, and how many bytes were written. Devices of before virtio 1.0 say
    /// more than they can have written. `EAGAIN` when there is none; `EIO` when the device says what cannot be.
    fn take(&mut self) -> Result<(u64, u64), Errno> {
        let finished = self.finished();
        if finished == 0 {
            return Err(Errno::EAGAIN);
        }
        let [id, written] = &self.rings.used[self.taken as usize % SIZE];
        let (id, written) = (id.load(Relaxed), written.load(Relaxed));
        let begins = self.descriptors.get(id as usize).is_some_and(|one| one.first);
        if !begins || finished > self.made.wrapping_sub(self.taken) {
            return Err(Errno::EIO);
        }
        let (mut next, mut writable) = (Some(id as u8), 0);
        while let Some(number) = next {
            let descriptor = take(&mut self.descriptors[number as usize % SIZE]);
            let (_, length, written) = descriptor.transfer;
            writable += if written { length } else { 0 };
            next = descriptor.next;
            // There is room: it was taken from here.
            let _ = self.free.push(number);
        }
        self.taken = self.taken.wrapping_add(1);
        Ok((id.into(), written.min(writable).into()))
    }
}

/// A device that was found in a slot.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    slot: usize,
    kind: DeviceKind,
    /// Its registers are those of virtio 1.0 and later.
    modern: bool,
    pub(super) interrupt: u32,
}

/// Looks once into every slot for a virtio device, the highest first, through a capability over the slot's window; those that
/// stay, of slots with a device, are entered in the ledger.
pub(crate) fn probe(ledger: &mut Ledger, platform: &Platform) -> Vec<Found> {
    let slots: Vec<_> = platform.virtio.iter().map_while(|slot| *slot).collect();
    let mut found = Vec::new();
    for number in ordered(slots.len(), &|a, b| slots[b].base.cmp(&slots[a].base)) {
        let VirtioSlot { base, interrupt } = slots[number];
        let window = virtio::window(number);
        let request = arch::Derivation {
            base,
            length: VIRTIO_WINDOW,
            permissions: arch::device_permissions(),
            address: base,
        };
        if window.derive(arch::root(), &request).is_err() {
            continue;
        }
        let [magic, version, device] = MAGIC_VERSION_KIND.map(|register| virtio::read(number, register));
        let kind = DeviceKind::ALL.into_iter().find(|kind| *kind as u32 == device);
        let usable = magic == u32::from_le_bytes(*b"virt") && matches!(version, 1..=MODERN);
        let Some(kind) = kind.filter(|_| usable) else {
            window.clear();
            continue;
        };
        let place = found.iter().filter(|other: &&Found| other.kind == kind).count();
        let name = format!("{}{place}", kind.name());
        ledger.enter(Ledger::ROOT, name, "device window", window.decoded());
        found.push(Found {
            slot: number,
            kind,
            modern: version == MODERN,
            interrupt,
        });
    }
    found
}

/// A device of a cVM. What waits for it waits for where this is: for no cVM's memory.
pub(crate) struct Device {
    pub(super) found: Found,
    /// It was started, and not reset since. One that does not run may have things in flight: it has not confirmed its reset.
    pub(crate) running: bool,
    queues: Vec<Queue>,
}

impl Device {
    /// What its driver waits for.
    pub(super) fn requests_in_flight(&self) -> u64 {
        let of_each = self.queues.iter().map(|queue| queue.made.wrapping_sub(queue.taken));
        of_each.map(u64::from).sum()
    }

    fn read(&self, register: u64) -> u32 {
        virtio::read(self.found.slot, register)
    }

    fn write(&self, register: u64, value: u32) {
        virtio::write(self.found.slot, register, value);
    }

    /// A device that does nothing, with queues.
    fn new(found: Found) -> Result<Device, &'static str> {
        let (running, queues) = (false, Vec::with_capacity(QUEUE_LIMIT));
        let mut device = Device { found, running, queues };
        device.reset().map_err(|_| "the device does not confirm its reset")?;
        while device.queues.len() < QUEUE_LIMIT {
            device.write(QUEUE, device.queues.len() as u32);
            match device.read(QUEUE_SIZE_LIMIT) as usize {
                0 => break,
                SIZE.. => device.queues.push(Queue::new()),
                _ => return Err("the device has a queue that is too short"),
            }
        }
        Ok(device)
    }

    /// Resets the device; when this returns well, it uses no memory any more.
    pub(crate) fn reset(&mut self) -> Result<(u64, u64), Errno> {
        self.running = false;
        self.write(STATUS, 0);
        (0..RESET_PATIENCE).find(|_| self.read(STATUS) == 0).ok_or(Errno::EIO)?;
        self.queues.iter_mut().for_each(Queue::clear);
        Ok((0, 0))
    }

    /// `device_info`.
    pub(crate) fn info(&self) -> (u64, u64) {
        let [low, high] = [0, 1].map(|half| {
            self.write(OFFERED + SELECT, half);
            u64::from(self.read(OFFERED))
        });
        let Found { kind, modern, .. } = self.found;
        (low | high << 32, kind as u64 | (u64::from(modern) + 1) << 8)
    }

    /// `device_config`.
    pub(crate) fn configuration(&self, offset: u64, width: u64) -> Result<(u64, u64), Errno> {
        let register = CONFIGURATION.saturating_add(offset);
        let value = match width {
            1 if offset < DEVICE_CONFIG_LIMIT => virtio::read_byte(self.found.slot, register).into(),
            4 if offset < DEVICE_CONFIG_LIMIT && offset.is_multiple_of(4) => self.read(register),
            _ => return Err(Errno::EINVAL),
        };
        let generation = if self.found.modern { self.read(GENERATION) } else { 0 };
        Ok((value.into(), generation.into()))
    }

    /// `device_start`: the features that are agreed on, and the number of queues.
    pub(crate) fn start(&mut self, wanted: u64) -> Result<(u64, u64), Errno> {
        self.reset()?;
        self.write(STATUS, ACKNOWLEDGED_BY_DRIVER);
        let allowed = ALLOWED_FEATURES & wanted | if self.found.modern { VERSION_1 } else { 0 };
        let features = self.info().0 & allowed;
        for (half, value) in [(0, features), (1, features >> 32)] {
            self.write(AGREED + SELECT, half);
            self.write(AGREED, value as u32);
        }
        let status = ACKNOWLEDGED_BY_DRIVER | if self.found.modern { FEATURES_READY } else { 0 };
        self.write(STATUS, status);
        if self.read(STATUS) & status != status {
            return self.reset().and(Err(Errno::EIO));
        }
        for (number, queue) in (0..).zip(&self.queues) {
            let rings = arch::physical(&*queue.rings);
            let places = [0, offset_of!(Rings, available), offset_of!(Rings, used_head)];
            self.write(QUEUE, number);
            self.write(QUEUE_SIZE, SIZE as u32);
            if self.found.modern {
                for (register, place) in QUEUE_PLACES.into_iter().zip(places) {
                    let place = rings + place as u64;
                    self.write(register, place as u32);
                    self.write(register + 4, (place >> 32) as u32);
                }
                self.write(QUEUE_READY, 1);
            } else {
                self.write(PAGE_SIZE, PAGE as u32);
                self.write(QUEUE_ALIGNMENT, USED_ALIGNMENT as u32);
                self.write(QUEUE_PAGE, (rings / PAGE as u64) as u32);
            }
        }
        self.write(STATUS, status | DRIVER_READY);
        self.running = true;
        Ok((features, self.queues.len() as u64))
    }

    /// A queue, of a device that runs.
    fn queue(&mut self, queue: u64) -> Result<&mut Queue, Errno> {
        let queue = self.queues.get_mut(queue as usize).ok_or(Errno::ENOENT)?;
        self.running.then_some(queue).ok_or(Errno::EIO)
    }

    /// `device_submit`, of what was checked.
    pub(crate) fn submit(&mut self, number: u64, transfers: &[Transfer]) -> Result<u64, Errno> {
        let queue = self.queue(number)?;
        let id = queue.submit(transfers).ok_or(Errno::EAGAIN)?;
        fence(Ordering::SeqCst);
        if queue.rings.used_head[0].load(Relaxed) & NO_NOTIFY == 0 {
            self.write(NOTIFY, number as u32);
        }
        Ok(id.into())
    }

    /// `device_take`. A device that is broken is reset.
    pub(crate) fn take(&mut self, number: u64) -> Result<(u64, u64), Errno> {
        let taken = self.queue(number)?.take();
        if taken == Err(Errno::EIO) {
            // It uses nothing any more, or what is in flight stays so.
            let _ = self.reset();
        }
        taken
    }

    /// Takes away what the device interrupts for; whether there was something. One that needs a reset gets it.
    pub(crate) fn acknowledge(&mut self) -> bool {
        let cause = self.read(CAUSE);
        self.write(ACKNOWLEDGE, cause);
        if self.read(STATUS) & NEEDS_RESET != 0 {
            // Whoever uses it learns that it does not run.
            let _ = self.reset();
        }
        cause != 0
    }

    /// Whether there is nothing to take from these queues: then the device interrupts when there is.
    pub(crate) fn expects(&self, queues: u64) -> bool {
        let mut numbered = (0..).zip(&self.queues);
        let nothing = numbered.all(|(number, queue)| queues >> number & 1 == 0 || queue.finished() == 0);
        if nothing {
            arch::interrupts::open(self.found.interrupt);
        }
        nothing
    }

    /// What a device that nobody uses yet calls itself, as a name in the manifest would.
    fn identity(found: Found) -> Option<[u8; IDENTITY_LENGTH]> {
        let (mut device, mut identity) = (Device::new(found).ok()?, [0; IDENTITY_LENGTH]);
        if found.kind == DeviceKind::Net {
            for (register, byte) in (CONFIGURATION..).zip(&mut identity[..6]) {
                *byte = virtio::read_byte(found.slot, register);
            }
            return (device.info().0 & HAS_ADDRESS != 0).then_some(identity);
        }
        // The header asks for the serial number; that, and the status behind it (virtio 1.2, section 5.2.6).
        device.start(0).ok()?;
        let words = &device.queues.first()?.rings.identity;
        let address = arch::physical(words);
        words[0].store(8, Relaxed);
        words[9].store(u32::MAX, Relaxed);
        let answer = (address + 16, IDENTITY_LENGTH as u32, true);
        let asked = device
            .submit(0, &[(address, 16, false), answer, (address + 36, 1, true)])
            .is_ok();
        let answered = asked && (0..IDENTITY_PATIENCE).any(|_| device.take(0).is_ok());
        if device.reset().is_err() {
            // It may still write to its page.
            forget(device);
            return None;
        }
        let words = &device.queues[0].rings.identity;
        for (bytes, word) in identity.chunks_mut(4).zip(&words[4..]) {
            bytes.copy_from_slice(&word.load(Relaxed).to_le_bytes());
        }
        (answered && words[9].load(Relaxed) as u8 == 0).then_some(identity)
    }
}

/// Whether one of these devices may still use something of a range.
pub(crate) fn in_flight(devices: &[Device], range: &Range<u64>) -> bool {
    let queues = devices.iter().flat_map(|device| &device.queues);
    let mut all = queues.flat_map(|queue| &*queue.descriptors);
    all.any(|descriptor| {
        let (address, length, _) = descriptor.transfer;
        address < range.end && address + u64::from(length) > range.start
    })
}

impl Monitor {
    /// Gives every cVM the devices that its manifest entry names.
    ///
    /// # Errors
    /// A message that names the cVM and the device that it cannot have.
    // Not part of the frame that is there while programs are loaded: the stack is small.
    #[inline(never)]
    pub(crate) fn give_devices(&mut self, found: &[Found]) -> Result<(), String> {
        let mut given: Vec<(usize, String)> = Vec::new();
        for cvm in &mut self.cvms {
            let first = self.devices.len();
            for name in &cvm.spec.devices {
                let refuse = |problem: &str| format!("cVM {}: devices = \"{name}\": {problem}", cvm.spec.name);
                // The manifest was checked to have names of devices, each once.
                let (kind, which) = abi::manifest::device(name).ok_or_else(|| refuse("no device's name"))?;
                let of_kind = found.iter().filter(|one| one.kind == kind).enumerate();
                let mut called = of_kind.filter(|(place, one)| match which {
                    Which::Place(at) => at == *place,
                    Which::Identity(identity) => Device::identity(**one) == Some(identity),
                });
                let (_, one) = called.next().ok_or_else(|| refuse("the machine has no such device"))?;
                if called.next().is_some() {
                    return Err(refuse("the machine has several such devices"));
                }
                if let Some((_, driver)) = given.iter().find(|(slot, _)| *slot == one.slot) {
                    return Err(refuse(&format!("it is also {driver}, expected one driver of a device")));
                }
                given.push((one.slot, format!("{name} of cVM {}", cvm.spec.name)));
                self.devices.push(Device::new(*one).map_err(refuse)?);
                arch::interrupts::prepare(one.interrupt);
            }
            cvm.devices = first..self.devices.len();
        }
        Ok(())
    }

    /// A device of a cVM, by its place in the manifest entry.
    #[inline(always)]
    pub(crate) fn device(&mut self, cvm: CvmId, number: u64) -> Option<&mut Device> {
        let own = self.devices.get_mut(self.cvms[cvm.index()].devices.clone());
        own.and_then(|own| own.get_mut(number as usize))
    }

    /// The driver's life is over: no device uses its memory any more. False when one may.
    pub(crate) fn reset_devices(&mut self, cvm: CvmId) -> bool {
        let own = self.devices.get_mut(self.cvms[cvm.index()].devices.clone());
        let own = own.into_iter().flatten();
        own.fold(true, |all, device| all & device.reset().is_ok())
    }
}
