//! Raw clients: what their server gets, and what it may do with them.

use super::service::{call, monitor};
use super::{dispatch, thread};
use crate::cvm::id::CvmId;
use crate::cvm::thread::{Leaving, State};
use crate::cvm::{End, Life};
use crate::run::monitor::Monitor;
use abi::hostcall::{END_CVM, END_THREAD, KEEP_STACK, KEEP_THREAD_POINTER, REGISTERS, START, TEXT_LIMIT};
use abi::hostcall::{WAIT_ON, WITH_STACK};
use abi::{Errno, FaultKind, Hostcall};
use arch::Frame;

/// A server that rests, and its raw client with two more threads.
fn pair(more: &[(&str, u64)]) -> Box<Monitor> {
    let client = [&[("raw", 1), ("threads", 3)], more].concat();
    let mut monitor = monitor(&[("s", "monitor", &[]), ("c", "s", &client)]);
    call(&mut monitor, Hostcall::Serve, [0; 6]);
    monitor
}

/// Lets the next thread make a call of any number; its frame.
fn ask(monitor: &mut Monitor, number: u64, arguments: [u64; 6]) -> &'static Frame {
    let frame = monitor.next();
    frame.set_hostcall(number, arguments);
    dispatch(monitor, frame);
    frame
}

/// The cVM and the place of the thread that runs.
fn who(monitor: &mut Monitor) -> (usize, u16) {
    monitor.next();
    let thread = &monitor.scheduler[monitor.scheduler.current().unwrap()];
    (thread.cvm.index(), thread.place)
}

fn register(frame: &Frame, name: &str) -> u64 {
    frame.registers().find(|(other, _)| *other == name).unwrap().1.address
}

#[test]
fn every_number_goes_to_the_server_as_it_is() {
    let mut monitor = pair(&[]);
    let heap = super::service::heap(&monitor, 1);
    let numbers = (0..70).chain([1 << 32, u64::MAX - 1]);
    for number in numbers {
        ask(&mut monitor, number, [heap, heap, 16, 3, 4, 5]);
        let handler = monitor.next();
        assert_eq!(who(&mut monitor), (0, 1), "{number}");
        assert_eq!(handler.number(), number);
        let arguments = [0, 1, 2, 3, 4, 5].map(|index| handler.argument(index));
        assert_eq!(arguments, [heap, heap, 16, 3, 4, 5]);
        assert!(
            (0..6).all(|index| !handler.argument_slot(index).tag()),
            "{number}: nothing becomes a capability"
        );
        ask(&mut monitor, Hostcall::Reply as u64, [number, 0, 0, 0, 0, 0]);
        assert_eq!(who(&mut monitor), (1, 0), "{number}: it goes on, exit or not");
        assert_eq!(monitor.next().argument(0), number);
    }
}

#[test]
fn the_first_call_tells_where_it_is() {
    let mut monitor = pair(&[]);
    let main = thread(&monitor, 1);
    monitor.next();
    monitor.call_at_start(main);
    let handler = monitor.next();
    assert_eq!(who(&mut monitor), (0, 1));
    let client = &monitor.cvms[1];
    let memory = client.memory();
    assert_eq!(handler.number(), START);
    assert_eq!(handler.argument(0), client.place.seen);
    assert_eq!(handler.argument(1), memory.end - memory.start);
    assert_eq!(handler.argument(2), 0, "it does not lie within its server");
    assert_eq!(handler.argument(3), client.place.seen + client.layout.start_block.start);
    assert_eq!(handler.argument(4), client.place.seen + client.layout.bias);
    ask(&mut monitor, Hostcall::Reply as u64, [0, 0x1230, WITH_STACK, 0, 0, 0]);
    let client = monitor.next();
    assert_eq!(who(&mut monitor), (1, 0));
    assert_eq!((client.argument(0), register(client, "stack")), (0, 0x1230));
}

