//! Flattened device trees are checked here before a parser walks them (Devicetree Specification v0.4, chapter 5): the
//! platform's own, and the manifest, which is somebody else's data.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use fdt::Fdt;
use fdt::node::FdtNode;

const MAGIC: u32 = 0xd00d_feed;
/// Version of the format.
const VERSION: usize = 17;
/// Bytes of the header of this version.
const HEADER: usize = 40;
/// Deepest nesting of nodes that is accepted.
const DEPTH_LIMIT: usize = 16;
/// Largest tree that is accepted, in bytes.
const SIZE_LIMIT: usize = 1 << 20;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// What is wrong with a tree, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TreeError {
    /// Byte offset in the tree.
    pub(crate) offset: usize,
    /// What was expected there.
    pub(crate) expected: &'static str,
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "device tree: at offset {:#x}: expected {}",
            self.offset, self.expected
        )
    }
}

fn word(bytes: &[u8], offset: usize, expected: &'static str) -> Result<u32, TreeError> {
    let end = offset.checked_add(4).ok_or(TreeError { offset, expected })?;
    match bytes.get(offset..end) {
        Some(&[a, b, c, d]) => Ok(u32::from_be_bytes([a, b, c, d])),
        _ => Err(TreeError { offset, expected }),
    }
}

/// Bytes of a tree that are in use, told from its header alone (40 bytes). The header's own total size may be far
/// larger than what holds data.
pub(crate) fn used_size(header: &[u8]) -> Result<usize, TreeError> {
    let field = |index: usize| word(header, index * 4, "a device tree header of 40 bytes").map(|value| value as usize);
    if field(0)? != MAGIC as usize {
        return Err(TreeError {
            offset: 0,
            expected: "the magic number 0xd00dfeed",
        });
    }
    // The last field first: a header that is cut says where.
    let structure_size = field(9).map_err(|error| TreeError {
        offset: header.len(),
        ..error
    })?;
    // Version 17 is the only one that is in use; later ones say whether they are compatible with it.
    if field(5)? < VERSION || field(6)? > VERSION {
        return Err(TreeError {
            offset: 20,
            expected: "a device tree compatible with version 17",
        });
    }
    let (structure, strings, reserved) = (field(2)?, field(3)?, field(4)?);
    let end = (structure + structure_size).max(strings + field(8)?).max(reserved + 16);
    if end > field(1)? {
        return Err(TreeError {
            offset: 4,
            expected: "a total size that holds all blocks",
        });
    }
    if end > SIZE_LIMIT {
        return Err(TreeError {
            offset: 4,
            expected: "at most 1 MiB of data",
        });
    }
    Ok(end)
}

/// Cuts a tree to the bytes in use, checks every token, name and length in it, and closes the gaps that NOP tokens are:
/// the format allows them anywhere, the parser does not.
pub(crate) fn check(mut bytes: Vec<u8>) -> Result<Vec<u8>, TreeError> {
    let used = used_size(&bytes)?;
    if used > bytes.len() {
        return Err(TreeError {
            offset: bytes.len(),
            expected: "the rest of the tree",
        });
    }
    bytes.truncate(used);
    bytes[4..8].copy_from_slice(&(used as u32).to_be_bytes());
    let block = |offset: usize, size: usize| -> Result<(usize, usize), TreeError> {
        let start = word(&bytes, offset * 4, "a header field")? as usize;
        Ok((start, start + word(&bytes, size * 4, "a header field")? as usize))
    };
    let (structure, structure_end) = block(2, 9)?;
    let (strings, strings_end) = block(3, 8)?;
    if structure % 4 != 0 || structure < HEADER {
        return Err(TreeError {
            offset: 8,
            expected: "a structure block behind the header, 4-byte aligned",
        });
    }
    if strings < structure_end {
        return Err(TreeError {
            offset: 12,
            expected: "a strings block behind the structure block",
        });
    }
    let reserved = word(&bytes, 16, "a header field")? as usize;
    if !reserved.is_multiple_of(8) || reserved < HEADER || !terminated_reservations(&bytes[..structure], reserved) {
        return Err(TreeError {
            offset: 16,
            expected: "a terminated, 8-byte aligned memory reservation block before the structure",
        });
    }
    let gaps = walk(&bytes[..structure_end], structure, &bytes[strings..strings_end])?;
    // What lies between two gaps moves once, by the size of the gaps before it.
    for (index, gap) in gaps.iter().enumerate() {
        let end = gaps.get(index + 1).copied().unwrap_or(structure_end);
        bytes.copy_within(gap + 4..end, gap - index * 4);
    }
    let size = (structure_end - structure - gaps.len() * 4) as u32;
    bytes[36..40].copy_from_slice(&size.to_be_bytes());
    Ok(bytes)
}

fn terminated_reservations(bytes: &[u8], start: usize) -> bool {
    bytes[start.min(bytes.len())..]
        .chunks_exact(16)
        .any(|entry| entry.iter().all(|byte| *byte == 0))
}

