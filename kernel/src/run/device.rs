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
use abi::hostcall::DEVICE_QUEUE_SIZE as SIZE;
use abi::manifest::DeviceKind;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use arch::{Platform, VIRTIO_WINDOW, virtio};
use core::ops::Range;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

/// Registers of a slot (virtio 1.2, tables 4.1 and 4.2).
mod register {
    pub(super) const MAGIC: u64 = 0x000;
    pub(super) const VERSION: u64 = 0x004;
    pub(super) const DEVICE: u64 = 0x008;
    pub(super) const DEVICE_FEATURES: u64 = 0x010;
    pub(super) const DEVICE_FEATURES_SELECT: u64 = 0x014;
    pub(super) const DRIVER_FEATURES: u64 = 0x020;
    pub(super) const DRIVER_FEATURES_SELECT: u64 = 0x024;
    pub(super) const PAGE_SIZE: u64 = 0x028;
    pub(super) const QUEUE_SELECT: u64 = 0x030;
    pub(super) const QUEUE_SIZE_LIMIT: u64 = 0x034;
    pub(super) const QUEUE_SIZE: u64 = 0x038;
    pub(super) const QUEUE_ALIGNMENT: u64 = 0x03c;
    pub(super) const QUEUE_PAGE: u64 = 0x040;
    pub(super) const QUEUE_READY: u64 = 0x044;
    pub(super) const QUEUE_NOTIFY: u64 = 0x050;
    pub(super) const INTERRUPT_STATUS: u64 = 0x060;
    pub(super) const INTERRUPT_ACKNOWLEDGE: u64 = 0x064;
    pub(super) const STATUS: u64 = 0x070;
    pub(super) const QUEUE_DESCRIPTORS: u64 = 0x080;
    pub(super) const QUEUE_AVAILABLE: u64 = 0x090;
    pub(super) const QUEUE_USED: u64 = 0x0a0;
    pub(super) const GENERATION: u64 = 0x0fc;
    pub(super) const CONFIGURATION: u64 = 0x100;
}

/// "virt", little endian.
const MAGIC: u32 = 0x7472_6976;
const LEGACY: u32 = 1;
const MODERN: u32 = 2;

/// Bits of the status.
const ACKNOWLEDGED: u32 = 1;
const DRIVER: u32 = 2;
const DRIVER_READY: u32 = 4;
const FEATURES_READY: u32 = 8;
const NEEDS_RESET: u32 = 64;

/// Features that a driver may agree on: those of its kind of device, and that requests are laid out in any way. The others
/// change what a queue is, which the monitor decides.
const ALLOWED_FEATURES: u64 = 0xff_ffff | 1 << 27;
/// The device is none of before virtio 1.0.
const VERSION_1: u64 = 1 << 32;

/// Flags of a descriptor.
const NEXT: u64 = 1;
const WRITTEN: u64 = 2;
/// Flag of a used ring: the device need not be notified.
const NO_NOTIFY: u16 = 1;

/// Most queues of a device; one behind them is not used.
const QUEUE_LIMIT: usize = 4;
/// How often a device is asked whether its reset is done.
const RESET_PATIENCE: usize = 1000;
/// No descriptor.
const NONE: u8 = u8::MAX;

/// Bytes of a page, as a legacy device counts them, and how its used ring is aligned.
const PAGE: usize = 4096;
const USED_ALIGNMENT: usize = 64;

/// The used ring: flags, index, entries of id and length.
#[repr(C, align(64))]
struct Used {
    flags: AtomicU16,
    index: AtomicU16,
    entries: [[AtomicU32; 2]; SIZE],
}

/// What a device reads and writes of a queue, in one page, as a legacy device wants it.
#[repr(C, align(4096))]
struct Rings {
    descriptors: [[AtomicU64; 2]; SIZE],
    flags: AtomicU16,
    index: AtomicU16,
    available: [AtomicU16; SIZE],
    /// Where a device that had agreed on it would look: part of the ring's size.
    _event: AtomicU16,
    used: Used,
}

const _: () = assert!(align_of::<Used>() == USED_ALIGNMENT && size_of::<Rings>() == PAGE);

