//! An interrupt arrives at every single instruction of a hostcall and of a context switch: the monitor takes none of them
//! in the middle, and nobody can tell the run from one without it.

use abi::Hostcall;
use abi::hostcall::STREAM_OUTPUT;
use machine::Stop;
use tests::code::assembler::Assembler;
use tests::code::assembler::Register::{Argument, Scratch};
use tests::report::SummaryRow;
use tests::{Board, Platform, Scenario, cvm, on_machine};
use tools::Architecture;
use tools::elf::synthesis::Elf;

use crate::inject::{self, MEMORY, assert_confined};

on_machine!(
    the_timer_at_every_instruction_of_a_write,
    the_timer_at_every_instruction_of_a_yield,
    the_timer_at_every_instruction_of_a_sleep,
    the_timer_at_every_instruction_of_a_clock,
    the_timer_at_every_instruction_of_an_info,
    a_key_at_every_instruction_of_a_write,
    a_key_at_every_instruction_of_a_yield,
);

/// Most instructions of a run to the end.
const LIMIT: u64 = 10_000_000;
/// Most instructions of a hostcall.
const CALL: u64 = 100_000;
/// What the data of [`caller`] begins with, so that they can be found.
const MARK: &[u8; 16] = b"\xd1what they said\n";
/// Where [`caller`] puts the result of its hostcall, behind the mark.
const RESULT: i64 = 16;
/// Where it lets the hostcall put a record.
const RECORD: i64 = 32;
/// Bytes of the data that are compared.
const DATA: usize = 128;

/// Yields, makes one hostcall, stores its result, yields again, writes that it is done, and exits with 0.
fn caller(arch: Architecture, call: Hostcall) -> Elf {
    let mut code = Assembler::new(arch);
    let data = Scratch(0);
    code.data_address(data).hostcall(Hostcall::Yield);
    let (first, second, third): (i64, u32, u32) = match call {
        Hostcall::Write => (-1, 0, 15),
        Hostcall::Nanosleep => (20_000, 0, 0),
        Hostcall::Info => (-2, 64, 0),
        _ => (0, 0, 0),
    };
    match first {
        // Stream, pointer, length.
        -1 => code.set(Argument(0), STREAM_OUTPUT as u32).add(Argument(1), data, 1),
        // Pointer, length.
        -2 => code.add(Argument(0), data, RECORD).set(Argument(1), second),
        value => code.set(Argument(0), value as u32).set(Argument(1), second),
    };
    code.set(Argument(2), third)
        .hostcall(call)
        .store(Argument(0), data, RESULT);
    code.hostcall(Hostcall::Yield);
    code.set(Argument(0), STREAM_OUTPUT as u32)
        .add(Argument(1), data, 1)
        .set(Argument(2), 15);
    code.hostcall(Hostcall::Write).exit(0);
    code.elf(MARK)
}

/// Gives its time away twenty times and exits with 0.
fn other(arch: Architecture) -> Elf {
    let mut code = Assembler::new(arch);
    code.set(Scratch(1), 20);
    let start = code.here();
    code.hostcall(Hostcall::Yield).add(Scratch(1), Scratch(1), -1);
    let back = start - code.here();
    code.branch_not_zero(Scratch(1), back).exit(0);
    code.elf(&[])
}

/// The end of a run: what everybody said, what became of everybody, and the caller's data.
#[derive(Debug, PartialEq, Eq)]
struct End {
    said: Vec<String>,
    states: Vec<(String, String, u32, u64)>,
    data: Vec<u8>,
}

