//! What the cores share: RAM, devices, the clock, and the requests that only the board can serve.

use super::core::Core;
use super::efi::Efi;
use super::gic::{Gic, Version};
use super::gic_registers::Register;
use super::psci::Conduit;
use super::rtc::Rtc;
use super::uart::Uart;
use crate::virtio::Slots;
use crate::{Console, Stop, TaggedMemory};

/// The devices of a board.
pub(super) enum Devices {
    /// The byte tube of the bare board.
    Tube(Box<Tube>),
    /// Those of QEMU's `virt`.
    Virt(Box<Virt>),
}

/// A byte written here is printed; 4 ends the run, with success when what was printed ends in `OK`.
pub(super) struct Tube {
    pub(super) console: Console,
    line: Vec<u8>,
}

/// Where the tube is.
pub(super) const TUBE: u64 = 0x1300_0000;

impl Tube {
    pub(super) fn new(console: Console) -> Self {
        Self {
            console,
            line: Vec::new(),
        }
    }

    fn write(&mut self, byte: u8) -> Option<Stop> {
        const END: u8 = 4;
        if byte == END {
            let text = self.line.trim_ascii_end();
            return Some(Stop::Exit(u8::from(!text.ends_with(b"OK"))));
        }
        self.console.put(byte);
        self.line.push(byte);
        None
    }
}

/// The devices of the `virt` board.
pub(super) struct Virt {
    pub(super) gic: Gic,
    pub(super) uart: Uart,
    pub(super) rtc: Rtc,
    pub(super) virtio: Slots,
    /// They are where the Morello SoC has them.
    pub(super) soc: bool,
}

/// Places of the `virt` board, as QEMU has them.
pub(super) mod map {
    /// Before it is NOR flash without contents: reads as zero, takes no notice of writes.
    pub(crate) const FLASH_END: u64 = DISTRIBUTOR;
    pub(crate) const DISTRIBUTOR: u64 = 0x0800_0000;
    pub(crate) const INTERFACE: u64 = 0x0801_0000;
    pub(crate) const REDISTRIBUTORS: u64 = 0x080a_0000;
    pub(crate) const REDISTRIBUTOR_SIZE: u64 = 0x2_0000;
    pub(crate) const UART: u64 = 0x0900_0000;
    pub(crate) const RTC: u64 = 0x0901_0000;
    pub(crate) const VIRTIO: u64 = 0x0a00_0000;
    pub(crate) const VIRTIO_SIZE: u64 = 0x200;
    pub(crate) const VIRTIO_SLOTS: u64 = 32;
    pub(crate) const RAM: u64 = 0x4000_0000;
    /// Interrupt of the UART, counted from 32.
    pub(crate) const UART_INTERRUPT: usize = 33;
    /// Interrupts of the real-time clock and of the first virtio slot, counted like that.
    pub(crate) const RTC_INTERRUPT: usize = 34;
    pub(crate) const VIRTIO_INTERRUPT: usize = 48;
}

/// Places of the Morello SoC: Linux, arch/arm64/boot/dts/arm/morello.dtsi, and Trusted Firmware-A, fdts/morello-soc.dts.
pub(super) mod soc {
    use super::map;

    pub(crate) const DISTRIBUTOR: u64 = 0x3000_0000;
    pub(crate) const REDISTRIBUTORS: u64 = 0x300c_0000;
    pub(crate) const UART: u64 = 0x2a40_0000;
    /// First address of each region of RAM, and the most bytes of the first; its last 16 MiB are the secure firmware's.
    pub(crate) const RAM: [u64; 2] = [0x8000_0000, 0x80_8000_0000];
    pub(crate) const FIRST_RAM: u64 = 0x7f00_0000;
    /// Interrupt of the UART, counted from 32.
    pub(crate) const UART_INTERRUPT: usize = 32 + 63;
    /// Two clusters of two.
    pub(crate) const CORES: usize = 4;
    /// Of the generic timer, in Hz.
    pub(crate) const FREQUENCY: u64 = 50_000_000;

    /// Affinity of a core.
    pub(crate) fn affinity(core: usize) -> u64 {
        (core as u64 >> 1) << 16 | (core as u64 & 1) << 8
    }