#[test]
fn nobody_makes_the_call_of_the_monitor() {
    for raw in [0, 1] {
        let mut monitor = monitor(&[("s", "monitor", &[]), ("c", "s", &[("raw", raw)])]);
        call(&mut monitor, Hostcall::Serve, [0; 6]);
        let frame = ask(&mut monitor, START, [1, 2, 3, 4, 5, 6]);
        assert_eq!(who(&mut monitor), (1, 0), "its server is not asked");
        assert_eq!(Errno::from_result(frame.argument(0)), Some(Errno::ENOSYS));
    }
}

#[test]
fn its_server_ends_it_and_nobody_else() {
    let mut monitor = pair(&[]);
    ask(&mut monitor, 94, [7, 0, 0, 0, 0, 0]);
    ask(&mut monitor, Hostcall::Reply as u64, [5, 0, END_CVM, 0, 0, 0]);
    while monitor.left > 1 {
        monitor.next();
    }
    assert_eq!(monitor.cvms[1].life, Life::Ended(End::Exited(5)));
    assert_eq!(monitor.cvms[0].life, Life::Alive);
    // One that is not raw goes on, whatever its server says.
    let mut plain = super::service::monitor(&[("s", "monitor", &[]), ("c", "s", &[])]);
    call(&mut plain, Hostcall::Serve, [0; 6]);
    for how in [WITH_STACK, END_THREAD, END_CVM, WAIT_ON, u64::MAX] {
        call(&mut plain, Hostcall::Clock, [0; 6]);
        call(&mut plain, Hostcall::Reply, [5, 0x55, how, 0, 0, 0]);
        assert_eq!(who(&mut plain), (1, 0), "{how}");
        let frame = plain.next();
        assert_eq!((frame.argument(0), frame.argument(1)), (5, 0), "{how}");
        assert_ne!(register(frame, "stack"), 0x55);
    }
    assert_eq!(plain.cvms[1].life, Life::Alive);
}

#[test]
fn a_thread_is_cloned_with_the_registers_of_its_caller_within_the_quota() {
    let mut monitor = pair(&[]);
    let caller = ask(&mut monitor, 220, [10, 11, 12, 13, 14, 15]);
    let pc = caller.pc();
    let clone = [0x1000, 0x2000, 0, 0, 0, 0];
    for place in [1, 2] {
        assert_eq!(call(&mut monitor, Hostcall::Clone, clone).1, place);
    }
    let (_, refused) = call(&mut monitor, Hostcall::Clone, clone);
    assert_eq!(Errno::from_result(refused), Some(Errno::EAGAIN));
    ask(&mut monitor, Hostcall::Reply as u64, [77, 0, 0, 0, 0, 0]);
    assert_eq!(monitor.next().argument(0), 77, "the caller");
    ask(&mut monitor, 1000, [0; 6]);
    ask(&mut monitor, Hostcall::Defer as u64, [0; 6]);
    ask(&mut monitor, Hostcall::Reply as u64, [0; 6]);
    assert_eq!(who(&mut monitor), (1, 1), "its first clone");
    let frame = monitor.next();
    assert_eq!(frame.pc(), pc);
    assert_eq!((register(frame, "stack"), register(frame, "thread")), (0x1000, 0x2000));
    assert_eq!([0, 1, 5].map(|index| frame.argument(index)), [0, 11, 15]);
    // The place of the caller stands beside the number of its cVM.
    ask(&mut monitor, 93, [0; 6]);
    assert_eq!(register(monitor.next(), "a6"), 1 | 1 << 32);
    ask(&mut monitor, Hostcall::Reply as u64, [0, 0, END_THREAD, 0, 0, 0]);
    assert_eq!(who(&mut monitor), (1, 2));
    let first = monitor.cvms[1].all_threads().nth(1).unwrap();
    assert_eq!(monitor.scheduler[first].state, State::Stopped);
    assert!(monitor.scheduler[first].frame.slots().all(|slot| !slot.tag()));
    // There is room for another one.
    ask(&mut monitor, 220, [0; 6]);
    assert_eq!(call(&mut monitor, Hostcall::Clone, clone).1, 1);
}

