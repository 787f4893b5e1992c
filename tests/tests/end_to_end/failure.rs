//! When the monitor itself is wrong, which these tests bring about by damaging it: it says what happened, where, and how it
//! got there, and powers off with a failing status.

use std::collections::BTreeSet;

use capability::{morello, riscv};
use machine::Stop;
use tests::{Board, Platform, Scenario, artifacts, cvm, on_machine};

on_machine!(
    a_fault_of_the_monitor_is_a_report_and_a_failing_status,
    a_frame_pointer_below_the_stack_ends_the_report,
    a_fault_on_the_way_to_power_off_ends_in_waiting,
);

/// Address of the hostcall `write`.
fn write_hostcall(platform: Platform) -> u64 {
    let functions = tools::elf::functions(&artifacts::built(platform.arch()).monitor).unwrap();
    let write = functions
        .iter()
        .find(|function| function.name.contains("6kernel8hostcall7console5write"));
    let write = write.expect("the hostcall `write` is a function of its own").address;
    // Linked at the address of the image, or at 0.
    if write < platform.monitor() {
        write + platform.monitor()
    } else {
        write
    }
}

fn a_frame_pointer_below_the_stack_ends_the_report(platform: Platform) {
    let write = write_hostcall(platform);
    let mut running = Scenario::new([cvm("hello", "hello", &[])]).on_board(platform);
    let board = &mut running.board;
    // Below the monitor's stack, which begins at a multiple of its size, lies its text, which it cannot read as data.
    let below = |stack: u64| (stack & !0x3fff) - 0x800;
    match board {
        Board::CheriRiscv(board) => {
            board.run_to(write, 100_000_000).unwrap();
            let pointer = below(board.register(0, 2).address());
            board.set_register(0, 8, riscv::Capability::from_integer(pointer));
        }
        Board::Morello(board) => {
            board.run_to(write, 100_000_000).unwrap();
            let pointer = below(board.register(0, 29).address());
            board.set_register(0, 29, morello::Capability::from_integer(pointer));
        }
    }
    // Zeros are no instruction.
    board.write_memory(write, &[0; 4]);
    let stop = board.run(100_000_000);
    let console = board.console().text();
    assert_eq!(stop, Stop::Exit(1), "{console}");
    assert_eq!(console.matches("the monitor itself faulted").count(), 1, "{console}");
    assert!(
        console.contains("the monitor itself faulted: fault: illegal instruction"),
        "{console}"
    );
}

fn a_fault_of_the_monitor_is_a_report_and_a_failing_status(platform: Platform) {
    let write = write_hostcall(platform);
    let mut running = Scenario::new([cvm("hello", "hello", &[]), cvm("spinner", "spinner", &[])]).on_board(platform);
    running.until("cVMs started");
    // Behind the prologue, so that the frame pointer is the function's own. Zeros are no instruction.
    running.board.write_memory(write + 0x20, &[0; 0x20]);
    let stop = running.board.run(100_000_000);
    let console = running.board.console().text();
    assert_eq!(stop, Stop::Exit(1), "{console}");
    let at = console
        .find("[monitor] error: the monitor itself faulted: fault: illegal instruction")
        .expect(&console);
    let report: Vec<&str> = console[at..].split("\r\n").collect();
    assert!(report[1].contains(" kernel::hostcall::console::write+0x2"), "{console}");
    assert!(
        report
            .iter()
            .any(|line| line.contains("mcause = 0x2") || line.contains("esr_el1 = 0x")),
        "{console}"
    );
    assert!(
        report
            .iter()
            .any(|line| line.contains(" csp ") || line.contains(" c30 ")),
        "registers are shown\n{console}"
    );
    assert!(
        report[2..].iter().any(|line| line.contains("kernel::hostcall::trap::")),
        "{console}"
    );
}

fn a_fault_on_the_way_to_power_off_ends_in_waiting(platform: Platform) {
    let off = artifacts::monitor_function(platform, &["4arch", "9power_off"]);
    let mut running = Scenario::new([cvm("hello", "hello", &[])]).on_board(platform);
    running.until("cVMs started");
    // Zeros are no instruction.
    running.board.write_memory(off, &[0; 4]);
    let stop = running.board.run_to_pattern(100_000_000, "the monitor itself faulted");
    assert!(matches!(stop, Stop::Pattern), "{stop}");
    // More than the report takes; an interrupt that nobody takes may be pending, so that the wait is no sleep.
    running.board.run(3_000_000);
    let mut places = BTreeSet::new();
    for _ in 0..1000 {
        running.board.run(1);
        places.insert(running.board.pc(0));
    }
    let console = running.board.console().text();
    assert!(
        places.len() <= 4,
        "it waits in a loop of few instructions: {places:x?}\n{console}"
    );
    assert_eq!(console.matches("the monitor itself faulted").count(), 1, "{console}");
    assert!(console.contains("hello from hello"), "{console}");
}
