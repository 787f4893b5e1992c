//! Hostcalls: the dispatch, and one module a family. `abi::hostcall` is the reference.

mod console;
mod process;
mod time;

use crate::state::Monitor;
use abi::{Errno, Hostcall};
use arch::Frame;

pub(crate) use console::serve_readers;

/// How the trap handler goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Back to the caller.
    Return,
    /// The caller waits or is gone: somebody else runs.
    Switch,
}

/// What a hostcall did.
enum Outcome {
    /// It returns this value.
    Value(u64),
    /// The caller goes on later; its result is in its frame already, or will be.
    Switch,
}

/// Serves the hostcall that `frame` holds, made by cVM `id`.
#[inline]
pub(crate) fn dispatch(monitor: &mut Monitor, id: usize, frame: &Frame) -> Next {
    monitor.cvms[id].hostcalls += 1;
    let outcome = match Hostcall::from_number(frame.number()) {
        Some(Hostcall::Null) => Ok(Outcome::Value(0)),
        Some(Hostcall::Exit) => process::exit(monitor, id, frame.argument(0)),
        Some(Hostcall::Yield) => time::yield_now(monitor, frame),
        Some(Hostcall::Write) => console::write(monitor, id, frame),
        Some(Hostcall::Read) => console::read(monitor, id, frame),
        Some(Hostcall::Nanosleep) => time::nanosleep(monitor, frame),
        Some(Hostcall::Clock) => time::clock(monitor),
        Some(Hostcall::Arguments) => process::arguments(monitor, id, frame),
        Some(Hostcall::Info) => process::info(monitor, id, frame),
        Some(Hostcall::Heap | Hostcall::Capfile | Hostcall::Serve | Hostcall::Reply | Hostcall::Delegate) | None => {
            Err(Errno::ENOSYS)
        }
    };
    match outcome {
        Ok(Outcome::Value(value)) => frame.set_result(value),
        Err(errno) => frame.set_result(errno.to_result()),
        Ok(Outcome::Switch) => return Next::Switch,
    }
    Next::Return
}

/// A length argument: `EINVAL` for what cannot be the size of an object.
fn length(argument: u64) -> Result<usize, Errno> {
    isize::try_from(argument)
        .map(|length| length as usize)
        .map_err(|_| Errno::EINVAL)
}

/// Copies the first `length` bytes of `record` to the caller and returns the record's whole size.
fn copy_record(frame: &Frame, record: &[u8]) -> Result<Outcome, Errno> {
    let length = length(frame.argument(1))?.min(record.len());
    if length > 0 {
        let address = arch::user::absolute(frame.data(), frame.argument(0));
        arch::user::copy_out(&record[..length], frame.data(), address).map_err(|_| Errno::EFAULT)?;
    }
    Ok(Outcome::Value(record.len() as u64))
}
