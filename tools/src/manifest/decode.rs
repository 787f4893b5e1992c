//! Reading `manifest.dtb`.

use abi::hostcall::Family;
use abi::manifest::{self as names, RestartPolicy};

use super::tree::{self, Node};
use super::{BufferSpec, CvmNode, CvmSpec, Plan};

/// Why a manifest cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not a flattened device tree.
    #[error("not a flattened device tree as the monitor reads it: {0}")]
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
    /// A child of a list has an unexpected name.
    #[error("node {found:?}: expected {expected:?}")]
    Node {
        /// Its name.
        found: String,
        /// The name that belongs there.
        expected: String,
    },
    /// A property is missing.
    #[error("{node}: {property} is missing")]
    Missing {
        /// Node of the cVM or buffer.
        node: String,
        /// The property.
        property: &'static str,
    },
    /// A property has an impossible value.
    #[error("{node}: {property}: {value:02x?}: expected {expected}")]
    Value {
        /// Node of the cVM or buffer.
        node: String,
        /// The property.
        property: String,
        /// Its bytes.
        value: Vec<u8>,
        /// What belongs there.
        expected: &'static str,
    },
    /// A property that has no meaning.
    #[error("{node}: {property}: unknown property")]
    Unknown {
        /// Node of the cVM or buffer.
        node: String,
        /// The property.
        property: String,
    },
    /// A property that stands twice.
    #[error("{node}: {property}: given twice")]
    Twice {
        /// Node of the cVM or buffer.
        node: String,
        /// The property.
        property: String,
    },
    /// A node inside the node of a cVM or buffer.
    #[error("{node}: {inner:?}: unknown node")]
    Inner {
        /// Node of the cVM or buffer.
        node: String,
        /// The node inside.
        inner: String,
    },
}

/// What a manifest says.
///
/// # Errors
/// The bytes are not a manifest of this version: see [`DecodeError`]. Values are not judged beyond their type.
pub fn decode(bytes: &[u8]) -> Result<Plan, DecodeError> {
    let root = tree::read(bytes).map_err(DecodeError::Tree)?;
    let compatible = root.property("compatible").and_then(text).map(str::to_owned);
    if compatible.as_deref() != Some(names::COMPATIBLE) {
        return Err(DecodeError::Compatible { found: compatible });
    }
    let read = |list: &str, child: &str| -> Result<Option<Vec<CvmNode>>, DecodeError> {
        let Some(list) = root.child(list) else {
            return Ok(None);
        };
        let mut nodes = Vec::new();
        for (index, node) in list.children.iter().enumerate() {
            let found = node.name.to_owned();
            let expected = format!("{child}@{index}");
            if found != expected {
                return Err(DecodeError::Node { found, expected });
            }
            nodes.push(whole(node)?);
        }
        Ok(Some(nodes))
    };
    let cvms = read(names::CVMS, names::CVM)?.ok_or(DecodeError::NoCvms)?;
    let buffers = read(names::BUFFERS, names::BUFFER)?.unwrap_or_default();
    Ok(Plan {
        buffers: buffers.iter().map(decode_buffer).collect::<Result<_, _>>()?,
        cvms: cvms.iter().map(decode_cvm).collect::<Result<_, _>>()?,
    })
}

/// A node with its properties, each of which stands once, and nothing else.
fn whole(node: &Node<'_>) -> Result<CvmNode, DecodeError> {
    let mut whole = CvmNode {
        name: node.name.to_owned(),
        properties: Vec::new(),
    };
    for (name, value) in &node.properties {
        if whole.properties.iter().any(|(known, _)| known == name) {
            return Err(DecodeError::Twice {
                node: whole.name,
                property: (*name).to_owned(),
            });
        }
        whole.properties.push(((*name).to_owned(), value.to_vec()));
    }
    match node.children.first() {
        Some(inner) => Err(DecodeError::Inner {
            node: whole.name,
            inner: inner.name.to_owned(),
        }),
        None => Ok(whole),
    }
}

/// A property, with errors that name it.
struct Property<'a> {
    node: &'a str,
    name: &'a str,
    value: &'a [u8],
}

