//! Hand-over on CHERI-RISC-V.

use core::arch::global_asm;

global_asm!(
    ".pushsection .text.intravisor_reset, \"ax\"",
    ".option push",
    ".option norvc",
    ".option norelax",
    ".option arch, +zicsr",
    arch::instruction_macros!(),
    include_str!("../../arch/src/cheri_riscv/instructions.S"),
    include_str!("cheri_riscv.S"),
    ".option pop",
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

/// Called by the reset code. `bias` = what to add to a pointer of the monitor to get its physical address.
#[unsafe(no_mangle)]
extern "C" fn boot_main(hart: u64, device_tree: u64, bias: u64) -> ! {
    let address = |symbol: *const u8| (symbol as u64).wrapping_add(bias);
    let text = address(&raw const intravisor_text_end);
    crate::start(
        arch::BootInfo {
            hart,
            device_tree,
            early_console: 0,
            memory: &[],
            memory_lost: 0,
            initrd: None,
            arguments: None,
            bias,
            text: (address(&raw const intravisor_image_start), text),
            data: (text, address(&raw const intravisor_image_end)),
            zeros_end: address(&raw const intravisor_bss_end),
            relocations: (
                address(&raw const intravisor_relr_start),
                address(&raw const intravisor_relr_end),
            ),
        },
        &crate::HEAP,
    )
}
