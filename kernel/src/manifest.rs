//! The manifest in the archive becomes a checked plan: which cVMs to run, and how. The tool checked the same before
//! the image was made; nothing here relies on it.

use crate::archive::Archive;
use crate::tree;
use abi::manifest::{self as names, RestartPolicy};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use fdt::Fdt;
use fdt::node::{FdtNode, NodeProperty};

/// What the manifest says of one cVM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CvmSpec {
    pub(crate) name: String,
    pub(crate) runtime: String,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) isolation_base: Option<u64>,
    pub(crate) isolation_size: Option<u64>,
    pub(crate) heap: u64,
    pub(crate) stack: u64,
    pub(crate) priority: u32,
    pub(crate) restart: RestartPolicy,
    pub(crate) restart_limit: u32,
    /// Nanoseconds.
    pub(crate) restart_delay: u64,
    pub(crate) wait: i32,
}

/// What is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ManifestError(String);

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", names::MEMBER, self.0)
    }
}

/// Reads the manifest of an archive.
///
/// # Errors
/// [`ManifestError`] with cVM, key, value and what was expected.
pub(crate) fn read(archive: Archive<'_>) -> Result<Vec<CvmSpec>, ManifestError> {
    let bytes = archive
        .find(names::MEMBER)
        .ok_or_else(|| ManifestError("not in the archive".into()))?;
    let bytes = tree::check(bytes.to_vec()).map_err(|error| ManifestError(format!("{error}")))?;
    let tree = Fdt::new(&bytes).map_err(|error| ManifestError(format!("{error:?}")))?;
    let root = tree
        .find_node("/")
        .ok_or_else(|| ManifestError("no root node".into()))?;
    let compatible = root
        .property("compatible")
        .and_then(|property| tree::text(property.value));
    if compatible != Some(names::COMPATIBLE) {
        return Err(ManifestError(format!(
            "compatible is {compatible:?}, expected \"{}\"",
            names::COMPATIBLE
        )));
    }
    let list = root.children().find(|node| node.name == names::CVMS);
    let list = list.ok_or_else(|| ManifestError(format!("no node /{}", names::CVMS)))?;
    let mut cvms: Vec<CvmSpec> = Vec::new();
    for (index, node) in list.children().enumerate() {
        if node.name != format!("{}@{index}", names::CVM) {
            return Err(ManifestError(format!(
                "node \"{}\", expected \"{}@{index}\"",
                node.name,
                names::CVM
            )));
        }
        if index == names::CVM_LIMIT {
            return Err(ManifestError(format!("more than {} cVMs", names::CVM_LIMIT)));
        }
        let cvm = cvm(&node, index).map_err(ManifestError)?;
        if archive.find(&cvm.runtime).is_none() {
            let (name, runtime) = (&cvm.name, &cvm.runtime);
            return Err(ManifestError(format!(
                "cVM {name}: runtime \"{runtime}\" is not in the archive"
            )));
        }
        if let Some(other) = cvms.iter().position(|other| other.name == cvm.name) {
            return Err(ManifestError(format!(
                "cVM {}: name is also that of cVM number {other}",
                cvm.name
            )));
        }
        cvms.push(cvm);
    }
    if cvms.is_empty() {
        return Err(ManifestError("no cVM".into()));
    }
    Ok(cvms)
}

