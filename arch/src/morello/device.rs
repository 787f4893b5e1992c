//! The devices that the monitor drives, each through its own capability, and the generic timer, which is no device but
//! a set of system registers.

use super::gic::interrupts;
use super::slot::Slot;
use crate::types::{Derivation, Description, Device, Kind, Platform, VIRTIO_LIMIT, Window};

unsafe extern "C" {
    fn intravisor_device_read8(window: *const u64, offset: u64) -> u8;
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
pub(super) fn all_windows() -> impl Iterator<Item = &'static Slot> {
    WINDOWS.iter().chain(&virtio::WINDOWS)
}

/// Bytes of one processor's redistributor.
pub(super) const REDISTRIBUTOR_SIZE: u64 = 0x2_0000;

/// What has this `compatible` string.
pub fn known(compatible: &[u8]) -> Option<Kind> {
    const KNOWN: [(&str, Kind); 7] = [
        ("arm,pl011", Kind::Console),
        ("arm,cortex-a15-gic", Kind::GicV2),
        ("arm,gic-400", Kind::GicV2),
        ("arm,gic-v3", Kind::GicV3),
        ("arm,armv8-timer", Kind::GenericTimer),
        ("virtio,mmio", Kind::Virtio),
        ("arm,pl031", Kind::WallClock),
    ];
    let known = KNOWN.iter().find(|(known, _)| known.as_bytes() == compatible);
    known.map(|(_, kind)| *kind)
}

/// The devices that the monitor cannot do without, and what it looks for.
pub const NEEDED: [(Device, &str); 3] = [
    (Device::Console, "arm,pl011"),
    (Device::InterruptController, GIC),
    (Device::InterruptInterface, GIC),
];
const GIC: &str = "arm,cortex-a15-gic, arm,gic-400 or arm,gic-v3, with two register regions";

/// Where the virt board has the devices that report a failure, for the time before its device tree has been read.
pub const USUAL_WINDOWS: [Window; 1] = [Window {
    device: Device::Console,
    base: 0x0900_0000,
    size: 0x1000,
}];

/// Takes note of a device, with the bytes that the monitor needs of it.
pub fn note_device(platform: &mut Platform, kind: Kind, what: &Description<'_>) {
    /// Place of the virtual timer's interrupt in the device tree (bindings: timer/arm,arch_timer.yaml).
    const VIRTUAL: usize = 2;
    let (interface, sizes) = match kind {
        Kind::Console => {
            platform.console_interrupt = interrupt(what.interrupts, 0);
            (None, [0x1000, 0])
        }
        Kind::GicV2 => (Some(Device::InterruptInterface), [0x1000, 0x1000]),
        // The first redistributor, of the processor that boots: two frames of 64 KiB.
        Kind::GicV3 => (Some(Device::InterruptInterface), [0x1_0000, REDISTRIBUTOR_SIZE]),
        Kind::GenericTimer => {
            platform.timer_interrupt = interrupt(what.interrupts, VIRTUAL);
            return;
        }
        Kind::WallClock => {
            platform.wall_clock = what.regions[0].map(|(base, _)| base);
            return;
        }
        Kind::Virtio => {
            if let [Some((base, _)), _] = what.regions {
                let shared = 32..interrupts::SPECIAL;
                platform.virtio_slot(
                    base,
                    interrupt(what.interrupts, 0).filter(|number| shared.contains(number)),
                );
            }
            return;
        }
        _ => return,
    };
    let first = interface.map_or(Device::Console, |_| Device::InterruptController);
    for ((device, size), region) in [Some(first), interface].into_iter().zip(sizes).zip(what.regions) {
        if let (Some(device), Some((base, _))) = (device, region) {
            platform.window(device, base, size);
        }
    }
}

