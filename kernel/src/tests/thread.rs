//! The scheduler.

use crate::authority::ledger::MONITOR_DATA;
use crate::cvm::id::{CvmId, ThreadId};
use crate::cvm::thread::{Role, State, Thread};
use crate::run::thread::Scheduler;
use arch::Frame;

/// A scheduler at 10 MHz (a slice is 20,000 ticks) with threads of these priorities, all ready.
fn scheduler(priorities: &[u32]) -> Scheduler {
    let mut scheduler = Scheduler::new(10_000_000);
    for priority in priorities {
        let frame = Box::leak(Frame::boxed(&MONITOR_DATA).unwrap());
        let cvm = CvmId::new(scheduler.threads.len());
        scheduler.add(Thread::new((cvm, cvm), (Role::Main, 0), frame, *priority as u8));
    }
    scheduler.complete(priorities.len());
    for index in 0..priorities.len() {
        scheduler.wake(id(index));
    }
    scheduler
}

fn id(number: usize) -> ThreadId {
    ThreadId::new(number)
}

fn run(scheduler: &mut Scheduler, now: u64) -> Option<usize> {
    scheduler.dispatch(now);
    if scheduler.preempted(now) {
        scheduler.release(now);
        scheduler.dispatch(now);
    }
    scheduler.renew(now);
    scheduler.current().map(ThreadId::index)
}

/// Wakes the sleepers whose time has come.
fn wake_sleepers(scheduler: &mut Scheduler, now: u64) {
    while let Some((number, (at, _))) = scheduler.deadlines.first() {
        if at > now {
            return;
        }
        scheduler.deadlines.remove(number);
        scheduler.wake(id(number));
    }
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
    assert_eq!(
        [0, 1, 2].map(|id| scheduler.run_time(ThreadId::new(id), 120_000)),
        [40_000; 3]
    );
}

#[test]
fn a_greater_priority_runs_first_and_preempts() {
    let mut scheduler = scheduler(&[1, 5]);
    assert_eq!(run(&mut scheduler, 0), Some(1));
    scheduler.sleep(100, 10);
    assert_eq!(run(&mut scheduler, 10), Some(0));
    wake_sleepers(&mut scheduler, 99);
    assert!(!scheduler.preempted(99));
    wake_sleepers(&mut scheduler, 100);
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
    assert_eq!(scheduler.deadline(), 70_000);
}

#[test]
fn the_deadline_is_the_earlier_of_slice_and_sleeper() {
    let mut scheduler = scheduler(&[3, 3]);
    run(&mut scheduler, 0);
    scheduler.sleep(500, 0);
    assert_eq!(scheduler.deadline(), 500, "nobody runs");
    run(&mut scheduler, 0);
    assert_eq!(scheduler.deadline(), 500);
    wake_sleepers(&mut scheduler, 500);
    assert_eq!(scheduler.deadline(), 20_000);
}

#[test]
fn a_stopped_thread_never_runs_again_until_woken() {
    let mut scheduler = scheduler(&[3, 3]);
    run(&mut scheduler, 0);
    scheduler.stop(id(1), 0);
    scheduler.stop(id(0), 7);
    assert_eq!(run(&mut scheduler, 10), None);
    assert_eq!(scheduler.run_time(id(0), 10), 7);
    scheduler.wake(id(1));
    assert_eq!(run(&mut scheduler, 10), Some(1));
}

#[test]
fn who_waits_longest_is_the_first_reader() {
    let mut scheduler = scheduler(&[3, 3]);
    for number in [0, 1] {
        assert_eq!(run(&mut scheduler, 0), Some(number));
        scheduler.read(0);
    }
    assert_eq!(scheduler.reader(), Some(id(0)));
    scheduler.wake_reader();
    assert_eq!(scheduler.reader(), Some(id(1)));
    assert_eq!(
        [0, 1].map(|number| scheduler[id(number)].state),
        [State::Ready, State::Reading]
    );
}

#[test]
fn waking_twice_queues_once() {
    let mut scheduler = scheduler(&[3]);
    scheduler.wake(id(0));
    run(&mut scheduler, 0);
    scheduler.stop(id(0), 0);
    assert_eq!(run(&mut scheduler, 0), None);
}