    /// Where the `virt` board has what this board has at `address`.
    pub(super) fn usual_place(address: u64) -> Option<u64> {
        match address {
            DISTRIBUTOR..0x3001_0000 => Some(address - DISTRIBUTOR + map::DISTRIBUTOR),
            REDISTRIBUTORS..0x3014_0000 => Some(address - REDISTRIBUTORS + map::REDISTRIBUTORS),
            UART..0x2a40_1000 => Some(address - UART + map::UART),
            _ => None,
        }
    }
}

impl Virt {
    /// Brings the interrupt lines of the devices up to date.
    pub(super) fn update(&mut self, now: u64) {
        let level = self.uart.interrupt();
        let number = if self.soc {
            soc::UART_INTERRUPT
        } else {
            map::UART_INTERRUPT
        };
        self.gic.set_shared(number, level);
        let level = self.rtc.interrupt(now);
        self.gic.set_shared(map::RTC_INTERRUPT, level);
        for (slot, level) in self.virtio.lines() {
            self.gic.set_shared(map::VIRTIO_INTERRUPT + slot, level);
        }
    }

    /// When a device other than the timers does something of itself.
    pub(super) fn next_event(&mut self, now: u64) -> Option<u64> {
        self.rtc
            .next_event()
            .into_iter()
            .chain(self.virtio.next_event(now))
            .min()
    }

    /// Where the `virt` board has what is at this address.
    fn usual_place(&self, address: u64) -> Option<u64> {
        if self.soc {
            soc::usual_place(address)
        } else {
            Some(address)
        }
    }

    fn read(&mut self, core: usize, address: u64, size: usize, now: u64) -> Option<u64> {
        let address = self.usual_place(address)?;
        let v3 = self.gic.version() == Version::V3;
        Some(match address {
            ..map::FLASH_END => 0,
            map::DISTRIBUTOR..map::INTERFACE => self.gic.distributor_read(core, address - map::DISTRIBUTOR, size),
            map::INTERFACE..0x0802_0000 if !v3 => self.gic.interface_read(core, address - map::INTERFACE),
            map::REDISTRIBUTORS..map::UART if v3 => {
                let (frame, offset) = self.redistributor(address)?;
                self.gic.redistributor_read(frame, offset, size)
            }
            map::UART..0x0900_1000 => self.uart.read(address - map::UART),
            map::RTC..0x0901_1000 => self.rtc.read(address - map::RTC, now),
            map::VIRTIO..0x0a00_4000 => self.virtio.read(address - map::VIRTIO, size),
            _ => return None,
        })
    }

    fn write(&mut self, core: usize, address: u64, size: usize, value: u64, now: u64) -> bool {
        let Some(address) = self.usual_place(address) else {
            return false;
        };
        let v3 = self.gic.version() == Version::V3;
        match address {
            ..map::FLASH_END => (),
            map::DISTRIBUTOR..map::INTERFACE => {
                self.gic
                    .distributor_write(core, address - map::DISTRIBUTOR, size, value);
            }
            map::INTERFACE..0x0802_0000 if !v3 => {
                self.gic.interface_write(core, address - map::INTERFACE, value);
            }
            map::REDISTRIBUTORS..map::UART if v3 => match self.redistributor(address) {
                Some((frame, offset)) => self.gic.redistributor_write(frame, offset, size, value),
                None => return false,
            },
            map::UART..0x0900_1000 => self.uart.write(address - map::UART, value),
            map::RTC..0x0901_1000 => self.rtc.write(address - map::RTC, value, now),
            map::VIRTIO..0x0a00_4000 => self.virtio.write(address - map::VIRTIO, size, value, now),
            _ => return false,
        }
        true
    }

    fn redistributor(&self, address: u64) -> Option<(usize, u64)> {
        let offset = address - map::REDISTRIBUTORS;
        let frame = (offset / map::REDISTRIBUTOR_SIZE) as usize;
        (frame < self.gic.cores()).then_some((frame, offset % map::REDISTRIBUTOR_SIZE))
    }
}

/// A PSCI request that concerns the other cores.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) core: usize,
    pub(super) entry: u64,
    pub(super) context: u64,
    pub(super) el: u8,
}

