//! The board: harts, bus and virtual time, and the ways to run them and to look inside.

use std::time::Duration;

use thiserror::Error;

use crate::cli::Isa;
use crate::clock;
use crate::console::Console;
use crate::memory::TaggedMemory;
use crate::program::{ElfMachine, LoadError, Program, load_bytes};
use crate::stop::{Stop, Unsupported};
use crate::virtio::{self, Slots};

use super::bus::Bus;
use super::code::Code;
use super::devices::Devices;
use super::hart::{EXTERNAL_INTERRUPT, Hart, SOFTWARE_INTERRUPT, TIMER_INTERRUPT};
use super::map;
use super::rtc::Rtc;
use super::trace::{Step, Tracer, TrapRecord};
use super::trap::Trap;
use super::tree::{TreeInput, device_tree, reset_rom};

/// Instructions after which another hart has its turn, when several are awake.
const QUANTUM: u64 = 1000;
/// Instructions after which the console is asked for input at the latest.
const POLL: u64 = 1 << 20;

/// What a board is built from.
#[derive(Clone, Debug)]
pub struct Config {
    /// Version of the CHERI instruction set.
    pub isa: Isa,
    /// Bytes of RAM: a multiple of 4096, at least 1 MiB.
    pub memory: u64,
    /// Number of harts, 1 to 8. All of them start at once.
    pub harts: usize,
    /// What messages call the kernel.
    pub kernel_name: String,
    /// The kernel: raw bytes for 0x80000000, or an ELF file.
    pub kernel: Vec<u8>,
    /// A reservation outlives changes of privilege: the architecture does not promise that it is lost.
    pub keep_reservations: bool,
    /// The initial RAM disk.
    pub initrd: Option<Vec<u8>>,
    /// Text for `/chosen/bootargs`.
    pub append: String,
    /// Version of the virtio-mmio slots.
    pub virtio: virtio::Version,
    /// What the real-time clock shows at reset, in nanoseconds of Unix time.
    pub time: u64,
    /// How the UART's registers lie.
    pub uart: UartLayout,
}

impl Config {
    /// One v9 hart, 128 MiB of RAM, and `kernel`.
    pub fn new(kernel: Vec<u8>) -> Self {
        Config {
            isa: Isa::V9,
            memory: 128 << 20,
            harts: 1,
            kernel_name: "kernel".to_owned(),
            kernel,
            keep_reservations: false,
            initrd: None,
            append: String::new(),
            virtio: virtio::Version::Legacy,
            time: clock::DEFAULT,
            uart: UartLayout::default(),
        }
    }
}

/// How the registers of the UART lie, as the tree says where that is not usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UartLayout {
    /// 2 to the power of this bytes apart, at most 5.
    pub shift: u32,
    /// Bytes of an access: of any other width there is no register.
    pub width: usize,
}

impl Default for UartLayout {
    fn default() -> Self {
        UartLayout { shift: 0, width: 1 }
    }
}

impl UartLayout {
    /// The register that an access reaches. One that lies as usual has any width, as on QEMU's board.
    pub(super) fn register(self, offset: u64, size: usize) -> Option<u8> {
        let usual = self == UartLayout::default();
        let register = offset >> self.shift;
        let whole = register << self.shift == offset && size == self.width;
        (register < 8 && (usual || whole)).then_some(register as u8)
    }
}

/// Why a board could not be built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The kernel or the initial RAM disk cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Too many harts or none.
    #[error("{0} harts asked for; this board has 1 to {max}", max = map::MAX_HARTS)]
    Harts(usize),
    /// A size of RAM that the board cannot have.
    #[error("{0:#x} bytes of RAM asked for; expected a multiple of 0x1000 from 1 MiB to 64 GiB")]
    Memory(u64),
    /// The device tree could not be written, which only `bootargs` with a NUL can cause.
    #[error("device tree: {0}")]
    Tree(#[from] vm_fdt::Error),
}

/// When [`Board::run`] comes back. Without any condition it runs until the guest ends the run.
#[derive(Default)]
pub struct Until<'a> {
    /// After this many instructions, of all harts together.
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

/// A CHERI-RISC-V board with its program loaded.
pub struct Board {
    pub(super) config: Config,
    pub(super) program: Program,
    pub(super) bus: Bus,
    pub(super) code: Code,
    pub(super) harts: Vec<Hart>,
    /// The hart whose turn it is.
    pub(super) current: usize,
    /// Steps left of its turn.
    pub(super) turn: u64,
    /// Virtual time in nanoseconds.
    pub(super) now: u64,
    /// Steps of all harts.
    pub(super) steps: u64,
    pub(super) tracer: Tracer,
}

