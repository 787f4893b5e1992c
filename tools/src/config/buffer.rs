//! One entry of `buffers`.

use std::path::PathBuf;

use abi::manifest as names;

use super::reader::Reader;
use crate::diagnostic::{Position, did_you_mean};
use crate::manifest::{BufferSpec, CvmSpec};
use crate::quantity::format_size;
use crate::yaml::{Content, Key, Node};

const KEYS: [&str; 7] = ["name", "size", "owner", "readers", "writers", "data", "file"];

/// A buffer as the file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferConfig {
    /// Its values. Without a size it is as large as the file that it begins with.
    pub spec: BufferSpec,
    /// The list that it is in: `capfiles` or `buffers`.
    pub key: &'static str,
    /// What it begins with.
    pub data: Option<Data>,
}

/// The first bytes of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// These.
    Bytes(Vec<u8>),
    /// Those of a file, as it is named from the folder of the YAML file, and where it is named.
    File(PathBuf, Position),
}

/// Reads an entry; `None` when it has errors. The cVMs that it names are looked up here: all of them have been read.
pub(super) fn read(
    reader: &mut Reader<'_>,
    node: &Node,
    others: &[BufferConfig],
    cvms: &[&CvmSpec],
) -> Option<BufferConfig> {
    let errors = reader.error_count();
    let entries = reader.mapping("buffers", node)?;
    let (mut spec, mut size) = (BufferSpec::default(), None);
    for (key, value) in entries {
        let full = format!("buffers.{}", key.text);
        match key.text.as_str() {
            "name" => spec.name = read_name(reader, &full, value, others).unwrap_or_default(),
            "size" => size = reader.size(&full, value).map(|size| (size, value.position)),
            "data" | "file" => {}
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
    if !entries.iter().any(|(given, _)| given.text == "name") {
        let problem = "missing, expected a name for the buffer";
        reader.error(Some(node.position), Some("buffers.name"), None, problem);
    }
    let data = read_data(reader, "buffers", entries);
    spec.size = size_of(reader, ("buffer", "buffers"), node, size, data.as_ref());
    (reader.error_count() == errors).then_some(BufferConfig {
        spec,
        key: "buffers",
        data: data.map(|(data, _)| data),
    })
}

/// What `data` or `file` says, and where.
pub(super) fn read_data(reader: &mut Reader<'_>, list: &str, entries: &[(Key, Node)]) -> Option<(Data, Position)> {
    let mut found = None;
    for (key, value) in entries {
        let full = format!("{list}.{}", key.text);
        let data = match key.text.as_str() {
            "data" => reader
                .text(&full, value)
                .map(|text| Data::Bytes(text.as_bytes().to_vec())),
            "file" => reader
                .text(&full, value)
                .map(|text| Data::File(text.into(), value.position)),
            _ => continue,
        };
        if found.is_some() {
            let problem = "given beside the other: expected data or a file";
            reader.error(Some(key.position), Some(&full), None, problem);
        }
        found = found.or(data.map(|data| (data, value.position)));
    }
    found
}

/// The size that is given, or that of the data; 0 for that of a file that is not read yet.
pub(super) fn size_of(
    reader: &mut Reader<'_>,
    (kind, list): (&str, &str),
    node: &Node,
    size: Option<(u64, Position)>,
    data: Option<&(Data, Position)>,
) -> u64 {
    let key = format!("{list}.size");
    let (size, position) = match (size, data) {
        (Some(size), _) => size,
        (None, Some((Data::Bytes(bytes), position))) => (bytes.len() as u64, *position),
        (None, Some((Data::File(..), _))) => return 0,
        (None, None) => {
            // What is no size has been complained about.
            let Content::Mapping(entries) = &node.content else {
                return 0;
            };
            if !entries.iter().any(|(given, _)| given.text == "size") {
                let problem = "missing, expected a size, data or a file";
                reader.error(Some(node.position), Some(&key), None, problem);
            }
            return 0;
        }
    };
    if !(1..=names::BUFFER_SIZE_LIMIT).contains(&size) {
        let problem = format!("expected 1 B to {}", format_size(names::BUFFER_SIZE_LIMIT));
        reader.error(Some(position), Some(&key), Some(&format!("{size:#x}")), problem);
    } else if let Some((Data::Bytes(bytes), position)) = data
        && bytes.len() as u64 > size
    {
        let problem = format!("{} bytes, expected at most {size}, the size of the {kind}", bytes.len());
        let text = String::from_utf8_lossy(bytes);
        reader.error(Some(*position), Some(&format!("{list}.data")), Some(&text), problem);
    }
    size
}

/// The name of a buffer, which no other one has.
pub(super) fn read_name(reader: &mut Reader<'_>, key: &str, node: &Node, others: &[BufferConfig]) -> Option<String> {
    let name = reader.text(key, node)?;
    if !names::valid_name(name) {
        let expected = format!("expected {}", names::NAME_EXPECTED);
        reader.error(Some(node.position), Some(key), Some(name), expected);
    } else if others.iter().any(|other| other.spec.name == name) {
        let problem = "used twice, expected a different name for each capfile and buffer";
        reader.error(Some(node.position), Some(key), Some(name), problem);
    }
    Some(name.to_owned())
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
        Content::Text(text) if text == names::EVERYBODY => return vec![text.clone()],
        _ => std::slice::from_ref(node),
    };
    let names = items.iter().filter_map(|item| read_cvm(reader, key, item, cvms));
    names.collect()
}
