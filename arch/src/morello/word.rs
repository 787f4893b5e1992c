//! A load that the hardware may refuse, where a call would cost more than it.

use super::slot::Slot;
use core::arch::asm;

/// A 32-bit word of a cVM; -1 when the hardware refuses.
#[inline]
pub(crate) fn load_word(authority: &Slot, address: u64) -> i64 {
    let word: i64;
    // SAFETY: the cVM's side is checked by the hardware, and a refusal goes on at label 9; the register is cleared.
    unsafe {
        asm!(
            instruction!(LDR_C 9, 0, 10),
            "mov x11, #-1",
            instruction!(SCVALUE 9, 9, 12),
            ".pushsection .intravisor_fixups, \"a\"",
            ".balign 4",
            ".word 771f - .",
            ".word 9f - .",
            ".popsection",
            "771:",
            instruction!(ALDR_W 11, 0, 9),
            "9: mov x9, xzr",
            in("x10") authority.pointer(),
            in("x12") address,
            out("x9") _,
            out("x11") word,
            options(nostack, readonly),
        );
    }
    word
}
