//! Out of a cVM: a hostcall, the timer, a device or a fault. Whatever it was, somebody runs afterwards.

use crate::cvm::End;
use crate::cvm::id::ThreadId;
use crate::cvm::short::Line;
use crate::hostcall::{self, Next};
use crate::report::console::say;
use crate::report::fault;
use crate::run::hart;
use crate::run::monitor::{MONITOR, Monitor};
use crate::run::shortcut::Usual;
use abi::Hostcall;
use alloc::boxed::Box;
use arch::{Frame, Settled, Trap};
use spin::MutexGuard;

type Guard = MutexGuard<'static, Option<Box<Monitor>>>;

/// Handles a hostcall of the running thread, whose registers are in `frame`; returns the frame to resume.
///
/// The way of a null hostcall that the monitor serves is short on purpose, and those of waits and wakes: everything else is
/// out of line.
pub(crate) extern "C" fn called(frame: &'static Frame) -> &'static Frame {
    let (number, cvm) = (frame.number(), hart::running());
    cvm.count();
    if number == Hostcall::Null as u64 && cvm.is_direct(number) {
        frame.set_result(0);
        return frame;
    }
    if number == Hostcall::Wait as u64 && cvm.is_direct(number) {
        return waits(frame);
    }
    if number == Hostcall::Wake as u64 && cvm.is_direct(number) {
        return wakes(frame);
    }
    calls(frame)
}

/// A wait of a cVM that the monitor serves. Nothing here is called but to end with it: no register has to be saved.
#[inline(never)]
fn waits(frame: &'static Frame) -> &'static Frame {
    let mut guard = MONITOR.lock();
    let Some(monitor) = guard.as_deref_mut() else {
        return frame;
    };
    match hostcall::sync::usual_wait(monitor, frame) {
        Usual::Done(to) => to,
        Usual::Unlisted(next) => listed(guard, next),
        _ => at_length(guard, frame),
    }
}

/// A wake of a cVM that the monitor serves, as [`waits`].
#[inline(never)]
fn wakes(frame: &'static Frame) -> &'static Frame {
    let mut guard = MONITOR.lock();
    let Some(monitor) = guard.as_deref_mut() else {
        return frame;
    };
    match hostcall::sync::usual_wake(monitor, frame) {
        Usual::Done(to) => to,
        Usual::Unlisted(next) => listed(guard, next),
        _ => at_length(guard, frame),
    }
}

/// A hostcall that is not usual.
#[inline(never)]
fn at_length(mut guard: Guard, frame: &'static Frame) -> &'static Frame {
    let Some(monitor) = guard.as_deref_mut() else {
        return frame;
    };
    if hostcall::device::usual(monitor, frame, hart::running()) {
        return frame;
    }
    monitor.write_down();
    let Some(thread) = monitor.scheduler.current() else {
        return frame;
    };
    if monitor.scheduler[thread].calls.is_some() {
        monitor.arrive(thread, frame, false);
        monitor.count_for(thread);
    }
    if hostcall::dispatch(monitor, thread, frame) == Next::Switch {
        return monitor.next();
    }
    monitor.depart(thread);
    frame
}

/// Who runs next has to be noted in the list of its family.
#[inline(never)]
fn listed(mut guard: Guard, next: ThreadId) -> &'static Frame {
    let scheduler = guard.as_deref_mut().map(|monitor| &mut monitor.scheduler);
    match scheduler {
        Some(scheduler) => scheduler.list_next(next),
        None => panic!("there is no monitor"),
    }
}

/// Any other hostcall, as [`waits`].
#[inline(never)]
fn calls(frame: &'static Frame) -> &'static Frame {
    let mut guard = MONITOR.lock();
    let Some(monitor) = guard.as_deref_mut() else {
        return frame;
    };
    match hostcall::usual(monitor, frame, hart::running()) {
        Usual::Done(to) => to,
        Usual::Lending(line, what) => lends(guard, frame, line, what),
        Usual::Lent(line) => recalls(guard, line),
        Usual::Delegated(line) => delegated(guard, line),
        _ => at_length(guard, frame),
    }
}

/// The usual call lends something.
#[inline(never)]
fn lends(mut guard: Guard, frame: &'static Frame, line: &'static Line, what: [bool; 2]) -> &'static Frame {
    let monitor = guard.as_deref_mut();
    match monitor.and_then(|monitor| monitor.lend_usually(line, what)) {
        Some(to) => to,
        None => at_length(guard, frame),
    }
}

/// The usual call is over, and has lent something; its caller runs next.
#[inline(never)]
fn recalls(mut guard: Guard, line: &'static Line) -> &'static Frame {
    if let Some(monitor) = guard.as_deref_mut() {
        monitor.recall_usually(line);
    }
    line.caller()
}

/// The handler of the usual call has passed it on to the monitor.
#[inline(never)]
fn delegated(mut guard: Guard, line: &'static Line) -> &'static Frame {
    match guard.as_deref_mut() {
        Some(monitor) => hostcall::delegated(monitor, line),
        None => line.caller(),
    }
}

/// Handles the timer, a device or a fault, as [`called`].
pub(crate) extern "C" fn interrupted(frame: &'static Frame) -> &'static Frame {
    let trap = frame.trap();
    let mut guard = MONITOR.lock();
    let Some(monitor) = guard.as_deref_mut() else {
        return frame;
    };
    let usual = if trap == Trap::Timer {
        monitor.usual_switch()
    } else {
        None
    };
    match usual {
        Some(next) => next,
        None => otherwise(monitor, frame, trap),
    }
}

/// No hostcall, and not the usual end of a time slice.
#[inline(never)]
fn otherwise(monitor: &mut Monitor, frame: &'static Frame, trap: Trap) -> &'static Frame {
    monitor.write_down();
    let Some(thread) = monitor.scheduler.current() else {
        return frame;
    };
    if monitor.arrive(thread, frame, trap == Trap::Fault) == Settled::Refused {
        monitor.depart(thread);
        return frame;
    }
    match trap {
        Trap::Timer => {
            let now = arch::timer::now();
            monitor.due(now);
            monitor.reschedule(now);
        }
        Trap::Interrupt => {
            monitor.service_devices();
            monitor.reschedule(arch::timer::now());
        }
        Trap::Settled => {
            monitor.depart(thread);
            return frame;
        }
        Trap::Fault => fault(monitor, thread, frame),
    }
    monitor.next()
}

/// A thread did what it may not: the life of its cVM is over.
#[inline(never)]
fn fault(monitor: &mut Monitor, thread: ThreadId, frame: &Frame) {
    let now = arch::timer::now();
    let description = arch::describe(frame);
    let id = monitor.scheduler[thread].cvm;
    let place = monitor.scheduler[thread].place;
    fault::report(&monitor.cvms[id.index()], frame, &description);
    if let Some(caller) = monitor.served_by(thread) {
        let client = &monitor.cvms[caller.index()].spec.name;
        say!(Info, "  in its handler, serving {client}");
    } else if monitor.scheduler[thread].home != id {
        let caller = &monitor.cvms[monitor.scheduler[thread].home.index()].spec.name;
        say!(Info, "  in a gate, called by a thread of {caller}");
    } else if place > 0 {
        say!(Info, "  in its thread {}", monitor.scheduler[thread].number());
    }
    monitor.end(id, End::Faulted(description.kind), now);
}
