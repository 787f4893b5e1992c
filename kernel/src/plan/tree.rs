//! Flattened device trees (Devicetree Specification v0.4, chapter 5), read in one pass and in place: the platform's own, and
//! the manifest, which is somebody else's data. Every token, name and length is checked when its turn comes.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

const MAGIC: u32 = 0xd00d_feed;
/// Version of the format.
const VERSION: usize = 17;
/// Bytes of the header of this version.
pub(crate) const HEADER: usize = 40;
/// Deepest nesting of nodes that is accepted.
pub(crate) const DEPTH_LIMIT: usize = 16;
/// Largest tree that is accepted, in bytes.
pub(crate) const SIZE_LIMIT: usize = abi::manifest::TREE_LIMIT;

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

fn fail<T>(offset: usize, expected: &'static str) -> Result<T, TreeError> {
    Err(TreeError { offset, expected })
}

fn word(bytes: &[u8], offset: usize, expected: &'static str) -> Result<u32, TreeError> {
    let rest = bytes.get(offset..).unwrap_or(&[]);
    let word = rest.first_chunk().ok_or(TreeError { offset, expected })?;
    Ok(u32::from_be_bytes(*word))
}

/// Bytes of a tree that are in use, told from its header alone (40 bytes). The header's own total size may be far
/// larger than what holds data.
pub(crate) fn used_size(header: &[u8]) -> Result<usize, TreeError> {
    let field = |index: usize| word(header, index * 4, "a device tree header of 40 bytes").map(|value| value as usize);
    if field(0)? != MAGIC as usize {
        return fail(0, "the magic number 0xd00dfeed");
    }
    // The last field first: a header that is cut says where.
    let structure_size = field(9).map_err(|error| TreeError {
        offset: header.len(),
        ..error
    })?;
    // Version 17 is the only one that is in use; later ones say whether they are compatible with it.
    if field(5)? < VERSION || field(6)? > VERSION {
        return fail(20, "a device tree compatible with version 17");
    }
    let (structure, strings, reserved) = (field(2)?, field(3)?, field(4)?);
    let end = (structure + structure_size).max(strings + field(8)?).max(reserved + 16);
    if end > field(1)? {
        return fail(4, "a total size that holds all blocks");
    }
    if end > SIZE_LIMIT {
        return fail(4, "at most 1 MiB of data");
    }
    Ok(end)
}

/// What stands at one place of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A node of this name begins.
    Begin(&'a [u8]),
    /// A property of the node that began last: name and value.
    Property(&'a [u8], &'a [u8]),
    /// The node that began last and has not ended ends.
    End,
}

/// The tokens of a tree, read one by one.
pub(crate) struct Tokens<'a> {
    /// The tree, to the end of its structure.
    bytes: &'a [u8],
    strings: &'a [u8],
    offset: usize,
    depth: usize,
    root_seen: bool,
    properties_allowed: bool,
}

