//! The YAML file: the Intravisor's keys and this project's. Everything that can be said without looking at the programs
//! is checked here, all limits of [`abi::manifest`] among it.

mod cvm;
mod reader;

use std::path::Path;

use abi::manifest as names;

use crate::diagnostic::{Diagnostic, Position, Severity, did_you_mean};
use crate::manifest::CvmSpec;
use crate::yaml::{self, Content, Node};
use reader::Reader;

/// Keys of a document.
const DOCUMENT_KEYS: [&str; 2] = ["cVMs", "capfiles"];
/// Keys of a capability file.
const CAPFILE_KEYS: [&str; 4] = ["name", "data", "size", "addr"];

/// A cVM as the file describes it.
#[derive(Clone, Debug)]
pub struct CvmConfig {
    /// Its values; `runtime` as the user wrote it, with a path perhaps.
    pub spec: CvmSpec,
    /// Where `runtime` stands in the file.
    pub runtime_position: Position,
    /// Where `isolation` stands, or else the cVM.
    pub isolation_position: Position,
}

/// What a YAML file says.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The cVMs, in the order of the file; without the ones that had errors.
    pub cvms: Vec<CvmConfig>,
    /// Errors and warnings, in the order they were found.
    pub diagnostics: Vec<Diagnostic>,
}

impl Config {
    /// Whether anything keeps the file from being used.
    pub fn has_errors(&self) -> bool {
        self.diagnostics
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

/// Reads the text of a YAML file; `file` is its name for messages. All errors are found, not only the first.
pub fn parse(file: &Path, text: &str) -> Config {
    let mut config = Config::default();
    let documents = match yaml::parse(text) {
        Ok(documents) => documents,
        Err(error) => {
            config.diagnostics.push(Diagnostic {
                file: file.to_owned(),
                position: Some(error.position),
                severity: Severity::Error,
                cvm: None,
                key: None,
                value: None,
                problem: format!("not YAML: {error}"),
            });
            return config;
        }
    };
    let mut reader = Reader::new(file, &mut config.diagnostics);
    let mut cvms = Vec::new();
    let mut count = 0;
    for document in &documents {
        read_document(&mut reader, document, &mut cvms, &mut count);
    }
    if count == 0 && reader.clean() {
        reader.error(
            None,
            None,
            None,
            "no cVM: expected a key cVMs with a list of at least one",
        );
    }
    if count > names::CVM_LIMIT {
        let limit = names::CVM_LIMIT;
        reader.error(
            None,
            Some("cVMs"),
            None,
            format!("{count} cVMs, expected at most {limit}"),
        );
    }
    check_regions(&mut reader, &cvms);
    config.cvms = cvms;
    config
}

fn read_document(reader: &mut Reader<'_>, document: &Node, cvms: &mut Vec<CvmConfig>, count: &mut usize) {
    let entries = match &document.content {
        Content::Null => return,
        Content::Mapping(entries) => entries,
        other => {
            let problem = format!("found {}, expected a mapping with the key cVMs", other.kind());
            return reader.error(Some(document.position), None, None, problem);
        }
    };
    for (key, value) in entries {
        match key.text.as_str() {
            "cVMs" => {
                let Some(items) = reader.list("cVMs", value) else {
                    continue;
                };
                for item in items {
                    *count += 1;
                    cvms.extend(cvm::read(reader, item, *count, cvms));
                }
            }
            "capfiles" => read_capfiles(reader, key.position, value),
            unknown => {
                let hint = did_you_mean(unknown, &DOCUMENT_KEYS);
                let problem = format!("unknown key, expected one of {}{hint}", DOCUMENT_KEYS.join(", "));
                reader.error(Some(key.position), Some(unknown), None, problem);
            }
        }
    }
}

/// Capability files are read so that their syntax is known to be right, then refused.
fn read_capfiles(reader: &mut Reader<'_>, position: Position, node: &Node) {
    for item in reader.list("capfiles", node).unwrap_or_default() {
        let Some(entries) = reader.mapping("capfiles", item) else {
            continue;
        };
        for (key, value) in entries {
            let name = format!("capfiles.{}", key.text);
            match key.text.as_str() {
                "name" | "data" => {
                    reader.text(&name, value);
                }
                "size" | "addr" => {
                    reader.size(&name, value);
                }
                unknown => {
                    let hint = did_you_mean(unknown, &CAPFILE_KEYS);
                    let problem = format!("unknown key, expected one of {}{hint}", CAPFILE_KEYS.join(", "));
                    reader.error(Some(key.position), Some(&name), None, problem);
                }
            }
        }
    }
    reader.error(
        Some(position),
        Some("capfiles"),
        None,
        "not yet: files shared by capability; expected no such key",
    );
}

/// Memory that two cVMs are given at fixed places must not overlap.
fn check_regions(reader: &mut Reader<'_>, cvms: &[CvmConfig]) {
    let region = |cvm: &CvmConfig| {
        let base = cvm.spec.isolation_base?;
        Some((base, base.checked_add(cvm.spec.isolation_size?)?))
    };
    for (index, cvm) in cvms.iter().enumerate() {
        let Some((base, end)) = region(cvm) else { continue };
        for other in &cvms[..index] {
            let Some((other_base, other_end)) = region(other) else {
                continue;
            };
            if base < other_end && other_base < end {
                reader.enter(&cvm.spec.name);
                let problem = format!(
                    "{base:#x}-{end:#x} overlaps {other_base:#x}-{other_end:#x} of cVM {}, expected disjoint memory",
                    other.spec.name
                );
                reader.error(Some(cvm.isolation_position), Some("isolation"), None, problem);
                reader.leave();
            }
        }
    }
}
