//! The end of a run: semihosting, which hands a status over, else PSCI, which cannot.

use super::device::{console, window};
use super::interrupts;
use crate::types::Device;
use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};

global_asm!(
    ".pushsection .text.intravisor_power, \"ax\"",
    include_str!("instructions.S"),
    include_str!("power.S"),
    ".popsection",
);

unsafe extern "C" {
    fn intravisor_semihosting(operation: u64, argument: *const u64);
    fn intravisor_hypervisor_call(function: u64);
    fn intravisor_secure_call(function: u64);
}

/// Exception level at which the image was entered; the reset code sets it.
#[unsafe(export_name = "intravisor_entry_level")]
static ENTRY_LEVEL: AtomicU64 = AtomicU64::new(0);

/// Semihosting for AArch64: SYS_EXIT, and its reason ADP_Stopped_ApplicationExit.
const SYS_EXIT: u64 = 0x18;
const APPLICATION_EXIT: u64 = 0x2_0026;
/// PSCI 0.2: SYSTEM_OFF (DEN 0022).
const SYSTEM_OFF: u64 = 0x8400_0008;

/// Ends the run: by semihosting with status 0 for success, 1 otherwise; where nobody serves it, by PSCI.
pub fn power_off(success: bool) -> ! {
    let argument = [APPLICATION_EXIT, u64::from(!success)];
    // SAFETY: the argument lives until the call returns, if it does. Every call returns when it is not served.
    unsafe {
        intravisor_semihosting(SYS_EXIT, argument.as_ptr());
        if !success && window(Device::Console).decoded().tag {
            let text = b"[monitor] failed; without semihosting nobody learns the status\r\n";
            text.iter().copied().for_each(console::put);
        }
        // From EL1 upwards PSCI is served by the next level: what is above the level where the image was entered.
        if ENTRY_LEVEL.load(Ordering::Relaxed) == 1 {
            intravisor_hypervisor_call(SYSTEM_OFF);
        } else {
            intravisor_secure_call(SYSTEM_OFF);
        }
    }
    loop {
        interrupts::wait();
    }
}
