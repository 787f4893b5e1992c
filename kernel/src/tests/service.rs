//! cVMs that serve the hostcalls of others.

use super::build::{Value, Value::*, archive, manifest_with, program, server};
use super::stored;
use super::{dispatch, finish_loading, frame, running, running_cvm, served_by, thread};
use crate::authority::ledger::Ledger;
use crate::authority::pool::Pool;
use crate::cvm::id::CvmId;
use crate::cvm::thread::State;
use crate::cvm::{End, Life};
use crate::run::monitor::Monitor;
use crate::start::load;
use abi::{Errno, Hostcall};
use arch::{Derivation, Frame, Register, Slot, stand_in};
use capability::{Decoded, Permissions};

const POOL_START: u64 = 0x8040_0000;
const POOL_END: u64 = 0x8080_0000;
const TICKS_A_SECOND: u64 = 10_000_000;

/// A cVM: name, who serves it, more properties. Those whose name begins with `s` export a handler.
pub(super) type Node<'a> = (&'a str, &'a str, &'a [(&'a str, u64)]);

/// A monitor with these cVMs.
pub(super) fn monitor(cvms: &[Node<'_>]) -> Box<Monitor> {
    monitor_with(cvms, &[])
}

/// A monitor with these cVMs and buffers.
pub(super) fn monitor_with(cvms: &[Node<'_>], buffers: &[&[(&str, Value<'_>)]]) -> Box<Monitor> {
    let nodes: Vec<Vec<(&str, Value<'_>)>> = cvms
        .iter()
        .map(|(name, server, more)| {
            let runtime = if name.starts_with('s') { "server" } else { "program" };
            let mut node = vec![
                ("label", Text(name)),
                ("runtime", Text(runtime)),
                ("callback-out", Text(server)),
                ("heap", Cells(8192)),
            ];
            node.extend(more.iter().map(|(key, value)| match *key {
                "threads" | "handlers" | "priority" | "local" | "raw" => (*key, Cell(*value as u32)),
                // In the one that serves it.
                "within" => (*key, Text(server)),
                _ => (*key, Cells(*value)),
            }));
            node
        })
        .collect();
    let nodes: Vec<&[(&str, Value<'_>)]> = nodes.iter().map(Vec::as_slice).collect();
    let capfile: &[(&str, Value<'_>)] = &[
        ("label", Text("file")),
        ("size", Cells(7)),
        ("readers", Text("*")),
        ("data", Text("buffers/file")),
    ];
    let buffers = [buffers, &[capfile]].concat();
    let bytes = archive(&[
        (
            "manifest.dtb",
            &manifest_with("intravisor,manifest-1", &nodes, &buffers),
        ),
        ("buffers/file", b"Hello\n"),
        ("program", &program()),
        ("server", &server()),
    ]);
    let mut ledger = Ledger::new(arch::root());
    ledger.open_pool(POOL_START..POOL_END).unwrap();
    let pool = Pool::new(POOL_START..POOL_END);
    let mut monitor = load(stored(&bytes), ledger, pool, TICKS_A_SECOND).unwrap();
    monitor.start_waiting(arch::timer::now(), usize::MAX);
    finish_loading(&mut monitor);
    monitor
}

/// The server `s` and one client; the server rests.
fn pair() -> Box<Monitor> {
    let mut monitor = monitor(&[("s", "monitor", &[]), ("c", "s", &[])]);
    assert_eq!(call(&mut monitor, Hostcall::Serve, [0; 6]).0, 0);
    monitor
}

/// Lets the next thread make this hostcall; returns the thread and its first result register.
pub(super) fn call(monitor: &mut Monitor, hostcall: Hostcall, arguments: [u64; 6]) -> (usize, u64) {
    let frame = monitor.next();
    let thread = running(monitor);
    frame.set_hostcall(hostcall as u64, arguments);
    dispatch(monitor, frame);
    (thread, frame.argument(0))
}

fn argument(frame: &Frame, index: usize) -> Decoded {
    frame.argument_slot(index).decoded()
}

pub(super) fn heap(monitor: &Monitor, id: usize) -> u64 {
    let cvm = &monitor.cvms[id];
    cvm.memory().start + cvm.layout.heap.start
}

#[test]
fn a_call_reaches_the_handler_with_its_number_its_arguments_and_its_caller() {
    let mut monitor = pair();
    let (client, _) = call(&mut monitor, Hostcall::Clock, [10, 11, 12, 13, 14, 15]);
    assert_eq!(client, 1);
    let handler = monitor.next();
    assert_eq!(running(&monitor), 2, "the handler's own thread");
    assert_eq!(running_cvm(&monitor), 0, "with the server's identity");
    assert_eq!(
        [0, 1, 2, 3, 4, 5].map(|index| handler.argument(index)),
        [10, 11, 12, 13, 14, 15]
    );
    assert_eq!(handler.number(), Hostcall::Clock as u64);
    let server = &monitor.cvms[0];
    let entry = server.memory().start + server.layout.bias + 0x1008;
    assert_eq!(handler.pc(), entry);
    assert_eq!(
        handler.data().decoded().base,
        server.memory().start,
        "under the server's authority"
    );
    assert_eq!(served_by(&monitor, 2), Some(1));
}

#[test]
fn a_reply_comes_back_and_changes_nothing_else() {
    let mut monitor = pair();
    call(&mut monitor, Hostcall::Clock, [10, 11, 12, 13, 14, 15]);
    call(&mut monitor, Hostcall::Reply, [77, 88, 0, 0, 0, 0]);
    let client = monitor.next();
    assert_eq!(running(&monitor), 1, "the caller goes on at once");
    assert_eq!(
        [0, 1, 2, 3, 4, 5].map(|index| client.argument(index)),
        [77, 11, 12, 13, 14, 15]
    );
    assert_eq!(monitor.scheduler[thread(&monitor, 2)].state, State::Stopped);
    call(&mut monitor, Hostcall::Clock, [10, 11, 0, 0, 0, 0]);
    let handler = monitor.next();
    let others = [2, 3, 4, 5].map(|index| handler.argument(index));
    assert_eq!(others, [0; 4], "nothing is left of the last call");
    call(&mut monitor, Hostcall::Reply, [1, 99, 1, 0, 0, 0]);
    let client = monitor.next();
    assert_eq!(
        (client.argument(0), client.argument(1)),
        (1, 99),
        "a second value when there is one"
    );
}

#[test]
fn a_buffer_is_lent_with_its_bounds_for_its_purpose_and_local() {
    let mut monitor = pair();
    let buffer = heap(&monitor, 1) + 3;
    call(&mut monitor, Hostcall::Write, [1, buffer, 100, 0, 0, 0]);
    let lent = argument(monitor.next(), 1);
    assert!(lent.tag);
    assert_eq!(
        (lent.base, lent.top, lent.address),
        (buffer, u128::from(buffer) + 100, buffer)
    );
    assert_eq!(lent.permissions, Permissions::LOAD);
    call(&mut monitor, Hostcall::Reply, [0; 6]);
    call(&mut monitor, Hostcall::Read, [0, buffer, 100, 0, 0, 0]);
    assert_eq!(argument(monitor.next(), 1).permissions, Permissions::STORE);
    call(&mut monitor, Hostcall::Reply, [0; 6]);
    // As much as one transfer takes, as far as bounds can be exact.
    call(&mut monitor, Hostcall::Write, [1, buffer, 5000, 0, 0, 0]);
    let handler = monitor.next();
    assert_eq!((argument(handler, 1).base, handler.argument(2)), (buffer, 4095));
    assert_eq!(argument(handler, 1).top, u128::from(buffer) + 4095);
    call(&mut monitor, Hostcall::Reply, [0; 6]);
    // Where more could be exact, it is one transfer all the same.
    let buffer = heap(&monitor, 1).next_multiple_of(64);
    call(&mut monitor, Hostcall::Write, [1, buffer, 8000, 0, 0, 0]);
    let handler = monitor.next();
    assert_eq!((argument(handler, 1).base, handler.argument(2)), (buffer, 4096));
    assert_eq!(argument(handler, 1).top, u128::from(buffer) + 4096);
}

#[test]
fn what_is_not_the_callers_is_not_lent() {
    let mut monitor = pair();
    let (own, other) = (monitor.cvms[1].memory(), monitor.cvms[0].memory());
    for (buffer, length, expected) in [
        (other.start, 1, Errno::EFAULT),
        (own.end - 1, 2, Errno::EFAULT),
        (u64::MAX, 2, Errno::EFAULT),
        (own.start, 1 << 63, Errno::EINVAL),
    ] {
        let (thread, _) = call(&mut monitor, Hostcall::Write, [1, buffer, length, 0, 0, 0]);
        assert_eq!(thread, 1);
        let client = monitor.next();
        assert_eq!(running(&monitor), 1, "the handler has not run");
        assert_eq!(Errno::from_result(client.argument(0)), Some(expected));
    }
    call(&mut monitor, Hostcall::Write, [1, other.start, 0, 0, 0, 0]);
    let handler = monitor.next();
    assert!(!argument(handler, 1).tag, "nothing to lend");
}

#[test]
fn a_capability_argument_is_lent_without_its_power_over_capabilities_and_a_sealed_one_is_not() {
    let mut monitor = pair();
    let client = frame(&monitor, 1);
    monitor.next();
    let (memory, slot) = (monitor.cvms[1].memory(), Slot::null());
    let request = Derivation {
        base: memory.start + 16,
        length: 64,
        permissions: arch::data_permissions(),
        address: memory.start + 20,
    };
    slot.derive(client.data(), &request).unwrap();
    let sentry = Slot::null();
    let code = client.code().decoded();
    let entry = Derivation {
        base: code.base,
        length: (code.top - u128::from(code.base)) as u64,
        permissions: code.permissions,
        address: code.base,
    };
    sentry.derive_entry(client.code(), &entry).unwrap();
    client.set_hostcall(Hostcall::Null as u64, [0; 6]);
    client.set_argument(0, Register::Capability(&slot));
    client.set_argument(3, Register::Capability(&sentry));
    dispatch(&mut monitor, client);
    let handler = monitor.next();
    let lent = argument(handler, 0);
    assert!(lent.tag);
    assert_eq!(
        (lent.base, lent.top, lent.address),
        (request.base, u128::from(request.base) + 64, request.address)
    );
    assert_eq!(lent.permissions, Permissions::LOAD | Permissions::STORE);
    assert_eq!((argument(handler, 3).tag, handler.argument(3)), (false, code.base));
}

#[test]
fn calls_wait_for_the_server_to_rest_and_are_served_in_order() {
    let mut monitor = monitor(&[("s", "monitor", &[]), ("a", "s", &[]), ("b", "s", &[])]);
    call(&mut monitor, Hostcall::Yield, [0; 6]);
    assert_eq!(call(&mut monitor, Hostcall::Clock, [1, 0, 0, 0, 0, 0]).0, 1);
    assert_eq!(call(&mut monitor, Hostcall::Clock, [2, 0, 0, 0, 0, 0]).0, 2);
    assert_eq!(call(&mut monitor, Hostcall::Serve, [0; 6]).0, 0);
    let handler = monitor.next();
    assert_eq!(
        (running(&monitor), handler.argument(0), served_by(&monitor, 3)),
        (3, 1, Some(1))
    );
    call(&mut monitor, Hostcall::Reply, [10, 0, 0, 0, 0, 0]);
    assert_eq!(monitor.next().argument(0), 10);
    assert_eq!(call(&mut monitor, Hostcall::Yield, [0; 6]).0, 1);
    assert_eq!((monitor.next().argument(0), served_by(&monitor, 3)), (2, Some(2)));
}

#[test]
fn a_delegated_call_is_the_callers_own() {
    let mut monitor = pair();
    call(&mut monitor, Hostcall::Exit, [7, 0, 0, 0, 0, 0]);
    assert_eq!(monitor.cvms[1].life, Life::Alive, "its server decides");
    call(&mut monitor, Hostcall::Delegate, [0; 6]);
    assert_eq!(monitor.cvms[1].life, Life::Ended(End::Exited(7)));
    let server = monitor.next();
    assert_eq!(
        (running(&monitor), server.argument(0)),
        (0, 0),
        "serve returns: nobody is left"
    );
}

#[test]
fn in_a_chain_a_delegated_call_goes_to_the_next_server() {
    let mut monitor = monitor(&[("s1", "monitor", &[]), ("s2", "s1", &[]), ("c", "s2", &[])]);
    assert_eq!(call(&mut monitor, Hostcall::Serve, [0; 6]).0, 0);
    assert_eq!(call(&mut monitor, Hostcall::Serve, [0; 6]).0, 1);
    assert_eq!(call(&mut monitor, Hostcall::Clock, [5, 0, 0, 0, 0, 0]).0, 2);
    assert_eq!(call(&mut monitor, Hostcall::Delegate, [0; 6]).0, 4);
    let handler = monitor.next();
    assert_eq!(
        (running(&monitor), handler.argument(0), served_by(&monitor, 3)),
        (3, 5, Some(2))
    );
    assert_eq!(served_by(&monitor, 4), None);
    call(&mut monitor, Hostcall::Reply, [9, 0, 0, 0, 0, 0]);
    assert_eq!((monitor.next().argument(0), running(&monitor)), (9, 2));
}

#[test]
fn a_server_that_faults_or_has_ended_gives_its_caller_an_error() {
    let mut monitor = pair();
    call(&mut monitor, Hostcall::Clock, [0; 6]);
    monitor.next();
    let now = arch::timer::now();
    monitor.end(CvmId::new(0), End::Faulted(abi::FaultKind::Tag), now);
    let client = monitor.next();
    assert_eq!(Errno::from_result(client.argument(0)), Some(Errno::ECONNRESET));
    assert_eq!(running(&monitor), 1);
    call(&mut monitor, Hostcall::Clock, [0; 6]);
    let client = monitor.next();
    assert_eq!(Errno::from_result(client.argument(0)), Some(Errno::ECONNREFUSED));
}

#[test]
fn a_call_over_its_budget_is_ended_and_the_server_goes_on_with_the_next() {
    let budget = [("call-budget", 1_000_000)];
    let mut monitor = monitor(&[("s", "monitor", &[]), ("a", "s", &budget), ("b", "s", &[])]);
    call(&mut monitor, Hostcall::Serve, [0; 6]);
    assert_eq!(call(&mut monitor, Hostcall::Clock, [1, 0, 0, 0, 0, 0]).0, 1);
    monitor.next();
    assert_eq!(running(&monitor), 3);
    monitor.scheduler.release(arch::timer::now());
    assert_eq!(call(&mut monitor, Hostcall::Clock, [2, 0, 0, 0, 0, 0]).0, 2);
    stand_in::advance(10_000);
    monitor.due(arch::timer::now());
    assert_eq!(
        Errno::from_result(frame(&monitor, 1).argument(0)),
        Some(Errno::ETIMEDOUT)
    );
    assert_eq!(monitor.scheduler[thread(&monitor, 1)].state, State::Ready);
    assert_eq!((served_by(&monitor, 3), frame(&monitor, 3).argument(0)), (Some(2), 2));
}

#[test]
fn a_caller_that_is_stopped_takes_its_own_call_back() {
    // The client's budget ends while its server waits for the next one.
    let budget = [("call-budget", 1_000_000)];
    let mut monitor = monitor(&[("s1", "monitor", &[]), ("s2", "s1", &[]), ("c", "s2", &budget)]);
    call(&mut monitor, Hostcall::Serve, [0; 6]);
    call(&mut monitor, Hostcall::Serve, [0; 6]);
    call(&mut monitor, Hostcall::Clock, [0; 6]);
    assert_eq!(call(&mut monitor, Hostcall::Clock, [0; 6]).0, 4, "s2's handler asks s1");
    monitor.next();
    assert_eq!((running(&monitor), served_by(&monitor, 3)), (3, Some(1)));
    stand_in::advance(10_000);
    monitor.due(arch::timer::now());
    for handler in [3, 4] {
        assert_eq!(monitor.scheduler[thread(&monitor, handler)].state, State::Stopped);
        assert!(frame(&monitor, handler).registers().all(|(_, what)| !what.tag));
    }
    let client = monitor.next();
    assert_eq!(
        (running(&monitor), Errno::from_result(client.argument(0))),
        (2, Some(Errno::ETIMEDOUT))
    );
}

#[test]
fn only_a_handler_replies_and_delegates_and_it_does_not_serve() {
    let mut monitor = pair();
    for hostcall in [Hostcall::Reply, Hostcall::Delegate] {
        assert_eq!(
            Errno::from_result(call(&mut monitor, hostcall, [0; 6]).1),
            Some(Errno::EPERM)
        );
    }
    call(&mut monitor, Hostcall::Clock, [0; 6]);
    let (handler, result) = call(&mut monitor, Hostcall::Serve, [0; 6]);
    assert_eq!((handler, Errno::from_result(result)), (2, Some(Errno::EPERM)));
}

#[test]
fn serving_nobody_ends_at_once() {
    let mut monitor = monitor(&[("c", "monitor", &[])]);
    assert_eq!(call(&mut monitor, Hostcall::Serve, [9; 6]), (0, 0));
}

#[test]
fn serving_ends_with_the_last_client() {
    let mut monitor = monitor(&[("s", "monitor", &[]), ("a", "s", &[]), ("b", "s", &[])]);
    assert_eq!(call(&mut monitor, Hostcall::Serve, [9; 6]).0, 0);
    let now = arch::timer::now();
    monitor.end(CvmId::new(1), End::Exited(0), now);
    assert_eq!(monitor.scheduler[thread(&monitor, 0)].state, State::Serving);
    monitor.end(CvmId::new(2), End::Exited(0), now);
    assert_eq!((monitor.next().argument(0), running(&monitor)), (0, 0));
}

#[test]
fn a_server_that_ends_at_rest_is_not_called_any_more() {
    let mut monitor = pair();
    let now = arch::timer::now();
    monitor.end(CvmId::new(0), End::Faulted(abi::FaultKind::Tag), now);
    assert_eq!(call(&mut monitor, Hostcall::Clock, [0; 6]).0, 1);
    assert_eq!(running(&monitor), 1);
    let client = monitor.next();
    assert_eq!(Errno::from_result(client.argument(0)), Some(Errno::ECONNREFUSED));
}

#[test]
fn heap_and_capfile_come_as_capabilities() {
    let mut monitor = monitor(&[("c", "monitor", &[])]);
    call(&mut monitor, Hostcall::Heap, [0; 6]);
    let client = frame(&monitor, 0);
    let got = argument(client, 0);
    let start = heap(&monitor, 0);
    assert!(got.tag);
    assert_eq!((got.base, got.top), (start, u128::from(start) + 8192));
    assert_eq!((got.permissions, client.argument(1)), (arch::data_permissions(), 8192));
    arch::user::copy_out(b"filefiles", client.data(), start).unwrap();
    call(&mut monitor, Hostcall::Capfile, [start, 4, 0, 0, 0, 0]);
    let got = argument(client, 0);
    assert_eq!((got.top - u128::from(got.base), client.argument(1)), (7, 7));
    assert_eq!(got.permissions, Permissions::LOAD, "local, and for data only");
    assert_eq!(
        stand_in::memory(got.base, 7),
        b"Hello\n\0",
        "what the archive has, and zeros"
    );
    for (length, expected) in [(3, Errno::ENOENT), (0, Errno::EINVAL), (33, Errno::EINVAL)] {
        let result = call(&mut monitor, Hostcall::Capfile, [start, length, 0, 0, 0, 0]).1;
        assert_eq!(Errno::from_result(result), Some(expected));
    }
}

#[test]
fn a_named_server_without_a_handler_is_refused() {
    let node = [("label", Text("a")), ("runtime", Text("program"))];
    let client = [
        ("label", Text("b")),
        ("runtime", Text("program")),
        ("callback-out", Text("a")),
    ];
    let bytes = archive(&[
        (
            "manifest.dtb",
            &manifest_with("intravisor,manifest-1", &[&node, &client], &[]),
        ),
        ("program", &program()),
    ]);
    let mut ledger = Ledger::new(arch::root());
    ledger.open_pool(POOL_START..POOL_END).unwrap();
    let refused = load(stored(&bytes), ledger, Pool::new(POOL_START..POOL_END), TICKS_A_SECOND).err();
    let expected = "cVM b: callback-out: program exports no function syscall_handler";
    assert_eq!(refused.map(|error| error.to_string()).as_deref(), Some(expected));
}

#[test]
fn an_exit_never_returns_whatever_the_server_says() {
    let mut monitor = pair();
    call(&mut monitor, Hostcall::Exit, [7, 0, 0, 0, 0, 0]);
    call(&mut monitor, Hostcall::Reply, [1, 0, 0, 0, 0, 0]);
    let server = monitor.next();
    assert_eq!(monitor.cvms[1].life, Life::Ended(End::Exited(7)));
    assert_eq!((running(&monitor), server.argument(0)), (0, 0), "serve has returned");
    let mut monitor = pair();
    call(&mut monitor, Hostcall::Exit, [8, 0, 0, 0, 0, 0]);
    monitor.next();
    let now = arch::timer::now();
    monitor.end(CvmId::new(0), End::Exited(1), now);
    // No frame is left to run: the run ends, which is a panic on the host.
    let ended = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| monitor.next()));
    assert!(ended.is_err());
    assert_eq!(monitor.cvms[1].life, Life::Ended(End::Exited(8)));
}
