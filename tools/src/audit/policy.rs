//! Policies: rules in YAML that an image must keep. `docs/audit.md` describes them.

use std::path::Path;

use abi::hostcall::Family;
use abi::manifest;
use capability::Permissions;
use serde::Serialize;

use super::authority::Kind;
use super::{Audit, Cvm, DEVICES, Sharing};
use crate::config::reader::Reader;
use crate::diagnostic::{Diagnostic, Position, Severity, did_you_mean};
use crate::yaml::{self, Content, Node};

/// Kinds of rules, for messages.
const RULES: [&str; 8] = [
    "only",
    "nobody_but",
    "no_store_to_text",
    "no_memory_of_others",
    "families",
    "gates",
    "no_sharing_between",
    "purecap",
];

/// A rule with its place.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Number in the file, counted from 1.
    pub number: usize,
    /// Where it stands.
    pub position: Position,
    /// What the file calls it.
    pub name: Option<String>,
    /// What it demands.
    pub demand: Demand,
}

/// What a rule demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demand {
    /// These cVMs call nobody else than those.
    Only {
        /// The cVMs.
        cvms: Vec<String>,
        /// Whom they may call, cVMs or `monitor`.
        call: Vec<String>,
    },
    /// Nobody else than these cVMs reaches a device.
    NobodyBut {
        /// The cVMs.
        cvms: Vec<String>,
        /// The device.
        device: String,
    },
    /// No cVM holds authority to store to another's text.
    NoStoreToText,
    /// No cVM holds authority over another's memory at all.
    NoMemoryOfOthers,
    /// These cVMs use no other families of hostcalls than those.
    Families {
        /// The cVMs.
        cvms: Vec<String>,
        /// What they may use, beside `process`.
        allow: Vec<Family>,
    },
    /// These cVMs call no other gates than those.
    Gates {
        /// The cVMs.
        cvms: Vec<String>,
        /// The gates, as `cVM.function`.
        call: Vec<String>,
    },
    /// These cVMs share nothing by which anything could pass between any two of them.
    NoSharingBetween(Vec<String>),
    /// These cVMs are purecap.
    Purecap(Vec<String>),
}

impl Demand {
    /// The rule in words.
    fn describe(&self) -> String {
        match self {
            Demand::Only { cvms, call } => format!("{} may call only {}", cvms.join(", "), call.join(", ")),
            Demand::NobodyBut { cvms, device } => format!("nobody but {} may reach {device}", cvms.join(", ")),
            Demand::NoStoreToText => "no cVM holds store to another's text".to_owned(),
            Demand::NoMemoryOfOthers => "no cVM reaches another's memory".to_owned(),
            Demand::Families { cvms, allow } => {
                let allow: Vec<&str> = allow.iter().map(|family| family.name()).collect();
                format!("{} may use only the hostcalls of {}", cvms.join(", "), allow.join(", "))
            }
            Demand::Gates { cvms, call } => {
                let call = if call.is_empty() {
                    "none".to_owned()
                } else {
                    call.join(", ")
                };
                format!("{} may call only these gates: {call}", cvms.join(", "))
            }
            Demand::NoSharingBetween(cvms) => format!("nothing is shared between {}", cvms.join(", ")),
            Demand::Purecap(cvms) => format!("{} must be purecap", cvms.join(", ")),
        }
    }
}

/// A policy.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Its rules, in their order; without the ones that had errors.
    pub rules: Vec<Rule>,
    /// What is wrong with the file.
    pub diagnostics: Vec<Diagnostic>,
}

/// A rule that an image breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Number of the rule, counted from 1.
    pub rule: usize,
    /// Line of the rule in the policy file.
    pub line: usize,
    /// The rule: its name in the file, or itself in words.
    pub name: String,
    /// Who breaks it how.
    pub problem: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "line {}: rule {} ({}): {}",
            self.line, self.rule, self.name, self.problem
        )
    }
}

