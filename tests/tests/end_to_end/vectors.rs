//! Registers that the monitor itself never uses: they belong to one cVM at a time all the same.

use abi::manifest::RestartPolicy;
use tests::{Platform, Scenario, cvm, on_every_platform};
use tools::Architecture;
use tools::manifest::{CvmSpec, Restart};

on_every_platform!(vector_registers_are_kept_and_never_seen_by_others);

fn vector_registers_are_kept_and_never_seen_by_others(platform: Platform) {
    let restarted = CvmSpec {
        restart: Restart {
            policy: RestartPolicy::OnFault,
            limit: 1,
            delay: 0,
        },
        ..cvm("three", "vectors", &["3", "--fault-once"])
    };
    let cvms = [cvm("one", "vectors", &["1"]), cvm("two", "vectors", &["2"]), restarted];
    let outcome = Scenario::new(cvms).boot(platform);
    outcome.assert_status(0);
    let (expected, restarts) = match platform.arch() {
        Architecture::CheriRiscv => ("no vector registers", 0),
        Architecture::Morello => ("kept them through 100 rounds", 1),
    };
    for name in ["one", "two", "three"] {
        assert_eq!(outcome.of(name), [expected], "{outcome}");
    }
    assert_eq!(outcome.row("three").restarts, restarts, "{outcome}");
}
