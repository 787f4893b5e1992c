//! Threads of a cVM share its memory and wait for each other; a server leaves calls to them and answers later.

use abi::FaultKind;
use tests::{Platform, Scenario, cvm, on_every_platform};
use tools::manifest::CvmSpec;

on_every_platform!(
    the_example_shows_threads_and_late_answers,
    threads_share_the_work_whatever_their_number,
    a_thread_beyond_the_manifest_is_an_error_number,
    threads_of_a_purecap_program_have_their_own_stacks_and_nothing_else,
);

/// The program `threads` with so many workers, of which the manifest allows `allowed` threads.
fn workers(name: &str, workers: u32, allowed: u32) -> CvmSpec {
    CvmSpec {
        threads: allowed,
        heap: 0x8_0000,
        ..cvm(name, "threads", &[&workers.to_string(), "200"])
    }
}

fn the_example_shows_threads_and_late_answers(platform: Platform) {
    let outcome = Scenario::example(platform, "threads").boot(platform);
    outcome.assert_status(0);
    assert_eq!(
        outcome.of("sum"),
        ["3 workers squared 100 numbers, sum 338350; two halves 5050"],
        "{outcome}"
    );
    assert_eq!(outcome.of("pool"), ["3 workers wait"], "{outcome}");
    assert_eq!(
        outcome.of("client"),
        ["3 squared is Ok(9)", "2 squared is Ok(4)", "1 squared is Ok(1)"],
        "whoever asked last waits least\n{outcome}"
    );
}

fn threads_share_the_work_whatever_their_number(platform: Platform) {
    let cvms = [1, 2, 7].map(|count| workers(&format!("of-{count}"), count, count + 2));
    let outcome = Scenario::new(cvms).boot(platform);
    outcome.assert_status(0);
    for count in [1, 2, 7] {
        let said = format!("{count} workers squared 200 numbers, sum 2686700; two halves 20100");
        assert_eq!(outcome.of(&format!("of-{count}")), [said.as_str()], "{outcome}");
    }
}

fn a_thread_beyond_the_manifest_is_an_error_number(platform: Platform) {
    let outcome = Scenario::new([workers("greedy", 3, 3)]).boot(platform);
    outcome.assert_status(1);
    let said = outcome.of("greedy");
    assert!(said.iter().any(|line| line.contains("EAGAIN")), "{outcome}");
}

fn threads_of_a_purecap_program_have_their_own_stacks_and_nothing_else(platform: Platform) {
    let spec = |name: &str, arguments: &[&str]| CvmSpec {
        threads: 4,
        ..cvm(name, "threads-purecap", arguments)
    };
    let outcome = Scenario::new([spec("beyond", &["beyond"]), spec("sum", &[])]).boot(platform);
    outcome.assert_status(1);
    assert_eq!(outcome.of("sum"), ["workers: 3", "sum: 6000"], "{outcome}");
    assert!(outcome.of("beyond").is_empty(), "{outcome}");
    let faults = outcome.faults();
    assert_eq!(faults.len(), 1, "{outcome}");
    assert_eq!(
        (faults[0].cvm.as_str(), faults[0].kind),
        ("beyond", FaultKind::Bounds),
        "{outcome}"
    );
}