impl<'a> Tokens<'a> {
    /// The tokens of a tree.
    ///
    /// # Errors
    /// [`TreeError`] in header and blocks.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Tokens<'a>, TreeError> {
        let used = used_size(bytes)?;
        if used > bytes.len() {
            return fail(bytes.len(), "the rest of the tree");
        }
        let block = |offset: usize, size: usize| -> Result<(usize, usize), TreeError> {
            let start = word(bytes, offset * 4, "a header field")? as usize;
            Ok((start, start + word(bytes, size * 4, "a header field")? as usize))
        };
        let (structure, structure_end) = block(2, 9)?;
        let (strings, strings_end) = block(3, 8)?;
        if structure % 4 != 0 || structure < HEADER {
            return fail(8, "a structure block behind the header, 4-byte aligned");
        }
        if strings < structure_end {
            return fail(12, "a strings block behind the structure block");
        }
        let reserved = word(bytes, 16, "a header field")? as usize;
        if !reserved.is_multiple_of(8)
            || reserved < HEADER
            || reservation_entries(&bytes[..structure], reserved).all(|entry| entry != [0; 16])
        {
            let expected = "a terminated, 8-byte aligned memory reservation block before the structure";
            return fail(16, expected);
        }
        Ok(Tokens {
            bytes: &bytes[..structure_end],
            strings: &bytes[strings..strings_end],
            offset: structure,
            depth: 0,
            root_seen: false,
            properties_allowed: false,
        })
    }

    /// The next token; none at the end of the tree.
    ///
    /// # Errors
    /// [`TreeError`] when it is none, or stands in the wrong place.
    pub(crate) fn next(&mut self) -> Result<Option<Token<'a>>, TreeError> {
        loop {
            let at = self.offset;
            let token = word(self.bytes, at, "a token or the end token")?;
            self.offset += 4;
            match token {
                NOP => {}
                BEGIN_NODE => return self.begin(at).map(Some),
                PROPERTY => return self.property(at).map(Some),
                END_NODE if self.depth == 0 => return fail(at, "a node to end"),
                END_NODE => {
                    self.depth -= 1;
                    self.properties_allowed = false;
                    return Ok(Some(Token::End));
                }
                END if self.depth == 0 && self.root_seen => return Ok(None),
                _ => return fail(at, "a known token, nodes closed before the end"),
            }
        }
    }

    fn begin(&mut self, at: usize) -> Result<Token<'a>, TreeError> {
        let from = self.bytes.get(self.offset..).unwrap_or(&[]);
        let expected = ["a node name that ends with NUL", "a node name in UTF-8"];
        let name = name(from).or_else(|wrong| fail(self.offset, expected[wrong]))?;
        if self.depth == DEPTH_LIMIT {
            return fail(at, "at most 16 levels of nodes");
        }
        if self.depth == 0 && (self.root_seen || !name.is_empty()) {
            return fail(at, "one root node without a name");
        }
        self.root_seen = true;
        self.depth += 1;
        self.properties_allowed = true;
        self.offset += (name.len() + 1).next_multiple_of(4);
        Ok(Token::Begin(name))
    }

    fn property(&mut self, at: usize) -> Result<Token<'a>, TreeError> {
        if !self.properties_allowed {
            return fail(at, "properties before the children of a node");
        }
        let offset = self.offset;
        let length = word(self.bytes, offset, "the length of a property")? as usize;
        let place = word(self.bytes, offset + 4, "the name of a property")? as usize;
        let from = self.strings.get(place..).unwrap_or(&[]);
        let name = name(from).or_else(|_| fail(offset + 4, "a name in the strings block"))?;
        let start = offset + 8;
        let Some(value) = self.bytes.get(start..start + length) else {
            return fail(offset, "a property that ends within the tree");
        };
        self.offset = start + length.next_multiple_of(4);
        Ok(Token::Property(name, value))
    }

    /// Reads to the end of the node that began last.
    ///
    /// # Errors
    /// [`TreeError`] in what is skipped.
    pub(crate) fn skip(&mut self) -> Result<(), TreeError> {
        let depth = self.depth;
        while self.depth >= depth {
            self.next()?;
        }
        Ok(())
    }
}

/// The name at the start of some bytes, whose end is a NUL. What is wrong otherwise: no end, or no UTF-8.
#[inline(never)]
fn name(bytes: &[u8]) -> Result<&[u8], usize> {
    // As a rule, nothing in it is not ASCII.
    match bytes.iter().position(|byte| *byte as i8 <= 0) {
        Some(end) if bytes[end] == 0 => Ok(&bytes[..end]),
        _ => utf8(bytes),
    }
}

#[cold]
#[inline(never)]
fn utf8(bytes: &[u8]) -> Result<&[u8], usize> {
    let end = bytes.iter().position(|byte| *byte == 0).ok_or(0_usize)?;
    let name = &bytes[..end];
    core::str::from_utf8(name).map(|_| name).map_err(|_| 1)
}

fn reservation_entries(bytes: &[u8], start: usize) -> impl Iterator<Item = [u8; 16]> {
    let entries = &bytes[start.min(bytes.len())..];
    entries.as_chunks().0.iter().copied()
}

/// The memory that a tree, whose blocks are sound, wants left alone: `/memreserve/` of its source.
pub(crate) fn reservations(bytes: &[u8]) -> impl Iterator<Item = Range<u64>> {
    let field = |offset| word(bytes, offset, "").map_or(0, |value| value as usize);
    let entries = reservation_entries(&bytes[..field(8).min(bytes.len())], field(16));
    entries.take_while(|entry| *entry != [0; 16]).map(|entry| {
        let [start, size] = [0, 8].map(|at| cells(&entry[at..at + 8]).unwrap_or(0));
        start..start.saturating_add(size)
    })
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