#[test]
fn only_who_serves_a_raw_client_clones() {
    let mut monitor = monitor(&[("s", "monitor", &[]), ("c", "s", &[("threads", 2)])]);
    let refused = call(&mut monitor, Hostcall::Clone, [0; 6]).1;
    assert_eq!(Errno::from_result(refused), Some(Errno::EPERM), "outside of a handler");
    call(&mut monitor, Hostcall::Serve, [0; 6]);
    call(&mut monitor, Hostcall::Clock, [0; 6]);
    let refused = call(&mut monitor, Hostcall::Clone, [0; 6]).1;
    assert_eq!(Errno::from_result(refused), Some(Errno::EPERM), "its client is not raw");
}

#[test]
fn nobody_else_takes_its_calls() {
    let mut monitor = pair(&[]);
    // With the numbers of the monitor's own calls, exit among them.
    for number in [Hostcall::Exit, Hostcall::Null, Hostcall::Serve, Hostcall::Heap] {
        ask(&mut monitor, number as u64, [0; 6]);
        ask(&mut monitor, Hostcall::Delegate as u64, [0; 6]);
        assert_eq!(who(&mut monitor), (1, 0));
        assert_eq!(Errno::from_result(monitor.next().argument(0)), Some(Errno::ENOSYS));
    }
}

#[test]
fn a_deferred_call_waits_without_a_budget_and_as_long_as_its_server_says() {
    let mut monitor = pair(&[]);
    ask(&mut monitor, 98, [0; 6]);
    let (_, token) = call(&mut monitor, Hostcall::Defer, [0; 6]);
    let main = thread(&monitor, 1);
    assert_eq!(monitor.scheduler[main].call.until, u64::MAX);
    monitor.due(u64::MAX - 1);
    assert_eq!(monitor.scheduler[main].state, State::Calling);
    // For a second, then it gets 33; but before that, for two more.
    let second = 1_000_000_000;
    assert_eq!(
        call(&mut monitor, Hostcall::Answer, [token, 33, second, WAIT_ON, 0, 0]).1,
        0
    );
    let soon = arch::timer::now() + monitor.ticks(second / 2);
    monitor.due(soon);
    assert_eq!(monitor.scheduler[main].state, State::Calling);
    assert_eq!(
        call(&mut monitor, Hostcall::Answer, [token, 44, 2 * second, WAIT_ON, 0, 0]).1,
        0
    );
    monitor.due(arch::timer::now() + monitor.ticks(second) + 2);
    assert_eq!(monitor.scheduler[main].state, State::Calling);
    monitor.due(arch::timer::now() + monitor.ticks(2 * second) + 2);
    assert_eq!(monitor.scheduler[main].state, State::Ready);
    assert_eq!(monitor.scheduler[main].frame.argument(0), 44);
    let (_, late) = call(&mut monitor, Hostcall::Answer, [token, 1, 0, WAIT_ON, 0, 0]);
    assert_eq!(Errno::from_result(late), Some(Errno::ENOENT));
}

