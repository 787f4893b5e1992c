//! The devices of the `virt` board that the monitor drives, each through its own capability: ns16550a console, CLINT
//! timer, PLIC or APLIC, and the test device that ends the run.

use super::slot::Slot;
use crate::types::{Derivation, Description, Device, Kind, Platform, VIRTIO_LIMIT, Window};
use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};

static WINDOWS: [Slot; Device::COUNT] = [const { Slot::null() }; Device::COUNT];

/// The slot of a device window; NULL until the kernel has carved it.
pub fn window(device: Device) -> &'static Slot {
    &WINDOWS[device as usize]
}

/// What has this `compatible` string.
pub fn known(compatible: &[u8]) -> Option<Kind> {
    const KNOWN: [(&str, Kind); 12] = [
        ("ns16550a", Kind::Console),
        ("ns16550", Kind::Console),
        ("snps,dw-apb-uart", Kind::Console),
        ("riscv,clint0", Kind::Clint),
        ("sifive,clint0", Kind::Clint),
        ("riscv,aclint-mtimer", Kind::AclintTimer),
        ("riscv,plic0", Kind::Plic),
        ("sifive,plic-1.0.0", Kind::Plic),
        ("riscv,aplic", Kind::Aplic),
        ("sifive,test0", Kind::Power),
        ("virtio,mmio", Kind::Virtio),
        ("google,goldfish-rtc", Kind::WallClock),
    ];
    let known = KNOWN.iter().find(|(known, _)| known.as_bytes() == compatible);
    known.map(|(_, kind)| *kind)
}

/// The devices that the monitor cannot do without, and what it looks for.
pub const NEEDED: [(Device, &str); 3] = [
    (Device::Console, "ns16550a, ns16550 or snps,dw-apb-uart"),
    (Device::Timer, "riscv,clint0, sifive,clint0 or riscv,aclint-mtimer"),
    (
        Device::InterruptController,
        "riscv,plic0, sifive,plic-1.0.0 or riscv,aplic, which in direct mode leads to M-mode",
    ),
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

/// Takes note of a device, with the bytes that the monitor needs of it.
pub fn note_device(platform: &mut Platform, kind: Kind, what: &Description<'_>) {
    let [first, second] = what.regions.map(|region| region.map(|(base, _)| base));
    // The first cell is the number (bindings riscv,plic0 and riscv,aplic).
    let interrupt = what.interrupts.first_chunk().copied().map(u32::from_be_bytes);
    let interrupt = interrupt.filter(|number| (1..interrupts::SOURCES).contains(number));
    match (kind, first, second) {
        (Kind::Console, Some(base), _) => {
            let shift = what.register_shift.min(console::SHIFT_LIMIT);
            console::SHIFT.store(shift, Ordering::Relaxed);
            console::WIDE.store(what.register_width == 4, Ordering::Relaxed);
            platform.window(Device::Console, base, console::REGISTERS << shift);
            platform.console_interrupt = interrupt;
        }
        // `mtimecmp` of hart 0.
        (Kind::Clint, Some(base), _) => platform.window(Device::Timer, base.wrapping_add(0x4000), 8),
        (Kind::AclintTimer, _, Some(base)) => platform.window(Device::Timer, base, 8),
        (Kind::Plic, Some(base), _) => platform.window(Device::InterruptController, base, 0x20_1000),
        // Without messages, of which it would tell otherwise, and for M-mode: behind the phandle of hart 0 stands interrupt 11.
        (Kind::Aplic, Some(base), _) if what.extended.get(4..8) == Some(&[0, 0, 0, 11]) => {
            interrupts::ADVANCED.store(true, Ordering::Relaxed);
            platform.window(Device::InterruptController, base, interrupts::DELIVERY + 0x20);
        }
        (Kind::Power, Some(base), _) => platform.window(Device::Power, base, 0x1000),
        (Kind::WallClock, Some(base), _) => platform.wall_clock = Some(base),
        (Kind::Virtio, Some(base), _) => {
            platform.virtio_slot(base, interrupt);
        }
        _ => {}
    }
}

/// What has a window.
trait Windowed {
    fn window(self) -> &'static Slot;
}

impl Windowed for Device {
    fn window(self) -> &'static Slot {
        window(self)
    }
}

