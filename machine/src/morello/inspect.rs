//! Looking into a core from outside.

use super::board::Board;
use super::bus::ExceptionRecord;
use super::config::Config;
use super::core::Activity;
use crate::console::Console;
use crate::memory::TaggedMemory;
use crate::program::Symbols;
use crate::stays::Stay;
use crate::virtio::queue::Malformed;
use crate::virtio::{Device, NoSlot};
use capability::morello::Capability;

/// Registers that can hold a capability beside C0 to C30.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// PCC, with the address of the next instruction.
    Pcc,
    /// DDC of an exception level, 0 to 3.
    Ddc(u8),
    /// RDDC_EL0.
    RestrictedDdc,
    /// CSP of an exception level, 0 to 3.
    Csp(u8),
    /// RCSP_EL0.
    RestrictedCsp,
    /// CELR of an exception level, 1 to 3.
    Celr(u8),
    /// CVBAR of an exception level, 1 to 3.
    Cvbar(u8),
    /// CTPIDR of an exception level, 0 to 3.
    Ctpidr(u8),
    /// CTPIDRRO_EL0.
    CtpidrReadOnly,
    /// RCTPIDR_EL0.
    RestrictedCtpidr,
    /// CID_EL0.
    CompartmentId,
}

impl Special {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Special); 24] = [
        ("PCC", Special::Pcc),
        ("DDC_EL0", Special::Ddc(0)),
        ("DDC_EL1", Special::Ddc(1)),
        ("DDC_EL2", Special::Ddc(2)),
        ("DDC_EL3", Special::Ddc(3)),
        ("RDDC_EL0", Special::RestrictedDdc),
        ("CSP_EL0", Special::Csp(0)),
        ("CSP_EL1", Special::Csp(1)),
        ("CSP_EL2", Special::Csp(2)),
        ("CSP_EL3", Special::Csp(3)),
        ("RCSP_EL0", Special::RestrictedCsp),
        ("CELR_EL1", Special::Celr(1)),
        ("CELR_EL2", Special::Celr(2)),
        ("CELR_EL3", Special::Celr(3)),
        ("CVBAR_EL1", Special::Cvbar(1)),
        ("CVBAR_EL2", Special::Cvbar(2)),
        ("CVBAR_EL3", Special::Cvbar(3)),
        ("CTPIDR_EL0", Special::Ctpidr(0)),
        ("CTPIDR_EL1", Special::Ctpidr(1)),
        ("CTPIDR_EL2", Special::Ctpidr(2)),
        ("CTPIDR_EL3", Special::Ctpidr(3)),
        ("CTPIDRRO_EL0", Special::CtpidrReadOnly),
        ("RCTPIDR_EL0", Special::RestrictedCtpidr),
        ("CID_EL0", Special::CompartmentId),
    ];
}

impl Board {
    /// Puts a device into the highest empty virtio slot, as QEMU does, and tells which that was.
    ///
    /// # Errors
    /// There is no empty slot.
    pub fn attach(&mut self, device: impl Into<Device>) -> Result<usize, NoSlot> {
        self.bus.virtio_mut().ok_or(NoSlot(0))?.attach(device.into())
    }

    /// What the driver of the device in a virtio slot did wrong, if the device needs a reset for it.
    pub fn device_problem(&self, slot: usize) -> Option<&Malformed> {
        self.bus.virtio()?.problem(slot)
    }

    /// C`number`, 0 to 30.
    pub fn register(&self, core: usize, number: u8) -> Capability {
        self.cores[core].c(number.into())
    }

    /// Sets C`number`, 0 to 30.
    pub fn set_register(&mut self, core: usize, number: u8, value: Capability) {
        self.cores[core].set_c(number.into(), value);
    }

    /// V`number`, 0 to 31.
    pub fn vector_register(&self, core: usize, number: u8) -> u128 {
        self.cores[core].v[usize::from(number & 31)]
    }

    /// Sets V`number`, 0 to 31.
    pub fn set_vector_register(&mut self, core: usize, number: u8, value: u128) {
        self.cores[core].v[usize::from(number & 31)] = value;
    }

    /// A special capability register.
    pub fn special_register(&self, core: usize, which: Special) -> Capability {
        let core = &self.cores[core];
        let registers = &core.registers;
        match which {
            Special::Pcc => core.current_pcc(),
            Special::Ddc(el) => core.ddc[usize::from(el & 3)],
            Special::RestrictedDdc => core.ddc[4],
            Special::Csp(el) => core.sp[usize::from(el & 3)],
            Special::RestrictedCsp => core.sp[4],
            Special::Celr(el) => registers.elr[usize::from(el & 3)],
            Special::Cvbar(el) => registers.vbar[usize::from(el & 3)],
            Special::Ctpidr(el) => registers.tpidr[usize::from(el & 3)],
            Special::CtpidrReadOnly => registers.tpidrro_el0,
            Special::RestrictedCtpidr => registers.rtpidr_el0,
            Special::CompartmentId => registers.cid_el0,
        }
    }

