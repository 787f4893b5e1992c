//! What the modules of both ISAs have in common: the monitor's own slots, stacks and faults, and the copy routines.

pub(crate) mod reach;

use crate::isa::{BACKTRACE_PREVIOUS, BACKTRACE_RETURN, Frame, Slot, physical};
use core::sync::atomic::{AtomicUsize, Ordering};

/// The root capability, from reset until the kernel destroys it.
#[unsafe(export_name = "intravisor_root")]
static ROOT: Slot = Slot::null();
/// The frame that a fault of the monitor itself is saved to.
pub(crate) static MONITOR_FRAME: Frame = Frame::empty();

unsafe extern "C" {
    static intravisor_stack_bottom: u8;
    static intravisor_stack_top: u8;
    static intravisor_emergency_stack_top: u8;
}

/// The slot that the reset code stores the root capability to.
pub fn root() -> &'static Slot {
    &ROOT
}

/// The top of the stack on which the monitor runs.
pub(crate) fn stack_top() -> u64 {
    &raw const intravisor_stack_top as u64
}

/// The top of the stack on which a fault of the monitor is reported.
pub(crate) fn emergency_stack_top() -> u64 {
    &raw const intravisor_emergency_stack_top as u64
}

/// Return address (physical) and frame pointer of the caller of the monitor's function that has this frame pointer; `None` when
/// it does not point into the monitor's stacks.
pub fn caller(frame_pointer: u64) -> Option<[u64; 2]> {
    const LOWEST: i64 = if BACKTRACE_PREVIOUS < BACKTRACE_RETURN {
        BACKTRACE_PREVIOUS
    } else {
        BACKTRACE_RETURN
    };
    let stacks = &raw const intravisor_stack_bottom as u64..emergency_stack_top();
    let start = frame_pointer.checked_add_signed(LOWEST)?;
    if !frame_pointer.is_multiple_of(8) || start < stacks.start || start.checked_add(16)? > stacks.end {
        return None;
    }
    let read = |offset: i64| {
        let word = frame_pointer.wrapping_add_signed(offset) as *const u64;
        // SAFETY: an aligned word of the monitor's own stacks.
        unsafe { word.read() }
    };
    let caller = read(BACKTRACE_RETURN) as *const u8;
    (!caller.is_null()).then(|| [physical(caller), read(BACKTRACE_PREVIOUS)])
}

/// What happens with a trap out of a frame: the handler returns the frame to resume. There is one for hostcalls - the frame
/// points behind the instruction then - and another one, which asks [`Frame::trap`] what it was.
pub type Handler = extern "C" fn(&'static Frame) -> &'static Frame;
/// What the kernel does when the monitor itself faults.
pub type FatalHandler = fn(&'static Frame) -> !;

static FATAL: AtomicUsize = AtomicUsize::new(0);

/// What the kernel does with a fault of the monitor from now on.
pub(crate) fn set_fatal(fatal: FatalHandler) {
    FATAL.store(fatal as usize, Ordering::Relaxed);
}

/// The handler of the monitor's own frame: refused by a cVM's capability in a copy routine, a way to power off that does
/// not exist, or a bug of the monitor.
pub(crate) extern "C" fn monitor_fault(frame: &'static Frame) -> &'static Frame {
    if let Some(fixup) = reach::fixup(frame.pc()) {
        frame.set_pc(fixup);
        frame.forget_capabilities();
        return frame;
    }
    // SAFETY: `install` stored a `FatalHandler` by `set_fatal` before it armed the trap entry.
    let fatal = unsafe { core::mem::transmute::<usize, FatalHandler>(FATAL.load(Ordering::Relaxed)) };
    fatal(frame)
}