impl Board {
    /// Builds a board whose console is a pair of buffers.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn new(config: Config) -> Result<Self, BuildError> {
        Board::with_console(config, Console::buffer())
    }

    /// Builds a board with this console.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn with_console(config: Config, console: Console) -> Result<Self, BuildError> {
        if !(1..=map::MAX_HARTS).contains(&config.harts) {
            return Err(BuildError::Harts(config.harts));
        }
        if !config.memory.is_multiple_of(0x1000) || !(1 << 20..=64 << 30).contains(&config.memory) {
            return Err(BuildError::Memory(config.memory));
        }
        let program = Program::parse(&config.kernel_name, &config.kernel, ElfMachine::RiscV)?;
        let virtio = Slots::new(map::VIRTIO_SLOTS, map::VIRTIO_SIZE, config.virtio);
        let mut board = Board {
            bus: Bus {
                memory: TaggedMemory::new(map::RAM, config.memory as usize),
                rom: Vec::new(),
                devices: Devices::new(config.harts, console, config.uart, Rtc::new(config.time), virtio),
                time_base: 0,
            },
            code: Code::new(config.memory as usize),
            harts: (0..config.harts).map(|hart| Hart::new(hart, config.isa)).collect(),
            current: 0,
            turn: 0,
            now: 0,
            steps: 0,
            tracer: Tracer::default(),
            program,
            config,
        };
        for hart in &mut board.harts {
            hart.keeps_reservations = board.config.keep_reservations;
        }
        board.load()?;
        Ok(board)
    }

    /// Puts kernel, initial RAM disk, device tree and reset ROM where QEMU does.
    fn load(&mut self) -> Result<(), BuildError> {
        let memory = &mut self.bus.memory;
        let end = self.program.load(memory, map::RAM)?;
        let mut loaded = vec![(
            self.program.name().to_owned(),
            self.program.lowest_address().unwrap_or(map::RAM)..end,
        )];
        let initrd = match &self.config.initrd {
            Some(bytes) => {
                let entry = self.program.entry().unwrap_or(map::RAM);
                let start = entry.wrapping_add((self.config.memory / 2).min(128 << 20));
                load_bytes(memory, "initrd", start, bytes)?;
                loaded.push(("initrd".to_owned(), start..start + bytes.len() as u64));
                Some((start as u32, (start + bytes.len() as u64) as u32))
            }
            None => None,
        };
        let tree = device_tree(&TreeInput {
            harts: self.config.harts,
            memory: self.config.memory,
            bootargs: &self.config.append,
            initrd,
            uart: self.config.uart,
        })?;
        let below = (map::RAM + self.config.memory).min(3 << 30) - tree.len() as u64;
        let tree_address = below & !((16 << 20) - 1);
        load_bytes(memory, "device tree", tree_address, &tree)?;
        let below_tree = |range: &std::ops::Range<u64>| range.end <= tree_address;
        let above_tree = |range: &std::ops::Range<u64>| range.start >= tree_address + tree.len() as u64;
        if let Some((file, range)) = loaded
            .into_iter()
            .find(|(_, range)| !range.is_empty() && !below_tree(range) && !above_tree(range))
        {
            return Err(LoadError::TooSmall {
                file,
                start: range.start,
                end: range.end,
                other: "the device tree",
                memory: self.config.memory,
            }
            .into());
        }
        self.bus.rom = reset_rom(map::RAM, tree_address);
        Ok(())
    }

    /// Resets the whole board as its reset button does: RAM is loaded anew, time and counts begin again. The console and
    /// what it printed stay, and so do the devices in the virtio slots.
    ///
    /// # Errors
    /// None that did not occur when the board was built.
    pub fn reset(&mut self) -> Result<(), BuildError> {
        let console = std::mem::replace(&mut self.bus.devices.uart.console, Console::buffer());
        let tracer = std::mem::take(&mut self.tracer);
        let devices = self.bus.devices.virtio.detach();
        *self = Board::with_console(self.config.clone(), console)?;
        self.tracer = tracer;
        self.bus.devices.virtio.attach_again(devices);
        Ok(())
    }

    /// Runs until one of the conditions holds or the guest ends the run.
    pub fn run(&mut self, mut until: Until) -> Stop {
        let end = until.limit.map_or(u64::MAX, |limit| self.steps.saturating_add(limit));
        self.bus
            .devices
            .uart
            .console
            .set_pattern(until.pattern.unwrap_or_default());
        let mut first = true;
        let stop = loop {
            if let Some(stop) = self.bus.devices.stop.take() {
                break stop;
            }
            if self.bus.devices.uart.console.take_pattern_seen() {
                break Stop::Pattern;
            }
            if self.bus.devices.uart.console.quit_requested() {
                break Stop::Quit;
            }
            if self.steps >= end {
                break Stop::Limit;
            }
            if let Err(stop) = self.choose_hart(until.idle) {
                break stop;
            }
            let budget = self.budget().min(end - self.steps);
            let stop = self.run_slice(budget, &mut until, first);
            first = false;
            if let Some(stop) = stop {
                break stop;
            }
        };
        self.bus.devices.uart.console.flush();
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

    /// Runs to `from`, then to `to`, and returns the number of instructions that were completed between the two.
    ///
    /// # Errors
    /// How the run ended instead.
    pub fn count_between(&mut self, from: u64, to: u64, limit: u64) -> Result<u64, Stop> {
        self.run_to(from, limit)?;
        let before = self.total_instructions();
        self.run_to(to, limit)?;
        Ok(self.total_instructions() - before)
    }

    /// Gives `current` to a hart that has something to do, waking those whose interrupt has come; lets time pass when there
    /// is none.
    fn choose_hart(&mut self, may_idle: bool) -> Result<(), Stop> {
        loop {
            self.update_interrupts();
            for hart in &mut self.harts {
                hart.waiting &= hart.mip & hart.mie == 0;
            }
            if self.turn > 0 && !self.harts[self.current].waiting {
                return Ok(());
            }
            let count = self.harts.len();
            let next = (1..=count)
                .map(|step| (self.current + step) % count)
                .find(|hart| !self.harts[*hart].waiting);
            if let Some(next) = next {
                // What another hart does in between must break a reservation; so does losing the turn.
                self.harts[self.current].reservation = None;
                (self.current, self.turn) = (next, QUANTUM);
                return Ok(());
            }
            if may_idle {
                return Err(Stop::Idle);
            }
            self.pass_time()?;
        }
    }

    /// All harts wait: jumps to the next timer that can wake one or event of a device, else waits for the console. For a
    /// person, and as long as something can come from a network, the jump takes as long as it says.
    fn pass_time(&mut self) -> Result<(), Stop> {
        let devices = &mut self.bus.devices;
        if devices.virtio.next_look().is_some_and(|look| look <= self.now) {
            return Ok(());
        }
        let event = devices.next_event(self.now);
        let timers = self.harts.iter().filter(|hart| hart.mie >> TIMER_INTERRUPT & 1 == 1);
        let timers = timers.filter_map(|hart| self.bus.devices.clint.deadline(hart.id));
        let deadline = timers.chain(event).min();
        let Devices { virtio, uart, .. } = &mut self.bus.devices;
        let interests = virtio.interests();
        match deadline {
            _ if !interests.is_empty() => {
                let time = deadline.map(|deadline| Duration::from_nanos(deadline.saturating_sub(self.now)));
                let waited = uart.console.wait_for_key_or(&interests, time);
                self.now += waited.as_nanos() as u64;
                virtio.look();
            }
            Some(deadline) if uart.console.is_interactive() => {
                let time = Duration::from_nanos(deadline.saturating_sub(self.now));
                let waited = uart.console.wait_for_key(time);
                self.now += waited.as_nanos() as u64;
            }
            Some(deadline) => self.now = self.now.max(deadline),
            None if uart.is_full() || !uart.console.wait_for_input() => return Err(Stop::Idle),
            None => {}
        }
        if uart.console.quit_requested() {
            return Err(Stop::Quit);
        }
        Ok(())
    }

    fn update_interrupts(&mut self) {
        let devices = &mut self.bus.devices;
        devices.virtio.advance(self.now, &mut self.bus.memory);
        devices.update(self.now);
        for hart in &mut self.harts {
            let timer = devices
                .clint
                .deadline(hart.id)
                .is_some_and(|deadline| self.now >= deadline);
            hart.mip = u64::from(devices.clint.software[hart.id]) << SOFTWARE_INTERRUPT
                | u64::from(timer) << TIMER_INTERRUPT
                | u64::from(devices.plic.machine_line(hart.id)) << EXTERNAL_INTERRUPT;
        }
    }

    /// Instructions that can be executed before a timer fires, the console is polled or another hart has its turn.
    fn budget(&mut self) -> u64 {
        let awake = self.harts.iter().filter(|hart| !hart.waiting).count();
        let turn = if awake > 1 { self.turn } else { POLL };
        let devices = &mut self.bus.devices;
        let event = devices.next_event(self.now);
        let look = devices.virtio.next_look().map(|look| look.max(self.now + 1));
        let deadlines = (0..self.harts.len()).filter_map(|hart| devices.clint.deadline(hart));
        let deadlines = deadlines.chain(event).chain(look);
        let next = deadlines.filter(|deadline| *deadline > self.now).min();
        next.map_or(turn, |deadline| turn.min(deadline - self.now))
    }

    fn run_slice(&mut self, budget: u64, until: &mut Until, first: bool) -> Option<Stop> {
        let core = self.current;
        let mut first = first;
        if let Some(number) = self.harts[core].pending_interrupt() {
            first = false;
            let record = TrapRecord::new(&self.harts[core], Trap::interrupt(number), 0);
            self.harts[core].take_trap(record);
            self.tracer.trap(&self.harts[core]);
        }
        let hart = &mut self.harts[core];
        self.bus.time_base = self.now.wrapping_sub(hart.steps);
        let start = hart.steps;
        hart.pause_on_trap = self.tracer.wants_traps();
        hart.attention = false;
        let stepping = !until.breakpoints.is_empty() || until.condition.is_some() || self.tracer.wants_steps();
        let stop = if stepping {
            self.run_steps(budget, until, first)
        } else {
            hart.end = hart.steps + budget;
            hart.run(&mut self.bus, &mut self.code);
            self.settle(start);
            None
        };
        let hart = &mut self.harts[core];
        if self.tracer.wants_traps()
            && !self.tracer.wants_steps()
            && hart.last_trap_step == hart.steps
            && hart.steps > start
        {
            self.tracer.trap(hart);
        }
        let hart = &mut self.harts[core];
        if hart.trap_loop {
            return Some(Stop::TrapLoop { address: hart.pc, core });
        }
        if std::mem::take(&mut hart.semihosting) {
            return Some(self.semihosting());
        }
        stop
    }

    /// Accounts for what the current hart has executed since it had `start` steps.
    fn settle(&mut self, start: u64) {
        let executed = self.harts[self.current].steps - start;
        self.steps += executed;
        self.now += executed;
        self.turn = self.turn.saturating_sub(executed);
    }

    /// Runs instruction by instruction, with a look at breakpoints, condition and trace between them.
    fn run_steps(&mut self, budget: u64, until: &mut Until, first: bool) -> Option<Stop> {
        let core = self.current;
        let mut first = first;
        for _ in 0..budget {
            let address = self.harts[core].pc;
            if !std::mem::take(&mut first) && until.breakpoints.contains(&address) {
                return Some(Stop::Breakpoint { address, core });
            }
            let step = self
                .tracer
                .wants_steps()
                .then(|| Step::before(&self.harts[core], &self.bus));
            let hart = &mut self.harts[core];
            let start = hart.steps;
            hart.end = start + 1;
            hart.run(&mut self.bus, &mut self.code);
            self.settle(start);
            let hart = &self.harts[core];
            if let Some(step) = step {
                self.tracer.step(step, hart);
            }
            if let Some(condition) = &mut until.condition
                && condition(self)
            {
                return Some(Stop::Condition);
            }
            if self.harts[core].attention || self.harts[core].trap_loop {
                return None;
            }
        }
        None
    }

    /// Serves a semihosting call of the current hart: the two exits, and nothing else.
    fn semihosting(&self) -> Stop {
        const EXIT: u64 = 0x18;
        const EXIT_EXTENDED: u64 = 0x20;
        const APPLICATION_EXIT: u64 = 0x2_0026;
        let hart = &self.harts[self.current];
        let operation = hart.registers.integer(10);
        let address = hart.pc.wrapping_sub(4);
        let unsupported = |what: String| {
            Stop::Unsupported(Unsupported {
                address,
                instruction: 0x0010_0073,
                what,
            })
        };
        if operation != EXIT && operation != EXIT_EXTENDED {
            return unsupported(format!("semihosting operation {operation:#x}"));
        }
        match self.bus.memory.offset(hart.registers.integer(11), 16) {
            Some(offset) => {
                let reason = u64::from_le_bytes(self.bus.memory.read(offset));
                let code = u64::from_le_bytes(self.bus.memory.read(offset + 8));
                Stop::Exit(if reason == APPLICATION_EXIT { code as u8 } else { 1 })
            }
            None => unsupported("semihosting exit with a parameter block outside RAM".to_owned()),
        }
    }
}
