//! What a board is built from, and when a run of it comes back.

use super::board::Board;
use super::board::MAX_CORES;
use super::bus::soc;
use super::gic::Version;
use crate::clock;
use crate::program::LoadError;
use crate::virtio;
use thiserror::Error;

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
    /// When all wait for an interrupt, with [`Stop::Idle`](crate::Stop::Idle); without this, time passes until one comes.
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
