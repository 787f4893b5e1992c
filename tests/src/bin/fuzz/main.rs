//! Looks for the attack nobody thought of: `scripts/fuzz`.

mod isolation;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Fuzzes the monitor.
#[derive(Parser)]
#[command(name = "fuzz")]
struct Options {
    #[command(subcommand)]
    target: Target,
}

#[derive(Subcommand)]
enum Target {
    /// Random programs in a cVM on the embedded machine: nothing may leave the cVM
    Isolation(isolation::Options),
}

fn main() -> ExitCode {
    match Options::parse().target {
        Target::Isolation(options) => isolation::run(&options),
    }
}