/// An exception as it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExceptionRecord {
    /// Address of the instruction.
    pub pc: u64,
    /// Exception level it came from.
    pub from: u8,
    /// Exception level that takes it.
    pub to: u8,
    /// Offset of the vector within its group: 0 synchronous, 0x80 IRQ, 0x100 FIQ.
    pub vector: u64,
    /// ESR of a synchronous exception.
    pub syndrome: Option<u32>,
    /// FAR of an abort.
    pub far: Option<u64>,
}

impl std::fmt::Display for ExceptionRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exception EL{} -> EL{} at {:#x}", self.from, self.to, self.pc)?;
        match self.syndrome {
            Some(syndrome) => write!(f, ": ESR {syndrome:#010x} (class {:#04x})", syndrome >> 26)?,
            None if self.vector == 0x80 => f.write_str(": IRQ")?,
            None => f.write_str(": FIQ")?,
        }
        if let Some(far) = self.far {
            write!(f, ", FAR {far:#x}")?;
        }
        Ok(())
    }
}

/// Called for every exception that is taken, with the number of the core.
pub(super) type ExceptionHook = Box<dyn FnMut(usize, &ExceptionRecord)>;

/// RAM, devices, clock.
pub(super) struct Bus {
    pub(super) ram: Vec<TaggedMemory>,
    pub(super) devices: Devices,
    /// Instructions executed by all cores, the clock of everything.
    pub(super) now: u64,
    /// The run is to end.
    pub(super) stop: Option<Stop>,
    /// HLT #0xf000 is answered.
    pub(super) semihosting: bool,
    /// How PSCI is called, if the machine answers it.
    pub(super) conduit: Option<Conduit>,
    /// The firmware at EL3 uses DDC_EL0, as the caller left it.
    pub(super) firmware_uses_ddc: bool,
    /// EFI firmware, until it is left.
    pub(super) efi: Option<Box<Efi>>,
    /// Affinity of each core, as MPIDR_EL1 and PSCI number it.
    pub(super) affinities: Vec<u64>,
    /// Cores that PSCI has started, to be served by the board.
    pub(super) starts: Vec<Start>,
    /// State of each core as PSCI sees it.
    pub(super) powered: Vec<bool>,
    /// All cores forget their translations.
    pub(super) broadcast_flush: bool,
    pub(super) exception_hook: Option<ExceptionHook>,
    /// The last exception of each core.
    pub(super) last_exception: Vec<Option<ExceptionRecord>>,
}

impl Bus {
    /// The RAM that holds a whole page at `physical`, and the offset in it.
    pub(super) fn ram_at(&self, physical: u64) -> Option<(u8, u64)> {
        self.ram
            .iter()
            .enumerate()
            .find_map(|(index, ram)| ram.offset(physical, 4096).map(|offset| (index as u8, offset as u64)))
    }

    /// The instruction at a physical address, which is watched for changes from now on.
    pub(super) fn fetch(&mut self, physical: u64) -> Option<u32> {
        if matches!(&self.devices, Devices::Virt(virt) if !virt.soc) && physical < map::FLASH_END {
            return Some(0);
        }
        self.ram.iter_mut().find_map(|ram| {
            let offset = ram.offset(physical, 4)?;
            ram.watch(offset);
            Some(u32::from_le_bytes(ram.read(offset)))
        })
    }

    /// A descriptor of a translation table.
    pub(super) fn read_table(&self, physical: u64) -> Option<u64> {
        self.ram.iter().find_map(|ram| {
            ram.offset(physical, 8)
                .map(|offset| u64::from_le_bytes(ram.read(offset)))
        })
    }

    /// Whether a watched granule was written.
    pub(super) fn code_has_changed(&self) -> bool {
        self.ram.iter().any(TaggedMemory::has_changed)
    }

    /// Physical addresses of the watched granules that were written.
    pub(super) fn take_changed_code(&mut self) -> Vec<u64> {
        let mut changed = Vec::new();
        for ram in &mut self.ram {
            if ram.has_changed() {
                let base = ram.base();
                changed.extend(ram.take_changed().into_iter().map(|offset| base + offset as u64));
            }
        }
        changed
    }

    /// Reads a device register of 1 to 8 bytes; `None` where there is no device.
    pub(super) fn device_read(&mut self, core: usize, address: u64, size: usize) -> Option<u64> {
        match &mut self.devices {
            Devices::Tube(_) => (address & !0xfff == TUBE).then_some(0),
            Devices::Virt(virt) => virt.read(core, address, size, self.now),
        }
    }

