//! `manifest.dtb`: writing and reading. The names, types and limits are in [`abi::manifest`].
//!
//! [`CvmSpec`] is a cVM with sensible values; [`Manifest`] is whatever properties the caller puts into it, so that a test
//! can write a manifest that no [`CvmSpec`] can express. Nothing is judged here.

mod decode;
mod judge;
mod tree;

use std::collections::BTreeSet;

use abi::hostcall::Family;
use abi::manifest::{self as names, RestartPolicy};
use serde::{Serialize, Serializer};
use vm_fdt::FdtWriter;

use crate::archive::Member;

pub use decode::{DecodeError, decode};
pub use judge::{PlanError, plan_of};

/// Folder of the archive with what buffers begin with.
const DATA_FOLDER: &str = "buffers";

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

abi::cvm_numbers_in! {
/// One cVM of a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
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
    /// Restart policy.
    pub restart: Restart,
    /// What to wait for before the next cVM is started, see [`abi::manifest::WAIT`].
    pub wait: i32,
    /// Who serves its hostcalls: the monitor or a cVM.
    pub callback_out: String,
    /// The cVM in whose bounds its memory lies.
    pub within: Option<String>,
    /// Families of hostcalls allowed, beside [`Family::Process`]; `None` = all.
    #[serde(serialize_with = "family_names")]
    pub hostcalls: Option<Vec<Family>>,
    /// The devices that it drives, see [`abi::manifest::device`].
    pub devices: Vec<String>,
    /// The gates that it offers, see [`abi::manifest::Gate`].
    pub gates: Vec<String>,
    /// The gates that it calls, see [`abi::manifest::call`].
    pub calls: Vec<String>,
}
}

fn family_names<S: Serializer>(families: &Option<Vec<Family>>, serializer: S) -> Result<S::Ok, S::Error> {
    let names: Option<Vec<&str>> = families
        .as_ref()
        .map(|families| families.iter().map(|family| family.name()).collect());
    names.serialize(serializer)
}

impl CvmSpec {
    /// A cVM with this name and runtime and the default of everything else.
    pub fn new(name: impl Into<String>, runtime: impl Into<String>) -> CvmSpec {
        let mut spec = CvmSpec {
            name: name.into(),
            runtime: runtime.into(),
            wait: -1,
            callback_out: names::CALLBACK_MONITOR.to_owned(),
            ..CvmSpec::default()
        };
        spec.set_numbers(names::NUMBERS.each_ref().map(|number| number.default));
        spec
    }

    /// Whether a cVM serves its hostcalls, not the monitor.
    pub fn is_served(&self) -> bool {
        self.callback_out != names::CALLBACK_MONITOR
    }

