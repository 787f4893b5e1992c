//! Whether a hostcall leaves the registers alone that the convention says survive.

use core::arch::asm;

/// What a register is given: the same value in none other.
const fn pattern(register: u64) -> u64 {
    0x0123_4567_89ab_cd00 + register
}

/// Makes the hostcall `number` with every register filled, except those that the compiler keeps for itself, and says
/// whether all but the result registers kept their contents.
#[cfg(target_arch = "riscv64")]
pub(crate) fn survive(number: u64) -> bool {
    let mut after = [0; 24];
    // SAFETY: the calls that this program passes touch no memory.
    unsafe {
        asm!(
            "ecall",
            inlateout("a7") number => after[0],
            inlateout("a0") pattern(1) => _, inlateout("a1") pattern(1) => after[1],
            inlateout("a2") pattern(2) => after[2], inlateout("a3") pattern(3) => after[3],
            inlateout("a4") pattern(4) => after[4], inlateout("a5") pattern(5) => after[5],
            inlateout("a6") pattern(6) => after[6], inlateout("ra") pattern(7) => after[7],
            inlateout("t0") pattern(8) => after[8], inlateout("t1") pattern(9) => after[9],
            inlateout("t2") pattern(10) => after[10], inlateout("t3") pattern(11) => after[11],
            inlateout("t4") pattern(12) => after[12], inlateout("t5") pattern(13) => after[13],
            inlateout("t6") pattern(14) => after[14], inlateout("s2") pattern(15) => after[15],
            inlateout("s3") pattern(16) => after[16], inlateout("s4") pattern(17) => after[17],
            inlateout("s5") pattern(18) => after[18], inlateout("s6") pattern(19) => after[19],
            inlateout("s7") pattern(20) => after[20], inlateout("s8") pattern(21) => after[21],
            inlateout("s9") pattern(22) => after[22], inlateout("s10") pattern(23) => after[23],
            options(nostack),
        );
    }
    kept(number, &after)
}

/// Makes the hostcall `number` with every register filled, except those that the compiler keeps for itself, and says
/// whether all but the result registers kept their contents.
#[cfg(target_arch = "aarch64")]
pub(crate) fn survive(number: u64) -> bool {
    let mut after = [0; 24];
    // SAFETY: the calls that this program passes touch no memory.
    unsafe {
        asm!(
            "svc #0",
            inlateout("x8") number => after[0],
            inlateout("x0") pattern(1) => _, inlateout("x1") pattern(1) => after[1],
            inlateout("x2") pattern(2) => after[2], inlateout("x3") pattern(3) => after[3],
            inlateout("x4") pattern(4) => after[4], inlateout("x5") pattern(5) => after[5],
            inlateout("x6") pattern(6) => after[6], inlateout("x7") pattern(7) => after[7],
            inlateout("x9") pattern(8) => after[8], inlateout("x10") pattern(9) => after[9],
            inlateout("x11") pattern(10) => after[10], inlateout("x12") pattern(11) => after[11],
            inlateout("x13") pattern(12) => after[12], inlateout("x14") pattern(13) => after[13],
            inlateout("x15") pattern(14) => after[14], inlateout("x16") pattern(15) => after[15],
            inlateout("x17") pattern(16) => after[16], inlateout("x20") pattern(17) => after[17],
            inlateout("x21") pattern(18) => after[18], inlateout("x22") pattern(19) => after[19],
            inlateout("x23") pattern(20) => after[20], inlateout("x24") pattern(21) => after[21],
            inlateout("x25") pattern(22) => after[22], inlateout("x30") pattern(23) => after[23],
            options(nostack),
        );
    }
    kept(number, &after)
}

fn kept(number: u64, after: &[u64; 24]) -> bool {
    after[0] == number
        && (1u64..)
            .zip(&after[1..])
            .all(|(register, value)| *value == pattern(register))
}