/// Reads the text of a policy file; `file` is its name for messages. All errors are found, not only the first.
pub fn parse(file: &Path, text: &str) -> Policy {
    let mut policy = Policy::default();
    let documents = match yaml::parse(text) {
        Ok(documents) => documents,
        Err(error) => {
            policy.diagnostics.push(Diagnostic {
                file: file.to_owned(),
                position: Some(error.position),
                severity: Severity::Error,
                cvm: None,
                key: None,
                value: None,
                problem: format!("not YAML: {error}"),
            });
            return policy;
        }
    };
    let mut reader = Reader::new(file, &mut policy.diagnostics, false);
    let mut number = 0;
    for document in &documents {
        let Some(entries) = reader.mapping("policy", document) else {
            continue;
        };
        for (key, value) in entries {
            if key.text != "rules" {
                let hint = did_you_mean(&key.text, &["rules"]);
                let problem = format!("unknown key, expected rules{hint}");
                reader.error(Some(key.position), Some(&key.text), None, problem);
                continue;
            }
            for item in reader.list("rules", value).unwrap_or_default() {
                number += 1;
                policy.rules.extend(read_rule(&mut reader, item, number));
            }
        }
    }
    if number == 0 && reader.clean() {
        reader.error(
            None,
            None,
            None,
            "no rule: expected a key rules with a list of at least one",
        );
    }
    policy
}

fn read_rule(reader: &mut Reader<'_>, node: &Node, number: usize) -> Option<Rule> {
    let errors = reader.error_count();
    let entries = reader.mapping("rules", node)?;
    let mut name = None;
    let mut demands = Vec::new();
    for (key, value) in entries {
        match key.text.as_str() {
            "name" => name = reader.text("rules.name", value).map(str::to_owned),
            rule if RULES.contains(&rule) => demands.extend(read_demand(reader, rule, value)),
            unknown => {
                let hint = did_you_mean(unknown, &RULES);
                let problem = format!("unknown rule, expected one of {}{hint}", RULES.join(", "));
                reader.error(Some(key.position), Some(unknown), None, problem);
            }
        }
    }
    if reader.error_count() > errors {
        return None;
    }
    let [demand] = demands.as_slice() else {
        let problem = format!(
            "{} rules in one entry, expected one of {}",
            demands.len(),
            RULES.join(", ")
        );
        reader.error(Some(node.position), Some("rules"), None, problem);
        return None;
    };
    Some(Rule {
        number,
        position: node.position,
        name,
        demand: demand.clone(),
    })
}

fn read_demand(reader: &mut Reader<'_>, rule: &str, node: &Node) -> Option<Demand> {
    match rule {
        "only" => {
            let [cvms, call] = read_lists(reader, rule, node, ["cvms", "call"])?;
            Some(Demand::Only { cvms, call })
        }
        "gates" => {
            let [cvms, call] = read_lists(reader, rule, node, ["cvms", "call"])?;
            let call: Vec<String> = call.into_iter().filter(|gate| gate != "none").collect();
            for gate in call.iter().filter(|gate| manifest::call(gate).is_none()) {
                let problem = "expected a gate as cVM.function, or none";
                reader.error(Some(node.position), Some("gates.call"), Some(gate), problem);
            }
            Some(Demand::Gates { cvms, call })
        }
        "families" => {
            let [cvms, allow] = read_lists(reader, rule, node, ["cvms", "allow"])?;
            let known = Family::ALL.map(Family::name);
            let mut families = Vec::new();
            for name in &allow {
                match Family::from_name(name) {
                    Some(family) => families.push(family),
                    None => {
                        let problem = format!("expected one of {}{}", known.join(", "), did_you_mean(name, &known));
                        reader.error(Some(node.position), Some("families.allow"), Some(name), problem);
                    }
                }
            }
            Some(Demand::Families { cvms, allow: families })
        }
        "nobody_but" => {
            let [cvms, devices] = read_lists(reader, rule, node, ["cvms", "device"])?;
            let device = match devices.as_slice() {
                [device] if DEVICES.contains(&device.as_str()) || manifest::device(device).is_some() => device.clone(),
                _ => {
                    let found = devices.join(", ");
                    let problem = format!(
                        "expected one of {}, or a device such as block0, block@SERIAL or net@ADDRESS{}",
                        DEVICES.join(", "),
                        did_you_mean(&found, &DEVICES)
                    );
                    reader.error(Some(node.position), Some("nobody_but.device"), Some(&found), problem);
                    return None;
                }
            };
            Some(Demand::NobodyBut { cvms, device })
        }
        "no_sharing_between" => read_names(reader, rule, node).map(Demand::NoSharingBetween),
        "purecap" => read_names(reader, rule, node).map(Demand::Purecap),
        _ => {
            let demand = if rule == "no_store_to_text" {
                Demand::NoStoreToText
            } else {
                Demand::NoMemoryOfOthers
            };
            let truth = |text: &str| (text == "true").then_some(());
            reader
                .choice(rule, node, truth, "true, or no such rule")
                .map(|()| demand)
        }
    }
}

