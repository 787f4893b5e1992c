//! Streams for hybrid programs in C (`payloads/c/stream.h`), with those in Rust at the other end, and with peers that break all rules.

use tests::{Platform, Scenario, on_every_platform_with_clang};

use crate::c_gates::programs;

on_every_platform_with_clang!(
    stages_in_c_and_in_rust_are_one_pipeline,
    nonsense_from_the_other_side_is_an_error_on_this_side,
    a_peer_that_changes_everything_all_the_time_spoils_nothing,
);

const LIBRARY: [&str; 2] = ["slot.c", "stream.c"];

fn stages_in_c_and_in_rust_are_one_pipeline(platform: Platform) {
    let programs = programs(platform, &LIBRARY, &[("pipeline-c", "payloads/c/pipeline.c")]);
    let mut expected: Vec<String> = (1..=20).map(|number| format!("MESSAGE {number} OF 20")).collect();
    expected.push("the end".to_owned());
    for stages in [
        ["pipeline", "pipeline-c", "pipeline"],
        ["pipeline-c", "pipeline", "pipeline-c"],
        ["pipeline-c"; 3],
    ] {
        let [source, filter, sink] = stages;
        let yaml = format!(
            "cVMs:\n\
             - {{name: source, runtime: {source}, args: [source, 20], local: 1, heap: 64KiB}}\n\
             - {{name: filter, runtime: {filter}, args: filter, local: 2}}\n\
             - {{name: sink, runtime: {sink}, args: sink, local: 1}}\n\
             buffers:\n\
             - {{name: first, size: 256, readers: [source, filter], writers: [source, filter]}}\n\
             - {{name: second, size: 192, readers: [filter, sink], writers: [filter, sink]}}\n"
        );
        let outcome = Scenario::yaml_with(platform, &yaml, Some(programs.path())).boot(platform);
        outcome.assert_status(0);
        assert_eq!(outcome.of("sink"), expected, "{stages:?}: {outcome}");
    }
}

fn nonsense_from_the_other_side_is_an_error_on_this_side(platform: Platform) {
    let sources = [("streams", "tests/tests/end_to_end/c/streams.c")];
    let programs = programs(platform, &LIBRARY, &sources);
    let yaml = "cVMs:\n- {name: streams, runtime: streams, local: 3, buffer_quota: 8KiB}\n";
    let outcome = Scenario::yaml_with(platform, yaml, Some(programs.path())).boot(platform);
    outcome.assert_status(0);
}

fn a_peer_that_changes_everything_all_the_time_spoils_nothing(platform: Platform) {
    let sources = [("racer", "tests/tests/end_to_end/c/racer.c")];
    let programs = programs(platform, &LIBRARY, &sources);
    let yaml = "cVMs:\n\
                - {name: honest, runtime: racer, args: honest, local: 1}\n\
                - {name: hostile, runtime: racer, args: hostile, local: 1}\n\
                buffers:\n\
                - {name: ring, size: 192, readers: [honest, hostile], writers: [honest, hostile]}\n";
    let outcome = Scenario::yaml_with(platform, yaml, Some(programs.path())).boot(platform);
    outcome.assert_status(0);
}
