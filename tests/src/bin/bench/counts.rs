//! Ways through the monitor, in instructions: the boot, a hostcall, a switch, a fault.

use std::fs;

use abi::image::Symbols;
use capability::Decoded;
use machine::Stop;
use object::{Object, ObjectSymbol};
use tests::report::{LedgerEntry, ledger};
use tools::elf::synthesis::Elf;
use tools::image::Image;
use tools::manifest::CvmSpec;
use tools::workspace::Workspace;

use crate::Result;
use crate::measurement::{Bar, Measurement};
use crate::packing::{Setup, bare_image, cvm};
use crate::platform::{Cause, Machine, Platform};
use crate::{gates, messages, ways};

pub(crate) const SECTION: &str = "Ways through the monitor (instructions)";
/// What is counted on a CHERI QEMU, too.
pub(crate) const NULL: &str = "null hostcall, there and back";
pub(crate) const SERVED: &str = "served null hostcall, caller to server and back";
pub(crate) const SWITCH: &str = "switch by timer between two spinners";
/// Most instructions that anything measured here takes.
const LIMIT: u64 = 1_000_000_000;
/// Most instructions from a fault without report to the next cVM.
const FAULT_BAR: u64 = 2_000;
/// Null hostcalls that are measured.
const ROUNDS: usize = 200;
/// Instructions of `bench-null` that close its loop.
const LOOP: u64 = 2;

/// Runs to a cVM's first instruction and returns the instructions up to there, the reset code's included.
///
/// # Errors
/// The run ends before that.
pub(crate) fn first_instruction(machine: &mut dyn Machine) -> Result<u64> {
    let mut instructions = 0;
    let stop = machine.step(LIMIT, &mut |machine| {
        instructions += 1;
        machine.in_cvm()
    });
    expect(stop, machine, "the first instruction of a cVM")?;
    Ok(instructions)
}

fn expect(stop: Stop, machine: &mut dyn Machine, awaited: &str) -> Result<()> {
    match stop {
        Stop::Condition => Ok(()),
        other => Err(format!("waiting for {awaited}: {other}; console:\n{}", machine.console()).into()),
    }
}

/// One stay in the monitor.
pub(crate) struct Stay {
    /// What led there.
    pub(crate) cause: Option<Cause>,
    /// Who was running, see [`Machine::code_base`].
    pub(crate) from: u64,
    /// Who runs afterwards.
    pub(crate) to: u64,
    /// Instructions between the two: the one that trapped, if one did, and everything of the monitor.
    pub(crate) instructions: u64,
    /// How many of them were at an address that the caller asked about.
    pub(crate) special: u64,
}

/// From an instruction of a cVM to the next time that the monitor has been left. `special` chooses addresses.
///
/// # Errors
/// The run ends before that.
pub(crate) fn next_stay(machine: &mut dyn Machine, special: &dyn Fn(u64) -> bool) -> Result<Stay> {
    let mut stay = Stay {
        cause: None,
        from: machine.code_base(),
        to: 0,
        instructions: 0,
        special: 0,
    };
    let stop = machine.step(LIMIT, &mut |machine| {
        if machine.in_cvm() {
            if stay.instructions == 0 {
                return false;
            }
            // The instruction that has left the monitor is still the monitor's.
            stay.instructions += 1;
            stay.to = machine.code_base();
            return true;
        }
        if stay.instructions == 0 {
            stay.cause = machine.cause();
        }
        stay.instructions += 1;
        stay.special += u64::from(special(machine.pc()));
        false
    });
    expect(stop, machine, "a cVM to run again")?;
    Ok(stay)
}

/// The next stay that `wanted` wants.
///
/// # Errors
/// The run ends before that.
fn stay(machine: &mut dyn Machine, special: &dyn Fn(u64) -> bool, wanted: &dyn Fn(&Stay) -> bool) -> Result<Stay> {
    loop {
        let stay = next_stay(machine, special)?;
        if wanted(&stay) {
            return Ok(stay);
        }
    }
}

