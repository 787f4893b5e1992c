//! A server fails in every way and at every moment: its client gets an answer or an error number, nobody else notices,
//! and nothing that was lent stays anywhere.

use abi::hostcall::Family;
use abi::manifest::RestartPolicy;
use capability::Permissions;
use machine::{Stop, morello, riscv};
use object::{Object, ObjectSymbol};
use tests::report::Fault;
use tests::{Board, Outcome, Platform, Scenario, artifacts, cvm, on_every_platform, on_machine};
use tools::manifest::{CvmSpec, Restart};

use crate::authority::Auditor;

on_every_platform!(
    a_client_gets_what_its_server_answers,
    a_server_that_fails_and_comes_back_is_an_error_number,
    a_server_that_has_ended_is_an_error_number,
    a_server_that_takes_too_long_is_an_error_number,
    a_chain_of_three_works,
    a_chain_of_three_unwinds_when_its_client_waits_no_longer,
    what_the_manifest_denies_no_server_gives,
    hybrid_and_purecap_serve_each_other,
);

on_machine!(
    a_server_that_never_serves_cannot_be_waited_for,
    a_server_may_fail_at_each_moment_of_a_call,
    a_chain_of_three_may_fail_at_each_moment_of_a_call,
);

const MILLISECOND: u64 = 1_000_000;
/// Error numbers as results.
const CONNECTION_RESET: i64 = -104;
const TIMED_OUT: i64 = -110;
const CONNECTION_REFUSED: i64 = -111;

/// A server that does as `way` says, and comes back when it has failed.
fn server(name: &str, way: &str) -> CvmSpec {
    CvmSpec {
        restart: Restart {
            policy: RestartPolicy::OnFault,
            limit: 20,
            delay: 0,
        },
        ..cvm(name, "server", &[way])
    }
}

/// A client of this server that makes one call after the other.
fn client(name: &str, server: &str) -> CvmSpec {
    CvmSpec {
        callback_out: server.into(),
        heap: 4096,
        ..cvm(name, "caller", &[])
    }
}

/// Names of server and client for a way.
fn pair(way: &str) -> (String, String) {
    (format!("s-{way}"), format!("c-{way}"))
}

/// Boots a pair for each way, and two cVMs that have nothing to do with them and must not notice.
fn boot_pairs(platform: Platform, ways: &[&str], change: impl Fn(&mut CvmSpec, &mut CvmSpec)) -> Outcome {
    let mut cvms = Vec::new();
    for way in ways {
        let (serving, calling) = pair(way);
        let (mut server, mut client) = (server(&serving, way), client(&calling, &serving));
        change(&mut server, &mut client);
        cvms.extend([server, client]);
    }
    cvms.extend([cvm("hello", "hello", &[]), cvm("clock", "clock", &["5", "2"])]);
    let outcome = Scenario::new(cvms).boot(platform);
    for name in ["hello", "clock"] {
        assert_eq!(outcome.row(name).state, "exited 0", "{outcome}");
    }
    assert_eq!(
        (outcome.of("hello").len(), outcome.of("clock").len()),
        (1, 5),
        "{outcome}"
    );
    outcome
}

/// What `caller` tells when its calls have these results: of `null` with its second value, `write`, `read` with the byte that
/// is in the buffer then, `info`, `heap` with its tag, and of a number that is no hostcall.
fn tale(results: [i64; 9]) -> Vec<String> {
    let names = [
        "null",
        "second value",
        "write",
        "read",
        "first byte",
        "info",
        "heap",
        "heap tag",
        "unknown",
    ];
    let lines = names
        .iter()
        .zip(results)
        .map(|(name, result)| format!("{name}: {result}"));
    // No call has changed a register or a buffer that it may not change.
    lines.chain(["changed: 0".to_owned()]).collect()
}

/// Bytes of the record of `info`.
const INFO: i64 = size_of::<abi::hostcall::CvmInfo>() as i64;

/// The second value of a call that gives none: what was in the register.
const KEPT: i64 = 4321;

fn same(result: i64) -> [i64; 9] {
    [result, KEPT, result, result, 0, result, result, 0, result]
}

