//! Threads of a cVM, waiting by address, several handlers, deferred answers, and the priority of who waits.

use super::service::{call, heap, monitor};
use super::{dispatch, frame, running, running_cvm, thread};
use crate::cvm::id::CvmId;
use crate::cvm::thread::{Role, State};
use crate::cvm::{End, Life};
use crate::run::monitor::Monitor;
use crate::run::tree::Tree;
use abi::hostcall::WAIT_FOREVER;
use abi::{Errno, FaultKind, Hostcall};
use arch::{Frame, stand_in};
use proptest::prelude::*;
use std::collections::BTreeMap;

const THREADS: (&str, u64) = ("threads", 4);

fn errno(result: u64) -> Option<Errno> {
    Errno::from_result(result)
}

/// Lets the running thread make a hostcall; returns its first result register.
fn ask(monitor: &mut Monitor, hostcall: Hostcall, arguments: [u64; 6]) -> u64 {
    let frame = monitor.next();
    frame.set_hostcall(hostcall as u64, arguments);
    dispatch(monitor, frame);
    frame.argument(0)
}

/// The running thread's cVM and its number there.
fn who(monitor: &mut Monitor) -> (usize, u64) {
    monitor.next();
    let thread = &monitor.scheduler[monitor.scheduler.current().unwrap()];
    (thread.cvm.index(), thread.number())
}

/// Where the running thread's program is.
fn entry(monitor: &Monitor, cvm: usize) -> u64 {
    monitor.cvms[cvm].memory().start + monitor.cvms[cvm].layout.program.start
}

fn create(monitor: &mut Monitor, cvm: usize, priority: u64) -> u64 {
    let entry = entry(monitor, cvm);
    ask(
        monitor,
        Hostcall::ThreadCreate,
        [entry, 0x1000, 0x2000, 0x3000, priority, 0],
    )
}

#[test]
fn a_thread_starts_with_what_it_was_given_and_with_its_creators_authority() {
    let mut monitor = monitor(&[("a", "monitor", &[THREADS])]);
    assert_eq!(create(&mut monitor, 0, 3), 1);
    ask(&mut monitor, Hostcall::Yield, [0; 6]);
    assert_eq!(who(&mut monitor), (0, 1));
    let frame = monitor.next();
    assert_eq!((frame.pc(), frame.argument(0)), (entry(&monitor, 0), 0x3000));
    let of = |frame: &Frame, name| frame.registers().find(|(other, _)| *other == name).unwrap().1;
    let main = super::frame(&monitor, 0);
    assert_eq!(
        [of(frame, "stack").address, of(frame, "thread").address],
        [0x1000, 0x2000]
    );
    assert_eq!(format!("{}", of(frame, "data")), format!("{}", of(main, "data")));
    assert_eq!(frame.code().decoded().base, main.code().decoded().base);
    assert_eq!(ask(&mut monitor, Hostcall::ThreadSelf, [0; 6]), 1);
}

#[test]
fn quota_priority_and_entry_are_looked_at_in_this_order() {
    let mut monitor = monitor(&[("a", "monitor", &[THREADS])]);
    assert_eq!(errno(create(&mut monitor, 0, 4)), Some(Errno::EPERM));
    for beyond in [0, monitor.cvms[0].memory().end, u64::MAX] {
        let refused = ask(&mut monitor, Hostcall::ThreadCreate, [beyond, 0, 0, 0, 0, 0]);
        assert_eq!(errno(refused), Some(Errno::EFAULT), "{beyond:#x}");
    }
    assert_eq!([0; 3].map(|priority| create(&mut monitor, 0, priority)), [1, 2, 3]);
    assert_eq!(errno(create(&mut monitor, 0, 0)), Some(Errno::EAGAIN));
    assert_eq!(errno(create(&mut monitor, 0, 9)), Some(Errno::EPERM));
    assert_eq!(ask(&mut monitor, Hostcall::ThreadEnd, [2, 0, 0, 0, 0, 0]), 0);
    let again = create(&mut monitor, 0, 0);
    assert_eq!(again, 1 << 16 | 2, "the same place, another number");
    assert_eq!(
        errno(ask(&mut monitor, Hostcall::ThreadEnd, [2, 0, 0, 0, 0, 0])),
        Some(Errno::ESRCH)
    );
}

