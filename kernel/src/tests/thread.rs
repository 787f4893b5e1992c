//! The scheduler.

use crate::authority::ledger::MONITOR_DATA;
use crate::run::thread::{Scheduler, State};
use arch::Frame;

extern "C" fn never(_: &'static Frame) -> &'static Frame {
    unreachable!("no trap comes on the host")
}

/// A scheduler at 10 MHz (a slice is 20,000 ticks) with threads of these priorities, all ready.
fn scheduler(priorities: &[u32]) -> Scheduler {
    let mut scheduler = Scheduler::new(10_000_000);
    for priority in priorities {
        let frame = Frame::boxed(&MONITOR_DATA, never).unwrap();
        let id = scheduler.add(Box::leak(frame), *priority);
        scheduler.wake(id);
    }
    scheduler
}

fn run(scheduler: &mut Scheduler, now: u64) -> Option<usize> {
    scheduler.dispatch(now);
    scheduler.current()
}

#[test]
fn threads_of_one_priority_take_turns() {
    let mut scheduler = scheduler(&[3, 3, 3]);
    let mut order = Vec::new();
    for slice in 0..6 {
        order.push(run(&mut scheduler, slice * 20_000));
        assert!(!scheduler.preempted(slice * 20_000 + 19_999), "within the slice");
        assert!(scheduler.preempted((slice + 1) * 20_000), "at its end");
        scheduler.release((slice + 1) * 20_000);
    }
    assert_eq!(order, [0, 1, 2, 0, 1, 2].map(Some));
    assert_eq!([0, 1, 2].map(|id| scheduler.run_time(id, 120_000)), [40_000; 3]);
}

#[test]
fn a_greater_priority_runs_first_and_preempts() {
    let mut scheduler = scheduler(&[1, 5]);
    assert_eq!(run(&mut scheduler, 0), Some(1));
    scheduler.block(State::Sleeping(100), 10);
    assert_eq!(run(&mut scheduler, 10), Some(0));
    scheduler.wake_sleepers(99);
    assert!(!scheduler.preempted(99));
    scheduler.wake_sleepers(100);
    assert!(scheduler.preempted(100));
    scheduler.release(100);
    assert_eq!(run(&mut scheduler, 100), Some(1));
}

#[test]
fn a_thread_alone_goes_on_after_its_slice() {
    let mut scheduler = scheduler(&[3]);
    assert_eq!(run(&mut scheduler, 0), Some(0));
    assert!(!scheduler.preempted(50_000));
    assert_eq!(run(&mut scheduler, 50_000), Some(0));
    assert_eq!(scheduler.deadline(), Some(70_000));
}

#[test]
fn the_deadline_is_the_earlier_of_slice_and_sleeper() {
    let mut scheduler = scheduler(&[3, 3]);
    run(&mut scheduler, 0);
    scheduler.block(State::Sleeping(500), 0);
    assert_eq!(scheduler.deadline(), Some(500), "nobody runs");
    run(&mut scheduler, 0);
    assert_eq!(scheduler.deadline(), Some(500));
    scheduler.wake_sleepers(500);
    assert_eq!(scheduler.deadline(), Some(20_000));
}

#[test]
fn a_stopped_thread_never_runs_again_until_woken() {
    let mut scheduler = scheduler(&[3, 3]);
    run(&mut scheduler, 0);
    scheduler.stop(1, 0);
    scheduler.stop(0, 7);
    assert_eq!(run(&mut scheduler, 10), None);
    assert_eq!(scheduler.run_time(0, 10), 7);
    scheduler.wake(1);
    assert_eq!(run(&mut scheduler, 10), Some(1));
}

#[test]
fn who_waits_longest_is_the_first_reader() {
    let mut scheduler = scheduler(&[3, 3]);
    for (id, since) in [(0, 20), (1, 10)] {
        assert_eq!(run(&mut scheduler, 0), Some(id));
        scheduler.block(State::Reading(since), 0);
    }
    assert_eq!(scheduler.reader(), Some(1));
    scheduler.wake(1);
    assert_eq!(scheduler.reader(), Some(0));
}

#[test]
fn waking_twice_queues_once() {
    let mut scheduler = scheduler(&[3]);
    scheduler.wake(0);
    run(&mut scheduler, 0);
    scheduler.stop(0, 0);
    assert_eq!(run(&mut scheduler, 0), None);
}