#[test]
fn it_ends_with_its_server_and_starts_again_when_it_may() {
    for (restarts, server_restarts) in [(0, 1), (0, 0), (1, 1)] {
        let mut monitor = pair(&[]);
        monitor.cvms[0].spec.restart = abi::manifest::RestartPolicy::OnFault;
        monitor.cvms[0].spec.restart_limit = server_restarts;
        monitor.cvms[1].spec.restart = abi::manifest::RestartPolicy::OnFault;
        // For nothing, where its server does not come back.
        monitor.cvms[1].spec.restart_limit = restarts.max(1 - server_restarts);
        ask(&mut monitor, 64, [0; 6]);
        monitor.next();
        let server = monitor.scheduler[monitor.scheduler.current().unwrap()].cvm;
        monitor.end(server, End::Faulted(FaultKind::ALL[0]), arch::timer::now());
        let main = thread(&monitor, 1);
        assert_eq!(monitor.scheduler[main].leaving, Some(Leaving::Cvm(End::Orphaned)));
        // What comes before it would run again: the last one alive, it would end the run.
        monitor.end(CvmId::new(1), End::Orphaned, arch::timer::now());
        assert_eq!(monitor.cvms[1].restarts, restarts);
        assert_eq!(monitor.cvms[1].life == Life::Ended(End::Orphaned), restarts == 0);
    }
}

#[test]
fn a_thread_that_computes_is_seized_looked_at_changed_and_goes_on() {
    let mut monitor = pair(&[]);
    // The client computes, and the server's main thread would serve: another cVM's thread asks for nothing here.
    let main = thread(&monitor, 1);
    let caller = ask(&mut monitor, 220, [10, 11, 12, 13, 14, 15]);
    let clone = [0x1000, 0x2000, 0, KEEP_STACK | KEEP_THREAD_POINTER, 0, 0];
    let (stack, pointer) = (register(caller, "stack"), register(caller, "thread"));
    assert_eq!(call(&mut monitor, Hostcall::Clone, clone).1, 1);
    let worker = monitor.cvms[1].all_threads().nth(1).unwrap();
    let frame = monitor.scheduler[worker].frame;
    assert_eq!((register(frame, "stack"), register(frame, "thread")), (stack, pointer));
    // Who makes a call is not seized, who is not there neither.
    for (client, place, errno) in [
        (1, 0, Errno::EAGAIN),
        (1, 2, Errno::ESRCH),
        (1, 3, Errno::ESRCH),
        (0, 0, Errno::ESRCH),
        (7, 0, Errno::ESRCH),
        (u64::MAX, 0, Errno::ESRCH),
    ] {
        let refused = call(&mut monitor, Hostcall::Seize, [client, place, 0, 0, 0, 0]).1;
        assert_eq!(Errno::from_result(refused), Some(errno), "{client} {place}");
    }
    let token = call(&mut monitor, Hostcall::Seize, [1, 1, 0, 0, 0, 0]).1;
    assert_eq!(monitor.scheduler[worker].state, State::Calling);
    let refused = call(&mut monitor, Hostcall::Seize, [1, 1, 0, 0, 0, 0]).1;
    assert_eq!(Errno::from_result(refused), Some(Errno::EAGAIN), "once");
    // Its registers, and those of the caller that is served.
    let heap = super::service::heap(&monitor, 0);
    let words = |monitor: &mut Monitor, token| {
        assert_eq!(call(monitor, Hostcall::Registers, [token, heap, 0, 0, 0, 0]).1, 0);
        let mut bytes = [0; 8 * REGISTERS];
        arch::user::copy_in(&mut bytes, monitor.scheduler[thread(monitor, 0)].frame.data(), heap).unwrap();
        bytes
    };
    let of_caller = words(&mut monitor, 0);
    let mut of_worker = words(&mut monitor, token);
    // Program counter, stack pointer, thread pointer and arguments: the clone differs by its result.
    assert_eq!(of_caller[..24], of_worker[..24]);
    assert_eq!(of_worker[24..32], 0_u64.to_le_bytes());
    assert_eq!(of_worker[32..40], 11_u64.to_le_bytes());
    of_worker[8..16].copy_from_slice(&0x4440_u64.to_le_bytes());
    let data = monitor.scheduler[thread(&monitor, 0)].frame.data();
    arch::user::copy_out(&of_worker, data, heap).unwrap();
    for (arguments, errno) in [
        ([token, heap, 2, 0, 0, 0], Errno::EINVAL),
        ([token, u64::MAX - 8, 1, 0, 0, 0], Errno::EFAULT),
        ([token + 1, heap, 1, 0, 0, 0], Errno::ENOENT),
    ] {
        let refused = call(&mut monitor, Hostcall::Registers, arguments).1;
        assert_eq!(Errno::from_result(refused), Some(errno), "{arguments:x?}");
    }
    assert_eq!(call(&mut monitor, Hostcall::Registers, [token, heap, 1, 0, 0, 0]).1, 0);
    assert_eq!(register(monitor.scheduler[worker].frame, "stack"), 0x4440);
    // A program counter beyond its PCC changes nothing.
    of_worker[..8].copy_from_slice(&0x10_u64.to_le_bytes());
    of_worker[8..16].copy_from_slice(&0x5550_u64.to_le_bytes());
    arch::user::copy_out(&of_worker, data, heap).unwrap();
    let refused = call(&mut monitor, Hostcall::Registers, [token, heap, 1, 0, 0, 0]).1;
    assert_eq!(Errno::from_result(refused), Some(Errno::EFAULT));
    assert_eq!(register(monitor.scheduler[worker].frame, "stack"), 0x4440);
    assert_eq!(call(&mut monitor, Hostcall::Answer, [token, 99, 0, 0, 0, 0]).1, 0);
    assert_eq!(monitor.scheduler[worker].state, State::Ready);
    assert_eq!(monitor.scheduler[worker].frame.argument(0), 99);
    // One that has started no more, or ends, is left alone.
    let token = call(&mut monitor, Hostcall::Seize, [1, 1, 0, 0, 0, 0]).1;
    assert_eq!(call(&mut monitor, Hostcall::Answer, [token, 0, 0, END_CVM, 0, 0]).1, 0);
    let refused = call(&mut monitor, Hostcall::Seize, [1, 1, 0, 0, 0, 0]).1;
    assert_eq!(Errno::from_result(refused), Some(Errno::EAGAIN));
    assert_eq!(monitor.scheduler[main].state, State::Calling);
}

