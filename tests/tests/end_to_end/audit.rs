//! What `intravisor audit` says of an image before it boots is what the monitor enters in its ledger, and what a scan of all
//! tags finds in the running machine.

use capability::{Decoded, Permissions, Seal};
use machine::Stop;
use machine::morello::{self, Config, Kind};
use serde_json::Value as Json;
use tests::report::{LedgerEntry, ledger};
use tests::{Board, Outcome, Platform, Scenario, on_every_platform, on_machine};
use tools::audit::audit;

on_every_platform!(the_audit_says_what_the_ledger_says);

on_machine!(the_audit_says_what_is_in_the_machine);

/// Every example that ends by itself.
const EXAMPLES: [&str; 7] = [
    "demo",
    "hello",
    "two-pure",
    "two-layers",
    "hello-world",
    "frames",
    "pipeline",
];

/// The audit of an image, as JSON.
fn audit_of(platform: Platform, scenario: &Scenario) -> Json {
    let audit = audit(&scenario.image(platform), platform.isa()).unwrap_or_else(|error| panic!("{error}"));
    serde_json::to_value(audit).unwrap()
}

fn text<'a>(value: &'a Json, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

fn number(value: &Json, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("no {key} in {value}"))
}

fn list<'a>(value: &'a Json, key: &str) -> &'a [Json] {
    value[key].as_array().unwrap_or_else(|| panic!("no {key} in {value}"))
}

/// A capability of the audit: name, bounds, permissions.
type Line = (String, u64, u64, String);

/// What the audit says that a cVM has from its start on or can get from its own memory, when its memory is at `base`.
fn expected(cvm: &Json, base: u64) -> Vec<Line> {
    let own = list(cvm, "capabilities").iter();
    let name = text(cvm, "name");
    let foreign = format!("{name} buffer");
    own.filter(|capability| !text(capability, "name").starts_with(&foreign))
        .map(|capability| {
            let (start, end) = (number(capability, "start"), number(capability, "end"));
            let (name, permissions) = (text(capability, "name"), text(capability, "permissions"));
            (name.to_owned(), base + start, base + end, permissions.to_owned())
        })
        .collect()
}

fn entered(entry: &LedgerEntry) -> Line {
    let what = &entry.what;
    (
        entry.name.clone(),
        what.base,
        what.top as u64,
        what.permissions.to_string(),
    )
}

/// The start of a cVM's memory.
fn base(entries: &[LedgerEntry], cvm: &str) -> Option<u64> {
    let names = [format!("{cvm} data"), format!("{cvm} memory")];
    let entry = entries.iter().find(|entry| names.contains(&entry.name));
    entry.map(|entry| entry.what.address)
}

fn the_audit_says_what_the_ledger_says(platform: Platform) {
    for example in EXAMPLES {
        let scenario = Scenario::example(platform, example);
        let audit = audit_of(platform, &scenario);
        let outcome = scenario.boot(platform);
        compare(example, &audit, &outcome);
    }
}

fn compare(example: &str, audit: &Json, outcome: &Outcome) {
    let entries = outcome.ledger();
    for cvm in list(audit, "cvms") {
        let name = text(cvm, "name");
        let base = base(&entries, name).unwrap_or_else(|| panic!("{example}: no {name}\n{outcome}"));
        let mut said = expected(cvm, base);
        // The heap is asked for by a hostcall, which no ledger entry is made for.
        said.retain(|line| line.0 != format!("{name} heap"));
        let prefix = format!("{name} ");
        let buffers = format!("{name} buffers");
        let ledger = entries
            .iter()
            .filter(|entry| entry.name.starts_with(&prefix) && entry.name != buffers);
        let mut found: Vec<Line> = ledger.map(entered).collect();
        said.sort();
        found.sort();
        assert_eq!(said, found, "{example}: {name}\n{outcome}");
    }
    for entry in entries.iter().filter(|entry| entry.name.ends_with(" buffers")) {
        let mut all = list(audit, "cvms").iter().flat_map(|cvm| list(cvm, "capabilities"));
        let said = all.find(|capability| text(capability, "name") == entry.name);
        let said = said.unwrap_or_else(|| panic!("{example}: {} is not in the audit", entry.name));
        let found = (entry.what.length(), entry.what.permissions.to_string());
        let expected = (u128::from(number(said, "end")), text(said, "permissions").to_owned());
        assert_eq!(found, expected, "{example}: {}", entry.name);
    }
    let mut buffers = 0;
    for entry in entries.iter().filter(|entry| entry.name.starts_with("buffer ")) {
        let mut named = list(audit, "buffers").iter();
        let buffer = named.find(|buffer| entry.name == format!("buffer {}", text(buffer, "name")));
        let buffer = buffer.unwrap_or_else(|| panic!("{example}: {} is not in the audit", entry.name));
        let found = (entry.what.length(), entry.what.permissions.to_string());
        // What is derived for a cVM is local, too.
        let expected = (u128::from(number(buffer, "covered")), "rw".to_owned());
        assert_eq!(found, expected, "{example}: {}", entry.name);
        buffers += 1;
    }
    assert_eq!(buffers, list(audit, "buffers").len(), "{example}\n{outcome}");
}