/// The `index`th interrupt of a device as a GIC numbers it (bindings: interrupt-controller/arm,gic.yaml).
fn interrupt(interrupts: &[u8], index: usize) -> Option<u32> {
    const PRIVATE: u32 = 1;
    let (cells, _) = interrupts.as_chunks::<4>();
    let &[kind, number] = cells.get(index * 3..)?.first_chunk()?;
    let first = if u32::from_be_bytes(kind) == PRIVATE { 16 } else { 32 };
    let number = u32::from_be_bytes(number).checked_add(first);
    number.filter(|number| *number < interrupts::SPECIAL)
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

/// Nanoseconds since 1970, as the clock shows that knows the date (Arm PrimeCell real-time clock PL031, DDI 0224), which
/// counts seconds. Read through a window that is gone afterwards: while there is the root.
pub fn wall_clock(platform: &Platform) -> Option<u64> {
    const SECOND: u64 = 1_000_000_000;
    static CLOCK: Slot = Slot::null();
    let base = platform.wall_clock?;
    let request = Derivation::over(base..base + 4, crate::device_permissions());
    CLOCK.derive(super::root(), &request).ok()?;
    // SAFETY: the window's capability bounds the access; a device register is no Rust memory.
    let seconds = unsafe { intravisor_device_read32(CLOCK.pointer(), 0) };
    CLOCK.clear();
    Some(u64::from(seconds) * SECOND)
}

/// The slots for virtio devices.
pub mod virtio {
    use super::{Slot, VIRTIO_LIMIT, intravisor_device_read8, intravisor_device_read32, intravisor_device_write32};
    use core::arch::asm;

    pub(super) static WINDOWS: [Slot; VIRTIO_LIMIT] = [const { Slot::null() }; VIRTIO_LIMIT];

    /// The window of a slot, by its place in the platform's list; NULL until the kernel has carved it.
    pub fn window(slot: usize) -> &'static Slot {
        &WINDOWS[slot]
    }

    /// Reads a register of 32 bits.
    pub fn read(slot: usize, offset: u64) -> u32 {
        // SAFETY: the window's capability bounds the access; a device register is no Rust memory.
        unsafe { intravisor_device_read32(window(slot).pointer(), offset) }
    }

    /// Reads a byte of the configuration space.
    pub fn read_byte(slot: usize, offset: u64) -> u8 {
        // SAFETY: as for `read`.
        unsafe { intravisor_device_read8(window(slot).pointer(), offset) }
    }

    /// Writes a register; the device sees all that was written to memory before.
    pub fn write(slot: usize, offset: u64, value: u32) {
        // SAFETY: orders accesses; as for `read`.
        unsafe {
            asm!("dsb sy", options(nostack));
            intravisor_device_write32(window(slot).pointer(), offset, value);
        }
    }
}

/// The console UART (Arm PrimeCell UART PL011, DDI 0183).
pub mod console {
    use super::{Device, read32, window, write32};
    use core::arch::asm;

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

    /// Sends bytes, waiting for room for each.
    pub fn put_all(bytes: &[u8]) {
        let range = bytes.as_ptr_range();
        // SAFETY: reads the bytes; the window's capability bounds the rest. The register is cleared.
        unsafe {
            asm!(
                instruction!(LDR_C 9, 0, 10),
                "b 2f",
                "1:",
                instruction!(ALDR_W 12, "{flags}", 9),
                "tbnz w12, {full}, 1b",
                "ldrb w12, [x11], #1",
                instruction!(ASTR_W 12, "{data}", 9),
                "2: cmp x11, x13",
                "b.ne 1b",
                "mov x9, xzr",
                flags = const FLAGS,
                data = const DATA,
                full = const TRANSMIT_FULL.trailing_zeros(),
                in("x10") window(Device::Console).pointer(),
                inout("x11") range.start => _,
                in("x13") range.end,
                out("x9") _,
                out("x12") _,
                options(nostack),
            );
        }
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
}

/// Time: the virtual counter of the generic timer (Arm Architecture Reference Manual, chapter D11).
pub mod timer {
    use crate::types::Platform;
    use core::arch::asm;

    /// CNTV_CTL_EL0: the timer is on.
    const ENABLE: u64 = 1;
    /// CNTV_CTL_EL0: the deadline has passed.
    const STATUS: u64 = 1 << 2;

    /// Ticks a second, as the firmware (or reset) has set it.
    pub fn frequency(_platform: &Platform) -> Option<u64> {
        let frequency: u64;
        // SAFETY: reads a register.
        unsafe { asm!("mrs {frequency}, cntfrq_el0", frequency = out(reg) frequency, options(nostack, nomem)) };
        (frequency != 0).then_some(frequency)
    }

    /// Ticks since reset.
    pub fn now() -> u64 {
        let ticks: u64;
        // SAFETY: reads the counter. It may be read a few instructions early, but not before the exception that led here.
        unsafe { asm!("mrs {ticks}, cntvct_el0", ticks = out(reg) ticks, options(nostack, nomem)) };
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
}
