//! Devices: what the driver asks for is checked here, against its own authority, before a queue sees it.

use crate::cvm::id::CvmId;
use crate::cvm::short::Short;
use crate::elf::PAGE;
use crate::hostcall::sync;
use crate::run::device::Transfer;
use crate::run::monitor::{Monitor, Outcome};
use abi::hostcall::{SEGMENT_BYTES_LIMIT, SEGMENT_LIMIT, SEGMENT_WRITTEN, Segment};
use abi::{Errno, Hostcall};
use arch::{Frame, Slot, user};

/// Bytes of a segment's record.
const RECORD: usize = size_of::<Segment>();

/// A copy of one, aligned, so that its words are loaded as such.
#[repr(align(8))]
struct Record([u8; RECORD]);

/// A hostcall of the family. Whoever waits for a device that does not run any more learns so.
#[inline(never)]
pub(super) fn serve(monitor: &mut Monitor, id: CvmId, hostcall: Hostcall, frame: &Frame) -> Result<Outcome, Errno> {
    let device = monitor.device(id, frame.argument(0))?;
    let [first, second] = [1, 2].map(|index| frame.argument(index));
    let results = match hostcall {
        Hostcall::DeviceSubmit => return submit(monitor, id, frame).map(Outcome::Value),
        Hostcall::DeviceWait => return wait(monitor, id, frame),
        Hostcall::DeviceInfo => Ok(device.info()),
        Hostcall::DeviceConfig => device.configuration(first, second),
        Hostcall::DeviceStart => device.start(first),
        Hostcall::DeviceTake => device.take(first),
        _ => device.reset(),
    };
    let (waiters, runs) = (device.waiters(), device.running);
    if !runs {
        monitor.scheduler.wake_waiters(waiters, u64::MAX);
    }
    let (value, second) = results?;
    frame.set_second(second);
    Ok(Outcome::Value(value))
}

/// `device_submit(device, queue, segments, count)`.
#[inline(never)]
fn submit(monitor: &mut Monitor, id: CvmId, frame: &Frame) -> Result<u64, Errno> {
    let count = frame.argument(3);
    let mut transfers = heapless::Vec::<Transfer, SEGMENT_LIMIT>::new();
    let (authority, address) = frame.pointer(2);
    if !(1..=SEGMENT_LIMIT as u64).contains(&count) || !address.is_multiple_of(align_of::<Segment>() as u64) {
        return Err(Errno::EINVAL);
    }
    let mut writes = false;
    for index in 0..count {
        let record = address.wrapping_add(index * RECORD as u64);
        let transfer = transfer(monitor, id, frame, authority, record)?;
        // What the device writes comes last.
        if writes && !transfer.written {
            return Err(Errno::EINVAL);
        }
        writes = transfer.written;
        // There is room: the count was looked at.
        let _ = transfers.push(transfer);
    }
    monitor
        .device(id, frame.argument(0))?
        .submit(frame.argument(1), &transfers)
}

/// Reads a segment's record, once, and checks that the driver may do itself what it lets the device do.
fn transfer(monitor: &Monitor, id: CvmId, frame: &Frame, authority: &Slot, record: u64) -> Result<Transfer, Errno> {
    static POINTER: Slot = Slot::null();
    let mut bytes = Record([0; RECORD]);
    user::copy_in(&mut bytes.0, authority, record).map_err(|_| Errno::EFAULT)?;
    let (&[pointer, _, length, flags], _) = bytes.0.as_chunks::<8>() else {
        return Err(Errno::EFAULT);
    };
    let [pointer, length, flags] = [pointer, length, flags].map(u64::from_le_bytes);
    let written = flags == SEGMENT_WRITTEN;
    if !(1..=SEGMENT_BYTES_LIMIT).contains(&length) || !(flags == 0 || written) {
        return Err(Errno::EINVAL);
    }
    user::load_capability(&POINTER, authority, record).map_err(|_| Errno::EFAULT)?;
    let (address, covered) = if POINTER.tag() {
        (POINTER.integer(), POINTER.covers(pointer, length, written))
    } else {
        let address = user::absolute(frame.data(), pointer);
        (address, frame.data().covers(address, length, written))
    };
    POINTER.clear();
    let global = covered.ok_or(Errno::EFAULT)?;
    let pages = address / PAGE * PAGE..(address + length).next_multiple_of(PAGE);
    // What is local is somebody else's, and can be taken back, which a device would not notice. Who takes a buffer back
    // learns that one uses it.
    let lasts = global || monitor.buffers.allows(id.index(), address..address + length, written);
    if !lasts || !arch::protection::is_open(pages, written) {
        return Err(Errno::EFAULT);
    }
    Ok(Transfer {
        address,
        length: length as u32,
        written,
    })
}

/// A request of a driver whose hostcalls are short, or what has become of one; false when it has to be done at length.
pub(crate) fn usual(monitor: &mut Monitor, frame: &Frame, short: &Short) -> bool {
    const SUBMIT: u64 = Hostcall::DeviceSubmit as u64;
    const TAKE: u64 = Hostcall::DeviceTake as u64;
    let (number, id) = (frame.number(), CvmId::new(short.id as usize));
    let done = match number {
        SUBMIT if short.is_direct(number) => submit(monitor, id, frame),
        TAKE if short.is_direct(number) => {
            let device = monitor.device(id, frame.argument(0));
            let taken = device.and_then(|device| device.take(frame.argument(1)));
            taken.map(|(value, second)| {
                frame.set_second(second);
                value
            })
        }
        _ => return false,
    };
    match done {
        Ok(value) => frame.set_result(value),
        Err(Errno::EAGAIN) => frame.set_result(Errno::EAGAIN.to_result()),
        // What is wrong is found again; and of a device that does not run any more others have to learn.
        Err(_) => return false,
    }
    true
}

/// `device_wait(device, queues, timeout)`.
fn wait(monitor: &mut Monitor, id: CvmId, frame: &Frame) -> Result<Outcome, Errno> {
    let timeout = sync::timeout(frame.argument(2))?;
    let device = monitor.device(id, frame.argument(0))?;
    let waiters = device.waiters();
    // What others wait for may be among what is taken away here.
    let wakes = device.acknowledge() || !device.running;
    let waits = device.running.then(|| device.expects(frame.argument(1)));
    if wakes {
        monitor.scheduler.wake_waiters(waiters, u64::MAX);
    }
    match waits {
        None => Err(Errno::EIO),
        Some(false) => Ok(Outcome::Value(0)),
        Some(true) => sync::wait_for(monitor, waiters, timeout),
    }
}
