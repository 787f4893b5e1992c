//! The address map of the board: what QEMU's `virt` of version 6.0 has where, as far as it exists here.

/// Reset ROM.
pub const ROM: u64 = 0x1000;
/// Size of the reset ROM in bytes.
pub const ROM_SIZE: u64 = 0xf000;
/// The test finisher that ends or resets the run.
pub const TEST: u64 = 0x10_0000;
/// Size of the test finisher's window.
pub const TEST_SIZE: u64 = 0x1000;
/// The Goldfish real-time clock.
pub const RTC: u64 = 0x10_1000;
/// Size of the real-time clock's window.
pub const RTC_SIZE: u64 = 0x1000;
/// The real-time clock's PLIC source.
pub const RTC_INTERRUPT: u32 = 11;
/// Timers and software interrupts.
pub const CLINT: u64 = 0x200_0000;
/// Size of the CLINT's window.
pub const CLINT_SIZE: u64 = 0x1_0000;
/// Interrupt controller.
pub const PLIC: u64 = 0xc00_0000;
/// Size of the PLIC's window.
pub const PLIC_SIZE: u64 = 0x21_0000;
/// Number of the PLIC's sources, source 0 (which does not exist) included.
pub const PLIC_SOURCES: usize = 54;
/// The 16550 UART.
pub const UART: u64 = 0x1000_0000;
/// Size of the UART's window.
pub const UART_SIZE: u64 = 0x100;
/// The UART's PLIC source.
pub const UART_INTERRUPT: u32 = 10;
/// The UART's input clock in Hz.
pub const UART_CLOCK: u32 = 3_686_400;
/// The first of the virtio-mmio slots.
pub const VIRTIO: u64 = 0x1000_1000;
/// Distance and size of the virtio-mmio slots.
pub const VIRTIO_SIZE: u64 = 0x1000;
/// Number of virtio-mmio slots; slot `i` has PLIC source `i + 1`.
pub const VIRTIO_SLOTS: u64 = 8;
/// Start of the RAM, where a kernel starts.
pub const RAM: u64 = 0x8000_0000;

/// The most harts the board has.
pub const MAX_HARTS: usize = 8;
/// Ticks of `mtime` a second.
pub const TIMEBASE_FREQUENCY: u32 = 10_000_000;
/// An instruction is a nanosecond of virtual time, a tick a hundred of them.
pub const NANOSECONDS_PER_TICK: u64 = 1_000_000_000 / TIMEBASE_FREQUENCY as u64;
