//! The PL011 UART (DDI 0183): transmits at once, receives from the console, interrupts on receive and transmit.

use crate::Console;

const RECEIVE: u32 = 1 << 4;
const TRANSMIT: u32 = 1 << 5;
const RECEIVE_TIMEOUT: u32 = 1 << 6;
const IDENTIFICATION: [u8; 8] = [0x11, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// The UART with the console behind it.
pub(super) struct Uart {
    pub(super) console: Console,
    registers: Registers,
}

/// What a program sees of the UART.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Registers {
    integer_divisor: u32,
    fractional_divisor: u32,
    line_control: u32,
    control: u32,
    levels: u32,
    mask: u32,
    raw: u32,
}

impl Registers {
    /// Whether they differ in nothing but the interrupts that are pending.
    pub(super) fn same_settings(&self, other: &Registers) -> bool {
        Registers { raw: 0, ..*self } == Registers { raw: 0, ..*other }
    }
}

impl Uart {
    /// A UART in its reset state.
    pub(super) fn new(console: Console) -> Self {
        Self {
            console,
            registers: Registers {
                integer_divisor: 0,
                fractional_divisor: 0,
                line_control: 0,
                control: 0x300,
                levels: 0x12,
                mask: 0,
                raw: 0,
            },
        }
    }

    /// The registers, for [`Uart::set_registers`].
    pub(super) fn registers(&self) -> Registers {
        self.registers
    }

    /// Puts registers back.
    pub(super) fn set_registers(&mut self, registers: &Registers) {
        self.registers = *registers;
    }

    /// Whether the interrupt line is high.
    pub(super) fn interrupt(&mut self) -> bool {
        self.notice_input();
        self.registers.raw & self.registers.mask != 0
    }

    /// Whether the guest would be interrupted by input.
    pub(super) fn waits_for_input(&self) -> bool {
        self.registers.mask & (RECEIVE | RECEIVE_TIMEOUT) != 0
    }

    fn notice_input(&mut self) {
        if self.console.has_input() {
            self.registers.raw |= RECEIVE;
        }
    }

    /// Reads a register.
    pub(super) fn read(&mut self, offset: u64) -> u64 {
        let value = match offset {
            0x00 => {
                let byte = self.console.take_input();
                if !self.console.has_input() {
                    self.registers.raw &= !(RECEIVE | RECEIVE_TIMEOUT);
                }
                byte.map_or(0, u32::from)
            }
            // Transmitter empty; receiver empty unless there is input.
            0x18 => 0x80 | if self.console.has_input() { 0 } else { 0x10 },
            0x24 => self.registers.integer_divisor,
            0x28 => self.registers.fractional_divisor,
            0x2c => self.registers.line_control,
            0x30 => self.registers.control,
            0x34 => self.registers.levels,
            0x38 => self.registers.mask,
            0x3c | 0x40 => {
                self.notice_input();
                if offset == 0x3c {
                    self.registers.raw
                } else {
                    self.registers.raw & self.registers.mask
                }
            }
            0xfe0..0x1000 => IDENTIFICATION[(offset - 0xfe0) as usize / 4].into(),
            _ => 0,
        };
        value.into()
    }

    /// Writes a register.
    pub(super) fn write(&mut self, offset: u64, value: u64) {
        let value = value as u32;
        match offset {
            0x00 => {
                self.console.put(value as u8);
                self.registers.raw |= TRANSMIT;
            }
            0x24 => self.registers.integer_divisor = value & 0xffff,
            0x28 => self.registers.fractional_divisor = value & 0x3f,
            0x2c => self.registers.line_control = value & 0xff,
            0x30 => self.registers.control = value & 0xffff,
            0x34 => self.registers.levels = value & 0x3f,
            0x38 => self.registers.mask = value & 0x7ff,
            0x44 => self.registers.raw &= !value,
            _ => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_to_the_data_register_is_printed() {
        let mut uart = Uart::new(Console::buffer());
        uart.write(0, b'A'.into());
        assert_eq!(uart.console.text(), "A");
        assert_eq!(uart.read(0x18) & 0x20, 0, "the transmitter is never full");
    }

    #[test]
    fn input_raises_the_interrupt_until_it_is_read() {
        let mut uart = Uart::new(Console::buffer());
        uart.write(0x38, RECEIVE.into());
        assert!(!uart.interrupt());
        uart.console.push_input(b"x");
        assert!(uart.interrupt());
        assert_eq!(uart.read(0), b'x'.into());
        assert!(!uart.interrupt());
        assert_eq!(uart.read(0x18) & 0x10, 0x10);
    }
}