impl Rings {
    const fn empty() -> Rings {
        Rings {
            descriptors: [const { [AtomicU64::new(0), AtomicU64::new(0)] }; SIZE],
            flags: AtomicU16::new(0),
            index: AtomicU16::new(0),
            available: [const { AtomicU16::new(0) }; SIZE],
            _event: AtomicU16::new(0),
            used: Used {
                flags: AtomicU16::new(0),
                index: AtomicU16::new(0),
                entries: [const { [AtomicU32::new(0), AtomicU32::new(0)] }; SIZE],
            },
        }
    }
}

/// A piece of memory that the device may use; the caller has checked that its driver may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) address: u64,
    pub(crate) length: u32,
    pub(crate) written: bool,
}

/// What the monitor knows of a request, by its first descriptor.
#[derive(Clone, Copy, Default)]
struct Request {
    /// Its descriptors; 0 = it is not in flight.
    count: u8,
    /// Bytes that the device may write.
    writable: u32,
}

/// A queue. What it has in flight stands here: nothing is read back from memory that the device writes.
struct Queue {
    rings: &'static Rings,
    requests: [Request; SIZE],
    /// The memory of each descriptor, address and bytes.
    memory: Box<[(u64, u32)]>,
    /// The descriptor behind each one, in its request or in the list of the free ones.
    next: [u8; SIZE],
    free: u8,
    free_count: u8,
    in_flight: u16,
    made: u16,
    taken: u16,
}

/// The device has said what cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Broken;

impl Queue {
    fn new() -> Queue {
        let mut queue = Queue {
            rings: Box::leak(Box::new(Rings::empty())),
            requests: [Request::default(); SIZE],
            memory: vec![(0, 0); SIZE].into(),
            next: [NONE; SIZE],
            free: 0,
            free_count: 0,
            in_flight: 0,
            made: 0,
            taken: 0,
        };
        queue.clear();
        queue
    }

    /// Nothing is in flight; the device does not use the rings.
    fn clear(&mut self) {
        for index in [&self.rings.index, &self.rings.used.index, &self.rings.used.flags] {
            index.store(0, Relaxed);
        }
        self.requests.fill(Request::default());
        (0..).zip(&mut self.next).for_each(|(number, next)| *next = number + 1);
        self.next[SIZE - 1] = NONE;
        (self.free, self.free_count) = (0, SIZE as u8);
        (self.in_flight, self.made, self.taken) = (0, 0, 0);
    }

    /// Makes a request available to the device: what it reads first. Its id; none when there are not enough descriptors.
    fn submit(&mut self, transfers: &[Transfer]) -> Option<u16> {
        if transfers.is_empty() || transfers.len() > self.free_count as usize {
            return None;
        }
        let (head, mut writable) = (self.free, 0);
        for (index, transfer) in transfers.iter().enumerate() {
            let number = self.free as usize;
            self.free = self.next[number];
            let mut flags = 0;
            if transfer.written {
                flags |= WRITTEN;
                writable += transfer.length;
            }
            if index + 1 < transfers.len() {
                flags |= NEXT | u64::from(self.free) << 16;
            }
            self.memory[number] = (transfer.address, transfer.length);
            let [address, rest] = &self.rings.descriptors[number];
            address.store(transfer.address, Relaxed);
            rest.store(u64::from(transfer.length) | flags << 32, Relaxed);
        }
        let count = transfers.len() as u8;
        self.free_count -= count;
        self.requests[head as usize] = Request { count, writable };
        self.in_flight += 1;
        self.rings.available[self.made as usize % SIZE].store(head.into(), Relaxed);
        self.made = self.made.wrapping_add(1);
        self.rings.index.store(self.made, Release);
        Some(head.into())
    }

    /// Whether the device may still use something of a range.
    fn uses(&self, range: &Range<u64>) -> bool {
        let mut heads = (0..SIZE).filter(|head| self.requests[*head].count > 0);
        heads.any(|head| {
            let descriptors = core::iter::successors(Some(head), |number| Some(self.next[*number] as usize));
            let mut memory = descriptors
                .take(self.requests[head].count.into())
                .map(|number| self.memory[number]);
            memory.any(|(start, length)| start < range.end && start + u64::from(length) > range.start)
        })
    }

    /// Whether the device has to be told of what was made available.
    fn notifies(&self) -> bool {
        fence(Ordering::SeqCst);
        self.rings.used.flags.load(Relaxed) & NO_NOTIFY == 0
    }

