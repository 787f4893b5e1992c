//! `manifest.dtb`: writing and reading. The names, types and limits are in [`abi::manifest`].
//!
//! [`CvmSpec`] is a cVM with sensible values; [`Manifest`] is whatever properties the caller puts into it, so that a test
//! can write a manifest that no [`CvmSpec`] can express. Nothing is judged here.

use abi::manifest::{self as names, RestartPolicy};
use dtoolkit::fdt::Fdt;
use dtoolkit::{Node as _, Property as _};
use serde::{Serialize, Serializer};
use vm_fdt::FdtWriter;

/// When and how often a cVM is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Restart {
    /// After which ends.
    #[serde(serialize_with = "policy_name")]
    pub policy: RestartPolicy,
    /// Most restarts in one run of the image.
    pub limit: u32,
    /// Nanoseconds between an end and the restart.
    pub delay: u64,
}

fn policy_name<S: Serializer>(policy: &RestartPolicy, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(policy.name())
}

/// One cVM of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CvmSpec {
    /// Name of the cVM.
    pub name: String,
    /// Archive member with its ELF.
    pub runtime: String,
    /// Arguments, without argument 0.
    pub args: Vec<String>,
    /// Environment entries `KEY=value`.
    pub env: Vec<String>,
    /// Address of its memory; `None` = the monitor places it.
    pub isolation_base: Option<u64>,
    /// Bytes of its memory; `None` = as much as it needs.
    pub isolation_size: Option<u64>,
    /// Bytes of heap.
    pub heap: u64,
    /// Bytes of stack.
    pub stack: u64,
    /// Priority.
    pub priority: u32,
    /// Restart policy.
    pub restart: Restart,
    /// What to wait for before the next cVM is started, see [`abi::manifest::WAIT`].
    pub wait: i32,
    /// Who serves its hostcalls.
    pub callback_out: String,
}

impl CvmSpec {
    /// A cVM with this name and runtime and the default of everything else.
    pub fn new(name: impl Into<String>, runtime: impl Into<String>) -> CvmSpec {
        CvmSpec {
            name: name.into(),
            runtime: runtime.into(),
            args: Vec::new(),
            env: Vec::new(),
            isolation_base: None,
            isolation_size: None,
            heap: names::HEAP_DEFAULT,
            stack: names::STACK_DEFAULT,
            priority: names::PRIORITY_DEFAULT,
            restart: Restart::default(),
            wait: -1,
            callback_out: names::CALLBACK_MONITOR.to_owned(),
        }
    }

    /// The node that stands for this cVM as number `index` of the list.
    pub fn node(&self, index: usize) -> CvmNode {
        let mut node = CvmNode {
            name: format!("{}@{index}", names::CVM),
            properties: Vec::new(),
        };
        node.set(names::NAME, Value::Text(&self.name));
        node.set(names::RUNTIME, Value::Text(&self.runtime));
        if !self.args.is_empty() {
            node.set(names::ARGS, Value::Texts(&self.args));
        }
        if !self.env.is_empty() {
            node.set(names::ENV, Value::Texts(&self.env));
        }
        if let Some(base) = self.isolation_base {
            node.set(names::ISOLATION_BASE, Value::U64(base));
        }
        if let Some(size) = self.isolation_size {
            node.set(names::ISOLATION_SIZE, Value::U64(size));
        }
        node.set(names::HEAP, Value::U64(self.heap));
        node.set(names::STACK, Value::U64(self.stack));
        node.set(names::PRIORITY, Value::U32(self.priority));
        node.set(names::RESTART_POLICY, Value::Text(self.restart.policy.name()));
        node.set(names::RESTART_LIMIT, Value::U32(self.restart.limit));
        node.set(names::RESTART_DELAY, Value::U64(self.restart.delay));
        node.set(names::WAIT, Value::I32(self.wait));
        node.set(names::CALLBACK_OUT, Value::Text(&self.callback_out));
        node
    }
}

