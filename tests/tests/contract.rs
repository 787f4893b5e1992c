//! The contract of `arch` (`arch/contract`) on both boards: an image of its own checks it there, and says what holds.

use std::fs;
use std::process::Command;

use machine::cli::Isa;
use machine::{morello, riscv};
use tests::{Board, Platform, on_machine};
use tools::Architecture;
use tools::workspace::Workspace;

on_machine!(the_board_keeps_what_the_kernel_relies_on);

/// Instructions that are more than enough.
const LIMIT: u64 = 20_000_000;

/// The image that checks the contract.
fn image(arch: Architecture) -> Vec<u8> {
    let workspace = Workspace::locate().unwrap_or_else(|error| panic!("{error}"));
    let target = workspace.target.join("contract");
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--profile=image",
            "--package=boot",
            "--features=contract",
        ])
        .args(["--target", arch.triple()])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(&workspace.root)
        .status();
    assert!(status.expect("cargo starts").success());
    let path = target.join(arch.triple()).join("image/boot");
    let monitor = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    tools::image::build(&monitor, arch, None).unwrap_or_else(|error| panic!("{error}"))
}

fn the_board_keeps_what_the_kernel_relies_on(platform: Platform) {
    let image = image(platform.arch());
    let mut board = match platform.arch() {
        Architecture::CheriRiscv => {
            let config = riscv::Config {
                isa: if platform.relocates() { Isa::V8 } else { Isa::V9 },
                ..riscv::Config::new(image)
            };
            Board::CheriRiscv(Box::new(riscv::Board::new(config).expect("the board")))
        }
        Architecture::Morello => {
            let config = morello::Config::new(image);
            Board::Morello(Box::new(morello::Board::new(config).expect("the board")))
        }
    };
    let stop = board.run(LIMIT);
    let console = board.console().text();
    assert_eq!(stop, machine::Stop::Exit(0), "{platform}:\n{console}");
    // As many promises as the host checks, by name.
    let source = include_str!("../../arch/contract/mod.rs");
    let promises = source
        .split("const ALL: &[Check] = &[")
        .nth(1)
        .expect("the list of checks");
    let promises = promises.split("];").next().unwrap().matches("(\"").count();
    let held = console.matches("contract: ").count();
    assert!(
        promises > 5 && held == promises,
        "{held} of {promises} promises hold:\n{console}"
    );
}
