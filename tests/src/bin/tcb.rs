//! Renews `docs/tcb.md`, or counts other sources the same way: `scripts/tcb`.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tests::{lines, tcb};
use tools::workspace::Workspace;

/// Renews `docs/tcb.md` from the sources and the image.
#[derive(Parser)]
#[command(name = "tcb")]
struct Options {
    /// Only say whether the page is what the work tree makes
    #[arg(long, conflicts_with = "count")]
    check: bool,
    /// Count the code in these folders and files instead, and print it
    #[arg(long, num_args = 1.., value_name = "FOLDER")]
    count: Vec<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tcb: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    if !options.count.is_empty() {
        for folder in &options.count {
            let code = lines::count(folder, &[]).map_err(|error| format!("{}: {error}", folder.display()))?;
            let blocks = code.unsafe_blocks.len();
            println!(
                "{}: {} lines, {} of assembly, {blocks} unsafe",
                folder.display(),
                code.rust,
                code.assembly
            );
        }
        return Ok(());
    }
    let page = tcb::page()?;
    let path = Workspace::locate()?.root.join(tcb::PATH);
    if !options.check {
        return Ok(fs::write(path, page)?);
    }
    match tcb::unlike(&fs::read_to_string(path)?, &page) {
        Some(difference) => Err(difference.into()),
        None => Ok(()),
    }
}
