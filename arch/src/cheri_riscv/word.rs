//! A load that the hardware may refuse, where a call would cost more than it.

use super::slot::Slot;
use core::arch::asm;

/// In front of an instruction that the hardware may refuse: it goes on at label 9 then (GUARDED in copy.S).
macro_rules! guarded {
    () => {
        ".pushsection .intravisor_fixups, \"a\"\n.balign 4\n.word 771f - .\n.word 9f - .\n.popsection\n771:"
    };
}

/// A 32-bit word of a cVM; -1 when the hardware refuses.
#[inline]
pub(crate) fn load_word(authority: &Slot, address: u64) -> i64 {
    let word: i64;
    // SAFETY: the cVM's side is checked by the hardware, and a refusal goes on at label 9; the register is cleared.
    unsafe {
        asm!(
            instruction!(LC "x6", 0, "{authority}"),
            "li {word}, -1",
            guarded!(),
            instruction!(CSetAddr "x6", "x6", "{address}"),
            guarded!(),
            instruction!(LWU_CAP "{word}", "x6"),
            "9: li x6, 0",
            authority = in(reg) authority.pointer(),
            address = in(reg) address,
            word = out(reg) word,
            out("x6") _,
            options(nostack, readonly),
        );
    }
    word
}