/// Two keys of a rule, both needed, each a name or a list of names.
fn read_lists(reader: &mut Reader<'_>, rule: &str, node: &Node, keys: [&str; 2]) -> Option<[Vec<String>; 2]> {
    let entries = reader.mapping(rule, node)?;
    for (key, _) in entries.iter().filter(|(key, _)| !keys.contains(&key.text.as_str())) {
        let problem = format!(
            "unknown key, expected {}{}",
            keys.join(" and "),
            did_you_mean(&key.text, &keys)
        );
        reader.error(Some(key.position), Some(&format!("{rule}.{}", key.text)), None, problem);
    }
    let lists = keys.map(|wanted| {
        let full = format!("{rule}.{wanted}");
        match entries.iter().find(|(key, _)| key.text == wanted) {
            Some((_, value)) => read_names(reader, &full, value),
            None => {
                reader.error(
                    Some(node.position),
                    Some(&full),
                    None,
                    "missing, expected a name or a list of names",
                );
                None
            }
        }
    });
    let [first, second] = lists;
    Some([first?, second?])
}

fn read_names(reader: &mut Reader<'_>, key: &str, node: &Node) -> Option<Vec<String>> {
    match &node.content {
        Content::List(items) => items
            .iter()
            .map(|item| reader.text(key, item).map(str::to_owned))
            .collect(),
        _ => Some(vec![reader.text(key, node)?.to_owned()]),
    }
}

impl Policy {
    /// Whether the file cannot be used.
    pub fn has_errors(&self) -> bool {
        !self.diagnostics.is_empty()
    }

    /// Every rule that an image breaks, and how. A rule about a cVM that the image does not have is broken, too: it would
    /// otherwise say nothing.
    pub fn check(&self, audit: &Audit) -> Vec<Violation> {
        let mut violations = Vec::new();
        for rule in &self.rules {
            for problem in problems(&rule.demand, audit) {
                violations.push(Violation {
                    rule: rule.number,
                    line: rule.position.line,
                    name: rule.name.clone().unwrap_or_else(|| rule.demand.describe()),
                    problem,
                });
            }
        }
        violations
    }
}

/// The cVMs that drive a device, or may drive it, each with the name that it has for it. Which device has which serial number
/// or address shows at boot only; but a device that two name has one driver, or the monitor does not boot.
fn drives<'a>(audit: &'a Audit, device: &str) -> Vec<(&'a Cvm, &'a String)> {
    let all = audit
        .cvms
        .iter()
        .flat_map(|cvm| cvm.devices.iter().map(move |name| (cvm, name)));
    let same: Vec<_> = all.clone().filter(|(_, name)| *name == device).collect();
    let Some((kind, which)) = manifest::device(device).filter(|_| same.is_empty()) else {
        return same;
    };
    let may_be = |name: &str| {
        let other = manifest::device(name).filter(|(other, _)| *other == kind);
        other.is_some_and(|(_, other)| std::mem::discriminant(&other) != std::mem::discriminant(&which))
    };
    all.filter(|(_, name)| may_be(name)).collect()
}

