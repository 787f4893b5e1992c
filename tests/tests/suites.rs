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
/// How many of them share a start of the machine.
const TOGETHER: usize = 40;
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

/// A suite: its programs, and what the page says of them.
struct Suite {
    folder: PathBuf,
    names: Vec<String>,
    rows: BTreeMap<String, Said>,
    /// What is not as the page says.
    wrong: Vec<String>,
}

impl Suite {
    /// The programs of a folder that `scripts/setup --linux` has built; none where it has not.
    fn find(platform: Platform, folder: &str, heading: &str, variable: &str) -> Option<Suite> {
        let workspace = Workspace::locate().unwrap_or_else(|error| panic!("{error}"));
        let folder = workspace.linux_programs(platform.arch()).join(folder);
        let Ok(entries) = fs::read_dir(&folder) else {
            let folder = folder.display();
            eprintln!("left out: {folder}: scripts/setup --linux builds it from the directory {variable}");
            return None;
        };
        let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name().into_string();
        let mut names: Vec<String> = entries.map(|entry| name(entry).expect("a name of ASCII")).collect();
        names.sort();
        let rows = table(heading, platform);
        let unknown = rows.keys().filter(|row| {
            let meant = |name: &String| {
                row.strip_suffix('*')
                    .map_or(name == *row, |start| name.starts_with(start))
            };
            !names.iter().any(meant)
        });
        let wrong = unknown
            .map(|row| format!("{row}: in the table, and not among the programs"))
            .collect();
        Some(Suite {
            folder,
            names,
            rows,
            wrong,
        })
    }

    /// Those of which the page says this.
    fn those(&self, wanted: Option<Said>) -> Vec<&str> {
        let names = self.names.iter().map(String::as_str);
        names.filter(|name| said(&self.rows, name) == wanted).collect()
    }

    /// Fails when something is not as the page says, or its line is not there.
    fn conclude(self, platform: Platform) {
        assert!(self.wrong.is_empty(), "on {platform}:\n{}", self.wrong.join("\n"));
        let (all, pass) = (self.names.len(), self.those(None).len());
        let (fail, out) = (
            self.those(Some(Said::Fails)).len(),
            self.those(Some(Said::NotApplicable)).len(),
        );
        let on = on(platform);
        let line = format!("{on}: {all} programs: {pass} pass, {fail} fail, {out} are not applicable.");
        assert!(PAGE.contains(&line), "docs/conformance.md: expected the line {line:?}");
    }
}

/// What a run has said, and how it has ended.
fn shown(outcome: &Outcome) -> String {
    let said: Vec<_> = outcome.of("it").into_iter().chain(outcome.of("it.program")).collect();
    let faults = outcome.monitor().into_iter().filter(|line| line.contains("fault:"));
    let said: Vec<_> = said.into_iter().chain(faults).take(8).collect();
    format!("{:?}\n    {}", outcome.ending, said.join("\n    "))
}

/// Runs each program of a folder alone, and compares what becomes of it with what the page says.
fn suite(platform: Platform, folder: &str, heading: &str, variable: &str) {
    let Some(mut suite) = Suite::find(platform, folder, heading, variable) else {
        return;
    };
    let mut wrong = Vec::new();
    for said in [None, Some(Said::Fails)] {
        for name in suite.those(said) {
            let outcome = alone(platform, &suite.folder, name);
            match (outcome.ending == Ending::Exit(0), said) {
                (true, Some(_)) => wrong.push(format!("{name}: passes, take it out of the table")),
                (false, None) => wrong.push(format!("{name}: {}", shown(&outcome))),
                (true, None) | (false, Some(_)) => {}
            }
        }
    }
    suite.wrong.extend(wrong);
    suite.conclude(platform);
}

fn alone(platform: Platform, folder: &Path, name: &str) -> Outcome {
    let yaml = format!("cVMs:\n- {{name: it, linux: {{program: {name}, memory: 32MiB}}}}\n");
    let scenario = Scenario::yaml_with(platform, &yaml, Some(folder));
    scenario.instructions(LIMIT).boot(platform)
}

fn libc_test_is_as_its_table_says(platform: Platform) {
    suite(platform, "libc-test", "libc-test", "INTRAVISOR_LIBC_TEST");
}

/// Runs tests of LTP one after the other. Each is a child: its library takes a parent that is the first process for one that has
/// died.
fn each(platform: Platform, folder: &Path, names: &[&str]) -> Outcome {
    let workspace = Workspace::locate().unwrap_or_else(|error| panic!("{error}"));
    let (names, root) = (names.join(", "), workspace.root.join("tests/ltp/root"));
    let yaml = format!(
        "cVMs:\n- name: it\n  linux: {{program: linux-each, programs: [{names}], memory: 8MiB, processes: 3, files: 8MiB, root: {}}}\n  \
         args: [{names}]\n  env: {{PATH: /bin, LTP_COLORIZE_OUTPUT: \"0\", KCONFIG_SKIP_CHECK: \"1\"}}\n",
        root.display()
    );
    let scenario = Scenario::yaml_with(platform, &yaml, Some(folder));
    scenario.instructions(LIMIT_OF_LTP * names.len() as u64).boot(platform)
}

/// What has become of each of these: whether its status is 0, nothing in what it says fails or breaks off, and something passes;
/// with the end of what it says.
fn verdicts<'a>(outcome: &Outcome, names: &[&'a str]) -> Vec<(&'a str, bool, String)> {
    // The console breaks long lines.
    let said = outcome.of("it").concat();
    let mut rest = said.as_str();
    let mut verdict = |name: &&'a str| {
        let (before, status) = rest.split_once(&format!("{name}: status ")).unwrap_or((rest, ""));
        if !status.is_empty() {
            rest = status;
        }
        let bad = ["TFAIL", "TBROK"].iter().any(|word| before.contains(word));
        let passes = status.starts_with('0') && !bad && (before.contains("TPASS") || !before.contains("TCONF"));
        let last = before.char_indices().rev().nth(600).map_or(0, |(at, _)| at);
        (*name, passes, before[last..].to_owned())
    };
    names.iter().map(&mut verdict).collect()
}

fn the_system_call_tests_of_ltp_are_as_their_table_says(platform: Platform) {
    let Some(mut suite) = Suite::find(platform, "ltp", "LTP", "INTRAVISOR_LTP") else {
        return;
    };
    let mut wrong = Vec::new();
    for names in suite.those(None).chunks(TOGETHER) {
        let outcome = each(platform, &suite.folder, names);
        let failed = verdicts(&outcome, names).into_iter().filter(|(_, passes, _)| !passes);
        wrong.extend(failed.map(|(name, _, said)| format!("{name}: {:?}: {said}", outcome.ending)));
    }
    for name in suite.those(Some(Said::Fails)) {
        let outcome = each(platform, &suite.folder, &[name]);
        if verdicts(&outcome, &[name]).iter().any(|(_, passes, _)| *passes) {
            wrong.push(format!("{name}: passes, take it out of the table"));
        }
    }
    suite.wrong.extend(wrong);
    suite.conclude(platform);
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