/// A value of a property, in the encodings of the Devicetree Specification v0.4, section 2.2.4.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// 32 bits, big endian.
    U32(u32),
    /// 32 bits, big endian, two's complement.
    I32(i32),
    /// 64 bits, big endian.
    U64(u64),
    /// Text with a NUL behind it.
    Text(&'a str),
    /// Several texts, each with a NUL behind it.
    Texts(&'a [String]),
    /// Any bytes.
    Bytes(&'a [u8]),
}

impl Value<'_> {
    fn encode(self) -> Vec<u8> {
        match self {
            Value::U32(number) => number.to_be_bytes().to_vec(),
            Value::I32(number) => number.to_be_bytes().to_vec(),
            Value::U64(number) => number.to_be_bytes().to_vec(),
            Value::Text(text) => [text.as_bytes(), &[0]].concat(),
            Value::Texts(texts) => texts.iter().flat_map(|text| text.bytes().chain([0])).collect(),
            Value::Bytes(bytes) => bytes.to_vec(),
        }
    }
}

/// A child of the node `cvms`, with any properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CvmNode {
    /// Name of the node, as a rule `cvm@N`.
    pub name: String,
    /// Names and encoded values, in this order.
    pub properties: Vec<(String, Vec<u8>)>,
}

impl CvmNode {
    /// Gives a property a value, in its old place if it was there before.
    pub fn set(&mut self, name: &str, value: Value<'_>) -> &mut CvmNode {
        let value = value.encode();
        match self.properties.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.properties.push((name.to_owned(), value)),
        }
        self
    }

    /// Takes a property away.
    pub fn remove(&mut self, name: &str) -> &mut CvmNode {
        self.properties.retain(|(known, _)| known != name);
        self
    }
}

/// A whole manifest, well-formed as a device tree, with any content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// `compatible` of the root; `None` leaves it out.
    pub compatible: Option<String>,
    /// The children of the node `cvms`; `None` leaves that node out.
    pub cvms: Option<Vec<CvmNode>>,
}

impl Manifest {
    /// The manifest of these cVMs.
    pub fn new(cvms: &[CvmSpec]) -> Manifest {
        let nodes = cvms.iter().enumerate().map(|(index, cvm)| cvm.node(index)).collect();
        Manifest {
            compatible: Some(names::COMPATIBLE.to_owned()),
            cvms: Some(nodes),
        }
    }

    /// The flattened device tree.
    ///
    /// # Errors
    /// A node or property name is not one that a device tree can have, or the tree exceeds 4 GiB.
    pub fn encode(&self) -> Result<Vec<u8>, vm_fdt::Error> {
        let mut writer = FdtWriter::new()?;
        let root = writer.begin_node("")?;
        if let Some(compatible) = &self.compatible {
            writer.property_string("compatible", compatible)?;
        }
        if let Some(cvms) = &self.cvms {
            let list = writer.begin_node(names::CVMS)?;
            for cvm in cvms {
                let node = writer.begin_node(&cvm.name)?;
                for (name, value) in &cvm.properties {
                    writer.property(name, value)?;
                }
                writer.end_node(node)?;
            }
            writer.end_node(list)?;
        }
        writer.end_node(root)?;
        writer.finish()
    }
}

/// The manifest of these cVMs as a flattened device tree; any values, for judging is not done here.
///
/// # Errors
/// The tree exceeds 4 GiB.
pub fn encode(cvms: &[CvmSpec]) -> Result<Vec<u8>, vm_fdt::Error> {
    Manifest::new(cvms).encode()
}

