//! The default example: four programs side by side, one of them forbidden things.

use abi::FaultKind;
use tests::{Platform, Scenario, on_every_platform};

on_every_platform!(the_demo_shows_rogue_killed_while_the_rest_finish);

fn the_demo_shows_rogue_killed_while_the_rest_finish(platform: Platform) {
    let outcome = Scenario::example(platform, "demo").boot(platform);
    outcome.assert_status(0);
    assert_eq!(
        outcome.of("hello"),
        ["good morning from hello", "argument 1: one", "argument 2: two"],
        "{outcome}"
    );
    assert_eq!(
        outcome.of("clock"),
        [1, 2, 3, 4, 5].map(|tick| format!("tick {tick} of 5")),
        "{outcome}"
    );
    assert_eq!(outcome.of("spinner"), ["spun for 150 ms"], "{outcome}");
    let faults = outcome.faults();
    assert_eq!(faults.len(), 1, "{outcome}");
    let fault = &faults[0];
    assert_eq!(
        (fault.cvm.as_str(), fault.kind),
        ("rogue", FaultKind::Bounds),
        "{outcome}"
    );
    assert_eq!(
        (fault.access.as_deref(), fault.address),
        (Some("read"), Some(platform.monitor())),
        "{outcome}"
    );
    let rogue = outcome.of("rogue");
    assert_eq!(rogue.first(), Some(&"rogue: about to read-monitor"), "{outcome}");
    assert!(
        rogue.last().is_some_and(|line| line.ends_with("behaving now")),
        "{outcome}"
    );
    let rows = outcome.summary();
    let rows: Vec<_> = rows
        .iter()
        .map(|row| (row.name.as_str(), row.state.as_str(), row.restarts))
        .collect();
    let expected = [
        ("hello", "exited 0", 0),
        ("clock", "exited 0", 0),
        ("spinner", "exited 0", 0),
        ("rogue", "exited 0", 1),
    ];
    assert_eq!(rows, expected, "{outcome}");
    assert!(
        outcome.position("clock", "tick 5") < outcome.position("spinner", "spun"),
        "{outcome}"
    );
}
