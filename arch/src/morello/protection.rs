//! The second line of defence: page tables. The map is the identity; a page is open to EL0 only while a cVM is loaded
//! there, and no page is writable and executable, at any level (SCTLR_EL1.WXN besides).
//!
//! The tables follow the capabilities: what the monitor's own PCC, DDC and device windows cover is mapped for EL1, and the
//! archive where that is elsewhere; the memory of a cVM when it is loaded, nothing else at all. Capabilities can be stored and loaded in RAM only.
//!
//! | what             | EL1 | EL0 | memory type | tags       |
//! |------------------|-----|-----|-------------|------------|
//! | monitor text     | rx  | -   | normal      | -          |
//! | monitor data     | rw  | -   | normal      | load store |
//! | archive          | r   | -   | normal      | -          |
//! | device windows   | rw  | -   | device      | -          |
//! | cVM being loaded | rw  | -   | normal      | load store |
//! | cVM text         | r   | rx  | normal      | load       |
//! | cVM data         | rw  | rw  | normal      | load store |

use super::device::all_windows;
use super::slot::Slot;
use alloc::boxed::Box;
use capability::Decoded;
use core::arch::asm;
use core::cell::Cell;
use core::ops::Range;

unsafe extern "C" {
    fn intravisor_publish_code(authority: *const u64, address: u64, length: u64, line: u64);
}

/// Most regions of memory for cVMs.
pub const REGIONS: usize = 4;
/// Memory from here on is out of reach of the tables.
pub const END: u64 = 1 << 40;

const PAGE: u64 = 1 << 12;
/// Bytes that an entry of each level of tables maps, the root first (4 KiB granule, 40-bit addresses).
const SPAN: [u64; 4] = [1 << 39, 1 << 30, 1 << 21, PAGE];
/// The level of the blocks that are used, and of the tables that are there from the start in the cVMs' memory.
const BLOCKS: usize = 2;

/// Stage 1 descriptors (Arm Architecture Reference Manual, D5.3; Morello supplement: bits 59 to 62).
const VALID: u64 = 1;
/// A table, or at the last level a page; a block without it.
const TABLE_OR_PAGE: u64 = 1 << 1;
const DEVICE: u64 = 1 << 2;
const EL0: u64 = 1 << 6;
const READ_ONLY: u64 = 1 << 7;
const INNER_SHAREABLE: u64 = 3 << 8;
const ACCESSED: u64 = 1 << 10;
const NOT_GLOBAL: u64 = 1 << 11;
const EL1_EXECUTE_NEVER: u64 = 1 << 53;
const EL0_EXECUTE_NEVER: u64 = 1 << 54;
const STORE_TAGS: u64 = 1 << 60;
const LOAD_TAGS: u64 = 1 << 61;
const EXECUTE_NEVER: u64 = EL1_EXECUTE_NEVER | EL0_EXECUTE_NEVER;
const ADDRESS: u64 = 0xffff_ffff_f000;

const COMMON: u64 = VALID | ACCESSED | NOT_GLOBAL | INNER_SHAREABLE;
const MONITOR_TEXT: u64 = COMMON | READ_ONLY | EL0_EXECUTE_NEVER;
const MONITOR_DATA: u64 = COMMON | EXECUTE_NEVER | STORE_TAGS | LOAD_TAGS;
const ARCHIVE: u64 = COMMON | READ_ONLY | EXECUTE_NEVER;
const DEVICE_WINDOW: u64 = COMMON | DEVICE | EXECUTE_NEVER;
const CVM_TEXT: u64 = COMMON | EL0 | READ_ONLY | EL1_EXECUTE_NEVER | LOAD_TAGS;
const CVM_DATA: u64 = COMMON | EL0 | EXECUTE_NEVER | STORE_TAGS | LOAD_TAGS;

/// SCTLR_EL1: what is writable is not executable.
const WRITE_EXECUTE_NEVER: u64 = 1 << 19;
/// TTBR0_EL1: address space identifier of these tables. The reset code's have 0, so that no old translation fits.
const ADDRESS_SPACE: u64 = 1 << 48;

