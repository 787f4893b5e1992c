//! The monitor's heap gives nothing any more, from one allocation on or once: the run ends with a message and a failing
//! status, or goes on as if nothing had been.

use abi::manifest::RestartPolicy;
use machine::Stop;
use tests::{Board, Platform, Scenario, artifacts, cvm, on_machine};
use tools::manifest::{CvmSpec, Restart};

use crate::inject::{self, MEMORY, assert_confined};

on_machine!(every_failing_allocation_ends_in_order);

/// Most instructions from a failed allocation to the end of the run.
const LIMIT: u64 = 60_000_000;

/// cVMs that write, sleep, fault and come back.
fn scenario() -> Scenario {
    let on_fault = Restart {
        policy: RestartPolicy::OnFault,
        limit: 1,
        delay: 0,
    };
    let phoenix = CvmSpec {
        restart: on_fault,
        ..cvm("phoenix", "rogue", &["illegal"])
    };
    Scenario::new([cvm("hello", "hello", &[]), cvm("clock", "clock", &["2", "1"]), phoenix]).memory(MEMORY)
}

/// Fails this allocation alone.
fn once(board: &mut Board, _: u64) -> Stop {
    inject::return_at_once(board, 0);
    board.run(LIMIT)
}

/// Fails this allocation and all after it.
fn for_ever(board: &mut Board, allocate: u64) -> Stop {
    loop {
        inject::return_at_once(board, 0);
        if let Err(stop) = board.run_to(allocate, LIMIT) {
            return stop;
        }
    }
}

fn every_failing_allocation_ends_in_order(platform: Platform) {
    let allocate = artifacts::allocate(platform);
    let mut running = scenario().on_board(platform);
    let board = &mut running.board;
    let mut count = 0;
    loop {
        match board.run_to(allocate, LIMIT) {
            Ok(()) => count += 1,
            // One cVM ends by a fault: so the status is 1.
            Err(Stop::Exit(1)) => break,
            Err(stop) => panic!("{stop} after {count} allocations\n{}", board.console().text()),
        }
        let moment = inject::snapshot(board);
        for (fail, how) in [(once as fn(&mut Board, u64) -> Stop, "once"), (for_ever, "for ever")] {
            let stop = fail(board, allocate);
            let console = board.console().text();
            let what = format!("allocation {count}, failing {how}");
            assert_eq!(stop, Stop::Exit(1), "{what}\n{console}");
            let said =
                console.contains("[monitor] error: the monitor panicked") && console.contains("memory allocation");
            let went_on = console.contains("[monitor] all cVMs have ended") && !console.contains("[monitor] error: ");
            assert!(said || went_on, "{what} failed without a word\n{console}");
            if console.contains("cVMs started") {
                assert_confined(board, &what);
            }
            inject::restore(board, &moment);
        }
    }
    println!("{platform}: {count} allocations");
    assert!(count > 50, "{count} allocations");
}