fn the_audit_says_what_is_in_the_machine(platform: Platform) {
    for example in EXAMPLES {
        let mut scenario = Scenario::example(platform, example);
        scenario.memory = 32 << 20;
        let audit = audit_of(platform, &scenario);
        let entries = scenario.boot(platform).ledger();
        let mut board = scenario.on_board(platform).board;
        let cvms: Vec<(&str, Vec<Line>)> = list(&audit, "cvms")
            .iter()
            .map(|cvm| {
                let name = text(cvm, "name");
                let base = base(&entries, name).unwrap_or_else(|| panic!("{example}: no {name}"));
                let mut lines = expected(cvm, base);
                lines.retain(|line| line.0 != format!("{name} memory"));
                (name, lines)
            })
            .collect();
        let buffers: Vec<Line> = entries
            .iter()
            .filter(|entry| entry.name.contains("buffer"))
            .map(entered)
            .collect();
        let mut looks = 0;
        // A prime step meets the cVMs at ever other places.
        while board.run(701) == Stop::Limit {
            let stop = board.run_into_user_mode(10_000_000, |_| true);
            if stop != Stop::Condition {
                break;
            }
            looks += 1;
            for (cvm, lines) in &cvms {
                let strange = held(&board, lines, &cvms).into_iter().find(|what| {
                    let mut allowed = lines.iter().chain(&buffers);
                    !allowed.any(|line| covers(line, what)) && !lent(&audit, cvm, &cvms, what)
                });
                assert_eq!(strange, None, "{example}: {cvm} holds what the audit does not know");
            }
            if looks == 60 {
                break;
            }
        }
        assert!(looks > 1, "{example}: {looks} looks");
    }
}

/// Whether what the audit says covers a capability.
fn covers((_, start, end, permissions): &Line, what: &Decoded) -> bool {
    what.base >= *start
        && what.top <= u128::from(*end)
        && what
            .permissions
            .to_string()
            .chars()
            .all(|letter| permissions.contains(letter))
}

/// Whether a capability is what a server may have while it serves: for data only, local, over memory of one that it serves.
fn lent(audit: &Json, server: &str, cvms: &[(&str, Vec<Line>)], what: &Decoded) -> bool {
    let mut found = list(audit, "cvms").iter();
    let serves = found
        .find(|cvm| text(cvm, "name") == server)
        .map(|cvm| list(cvm, "serves"));
    let clients = cvms
        .iter()
        .filter(|(name, _)| serves.is_some_and(|serves| serves.contains(&Json::from(*name))));
    let mut lines = clients.flat_map(|(_, lines)| lines);
    (Permissions::LOAD | Permissions::STORE).contains(what.permissions) && lines.any(|line| covers(line, what))
}

/// The capabilities in the memory of a cVM that no cVM within it has, and in the registers when it runs.
fn held(board: &Board, lines: &[Line], cvms: &[(&str, Vec<Line>)]) -> Vec<Decoded> {
    let Some((_, start, end, _)) = lines.iter().max_by_key(|line| line.2 - line.1) else {
        return Vec::new();
    };
    // The innermost that an address lies in is its owner.
    let owner = |address: u64| {
        let around = cvms.iter().flat_map(|(_, lines)| lines);
        let innermost = around
            .filter(|line| (line.1..line.2).contains(&address))
            .max_by_key(|line| line.1);
        innermost.is_some_and(|line| lines.contains(line))
    };
    let memory = board.tagged_memory().into_iter();
    let memory = memory.filter(|(address, _)| (*start..*end).contains(address) && owner(*address));
    let runs = owner(board.pc(0));
    let registers = board.tagged_registers(0).into_iter();
    let registers = registers.filter(|(name, _)| runs && !board.is_privileged(name));
    memory
        .map(|(_, what)| what)
        .chain(registers.map(|(_, what)| what))
        .collect()
}

/// The entries of the ledger of an image on one of the embedded machine's Morello boards, without firmware, that are no cVM's.
fn boards_entries(image: &[u8], kind: Kind) -> Vec<LedgerEntry> {
    let config = Config {
        kind,
        semihosting: false,
        ..Config::new(image.to_vec())
    };
    let mut board = tests::Board::Morello(Box::new(morello::Board::new(config).unwrap()));
    let stop = board.run_to_pattern(1_000_000_000, "cVMs started");
    let console = board.console().text();
    assert_eq!(stop, Stop::Pattern, "{console}");
    let lines = console.split("\r\n").filter_map(|line| line.strip_prefix("[monitor] "));
    let mut entries = ledger(&lines.collect::<Vec<_>>());
    entries.retain(|entry| entry.parent == Some(0));
    entries
}

#[test]
fn the_audit_says_what_a_board_with_firmware_adds_to_the_ledger() {
    let platform = Platform::MachineMorello;
    let scenario = Scenario::example(platform, "demo");
    let (image, audit) = (scenario.image(platform), audit_of(platform, &scenario));
    let said = text(&audit, "for_firmware");
    let on_soc = boards_entries(&image, Kind::MorelloSoc);
    let kept: Vec<_> = on_soc.iter().filter(|entry| entry.name == "firmware").collect();
    let [kept] = kept[..] else {
        panic!("one entry for the firmware: {on_soc:?}")
    };
    let what = &kept.what;
    assert!(matches!(what.seal, Seal::Otype(_)), "{what}");
    let bounds = format!(
        "[{:#x}-{:#x}) {}, in a sealed pair ",
        what.base, what.top, what.permissions
    );
    assert!(said.starts_with(&bounds), "the audit says {said}, the ledger {bounds}");
    // Where nobody is above, nothing is added.
    let without = boards_entries(&image, Kind::Virt);
    let names = |entries: &[LedgerEntry]| entries.iter().map(|entry| entry.name.clone()).collect::<Vec<_>>();
    let mut rest = names(&on_soc);
    rest.retain(|name| name != "firmware");
    assert_eq!(names(&without), rest);
    // The devices that the monitor keeps are in the audit.
    let devices = list(&audit, "devices_of_the_monitor");
    let own = ["monitor text", "monitor data", "cVM pool", "archive"];
    for name in rest.iter().filter(|name| !own.contains(&name.as_str())) {
        assert!(devices.iter().any(|device| device.as_str() == Some(name)), "{name}");
    }
}
