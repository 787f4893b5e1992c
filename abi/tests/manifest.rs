//! `docs/manifest.md` says of every number what the table says: key, meaning, limits, default.

use abi::manifest::{
    CVM_LIMIT, DEVICE_EXPECTED, DeviceKind, GATE_CALLERS_LIMIT, GATE_EXPECTED, GATE_STACK_LIMIT, MONITOR_NAME,
    NAME_EXPECTED, NAME_LIMIT, NUMBERS, Number, PROPERTIES, Unit,
};

const PAGE: &str = include_str!("../../docs/manifest.md");
const SOURCE: &str = include_str!("../src/manifest.rs");

/// A value as the page writes it.
fn text(unit: Unit, value: u64) -> String {
    match unit {
        Unit::Decision => ["as its program's header says", "`yes`", "`no`"][value as usize].into(),
        _ if value == 0 && unit != Unit::Count => "none".into(),
        Unit::Bytes if value.is_multiple_of(1 << 30) => format!("{} GiB", value >> 30),
        Unit::Bytes => format!("{} KiB", value / 1024),
        Unit::Nanoseconds => format!("{} s", value / 1_000_000_000),
        Unit::Count => value.to_string(),
    }
}

/// The meaning of a number: the comment above its row.
fn meaning(number: &Number) -> &'static str {
    let row = format!(" = \"{}\", ", number.name);
    let before = &SOURCE[..SOURCE.find(&row).unwrap()];
    let comment = before.lines().rev().nth(1).unwrap();
    comment.trim().strip_prefix("/// ").unwrap()
}

#[test]
fn every_number_is_described_with_meaning_limits_and_default() {
    for number in &NUMBERS {
        let key = number.name.replace('-', "_");
        let row = PAGE.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
        let row = row.unwrap_or_else(|| panic!("no row for {key}"));
        let limits = match (number.least, number.most) {
            (_, u64::MAX) => String::new(),
            _ if number.unit == Unit::Decision => ", `yes` or `no`".into(),
            (least, most) if number.unit == Unit::Count => format!(", {least} to {most}"),
            (_, most) => format!(", {} at most", text(number.unit, most)),
        };
        let default = text(number.unit, number.default);
        assert_eq!(row, format!("| `{key}` | {}{limits} | {default} |", meaning(number)));
        assert!((number.least..=number.most).contains(&number.default), "{key}");
    }
    assert!(PAGE.contains(&format!("at most {CVM_LIMIT} cVMs")));
}

#[test]
fn every_property_is_in_the_example_of_the_crate() {
    let (example, _) = SOURCE.split_once("//! ```\n").unwrap();
    for name in PROPERTIES {
        assert!(example.contains(&format!("//!             {name} = ")), "{name}");
    }
}

#[test]
fn what_is_expected_says_the_limits_that_hold() {
    assert!(NAME_EXPECTED.contains(&format!("to {NAME_LIMIT} ")));
    assert!(NAME_EXPECTED.ends_with(&format!("not \"{MONITOR_NAME}\"")));
    assert!(GATE_EXPECTED.contains(&format!(
        "up to {GATE_STACK_LIMIT}, callers up to {GATE_CALLERS_LIMIT},"
    )));
    for kind in DeviceKind::ALL {
        assert!(DEVICE_EXPECTED.contains(kind.name()), "{kind:?}");
    }
}
