//! The devices of the board beside RAM: CLINT, PLIC, UART, real-time clock, virtio slots and the test finisher.

use std::convert::Infallible;

use vm_superio::serial::{NoEvents, SerialState};
use vm_superio::{Serial, Trigger};

use crate::console::Console;
use crate::stop::Stop;
use crate::virtio::Slots;

use super::board::UartLayout;
use super::injection::TimerFault;
use super::map::{MAX_HARTS, NANOSECONDS_PER_TICK, PLIC_SOURCES, RTC_INTERRUPT, UART_INTERRUPT};
use super::rtc::Rtc;

/// Timers and software interrupts of all harts (SiFive CLINT).
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Clint {
    pub(super) software: Vec<bool>,
    pub(super) compare: Vec<u64>,
    /// What a write to `mtime` added to the time since reset, in ticks.
    pub(super) time_offset: u64,
    /// What a test has made wrong with the timer of each hart.
    pub(super) faults: Vec<TimerFault>,
}

const CLINT_COMPARE: u64 = 0x4000;
const CLINT_TIME: u64 = 0xbff8;

impl Clint {
    pub(super) fn new(harts: usize) -> Self {
        // The comparators reset to a value that fires never; QEMU's to 0, with the timer not started.
        Clint {
            software: vec![false; harts],
            compare: vec![u64::MAX; harts],
            time_offset: 0,
            faults: vec![TimerFault::default(); harts],
        }
    }

    /// `mtime` at `now` nanoseconds after reset.
    pub(super) fn time(&self, now: u64) -> u64 {
        (now / NANOSECONDS_PER_TICK).wrapping_add(self.time_offset)
    }

    /// The virtual time in nanoseconds at which the timer of `hart` fires; `None` when that is beyond all time.
    pub(super) fn deadline(&self, hart: usize) -> Option<u64> {
        let deadline = self.compare[hart]
            .saturating_sub(self.time_offset)
            .checked_mul(NANOSECONDS_PER_TICK)?;
        self.faults[hart].apply(deadline)
    }

    fn read(&self, offset: u64, size: usize, now: u64) -> Option<u64> {
        let hart = |start: u64, stride: u64| (offset - start) / stride;
        let (register, shift) = match offset {
            0..CLINT_COMPARE => (u64::from(*self.software.get(hart(0, 4) as usize)?), 8 * (offset % 4)),
            CLINT_COMPARE..CLINT_TIME => (*self.compare.get(hart(CLINT_COMPARE, 8) as usize)?, 8 * (offset % 8)),
            _ if offset < CLINT_TIME + 8 => (self.time(now), 8 * (offset % 8)),
            _ => return None,
        };
        (size >= 4).then_some(register >> shift)
    }

    fn write(&mut self, offset: u64, size: usize, value: u64, now: u64) -> Option<()> {
        if size < 4 {
            return None;
        }
        let combine = |old: u64| match (size, offset % 8) {
            (8, _) => value,
            (_, 0) => old & !0xffff_ffff | value & 0xffff_ffff,
            _ => old & 0xffff_ffff | value << 32,
        };
        match offset {
            0..CLINT_COMPARE => {
                *self.software.get_mut((offset / 4) as usize)? = value & 1 == 1;
                if size == 8 {
                    *self.software.get_mut((offset / 4 + 1) as usize)? = value >> 32 & 1 == 1;
                }
            }
            CLINT_COMPARE..CLINT_TIME => {
                let hart = ((offset - CLINT_COMPARE) / 8) as usize;
                let compare = self.compare.get_mut(hart)?;
                *compare = combine(*compare);
                self.faults[hart].lost = false;
            }
            _ if offset < CLINT_TIME + 8 => {
                let ticks = now / NANOSECONDS_PER_TICK;
                self.time_offset = combine(self.time(now)).wrapping_sub(ticks);
            }
            _ => return None,
        }
        Some(())
    }
}

/// The platform-level interrupt controller. Context `2h` is machine mode of hart `h`, `2h + 1` its supervisor mode, as on
/// QEMU's board, although no hart here has one.
#[derive(Clone)]
pub(super) struct Plic {
    priority: [u32; PLIC_SOURCES],
    level: u64,
    pending: u64,
    /// Claimed and not completed.
    in_service: u64,
    enable: Vec<u64>,
    threshold: Vec<u32>,
}

const PLIC_PENDING: u64 = 0x1000;
const PLIC_ENABLE: u64 = 0x2000;
const PLIC_CONTEXT: u64 = 0x20_0000;
const PLIC_PRIORITY_MASK: u32 = 7;