/// All of this module.
///
/// # Errors
/// The monitor does not do what is measured.
pub(crate) fn measure(platform: &dyn Platform) -> Result<Vec<Measurement>> {
    let (bars, mut measured) = (platform.bars(), Vec::new());
    for example in ["demo", "hello"] {
        let mut machine = Setup::example(platform.arch(), example)?.board(platform)?;
        let label = format!("reset to a cVM's first, example {example}");
        let instructions = first_instruction(&mut *machine)?;
        measured.push(Measurement::count(SECTION, label, instructions).bar(Bar::at_most(bars.boot)));
    }
    for count in [16, 128, 1000] {
        let label = format!("  reset to a cVM's first among {count}, per cVM");
        measured.push(Measurement::count(SECTION, label, boot_of(platform, count)? / count));
    }
    let [null, served] = calling();
    let [median, longest] = null_hostcall(platform, std::slice::from_ref(&null), "null")?;
    let trips = ROUNDS - 1;
    measured.extend([
        Measurement::count(SECTION, NULL, median).bar(Bar::at_most(bars.null)),
        Measurement::count(SECTION, format!("  the longest of {trips} in a row"), longest),
    ]);
    let mut alone = 0;
    for (way, label, bar) in [
        ("answer", SERVED, bars.served),
        ("delegate", "  the same, when the server delegates it", bars.delegated),
    ] {
        let cvms = [cvm("server", "server", &[way]), served.clone()];
        let [median, _] = null_hostcall(platform, &cvms, "null")?;
        alone = if way == "answer" { median } else { alone };
        measured.push(Measurement::count(SECTION, label, median).bar(Bar::at_most(bar)));
    }
    let crowd = (0..254).map(|number| cvm(&format!("idle{number}"), "idle", &[]));
    let cvms: Vec<CvmSpec> = [cvm("server", "server", &["answer"]), served]
        .into_iter()
        .chain(crowd)
        .collect();
    let [median, _] = null_hostcall(platform, &cvms, "null")?;
    let label = "  the same, answered, among 256 cVMs";
    measured.push(Measurement::count(SECTION, label, median).bar(Bar::at_most(same(alone))));
    let mut few = None;
    for (count, label) in [(2, SWITCH), (256, "  the same among 256 spinners")] {
        let switch = timer_switch(platform, count)?;
        let bar = few.map_or(bars.switch, same);
        few.get_or_insert(switch);
        measured.push(Measurement::count(SECTION, label, switch).bar(Bar::at_most(bar)));
    }
    measured.extend(ways::measure(platform)?);
    measured.extend(messages::measure(platform)?);
    measured.extend(gates::measure(platform)?);
    measured.extend(fault(platform)?);
    Ok(measured)
}

/// Instructions from reset to the first cVM instruction, among this many of the smallest program and without the log.
fn boot_of(platform: &dyn Platform, count: u64) -> Result<u64> {
    let cvms: Vec<CvmSpec> = (0..count)
        .map(|number| CvmSpec::new(format!("cvm{number}"), "small"))
        .collect();
    let programs = [("small".to_owned(), Elf::program(platform.arch(), &[0; 4]).to_bytes())];
    let setup = Setup::new(platform.arch(), &cvms, &programs)?.append("log=error");
    first_instruction(&mut *setup.board(platform)?)
}

/// What a way may take among many cVMs when it takes this among few: nothing looks at all of them.
pub(crate) fn same(instructions: u64) -> u64 {
    instructions + instructions / 50
}

/// The cVM that runs `bench-null`, and the same with a server.
pub(crate) fn calling() -> [CvmSpec; 2] {
    let null = cvm("null", "bench-null", &[&ROUNDS.to_string()]);
    let served = CvmSpec {
        callback_out: "server".into(),
        ..null.clone()
    };
    [null, served]
}

/// Median and maximum of the instructions of `bench-null`'s hostcalls: of the first so many visits to the call, each with the
/// number of the instruction.
pub(crate) fn trips(visits: &[u64]) -> [u64; 2] {
    let visits = &visits[..visits.len().min(ROUNDS)];
    let mut trips: Vec<u64> = visits.windows(2).map(|pair| pair[1] - pair[0] - LOOP).collect();
    trips.sort_unstable();
    [trips.len() / 2, trips.len() - 1].map(|place| trips[place])
}

/// Where `bench-null` makes its hostcall, from its entry point on.
///
/// # Errors
/// There is no such program.
pub(crate) fn null_call(platform: &dyn Platform) -> Result<u64> {
    distance_from_entry(platform, "bench-null", "bench_null_call")
}

