//! Measures the monitor and prints the numbers with their bars: `scripts/bench`.
//!
//! Everything but the last section is a count from the embedded machine or from the sources, the same on every host. The
//! exit status is 1 when such a count misses its bar; what a clock says only warns.

mod counts;
mod dependencies;
mod devices;
mod gates;
mod image;
mod lines;
mod linux;
mod linux_whole;
mod loading;
mod measurement;
mod messages;
mod morello;
mod packing;
mod platform;
mod reference;
mod riscv;
mod speed;
mod ways;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

use measurement::Report;
use platform::Platform;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Measures the monitor on the embedded machine.
#[derive(Parser)]
#[command(name = "bench")]
struct Options {
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Leave out what depends on the host's clock.
    #[arg(long)]
    counts: bool,
    /// Only Linux programs: their system calls, and whole ones, which nothing else measures.
    #[arg(long)]
    linux: bool,
    /// Only the ways through the monitor.
    #[arg(long)]
    ways: bool,
    /// Only how fast the embedded machine is.
    #[arg(long)]
    speed: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match measure(&options) {
        Ok(report) => {
            if options.json {
                println!("{:#}", report.json());
            } else {
                print!("{}", report.table());
            }
            ExitCode::from(u8::from(!report.passed()))
        }
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::from(2)
        }
    }
}

fn measure(options: &Options) -> Result<Report> {
    let platforms = platform::all();
    let mut report = Report::default();
    for platform in &platforms {
        let column = measure_platform(&**platform, options);
        let name = platform.arch().name();
        report.add(name, column.map_err(|error| format!("{name}: {error}"))?);
    }
    Ok(report)
}

fn measure_platform(platform: &dyn Platform, options: &Options) -> Result<Vec<measurement::Measurement>> {
    if options.linux {
        let mut measured = linux::measure(platform)?;
        measured.extend(linux_whole::measure(platform)?);
        return Ok(measured);
    }
    if options.ways {
        let mut measured = counts::measure(platform)?;
        measured.extend(reference::measure(platform, &measured)?);
        measured.extend(devices::measure(platform)?);
        return Ok(measured);
    }
    if options.speed {
        return speed::measure(platform);
    }
    let mut measured = image::measure(platform)?;
    measured.extend(lines::measure(platform)?);
    measured.extend(dependencies::measure(platform)?);
    let ways = counts::measure(platform)?;
    measured.extend(reference::measure(platform, &ways)?);
    measured.extend(ways);
    measured.extend(devices::measure(platform)?);
    measured.extend(linux::measure(platform)?);
    measured.extend(loading::measure(platform)?);
    measured.extend(loading::measure_memory(platform)?);
    if !options.counts {
        measured.extend(speed::measure(platform)?);
    }
    Ok(measured)
}
