//! Trap entry and exit: the assembly, and what happens between it and the kernel.

use super::frame::Frame;
use super::{user, variant};
use crate::types::Trap;
use core::arch::global_asm;
use core::sync::atomic::{AtomicUsize, Ordering};

global_asm!(
    ".pushsection .text.intravisor_trap, \"ax\"",
    ".option push",
    ".option norvc",
    ".option arch, +zicsr",
    include_str!("instructions.S"),
    include_str!("trap.S"),
    include_str!("copy.S"),
    ".option pop",
    ".popsection",
    pcc = const Frame::PCC,
    ddc = const Frame::DDC,
    own = const Frame::OWN,
    nested = const Frame::NESTED,
    cause = const Frame::CAUSE,
    value = const Frame::VALUE,
    status = const Frame::STATUS,
    pointer = const Frame::POINTER,
    stack = const Frame::STACK,
    handler = const Frame::HANDLER,
    hostcall = const CAUSE_HOSTCALL,
);

unsafe extern "C" {
    fn intravisor_trap_entry();
    fn intravisor_resume(frame: *const u8) -> !;
    fn intravisor_arm(frame: *const u8, entry: u64);
}

/// `mcause` of an environment call from U-mode.
const CAUSE_HOSTCALL: u64 = 8;
/// `mcause` of interrupts: the top bit and the number.
const CAUSE_TIMER: u64 = 1 << 63 | 7;
const CAUSE_EXTERNAL: u64 = 1 << 63 | 11;

/// What happens with a trap out of a frame: the handler returns the frame to resume. It asks [`Frame::trap`] what it was.
pub type Handler = extern "C" fn(&'static Frame) -> &'static Frame;
/// What the kernel does when the monitor itself faults.
pub type FatalHandler = fn(&'static Frame) -> !;

static FATAL: AtomicUsize = AtomicUsize::new(0);

/// Registers what the kernel does with a fault of the monitor and arms the trap entry.
pub fn install(fatal: FatalHandler) {
    FATAL.store(fatal as usize, Ordering::Relaxed);
    let entry = (intravisor_trap_entry as *const () as u64).wrapping_add(variant::bias());
    // SAFETY: the monitor's own frame is pinned in a static and has its authority (`init` attached it).
    unsafe { intravisor_arm((&raw const super::MONITOR_FRAME).cast(), entry) }
}

/// Leaves the monitor for good: runs the thread behind `frame`.
pub fn resume(frame: &'static Frame) -> ! {
    // SAFETY: `frame` is pinned and attached; the monitor's stack is abandoned on purpose.
    unsafe { intravisor_resume((frame as *const Frame).cast()) }
}

impl Frame {
    /// Why the processor left the program that this frame belongs to.
    #[inline]
    pub fn trap(&self) -> Trap {
        match self.cause() {
            CAUSE_HOSTCALL => Trap::Hostcall,
            CAUSE_TIMER => Trap::Timer,
            CAUSE_EXTERNAL => Trap::Interrupt,
            _ => Trap::Fault,
        }
    }
}

/// The handler of the monitor's own frame: refused by a cVM's capability in a copy routine, or a bug of the monitor.
pub(super) extern "C" fn monitor_fault(frame: &'static Frame) -> &'static Frame {
    if let Some(fixup) = user::fixup(frame.pc()) {
        frame.set_pc(fixup);
        frame.forget_capabilities();
        return frame;
    }
    // SAFETY: `install` stored a `FatalHandler` before it armed the trap entry.
    let fatal = unsafe { core::mem::transmute::<usize, FatalHandler>(FATAL.load(Ordering::Relaxed)) };
    fatal(frame)
}
