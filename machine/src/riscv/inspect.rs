//! Looking into a board, and changing what a test wants changed.

use capability::riscv::Capability;

use crate::console::Console;
use crate::memory::{GRANULE, TaggedMemory};
use crate::program::Symbols;
use crate::stays::Stay;
use crate::virtio::queue::Malformed;
use crate::virtio::{Device, NoSlot};

use super::board::{Board, Config};
use super::hart::{Hart, Privilege, special};
use super::map;
use super::trace::{Step, TrapRecord};

impl Board {
    /// The configuration the board was built from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Symbols of the kernel; none if it is raw.
    pub fn symbols(&self) -> &Symbols {
        self.program.symbols()
    }

    /// The console: what was printed, and a place for input.
    pub fn console(&self) -> &Console {
        &self.bus.devices.uart.console
    }

    pub(crate) fn console_mut(&mut self) -> &mut Console {
        &mut self.bus.devices.uart.console
    }

    /// Types characters at the console.
    pub fn inject_input(&mut self, bytes: &[u8]) {
        self.bus.devices.uart.console.push_input(bytes);
    }

    /// Puts a device into the highest empty virtio slot, as QEMU does, and tells which that was.
    ///
    /// # Errors
    /// There is no empty slot.
    pub fn attach(&mut self, device: impl Into<Device>) -> Result<usize, NoSlot> {
        self.bus.devices.virtio.attach(device.into())
    }

    /// What the driver of the device in a virtio slot did wrong, if the device needs a reset for it.
    pub fn device_problem(&self, slot: usize) -> Option<&Malformed> {
        self.bus.devices.virtio.problem(slot)
    }

    /// Raises a PLIC source (1 to 53) once, as a device would.
    pub fn inject_interrupt(&mut self, source: u32) {
        assert!(
            (1..map::PLIC_SOURCES as u32).contains(&source),
            "the PLIC has no source {source}"
        );
        self.bus.devices.plic.pulse(source);
    }

    /// Sets the software interrupt line (CLINT `msip`) of a hart.
    pub fn set_software_interrupt(&mut self, core: usize, level: bool) {
        self.bus.devices.clint.software[core] = level;
    }

    /// Number of harts.
    pub fn cores(&self) -> usize {
        self.harts.len()
    }

    /// General register `number` (0 to 31) of a hart.
    pub fn register(&self, core: usize, number: u8) -> Capability {
        assert!(number < 32, "there is no register {number}");
        self.harts[core].registers.capability(number)
    }

    /// Changes general register `number` (1 to 31) of a hart.
    pub fn set_register(&mut self, core: usize, number: u8, value: Capability) {
        assert!((1..32).contains(&number), "register {number} cannot be written");
        self.harts[core].registers.set_capability(number, value);
    }

    /// Floating-point register `number` (0 to 31) of a hart.
    pub fn float_register(&self, core: usize, number: u8) -> u64 {
        self.harts[core].floats.values[usize::from(number)]
    }

    /// Changes floating-point register `number` (0 to 31) of a hart, whatever `mstatus.FS` says.
    pub fn set_float_register(&mut self, core: usize, number: u8, value: u64) {
        self.harts[core].floats.values[usize::from(number)] = value;
    }

    /// Special capability register `number` (see [`super::special`]) of a hart.
    pub fn special_register(&self, core: usize, number: u8) -> Capability {
        assert!(special::ALL.contains(&number), "there is no special register {number}");
        match number {
            special::PCC => self.harts[core].program_counter(),
            _ => self.harts[core].special[usize::from(number)],
        }
    }

    /// Changes special capability register `number` of a hart; PCC with its address.
    pub fn set_special_register(&mut self, core: usize, number: u8, value: Capability) {
        assert!(special::ALL.contains(&number), "there is no special register {number}");
        let hart = &mut self.harts[core];
        match number {
            special::PCC => hart.set_pcc(value),
            special::DDC => hart.set_ddc(value),
            _ => hart.special[usize::from(number)] = value,
        }
    }

    /// Reads a CSR without any check of privilege; one that does not exist is 0.
    pub fn csr(&self, core: usize, number: u16) -> u64 {
        self.harts[core].read_csr(u32::from(number), &self.bus)
    }

