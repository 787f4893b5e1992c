//! One entry of `cVMs`.

use abi::hostcall::Family;
use abi::manifest::{self as names, Number, RestartPolicy, Unit};

use super::isolation::{self, Isolation};
use super::reader::Reader;
use super::{CvmConfig, Draft, Reference, gate, linux, service, words};
use crate::diagnostic::{Position, did_you_mean};
use crate::manifest::{CvmSpec, Restart};
use crate::quantity::{format_duration, format_size};
use crate::yaml::{Content, Node};

/// Keys of a cVM that are no plain numbers. The Intravisor's first, then this project's.
const KEYS: [&str; 18] = [
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
    "restart",
    "env",
    "within",
    "hostcalls",
    "devices",
    "gates",
    "calls",
    "linux",
];
const RESTART_KEYS: [&str; 3] = ["policy", "limit", "delay"];

/// Reads number `number` of the list, counted from 1; `None` when it has errors.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node, number: usize, others: &[Draft]) -> Option<Draft> {
    reader.enter(&format!("number {number}"));
    let errors = reader.error_count();
    let draft = read_entries(reader, node, others);
    let clean = reader.error_count() == errors;
    reader.leave();
    draft.filter(|_| clean)
}

fn read_entries(reader: &mut Reader<'_>, node: &Node, others: &[Draft]) -> Option<Draft> {
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
    let mut draft = Draft {
        config: CvmConfig {
            spec: CvmSpec::new(name.unwrap_or_default(), ""),
            runtime_position: node.position,
            isolation_position: node.position,
            callback_position: node.position,
            within_position: node.position,
            float_position: node.position,
            root: None,
            programs: Vec::new(),
        },
        position: node.position,
        callback_out: None,
        callback_in: None,
        within: None,
        given: Vec::new(),
        at_once: false,
        isolation: Isolation::default(),
        linux: None,
        library: None,
        disk: None,
        net: None,
    };
    for (key, value) in entries {
        draft.given.push((key.text.clone(), value.position));
        read_entry(reader, key.position, &key.text, value, &mut draft);
    }
    check_strings(reader, node.position, &draft.config.spec);
    if !entries.iter().any(|(key, _)| key.text == "runtime") && !linux::is_given(node) {
        reader.error(
            Some(node.position),
            Some("runtime"),
            None,
            "missing, expected the file name of an ELF program",
        );
    }
    Some(draft)
}

fn read_entry(reader: &mut Reader<'_>, at: Position, key: &str, value: &Node, draft: &mut Draft) {
    let CvmConfig {
        spec,
        runtime_position,
        isolation_position,
        callback_position,
        within_position,
        ..
    } = &mut draft.config;
    match key {
        "name" => {}
        "runtime" => {
            spec.runtime = read_runtime(reader, value).unwrap_or_default();
            *runtime_position = value.position;
        }
        "args" => spec.args = read_args(reader, value),
        "env" => spec.env = read_env(reader, value),
        "isolation" => {
            draft.isolation = isolation::read(reader, value);
            spec.isolation_base = draft.isolation.fixed_base();
            spec.isolation_size = draft.isolation.fixed_size();
            *isolation_position = value.position;
        }
        "restart" => spec.restart = read_restart(reader, value),
        "wait" => {
            let expected = "-1 (the next starts at once), 0 (at the end of this cVM) or a number of seconds";
            spec.wait = reader.integer(key, value, |_| true, expected).unwrap_or_default();
            // The Intravisor's default, by which it starts the next cVM at once.
            if reader.foreign() && spec.wait == 0 {
                spec.wait = -1;
                draft.at_once = true;
            }
        }
        "callback_out" => {
            draft.callback_out = read_reference(reader, key, value);
            *callback_position = value.position;
        }
        "callback_in" => draft.callback_in = read_reference(reader, key, value),
        "within" => {
            draft.within = read_reference(reader, key, value);
            *within_position = value.position;
        }
        "linux" => draft.linux = linux::read(reader, at, value),
        "hostcalls" => spec.hostcalls = Some(read_hostcalls(reader, value)),
        "devices" => spec.devices = read_devices(reader, value),
        "gates" => spec.gates = gate::read_gates(reader, value),
        "calls" => spec.calls = gate::read_calls(reader, value),
        "libvirt" => {
            let text = reader.text(key, value);
            let problem = "ignored, it has no meaning here: there are no virtual machines around the cVMs";
            reader.warning(at, key, text, problem);
        }
        "clean_room" => {
            let text = reader.text(key, value);
            reader.warning(at, key, text, "ignored, it has no meaning here: every cVM starts clean");
        }
        "disk" | "net" if matches!(value.content, Content::Text(_) | Content::Null) => read_device(reader, key, value),
        "disk" => draft.disk = service::read_disk(reader, value),
        "net" => draft.net = service::read_net(reader, value),
        other => {
            let keys: Vec<String> = names::NUMBERS.iter().map(key_of).collect();
            if let Some(index) = keys.iter().position(|key| key == other) {
                let mut numbers = spec.numbers();
                numbers[index] = read_number(reader, key, value, &names::NUMBERS[index]);
                if other == names::FLOAT {
                    draft.config.float_position = value.position;
                }
                return draft.config.spec.set_numbers(numbers);
            }
            let known: Vec<&str> = KEYS.into_iter().chain(keys.iter().map(String::as_str)).collect();
            let hint = did_you_mean(other, &known);
            let problem = format!("unknown key, expected one of {}{hint}", known.join(", "));
            reader.error(Some(at), Some(other), None, problem);
        }
    }
}

/// The key of a number of the manifest.
pub(super) fn key_of(number: &Number) -> String {
    number.name.replace('-', "_")
}

