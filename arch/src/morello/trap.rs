//! Trap entry and exit: the assembly, and what happens between it and the kernel.

use super::frame::{Frame, STATUS_MASK};
use super::slot::LOAD_CAPABILITY_BIT;
use super::{float, timer};
use crate::board::{FatalHandler, Handler, MONITOR_FRAME, emergency_stack_top, monitor_fault, set_fatal, stack_top};
use crate::types::Trap;
use core::arch::global_asm;
use core::cell::Cell;
use core::mem::offset_of;
use core::ptr;

global_asm!(
    ".pushsection .text.intravisor_trap, \"ax\"",
    instruction_macros!(),
    include_str!("instructions.S"),
    include_str!("trap.S"),
    include_str!("copy.S"),
    include_str!("memory.S"),
    include_str!("slot.S"),
    ".popsection",
    interrupt = const INTERRUPT,
    other = const OTHER,
    registers = const Frame::REGISTERS,
    rcsp = const Frame::RCSP,
    rddc = const Frame::RDDC,
    rctpidr = const Frame::RCTPIDR,
    cid = const Frame::CID,
    prepared = const Frame::PREPARED,
    prepared_status = const Frame::PREPARED_STATUS,
    fresh = const Frame::FRESH,
    status = const Frame::STATUS,
    stack = const offset_of!(Hart, stack),
    handler = const offset_of!(Hart, handler),
    hostcall = const SYNDROME_HOSTCALL,
    fault_stack = const offset_of!(Hart, fault_stack),
    float_owner = const offset_of!(Hart, float),
    cause = const Frame::CAUSE,
    interrupted_sp = const Frame::INTERRUPTED_SP,
    status_mask = const STATUS_MASK,
    user_control = const CCTLR,
    load_capability = const LOAD_CAPABILITY_BIT,
    monitor_frame = sym MONITOR_FRAME,
    monitor_fault = sym monitor_fault,
    switch_float = sym float::switch_to,
);

unsafe extern "C" {
    fn intravisor_resume(frame: *const u8) -> !;
    fn intravisor_arm(hart: *const u8);
}

/// What the trap entry needs to know of a processor, reached by TPIDR_EL1.
#[repr(C)]
pub(super) struct Hart {
    /// Top of the stack on which traps out of cVMs are handled, and what handles hostcalls.
    stack: Cell<u64>,
    hostcall_handler: Cell<Option<Handler>>,
    /// What handles other traps out of cVMs.
    handler: Cell<Option<Handler>>,
    /// Top of the stack on which faults of the monitor are handled.
    fault_stack: Cell<u64>,
    pub(super) float: float::Registers,
}

// SAFETY: touched by one processor, with interrupts masked.
unsafe impl Sync for Hart {}

pub(super) static HART: Hart = Hart {
    stack: Cell::new(0),
    hostcall_handler: Cell::new(None),
    handler: Cell::new(None),
    fault_stack: Cell::new(0),
    float: float::Registers::nobodys(),
};

/// Causes of traps that ESR_EL1 says nothing about, in its place: IRQ; FIQ and SError.
const INTERRUPT: u64 = 1 << 63;
const OTHER: u64 = 1 << 62;

/// CCTLR_EL0.SBL: branches with link leave sentries, and Restricted branches need them. PERMVCT: the virtual counter can be
/// read without the System permission. All other bits stay 0: DDC and PCC do not relocate.
const CCTLR: u64 = 1 << 7 | 1 << 6;

/// ESR_EL1 of `svc #0` in AArch64, and of a use of floating point that traps (exception class 7).
const SYNDROME_HOSTCALL: u64 = 0x5600_0000;
const CLASS_SHIFT: u32 = 26;
const CLASS_FLOAT: u64 = 0x07;

/// Registers what handles the traps out of cVMs, and what the kernel does with a fault of the monitor, and arms the trap
/// entry. From here on no register that a cVM can name holds what reset left there.
pub fn install(fatal: FatalHandler, hostcall: Handler, handler: Handler) {
    set_fatal(fatal);
    HART.stack.set(stack_top());
    HART.fault_stack.set(emergency_stack_top());
    HART.hostcall_handler.set(Some(hostcall));
    HART.handler.set(Some(handler));
    // SAFETY: the structure is complete and lives in a static.
    unsafe { intravisor_arm((&raw const HART).cast()) }
}

/// Leaves the monitor for good: runs the thread behind `frame`.
pub fn resume(frame: &'static Frame) -> ! {
    float::switch_to(frame);
    // SAFETY: `frame` is pinned and attached; the monitor's stack is abandoned on purpose.
    unsafe { intravisor_resume(ptr::from_ref(frame).cast()) }
}

impl Frame {
    /// Why the processor left the program that this frame belongs to, when it was no hostcall.
    #[inline]
    pub fn trap(&self) -> Trap {
        match self.cause() {
            INTERRUPT if timer::is_due() => Trap::Timer,
            INTERRUPT => Trap::Interrupt,
            other => self.other_trap(other),
        }
    }

    /// No interrupt.
    #[inline(never)]
    fn other_trap(&self, cause: u64) -> Trap {
        if cause >> CLASS_SHIFT == CLASS_FLOAT && float::claim(self) {
            return Trap::Settled;
        }
        self.note_fault_address();
        Trap::Fault
    }
}