    /// Whether all the gates that it offers and calls may use vector registers, or none.
    pub fn agrees_on_vectors<'a>(&self, cvms: impl IntoIterator<Item = &'a CvmSpec, IntoIter: Clone>) -> bool {
        let vectors = self.gate_vectors(cvms);
        vectors.iter().all(|vector| vectors.first() == Some(vector))
    }

    /// Of each gate that it offers and calls, whether it may use vector registers.
    pub fn gate_vectors<'a>(&self, cvms: impl IntoIterator<Item = &'a CvmSpec, IntoIter: Clone>) -> Vec<bool> {
        let cvms = cvms.into_iter();
        let called = self.calls.iter().filter_map(|call| {
            let (server, function) = names::call(call)?;
            let server = cvms.clone().find(|cvm| cvm.name == server)?;
            let mut gates = server.gates.iter().filter_map(|gate| names::Gate::parse(gate));
            gates.find(|gate| gate.function == function)
        });
        let offered = self.gates.iter().filter_map(|gate| names::Gate::parse(gate));
        offered.chain(called).map(|gate| gate.vector).collect()
    }

    /// Whether it may use hostcalls of this family.
    pub fn allows(&self, family: Family) -> bool {
        family == Family::Process || self.hostcalls.as_ref().is_none_or(|allowed| allowed.contains(&family))
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
        node.set(names::RESTART_POLICY, Value::Text(self.restart.policy.name()));
        node.set(names::RESTART_LIMIT, Value::U32(self.restart.limit));
        node.set(names::RESTART_DELAY, Value::U64(self.restart.delay));
        node.set(names::WAIT, Value::I32(self.wait));
        node.set(names::CALLBACK_OUT, Value::Text(&self.callback_out));
        if let Some(outer) = &self.within {
            node.set(names::WITHIN, Value::Text(outer));
        }
        for (number, value) in names::NUMBERS.iter().zip(self.numbers()) {
            match number.width {
                // What a field of 32 bits holds.
                4 => node.set(number.name, Value::U32(value as u32)),
                _ => node.set(number.name, Value::U64(value)),
            };
        }
        if let Some(families) = &self.hostcalls {
            // The family that is always allowed stands there too: a device tree knows no empty list of texts.
            let families: Vec<String> = Family::ALL
                .into_iter()
                .filter(|family| *family == Family::Process || families.contains(family))
                .map(|family| family.name().to_owned())
                .collect();
            node.set(names::HOSTCALLS, Value::Texts(&families));
        }
        if !self.devices.is_empty() {
            node.set(names::DEVICES, Value::Texts(&self.devices));
        }
        for (name, texts) in [(names::GATES, &self.gates), (names::CALLS, &self.calls)] {
            if !texts.is_empty() {
                node.set(name, Value::Texts(texts));
            }
        }
        node
    }
}

/// The threads that the monitor makes for these cVMs: as many as each may have, and the handlers of those that serve others.
pub fn threads<'a>(cvms: impl IntoIterator<Item = &'a CvmSpec, IntoIter: Clone>) -> usize {
    let cvms = cvms.into_iter();
    let servers: BTreeSet<&str> = cvms
        .clone()
        .filter(|cvm| cvm.is_served())
        .map(|cvm| cvm.callback_out.as_str())
        .collect();
    let of = |cvm: &CvmSpec| {
        let serves = servers.contains(cvm.name.as_str());
        cvm.threads as usize + if serves { cvm.handlers as usize } else { 0 }
    };
    cvms.map(of).sum()
}

/// Memory that cVMs share as far as it says, and that its owner takes back.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct BufferSpec {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// The cVM that may grant and revoke it.
    pub owner: Option<String>,
    /// The cVMs that may read it, or [`names::EVERYBODY`].
    pub readers: Vec<String>,
    /// The cVMs that may write it, or [`names::EVERYBODY`].
    pub writers: Vec<String>,
    /// The member of the archive with its first bytes; the rest is zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

impl BufferSpec {
    /// A capfile: nobody's buffer, which every cVM may read, and perhaps write.
    pub fn capfile(name: impl Into<String>, size: u64, writable: bool) -> BufferSpec {
        let everybody = || vec![names::EVERYBODY.to_owned()];
        BufferSpec {
            name: name.into(),
            size,
            readers: everybody(),
            writers: if writable { everybody() } else { Vec::new() },
            ..BufferSpec::default()
        }
    }

    /// The same with these first bytes, which are the member of the archive that comes with it.
    pub fn with_data(self, data: impl Into<Vec<u8>>) -> (BufferSpec, Member) {
        let name = format!("{DATA_FOLDER}/{}", self.name);
        let data = Member::new(&name, data);
        let spec = BufferSpec {
            data: Some(name),
            ..self
        };
        (spec, data)
    }

    /// Whether a list of its readers or writers has a cVM of this name.
    pub fn names(list: &[String], cvm: &str) -> bool {
        list.iter().any(|name| name == cvm || name == names::EVERYBODY)
    }