/// Address of a symbol of a program, relative to its entry point.
fn distance_from_entry(platform: &dyn Platform, program: &str, symbol: &str) -> Result<u64> {
    let path = Workspace::locate()?.programs(platform.arch()).join(program);
    let bytes = fs::read(&path)?;
    let file = object::File::parse(&*bytes)?;
    let found = file.symbols().find(|candidate| candidate.name() == Ok(symbol));
    let found = found.ok_or_else(|| format!("{}: no symbol {symbol}", path.display()))?;
    Ok(found.address().wrapping_sub(file.entry()))
}

/// Median and maximum of the instructions of `bench-null`'s hostcalls, when this cVM runs it among these.
fn null_hostcall(platform: &dyn Platform, cvms: &[CvmSpec], name: &str) -> Result<[u64; 2]> {
    let mut machine = Setup::new(platform.arch(), cvms, &[])?.board(platform)?;
    first_instruction(&mut *machine)?;
    let code = code_of(&machine.console(), name)?;
    // The first instruction of the program is where it comes into its code first.
    if !code.in_bounds(machine.pc(), 2) {
        let stop = machine.step(LIMIT, &mut |machine| {
            machine.in_cvm() && code.in_bounds(machine.pc(), 2)
        });
        expect(stop, &mut *machine, "the first instruction of bench-null")?;
    }
    let entry = machine.pc();
    let call = entry.wrapping_add(null_call(platform)?);
    let (mut now, mut visits) = (0_u64, Vec::new());
    let stop = machine.step(LIMIT, &mut |machine| {
        now += 1;
        if machine.pc() == call {
            visits.push(now);
        }
        visits.len() == ROUNDS
    });
    expect(stop, &mut *machine, "the null hostcalls")?;
    Ok(trips(&visits))
}

/// The code capability of a cVM.
///
/// # Errors
/// The log does not name it.
pub(crate) fn code_of(console: &str, name: &str) -> Result<Decoded> {
    let entries = ledger_of(console);
    let code = entries.iter().find(|entry| entry.name == format!("{name} code"));
    Ok(code.ok_or_else(|| format!("no code of {name} in the ledger"))?.what)
}

fn ledger_of(console: &str) -> Vec<LedgerEntry> {
    let lines: Vec<&str> = console
        .lines()
        .filter_map(|line| line.strip_prefix("[monitor] "))
        .collect();
    ledger(&lines)
}

/// Instructions of a switch between two of this many spinners.
fn timer_switch(platform: &dyn Platform, count: usize) -> Result<u64> {
    let spinners: Vec<CvmSpec> = (0..count)
        .map(|number| cvm(&format!("s{number}"), "spinner", &[]))
        .collect();
    let mut machine = Setup::new(platform.arch(), &spinners, &[])?.board(platform)?;
    first_instruction(&mut *machine)?;
    let is_switch = |stay: &Stay| stay.cause == Some(Cause::Interrupt) && stay.from != stay.to;
    // In the first round a switch goes to a spinner that is loaded then.
    for _ in 0..count {
        stay(&mut *machine, &|_| false, &is_switch)?;
    }
    Ok(stay(&mut *machine, &|_| false, &is_switch)?.instructions)
}

fn fault(platform: &dyn Platform) -> Result<[Measurement; 3]> {
    let image = bare_image(platform.arch())?;
    let image = Image::parse(&image)?;
    let symbols = Symbols::new(image.symbols());
    let in_console = |pc: u64| {
        let offset = pc
            .checked_sub(platform.load_address())
            .and_then(|offset| u32::try_from(offset).ok());
        let found = offset.and_then(|offset| symbols.lookup(offset));
        found.is_some_and(|(name, _)| name.as_str().contains("::console::"))
    };
    let measure = |append: &str| {
        // The other one runs first, so that it is loaded when its turn comes again.
        let cvms = [cvm("other", "spinner", &[]), cvm("rogue", "rogue", &["read-monitor"])];
        let mut machine = Setup::new(platform.arch(), &cvms, &[])?
            .append(append)
            .board(platform)?;
        first_instruction(&mut *machine)?;
        stay(&mut *machine, &in_console, &|stay| stay.cause == Some(Cause::Fault))
    };
    let (reported, silent) = (measure("")?, measure("log=warn")?);
    Ok([
        Measurement::count(SECTION, "fault to the next cVM, with report", reported.instructions),
        Measurement::count(SECTION, "  of these, in the console's functions", reported.special),
        Measurement::count(
            SECTION,
            "fault to the next cVM, log=warn (no report)",
            silent.instructions,
        )
        .bar(Bar::at_most(FAULT_BAR)),
    ])
}