#[test]
fn who_may_not_be_ended_is_not_and_what_ends_leaves_nothing() {
    let mut monitor = monitor(&[("s", "monitor", &[THREADS]), ("c", "s", &[])]);
    assert_eq!(create(&mut monitor, 0, 3), 1);
    for (id, expected) in [
        (0, Errno::EPERM),
        (4, Errno::EPERM),
        (2, Errno::ESRCH),
        (1 << 16, Errno::ESRCH),
        (u64::MAX, Errno::ESRCH),
    ] {
        let result = ask(&mut monitor, Hostcall::ThreadEnd, [id, 0, 0, 0, 0, 0]);
        assert_eq!(errno(result), Some(expected), "{id}");
    }
    assert_eq!(
        errno(ask(&mut monitor, Hostcall::ThreadExit, [0; 6])),
        Some(Errno::EPERM)
    );
    assert_eq!(ask(&mut monitor, Hostcall::ThreadEnd, [1, 0, 0, 0, 0, 0]), 0);
    let worker = monitor.cvms[0].all_threads().nth(1).unwrap();
    assert_eq!(monitor.scheduler[worker].state, State::Stopped);
    assert!(monitor.scheduler[worker].frame.registers().all(|(_, what)| !what.tag));
}

#[test]
fn an_exit_wakes_who_joins_when_the_thread_is_gone() {
    let mut monitor = monitor(&[("a", "monitor", &[THREADS])]);
    let word = heap(&monitor, 0);
    arch::user::copy_out(&[7, 0, 0, 0], &monitor.cvms[0].authority.data, word).unwrap();
    create(&mut monitor, 0, 3);
    ask(&mut monitor, Hostcall::Wait, [word, 7, WAIT_FOREVER, 0, 0, 0]);
    assert_eq!(who(&mut monitor), (0, 1));
    ask(&mut monitor, Hostcall::ThreadExit, [word, 1, 0, 0, 0, 0]);
    assert_eq!(who(&mut monitor), (0, 0));
    assert_eq!(frame(&monitor, 0).argument(0), 0);
    assert_eq!(stand_in::memory(word, 4), [0; 4]);
    let worker = monitor.cvms[0].all_threads().nth(1).unwrap();
    for (name, what) in monitor.scheduler[worker].frame.registers() {
        assert!(!what.tag, "the register {name} of a thread that is gone: {what}");
    }
    assert_eq!(create(&mut monitor, 0, 3), 1 << 16 | 1, "its place is free");
}

#[test]
fn a_fault_of_any_thread_ends_the_cvm_and_a_restart_begins_with_one() {
    let restart = [THREADS, ("restart-delay", 0)];
    let mut monitor = monitor(&[("a", "monitor", &restart)]);
    create(&mut monitor, 0, 3);
    let now = arch::timer::now();
    monitor.end(CvmId::new(0), End::Faulted(FaultKind::Bounds), now);
    assert_eq!(monitor.cvms[0].life, Life::Ended(End::Faulted(FaultKind::Bounds)));
    for id in monitor.cvms[0].all_threads() {
        assert_eq!(monitor.scheduler[id].state, State::Stopped);
        assert!(monitor.scheduler[id].frame.registers().all(|(_, what)| !what.tag));
    }
}

