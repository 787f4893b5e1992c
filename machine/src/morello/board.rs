//! The boards: cores, bus and virtual time, and the ways to run them and to look inside.

use super::bus::{Bus, Devices, TUBE, Tube, Virt, map, soc};
use super::config::{BuildError, Config, Firmware, Kind, Until};
use super::core::{Activity, Code, Core, Levels};
use super::efi::{Efi, Setup};
use super::gic::{Gic, Version};
use super::image::ImageHeader;
use super::psci::Conduit;
use super::rtc::Rtc;
use super::soc_tree::soc_tree;
use super::timer::{Timer, Timers};
use super::tree::{TreeInput, device_tree};
use super::uart::Uart;
use crate::console::Console;
use crate::memory::TaggedMemory;
use crate::program::{ElfMachine, Program, load_bytes};
use crate::stop::Stop;
use crate::virtio::Slots;
use std::time::Duration;

/// Instructions after which another core has its turn, when several are awake.
const QUANTUM: u64 = 1000;
/// Instructions after which the console is asked for input at the latest.
const POLL: u64 = 1 << 20;
/// The largest number of cores: GICv2 knows no more.
pub(super) const MAX_CORES: usize = 8;

/// A core of a board in its reset state.
fn new_core(kind: Kind, number: usize, levels: Levels, entry: u64) -> Core {
    let mut core = Core::new(number, levels, entry);
    if kind == Kind::MorelloSoc {
        /// MPIDR_EL1.MT: the lowest level of affinity is threads.
        const THREADS: u64 = 1 << 24;
        core.registers.mpidr = 1 << 31 | THREADS | soc::affinity(number);
        core.timers = Timers::new(soc::FREQUENCY);
    }
    core
}

/// Called before every instruction with the number of the core, the address and the instruction.
type TraceHook = Box<dyn FnMut(usize, u64, u32)>;

/// A Morello board with its program loaded.
pub struct Board {
    pub(super) config: Config,
    pub(super) program: Program,
    pub(super) bus: Bus,
    pub(super) code: Code,
    pub(super) cores: Vec<Core>,
    /// The core whose turn it is.
    pub(super) current: usize,
    /// Instructions left of its turn.
    pub(super) turn: u64,
    pub(super) trace: Option<TraceHook>,
}

