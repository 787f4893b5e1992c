//! The list in docs/attacks.md: written from the table, and compared with it.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use abi::FaultKind;

use crate::GROUPS;
use crate::catalogue::{Attack, Fate, Means};

/// The variable that has the list written instead of compared.
const WRITE: &str = "INTRAVISOR_WRITE_ATTACKS";
/// What stands in front of the list.
const HEAD: &str = include_str!("attacks.md");

#[test]
fn the_list_of_attacks_is_that_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/attacks.md");
    let list = list();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &list).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    let found = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(found == list, "{} is not what {WRITE}=1 would write", path.display());
}

#[test]
fn there_are_enough_attacks_and_each_is_named_once() {
    let attacks: Vec<&Attack> = GROUPS.iter().flat_map(|group| group.attacks).collect();
    let names: BTreeSet<&str> = attacks.iter().map(|attack| attack.name).collect();
    assert_eq!(names.len(), attacks.len(), "a name stands for two attacks");
    assert!(names.len() >= 80, "{} attacks", names.len());
    for attack in attacks {
        let longest = abi::manifest::NAME_LIMIT;
        assert!(
            attack.name.len() <= longest,
            "{}: more than {longest} characters",
            attack.name
        );
    }
}

fn list() -> String {
    let mut list = HEAD.to_owned();
    let mut number = 0;
    for group in GROUPS {
        let _ = writeln!(list, "\n## {}\n\nPromise {}.\n", group.title, group.promise);
        list += "| | Attack | What is tried | ISAv9 | ISAv8 | Morello |\n|---|---|---|---|---|---|\n";
        for attack in group.attacks {
            number += 1;
            let [v9, v8, morello] = attack.expected.all().map(|fate| words(attack, fate));
            let _ = writeln!(
                list,
                "| {number} | `{}` | {} | {v9} | {v8} | {morello} |",
                attack.name, attack.what
            );
        }
    }
    list
}

/// A fate as the list says it.
fn words(attack: &Attack, fate: Fate) -> String {
    let kinds = |kinds: &[FaultKind]| kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" or ");
    match fate {
        Fate::Killed(kind) => kind.name().to_owned(),
        Fate::KilledForOne(allowed) => kinds(allowed),
        Fate::EachKilled(allowed) => format!("each: {}", kinds(allowed)),
        Fate::Nothing => match attack.means {
            Means::Storm(_) | Means::Siege(_) => "the victim goes on".to_owned(),
            _ => "no effect".to_owned(),
        },
        Fate::EachStarted(times) => format!("{times} restarts, the victim goes on"),
        Fate::Error(errno) => format!("`{errno:?}`"),
        Fate::Value(value) => format!("returns {value}"),
        Fate::Refused(message) => {
            let message = message.trim_start_matches("error: ").trim();
            if message.is_empty() {
                "not booted".to_owned()
            } else {
                format!("not booted: “{message}”")
            }
        }
        Fate::Absent => "—".to_owned(),
    }
}
