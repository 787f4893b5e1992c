//! Calls by gates, in instructions of everything between the caller's first instruction for it and its last.

use abi::Hostcall;
use machine::Stop;
use tests::Platform as Kind;
use tests::code::assembler::Register::{Argument, Number, Scratch};
use tests::code::attack::Attacker;
use tools::Architecture;
use tools::manifest::CvmSpec;

use crate::Result;
use crate::counts::{code_of, first_instruction};
use crate::measurement::{Bar, Measurement};
use crate::packing::{Setup, cvm};
use crate::platform::{Machine, Platform};

const SECTION: &str = "Calls from cVM to cVM without the monitor (instructions)";
/// Most instructions of one run.
const LIMIT: u64 = 100_000_000;
/// Calls before the one that is measured.
const ROUNDS: usize = 20;
/// Most instructions of a call, there and back.
const BARS: [u64; 2] = [115, 80];

/// What is counted on a CHERI QEMU, too.
pub(crate) const GATE: &str = "gate, there and back";

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Integers,
    OneCapability,
    Vectors,
    TwoDeep,
}

/// Where a program keeps the token: at the start of its local area, the address of which it has in its data.
const LOCAL_SLOT: i64 = 104;
const LOCAL: i64 = 88;

/// A program that calls a gate again and again; where the call begins and where it is over.
fn caller(kind: Kind, way: Way, gate: &str) -> (Vec<u8>, [i64; 2]) {
    let mut a = Attacker::new(kind);
    let (block, area, place) = (Scratch(0), Scratch(1), Scratch(2));
    a.add(block, Argument(0), 0)
        .load(place, block, LOCAL)
        .load(area, block, LOCAL_SLOT);
    a.add_register(area, block).load_capability(area, area, 0);
    a.ask(gate);
    let [code, data] = a.token();
    a.store_capability_through(code, area)
        .set(Scratch(3), 16)
        .offset(area, area, Scratch(3));
    a.store_capability_through(data, area).set(area, 0);
    if way == Way::OneCapability {
        a.data_capability(Scratch(4));
    }
    let start = a.here();
    let frame = Number(29);
    if !a.is_riscv() {
        a.add(Scratch(5), frame, 0);
    }
    a.load_capability(code, place, 0);
    if a.is_riscv() {
        a.load_capability(data, place, 16);
    }
    if way == Way::OneCapability {
        a.copy(Argument(0), Scratch(4));
    }
    a.call_gate();
    if !a.is_riscv() {
        a.add(frame, Scratch(5), 0);
    }
    let end = a.here();
    a.repeat(start);
    (a.elf().to_bytes(), [start, end])
}

/// A caller, and whom it calls.
pub(crate) struct Play {
    pub(crate) cvms: Vec<CvmSpec>,
    pub(crate) programs: Vec<(String, Vec<u8>)>,
    /// Where a call begins, and is over, in the caller's code.
    pub(crate) call: [i64; 2],
}

