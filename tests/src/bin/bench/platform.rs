//! What a platform offers to be measured. A further one is a further implementation of the two traits, and its line in
//! [`all`].

use std::path::Path;

use machine::Stop;
use machine::virtio::Device;
use tools::Architecture;
use tools::run::Isa;

use crate::Result;
use crate::morello::Morello;
use crate::riscv::CheriRiscv;

/// Why the monitor was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A hostcall.
    Hostcall,
    /// An interrupt. Nothing but the timer makes one in the measurements.
    Interrupt,
    /// An exception of the cVM.
    Fault,
}

/// A raw image for measuring the machine's speed.
pub(crate) struct Workload {
    /// What is loaded as kernel. It ends the run by itself.
    pub(crate) image: Vec<u8>,
    /// Version of the instruction set, where the architecture has several.
    pub(crate) isa: Isa,
}

/// A board of the embedded machine with an image loaded.
pub(crate) trait Machine {
    /// Absolute address of the next instruction.
    fn pc(&self) -> u64;

    /// Whether the next instruction is a cVM's.
    fn in_cvm(&self) -> bool;

    /// Lowest address that the program counter's capability covers: tells one cVM from another.
    fn code_base(&self) -> u64;

    /// The last trap.
    fn cause(&self) -> Option<Cause>;

    /// Instructions completed since reset.
    fn instructions(&self) -> u64;

    /// What was printed.
    fn console(&mut self) -> String;

    /// Runs until `each` is true, which is asked after every instruction, but at most `limit` instructions. An
    /// instruction that traps counts.
    fn step(&mut self, limit: u64, each: &mut dyn FnMut(&dyn Machine) -> bool) -> Stop;

    /// Puts a device into the next virtio slot, before the board runs.
    ///
    /// # Errors
    /// There is no slot for it.
    fn attach(&mut self, device: Device) -> Result<()>;

    /// Runs to the end as fast as it can, but at most `limit` instructions.
    fn run(&mut self, limit: u64) -> Stop;
}

/// Most instructions of ways through the monitor.
pub(crate) struct Bars {
    /// Of a boot of the example demo.
    pub(crate) boot: u64,
    pub(crate) null: u64,
    pub(crate) served: u64,
    pub(crate) delegated: u64,
    pub(crate) lent: u64,
    pub(crate) switch: u64,
    pub(crate) wake: u64,
    pub(crate) create: u64,
    pub(crate) system_call: u64,
}

/// An architecture with its board.
pub(crate) trait Platform {
    /// The architecture.
    fn arch(&self) -> Architecture;

    /// Names of files and folders that hold code of this architecture only.
    fn modules(&self) -> &'static [&'static str];

    /// Where the image lies in memory.
    fn load_address(&self) -> u64;

    /// Where an interrupt of a cVM enters the monitor: behind a symbol.
    fn interrupt_entry(&self) -> (&'static str, u64);

    /// Number of the relocation that adds the load address (ELF psABI of the architecture).
    fn relative_relocation(&self) -> u32;

    /// Most instructions of ways through the monitor.
    fn bars(&self) -> Bars;

    /// Least million instructions a second in the integer loop.
    fn loop_bar(&self) -> f64;

    /// A board with 128 MiB. `append` is the kernel command line.
    ///
    /// # Errors
    /// The image does not fit the board.
    fn board(&self, workload: Workload, append: &str) -> Result<Box<dyn Machine>>;

    /// A loop of integer instructions.
    fn integer_loop(&self) -> Workload;

    /// The conformance images in a folder beside the project; none when the folder is not there.
    ///
    /// # Errors
    /// The folder cannot be read.
    fn conformance(&self, shared: &Path) -> Result<Vec<Workload>>;
}

/// The platforms whose columns are printed.
pub(crate) fn all() -> Vec<Box<dyn Platform>> {
    vec![Box::new(CheriRiscv), Box::new(Morello)]
}
