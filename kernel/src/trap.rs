//! Out of a cVM: a hostcall, the timer, a device or a fault. Whatever it was, somebody runs afterwards.

use crate::cvm::End;
use crate::state::{MONITOR, Monitor};
use crate::{fault, hostcall};
use arch::{Frame, Trap};

/// Handles a trap out of the running thread, whose registers are in `frame`; returns the frame to resume.
pub(crate) fn handle(frame: &'static Frame, trap: Trap) -> &'static Frame {
    let mut guard = MONITOR.lock();
    let Some(monitor) = guard.as_deref_mut() else {
        return frame;
    };
    let Some(id) = monitor.current() else { return frame };
    match trap {
        Trap::Hostcall => match hostcall::dispatch(monitor, id, frame) {
            hostcall::Next::Return => frame,
            hostcall::Next::Switch => monitor.next(),
        },
        Trap::Timer => tick(monitor),
        Trap::Interrupt => {
            monitor.service_devices();
            reschedule(monitor)
        }
        Trap::Fault => {
            let description = arch::describe(frame);
            fault::report(&monitor.cvms[id], frame, &description);
            monitor.end(id, End::Faulted(description.kind), arch::timer::now());
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
