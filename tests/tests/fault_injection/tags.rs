//! Tags flip: one that is lost takes away authority and nothing else; one that appears makes a capability of data, which
//! the second line of defence keeps away from the monitor, and which a scan finds.

use std::collections::BTreeMap;

use abi::{FaultKind, Hostcall};
use capability::Decoded;
use machine::Stop;
use tests::code::assembler::Assembler;
use tests::code::assembler::Register::{Number, Scratch};
use tests::report::{Fault, summary};
use tests::{Board, Platform, Scenario, cvm, on_machine};
use tools::Architecture;
use tools::elf::synthesis::Elf;

use crate::inject::{self, MEMORY, assert_confined, violations};

on_machine!(
    a_lost_tag_takes_authority_away_and_gives_none,
    a_tag_out_of_nowhere_does_not_open_the_monitor,
    a_tag_out_of_nowhere_is_seen_by_a_scan_and_gone_with_the_next_life,
);

/// Most instructions of a run to the end.
const LIMIT: u64 = 30_000_000;

/// How a run ends after a tag was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// As if nothing had been.
    Unnoticed,
    /// One cVM was killed by its own fault or could not be started; what the others did is the same.
    OneFault,
    /// The monitor lost what it needs itself, said so and stopped the machine.
    Report,
    /// The monitor lost the console: nothing is said any more, and the status is that of a failure.
    Silent,
    /// The monitor lost the power-off device: all is as if nothing had been, but the machine stays on.
    StaysOn,
    /// The monitor lost its own memory or code: the processor only traps, for ever, and no cVM runs any more.
    Standstill,
}

/// What a cVM said, and its row in the table at the end: name, state, restarts.
fn told(console: &str, name: &str) -> (Vec<String>, Option<String>) {
    let label = format!("[{name}] ");
    let monitor: Vec<&str> = console
        .split("\r\n")
        .filter_map(|line| line.strip_prefix("[monitor] "))
        .collect();
    let state = summary(&monitor)
        .into_iter()
        .find(|row| row.name == name)
        .map(|row| row.state);
    let lines = console.split("\r\n").filter_map(|line| line.strip_prefix(&label));
    (lines.map(str::to_owned).collect(), state)
}

const NAMES: [&str; 3] = ["sleeper", "first", "second"];

fn a_lost_tag_takes_authority_away_and_gives_none(platform: Platform) {
    let spinner = |name| cvm(name, "spinner", &["5"]);
    let cvms = [
        cvm("sleeper", "clock", &["3", "2"]),
        spinner("first"),
        spinner("second"),
    ];
    let mut running = Scenario::new(cvms).memory(MEMORY).on_board(platform);
    running.until("cVMs started");
    let board = &mut running.board;
    // Everybody has begun: the sleeper sleeps, one spins, the other is in the run queue.
    assert_eq!(board.run(4_500_000), Stop::Limit);
    inject::run_into(board, false, LIMIT);
    inject::run_into(board, true, LIMIT);
    let tagged: Vec<u64> = board.memory().tagged().collect();
    let moment = inject::snapshot(board);
    let monitor_memory = *inject::entries(board)
        .iter()
        .find(|entry| entry.name == "monitor data")
        .map(|entry| &entry.what)
        .expect("the entry");
    assert_eq!(board.run(LIMIT), Stop::Exit(0), "{}", board.console().text());
    let console = board.console().text();
    let sound = NAMES.map(|name| told(&console, name));
    let mut ends: BTreeMap<End, usize> = BTreeMap::new();
    for address in tagged {
        inject::restore(board, &moment);
        let lost_by_monitor = monitor_memory.in_bounds(address, 16);
        let offset = board.memory().offset(address, 16).expect("RAM");
        let (low, high, _) = board.memory().read_granule(offset);
        board.memory_mut().set_tag(offset, false);
        let stop = board.run(LIMIT);
        let console = board.console().text();
        let what = format!("without the tag at {address:#x} of {low:#x} {high:#x}: {stop}");
        let now = NAMES.map(|name| told(&console, name));
        let others = now.iter().zip(&sound).filter(|(now, sound)| now == sound).count();
        let monitor: Vec<&str> = console
            .split("\r\n")
            .filter_map(|line| line.strip_prefix("[monitor] "))
            .collect();
        let end = match stop {
            Stop::Exit(0) if others == 3 => End::Unnoticed,
            Stop::Exit(1) if others == 2 && Fault::parse(&monitor).len() == 1 => End::OneFault,
            Stop::Exit(1) if others == 2 && console.contains(": cannot start: ") => End::OneFault,
            Stop::Exit(1) if console.contains("[monitor] error: the monitor ") => End::Report,
            Stop::Exit(1) if low == platform.device() => End::Silent,
            Stop::TrapLoop { .. } => End::Standstill,
            Stop::Limit if !board.in_user_mode(0) && lost_by_monitor => End::Standstill,
            Stop::Limit if others == 3 && console.contains("[monitor] power off") => End::StaysOn,
            _ => panic!("{what}\n{console}"),
        };
        assert_confined(board, &what);
        *ends.entry(end).or_default() += 1;
    }
    println!("{platform}: {ends:?}");
    // PCC and DDC of each of the two that wait for their turn.
    assert!(ends.get(&End::OneFault).is_some_and(|count| *count >= 4), "{ends:?}");
}

