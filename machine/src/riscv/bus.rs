//! The physical address space: RAM, reset ROM, devices.

use crate::memory::TaggedMemory;

use super::devices::{Devices, Window};
use super::map;

/// Everything that a hart reaches by a physical address.
pub(super) struct Bus {
    pub(super) memory: TaggedMemory,
    pub(super) rom: Vec<u8>,
    pub(super) devices: Devices,
    /// Virtual time less the running hart's step count, in nanoseconds: the time is this plus that count.
    pub(super) time_base: u64,
}

/// The window that holds `address`, and the offset in it.
fn window(address: u64) -> Option<(Window, u64)> {
    const WINDOWS: [(Window, u64, u64); 6] = [
        (Window::Uart, map::UART, map::UART_SIZE),
        (Window::Clint, map::CLINT, map::CLINT_SIZE),
        (Window::Plic, map::PLIC, map::PLIC_SIZE),
        (Window::Test, map::TEST, map::TEST_SIZE),
        (Window::Rtc, map::RTC, map::RTC_SIZE),
        (Window::Virtio, map::VIRTIO, map::VIRTIO_SIZE * map::VIRTIO_SLOTS),
    ];
    WINDOWS.iter().find_map(|(window, start, size)| {
        let offset = address.wrapping_sub(*start);
        (offset < *size).then_some((*window, offset))
    })
}

impl Bus {
    /// Reads `size` (at most 8) bytes that are not all in RAM; `None` is an access fault.
    #[cold]
    pub(super) fn read_outside_ram(&mut self, address: u64, size: usize, now: u64) -> Option<u64> {
        if let Some(value) = self.read_rom(address, size) {
            return Some(value);
        }
        let (window, offset) = window(address)?;
        if !address.is_multiple_of(size as u64) {
            return None;
        }
        let value = self.devices.read(window, offset, size, now)?;
        Some(if size == 8 {
            value
        } else {
            value & ((1 << (8 * size)) - 1)
        })
    }

    fn read_rom(&self, address: u64, size: usize) -> Option<u64> {
        let offset = address.checked_sub(map::ROM)?;
        if offset + size as u64 > map::ROM_SIZE {
            return None;
        }
        let byte = |index: u64| self.rom.get((offset + index) as usize).copied().unwrap_or(0);
        Some(
            (0..size as u64)
                .rev()
                .fold(0, |value, index| value << 8 | u64::from(byte(index))),
        )
    }

    /// Writes `size` (at most 8) bytes that are not all in RAM; `None` is an access fault.
    #[cold]
    pub(super) fn write_outside_ram(&mut self, address: u64, size: usize, value: u64, now: u64) -> Option<()> {
        let (window, offset) = window(address)?;
        if !address.is_multiple_of(size as u64) {
            return None;
        }
        let value = if size == 8 {
            value
        } else {
            value & ((1 << (8 * size)) - 1)
        };
        self.devices.write(window, offset, size, value, now)
    }

    /// Reads two bytes of an instruction; `None` where nothing can be executed.
    pub(super) fn fetch(&self, address: u64) -> Option<u16> {
        match self.memory.offset(address, 2) {
            Some(offset) => Some(u16::from_le_bytes(self.memory.read(offset))),
            None => self.read_rom(address, 2).map(|value| value as u16),
        }
    }
}
