//! The interrupt controller: Arm Generic Interrupt Controller, version 2 (IHI 0048) or 3 (IHI 0069), as the device tree
//! says. In use are the console's interrupt, the virtual timer's, and those of the devices that cVMs drive.
//!
//! The timer's interrupt is never acknowledged: its level falls when the kernel sets the next deadline. So devices
//! have the higher priority, and an acknowledgement that returns the timer means that no device is pending.

/// The interrupts of timer, console and devices.
pub mod interrupts {
    use super::super::device::{REDISTRIBUTOR_SIZE, read32, window, write32, write64};
    use crate::types::{Device, Platform};
    use core::arch::asm;
    use core::sync::atomic::{AtomicU32, Ordering};

    const DISTRIBUTOR: Device = Device::InterruptController;
    const INTERFACE: Device = Device::InterruptInterface;

    /// Registers of the distributor. The first six exist in a redistributor, too, for numbers below 32.
    const CONTROL: u64 = 0x000;
    const GROUP: u64 = 0x080;
    const SET_ENABLE: u64 = 0x100;
    const CLEAR_ENABLE: u64 = 0x180;
    const PRIORITY: u64 = 0x400;
    const TARGETS: u64 = 0x800;
    /// Version 3: which processor gets an interrupt, 64 bits each.
    const ROUTER: u64 = 0x6000;

    /// Version 2, GICD_CTLR: forward interrupts.
    const FORWARD: u32 = 1;
    /// Version 3, GICD_CTLR: affinity routing, group 1 (both places that the security states know).
    const FORWARD_GROUP_1: u32 = 1 << 4 | 1 << 1 | 1;
    /// Version 3, GICD_CTLR: a write is still on its way.
    const WRITE_PENDING: u32 = 1 << 31;

    /// Registers of the version 2 processor interface.
    const INTERFACE_CONTROL: u64 = 0x00;
    const INTERFACE_PRIORITY_MASK: u64 = 0x04;
    const INTERFACE_ACKNOWLEDGE: u64 = 0x0c;
    const INTERFACE_END: u64 = 0x10;

    /// Registers of a redistributor; those of its private interrupts are in the second frame.
    const WAKER: u64 = 0x0014;
    const PROCESSOR_SLEEP: u32 = 1 << 1;
    const CHILDREN_ASLEEP: u32 = 1 << 2;
    const PRIVATE_FRAME: u64 = 0x1_0000;

    /// Lower numbers are more urgent.
    const DEVICE_PRIORITY: u32 = 0x40;
    const TIMER_PRIORITY: u32 = 0x80;
    const LOWEST_PRIORITY: u32 = 0xff;
    /// Numbers from here on mean that nothing is pending.
    pub(in super::super) const SPECIAL: u32 = 1020;
    /// The number in an acknowledgement.
    const NUMBER_MASK: u32 = 0x3ff;

    /// Version of the interrupt controller.
    static VERSION: AtomicU32 = AtomicU32::new(0);
    static CONSOLE: AtomicU32 = AtomicU32::new(SPECIAL);
    static TIMER: AtomicU32 = AtomicU32::new(SPECIAL);

    /// Opens the console's and the timer's interrupt, as the device tree numbers them, and lets them through to EL0.
    pub fn init(platform: &Platform) {
        // What the interface's window covers tells what it is.
        let version_3 = window(INTERFACE).decoded().length() == u128::from(REDISTRIBUTOR_SIZE);
        VERSION.store(if version_3 { 3 } else { 2 }, Ordering::Relaxed);
        if version_3 {
            init_version_3();
        } else {
            write32(DISTRIBUTOR, CONTROL, FORWARD);
            write32(INTERFACE, INTERFACE_PRIORITY_MASK, LOWEST_PRIORITY);
            write32(INTERFACE, INTERFACE_CONTROL, FORWARD);
        }
        if let Some(number) = platform.timer_interrupt {
            TIMER.store(number, Ordering::Relaxed);
            prepare_as(number, TIMER_PRIORITY);
            open(number);
        }
        if let Some(number) = platform.console_interrupt {
            CONSOLE.store(number, Ordering::Relaxed);
            prepare(number);
            open(number);
        }
    }

    fn init_version_3() {
        write32(DISTRIBUTOR, CONTROL, FORWARD_GROUP_1);
        while read32(DISTRIBUTOR, CONTROL) & WRITE_PENDING != 0 {
            core::hint::spin_loop();
        }
        let waker = read32(INTERFACE, WAKER);
        write32(INTERFACE, WAKER, waker & !PROCESSOR_SLEEP);
        while read32(INTERFACE, WAKER) & CHILDREN_ASLEEP != 0 {
            core::hint::spin_loop();
        }
        // SAFETY: the processor interface of the monitor's own level; interrupts stay masked while the monitor runs.
        unsafe {
            asm!(
                "msr S3_0_C12_C12_5, {one}",       // ICC_SRE_EL1: system registers
                "isb",
                "msr S3_0_C4_C6_0, {lowest}",      // ICC_PMR_EL1
                "msr S3_0_C12_C12_7, {one}",       // ICC_IGRPEN1_EL1
                "isb",
                one = in(reg) 1_u64,
                lowest = in(reg) u64::from(LOWEST_PRIORITY),
                options(nostack, nomem),
            );
        }
    }