impl Board {
    /// Builds a board whose console is a pair of buffers.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn new(config: Config) -> Result<Self, BuildError> {
        Self::with_console(config, Console::buffer())
    }

    /// Builds a board with this console.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn with_console(config: Config, console: Console) -> Result<Self, BuildError> {
        if !(1..=MAX_CORES).contains(&config.cores) {
            return Err(BuildError::Cores(config.cores));
        }
        if !config.memory.is_multiple_of(0x1000) || !(4 << 20..=64 << 30).contains(&config.memory) {
            return Err(BuildError::Memory(config.memory));
        }
        let program = Program::parse(&config.kernel_name, &config.kernel, ElfMachine::Aarch64)?;
        let on_soc = config.kind == Kind::MorelloSoc;
        if on_soc && config.cores > soc::CORES {
            return Err(BuildError::SocCores(config.cores));
        }
        if on_soc && config.secure {
            return Err(BuildError::SocSecure);
        }
        let (ram, devices, levels, conduit) = match config.kind {
            Kind::Bare => {
                /// RAM of the bare board, except for the page of the tube.
                const END: u64 = 1 << 30;
                let below = TaggedMemory::new(0, TUBE as usize);
                let above = TaggedMemory::new(TUBE + 0x1000, (END - TUBE - 0x1000) as usize);
                let levels = Levels { el2: true, el3: true };
                (
                    vec![below, above],
                    Devices::Tube(Box::new(Tube::new(console))),
                    levels,
                    None,
                )
            }
            Kind::Virt => {
                let ram = TaggedMemory::new(map::RAM, config.memory as usize);
                let virt = Virt {
                    gic: Gic::new(config.gic, config.cores),
                    uart: Uart::new(console),
                    rtc: Rtc::new(config.time),
                    virtio: Slots::new(map::VIRTIO_SLOTS, map::VIRTIO_SIZE, config.virtio),
                    soc: false,
                };
                let levels = Levels {
                    el2: config.virtualization,
                    el3: config.secure,
                };
                let conduit = if config.virtualization {
                    Conduit::Monitor
                } else {
                    Conduit::Hypervisor
                };
                (vec![ram], Devices::Virt(Box::new(virt)), levels, Some(conduit))
            }
            Kind::MorelloSoc => {
                let first = config.memory.min(soc::FIRST_RAM);
                let regions = soc::RAM.into_iter().zip([first, config.memory - first]);
                let ram = regions
                    .filter(|(_, size)| *size > 0)
                    .map(|(base, size)| TaggedMemory::new(base, size as usize));
                let virt = Virt {
                    gic: Gic::new(Version::V3, config.cores),
                    uart: Uart::new(console),
                    rtc: Rtc::new(config.time),
                    virtio: Slots::new(0, map::VIRTIO_SIZE, config.virtio),
                    soc: true,
                };
                let levels = Levels { el2: true, el3: false };
                (
                    ram.collect(),
                    Devices::Virt(Box::new(virt)),
                    levels,
                    Some(Conduit::Monitor),
                )
            }
        };
        let affinity = |core| if on_soc { soc::affinity(core) } else { core as u64 };
        let mut board = Self {
            bus: Bus {
                ram,
                devices,
                now: 0,
                stop: None,
                semihosting: config.semihosting,
                conduit,
                firmware_uses_ddc: on_soc,
                efi: None,
                affinities: (0..config.cores).map(affinity).collect(),
                starts: Vec::new(),
                powered: (0..config.cores).map(|core| core == 0).collect(),
                broadcast_flush: false,
                exception_hook: None,
                last_exception: vec![None; config.cores],
            },
            code: Code::default(),
            cores: (0..config.cores)
                .map(|core| new_core(config.kind, core, levels, 0))
                .collect(),
            current: 0,
            turn: 0,
            trace: None,
            program,
            config,
        };
        for core in &mut board.cores {
            core.update_enables();
            if core.number > 0 {
                core.activity = Activity::Off;
            }
        }
        if board.config.secure && board.config.kind == Kind::Virt && board.program.is_raw() {
            return Err(BuildError::SecureImage(board.config.kernel_name));
        }
        match board.config.kind {
            Kind::Bare => board.load_bare()?,
            Kind::Virt | Kind::MorelloSoc if board.config.firmware == Firmware::None => board.load_virt()?,
            Kind::Virt | Kind::MorelloSoc => board.load_firmware()?,
        }
        Ok(board)
    }

    /// The device tree of the board.
    fn tree(&self, initrd: Option<(u32, u32)>, bootargs: &str) -> Result<Vec<u8>, BuildError> {
        let tree = match self.config.kind {
            Kind::MorelloSoc => {
                let ram: Vec<u64> = (self.bus.ram.iter())
                    .flat_map(|ram| [ram.base(), ram.size() as u64])
                    .collect();
                soc_tree(&self.bus.affinities, &ram, bootargs, initrd)?
            }
            Kind::Virt | Kind::Bare => device_tree(&TreeInput {
                cores: self.config.cores,
                memory: self.config.memory,
                gic: self.config.gic,
                virtualization: self.config.virtualization,
                bootargs,
                initrd,
            })?,
        };
        Ok(tree)
    }

    /// Lets firmware start the kernel.
    fn load_firmware(&mut self) -> Result<(), BuildError> {
        let with_tree = self.config.firmware == Firmware::Efi;
        let setup = Setup {
            file: &self.config.kernel,
            name: &self.config.kernel_name,
            tree: with_tree.then(|| self.tree(None, "")).transpose()?,
            options: &self.config.append,
            initrd: self.config.initrd.clone(),
        };
        let uart = match self.config.kind {
            Kind::MorelloSoc => soc::UART,
            Kind::Virt | Kind::Bare => map::UART,
        };
        Efi::start(&mut self.cores[0], &mut self.bus, setup, &[uart]).map_err(BuildError::Firmware)
    }

    fn load_bare(&mut self) -> Result<(), BuildError> {
        if self.config.firmware != Firmware::None {
            return Err(BuildError::BareFirmware);
        }
        let Some(entry) = self.program.entry() else {
            return Err(BuildError::NotElf(self.config.kernel_name.clone()));
        };
        self.program.load(&mut self.bus.ram[0], 0)?;
        self.start_at(entry, 0);
        Ok(())
    }

    fn start_at(&mut self, entry: u64, x0: u64) {
        let core = &mut self.cores[0];
        core.pc = entry;
        core.set_x(0, x0);
    }

    /// Puts kernel, initial RAM disk and device tree where QEMU does.
    fn load_virt(&mut self) -> Result<(), BuildError> {
        /// Kernels without an Image header go here, past the start of RAM.
        const PLAIN_OFFSET: u64 = 0x8_0000;
        const ALIGNMENT: u64 = 2 << 20;
        let memory = &mut self.bus.ram[0];
        let base = memory.base();
        let is_elf = !self.program.is_raw();
        let image = self.program.raw_bytes().and_then(ImageHeader::read);
        let start = match image {
            Some(header) if header.offset < 0x1000 => base + header.offset + ALIGNMENT,
            Some(header) => base + header.offset,
            None => base + PLAIN_OFFSET,
        };
        let end = self.program.load(memory, start)?;
        let end = image.map_or(end, |header| end.max(start + header.size));
        let after = base + (memory.size() as u64 / 2).min(128 << 20);
        let initrd_start = after.max(end).next_multiple_of(4096);
        let initrd = match &self.config.initrd {
            Some(bytes) if !is_elf => {
                load_bytes(memory, "initrd", initrd_start, bytes)?;
                Some((initrd_start as u32, (initrd_start + bytes.len() as u64) as u32))
            }
            _ => None,
        };
        let tree = self.tree(initrd, &self.config.append)?;
        let memory = &mut self.bus.ram[0];
        if is_elf {
            let first = self.program.entry().unwrap_or(start);
            if self
                .program
                .lowest_address()
                .is_none_or(|lowest| lowest >= base + tree.len() as u64)
            {
                load_bytes(memory, "device tree", base, &tree)?;
            }
            self.start_at(first, 0);
        } else {
            let below = initrd.map_or(initrd_start, |(_, end)| u64::from(end));
            let address = below.next_multiple_of(ALIGNMENT);
            load_bytes(memory, "device tree", address, &tree)?;
            self.start_at(start, address);
        }
        Ok(())
    }

    /// Resets the whole board as PSCI's SYSTEM_RESET does: RAM is loaded anew, time and counts begin again. The console and
    /// what it printed stay, and so do the devices in the virtio slots.
    ///
    /// # Errors
    /// None that did not occur when the board was built.
    pub fn reset(&mut self) -> Result<(), BuildError> {
        let console = std::mem::replace(self.bus.console_mut(), Console::buffer());
        let (trace, hook) = (self.trace.take(), self.bus.exception_hook.take());
        let devices = self.bus.virtio_mut().map(Slots::detach).unwrap_or_default();
        *self = Self::with_console(self.config.clone(), console)?;
        (self.trace, self.bus.exception_hook) = (trace, hook);
        if let Some(virtio) = self.bus.virtio_mut() {
            virtio.attach_again(devices);
        }
        Ok(())
    }

    /// Runs until one of the conditions holds or the guest ends the run.
    pub fn run(&mut self, mut until: Until) -> Stop {
        let end = until
            .limit
            .map_or(u64::MAX, |limit| self.total_instructions().saturating_add(limit));
        self.bus.console_mut().set_pattern(until.pattern.unwrap_or_default());
        let mut first = true;
        let stop = loop {
            if let Some(stop) = self.bus.stop.take() {
                break stop;
            }
            if self.bus.console_mut().take_pattern_seen() {
                break Stop::Pattern;
            }
            if self.bus.console().quit_requested() {
                break Stop::Quit;
            }
            let executed = self.total_instructions();
            if executed >= end {
                break Stop::Limit;
            }
            if let Err(stop) = self.choose_core(until.idle) {
                break stop;
            }
            let budget = self.budget().min(end - executed);
            let stop = self.run_slice(budget, &mut until, first);
            first = false;
            if let Some(stop) = stop {
                break stop;
            }
        };
        self.bus.console_mut().flush();
        stop
    }

    /// Runs to the instruction at `address`.
    ///
    /// # Errors
    /// How the run ended instead, also when `limit` instructions did not lead there.
    pub fn run_to(&mut self, address: u64, limit: u64) -> Result<(), Stop> {
        match self.run(Until::exit(limit).or_breakpoints(&[address])) {
            Stop::Breakpoint { .. } => Ok(()),
            stop => Err(stop),
        }
    }

    /// Runs to `from`, then to `to`, and returns the number of instructions that were executed between the two.
    ///
    /// # Errors
    /// How the run ended instead.
    pub fn count_between(&mut self, from: u64, to: u64, limit: u64) -> Result<u64, Stop> {
        self.run_to(from, limit)?;
        let before = self.total_instructions();
        self.run_to(to, limit)?;
        Ok(self.total_instructions() - before)
    }

    /// Serves what cores asked of each other, and brings all interrupt lines up to date.
    fn settle(&mut self) {
        for start in std::mem::take(&mut self.bus.starts) {
            let levels = self.cores[start.core].levels;
            let mut core = new_core(self.config.kind, start.core, levels, start.entry);
            core.el = start.el;
            core.select_bank();
            core.update_enables();
            core.set_x(0, start.context);
            core.instructions = self.cores[start.core].instructions;
            self.cores[start.core] = core;
        }
        if std::mem::take(&mut self.bus.broadcast_flush) {
            for core in &mut self.cores {
                core.tlb.flush();
                core.close_window();
            }
        }
        let now = self.bus.now;
        if let Devices::Virt(virt) = &mut self.bus.devices {
            virt.virtio.advance(now, &mut self.bus.ram[0]);
            virt.update(now);
            for core in &self.cores {
                for (timer, interrupt) in Timer::ALL {
                    virt.gic
                        .set_private(core.number, interrupt, core.timers.asserted(timer, now));
                }
            }
        }
        for core in &mut self.cores {
            if core.activity == Activity::Waiting && self.bus.interrupt_status(core.number) != 0 {
                core.activity = Activity::Running;
                core.stays.resume(now);
            }
        }
    }

    /// Gives `current` to a core that has something to do; lets time pass when there is none.
    fn choose_core(&mut self, may_idle: bool) -> Result<(), Stop> {
        loop {
            self.settle();
            let runs = |core: &Core| core.activity == Activity::Running;
            let count = self.cores.len();
            let yields = count > 1 && self.cores[self.current].look;
            if self.turn > 0 && runs(&self.cores[self.current]) && !yields {
                return Ok(());
            }
            let next = (1..=count)
                .map(|step| (self.current + step) % count)
                .find(|core| runs(&self.cores[*core]));
            if let Some(next) = next {
                (self.current, self.turn) = (next, QUANTUM);
                return Ok(());
            }
            if may_idle {
                return Err(Stop::Idle);
            }
            self.pass_time()?;
        }
    }

    /// All cores wait: jumps to the next timer or event of a device, else waits for the console. As long as something can come
    /// from a network, the jump takes as long as it says.
    fn pass_time(&mut self) -> Result<(), Stop> {
        let now = self.bus.now;
        if self.bus.next_look().is_some_and(|look| look <= now) {
            return Ok(());
        }
        let event = self.bus.next_event();
        let waiting = self.cores.iter().filter(|core| core.activity == Activity::Waiting);
        let timers = waiting.filter_map(|core| core.timers.next_event(now));
        let deadline = timers.chain(event).min();
        if let Devices::Virt(virt) = &mut self.bus.devices {
            let interests = virt.virtio.interests();
            if !interests.is_empty() {
                let time = deadline.map(|deadline| Duration::from_nanos(deadline.saturating_sub(now)));
                let waited = virt.uart.console.wait_for_key_or(&interests, time);
                self.bus.now += waited.as_nanos() as u64;
                virt.virtio.look();
                return if virt.uart.console.quit_requested() {
                    Err(Stop::Quit)
                } else {
                    Ok(())
                };
            }
        }
        if let Some(deadline) = deadline {
            self.bus.now = now.max(deadline);
            return Ok(());
        }
        let Devices::Virt(virt) = &mut self.bus.devices else {
            return Err(Stop::Idle);
        };
        if !virt.uart.waits_for_input() || virt.uart.interrupt() || !virt.uart.console.wait_for_input() {
            return Err(Stop::Idle);
        }
        if virt.uart.console.quit_requested() {
            Err(Stop::Quit)
        } else {
            Ok(())
        }
    }

    /// Instructions that can be executed before a timer fires, the console is polled or another core has its turn.
    fn budget(&mut self) -> u64 {
        let awake = self
            .cores
            .iter()
            .filter(|core| core.activity == Activity::Running)
            .count();
        let turn = if awake > 1 { self.turn } else { POLL };
        let now = self.bus.now;
        let (event, look) = (self.bus.next_event(), self.bus.next_look());
        let timers = self.cores.iter().filter_map(|core| core.timers.next_event(now));
        let next = timers.chain(event).chain(look).min();
        next.map_or(turn, |deadline| turn.min(deadline.saturating_sub(now).max(1)))
    }

    fn run_slice(&mut self, budget: u64, until: &mut Until, first: bool) -> Option<Stop> {
        let number = self.current;
        self.deliver_interrupt(number);
        let start = self.bus.now;
        let stepping = !until.breakpoints.is_empty() || until.condition.is_some() || self.trace.is_some();
        let stop = if stepping {
            self.run_steps(budget, until, first)
        } else {
            let core = &mut self.cores[number];
            core.look = false;
            core.run(&mut self.bus, &mut self.code, start + budget);
            None
        };
        self.turn = self.turn.saturating_sub(self.bus.now - start);
        stop
    }

    /// Takes an interrupt that is signalled and not masked.
    fn deliver_interrupt(&mut self, number: usize) {
        const I: u32 = 1 << 7;
        const F: u32 = 1 << 6;
        let status = self.bus.interrupt_status(number);
        if status == 0 {
            return;
        }
        let core = &mut self.cores[number];
        let target = core.interrupt_target();
        let masked = |bit: u32| core.el > target || core.daif & bit != 0 && (core.el == target || target == 1);
        let (irq, fiq) = (status >> 7 & 1 == 1 && !masked(I), status >> 6 & 1 == 1 && !masked(F));
        if fiq {
            core.take_fiq(&mut self.bus, target);
        } else if irq {
            core.take_irq(&mut self.bus, target);
        }
    }

    /// Runs instruction by instruction, with a look at breakpoints, condition and trace between them.
    fn run_steps(&mut self, budget: u64, until: &mut Until, first: bool) -> Option<Stop> {
        let number = self.current;
        let mut first = first;
        for _ in 0..budget {
            let core = &mut self.cores[number];
            let address = core.pc;
            if !std::mem::take(&mut first) && until.breakpoints.contains(&address) {
                return Some(Stop::Breakpoint { address, core: number });
            }
            core.look = false;
            if let Some(trace) = &mut self.trace {
                let word = core
                    .walk(&self.bus, address, super::mmu::Access::Fetch, core.user())
                    .ok();
                let word = word
                    .and_then(|found| self.bus.fetch(found.physical))
                    .unwrap_or_default();
                trace(number, address, word);
            }
            let end = self.bus.now + 1;
            core.run(&mut self.bus, &mut self.code, end);
            if let Some(condition) = &mut until.condition
                && condition(self)
            {
                return Some(Stop::Condition);
            }
            if self.cores[number].look {
                return None;
            }
        }
        None
    }

    /// Instructions executed so far, of all cores together.
    pub fn total_instructions(&self) -> u64 {
        self.cores.iter().map(|core| core.instructions).sum()
    }
}
