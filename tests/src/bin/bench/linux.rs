//! System calls of a Linux program, through its library OS and back, where `scripts/setup --linux` has built one.

use std::collections::BTreeMap;
use std::fs;

use tests::artifacts::built;
use tools::config::{self, Config};
use tools::workspace::Workspace;

use crate::Result;
use crate::measurement::{Bar, Measurement};
use crate::packing::Setup;
use crate::platform::{Cause, Machine, Platform};

const SECTION: &str = "System calls of a Linux program (instructions, there and back)";
/// Most instructions of the whole program.
const LIMIT: u64 = 100_000_000;
/// Calls of each loop of `payloads/linux/bench.c`.
const ROUNDS: usize = 100;
/// The loops, in their order.
const LOOPS: [&str; 7] = [
    "getpid",
    "clock_gettime",
    "write of 64 bytes to a file in memory",
    "mmap",
    "munmap",
    "sched_yield",
    "getppid",
];
/// Calls of the page's `clock_gettime` between two of the last loop.
const TIMES: u64 = 10;
/// Most instructions of one of them, and of the loop around it.
const PAGE_BAR: u64 = 60;

/// What was counted of the calls that one instruction makes.
#[derive(Default)]
struct Calls {
    /// When it was first met.
    first: u64,
    /// From the instruction to the next one of the same program, for each call.
    there_and_back: Vec<u64>,
    /// From one call to the next one.
    between: Vec<u64>,
    last: u64,
}

/// All of this module; nothing where there is no such program.
///
/// # Errors
/// The program does not do what is measured.
pub(crate) fn measure(platform: &dyn Platform) -> Result<Vec<Measurement>> {
    let arch = platform.arch();
    let programs = Workspace::locate()?.linux_programs(arch);
    let Ok(program) = fs::read(programs.join("linux-bench")) else {
        eprintln!("bench: left out, no Linux programs: scripts/setup --linux builds them");
        return Ok(Vec::new());
    };
    let yaml = "cVMs:\n- {name: bench, linux: {program: linux-bench, memory: 4MiB}}\n";
    let Config { cvms, .. } = config::parse("bench.yaml".as_ref(), yaml);
    let cvms: Vec<_> = cvms.into_iter().map(|cvm| cvm.spec).collect();
    let members = [("linux-bench".to_owned(), tools::elf::strip(&program)?)];
    built(arch);
    let mut machine = Setup::new(arch, &cvms, &members)?.board(platform)?;
    let counted = count(&mut *machine)?;
    let mut loops: Vec<&Calls> = counted
        .values()
        .filter(|calls| calls.there_and_back.len() == ROUNDS)
        .collect();
    loops.sort_by_key(|calls| calls.first);
    if loops.len() < LOOPS.len() {
        return Err(format!(
            "{} loops of {ROUNDS} calls, expected {LOOPS:?}; console:\n{}",
            loops.len(),
            machine.console()
        )
        .into());
    }
    let median = |numbers: &[u64]| {
        let mut numbers = numbers.to_vec();
        numbers.sort_unstable();
        numbers[numbers.len() / 2]
    };
    let bars = platform.bars();
    // Threads have loops of their own, between the last two.
    let [getpid, clock, write, map, unmap, create, told] =
        [0, 1, 2, 3, 4, 5, loops.len() - 1].map(|index| loops[index]);
    let of = |calls: &Calls| median(&calls.there_and_back);
    Ok(vec![
        Measurement::count(SECTION, LOOPS[0], of(getpid)).bar(Bar::at_most(bars.system_call)),
        Measurement::count(SECTION, LOOPS[1], of(clock)).bar(Bar::at_most(bars.system_call)),
        Measurement::count(
            SECTION,
            "  the same without a call, by the page at AT_SYSINFO_EHDR",
            (median(&told.between) - of(told)) / TIMES,
        )
        .bar(Bar::at_most(PAGE_BAR)),
        Measurement::count(SECTION, LOOPS[2], of(write)).bar(Bar::at_most(WRITE_BAR)),
        Measurement::count(SECTION, "a page by mmap, touched, munmap", of(map) + of(unmap)),
        Measurement::count(
            SECTION,
            "pthread_create and pthread_join, the thread's life included",
            median(&create.between),
        ),
    ])
}

/// Most instructions of a write of 64 bytes.
const WRITE_BAR: u64 = 1500;

/// Runs to the end, and counts the calls of the program whose code lies highest: the library OS is below it.
fn count(machine: &mut dyn Machine) -> Result<BTreeMap<u64, Calls>> {
    let mut calls: BTreeMap<u64, Calls> = BTreeMap::new();
    let (mut number, mut program, mut last) = (0_u64, 0, 0);
    let mut open: Option<(u64, u64)> = None;
    let stop = machine.step(LIMIT, &mut |machine| {
        number += 1;
        if !machine.in_cvm() {
            if open.is_none() && last != 0 && machine.cause() == Some(Cause::Hostcall) {
                open = Some((last, number));
            }
            last = 0;
            return false;
        }
        let code = machine.code_base();
        if code > program {
            (program, open) = (code, None);
            calls.clear();
        }
        if code != program {
            last = 0;
            return false;
        }
        if let Some((at, began)) = open.take() {
            let entry = calls.entry(at).or_default();
            if entry.first == 0 {
                entry.first = began;
            } else {
                entry.between.push(began - entry.last);
            }
            entry.last = began;
            entry.there_and_back.push(number - began);
        }
        last = machine.pc();
        false
    });
    match stop {
        machine::Stop::Exit(0) => Ok(calls),
        other => Err(format!("the Linux program: {other}; console:\n{}", machine.console()).into()),
    }
}
