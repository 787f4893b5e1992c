//! The second line of defence: physical memory protection opens the cVMs' memory to U-mode and nothing else.

use super::slot::Slot;
use core::arch::asm;
use core::ops::Range;

/// Most regions of memory for cVMs: what one configuration register describes, two entries a region.
pub const REGIONS: usize = 4;
/// Memory from here on is out of reach: a pmpaddr has no more bits.
pub const END: u64 = 1 << 56;

/// pmpcfg: the second entry of each pair is a top-of-range region, readable, writable, executable. The first is off.
const TOR_RWX: u64 = 0x0f00_0f00_0f00_0f00;

/// Opens these regions to U-mode, at most [`REGIONS`], in ascending order. The monitor, the devices and all other memory match
/// no entry, which refuses U-mode. All addresses are multiples of 4096.
pub fn open(regions: &[Range<u64>]) {
    // What is not used is an empty region that does not begin at 0: some emulators take that one for all memory.
    let mut edges = [regions.last().map_or(1, |last| last.end >> 2); 2 * REGIONS];
    for (pair, region) in edges.as_chunks_mut().0.iter_mut().zip(regions) {
        *pair = [region.start >> 2, region.end >> 2];
    }
    // SAFETY: PMP entries 0 to 7 restrict U-mode only (not locked); pmpcfg0 is written last, which also makes
    // emulators drop stale translations.
    unsafe {
        asm!(
            "csrw pmpcfg0, zero",
            "csrw pmpaddr0, {}",
            "csrw pmpaddr1, {}",
            "csrw pmpaddr2, {}",
            "csrw pmpaddr3, {}",
            "csrw pmpaddr4, {}",
            "csrw pmpaddr5, {}",
            "csrw pmpaddr6, {}",
            "csrw pmpaddr7, {}",
            "csrw pmpcfg0, {configuration}",
            "sfence.vma",
            in(reg) edges[0],
            in(reg) edges[1],
            in(reg) edges[2],
            in(reg) edges[3],
            in(reg) edges[4],
            in(reg) edges[5],
            in(reg) edges[6],
            in(reg) edges[7],
            configuration = in(reg) TOR_RWX,
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
    unsafe { asm!(instruction!(FENCE_I), options(nostack)) };
}

/// Whether cVMs can reach these pages, and write them if `written`, as far as this line of defence tells; see [`reserve`].
pub fn is_open(_pages: Range<u64>, _written: bool) -> bool {
    true
}
