//! Hostcalls: the dispatch, and one module a family. `abi::hostcall` is the reference.

mod buffer;
mod console;
pub(crate) mod device;
mod memory;
mod process;
pub(crate) mod sync;
mod time;
pub(crate) mod trap;

use crate::cvm::id::ThreadId;
use crate::cvm::short::{Line, Short};
use crate::run::gate;
use crate::run::monitor::{Monitor, Outcome};
use crate::run::shortcut::Usual;
use abi::hostcall::WITH_SECOND;
use abi::{Errno, Hostcall};
use arch::Frame;
use core::sync::atomic::Ordering::Relaxed;

pub(crate) use crate::run::length;

/// How the trap handler goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Back to the caller.
    Return,
    /// The caller waits or is gone, or somebody more urgent has woken up: somebody else runs.
    Switch,
}

/// The usual served call, there and back, on its short way.
#[inline(always)]
pub(crate) fn usual(monitor: &mut Monitor, frame: &'static Frame, short: &'static Short) -> Usual {
    let number = frame.number();
    let Some(line) = monitor.usual else {
        return if short.is_served(number) {
            monitor.usual_call(frame, short)
        } else {
            Usual::Not
        };
    };
    let replies = number == Hostcall::Reply as u64 && frame.argument(2) <= WITH_SECOND;
    let delegates = number == Hostcall::Delegate as u64 && line.last && !line.client().raw;
    if !replies && !delegates {
        // Looking at the clock makes no call unusual.
        if number == Hostcall::Clock as u64 && short.is_direct(number) {
            frame.set_result(time::since_start(monitor));
            return Usual::Done(frame);
        }
        return Usual::Not;
    }
    let Some(to) = monitor.usual_end(line) else {
        return Usual::Not;
    };
    if delegates {
        return Usual::Delegated(line);
    }
    to.set_result(frame.argument(0));
    if frame.argument(2) == WITH_SECOND {
        to.set_second(frame.argument(1));
    }
    if line.lent.load(Relaxed) {
        return Usual::Lent(line);
    }
    Usual::Done(to)
}

/// Serves the usual call, which its server has passed on; who runs afterwards.
#[inline(always)]
pub(crate) fn delegated(monitor: &mut Monitor, line: &'static Line) -> &'static Frame {
    let frame = line.caller();
    if line.lent.load(Relaxed) {
        monitor.recall_usually(line);
    }
    if frame.number() == Hostcall::Null as u64 {
        frame.set_result(0);
        return frame;
    }
    match monitor.scheduler.current() {
        Some(caller) if finish(monitor, frame, Ok(Outcome::Delegated(caller))) == Next::Return => frame,
        _ => monitor.next(),
    }
}

/// Does what a short way has left to be done, as the trap handler does on ways of its own; who runs afterwards.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn complete(monitor: &mut Monitor, usual: Usual) -> Option<&'static Frame> {
    match usual {
        Usual::Done(to) => Some(to),
        Usual::Unlisted(next) => Some(monitor.scheduler.list_next(next)),
        Usual::Lending(line, what) => monitor.lend_usually(line, what),
        Usual::Lent(line) => {
            monitor.recall_usually(line);
            Some(line.caller())
        }
        Usual::Delegated(line) => Some(delegated(monitor, line)),
        Usual::Not => None,
    }
}

/// Finds out who serves the hostcall that `frame` holds, made by this thread, and lets it be served.
#[inline(never)]
pub(crate) fn dispatch(monitor: &mut Monitor, thread: ThreadId, frame: &Frame) -> Next {
    let number = frame.number();
    let cvm = &monitor.cvms[monitor.scheduler[thread].cvm.index()];
    let outcome = match cvm.server {
        Some(server) if cvm.short.is_served(number) => Ok(monitor.call(thread, server)),
        _ => match Hostcall::from_number(number) {
            Some(hostcall) if cvm.spec.allows(hostcall) => serve(monitor, thread, frame, hostcall),
            Some(_) => Err(Errno::EPERM),
            None => Err(Errno::ENOSYS),
        },
    };
    finish(monitor, frame, outcome)
}

