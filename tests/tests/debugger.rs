//! A debugger that is connected to the embedded machine knows the functions of monitor and cVMs without being told.

use std::fs;
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use machine::gdb::{Guest, Symbols, serve};
use machine::{Stop, morello, riscv};
use tools::Architecture;
use tools::pack::pack;
use tools::run::{Isa, symbols};
use tools::workspace::Workspace;

/// The example demo as an image, and the programs with symbols.
fn demo(arch: Architecture, isa: Isa) -> (Vec<u8>, Vec<Symbols>) {
    let workspace = Workspace::locate().unwrap_or_else(|error| panic!("{error}"));
    workspace.build(arch, None).unwrap_or_else(|error| panic!("{error}"));
    let (yaml, _) = workspace.example("demo").unwrap_or_else(|error| panic!("{error}"));
    let programs = [workspace.programs(arch)];
    let archive = pack(&yaml, arch, &programs)
        .unwrap_or_else(|error| panic!("{error}"))
        .archive;
    let path = workspace.monitor(arch);
    let monitor = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let image = tools::image::build(&monitor, arch, Some(&archive)).unwrap_or_else(|error| panic!("{error}"));
    let symbols = symbols(&image, isa, &path, &yaml, &programs).unwrap_or_else(|error| panic!("{error}"));
    (image, symbols)
}

/// What gdb prints when it is connected to a board that begins stopped and does this.
fn gdb<G: Guest>(board: impl FnOnce() -> G + Send + 'static, symbols: Vec<Symbols>, commands: &[&str]) -> String {
    let (told, port) = mpsc::channel();
    let machine = thread::spawn(move || {
        let mut board = board();
        serve(&mut board, 0, &symbols, |port| {
            told.send(port).expect("the test waits for it")
        })
    });
    let port = port.recv().expect("the port");
    let mut gdb = Command::new("gdb-multiarch");
    gdb.args(["-nx", "-batch", "-ex", "set breakpoint pending on"]);
    gdb.args(["-ex", &format!("target remote localhost:{port}")]);
    for command in commands {
        gdb.args(["-ex", command]);
    }
    let output = gdb.args(["-ex", "kill"]).output().expect("gdb runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let stop = machine.join().expect("the machine does not panic");
    assert_eq!(stop, Ok(Stop::Quit), "{text}");
    text
}

/// A function of the monitor, known from the beginning, and one of a cVM, which becomes known while the monitor boots.
const COMMANDS: [&str; 8] = [
    "break boot_main",
    "continue",
    "delete",
    "break cvm_main",
    "continue",
    "info symbol $pc",
    "backtrace",
    "info sharedlibrary",
];

fn check(text: &str, isa: Isa) {
    for line in [
        "Breakpoint 1,",
        "cvm_main",
        "/image/boot",
        "/image/hello",
        "/image/clock",
        "/image/rogue",
    ] {
        assert!(text.contains(line), "{line:?} is missing in\n{text}");
    }
    // On ISAv8 the addresses on a cVM's stack count from its memory; a debugger's are physical.
    assert!(isa == Isa::V8 || text.contains(" in rt_start () "), "{text}");
}

#[test]
#[cfg_attr(not(gdb_multiarch), ignore = "gdb-multiarch is not on PATH")]
fn gdb_knows_the_functions_of_every_cvm_on_cheri_riscv() {
    for (isa, version) in [(Isa::V9, machine::cli::Isa::V9), (Isa::V8, machine::cli::Isa::V8)] {
        let (image, symbols) = demo(Architecture::CheriRiscv, isa);
        let config = riscv::Config {
            isa: version,
            ..riscv::Config::new(image)
        };
        check(
            &gdb(|| riscv::Board::new(config).expect("the board"), symbols, &COMMANDS),
            isa,
        );
    }
}

#[test]
#[cfg_attr(not(gdb_multiarch), ignore = "gdb-multiarch is not on PATH")]
fn gdb_knows_the_functions_of_every_cvm_on_morello() {
    let (image, symbols) = demo(Architecture::Morello, Isa::V9);
    let config = morello::Config::new(image);
    check(
        &gdb(|| morello::Board::new(config).expect("the board"), symbols, &COMMANDS),
        Isa::V9,
    );
}