const MARK: &[u8; 16] = b"\xd2sixteen bytes.\n";
/// The register that [`forger`] uses.
const HELD: u32 = 20;

/// Yields, then loads what its data begin with as a capability, reads through that, and exits with 0.
fn forger(arch: Architecture) -> Elf {
    let mut code = Assembler::new(arch);
    code.data_address(Scratch(0)).hostcall(Hostcall::Yield);
    code.load_capability(Number(HELD), Scratch(0), 0);
    code.load_through(Scratch(1), Number(HELD));
    code.exit(0).elf(MARK)
}

/// A board that has just entered the forger's yield, and where in the RAM its data are.
fn board_with_forger(platform: Platform) -> (tests::scenario::Running, usize) {
    let cvms = [cvm("forger", "forger", &[]), cvm("other", "idle", &["10"])];
    let mut running = Scenario::new(cvms)
        .member("forger", forger(platform.arch()).to_bytes())
        .memory(MEMORY)
        .on_board(platform);
    running.until("cVMs started");
    inject::run_into(&mut running.board, true, LIMIT);
    inject::run_into(&mut running.board, false, LIMIT);
    let data = inject::find(&running.board, "forger", MARK);
    (running, data)
}

/// Gives the forger's data the bits of a capability over everything that points to `target`.
fn write_bits(board: &mut Board, data: usize, target: u64) {
    let what = Decoded {
        address: target,
        ..board.root()
    };
    let address = board.memory().base() + data as u64;
    board.plant(address, &what);
    board.memory_mut().set_tag(data, false);
}

fn memory_of(board: &Board, name: &str) -> u64 {
    let entries = inject::entries(board);
    entries
        .iter()
        .find(|entry| entry.name == name)
        .expect("an entry of this name")
        .what
        .base
}

fn a_tag_out_of_nowhere_does_not_open_the_monitor(platform: Platform) {
    for flipped in [false, true] {
        let (mut running, data) = board_with_forger(platform);
        let target = memory_of(&running.board, "monitor data");
        write_bits(&mut running.board, data, target);
        assert_confined(&running.board, "bits are no capability");
        running.board.memory_mut().set_tag(data, flipped);
        let outcome = running.finish();
        outcome.assert_status(1);
        let faults = outcome.faults();
        let expected = if flipped { FaultKind::Access } else { FaultKind::Tag };
        assert_eq!(faults.len(), 1, "{outcome}");
        assert_eq!(
            (faults[0].cvm.as_str(), faults[0].kind),
            ("forger", expected),
            "{outcome}"
        );
        assert_eq!(outcome.row("other").state, "exited 0", "{outcome}");
    }
}

fn a_tag_out_of_nowhere_is_seen_by_a_scan_and_gone_with_the_next_life(platform: Platform) {
    let (mut running, data) = board_with_forger(platform);
    let target = memory_of(&running.board, "other data");
    write_bits(&mut running.board, data, target);
    running.board.memory_mut().set_tag(data, true);
    let found = violations(&running.board);
    assert!(found.len() == 1 && found[0].ends_with(" of forger"), "{found:?}");
    // Between cVMs there is no second line: this is what tags are trusted for.
    let outcome = running.finish();
    outcome.assert_status(0);
    assert_eq!(outcome.row("forger").state, "exited 0", "{outcome}");
}
