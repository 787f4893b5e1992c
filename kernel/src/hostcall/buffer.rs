//! Buffers: memory shared by cVMs, and taken back.

use super::name;
use crate::cvm::id::CvmId;
use crate::run::device;
use crate::run::monitor::{Monitor, Outcome};
use abi::Errno;
use abi::hostcall::{BUFFER_READ, BUFFER_WRITE};
use abi::manifest::NAME_LIMIT;
use arch::Frame;

/// `buffer_find(name, length)`.
#[inline(never)]
pub(super) fn find(monitor: &Monitor, id: CvmId, frame: &Frame) -> Result<Outcome, Errno> {
    let (number, size) = monitor.buffers.named(&name::<NAME_LIMIT>(frame)?, id.index())?;
    frame.set_result(number);
    frame.set_second(size);
    Ok(Outcome::Set)
}

/// `capfile(name, length)`: all that one may of the manifest's buffer of this name.
#[inline(never)]
pub(super) fn capfile(monitor: &mut Monitor, id: CvmId, frame: &Frame) -> Result<Outcome, Errno> {
    let (number, _) = monitor.buffers.named(&name::<NAME_LIMIT>(frame)?, id.index())?;
    monitor.map_buffer(id, frame, [number, BUFFER_READ | BUFFER_WRITE])
}

/// `buffer_create(bytes)`.
#[inline(never)]
pub(super) fn create(monitor: &mut Monitor, id: CvmId, frame: &Frame) -> Result<Outcome, Errno> {
    let Monitor { buffers, devices, .. } = monitor;
    let number = buffers.create(id.index(), frame.argument(0), &|memory| {
        device::in_flight(devices, memory)
    })?;
    Ok(Outcome::Value(number))
}