#[test]
fn waits_look_at_the_word_and_end_by_wake_or_by_time() {
    let mut monitor = monitor(&[("a", "monitor", &[THREADS])]);
    let word = heap(&monitor, 0);
    arch::user::copy_out(&[0; 8], &monitor.cvms[0].authority.data, word).unwrap();
    let end = monitor.cvms[0].memory().end;
    for (arguments, expected) in [
        ([word + 1, 0, 1], Errno::EINVAL),
        ([word, 1 << 32, 1], Errno::EINVAL),
        ([word, 0, u64::MAX - 1], Errno::EINVAL),
        ([end, 0, 1], Errno::EFAULT),
        ([u64::MAX - 3, 0, 1], Errno::EFAULT),
        ([word, 5, 1], Errno::EAGAIN),
        ([word, 0, 0], Errno::ETIMEDOUT),
    ] {
        let [word, expected_word, timeout] = arguments;
        let result = ask(&mut monitor, Hostcall::Wait, [word, expected_word, timeout, 0, 0, 0]);
        assert_eq!(errno(result), Some(expected), "{arguments:x?}");
    }
    let begun = arch::timer::now();
    ask(&mut monitor, Hostcall::Wait, [word, 0, 1_000_000, 0, 0, 0]);
    assert_eq!(errno(monitor.next().argument(0)), Some(Errno::ETIMEDOUT));
    assert!(arch::timer::now() > begun + 10_000, "not before its time");
    for (arguments, expected) in [([word + 2, 1], Errno::EINVAL), ([end, 1], Errno::EFAULT)] {
        let result = ask(&mut monitor, Hostcall::Wake, [arguments[0], arguments[1], 0, 0, 0, 0]);
        assert_eq!(errno(result), Some(expected));
    }
    assert_eq!(
        ask(&mut monitor, Hostcall::Wake, [word, 1, 0, 0, 0, 0]),
        0,
        "nobody waits any more"
    );
}

#[test]
fn the_most_urgent_wakes_first_then_who_waits_longest_and_no_other_word() {
    let mut monitor = monitor(&[
        ("low", "monitor", &[("priority", 2)]),
        ("high", "monitor", &[("priority", 4)]),
        ("low2", "monitor", &[("priority", 2)]),
        ("waker", "monitor", &[("priority", 1)]),
    ]);
    // All wait for words of their own, which only the key tells apart: the test moves them to one.
    let word = heap(&monitor, 3);
    for _ in 0..3 {
        monitor.next();
        let now = arch::timer::now();
        monitor.scheduler.wait(word, None, now);
    }
    arch::user::copy_out(&[0; 8], &monitor.cvms[3].authority.data, word).unwrap();
    assert_eq!(who(&mut monitor), (3, 0));
    assert_eq!(ask(&mut monitor, Hostcall::Wake, [word + 4, 9, 0, 0, 0, 0]), 0);
    let mut order = Vec::new();
    for _ in 0..3 {
        while running(&monitor) != 3 {
            order.push(running(&monitor));
            monitor.scheduler.sleep(u64::MAX, arch::timer::now());
            monitor.next();
        }
        assert_eq!(ask(&mut monitor, Hostcall::Wake, [word, 1, 0, 0, 0, 0]), 1);
        monitor.next();
    }
    order.push(running(&monitor));
    assert_eq!(order, [1, 0, 2]);
}

/// A server with handlers and clients of these priorities; the server rests, all clients have called.
fn served(handlers: u64, priorities: &[u64]) -> Box<Monitor> {
    let names: Vec<String> = (0..priorities.len()).map(|index| format!("c{index}")).collect();
    let properties: Vec<[(&str, u64); 1]> = priorities.iter().map(|priority| [("priority", *priority)]).collect();
    let server = [("handlers", handlers), ("priority", 7), THREADS];
    let mut cvms: Vec<super::service::Node<'_>> = vec![("s", "monitor", &server)];
    for (name, properties) in names.iter().zip(&properties) {
        cvms.push((name, "s", properties));
    }
    let mut monitor = monitor(&cvms);
    assert_eq!(call(&mut monitor, Hostcall::Serve, [0; 6]).0, 0);
    monitor
}

/// Whom the handlers of the first cVM serve; each has been told so.
fn serving(monitor: &Monitor) -> Vec<Option<usize>> {
    let told = |id| {
        let caller = monitor.served_by(id).map(CvmId::index)?;
        let frame = monitor.scheduler[id].frame;
        assert_eq!(frame.argument(6), caller as u64, "the caller's number");
        assert_eq!(frame.argument(7), frame.number(), "the hostcall's number");
        Some(caller)
    };
    monitor.cvms[0].handlers().map(told).collect()
}

