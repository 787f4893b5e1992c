//! The devices that the monitor drives, each through its own capability, and the generic timer, which is no device but
//! a set of system registers.

use super::slot::Slot;
use crate::types::{Device, Window};
use fdt::Fdt;
use fdt::node::FdtNode;

unsafe extern "C" {
    fn intravisor_device_read32(window: *const u64, offset: u64) -> u32;
    fn intravisor_device_write32(window: *const u64, offset: u64, value: u32);
    fn intravisor_device_write64(window: *const u64, offset: u64, value: u64);
}

static WINDOWS: [Slot; Device::COUNT] = [const { Slot::null() }; Device::COUNT];

/// The slot of a device window; NULL until the kernel has carved it.
pub fn window(device: Device) -> &'static Slot {
    &WINDOWS[device as usize]
}

/// The slots of all device windows.
pub(super) fn all_windows() -> &'static [Slot] {
    &WINDOWS
}

/// `compatible` strings of a UART that is a PL011.
const PL011: [&str; 1] = ["arm,pl011"];
/// `compatible` strings of interrupt controllers with a memory-mapped processor interface.
const GIC_V2: [&str; 2] = ["arm,cortex-a15-gic", "arm,gic-400"];
/// `compatible` strings of interrupt controllers with a redistributor for each processor.
const GIC_V3: [&str; 1] = ["arm,gic-v3"];

/// Bytes of one processor's redistributor.
pub(super) const REDISTRIBUTOR_SIZE: u64 = 0x2_0000;

/// The devices: their `compatible` strings, which of their register regions, and the bytes that the monitor needs of it.
const KNOWN: [(&[&str], Device, usize, u64); 5] = [
    (&PL011, Device::Console, 0, 0x1000),
    (&GIC_V2, Device::InterruptController, 0, 0x1000),
    (&GIC_V2, Device::InterruptInterface, 1, 0x1000),
    (&GIC_V3, Device::InterruptController, 0, 0x1_0000),
    // The first redistributor, of the processor that boots: two frames of 64 KiB.
    (&GIC_V3, Device::InterruptInterface, 1, REDISTRIBUTOR_SIZE),
];

/// Where the virt board has the devices that report a failure, for the time before its device tree has been read.
pub const USUAL_WINDOWS: [Window; 1] = [Window {
    device: Device::Console,
    base: 0x0900_0000,
    size: 0x1000,
}];

/// Whether a node is a device of this kind that the tree does not call disabled: with a secure world, it has a UART for
/// that one, too.
fn is_usable(node: &FdtNode<'_, '_>, compatible: &[&str]) -> bool {
    let known = |names: fdt::standard_nodes::Compatible<'_>| names.all().any(|name| compatible.contains(&name));
    node.compatible().is_some_and(known)
        && node
            .property("status")
            .is_none_or(|status| status.as_str() == Some("okay"))
}

/// The first usable device of a kind.
fn find<'a>(tree: &'a Fdt<'a>, compatible: &[&str]) -> Option<FdtNode<'a, 'a>> {
    tree.all_nodes().find(|node| is_usable(node, compatible))
}

/// The windows that the platform's device tree offers to the monitor.
pub fn windows<'a>(tree: &'a Fdt<'a>) -> impl Iterator<Item = Window> + 'a {
    // One walk over the tree: looking every device up by name would walk it once for each.
    let every = PL011.iter().chain(&GIC_V2).chain(&GIC_V3).copied();
    let every: heapless::Vec<&str, 4> = every.collect();
    tree.all_nodes()
        .filter(move |node| is_usable(node, &every))
        .flat_map(|node| {
            KNOWN.iter().filter_map(move |(compatible, device, index, size)| {
                let region = is_usable(&node, compatible)
                    .then(|| node.reg()?.nth(*index))
                    .flatten()?;
                Some(Window {
                    device: *device,
                    base: region.starting_address as u64,
                    size: *size,
                })
            })
        })
}

/// Reads a device register; `offset` counts bytes from the start of the window.
pub(super) fn read32(device: Device, offset: u64) -> u32 {
    // SAFETY: the window's capability bounds the access; a device register is no Rust memory.
    unsafe { intravisor_device_read32(window(device).pointer(), offset) }
}

/// Writes a device register; `offset` counts bytes from the start of the window.
pub(super) fn write32(device: Device, offset: u64, value: u32) {
    // SAFETY: as for `read32`.
    unsafe { intravisor_device_write32(window(device).pointer(), offset, value) }
}

/// Writes a device register; `offset` counts bytes from the start of the window.
pub(super) fn write64(device: Device, offset: u64, value: u64) {
    // SAFETY: as for `read32`.
    unsafe { intravisor_device_write64(window(device).pointer(), offset, value) }
}