    /// Whether there is something to take, or to complain about.
    fn has_finished(&self) -> bool {
        self.rings.used.index.load(Acquire) != self.taken
    }

    /// Takes a request that the device has finished: its id, and how many bytes were written. Devices of before virtio 1.0 say
    /// more than they can have written.
    fn take(&mut self) -> Result<Option<(u16, u32)>, Broken> {
        let finished = self.rings.used.index.load(Acquire).wrapping_sub(self.taken);
        if finished == 0 {
            return Ok(None);
        }
        if finished > self.in_flight {
            return Err(Broken);
        }
        let [id, written] = &self.rings.used.entries[self.taken as usize % SIZE];
        let (id, written) = (id.load(Relaxed) as usize, written.load(Relaxed));
        let request = self.requests.get_mut(id).map(core::mem::take);
        let Some(request) = request.filter(|request| request.count > 0) else {
            return Err(Broken);
        };
        let mut last = id;
        for _ in 1..request.count {
            last = self.next[last] as usize;
        }
        self.next[last] = core::mem::replace(&mut self.free, id as u8);
        self.free_count += request.count;
        self.in_flight -= 1;
        self.taken = self.taken.wrapping_add(1);
        Ok(Some((id as u16, written.min(request.writable))))
    }
}

/// A device that was found in a slot.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    slot: usize,
    kind: DeviceKind,
    version: u32,
    interrupt: u32,
}

/// Looks once into every slot for a virtio device, the highest first, through a capability over the slot's window; those that
/// stay, of slots with a device, are entered in the ledger.
pub(crate) fn probe(ledger: &mut Ledger, platform: &Platform) -> Vec<Found> {
    let slots = (0..).zip(&platform.virtio);
    let slots: Vec<_> = slots.filter_map(|(number, slot)| Some((number, (*slot)?))).collect();
    let mut found = Vec::new();
    for at in ordered(slots.len(), &|a, b| slots[b].1.base.cmp(&slots[a].1.base)) {
        let (number, slot) = slots[at];
        let window = virtio::window(number);
        let request = arch::Derivation {
            base: slot.base,
            length: VIRTIO_WINDOW,
            permissions: arch::device_permissions(),
            address: slot.base,
        };
        if window.derive(arch::root(), &request).is_err() {
            continue;
        }
        let [magic, version, device] =
            [register::MAGIC, register::VERSION, register::DEVICE].map(|register| virtio::read(number, register));
        let kind = DeviceKind::ALL.into_iter().find(|kind| *kind as u32 == device);
        let usable = magic == MAGIC && matches!(version, LEGACY | MODERN);
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
            version,
            interrupt: slot.interrupt,
        });
    }
    found
}

/// What a device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing: it was reset.
    Reset,
    Running,
    /// It may do anything: it has not confirmed its reset.
    Lost,
}

/// A device of a cVM.
pub(crate) struct Device {
    found: Found,
    state: State,
    queues: Vec<Queue>,
}

impl Device {
    /// What its driver waits for.
    pub(super) fn requests_in_flight(&self) -> u64 {
        self.queues.iter().map(|queue| u64::from(queue.in_flight)).sum()
    }

    fn read(&self, register: u64) -> u32 {
        virtio::read(self.found.slot, register)
    }

    fn write(&self, register: u64, value: u32) {
        virtio::write(self.found.slot, register, value);
    }

    fn write_address<T>(&self, register: u64, thing: &T) {
        let address = arch::physical(thing);
        self.write(register, address as u32);
        self.write(register + 4, (address >> 32) as u32);
    }

    /// What waits for the device waits for this address: no cVM's.
    pub(crate) fn waiters(&self) -> u64 {
        self.queues.first().map_or(0, |queue| arch::physical(queue.rings))
    }

    /// Resets the device; when this returns well, it uses no memory any more.
    pub(crate) fn reset(&mut self) -> Result<(), Errno> {
        self.write(register::STATUS, 0);
        let done = (0..RESET_PATIENCE).any(|_| self.read(register::STATUS) == 0);
        self.state = if done { State::Reset } else { State::Lost };
        self.queues.iter_mut().filter(|_| done).for_each(Queue::clear);
        if done { Ok(()) } else { Err(Errno::EIO) }
    }

