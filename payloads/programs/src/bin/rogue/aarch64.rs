//! The deeds in Morello instructions. Capability instructions are written as `.inst`, with the names of the Morello
//! architecture in the comments.

use core::arch::asm;

use super::Granule;

/// Where the monitor begins: the load address of a kernel image.
pub(super) const MONITOR: u64 = 0x4020_0000;
/// Registers of the console UART.
pub(super) const DEVICE: u64 = 0x0900_0000;
/// The upper half of the root capability in memory.
pub(super) const ROOT_METADATA: u64 = 0xffff_c000_0001_0005;
/// `ret`.
pub(super) const RETURN_INSTRUCTION: u64 = 0xd65f_03c0;

/// How a cVM spells a physical address: as it is.
pub(super) fn own_address(physical: u64) -> u64 {
    physical
}

pub(super) fn load(address: u64) {
    // SAFETY: the load either traps or is harmless.
    unsafe { asm!("ldr {scratch}, [{address}]", address = in(reg) address, scratch = out(reg) _, options(nostack)) }
}

pub(super) fn store(address: u64) {
    // SAFETY: the store traps; if it does not, the program says so and ends.
    unsafe { asm!("str xzr, [{address}]", address = in(reg) address, options(nostack)) }
}

pub(super) fn call(address: u64) {
    // SAFETY: the jump traps, or reaches a return instruction; if neither, the isolation is broken anyway.
    unsafe { asm!("isb", "blr {address}", address = in(reg) address, clobber_abi("C")) }
}

pub(super) fn illegal() {
    // SAFETY: traps.
    unsafe { asm!("udf #0", options(nomem, nostack)) }
}

pub(super) fn breakpoint() {
    // SAFETY: traps.
    unsafe { asm!("brk #0", options(nomem, nostack)) }
}

pub(super) fn privileged_read() {
    // SAFETY: traps.
    unsafe { asm!("mrs {scratch}, midr_el1", scratch = out(reg) _, options(nomem, nostack)) }
}

pub(super) fn privileged_write() {
    // SAFETY: traps.
    unsafe { asm!("msr vbar_el1, xzr", options(nomem, nostack)) }
}

/// A counter that is not the one of time.
pub(super) fn counter_read() {
    // SAFETY: traps.
    unsafe { asm!("mrs {scratch}, cntpct_el0", scratch = out(reg) _, options(nomem, nostack)) }
}

pub(super) fn trap_return() {
    // SAFETY: traps.
    unsafe { asm!("eret", options(nomem, nostack)) }
}

pub(super) fn load_capability(address: u64) {
    // SAFETY: the load either traps or is harmless.
    unsafe {
        asm!(
            ".inst 0xc2400000 | 9 << 5 | 10", // LDR c10, [x9]
            in("x9") address,
            out("x10") _,
            options(nostack),
        );
    }
}

/// Tries to make DDC begin 16 bytes lower and end 16 bytes higher, then reads below its old base.
pub(super) fn widen_data_capability(_base: u64) {
    // SAFETY: one of these instructions traps; if none does, DDC covers no less than before.
    unsafe {
        asm!(
            ".inst 0xc29b4120 | 9",                     // MRS c9, DDC
            ".inst 0xc2c03000 | 9 << 5 | 10",           // GCLEN x10, c9
            ".inst 0xc2c01000 | 9 << 5 | 11",           // GCBASE x11, c9
            "add x10, x10, #32",
            "sub x11, x11, #16",
            ".inst 0xc2c04000 | 11 << 16 | 9 << 5 | 9", // SCVALUE c9, c9, x11
            ".inst 0xc2c00000 | 10 << 16 | 9 << 5 | 9", // SCBNDS c9, c9, x10
            ".inst 0xc28b4120 | 9",                     // MSR DDC, c9
            "ldr x9, [x11]",
            out("x9") _,
            out("x10") _,
            out("x11") _,
            options(nostack),
        );
    }
}

/// Loads a capability from `bits` and then a word through it.
pub(super) fn load_through_capability(bits: &Granule) {
    // SAFETY: the second load traps; if it does not, it is harmless.
    unsafe {
        asm!(
            ".inst 0xc2400000 | 9 << 5 | 10",  // LDR c10, [x9]
            ".inst 0x82600c00 | 10 << 5 | 10", // LDR x10, [c10] (alternate base)
            in("x9") bits,
            out("x10") _,
            options(nostack),
        );
    }
}
