//! Gates: whose a thread is while it is in the middle of calls, and that nothing of a call is left when it is over, however it
//! ends. The stand-in does what the switcher would.

use super::build::{Value, Value::*, archive, exporting, manifest_with, program};
use super::{dispatch, finish_loading, running, stored, thread};
use crate::authority::ledger::Ledger;
use crate::cvm::id::{CvmId, ThreadId};
use crate::cvm::thread::State;
use crate::cvm::{End, Life};
use crate::hostcall::Next;
use crate::run::gate::LEVELS;
use crate::run::monitor::Monitor;
use crate::start::load;
use abi::hostcall::{BUFFER_ALL, BUFFER_READ, BUFFER_WRITE};
use abi::{Errno, FaultKind, Hostcall};
use arch::{Frame, Settled, Slot, stand_in, user};
use capability::Decoded;

const TICKS_A_SECOND: u64 = 10_000_000;
/// Nanoseconds and ticks that a call may take.
const BUDGET: u64 = 1_000_000;
const BUDGET_TICKS: u64 = BUDGET / 100;

/// A cVM: its name, its gates, those that it calls, nanoseconds of its budget.
type Node<'a> = (&'a str, &'a [&'a str], &'a [&'a str], u64);

/// A monitor with these cVMs, which have a buffer between them that the first one owns.
fn monitor(cvms: &[Node<'_>]) -> Box<Monitor> {
    let nodes: Vec<Vec<(&str, Value<'_>)>> = cvms
        .iter()
        .map(|(name, gates, calls, budget)| {
            let mut node = vec![
                ("label", Text(name)),
                ("runtime", Text(if gates.is_empty() { "program" } else { "offers" })),
                ("call-budget", Cells(*budget)),
                ("local", Cell(4)),
            ];
            node.extend((!gates.is_empty()).then_some(("gates", Texts(gates))));
            node.extend((!calls.is_empty()).then_some(("calls", Texts(calls))));
            node
        })
        .collect();
    let nodes: Vec<&[(&str, Value<'_>)]> = nodes.iter().map(Vec::as_slice).collect();
    let buffer: &[(&str, Value<'_>)] = &[
        ("label", Text("shared")),
        ("size", Cells(64)),
        ("owner", Text(cvms[0].0)),
        ("readers", Text("*")),
        ("writers", Text("*")),
    ];
    let bytes = archive(&[
        (
            "manifest.dtb",
            &manifest_with("intravisor,manifest-1", &nodes, &[buffer]),
        ),
        ("program", &program()),
        ("offers", &exporting("work")),
    ]);
    let mut ledger = Ledger::new(arch::root());
    let pool = super::opened(&mut ledger);
    let mut monitor = load(stored(&bytes), ledger, pool, TICKS_A_SECOND).unwrap();
    monitor.start_waiting(arch::timer::now(), usize::MAX);
    finish_loading(&mut monitor);
    monitor
}

/// The server `s`, with one stack, and two clients; it rests, and `c` runs.
fn served() -> Box<Monitor> {
    let mut monitor = monitor(&[
        ("s", &["work 4096 1"], &[], BUDGET),
        ("c", &[], &["s.work"], BUDGET),
        ("d", &[], &["s.work"], BUDGET),
    ]);
    let frame = run(&mut monitor, 0);
    ask(&mut monitor, frame, Hostcall::Serve, [0; 2]);
    run(&mut monitor, 1);
    monitor
}

/// Gives way until the main thread of this cVM runs.
fn run(monitor: &mut Monitor, number: usize) -> &'static Frame {
    for _ in 0..64 {
        let frame = monitor.next();
        if running(monitor) == number {
            return frame;
        }
        let id = monitor.scheduler.current().unwrap();
        monitor.arrive(id, frame, false);
        frame.set_hostcall(Hostcall::Yield as u64, [0; 6]);
        dispatch(monitor, frame);
    }
    panic!("thread {number} never runs")
}

/// The running thread makes a hostcall, as the trap handler takes it.
fn ask(monitor: &mut Monitor, frame: &'static Frame, hostcall: Hostcall, [one, other]: [u64; 2]) -> Next {
    let id = monitor.scheduler.current().unwrap();
    frame.set_hostcall(hostcall as u64, [one, other, 0, 0, 0, 0]);
    monitor.cvms[monitor.scheduler[id].home.index()].short.count();
    monitor.arrive(id, frame, false);
    monitor.count_for(id);
    crate::hostcall::dispatch(monitor, id, frame)
}

fn record(monitor: &Monitor, id: ThreadId) -> &'static Slot {
    monitor.scheduler[id].calls.as_ref().unwrap().record
}

/// The running thread calls a gate of the server; whether the call has begun.
fn enter(monitor: &Monitor, server: usize) -> bool {
    let id = monitor.scheduler.current().unwrap();
    let gate = &monitor.gates.list[monitor.gates.of_server(CvmId::new(server)).start];
    let frame = monitor.scheduler[id].frame;
    stand_in::call_gate(monitor.gates.memory(), record(monitor, id), frame, gate.at)
}

/// It returns.
fn leave(monitor: &Monitor) {
    let id = monitor.scheduler.current().unwrap();
    let frame = monitor.scheduler[id].frame;
    stand_in::return_from_gate(monitor.gates.memory(), record(monitor, id), frame);
}

/// The running thread traps.
fn trap(monitor: &mut Monitor) {
    let id = monitor.scheduler.current().unwrap();
    let frame = monitor.scheduler[id].frame;
    assert!(monitor.arrive(id, frame, false) == Settled::Elsewhere);
}

/// Why the running thread cannot call a gate of the server: the switcher has faulted.
fn refused(monitor: &mut Monitor, server: usize) -> Option<Errno> {
    assert!(!enter(monitor, server), "there is somebody to call");
    let id = monitor.scheduler.current().unwrap();
    let frame = monitor.scheduler[id].frame;
    let (code, switcher) = (Slot::null(), monitor.gates.switcher.as_deref().unwrap());
    code.copy_from(frame.code());
    frame.code().copy_from(switcher);
    let gate = &monitor.gates.list[monitor.gates.of_server(CvmId::new(server)).start];
    frame.set_result(gate.at);
    assert!(monitor.arrive(id, frame, true) == Settled::Refused);
    frame.code().copy_from(&code);
    monitor.depart(id);
    Errno::from_result(frame.argument(0))
}

/// For whom a cVM's main thread acts, by number, and in how many calls it is.
fn acts_for(monitor: &Monitor, number: usize) -> (usize, usize) {
    let thread = &monitor.scheduler[thread(monitor, number)];
    (thread.cvm.index(), thread.calls.as_ref().unwrap().level)
}

/// What a thread has that a gate keeps.
fn kept(frame: &Frame) -> [Decoded; 2] {
    [frame.code().decoded(), frame.data().decoded()]
}

/// The stack pointer, which a gate keeps.
fn kept_register(frame: &Frame) -> &Slot {
    let place = frame.registers().position(|(name, _)| name == "stack");
    frame.slots().nth(place.unwrap()).unwrap()
}

fn count(monitor: &Monitor, cvm: usize) -> u64 {
    monitor.cvms[cvm].short.hostcalls()
}

#[test]
fn threads_of_callers_have_records_and_nobody_else_does() {
    let monitor = served();
    let has = [0, 1, 2].map(|number| monitor.scheduler[thread(&monitor, number)].calls.is_some());
    assert_eq!(has, [false, true, true]);
    let [c, d] = [1, 2].map(|number| record(&monitor, thread(&monitor, number)).decoded());
    assert!(c.tag && d.tag && c.top <= u128::from(d.base), "{c} and {d}");
    let reached = monitor.cvms.iter().map(|cvm| cvm.bounds.clone());
    assert!(
        reached
            .into_iter()
            .all(|bounds| bounds.end <= c.base || d.top as u64 <= bounds.start),
        "no cVM reaches them"
    );
}

#[test]
fn in_a_call_a_thread_is_its_servers_and_what_it_does_is_charged_to_that() {
    let mut monitor = served();
    let frame = run(&mut monitor, 1);
    let before = (kept(frame), count(&monitor, 0), count(&monitor, 1));
    assert!(enter(&monitor, 0));
    let server = &monitor.cvms[0];
    assert_eq!(frame.data().decoded(), server.authority.data.decoded());
    assert_eq!(frame.pc(), server.memory().start + server.layout.bias + 0x1008);
    assert!(ask(&mut monitor, frame, Hostcall::Null, [0; 2]) == Next::Return);
    assert_eq!(acts_for(&monitor, 1), (0, 1));
    assert_eq!((count(&monitor, 0), count(&monitor, 1)), (before.1 + 1, before.2));
    // What is for its cVM's own threads is not for this one.
    ask(&mut monitor, frame, Hostcall::Serve, [0; 2]);
    assert_eq!(Errno::from_result(frame.argument(0)), Some(Errno::EPERM));
    leave(&monitor);
    trap(&mut monitor);
    assert_eq!(acts_for(&monitor, 1), (1, 0));
    assert_eq!(kept(frame), before.0, "the caller is where it was");
    ask(&mut monitor, frame, Hostcall::Null, [0; 2]);
    assert_eq!(count(&monitor, 1), before.2 + 1);
}

#[test]
fn a_gate_has_so_many_stacks_and_each_comes_back() {
    let mut monitor = served();
    for _ in 0..3 {
        run(&mut monitor, 1);
        assert!(enter(&monitor, 0));
        run(&mut monitor, 2);
        assert_eq!(refused(&mut monitor, 0), Some(Errno::EAGAIN));
        run(&mut monitor, 1);
        leave(&monitor);
        trap(&mut monitor);
    }
}

#[test]
fn a_thread_remembers_so_many_calls() {
    let mut monitor = monitor(&[
        ("a", &["work 4096 16"], &["b.work"], BUDGET),
        ("b", &["work 4096 16"], &["a.work"], BUDGET),
        ("c", &[], &["a.work"], BUDGET),
    ]);
    for number in 0..2 {
        let frame = run(&mut monitor, number);
        ask(&mut monitor, frame, Hostcall::Serve, [0; 2]);
    }
    let frame = run(&mut monitor, 2);
    let before = kept(frame);
    for level in 1..=LEVELS {
        assert!(enter(&monitor, (level + 1) % 2));
        trap(&mut monitor);
        assert_eq!(acts_for(&monitor, 2), ((level + 1) % 2, level));
        monitor.depart(thread(&monitor, 2));
    }
    assert_eq!(refused(&mut monitor, 0), Some(Errno::ENOMEM));
    for level in (0..LEVELS).rev() {
        leave(&monitor);
        trap(&mut monitor);
        assert_eq!(acts_for(&monitor, 2).1, level);
    }
    assert_eq!(kept(frame), before);
}

/// Whatever ends the server in the middle of a call: its caller goes on with this error, and the gate is closed.
fn the_caller_comes_back(end: impl FnOnce(&mut Monitor, &'static Frame), life: Life) {
    let mut monitor = served();
    let frame = run(&mut monitor, 1);
    let before = kept(frame);
    assert!(enter(&monitor, 0));
    trap(&mut monitor);
    monitor.depart(thread(&monitor, 1));
    end(&mut monitor, frame);
    assert_eq!(monitor.cvms[0].life, life);
    assert_eq!(monitor.cvms[1].life, Life::Alive);
    assert_eq!(acts_for(&monitor, 1), (1, 0));
    assert_eq!(Errno::from_result(frame.argument(0)), Some(Errno::ECONNRESET));
    assert_eq!(kept(frame), before);
    run(&mut monitor, 1);
    assert_eq!(refused(&mut monitor, 0), Some(Errno::ECONNREFUSED));
}

#[test]
fn a_fault_in_the_function_brings_the_caller_back() {
    let fault = End::Faulted(FaultKind::Bounds);
    the_caller_comes_back(
        |monitor, _| monitor.end(monitor.scheduler[thread(monitor, 1)].cvm, fault, arch::timer::now()),
        Life::Ended(fault),
    );
}

#[test]
fn an_exit_in_the_function_is_its_cvms_and_brings_the_caller_back() {
    the_caller_comes_back(
        |monitor, frame| {
            ask(monitor, frame, Hostcall::Exit, [5, 0]);
        },
        Life::Ended(End::Exited(5)),
    );
}

#[test]
fn the_end_of_a_server_that_computes_elsewhere_brings_the_caller_back() {
    let fault = End::Faulted(FaultKind::Tag);
    the_caller_comes_back(
        |monitor, _| {
            run(monitor, 2);
            monitor.end(CvmId::new(0), fault, arch::timer::now());
        },
        Life::Ended(fault),
    );
}

#[test]
fn a_caller_that_ends_in_a_call_leaves_the_stack_to_others() {
    let mut monitor = served();
    let frame = run(&mut monitor, 1);
    assert!(enter(&monitor, 0));
    trap(&mut monitor);
    // What the function has left there.
    let area = monitor.cvms[0].gate_area(0);
    user::store_capability(frame.data(), &monitor.cvms[0].stock.slot, area.start).unwrap();
    monitor.end(CvmId::new(1), End::Exited(0), arch::timer::now());
    assert_eq!(monitor.cvms[0].life, Life::Alive);
    assert_eq!(stand_in::capability(area.start), None, "no tag stays on the stack");
    run(&mut monitor, 2);
    assert!(enter(&monitor, 0));
    trap(&mut monitor);
    assert_eq!(acts_for(&monitor, 2), (0, 1));
}

#[test]
fn a_budget_counts_from_when_the_call_was_seen_and_leaves_nothing_of_the_call() {
    let mut monitor = served();
    let frame = run(&mut monitor, 1);
    let before = kept(frame);
    for _ in 0..2 {
        run(&mut monitor, 1);
        stand_in::advance(10 * BUDGET_TICKS);
        assert!(enter(&monitor, 0));
        trap(&mut monitor);
        stand_in::advance(BUDGET_TICKS - 1);
        monitor.due(arch::timer::now());
        assert_eq!(acts_for(&monitor, 1), (0, 1), "a tick is left");
        stand_in::advance(1);
        monitor.due(arch::timer::now());
        assert_eq!(acts_for(&monitor, 1), (1, 0));
        assert_eq!(Errno::from_result(frame.argument(0)), Some(Errno::ETIMEDOUT));
        assert_eq!(kept(frame), before);
        assert_eq!(monitor.scheduler[thread(&monitor, 1)].state, State::Ready);
        assert_eq!(monitor.cvms[0].life, Life::Alive);
    }
    // The only stack is free.
    run(&mut monitor, 2);
    assert!(enter(&monitor, 0));
}

/// `c` calls `a`, which calls `b`; the ticks until a caller of the two has waited too long.
fn nested(budgets: [u64; 2], ticks: u64) -> (Box<Monitor>, &'static Frame) {
    let mut monitor = monitor(&[
        ("a", &["work 4096 1"], &["b.work"], budgets[1]),
        ("b", &["work 4096 1"], &[], BUDGET),
        ("c", &[], &["a.work"], budgets[0]),
    ]);
    for number in 0..2 {
        let frame = run(&mut monitor, number);
        ask(&mut monitor, frame, Hostcall::Serve, [0; 2]);
    }
    let frame = run(&mut monitor, 2);
    assert!(enter(&monitor, 0));
    trap(&mut monitor);
    monitor.depart(thread(&monitor, 2));
    assert!(enter(&monitor, 1));
    trap(&mut monitor);
    assert_eq!(acts_for(&monitor, 2), (1, 2));
    stand_in::advance(ticks);
    monitor.due(arch::timer::now());
    assert_eq!(Errno::from_result(frame.argument(0)), Some(Errno::ETIMEDOUT));
    (monitor, frame)
}

#[test]
fn of_nested_calls_the_one_whose_time_has_come_ends_with_those_within() {
    let (mut monitor, frame) = nested([BUDGET, 4 * BUDGET], BUDGET_TICKS);
    assert_eq!(acts_for(&monitor, 2), (2, 0), "back at c");
    run(&mut monitor, 2);
    assert!(enter(&monitor, 0), "both stacks are free");
    trap(&mut monitor);
    monitor.depart(thread(&monitor, 2));
    assert!(enter(&monitor, 1));
    trap(&mut monitor);
    let (monitor, inner) = nested([4 * BUDGET, BUDGET], BUDGET_TICKS);
    assert_eq!(acts_for(&monitor, 2), (0, 1), "back at a, in c's call");
    assert_eq!(inner.data().decoded(), monitor.cvms[0].authority.data.decoded());
    assert!(!std::ptr::eq(frame, inner));
}

#[test]
fn of_nested_calls_the_end_of_the_one_between_brings_the_outermost_back() {
    let mut monitor = monitor(&[
        ("a", &["work 4096 1"], &["b.work"], BUDGET),
        ("b", &["work 4096 1"], &[], BUDGET),
        ("c", &[], &["a.work", "b.work"], BUDGET),
    ]);
    for number in 0..2 {
        let frame = run(&mut monitor, number);
        ask(&mut monitor, frame, Hostcall::Serve, [0; 2]);
    }
    let frame = run(&mut monitor, 2);
    for server in 0..2 {
        assert!(enter(&monitor, server));
        trap(&mut monitor);
        monitor.depart(thread(&monitor, 2));
    }
    monitor.end(CvmId::new(0), End::Faulted(FaultKind::Tag), arch::timer::now());
    assert_eq!(acts_for(&monitor, 2), (2, 0));
    assert_eq!(Errno::from_result(frame.argument(0)), Some(Errno::ECONNRESET));
    assert_eq!(monitor.cvms[1].life, Life::Alive);
    run(&mut monitor, 2);
    assert!(enter(&monitor, 1), "the stack of b, which lives, is free");
}

#[test]
fn what_a_buffer_was_in_the_record_of_a_call_is_taken_back() {
    let mut monitor = monitor(&[
        ("a", &[], &[], BUDGET),
        ("s", &["work 4096 1"], &[], BUDGET),
        ("c", &[], &["s.work"], BUDGET),
    ]);
    let frame = run(&mut monitor, 1);
    ask(&mut monitor, frame, Hostcall::Serve, [0; 2]);
    let frame = run(&mut monitor, 2);
    ask(
        &mut monitor,
        frame,
        Hostcall::BufferMap,
        [0, BUFFER_READ | BUFFER_WRITE],
    );
    let mapped = frame.argument_slot(0).decoded();
    assert!(mapped.tag, "{mapped}");
    // What a caller keeps goes to the record, which no cVM reaches; an argument goes with the thread.
    kept_register(frame).copy_from(frame.argument_slot(0));
    let held = |monitor: &Monitor| {
        let things = (0..).map_while(|index| monitor.holding(CvmId::new(2), index));
        let buffers = things.filter(|thing| thing.kind == abi::hostcall::HoldingKind::Buffer as u32);
        buffers.map(|thing| thing.held).sum::<u64>()
    };
    assert_eq!(held(&monitor), 2);
    assert!(enter(&monitor, 1));
    trap(&mut monitor);
    assert_eq!(
        held(&monitor),
        1,
        "the caller's is in the record, the argument is the server's now"
    );
    monitor.depart(thread(&monitor, 2));
    let owner = run(&mut monitor, 0);
    ask(&mut monitor, owner, Hostcall::BufferRevoke, [0, BUFFER_ALL]);
    assert_eq!(owner.argument(0), 0);
    assert_eq!(held(&monitor), 0);
    assert!(!frame.argument_slot(0).tag());
    run(&mut monitor, 2);
    leave(&monitor);
    trap(&mut monitor);
    assert!(!kept_register(frame).tag(), "nothing comes back with the return");
}