impl Windowed for &'static Slot {
    fn window(self) -> &'static Slot {
        self
    }
}

/// Nanoseconds since 1970, as the clock shows that knows the date (goldfish RTC). Read through a window that is gone
/// afterwards: while there is the root.
pub fn wall_clock(platform: &Platform) -> Option<u64> {
    static CLOCK: Slot = Slot::null();
    let base = platform.wall_clock?;
    let request = Derivation {
        base,
        length: 8,
        permissions: crate::device_permissions(),
        address: base,
    };
    CLOCK.derive(super::root(), &request).ok()?;
    // Reading the low half keeps the high one.
    let [low, high] = [0, 4].map(|offset| read32(&CLOCK, offset));
    CLOCK.clear();
    Some(u64::from(low) | u64::from(high) << 32)
}

/// The slots for virtio devices.
pub mod virtio {
    use super::{Slot, VIRTIO_LIMIT, Windowed, asm, read8, read32, write32};

    static WINDOWS: [Slot; VIRTIO_LIMIT] = [const { Slot::null() }; VIRTIO_LIMIT];

    /// The window of a slot, by its place in the platform's list; NULL until the kernel has carved it.
    pub fn window(slot: usize) -> &'static Slot {
        &WINDOWS[slot]
    }

    impl Windowed for usize {
        fn window(self) -> &'static Slot {
            window(self)
        }
    }

    /// Reads a register of 32 bits.
    pub fn read(slot: usize, offset: u64) -> u32 {
        read32(slot, offset)
    }

    /// Reads a byte of the configuration space.
    pub fn read_byte(slot: usize, offset: u64) -> u8 {
        read8(slot, offset)
    }

    /// Writes a register; the device sees all that was written to memory before.
    pub fn write(slot: usize, offset: u64, value: u32) {
        // SAFETY: orders accesses.
        unsafe { asm!("fence iorw, iorw", options(nostack)) };
        write32(slot, offset, value);
    }
}

