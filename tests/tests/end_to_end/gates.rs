//! Gates: a thread goes from one cVM into a function of another one, and comes back as it was.

use abi::Hostcall;
use tests::code::assembler::Register::{self, Argument, Number, Scratch};
use tests::code::attack::Attacker;
use tests::{Platform, Scenario, on_every_platform};
use tools::manifest::CvmSpec;

on_every_platform!(
    a_call_comes_back_with_its_result_and_all_that_the_caller_keeps,
    the_example_calculates_in_another_cvm,
    a_caller_ends_before_another_one_is_loaded,
    nothing_beside_a_slice_is_passed,
    purecap_and_hybrid_programs_calculate_for_each_other,
    a_server_with_more_threads_rests_until_nobody_is_left_who_could_call,
);

/// A cVM with this program.
fn program(platform: Platform, write: impl FnOnce(&mut Attacker)) -> Vec<u8> {
    let mut attacker = Attacker::new(platform);
    write(&mut attacker);
    attacker.elf().to_bytes()
}

/// The registers that a callee keeps in every calling convention.
fn kept(a: &Attacker) -> impl Iterator<Item = Register> + use<> {
    let numbers = if a.is_riscv() { 18..26 } else { 19..27 };
    numbers.map(Number)
}

fn a_call_comes_back_with_its_result_and_all_that_the_caller_keeps(platform: Platform) {
    let server = program(platform, |a| {
        a.hostcall(Hostcall::Serve).exit(0);
        a.gate("add");
        for (index, register) in kept(a).enumerate() {
            a.must_be_zero(register, 40 + index as u32);
        }
        a.add_register(Argument(0), Argument(1));
        for register in kept(a) {
            a.set(register, 99);
        }
        a.return_from_gate();
    });
    let client = program(platform, |a| {
        a.ask("server.add");
        let counter = Scratch(7);
        a.set(counter, 20);
        for (index, register) in kept(a).enumerate().filter(|(index, _)| *index != 7) {
            a.set(register, 100 + index as u32);
        }
        let start = a.here();
        a.set(Argument(0), 30).set(Argument(1), 12).call_gate();
        a.add(Argument(0), Argument(0), -42).must_be_zero(Argument(0), 1);
        for (index, register) in kept(a).enumerate().filter(|(index, _)| *index != 7) {
            a.add(Scratch(9), register, -100 - index as i64)
                .must_be_zero(Scratch(9), 2);
        }
        a.count_down(counter, start);
        a.exit(0);
    });
    let cvms = [
        CvmSpec {
            gates: vec!["add 4096 1".into()],
            ..CvmSpec::new("server", "server")
        },
        CvmSpec {
            calls: vec!["server.add".into()],
            ..CvmSpec::new("client", "client")
        },
    ];
    let scenario = Scenario::new(cvms).member("server", server).member("client", client);
    let outcome = scenario.boot(platform);
    outcome.assert_status(0);
}

fn the_example_calculates_in_another_cvm(platform: Platform) {
    let outcome = Scenario::example(platform, "calculator").boot(platform);
    outcome.assert_status(0);
    let expected = [
        "30 + 12 = 42",
        "the mean of 1 to 4 is 2, that of their squares 7",
        "too much: Err(EINVAL)",
    ];
    assert_eq!(outcome.of("office"), expected, "{outcome}");
}

/// What the one was lent is looked for in the local area of the other, too, which nobody has loaded yet.
fn a_caller_ends_before_another_one_is_loaded(platform: Platform) {
    let yaml = format!(
        "cVMs:\n- name: calculator\n  runtime: calculator\n  gates:\n  - add\n  \
         - {{function: mean, stack: 4KiB}}\n  - {{function: squares, stack: 4KiB}}\n\
         - name: early\n  wait: 0\n  runtime: office\n{CALLS}- name: late\n  runtime: office\n{CALLS}"
    );
    let outcome = Scenario::yaml(platform, &yaml).boot(platform);
    outcome.assert_status(0);
    assert_eq!(outcome.of("early"), outcome.of("late"), "{outcome}");
}

fn nothing_beside_a_slice_is_passed(platform: Platform) {
    let yaml = "cVMs:\n- name: calculator\n  runtime: calculator\n  gates: [{function: squares, stack: 4KiB}]\n\
                - name: check\n  runtime: gate-check\n  local: 2\n  calls: [calculator.squares]\n";
    Scenario::yaml(platform, yaml).boot(platform).assert_status(0);
}

fn purecap_and_hybrid_programs_calculate_for_each_other(platform: Platform) {
    for server in ["calculator", "calculator-purecap"] {
        let yaml = format!(
            "cVMs:\n- name: calculator\n  runtime: {server}\n  gates:\n  - {{function: add, callers: 2}}\n  \
             - {{function: mean, stack: 4KiB, callers: 2}}\n  - {{function: squares, stack: 4KiB, callers: 2}}\n\
             - name: hybrid\n  runtime: office\n{CALLS}- name: purecap\n  runtime: office-purecap\n{CALLS}"
        );
        let outcome = Scenario::yaml(platform, &yaml).boot(platform);
        outcome.assert_status(0);
        assert_eq!(outcome.of("hybrid").len(), 3, "{outcome}");
        let expected = [
            "30 + 12 = 42",
            "too much: -22",
            "the mean of 1 to 4 is 2",
            "squares: 3",
            "the mean of 1 and the squares is 7",
        ];
        assert_eq!(outcome.of("purecap"), expected, "{server}: {outcome}");
    }
}

fn a_server_with_more_threads_rests_until_nobody_is_left_who_could_call(platform: Platform) {
    let server = program(platform, |a| {
        a.hostcall(Hostcall::Serve).exit(0);
        a.gate("one");
        a.set(Argument(0), 1).return_from_gate();
        a.handler();
        a.hostcall(Hostcall::Delegate);
    });
    let client = program(platform, |a| {
        a.ask("server.one").call_gate();
        a.add(Argument(0), Argument(0), -1).must_be_zero(Argument(0), 1);
        a.hostcall(Hostcall::Null);
        a.exit(0);
    });
    for calls_too in [false, true] {
        let mut cvms = [
            CvmSpec {
                gates: vec!["one 4096 1".into()],
                threads: 3,
                ..CvmSpec::new("server", "server")
            },
            CvmSpec {
                calls: vec!["server.one".into()],
                local: 2,
                ..CvmSpec::new("client", "client")
            },
        ];
        if calls_too {
            cvms[1].callback_out = "server".into();
        }
        let scenario = Scenario::new(cvms).member("server", server.clone());
        scenario
            .member("client", client.clone())
            .boot(platform)
            .assert_status(0);
    }
}

const CALLS: &str = "  local: 6\n  calls: [calculator.add, calculator.mean, calculator.squares]\n";
