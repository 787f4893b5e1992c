//! ISAv9 and ISAv8 told apart at run time, and what that means for the monitor's own pointers.
//!
//! In ISAv9 an integer address is absolute and checked against DDC. In ISAv8 it counts from the *address* of DDC (data)
//! and from the *base* of PCC (code). The reset code therefore gives the monitor's DDC and PCC the same origin, the
//! start of the image, and relocates the image to 0: every pointer of the monitor is then `physical - image start`.

use core::sync::atomic::{AtomicU64, Ordering};

/// What to add to a pointer of the monitor to get a physical address: 0, or the start of the image (ISAv8).
static BIAS: AtomicU64 = AtomicU64::new(0);

/// Records the bias that the reset code has relocated by. Called once, before anything else here.
pub(super) fn set_bias(bias: u64) {
    BIAS.store(bias, Ordering::Relaxed);
}

/// What to add to a pointer of the monitor to get a physical address.
#[inline]
pub(super) fn bias() -> u64 {
    BIAS.load(Ordering::Relaxed)
}

/// Whether integer addresses are relocated by DDC and PCC (ISAv8).
#[inline]
pub fn relocates() -> bool {
    bias() != 0
}

/// Physical address of something that belongs to the monitor.
pub fn physical<T: ?Sized>(thing: *const T) -> u64 {
    (thing.cast::<u8>() as u64).wrapping_add(bias())
}

/// Pointer of the monitor to a physical address. Dereferencing it is checked against the monitor's data capability.
pub fn pointer(physical: u64) -> *mut u8 {
    physical.wrapping_sub(bias()) as *mut u8
}

/// Name of the ISA variant that runs, for the log.
pub fn isa() -> &'static str {
    if relocates() {
        "CHERI-RISC-V ISAv8"
    } else {
        "CHERI-RISC-V ISAv9"
    }
}
