//! Floating-point registers of cVMs whose programs ask for them. The monitor uses none, so they stay in the processor until
//! another thread that uses them runs: U-mode access is open to the owner of the registers only. Who has not used them yet
//! gets them by a trap; who has gets them back before it goes on, as not every processor traps: CHERI's QEMU 6 executes
//! FSGNJ.D (FMV.D, FABS.D, FNEG.D) while floating point is closed, and opens it by that.

use super::frame::Frame;
use super::trap::HART;
use core::arch::{asm, global_asm};
use core::cell::{Cell, UnsafeCell};
use core::ptr;

global_asm!(
    ".pushsection .text.intravisor_float, \"ax\"",
    ".option push",
    ".option arch, +d, +zicsr",
    include_str!("float.S"),
    ".option pop",
    ".popsection",
);

unsafe extern "C" {
    fn intravisor_float_save(state: *mut u64);
    fn intravisor_float_restore(state: *const u64);
}

/// `mstatus`: floating point is open (FS, bits 14:13, dirty).
pub(super) const OPEN: u64 = 3 << 13;
/// Instead: closed, and the registers that the thread has used are in its frame.
pub(super) const SAVED: u64 = 3 << 62;
/// `misa`: the processor has double precision.
const DOUBLE: u64 = 1 << 3;

/// Words of f0 to f31, and fcsr.
const WORDS: usize = 33;

/// The registers of a thread that does not own them.
#[repr(C)]
pub(super) struct FloatState {
    words: UnsafeCell<[u64; WORDS]>,
    /// Whether the thread has used the registers: until then they are zero, whatever the words say.
    used: Cell<bool>,
    /// Whether it may.
    allowed: Cell<bool>,
}

impl FloatState {
    pub(super) const fn zero() -> FloatState {
        FloatState {
            words: UnsafeCell::new([0; WORDS]),
            used: Cell::new(false),
            allowed: Cell::new(false),
        }
    }
}

/// The thread behind `frame` may use the registers from now on, whatever becomes of it.
pub(super) fn allow(frame: &Frame) {
    frame.float().allowed.set(true);
}

/// The thread behind `frame` has executed what is illegal, perhaps because the registers are not its own: they become its own,
/// if it may use them. False when that cannot have been the reason.
pub(super) fn claim(frame: &Frame) -> bool {
    let owner = HART.float_owner.get();
    let extensions: u64;
    // SAFETY: reads a register.
    unsafe { asm!("csrr {extensions}, misa", extensions = out(reg) extensions, options(nostack, nomem)) };
    if !frame.float().allowed.get() || ptr::eq(owner, frame) || extensions & DOUBLE == 0 {
        return false;
    }
    if !frame.float().used.replace(true) {
        // SAFETY: the state is alive, aligned and ours alone.
        unsafe { frame.float().words.get().write([0; WORDS]) };
    }
    exchange(frame);
    true
}

/// The registers become those of the thread behind `frame`, which is not their owner and has used them; returns it.
pub(super) extern "C" fn exchange(frame: &Frame) -> &Frame {
    frame.set_float(OPEN);
    let previous = HART.float_owner.replace(frame);
    // SAFETY: the owner is a frame that lives for ever (only such ones claim); both states are aligned and ours alone. The
    // registers are open to the monitor until it leaves.
    unsafe {
        asm!("csrs mstatus, {open}", open = in(reg) OPEN, options(nostack));
        if let Some(previous) = previous.as_ref() {
            previous.set_float(SAVED);
            intravisor_float_save(previous.float().words.get().cast());
        }
        intravisor_float_restore(frame.float().words.get().cast());
    }
    frame
}

/// The thread behind `to`, which has not run, begins with the registers of another one.
pub(super) fn copy(to: &Frame, from: &Frame) {
    if !from.float().used.get() {
        return;
    }
    to.float().used.set(true);
    to.set_float(SAVED);
    // SAFETY: both states are alive, aligned and ours alone; the registers in the processor are those of their owner.
    unsafe {
        if ptr::eq(HART.float_owner.get(), from) {
            asm!("csrs mstatus, {open}", open = in(reg) OPEN, options(nostack));
            intravisor_float_save(from.float().words.get().cast());
        }
        to.float().words.get().write(from.float().words.get().read());
    }
}

/// The thread behind `frame` has ended, or is taken out of a gate's function: its registers are forgotten. They leave the
/// processor, and the next state is zero, when somebody claims them.
#[inline]
pub(super) fn forget(frame: &Frame) {
    if frame.float().used.replace(false) {
        frame.set_float(0);
        if ptr::eq(HART.float_owner.get(), frame) {
            HART.float_owner.set(ptr::null());
        }
    }
}