impl Plic {
    pub(super) fn new(harts: usize) -> Self {
        Plic {
            priority: [0; PLIC_SOURCES],
            level: 0,
            pending: 0,
            in_service: 0,
            enable: vec![0; 2 * harts],
            threshold: vec![0; 2 * harts],
        }
    }

    /// Sets the input line of `source` (1 to 53).
    pub(super) fn set_level(&mut self, source: u32, level: bool) {
        let bit = 1 << source;
        self.level = self.level & !bit | u64::from(level) << source;
        if level && self.in_service & bit == 0 {
            self.pending |= bit;
        }
        if !level {
            self.pending &= !bit;
        }
    }

    /// Whether it differs from `other` in nothing but the interrupts that are pending or in service.
    pub(super) fn same_settings(&self, other: &Plic) -> bool {
        self.priority == other.priority && self.enable == other.enable && self.threshold == other.threshold
    }

    /// A pulse on the input line: pending until claimed, whatever the line does afterwards.
    pub(super) fn pulse(&mut self, source: u32) {
        self.pending |= 1 << source;
    }

    fn best(&self, context: usize) -> u32 {
        let candidates = self.pending & self.enable[context];
        let mut best = (0, self.threshold[context]);
        for source in (1..PLIC_SOURCES as u32).filter(|source| candidates >> source & 1 == 1) {
            if self.priority[source as usize] > best.1 {
                best = (source, self.priority[source as usize]);
            }
        }
        best.0
    }

    /// Whether the external interrupt line of `hart` in machine mode is raised.
    pub(super) fn machine_line(&self, hart: usize) -> bool {
        self.pending != 0 && self.best(2 * hart) != 0
    }

    fn claim(&mut self, context: usize) -> u32 {
        let source = self.best(context);
        if source != 0 {
            self.pending &= !(1 << source);
            self.in_service |= 1 << source;
        }
        source
    }

    fn complete(&mut self, source: u32) {
        if (1..PLIC_SOURCES as u32).contains(&source) {
            self.in_service &= !(1 << source);
            self.pending |= self.level & 1 << source;
        }
    }

    fn read(&mut self, offset: u64) -> Option<u32> {
        let half = |word: u64, index: u64| (word >> (32 * index)) as u32;
        match offset {
            0..PLIC_PENDING => self.priority.get((offset / 4) as usize).copied(),
            PLIC_PENDING..PLIC_ENABLE => {
                let index = (offset - PLIC_PENDING) / 4;
                (index < 2).then(|| half(self.pending, index))
            }
            PLIC_ENABLE..PLIC_CONTEXT => {
                let (context, index) = ((offset - PLIC_ENABLE) / 0x80, (offset - PLIC_ENABLE) % 0x80 / 4);
                let enable = self.enable.get(context as usize)?;
                (index < 2).then(|| half(*enable, index))
            }
            _ => {
                let context = ((offset - PLIC_CONTEXT) / 0x1000) as usize;
                let threshold = *self.threshold.get(context)?;
                match (offset - PLIC_CONTEXT) % 0x1000 {
                    0 => Some(threshold),
                    4 => Some(self.claim(context)),
                    _ => None,
                }
            }
        }
    }

    fn write(&mut self, offset: u64, value: u32) -> Option<()> {
        match offset {
            0..PLIC_PENDING => *self.priority.get_mut((offset / 4) as usize)? = value & PLIC_PRIORITY_MASK,
            PLIC_PENDING..PLIC_ENABLE => {}
            PLIC_ENABLE..PLIC_CONTEXT => {
                let (context, index) = ((offset - PLIC_ENABLE) / 0x80, (offset - PLIC_ENABLE) % 0x80 / 4);
                let enable = self.enable.get_mut(context as usize)?;
                if index >= 2 {
                    return None;
                }
                let shift = 32 * index;
                *enable = *enable & !(0xffff_ffff << shift) | u64::from(value) << shift;
            }
            _ => {
                let context = ((offset - PLIC_CONTEXT) / 0x1000) as usize;
                let threshold = self.threshold.get_mut(context)?;
                match (offset - PLIC_CONTEXT) % 0x1000 {
                    0 => *threshold = value & PLIC_PRIORITY_MASK,
                    4 => self.complete(value),
                    _ => return None,
                }
            }
        }
        Some(())
    }
}

/// The serial model asks for an interrupt event; the board looks at the line's level instead.
struct NoEvent;

impl Trigger for NoEvent {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// The 16550 UART and the console at its far end.
pub(super) struct Uart {
    serial: Serial<NoEvent, NoEvents, Vec<u8>>,
    pub(super) console: Console,
}

const UART_DATA: u8 = 0;
const UART_INTERRUPT_ENABLE: u8 = 1;
const UART_LINE_STATUS: u8 = 5;
const UART_DATA_READY: u8 = 1;
const UART_RECEIVE_INTERRUPT: u8 = 1;
const UART_TRANSMIT_IDENTIFICATION: u8 = 2;

impl Uart {
    pub(super) fn new(console: Console) -> Self {
        Uart {
            serial: Serial::new(NoEvent, Vec::new()),
            console,
        }
    }

