//! The console: write and read.

use super::length;
use crate::cvm::id::CvmId;
use crate::run::monitor::{Monitor, Outcome};
use abi::Errno;
use abi::hostcall::{READ_NONBLOCKING, STREAM_ERROR, STREAM_INPUT, STREAM_OUTPUT, TRANSFER_LIMIT};
use arch::{Frame, user};

/// Bytes that cross at a time, through a buffer on the monitor's stack.
const CHUNK: usize = 256;

/// `write(stream, pointer, length)`.
#[inline(never)]
pub(super) fn write(monitor: &mut Monitor, id: CvmId, frame: &Frame) -> Result<Outcome, Errno> {
    if !matches!(frame.argument(0), STREAM_OUTPUT | STREAM_ERROR) {
        return Err(Errno::EBADF);
    }
    let length = length(frame.argument(2))?.min(TRANSFER_LIMIT);
    let (authority, address) = frame.pointer(1);
    let cvm = &mut monitor.cvms[id.index()];
    let mut buffer = [0; CHUNK];
    let mut done = 0;
    cvm.lines.begin();
    while done < length {
        let chunk = &mut buffer[..CHUNK.min(length - done)];
        user::copy_in(chunk, authority, address.wrapping_add(done as u64)).map_err(|_| Errno::EFAULT)?;
        let taken = cvm.lines.write(&cvm.spec.name, chunk);
        done += taken;
        if taken < chunk.len() {
            break;
        }
    }
    Ok(Outcome::Value(done as u64))
}

/// `read(stream, pointer, length, flags)`.
#[inline(never)]
pub(super) fn read(monitor: &mut Monitor, id: CvmId, frame: &Frame) -> Result<Outcome, Errno> {
    if frame.argument(0) != STREAM_INPUT {
        return Err(Errno::EBADF);
    }
    let length = length(frame.argument(2))?.min(TRANSFER_LIMIT);
    let flags = frame.argument(3);
    if flags & !READ_NONBLOCKING != 0 {
        return Err(Errno::EINVAL);
    }
    // The whole buffer must be the caller's, whatever the input will be: the answer must not depend on it.
    let (authority, address) = frame.pointer(1);
    user::probe_write(authority, address, length).map_err(|_| Errno::EFAULT)?;
    if length == 0 {
        let cvm = &mut monitor.cvms[id.index()];
        cvm.lines.prompt(&cvm.spec.name);
        return Ok(Outcome::Value(0));
    }
    monitor.service_devices();
    // Who waits already is served first.
    if !monitor.input.is_empty() && monitor.scheduler.reader().is_none() {
        return monitor.deliver_input(frame, length).map(Outcome::Value);
    }
    if flags & READ_NONBLOCKING != 0 {
        return Err(Errno::EAGAIN);
    }
    let cvm = &mut monitor.cvms[id.index()];
    cvm.lines.prompt(&cvm.spec.name);
    monitor.scheduler.read(arch::timer::now());
    Ok(Outcome::Switch)
}