fn read_number(reader: &mut Reader<'_>, key: &str, node: &Node, number: &Number) -> u64 {
    let Number { unit, least, most, .. } = *number;
    let (value, kind) = match unit {
        Unit::Bytes => (reader.size(key, node), "a size"),
        Unit::Nanoseconds => (reader.duration(key, node), "a duration"),
        Unit::Count => {
            let expected = format!("a number from {least} to {most}");
            let inside = |value: &u64| (least..=most).contains(value);
            return reader.integer(key, node, inside, &expected).unwrap_or(number.default);
        }
        Unit::Decision => {
            let decision = |text: &str| match text {
                "yes" | "true" => Some(1),
                "no" | "false" => Some(2),
                _ => None,
            };
            return reader
                .choice(key, node, decision, "yes or no")
                .unwrap_or(number.default);
        }
    };
    let Some(value) = value else { return number.default };
    if !(least..=most).contains(&value) {
        let limits = match (value < least, unit) {
            (true, _) => format!("above {}", least - 1),
            (false, Unit::Bytes) => format!("of at most {}", format_size(most)),
            (false, _) => format!("of at most {}", format_duration(most)),
        };
        let text = reader.text(key, node);
        reader.error(
            Some(node.position),
            Some(key),
            text,
            format!("expected {kind} {limits}"),
        );
    }
    value
}

fn read_reference(reader: &mut Reader<'_>, key: &str, node: &Node) -> Option<Reference> {
    Some(Reference {
        text: reader.text(key, node)?.to_owned(),
        position: node.position,
    })
}

fn read_name(reader: &mut Reader<'_>, node: &Node, others: &[Draft]) -> Option<String> {
    let name = reader.text("name", node)?;
    if !names::valid_name(name) {
        let expected = format!("expected {}", names::NAME_EXPECTED);
        reader.error(Some(node.position), Some("name"), Some(name), expected);
        return None;
    }
    reader.enter(name);
    if others.iter().any(|other| other.name() == name) {
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

/// One text, split at blanks outside of quotes, or a list.
fn read_args(reader: &mut Reader<'_>, node: &Node) -> Vec<String> {
    match &node.content {
        Content::Null => Vec::new(),
        Content::List(items) => read_texts(reader, "args", items),
        _ => {
            let text = reader.text("args", node).unwrap_or_default();
            words::split(text).unwrap_or_else(|problem| {
                reader.error(Some(node.position), Some("args"), Some(text), problem);
                Vec::new()
            })
        }
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

/// Families of hostcalls, in the order of their numbers. The one that is always allowed may be named.
fn read_hostcalls(reader: &mut Reader<'_>, node: &Node) -> Vec<Family> {
    let known = Family::ALL.map(Family::name);
    let mut families = Vec::new();
    for item in reader.list("hostcalls", node).unwrap_or_default() {
        let Some(name) = reader.text("hostcalls", item) else {
            continue;
        };
        let Some(family) = Family::from_name(name) else {
            let problem = format!("expected one of {}{}", known.join(", "), did_you_mean(name, &known));
            reader.error(Some(item.position), Some("hostcalls"), Some(name), problem);
            continue;
        };
        if families.contains(&family) {
            let problem = "given twice, expected each family once";
            reader.error(Some(item.position), Some("hostcalls"), Some(name), problem);
        }
        families.push(family);
    }
    families.retain(|family| *family != Family::Process);
    families.sort_by_key(|family| *family as u32);
    families
}

/// Devices of the machine; one name, or a list of them.
fn read_devices(reader: &mut Reader<'_>, node: &Node) -> Vec<String> {
    let single = [node.clone()];
    let items = match &node.content {
        Content::Null => &[],
        Content::List(items) => &items[..],
        _ => &single,
    };
    let devices = read_texts(reader, "devices", items);
    for (index, device) in devices.iter().enumerate() {
        if names::device(device).is_none() {
            reader.error(
                Some(node.position),
                Some("devices"),
                Some(device),
                expected_device(device),
            );
        } else if devices[..index].contains(device) {
            let problem = "given twice, expected each device once";
            reader.error(Some(node.position), Some("devices"), Some(device), problem);
        }
    }
    if devices.len() > names::DEVICE_LIMIT {
        let problem = format!("{} devices, expected at most {}", devices.len(), names::DEVICE_LIMIT);
        reader.error(Some(node.position), Some("devices"), None, problem);
    }
    devices
}

/// What a name should have been that is no device's.
fn expected_device(name: &str) -> String {
    let kinds = names::DeviceKind::ALL.map(names::DeviceKind::name).join(", ");
    let by_number = format!("one of {kinds} and a number from 0 on, such as block0");
    match name.split_once('@') {
        Some(("net", _)) => {
            "expected net@ and the address of a card: six pairs of digits in 0-9 a-f with colons between \
                             them, not all 0, such as net@52:54:00:12:34:56"
                .to_owned()
        }
        Some(("block", _)) => format!(
            "expected block@ and the serial number of a disk: 1 to {} characters of A-Z a-z 0-9 . _ -",
            names::IDENTITY_LENGTH
        ),
        Some(_) => format!("expected {by_number}, block@ and a serial number, or net@ and an address"),
        None => format!("expected {by_number}"),
    }
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

/// Devices of the Intravisor that the monitor does not offer; `none` asks for nothing.
fn read_device(reader: &mut Reader<'_>, key: &str, node: &Node) {
    if matches!(node.content, Content::Null) {
        return;
    }
    let Some(device) = reader.text(key, node) else { return };
    if device != "none" {
        let problem = "ignored, it has no meaning here: a cVM gets a device by the key devices";
        reader.warning(node.position, key, Some(device), problem);
    }
}
