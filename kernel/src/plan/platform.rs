//! What the platform's device tree says: memory, what of it is reserved, the boot loader's wishes, devices. One pass over the
//! tree, where it lies, and no allocation: nothing is known yet of what memory may be used.

use crate::plan::tree::{DEPTH_LIMIT, Token, Tokens, TreeError, address, cell, reservations, text};
use arch::{Description, Kind, Platform};
use core::fmt;
use core::ops::Range;
use heapless::Vec;

/// Most regions of memory, and most that is reserved.
const MEMORY_LIMIT: usize = 16;
const RESERVED_LIMIT: usize = 32;
/// Most UARTs that could be the console, and most aliases.
const CONSOLE_LIMIT: usize = 4;
const ALIAS_LIMIT: usize = 32;
/// Longest path of a node, in bytes.
const PATH_LIMIT: usize = 128;

/// Cells of addresses and sizes where a node does not say it (Devicetree Specification, 2.3.5).
const ADDRESS_CELLS: u32 = 2;
const SIZE_CELLS: u32 = 1;

/// What is wrong with the tree of a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlatformError {
    /// It is no tree.
    Tree(TreeError),
    /// A number of cells that is no number.
    Cells,
    /// There is more of something than the monitor keeps.
    Many(&'static str, usize),
    /// No node, or none that is usable, for a device that the monitor cannot do without.
    Missing {
        device: &'static str,
        looked_for: &'static str,
    },
}

impl fmt::Display for PlatformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlatformError::Tree(error) => write!(f, "{error}"),
            PlatformError::Cells => write!(f, "device tree: expected 4 bytes for a number of cells"),
            PlatformError::Many(what, limit) => write!(f, "device tree: more than {limit} {what}"),
            PlatformError::Missing { device, looked_for } => {
                write!(f, "device tree: no usable {device}: looked for compatible {looked_for}")
            }
        }
    }
}

impl From<TreeError> for PlatformError {
    fn from(error: TreeError) -> PlatformError {
        PlatformError::Tree(error)
    }
}

/// What the tree of a platform says.
#[derive(Default)]
pub(crate) struct Board<'a> {
    pub(crate) memory: Vec<Range<u64>, MEMORY_LIMIT>,
    pub(crate) reserved: Vec<Range<u64>, RESERVED_LIMIT>,
    pub(crate) initrd: Option<Range<u64>>,
    pub(crate) arguments: &'a str,
    pub(crate) platform: Platform,
    /// Whether the console is another one than `/chosen` names.
    pub(crate) other_console: bool,
}

/// A node on the way from the root.
struct Node<'a> {
    /// End of its path.
    path: usize,
    /// What it is to the monitor by its place in the tree.
    place: Place,
    /// Cells of its children's addresses and sizes.
    address_cells: u32,
    size_cells: u32,
    /// How its children's addresses lie in its own address space.
    ranges: Option<&'a [u8]>,
    compatible: &'a [u8],
    reg: &'a [u8],
    enabled: bool,
    /// Whether its properties are all read and have been looked at.
    seen: bool,
    description: Description<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Memory,
    Chosen,
    Aliases,
    Reserved,
    /// A child of the node of the reserved memory.
    Region,
    Other,
}

impl Place {
    /// Of a child of this name.
    fn child(self, name: &[u8]) -> Place {
        let is = |wanted: &[u8]| {
            name.strip_prefix(wanted)
                .is_some_and(|rest| matches!(rest, [] | [b'@', ..]))
        };
        match self {
            Place::Root if is(b"memory") => Place::Memory,
            Place::Root if is(b"chosen") => Place::Chosen,
            Place::Root if is(b"aliases") => Place::Aliases,
            Place::Root if is(b"reserved-memory") => Place::Reserved,
            Place::Reserved => Place::Region,
            _ => Place::Other,
        }
    }
}

/// A UART that the monitor can drive, and its path.
struct Console<'a> {
    path: Vec<u8, PATH_LIMIT>,
    kind: Kind,
    description: Description<'a>,
}

struct Reader<'a> {
    board: Board<'a>,
    nodes: Vec<Node<'a>, DEPTH_LIMIT>,
    path: Vec<u8, PATH_LIMIT>,
    consoles: Vec<Console<'a>, CONSOLE_LIMIT>,
    aliases: Vec<(&'a [u8], &'a [u8]), ALIAS_LIMIT>,
    stdout: Option<&'a [u8]>,
    initrd: [Option<u64>; 2],
}