    /// The node that stands for this buffer as number `index` of the list.
    pub fn node(&self, index: usize) -> CvmNode {
        let mut node = CvmNode {
            name: format!("{}@{index}", names::BUFFER),
            properties: Vec::new(),
        };
        node.set(names::NAME, Value::Text(&self.name));
        node.set(names::BUFFER_SIZE, Value::U64(self.size));
        if let Some(owner) = &self.owner {
            node.set(names::BUFFER_OWNER, Value::Text(owner));
        }
        for (key, cvms) in [
            (names::BUFFER_READERS, &self.readers),
            (names::BUFFER_WRITERS, &self.writers),
        ] {
            if !cvms.is_empty() {
                node.set(key, Value::Texts(cvms));
            }
        }
        if let Some(member) = &self.data {
            node.set(names::BUFFER_DATA, Value::Text(member));
        }
        node
    }
}

/// What a manifest says.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Plan {
    /// The cVMs, in their order.
    pub cvms: Vec<CvmSpec>,
    /// The buffers, capfiles among them, in their order.
    pub buffers: Vec<BufferSpec>,
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

/// A child of the node `cvms` or `buffers`, with any properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CvmNode {
    /// Name of the node, as a rule `cvm@N` or `buffer@N`.
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
    /// The children of the node `buffers`; `None` leaves that node out.
    pub buffers: Option<Vec<CvmNode>>,
}

impl Manifest {
    /// The manifest of these cVMs.
    pub fn new(cvms: &[CvmSpec]) -> Manifest {
        let nodes = cvms.iter().enumerate().map(|(index, cvm)| cvm.node(index)).collect();
        Manifest {
            compatible: Some(names::COMPATIBLE.to_owned()),
            cvms: Some(nodes),
            buffers: None,
        }
    }

