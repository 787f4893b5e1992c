//! Trap entry and exit: the assembly, and what happens between it and the kernel.

use super::frame::Frame;
use super::slot::Slot;
use super::{float, variant};
use crate::board::{FatalHandler, Handler, MONITOR_FRAME, emergency_stack_top, monitor_fault, set_fatal, stack_top};
use crate::monitor_data_permissions;
use crate::types::{Derivation, DeriveError, Trap};
use core::arch::{asm, global_asm};
use core::cell::Cell;
use core::mem::{offset_of, size_of};
use core::ptr;

global_asm!(
    ".pushsection .text.intravisor_trap, \"ax\"",
    ".option push",
    ".option norvc",
    ".option norelax",
    ".option arch, +a, +zicsr",
    instruction_macros!(),
    include_str!("instructions.S"),
    include_str!("trap.S"),
    include_str!("copy.S"),
    include_str!("memory.S"),
    ".option pop",
    ".popsection",
    pcc = const Frame::PCC,
    ddc = const Frame::DDC,
    own = const Frame::OWN,
    cause = const Frame::CAUSE,
    value = const Frame::VALUE,
    status = const Frame::STATUS,
    pointer = const Frame::POINTER,
    mode = const Frame::MODE,
    fresh_pcc = const Frame::FRESH_PCC,
    fresh_ddc = const Frame::FRESH_DDC,
    fresh_stack = const Frame::FRESH_STACK,
    fresh_thread = const Frame::FRESH_THREAD,
    fresh_spare = const Frame::FRESH_SPARE,
    nested = const offset_of!(Hart, nested),
    data = const offset_of!(Hart, data),
    hostcall_handler = const offset_of!(Hart, hostcall_handler),
    handler = const offset_of!(Hart, handler),
    fault_handler = const offset_of!(Hart, fault_handler),
    leave = const offset_of!(Hart, leave),
    hart_own = const offset_of!(Hart, own),
    stack = const offset_of!(Hart, stack),
    fault_stack = const offset_of!(Hart, fault_stack),
    back = const offset_of!(Hart, back),
    fault_back = const offset_of!(Hart, fault_back),
    hart = const offset_of!(Hart, pointer),
    exchange_float = sym float::exchange,
    hostcall = const CAUSE_HOSTCALL,
);

unsafe extern "C" {
    fn intravisor_trap_entry();
    fn intravisor_leave();
    fn intravisor_back();
    fn intravisor_fault_back();
    fn intravisor_code(slot: *mut u64, address: u64, capability_mode: u64);
    fn intravisor_resume(frame: *const u8, hart: *const u8) -> !;
    fn intravisor_arm(frame: *const u8, entry: u64, hart: *const u8);
}

/// What the trap entry needs to know of a hart, reached by MTDC.
#[repr(C, align(16))]
pub(super) struct Hart {
    /// Where the trap entry sends a failing store-conditional: no reservation survives a trap.
    scratch: Cell<u64>,
    /// This structure as the monitor's pointers count.
    pointer: Cell<u64>,
    /// Tops of the stacks on which traps out of cVMs are handled, and faults of the monitor.
    stack: Cell<u64>,
    fault_stack: Cell<u64>,
    /// Where the handlers return to.
    back: Cell<u64>,
    fault_back: Cell<u64>,
    /// The frame whose floating-point registers the processor has; the address is only compared and saved to.
    pub(super) float_owner: Cell<*const Frame>,
    /// Authority over the frame that a fault of the monitor is saved to.
    nested: Slot,
    /// The monitor's data, for DDC.
    data: Slot,
    /// The handlers, in hybrid mode.
    hostcall_handler: Slot,
    handler: Slot,
    fault_handler: Slot,
    /// The way out, in capability mode.
    leave: Slot,
    /// Authority over this structure, for MTDC.
    own: Slot,
}

// SAFETY: touched by one hart, with interrupts off.
unsafe impl Sync for Hart {}

