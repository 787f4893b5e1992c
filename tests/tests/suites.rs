//! Test suites that others wrote, run by the library OS for Linux programs: each test is what `docs/conformance.md` says that it is,
//! and nothing is counted that does not run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tests::{Ending, Outcome, Platform, Scenario, on_machine};
use tools::Architecture;
use tools::run::Isa;
use tools::workspace::Workspace;

on_machine!(
    libc_test_is_as_its_table_says,
    libc_test_in_hard_float_is_as_its_table_says,
    the_system_call_tests_of_ltp_are_as_their_table_says,
    the_tests_of_lua_pass,
    speedtest1_of_sqlite_passes,
);

/// What is said of each suite.
const PAGE: &str = include_str!("../../docs/conformance.md");
/// Most instructions of one program of a suite; the longest needs two thirds.
const LIMIT: u64 = 3_000_000_000;
/// How the tests of Lua are started: those for users, and without locales. musl takes any name for one, and all are like `C`.
const LUA: &str = "_U=true local set=os.setlocale function os.setlocale(name,...) if name==nil or name=='C' then return set(name,...) end end";
/// Most instructions of one test of LTP; the longest that passes needs a third.
const LIMIT_OF_LTP: u64 = 600_000_000;
/// Most instructions of the tests of Lua, and of SQLite's.
const LONG: u64 = 40_000_000_000;

/// What the page says of a program that does not simply pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Fails,
    NotApplicable,
}

/// What the page calls the platforms.
const ON: [&str; 3] = ["ISAv9", "ISAv8", "Morello"];

fn on(platform: Platform) -> &'static str {
    match (platform.arch(), platform.isa()) {
        (Architecture::Morello, _) => ON[2],
        (_, Isa::V8) => ON[1],
        (_, Isa::V9) => ON[0],
    }
}

/// The rows of the table under a heading of the page: by program.
fn table(heading: &str, platform: Platform) -> BTreeMap<String, Said> {
    let section = PAGE.split("\n## ").find(|section| section.starts_with(heading));
    let section = section.unwrap_or_else(|| panic!("docs/conformance.md: no heading {heading:?}"));
    let mut rows = BTreeMap::new();
    for line in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [programs, result, why] = cells[..] else {
            panic!("docs/conformance.md: expected program, result and reason: {line}");
        };
        assert!(!why.is_empty(), "docs/conformance.md: expected a reason: {line}");
        let said = match result.split_once(" on ") {
            Some(("fails", only)) if only.split(", ").all(|name| ON.contains(&name)) => {
                only.split(", ").any(|name| name == on(platform)).then_some(Said::Fails)
            }
            None if result == "fails" => Some(Said::Fails),
            None if result == "not applicable" => Some(Said::NotApplicable),
            _ => panic!("docs/conformance.md: expected fails, fails on some of {ON:?}, or not applicable: {line}"),
        };
        for program in programs.split(", ") {
            let Some(said) = said else { continue };
            let before = rows.insert(program.trim_matches('`').to_owned(), said);
            assert_eq!(before, None, "docs/conformance.md: twice: {program}");
        }
    }
    rows
}

/// What the rows say of a program: by its name, or by what it begins with, where that has a star behind it.
fn said(rows: &BTreeMap<String, Said>, name: &str) -> Option<Said> {
    let by_start = || {
        rows.iter().find_map(|(row, said)| {
            let start = row.strip_suffix('*')?;
            name.starts_with(start).then_some(*said)
        })
    };
    rows.get(name).copied().or_else(by_start)
}

/// The line under a heading that tells how many there are.
fn summary(names: &[&str], rows: &BTreeMap<String, Said>) -> String {
    let count = |wanted| names.iter().filter(|name| said(rows, name) == Some(wanted)).count();
    let (fail, out) = (count(Said::Fails), count(Said::NotApplicable));
    let (all, pass) = (names.len(), names.len() - fail - out);
    format!("{all} programs: {pass} pass, {fail} fail, {out} are not applicable.")
}

/// Runs each program of a folder alone, as `run` does, and compares what becomes of it with what the page says.
fn suite(
    platform: Platform,
    folder: &str,
    heading: &str,
    variable: &str,
    run: impl Fn(Platform, &Path, &str) -> Outcome,
) {
    let Some(programs) = programs(platform, folder, variable) else {
        return;
    };
    let name = |path: &'_ PathBuf| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let names: Vec<String> = programs.iter().filter_map(name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let rows = table(heading, platform);
    let mut wrong = Vec::new();
    for row in rows.keys() {
        let meant = |name: &&str| {
            row.strip_suffix('*')
                .map_or(*name == row, |start| name.starts_with(start))
        };
        if !names.iter().any(meant) {
            wrong.push(format!("{row}: in the table, and not among the programs"));
        }
    }
    for (path, name) in programs.iter().zip(&names) {
        let said = said(&rows, name);
        if said == Some(Said::NotApplicable) {
            continue;
        }
        let outcome = run(platform, path, name);
        let passes = outcome.ending == Ending::Exit(0);
        match (passes, said) {
            (true, Some(_)) => wrong.push(format!("{name}: passes, take it out of the table")),
            (false, None) => {
                let said: Vec<_> = outcome.of("it").into_iter().chain(outcome.of("it.program")).collect();
                let faults = outcome.monitor().into_iter().filter(|line| line.contains("fault:"));
                let said: Vec<_> = said.into_iter().chain(faults).take(8).collect();
                wrong.push(format!("{name}: {:?}\n    {}", outcome.ending, said.join("\n    ")));
            }
            (true, None) | (false, Some(_)) => {}
        }
    }
    assert!(wrong.is_empty(), "on {platform}:\n{}", wrong.join("\n"));
    let line = format!("{}: {}", on(platform), summary(&names, &rows));
    assert!(PAGE.contains(&line), "docs/conformance.md: expected the line {line:?}");
}

