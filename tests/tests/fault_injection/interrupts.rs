//! An interrupt arrives at every single instruction of a hostcall and of a context switch: the monitor takes none of them
//! in the middle, and nobody can tell the run from one without it.

use abi::Hostcall;
use abi::hostcall::{STREAM_OUTPUT, WAIT_FOREVER};
use machine::Stop;
use tests::code::assembler::Assembler;
use tests::code::assembler::Register::{Argument, Scratch};
use tests::code::attack::Attacker;
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
    the_timer_at_every_instruction_of_a_wait,
    the_timer_at_every_instruction_of_a_wait_for_ever,
    the_timer_at_every_instruction_of_a_wake,
    the_timer_at_every_instruction_of_a_wake_of_somebody_more_urgent,
    the_timer_at_every_instruction_of_a_thread_create,
    the_timer_at_every_instruction_of_a_served_call,
    the_timer_at_every_instruction_of_its_reply,
    the_timer_at_every_instruction_of_a_call_that_lends,
    the_timer_at_every_instruction_of_the_reply_that_gives_back,
    a_key_at_every_instruction_of_a_write,
    a_key_at_every_instruction_of_a_yield,
    a_key_at_every_instruction_of_a_wait_for_ever,
    a_key_at_every_instruction_of_a_wake_of_somebody_more_urgent,
    a_key_at_every_instruction_of_a_served_call,
    a_key_at_every_instruction_of_its_reply,
    a_key_at_every_instruction_of_a_call_that_lends,
    a_key_at_every_instruction_of_the_reply_that_gives_back,
    the_timer_at_every_instruction_of_a_gate,
    a_key_at_every_instruction_of_a_gate,
    the_timer_at_every_instruction_of_a_gate_with_vectors,
    a_key_at_every_instruction_of_a_gate_that_passes_capabilities,
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

/// Where there is a word to wait for, and where the other thread says that it was there.
const WORD: i64 = 96;
const THERE: i64 = 104;

/// What is swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    /// A hostcall; a wait has a timeout, and who is woken is as urgent as who wakes.
    Of(Hostcall),
    /// A wait that the other thread ends.
    WaitForEver,
    /// A wake of somebody who runs at once.
    UrgentWake,
}

impl Ask {
    fn hostcall(self) -> Hostcall {
        match self {
            Ask::Of(hostcall) => hostcall,
            Ask::WaitForEver => Hostcall::Wait,
            Ask::UrgentWake => Hostcall::Wake,
        }
    }

    /// Whether the other thread is made before, and not by the hostcall itself.
    fn needs_thread(self) -> bool {
        matches!(self.hostcall(), Hostcall::Wake) || self == Ask::WaitForEver
    }
}

