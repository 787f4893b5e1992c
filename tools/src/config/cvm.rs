//! One entry of `cVMs`.

use abi::manifest::{self as names, RestartPolicy};

use super::CvmConfig;
use super::reader::Reader;
use crate::diagnostic::{Position, did_you_mean};
use crate::elf::PAGE;
use crate::manifest::{CvmSpec, Restart};
use crate::yaml::{Content, Node};

/// Keys of a cVM. The Intravisor's first, then this project's.
const KEYS: [&str; 15] = [
    "name",
    "runtime",
    "args",
    "wait",
    "isolation",
    "callback_out",
    "callback_in",
    "clean_room",
    "disk",
    "net",
    "heap",
    "stack",
    "priority",
    "restart",
    "env",
];
const ISOLATION_KEYS: [&str; 4] = ["base", "size", "begin", "end"];
const RESTART_KEYS: [&str; 3] = ["policy", "limit", "delay"];

/// Reads number `number` of the list, counted from 1; `None` when it has errors.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node, number: usize, others: &[CvmConfig]) -> Option<CvmConfig> {
    reader.enter(&format!("number {number}"));
    let errors = reader.error_count();
    let config = read_entries(reader, node, others);
    let clean = reader.error_count() == errors;
    reader.leave();
    config.filter(|_| clean)
}

fn read_entries(reader: &mut Reader<'_>, node: &Node, others: &[CvmConfig]) -> Option<CvmConfig> {
    let entries = reader.mapping("cVMs", node)?;
    // The name first: it stands in all messages about this cVM.
    let named = entries.iter().find(|(key, _)| key.text == "name");
    let name = match named {
        Some((_, value)) => read_name(reader, value, others),
        None => {
            reader.error(
                Some(node.position),
                Some("name"),
                None,
                "missing, expected a name for the cVM",
            );
            None
        }
    };
    let mut spec = CvmSpec::new(name.unwrap_or_default(), "");
    let mut runtime = None;
    let mut isolation_position = node.position;
    for (key, value) in entries {
        let (at, key) = (key.position, key.text.as_str());
        match key {
            "name" => {}
            "runtime" => runtime = read_runtime(reader, value).map(|path| (path, value.position)),
            "args" => spec.args = read_args(reader, value),
            "env" => spec.env = read_env(reader, value),
            "isolation" => {
                isolation_position = value.position;
                read_isolation(reader, value, &mut spec);
            }
            "heap" => spec.heap = reader.size(key, value).unwrap_or_default(),
            "stack" => spec.stack = read_stack(reader, value),
            "priority" => spec.priority = read_priority(reader, value),
            "restart" => spec.restart = read_restart(reader, value),
            "wait" => {
                let expected = "-1 (the next starts at once), 0 (at the end of this cVM) or a number of seconds";
                spec.wait = reader.integer(key, value, |_| true, expected).unwrap_or_default();
            }
            "callback_out" => read_callback_out(reader, value),
            "callback_in" => {
                let value = reader.text(key, value).map(str::to_owned);
                let problem = "not yet: cVMs that serve hostcalls; expected no such key";
                reader.error(Some(at), Some(key), value.as_deref(), problem);
            }
            "clean_room" => {
                let text = reader.text(key, value);
                reader.warning(at, key, text, "ignored, it has no meaning here: every cVM starts clean");
            }
            "disk" | "net" => read_device(reader, key, value),
            unknown => {
                let hint = did_you_mean(unknown, &KEYS);
                let problem = format!("unknown key, expected one of {}{hint}", KEYS.join(", "));
                reader.error(Some(at), Some(unknown), None, problem);
            }
        }
    }
    check_strings(reader, node.position, &spec);
    if !entries.iter().any(|(key, _)| key.text == "runtime") {
        reader.error(
            Some(node.position),
            Some("runtime"),
            None,
            "missing, expected the file name of an ELF program",
        );
    }
    let (path, runtime_position) = runtime?;
    spec.runtime = path;
    Some(CvmConfig {
        spec,
        runtime_position,
        isolation_position,
    })
}

fn read_name(reader: &mut Reader<'_>, node: &Node, others: &[CvmConfig]) -> Option<String> {
    let name = reader.text("name", node)?;
    if !names::valid_name(name) {
        let expected = format!(
            "expected 1 to {} characters of A-Z a-z 0-9 . _ -, not \"{}\"",
            names::NAME_LIMIT,
            names::MONITOR_NAME
        );
        reader.error(Some(node.position), Some("name"), Some(name), expected);
        return None;
    }
    reader.enter(name);
    if others.iter().any(|other| other.spec.name == name) {
        let problem = "used twice, expected a different name for each cVM";
        reader.error(Some(node.position), Some("name"), Some(name), problem);
    }
    Some(name.to_owned())
}