#[test]
fn only_a_server_around_its_raw_client_changes_its_text() {
    // It does not lie within its server; nor is the server a raw client.
    let mut monitor = pair(&[]);
    ask(&mut monitor, 220, [0; 6]);
    for (client, errno) in [(1, Errno::ESRCH), (0, Errno::ESRCH), (9, Errno::ESRCH)] {
        let refused = call(&mut monitor, Hostcall::Text, [client, 0, 4096, 1, 0, 0]).1;
        assert_eq!(Errno::from_result(refused), Some(errno), "{client}");
    }
    let mut monitor = pair(&[("within", 1)]);
    ask(&mut monitor, 220, [0; 6]);
    let cvm = &monitor.cvms[1];
    let code = cvm.place.seen + cvm.layout.code.start / 4096 * 4096;
    let beyond = (cvm.place.seen + cvm.layout.heap.start).next_multiple_of(4096);
    for (arguments, errno) in [
        ([1, code, 0, 1, 0, 0], Some(Errno::EINVAL)),
        ([1, code, 4095, 1, 0, 0], Some(Errno::EINVAL)),
        ([1, code + 1, 4096, 1, 0, 0], Some(Errno::EINVAL)),
        ([1, code, TEXT_LIMIT + 4096, 1, 0, 0], Some(Errno::EINVAL)),
        ([1, code, 4096, 2, 0, 0], Some(Errno::EINVAL)),
        ([1, beyond, 4096, 1, 0, 0], Some(Errno::EFAULT)),
        ([1, 0u64.wrapping_sub(4096), 4096, 1, 0, 0], Some(Errno::EFAULT)),
        ([1, code, 4096, 1, 0, 0], None),
        ([1, code, 4096, 0, 0, 0], None),
    ] {
        let result = call(&mut monitor, Hostcall::Text, arguments).1;
        assert_eq!(Errno::from_result(result), errno, "{arguments:x?}");
    }
}
