//! The end of a run: semihosting, which hands a status over, else PSCI, which cannot.

use super::device::{console, window};
use super::interrupts;
use super::slot::Slot;
use crate::types::Device;
use capability::Decoded;
use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};

global_asm!(
    ".pushsection .text.intravisor_power, \"ax\"",
    instruction_macros!(),
    include_str!("instructions.S"),
    include_str!("power.S"),
    ".popsection",
);

unsafe extern "C" {
    fn intravisor_semihosting(operation: u64, argument: *const u64);
    fn intravisor_hypervisor_call(function: u64);
    fn intravisor_secure_call(function: u64);
    fn intravisor_seal_firmware(root: *const u64, code: *mut u64, data: *mut u64, otype: u64);
    fn intravisor_call_firmware(function: u64, code: *const u64, data: *const u64) -> !;
}

/// Exception level at which the image was entered; the reset code sets it.
#[unsafe(export_name = "intravisor_entry_level")]
static ENTRY_LEVEL: AtomicU64 = AtomicU64::new(0);

/// Semihosting for AArch64: SYS_EXIT, and its reason ADP_Stopped_ApplicationExit.
const SYS_EXIT: u64 = 0x18;
const APPLICATION_EXIT: u64 = 0x2_0026;
/// PSCI 0.2: SYSTEM_OFF (DEN 0022).
const SYSTEM_OFF: u64 = 0x8400_0008;

/// What the firmware of a board needs to be called, as a sealed pair: whoever holds it can make the call that powers off,
/// and nothing else.
static FIRMWARE: [Slot; 2] = [const { Slot::null() }; 2];
/// The object type of the pair, with which nothing else is sealed.
const FIRMWARE_TYPE: u64 = 0x7fff;

/// Keeps in a sealed pair what firmware at EL3 needs at calls, where there may be some; returns the data. Trusted
/// Firmware-A on Morello works on the stack SP_EL0, hence with DDC_EL0 as the caller leaves it, which must reach all that
/// it uses (CheriBSD, sys/dev/psci/smccc_arm64.S).
pub fn keep_for_firmware() -> Option<Decoded> {
    if ENTRY_LEVEL.load(Ordering::Relaxed) == 1 {
        return None;
    }
    let [code, data] = &FIRMWARE;
    // SAFETY: stores to two live, aligned slots.
    unsafe { intravisor_seal_firmware(super::root().pointer(), code.pointer(), data.pointer(), FIRMWARE_TYPE) };
    Some(data.decoded())
}

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
        }
        let [code, data] = &FIRMWARE;
        if data.decoded().tag {
            intravisor_call_firmware(SYSTEM_OFF, code.pointer(), data.pointer());
        }
        // No cVM has run yet: DDC_EL0 is as the firmware knows it.
        intravisor_secure_call(SYSTEM_OFF);
    }
    loop {
        interrupts::wait();
    }
}
