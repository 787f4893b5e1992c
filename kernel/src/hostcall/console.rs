//! The console: write and read.

use super::{Outcome, length};
use crate::run::monitor::Monitor;
use crate::run::thread::State;
use abi::Errno;
use abi::hostcall::{READ_NONBLOCKING, STREAM_ERROR, STREAM_INPUT, STREAM_OUTPUT, TRANSFER_LIMIT};
use arch::{Frame, user};

/// Bytes that cross at a time, through a buffer on the monitor's stack.
const CHUNK: usize = 256;
/// End of input, as a terminal sends it (EOT, Ctrl-D).
const END_OF_INPUT: u8 = 4;

/// `write(stream, pointer, length)`.
#[inline(never)]
pub(super) fn write(monitor: &mut Monitor, id: usize, frame: &Frame) -> Result<Outcome, Errno> {
    if !matches!(frame.argument(0), STREAM_OUTPUT | STREAM_ERROR) {
        return Err(Errno::EBADF);
    }
    let length = length(frame.argument(2))?.min(TRANSFER_LIMIT);
    let (authority, address) = frame.pointer(1);
    let cvm = &mut monitor.cvms[id];
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
pub(super) fn read(monitor: &mut Monitor, id: usize, frame: &Frame) -> Result<Outcome, Errno> {
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
        return Ok(Outcome::Value(0));
    }
    monitor.service_devices();
    // Who waits already is served first.
    if !monitor.input.is_empty() && monitor.scheduler.reader().is_none() {
        return deliver(monitor, frame, length).map(Outcome::Value);
    }
    if flags & READ_NONBLOCKING != 0 {
        return Err(Errno::EAGAIN);
    }
    let cvm = &mut monitor.cvms[id];
    cvm.lines.prompt(&cvm.spec.name);
    monitor.block(State::Reading(arch::timer::now()));
    Ok(Outcome::Switch)
}

/// Moves input to a reader: up to `length` bytes, none for the end of input.
fn deliver(monitor: &mut Monitor, frame: &Frame, length: usize) -> Result<u64, Errno> {
    let mut buffer = [0; CHUNK];
    let mut count = 0;
    while count < length.min(CHUNK) {
        match monitor.peek_input() {
            Some(END_OF_INPUT) if count > 0 => break,
            Some(END_OF_INPUT) => {
                monitor.take_input();
                break;
            }
            Some(byte) => {
                monitor.take_input();
                buffer[count] = byte;
                count += 1;
            }
            None => break,
        }
    }
    let (authority, address) = frame.pointer(1);
    user::copy_out(&buffer[..count], authority, address).map_err(|_| Errno::EFAULT)?;
    Ok(count as u64)
}

/// Gives waiting input to the threads that wait for it.
pub(crate) fn serve_readers(monitor: &mut Monitor) {
    while let Some(id) = monitor.scheduler.reader().filter(|_| !monitor.input.is_empty()) {
        let frame = monitor.scheduler.threads[id].frame;
        // Its arguments are still in its frame.
        let result = length(frame.argument(2)).and_then(|length| deliver(monitor, frame, length.min(TRANSFER_LIMIT)));
        frame.set_result(result.unwrap_or_else(Errno::to_result));
        monitor.scheduler.wake(id);
    }
}
