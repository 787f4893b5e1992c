//! Flattened device trees (Devicetree Specification v0.4, chapter 5), read by the same rules as the monitor: what one of the
//! two accepts, the other accepts, and both find the same nodes and properties in the same order. The fuzz target `image`
//! holds them to it.

const MAGIC: u32 = 0xd00d_feed;
/// The version of the format.
const VERSION: u32 = 17;
/// Bytes of the header.
const HEADER: usize = 40;
/// Most bytes of a tree that hold something.
const SIZE_LIMIT: usize = abi::manifest::TREE_LIMIT;
/// Most nodes inside each other.
const DEPTH_LIMIT: usize = 16;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// A node.
#[derive(Debug, Default)]
pub(super) struct Node<'a> {
    /// Its name, with the unit address.
    pub(super) name: &'a str,
    /// Names and values.
    pub(super) properties: Vec<(&'a str, &'a [u8])>,
    /// The nodes inside.
    pub(super) children: Vec<Node<'a>>,
}

impl<'a> Node<'a> {
    /// The value of the first property with this name.
    pub(super) fn property(&self, name: &str) -> Option<&'a [u8]> {
        let found = self.properties.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value)
    }

    /// The first node inside with this name.
    pub(super) fn child(&self, name: &str) -> Option<&Node<'a>> {
        self.children.iter().find(|child| child.name == name)
    }
}

/// The number at an offset that may lie outside.
fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    let word = bytes.get(offset..)?.first_chunk()?;
    Some(u32::from_be_bytes(*word))
}

/// Text up to a NUL.
fn text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    str::from_utf8(&bytes[..end]).ok()
}

/// The blocks of a tree.
struct Blocks<'a> {
    structure: &'a [u8],
    /// Offset of the structure in the tree, for messages.
    start: usize,
    strings: &'a [u8],
}

/// The root of a tree.
///
/// # Errors
/// What is wrong with it, where, and what was expected.
pub(super) fn read(bytes: &[u8]) -> Result<Node<'_>, String> {
    let blocks = blocks(bytes)?;
    let mut open: Vec<Node<'_>> = Vec::new();
    let mut offset = 0;
    let mut root = None;
    loop {
        let at = blocks.start + offset;
        let expected = |what: &str| format!("at offset {at:#x}: expected {what}");
        let token = word(blocks.structure, offset).ok_or_else(|| expected("a token"))?;
        offset += 4;
        match token {
            NOP => {}
            BEGIN_NODE => {
                let name = text(&blocks.structure[offset..]).ok_or_else(|| expected("a name in UTF-8 with a NUL"))?;
                offset += (name.len() + 1).next_multiple_of(4);
                if open.len() == DEPTH_LIMIT {
                    return Err(expected(&format!("at most {DEPTH_LIMIT} levels of nodes")));
                }
                if open.is_empty() && (root.is_some() || !name.is_empty()) {
                    return Err(expected("one root node without a name"));
                }
                open.push(Node {
                    name,
                    ..Node::default()
                });
            }
            END_NODE => {
                let node = open.pop().ok_or_else(|| expected("a node to end"))?;
                match open.last_mut() {
                    Some(parent) => parent.children.push(node),
                    None => root = Some(node),
                }
            }
            PROPERTY => {
                let node = open.last_mut().filter(|node| node.children.is_empty());
                let node = node.ok_or_else(|| expected("properties in a node, before the nodes in it"))?;
                let property = property(&blocks, &mut offset);
                node.properties
                    .push(property.ok_or_else(|| expected("a property with its name and value"))?);
            }
            END if open.is_empty() => return root.ok_or_else(|| expected("a root node")),
            _ => return Err(expected("a known token, and nodes closed before the end")),
        }
    }
}

/// The property behind a token.
fn property<'a>(blocks: &Blocks<'a>, offset: &mut usize) -> Option<(&'a str, &'a [u8])> {
    let length = word(blocks.structure, *offset)? as usize;
    let name = word(blocks.structure, *offset + 4)? as usize;
    let name = text(blocks.strings.get(name..)?)?;
    let value = blocks.structure.get(*offset + 8..)?.get(..length)?;
    *offset += 8 + length.next_multiple_of(4);
    Some((name, value))
}

/// Finds the blocks by the header.
fn blocks(bytes: &[u8]) -> Result<Blocks<'_>, String> {
    let expected = |at: usize, what: &str| format!("at offset {at:#x}: expected {what}");
    let mut header = [0; HEADER / 4];
    for (index, field) in header.iter_mut().enumerate() {
        *field = word(bytes, index * 4).ok_or_else(|| expected(bytes.len(), "a header of 40 bytes"))?;
    }
    let [
        magic,
        total,
        structure,
        strings,
        reserved,
        version,
        compatible,
        _,
        strings_size,
        structure_size,
    ] = header;
    if magic != MAGIC {
        return Err(expected(0, "the magic number 0xd00dfeed"));
    }
    if version < VERSION || compatible > VERSION {
        return Err(expected(20, "a tree compatible with version 17"));
    }
    let [total, structure, strings, reserved, strings_size, structure_size] =
        [total, structure, strings, reserved, strings_size, structure_size].map(|field| field as usize);
    let (structure_end, strings_end) = (structure + structure_size, strings + strings_size);
    let used = structure_end.max(strings_end).max(reserved + 16);
    if used > total || used > SIZE_LIMIT {
        return Err(expected(4, "a total size that holds all blocks, of 1 MiB at most"));
    }
    if used > bytes.len() {
        return Err(expected(bytes.len(), "the rest of the tree"));
    }
    if structure % 4 != 0 || structure < HEADER || strings < structure_end {
        return Err(expected(
            8,
            "strings behind the structure behind the header, at a multiple of 4",
        ));
    }
    let reservations = bytes.get(reserved..structure).unwrap_or_default();
    let terminated = reservations
        .chunks_exact(16)
        .any(|entry| entry.iter().all(|byte| *byte == 0));
    if reserved % 8 != 0 || reserved < HEADER || !terminated {
        return Err(expected(
            16,
            "terminated memory reservations before the structure, at a multiple of 8",
        ));
    }
    Ok(Blocks {
        structure: &bytes[structure..structure_end],
        start: structure,
        strings: &bytes[strings..strings_end],
    })
}
