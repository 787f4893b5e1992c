//! Memory that the device tree reserves for firmware, and a device tree where the monitor's own heap would begin.

use abi::hostcall::TRANSFER_LIMIT;
use abi::image::MEMORY_SIZE_OFFSET;
use capability::{morello, riscv};
use machine::Stop;
use object::{Object, ObjectSegment};
use tests::report::ledger;
use tests::{Board, Platform, Scenario, cvm, on_machine};
use tools::manifest::CvmSpec;

on_machine!(
    reserved_memory_is_left_alone,
    reserved_memory_cannot_be_asked_for,
    reserved_memory_behind_the_image_is_left_alone,
    a_device_tree_behind_the_image_is_read,
);

const MAGIC: u32 = 0xd00d_feed;
const INSTRUCTIONS: u64 = 2_000_000_000;
const MEBIBYTE: u64 = 1 << 20;

/// Bytes of firmware.
const FIRMWARE: [u8; 16] = *b"firmware's own\r\n";

/// How a tree reserves memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// In the block of reservations in front of the nodes.
    Block,
    /// In a node below `/reserved-memory`.
    Node,
}

/// A flattened device tree in parts.
pub(crate) struct Tree {
    reserved: Vec<[u64; 2]>,
    pub(crate) nodes: Vec<u8>,
    strings: Vec<u8>,
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

impl Tree {
    pub(crate) fn parse(bytes: &[u8]) -> Tree {
        let (nodes, strings) = (number(bytes, 8), number(bytes, 12));
        Tree {
            reserved: Vec::new(),
            nodes: bytes[nodes..nodes + number(bytes, 36)].to_vec(),
            strings: bytes[strings..strings + number(bytes, 32)].to_vec(),
        }
    }

    pub(crate) fn property(&mut self, name: &str, value: &[u8]) -> Vec<u8> {
        let offset = self.strings.len() as u32;
        self.strings.extend(name.bytes().chain([0]));
        let mut property = [3, value.len() as u32, offset].map(u32::to_be_bytes).concat();
        property.extend(value);
        property.resize(property.len().next_multiple_of(4), 0);
        property
    }

