//! A timer interrupt comes late or is lost. The timers of both boards hold their line until they are set again, so an
//! interrupt can come late but not get lost; a lost one, which only a broken timer brings about, is made up for by whatever
//! enters the monitor next and switches, and by any other interrupt.

use machine::Stop;
use tests::{Board, Platform, Scenario, cvm, on_machine};

use crate::inject::{self, MEMORY, assert_confined};

on_machine!(
    a_late_timer_interrupt_delays_and_loses_nothing,
    a_lost_timer_interrupt_is_made_up_for_by_the_next_switch,
    after_a_lost_timer_interrupt_any_other_one_brings_the_sleepers_back,
    a_lost_timer_interrupt_in_idle_time_is_made_up_for_by_any_other_one,
);

const MILLISECOND: u64 = 1_000_000;

fn ticks(board: &Board) -> usize {
    board.console().text().matches("[clock] tick").count()
}

fn run_for(board: &mut Board, milliseconds: u64) {
    let end = board.time() + milliseconds * MILLISECOND;
    while board.time() < end {
        let stop = board.run(end - board.time());
        assert_eq!(stop, Stop::Limit, "{}", board.console().text());
    }
}

/// A clock that ticks each millisecond and a spinner without end; the clock has ticked.
fn clock_and_spinner(platform: Platform) -> tests::scenario::Running {
    let cvms = [cvm("clock", "clock", &["1000", "1"]), cvm("spinner", "spinner", &["0"])];
    let mut running = Scenario::new(cvms).memory(MEMORY).on_board(platform);
    running.until("[clock] tick 3");
    // Into the spinner.
    run_for(&mut running.board, 1);
    inject::run_into(&mut running.board, true, 100_000);
    running
}

fn a_late_timer_interrupt_delays_and_loses_nothing(platform: Platform) {
    let mut running = clock_and_spinner(platform);
    let board = &mut running.board;
    let before = ticks(board);
    inject::hold_timer_interrupt(board, 20 * MILLISECOND);
    run_for(board, 19);
    assert!(ticks(board) <= before + 1, "{}", board.console().text());
    run_for(board, 6);
    assert!(ticks(board) > before + 1, "{}", board.console().text());
    assert_confined(board, "after a late interrupt");
    run_for(board, 50);
    assert!(ticks(board) > before + 10, "{}", board.console().text());
}

fn a_lost_timer_interrupt_is_made_up_for_by_the_next_switch(platform: Platform) {
    // One that gives its time away, one that computes and makes hostcalls now and then, one that sleeps.
    let cvms = [
        cvm("idle", "idle", &["300"]),
        cvm("spinner", "spinner", &["5"]),
        cvm("clock", "clock", &["4", "2"]),
    ];
    let mut running = Scenario::new(cvms).memory(MEMORY).on_board(platform);
    running.until("cVMs started");
    let board = &mut running.board;
    let moment = inject::snapshot(board);
    assert_eq!(board.run(100_000_000), Stop::Exit(0));
    let last = board.time();
    inject::restore(board, &moment);
    let (start, mut lost) = (board.time(), 0);
    // The time of the loss is swept; a prime step meets everything that can be going on.
    for at in (start..last).step_by(99_991) {
        inject::restore(board, &moment);
        // Time jumps where everybody sleeps, perhaps to the end of the run.
        let mut stop = Stop::Limit;
        while board.time() < at && stop == Stop::Limit {
            stop = board.run(at - board.time());
        }
        if stop == Stop::Exit(0) {
            break;
        }
        assert_eq!(stop, Stop::Limit, "{}", board.console().text());
        inject::lose_timer_interrupt(board);
        match board.run(100_000_000) {
            Stop::Exit(0) => {}
            // Nobody but a key wakes a board whose timer is broken and where everybody sleeps.
            Stop::Idle => {
                board.inject_input(b"x");
                let stop = board.run(100_000_000);
                assert_eq!(stop, Stop::Exit(0), "lost at {at}\n{}", board.console().text());
                lost += 1;
            }
            stop => panic!("lost at {at}: {stop}\n{}", board.console().text()),
        }
        let console = board.console().text();
        assert!(console.contains("[clock] tick 4"), "lost at {at}\n{console}");
        assert_confined(board, "after a lost interrupt");
    }
    println!("{platform}: {lost} losses found everybody asleep");
}

fn after_a_lost_timer_interrupt_any_other_one_brings_the_sleepers_back(platform: Platform) {
    let mut running = clock_and_spinner(platform);
    let board = &mut running.board;
    inject::lose_timer_interrupt(board);
    let before = ticks(board);
    run_for(board, 50);
    // The spinner enters the monitor for nothing and nothing else does.
    assert_eq!(ticks(board), before, "{}", board.console().text());
    board.inject_input(b"x");
    run_for(board, 20);
    assert!(ticks(board) > before + 3, "{}", board.console().text());
}

fn a_lost_timer_interrupt_in_idle_time_is_made_up_for_by_any_other_one(platform: Platform) {
    let mut running = Scenario::new([cvm("clock", "clock", &["5", "10"])])
        .memory(MEMORY)
        .on_board(platform);
    running.until("[clock] tick 1");
    let board = &mut running.board;
    inject::run_into_wait(board, 100_000);
    inject::lose_timer_interrupt(board);
    assert_eq!(board.run(100_000_000), Stop::Idle, "{}", board.console().text());
    board.inject_input(b"x");
    assert_eq!(board.run(100_000_000), Stop::Exit(0), "{}", board.console().text());
}