fn read_runtime(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let path = reader.text("runtime", node)?;
    if path.is_empty() || path.ends_with(['/', '.']) {
        let problem = "expected the file name of an ELF program";
        reader.error(Some(node.position), Some("runtime"), Some(path), problem);
        return None;
    }
    Some(path.to_owned())
}

/// One text, split at blanks, or a list.
fn read_args(reader: &mut Reader<'_>, node: &Node) -> Vec<String> {
    match &node.content {
        Content::Null => Vec::new(),
        Content::List(items) => read_texts(reader, "args", items),
        _ => reader
            .text("args", node)
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
    }
}

fn read_texts(reader: &mut Reader<'_>, key: &str, items: &[Node]) -> Vec<String> {
    items
        .iter()
        .filter_map(|item| reader.text(key, item).map(str::to_owned))
        .collect()
}

/// A list of `KEY=value`, or a mapping.
fn read_env(reader: &mut Reader<'_>, node: &Node) -> Vec<String> {
    let entries: Vec<(Position, String)> = match &node.content {
        Content::Null => Vec::new(),
        Content::Mapping(entries) => {
            let mut read = Vec::new();
            for (key, value) in entries {
                let Some(text) = reader.text(&format!("env.{}", key.text), value) else {
                    continue;
                };
                if key.text.contains(['=', '\0']) {
                    reader.error(
                        Some(key.position),
                        Some("env"),
                        Some(&key.text),
                        "expected a key without =",
                    );
                    continue;
                }
                read.push((key.position, format!("{}={text}", key.text)));
            }
            read
        }
        _ => {
            let items = reader.list("env", node).unwrap_or_default();
            items
                .iter()
                .filter_map(|item| Some((item.position, reader.text("env", item)?.to_owned())))
                .collect()
        }
    };
    let mut env: Vec<String> = Vec::new();
    for (position, entry) in entries {
        let key = entry.split_once('=').map_or("", |(key, _)| key);
        let twice = env
            .iter()
            .any(|other| other.split_once('=').is_some_and(|(other, _)| other == key));
        if key.is_empty() {
            reader.error(Some(position), Some("env"), Some(&entry), "expected KEY=value");
        } else if twice {
            reader.error(
                Some(position),
                Some("env"),
                Some(&entry),
                "given twice, expected each key once",
            );
        } else {
            env.push(entry);
        }
    }
    env
}

fn check_strings(reader: &mut Reader<'_>, position: Position, spec: &CvmSpec) {
    let bytes: usize = spec.args.iter().chain(&spec.env).map(|text| text.len() + 1).sum();
    if bytes > names::STRINGS_LIMIT {
        let limit = names::STRINGS_LIMIT;
        let problem = format!("{bytes} bytes of arguments and environment, expected at most {limit}");
        reader.error(Some(position), Some("args, env"), None, problem);
    }
}

/// A mapping, or as the Intravisor has it a list of one.
fn read_isolation(reader: &mut Reader<'_>, node: &Node, spec: &mut CvmSpec) {
    let node = match &node.content {
        Content::List(items) => match items.as_slice() {
            [one] => one,
            several => {
                let problem = format!(
                    "a list of {}, expected a mapping or a list of one mapping",
                    several.len()
                );
                return reader.error(Some(node.position), Some("isolation"), None, problem);
            }
        },
        _ => node,
    };
    let Some(entries) = reader.mapping("isolation", node) else {
        return;
    };
    let errors = reader.error_count();
    let mut values = [None; ISOLATION_KEYS.len()];
    for (key, value) in entries {
        match ISOLATION_KEYS.iter().position(|known| *known == key.text) {
            Some(index) => {
                let size = reader.size(&format!("isolation.{}", key.text), value);
                values[index] = size.map(|size| (size, value.position));
            }
            None => {
                let hint = did_you_mean(&key.text, &ISOLATION_KEYS);
                let problem = format!("unknown key, expected one of {}{hint}", ISOLATION_KEYS.join(", "));
                reader.error(
                    Some(key.position),
                    Some(&format!("isolation.{}", key.text)),
                    None,
                    problem,
                );
            }
        }
    }
    if reader.error_count() == errors {
        check_isolation(reader, values, spec);
    }
}

