//! The second line of defence: physical memory protection opens the cVMs' memory to U-mode and nothing else.

use super::slot::Slot;
use core::arch::asm;
use core::ops::Range;

/// pmpcfg: top-of-range region, readable, writable, executable.
const TOR_RWX: u64 = 1 << 3 | 7;

/// Opens `[base, top)` to U-mode. The monitor, the devices and all other memory match no entry, which refuses U-mode.
/// Both addresses are multiples of 4096.
pub fn open(base: u64, top: u64) {
    // SAFETY: PMP entries 0 and 1 restrict U-mode only (not locked); pmpcfg0 is written last, which also makes
    // emulators drop stale translations.
    unsafe {
        asm!(
            "csrw pmpcfg0, zero",
            "csrw pmpaddr0, {base}",
            "csrw pmpaddr1, {top}",
            "csrw pmpcfg0, {configuration}",
            "sfence.vma",
            base = in(reg) base >> 2,
            top = in(reg) top >> 2,
            configuration = in(reg) TOR_RWX << 8,
            options(nostack),
        );
    }
}

/// Opens the archive to the monitor, outside of its data; see [`reserve`].
pub fn readable(_archive: Range<u64>) {}

/// Makes room for the protection of a range. Memory protection here has too few regions to tell one cVM from another.
pub fn reserve(_range: Range<u64>) {}

/// Before memory of a cVM is loaded; see [`reserve`].
pub fn loading(_memory: Range<u64>) {}

/// After memory of a cVM was loaded; see [`reserve`].
pub fn loaded(_memory: Range<u64>) {}

/// Makes part of a cVM's memory text; see [`reserve`].
pub fn executable(_text: Range<u64>) {}

/// Makes what was loaded to `text` what will be executed.
pub fn publish(_text: Range<u64>, _data: &Slot) {
    // SAFETY: FENCE.I changes no state of the program.
    unsafe { asm!(".4byte 0x0000100f", options(nostack)) };
}

/// Whether cVMs can reach these pages, and write them if `written`, as far as this line of defence tells; see [`reserve`].
pub fn is_open(_pages: Range<u64>, _written: bool) -> bool {
    true
}
