//! When the monitor itself is wrong, which these tests bring about by damaging it: it says what happened, where, and how it
//! got there, and powers off with a failing status.

use machine::Stop;
use tests::{Platform, Scenario, artifacts, cvm, on_machine};

on_machine!(a_fault_of_the_monitor_is_a_report_and_a_failing_status);

fn a_fault_of_the_monitor_is_a_report_and_a_failing_status(platform: Platform) {
    let functions = tools::elf::functions(&artifacts::built(platform.arch()).monitor).unwrap();
    let write = functions
        .iter()
        .find(|function| function.name.contains("6kernel8hostcall7console5write"));
    let write = write.expect("the hostcall `write` is a function of its own").address;
    // Linked at the address of the image, or at 0.
    let write = if write < platform.monitor() {
        write + platform.monitor()
    } else {
        write
    };
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