/// Reads the tree of a platform.
///
/// # Errors
/// [`PlatformError`] for a damaged tree, and for devices that are missing.
#[inline(never)]
pub(crate) fn read(bytes: &[u8]) -> Result<Board<'_>, PlatformError> {
    let mut tokens = Tokens::new(bytes)?;
    let mut reader = Reader {
        board: Board::default(),
        nodes: Vec::new(),
        path: Vec::new(),
        consoles: Vec::new(),
        aliases: Vec::new(),
        stdout: None,
        initrd: [None; 2],
    };
    for range in reservations(bytes).filter(|range| !range.is_empty()) {
        reader.reserve(range)?;
    }
    while let Some(token) = tokens.next()? {
        match token {
            Token::Begin(name) => {
                reader.look()?;
                reader.begin(name);
            }
            Token::Property(name, value) => reader.property(name, value)?,
            Token::End => {
                reader.look()?;
                reader.nodes.pop();
            }
        }
    }
    reader.finish()?;
    Ok(reader.board)
}

impl<'a> Reader<'a> {
    fn reserve(&mut self, range: Range<u64>) -> Result<(), PlatformError> {
        let pushed = self.board.reserved.push(range);
        pushed.map_err(|_| PlatformError::Many("reserved regions of memory", RESERVED_LIMIT))
    }

    fn begin(&mut self, name: &[u8]) {
        let parent = self.nodes.last();
        self.path.truncate(parent.map_or(0, |parent| parent.path));
        // A path that is too long is no console's: it is cut, and matches nothing.
        if parent.is_some() {
            let _ = self.path.push(b'/');
            let _ = self.path.extend_from_slice(name);
        }
        let node = Node {
            path: self.path.len(),
            place: parent.map_or(Place::Root, |parent| parent.place.child(name)),
            address_cells: ADDRESS_CELLS,
            size_cells: SIZE_CELLS,
            ranges: None,
            compatible: &[],
            reg: &[],
            enabled: parent.is_none_or(|parent| parent.enabled),
            seen: false,
            description: Description::default(),
        };
        // The depth of a tree is limited to as many.
        let _ = self.nodes.push(node);
    }

    fn property(&mut self, name: &'a [u8], value: &'a [u8]) -> Result<(), PlatformError> {
        let Some(node) = self.nodes.last_mut() else {
            return Ok(());
        };
        let number = || cell(value).ok_or(PlatformError::Cells);
        let description = &mut node.description;
        match (node.place, name) {
            (Place::Chosen, b"bootargs") => self.board.arguments = text(value).unwrap_or(""),
            (Place::Chosen, b"stdout-path") => self.stdout = Some(value),
            (Place::Chosen, b"linux,initrd-start") => self.initrd[0] = address(value),
            (Place::Chosen, b"linux,initrd-end") => self.initrd[1] = address(value),
            (Place::Aliases, _) => {
                let pushed = self.aliases.push((name, value));
                pushed.map_err(|_| PlatformError::Many("aliases", ALIAS_LIMIT))?;
            }
            (_, b"#address-cells") => node.address_cells = number()?,
            (_, b"#size-cells") => node.size_cells = number()?,
            (_, b"ranges") => node.ranges = Some(value),
            (_, b"compatible") => node.compatible = value,
            (_, b"reg") => node.reg = value,
            (_, b"status") => node.enabled &= matches!(value, b"okay\0" | b"ok\0"),
            (_, b"interrupts") => description.interrupts = value,
            (_, b"interrupts-extended") => description.extended = value,
            (_, b"reg-shift") => description.register_shift = number()?,
            (_, b"reg-io-width") => description.register_width = number()?,
            // Of /cpus, or of each processor (Devicetree Specification, 3.8).
            (_, b"timebase-frequency") => {
                let ticks = cell(value).map(u64::from).or_else(|| address(value));
                self.board.platform.frequency = ticks;
            }
            _ => {}
        }
        Ok(())
    }