/// Serves a hostcall, as the monitor.
#[inline]
fn serve(monitor: &mut Monitor, thread: ThreadId, frame: &Frame, hostcall: Hostcall) -> Result<Outcome, Errno> {
    let (id, home) = (monitor.scheduler[thread].cvm, monitor.scheduler[thread].home);
    if id != home && gate::is_for_own_threads(hostcall) {
        return Err(Errno::EPERM);
    }
    match hostcall {
        Hostcall::Null => Ok(Outcome::Value(0)),
        Hostcall::Exit => process::exit(monitor, id, frame.argument(0)),
        Hostcall::Yield => time::yield_now(monitor, frame),
        Hostcall::Write => console::write(monitor, id, frame),
        Hostcall::Read => console::read(monitor, id, frame),
        Hostcall::Nanosleep => time::nanosleep(monitor, frame),
        Hostcall::Clock => time::clock(monitor),
        Hostcall::WallClock => time::wall_clock(monitor),
        Hostcall::Arguments => process::arguments(monitor, id, frame),
        Hostcall::Info => process::info(monitor, id, frame),
        Hostcall::Heap => memory::heap(monitor, id, frame),
        Hostcall::Capfile => buffer::capfile(monitor, id, frame),
        Hostcall::Serve => monitor.serve(thread),
        Hostcall::Reply => monitor.reply(thread, frame),
        Hostcall::Delegate => monitor.delegate(thread),
        Hostcall::ThreadCreate => monitor.create_thread(thread, frame),
        Hostcall::ThreadExit => monitor.exit_thread(thread, frame),
        // A thread that has come by a gate is none of the cVM's.
        Hostcall::ThreadSelf if id != home => Err(Errno::ESRCH),
        Hostcall::ThreadSelf => Ok(Outcome::Value(monitor.scheduler[thread].number())),
        Hostcall::ThreadPriority => monitor.set_thread_priority(thread, frame),
        Hostcall::ThreadEnd => monitor.end_thread(thread, frame),
        Hostcall::Wait => sync::wait(monitor, frame),
        Hostcall::Wake => sync::wake(monitor, frame),
        Hostcall::Defer => monitor.defer(thread, frame),
        Hostcall::Answer => monitor.answer_deferred(thread, frame),
        Hostcall::BufferFind => buffer::find(monitor, id, frame),
        Hostcall::BufferCreate => buffer::create(monitor, id, frame),
        Hostcall::BufferMap => monitor.map_buffer(id, frame, [frame.argument(0), frame.argument(1)]),
        Hostcall::BufferGrant => monitor.grant_buffer(id, frame),
        Hostcall::BufferRevoke => monitor.revoke_buffer(id, frame),
        Hostcall::BufferDestroy => monitor.destroy_buffer(id, frame),
        Hostcall::DeviceInfo
        | Hostcall::DeviceConfig
        | Hostcall::DeviceStart
        | Hostcall::DeviceSubmit
        | Hostcall::DeviceTake
        | Hostcall::DeviceWait
        | Hostcall::DeviceReset => device::serve(monitor, id, hostcall, frame),
        Hostcall::Clone => monitor.clone_caller(thread, frame),
        Hostcall::Gate => monitor.give_gate(id, frame, &name(frame)?),
        Hostcall::Holding => process::holding(monitor, id, frame),
        Hostcall::Text => monitor.change_text(id, frame),
        Hostcall::Registers => monitor.registers(thread, frame),
        Hostcall::Seize => monitor.seize(id, frame),
    }
}

/// Puts the result of a hostcall into its caller's frame.
fn finish(monitor: &mut Monitor, frame: &Frame, outcome: Result<Outcome, Errno>) -> Next {
    match outcome {
        Ok(Outcome::Value(value)) => frame.set_result(value),
        Ok(Outcome::Set) => {}
        Err(errno) => frame.set_result(errno.to_result()),
        Ok(Outcome::Switch) => return Next::Switch,
        Ok(Outcome::Delegated(caller)) => {
            let frame = monitor.scheduler[caller].frame;
            let outcome = match Hostcall::from_number(frame.number()) {
                Some(hostcall) => serve(monitor, caller, frame, hostcall),
                None => Err(Errno::ENOSYS),
            };
            // The monitor passes nothing on.
            finish(monitor, frame, outcome);
            return Next::Switch;
        }
    }
    if monitor.scheduler.outranked() {
        return Next::Switch;
    }
    Next::Return
}

/// The name that argument 0 points to and argument 1 tells the length of.
fn name<const LIMIT: usize>(frame: &Frame) -> Result<heapless::Vec<u8, LIMIT>, Errno> {
    let length = length(frame.argument(1))?;
    let mut name = heapless::Vec::new();
    name.resize(length, 0).map_err(|_| Errno::EINVAL)?;
    if name.is_empty() {
        return Err(Errno::EINVAL);
    }
    let (authority, address) = frame.pointer(0);
    arch::user::copy_in(&mut name, authority, address).map_err(|_| Errno::EFAULT)?;
    Ok(name)
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
