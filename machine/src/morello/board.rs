//! The boards: cores, bus and virtual time, and the ways to run them and to look inside.

use super::bus::{Bus, Devices, ExceptionRecord, TUBE, Tube, Virt, map, soc};
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
use crate::clock;
use crate::console::Console;
use crate::memory::TaggedMemory;
use crate::program::{ElfMachine, LoadError, Program, Symbols, load_bytes};
use crate::stop::Stop;
use crate::virtio::{self, Slots};
use capability::morello::Capability;
use std::time::Duration;
use thiserror::Error;

/// Instructions after which another core has its turn, when several are awake.
const QUANTUM: u64 = 1000;
/// Instructions after which the console is asked for input at the latest.
const POLL: u64 = 1 << 20;
/// The largest number of cores: GICv2 knows no more.
const MAX_CORES: usize = 8;

/// Which board.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// QEMU-style `virt` board
    #[default]
    Virt,
    /// RAM up to 1 GiB, a byte tube at 0x13000000, start at EL3
    Bare,
    /// Memory and devices of the Morello SoC, start at EL2 below firmware that answers PSCI
    MorelloSoc,
}

/// What starts the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Firmware {
    /// The board itself, as a boot loader starts an arm64 Image
    #[default]
    None,
    /// EFI firmware that has the device tree
    Efi,
    /// EFI firmware that has no device tree
    EfiAcpi,
}

/// What a board is built from.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which board.
    pub kind: Kind,
    /// Bytes of RAM of the `virt` board: a multiple of 4096, at least 4 MiB.
    pub memory: u64,
    /// Number of cores, 1 to 8. The first one starts, PSCI starts the others.
    pub cores: usize,
    /// The interrupt controller of the `virt` board.
    pub gic: Version,
    /// The `virt` board starts at EL2.
    pub virtualization: bool,
    /// The `virt` board has EL3 and starts there; the kernel must be an ELF file then.
    pub secure: bool,
    /// HLT #0xf000 ends the run.
    pub semihosting: bool,
    /// What starts the kernel.
    pub firmware: Firmware,
    /// What messages call the kernel.
    pub kernel_name: String,
    /// The kernel: an arm64 Image, raw bytes, or an ELF file.
    pub kernel: Vec<u8>,
    /// The initial RAM disk; ignored with an ELF kernel, as QEMU does.
    pub initrd: Option<Vec<u8>>,
    /// Text for `/chosen/bootargs`.
    pub append: String,
    /// Version of the virtio-mmio slots of the `virt` board.
    pub virtio: virtio::Version,
    /// What the real-time clock of the `virt` board shows at reset, in nanoseconds of Unix time.
    pub time: u64,
}

impl Config {
    /// A `virt` board with one core, 128 MiB of RAM, GICv2, semihosting, and `kernel`.
    pub fn new(kernel: Vec<u8>) -> Self {
        Self {
            kind: Kind::Virt,
            memory: 128 << 20,
            cores: 1,
            gic: Version::V2,
            virtualization: false,
            secure: false,
            semihosting: true,
            firmware: Firmware::None,
            kernel_name: "kernel".to_owned(),
            kernel,
            initrd: None,
            append: String::new(),
            virtio: virtio::Version::Legacy,
            time: clock::DEFAULT,
        }
    }
}

/// Why a board could not be built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The kernel or the initial RAM disk cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Too many cores or none.
    #[error("{0} cores asked for; this board has 1 to {MAX_CORES}")]
    Cores(usize),
    /// A size of RAM that the board cannot have.
    #[error("{0:#x} bytes of RAM asked for; expected a multiple of 0x1000 from 4 MiB to 64 GiB")]
    Memory(u64),
    /// With EL3, an Image would be entered at EL1 with capabilities switched off by EL3, where nobody is.
    #[error("{0}: a board with EL3 takes an ELF file; capabilities would be disabled under a raw image")]
    SecureImage(String),
    /// More cores than the Morello SoC has.
    #[error("{0} cores asked for; the Morello SoC has 1 to {count}", count = soc::CORES)]
    SocCores(usize),
    /// EL3 is the firmware's on the Morello SoC.
    #[error("the Morello SoC starts below EL3, which is its firmware's; expected no --secure")]
    SocSecure,
    /// The bare board has no firmware.
    #[error("the bare board has no firmware; expected --board virt or morello-soc")]
    BareFirmware,
    /// The firmware does not start this kernel.
    #[error("firmware: {0}")]
    Firmware(String),
    /// The bare board knows where to start from an ELF file only.
    #[error("{0}: the bare board takes an ELF file")]
    NotElf(String),
    /// The device tree could not be written, which only `bootargs` with a NUL can cause.
    #[error("device tree: {0}")]
    Tree(#[from] vm_fdt::Error),
}

/// When [`Board::run`] comes back. Without any condition it runs until the guest ends the run.
#[derive(Default)]
pub struct Until<'a> {
    /// After this many instructions, of all cores together.
    pub limit: Option<u64>,
    /// Before an instruction at one of these addresses; the first instruction of a run is always executed.
    pub breakpoints: &'a [u64],
    /// When this text has appeared on the console.
    pub pattern: Option<&'a str>,
    /// When this is true after an instruction.
    pub condition: Option<&'a mut dyn FnMut(&Board) -> bool>,
    /// When all wait for an interrupt, with [`Stop::Idle`]; without this, time passes until one comes.
    pub idle: bool,
}

impl<'a> Until<'a> {
    /// Until the guest exits, or `instructions` have been executed.
    pub fn exit(instructions: u64) -> Self {
        Until {
            limit: Some(instructions),
            ..Until::default()
        }
    }

    /// Also when `text` has appeared on the console.
    pub fn or_pattern(self, text: &'a str) -> Self {
        Until {
            pattern: Some(text),
            ..self
        }
    }

    /// Also before an instruction at one of `addresses`.
    pub fn or_breakpoints(self, addresses: &'a [u64]) -> Self {
        Until {
            breakpoints: addresses,
            ..self
        }
    }
}

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
                (vec![below, above], Devices::Tube(Tube::new(console)), levels, None)
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
        (core.pc, core.next) = (entry, entry);
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
