//! What is written in the machine's instructions: the page that programs get.

use core::arch::global_asm;
use core::slice;

use library_os::Page;

#[cfg(target_arch = "riscv64")]
global_asm!(
    include_str!("page/riscv64.S"),
    include_str!("page/elf.S"),
    machine = const 243,
    flags = const 1, // compressed instructions
    version_hash = const 0x0ae7_7f75,
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    include_str!("page/aarch64.S"),
    include_str!("page/elf.S"),
    machine = const 183,
    flags = const 0,
    version_hash = const 0x075f_cb89,
);

unsafe extern "C" {
    static intravisor_page: u8;
    static intravisor_page_data: u8;
    static intravisor_page_end: u8;
    static intravisor_page_handler: u8;
    static intravisor_page_float_handler: u8;
}

/// The page.
pub(crate) fn page() -> Page {
    let start = &raw const intravisor_page;
    let offset = |symbol: *const u8| symbol.addr().wrapping_sub(start.addr());
    let length = offset(&raw const intravisor_page_end);
    Page {
        // SAFETY: constants of so many bytes lie between the two symbols.
        image: unsafe { slice::from_raw_parts(start, length) },
        data: offset(&raw const intravisor_page_data) as u64,
        handlers: [
            offset(&raw const intravisor_page_handler) as u64,
            offset(&raw const intravisor_page_float_handler) as u64,
        ],
    }
}
