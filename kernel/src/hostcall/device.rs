//! Devices: what the driver asks for is checked here, against its own authority, before a queue sees it.

use crate::cvm::id::CvmId;
use crate::cvm::short::Short;
use crate::elf::PAGE;
use crate::run::device::{Device, Transfer};
use crate::run::monitor::{Monitor, Outcome};
use abi::hostcall::{
    DEVICE_CONFIG_LIMIT, SEGMENT_BYTES_LIMIT, SEGMENT_LIMIT, SEGMENT_WRITTEN, SLEEP_LIMIT, Segment, WAIT_FOREVER,
};
use abi::{Errno, Hostcall};
use arch::{Frame, Slot, user};

/// Bytes of a segment's record.
const RECORD: usize = size_of::<Segment>();

/// A copy of one, aligned, so that its words are loaded as such.
#[repr(align(8))]
struct Record([u8; RECORD]);

/// Both results of a hostcall.
#[inline(never)]
fn results(frame: &Frame, (first, second): (u64, u64)) -> Outcome {
    frame.set_result(first);
    frame.set_second(second);
    Outcome::Set
}

/// `device_info(device)`.
#[inline(never)]
pub(super) fn info(monitor: &mut Monitor, id: CvmId, frame: &Frame) -> Result<Outcome, Errno> {
    let device = monitor.device(id, frame.argument(0))?;
    Ok(results(frame, device.info()))
}

/// `device_config(device, offset, width)`.
#[inline(never)]
pub(super) fn config(monitor: &mut Monitor, id: CvmId, frame: &Frame) -> Result<Outcome, Errno> {
    let device = monitor.device(id, frame.argument(0))?;
    let (offset, width) = (frame.argument(1), frame.argument(2));
    if !matches!(width, 1 | 4) || offset % width != 0 || offset >= DEVICE_CONFIG_LIMIT {
        return Err(Errno::EINVAL);
    }
    Ok(results(frame, device.configuration(offset, width == 4)))
}

/// `device_start(device, features)`.
#[inline(never)]
pub(super) fn start(monitor: &mut Monitor, id: CvmId, frame: &Frame) -> Result<Outcome, Errno> {
    let started = with(monitor, id, frame, |device| device.start(frame.argument(1)))?;
    Ok(results(frame, started))
}

/// `device_submit(device, queue, segments, count)`.
#[inline(never)]
pub(super) fn submit(monitor: &mut Monitor, id: CvmId, frame: &Frame) -> Result<Outcome, Errno> {
    let count = frame.argument(3);
    let device = monitor.device_index(id, frame.argument(0))?;
    let mut transfers = heapless::Vec::<Transfer, SEGMENT_LIMIT>::new();
    let (authority, address) = frame.pointer(2);
    if !(1..=SEGMENT_LIMIT as u64).contains(&count) || !address.is_multiple_of(align_of::<Segment>() as u64) {
        return Err(Errno::EINVAL);
    }
    let mut writes = false;
    for index in 0..count {
        let record = address.wrapping_add(index * RECORD as u64);
        let (transfer, local) = transfer(frame, authority, record)?;
        // What is local is somebody else's, and can be taken back, which a device would not notice. Who takes a buffer back
        // learns that one uses it.
        if local {
            let range = transfer.address..transfer.address + u64::from(transfer.length);
            if !monitor.buffers.allows(id.index(), range, transfer.written) {
                return Err(Errno::EFAULT);
            }
        }
        // What the device writes comes last.
        if writes && !transfer.written {
            return Err(Errno::EINVAL);
        }
        writes = transfer.written;
        // There is room: the count was looked at.
        let _ = transfers.push(transfer);
    }
    let id = monitor.devices[device].submit(frame.argument(1), &transfers)?;
    Ok(Outcome::Value(id))
}

