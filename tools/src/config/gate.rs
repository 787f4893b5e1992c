//! What a cVM offers to others by gates, and which gates it calls.

use abi::hostcall::Family;
use abi::manifest::{self as names, Gate};

use super::Draft;
use super::reader::Reader;
use super::relations::Complaint;
use crate::diagnostic::did_you_mean;
use crate::quantity::format_size;
use crate::yaml::{Content, Node};

const KEYS: [&str; 4] = ["function", "stack", "callers", "vector"];

/// The gates of a cVM, in the words of the manifest: each a function's name, or a mapping.
pub(super) fn read_gates(reader: &mut Reader<'_>, node: &Node) -> Vec<String> {
    let mut gates: Vec<String> = Vec::new();
    let mut functions: Vec<String> = Vec::new();
    for item in items(node) {
        let Some((function, gate)) = read_gate(reader, item) else {
            continue;
        };
        if functions.contains(&function) {
            let problem = "given twice, expected each function once";
            reader.error(Some(item.position), Some("gates"), Some(&function), problem);
        }
        functions.push(function);
        gates.push(gate);
    }
    check_count(reader, "gates", node, gates.len());
    gates
}

fn read_gate(reader: &mut Reader<'_>, node: &Node) -> Option<(String, String)> {
    let (mut function, mut stack, mut callers, mut vector) = (None, names::GATE_STACK, 1, false);
    if let Content::Mapping(entries) = &node.content {
        for (key, value) in entries {
            let full = format!("gates.{}", key.text);
            match key.text.as_str() {
                "function" => function = reader.text(&full, value).map(str::to_owned),
                "stack" => {
                    stack = reader.size(&full, value)?;
                    if !(1..=names::GATE_STACK_LIMIT).contains(&stack) {
                        let text = reader.text(&full, value);
                        let problem = format!("expected 1 B to {}", format_size(names::GATE_STACK_LIMIT));
                        reader.error(Some(value.position), Some(&full), text, problem);
                    }
                }
                "callers" => {
                    let most = names::GATE_CALLERS_LIMIT;
                    let expected = format!("a number from 1 to {most}");
                    let inside = |value: &u32| (1..=most).contains(value);
                    callers = reader.integer(&full, value, inside, &expected)?;
                }
                "vector" => {
                    let choose = |text: &str| match text {
                        "yes" | "true" => Some(true),
                        "no" | "false" => Some(false),
                        _ => None,
                    };
                    vector = reader.choice(&full, value, choose, "yes or no")?;
                }
                unknown => {
                    let hint = did_you_mean(unknown, &KEYS);
                    let problem = format!("unknown key, expected one of {}{hint}", KEYS.join(", "));
                    reader.error(Some(key.position), Some(&full), None, problem);
                }
            }
        }
    } else {
        function = Some(reader.text("gates", node)?.to_owned());
    }
    let Some(function) = function else {
        let problem = "missing, expected the name of a function";
        reader.error(Some(node.position), Some("gates.function"), None, problem);
        return None;
    };
    if !names::valid_function(&function) {
        let problem = format!("expected 1 to {} characters of A-Z a-z 0-9 _", names::NAME_LIMIT);
        reader.error(Some(node.position), Some("gates.function"), Some(&function), problem);
        return None;
    }
    let gate = Gate {
        function: &function,
        stack,
        callers,
        vector,
    };
    let words = gate.to_string();
    Some((function, words))
}

/// The gates that a cVM calls; who offers them is looked up when all cVMs are known.
pub(super) fn read_calls(reader: &mut Reader<'_>, node: &Node) -> Vec<String> {
    let mut calls: Vec<String> = Vec::new();
    for item in items(node) {
        let Some(call) = reader.text("calls", item) else {
            continue;
        };
        if calls.iter().any(|other| other == call) {
            let problem = "given twice, expected each gate once";
            reader.error(Some(item.position), Some("calls"), Some(call), problem);
        }
        calls.push(call.to_owned());
    }
    check_count(reader, "calls", node, calls.len());
    calls
}

/// A list, or one thing.
fn items(node: &Node) -> &[Node] {
    match &node.content {
        Content::Null => &[],
        Content::List(items) => items,
        _ => std::slice::from_ref(node),
    }
}

fn check_count(reader: &mut Reader<'_>, key: &str, node: &Node, count: usize) {
    if count > names::GATE_LIMIT {
        let problem = format!("{count} gates, expected at most {}", names::GATE_LIMIT);
        reader.error(Some(node.position), Some(key), None, problem);
    }
}

/// What a cVM calls exists, and both sides may take part.
pub(super) fn check(cvms: &[Draft], index: usize, complaints: &mut Vec<Complaint>) {
    let cvm = &cvms[index];
    let spec = &cvm.config.spec;
    let mut complain = |key: &str, value: Option<&String>, problem: String| {
        complaints.push(Complaint {
            cvm: index,
            position: cvm.given(key).unwrap_or(cvm.position),
            key: key.to_owned(),
            value: value.cloned(),
            problem,
            fatal: true,
        });
    };
    let offered = || {
        let others = cvms.iter().enumerate().filter(|(other, _)| *other != index);
        others.flat_map(|(_, other)| {
            let gates = other.config.spec.gates.iter().filter_map(|gate| Gate::parse(gate));
            gates.map(|gate| format!("{}.{}", other.name(), gate.function))
        })
    };
    for call in &spec.calls {
        if !offered().any(|gate| gate == *call) {
            let known: Vec<String> = offered().collect();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let hint = did_you_mean(call, &known);
            complain(
                "calls",
                Some(call),
                format!("expected a gate of another cVM, as cVM.function{hint}"),
            );
        }
    }
    if !spec.agrees_on_vectors(cvms.iter().map(|cvm| &cvm.config.spec)) {
        let key = if spec.calls.is_empty() { "gates" } else { "calls" };
        let problem = "of all the gates that it offers and calls, expected all with vector: yes, or none";
        complain(key, None, problem.to_owned());
    }
    for (key, given, family) in [
        ("gates", !spec.gates.is_empty(), Family::Service),
        ("calls", !spec.calls.is_empty(), Family::Gate),
    ] {
        if given && !spec.allows(family) {
            let problem = format!("it has {key}, expected the family {} among the others", family.name());
            complain("hostcalls", None, problem);
        }
        if given && spec.raw != 0 {
            complain(key, None, "it is a raw client, expected one or the other".to_owned());
        }
    }
}