    /// The features that it offers.
    fn features(&self) -> u64 {
        let half = |select| {
            self.write(register::DEVICE_FEATURES_SELECT, select);
            u64::from(self.read(register::DEVICE_FEATURES))
        };
        half(0) | half(1) << 32
    }

    /// `device_info`.
    pub(crate) fn info(&self) -> (u64, u64) {
        let Found { kind, version, .. } = self.found;
        (self.features(), kind as u64 | u64::from(version) << 8)
    }

    /// `device_config`, of what lies within.
    pub(crate) fn configuration(&self, offset: u64, word: bool) -> (u64, u64) {
        let (slot, register) = (self.found.slot, register::CONFIGURATION + offset);
        let value = if word {
            self.read(register)
        } else {
            virtio::read_byte(slot, register).into()
        };
        let modern = self.found.version == MODERN;
        let generation = if modern { self.read(register::GENERATION) } else { 0 };
        (value.into(), generation.into())
    }

    /// `device_start`: the features that are agreed on, and the number of queues.
    pub(crate) fn start(&mut self, wanted: u64) -> Result<(u64, u64), Errno> {
        self.reset()?;
        let modern = self.found.version == MODERN;
        let mut status = ACKNOWLEDGED | DRIVER;
        self.write(register::STATUS, status);
        let allowed = ALLOWED_FEATURES & wanted | if modern { VERSION_1 } else { 0 };
        let features = self.features() & allowed;
        for (select, half) in [(0, features), (1, features >> 32)] {
            self.write(register::DRIVER_FEATURES_SELECT, select);
            self.write(register::DRIVER_FEATURES, half as u32);
        }
        if modern {
            status |= FEATURES_READY;
            self.write(register::STATUS, status);
            if self.read(register::STATUS) & FEATURES_READY == 0 {
                return self.reset().and(Err(Errno::EIO));
            }
        } else {
            self.write(register::PAGE_SIZE, PAGE as u32);
        }
        for (number, queue) in (0..).zip(&self.queues) {
            self.write(register::QUEUE_SELECT, number);
            self.write(register::QUEUE_SIZE, SIZE as u32);
            if modern {
                self.write_address(register::QUEUE_DESCRIPTORS, &queue.rings.descriptors);
                self.write_address(register::QUEUE_AVAILABLE, &queue.rings.flags);
                self.write_address(register::QUEUE_USED, &queue.rings.used);
                self.write(register::QUEUE_READY, 1);
            } else {
                self.write(register::QUEUE_ALIGNMENT, USED_ALIGNMENT as u32);
                let page = arch::physical(queue.rings) / PAGE as u64;
                self.write(register::QUEUE_PAGE, page as u32);
            }
        }
        self.write(register::STATUS, status | DRIVER_READY);
        self.state = State::Running;
        Ok((features, self.queues.len() as u64))
    }

    /// A queue, of a device that runs.
    fn queue(&mut self, queue: u64) -> Result<&mut Queue, Errno> {
        let running = self.runs();
        let queue = usize::try_from(queue).ok().and_then(|queue| self.queues.get_mut(queue));
        let queue = queue.ok_or(Errno::ENOENT)?;
        if running { Ok(queue) } else { Err(Errno::EIO) }
    }

    /// `device_submit`, of what was checked.
    pub(crate) fn submit(&mut self, number: u64, transfers: &[Transfer]) -> Result<u64, Errno> {
        let queue = self.queue(number)?;
        let id = queue.submit(transfers).ok_or(Errno::EAGAIN)?;
        if queue.notifies() {
            self.write(register::QUEUE_NOTIFY, number as u32);
        }
        Ok(id.into())
    }

    /// Whether it is of any use.
    pub(crate) fn runs(&self) -> bool {
        self.state == State::Running
    }

    /// The number of its interrupt.
    pub(crate) fn interrupt(&self) -> u32 {
        self.found.interrupt
    }

    /// `device_take`. A device that is broken is reset.
    pub(crate) fn take(&mut self, number: u64) -> Result<(u64, u64), Errno> {
        match self.queue(number)?.take() {
            Ok(Some((id, length))) => Ok((id.into(), length.into())),
            Ok(None) => Err(Errno::EAGAIN),
            Err(Broken) => self.reset().and(Err(Errno::EIO)),
        }
    }

