//! The command line of `cheri-machine`, common to both boards.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::options::DeviceOptions;
use crate::stop::Stop;

/// Exit status of the program when the instruction limit ended the run (as `timeout` uses it).
pub const STATUS_LIMIT: u8 = 124;
/// Exit status of the program when the machine itself could not go on: bad arguments, or something it does not support.
pub const STATUS_MACHINE: u8 = 125;
/// Exit status of the program when the guest waits for what can never come, or a person ended the run.
pub const STATUS_IDLE: u8 = 126;

/// The instruction set of the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Arch {
    /// 64-bit CHERI-RISC-V, QEMU-style `virt` board
    CheriRiscv,
    /// Morello (A64 with capabilities)
    Morello,
}

/// The version of the CHERI-RISC-V instruction set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Isa {
    /// Integer addresses are absolute; unsuitable operands give untagged results
    #[default]
    V9,
    /// Integer addresses are relative to DDC and PCC; unsuitable operands trap
    V8,
}

/// Runs a kernel on the embedded machine. The guest's console is standard input and output, its exit status this
/// program's own; 124: instruction limit, 125: error of the machine, 126: the guest waits for ever.
#[derive(Clone, Debug, Parser)]
#[command(name = "cheri-machine", version)]
pub struct Options {
    /// Instruction set of the board
    #[arg(long, value_enum, default_value = "cheri-riscv")]
    pub arch: Arch,
    /// Version of the CHERI-RISC-V instruction set
    #[arg(long, value_enum, default_value = "v9")]
    pub isa: Isa,
    /// RAM: a number of bytes, or with KiB, MiB, GiB
    #[arg(long, short, value_parser = parse_size, default_value = "128MiB")]
    pub memory: u64,
    /// Number of harts or CPUs
    #[arg(long, visible_alias = "cpus", default_value_t = 1)]
    pub harts: usize,
    /// The kernel: a raw image or an ELF file
    #[arg(long, short)]
    pub kernel: PathBuf,
    /// A file to place in memory, named in the device tree as the initial RAM disk
    #[arg(long)]
    pub initrd: Option<PathBuf>,
    /// Text for /chosen/bootargs
    #[arg(long)]
    pub append: Option<String>,
    /// End the run after this many instructions
    #[arg(long)]
    pub limit: Option<u64>,
    /// Begin stopped, and wait for gdb on this TCP port of the loopback interface (0: any that is free)
    #[arg(long, value_name = "PORT")]
    pub gdb: Option<u16>,
    /// With --gdb: a program whose symbols the debugger loads, as linked; or, with NAME+0xOFFSET= in front, the program of a
    /// cVM whose text lies this far behind the start of its data in the boot log; may be given several times
    #[arg(long, value_name = "FILE", requires = "gdb")]
    pub symbols: Vec<crate::gdb::Symbols>,
    /// Print every instruction, with the capabilities it changed, on standard error
    #[arg(long)]
    pub trace: bool,
    /// Print every trap, and what the guest tried, on standard error
    #[arg(long)]
    pub explain_faults: bool,
    /// After the run, print the number of instructions and the speed on standard error
    #[arg(long)]
    pub statistics: bool,
    /// The devices
    #[command(flatten)]
    pub devices: DeviceOptions,
    /// Options of the Morello boards
    #[command(flatten)]
    pub morello: crate::morello::MorelloOptions,
}

/// Reads a size: decimal or `0x…`, with an optional unit `KiB`/`K`, `MiB`/`M`, `GiB`/`G`.
///
/// # Errors
/// A message that says what was expected.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let fail = || format!("{text:?} is no size; expected a number with KiB, MiB or GiB, such as 128MiB");
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("K", 10), ("M", 20), ("G", 30)];
    let (number, shift) = (units.iter())
        .find_map(|(unit, shift)| text.strip_suffix(unit).map(|number| (number, *shift)))
        .unwrap_or((text, 0));
    let value = match number.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => number.parse(),
    };
    value
        .ok()
        .and_then(|value| value.checked_mul(1 << shift))
        .ok_or_else(fail)
}

/// The program's exit status for the end of a run; anything but the guest's own exit is explained on standard error.
pub fn exit_code(stop: &Stop) -> ExitCode {
    let status = match stop {
        Stop::Exit(status) => return ExitCode::from(*status),
        Stop::Limit => STATUS_LIMIT,
        Stop::Idle | Stop::Quit => STATUS_IDLE,
        _ => STATUS_MACHINE,
    };
    eprintln!("cheri-machine: {stop}");
    ExitCode::from(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_units_and_hexadecimal() {
        assert_eq!(parse_size("128MiB"), Ok(128 << 20));
        assert_eq!(parse_size("64M"), Ok(64 << 20));
        assert_eq!(parse_size("0x1000"), Ok(4096));
        assert!(parse_size("lots").unwrap_err().contains("expected a number"));
        assert!(parse_size("99999999999GiB").is_err());
    }
}
