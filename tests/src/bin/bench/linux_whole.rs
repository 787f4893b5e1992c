//! Whole Linux programs: all instructions from a program's first to its last, beside its own. Its own are what the same file takes
//! in an emulator of user mode, where a system call is none.

use std::fs;

use tests::artifacts::built;
use tools::config::{self, Config};
use tools::workspace::Workspace;

use crate::Result;
use crate::measurement::{Bar, Measurement};
use crate::packing::Setup;
use crate::platform::{Machine, Platform};

const SECTION: &str = "Linux programs (instructions from first to last, monitor and library OS included)";
/// Most instructions of a program.
const LIMIT: u64 = 10_000_000_000;

/// A program, its arguments, and how many instructions of all it may take for a hundred of its own.
struct Whole {
    label: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    bar: u64,
}

const FIB: &str =
    "local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end assert(fib(24) == 46368)";
const TREES: &str = "local function make(d) if d == 0 then return {} end return {make(d - 1), make(d - 1)} end \
    local function check(t) if t[1] then return 1 + check(t[1]) + check(t[2]) end return 1 end \
    for _ = 1, 8 do assert(check(make(10)) == 2047) end";

const ALL: [Whole; 3] = [
    Whole {
        label: "fib(24) in Lua",
        program: "lua",
        arguments: &["-e", FIB],
        bar: 115,
    },
    Whole {
        label: "binary trees in Lua, 8 of depth 10",
        program: "lua",
        arguments: &["-e", TREES],
        bar: 115,
    },
    Whole {
        label: "speedtest1 of SQLite, size 5, in memory",
        program: "speedtest1",
        arguments: &["--size", "5", ":memory:"],
        bar: 150,
    },
];

/// All of this module; nothing where there are no such programs.
///
/// # Errors
/// A program does not end well.
pub(crate) fn measure(platform: &dyn Platform) -> Result<Vec<Measurement>> {
    let arch = platform.arch();
    let programs = Workspace::locate()?.linux_programs(arch);
    built(arch);
    let mut measured = Vec::new();
    for whole in &ALL {
        let Ok(file) = fs::read(programs.join(whole.program)) else {
            eprintln!("bench: left out, no {}: scripts/setup --linux builds it", whole.program);
            continue;
        };
        let yaml = format!(
            "cVMs:\n- {{name: it, linux: {{program: {}, memory: 32MiB}}, args: {:?}}}\n",
            whole.program, whole.arguments
        );
        let Config { cvms, .. } = config::parse("bench.yaml".as_ref(), &yaml);
        let cvms: Vec<_> = cvms.into_iter().map(|cvm| cvm.spec).collect();
        let members = [(whole.program.to_owned(), tools::elf::strip(&file)?)];
        let mut machine = Setup::new(arch, &cvms, &members)?.board(platform)?;
        let (own, all) = count(&mut *machine)?;
        measured.push(Measurement::count(SECTION, format!("{}, its own", whole.label), own));
        let share = (all * 100).div_ceil(own);
        let label = format!("{}, all for 100 of its own", whole.label);
        measured.push(Measurement::count(SECTION, label, share).bar(Bar::at_most(whole.bar)));
    }
    Ok(measured)
}

/// The instructions of the program, whose code lies highest, and all from its first to its last.
fn count(machine: &mut dyn Machine) -> Result<(u64, u64)> {
    let (mut number, mut program, mut own) = (0_u64, 0, 0_u64);
    let (mut first, mut last) = (0, 0);
    let stop = machine.step(LIMIT, &mut |machine| {
        number += 1;
        if machine.in_cvm() {
            let code = machine.code_base();
            if code > program {
                // The library OS was the highest until now.
                (program, own, first) = (code, 0, number);
            }
            if code == program {
                own += 1;
                last = number;
            }
        }
        false
    });
    match stop {
        machine::Stop::Exit(0) => Ok((own, last - first + 1)),
        other => Err(format!("the Linux program: {other}; console:\n{}", machine.console()).into()),
    }
}
