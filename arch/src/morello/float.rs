//! Floating-point and vector registers of cVMs. The monitor uses none, so they stay in the processor until another cVM
//! wants them: EL0 access is open to the owner of the registers only, and traps for everybody else.

use super::frame::Frame;
use super::trap::HART;
use core::arch::{asm, global_asm};
use core::cell::{Cell, UnsafeCell};
use core::ptr;

global_asm!(
    ".pushsection .text.intravisor_float, \"ax\"",
    instruction_macros!(),
    include_str!("instructions.S"),
    include_str!("float.S"),
    ".popsection",
);

unsafe extern "C" {
    fn intravisor_float_save(state: *mut u64);
    fn intravisor_float_restore(state: *const u64);
}

/// CPACR_EL1: capabilities for EL1 and EL0 (CEN, bits 19:18).
const CAPABILITIES: u64 = 3 << 18;
/// CPACR_EL1: floating point traps from EL0 only, or not at all (FPEN, bits 21:20).
const FLOAT_TRAPS: u64 = 1 << 20;
const FLOAT_OPEN: u64 = 3 << 20;

/// Words of V0 to V31, FPCR, FPSR.
const WORDS: usize = 66;

/// The registers of a thread that does not own them.
#[repr(C, align(16))]
pub(super) struct FloatState {
    words: UnsafeCell<[u64; WORDS]>,
    /// Whether the thread has used the registers: until then they are zero, whatever the words say.
    used: Cell<bool>,
    /// Whether the thread may not, because others go on in it.
    closed: Cell<bool>,
}

impl FloatState {
    pub(super) const fn zero() -> FloatState {
        FloatState {
            words: UnsafeCell::new([0; WORDS]),
            used: Cell::new(false),
            closed: Cell::new(false),
        }
    }
}

/// The registers in the processor, as the trap exit looks at them.
#[repr(C)]
pub(super) struct Registers {
    /// The frame whose they are; the address is only compared and saved to.
    owner: Cell<*const Frame>,
    /// 1 = EL0 may use them now.
    open: Cell<u64>,
}

impl Registers {
    pub(super) const fn nobodys() -> Registers {
        Registers {
            owner: Cell::new(ptr::null()),
            open: Cell::new(0),
        }
    }
}

#[inline(always)]
fn set_open(open: bool) {
    if HART.float.open.replace(open.into()) != u64::from(open) {
        let value = CAPABILITIES | if open { FLOAT_OPEN } else { FLOAT_TRAPS };
        // SAFETY: EL1 may use capabilities and vector registers with either value; the change reaches EL0 by ERET.
        unsafe { asm!("msr cpacr_el1, {value}", "isb", value = in(reg) value, options(nostack)) };
    }
}

/// Before `frame` runs instead of another one; returns it.
pub(super) extern "C" fn switch_to(frame: &'static Frame) -> &'static Frame {
    set_open(ptr::eq(HART.float.owner.get(), frame));
    frame
}

/// The thread behind `frame` may not use the registers.
pub(super) fn close(frame: &Frame) {
    frame.float().closed.set(true);
}

/// The thread behind `frame` has tried to use the registers: they become its own. False when it may not.
pub(super) fn claim(frame: &Frame) -> bool {
    if frame.float().closed.get() {
        return false;
    }
    let used = frame.float().used.replace(true);
    let previous = HART.float.owner.replace(frame);
    // SAFETY: the owner is a frame that lives for ever (only such ones claim); both states are aligned and ours alone.
    unsafe {
        if let Some(previous) = previous.as_ref() {
            intravisor_float_save(previous.float().words.get().cast());
        }
        if !used {
            frame.float().words.get().write([0; WORDS]);
        }
        intravisor_float_restore(frame.float().words.get().cast());
    }
    set_open(true);
    true
}

/// The thread behind `to`, which has not run, begins with the registers of another one.
pub(super) fn copy(to: &Frame, from: &Frame) {
    if !from.float().used.get() {
        return;
    }
    to.float().used.set(true);
    // SAFETY: both states are alive, aligned and ours alone; the registers in the processor are those of their owner.
    unsafe {
        if ptr::eq(HART.float.owner.get(), from) {
            intravisor_float_save(from.float().words.get().cast());
        }
        to.float().words.get().write(from.float().words.get().read());
    }
}

/// The thread behind `frame` has ended, or is taken out of a gate's function: its registers are forgotten. They leave the
/// processor, and the next state is zero, when somebody claims them.
#[inline]
pub(super) fn forget(frame: &Frame) {
    if frame.float().used.replace(false) && ptr::eq(HART.float.owner.get(), frame) {
        HART.float.owner.set(ptr::null());
        set_open(false);
    }
}