impl Property<'_> {
    fn wrong(&self, expected: &'static str) -> DecodeError {
        DecodeError::Value {
            node: self.node.to_owned(),
            property: self.name.to_owned(),
            value: self.value.to_owned(),
            expected,
        }
    }

    fn unknown(&self) -> DecodeError {
        DecodeError::Unknown {
            node: self.node.to_owned(),
            property: self.name.to_owned(),
        }
    }

    fn text(&self) -> Result<String, DecodeError> {
        let text = text(self.value).map(str::to_owned);
        text.ok_or_else(|| self.wrong("text with one NUL at its end"))
    }

    fn texts(&self) -> Result<Vec<String>, DecodeError> {
        texts(self.value).ok_or_else(|| self.wrong("texts, each with a NUL at its end"))
    }

    fn choice<T>(&self, choose: impl FnOnce(&str) -> Option<T>, expected: &'static str) -> Result<T, DecodeError> {
        choose(&self.text()?).ok_or_else(|| self.wrong(expected))
    }

    fn word(&self) -> Result<u32, DecodeError> {
        let bytes = self.value.try_into().map_err(|_| self.wrong("4 bytes"))?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn long(&self) -> Result<u64, DecodeError> {
        let bytes = self.value.try_into().map_err(|_| self.wrong("8 bytes"))?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn families(&self) -> Result<Vec<Family>, DecodeError> {
        let families: Option<Vec<Family>> = self.texts()?.iter().map(|name| Family::from_name(name)).collect();
        let mut families = families.ok_or_else(|| self.wrong("names of hostcall families"))?;
        families.retain(|family| *family != Family::Process);
        Ok(families)
    }
}

fn properties(node: &CvmNode) -> impl Iterator<Item = Property<'_>> {
    node.properties.iter().map(|(name, value)| Property {
        node: &node.name,
        name,
        value,
    })
}

fn decode_cvm(node: &CvmNode) -> Result<CvmSpec, DecodeError> {
    let mut cvm = CvmSpec::new("", "");
    let mut numbers = cvm.numbers();
    for property in properties(node) {
        match property.name {
            names::NAME => cvm.name = property.text()?,
            names::RUNTIME => cvm.runtime = property.text()?,
            names::ARGS => cvm.args = property.texts()?,
            names::ENV => cvm.env = property.texts()?,
            names::ISOLATION_BASE => cvm.isolation_base = Some(property.long()?),
            names::ISOLATION_SIZE => cvm.isolation_size = Some(property.long()?),
            names::RESTART_POLICY => {
                cvm.restart.policy = property.choice(RestartPolicy::from_name, "never, on-fault or always")?;
            }
            names::RESTART_LIMIT => cvm.restart.limit = property.word()?,
            names::RESTART_DELAY => cvm.restart.delay = property.long()?,
            names::WAIT => cvm.wait = property.word()?.cast_signed(),
            names::CALLBACK_OUT => cvm.callback_out = property.text()?,
            names::WITHIN => cvm.within = Some(property.text()?),
            names::HOSTCALLS => cvm.hostcalls = Some(property.families()?),
            names::DEVICES => cvm.devices = property.texts()?,
            names::GATES => cvm.gates = property.texts()?,
            names::CALLS => cvm.calls = property.texts()?,
            name => {
                let at = names::NUMBERS.iter().position(|number| number.name == name);
                let at = at.ok_or_else(|| property.unknown())?;
                numbers[at] = match names::NUMBERS[at].width {
                    4 => property.word()?.into(),
                    _ => property.long()?,
                };
            }
        }
    }
    cvm.set_numbers(numbers);
    for (property, value) in [(names::NAME, &cvm.name), (names::RUNTIME, &cvm.runtime)] {
        if value.is_empty() {
            return Err(missing(node, property));
        }
    }
    Ok(cvm)
}

fn decode_buffer(node: &CvmNode) -> Result<BufferSpec, DecodeError> {
    let mut buffer = BufferSpec::default();
    let (mut name, mut size) = (None, None);
    for property in properties(node) {
        match property.name {
            names::NAME => name = Some(property.text()?),
            names::BUFFER_SIZE => size = Some(property.long()?),
            names::BUFFER_OWNER => buffer.owner = Some(property.text()?),
            names::BUFFER_READERS => buffer.readers = property.texts()?,
            names::BUFFER_WRITERS => buffer.writers = property.texts()?,
            names::BUFFER_DATA => buffer.data = Some(property.text()?),
            _ => return Err(property.unknown()),
        }
    }
    buffer.name = name.ok_or_else(|| missing(node, names::NAME))?;
    buffer.size = size.ok_or_else(|| missing(node, names::BUFFER_SIZE))?;
    Ok(buffer)
}

fn missing(node: &CvmNode, property: &'static str) -> DecodeError {
    DecodeError::Missing {
        node: node.name.clone(),
        property,
    }
}

fn text(value: &[u8]) -> Option<&str> {
    let (last, text) = value.split_last()?;
    (*last == 0 && !text.contains(&0)).then(|| str::from_utf8(text).ok())?
}

fn texts(value: &[u8]) -> Option<Vec<String>> {
    let Some((last, texts)) = value.split_last() else {
        return Some(Vec::new());
    };
    if *last != 0 {
        return None;
    }
    texts
        .split(|byte| *byte == 0)
        .map(|text| String::from_utf8(text.to_vec()).ok())
        .collect()
}