    /// Where the registers of an interrupt are: a part of the controller, and a frame of it.
    fn place(number: u32) -> (Device, u64) {
        if VERSION.load(Ordering::Relaxed) == 3 && number < 32 {
            (INTERFACE, PRIVATE_FRAME)
        } else {
            (DISTRIBUTOR, 0)
        }
    }

    /// Writes an interrupt's bit of a register in which zeros mean nothing.
    fn write_bit(register: u64, number: u32) {
        let (device, frame) = place(number);
        write32(
            device,
            frame + register + u64::from(number / 32) * 4,
            1 << (number % 32),
        );
    }

    /// Gives a device's interrupt its priority and this processor as its target; it stays closed.
    pub fn prepare(number: u32) {
        prepare_as(number, DEVICE_PRIORITY);
    }

    /// Lets a device's interrupt through, once: it closes when it is served.
    pub fn open(number: u32) {
        write_bit(SET_ENABLE, number);
    }

    fn prepare_as(number: u32, priority: u32) {
        let version_3 = VERSION.load(Ordering::Relaxed) == 3;
        let private = number < 32;
        let (device, frame) = place(number);
        let replace_byte = |register: u64, byte: u32| {
            let (at, shift) = (frame + register + u64::from(number / 4 * 4), number % 4 * 8);
            let others = read32(device, at) & !(0xff << shift);
            write32(device, at, others | byte << shift);
        };
        replace_byte(PRIORITY, priority);
        if version_3 {
            let word = frame + GROUP + u64::from(number / 32) * 4;
            write32(device, word, read32(device, word) | 1 << (number % 32));
        }
        match (version_3, private) {
            (_, true) => {}
            (true, false) => write64(device, ROUTER + u64::from(number) * 8, affinity()),
            (false, false) => replace_byte(TARGETS, own_target()),
        }
    }

    /// This processor as version 2 targets it: what its private interrupts say.
    fn own_target() -> u32 {
        read32(DISTRIBUTOR, TARGETS) & 0xff
    }

    /// This processor as version 3 targets it: MPIDR_EL1.Aff3 to Aff0.
    fn affinity() -> u64 {
        let affinity: u64;
        // SAFETY: reads a register.
        unsafe { asm!("mrs {affinity}, mpidr_el1", affinity = out(reg) affinity, options(nostack, nomem)) };
        affinity & 0xff_00ff_ffff
    }

    fn acknowledge() -> u32 {
        if VERSION.load(Ordering::Relaxed) != 3 {
            return read32(INTERFACE, INTERFACE_ACKNOWLEDGE);
        }
        let number: u64;
        // SAFETY: ICC_IAR1_EL1; what it acknowledges is ended in `service`.
        unsafe {
            asm!("mrs {number}, S3_0_C12_C12_0", "dsb sy", number = out(reg) number, options(nostack));
        }
        number as u32
    }

    fn end(acknowledged: u32) {
        if VERSION.load(Ordering::Relaxed) != 3 {
            return write32(INTERFACE, INTERFACE_END, acknowledged);
        }
        // SAFETY: ICC_EOIR1_EL1, for what `acknowledge` returned.
        unsafe {
            asm!(
                "dsb sy",
                "msr S3_0_C12_C12_1, {number}",
                "isb",
                number = in(reg) u64::from(acknowledged),
                options(nostack),
            );
        }
    }

    /// Acknowledges, and ends, a pending device interrupt. `serve` is told its number, none when it is the console's, in
    /// between, and must take away the cause.
    pub fn service(serve: impl FnOnce(Option<u32>)) {
        let acknowledged = acknowledge();
        let number = acknowledged & NUMBER_MASK;
        if number >= SPECIAL {
            return;
        }
        let own = |other: &AtomicU32| number == other.load(Ordering::Relaxed);
        // The timer comes last: no device is pending then.
        if own(&TIMER) {
            return end(acknowledged);
        }
        let device = (!own(&CONSOLE)).then_some(number);
        serve(device);
        end(acknowledged);
        if let Some(number) = device {
            write_bit(CLEAR_ENABLE, number);
        }
    }

    /// Halts the processor until an interrupt is pending. It is not taken here: look for its cause afterwards.
    pub fn wait() {
        // SAFETY: WFI changes no state; with interrupts masked the processor goes on behind it.
        unsafe { asm!("dsb sy", "wfi", options(nostack)) };
    }
}