impl End {
    /// Runs to the end.
    fn of(board: &mut Board, what: &str) -> End {
        let stop = board.run(LIMIT);
        let console = board.console().text();
        assert_eq!(stop, Stop::Exit(0), "{what}\n{console}");
        assert_confined(board, what);
        let lines: Vec<&str> = console.split("\r\n").collect();
        let monitor: Vec<&str> = lines
            .iter()
            .filter_map(|line| line.strip_prefix("[monitor] "))
            .collect();
        let rows = tests::report::summary(&monitor);
        let state = |row: SummaryRow| (row.name, row.state, row.restarts, row.hostcalls);
        assert_eq!(rows.len(), 2, "{what}\n{console}");
        let data = inject::find(board, "caller", MARK);
        End {
            said: lines
                .iter()
                .filter(|line| !line.starts_with("[monitor] "))
                .map(|line| (*line).to_owned())
                .collect(),
            states: rows.into_iter().map(state).collect(),
            data: board.memory().bytes(data, DATA).to_vec(),
        }
    }
}

/// Disturbs the board before every instruction of the monitor from the caller's hostcall to the next instruction of a
/// cVM. What depends on the time of day is taken out of the caller's data by `timeless`.
fn sweep(platform: Platform, call: Hostcall, disturb: impl Fn(&mut Board), timeless: impl Fn(&mut [u8])) {
    let arch = platform.arch();
    let cvms = [cvm("caller", "caller", &[]), cvm("other", "other", &[])];
    let mut running = Scenario::new(cvms)
        .member("caller", caller(arch, call).to_bytes())
        .member("other", other(arch).to_bytes())
        .memory(MEMORY)
        .on_board(platform);
    running.until("cVMs started");
    let board = &mut running.board;
    // In turns: the caller yields, the other yields, the caller makes its hostcall.
    for _ in 0..3 {
        inject::run_into(board, true, LIMIT);
        inject::run_into(board, false, LIMIT);
    }
    let moment = inject::snapshot(board);
    let end = |board: &mut Board, what: &str| {
        let mut end = End::of(board, what);
        timeless(&mut end.data[RESULT as usize..]);
        end
    };
    let undisturbed = end(board, "undisturbed");
    inject::restore(board, &moment);
    let count = inject::run_into(board, true, CALL);
    assert!(count > 50, "{count} instructions are no hostcall");
    for at in 0..count {
        inject::restore(board, &moment);
        assert_eq!(board.run(at), Stop::Limit);
        assert!(!board.in_user_mode(0));
        disturb(board);
        let what = format!(
            "{call:?} disturbed before instruction {at} of {count}, at {:#x}",
            board.pc(0)
        );
        // Whatever is pending waits for the first instruction of a cVM.
        let rest = inject::run_into(board, true, CALL);
        assert_eq!(at + rest, count, "{what}: another way through the monitor");
        assert_eq!(end(board, &what), undisturbed, "{what}");
    }
}

fn zero(bytes: &mut [u8]) {
    bytes.fill(0);
}

fn all(_: &mut [u8]) {}

fn the_timer_at_every_instruction_of_a_write(platform: Platform) {
    sweep(platform, Hostcall::Write, inject::fire_timer, all);
}

fn the_timer_at_every_instruction_of_a_yield(platform: Platform) {
    sweep(platform, Hostcall::Yield, inject::fire_timer, all);
}

fn the_timer_at_every_instruction_of_a_sleep(platform: Platform) {
    sweep(platform, Hostcall::Nanosleep, inject::fire_timer, all);
}

fn the_timer_at_every_instruction_of_a_clock(platform: Platform) {
    sweep(platform, Hostcall::Clock, inject::fire_timer, |data| {
        zero(&mut data[..8])
    });
}

fn the_timer_at_every_instruction_of_an_info(platform: Platform) {
    // The time it ran follows four numbers of 4 bytes and two of 8 (`abi::hostcall::CvmInfo`).
    let run_time = (RECORD - RESULT) as usize + 32;
    sweep(platform, Hostcall::Info, inject::fire_timer, |data| {
        zero(&mut data[run_time..run_time + 8])
    });
}

fn type_key(board: &mut Board) {
    board.inject_input(b"x");
}

fn a_key_at_every_instruction_of_a_write(platform: Platform) {
    sweep(platform, Hostcall::Write, type_key, all);
}

fn a_key_at_every_instruction_of_a_yield(platform: Platform) {
    sweep(platform, Hostcall::Yield, type_key, all);
}