fn a_client_gets_what_its_server_answers(platform: Platform) {
    const LARGE: i64 = 1 << 62;
    let with_second = [42, 43, 42, 42, 0, 42, 42, 0, 42];
    let ways = [
        ("answer", with_second),
        ("twice", same(42)),
        // EPERM: a handler cannot serve.
        ("serve", same(-1)),
        // Nothing of the call before is found, on the stack or in a register.
        ("hide", same(0)),
        ("after", same(0)),
        ("lie", [-14, KEPT, LARGE, -4096, 0, -4096, -4096, 0, -4096]),
        ("pass", [0, KEPT, 10, -11, 0, INFO, -12, 0, -38]),
        ("delegate", [0, KEPT, 10, -11, 0, INFO, 4096, 1, -38]),
    ];
    let outcome = boot_pairs(platform, &ways.map(|(way, _)| way), |_, _| {});
    outcome.assert_status(0);
    for (way, results) in ways {
        let (server, client) = pair(way);
        let mut expected = tale(results);
        // Who writes in the end says whose call it was.
        let message = vec!["a message".to_owned()];
        match way {
            "delegate" => expected.insert(2, message[0].clone()),
            "pass" => assert_eq!(outcome.of(&server), message, "{outcome}"),
            _ => assert!(outcome.of(&server).is_empty(), "{way}: {outcome}"),
        }
        assert_eq!(outcome.of(&client), expected, "{way}: {outcome}");
        assert_eq!(outcome.row(&client).restarts, 0, "{way}: {outcome}");
    }
    assert_eq!(outcome.faults(), [], "{outcome}");
}

fn a_server_that_fails_and_comes_back_is_an_error_number(platform: Platform) {
    let ways = ["fault", "bounds", "exit", "keep", "fill"];
    // One that has exited with 3 comes back, too; nobody is left to serve when it is started after its client's end.
    let outcome = boot_pairs(platform, &ways, |server, _| {
        server.restart.policy = RestartPolicy::Always
    });
    for way in ways {
        let (server, client) = pair(way);
        let told = outcome.of(&client);
        let failed = same(CONNECTION_RESET);
        match way {
            "fault" | "bounds" | "exit" => assert_eq!(told, tale(failed), "{way}: {outcome}"),
            // It fails when it stores what is lent where it may not, and is fine with an integer.
            "keep" => {
                let expected = tale([0, KEPT, failed[2], failed[3], 0, 0, 0, 0, 0]);
                assert_eq!(told[..6], expected[..6], "{way}: {outcome}");
            }
            // It may write to the buffer of `read`, and not to that of `write`.
            _ => {
                let expected = tale([failed[0], KEPT, failed[2], 64, i64::from(b'L'), failed[5], 0, 0, 0]);
                assert_eq!(told[..6], expected[..6], "{way}: {outcome}");
            }
        }
        assert_eq!(told.last(), Some(&"changed: 0"), "{way}: {outcome}");
        assert_eq!(outcome.row(&client).state, "exited 0", "{way}: {outcome}");
        assert!(outcome.row(&server).restarts >= 2, "{way}: {outcome}");
    }
}

/// The registers of an illegal instruction say what a client could not tell: the result of the report, and the result that
/// it was to report.
fn assert_untold(outcome: &str, faults: &[Fault], client: &str, report: i64, result: i64) {
    let mut own = faults.iter().filter(|fault| fault.cvm == client);
    let (Some(fault), None) = (own.next(), own.next()) else {
        panic!("{client}: one fault expected\n{outcome}")
    };
    assert_eq!(fault.kind, abi::FaultKind::Illegal, "{client}: {outcome}");
    let registers = fault.details.join("\n");
    for value in [report, result] {
        assert!(
            registers.contains(&format!("{value:#018x}")),
            "{client}, {value}: {outcome}"
        );
    }
}

