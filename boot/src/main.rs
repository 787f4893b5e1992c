//! The image: the reset entry and image header of each ISA, and the hand-over to the kernel.

#![no_std]
#![no_main]

use core::panic::PanicInfo;
use kernel::Heap;

#[cfg(feature = "contract")]
use contract::start;
#[cfg(not(feature = "contract"))]
use kernel::start;

#[cfg(target_arch = "riscv64")]
mod cheri_riscv;
#[cfg(feature = "contract")]
mod contract;
#[cfg(target_arch = "aarch64")]
mod efi;
#[cfg(target_arch = "aarch64")]
mod morello;

/// The monitor's heap; the kernel gives it its memory.
#[global_allocator]
static HEAP: Heap = Heap::empty();

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    kernel::panic(info)
}
