//! The Morello boards: A64 and C64 with EL0 to EL3, stage 1 translation, generic timer, GICv2 or v3, PL011, PL031, PSCI
//! and virtio-mmio slots at the places of QEMU's `virt`; and a bare one with a byte tube for the architecture's test programs.
//!
//! ```
//! use machine::Stop;
//! use machine::morello::{Board, Config, Until};
//!
//! // movz w0, #0x8400, lsl #16; movk w0, #8; hvc #0: PSCI SYSTEM_OFF.
//! let words = [0x52b0_8000u32, 0x7280_0100, 0xd400_0002];
//! let kernel = words.iter().flat_map(|word| word.to_le_bytes()).collect();
//! let mut board = Board::new(Config::new(kernel))?;
//! assert_eq!(board.run_to(0x4008_0008, 100), Ok(()));
//! assert_eq!(board.register(0, 0).address(), 0x8400_0008);
//! assert_eq!(board.run(Until::exit(100)), Stop::Exit(0));
//! # Ok::<(), machine::morello::BuildError>(())
//! ```

mod access;
mod atomics;
mod board;
mod branch;
mod bus;
mod capability_branches;
mod capability_memory;
mod capability_operations;
mod config;
mod core;
mod coverage;
mod decode;
mod direct;
mod efi;
mod efi_file;
mod efi_tables;
mod exception;
mod float;
mod fp;
mod gic;
mod gic_registers;
mod image;
mod injection;
mod inspect;
mod integer;
mod memory;
mod mmu;
mod psci;
mod registers;
mod rtc;
mod simd;
mod simd_memory;
mod simd_move;
mod simd_shift;
mod simd_unary;
mod snapshot;
mod soc_tree;
mod system;
mod system_instructions;
mod timer;
mod tree;
mod uart;

pub use board::Board;
pub use bus::ExceptionRecord;
pub use config::{BuildError, Config, Firmware, Kind, Until};
pub use core::Levels;
pub use decode::{Encoding, encodings, name};
pub use gic::Version;
pub use inspect::Special;
pub use snapshot::Snapshot;

use crate::cli::Options;
use crate::console::Console;
use crate::stop::Stop;
use std::path::Path;
use std::time::Instant;

/// The command line options of the Morello boards.
#[derive(Clone, Debug, clap::Args)]
pub struct MorelloOptions {
    /// Morello: the board
    #[arg(long, value_enum, default_value = "virt")]
    pub board: Kind,
    /// Morello: version of the interrupt controller, 2 or 3
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=3))]
    pub gic_version: u8,
    /// Morello: start at EL2
    #[arg(long)]
    pub virtualization: bool,
    /// Morello: have EL3 and start there; takes an ELF kernel
    #[arg(long)]
    pub secure: bool,
    /// Morello: nobody answers semihosting, as on a board without a debugger
    #[arg(long)]
    pub no_semihosting: bool,
    /// Morello: what starts the kernel; EFI hands `--append` and `--initrd` over as firmware does
    #[arg(long, value_enum, default_value = "none")]
    pub firmware: Firmware,
}

/// Runs the program `cheri-machine` for these boards.
///
/// # Errors
/// A message for the user when the board cannot be built or a file cannot be read.
pub fn command(options: &Options) -> Result<Stop, String> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let config = Config {
        kind: options.morello.board,
        memory: options.memory,
        cores: options.harts,
        gic: if options.morello.gic_version == 3 {
            Version::V3
        } else {
            Version::V2
        },
        virtualization: options.morello.virtualization,
        secure: options.morello.secure,
        firmware: options.morello.firmware,
        semihosting: !options.morello.no_semihosting,
        kernel_name: options.kernel.display().to_string(),
        kernel: read(&options.kernel)?,
        initrd: options.initrd.as_deref().map(read).transpose()?,
        append: options.append.clone().unwrap_or_default(),
        virtio: options.devices.virtio,
        time: options.devices.start()?,
    };
    let console = Console::host().map_err(|error| format!("console: {error}"))?;
    let mut board = Board::with_console(config, console).map_err(|error| error.to_string())?;
    for device in options.devices.open()? {
        board.attach(device).map_err(|error| error.to_string())?;
    }
    if options.trace {
        board.set_trace(|core, address, word| eprintln!("core {core}: {address:#x}: {word:08x}"));
    }
    if options.explain_faults {
        board.set_exception_hook(|core, record| eprintln!("core {core}: {record}"));
    }
    if let Some(port) = options.gdb {
        return crate::gdb::command(&mut board, port, options.harts, &options.symbols);
    }
    let start = Instant::now();
    let mut instructions = 0;
    let stop = loop {
        let executed = instructions + board.total_instructions();
        let limit = options.limit.map(|limit| limit.saturating_sub(executed));
        match board.run(Until {
            limit,
            ..Until::default()
        }) {
            Stop::Reset => {
                instructions += board.total_instructions();
                board.reset().map_err(|error| error.to_string())?;
            }
            stop => break stop,
        }
    };
    if options.statistics {
        let executed = instructions + board.total_instructions();
        let seconds = start.elapsed().as_secs_f64();
        eprintln!(
            "{executed} instructions in {seconds:.3} s, {:.1} million a second",
            executed as f64 / 1e6 / seconds
        );
    }
    Ok(stop)
}
