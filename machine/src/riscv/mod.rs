//! The CHERI-RISC-V board: RV64GC with CHERI ISAv9 or v8, M and U mode, PMP, and of QEMU's `virt` the reset ROM, CLINT,
//! PLIC, 16550 UART, Goldfish RTC, test finisher and virtio-mmio slots.
//!
//! ```
//! use machine::Stop;
//! use machine::riscv::{Board, Config, Until};
//!
//! // lui t0, 0x100; lui t1, 0x5; addi t1, t1, 0x555; sw t1, 0(t0): the test finisher's "success".
//! let words = [0x0010_02b7u32, 0x0000_5337, 0x5553_0313, 0x0062_a023];
//! let kernel = words.iter().flat_map(|word| word.to_le_bytes()).collect();
//! let mut board = Board::new(Config::new(kernel))?;
//! assert_eq!(board.run_to(0x8000_0008, 100), Ok(()));
//! assert_eq!(board.register(0, 6).address(), 0x5000);
//! assert_eq!(board.run(Until::exit(100)), Stop::Exit(0));
//! # Ok::<(), machine::riscv::BuildError>(())
//! ```

mod access;
mod arithmetic;
mod atomic;
mod board;
mod bus;
mod cheri;
mod code;
mod compressed;
mod coverage;
mod csr;
mod decode;
mod decode_float;
mod devices;
mod disassemble;
mod disassemble_float;
mod execute;
mod float;
mod hart;
mod injection;
mod inspect;
pub mod map;
mod operation;
mod pmp;
mod rtc;
mod snapshot;
mod trace;
mod trap;
mod tree;

use std::path::Path;
use std::time::Instant;

pub use crate::cli::Isa;
pub use board::{Board, BuildError, Config, UartLayout, Until};
pub use coverage::mnemonics;
pub use disassemble::disassemble;
pub use hart::{Privilege, special};
pub use snapshot::Snapshot;
pub use trace::{Attempt, Step, TrapRecord};
pub use trap::{CapabilityCause, Trap};

use crate::cli::Options;
use crate::console::Console;
use crate::stop::Stop;

/// Runs the program `cheri-machine` for this board.
///
/// # Errors
/// A message for the user when the board cannot be built or a file cannot be read.
pub fn command(options: &Options) -> Result<Stop, String> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let config = Config {
        isa: options.isa,
        memory: options.memory,
        harts: options.harts,
        keep_reservations: false,
        kernel_name: options.kernel.display().to_string(),
        kernel: read(&options.kernel)?,
        initrd: options.initrd.as_deref().map(read).transpose()?,
        append: options.append.clone().unwrap_or_default(),
        virtio: options.devices.virtio,
        time: options.devices.start()?,
        uart: UartLayout::default(),
    };
    let console = Console::host().map_err(|error| format!("console: {error}"))?;
    let mut board = Board::with_console(config, console).map_err(|error| error.to_string())?;
    for device in options.devices.open()? {
        board.attach(device).map_err(|error| error.to_string())?;
    }
    if options.trace {
        board.set_trace(|step| eprintln!("{step}"));
    }
    if options.explain_faults {
        board.set_trap_hook(|core, record| eprintln!("hart {core}: {record}"));
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
        let millions = executed as f64 / 1e6;
        eprintln!(
            "{executed} instructions in {seconds:.3} s, {:.1} million a second",
            millions / seconds
        );
    }
    Ok(stop)
}
