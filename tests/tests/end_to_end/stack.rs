//! How much of its stack the monitor uses: there is no guard page, so it is measured, with a good part of it to spare.

use object::{Object as _, ObjectSymbol as _};
use std::ops::Range;

use machine::net::UserNetwork;
use machine::virtio::{Block, Network};
use tests::{Platform, Running, Scenario, artifacts, cvm, on_machine};
use tools::manifest::CvmSpec;

on_machine!(
    the_examples_leave_a_third_of_the_stack_alone,
    linux_programs_leave_a_third_of_the_stack_alone,
    a_web_server_and_its_drivers_leave_a_third_of_the_stack_alone,
    a_thousand_cvms_leave_a_third_of_the_stack_alone,
    a_stack_that_is_used_up_is_seen,
);

/// What lies on the stack that nobody has used.
const UNUSED: u8 = 0xa5;

/// The monitor's stack, from its lowest address to its top.
fn stack(platform: Platform) -> Range<u64> {
    let monitor = &artifacts::built(platform.arch()).monitor;
    let file = object::File::parse(monitor.as_slice()).expect("the monitor is an ELF file");
    let symbol = |wanted: &str| {
        let found = file.symbols().find(|symbol| symbol.name() == Ok(wanted));
        found.unwrap_or_else(|| panic!("no symbol {wanted}")).address()
    };
    let start = symbol("intravisor_image_start");
    let at = |name: &str| symbol(name) - start + platform.monitor();
    at("intravisor_stack_bottom")..at("intravisor_stack_top")
}

/// Fills the stack before its first use: by the first function behind the reset code, which has moved what the file had there.
fn filled(scenario: &Scenario, platform: Platform) -> Running {
    let mut running = scenario.on_board(platform);
    let first = artifacts::monitor_function(platform, &["boot_main"]);
    let arrived = running.board.run_to(first, 1_000_000);
    arrived.unwrap_or_else(|stop| panic!("{platform}: no {first:#x}: {stop}"));
    let stack = stack(platform);
    let unused = vec![UNUSED; (stack.end - stack.start) as usize];
    running.board.write_memory(stack.start, &unused);
    running
}

/// Bytes of the stack that have been used.
fn used(running: &Running, platform: Platform) -> u64 {
    let stack = stack(platform);
    let offset = running.board.memory().offset(stack.start, 1).expect("the stack in RAM");
    let bytes = running.board.memory().bytes(offset, (stack.end - stack.start) as usize);
    let left = bytes.iter().take_while(|byte| **byte == UNUSED).count();
    stack.end - stack.start - left as u64
}

fn leaves_a_third(scenario: &Scenario, platform: Platform, what: &str) {
    does(&mut filled(scenario, platform), platform, what);
}

fn does(running: &mut Running, platform: Platform, what: &str) {
    let stack = stack(platform);
    let limit = (stack.end - stack.start) * 2 / 3;
    let stop = running.board.run_into_user_mode(4_000_000_000, |_| true);
    let booted = used(running, platform);
    println!("{platform}: {what}: {booted} bytes of the stack until the first cVM runs ({stop})");
    running.board.run(200_000_000);
    let all = used(running, platform);
    println!("{platform}: {what}: {all} bytes of the stack in all");
    assert!(booted > 1000, "{what}: {booted} bytes: it is not measured");
    assert!(
        all <= limit,
        "{what}: {all} bytes of the stack, expected {limit} at most"
    );
}

fn the_examples_leave_a_third_of_the_stack_alone(platform: Platform) {
    for example in ["demo", "pipeline", "threads", "two-layers", "two-pure", "calculator"] {
        let scenario = Scenario::example(platform, example).append("log=debug");
        leaves_a_third(&scenario, platform, example);
    }
}

/// An empty disk, and a card.
fn attach(running: &mut Running) {
    running.board.attach(Block::new(vec![0; 1 << 20])).expect("a slot");
    let card = Network::new([0x52, 0x54, 0, 0x12, 0x34, 0x56], UserNetwork::new());
    running.board.attach(card).expect("a slot");
}

fn linux_programs_leave_a_third_of_the_stack_alone(platform: Platform) {
    for example in ["lua", "shell", "sqlite", "valkey"] {
        // Found where `scripts/setup --linux` has built it.
        let program = if example == "shell" { "dash" } else { example };
        if tests::linux_program(platform, program).is_some() {
            let scenario = Scenario::example(platform, example).append("log=debug");
            let mut running = filled(&scenario, platform);
            attach(&mut running);
            does(&mut running, platform, example);
        }
    }
}

fn a_web_server_and_its_drivers_leave_a_third_of_the_stack_alone(platform: Platform) {
    let mut running = filled(&Scenario::example(platform, "web").append("log=debug"), platform);
    attach(&mut running);
    does(&mut running, platform, "web");
    let console = running.board.console().text();
    assert!(
        console.contains("[web] 0 files, uncounted visits, listening"),
        "{console}"
    );
}

fn a_thousand_cvms_leave_a_third_of_the_stack_alone(platform: Platform) {
    let cvms = (0..1000).map(|number| CvmSpec {
        stack: 4096,
        ..cvm(&format!("number-{number}"), "hello", &[])
    });
    let scenario = Scenario::new(cvms.collect::<Vec<_>>());
    leaves_a_third(&scenario, platform, "1,000 cVMs");
}

fn a_stack_that_is_used_up_is_seen(platform: Platform) {
    let mut running = filled(&Scenario::new([cvm("hello", "hello", &[])]), platform);
    let stack = stack(platform);
    running.board.run_into_user_mode(4_000_000_000, |_| true);
    running.board.write_memory(stack.start, &[0]);
    assert_eq!(used(&running, platform), stack.end - stack.start);
}
