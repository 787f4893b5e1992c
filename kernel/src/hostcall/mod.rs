//! Hostcalls: the dispatch, and one module a family. `abi::hostcall` is the reference.

mod capfile;
mod console;
mod memory;
mod process;
mod time;
pub(crate) mod trap;

use crate::run::monitor::Monitor;
use crate::run::thread::ThreadId;
use abi::hostcall::Family;
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
pub(crate) enum Outcome {
    /// It returns this value.
    Value(u64),
    /// Its results are in the frame already.
    Set,
    /// The caller goes on later; its result is in its frame already, or will be.
    Switch,
}

/// Finds out who serves the hostcall that `frame` holds, made by this thread, and lets it be served.
#[inline]
pub(crate) fn dispatch(monitor: &mut Monitor, thread: ThreadId, frame: &Frame) -> Next {
    let id = monitor.scheduler.threads[thread].cvm;
    let cvm = &mut monitor.cvms[id];
    cvm.hostcalls += 1;
    let number = frame.number();
    // One look at who serves it, for the shortest way; everything else is found out behind.
    let direct = number < 64 && cvm.direct >> number & 1 == 1;
    if direct && number == Hostcall::Null as u64 {
        frame.set_result(0);
        return Next::Return;
    }
    finish(frame, route(monitor, thread, frame, direct))
}

/// Finds out who serves a hostcall other than the null one of a cVM that the monitor serves.
#[inline(never)]
fn route(monitor: &mut Monitor, thread: ThreadId, frame: &Frame, direct: bool) -> Result<Outcome, Errno> {
    let hostcall = Hostcall::from_number(frame.number());
    let spec = &monitor.cvms[monitor.scheduler.threads[thread].cvm].spec;
    match hostcall {
        Some(hostcall) if direct => serve(monitor, thread, frame, hostcall),
        Some(hostcall) if !spec.allows(hostcall) => Err(Errno::EPERM),
        // What concerns a cVM's own role as a server stays with the monitor.
        Some(hostcall) if hostcall.family() == Family::Service => serve(monitor, thread, frame, hostcall),
        _ => match spec.server {
            Some(server) => monitor.call(thread, server),
            None => Err(Errno::ENOSYS),
        },
    }
}

/// Serves a hostcall, as the monitor.
#[inline(never)]
fn serve(monitor: &mut Monitor, thread: ThreadId, frame: &Frame, hostcall: Hostcall) -> Result<Outcome, Errno> {
    let id = monitor.scheduler.threads[thread].cvm;
    match hostcall {
        Hostcall::Null => Ok(Outcome::Value(0)),
        Hostcall::Exit => process::exit(monitor, id, frame.argument(0)),
        Hostcall::Yield => time::yield_now(monitor, frame),
        Hostcall::Write => console::write(monitor, id, frame),
        Hostcall::Read => console::read(monitor, id, frame),
        Hostcall::Nanosleep => time::nanosleep(monitor, frame),
        Hostcall::Clock => time::clock(monitor),
        Hostcall::Arguments => process::arguments(monitor, id, frame),
        Hostcall::Info => process::info(monitor, id, frame),
        Hostcall::Heap => memory::heap(monitor, id, frame),
        Hostcall::Capfile => capfile::capfile(monitor, frame),
        Hostcall::Serve => monitor.serve(thread),
        Hostcall::Reply => monitor.reply(thread, frame),
        Hostcall::Delegate => monitor.delegate(thread),
        _ => Err(Errno::ENOSYS),
    }
}

/// Serves a hostcall that all its caller's servers have passed on; the caller is the running thread.
pub(crate) fn serve_delegated(monitor: &mut Monitor, thread: ThreadId, frame: &Frame) {
    let outcome = match Hostcall::from_number(frame.number()) {
        Some(hostcall) => serve(monitor, thread, frame, hostcall),
        None => Err(Errno::ENOSYS),
    };
    finish(frame, outcome);
}

/// Puts the result of a hostcall into its caller's frame.
fn finish(frame: &Frame, outcome: Result<Outcome, Errno>) -> Next {
    match outcome {
        Ok(Outcome::Value(value)) => frame.set_result(value),
        Ok(Outcome::Set) => {}
        Err(errno) => frame.set_result(errno.to_result()),
        Ok(Outcome::Switch) => return Next::Switch,
    }
    Next::Return
}

/// A length argument: `EINVAL` for what cannot be the size of an object.
pub(crate) fn length(argument: u64) -> Result<usize, Errno> {
    isize::try_from(argument)
        .map(|length| length as usize)
        .map_err(|_| Errno::EINVAL)
}

/// Copies the first `length` bytes of `record` to the caller and returns the record's whole size.
fn copy_record(frame: &Frame, record: &[u8]) -> Result<Outcome, Errno> {
    let length = length(frame.argument(1))?.min(record.len());
    if length > 0 {
        let (authority, address) = frame.pointer(0);
        arch::user::copy_out(&record[..length], authority, address).map_err(|_| Errno::EFAULT)?;
    }
    Ok(Outcome::Value(record.len() as u64))
}
