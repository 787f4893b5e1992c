//! The deeds in CHERI-RISC-V instructions. Capability instructions are written as `.insn`, with the names of the CHERI
//! ISAv9 in the comments.

use core::arch::asm;

use super::Granule;

/// Where the monitor begins: the start of RAM.
pub(super) const MONITOR: u64 = 0x8000_0000;
/// Registers of the console UART.
pub(super) const DEVICE: u64 = 0x1000_0000;
/// The upper half of the root capability in memory.
pub(super) const ROOT_METADATA: u64 = 0xffff_0000_0000_0000;
/// `ret`.
pub(super) const RETURN_INSTRUCTION: u64 = 0x8082;

/// How a cVM spells a physical address: counted from the address of its DDC where its memory begins at 0 (ISAv8).
pub(super) fn own_address(physical: u64) -> u64 {
    if rt::start_block().header().base != 0 {
        return physical;
    }
    let base: u64;
    // SAFETY: reads a register.
    unsafe {
        asm!(
            ".insn r 0x5b, 0, 0x01, t0, x0, x1", // CSpecialRW ct0, DDC
            ".insn r 0x5b, 0, 0x7f, t0, t0, x15", // CGetAddr t0, ct0
            out("t0") base,
            options(nomem, nostack),
        );
    }
    physical.wrapping_sub(base)
}

pub(super) fn load(address: u64) {
    // SAFETY: the load either traps or is harmless.
    unsafe { asm!("ld {scratch}, ({address})", address = in(reg) address, scratch = out(reg) _, options(nostack)) }
}

pub(super) fn store(address: u64) {
    // SAFETY: the store traps; if it does not, the program says so and ends.
    unsafe { asm!("sd zero, ({address})", address = in(reg) address, options(nostack)) }
}

pub(super) fn call(address: u64) {
    // SAFETY: the jump traps, or reaches a return instruction; if neither, the isolation is broken anyway.
    unsafe { asm!("fence.i", "jalr {address}", address = in(reg) address, clobber_abi("C")) }
}

pub(super) fn illegal() {
    // SAFETY: traps.
    unsafe { asm!("c.unimp", options(nomem, nostack)) }
}

pub(super) fn breakpoint() {
    // SAFETY: traps.
    unsafe { asm!("ebreak", options(nomem, nostack)) }
}

pub(super) fn privileged_read() {
    // SAFETY: traps.
    unsafe { asm!("csrr {scratch}, mhartid", scratch = out(reg) _, options(nomem, nostack)) }
}

pub(super) fn privileged_write() {
    // SAFETY: traps.
    unsafe { asm!("csrw mtvec, zero", options(nomem, nostack)) }
}

/// A counter that is not the one of time.
pub(super) fn counter_read() {
    // SAFETY: traps, or tells how many instructions there were.
    unsafe { asm!("csrr {scratch}, cycle", scratch = out(reg) _, options(nomem, nostack)) }
}

pub(super) fn trap_return() {
    // SAFETY: traps.
    unsafe { asm!("mret", options(nomem, nostack)) }
}

pub(super) fn load_capability(address: u64) {
    // SAFETY: the load either traps or is harmless.
    unsafe {
        asm!(
            ".insn i 0x0f, 2, t0, 0(t1)", // LC ct0, 0(t1)
            in("t1") address,
            out("t0") _,
            options(nostack),
        );
    }
}

/// Tries to make DDC begin 16 bytes lower and end 16 bytes higher, then reads below `base`.
pub(super) fn widen_data_capability(base: u64) {
    // Where addresses count from 0, they do so from the new base too.
    let address = if base == 0 { 0 } else { base - 16 };
    // SAFETY: one of these instructions traps; if none does, DDC covers no less than before.
    unsafe {
        asm!(
            ".insn r 0x5b, 0, 0x01, t0, x0, x1", // CSpecialRW ct0, DDC
            ".insn r 0x5b, 0, 0x7f, t1, t0, x3", // CGetLen t1, ct0
            ".insn r 0x5b, 0, 0x7f, t2, t0, x2", // CGetBase t2, ct0
            "addi t1, t1, 32",
            "addi t2, t2, -16",
            ".insn r 0x5b, 0, 0x10, t0, t0, t2", // CSetAddr ct0, ct0, t2
            ".insn r 0x5b, 0, 0x08, t0, t0, t1", // CSetBounds ct0, ct0, t1
            ".insn r 0x5b, 0, 0x01, x0, t0, x1", // CSpecialRW cnull, DDC, ct0
            "ld t0, ({address})",
            address = in(reg) address,
            out("t0") _,
            out("t1") _,
            out("t2") _,
            options(nostack),
        );
    }
}

/// Loads a capability from `bits` and then a word through it.
pub(super) fn load_through_capability(bits: &Granule) {
    // SAFETY: the second load traps; if it does not, it is harmless.
    unsafe {
        asm!(
            ".insn i 0x0f, 2, t0, 0(t1)", // LC ct0, 0(t1)
            ".insn r 0x5b, 0, 0x7d, t0, t0, x11", // LD.CAP t0, (ct0)
            in("t1") bits,
            out("t0") _,
            options(nostack),
        );
    }
}