    /// Writes a device register of 1 to 8 bytes; whether there is one.
    pub(super) fn device_write(&mut self, core: usize, address: u64, size: usize, value: u64) -> bool {
        match &mut self.devices {
            Devices::Tube(tube) => {
                if address == TUBE {
                    self.stop = tube.write(value as u8);
                }
                address & !0xfff == TUBE
            }
            Devices::Virt(virt) => virt.write(core, address, size, value, self.now),
        }
    }

    /// The console.
    pub(super) fn console(&self) -> &Console {
        match &self.devices {
            Devices::Tube(tube) => &tube.console,
            Devices::Virt(virt) => &virt.uart.console,
        }
    }

    /// The console, to type or print on.
    pub(super) fn console_mut(&mut self) -> &mut Console {
        match &mut self.devices {
            Devices::Tube(tube) => &mut tube.console,
            Devices::Virt(virt) => &mut virt.uart.console,
        }
    }

    /// The virtio slots, where there are any.
    pub(super) fn virtio(&self) -> Option<&Slots> {
        match &self.devices {
            Devices::Tube(_) => None,
            Devices::Virt(virt) => Some(&virt.virtio),
        }
    }

    /// The virtio slots, to change them.
    pub(super) fn virtio_mut(&mut self) -> Option<&mut Slots> {
        match &mut self.devices {
            Devices::Tube(_) => None,
            Devices::Virt(virt) => Some(&mut virt.virtio),
        }
    }

    /// When a device other than the timers does something of itself.
    pub(super) fn next_event(&mut self) -> Option<u64> {
        let now = self.now;
        match &mut self.devices {
            Devices::Tube(_) => None,
            Devices::Virt(virt) => virt.next_event(now),
        }
    }

    /// When to ask the host at the latest whether there is something for a device.
    pub(super) fn next_look(&self) -> Option<u64> {
        self.virtio()?.next_look()
    }

    /// The interrupt controller, where there is one.
    pub(super) fn gic(&mut self) -> Option<&mut Gic> {
        match &mut self.devices {
            Devices::Tube(_) => None,
            Devices::Virt(virt) => Some(&mut virt.gic),
        }
    }

    /// Whether the interrupt controller is version 3.
    pub(super) fn gic_v3(&self) -> bool {
        matches!(&self.devices, Devices::Virt(virt) if virt.gic.version() == Version::V3)
    }

    /// Whether `encoding` is a register of the interrupt controller's CPU interface.
    pub(super) fn gic_register_exists(&self, encoding: u16) -> bool {
        self.gic_v3() && Register::from_encoding(encoding).is_some()
    }

    /// Reads a register of the interrupt controller's CPU interface.
    pub(super) fn gic_register_read(&mut self, core: usize, encoding: u16) -> u64 {
        match (Register::from_encoding(encoding), self.gic()) {
            (Some(register), Some(gic)) => gic.register_read(core, register),
            _ => 0,
        }
    }

    /// Writes a register of the interrupt controller's CPU interface.
    pub(super) fn gic_register_write(&mut self, core: usize, encoding: u16, value: u64) {
        if let (Some(register), Some(gic)) = (Register::from_encoding(encoding), self.gic()) {
            gic.register_write(core, register, value);
        }
    }

    /// Pending interrupts as ISR_EL1 shows them: I in bit 7, F in bit 6.
    pub(super) fn interrupt_status(&self, core: usize) -> u64 {
        match &self.devices {
            Devices::Tube(_) => 0,
            Devices::Virt(virt) => {
                let (irq, fiq) = virt.gic.signals(core);
                u64::from(irq) << 7 | u64::from(fiq) << 6
            }
        }
    }

    /// Keeps and reports an exception that `core` takes now.
    pub(super) fn record_exception(
        &mut self,
        core: &Core,
        to: u8,
        vector: u64,
        syndrome: Option<u32>,
        far: Option<u64>,
    ) {
        let record = ExceptionRecord {
            pc: core.pc,
            from: core.el,
            to,
            vector,
            syndrome,
            far,
        };
        self.last_exception[core.number] = Some(record);
        if let Some(hook) = &mut self.exception_hook {
            hook(core.number, &record);
        }
    }
}
