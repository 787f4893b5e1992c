//! The monitor's own routines for memory, which move its values and clear its tables: as code of a cVM, so that a test can call them.

use tests::{Platform, Scenario, cvm, on_every_platform};

on_every_platform!(the_monitors_memory_routines_do_what_those_of_c_do);

fn the_monitors_memory_routines_do_what_those_of_c_do(platform: Platform) {
    let outcome = Scenario::new([cvm("memory", "memory", &[])]).boot(platform);
    outcome.assert_status(0);
    let expected = ["9664 copies are right", "54272 moves are right", "4832 fills are right"];
    assert_eq!(outcome.of("memory"), expected, "{outcome}");
}