/// The programs of a suite that `scripts/setup --linux` has built; none where it has not.
fn programs(platform: Platform, folder: &str, variable: &str) -> Option<Vec<PathBuf>> {
    let workspace = Workspace::locate().unwrap_or_else(|error| panic!("{error}"));
    let folder = workspace.linux_programs(platform.arch()).join(folder);
    let Ok(entries) = fs::read_dir(&folder) else {
        eprintln!(
            "left out: {}: scripts/setup --linux builds it from the directory {variable}",
            folder.display()
        );
        return None;
    };
    let mut programs: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    programs.sort();
    Some(programs)
}

fn alone(platform: Platform, path: &Path, name: &str) -> Outcome {
    // In a place for processes, where handlers of signals are called.
    let yaml = format!("cVMs:\n- {{name: it, linux: {{program: {name}, memory: 32MiB, processes: 2}}}}\n");
    let scenario = Scenario::yaml_with(platform, &yaml, path.parent());
    scenario.instructions(LIMIT).boot(platform)
}

fn libc_test_is_as_its_table_says(platform: Platform) {
    suite(platform, "libc-test", "libc-test", "INTRAVISOR_LIBC_TEST", alone);
}

fn libc_test_in_hard_float_is_as_its_table_says(platform: Platform) {
    // Programs for Morello have no other numbers.
    if platform.arch() == Architecture::Morello {
        return;
    }
    let heading = "libc-test in hard float";
    suite(platform, "libc-test-float", heading, "INTRAVISOR_LIBC_TEST", alone);
}

/// A test of LTP is a child: its library takes a parent that is the first process for one that has died.
fn below_another(platform: Platform, path: &Path, name: &str) -> Outcome {
    let workspace = Workspace::locate().unwrap_or_else(|error| panic!("{error}"));
    let root = workspace.root.join("tests/ltp/root");
    let yaml = format!(
        "cVMs:\n- name: it\n  linux: {{program: linux-each, programs: [{name}], memory: 8MiB, processes: 3, files: 8MiB, root: {}}}\n  \
         args: [{name}]\n  env: {{PATH: /bin, LTP_COLORIZE_OUTPUT: \"0\", KCONFIG_SKIP_CHECK: \"1\"}}\n",
        root.display()
    );
    let scenario = Scenario::yaml_with(platform, &yaml, path.parent());
    scenario.instructions(LIMIT_OF_LTP).boot(platform)
}

fn the_system_call_tests_of_ltp_are_as_their_table_says(platform: Platform) {
    suite(platform, "ltp", "LTP", "INTRAVISOR_LTP", below_another);
}

fn the_tests_of_lua_pass(platform: Platform) {
    let Some(lua) = tests::linux_program(platform, "lua") else {
        return;
    };
    let folder = lua.with_file_name("../lua-tests");
    if !folder.exists() {
        eprintln!(
            "left out: {}: scripts/setup --linux links it from INTRAVISOR_LUA_TESTS",
            folder.display()
        );
        return;
    }
    let yaml = format!(
        "cVMs:\n- name: lua\n  linux: {{program: lua, memory: 88MiB, root: {}}}\n  stack: 2MiB\n  env: {{PATH: /bin}}\n  args:\n  - -e\n  - {LUA}\n  - all.lua\n",
        folder.display()
    );
    let outcome = Scenario::yaml(platform, &yaml).instructions(LONG).boot(platform);
    outcome.assert_status(0);
    assert!(outcome.of("lua").contains(&"final OK !!!"), "{outcome}");
}

fn speedtest1_of_sqlite_passes(platform: Platform) {
    if tests::linux_program(platform, "speedtest1").is_none() {
        return;
    }
    let yaml = "cVMs:\n- name: it\n  linux: {program: speedtest1, memory: 32MiB}\n  args: [--size, \"5\", --verify, /tmp/speed.db]\n";
    let outcome = Scenario::yaml(platform, yaml).instructions(LONG).boot(platform);
    outcome.assert_status(0);
    let said = outcome.of("it");
    assert!(said.iter().any(|line| line.contains("TOTAL")), "{outcome}");
    assert!(
        said.iter().any(|line| line.starts_with("Verification Hash:")),
        "{outcome}"
    );
}