/// A table of any level. All of them are in the monitor's data, so their addresses are physical and valid pointers.
#[repr(C, align(4096))]
struct Table([Cell<u64>; 512]);

// SAFETY: changed by one processor only, with interrupts masked.
unsafe impl Sync for Table {}

static ROOT: Table = Table::empty();

impl Table {
    const fn empty() -> Table {
        Table([const { Cell::new(0) }; 512])
    }

    /// Maps a range of pages in this table of a level, with the largest blocks that fit.
    fn map(&self, level: usize, range: Range<u64>, attributes: u64) {
        let (span, last) = (SPAN[level], level == SPAN.len() - 1);
        let mut address = range.start;
        while address < range.end {
            let entry = &self.0[(address / span % 512) as usize];
            let next = (address / span + 1) * span;
            let is_table = !last && entry.get() & (VALID | TABLE_OR_PAGE) == VALID | TABLE_OR_PAGE;
            // Blocks are used at one level only: one of a higher would need a table to be split anyway.
            let whole = level == BLOCKS && !is_table && address.is_multiple_of(span) && next <= range.end;
            if last || whole {
                entry.set(address | attributes | if last { TABLE_OR_PAGE } else { 0 });
            } else {
                table_of(entry, level).map(level + 1, address..next.min(range.end), attributes);
            }
            address = next;
        }
    }
}

impl Table {
    /// The table of a level that maps an address, in this one of the root's level. It is made where there is none.
    fn down(&'static self, address: u64, level: usize) -> &'static Table {
        (0..level).fold(self, |table, level| {
            table_of(&table.0[(address / SPAN[level] % 512) as usize], level)
        })
    }

    /// What maps an address, in this table of the root's level, and how many bytes that maps.
    fn look_up(&self, address: u64) -> (u64, u64) {
        let (mut table, mut level) = (self, 0);
        loop {
            let (entry, span) = (&table.0[(address / SPAN[level] % 512) as usize], SPAN[level]);
            if level == SPAN.len() - 1 || entry.get() & (VALID | TABLE_OR_PAGE) != VALID | TABLE_OR_PAGE {
                return (entry.get(), span);
            }
            table = table_of(entry, level);
            level += 1;
        }
    }
}

/// The table that an entry leads to; where there was none, it is made.
fn table_of(entry: &Cell<u64>, level: usize) -> &'static Table {
    if entry.get() & (VALID | TABLE_OR_PAGE) == VALID | TABLE_OR_PAGE {
        // SAFETY: the entry was made by `split`: the address of a leaked table.
        unsafe { &*((entry.get() & ADDRESS) as *const Table) }
    } else {
        split(entry, level)
    }
}

/// Puts a table where there was nothing, or a block that the table then maps piece by piece.
fn split(entry: &Cell<u64>, level: usize) -> &'static Table {
    let table: &'static Table = Box::leak(Box::new(Table::empty()));
    let block = entry.get();
    if block & VALID != 0 {
        let last = level + 1 == SPAN.len() - 1;
        for (index, piece) in (0..).zip(&table.0) {
            piece.set((block + index * SPAN[level + 1]) | if last { TABLE_OR_PAGE } else { 0 });
        }
        // Break before make: nobody may see the block and its pieces at once.
        entry.set(0);
        publish_tables();
    }
    entry.set(table as *const Table as u64 | VALID | TABLE_OR_PAGE);
    table
}

/// Makes changes of the tables visible to table walks and drops what is remembered of the old ones.
fn publish_tables() {
    // SAFETY: drops translations only; the monitor's own stay mapped as they were.
    unsafe { asm!("dsb ishst", "tlbi vmalle1is", "dsb ish", "isb", options(nostack)) };
}

/// The pages that a capability reaches.
fn pages(what: &Decoded) -> Range<u64> {
    what.base / PAGE * PAGE..(what.top as u64).next_multiple_of(PAGE)
}

