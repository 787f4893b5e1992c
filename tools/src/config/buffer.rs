//! One entry of `buffers`.

use abi::manifest as names;

use super::capfile::read_name;
use super::reader::Reader;
use crate::diagnostic::did_you_mean;
use crate::manifest::{BufferSpec, CvmSpec};
use crate::quantity::format_size;
use crate::yaml::{Content, Node};

const KEYS: [&str; 5] = ["name", "size", "owner", "readers", "writers"];

/// Reads an entry; `None` when it has errors. The cVMs that it names are looked up here: all of them have been read.
pub(super) fn read(
    reader: &mut Reader<'_>,
    node: &Node,
    others: &[BufferSpec],
    cvms: &[&CvmSpec],
) -> Option<BufferSpec> {
    let errors = reader.error_count();
    let entries = reader.mapping("buffers", node)?;
    let mut spec = BufferSpec::default();
    for (key, value) in entries {
        let full = format!("buffers.{}", key.text);
        match key.text.as_str() {
            "name" => {
                let taken = |name: &str| others.iter().any(|other| other.name == name);
                spec.name = read_name(reader, ("buffer", &full), value, taken).unwrap_or_default();
            }
            "size" => {
                spec.size = reader.size(&full, value).unwrap_or_default();
                if reader.error_count() == errors && !(1..=names::BUFFER_SIZE_LIMIT).contains(&spec.size) {
                    let limit = format_size(names::BUFFER_SIZE_LIMIT);
                    let text = reader.text(&full, value);
                    let problem = format!("expected 1 B to {limit}");
                    reader.error(Some(value.position), Some(&full), text, problem);
                }
            }
            "owner" => spec.owner = read_cvm(reader, &full, value, cvms),
            "readers" => spec.readers = read_cvms(reader, &full, value, cvms),
            "writers" => spec.writers = read_cvms(reader, &full, value, cvms),
            unknown => {
                let hint = did_you_mean(unknown, &KEYS);
                let problem = format!("unknown key, expected one of {}{hint}", KEYS.join(", "));
                reader.error(Some(key.position), Some(&full), None, problem);
            }
        }
    }
    for (key, what) in [("name", "a name for the buffer"), ("size", "a size")] {
        if !entries.iter().any(|(given, _)| given.text == key) {
            let (key, problem) = (format!("buffers.{key}"), format!("missing, expected {what}"));
            reader.error(Some(node.position), Some(&key), None, problem);
        }
    }
    (reader.error_count() == errors).then_some(spec)
}

fn read_cvm(reader: &mut Reader<'_>, key: &str, node: &Node, cvms: &[&CvmSpec]) -> Option<String> {
    let name = reader.text(key, node)?;
    if !cvms.iter().any(|cvm| cvm.name == name) {
        let known: Vec<&str> = cvms.iter().map(|cvm| cvm.name.as_str()).collect();
        let problem = format!("expected the name of a cVM{}", did_you_mean(name, &known));
        reader.error(Some(node.position), Some(key), Some(name), problem);
    }
    Some(name.to_owned())
}

/// A list of names, or one.
fn read_cvms(reader: &mut Reader<'_>, key: &str, node: &Node, cvms: &[&CvmSpec]) -> Vec<String> {
    let items = match &node.content {
        Content::Null => &[],
        Content::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let names = items.iter().filter_map(|item| read_cvm(reader, key, item, cvms));
    names.collect()
}
