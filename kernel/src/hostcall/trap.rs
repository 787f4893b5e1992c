//! Out of a cVM: a hostcall, the timer, a device or a fault. Whatever it was, somebody runs afterwards.

use crate::cvm::End;
use crate::hostcall;
use crate::report::console::say;
use crate::report::fault;
use crate::run::monitor::{MONITOR, Monitor};
use crate::run::thread::ThreadId;
use arch::{Frame, Trap};

/// Handles a trap out of the running thread, whose registers are in `frame`; returns the frame to resume.
///
/// The way of a hostcall that returns to its caller is short on purpose: everything else is out of line.
pub(crate) extern "C" fn handle(frame: &'static Frame) -> &'static Frame {
    let mut guard = MONITOR.lock();
    let Some(monitor) = guard.as_deref_mut() else {
        return frame;
    };
    let Some(thread) = monitor.scheduler.current() else {
        return frame;
    };
    let trap = frame.trap();
    if trap == Trap::Hostcall && hostcall::dispatch(monitor, thread, frame) == hostcall::Next::Return {
        return frame;
    }
    leave(monitor, thread, frame, trap)
}

/// Whoever was running may not go on: finds out who does.
#[inline(never)]
fn leave(monitor: &mut Monitor, thread: ThreadId, frame: &'static Frame, trap: Trap) -> &'static Frame {
    match trap {
        Trap::Hostcall => monitor.next(),
        Trap::Timer => tick(monitor),
        Trap::Interrupt => {
            monitor.service_devices();
            reschedule(monitor)
        }
        Trap::Fault => {
            let now = arch::timer::now();
            let description = arch::describe(frame);
            let id = monitor.scheduler.threads[thread].cvm;
            fault::report(&monitor.cvms[id], frame, &description);
            if let Some(caller) = monitor.served_by(thread) {
                say!(Info, "  in its handler, serving {}", monitor.cvms[caller].spec.name);
            }
            monitor.end(id, End::Faulted(description.kind), now);
            monitor.next()
        }
    }
}

fn tick(monitor: &mut Monitor) -> &'static Frame {
    monitor.due(arch::timer::now());
    reschedule(monitor)
}

/// Goes on with the current thread, or with another one when its slice is over or a more urgent one woke up.
fn reschedule(monitor: &mut Monitor) -> &'static Frame {
    let now = arch::timer::now();
    if monitor.scheduler.preempted(now) {
        monitor.scheduler.release(now);
    }
    monitor.next()
}