/// Walks the structure block; returns the offsets of its NOP tokens.
fn walk(bytes: &[u8], mut offset: usize, strings: &[u8]) -> Result<Vec<usize>, TreeError> {
    let mut gaps = Vec::new();
    let mut depth = 0;
    let mut root_seen = false;
    let mut properties_allowed = false;
    loop {
        let token = word(bytes, offset, "a token or the end token")?;
        let at = offset;
        offset += 4;
        match token {
            BEGIN_NODE => {
                let name = &bytes[offset..];
                let length = name.iter().position(|byte| *byte == 0);
                let length = length.ok_or(TreeError {
                    offset,
                    expected: "a node name that ends with NUL",
                })?;
                if core::str::from_utf8(&name[..length]).is_err() {
                    return Err(TreeError {
                        offset,
                        expected: "a node name in UTF-8",
                    });
                }
                if depth == DEPTH_LIMIT {
                    return Err(TreeError {
                        offset: at,
                        expected: "at most 16 levels of nodes",
                    });
                }
                if depth == 0 && (root_seen || length > 0) {
                    return Err(TreeError {
                        offset: at,
                        expected: "one root node without a name",
                    });
                }
                root_seen = true;
                depth += 1;
                properties_allowed = true;
                offset += (length + 1).next_multiple_of(4);
            }
            END_NODE => {
                if depth == 0 {
                    return Err(TreeError {
                        offset: at,
                        expected: "a node to end",
                    });
                }
                depth -= 1;
                properties_allowed = false;
            }
            PROPERTY => {
                if !properties_allowed {
                    return Err(TreeError {
                        offset: at,
                        expected: "properties before the children of a node",
                    });
                }
                let length = word(bytes, offset, "the length of a property")? as usize;
                let name = word(bytes, offset + 4, "the name of a property")? as usize;
                let name = strings.get(name..).unwrap_or(&[]);
                let valid = name
                    .iter()
                    .position(|byte| *byte == 0)
                    .map(|end| core::str::from_utf8(&name[..end]));
                let Some(Ok(name)) = valid else {
                    return Err(TreeError {
                        offset: offset + 4,
                        expected: "a name in the strings block",
                    });
                };
                // The parser takes their size for granted.
                if matches!(name, "#address-cells" | "#size-cells") && length != 4 {
                    return Err(TreeError {
                        offset,
                        expected: "4 bytes for a number of cells",
                    });
                }
                offset += 8;
                if length > bytes.len() - offset.min(bytes.len()) {
                    return Err(TreeError {
                        offset: offset - 8,
                        expected: "a property that ends within the tree",
                    });
                }
                offset += length.next_multiple_of(4);
            }
            NOP => gaps.push(at),
            END if depth == 0 && root_seen => return Ok(gaps),
            _ => {
                return Err(TreeError {
                    offset: at,
                    expected: "a known token, nodes closed before the end",
                });
            }
        }
    }
}

/// The children of the root of a checked tree that have this name, with or without a unit address.
fn top_level<'tree, 'a>(tree: &'tree Fdt<'a>, name: &'static str) -> impl Iterator<Item = FdtNode<'tree, 'a>> {
    // Not by the parser's paths: they follow aliases, in a circle if they run in one. That of the root is found at once.
    let children = tree.find_node("/").into_iter().flat_map(FdtNode::children);
    children.filter(move |node| {
        let rest = node.name.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
    })
}

/// The memory regions that a checked tree of a platform names.
pub(crate) fn memory(platform: &Fdt<'_>) -> impl Iterator<Item = Range<u64>> {
    let nodes = top_level(platform, "memory");
    nodes.filter_map(FdtNode::reg).flatten().filter_map(|region| {
        let start = region.starting_address as u64;
        Some(start..start.checked_add(region.size? as u64)?)
    })
}

/// The node `/chosen` of a checked tree of a platform.
pub(crate) fn chosen<'tree, 'a>(platform: &'tree Fdt<'a>) -> Option<FdtNode<'tree, 'a>> {
    top_level(platform, "chosen").next()
}

/// A string property without its NUL.
pub(crate) fn text(value: &[u8]) -> Option<&str> {
    let (last, text) = value.split_last()?;
    if *last != 0 || text.contains(&0) {
        return None;
    }
    core::str::from_utf8(text).ok()
}

/// A string list property.
pub(crate) fn texts(value: &[u8]) -> Option<Vec<String>> {
    if value.is_empty() {
        return Some(Vec::new());
    }
    let (last, text) = value.split_last()?;
    if *last != 0 {
        return None;
    }
    text.split(|byte| *byte == 0)
        .map(|part| core::str::from_utf8(part).ok().map(String::from))
        .collect()
}

/// A one-cell property.
pub(crate) fn cell(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

/// A two-cell property.
pub(crate) fn cells(value: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(value.try_into().ok()?))
}

/// An address property of one or two cells.
pub(crate) fn address(value: &[u8]) -> Option<u64> {
    cell(value).map(u64::from).or_else(|| cells(value))
}
