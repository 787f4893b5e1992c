//! Restart policies: who is started again, how often, when, and that nothing of the earlier life is left.

use abi::FaultKind;
use abi::manifest::RestartPolicy;
use tests::{Outcome, Platform, Scenario, code, cvm, on_every_platform, on_machine};
use tools::manifest::{CvmSpec, Restart};

on_every_platform!(
    never_means_never,
    on_fault_restarts_after_a_fault_and_not_after_an_exit,
    always_restarts_after_both,
    a_restart_waits_for_its_delay,
    a_restart_without_a_delay_does_not_starve_the_others,
    a_restart_gives_fresh_memory_and_registers,
);

on_machine!(a_restart_rests_for_longer_than_the_monitor_was_busy_with_the_end);

const MILLISECOND: u64 = 1_000_000;

fn restarted(cvm: CvmSpec, policy: RestartPolicy, limit: u32, delay: u64) -> CvmSpec {
    CvmSpec {
        restart: Restart { policy, limit, delay },
        ..cvm
    }
}

/// State and restarts of a cVM at the end, and how many faults it had.
fn fate(outcome: &Outcome, name: &str) -> (String, u32, usize) {
    let row = outcome.row(name);
    (
        row.state,
        row.restarts,
        outcome.faults().iter().filter(|fault| fault.cvm == name).count(),
    )
}

/// A cVM that exits with 0, one that exits with 3 and one that faults, with the same policy.
fn boot_three(platform: Platform, policy: RestartPolicy, limit: u32) -> Outcome {
    let cvms = [
        cvm("good", "hello", &[]),
        cvm("bad", "rogue", &["exit", "3"]),
        cvm("faulty", "rogue", &["illegal"]),
    ];
    let cvms = cvms.map(|cvm| restarted(cvm, policy, limit, 0));
    let outcome = Scenario::new(cvms).boot(platform);
    outcome.assert_status(1);
    outcome
}

const KILLED: &str = "killed: illegal instruction";

fn never_means_never(platform: Platform) {
    let outcome = boot_three(platform, RestartPolicy::Never, 5);
    assert_eq!(fate(&outcome, "good"), ("exited 0".to_owned(), 0, 0), "{outcome}");
    assert_eq!(fate(&outcome, "bad"), ("exited 3".to_owned(), 0, 0), "{outcome}");
    assert_eq!(fate(&outcome, "faulty"), (KILLED.to_owned(), 0, 1), "{outcome}");
    assert_eq!(outcome.of("good").len(), 1, "{outcome}");
}

fn on_fault_restarts_after_a_fault_and_not_after_an_exit(platform: Platform) {
    let outcome = boot_three(platform, RestartPolicy::OnFault, 3);
    assert_eq!(fate(&outcome, "good"), ("exited 0".to_owned(), 0, 0), "{outcome}");
    assert_eq!(fate(&outcome, "bad"), ("exited 3".to_owned(), 0, 0), "{outcome}");
    assert_eq!(fate(&outcome, "faulty"), (KILLED.to_owned(), 3, 4), "{outcome}");
    assert_eq!(outcome.of("faulty").len(), 4, "one announcement a life\n{outcome}");
}

fn always_restarts_after_both(platform: Platform) {
    let outcome = boot_three(platform, RestartPolicy::Always, 2);
    assert_eq!(fate(&outcome, "good"), ("exited 0".to_owned(), 2, 0), "{outcome}");
    assert_eq!(fate(&outcome, "bad"), ("exited 3".to_owned(), 2, 0), "{outcome}");
    assert_eq!(fate(&outcome, "faulty"), (KILLED.to_owned(), 2, 3), "{outcome}");
    assert_eq!(outcome.of("good"), ["hello from good"; 3], "{outcome}");
}

fn a_restart_waits_for_its_delay(platform: Platform) {
    let hello = restarted(cvm("hello", "hello", &[]), RestartPolicy::Always, 2, 35 * MILLISECOND);
    let clock = CvmSpec {
        priority: 4,
        ..cvm("clock", "clock", &["10", "10"])
    };
    let outcome = Scenario::new([clock, hello]).boot(platform);
    outcome.assert_status(0);
    // Lives begin at 0, 35 and 70 ms, and a life is short.
    let order: Vec<_> = outcome
        .lines
        .iter()
        .filter(|line| ["hello", "clock"].contains(&line.writer.as_str()))
        .collect();
    let before: Vec<_> = order
        .iter()
        .enumerate()
        .filter(|(_, line)| line.writer == "hello")
        .map(|(index, _)| order[..index].iter().filter(|line| line.writer == "clock").count())
        .collect();
    assert_eq!(before, [0, 3, 7], "ticks before each life of hello\n{outcome}");
}

fn a_restart_without_a_delay_does_not_starve_the_others(platform: Platform) {
    let phoenix = restarted(cvm("phoenix", "rogue", &["illegal"]), RestartPolicy::Always, 40, 0);
    let outcome = Scenario::new([phoenix, cvm("clock", "clock", &["3", "1"])]).boot(platform);
    assert_eq!(fate(&outcome, "phoenix"), (KILLED.to_owned(), 40, 41), "{outcome}");
    let last_life = outcome.lines.iter().rposition(|line| line.writer == "phoenix").unwrap();
    assert!(outcome.position("clock", "tick 3") < last_life, "{outcome}");
}

fn a_restart_gives_fresh_memory_and_registers(platform: Platform) {
    let amnesiac = CvmSpec {
        heap: 4096,
        ..cvm("amnesiac", "amnesiac", &[])
    };
    let amnesiac = restarted(amnesiac, RestartPolicy::OnFault, 3, 0);
    let outcome = Scenario::new([amnesiac])
        .member("amnesiac", code::amnesiac(platform.arch()).to_bytes())
        .boot(platform);
    // Each life looks for traces and would exit with the number of the check that found one.
    assert_eq!(fate(&outcome, "amnesiac"), (KILLED.to_owned(), 3, 4), "{outcome}");
    assert!(
        outcome.faults().iter().all(|fault| fault.kind == FaultKind::Illegal),
        "{outcome}"
    );
}

fn a_restart_rests_for_longer_than_the_monitor_was_busy_with_the_end(platform: Platform) {
    let phoenix = restarted(cvm("phoenix", "rogue", &["illegal"]), RestartPolicy::Always, 5, 0);
    let outcome = Scenario::new([phoenix]).boot(platform);
    let monitor = outcome.lines.iter().filter(|line| line.writer == "monitor");
    let of_ends = monitor.filter(|line| line.text.contains(": fault: ") || line.text.contains(": restart "));
    let times: Vec<u64> = of_ends.map(|line| line.time.unwrap()).collect();
    assert_eq!(times.len(), 11, "{outcome}");
    for life in times.windows(3).step_by(2) {
        // From the end of the report's first line to the end of its last one, and on to the next report.
        let (busy, rested) = (life[1] - life[0], life[2] - life[1]);
        assert!(rested > 6 * busy, "{rested} ns after {busy} ns\n{outcome}");
    }
}
