//! One entry of `capfiles`.

use abi::manifest::{self as names, CapfileAccess};

use super::reader::Reader;
use crate::diagnostic::did_you_mean;
use crate::manifest::CapfileSpec;
use crate::quantity::format_size;
use crate::yaml::Node;

/// Keys of a capfile. The Intravisor's first, then this project's.
const KEYS: [&str; 5] = ["name", "data", "size", "addr", "access"];

/// Reads an entry; `None` when it has errors.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node, others: &[CapfileSpec]) -> Option<CapfileSpec> {
    let errors = reader.error_count();
    let entries = reader.mapping("capfiles", node)?;
    let (mut name, mut data, mut size) = (None, None, None);
    // In the Intravisor every cVM may write a capfile.
    let mut access = if reader.foreign() {
        CapfileAccess::Write
    } else {
        CapfileAccess::default()
    };
    for (key, value) in entries {
        let full = format!("capfiles.{}", key.text);
        match key.text.as_str() {
            "name" => {
                let taken = |name: &str| others.iter().any(|other| other.name == name);
                name = read_name(reader, ("capfile", &full), value, taken);
            }
            "data" => data = reader.text(&full, value).map(|text| (text, value.position)),
            "size" => size = reader.place(&full, value).map(|size| (size, value.position)),
            "addr" => {
                let text = reader.text(&full, value);
                let problem = "ignored, it has no meaning here: the monitor places the capfile";
                reader.warning(key.position, &full, text, problem);
            }
            "access" => {
                let choice = reader.choice(&full, value, CapfileAccess::from_name, "read or write");
                access = choice.unwrap_or_default();
            }
            unknown => {
                let hint = did_you_mean(unknown, &KEYS);
                let problem = format!("unknown key, expected one of {}{hint}", KEYS.join(", "));
                reader.error(Some(key.position), Some(&full), None, problem);
            }
        }
    }
    let given = |wanted: &str| entries.iter().any(|(key, _)| key.text == wanted);
    if !given("name") {
        let problem = "missing, expected a name for the capfile";
        reader.error(Some(node.position), Some("capfiles.name"), None, problem);
    }
    if !given("size") && !given("data") {
        let problem = "missing, expected a size or data";
        reader.error(Some(node.position), Some("capfiles.size"), None, problem);
    }
    let data = data.unwrap_or(("", node.position));
    let (size, position) = size.unwrap_or((data.0.len() as u64, data.1));
    let mut bytes = data.0.as_bytes().to_owned();
    // The Intravisor fills a capfile by snprintf, which keeps room for a NUL.
    if reader.foreign() && given("size") && size > 0 && bytes.len() as u64 >= size {
        let kept = size - 1;
        let problem = format!(
            "{} bytes, cut to {kept} and a NUL, as the Intravisor does it",
            bytes.len()
        );
        reader.warning(data.1, "capfiles.data", Some(data.0), &problem);
        bytes.truncate(kept as usize);
    }
    if reader.error_count() == errors && !(1..=names::CAPFILE_SIZE_LIMIT).contains(&size) {
        let limit = format_size(names::CAPFILE_SIZE_LIMIT);
        let problem = format!("expected 1 B to {limit}");
        let value = format!("{size:#x}");
        reader.error(Some(position), Some("capfiles.size"), Some(&value), problem);
    } else if reader.error_count() == errors && bytes.len() as u64 > size {
        let problem = format!(
            "{} bytes, expected at most {size}, the size of the capfile",
            data.0.len()
        );
        reader.error(Some(data.1), Some("capfiles.data"), Some(data.0), problem);
    }
    let name = name.filter(|_| reader.error_count() == errors)?;
    Some(CapfileSpec {
        name,
        size,
        data: bytes,
        access,
    })
}

/// The name of something of a kind, which no other one has.
pub(super) fn read_name(
    reader: &mut Reader<'_>,
    (kind, key): (&str, &str),
    node: &Node,
    taken: impl Fn(&str) -> bool,
) -> Option<String> {
    let name = reader.text(key, node)?;
    if !names::valid_name(name) {
        let expected = format!(
            "expected 1 to {} characters of A-Z a-z 0-9 . _ -, not \"{}\"",
            names::NAME_LIMIT,
            names::MONITOR_NAME
        );
        reader.error(Some(node.position), Some(key), Some(name), expected);
    } else if taken(name) {
        let problem = format!("used twice, expected a different name for each {kind}");
        reader.error(Some(node.position), Some(key), Some(name), problem);
    }
    Some(name.to_owned())
}
