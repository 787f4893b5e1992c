//! Threads for hybrid programs in C (`payloads/c/pthread.h`).

use tests::{Platform, Scenario, on_every_platform_with_clang};

use crate::c_gates::programs;

on_every_platform_with_clang!(
    threads_add_numbers,
    what_threads_share_is_as_posix_says,
    a_fault_of_a_thread_is_that_of_its_cvm,
);

const LIBRARY: [&str; 1] = ["pthread.c"];

fn threads_add_numbers(platform: Platform) {
    let programs = programs(platform, &LIBRARY, &[("threads-c", "payloads/c/threads.c")]);
    let yaml = "cVMs:\n- {name: sum, runtime: threads-c, args: 100, threads: 5}\n";
    let outcome = Scenario::yaml_with(platform, yaml, Some(programs.path())).boot(platform);
    outcome.assert_status(0);
    assert_eq!(outcome.of("sum"), ["5050"], "{outcome}");
}

fn what_threads_share_is_as_posix_says(platform: Platform) {
    let sources = [("threads-check", "tests/tests/end_to_end/c/threads.c")];
    let programs = programs(platform, &LIBRARY, &sources);
    let yaml = "cVMs:\n- {name: threads, runtime: threads-check, threads: 4}\n";
    let outcome = Scenario::yaml_with(platform, yaml, Some(programs.path())).boot(platform);
    outcome.assert_status(0);
    assert_eq!(outcome.of("threads"), ["the last one"], "{outcome}");
}

/// A program that has fewer threads than it wants is told so; one with a thread that faults ends, and nobody else does.
fn a_fault_of_a_thread_is_that_of_its_cvm(platform: Platform) {
    let sources = [
        ("threads-c", "payloads/c/threads.c"),
        ("beyond", "tests/tests/end_to_end/c/beyond.c"),
    ];
    let programs = programs(platform, &LIBRARY, &sources);
    let yaml = "cVMs:\n\
                - {name: few, runtime: threads-c, threads: 2}\n\
                - {name: beyond, runtime: beyond, threads: 2}\n\
                - {name: other, runtime: threads-c, threads: 5}\n";
    let outcome = Scenario::yaml_with(platform, yaml, Some(programs.path())).boot(platform);
    outcome.assert_status(1);
    assert_eq!(outcome.row("few").state, "exited 1", "{outcome}");
    assert_eq!(outcome.faults().len(), 1, "{outcome}");
    assert_eq!(outcome.faults()[0].cvm, "beyond", "{outcome}");
    assert_eq!(outcome.of("other"), ["500500"], "{outcome}");
}