fn cvm(node: &FdtNode<'_, '_>, index: usize) -> Result<CvmSpec, String> {
    // Read once: every look-up in the node itself would read it from its start.
    let properties: Vec<NodeProperty<'_>> = node.properties().collect();
    for (position, property) in properties.iter().enumerate() {
        if !names::PROPERTIES.contains(&property.name) {
            return Err(format!("cVM number {index}: unknown key \"{}\"", property.name));
        }
        if properties[..position].iter().any(|other| other.name == property.name) {
            return Err(format!("cVM number {index}: key \"{}\" is given twice", property.name));
        }
    }
    if let Some(child) = node.children().next() {
        return Err(format!("cVM number {index}: unknown node \"{}\"", child.name));
    }
    let name = properties.iter().find(|property| property.name == names::NAME);
    let name = name.and_then(|property| tree::text(property.value));
    let name = name.filter(|name| names::valid_name(name)).ok_or_else(|| {
        format!(
            "cVM number {index}: {}: expected 1 to {} characters of A-Z a-z 0-9 . _ -, not \"monitor\"",
            names::NAME,
            names::NAME_LIMIT
        )
    })?;
    let keys = Keys {
        properties: &properties,
        name,
    };
    let text = |key| keys.get(key, "a string", tree::text);
    let texts = |key| {
        keys.get(key, "a list of strings", tree::texts)
            .map(Option::unwrap_or_default)
    };
    let runtime = text(names::RUNTIME)?.ok_or_else(|| format!("cVM {name}: {} is missing", names::RUNTIME))?;
    let callback = text(names::CALLBACK_OUT)?.unwrap_or(names::CALLBACK_MONITOR);
    if callback != names::CALLBACK_MONITOR {
        return Err(format!(
            "cVM {name}: {} = \"{callback}\": expected \"monitor\", others not yet",
            names::CALLBACK_OUT
        ));
    }
    let (args, env) = (texts(names::ARGS)?, texts(names::ENV)?);
    let strings: usize = args.iter().chain(&env).map(|text| text.len() + 1).sum();
    if strings > names::STRINGS_LIMIT {
        return Err(format!(
            "cVM {name}: {strings} bytes of args and env, expected at most {}",
            names::STRINGS_LIMIT
        ));
    }
    if let Some(entry) = env.iter().find(|entry| entry.find('=').is_none_or(|at| at == 0)) {
        return Err(format!("cVM {name}: {}: \"{entry}\": expected KEY=value", names::ENV));
    }
    let restart = match text(names::RESTART_POLICY)? {
        None => RestartPolicy::default(),
        Some(policy) => RestartPolicy::from_name(policy).ok_or_else(|| {
            format!(
                "cVM {name}: {} = \"{policy}\": expected never, on-fault or always",
                names::RESTART_POLICY
            )
        })?,
    };
    let isolation_base = keys.cells(names::ISOLATION_BASE)?;
    if let Some(base) = isolation_base.filter(|base| base % 4096 != 0) {
        return Err(format!(
            "cVM {name}: {} = {base:#x}: expected a multiple of 4096",
            names::ISOLATION_BASE
        ));
    }
    let priority = keys.cell(names::PRIORITY)?.unwrap_or(names::PRIORITY_DEFAULT);
    if priority > names::PRIORITY_LIMIT {
        return Err(format!(
            "cVM {name}: {} = {priority}: expected 0 to {}",
            names::PRIORITY,
            names::PRIORITY_LIMIT
        ));
    }
    Ok(CvmSpec {
        name: name.into(),
        runtime: runtime.into(),
        args,
        env,
        isolation_base,
        isolation_size: keys.cells(names::ISOLATION_SIZE)?,
        heap: keys.cells(names::HEAP)?.unwrap_or(names::HEAP_DEFAULT),
        stack: keys.cells(names::STACK)?.unwrap_or(names::STACK_DEFAULT),
        priority,
        restart,
        restart_limit: keys.cell(names::RESTART_LIMIT)?.unwrap_or(0),
        restart_delay: keys.cells(names::RESTART_DELAY)?.unwrap_or(0),
        wait: keys.cell(names::WAIT)?.map_or(-1, |value| value as i32),
    })
}

/// The properties of one node, with errors that name it.
struct Keys<'a, 'n> {
    properties: &'n [NodeProperty<'a>],
    name: &'n str,
}

impl<'a> Keys<'a, '_> {
    fn get<T>(&self, key: &str, expected: &str, decode: impl Fn(&'a [u8]) -> Option<T>) -> Result<Option<T>, String> {
        let Some(property) = self.properties.iter().find(|property| property.name == key) else {
            return Ok(None);
        };
        let decoded = decode(property.value);
        decoded
            .map(Some)
            .ok_or_else(|| format!("cVM {}: {key}: expected {expected}", self.name))
    }

    fn cell(&self, key: &str) -> Result<Option<u32>, String> {
        self.get(key, "4 bytes", tree::cell)
    }

    fn cells(&self, key: &str) -> Result<Option<u64>, String> {
        self.get(key, "8 bytes", tree::cells)
    }
}
