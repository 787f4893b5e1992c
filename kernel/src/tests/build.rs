//! Archives, manifests and programs for the tests.

use crate::elf::PAGE;
use abi::manifest as names;
use std::string::String;
use std::vec::Vec;
use vm_fdt::FdtWriter;

/// What an entry of a cpio archive says of its file beside name and data.
#[derive(Clone, Copy)]
pub(super) struct FileHeader {
    pub(super) magic: &'static str,
    pub(super) inode: usize,
    pub(super) mode: usize,
    pub(super) links: usize,
    pub(super) sum: usize,
}

/// A regular file.
pub(super) const FILE: FileHeader = FileHeader {
    magic: "070701",
    inode: 1,
    mode: 0o100_644,
    links: 1,
    sum: 0,
};

/// An entry of a cpio archive.
pub(super) fn entry(header: FileHeader, name: &str, data: &[u8]) -> Vec<u8> {
    let FileHeader {
        magic,
        inode,
        mode,
        links,
        sum,
    } = header;
    let fields = [inode, mode, 0, 0, links, 0, data.len(), 0, 0, 0, 0, name.len() + 1, sum];
    let mut bytes = magic.as_bytes().to_vec();
    for field in fields {
        bytes.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A cpio archive with these members.
pub(super) fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let trailer: [(&str, &[u8]); 1] = [("TRAILER!!!", &[])];
    let all = members.iter().chain(&trailer);
    all.flat_map(|(name, data)| entry(FILE, name, data)).collect()
}

/// One property of a cVM's node.
pub(super) enum Value<'a> {
    Text(&'a str),
    Texts(&'a [&'a str]),
    Cell(u32),
    Cells(u64),
    Bytes(&'a [u8]),
}

/// A manifest whose cVMs have these properties.
pub(super) fn manifest(compatible: &str, cvms: &[&[(&str, Value<'_>)]]) -> Vec<u8> {
    manifest_with(compatible, cvms, &[])
}

/// A manifest whose cVMs and buffers have these properties.
pub(super) fn manifest_with(
    compatible: &str,
    cvms: &[&[(&str, Value<'_>)]],
    buffers: &[&[(&str, Value<'_>)]],
) -> Vec<u8> {
    let mut tree = FdtWriter::new().unwrap();
    let root = tree.begin_node("").unwrap();
    tree.property_string("compatible", compatible).unwrap();
    list(&mut tree, names::CVMS, names::CVM, cvms);
    if !buffers.is_empty() {
        list(&mut tree, names::BUFFERS, names::BUFFER, buffers);
    }
    tree.end_node(root).unwrap();
    tree.finish().unwrap()
}

fn list(tree: &mut FdtWriter, name: &str, each: &str, nodes: &[&[(&str, Value<'_>)]]) {
    let list = tree.begin_node(name).unwrap();
    for (index, properties) in nodes.iter().enumerate() {
        let node = tree.begin_node(&format!("{each}@{index}")).unwrap();
        for (key, value) in *properties {
            match value {
                Value::Text(text) => tree.property_string(key, text),
                Value::Texts(texts) => {
                    tree.property_string_list(key, texts.iter().map(|text| String::from(*text)).collect())
                }
                Value::Cell(cell) => tree.property_u32(key, *cell),
                Value::Cells(cells) => tree.property_u64(key, *cells),
                Value::Bytes(bytes) => tree.property(key, bytes),
            }
            .unwrap();
        }
        tree.end_node(node).unwrap();
    }
    tree.end_node(list).unwrap();
}

/// A program header: type, flags, offset, address, file size, memory size.
pub(super) type Header = [u64; 6];

pub(super) const LOAD: u64 = 1;
pub(super) const DYNAMIC: u64 = 2;
pub(super) const INTERP: u64 = 3;
pub(super) const TLS: u64 = 7;
pub(super) const READ_EXECUTE: u64 = 5;
pub(super) const READ_WRITE: u64 = 6;

/// An ELF file; `pokes` are bytes at file offsets.
pub(super) fn elf(kind: u16, entry: u64, headers: &[Header], pokes: &[(usize, &[u8])], size: usize) -> Vec<u8> {
    let mut bytes = vec![0_u8; size];
    bytes[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    bytes[16..18].copy_from_slice(&kind.to_le_bytes());
    bytes[18..20].copy_from_slice(&arch::ELF_MACHINE.to_le_bytes());
    bytes[20..24].copy_from_slice(&1_u32.to_le_bytes());
    bytes[24..32].copy_from_slice(&entry.to_le_bytes());
    bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
    bytes[52..54].copy_from_slice(&64_u16.to_le_bytes());
    bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
    bytes[56..58].copy_from_slice(&(headers.len() as u16).to_le_bytes());
    bytes[58..60].copy_from_slice(&64_u16.to_le_bytes());
    for (index, [kind, flags, offset, address, file, memory]) in headers.iter().enumerate() {
        let at = 64 + index * 56;
        bytes[at..at + 4].copy_from_slice(&(*kind as u32).to_le_bytes());
        bytes[at + 4..at + 8].copy_from_slice(&(*flags as u32).to_le_bytes());
        for (field, value) in [offset, address, address, file, memory, &PAGE].iter().enumerate() {
            bytes[at + 8 + field * 8..at + 16 + field * 8].copy_from_slice(&value.to_le_bytes());
        }
    }
    for (offset, poke) in pokes {
        bytes[*offset..*offset + poke.len()].copy_from_slice(poke);
    }
    bytes
}

/// A dynamic section of these pairs.
pub(super) fn words(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A small sound program: text at 0x1000, data with bss at 0x2000, one relocation at 0x2008 with addend 0x1010.
pub(super) fn program() -> Vec<u8> {
    let dynamic = words(&[7, 0x2040, 8, 24, 9, 24, 0, 0]);
    let relative = (0..).find(|kind| arch::relocation(*kind) == Some(arch::Relocation::Relative));
    let relocation = words(&[0x2008, u64::from(relative.unwrap()), 0x1010]);
    let headers = [
        [LOAD, READ_EXECUTE, 0x200, 0x1000, 0x20, 0x20],
        [LOAD, READ_WRITE, 0x400, 0x2000, 0xc0, 0x1000],
        [DYNAMIC, 4, 0x460, 0x2060, 0x40, 0x40],
    ];
    elf(
        3,
        0x1004,
        &headers,
        &[(0x200, &[0x13; 0x20]), (0x440, &relocation), (0x460, &dynamic)],
        0x600,
    )
}

/// The program above, with a symbol table that exports a handler at 0x1008.
pub(super) fn server() -> Vec<u8> {
    exporting(abi::hostcall::HANDLER)
}

/// The same with a function of this name there.
pub(super) fn exporting(name: &str) -> Vec<u8> {
    let mut bytes = program();
    let name = format!("\0{name}\0");
    let (symbols, strings, sections) = (0x4a0, 0x4d0, 0x500);
    // A global function, defined in section 1; the first symbol is NULL.
    let symbol = words(&[1 | 0x12 << 32 | 1 << 48, 0x1008, 4]);
    bytes[symbols + 24..symbols + 48].copy_from_slice(&symbol);
    bytes[strings..strings + name.len()].copy_from_slice(name.as_bytes());
    let table = words(&[2 << 32, 0, 0, symbols as u64, 48, 2 | 1 << 32, 8, 24]);
    let names = words(&[3 << 32, 0, 0, strings as u64, name.len() as u64, 0, 1, 0]);
    bytes[sections + 64..sections + 128].copy_from_slice(&table);
    bytes[sections + 128..sections + 192].copy_from_slice(&names);
    bytes[40..48].copy_from_slice(&(sections as u64).to_le_bytes());
    bytes[58..62].copy_from_slice(&[64, 0, 3, 0]);
    bytes
}