/// A function that reads a device register; `offset` counts bytes from the start of the window.
macro_rules! device_read {
    ($name:ident, $type:ty, $load:expr) => {
        fn $name(device: impl Windowed, offset: u64) -> $type {
            let value: u64;
            // SAFETY: the window's capability bounds the access; a device register is no Rust memory.
            unsafe {
                asm!(
                    instruction!(LC "x6", 0, "{slot}"),
                    instruction!(CIncOffset "x6", "x6", "{offset}"),
                    $load,
                    "li x6, 0",
                    slot = in(reg) device.window().pointer(),
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
    ($name:ident, $type:ty, $store:expr) => {
        fn $name(device: impl Windowed, offset: u64, value: $type) {
            // SAFETY: the window's capability bounds the access; a device register is no Rust memory.
            unsafe {
                asm!(
                    instruction!(LC "x6", 0, "{slot}"),
                    instruction!(CIncOffset "x6", "x6", "{offset}"),
                    $store,
                    "li x6, 0",
                    slot = in(reg) device.window().pointer(),
                    offset = in(reg) offset,
                    value = in(reg) u64::from(value),
                    out("x6") _,
                    options(nostack),
                );
            }
        }
    };
}

device_read!(read8, u8, instruction!(LBU_CAP "{value}", "x6"));
device_read!(read32, u32, instruction!(LWU_CAP "{value}", "x6"));
device_write!(write8, u8, instruction!(SB_CAP "{value}", "x6"));
device_write!(write32, u32, instruction!(SW_CAP "{value}", "x6"));
device_write!(write64, u64, instruction!(SD_CAP "{value}", "x6"));

/// The console UART (16550: National Semiconductor PC16550D data sheet).
pub mod console {
    use super::{Device, Ordering, read8, read32, window, write8, write32};
    use core::arch::asm;
    use core::sync::atomic::{AtomicBool, AtomicU32};

    /// Bytes of the registers, when they lie as close as they can.
    pub(super) const REGISTERS: u64 = 8;
    /// Farthest that registers lie apart, as a power of two.
    pub(super) const SHIFT_LIMIT: u32 = 8;
    /// How far apart they lie, and whether they are accessed by words of 32 bits.
    pub(super) static SHIFT: AtomicU32 = AtomicU32::new(0);
    pub(super) static WIDE: AtomicBool = AtomicBool::new(false);

    const DATA: u64 = 0;
    const INTERRUPT_ENABLE: u64 = 1;
    const LINE_STATUS: u64 = 5;
    const RECEIVED_DATA: u8 = 1;
    const TRANSMITTER_EMPTY: u8 = 1 << 5;

    fn read(register: u64) -> u8 {
        let offset = register << SHIFT.load(Ordering::Relaxed);
        if WIDE.load(Ordering::Relaxed) {
            read32(Device::Console, offset) as u8
        } else {
            read8(Device::Console, offset)
        }
    }

    fn write(register: u64, value: u8) {
        let offset = register << SHIFT.load(Ordering::Relaxed);
        if WIDE.load(Ordering::Relaxed) {
            write32(Device::Console, offset, value.into());
        } else {
            write8(Device::Console, offset, value);
        }
    }

    /// Sends a byte, waiting for room.
    pub fn put(byte: u8) {
        while read(LINE_STATUS) & TRANSMITTER_EMPTY == 0 {
            core::hint::spin_loop();
        }
        write(DATA, byte);
    }

    /// Sends bytes, waiting for room for each.
    pub fn put_all(bytes: &[u8]) {
        if WIDE.load(Ordering::Relaxed) || bytes.is_empty() {
            return bytes.iter().copied().for_each(put);
        }
        let range = bytes.as_ptr_range();
        // SAFETY: reads the bytes; the window's capability bounds the rest. The registers are cleared.
        unsafe {
            asm!(
                instruction!(LC "x6", 0, "{slot}"),
                instruction!(CIncOffset "x7", "x6", "{status}"),
                "1:",
                instruction!(LBU_CAP "{value}", "x7"),
                "andi {value}, {value}, {room}",
                "beqz {value}, 1b",
                "lbu {value}, 0({at})",
                instruction!(SB_CAP "{value}", "x6"),
                "addi {at}, {at}, 1",
                "bne {at}, {end}, 1b",
                "li x6, 0",
                "li x7, 0",
                slot = in(reg) window(Device::Console).pointer(),
                status = in(reg) LINE_STATUS << SHIFT.load(Ordering::Relaxed),
                room = const TRANSMITTER_EMPTY,
                at = inout(reg) range.start => _,
                end = in(reg) range.end,
                value = out(reg) _,
                out("x6") _,
                out("x7") _,
                options(nostack),
            );
        }
    }

    /// The next received byte, if there is one.
    pub fn get() -> Option<u8> {
        (read(LINE_STATUS) & RECEIVED_DATA != 0).then(|| read(DATA))
    }

    /// Whether received bytes raise an interrupt.
    pub fn set_interrupt(enabled: bool) {
        write(INTERRUPT_ENABLE, if enabled { RECEIVED_DATA } else { 0 });
    }
}

/// The interrupt controller, for hart 0 in M-mode: RISC-V Platform-Level Interrupt Controller 1.0.0, or the one of the RISC-V
/// Advanced Interrupt Architecture 1.0, chapter 4, in direct delivery mode.
pub mod interrupts {
    use super::{AtomicU32, Device, Ordering, Platform, read32, write32};
    use core::arch::asm;
    use core::sync::atomic::AtomicBool;

    /// Whether it is the advanced one.
    pub(super) static ADVANCED: AtomicBool = AtomicBool::new(false);
    /// Its registers: `domaincfg` and the bit that lets interrupts through; `sourcecfg` of source 0, which does not exist, and
    /// an active high level; numbers to enable and disable; `target` of source 0; the structure of hart 0, in it `idelivery`
    /// and `claimi`.
    const DOMAIN: u64 = 0;
    const DOMAIN_ENABLE: u32 = 1 << 8;
    const SOURCE: u64 = 0;
    const LEVEL_HIGH: u32 = 6;
    const SET_ENABLE: u64 = 0x1edc;
    const CLEAR_ENABLE: u64 = 0x1fdc;
    const TARGET: u64 = 0x3000;
    pub(super) const DELIVERY: u64 = 0x4000;
    const CLAIM_ADVANCED: u64 = DELIVERY + 0x1c;

    const PRIORITY: u64 = 0;
    const ENABLE: u64 = 0x2000;
    const THRESHOLD: u64 = 0x20_0000;
    const CLAIM: u64 = 0x20_0004;
    /// Interrupts are numbered below this.
    pub(super) const SOURCES: u32 = 1024;
    /// `mie`: machine timer and machine external interrupts.
    const MIE_TIMER_EXTERNAL: u64 = 1 << 7 | 1 << 11;

    static CONSOLE: AtomicU32 = AtomicU32::new(0);

    /// Opens the console's interrupt, as the device tree numbers it, and lets timer and device interrupts through.
    pub fn init(platform: &Platform) {
        let console = platform.console_interrupt.unwrap_or(0);
        CONSOLE.store(console, Ordering::Relaxed);
        if console != 0 {
            prepare(console);
            open(console);
        }
        if advanced() {
            write32(Device::InterruptController, DOMAIN, DOMAIN_ENABLE);
            write32(Device::InterruptController, DELIVERY, 1);
        } else {
            write32(Device::InterruptController, THRESHOLD, 0);
        }
        // SAFETY: enables interrupt sources; M-mode itself keeps mstatus.MIE clear, so they are taken from U-mode only.
        unsafe { asm!("csrs mie, {bits}", bits = in(reg) MIE_TIMER_EXTERNAL, options(nostack, nomem)) };
    }

    fn advanced() -> bool {
        ADVANCED.load(Ordering::Relaxed)
    }

    /// Gives a device's interrupt its priority; it stays closed.
    pub fn prepare(number: u32) {
        if advanced() {
            write32(Device::InterruptController, SOURCE + 4 * u64::from(number), LEVEL_HIGH);
            write32(Device::InterruptController, TARGET + 4 * u64::from(number), 1);
            return;
        }
        write32(Device::InterruptController, PRIORITY + 4 * u64::from(number), 1);
    }

    /// Lets a device's interrupt through, once: it closes when it is served.
    pub fn open(number: u32) {
        set_enabled(number, true);
    }

    fn set_enabled(number: u32, enabled: bool) {
        if advanced() {
            let register = if enabled { SET_ENABLE } else { CLEAR_ENABLE };
            return write32(Device::InterruptController, register, number);
        }
        let (word, bit) = (ENABLE + u64::from(number / 32) * 4, 1 << (number % 32));
        let others = read32(Device::InterruptController, word) & !bit;
        let own = if enabled { bit } else { 0 };
        write32(Device::InterruptController, word, others | own);
    }

    /// Claims, and completes, a pending device interrupt. `serve` is told its number, none when it is the console's, in
    /// between, and must take away the cause.
    pub fn service(serve: impl FnOnce(Option<u32>)) {
        let number = if advanced() {
            read32(Device::InterruptController, CLAIM_ADVANCED) >> 16
        } else {
            read32(Device::InterruptController, CLAIM)
        };
        if number == 0 {
            return;
        }
        let device = Some(number).filter(|number| *number != CONSOLE.load(Ordering::Relaxed));
        serve(device);
        if !advanced() {
            write32(Device::InterruptController, CLAIM, number);
        }
        // Not before: a completion of what is closed does not count.
        if let Some(number) = device {
            set_enabled(number, false);
        }
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
        write64(Device::Timer, 0, deadline.map_or(farthest, |ticks| ticks.min(farthest)));
    }
}

/// Ends the run through the test device: status 0 for success. Without one the hart halts for good.
pub fn power_off(success: bool) -> ! {
    const PASS: u32 = 0x5555;
    const FAIL_1: u32 = 1 << 16 | 0x3333;
    if window(Device::Power).decoded().tag {
        write32(Device::Power, 0, if success { PASS } else { FAIL_1 });
    }
    if window(Device::Console).decoded().tag {
        let text = b"[monitor] no device ends the run: the machine stays on and waits\r\n";
        text.iter().copied().for_each(console::put);
    }
    loop {
        interrupts::wait();
    }
}