fn a_server_that_has_ended_is_an_error_number(platform: Platform) {
    let ways = ["fault", "bounds", "exit", "main-exit", "main-fault", "outside"];
    let outcome = boot_pairs(platform, &ways, |server, _| {
        server.restart.policy = RestartPolicy::Never
    });
    outcome.assert_status(1);
    for way in ways {
        let (server, client) = pair(way);
        // Those that fail while they serve fail once; the others are gone before they have served.
        let first = match way {
            "fault" | "bounds" | "exit" => CONNECTION_RESET,
            _ => CONNECTION_REFUSED,
        };
        assert_untold(&outcome.console, &outcome.faults(), &client, CONNECTION_REFUSED, first);
        assert!(outcome.of(&client).is_empty(), "{way}: {outcome}");
        let state = outcome.row(&server).state;
        match way {
            "exit" | "main-exit" => assert_eq!(state, "exited 3", "{way}: {outcome}"),
            // `reply` and `delegate` are refused outside of a handler.
            "outside" => assert_eq!(state, "exited 0", "{way}: {outcome}"),
            _ => assert!(state.starts_with("killed: "), "{way}: {outcome}"),
        }
    }
}

fn a_server_that_takes_too_long_is_an_error_number(platform: Platform) {
    let ways = ["spin", "sleep"];
    let outcome = boot_pairs(platform, &ways, |_, client| client.call_budget = 5 * MILLISECOND);
    outcome.assert_status(0);
    for way in ways {
        let (server, client) = pair(way);
        assert_eq!(outcome.of(&client), tale(same(TIMED_OUT)), "{way}: {outcome}");
        // It is not the server that ends, only its work on the call.
        assert_eq!(outcome.row(&server).restarts, 0, "{way}: {outcome}");
    }
}

fn a_server_that_never_serves_cannot_be_waited_for(platform: Platform) {
    for way in ["main-spin", "main-sleep"] {
        let impatient = CvmSpec {
            call_budget: MILLISECOND,
            ..client("client", "server")
        };
        let mut running = Scenario::new([server("server", way), impatient]).on_board(platform);
        running.until("client: fault: illegal instruction");
        // The rest of the report.
        running.board.run(1_000_000);
        let console = running.board.console().text();
        let lines: Vec<&str> = console
            .split("\r\n")
            .filter_map(|line| line.strip_prefix("[monitor] "))
            .collect();
        assert_untold(&console, &Fault::parse(&lines), "client", TIMED_OUT, TIMED_OUT);
    }
}

/// Three in a row; the one in the middle and the last one do as their ways say.
fn chain(middle: &str, last: &str) -> [CvmSpec; 3] {
    let between = CvmSpec {
        callback_out: "last".into(),
        ..server("middle", middle)
    };
    [server("last", last), between, client("client", "middle")]
}

fn a_chain_of_three_works(platform: Platform) {
    let delegated = [0, KEPT, 10, -11, 0, INFO, 4096, 1, -38];
    let cases = [
        // As if nobody was between: the client's own calls.
        ("delegate", "delegate", delegated, "client"),
        // The last one answers what the middle one passes on, or leaves to it.
        ("pass", "answer", [42, 43, 42, 42, 0, 42, 42, 0, 42], ""),
        ("delegate", "answer", [42, 43, 42, 42, 0, 42, 42, 0, 42], ""),
        // The middle one's own calls: it has no heap.
        ("pass", "delegate", [0, KEPT, 10, -11, 0, INFO, -12, 0, -38], "middle"),
        ("pass", "pass", [0, KEPT, 10, -11, 0, INFO, -12, 0, -38], "last"),
    ];
    for (middle, last, results, writer) in cases {
        let outcome = Scenario::new(chain(middle, last)).boot(platform);
        outcome.assert_status(0);
        let mut told = outcome.of("client");
        told.retain(|line| *line != "a message");
        assert_eq!(told, tale(results), "{middle}, {last}: {outcome}");
        for name in ["client", "middle", "last"] {
            let written = outcome.of(name).contains(&"a message");
            assert_eq!(written, name == writer, "{middle}, {last}, {name}: {outcome}");
        }
    }
    // What is lent to the middle one it can lend on: the last one fills the client's buffer.
    let outcome = Scenario::new(chain("pass", "fill")).boot(platform);
    assert_eq!(outcome.row("client").state, "exited 0", "{outcome}");
    for line in ["write: -104", "read: 64", "first byte: 76", "changed: 0"] {
        assert!(outcome.of("client").contains(&line), "{line}: {outcome}");
    }
}

