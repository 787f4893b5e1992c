//! The devices of the `virt` board that the monitor drives, each through its own capability: ns16550a console, CLINT
//! timer, PLIC, and the test device that ends the run.

use super::slot::Slot;
use crate::types::{Device, Platform, Window};
use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};
use fdt::Fdt;

static WINDOWS: [Slot; Device::COUNT] = [const { Slot::null() }; Device::COUNT];

/// The slot of a device window; NULL until the kernel has carved it.
pub fn window(device: Device) -> &'static Slot {
    &WINDOWS[device as usize]
}

/// `compatible` strings of the devices and the bytes that the monitor needs of each.
const KNOWN: [(&str, Device, u64); 4] = [
    ("ns16550a", Device::Console, 0x100),
    ("riscv,clint0", Device::Timer, 0x1_0000),
    ("riscv,plic0", Device::InterruptController, 0x20_1000),
    ("sifive,test0", Device::Power, 0x1000),
];

/// Where the virt board has the devices that report a failure, for the time before its device tree has been read.
pub const USUAL_WINDOWS: [Window; 2] = [
    Window {
        device: Device::Console,
        base: 0x1000_0000,
        size: 0x100,
    },
    Window {
        device: Device::Power,
        base: 0x10_0000,
        size: 0x1000,
    },
];

/// The devices that the platform's device tree has for the monitor.
pub fn platform(tree: &Fdt<'_>) -> Platform {
    let mut platform = Platform::default();
    // One walk over the tree: looking every device up by name would walk it once for each.
    for node in tree.all_nodes() {
        let (mut compatible, mut interrupts): (&[u8], &[u8]) = (&[], &[]);
        for property in node.properties() {
            match property.name {
                "compatible" => compatible = property.value,
                "interrupts" => interrupts = property.value,
                // Of /cpus, or of each processor (Devicetree Specification, 3.8).
                "timebase-frequency" => platform.frequency = property.as_usize().map(|ticks| ticks as u64),
                _ => {}
            }
        }
        let known = |name: &[u8]| KNOWN.iter().find(|(known, ..)| known.as_bytes() == name);
        let Some(&(_, device, size)) = compatible.split(|byte| *byte == 0).find_map(known) else {
            continue;
        };
        let window = &mut platform.windows[device as usize];
        let Some(region) = node
            .reg()
            .and_then(|mut regions| regions.next())
            .filter(|_| window.is_none())
        else {
            continue;
        };
        *window = Some(Window {
            device,
            base: region.starting_address as u64,
            size,
        });
        if device == Device::Console {
            // The interrupt controller numbers interrupts by one cell (binding riscv,plic0).
            platform.console_interrupt = interrupts.first_chunk().copied().map(u32::from_be_bytes);
        }
    }
    platform
}

/// A function that reads a device register; `offset` counts bytes from the start of the window.
macro_rules! device_read {
    ($name:ident, $type:ty, $load:literal) => {
        fn $name(device: Device, offset: u64) -> $type {
            let value: u64;
            // SAFETY: the window's capability bounds the access; a device register is no Rust memory.
            unsafe {
                asm!(
                    ".insn i 0x0f, 2, x6, 0({slot})",          // LC c6, 0(slot)
                    ".insn r 0x5b, 0, 0x11, x6, x6, {offset}", // CIncOffset
                    $load,
                    "li x6, 0",
                    slot = in(reg) window(device).pointer(),
                    offset = in(reg) offset,
                    value = lateout(reg) value,
                    out("x6") _,
                    options(nostack),
                );
            }
            value as $type
        }
    };
}

/// A function that writes a device register; `offset` counts bytes from the start of the window.
macro_rules! device_write {
    ($name:ident, $type:ty, $store:literal) => {
        fn $name(device: Device, offset: u64, value: $type) {
            // SAFETY: the window's capability bounds the access; a device register is no Rust memory.
            unsafe {
                asm!(
                    ".insn i 0x0f, 2, x6, 0({slot})",          // LC c6, 0(slot)
                    ".insn r 0x5b, 0, 0x11, x6, x6, {offset}", // CIncOffset
                    $store,
                    "li x6, 0",
                    slot = in(reg) window(device).pointer(),
                    offset = in(reg) offset,
                    value = in(reg) u64::from(value),
                    out("x6") _,
                    options(nostack),
                );
            }
        }
    };
}

device_read!(read8, u8, ".insn r 0x5b, 0, 0x7d, {value}, x6, x12"); // LBU.CAP
device_read!(read32, u32, ".insn r 0x5b, 0, 0x7d, {value}, x6, x14"); // LWU.CAP
device_write!(write8, u8, ".insn r 0x5b, 0, 0x7c, x8, x6, {value}"); // SB.CAP
device_write!(write32, u32, ".insn r 0x5b, 0, 0x7c, x10, x6, {value}"); // SW.CAP
device_write!(write64, u64, ".insn r 0x5b, 0, 0x7c, x11, x6, {value}"); // SD.CAP

