//! Gates, buffers and the local area for hybrid programs in C (`payloads/c`): as the runtime in Rust has them, and with it.

use std::fs;
use std::path::Path;

use abi::Hostcall;
use tempfile::TempDir;
use tests::code::assembler::Register::{self, Argument, Number, Scratch};
use tests::code::attack::Attacker;
use tests::{Platform, Scenario, on_every_platform_with_clang};
use tools::manifest::CvmSpec;

use crate::c_programs::build_with;

on_every_platform_with_clang!(
    c_and_rust_calculate_for_each_other,
    what_cannot_be_said_exactly_is_refused,
    a_gate_in_c_expects_anything,
    a_gate_in_rust_expects_anything,
    a_purecap_gate_expects_anything,
    what_a_gate_leaves_in_registers_does_not_reach_its_caller_in_c,
    whatever_enters_a_program_in_c_finds_its_global_pointer,
);

const LIBRARY: [&str; 2] = ["slot.c", "gate.c"];

/// A folder with these programs: a name, and a source file.
pub(crate) fn programs(platform: Platform, library: &[&str], sources: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary directory");
    for (name, source) in sources {
        let program = build_with(platform.arch(), Path::new(source), library);
        fs::write(folder.path().join(name), program).expect("a writable directory");
    }
    folder
}

fn boot(platform: Platform, yaml: &str, programs: &TempDir) -> tests::Outcome {
    let outcome = Scenario::yaml_with(platform, yaml, Some(programs.path())).boot(platform);
    outcome.assert_status(0);
    outcome
}

/// One that offers the gates of the example `calculator`, to so many at a time as there are callers here.
fn calculator(runtime: &str) -> String {
    format!(
        "- name: calculator\n  runtime: {runtime}\n  gates:\n  \
         - {{function: add, callers: 2}}\n  \
         - {{function: mean, stack: 4KiB, callers: 2}}\n  \
         - {{function: squares, stack: 4KiB, callers: 2}}\n"
    )
}

/// One that calls them.
fn caller(name: &str, runtime: &str) -> String {
    format!(
        "- name: {name}\n  runtime: {runtime}\n  local: 8\n  buffer_quota: 4KiB\n  \
         calls: [calculator.add, calculator.mean, calculator.squares]\n"
    )
}

fn c_and_rust_calculate_for_each_other(platform: Platform) {
    let sources = [
        ("office-c", "payloads/c/office.c"),
        ("calculator-c", "payloads/c/calculator.c"),
    ];
    let programs = programs(platform, &LIBRARY, &sources);
    let said = ["30 + 12 = 42", "the mean of 1 to 4 is 2, that of their squares 7"];
    for server in ["calculator", "calculator-c"] {
        let yaml = format!(
            "cVMs:\n{}{}{}",
            calculator(server),
            caller("rust", "office"),
            caller("c", "office-c")
        );
        let outcome = boot(platform, &yaml, &programs);
        let [rust, c] = ["rust", "c"].map(|name| outcome.of(name));
        assert_eq!(rust, [&said[..], &["too much: Err(EINVAL)"]].concat(), "{outcome}");
        assert_eq!(c, [&said[..], &["too much: -22"]].concat(), "{outcome}");
    }
}

fn what_cannot_be_said_exactly_is_refused(platform: Platform) {
    let programs = programs(platform, &LIBRARY, &[("slots", "tests/tests/end_to_end/c/slots.c")]);
    let yaml = "cVMs:\n- name: slots\n  runtime: slots\n  local: 4\n  buffer_quota: 4KiB\n";
    boot(platform, yaml, &programs);
}

fn a_gate_in_c_expects_anything(platform: Platform) {
    let sources = [
        ("caller", "tests/tests/end_to_end/c/caller.c"),
        ("calculator-c", "payloads/c/calculator.c"),
    ];
    let programs = programs(platform, &LIBRARY, &sources);
    let yaml = format!("cVMs:\n{}{}", calculator("calculator-c"), caller("caller", "caller"));
    boot(platform, &yaml, &programs);
}

fn a_gate_in_rust_expects_anything(platform: Platform) {
    let programs = programs(platform, &LIBRARY, &[("caller", "tests/tests/end_to_end/c/caller.c")]);
    let yaml = format!("cVMs:\n{}{}", calculator("calculator"), caller("caller", "caller"));
    boot(platform, &yaml, &programs);
}

fn a_purecap_gate_expects_anything(platform: Platform) {
    let programs = programs(platform, &LIBRARY, &[("caller", "tests/tests/end_to_end/c/caller.c")]);
    let caller = caller("caller", "caller") + "  args: aligned\n";
    let yaml = format!("cVMs:\n{}{caller}", calculator("calculator-purecap"));
    boot(platform, &yaml, &programs);
}

fn what_a_gate_leaves_in_registers_does_not_reach_its_caller_in_c(platform: Platform) {
    let programs = programs(platform, &LIBRARY, &[("victim", "tests/tests/end_to_end/c/victim.c")]);
    let mut server = Attacker::new(platform);
    server.hostcall(Hostcall::Serve).exit(0);
    server.gate("work");
    let back = server.way_back();
    let kept = [Scratch(5), Scratch(6)];
    server
        .copy(kept[0], back[0])
        .copy(kept[1], back[1])
        .read_ddc(Argument(0));
    let untouched = [kept[0], kept[1], Argument(0)].map(|register: Register| server.number(register));
    for number in (1..31).filter(|number| *number != 2 && !untouched.contains(number)) {
        server.copy(Number(number), Argument(0));
    }
    server.copy(back[0], kept[0]).copy(back[1], kept[1]).return_from_gate();
    let victim = fs::read(programs.path().join("victim")).expect("a program");
    let cvms = [
        CvmSpec {
            gates: vec!["work 4096 1".into()],
            ..CvmSpec::new("server", "server")
        },
        CvmSpec {
            calls: vec!["server.work".into()],
            local: 2,
            ..CvmSpec::new("victim", "victim")
        },
    ];
    let scenario = Scenario::new(cvms)
        .member("server", server.elf().to_bytes())
        .member("victim", victim);
    scenario.boot(platform).assert_status(0);
}

fn whatever_enters_a_program_in_c_finds_its_global_pointer(platform: Platform) {
    let sources = [("global", "tests/tests/end_to_end/c/global.c")];
    let programs = programs(platform, &["slot.c", "gate.c", "pthread.c"], &sources);
    let yaml = "cVMs:\n- {name: server, runtime: global, threads: 2, gates: [{function: work, stack: 4KiB}]}\n\
                - {name: caller, runtime: global, args: gate, local: 2, calls: [server.work]}\n\
                - {name: client, runtime: global, args: call, callback_out: server}\n";
    boot(platform, yaml, &programs);
}