    /// Takes away what the device interrupts for; whether there was something. One that needs a reset gets it.
    pub(crate) fn acknowledge(&mut self) -> bool {
        let cause = self.read(register::INTERRUPT_STATUS);
        self.write(register::INTERRUPT_ACKNOWLEDGE, cause);
        if self.read(register::STATUS) & NEEDS_RESET != 0 {
            // Whoever uses it learns that it does not run.
            let _ = self.reset();
        }
        cause != 0
    }

    /// Whether there is nothing to take from these queues: then the device interrupts when there is.
    pub(crate) fn expects(&self, queues: u64) -> bool {
        let mut numbered = (0..).zip(&self.queues);
        let finished = numbered.any(|(number, queue)| queues >> number & 1 == 1 && queue.has_finished());
        if !finished {
            arch::interrupts::open(self.found.interrupt);
        }
        !finished
    }
}

/// Whether one of these devices may still use something of a range.
pub(crate) fn in_flight(devices: &[Device], range: &Range<u64>) -> bool {
    let mut queues = devices.iter().flat_map(|device| &device.queues);
    queues.any(|queue| queue.in_flight > 0 && queue.uses(range))
}

impl Monitor {
    /// Gives every cVM the devices that its manifest entry names.
    ///
    /// # Errors
    /// A message that names the cVM and the device that it cannot have.
    // Not part of the frame that is there while programs are loaded: the stack is small.
    #[inline(never)]
    pub(crate) fn give_devices(&mut self, found: &[Found]) -> Result<(), String> {
        for cvm in &mut self.cvms {
            cvm.first_device = self.devices.len();
            for name in &cvm.spec.devices {
                let refuse = |problem: &str| format!("cVM {}: devices = \"{name}\": {problem}", cvm.spec.name);
                // The manifest was checked to name each device once.
                let wanted = abi::manifest::device(name);
                let found = wanted.and_then(|(kind, number)| {
                    let mut same = found.iter().filter(|found| found.kind == kind);
                    same.nth(number).copied()
                });
                let found = found.ok_or_else(|| refuse("the machine has no such device"))?;
                let mut device = Device {
                    found,
                    state: State::Reset,
                    queues: Vec::new(),
                };
                device
                    .reset()
                    .map_err(|_| refuse("the device does not confirm its reset"))?;
                while device.queues.len() < QUEUE_LIMIT {
                    device.write(register::QUEUE_SELECT, device.queues.len() as u32);
                    match device.read(register::QUEUE_SIZE_LIMIT) as usize {
                        0 => break,
                        SIZE.. => device.queues.push(Queue::new()),
                        _ => return Err(refuse("the device has a queue that is too short")),
                    }
                }
                arch::interrupts::prepare(found.interrupt);
                self.devices.push(device);
            }
        }
        Ok(())
    }

    /// Where a device of a cVM is, by its place in the manifest entry.
    pub(crate) fn device_index(&self, cvm: CvmId, number: u64) -> Result<usize, Errno> {
        let cvm = &self.cvms[cvm.index()];
        let inside = number < cvm.spec.devices.len() as u64;
        inside.then(|| cvm.first_device + number as usize).ok_or(Errno::ENOENT)
    }

    /// A device of a cVM, by its place in the manifest entry.
    pub(crate) fn device(&mut self, cvm: CvmId, number: u64) -> Result<&mut Device, Errno> {
        let index = self.device_index(cvm, number)?;
        self.devices.get_mut(index).ok_or(Errno::ENOENT)
    }

    /// Wakes who waits for a device.
    pub(crate) fn wake_driver(&mut self, device: u64) {
        self.scheduler.wake_waiters(device, u64::MAX);
    }

    /// The driver's life is over: no device uses its memory any more. False when one may.
    pub(crate) fn reset_devices(&mut self, cvm: CvmId) -> bool {
        let cvm = &self.cvms[cvm.index()];
        let first = cvm.first_device;
        let devices = self.devices.get_mut(first..first + cvm.spec.devices.len());
        let devices = devices.into_iter().flatten();
        let stay = devices.filter(|device| device.state != State::Reset).map(Device::reset);
        stay.fold(true, |all, reset| all & reset.is_ok())
    }
}