#[test]
fn as_many_calls_are_served_as_there_are_handlers_each_on_a_stack_of_its_own() {
    let mut monitor = served(2, &[3, 3, 3]);
    for number in 1..=3 {
        assert_eq!(
            call(&mut monitor, Hostcall::Clock, [number, 0, 0, 0, 0, 0]).0,
            number as usize
        );
        // The handler gives the processor away.
        if number < 3 {
            monitor.next();
            monitor.scheduler.release(arch::timer::now());
        }
    }
    assert_eq!(serving(&monitor), [Some(1), Some(2)]);
    let stacks: Vec<_> = monitor.cvms[0]
        .handlers()
        .map(|id| {
            let frame = monitor.scheduler[id].frame;
            frame.registers().find(|(name, _)| *name == "spare").unwrap().1
        })
        .collect();
    assert!(
        stacks[0].top <= u128::from(stacks[1].base),
        "{} {}",
        stacks[0],
        stacks[1]
    );
    // Whoever is ready first replies; the third call begins with the free handler.
    call(&mut monitor, Hostcall::Reply, [0; 6]);
    assert!(serving(&monitor).contains(&Some(3)));
}

#[test]
fn a_deferred_call_is_answered_once_by_its_server_alone() {
    let mut monitor = served(1, &[3, 3]);
    call(&mut monitor, Hostcall::Clock, [1, 0, 0, 0, 0, 0]);
    let token = call(&mut monitor, Hostcall::Defer, [0; 6]).1;
    assert!(errno(token).is_none());
    assert_eq!(
        errno(call(&mut monitor, Hostcall::Defer, [0; 6]).1),
        Some(Errno::EPERM),
        "there is no call any more"
    );
    for forged in [token ^ 1, token + (1 << 16), token | 1 << 60, 0, u64::MAX] {
        let result = call(&mut monitor, Hostcall::Answer, [forged, 1, 0, 0, 0, 0]).1;
        assert_eq!(errno(result), Some(Errno::ENOENT), "{forged:#x}");
    }
    call(&mut monitor, Hostcall::Reply, [99, 0, 0, 0, 0, 0]);
    assert_eq!(
        monitor.scheduler[thread(&monitor, 1)].state,
        State::Calling,
        "not answered yet"
    );
    // Another client's call is served meanwhile; it is no token's business.
    assert_eq!(call(&mut monitor, Hostcall::Clock, [2, 0, 0, 0, 0, 0]).0, 2);
    assert_eq!(call(&mut monitor, Hostcall::Answer, [token, 7, 8, 1, 0, 0]).1, 0);
    assert_eq!((frame(&monitor, 1).argument(0), frame(&monitor, 1).argument(1)), (7, 8));
    let again = call(&mut monitor, Hostcall::Answer, [token, 1, 0, 0, 0, 0]).1;
    assert_eq!(errno(again), Some(Errno::ENOENT), "once");
}

#[test]
fn a_token_dies_with_budget_client_and_server() {
    let defer = |monitor: &mut Monitor| {
        call(monitor, Hostcall::Clock, [1, 0, 0, 0, 0, 0]);
        let token = call(monitor, Hostcall::Defer, [0; 6]).1;
        (token, arch::timer::now())
    };
    let mut late = served(1, &[3]);
    let (token, now) = defer(&mut late);
    late.due(now + 10_000_000);
    assert_eq!(errno(frame(&late, 1).argument(0)), Some(Errno::ETIMEDOUT));
    assert_eq!(
        errno(call(&mut late, Hostcall::Answer, [token, 1, 0, 0, 0, 0]).1),
        Some(Errno::ENOENT)
    );
    let mut ended = served(1, &[3, 3]);
    let (token, now) = defer(&mut ended);
    ended.end(CvmId::new(1), End::Exited(0), now);
    assert_eq!(
        errno(call(&mut ended, Hostcall::Answer, [token, 1, 0, 0, 0, 0]).1),
        Some(Errno::ENOENT)
    );
    let mut gone = served(1, &[3]);
    let (_, now) = defer(&mut gone);
    gone.end(CvmId::new(0), End::Exited(0), now);
    assert_eq!(errno(frame(&gone, 1).argument(0)), Some(Errno::ECONNRESET));
}