/// Who calls whom to measure a way.
pub(crate) fn play(platform: &dyn Platform, way: Way) -> Play {
    let kind = match platform.arch() {
        Architecture::CheriRiscv => Kind::MachineV9,
        Architecture::Morello => Kind::MachineMorello,
    };
    let mut server = Attacker::new(kind);
    server.hostcall(Hostcall::Serve).exit(0);
    server.gate("work").return_from_gate();
    // Both get their token once and pass it on in what functions keep: the one between keeps its own.
    let mut between = Attacker::new(kind);
    let (block, area) = (Scratch(0), Scratch(1));
    between.data_address(Scratch(3)).store(Argument(0), Scratch(3), 1024);
    between.add(block, Argument(0), 0).load(area, block, LOCAL_SLOT);
    between.add_register(area, block).load_capability(area, area, 0);
    between.ask("server.work");
    let [code, data] = between.token();
    between
        .store_capability_through(code, area)
        .set(Scratch(3), 16)
        .offset(area, area, Scratch(3));
    between
        .store_capability_through(data, area)
        .hostcall(Hostcall::Serve)
        .exit(0);
    between.gate("pass");
    let back = between.way_back();
    between.copy(Scratch(5), back[0]).copy(Scratch(6), back[1]);
    between
        .data_address(Scratch(3))
        .load(block, Scratch(3), 1024)
        .load(Scratch(2), block, LOCAL);
    between
        .load_capability(code, Scratch(2), 0)
        .load_capability(data, Scratch(2), 16);
    between.call_gate();
    between
        .copy(back[0], Scratch(5))
        .copy(back[1], Scratch(6))
        .return_from_gate();
    let deep = way == Way::TwoDeep;
    let called = if deep { "between.pass" } else { "server.work" };
    let (program, call) = caller(kind, way, called);
    let vector = if way == Way::Vectors { " vector" } else { "" };
    let spec = |name: &str, gates: Option<String>, calls: Option<&str>| CvmSpec {
        gates: gates.into_iter().collect(),
        calls: calls.into_iter().map(str::to_owned).collect(),
        local: 4,
        ..cvm(name, name, &[])
    };
    let mut cvms = vec![spec("server", Some(format!("work 4096 1{vector}")), None)];
    if deep {
        cvms.push(spec("between", Some("pass 4096 1".into()), Some("server.work")));
    }
    cvms.push(spec("caller", None, Some(called)));
    let programs = vec![
        ("server".to_owned(), server.elf().to_bytes()),
        ("between".to_owned(), between.elf().to_bytes()),
        ("caller".to_owned(), program),
    ];
    Play { cvms, programs, call }
}

/// Instructions of one call.
fn measured(platform: &dyn Platform, way: Way) -> Result<u64> {
    let Play {
        cvms,
        programs,
        call: [start, end],
    } = play(platform, way);
    let mut machine = Setup::new(platform.arch(), &cvms, &programs)?.board(platform)?;
    first_instruction(&mut *machine)?;
    let code = code_of(&machine.console(), "caller")?;
    let run = |machine: &mut dyn Machine, each: &mut dyn FnMut(&dyn Machine) -> bool| match machine.step(LIMIT, each) {
        Stop::Condition => Ok(()),
        other => Err(format!("a gate: {other}; console:\n{}", machine.console())),
    };
    let inside = |machine: &dyn Machine| machine.in_cvm() && code.in_bounds(machine.pc(), 4);
    if !inside(&*machine) {
        run(&mut *machine, &mut |machine| inside(machine))?;
    }
    let entry = machine.pc();
    let at = |machine: &dyn Machine, offset: i64| machine.in_cvm() && machine.pc() == entry.wrapping_add_signed(offset);
    let mut visits = 0;
    run(&mut *machine, &mut |machine| {
        visits += usize::from(at(machine, start));
        visits == ROUNDS
    })?;
    let mut instructions = 0;
    run(&mut *machine, &mut |machine| {
        instructions += 1;
        at(machine, end)
    })?;
    Ok(instructions)
}

/// All of this module.
///
/// # Errors
/// The monitor or the switcher does not do what is measured.
pub(crate) fn measure(platform: &dyn Platform) -> Result<Vec<Measurement>> {
    let bar = match platform.arch() {
        Architecture::CheriRiscv => BARS[0],
        Architecture::Morello => BARS[1],
    };
    let count = |way, label: &str| measured(platform, way).map(|count| Measurement::count(SECTION, label, count));
    Ok(vec![
        count(Way::Integers, GATE)?.bar(Bar::at_most(bar)),
        count(Way::OneCapability, "gate with one capability argument, there and back")?.bar(Bar::at_most(bar + 1)),
        count(Way::Vectors, "gate with vector registers cleared, there and back")?,
        count(Way::TwoDeep, "two gates deep, there and back")?,
    ])
}
