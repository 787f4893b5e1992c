//! When the monitor itself is wrong: a report, and the machine stops with a failing status.

use crate::report::console::say;
use crate::report::{console, fault};
use arch::Frame;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU8, Ordering};

/// How often it has failed. A second failure, in the middle of the report, ends the run at once; a third one, of what ends the
/// run, leaves nothing to do.
static FAILURES: AtomicU8 = AtomicU8::new(0);

fn enter() {
    match FAILURES.fetch_add(1, Ordering::Relaxed) {
        0 => console::force_unlock(),
        1 => arch::power_off(false),
        _ => loop {
            arch::interrupts::wait();
        },
    }
}

/// A panic of the monitor: prints it with a backtrace and powers off with a failing status.
pub fn panic(info: &PanicInfo<'_>) -> ! {
    enter();
    match info.location() {
        Some(location) => say!(Error, "the monitor panicked at {location}: {}", info.message()),
        None => say!(Error, "the monitor panicked: {}", info.message()),
    }
    fault::monitor_backtrace(arch::frame_pointer());
    arch::power_off(false)
}

/// A fault in the monitor's own code: prints it with registers and backtrace and powers off with a failing status.
pub(crate) fn fatal(frame: &'static Frame) -> ! {
    enter();
    let description = arch::describe(frame);
    say!(Error, "the monitor itself faulted: {}", fault::Headline(&description));
    fault::print_monitor_location(description.pc);
    fault::registers(frame, &description);
    fault::monitor_backtrace(frame.frame_pointer());
    arch::power_off(false)
}