    /// Address of the next instruction.
    pub fn pc(&self, core: usize) -> u64 {
        self.cores[core].pc
    }

    /// Current exception level.
    pub fn exception_level(&self, core: usize) -> u8 {
        self.cores[core].el
    }

    /// PSTATE as SPSR would hold it.
    pub fn pstate(&self, core: usize) -> u32 {
        self.cores[core].pstate()
    }

    /// ESR of an exception level, 1 to 3.
    pub fn esr(&self, core: usize, el: u8) -> u64 {
        self.cores[core].registers.esr[usize::from(el & 3)]
    }

    /// FAR of an exception level, 1 to 3.
    pub fn far(&self, core: usize, el: u8) -> u64 {
        self.cores[core].registers.far[usize::from(el & 3)]
    }

    /// The longest stay in the monitor since the first program ran.
    pub fn longest_stay(&self, core: usize) -> Stay {
        self.cores[core].stays.longest()
    }

    /// Whether the core waits for an interrupt.
    pub fn is_waiting(&self, core: usize) -> bool {
        self.cores[core].activity == Activity::Waiting
    }

    /// Instructions that a core has executed.
    pub fn instructions(&self, core: usize) -> u64 {
        self.cores[core].instructions
    }

    /// `length` bytes at a physical address, if all of them are RAM.
    pub fn read_memory(&self, address: u64, length: usize) -> Option<&[u8]> {
        self.bus
            .ram
            .iter()
            .find_map(|ram| ram.offset(address, length).map(|offset| ram.bytes(offset, length)))
    }

    /// Writes bytes at a physical address as a device would. Instructions that were fetched from there are forgotten.
    pub fn write_memory(&mut self, address: u64, bytes: &[u8]) -> Option<()> {
        for core in &mut self.cores {
            core.close_window();
        }
        self.bus.ram.iter_mut().find_map(|ram| {
            let offset = ram.offset(address, bytes.len())?;
            ram.fill(offset, bytes);
            Some(())
        })
    }

    /// The capability at a physical address.
    pub fn read_capability(&self, address: u64) -> Option<Capability> {
        self.bus.ram.iter().find_map(|ram| {
            let (low, high, tag) = ram.read_granule(ram.offset(address & !15, 16)?);
            Some(Capability::from_memory(low, high, tag))
        })
    }

    /// Every tagged register of a core, banked ones included, by name.
    pub fn tagged_registers(&self, core: usize) -> impl Iterator<Item = (String, Capability)> + '_ {
        let general = (0..31).map(move |number| (format!("C{number}"), self.register(core, number)));
        let special = Special::ALL
            .iter()
            .map(move |(name, which)| ((*name).to_owned(), self.special_register(core, *which)));
        general.chain(special).filter(|(_, capability)| capability.tag())
    }

    /// Calls `hook` before every instruction with the number of the core, the address and the instruction.
    pub fn set_trace(&mut self, hook: impl FnMut(usize, u64, u32) + 'static) {
        self.trace = Some(Box::new(hook));
    }

    /// Calls `hook` for every exception that is taken, with the number of the core.
    pub fn set_exception_hook(&mut self, hook: impl FnMut(usize, &ExceptionRecord) + 'static) {
        self.bus.exception_hook = Some(Box::new(hook));
    }

    /// What the board was built from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The symbols of an ELF kernel.
    pub fn symbols(&self) -> &Symbols {
        self.program.symbols()
    }

    /// The console.
    pub fn console(&self) -> &Console {
        self.bus.console()
    }

    pub(crate) fn console_mut(&mut self) -> &mut Console {
        self.bus.console_mut()
    }

    /// Types on the console.
    pub fn inject_input(&mut self, bytes: &[u8]) {
        self.bus.console_mut().push_input(bytes);
    }

    /// Number of cores.
    pub fn cores(&self) -> usize {
        self.cores.len()
    }

    /// Virtual time in nanoseconds.
    pub fn time(&self) -> u64 {
        self.bus.now
    }

    /// Ticks of the generic timer's counter.
    pub fn ticks(&self) -> u64 {
        self.cores[0].timers.physical_count(self.bus.now)
    }

    /// The exception that a core took last.
    pub fn last_exception(&self, core: usize) -> Option<ExceptionRecord> {
        self.bus.last_exception[core]
    }

    /// RAM; of the bare board, the part below the tube.
    pub fn memory(&self) -> &TaggedMemory {
        &self.bus.ram[0]
    }

    /// RAM, for tests that change it; of the bare board, the part below the tube.
    pub fn memory_mut(&mut self) -> &mut TaggedMemory {
        &mut self.bus.ram[0]
    }

    /// Every tagged granule of RAM with the capability in it, by ascending address.
    pub fn tagged_capabilities(&self) -> impl Iterator<Item = (u64, Capability)> + '_ {
        self.bus.ram.iter().flat_map(|ram| {
            ram.tagged().filter_map(|address| {
                let (low, high, tag) = ram.read_granule(ram.offset(address, 16)?);
                Some((address, Capability::from_memory(low, high, tag)))
            })
        })
    }
}