    /// The same with these buffers.
    pub fn with_buffers(mut self, buffers: &[BufferSpec]) -> Manifest {
        let nodes = buffers.iter().enumerate().map(|(index, buffer)| buffer.node(index));
        let nodes: Vec<CvmNode> = nodes.collect();
        self.buffers = (!nodes.is_empty()).then_some(nodes);
        self
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
        let lists = [(names::CVMS, &self.cvms), (names::BUFFERS, &self.buffers)];
        for (name, nodes) in lists {
            let Some(nodes) = nodes else { continue };
            let list = writer.begin_node(name)?;
            for node in nodes {
                let open = writer.begin_node(&node.name)?;
                for (name, value) in &node.properties {
                    writer.property(name, value)?;
                }
                writer.end_node(open)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The monitor looks at no numbers of cells in a manifest.
    #[test]
    fn what_the_monitor_does_not_read_may_be_anything() {
        let mut writer = FdtWriter::new().unwrap();
        let root = writer.begin_node("").unwrap();
        writer.property_string("compatible", names::COMPATIBLE).unwrap();
        writer.property("#address-cells", &[1; 5]).unwrap();
        let list = writer.begin_node(names::CVMS).unwrap();
        writer.property("#size-cells", &[]).unwrap();
        writer.end_node(list).unwrap();
        writer.end_node(root).unwrap();
        let plan = decode(&writer.finish().unwrap()).unwrap();
        assert_eq!(plan.cvms, []);
    }

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
            callback_out: "plain".into(),
            call_budget: 5_000_000,
            within: Some("plain".into()),
            service_stack: 0x2000,
            threads: 64,
            handlers: 16,
            local: 4,
            buffer_quota: 0x1000,
            raw: 1,
            hostcalls: Some(vec![Family::Console, Family::Time]),
            devices: vec!["block0".into(), "net12".into()],
            gates: vec!["add 4096 2".into(), "mean 1 1 vector".into()],
            calls: vec!["plain.take".into()],
            ..CvmSpec::new("full", "full.elf")
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let cvms = vec![
            full(),
            CvmSpec::new("plain", "hello"),
            CvmSpec {
                hostcalls: Some(Vec::new()),
                ..CvmSpec::new("silent", "hello")
            },
        ];
        let plan = |buffers| Plan {
            cvms: cvms.clone(),
            buffers,
        };
        assert_eq!(decode(&encode(&cvms).unwrap()).unwrap(), plan(Vec::new()));
        let buffers = vec![
            BufferSpec {
                name: "shared".into(),
                size: 0x1000,
                owner: Some("full".into()),
                readers: vec!["plain".into(), "full".into()],
                writers: vec!["full".into()],
                data: None,
            },
            BufferSpec::capfile("test1", 0x20, true).with_data(*b"Hello\n\0").0,
            BufferSpec {
                name: "closed".into(),
                size: 1,
                ..BufferSpec::default()
            },
        ];
        let bytes = Manifest::new(&cvms).with_buffers(&buffers).encode().unwrap();
        assert_eq!(decode(&bytes).unwrap(), plan(buffers));
    }

    #[test]
    fn a_buffer_has_only_known_properties_and_a_size() {
        let buffer = || BufferSpec {
            owner: Some("full".into()),
            ..BufferSpec::capfile("test1", 0x20, true).with_data(*b"x").0
        };
        assert_eq!(buffer().node(0).properties.len(), names::BUFFER_PROPERTIES.len());
        let damaged = |change: &dyn Fn(&mut CvmNode)| {
            let mut manifest = Manifest::new(&[full()]).with_buffers(&[buffer()]);
            change(&mut manifest.buffers.as_mut().unwrap()[0]);
            decode(&manifest.encode().unwrap()).unwrap_err().to_string()
        };
        let missing = damaged(&|node| {
            node.remove(names::BUFFER_SIZE);
        });
        assert_eq!(missing, "buffer@0: size is missing");
        let data = damaged(&|node| {
            node.set(names::BUFFER_DATA, Value::Bytes(b"open"));
        });
        assert_eq!(
            data,
            "buffer@0: data: [6f, 70, 65, 6e]: expected text with one NUL at its end"
        );
        let unknown = damaged(&|node| {
            node.set(names::HEAP, Value::U64(1));
        });
        assert_eq!(unknown, "buffer@0: heap: unknown property");
        let renamed = damaged(&|node| node.name = "cvm@0".into());
        assert_eq!(renamed, "node \"cvm@0\": expected \"buffer@0\"");
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
        assert_eq!(short, "cvm@0: heap: [00, 00, 00, 01]: expected 8 bytes");
        let missing = damaged(&|node| {
            node.remove(names::RUNTIME);
        });
        assert_eq!(missing, "cvm@0: runtime is missing");
        let unknown = damaged(&|node| {
            node.set("colour", Value::Text("red"));
        });
        assert_eq!(unknown, "cvm@0: colour: unknown property");
        let policy = damaged(&|node| {
            node.set(names::RESTART_POLICY, Value::Text("no"));
        });
        assert_eq!(
            policy,
            "cvm@0: restart-policy: [6e, 6f, 00]: expected never, on-fault or always"
        );
        let family = damaged(&|node| {
            node.set(names::HOSTCALLS, Value::Text("disk"));
        });
        let expected = "cvm@0: hostcalls: [64, 69, 73, 6b, 00]: expected names of hostcall families";
        assert_eq!(family, expected);
        let open = damaged(&|node| {
            node.set(names::ARGS, Value::Bytes(b"open"));
        });
        assert_eq!(
            open,
            "cvm@0: args: [6f, 70, 65, 6e]: expected texts, each with a NUL at its end"
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
            buffers: None,
        };
        let foreign = decode(&foreign.encode().unwrap()).unwrap_err().to_string();
        assert_eq!(
            foreign,
            "compatible is Some(\"other\"), expected \"intravisor,manifest-1\""
        );
        let empty = Manifest {
            compatible: Some(names::COMPATIBLE.into()),
            cvms: None,
            buffers: None,
        };
        assert_eq!(decode(&empty.encode().unwrap()), Err(DecodeError::NoCvms));
        let whole = encode(&[full()]).unwrap();
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_err(), "cut to {length} bytes");
        }
    }
}