    /// Address of the next instruction of a hart.
    pub fn pc(&self, core: usize) -> u64 {
        self.harts[core].pc
    }

    /// Privilege mode of a hart.
    pub fn privilege(&self, core: usize) -> Privilege {
        self.harts[core].privilege
    }

    /// Whether a hart is in WFI.
    pub fn is_waiting(&self, core: usize) -> bool {
        self.harts[core].waiting
    }

    /// The last trap a hart took.
    pub fn last_trap(&self, core: usize) -> Option<TrapRecord> {
        self.harts[core].last_trap
    }

    /// Instructions that a hart has completed since reset (`minstret`, unless the guest wrote that).
    pub fn instructions(&self, core: usize) -> u64 {
        self.harts[core].retired()
    }

    /// The longest stay in the monitor since the first program ran.
    pub fn longest_stay(&self, core: usize) -> Stay {
        self.harts[core].stays.longest()
    }

    /// Instructions that all harts have completed.
    pub fn total_instructions(&self) -> u64 {
        self.harts.iter().map(Hart::retired).sum()
    }

    /// Virtual time in nanoseconds: one an instruction, and what was skipped in WFI.
    pub fn time(&self) -> u64 {
        self.now
    }

    /// The RAM with its tags. Offsets begin at its base, 0x80000000.
    pub fn memory(&self) -> &TaggedMemory {
        &self.bus.memory
    }

    /// The RAM, to change bytes or flip tags.
    pub fn memory_mut(&mut self) -> &mut TaggedMemory {
        &mut self.bus.memory
    }

    /// Reads bytes of RAM by address; `None` outside it.
    pub fn read_memory(&self, address: u64, length: usize) -> Option<&[u8]> {
        self.bus
            .memory
            .offset(address, length)
            .map(|offset| self.bus.memory.bytes(offset, length))
    }

    /// Writes bytes of RAM by address, as a device would: tags are cleared. `None` outside RAM.
    pub fn write_memory(&mut self, address: u64, bytes: &[u8]) -> Option<()> {
        let offset = self.bus.memory.offset(address, bytes.len())?;
        self.bus.memory.fill(offset, bytes);
        Some(())
    }

    /// The capability in the granule at `address` (a multiple of 16), tagged or not; `None` outside RAM.
    pub fn read_capability(&self, address: u64) -> Option<Capability> {
        let offset = self.bus.memory.offset(address, GRANULE)?;
        assert!(
            offset.is_multiple_of(GRANULE),
            "{address:#x} is no multiple of {GRANULE}"
        );
        let (low, high, tag) = self.bus.memory.read_granule(offset);
        Some(Capability::from_memory(low, high, tag))
    }

    /// Every tagged granule of the RAM with the capability it holds, by ascending address.
    pub fn tagged_capabilities(&self) -> impl Iterator<Item = (u64, Capability)> + '_ {
        self.bus
            .memory
            .tagged()
            .filter_map(|address| Some((address, self.read_capability(address)?)))
    }

    /// Every tagged capability in the general and special registers of a hart, with the register's name.
    pub fn tagged_registers(&self, core: usize) -> impl Iterator<Item = (String, Capability)> + '_ {
        let general = (1..32).map(move |number| (format!("c{number}"), self.register(core, number)));
        let special = special::ALL.into_iter().map(move |number| {
            (
                super::trap::special_register_name(number).to_owned(),
                self.special_register(core, number),
            )
        });
        general.chain(special).filter(|(_, capability)| capability.tag())
    }

    /// Calls `hook` for every instruction from now on, after it was executed. Slows the board down.
    pub fn set_trace(&mut self, hook: impl FnMut(&Step) + 'static) {
        self.tracer.steps = Some(Box::new(hook));
    }

    /// Ends what [`Board::set_trace`] began.
    pub fn clear_trace(&mut self) {
        self.tracer.steps = None;
    }

    /// Calls `hook` with the hart's number for every trap from now on, after it was taken.
    pub fn set_trap_hook(&mut self, hook: impl FnMut(usize, &TrapRecord) + 'static) {
        self.tracer.traps = Some(Box::new(hook));
    }
}