/// Reads a segment's record, once, and checks that the driver may do itself what it lets the device do; whether its authority
/// is local.
fn transfer(frame: &Frame, authority: &Slot, record: u64) -> Result<(Transfer, bool), Errno> {
    static POINTER: Slot = Slot::null();
    let mut bytes = Record([0; RECORD]);
    user::copy_in(&mut bytes.0, authority, record).map_err(|_| Errno::EFAULT)?;
    user::load_capability(&POINTER, authority, record).map_err(|_| Errno::EFAULT)?;
    let (&[pointer, _, length, flags], _) = bytes.0.as_chunks::<8>() else {
        return Err(Errno::EFAULT);
    };
    let [pointer, length, flags] = [pointer, length, flags].map(u64::from_le_bytes);
    let written = flags == SEGMENT_WRITTEN;
    if !(1..=SEGMENT_BYTES_LIMIT).contains(&length) || !(flags == 0 || written) {
        POINTER.clear();
        return Err(Errno::EINVAL);
    }
    let covered = if POINTER.tag() {
        (POINTER.integer(), POINTER.covers(pointer, length, written))
    } else {
        let address = user::absolute(frame.data(), pointer);
        (address, frame.data().covers(address, length, written))
    };
    POINTER.clear();
    let (address, Some(global)) = covered else {
        return Err(Errno::EFAULT);
    };
    let pages = address / PAGE * PAGE..(address + length).next_multiple_of(PAGE);
    if !arch::protection::is_open(pages, written) {
        return Err(Errno::EFAULT);
    }
    let transfer = Transfer {
        address,
        length: length as u32,
        written,
    };
    Ok((transfer, !global))
}

/// A request of a driver whose hostcalls are short, or what has become of one; false when it has to be done at length.
pub(crate) fn usual(monitor: &mut Monitor, frame: &Frame, short: &Short) -> bool {
    let (number, id) = (frame.number(), CvmId::new(short.id as usize));
    if !short.is_direct(number) {
        return false;
    }
    let outcome = if number == Hostcall::DeviceSubmit as u64 {
        submit(monitor, id, frame)
    } else if number == Hostcall::DeviceTake as u64 {
        let device = monitor.device(id, frame.argument(0));
        match device.and_then(|device| device.take(frame.argument(1))) {
            Ok(taken) => Ok(results(frame, taken)),
            // It was reset: others have to learn so.
            Err(Errno::EIO) => return false,
            Err(errno) => Err(errno),
        }
    } else {
        return false;
    };
    match outcome {
        Ok(Outcome::Value(value)) => frame.set_result(value),
        Err(errno) => frame.set_result(errno.to_result()),
        Ok(_) => {}
    }
    true
}

/// `device_take(device, queue)`.
#[inline(never)]
pub(super) fn take(monitor: &mut Monitor, id: CvmId, frame: &Frame) -> Result<Outcome, Errno> {
    let taken = with(monitor, id, frame, |device| device.take(frame.argument(1)))?;
    Ok(results(frame, taken))
}

/// `device_wait(device, queues, timeout)`.
#[inline(never)]
pub(super) fn wait(monitor: &mut Monitor, id: CvmId, frame: &Frame) -> Result<Outcome, Errno> {
    let timeout = frame.argument(2);
    let forever = timeout == WAIT_FOREVER;
    if timeout > SLEEP_LIMIT && !forever {
        return Err(Errno::EINVAL);
    }
    let device = monitor.device(id, frame.argument(0))?;
    let waiters = device.waiters();
    // What others wait for may be among what is taken away here.
    if device.acknowledge() || !device.runs() {
        monitor.wake_driver(waiters);
    }
    let device = monitor.device(id, frame.argument(0))?;
    if !device.runs() {
        return Err(Errno::EIO);
    }
    if !device.expects(frame.argument(1)) {
        return Ok(Outcome::Value(0));
    }
    if timeout == 0 {
        return Err(Errno::ETIMEDOUT);
    }
    let now = arch::timer::now();
    // As `nanosleep`: at least the time asked for.
    let until = now.saturating_add(monitor.ticks(timeout)).saturating_add(1);
    monitor.scheduler.wait(waiters, (!forever).then_some(until), now);
    Ok(Outcome::Switch)
}

/// `device_reset(device)`.
#[inline(never)]
pub(super) fn reset(monitor: &mut Monitor, id: CvmId, frame: &Frame) -> Result<Outcome, Errno> {
    with(monitor, id, frame, Device::reset)?;
    Ok(Outcome::Value(0))
}

/// Does something with the device that argument 0 names. When it does not run any more, who waits for it learns so.
fn with<T>(
    monitor: &mut Monitor,
    id: CvmId,
    frame: &Frame,
    act: impl FnOnce(&mut Device) -> Result<T, Errno>,
) -> Result<T, Errno> {
    let device = monitor.device(id, frame.argument(0))?;
    let result = act(device);
    if !device.runs() {
        let waiters = device.waiters();
        monitor.wake_driver(waiters);
    }
    result
}