fn problems(demand: &Demand, audit: &Audit) -> Vec<String> {
    let mut problems = Vec::new();
    let subjects = match demand {
        Demand::Only { cvms, .. }
        | Demand::Families { cvms, .. }
        | Demand::Gates { cvms, .. }
        | Demand::NoSharingBetween(cvms)
        | Demand::Purecap(cvms) => cvms.as_slice(),
        // Who may reach a device need not exist.
        Demand::NobodyBut { .. } | Demand::NoStoreToText | Demand::NoMemoryOfOthers => &[],
    };
    let known: Vec<&str> = audit.cvms.iter().map(|cvm| cvm.name.as_str()).collect();
    let mut found = Vec::new();
    for name in subjects {
        match audit.cvm(name) {
            Some(cvm) => found.push(cvm),
            None => problems.push(format!("there is no cVM {name}{}", did_you_mean(name, &known))),
        }
    }
    match demand {
        Demand::Only { call, .. } => {
            let wrong = found.iter().filter(|cvm| !call.contains(&cvm.calls));
            problems.extend(wrong.map(|cvm| format!("{} calls {}", cvm.name, cvm.calls)));
        }
        // The monitor keeps the others: there is no key that gives one away, and no capability to check.
        Demand::NobodyBut { cvms, device } => {
            let names = drives(audit, device);
            let strangers = names.iter().filter(|(cvm, _)| !cvms.contains(&cvm.name));
            problems.extend(strangers.map(|(cvm, name)| {
                let perhaps = if *name == device {
                    String::new()
                } else {
                    format!(", which may be {device}")
                };
                format!("{} drives {name}{perhaps}", cvm.name)
            }));
            // Who reads and writes the driver's memory can make it do anything.
            let around = audit.cvms.iter().filter(|cvm| !cvms.contains(&cvm.name)).filter(|cvm| {
                let shares = |shared: &&super::Shared| shared.kind == Sharing::Memory && shared.first == cvm.name;
                let inner = audit
                    .shared
                    .iter()
                    .filter(shares)
                    .filter_map(|shared| audit.cvm(&shared.second));
                inner
                    .into_iter()
                    .any(|inner| names.iter().any(|(driver, _)| driver.name == inner.name))
            });
            problems.extend(
                around.map(|cvm| format!("{} reads and writes the memory of the driver of {device}", cvm.name)),
            );
        }
        Demand::NoStoreToText => reach(audit, &mut problems, |_, capability, victim| {
            let stores = capability.rights.contains(Permissions::STORE);
            let hits = |part: &&super::Part| part.name == "text" && capability.covers(part.start, part.end);
            let text = victim.memory.parts.iter().find(hits).filter(|_| stores)?;
            Some(format!(
                "stores to the text of {}, {:#x}-{:#x}",
                victim.name, text.start, text.end
            ))
        }),
        Demand::NoMemoryOfOthers => reach(audit, &mut problems, |_, capability, victim| {
            capability
                .covers(0, victim.memory.size)
                .then(|| format!("covers memory of {}", victim.name))
        }),
        Demand::Families { allow, .. } => {
            for cvm in found {
                let more = cvm.hostcalls.iter().filter(|name| {
                    let family = Family::from_name(name);
                    family != Some(Family::Process) && !family.is_some_and(|family| allow.contains(&family))
                });
                problems.extend(more.map(|name| format!("{} may use {name}", cvm.name)));
            }
        }
        Demand::Gates { call, .. } => {
            for cvm in found {
                let more = cvm.gate_calls.iter().filter(|gate| !call.contains(gate));
                problems.extend(more.map(|gate| format!("{} calls the gate {gate}", cvm.name)));
            }
        }
        Demand::NoSharingBetween(cvms) => {
            let between = audit.shared.iter().filter(|shared| {
                shared.kind != Sharing::Program && cvms.contains(&shared.first) && cvms.contains(&shared.second)
            });
            problems.extend(between.map(|shared| format!("{} and {}: {}", shared.first, shared.second, shared.what)));
        }
        Demand::Purecap(_) => {
            let hybrid = found.iter().filter(|cvm| !cvm.purecap);
            problems.extend(hybrid.map(|cvm| format!("{} is hybrid", cvm.name)));
        }
    }
    problems
}