/// Why a manifest cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not a flattened device tree.
    #[error("not a flattened device tree: {0}")]
    Tree(String),
    /// Another `compatible`, or none.
    #[error("compatible is {found:?}, expected {:?}", names::COMPATIBLE)]
    Compatible {
        /// What stands there.
        found: Option<String>,
    },
    /// The node with the cVMs is missing.
    #[error("the node /{} is missing", names::CVMS)]
    NoCvms,
    /// A child of the list has an unexpected name.
    #[error("node {found:?}: expected {expected:?}")]
    Node {
        /// Its name.
        found: String,
        /// The name that belongs there.
        expected: String,
    },
    /// A property is missing.
    #[error("cVM {cvm}: {property} is missing")]
    Missing {
        /// Node of the cVM.
        cvm: String,
        /// The property.
        property: &'static str,
    },
    /// A property has an impossible value.
    #[error("cVM {cvm}: {property}: {value:02x?}: expected {expected}")]
    Value {
        /// Node of the cVM.
        cvm: String,
        /// The property.
        property: String,
        /// Its bytes.
        value: Vec<u8>,
        /// What belongs there.
        expected: &'static str,
    },
    /// A property that has no meaning.
    #[error("cVM {cvm}: {property}: unknown property")]
    Unknown {
        /// Node of the cVM.
        cvm: String,
        /// The property.
        property: String,
    },
}

/// The cVMs of a manifest.
///
/// # Errors
/// The bytes are not a manifest of this version: see [`DecodeError`]. Values are not judged beyond their type.
pub fn decode(bytes: &[u8]) -> Result<Vec<CvmSpec>, DecodeError> {
    let tree = Fdt::new(bytes).map_err(|error| DecodeError::Tree(error.to_string()))?;
    let root = tree.root();
    let compatible = root
        .property("compatible")
        .and_then(|property| text(property.value()).map(str::to_owned));
    if compatible.as_deref() != Some(names::COMPATIBLE) {
        return Err(DecodeError::Compatible { found: compatible });
    }
    let list = root.child(names::CVMS).ok_or(DecodeError::NoCvms)?;
    let mut cvms = Vec::new();
    for (index, node) in list.children().enumerate() {
        let found = node.name().to_owned();
        let expected = format!("{}@{index}", names::CVM);
        if found != expected {
            return Err(DecodeError::Node { found, expected });
        }
        let properties = node
            .properties()
            .map(|property| (property.name().to_owned(), property.value().to_vec()));
        cvms.push(decode_cvm(&CvmNode {
            name: found,
            properties: properties.collect(),
        })?);
    }
    Ok(cvms)
}

fn decode_cvm(node: &CvmNode) -> Result<CvmSpec, DecodeError> {
    let mut cvm = CvmSpec::new("", "");
    for (property, value) in &node.properties {
        let wrong = |expected| DecodeError::Value {
            cvm: node.name.clone(),
            property: property.clone(),
            value: value.clone(),
            expected,
        };
        let one_text = || {
            text(value)
                .map(str::to_owned)
                .ok_or_else(|| wrong("text with one NUL at its end"))
        };
        let list = || texts(value).ok_or_else(|| wrong("texts, each with a NUL at its end"));
        let word = || {
            value
                .as_slice()
                .try_into()
                .map(u32::from_be_bytes)
                .map_err(|_| wrong("4 bytes"))
        };
        let long = || {
            value
                .as_slice()
                .try_into()
                .map(u64::from_be_bytes)
                .map_err(|_| wrong("8 bytes"))
        };
        match property.as_str() {
            names::NAME => cvm.name = one_text()?,
            names::RUNTIME => cvm.runtime = one_text()?,
            names::ARGS => cvm.args = list()?,
            names::ENV => cvm.env = list()?,
            names::ISOLATION_BASE => cvm.isolation_base = Some(long()?),
            names::ISOLATION_SIZE => cvm.isolation_size = Some(long()?),
            names::HEAP => cvm.heap = long()?,
            names::STACK => cvm.stack = long()?,
            names::PRIORITY => cvm.priority = word()?,
            names::RESTART_POLICY => {
                let name = one_text()?;
                let policy = RestartPolicy::from_name(&name);
                cvm.restart.policy = policy.ok_or_else(|| wrong("never, on-fault or always"))?;
            }
            names::RESTART_LIMIT => cvm.restart.limit = word()?,
            names::RESTART_DELAY => cvm.restart.delay = long()?,
            names::WAIT => cvm.wait = word()?.cast_signed(),
            names::CALLBACK_OUT => cvm.callback_out = one_text()?,
            _ => {
                return Err(DecodeError::Unknown {
                    cvm: node.name.clone(),
                    property: property.clone(),
                });
            }
        }
    }
    for (property, value) in [(names::NAME, &cvm.name), (names::RUNTIME, &cvm.runtime)] {
        if value.is_empty() {
            return Err(DecodeError::Missing {
                cvm: node.name.clone(),
                property,
            });
        }
    }
    Ok(cvm)
}