    /// Looks at the node that began last, now that all its properties are read.
    fn look(&mut self) -> Result<(), PlatformError> {
        let Some(at) = self.nodes.len().checked_sub(1).filter(|at| !self.nodes[*at].seen) else {
            return Ok(());
        };
        self.nodes[at].seen = true;
        let node = &self.nodes[at];
        let (place, compatible) = (node.place, node.compatible);
        if !node.enabled {
            return Ok(());
        }
        match place {
            Place::Memory | Place::Region => {
                let mut index = 0;
                while let Some((start, size)) = self.region(at, index) {
                    index += 1;
                    let range = start..start.saturating_add(size);
                    if place == Place::Region {
                        self.reserve(range)?;
                    } else if self.board.memory.push(range).is_err() {
                        return Err(PlatformError::Many("regions of memory", MEMORY_LIMIT));
                    }
                }
            }
            _ => {
                let mut names = compatible.split(|byte| *byte == 0);
                let Some(kind) = names.find_map(arch::known) else {
                    return Ok(());
                };
                let mut description = node.description;
                description.regions = [self.region(at, 0), self.region(at, 1)];
                if kind != Kind::Console {
                    arch::note_device(&mut self.board.platform, kind, &description);
                } else if description.regions[0].is_some() {
                    // One more than that is not the console.
                    let path = self.path.clone();
                    let _ = self.consoles.push(Console {
                        path,
                        kind,
                        description,
                    });
                }
            }
        }
        Ok(())
    }

    /// Base and size of a register region of a node; none behind the last, and when the processor cannot reach it.
    fn region(&self, at: usize, index: usize) -> Option<(u64, u64)> {
        let bus = &self.nodes[at.checked_sub(1)?];
        let [address_size, entry] = [bus.address_cells, bus.address_cells.checked_add(bus.size_cells)?]
            .map(|cells| (cells as usize).saturating_mul(4));
        let entry = self.nodes[at].reg.chunks_exact(entry.max(1)).nth(index)?;
        let (start, size) = entry.split_at_checked(address_size)?;
        let (mut start, size) = (number(start)?, number(size)?);
        // Through every bus between the node and the root.
        for level in (1..at).rev() {
            start = translate(&self.nodes[level], &self.nodes[level - 1], start, size)?;
        }
        Some((start, size))
    }

    fn finish(&mut self) -> Result<(), PlatformError> {
        if let [Some(start), Some(end)] = self.initrd {
            self.board.initrd = Some(start..end);
        }
        // A path, or an alias of one, and behind a colon how fast it is.
        let wanted = self
            .stdout
            .and_then(|path| path.split(|byte| matches!(byte, b':' | 0)).next());
        let alias = self.aliases.iter().find(|(name, _)| Some(*name) == wanted);
        let wanted = alias.map_or(wanted, |(_, path)| path.split(|byte| *byte == 0).next());
        let chosen = self.consoles.iter().find(|console| Some(&console.path[..]) == wanted);
        self.board.other_console = wanted.is_some() && chosen.is_none();
        if let Some(console) = chosen.or(self.consoles.first()) {
            arch::note_device(&mut self.board.platform, console.kind, &console.description);
        }
        for (device, looked_for) in arch::NEEDED {
            if self.board.platform.windows[device as usize].is_none() {
                let device = device.name();
                return Err(PlatformError::Missing { device, looked_for });
            }
        }
        Ok(())
    }
}

/// A number of one or two cells; that of no cells is 0.
fn number(cells: &[u8]) -> Option<u64> {
    if cells.is_empty() { Some(0) } else { address(cells) }
}

/// An address on a bus as its parent sees it; none when it does not lead there.
fn translate(bus: &Node<'_>, parent: &Node<'_>, start: u64, size: u64) -> Option<u64> {
    let ranges = bus.ranges?;
    if ranges.is_empty() {
        return Some(start);
    }
    let [child, upper, length] =
        [bus.address_cells, parent.address_cells, bus.size_cells].map(|cells| (cells as usize).saturating_mul(4));
    ranges
        .chunks_exact(child.saturating_add(upper).saturating_add(length).max(1))
        .find_map(|entry| {
            let (from, rest) = entry.split_at_checked(child)?;
            let (to, length) = rest.split_at_checked(upper)?;
            let (from, to, length) = (number(from)?, number(to)?, number(length)?);
            let offset = start.checked_sub(from)?;
            let inside = offset.checked_add(size)? <= length;
            inside.then(|| to.wrapping_add(offset))
        })
}
