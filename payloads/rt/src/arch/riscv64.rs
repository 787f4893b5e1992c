//! CHERI-RISC-V, hybrid: ordinary RV64 code below DDC and PCC.

use core::arch::{asm, global_asm};

// FROM: the monitor, at the start of the cVM. LIVE: a0 = address of the start block, a1 = its size in bytes, sp = top of
// the stack, 16-byte aligned. The image is relocated, bss is zero. A zero frame pointer ends a backtrace.
global_asm!(
    ".section .text.start, \"ax\", @progbits",
    ".globl _start",
    ".type _start, @function",
    "_start:",
    "li s0, 0",
    "li ra, 0",
    "tail rt_start",
    ".size _start, . - _start",
    ".text",
);

/// Makes a hostcall and returns both result registers.
#[inline]
pub(crate) fn hostcall(number: u64, arguments: [u64; 6]) -> (u64, u64) {
    let [a0, a1, a2, a3, a4, a5] = arguments;
    let (first, second);
    // SAFETY: the convention leaves all other registers alone. The monitor touches memory only inside the buffer that
    // the arguments name; the wrappers in `hostcall` pass no buffer that they do not own, and this block is not `nomem`.
    unsafe {
        asm!(
            "ecall",
            in("a7") number,
            inlateout("a0") a0 => first,
            inlateout("a1") a1 => second,
            in("a2") a2,
            in("a3") a3,
            in("a4") a4,
            in("a5") a5,
            options(nostack),
        );
    }
    (first, second)
}
