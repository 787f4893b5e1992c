//! Morello, hybrid: ordinary A64 code below DDC and PCC.

use core::arch::{asm, global_asm};

// FROM: the monitor, at the start of the cVM. LIVE: x0 = address of the start block, x1 = its size in bytes, sp = top of
// the stack, 16-byte aligned. The image is relocated, bss is zero. A zero frame pointer ends a backtrace.
global_asm!(
    ".section .text.start, \"ax\", @progbits",
    ".globl _start",
    ".type _start, @function",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "b rt_start",
    ".size _start, . - _start",
    ".text",
);

/// Makes a hostcall and returns both result registers.
#[inline]
pub(crate) fn hostcall(number: u64, arguments: [u64; 6]) -> (u64, u64) {
    let [x0, x1, x2, x3, x4, x5] = arguments;
    let (first, second);
    // SAFETY: the convention leaves all other registers alone. The monitor touches memory only inside the buffer that
    // the arguments name; the wrappers in `hostcall` pass no buffer that they do not own, and this block is not `nomem`.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") x0 => first,
            inlateout("x1") x1 => second,
            in("x2") x2,
            in("x3") x3,
            in("x4") x4,
            in("x5") x5,
            options(nostack),
        );
    }
    (first, second)
}