#[test]
fn a_server_works_with_the_greatest_priority_of_those_that_wait() {
    let mut monitor = served(1, &[1, 5]);
    let priority = |monitor: &Monitor, number| monitor.scheduler[thread(monitor, number)].priority;
    // The one of priority 5 sleeps first.
    monitor.next();
    assert_eq!(running(&monitor), 2);
    let now = arch::timer::now();
    monitor.scheduler.sleep(now + 10, now);
    while monitor.scheduler[thread(&monitor, 3)].serving.is_none() {
        let frame = monitor.next();
        assert_eq!(running(&monitor), 1);
        frame.set_hostcall(Hostcall::Clock as u64, [0; 6]);
        dispatch(&mut monitor, frame);
    }
    assert_eq!(priority(&monitor, 3), 1, "in the time of its caller");
    stand_in::advance(1000);
    monitor.due(arch::timer::now());
    monitor.next();
    assert_eq!(running(&monitor), 2, "the greater priority runs at once");
    call(&mut monitor, Hostcall::Clock, [0; 6]);
    assert_eq!(
        priority(&monitor, 3),
        5,
        "and waits for the handler, which is urgent now"
    );
    call(&mut monitor, Hostcall::Reply, [0; 6]);
    monitor.next();
    assert_eq!(
        (running(&monitor), serving(&monitor)),
        (3, vec![Some(2)]),
        "not the answered caller"
    );
    assert_eq!(monitor.scheduler[thread(&monitor, 3)].role, Role::Handler(0));
}

#[test]
fn a_call_of_a_handler_is_served_with_the_priority_of_its_own_caller() {
    let mut monitor = monitor(&[
        ("s1", "monitor", &[("priority", 7)]),
        ("s2", "s1", &[("priority", 6)]),
        ("c", "s2", &[("priority", 1)]),
    ]);
    for server in [0, 1] {
        assert_eq!(call(&mut monitor, Hostcall::Serve, [0; 6]).0, server);
    }
    for caller in [2, 4] {
        assert_eq!(call(&mut monitor, Hostcall::Clock, [0; 6]).0, caller);
    }
    monitor.next();
    assert_eq!(running(&monitor), 3, "the handler of the last server");
    assert_eq!(monitor.scheduler[thread(&monitor, 3)].priority, 1);
}

#[test]
fn an_ended_slice_is_not_renewed_by_calls() {
    let mut monitor = monitor(&[("s", "monitor", &[]), ("a", "s", &[]), ("b", "monitor", &[])]);
    call(&mut monitor, Hostcall::Serve, [0; 6]);
    let mut runs = 0;
    monitor.next();
    let slice = stand_in::deadline().unwrap();
    while running(&monitor) != 2 {
        assert!(
            stand_in::deadline().unwrap() <= slice,
            "the timer still interrupts at the end of the slice"
        );
        call(&mut monitor, Hostcall::Clock, [0; 6]);
        call(&mut monitor, Hostcall::Reply, [0; 6]);
        stand_in::advance(1000);
        let now = arch::timer::now();
        if now >= slice {
            monitor.reschedule(now);
        }
        monitor.next();
        runs += 1;
        assert!(runs < 100);
    }
    assert!(runs >= 10, "{runs}");
}

