//! Buffers: shared as the manifest and their owners say, taken back wholly, and found nowhere but where foreign authority may be.

use machine::Stop;
use tests::{Platform, Scenario, on_every_platform, on_machine};

use crate::authority::Auditor;

on_every_platform!(
    the_example_shows_a_buffer_that_is_taken_back,
    the_example_shows_streams_through_three_cvms,
);

on_machine!(what_is_foreign_lies_in_registers_and_local_areas_only);

const FRAMES: [&str; 5] = [
    "frame 1, whole",
    "frame 2, whole",
    "frame 3, whole",
    "frame 4, whole",
    "frame 5, whole",
];

fn the_example_shows_a_buffer_that_is_taken_back(platform: Platform) {
    let outcome = Scenario::example(platform, "frames").boot(platform);
    outcome.assert_status(0);
    assert_eq!(outcome.of("camera"), ["revoked after 5 frames"], "{outcome}");
    let (told, gone) = (outcome.of("viewer"), "the buffer is gone: EFAULT");
    assert_eq!(told, [&FRAMES[..], &[gone]].concat(), "{outcome}");
}

fn the_example_shows_streams_through_three_cvms(platform: Platform) {
    let outcome = Scenario::example(platform, "pipeline").boot(platform);
    outcome.assert_status(0);
    let mut expected: Vec<String> = (1..=20).map(|number| format!("MESSAGE {number} OF 20")).collect();
    expected.push("the end".to_owned());
    assert_eq!(outcome.of("sink"), expected, "{outcome}");
}

fn what_is_foreign_lies_in_registers_and_local_areas_only(platform: Platform) {
    let mut running = Scenario::example(platform, "frames").on_board(platform);
    running.until("cVMs started");
    let mut auditor = Auditor::new(&running.board);
    let viewer = *auditor.entry("viewer data");
    let inside = |address: &u64| viewer.in_bounds(*address, 16);
    let mut looks = [0, 0];
    // A prime step meets monitor and cVMs at ever other places.
    while running.board.run(3_001) == Stop::Limit {
        let console = running.board.console().text();
        assert_eq!(auditor.violations(&running.board), Vec::<String>::new(), "{console}");
        let (memory, frames) = auditor.holders(&running.board, "camera buffers");
        let held = memory.iter().any(inside) || frames.contains(&"viewer");
        let revoked = console.contains("revoked after");
        assert!(!(held && revoked), "{memory:x?} {frames:?}\n{console}");
        looks[usize::from(revoked)] += usize::from(held || revoked);
    }
    assert!(looks.iter().all(|count| *count > 5), "held, and taken back: {looks:?}");
}