/// A capability's bounds, counted from the start of another cVM's memory.
struct Reach {
    rights: Permissions,
    start: i128,
    end: i128,
}

impl Reach {
    /// Whether it covers any byte of a part of the other cVM's memory.
    fn covers(&self, start: u64, end: u64) -> bool {
        self.start < i128::from(end) && i128::from(start) < self.end
    }
}

/// Looks at every capability that a cVM holds, against the memory of every other cVM.
fn reach(audit: &Audit, problems: &mut Vec<String>, judge: impl Fn(&Cvm, &Reach, &Cvm) -> Option<String>) {
    for cvm in &audit.cvms {
        let victims = audit
            .cvms
            .iter()
            // Regions that no cVM is around are disjoint: the monitor takes each from free memory.
            .filter(|other| other.name != cvm.name && other.memory.space == cvm.memory.space);
        for victim in victims {
            let distance = i128::from(cvm.memory.offset) - i128::from(victim.memory.offset);
            for capability in cvm
                .capabilities
                .iter()
                .filter(|capability| capability.kind == Kind::Own)
            {
                let reach = Reach {
                    rights: capability.rights,
                    start: i128::from(capability.start) + distance,
                    end: i128::from(capability.end) + distance,
                };
                let problem = judge(cvm, &reach, victim);
                problems.extend(problem.map(|problem| format!("{} ({}) {problem}", capability.name, capability.held)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use abi::manifest::CALLBACK_MONITOR;

    use super::*;

    #[test]
    fn rules_are_read_with_one_name_or_a_list() {
        let text = "rules:\n- only: {cvms: second, call: [first, monitor]}\n  name: ours\n- no_store_to_text: true\n";
        let policy = parse(Path::new("p.yaml"), text);
        assert!(!policy.has_errors(), "{:?}", policy.diagnostics);
        let only = Demand::Only {
            cvms: vec!["second".into()],
            call: vec!["first".into(), CALLBACK_MONITOR.into()],
        };
        assert_eq!(policy.rules[0].demand, only);
        assert_eq!(policy.rules[0].name.as_deref(), Some("ours"));
        assert_eq!((policy.rules[1].number, policy.rules[1].position.line), (2, 4));
        assert_eq!(only.describe(), "second may call only first, monitor");
    }

    #[test]
    fn what_is_no_policy_is_named() {
        let only = |text: &str| {
            let policy = parse(Path::new("p.yaml"), text);
            assert_eq!(policy.diagnostics.len(), 1, "{:?}", policy.diagnostics);
            policy.diagnostics[0].to_string()
        };
        assert_eq!(
            only(""),
            "p.yaml: error: no rule: expected a key rules with a list of at least one"
        );
        assert_eq!(
            only("rule: []"),
            "p.yaml:1:1: error: rule: unknown key, expected rules (did you mean \"rules\"?)"
        );
        assert!(only("rules:\n- onyl: {}").contains("onyl: unknown rule, expected one of only, nobody_but, "));
        assert_eq!(
            only("rules:\n- only: {cvms: a}"),
            "p.yaml:2:9: error: only.call: missing, expected a name or a list of names"
        );
        assert_eq!(
            only("rules:\n- nobody_but: {cvms: net, device: network}"),
            "p.yaml:2:15: error: nobody_but.device: \"network\": expected one of console, timer, interrupt controller, \
             interrupt interface, power, or a device such as block0, block@SERIAL or net@ADDRESS"
        );
        assert_eq!(
            only("rules:\n- no_store_to_text: false"),
            "p.yaml:2:21: error: no_store_to_text: \"false\": expected true, or no such rule"
        );
        assert_eq!(
            only("rules:\n- {purecap: a, no_store_to_text: true}")
                .split(", expected")
                .next()
                .unwrap(),
            "p.yaml:2:3: error: rules: 2 rules in one entry"
        );
        assert!(only("rules:\n- families: {cvms: a, allow: consle}").contains("(did you mean \"console\"?)"));
    }
}
