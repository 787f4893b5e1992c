//! When the monitor itself is wrong: a report, and the machine stops with a failing status.

use crate::report::console::say;
use crate::report::{console, fault};
use arch::Frame;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

/// Set by the first failure. A second one, in the middle of the report, ends the run at once.
static FAILED: AtomicBool = AtomicBool::new(false);

fn enter() {
    if FAILED.swap(true, Ordering::Relaxed) {
        arch::power_off(false);
    }
    console::force_unlock();
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