/// The `index`th interrupt of a device as a GIC numbers it (bindings: interrupt-controller/arm,gic.yaml).
pub(super) fn interrupt_of(tree: &Fdt<'_>, compatible: &[&str], index: usize) -> Option<u32> {
    const PRIVATE: u32 = 1;
    let value = find(tree, compatible)?.property("interrupts")?.value;
    let cells = value.chunks_exact(12).nth(index)?;
    let cell = |at: usize| u32::from_be_bytes([cells[at], cells[at + 1], cells[at + 2], cells[at + 3]]);
    let first = if cell(0) == PRIVATE { 16 } else { 32 };
    cell(4).checked_add(first)
}

/// The console UART (Arm PrimeCell UART PL011, DDI 0183).
pub mod console {
    use super::{Device, Fdt, PL011, interrupt_of, read32, write32};

    const DATA: u64 = 0x00;
    const FLAGS: u64 = 0x18;
    const CONTROL: u64 = 0x30;
    const INTERRUPT_MASK: u64 = 0x38;
    const RECEIVE_EMPTY: u32 = 1 << 4;
    const TRANSMIT_FULL: u32 = 1 << 5;
    /// Receive interrupt, and receive timeout: characters below the FIFO's trigger level.
    const RECEIVE_INTERRUPTS: u32 = 1 << 4 | 1 << 6;
    /// UART, transmitter and receiver enabled.
    const ENABLED: u32 = 1 | 1 << 8 | 1 << 9;

    /// Sends a byte, waiting for room.
    pub fn put(byte: u8) {
        while read32(Device::Console, FLAGS) & TRANSMIT_FULL != 0 {
            core::hint::spin_loop();
        }
        write32(Device::Console, DATA, u32::from(byte));
    }

    /// The next received byte, if there is one.
    pub fn get() -> Option<u8> {
        (read32(Device::Console, FLAGS) & RECEIVE_EMPTY == 0).then(|| read32(Device::Console, DATA) as u8)
    }

    /// Whether received bytes raise an interrupt.
    pub fn set_interrupt(enabled: bool) {
        write32(Device::Console, CONTROL, ENABLED);
        write32(
            Device::Console,
            INTERRUPT_MASK,
            if enabled { RECEIVE_INTERRUPTS } else { 0 },
        );
    }

    /// Number of the console's interrupt.
    pub(in super::super) fn interrupt(tree: &Fdt<'_>) -> Option<u32> {
        interrupt_of(tree, &PL011, 0)
    }
}

/// Time: the virtual counter of the generic timer (Arm Architecture Reference Manual, chapter D11).
pub mod timer {
    use super::{Fdt, interrupt_of};
    use core::arch::asm;

    /// CNTV_CTL_EL0: the timer is on.
    const ENABLE: u64 = 1;
    /// CNTV_CTL_EL0: the deadline has passed.
    const STATUS: u64 = 1 << 2;
    /// Place of the virtual timer's interrupt in the device tree (bindings: timer/arm,arch_timer.yaml).
    const VIRTUAL: usize = 2;

    /// Ticks a second, as the firmware (or reset) has set it.
    pub fn frequency(_tree: &Fdt<'_>) -> Option<u64> {
        let frequency: u64;
        // SAFETY: reads a register.
        unsafe { asm!("mrs {frequency}, cntfrq_el0", frequency = out(reg) frequency, options(nostack, nomem)) };
        (frequency != 0).then_some(frequency)
    }

    /// Ticks since reset.
    pub fn now() -> u64 {
        let ticks: u64;
        // SAFETY: reads the counter; the barrier keeps it from being read early.
        unsafe { asm!("isb", "mrs {ticks}, cntvct_el0", ticks = out(reg) ticks, options(nostack, nomem)) };
        ticks
    }

    /// Asks for one interrupt when `deadline` (in ticks) has come; `None` = no interrupt.
    pub fn set_deadline(deadline: Option<u64>) {
        let control = if deadline.is_some() { ENABLE } else { 0 };
        // SAFETY: changes the timer of this processor only; interrupts are masked while the monitor runs.
        unsafe {
            asm!(
                "msr cntv_cval_el0, {deadline}",
                "msr cntv_ctl_el0, {control}",
                "isb",
                deadline = in(reg) deadline.unwrap_or(u64::MAX),
                control = in(reg) control,
                options(nostack, nomem),
            );
        }
    }

    /// Whether the timer interrupts now.
    pub(in super::super) fn is_due() -> bool {
        let control: u64;
        // SAFETY: reads a register.
        unsafe { asm!("mrs {control}, cntv_ctl_el0", control = out(reg) control, options(nostack, nomem)) };
        control & (ENABLE | STATUS) == ENABLE | STATUS
    }

    /// Number of the timer's interrupt.
    pub(in super::super) fn interrupt(tree: &Fdt<'_>) -> Option<u32> {
        interrupt_of(tree, &["arm,armv8-timer"], VIRTUAL)
    }
}
