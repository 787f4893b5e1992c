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

/// A hostcall of the family. Whoever waits for a device that does not run any more learns so.
#[inline(never)]
pub(super) fn serve(monitor: &mut Monitor, id: CvmId, hostcall: Hostcall, frame: &Frame) -> Result<Outcome, Errno> {
    let (first, second) = (frame.argument(1), frame.argument(2));
    let device = monitor.device(id, frame.argument(0)).ok_or(Errno::ENOENT)?;
    let results = match hostcall {
        Hostcall::DeviceSubmit => return submit(monitor, id, frame).map(Outcome::Value),
        Hostcall::DeviceWait => return wait(monitor, id, frame),
        Hostcall::DeviceInfo => Ok(device.info()),
        Hostcall::DeviceConfig => device.configuration(first, second),
        Hostcall::DeviceStart => device.start(first),
        Hostcall::DeviceTake => device.take(first),
        _ => device.reset(),
    };
    let (waiters, runs) = (arch::physical(&*device), device.running);
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
    let mut transfers = heapless::Vec::<Transfer, SEGMENT_LIMIT>::new();
    let (pointer, count) = (frame.pointer(2), frame.argument(3));
    if !(1..=SEGMENT_LIMIT as u64).contains(&count) || !pointer.1.is_multiple_of(align_of::<Segment>() as u64) {
        return Err(Errno::EINVAL);
    }
    for index in 0..count {
        let record = pointer.1.wrapping_add(index * size_of::<Segment>() as u64);
        // There is room: the count was looked at.
        let _ = transfers.push(transfer(monitor, id, frame.data(), (pointer.0, record))?);
    }
    // What the device writes comes last.
    if !transfers.is_sorted_by_key(|(_, _, written)| *written) {
        return Err(Errno::EINVAL);
    }
    let device = monitor.device(id, frame.argument(0)).ok_or(Errno::ENOENT)?;
    device.submit(frame.argument(1), &transfers)
}

/// Reads a segment's record, once, and checks that the driver may do itself what it lets the device do.
fn transfer(monitor: &Monitor, id: CvmId, data: &Slot, (through, record): (&Slot, u64)) -> Result<Transfer, Errno> {
    static POINTER: Slot = Slot::null();
    let (mut rest, behind) = ([0; 16], core::mem::offset_of!(Segment, length) as u64);
    user::copy_in(&mut rest, through, record.wrapping_add(behind)).map_err(|_| Errno::EFAULT)?;
    user::load_capability(&POINTER, through, record).map_err(|_| Errno::EFAULT)?;
    let rest = u128::from_le_bytes(rest);
    let (length, flags) = (rest as u64, (rest >> 64) as u64);
    let written = flags == SEGMENT_WRITTEN;
    let (authority, address) = user::through(&POINTER, data);
    let covered = authority.covers(address, length, written);
    POINTER.clear();
    if !(1..=SEGMENT_BYTES_LIMIT).contains(&length) || !(flags == 0 || written) {
        return Err(Errno::EINVAL);
    }
    let global = covered.ok_or(Errno::EFAULT)?;
    let end = address + length;
    // What is local is somebody else's, and can be taken back, which a device would not notice. Who takes a buffer back learns
    // that one uses it.
    let stays = global || monitor.buffers.allows(id.index(), address..end, written);
    if !stays || !arch::protection::is_open(address / PAGE * PAGE..end.next_multiple_of(PAGE), written) {
        return Err(Errno::EFAULT);
    }
    Ok((address, length as u32, written))
}

/// `device_take(device, queue)`, of a device that stays as it is.
fn take(monitor: &mut Monitor, id: CvmId, frame: &Frame) -> Result<u64, Errno> {
    let device = monitor.device(id, frame.argument(0)).ok_or(Errno::ENOENT)?;
    let (id, written) = device.take(frame.argument(1))?;
    frame.set_second(written);
    Ok(id)
}

/// A request of a driver whose hostcalls are short, or what has become of one; false when it has to be done at length.
pub(crate) fn usual(monitor: &mut Monitor, frame: &Frame, short: &Short) -> bool {
    const SUBMIT: u64 = Hostcall::DeviceSubmit as u64;
    const TAKE: u64 = Hostcall::DeviceTake as u64;
    let (number, id) = (frame.number(), CvmId::new(short.id as usize));
    let done = match number {
        SUBMIT if short.is_direct(number) => submit(monitor, id, frame),
        TAKE if short.is_direct(number) => take(monitor, id, frame),
        _ => return false,
    };
    match done {
        Ok(value) => frame.set_result(value),
        Err(Errno::EAGAIN) => frame.set_result(Errno::EAGAIN.to_result()),
        // What is wrong is found again; and of a device that does not run any more others have to learn.
        _ => return false,
    }
    true
}

/// `device_wait(device, queues, timeout)`.
fn wait(monitor: &mut Monitor, id: CvmId, frame: &Frame) -> Result<Outcome, Errno> {
    let timeout = sync::timeout(frame.argument(2))?;
    let device = monitor.device(id, frame.argument(0)).ok_or(Errno::ENOENT)?;
    // What others wait for may be among what is taken away here.
    let (waiters, wakes) = (arch::physical(&*device), device.acknowledge() || !device.running);
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
