//! Every hostcall with good and bad arguments. The program `hostcalls` makes them and judges the results; here its verdict
//! is read, and that it really made them.

use tests::{Platform, Scenario, cvm, on_every_platform};
use tools::manifest::CvmSpec;

on_every_platform!(
    every_hostcall_answers_good_and_bad_arguments,
    bad_pointers_hurt_nobody_else,
    a_program_gets_its_arguments_environment_and_heap,
);

/// What the program must have checked: one name of each kind of argument of each hostcall.
const CHECKS: [&str; 30] = [
    "null",
    "yield",
    "registers-survive",
    "registers-survive-an-error",
    "registers-survive-a-switch",
    "unknown-next",
    "unknown-u64-max",
    "write-output",
    "write-error",
    "write-nothing",
    "write-to-stream-3",
    "write-more-than-the-limit",
    "write-u64-max",
    "write-above-isize-max",
    "write-below-the-memory",
    "write-above-the-memory",
    "write-across-the-end-of-addresses",
    "read-from-stream-3",
    "read-flag-2",
    "read-u64-max",
    "read-across-the-top",
    "read-without-input-does-not-wait",
    "sleep-zero",
    "sleep-above-the-limit",
    "a-sleep-is-not-too-short",
    "the-clock-never-goes-back",
    "arguments-copies-the-start-block",
    "arguments-across-the-top",
    "info-knows-the-memory",
    "info-u64-max",
];

fn every_hostcall_answers_good_and_bad_arguments(platform: Platform) {
    let outcome = Scenario::new([cvm("hostcalls", "hostcalls", &["an", "argument"])]).boot(platform);
    outcome.assert_status(0);
    let lines = outcome.of("hostcalls");
    let passed: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("ok ")).collect();
    for check in CHECKS {
        assert!(passed.contains(&check), "{check} was not made: {outcome}");
    }
    let verdict = format!("{} checks passed, 0 failed", passed.len());
    assert_eq!(lines.last(), Some(&verdict.as_str()), "{outcome}");
    assert_eq!(outcome.faults(), [], "{outcome}");
    let written = lines.iter().filter(|line| **line == "written to the output").count();
    assert_eq!(written, 2, "{outcome}");
    // As much of the longest write as one call takes: lines of 63 dots, each whole.
    let dots: Vec<_> = lines.iter().filter(|line| line.starts_with("...")).collect();
    assert!(!dots.is_empty() && dots.len() <= 32, "{outcome}");
    assert!(dots.iter().all(|line| **line == ".".repeat(63)), "{outcome}");
}

fn bad_pointers_hurt_nobody_else(platform: Platform) {
    // The memory above and below the caller belongs to others.
    let heap = |name| CvmSpec {
        heap: 64 << 10,
        ..cvm(name, "heap", &[])
    };
    let outcome = Scenario::new([heap("below"), cvm("hostcalls", "hostcalls", &[]), heap("above")]).boot(platform);
    outcome.assert_status(0);
    for name in ["below", "above"] {
        assert_eq!(
            outcome.of(name).iter().filter(|line| line.starts_with("ok ")).count(),
            3,
            "{outcome}"
        );
    }
}

fn a_program_gets_its_arguments_environment_and_heap(platform: Platform) {
    let hello = CvmSpec {
        env: vec!["OTHER=one".to_owned(), "GREETING=grüß gott".to_owned()],
        ..cvm("hello", "hello", &["", "two words", "a=b"])
    };
    let heap = CvmSpec {
        heap: 32 << 10,
        ..cvm("heap", "heap", &[])
    };
    let outcome = Scenario::new([hello, heap]).boot(platform);
    outcome.assert_status(0);
    let expected = [
        "grüß gott from hello",
        "argument 1: ",
        "argument 2: two words",
        "argument 3: a=b",
    ];
    assert_eq!(outcome.of("hello"), expected, "{outcome}");
    let heap = outcome.of("heap");
    let expected = [
        "ok contents survive growth",
        "ok freed memory is used again",
        "ok more than the heap is refused",
    ];
    assert_eq!(heap, expected, "{outcome}");
    assert_eq!(outcome.faults(), [], "{outcome}");
}
