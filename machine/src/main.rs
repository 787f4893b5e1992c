//! `cheri-machine`: boots a kernel on the embedded machine, with the guest's console on standard input and output.

use std::process::ExitCode;

use clap::Parser;
use machine::cli::{Arch, Options, STATUS_MACHINE, exit_code};

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match options.arch {
        Arch::CheriRiscv => machine::riscv::command(&options),
        Arch::Morello => machine::morello::command(&options),
    };
    match result {
        Ok(stop) => exit_code(&stop),
        Err(message) => {
            eprintln!("cheri-machine: {message}");
            ExitCode::from(STATUS_MACHINE)
        }
    }
}