    /// All registers and the receiver's buffer.
    pub(super) fn state(&self) -> SerialState {
        self.serial.state()
    }

    /// Puts back what [`Uart::state`] gave.
    pub(super) fn set_state(&mut self, state: &SerialState) {
        if let Ok(serial) = Serial::from_state(state, NoEvent, NoEvents, Vec::new()) {
            self.serial = serial;
        }
    }

    /// Passes one character from the console to an empty receiver: each character is then announced on its own.
    pub(super) fn receive(&mut self) {
        if !self.is_full()
            && let Some(byte) = self.console.take_input()
            && self.serial.enqueue_raw_bytes(&[byte]).unwrap_or(0) == 0
        {
            // In loop-back mode the line is cut; the character waits.
            self.console.untake_input(byte);
        }
    }

    /// Whether a character waits for the guest in the receiver.
    pub(super) fn is_full(&mut self) -> bool {
        self.serial.read(UART_LINE_STATUS) & UART_DATA_READY != 0
    }

    fn read(&mut self, offset: u8) -> u8 {
        let value = self.serial.read(offset);
        if offset == UART_DATA {
            self.receive();
        }
        value
    }

    fn write(&mut self, offset: u8, value: u8) {
        // Neither the trigger nor a `Vec` can fail, and a full loop-back FIFO drops the character as hardware does.
        self.serial.write(offset, value).unwrap_or(());
        for byte in self.serial.writer_mut().drain(..) {
            self.console.put(byte);
        }
    }

    /// The level of the interrupt line.
    fn line(&mut self) -> bool {
        let enabled = self.serial.read(UART_INTERRUPT_ENABLE);
        if enabled == 0 {
            return false;
        }
        let receive = enabled & UART_RECEIVE_INTERRUPT != 0 && self.is_full();
        receive || self.serial.state().interrupt_identification & UART_TRANSMIT_IDENTIFICATION != 0
    }
}

/// All devices, reached by offset from their window's start.
pub(super) struct Devices {
    pub(super) clint: Clint,
    pub(super) plic: Plic,
    pub(super) uart: Uart,
    /// How its registers lie.
    layout: UartLayout,
    pub(super) rtc: Rtc,
    pub(super) virtio: Slots,
    /// What the test finisher was told.
    pub(super) stop: Option<Stop>,
}

/// A window of the address map that is no RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    Test,
    Clint,
    Plic,
    Uart,
    Rtc,
    /// All virtio-mmio slots.
    Virtio,
}

impl Devices {
    pub(super) fn new(harts: usize, console: Console, layout: UartLayout, rtc: Rtc, virtio: Slots) -> Self {
        debug_assert!(harts <= MAX_HARTS);
        Devices {
            clint: Clint::new(harts),
            plic: Plic::new(harts),
            uart: Uart::new(console),
            layout,
            rtc,
            virtio,
            stop: None,
        }
    }

    /// Takes waiting console input and updates the interrupt lines.
    pub(super) fn update(&mut self, now: u64) {
        self.update_uart();
        let line = self.rtc.line(now);
        self.plic.set_level(RTC_INTERRUPT, line);
        for (slot, line) in self.virtio.lines() {
            self.plic.set_level(slot as u32 + 1, line);
        }
    }

    fn update_uart(&mut self) {
        self.uart.receive();
        let line = self.uart.line();
        self.plic.set_level(UART_INTERRUPT, line);
    }

    /// When a device other than the timers does something of itself.
    pub(super) fn next_event(&mut self, now: u64) -> Option<u64> {
        self.rtc
            .next_event()
            .into_iter()
            .chain(self.virtio.next_event(now))
            .min()
    }

    /// Reads `size` bytes; `None` is an access fault.
    pub(super) fn read(&mut self, window: Window, offset: u64, size: usize, now: u64) -> Option<u64> {
        let value = match window {
            Window::Test => 0,
            Window::Clint => self.clint.read(offset, size, now)?,
            Window::Plic => u64::from((size == 4).then(|| self.plic.read(offset))??),
            // Whatever the width, one register of a byte.
            Window::Uart => match self.layout.register(offset, size) {
                Some(register) => {
                    let value = u64::from(self.uart.read(register));
                    self.update_uart();
                    value
                }
                None => 0,
            },
            Window::Rtc if size == 4 => self.rtc.read(offset, now).into(),
            Window::Rtc => 0,
            Window::Virtio => self.virtio.read(offset, size),
        };
        Some(value)
    }