fn check_isolation(reader: &mut Reader<'_>, values: [Option<(u64, Position)>; 4], spec: &mut CvmSpec) {
    let [base, size, begin, end] = values;
    if let Some((address, position)) = base
        && !address.is_multiple_of(PAGE)
    {
        let value = format!("{address:#x}");
        let expected = format!("expected a multiple of {PAGE}");
        reader.error(Some(position), Some("isolation.base"), Some(&value), expected);
    }
    if let Some((bytes, position)) = size {
        let value = format!("{bytes:#x}");
        if bytes == 0 || !bytes.is_multiple_of(PAGE) {
            let expected = format!("expected a multiple of {PAGE} above 0");
            reader.error(Some(position), Some("isolation.size"), Some(&value), expected);
        }
        if base.is_some_and(|(address, _)| address.checked_add(bytes).is_none()) {
            let expected = "expected base + size inside the 64-bit address space";
            reader.error(Some(position), Some("isolation.size"), Some(&value), expected);
        }
    }
    let layers = "not yet: layers, a cVM that reaches beyond its own memory";
    if let Some((address, position)) = begin
        && base.is_none_or(|(base, _)| base != address)
    {
        let expected = format!("{layers}; expected the same as base");
        reader.error(
            Some(position),
            Some("isolation.begin"),
            Some(&format!("{address:#x}")),
            expected,
        );
    }
    let sum = base.zip(size).and_then(|((base, _), (size, _))| base.checked_add(size));
    if let Some((address, position)) = end
        && sum != Some(address)
    {
        let expected = format!("{layers}; expected the same as base + size");
        reader.error(
            Some(position),
            Some("isolation.end"),
            Some(&format!("{address:#x}")),
            expected,
        );
    }
    spec.isolation_base = base.map(|(address, _)| address);
    spec.isolation_size = size.map(|(bytes, _)| bytes);
}

fn read_stack(reader: &mut Reader<'_>, node: &Node) -> u64 {
    let size = reader.size("stack", node);
    if size == Some(0) {
        reader.error(Some(node.position), Some("stack"), Some("0"), "expected a size above 0");
    }
    size.unwrap_or_default()
}

fn read_priority(reader: &mut Reader<'_>, node: &Node) -> u32 {
    let expected = format!("a number from 0 to {}", names::PRIORITY_LIMIT);
    reader
        .integer(
            "priority",
            node,
            |priority| *priority <= names::PRIORITY_LIMIT,
            &expected,
        )
        .unwrap_or_default()
}

fn read_restart(reader: &mut Reader<'_>, node: &Node) -> Restart {
    let mut restart = Restart::default();
    let Some(entries) = reader.mapping("restart", node) else {
        return restart;
    };
    for (key, value) in entries {
        let name = format!("restart.{}", key.text);
        match key.text.as_str() {
            "policy" => {
                let policy = reader.choice(&name, value, RestartPolicy::from_name, "never, on-fault or always");
                restart.policy = policy.unwrap_or_default();
            }
            "limit" => {
                let expected = "a number of restarts from 0 to 4294967295";
                restart.limit = reader.integer(&name, value, |_| true, expected).unwrap_or_default();
            }
            "delay" => restart.delay = reader.duration(&name, value).unwrap_or_default(),
            unknown => {
                let hint = did_you_mean(unknown, &RESTART_KEYS);
                let problem = format!("unknown key, expected one of {}{hint}", RESTART_KEYS.join(", "));
                reader.error(Some(key.position), Some(&name), None, problem);
            }
        }
    }
    let given = |wanted: &str| entries.iter().any(|(key, _)| key.text == wanted);
    if !given("policy") {
        let problem = "missing, expected never, on-fault or always";
        reader.error(Some(node.position), Some("restart.policy"), None, problem);
    } else if restart.policy != RestartPolicy::Never && !given("limit") {
        let problem = "missing, expected the most restarts in one run";
        reader.error(Some(node.position), Some("restart.limit"), None, problem);
    }
    restart
}

fn read_callback_out(reader: &mut Reader<'_>, node: &Node) {
    let Some(server) = reader.text("callback_out", node) else {
        return;
    };
    if server != names::CALLBACK_MONITOR {
        let problem = format!(
            "not yet: cVMs that serve hostcalls; expected {}",
            names::CALLBACK_MONITOR
        );
        reader.error(Some(node.position), Some("callback_out"), Some(server), problem);
    }
}

/// Devices of the Intravisor that the monitor does not offer; `none` asks for nothing.
fn read_device(reader: &mut Reader<'_>, key: &str, node: &Node) {
    if matches!(node.content, Content::Null) {
        return;
    }
    let Some(device) = reader.text(key, node) else { return };
    if device != "none" {
        let problem = "not yet: disks and networks; expected none, or no such key";
        reader.error(Some(node.position), Some(key), Some(device), problem);
    }
}