fn a_chain_of_three_unwinds_when_its_client_waits_no_longer(platform: Platform) {
    for last in ["spin", "sleep"] {
        // Whose patience ends first makes no difference to the client.
        for (of_client, of_middle) in [(5, 1000), (1000, 5)] {
            let [last, middle, client] = chain("pass", last);
            let client = CvmSpec {
                call_budget: of_client * MILLISECOND,
                ..client
            };
            let middle = CvmSpec {
                call_budget: of_middle * MILLISECOND,
                ..middle
            };
            let outcome = Scenario::new([last, middle, client]).boot(platform);
            // Both served what came after: the reports, and their own end.
            outcome.assert_status(0);
            let told = outcome.of("client");
            let (mut told, mut expected) = (told, tale(same(TIMED_OUT)));
            // The middle one replies a second value, whatever it has.
            told.remove(1);
            expected.remove(1);
            assert_eq!(told, expected, "{of_client}, {of_middle}: {outcome}");
            assert!(outcome.summary().iter().all(|row| row.restarts == 0), "{outcome}");
        }
    }
}

fn what_the_manifest_denies_no_server_gives(platform: Platform) {
    const DENIED: i64 = -1;
    // Without the console it cannot even report.
    let outcome = boot_pairs(platform, &["answer"], |_, client| client.hostcalls = Some(Vec::new()));
    assert_untold(&outcome.console, &outcome.faults(), "c-answer", DENIED, 42);
    // The client's own denials hold whoever would serve the call; the server's hold for its own calls only.
    let outcome = boot_pairs(platform, &["delegate"], |_, client| {
        client.hostcalls = Some(vec![Family::Console]);
    });
    outcome.assert_status(0);
    let mut told = outcome.of("c-delegate");
    told.retain(|line| *line != "a message");
    assert_eq!(told, tale([0, KEPT, 10, -11, 0, INFO, DENIED, 0, -38]), "{outcome}");
    let outcome = boot_pairs(platform, &["pass"], |server, _| {
        server.hostcalls = Some(vec![Family::Service]);
    });
    outcome.assert_status(0);
    let expected = tale([0, KEPT, DENIED, DENIED, 0, INFO, DENIED, 0, -38]);
    assert_eq!(outcome.of("c-pass"), expected, "{outcome}");
    // A server that may not serve ends, and its client is told.
    let outcome = boot_pairs(platform, &["answer"], |server, _| {
        (server.hostcalls, server.restart) = (Some(vec![Family::Console]), Restart::default());
    });
    assert_eq!(outcome.row("s-answer").state, "exited -1", "{outcome}");
    assert_untold(
        &outcome.console,
        &outcome.faults(),
        "c-answer",
        CONNECTION_REFUSED,
        CONNECTION_REFUSED,
    );
}

fn hybrid_and_purecap_serve_each_other(platform: Platform) {
    // A hybrid client's buffer becomes a capability for a purecap server, which writes it under its own name.
    for (way, writer) in [("delegate", "client"), ("pass", "server")] {
        let hybrid = CvmSpec {
            callback_out: "server".into(),
            ..cvm("client", "hello", &["one"])
        };
        let outcome = Scenario::new([server("server", way), hybrid]).boot(platform);
        outcome.assert_status(0);
        let expected = ["hello from client", "argument 1: one"];
        assert_eq!(outcome.of(writer), expected, "{way}: {outcome}");
    }
    // The hybrid server passes on writes, lets the monitor tell time and facts, and refuses all else.
    let outcome = Scenario::new([cvm("server", "outer", &[]), client("client", "server")]).boot(platform);
    outcome.assert_status(0);
    let mut written = outcome.of("server");
    written.retain(|line| !line.starts_with("unknown hostcall"));
    let mut expected = tale([0, KEPT, 10, -38, 0, INFO, -38, 0, -38]);
    expected.insert(2, "a message".to_owned());
    expected.insert(0, "hello outer layer".to_owned());
    assert_eq!(written, expected, "{outcome}");
    assert!(outcome.of("client").is_empty(), "{outcome}");
}