/// Yields, makes one hostcall, stores its result, yields again, writes that it is done, and exits with 0. Behind that is what
/// another thread does: it waits, where it is to be woken, says that it was there, and ends.
fn caller(platform: Platform, ask: Ask) -> Elf {
    let (arch, call) = (platform.arch(), ask.hostcall());
    let build = |thread: i64| {
        let mut code = Assembler::new(arch).relocating(platform.relocates());
        let data = Scratch(0);
        let create = |code: &mut Assembler| {
            code.code_address(Argument(0), thread);
            for argument in 1..4 {
                code.set(Argument(argument), 0);
            }
            code.set(Argument(4), if ask.needs_thread() { 3 } else { 0 });
        };
        if ask == Ask::UrgentWake {
            code.set(Argument(0), 0).set(Argument(1), 2);
            code.hostcall(Hostcall::ThreadPriority);
        }
        if ask.needs_thread() {
            create(&mut code);
            code.hostcall(Hostcall::ThreadCreate);
        }
        code.data_address(data).hostcall(Hostcall::Yield);
        match call {
            Hostcall::Write => {
                code.set(Argument(0), STREAM_OUTPUT as u32).add(Argument(1), data, 1);
                code.set(Argument(2), 15);
            }
            Hostcall::Nanosleep => {
                code.set(Argument(0), 20_000);
            }
            Hostcall::Info => {
                code.add(Argument(0), data, RECORD).set(Argument(1), 64);
            }
            Hostcall::Wait => {
                code.add(Argument(0), data, WORD).set(Argument(1), 0);
                let timeout = if ask == Ask::WaitForEver { WAIT_FOREVER } else { 2_000 };
                code.constant(Argument(2), timeout);
            }
            Hostcall::Wake => {
                code.add(Argument(0), data, WORD).set(Argument(1), 1);
            }
            Hostcall::ThreadCreate => create(&mut code),
            _ => {}
        }
        code.hostcall(call).store(Argument(0), data, RESULT);
        code.hostcall(Hostcall::Yield);
        code.set(Argument(0), STREAM_OUTPUT as u32)
            .add(Argument(1), data, 1)
            .set(Argument(2), 15);
        code.hostcall(Hostcall::Write).exit(0);
        let thread = code.here();
        code.data_address(data);
        if ask == Ask::WaitForEver {
            code.hostcall(Hostcall::Yield);
            code.add(Argument(0), data, WORD).set(Argument(1), 1);
            code.hostcall(Hostcall::Wake);
        }
        if call == Hostcall::Wake {
            code.add(Argument(0), data, WORD).set(Argument(1), 0);
            code.constant(Argument(2), WAIT_FOREVER).hostcall(Hostcall::Wait);
        }
        code.set(Scratch(1), 1).store(Scratch(1), data, THERE);
        code.set(Argument(1), 0).hostcall(Hostcall::ThreadExit);
        (code, thread)
    };
    let (_, thread) = build(0);
    build(thread).0.elf(MARK)
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
    fn of(board: &mut Board, cvms: usize, what: &str) -> End {
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
        assert_eq!(rows.len(), cvms, "{what}\n{console}");
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
fn sweep(platform: Platform, ask: Ask, disturb: impl Fn(&mut Board), timeless: impl Fn(&mut [u8])) {
    let (mut spec, mut idle) = (cvm("caller", "caller", &[]), cvm("other", "other", &[]));
    spec.threads = 2;
    if ask == Ask::UrgentWake {
        idle.priority = 1;
    }
    let scenario = Scenario::new([spec, idle])
        .member("caller", caller(platform, ask).to_bytes())
        .member("other", other(platform.arch()).to_bytes());
    // In turns: the caller yields, the other yields, the caller makes its hostcall. The other thread is made before, and waits or
    // yields; where it is the more urgent one, the caller has made itself less urgent before.
    let turns = if ask.needs_thread() { 5 } else { 3 };
    sweep_turn(platform, scenario, (2, turns), ask.hostcall(), disturb, timeless);
}

/// The same for a call of a server's client, or for its answer.
fn sweep_served(platform: Platform, call: Hostcall, reply: bool, disturb: impl Fn(&mut Board)) {
    let mut server = Attacker::new(platform);
    server.hostcall(Hostcall::Serve).exit(0);
    server.handler().reply(5);
    let mut client = cvm("caller", "caller", &[]);
    client.callback_out = "server".to_owned();
    let scenario = Scenario::new([cvm("server", "server", &[]), client, cvm("other", "other", &[])])
        .member("server", server.elf().to_bytes())
        .member("caller", caller(platform, Ask::Of(call)).to_bytes())
        .member("other", other(platform.arch()).to_bytes());
    // In turns: the server comes to serve, the caller yields, which is answered, and makes its hostcall.
    let turns = if reply { 5 } else { 4 };
    sweep_turn(
        platform,
        scenario,
        (3, turns),
        if reply { Hostcall::Reply } else { call },
        disturb,
        all,
    );
}

/// Disturbs the board before every instruction of the monitor in this turn.
fn sweep_turn(
    platform: Platform,
    scenario: Scenario,
    (cvms, turns): (usize, usize),
    hostcall: Hostcall,
    disturb: impl Fn(&mut Board),
    timeless: impl Fn(&mut [u8]),
) {
    let mut running = scenario.memory(MEMORY).on_board(platform);
    running.until("cVMs started");
    let board = &mut running.board;
    for _ in 0..turns {
        inject::run_into(board, true, LIMIT);
        inject::run_into(board, false, LIMIT);
    }
    assert_eq!(inject::hostcall_number(board), hostcall as u64, "another hostcall");
    let moment = inject::snapshot(board);
    let end = |board: &mut Board, what: &str| {
        let mut end = End::of(board, cvms, what);
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
            "{hostcall:?} disturbed before instruction {at} of {count}, at {:#x}",
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
    sweep(platform, Ask::Of(Hostcall::Write), inject::fire_timer, all);
}

fn the_timer_at_every_instruction_of_a_yield(platform: Platform) {
    sweep(platform, Ask::Of(Hostcall::Yield), inject::fire_timer, all);
}

fn the_timer_at_every_instruction_of_a_sleep(platform: Platform) {
    sweep(platform, Ask::Of(Hostcall::Nanosleep), inject::fire_timer, all);
}

fn the_timer_at_every_instruction_of_a_clock(platform: Platform) {
    sweep(platform, Ask::Of(Hostcall::Clock), inject::fire_timer, |data| {
        zero(&mut data[..8])
    });
}

fn the_timer_at_every_instruction_of_an_info(platform: Platform) {
    // The time it ran follows four numbers of 4 bytes and two of 8 (`abi::hostcall::CvmInfo`).
    let run_time = (RECORD - RESULT) as usize + 32;
    sweep(platform, Ask::Of(Hostcall::Info), inject::fire_timer, |data| {
        zero(&mut data[run_time..run_time + 8])
    });
}

fn the_timer_at_every_instruction_of_a_wait(platform: Platform) {
    sweep(platform, Ask::Of(Hostcall::Wait), inject::fire_timer, all);
}

fn the_timer_at_every_instruction_of_a_wake(platform: Platform) {
    sweep(platform, Ask::Of(Hostcall::Wake), inject::fire_timer, all);
}

fn the_timer_at_every_instruction_of_a_wait_for_ever(platform: Platform) {
    sweep(platform, Ask::WaitForEver, inject::fire_timer, all);
}

fn the_timer_at_every_instruction_of_a_wake_of_somebody_more_urgent(platform: Platform) {
    sweep(platform, Ask::UrgentWake, inject::fire_timer, all);
}

fn a_key_at_every_instruction_of_a_wait_for_ever(platform: Platform) {
    sweep(platform, Ask::WaitForEver, type_key, all);
}

fn a_key_at_every_instruction_of_a_wake_of_somebody_more_urgent(platform: Platform) {
    sweep(platform, Ask::UrgentWake, type_key, all);
}

fn the_timer_at_every_instruction_of_a_thread_create(platform: Platform) {
    sweep(platform, Ask::Of(Hostcall::ThreadCreate), inject::fire_timer, all);
}

fn the_timer_at_every_instruction_of_a_served_call(platform: Platform) {
    sweep_served(platform, Hostcall::Clock, false, inject::fire_timer);
}

fn the_timer_at_every_instruction_of_its_reply(platform: Platform) {
    sweep_served(platform, Hostcall::Clock, true, inject::fire_timer);
}

fn a_key_at_every_instruction_of_a_served_call(platform: Platform) {
    sweep_served(platform, Hostcall::Clock, false, type_key);
}

fn a_key_at_every_instruction_of_its_reply(platform: Platform) {
    sweep_served(platform, Hostcall::Clock, true, type_key);
}

fn the_timer_at_every_instruction_of_a_call_that_lends(platform: Platform) {
    sweep_served(platform, Hostcall::Write, false, inject::fire_timer);
}

fn the_timer_at_every_instruction_of_the_reply_that_gives_back(platform: Platform) {
    sweep_served(platform, Hostcall::Write, true, inject::fire_timer);
}

fn a_key_at_every_instruction_of_a_call_that_lends(platform: Platform) {
    sweep_served(platform, Hostcall::Write, false, type_key);
}

fn a_key_at_every_instruction_of_the_reply_that_gives_back(platform: Platform) {
    sweep_served(platform, Hostcall::Write, true, type_key);
}

fn type_key(board: &mut Board) {
    board.inject_input(b"x");
}

fn a_key_at_every_instruction_of_a_write(platform: Platform) {
    sweep(platform, Ask::Of(Hostcall::Write), type_key, all);
}

fn a_key_at_every_instruction_of_a_yield(platform: Platform) {
    sweep(platform, Ask::Of(Hostcall::Yield), type_key, all);
}

/// Where the code of a program lies, from the start of its memory.
const CODE: u64 = 0x4000;

/// What is passed by the gate that is swept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Integers,
    Capabilities,
}

/// Calls a gate, stores what came of it and what it had kept in registers, writes that it is done, and exits with 0. Where the
/// call begins and where it is over.
fn gate_caller(platform: Platform, pass: Pass) -> (Elf, [u64; 2]) {
    let mut a = Attacker::new(platform);
    a.data = MARK.to_vec();
    a.data.resize(DATA, 0);
    a.ask("server.add");
    // Once before: the first use of vector registers traps.
    a.set(Argument(0), 0).set(Argument(1), 0).call_gate();
    let data = Scratch(0);
    a.data_address(data);
    for index in 1..7 {
        a.set(Scratch(index), 100 + index);
    }
    a.set(Argument(0), 30).set(Argument(1), 12);
    if pass == Pass::Capabilities {
        a.data_capability(Argument(2));
        for index in 3..6 {
            a.copy(Argument(index), Argument(2));
        }
    }
    let start = a.here() as u64;
    a.call_gate();
    let end = a.here() as u64;
    a.store(Argument(0), data, RESULT);
    for index in 1..7 {
        a.store(Scratch(index), data, RESULT + 8 * i64::from(index));
    }
    a.set(Argument(0), STREAM_OUTPUT as u32)
        .add(Argument(1), data, 1)
        .set(Argument(2), 15);
    a.hostcall(Hostcall::Write).exit(0);
    (a.elf(), [start, end])
}

/// Disturbs the board before every instruction of a cVM from the call of a gate to its return. An urgent cVM waits for a key,
/// and calls the same gate then.
fn sweep_gate(platform: Platform, gate: &str, pass: Pass, disturb: impl Fn(&mut Board)) {
    let mut server = Attacker::new(platform);
    server.hostcall(Hostcall::Serve).exit(0);
    server
        .gate("add")
        .add_register(Argument(0), Argument(1))
        .return_from_gate();
    let mut rival = Attacker::new(platform);
    rival.data.resize(64, 0);
    rival.ask("server.add");
    rival
        .set(Argument(0), 0)
        .data_address(Argument(1))
        .set(Argument(2), 1)
        .set(Argument(3), 0);
    rival.hostcall(Hostcall::Read);
    rival.set(Argument(0), 1000).set(Argument(1), 337).call_gate();
    rival
        .add(Argument(0), Argument(0), -1337)
        .must_be_zero(Argument(0), 7)
        .exit(0);
    let (caller, [start, end]) = gate_caller(platform, pass);
    let mut cvms = [
        cvm("server", "server", &[]),
        cvm("rival", "rival", &[]),
        cvm("caller", "caller", &[]),
    ];
    cvms[0].gates = vec![gate.to_owned()];
    cvms[1].priority = 5;
    for caller in &mut cvms[1..] {
        caller.calls = vec!["server.add".into()];
    }
    let scenario = Scenario::new(cvms)
        .member("server", server.elf().to_bytes())
        .member("rival", rival.elf().to_bytes())
        .member("caller", caller.to_bytes());
    let mut running = scenario.memory(MEMORY).on_board(platform);
    running.until("cVMs started");
    let board = &mut running.board;
    let entries = inject::entries(board);
    let memory = entries.iter().find(|entry| entry.name == "caller data");
    let code = memory
        .map(|entry| entry.what.base + CODE)
        .expect("the ledger has the caller");
    let to = |board: &mut Board, offset: u64| {
        let arrived = board.run_to(code + offset, LIMIT);
        assert_eq!(arrived, Ok(()), "{}", board.console().text());
    };
    to(board, start);
    let moment = inject::snapshot(board);
    let mut count = 0;
    while board.pc(0) != code + end {
        assert_eq!(board.run(1), Stop::Limit);
        assert!(board.in_user_mode(0), "a gate is no hostcall");
        count += 1;
        assert!(count < CALL);
    }
    assert!(count > 50, "{count} instructions are no call by a gate");
    let finish = |board: &mut Board, what: &str| {
        // The rival ends by its key.
        type_key(board);
        let end = End::of(board, 3, what);
        // All are dead.
        assert_eq!(inject::held_by_gates(board), Vec::<String>::new(), "{what}");
        end
    };
    let undisturbed = finish(board, "undisturbed");
    let sum = &undisturbed.data[RESULT as usize..];
    assert_eq!(sum[0], 42);
    assert_eq!(
        sum[8..][..6 * 8].chunks(8).map(|word| word[0]).collect::<Vec<_>>(),
        [101, 102, 103, 104, 105, 106]
    );
    for at in 0..count {
        inject::restore(board, &moment);
        assert_eq!(board.run(at), Stop::Limit);
        disturb(board);
        let what = format!("disturbed before instruction {at} of {count}, at {:#x}", board.pc(0));
        assert_eq!(finish(board, &what), undisturbed, "{what}");
    }
}

fn the_timer_at_every_instruction_of_a_gate(platform: Platform) {
    sweep_gate(platform, "add 4096 2", Pass::Integers, inject::fire_timer);
}

fn a_key_at_every_instruction_of_a_gate(platform: Platform) {
    sweep_gate(platform, "add 4096 2", Pass::Integers, type_key);
}

fn the_timer_at_every_instruction_of_a_gate_with_vectors(platform: Platform) {
    sweep_gate(platform, "add 4096 2 vector", Pass::Integers, inject::fire_timer);
}

fn a_key_at_every_instruction_of_a_gate_that_passes_capabilities(platform: Platform) {
    sweep_gate(platform, "add 4096 2", Pass::Capabilities, type_key);
}