fn text(value: &[u8]) -> Option<&str> {
    let (last, text) = value.split_last()?;
    (*last == 0 && !text.contains(&0)).then(|| str::from_utf8(text).ok())?
}

fn texts(value: &[u8]) -> Option<Vec<String>> {
    let (last, texts) = value.split_last()?;
    if *last != 0 {
        return None;
    }
    texts
        .split(|byte| *byte == 0)
        .map(|text| String::from_utf8(text.to_vec()).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> CvmSpec {
        CvmSpec {
            args: vec!["one".into(), String::new(), "zwei ü".into()],
            env: vec!["KEY=value".into()],
            isolation_base: Some(0x8200_0000),
            isolation_size: Some(0x10_0000),
            heap: 0x1_0000,
            stack: 0x4000,
            priority: 7,
            restart: Restart {
                policy: RestartPolicy::OnFault,
                limit: 3,
                delay: 10_000_000,
            },
            wait: -2,
            ..CvmSpec::new("full", "full.elf")
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let cvms = vec![full(), CvmSpec::new("plain", "hello")];
        assert_eq!(decode(&encode(&cvms).unwrap()).unwrap(), cvms);
    }

    #[test]
    fn an_encoded_cvm_has_only_known_properties() {
        for (name, _) in full().node(0).properties {
            assert!(names::PROPERTIES.contains(&name.as_str()), "{name}");
        }
        assert_eq!(full().node(0).properties.len(), names::PROPERTIES.len());
    }

    #[test]
    fn any_property_can_be_written_and_is_named_when_wrong() {
        let damaged = |change: &dyn Fn(&mut CvmNode)| {
            let mut manifest = Manifest::new(&[full()]);
            change(&mut manifest.cvms.as_mut().unwrap()[0]);
            decode(&manifest.encode().unwrap()).unwrap_err().to_string()
        };
        let short = damaged(&|node| {
            node.set(names::HEAP, Value::U32(1));
        });
        assert_eq!(short, "cVM cvm@0: heap: [00, 00, 00, 01]: expected 8 bytes");
        let missing = damaged(&|node| {
            node.remove(names::RUNTIME);
        });
        assert_eq!(missing, "cVM cvm@0: runtime is missing");
        let unknown = damaged(&|node| {
            node.set("colour", Value::Text("red"));
        });
        assert_eq!(unknown, "cVM cvm@0: colour: unknown property");
        let policy = damaged(&|node| {
            node.set(names::RESTART_POLICY, Value::Text("no"));
        });
        assert_eq!(
            policy,
            "cVM cvm@0: restart-policy: [6e, 6f, 00]: expected never, on-fault or always"
        );
        let open = damaged(&|node| {
            node.set(names::ARGS, Value::Bytes(b"open"));
        });
        assert_eq!(
            open,
            "cVM cvm@0: args: [6f, 70, 65, 6e]: expected texts, each with a NUL at its end"
        );
        let renamed = damaged(&|node| node.name = "cvm@7".into());
        assert_eq!(renamed, "node \"cvm@7\": expected \"cvm@0\"");
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        assert!(matches!(decode(b"no tree at all"), Err(DecodeError::Tree(_))));
        let foreign = Manifest {
            compatible: Some("other".into()),
            cvms: None,
        };
        let foreign = decode(&foreign.encode().unwrap()).unwrap_err().to_string();
        assert_eq!(
            foreign,
            "compatible is Some(\"other\"), expected \"intravisor,manifest-1\""
        );
        let empty = Manifest {
            compatible: Some(names::COMPATIBLE.into()),
            cvms: None,
        };
        assert_eq!(decode(&empty.encode().unwrap()), Err(DecodeError::NoCvms));
        let whole = encode(&[full()]).unwrap();
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_err(), "cut to {length} bytes");
        }
    }
}