    /// Reserves memory.
    pub(crate) fn reserve(&mut self, way: Way, start: u64, size: u64) {
        match way {
            Way::Block => self.reserved.push([start, size]),
            Way::Node => {
                let two = 2_u32.to_be_bytes();
                let mut node = 1_u32.to_be_bytes().to_vec();
                node.extend(b"reserved-memory\0");
                for (name, value) in [("#address-cells", &two[..]), ("#size-cells", &two), ("ranges", &[])] {
                    node.extend(self.property(name, value));
                }
                node.extend(1_u32.to_be_bytes());
                node.extend(b"firmware@0\0\0");
                node.extend(self.property("reg", &[start.to_be_bytes(), size.to_be_bytes()].concat()));
                node.extend(self.property("no-map", &[]));
                node.extend([2_u32, 2].map(u32::to_be_bytes).concat());
                // In front of the end of the root and of all.
                let end = self.nodes.len() - 8;
                self.nodes.splice(end..end, node);
            }
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut reserved: Vec<u8> = self
            .reserved
            .iter()
            .flatten()
            .flat_map(|word| word.to_be_bytes())
            .collect();
        reserved.extend([0; 16]);
        let nodes = 40 + reserved.len();
        let strings = nodes + self.nodes.len();
        let total = strings + self.strings.len();
        let lengths = [self.strings.len(), self.nodes.len()];
        let header = [
            MAGIC as usize,
            total,
            nodes,
            strings,
            40,
            17,
            16,
            0,
            lengths[0],
            lengths[1],
        ];
        let header = header.map(|word| (word as u32).to_be_bytes()).concat();
        [header, reserved, self.nodes.clone(), self.strings.clone()].concat()
    }
}

/// Where the board has its device tree, and the tree: a manifest is one, too.
pub(crate) fn tree(board: &Board) -> (u64, Tree) {
    let memory = board.memory();
    let places = (0..memory.size()).step_by(4);
    let mut trees = places
        .filter(|offset| memory.bytes(*offset, 4) == MAGIC.to_be_bytes())
        .map(|place| {
            let size = number(memory.bytes(place, 8), 4);
            (memory.base() + place as u64, Tree::parse(memory.bytes(place, size)))
        });
    let of_platform = trees.find(|(_, tree)| tree.nodes.windows(7).any(|name| name == b"chosen\0"));
    of_platform.expect("a device tree")
}

/// Has firmware in a part of the memory, and the tree say so.
fn reserve(board: &mut Board, way: Way, start: u64, size: u64) {
    let (address, mut tree) = tree(board);
    tree.reserve(way, start, size);
    board.write_memory(address, &tree.to_bytes());
    board.write_memory(start, &FIRMWARE.repeat(size as usize / 16));
}

/// How much of the firmware is not as it was.
fn damage(board: &Board, start: u64, size: u64) -> usize {
    let offset = (start - board.memory().base()) as usize;
    let places = (offset..offset + size as usize).step_by(16);
    places
        .filter(|place| board.memory().bytes(*place, 16) != FIRMWARE)
        .count()
}

/// Entries of the ledger of cVMs that reach into the firmware.
fn intruders(board: &Board, start: u64, size: u64) -> Vec<String> {
    let console = board.console().text();
    let lines: Vec<&str> = console
        .split("\r\n")
        .filter_map(|line| line.strip_prefix("[monitor] "))
        .collect();
    let entries = ledger(&lines)
        .into_iter()
        .filter(|entry| entry.parent != Some(0) && entry.parent.is_some());
    let inside = entries.filter(|entry| entry.what.base < start + size && entry.what.top > start.into());
    inside.map(|entry| entry.name).collect()
}

/// cVMs that take most of the memory.
fn hungry() -> Vec<CvmSpec> {
    let heap = |name: &str| CvmSpec {
        heap: 12 * MEBIBYTE,
        ..cvm(name, "hello", &[])
    };
    ["one", "two", "three", "four", "five", "six"].map(heap).to_vec()
}

fn reserved_memory_is_left_alone(platform: Platform) {
    for way in [Way::Block, Way::Node] {
        let mut running = Scenario::new(hungry()).on_board(platform);
        let (start, size) = (platform.ram() + 40 * MEBIBYTE, MEBIBYTE);
        reserve(&mut running.board, way, start, size);
        let board = &mut running.board;
        let stop = board.run(INSTRUCTIONS);
        let console = board.console().text();
        assert_eq!(stop, Stop::Exit(0), "{way:?}: {console}");
        assert_eq!(
            intruders(board, start, size),
            Vec::<String>::new(),
            "{way:?}: {console}"
        );
        assert_eq!(damage(board, start, size), 0, "{way:?}: {console}");
    }
}

fn reserved_memory_cannot_be_asked_for(platform: Platform) {
    for way in [Way::Block, Way::Node] {
        let (start, size) = (platform.ram() + 40 * MEBIBYTE, MEBIBYTE);
        let spec = CvmSpec {
            isolation_base: Some(start + size / 2),
            ..cvm("hello", "hello", &[])
        };
        let mut running = Scenario::new([spec]).on_board(platform);
        reserve(&mut running.board, way, start, size);
        let stop = running.board.run(INSTRUCTIONS);
        let console = running.board.console().text();
        assert_eq!(stop, Stop::Exit(1), "{way:?}: {console}");
        assert!(
            console.contains("error: cVM hello: isolation base"),
            "{way:?}: {console}"
        );
        assert_eq!(damage(&running.board, start, size), 0, "{way:?}: {console}");
    }
}

fn reserved_memory_behind_the_image_is_left_alone(platform: Platform) {
    // Where the monitor's heap would begin, and farther on.
    for (way, distance) in [(Way::Block, 0x1000), (Way::Node, 0x1_0000), (Way::Block, 0x4_0000)] {
        let mut running = Scenario::new([cvm("hello", "hello", &[])]).on_board(platform);
        let (start, size) = (end_of_data(platform) + distance, 0x1_0000);
        reserve(&mut running.board, way, start, size);
        let board = &mut running.board;
        let stop = board.run(INSTRUCTIONS);
        let console = board.console().text();
        // The monitor may find no room for itself up to there, and say so.
        let small = format!("-{start:#x}, is too small for the monitor");
        let refused = stop == Stop::Exit(1) && console.contains(&small);
        assert!(stop == Stop::Exit(0) || refused, "{way:?}: {stop}\n{console}");
        assert_eq!(damage(board, start, size), 0, "{way:?}, {distance:#x}: {console}");
    }
}

fn a_device_tree_behind_the_image_is_read(platform: Platform) {
    let scenario = Scenario::new([cvm("hello", "hello", &[])]);
    // At each of these distances from the end of the image, page by page, through the monitor's zeroed data and its heap.
    for page in [0, 1, 4, 16, 24, 31, 32, 64, 128, 256, 512, 1024, 2048] {
        let mut running = scenario.on_board(platform);
        let board = &mut running.board;
        let (_, tree) = tree(board);
        let place = end_of_data(platform) + page * TRANSFER_LIMIT as u64;
        board.write_memory(place, &tree.to_bytes());
        pass_tree(board, platform, place);
        let stop = board.run(INSTRUCTIONS);
        let console = board.console().text();
        assert_eq!(stop, Stop::Exit(0), "{page} pages behind the image: {console}");
        assert!(console.contains("hello from hello"), "{console}");
    }
}

/// First address behind the image and the monitor's zeroed data.
fn end_of_data(platform: Platform) -> u64 {
    let monitor = &tests::artifacts::built(platform.arch()).monitor;
    let file: object::File<'_> = object::File::parse(&**monitor).expect("the monitor");
    let end = file
        .segments()
        .map(|segment| segment.address() + segment.size())
        .max()
        .expect("segments");
    let end = if end < platform.monitor() {
        end + platform.monitor()
    } else {
        end
    };
    let image = Scenario::new([cvm("hello", "hello", &[])]).image(platform);
    let (size, _) = image[MEMORY_SIZE_OFFSET..].split_first_chunk().expect("a header");
    end.max(platform.monitor() + u64::from_le_bytes(*size))
        .next_multiple_of(TRANSFER_LIMIT as u64)
}

/// Starts the image with the device tree elsewhere.
fn pass_tree(board: &mut Board, platform: Platform, place: u64) {
    match board {
        Board::CheriRiscv(board) => {
            board
                .run_to(platform.monitor(), 1000)
                .expect("the image's first instruction");
            board.set_register(0, 11, riscv::Capability::from_integer(place));
        }
        Board::Morello(board) => board.set_register(0, 0, morello::Capability::from_integer(place)),
    }
}
