//! Threads and time: slices, priorities, sleep, and the order in which cVMs are started.

use tests::{Outcome, Platform, Scenario, cvm, on_every_platform};
use tools::manifest::CvmSpec;

on_every_platform!(
    two_spinners_share_the_processor,
    a_spinner_delays_a_sleeper_by_its_slice_at_most,
    a_greater_priority_preempts,
    a_lesser_priority_waits,
    equal_priorities_take_turns_when_they_yield,
    without_wait_all_start_together,
    wait_zero_is_until_the_end,
    a_wait_ends_after_its_seconds,
    a_wait_ends_with_the_one_waited_for,
);

const MILLISECOND: u64 = 1_000_000;
/// A time slice in nanoseconds.
const SLICE: u64 = 2 * MILLISECOND;

fn with_priority(cvm: CvmSpec, priority: u32) -> CvmSpec {
    CvmSpec { priority, ..cvm }
}

fn with_wait(cvm: CvmSpec, wait: i32) -> CvmSpec {
    CvmSpec { wait, ..cvm }
}

/// Virtual times of the lines of a cVM since its first, in nanoseconds, where the platform tells them.
fn times(outcome: &Outcome, writer: &str) -> Option<Vec<u64>> {
    outcome
        .lines
        .iter()
        .filter(|line| line.writer == writer)
        .map(|line| line.time)
        .collect()
}

fn two_spinners_share_the_processor(platform: Platform) {
    let spinner = |name| cvm(name, "spinner", &["100"]);
    let outcome = Scenario::new([spinner("one"), spinner("two"), cvm("clock", "clock", &["9", "10"])]).boot(platform);
    outcome.assert_status(0);
    let shares = ["one", "two"].map(|name| outcome.row(name).time);
    for share in shares {
        assert!((47_000..=53_000).contains(&share), "{shares:?} µs of 100 ms\n{outcome}");
    }
    assert!(outcome.row("clock").time < 2000, "a sleeper needs no time\n{outcome}");
}

fn a_spinner_delays_a_sleeper_by_its_slice_at_most(platform: Platform) {
    let spinner = |name| cvm(name, "spinner", &["100"]);
    let outcome = Scenario::new([spinner("one"), spinner("two"), cvm("clock", "clock", &["9", "10"])]).boot(platform);
    outcome.assert_status(0);
    assert_eq!(outcome.of("clock").len(), 9, "{outcome}");
    assert!(
        outcome.position("clock", "tick 9") < outcome.position("one", "spun"),
        "{outcome}"
    );
    // Two others are in the queue: the sleeper waits for a slice of each at most, and its ticks do not drift.
    let Some(ticks) = times(&outcome, "clock") else { return };
    for (number, time) in ticks.iter().enumerate() {
        let expected = ticks[0] + number as u64 * 10 * MILLISECOND;
        assert!(
            time.abs_diff(expected) <= 2 * SLICE + MILLISECOND / 2,
            "tick {number} of {ticks:?}\n{outcome}"
        );
    }
}

fn a_greater_priority_preempts(platform: Platform) {
    let spinners = ["one", "two"].map(|name| cvm(name, "spinner", &["60"]));
    let clock = with_priority(cvm("clock", "clock", &["5", "7"]), 4);
    let outcome = Scenario::new(spinners.into_iter().chain([clock]).collect::<Vec<_>>()).boot(platform);
    outcome.assert_status(0);
    let first_end = outcome
        .lines
        .iter()
        .position(|line| line.text.starts_with("spun"))
        .unwrap();
    assert!(outcome.position("clock", "tick 5") < first_end, "{outcome}");
    // It does not wait for the end of a slice, which its period is no multiple of.
    let Some(ticks) = times(&outcome, "clock") else { return };
    for pair in ticks.windows(2) {
        assert!(
            (pair[1] - pair[0]).abs_diff(7 * MILLISECOND) <= MILLISECOND / 10,
            "{ticks:?}\n{outcome}"
        );
    }
}

fn a_lesser_priority_waits(platform: Platform) {
    let clock = with_priority(cvm("clock", "clock", &["3", "1"]), 0);
    let spinner = with_priority(cvm("spinner", "spinner", &["20"]), 7);
    let outcome = Scenario::new([clock, spinner]).boot(platform);
    outcome.assert_status(0);
    assert!(
        outcome.position("spinner", "spun") < outcome.position("clock", "tick 1"),
        "{outcome}"
    );
}

fn equal_priorities_take_turns_when_they_yield(platform: Platform) {
    let outcome = Scenario::new([cvm("one", "idle", &["500"]), cvm("two", "idle", &["500"])]).boot(platform);
    outcome.assert_status(0);
    for name in ["one", "two"] {
        assert_eq!(outcome.of(name), ["yielded 500 times"], "{outcome}");
        // The yields, one write, one exit.
        assert_eq!(outcome.row(name).hostcalls, 502, "{outcome}");
    }
    let (one, two) = (outcome.row("one").time, outcome.row("two").time);
    assert!(one.abs_diff(two) * 20 <= one, "{one} and {two} µs\n{outcome}");
}

fn without_wait_all_start_together(platform: Platform) {
    let outcome = Scenario::new([cvm("clock", "clock", &["2", "5"]), cvm("hello", "hello", &[])]).boot(platform);
    outcome.assert_status(0);
    assert!(
        outcome
            .monitor()
            .iter()
            .any(|line| line.starts_with("2 of 2 cVMs started")),
        "{outcome}"
    );
    assert!(
        outcome.position("hello", "hello") < outcome.position("clock", "tick 1"),
        "{outcome}"
    );
}

fn wait_zero_is_until_the_end(platform: Platform) {
    let clock = with_wait(cvm("clock", "clock", &["3", "5"]), 0);
    let rogue = with_wait(cvm("rogue", "rogue", &["illegal"]), 0);
    let outcome = Scenario::new([clock, rogue, cvm("hello", "hello", &[])]).boot(platform);
    assert!(
        outcome
            .monitor()
            .iter()
            .any(|line| line.starts_with("1 of 3 cVMs started")),
        "{outcome}"
    );
    assert!(
        outcome.position("clock", "tick 3") < outcome.position("rogue", "rogue: about"),
        "{outcome}"
    );
    // An end by a fault is an end.
    assert!(
        outcome.position("monitor", "rogue: fault") < outcome.position("hello", "hello"),
        "{outcome}"
    );
    assert_eq!(outcome.row("hello").state, "exited 0", "{outcome}");
}

fn a_wait_ends_after_its_seconds(platform: Platform) {
    let clock = with_wait(cvm("clock", "clock", &["15", "100"]), 1);
    let outcome = Scenario::new([clock, cvm("hello", "hello", &[])]).boot(platform);
    outcome.assert_status(0);
    let hello = outcome.position("hello", "hello");
    assert!(outcome.position("clock", "tick 9 ") < hello, "{outcome}");
    assert!(hello < outcome.position("clock", "tick 11 "), "{outcome}");
}

fn a_wait_ends_with_the_one_waited_for(platform: Platform) {
    let short = with_wait(cvm("short", "clock", &["3", "10"]), 5);
    let outcome =
        Scenario::new([short, cvm("hello", "hello", &[]), cvm("clock", "clock", &["1", "100"])]).boot(platform);
    outcome.assert_status(0);
    assert!(
        outcome.position("short", "tick 3") < outcome.position("hello", "hello"),
        "{outcome}"
    );
    let Some(hello) = times(&outcome, "hello") else { return };
    let end = times(&outcome, "short").unwrap()[2];
    assert!(hello[0] - end < 10 * MILLISECOND, "{outcome}");
}
