//! `scripts/fuzz isolation`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, ValueEnum};
use tests::Platform;
use tests::fuzz::{Campaign, Finding, Kind, Setup, known};

/// Instructions that the fuzzed cVM executes on each architecture, as a rule and with `--long`.
const SHORT: u64 = 10_000_000;
const LONG: u64 = 1_000_000_000;
/// Parts of a long run, after each of which it says how far it is.
const LONG_SLICES: u64 = 100;
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
    let archs = options
        .arch
        .map_or_else(|| Arch::value_variants().to_vec(), |arch| vec![arch]);
    for arch in archs {
        if let Err(finding) = fuzz(options, arch.platform()) {
            println!("FINDING {finding}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

impl Arch {
    fn platform(self) -> Platform {
        match self {
            Arch::V9 => Platform::MachineV9,
            Arch::V8 => Platform::MachineV8,
            Arch::Morello => Platform::MachineMorello,
        }
    }
}

/// Fuzzes every kind of image on one architecture, a little of each at a time.
fn fuzz(options: &Options, platform: Platform) -> Result<(), Box<Finding>> {
    let instructions = if options.long { LONG } else { options.instructions };
    let kinds = Kind::ALL.iter().enumerate();
    let kinds = kinds.filter(|(_, (kind, _))| options.setup.is_none_or(|wanted| wanted == *kind));
    let mut campaigns: Vec<(Kind, u64, Campaign)> = kinds
        .map(|(index, (kind, share))| {
            let setup = Setup::boot(platform, *kind);
            let thousandths = if options.setup.is_some() { 1000 } else { *share };
            let campaign = Campaign::new(setup, options.seed, index as u64 * KIND_STRIDE);
            (*kind, instructions / 1000 * thousandths, campaign)
        })
        .collect();
    if let Some(number) = options.case {
        for (.., campaign) in &mut campaigns {
            campaign.run_case(number)?;
        }
        println!(
            "{platform}: nothing left the cVM in case {number} of seed {}",
            options.seed
        );
        return Ok(());
    }
    let start = Instant::now();
    let slices = if options.long { LONG_SLICES } else { 1 };
    for slice in 1..=slices {
        for (_, instructions, campaign) in &mut campaigns {
            campaign.run(*instructions / slices * slice)?;
        }
        report(platform, options.seed, start, &campaigns);
    }
    report_coverage(platform, &campaigns);
    Ok(())
}

fn report(platform: Platform, seed: u64, start: Instant, campaigns: &[(Kind, u64, Campaign)]) {
    for (kind, _, Campaign { tally, .. }) in campaigns {
        println!(
            "{platform}, {kind}, seed {seed}: {} cases, {} runs ({} faults), {} instructions of the cVM, {} in all",
            tally.cases, tally.runs, tally.faults, tally.instructions, tally.whole,
        );
        if !tally.made.is_empty() {
            print!("{tally}");
        }
    }
    println!(
        "{platform}: nothing left the cVM in {:.0} s",
        start.elapsed().as_secs_f64()
    );
}

fn report_coverage(platform: Platform, campaigns: &[(Kind, u64, Campaign)]) {
    let mut coverage = BTreeMap::new();
    for (name, count) in campaigns.iter().flat_map(|(.., campaign)| &campaign.tally.coverage) {
        *coverage.entry(*name).or_insert(0) += count;
    }
    let known = known(platform);
    let missing: Vec<&str> = known
        .iter()
        .filter(|name| !coverage.contains_key(*name))
        .copied()
        .collect();
    println!("executed by name, {} of {}:", known.len() - missing.len(), known.len());
    for (name, count) in &coverage {
        println!("  {count:>12}  {name}");
    }
    let missing = if missing.is_empty() {
        "none".to_owned()
    } else {
        missing.join(", ")
    };
    println!("never executed: {missing}");
}
