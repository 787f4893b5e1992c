//! The YAML file: the Intravisor's keys and this project's. Everything that can be said without looking at the programs
//! is checked here, all limits of [`abi::manifest`] among it.

pub(crate) mod buffer;
mod capfile;
mod cvm;
mod gate;
mod isolation;
mod linux;
pub(crate) mod reader;
mod relations;
mod service;
mod words;

use std::path::{Path, PathBuf};

use abi::hostcall::Family;
use abi::manifest as names;

use crate::diagnostic::{Diagnostic, Position, Severity, did_you_mean};
use crate::manifest::{self, CvmSpec};
use crate::yaml::{self, Content, Node, SyntaxError};
pub use buffer::{BufferConfig, Data};
use isolation::Isolation;
use reader::Reader;

/// Keys of a document.
const DOCUMENT_KEYS: [&str; 3] = ["cVMs", "capfiles", "buffers"];

/// Capabilities in the local area of a cVM of which nothing is said, where there are capfiles: what takes no more memory than
/// one.
pub(crate) const PLACES: u32 = 4;

/// A cVM as the file describes it.
#[derive(Clone, Debug)]
pub struct CvmConfig {
    /// Its values; `runtime` as the user wrote it, with a path perhaps.
    pub spec: CvmSpec,
    /// Where `runtime` stands in the file.
    pub runtime_position: Position,
    /// Where `isolation` stands, or else the cVM.
    pub isolation_position: Position,
    /// Where it says which cVM serves its hostcalls, or else the cVM.
    pub callback_position: Position,
    /// Where it says in whose memory it lies, or else the cVM.
    pub within_position: Position,
    /// Where `float` stands.
    pub float_position: Position,
    /// What the Linux programs within it see as `/`.
    pub root: Option<Root>,
    /// Programs that a library OS has in `/bin`, and where they are named.
    pub programs: Vec<(String, Position)>,
}

/// A folder or a tar file that becomes a buffer of the cVM's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// As the file has it: from the folder that the file is in.
    pub path: PathBuf,
    /// Where it stands.
    pub position: Position,
}

/// A cVM while the file is read: what it says about others is not looked up yet.
struct Draft {
    config: CvmConfig,
    /// Where the cVM starts.
    position: Position,
    callback_out: Option<Reference>,
    callback_in: Option<Reference>,
    within: Option<Reference>,
    /// The keys that it has, and where their values stand.
    given: Vec<(String, Position)>,
    /// Whether it says 0 for `wait` in a file of the Intravisor's form: the next cVM starts at once.
    at_once: bool,
    isolation: Isolation,
    linux: Option<linux::Linux>,
    /// Whose library OS serves this one, too.
    library: Option<Reference>,
    disk: Option<service::Disk>,
    net: Option<service::Net>,
}

impl Draft {
    /// A cVM of which nothing is said but these; another one of the file stands for it in messages.
    fn unadorned(&self, name: &str, runtime: &str, position: Position) -> Draft {
        Draft {
            config: CvmConfig {
                spec: CvmSpec::new(name, runtime),
                runtime_position: position,
                isolation_position: self.position,
                callback_position: self.position,
                within_position: self.position,
                float_position: self.position,
                root: None,
                programs: Vec::new(),
            },
            position: self.position,
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
        }
    }

    fn name(&self) -> &str {
        &self.config.spec.name
    }

    /// What is foreign needs a local area, capfiles too, of which files that were made for others say nothing.
    fn take_capfiles(&mut self) {
        let given = self.given("local").is_some();
        let spec = &mut self.config.spec;
        if !given && spec.raw == 0 && spec.allows(Family::Capfile) {
            spec.local = spec.local.max(PLACES);
        }
    }

    /// Where the value of a key stands, if it is there.
    fn given(&self, key: &str) -> Option<Position> {
        let entry = self.given.iter().find(|(given, _)| given == key);
        entry.map(|(_, position)| *position)
    }

    /// File name of its program.
    fn runtime(&self) -> &str {
        let runtime = &self.config.spec.runtime;
        runtime.rsplit_once('/').map_or(runtime, |(_, name)| name)
    }
}

/// A cVM that another one names.
#[derive(Clone)]
struct Reference {
    text: String,
    position: Position,
}

/// What a YAML file says.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The cVMs, in the order of the file; without the ones that had errors.
    pub cvms: Vec<CvmConfig>,
    /// The capfiles, and then the buffers, in the order of the file; without the ones that had errors.
    pub buffers: Vec<BufferConfig>,
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

/// What has been read so far.
#[derive(Default)]
struct Found<'n> {
    cvms: Vec<Draft>,
    /// cVMs in the file, the wrong ones among them.
    cvm_count: usize,
    capfiles: Vec<BufferConfig>,
    /// Capfiles in the file, the wrong ones among them.
    capfile_count: usize,
    /// What has to wait until all cVMs are known.
    buffers: Vec<&'n Node>,
}

/// Reads a YAML file; `file` is its name for messages. See [`parse`].
pub fn read(file: &Path, bytes: &[u8]) -> Config {
    match yaml::text(bytes) {
        Ok(text) => parse(file, text),
        Err(error) => unreadable(file, error),
    }
}

/// What is said of a file that is not YAML.
fn unreadable(file: &Path, error: SyntaxError) -> Config {
    Config {
        diagnostics: vec![Diagnostic {
            file: file.to_owned(),
            position: Some(error.position),
            severity: Severity::Error,
            cvm: None,
            key: None,
            value: None,
            problem: format!("not YAML: {error}"),
        }],
        ..Config::default()
    }
}

