//! `scripts/fuzz isolation`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, ValueEnum};
use tests::Platform;
use tests::fuzz::{Campaign, Kind, Setup};

/// Instructions that the fuzzed cVM executes on each architecture, as a rule and with `--long`.
const SHORT: u64 = 10_000_000;
const LONG: u64 = 1_000_000_000;
/// Numbers of the cases of each kind of image begin here, so that no two kinds run the same programs.
const KIND_STRIDE: u64 = 1 << 40;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Arch {
    /// CHERI-RISC-V ISAv9
    V9,
    /// CHERI-RISC-V ISAv8
    V8,
    /// Morello
    Morello,
}

/// What is fuzzed, and for how long.
#[derive(Args)]
pub(crate) struct Options {
    /// Everything follows from this number
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Instructions that the fuzzed cVM executes on each architecture
    #[arg(long, default_value_t = SHORT)]
    instructions: u64,
    /// A billion instructions on each architecture
    #[arg(long, conflicts_with = "instructions")]
    long: bool,
    /// Only this architecture; all without it
    #[arg(long, value_enum)]
    arch: Option<Arch>,
    /// Only this kind of image; all without it
    #[arg(long, value_enum)]
    setup: Option<Kind>,
    /// Only the case with this number, as a finding names it
    #[arg(long, requires = "arch", requires = "setup")]
    case: Option<u64>,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let instructions = if options.long { LONG } else { options.instructions };
    let archs = options
        .arch
        .map_or_else(|| Arch::value_variants().to_vec(), |arch| vec![arch]);
    for arch in archs {
        let platform = match arch {
            Arch::V9 => Platform::MachineV9,
            Arch::V8 => Platform::MachineV8,
            Arch::Morello => Platform::MachineMorello,
        };
        let mut coverage = BTreeMap::new();
        for (index, (kind, share)) in Kind::ALL.iter().enumerate() {
            if options.setup.is_some_and(|wanted| wanted != *kind) {
                continue;
            }
            let share = if options.setup.is_some() { 1000 } else { *share };
            let start = Instant::now();
            let mut campaign = Campaign::new(Setup::boot(platform, *kind), options.seed);
            let result = match options.case {
                Some(number) => campaign.run_case(number),
                None => campaign.run(index as u64 * KIND_STRIDE, instructions / 1000 * share),
            };
            let tally = &campaign.tally;
            println!(
                "{platform}, {kind}, seed {}: {} cases, {} runs ({} faults), {} instructions of the cVM, {} in all; {:.0} s",
                options.seed,
                tally.cases,
                tally.runs,
                tally.faults,
                tally.instructions,
                tally.whole,
                start.elapsed().as_secs_f64(),
            );
            if let Err(finding) = result {
                println!("FINDING {finding}");
                return ExitCode::FAILURE;
            }
            for (name, count) in &tally.coverage {
                *coverage.entry(*name).or_insert(0) += count;
            }
        }
        println!(
            "{platform}: nothing left the cVM; instructions executed by name ({} names):",
            coverage.len()
        );
        for (name, count) in &coverage {
            println!("  {count:>12}  {name}");
        }
    }
    ExitCode::SUCCESS
}
