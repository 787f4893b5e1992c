//! What the platform's device tree says.

use crate::plan::platform::{Board, read};
use arch::Device;
use vm_fdt::{FdtReserveEntry, FdtWriter};

type Properties<'a> = &'a [(&'a str, &'a [u8])];

/// A node, and the nodes within.
struct Node<'a>(&'a str, Properties<'a>, &'a [Node<'a>]);

fn write(writer: &mut FdtWriter, Node(name, properties, children): &Node<'_>) {
    let node = writer.begin_node(name).unwrap();
    for (name, value) in *properties {
        writer.property(name, value).unwrap();
    }
    children.iter().for_each(|child| write(writer, child));
    writer.end_node(node).unwrap();
}

/// A tree of these nodes below the root, whose addresses and sizes have one cell.
fn tree(nodes: &[Node<'_>]) -> Vec<u8> {
    let mut writer = FdtWriter::new_with_mem_reserv(&[FdtReserveEntry::new(0x7000, 0x10).unwrap()]).unwrap();
    let root = writer.begin_node("").unwrap();
    writer.property_u32("#address-cells", 1).unwrap();
    writer.property_u32("#size-cells", 1).unwrap();
    nodes.iter().for_each(|node| write(&mut writer, node));
    writer.end_node(root).unwrap();
    writer.finish().unwrap()
}

fn cells(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

const UART: (&str, &[u8]) = ("compatible", b"ns16550a\0");

fn uart<'a>(name: &'a str, properties: Properties<'a>) -> Node<'a> {
    Node(name, properties, &[])
}

/// The console's address.
fn console(board: &Board<'_>) -> u64 {
    board.platform.windows[Device::Console as usize].unwrap().base
}

#[test]
fn memory_is_what_is_there_and_not_disabled_and_the_reserved_is_named() {
    let [two, off, pool] = [
        cells(&[0x8000, 0x1000, 0xa000, 0x2000]),
        cells(&[0xf000, 0x1000]),
        cells(&[0x8800, 0x80]),
    ];
    let first = cells(&[0x100, 8]);
    let bytes = tree(&[
        Node("memory@8000", &[("reg", &two)], &[]),
        Node("memory@f000", &[("reg", &off), ("status", b"disabled\0")], &[]),
        Node(
            "reserved-memory",
            &[
                ("#address-cells", &cells(&[1])),
                ("#size-cells", &cells(&[1])),
                ("ranges", &[]),
            ],
            &[
                Node("firmware@8800", &[("reg", &pool), ("no-map", &[])], &[]),
                Node("elsewhere", &[("size", &cells(&[0x40]))], &[]),
            ],
        ),
        Node("serial@100", &[UART, ("reg", &first)], &[]),
    ]);
    let board = read(&bytes).unwrap();
    assert_eq!(board.memory, [0x8000..0x9000, 0xa000..0xc000]);
    assert_eq!(board.reserved, [0x7000..0x7010, 0x8800..0x8880]);
}

#[test]
fn the_console_is_the_one_that_chosen_names_and_never_a_disabled_one() {
    let [off, first, second] = [0x100, 0x200, 0x300].map(|at| cells(&[at, 8]));
    let board_of = |path: &[u8]| {
        let bytes = tree(&[
            uart("serial@100", &[UART, ("reg", &off), ("status", b"disabled\0")]),
            uart("serial@200", &[UART, ("reg", &first), ("status", b"ok\0")]),
            uart("serial@300", &[UART, ("reg", &second)]),
            Node("aliases", &[("serial0", b"/serial@300\0")], &[]),
            Node("chosen", &[("stdout-path", path)], &[]),
        ]);
        let board = read(&bytes).unwrap();
        (console(&board), board.other_console)
    };
    assert_eq!(board_of(b"/serial@300\0"), (0x300, false));
    assert_eq!(board_of(b"/serial@200:115200n8\0"), (0x200, false));
    assert_eq!(board_of(b"serial0:115200\0"), (0x300, false));
    assert_eq!(board_of(b"/serial@100\0"), (0x200, true));
    assert_eq!(board_of(b"/nowhere\0"), (0x200, true));
}

#[test]
fn addresses_go_through_the_buses_before_them() {
    let (one, reg) = (cells(&[1]), cells(&[0x40, 8]));
    let board_of = |outer: &[u8], inner: &[u8]| {
        let cells: Properties<'_> = &[("#address-cells", &one), ("#size-cells", &one)];
        let [outer, inner] = [outer, inner].map(|ranges| [cells, &[("ranges", ranges)]].concat());
        let properties = [UART, ("reg", &reg[..])];
        let serial = [uart("serial@40", &properties)];
        let bytes = tree(&[Node("soc", &outer, &[Node("bus", &inner, &serial)])]);
        read(&bytes)
            .map(|board| console(&board))
            .map_err(|error| error.to_string())
    };
    assert_eq!(board_of(&[], &[]), Ok(0x40));
    assert_eq!(
        board_of(&cells(&[0x1000, 0x9000_0000, 0x1000]), &cells(&[0, 0x1800, 0x100])),
        Ok(0x9000_0840)
    );
    let lost = board_of(&cells(&[0, 0x9000_0000, 0x20]), &[]);
    assert_eq!(
        lost,
        Err("device tree: no usable console: looked for compatible ns16550a".into())
    );
}

#[test]
fn what_is_missing_or_too_much_is_named() {
    assert_eq!(
        read(&tree(&[])).err().unwrap().to_string(),
        "device tree: no usable console: looked for compatible ns16550a"
    );
    let many: Vec<u32> = (0..17).flat_map(|number| [number * 0x1000, 0x800]).collect();
    let bytes = tree(&[Node("memory", &[("reg", &cells(&many))], &[])]);
    assert_eq!(
        read(&bytes).err().unwrap().to_string(),
        "device tree: more than 16 regions of memory"
    );
    let bytes = tree(&[Node("soc", &[("#size-cells", &[0; 3])], &[])]);
    assert_eq!(
        read(&bytes).err().unwrap().to_string(),
        "device tree: expected 4 bytes for a number of cells"
    );
}

#[test]
fn the_boot_loader_says_where_the_initrd_is_and_with_which_arguments() {
    let reg = cells(&[0x100, 8]);
    let bytes = tree(&[
        Node(
            "chosen",
            &[
                ("bootargs", b"log=debug\0"),
                ("linux,initrd-start", &cells(&[0x8000])),
                ("linux,initrd-end", &cells(&[0, 0x9000])),
            ],
            &[],
        ),
        uart("serial", &[UART, ("reg", &reg)]),
    ]);
    let board = read(&bytes).unwrap();
    assert_eq!((board.initrd, board.arguments), (Some(0x8000..0x9000), "log=debug"));
}