/// Whether the documents are in the form of the Intravisor's files: some cVM has `isolation` as a list.
fn is_foreign(documents: &[Node]) -> bool {
    fn value<'a>(node: &'a Node, wanted: &str) -> Option<&'a Content> {
        let Content::Mapping(entries) = &node.content else {
            return None;
        };
        let found = entries.iter().find(|(key, _)| key.text == wanted);
        found.map(|(_, value)| &value.content)
    }
    let lists = documents.iter().filter_map(|document| match value(document, "cVMs") {
        Some(Content::List(cvms)) => Some(cvms),
        _ => None,
    });
    lists
        .flatten()
        .any(|cvm| matches!(value(cvm, "isolation"), Some(Content::List(_))))
}

/// Reads the text of a YAML file; `file` is its name for messages. All errors are found, not only the first; what cVMs
/// say about each other is looked at when each of them is right.
pub fn parse(file: &Path, text: &str) -> Config {
    let mut config = Config::default();
    let documents = match yaml::parse(text) {
        Ok(documents) => documents,
        Err(error) => return unreadable(file, error),
    };
    let mut reader = Reader::new(file, &mut config.diagnostics, is_foreign(&documents));
    let mut found = Found::default();
    for document in &documents {
        read_document(&mut reader, document, &mut found);
    }
    if found.cvm_count == 0 && reader.clean() {
        reader.error(
            None,
            None,
            None,
            "no cVM: expected a key cVMs with a list of at least one",
        );
    }
    let limits = [
        ("cVMs", found.cvm_count, names::CVM_LIMIT),
        ("capfiles", found.capfile_count, names::BUFFER_LIMIT),
    ];
    for (key, count, limit) in limits.into_iter().filter(|(_, count, limit)| count > limit) {
        let problem = format!("{count} {key}, expected at most {limit}");
        reader.error(None, Some(key), None, problem);
    }
    if reader.clean() {
        linux::check_libraries(&mut reader, &found.cvms);
    }
    if reader.clean() {
        relations::relate(&mut reader, &mut found.cvms);
    }
    if found.capfile_count > 0 {
        found.cvms.iter_mut().for_each(Draft::take_capfiles);
    }
    let mut buffers = found.capfiles;
    if reader.clean() {
        for buffer in service::attach(&mut reader, &mut found.cvms) {
            let name = &buffer.spec.name;
            if buffers.iter().any(|other: &BufferConfig| other.spec.name == *name) {
                let problem = "the name of a buffer for disk or net, too; expected another";
                reader.error(None, Some("capfiles.name"), Some(name), problem);
            }
            buffers.push(buffer);
        }
    }
    if reader.clean() {
        let specs: Vec<&CvmSpec> = found.cvms.iter().map(|draft| &draft.config.spec).collect();
        let (threads, limit) = (manifest::threads(specs), names::THREAD_LIMIT);
        if threads > limit {
            let problem = format!("{threads} threads and handlers, expected at most {limit} of all cVMs");
            reader.error(None, Some("cVMs"), None, problem);
        }
    }
    // With circles refused, every way from a cVM to its outer ones has an end.
    if reader.clean() {
        isolation::settle(&mut reader, &mut found.cvms);
    }
    if reader.clean() {
        let cvms: Vec<&CvmSpec> = found.cvms.iter().map(|draft| &draft.config.spec).collect();
        for node in found.buffers {
            buffers.extend(buffer::read(&mut reader, node, &buffers, &cvms));
        }
        let (count, limit) = (buffers.len(), names::BUFFER_LIMIT);
        if count > limit {
            let problem =
                format!("{count} buffers, capfiles and those for disk and net among them, expected at most {limit}");
            reader.error(None, Some("buffers"), None, problem);
        }
    }
    config.buffers = buffers;
    config.cvms = found.cvms.into_iter().map(|draft| draft.config).collect();
    config
}

fn read_document<'n>(reader: &mut Reader<'_>, document: &'n Node, found: &mut Found<'n>) {
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
                for item in reader.list("cVMs", value).unwrap_or_default() {
                    found.cvm_count += 1;
                    let Some(mut draft) = cvm::read(reader, item, found.cvm_count, &found.cvms) else {
                        continue;
                    };
                    match draft.linux.take() {
                        Some(linux) => {
                            reader.enter(draft.name());
                            found.cvms.extend(linux::pair(reader, draft, linux));
                            reader.leave();
                        }
                        None => found.cvms.push(draft),
                    }
                }
            }
            "capfiles" => {
                for item in reader.list("capfiles", value).unwrap_or_default() {
                    found.capfile_count += 1;
                    let capfile = capfile::read(reader, item, &found.capfiles);
                    found.capfiles.extend(capfile);
                }
            }
            "buffers" => found.buffers.extend(reader.list("buffers", value).unwrap_or_default()),
            "libvirt" => {
                let problem = "ignored, it has no meaning here: there are no virtual machines around the cVMs";
                let text = reader.text("libvirt", value);
                reader.warning(key.position, "libvirt", text, problem);
            }
            unknown => {
                let hint = did_you_mean(unknown, &DOCUMENT_KEYS);
                let problem = format!("unknown key, expected one of {}{hint}", DOCUMENT_KEYS.join(", "));
                reader.error(Some(key.position), Some(unknown), None, problem);
            }
        }
    }
}