/// Address of a function of a purecap program of the workspace, as linked.
fn function(platform: Platform, program: &str, name: &str) -> u64 {
    let bytes = artifacts::built(platform.arch()).program(program);
    let file = object::File::parse(&*bytes).expect("a program of the workspace");
    let found = file.symbols().find(|symbol| symbol.name() == Ok(name));
    found.unwrap_or_else(|| panic!("{program}: no {name}")).address() & !1
}

/// A board's state to come back to.
enum Snapshot {
    CheriRiscv(Box<riscv::Snapshot>),
    Morello(Box<morello::Snapshot>),
}

impl Snapshot {
    fn take(board: &mut Board) -> Snapshot {
        match board {
            Board::CheriRiscv(board) => Snapshot::CheriRiscv(Box::new(board.snapshot())),
            Board::Morello(board) => Snapshot::Morello(Box::new(board.snapshot())),
        }
    }

    fn restore(&self, board: &mut Board) {
        match (self, board) {
            (Snapshot::CheriRiscv(snapshot), Board::CheriRiscv(board)) => board.restore(snapshot),
            (Snapshot::Morello(snapshot), Board::Morello(board)) => board.restore(snapshot),
            _ => unreachable!("a snapshot of another board"),
        }
    }
}

/// Lets time pass in which nothing happens.
fn pass(board: &mut Board, nanoseconds: u64) {
    match board {
        Board::CheriRiscv(board) => board.pass(nanoseconds),
        Board::Morello(board) => board.pass(nanoseconds),
    }
}

/// The first result register of the running cVM.
fn result(board: &Board) -> i64 {
    match board {
        Board::CheriRiscv(board) => board.register(0, 10).address() as i64,
        Board::Morello(board) => board.register(0, 0).address() as i64,
    }
}

/// What is local, anywhere: all that is lent is, and nothing else.
fn lent(board: &Board) -> Vec<String> {
    let local = |what: &capability::Decoded| !what.permissions.contains(Permissions::GLOBAL);
    let memory = board.tagged_memory().into_iter().filter(|(_, what)| local(what));
    let memory = memory.map(|(address, what)| format!("{what} at {address:#x}"));
    let registers = board.tagged_registers(0).into_iter().filter(|(_, what)| local(what));
    let registers = registers.map(|(register, what)| format!("{what} in {register}"));
    memory.chain(registers).collect()
}

/// How a call is disturbed, and when.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// This instruction of the handlers is an illegal one.
    Fault(usize),
    /// After so many instructions of all, more time passes than the call may take.
    Late(u64),
}

const BUDGET: u64 = 50 * MILLISECOND;