/// The console UART (16550: National Semiconductor PC16550D data sheet).
pub mod console {
    use super::{Device, read8, write8};

    const DATA: u64 = 0;
    const INTERRUPT_ENABLE: u64 = 1;
    const LINE_STATUS: u64 = 5;
    const RECEIVED_DATA: u8 = 1;
    const TRANSMITTER_EMPTY: u8 = 1 << 5;

    /// Sends a byte, waiting for room.
    pub fn put(byte: u8) {
        while read8(Device::Console, LINE_STATUS) & TRANSMITTER_EMPTY == 0 {
            core::hint::spin_loop();
        }
        write8(Device::Console, DATA, byte);
    }

    /// The next received byte, if there is one.
    pub fn get() -> Option<u8> {
        (read8(Device::Console, LINE_STATUS) & RECEIVED_DATA != 0).then(|| read8(Device::Console, DATA))
    }

    /// Whether received bytes raise an interrupt.
    pub fn set_interrupt(enabled: bool) {
        write8(
            Device::Console,
            INTERRUPT_ENABLE,
            if enabled { RECEIVED_DATA } else { 0 },
        );
    }
}

/// The interrupt controller (RISC-V Platform-Level Interrupt Controller 1.0.0), context of hart 0 in M-mode.
pub mod interrupts {
    use super::{AtomicU32, Device, Ordering, Platform, read32, write32};
    use core::arch::asm;

    const PRIORITY: u64 = 0;
    const ENABLE: u64 = 0x2000;
    const THRESHOLD: u64 = 0x20_0000;
    const CLAIM: u64 = 0x20_0004;
    /// `mie`: machine timer and machine external interrupts.
    const MIE_TIMER_EXTERNAL: u64 = 1 << 7 | 1 << 11;

    static CONSOLE: AtomicU32 = AtomicU32::new(0);

    /// Opens the console's interrupt, as the device tree numbers it, and lets timer and device interrupts through.
    pub fn init(platform: &Platform) {
        let console = platform.console_interrupt.unwrap_or(0);
        CONSOLE.store(console, Ordering::Relaxed);
        if console != 0 {
            write32(Device::InterruptController, PRIORITY + 4 * u64::from(console), 1);
            write32(
                Device::InterruptController,
                ENABLE + u64::from(console / 32) * 4,
                1 << (console % 32),
            );
            write32(Device::InterruptController, THRESHOLD, 0);
        }
        // SAFETY: enables interrupt sources; M-mode itself keeps mstatus.MIE clear, so they are taken from U-mode only.
        unsafe { asm!("csrs mie, {bits}", bits = in(reg) MIE_TIMER_EXTERNAL, options(nostack, nomem)) };
    }

    /// Claims, and completes, a pending device interrupt; true when it is the console's. `None` = nothing pending.
    /// `drain` runs between claim and completion and must take away the cause.
    pub fn service(drain: impl FnOnce()) -> Option<bool> {
        let number = read32(Device::InterruptController, CLAIM);
        if number == 0 {
            return None;
        }
        let console = number == CONSOLE.load(Ordering::Relaxed);
        if console {
            drain();
        }
        write32(Device::InterruptController, CLAIM, number);
        Some(console)
    }

    /// Halts the hart until an interrupt is pending. It is not taken here: look for its cause afterwards.
    pub fn wait() {
        // SAFETY: WFI changes no state; with mstatus.MIE clear the hart goes on behind it.
        unsafe { asm!("wfi", options(nostack)) };
    }
}

/// Time: `mtime` counts ticks since reset.
pub mod timer {
    use super::{Device, Platform, write64};
    use core::arch::asm;

    /// `mtimecmp` of hart 0.
    const COMPARE: u64 = 0x4000;
    /// Farthest deadline in ticks from now: the reference emulator raises an interrupt at once for values near 2^64.
    const FARTHEST: u64 = 1 << 50;

    /// Ticks a second, as the device tree says.
    pub fn frequency(platform: &Platform) -> Option<u64> {
        platform.frequency
    }

    /// Ticks since reset.
    pub fn now() -> u64 {
        let ticks: u64;
        // SAFETY: reads the time CSR, a copy of mtime.
        unsafe { asm!("csrr {ticks}, time", ticks = out(reg) ticks, options(nostack, nomem)) };
        ticks
    }

    /// Asks for one interrupt when `deadline` (in ticks) has come; `None` = no interrupt.
    pub fn set_deadline(deadline: Option<u64>) {
        let farthest = now() + FARTHEST;
        write64(
            Device::Timer,
            COMPARE,
            deadline.map_or(farthest, |ticks| ticks.min(farthest)),
        );
    }
}

/// Ends the run through the test device: status 0 for success. Without one the hart halts for good.
pub fn power_off(success: bool) -> ! {
    const PASS: u32 = 0x5555;
    const FAIL_1: u32 = 1 << 16 | 0x3333;
    if window(Device::Power).decoded().tag {
        write32(Device::Power, 0, if success { PASS } else { FAIL_1 });
    }
    loop {
        interrupts::wait();
    }
}
