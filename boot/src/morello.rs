//! Hand-over on Morello.

use core::arch::global_asm;

global_asm!(
    ".pushsection .text.intravisor_reset, \"ax\"",
    include_str!("../../arch/src/morello/instructions.S"),
    include_str!("morello.S"),
    ".popsection",
);

unsafe extern "C" {
    static intravisor_image_start: u8;
    static intravisor_text_end: u8;
    static intravisor_image_end: u8;
}

/// Called by the reset code.
#[unsafe(no_mangle)]
extern "C" fn boot_main(hart: u64, device_tree: u64) -> ! {
    let text = &raw const intravisor_text_end as u64;
    kernel::start(
        arch::BootInfo {
            hart,
            device_tree,
            bias: 0,
            text: (&raw const intravisor_image_start as u64, text),
            data: (text, &raw const intravisor_image_end as u64),
        },
        &crate::HEAP,
    )
}
