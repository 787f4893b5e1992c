//! One entry of `capfiles`: a buffer of nobody's, which every cVM may read, and perhaps write.

use super::buffer::{Data, read_data, read_name};
use super::reader::Reader;
use super::{BufferConfig, buffer};
use crate::diagnostic::did_you_mean;
use crate::manifest::BufferSpec;
use crate::yaml::Node;

/// Keys of a capfile. The Intravisor's first, then this project's.
const KEYS: [&str; 6] = ["name", "data", "size", "addr", "access", "file"];

/// Reads an entry; `None` when it has errors.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node, others: &[BufferConfig]) -> Option<BufferConfig> {
    let errors = reader.error_count();
    let entries = reader.mapping("capfiles", node)?;
    let (mut name, mut size) = (None, None);
    // In the Intravisor every cVM may write a capfile.
    let mut writable = reader.foreign();
    for (key, value) in entries {
        let full = format!("capfiles.{}", key.text);
        match key.text.as_str() {
            "name" => name = read_name(reader, &full, value, others),
            "size" => size = reader.place(&full, value).map(|size| (size, value.position)),
            "data" | "file" => {}
            "addr" => {
                let text = reader.text(&full, value);
                let problem = "ignored, it has no meaning here: the monitor places the capfile";
                reader.warning(key.position, &full, text, problem);
            }
            "access" => {
                let choose = |text: &str| match text {
                    "read" => Some(false),
                    "write" => Some(true),
                    _ => None,
                };
                writable = reader.choice(&full, value, choose, "read or write").unwrap_or_default();
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
    let mut data = read_data(reader, "capfiles", entries);
    // The Intravisor fills a capfile by snprintf, which keeps room for a NUL.
    if let (true, Some((size, _)), Some((Data::Bytes(bytes), position))) = (reader.foreign(), size, &mut data)
        && size > 0
        && bytes.len() as u64 >= size
    {
        let kept = size - 1;
        let problem = format!(
            "{} bytes, cut to {kept} and a NUL, as the Intravisor does it",
            bytes.len()
        );
        let text = String::from_utf8_lossy(bytes).into_owned();
        reader.warning(*position, "capfiles.data", Some(&text), &problem);
        bytes.truncate(kept as usize);
    }
    let size = buffer::size_of(reader, ("capfile", "capfiles"), node, size, data.as_ref());
    let name = name.filter(|_| reader.error_count() == errors)?;
    Some(BufferConfig {
        spec: BufferSpec::capfile(name, size, writable),
        key: "capfiles",
        data: data.map(|(data, _)| data),
    })
}
