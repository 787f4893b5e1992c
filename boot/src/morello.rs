//! Hand-over on Morello.

use core::arch::global_asm;

use crate::efi::HANDOVER;

global_asm!(
    ".pushsection .text.intravisor_reset, \"ax\"",
    arch::instruction_macros!(),
    include_str!("../../arch/src/morello/instructions.S"),
    include_str!("morello.S"),
    ".popsection",
);

unsafe extern "C" {
    static intravisor_image_start: u8;
    static intravisor_text_end: u8;
    static intravisor_image_end: u8;
    static intravisor_bss_end: u8;
    static intravisor_relr_start: u8;
    static intravisor_relr_end: u8;
}

/// Called by the reset code. `early_console` is a PL011, or 0.
#[unsafe(no_mangle)]
extern "C" fn boot_main(hart: u64, device_tree: u64, early_console: u64) -> ! {
    let text = &raw const intravisor_text_end as u64;
    // SAFETY: what wrote it is gone. It is read once, as what it has become: the compiler knows of no writes.
    let firmware = unsafe { &*core::hint::black_box(&raw const HANDOVER) };
    crate::start(
        arch::BootInfo {
            hart,
            device_tree,
            early_console,
            memory: firmware.memory(),
            memory_lost: firmware.memory_lost,
            initrd: (firmware.initrd.0 < firmware.initrd.1).then_some(firmware.initrd),
            arguments: core::str::from_utf8(firmware.arguments())
                .ok()
                .filter(|_| firmware.memory_count > 0),
            bias: 0,
            text: (&raw const intravisor_image_start as u64, text),
            data: (text, &raw const intravisor_image_end as u64),
            zeros_end: &raw const intravisor_bss_end as u64,
            relocations: (
                &raw const intravisor_relr_start as u64,
                &raw const intravisor_relr_end as u64,
            ),
        },
        &crate::HEAP,
    )
}