#[test]
fn a_slice_is_not_cut_short_and_ends_in_favour_of_the_next() {
    let mut monitor = monitor(&[("a", "monitor", &[]), ("b", "monitor", &[])]);
    monitor.next();
    assert_eq!(running(&monitor), 0);
    let slice = stand_in::deadline().unwrap();
    stand_in::advance(slice - arch::timer::now() - 1);
    assert!(
        monitor.usual_switch().is_none(),
        "a timer interrupt before the end of the slice"
    );
    stand_in::advance(1);
    let next = monitor.usual_switch().unwrap();
    assert_eq!(running(&monitor), 1);
    assert!(std::ptr::eq(next, frame(&monitor, 1)));
    assert!(stand_in::deadline().unwrap() > slice);
}

/// What a thread of one cVM asks for: which hostcall, of which word, which timeout or count.
type Step = (u8, u64, u64);

/// Carries out a step of the running thread, on the short ways or not; says who runs then, and what everybody has in its
/// result register and does.
fn carry_out(monitor: &mut Monitor, (kind, word, choice): Step, short: bool) -> (usize, Vec<(u64, State, u64)>) {
    let word = heap(monitor, 0) + 4 * word;
    let (hostcall, arguments) = match kind {
        0 | 1 => {
            let timeout = [WAIT_FOREVER, WAIT_FOREVER, 1_000_000, 0][choice as usize % 4];
            (Hostcall::Wait, [word, choice / 8, timeout, 0, 0, 0])
        }
        2 | 3 => (Hostcall::Wake, [word, choice % 4, 0, 0, 0, 0]),
        4 => (Hostcall::ThreadPriority, [choice % 4, choice % 3, 0, 0, 0, 0]),
        _ => (Hostcall::Nanosleep, [choice * 100_000, 0, 0, 0, 0, 0]),
    };
    let frame = monitor.next();
    frame.set_hostcall(hostcall as u64, arguments);
    if short {
        dispatch(monitor, frame);
    } else {
        let thread = monitor.scheduler.current().unwrap();
        crate::hostcall::dispatch(monitor, thread, frame);
    }
    monitor.next();
    let running = monitor.scheduler.current().unwrap();
    let all = monitor.scheduler.threads.iter();
    let all = all.map(|thread| (thread.frame.argument(0), thread.state, thread.ran));
    (running.index(), all.collect())
}

proptest! {
    #[test]
    fn the_short_ways_of_waits_and_wakes_do_what_the_long_one_does(
        steps in prop::collection::vec((0_u8..6, 0_u64..3, 0_u64..12), 1..60),
    ) {
        // The main thread of "b" never waits, so that somebody can run; words 0 and 1 fall into places of their own.
        let monitors = [true, false].map(|short| {
            let mut monitor = monitor(&[("a", "monitor", &[THREADS]), ("b", "monitor", &[("priority", 0)])]);
            for _ in 0..3 {
                create(&mut monitor, 0, 2);
            }
            arch::user::copy_out(&[0; 16], &monitor.cvms[0].authority.data, heap(&monitor, 0)).unwrap();
            let mut seen = Vec::new();
            for step in &steps {
                monitor.next();
                let step = if running_cvm(&monitor) == 0 { *step } else { (2, step.1, 1) };
                seen.push(carry_out(&mut monitor, step, short));
            }
            seen
        });
        prop_assert_eq!(&monitors[0], &monitors[1]);
    }

    #[test]
    fn the_ordered_set_is_ordered(steps in prop::collection::vec((0_usize..40, 0_u64..60), 1..400)) {
        let mut tree = Tree::new();
        tree.grow(40);
        let mut model: BTreeMap<(u64, u64), usize> = BTreeMap::new();
        for (number, key) in steps {
            let key = (key, number as u64);
            if tree.contains(number) {
                model.retain(|_, other| *other != number);
                tree.remove(number);
            } else {
                model.insert(key, number);
                tree.insert(number, key);
            }
            let first = model.iter().next().map(|(key, number)| (*number, *key));
            prop_assert_eq!(tree.first(), first);
            let from = model.range(key..).next().map(|(key, number)| (*number, *key));
            prop_assert_eq!(tree.from(key), from);
            for number in 0..40 {
                prop_assert_eq!(tree.contains(number), model.values().any(|other| *other == number));
            }
        }
    }
}