/// Lets the call of `write` by the cVM `client`, which the handler of `last` answers by hiding what is lent on its stack, be
/// disturbed: at every instruction of a handler, and at every `stride`th of all from the hostcall to the answer.
fn disturb(platform: Platform, cvms: Vec<CvmSpec>, stride: usize) {
    let bystander = cvm("clock", "clock", &["20", "1"]);
    let servers: Vec<_> = cvms
        .iter()
        .filter(|cvm| cvm.runtime == "server")
        .map(|cvm| cvm.name.clone())
        .collect();
    let mut scenario = Scenario::new(cvms.into_iter().chain([bystander]).collect::<Vec<_>>());
    scenario.memory = 32 << 20;
    // The places in memory are the same without the ledger on the console.
    let mut talking = scenario.on_board(platform);
    talking.until("cVMs started");
    let auditor = Auditor::new(&talking.board);
    let of_client = *auditor.entry("client code");
    let of_servers: Vec<_> = servers
        .iter()
        .map(|name| *auditor.entry(&format!("{name} code")))
        .collect();
    let hide = auditor.entry("last code").base + function(platform, "server", "way_hide");
    let mut running = scenario.append("log=error").on_board(platform);
    let board = &mut running.board;
    let run_into = |board: &mut Board, wanted: &mut dyn FnMut(u64) -> bool| {
        let stop = board.run_into_user_mode(500_000_000, wanted);
        assert_eq!(stop, Stop::Condition, "{}", board.console().text());
    };
    let client = |address: u64| of_client.in_bounds(address, 4);
    let serves = |address: u64| of_servers.iter().any(|code| code.in_bounds(address, 4));
    // The call before, of `null`, to its end.
    run_into(board, &mut |address| address == hide);
    run_into(board, &mut |address| client(address));
    let before = Snapshot::take(board);
    // The client's last instruction before the handler meets the next call is the hostcall.
    let (mut executed, mut hostcall) = (0, 0);
    run_into(board, &mut |address| {
        executed += 1;
        hostcall = if client(address) { executed } else { hostcall };
        address == hide
    });
    before.restore(board);
    let mut executed = 0;
    run_into(board, &mut |_| {
        executed += 1;
        executed == hostcall
    });
    let start = Snapshot::take(board);
    let first = board.total_instructions();
    let hidden = {
        run_into(board, &mut |address| address == hide);
        lent(board)
    };
    assert!(!hidden.is_empty(), "the handler holds something that is lent");
    start.restore(board);
    // To the answer: the instructions of all, and those of the handlers.
    let mut served = 0;
    run_into(board, &mut |address| {
        served += usize::from(serves(address));
        served > 0 && client(address)
    });
    let length = board.total_instructions() - first;
    assert_eq!((result(board), lent(board)), (0, Vec::new()), "undisturbed");

    let late = (1..length).step_by(stride).map(Moment::Late);
    let moments: Vec<Moment> = (1..=served).map(Moment::Fault).chain(late).collect();
    let (mut answered, mut failed) = (0, 0);
    for (index, moment) in moments.iter().enumerate() {
        start.restore(board);
        let failure = match *moment {
            Moment::Fault(number) => {
                let mut executed = 0;
                run_into(board, &mut |address| {
                    executed += usize::from(serves(address));
                    executed == number
                });
                let at = board.pc(0);
                board.write_memory(at, &[0; 4]);
                CONNECTION_RESET
            }
            Moment::Late(instructions) => {
                assert_eq!(board.run(instructions), Stop::Limit);
                pass(board, 2 * BUDGET);
                TIMED_OUT
            }
        };
        let mut away = !client(board.pc(0));
        run_into(board, &mut |address| {
            away |= !client(address);
            away && client(address)
        });
        let answer = result(board);
        assert_eq!(lent(board), Vec::<String>::new(), "{moment:?} of {served}, {length}");
        // Time that passes when the answer is there already, or a deadline not yet, makes no difference.
        let undisturbed = answer == 0 && matches!(moment, Moment::Late(_));
        assert!(
            answer == failure || undisturbed,
            "{moment:?} of {served}, {length}: {answer}"
        );
        answered += usize::from(undisturbed);
        failed += usize::from(!undisturbed);
        // Some go on to the very end: everybody else does what it always does.
        if index % 8 == 0 {
            let stop = board.run(500_000_000);
            let console = board.console().text();
            assert_eq!(stop, Stop::Exit(0), "{moment:?}:\n{console}");
            let lines = |of: &str| console.lines().filter(|line| line.starts_with(of)).count();
            assert_eq!(
                (lines("[clock] "), lines("[client] ")),
                (20, 10),
                "{moment:?}:\n{console}"
            );
            for line in [&format!("write: {answer}"), "changed: 0"] {
                assert!(
                    console.contains(&format!("[client] {line}\r\n")),
                    "{line}, {moment:?}:\n{console}"
                );
            }
        }
    }
    assert!(served >= 15 && failed > served + 20, "{served}, {failed}, {answered}");
}

fn a_server_may_fail_at_each_moment_of_a_call(platform: Platform) {
    let client = CvmSpec {
        call_budget: BUDGET,
        ..client("client", "last")
    };
    disturb(platform, vec![server("last", "hide"), client], 13);
}

fn a_chain_of_three_may_fail_at_each_moment_of_a_call(platform: Platform) {
    let [last, middle, client] = chain("pass", "hide");
    let client = CvmSpec {
        call_budget: BUDGET,
        ..client
    };
    disturb(platform, vec![last, middle, client], 71);
}