/// Leaves the reset code's map of everything for the real one. cVM memory, all of these regions, at most [`REGIONS`], stays
/// closed until it is [`loaded`]. All addresses are multiples of 4096.
pub fn open(regions: &[Range<u64>]) {
    let [text, data] = super::own();
    ROOT.map(0, pages(&text), MONITOR_TEXT);
    ROOT.map(0, pages(&data), MONITOR_DATA);
    let windows = all_windows().map(Slot::decoded);
    windows
        .filter(|window| window.tag)
        .for_each(|window| ROOT.map(0, pages(&window), DEVICE_WINDOW));
    // The upper tables of the cVMs' memory, now that memory is plenty.
    for region in regions {
        for address in (region.start / SPAN[1]..=(region.end - 1) / SPAN[1]).map(|number| number * SPAN[1]) {
            ROOT.down(address, BLOCKS);
        }
    }
    let root = &raw const ROOT as u64 | ADDRESS_SPACE;
    // SAFETY: the new tables map all that the monitor uses; whatever it has written before is visible to them.
    unsafe {
        asm!(
            "dsb ish",
            "msr ttbr0_el1, {root}",
            "isb",
            "mrs {control}, sctlr_el1",
            "orr {control}, {control}, {never}",
            "msr sctlr_el1, {control}",
            "isb",
            "tlbi vmalle1",
            "dsb ish",
            "isb",
            root = in(reg) root,
            never = in(reg) WRITE_EXECUTE_NEVER,
            control = out(reg) _,
            options(nostack),
        );
    }
}

/// Opens the archive to the monitor, outside of its data. Before [`open`].
pub fn readable(archive: Range<u64>) {
    ROOT.map(
        0,
        archive.start / PAGE * PAGE..archive.end.next_multiple_of(PAGE),
        ARCHIVE,
    );
}

/// Makes the tables that changes at the ends of a range need: later ones, of this range or of parts of it between multiples
/// of 2 MiB, need no memory. Both ends are multiples of 4096.
pub fn reserve(range: Range<u64>) {
    for edge in [range.start, range.end] {
        if !edge.is_multiple_of(SPAN[BLOCKS]) {
            ROOT.down(edge, SPAN.len() - 1);
        }
    }
}

/// Closes memory of a cVM to EL0 and opens it to the loader: nothing in it can be executed. Multiples of 4096.
pub fn loading(memory: Range<u64>) {
    ROOT.map(0, memory, MONITOR_DATA);
    publish_tables();
}

/// Gives memory to its cVM, to read and write. Multiples of 4096.
pub fn loaded(memory: Range<u64>) {
    ROOT.map(0, memory, CVM_DATA);
    publish_tables();
}

/// Makes part of a cVM's memory executable and no longer writable. Multiples of 4096.
pub fn executable(text: Range<u64>) {
    ROOT.map(0, text, CVM_TEXT);
    publish_tables();
}

/// Makes what was loaded to `text` what will be executed. `data` is the cVM's data capability. Multiples of 4096.
pub fn publish(text: Range<u64>, data: &Slot) {
    let types: u64;
    // SAFETY: reads the sizes of cache lines.
    unsafe { asm!("mrs {types}, ctr_el0", types = out(reg) types, options(nostack, nomem)) };
    let line = 4 << (types >> 16 & 0xf);
    // SAFETY: cache maintenance within the bounds of `data`, which covers the text.
    unsafe { intravisor_publish_code(data.pointer(), text.start, text.end - text.start, line) };
}

/// Whether cVMs can reach these pages, and write them if `written`.
pub fn is_open(pages: Range<u64>, written: bool) -> bool {
    let wanted = VALID | EL0;
    let looked_at = wanted | if written { READ_ONLY } else { 0 };
    let mut address = pages.start / PAGE * PAGE;
    while address < pages.end {
        let (entry, span) = ROOT.look_up(address);
        if entry & looked_at != wanted {
            return false;
        }
        address = (address / span + 1) * span;
    }
    true
}