    /// Writes `size` bytes; `None` is an access fault.
    pub(super) fn write(&mut self, window: Window, offset: u64, size: usize, value: u64, now: u64) -> Option<()> {
        match window {
            Window::Test => {
                if offset == 0 && size >= 2 {
                    self.finish(value as u32);
                }
            }
            Window::Clint => self.clint.write(offset, size, value, now)?,
            Window::Plic => (size == 4).then(|| self.plic.write(offset, value as u32))??,
            Window::Uart => {
                if let Some(register) = self.layout.register(offset, size) {
                    self.uart.write(register, value as u8);
                    self.update_uart();
                }
            }
            Window::Rtc => {
                if size == 4 {
                    self.rtc.write(offset, value as u32, now);
                }
            }
            Window::Virtio => self.virtio.write(offset, size, value, now),
        }
        Some(())
    }

    fn finish(&mut self, value: u32) {
        match value & 0xffff {
            0x5555 => self.stop = Some(Stop::Exit(0)),
            0x3333 => self.stop = Some(Stop::Exit((value >> 16) as u8)),
            0x7777 => self.stop = Some(Stop::Reset),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtio::Version;

    fn devices(input: &[u8]) -> Devices {
        let mut console = Console::buffer();
        console.push_input(input);
        Devices::new(
            2,
            console,
            UartLayout::default(),
            Rtc::new(0),
            Slots::new(8, 0x1000, Version::Legacy),
        )
    }

    #[test]
    fn a_timer_compares_in_ticks_of_a_hundred_instructions() {
        let mut devices = devices(b"");
        devices.write(Window::Clint, 0x4008, 8, 5, 0).unwrap();
        assert_eq!(devices.clint.deadline(1), Some(500));
        assert_eq!(devices.clint.deadline(0), None);
        assert_eq!(devices.read(Window::Clint, 0xbff8, 8, 1234), Some(12));
        assert_eq!(devices.read(Window::Clint, 0x4010, 8, 0), None);
    }

    #[test]
    fn the_comparator_can_be_written_by_halves() {
        let mut devices = devices(b"");
        devices.write(Window::Clint, 0x4000, 4, 0x1234, 0).unwrap();
        devices.write(Window::Clint, 0x4004, 4, 0, 0).unwrap();
        assert_eq!(devices.read(Window::Clint, 0x4000, 8, 0), Some(0x1234));
    }

    #[test]
    fn a_received_character_interrupts_until_it_is_read_and_completed() {
        let mut devices = devices(b"ab");
        devices.write(Window::Uart, 1, 1, 1, 0).unwrap();
        devices.write(Window::Plic, 4 * 10, 4, 1, 0).unwrap();
        devices.write(Window::Plic, 0x2000, 4, 1 << 10, 0).unwrap();
        for expected in [b'a', b'b'] {
            assert!(devices.plic.machine_line(0));
            assert!(!devices.plic.machine_line(1));
            assert_eq!(devices.read(Window::Plic, 0x20_0004, 4, 0), Some(10));
            assert!(!devices.plic.machine_line(0));
            assert_eq!(devices.read(Window::Uart, 0, 1, 0), Some(u64::from(expected)));
            devices.write(Window::Plic, 0x20_0004, 4, 10, 0).unwrap();
        }
        assert!(!devices.plic.machine_line(0));
    }

    #[test]
    fn a_threshold_masks_priorities_up_to_it() {
        let mut plic = Plic::new(1);
        plic.write(4 * 3, 2).unwrap();
        plic.write(PLIC_ENABLE, 1 << 3).unwrap();
        plic.pulse(3);
        assert!(plic.machine_line(0));
        plic.write(PLIC_CONTEXT, 2).unwrap();
        assert!(!plic.machine_line(0));
    }

    #[test]
    fn the_test_device_turns_its_word_into_an_exit_status() {
        for (word, stop) in [
            (0x5555, Stop::Exit(0)),
            (0x2a_3333, Stop::Exit(42)),
            (0x100_3333, Stop::Exit(0)),
            (0x7777, Stop::Reset),
        ] {
            let mut devices = devices(b"");
            devices.write(Window::Test, 0, 4, word, 0).unwrap();
            assert_eq!(devices.stop, Some(stop));
        }
    }

    #[test]
    fn printed_characters_reach_the_console() {
        let mut devices = devices(b"");
        assert_eq!(devices.read(Window::Uart, 5, 1, 0).unwrap() & 0x20, 0x20);
        devices.write(Window::Uart, 0, 1, u64::from(b'!'), 0).unwrap();
        assert_eq!(devices.uart.console.text(), "!");
    }
}