pub(super) static HART: Hart = Hart {
    scratch: Cell::new(0),
    pointer: Cell::new(0),
    stack: Cell::new(0),
    fault_stack: Cell::new(0),
    back: Cell::new(0),
    fault_back: Cell::new(0),
    float_owner: Cell::new(ptr::null()),
    nested: Slot::null(),
    data: Slot::null(),
    hostcall_handler: Slot::null(),
    handler: Slot::null(),
    fault_handler: Slot::null(),
    leave: Slot::null(),
    own: Slot::null(),
};

/// Gives the hart's structure its own authority and that over the monitor's frame; `root` is what they are derived from.
pub(super) fn init(root: &Slot, nested: &Slot) -> Result<(), DeriveError> {
    let base = variant::physical(&raw const HART);
    let request = Derivation::over(base..base + size_of::<Hart>() as u64, monitor_data_permissions());
    HART.own.derive(root, &request)?;
    // What DDC is now: the root, and where the processor relocates, at the origin of the monitor's pointers.
    // SAFETY: stores DDC to a live, aligned slot; the register is cleared.
    unsafe {
        asm!(
            instruction!(SPECIAL "x6", "x1", "x0"),
            instruction!(SC "x6", 0, "{slot}"),
            "li x6, 0",
            slot = in(reg) HART.data.pointer(),
            out("x6") _,
            options(nostack),
        );
    }
    HART.nested.copy_from(nested);
    HART.pointer.set(&raw const HART as u64);
    HART.stack.set(stack_top());
    HART.fault_stack.set(emergency_stack_top());
    HART.back.set(intravisor_back as *const () as u64);
    HART.fault_back.set(intravisor_fault_back as *const () as u64);
    Ok(())
}

/// What DDC becomes at a trap from now on.
pub(super) fn set_data(data: &Slot) {
    HART.data.copy_from(data);
}

/// `mcause` of an environment call from U-mode.
const CAUSE_HOSTCALL: u64 = 8;
/// `mcause` of an illegal instruction, which one of floating point is while that is closed.
const CAUSE_ILLEGAL: u64 = 2;
/// `mcause` of interrupts: the top bit and the number.
const CAUSE_TIMER: u64 = 1 << 63 | 7;
const CAUSE_EXTERNAL: u64 = 1 << 63 | 11;

/// Registers what handles the traps out of cVMs, and what the kernel does with a fault of the monitor, and arms the trap
/// entry.
pub fn install(fatal: FatalHandler, hostcall: Handler, handler: Handler) {
    set_fatal(fatal);
    let absolute = |function: u64| function.wrapping_add(variant::bias());
    // SAFETY: the slots live in a static; the monitor's own frame is pinned in another one and has its authority (`init`
    // attached both).
    unsafe {
        for (slot, handler) in [
            (&HART.hostcall_handler, hostcall),
            (&HART.handler, handler),
            (&HART.fault_handler, monitor_fault),
        ] {
            intravisor_code(slot.pointer(), absolute(handler as *const () as u64), 0);
        }
        intravisor_code(HART.leave.pointer(), absolute(intravisor_leave as *const () as u64), 1);
        let entry = absolute(intravisor_trap_entry as *const () as u64);
        intravisor_arm((&raw const MONITOR_FRAME).cast(), entry, (&raw const HART).cast());
    }
}

/// Leaves the monitor for good: runs the thread behind `frame`.
pub fn resume(frame: &'static Frame) -> ! {
    // SAFETY: `frame` is pinned and attached; the monitor's stack is abandoned on purpose.
    unsafe { intravisor_resume((frame as *const Frame).cast(), (&raw const HART).cast()) }
}

impl Frame {
    /// Why the processor left the program that this frame belongs to, when it was no hostcall.
    #[inline]
    pub fn trap(&self) -> Trap {
        match self.cause() {
            CAUSE_TIMER => Trap::Timer,
            CAUSE_EXTERNAL => Trap::Interrupt,
            CAUSE_ILLEGAL if float::claim(self) => Trap::Settled,
            _ => Trap::Fault,
        }
    }
}
