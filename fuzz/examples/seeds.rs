//! Writes inputs to begin with into `corpus/TARGET`: `seeds CORPUS`.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

use abi::manifest::MEMBER;
use tools::archive::{self, Member};
use tools::manifest::{CvmSpec, Manifest};

const MACHINE: u16 = 243;
const PURECAP: u32 = 0x0003_0000;

/// A program header: type, flags, offset, address, bytes in the file, bytes in memory.
type Header = [u64; 6];

/// A small ELF file; `pokes` are bytes at offsets.
fn elf(kind: u16, flags: u32, entry: u64, headers: &[Header], pokes: &[(usize, &[u8])], size: usize) -> Vec<u8> {
    let mut bytes = vec![0_u8; size];
    let mut put = |at: usize, data: &[u8]| bytes[at..at + data.len()].copy_from_slice(data);
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &kind.to_le_bytes());
    put(18, &MACHINE.to_le_bytes());
    put(20, &1_u32.to_le_bytes());
    put(24, &entry.to_le_bytes());
    put(32, &64_u64.to_le_bytes());
    put(48, &flags.to_le_bytes());
    put(52, &[64, 0, 56, 0, headers.len() as u8, 0, 64, 0]);
    for (index, [kind, flags, offset, address, file, memory]) in headers.iter().enumerate() {
        let at = 64 + index * 56;
        put(
            at,
            &words(&[kind | flags << 32, *offset, *address, *address, *file, *memory, 8]),
        );
    }
    for (at, data) in pokes {
        put(*at, data);
    }
    bytes
}

fn words(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Programs: hybrid and purecap, with the kinds of relocations that the monitor knows.
fn programs() -> Vec<Vec<u8>> {
    const LOAD: u64 = 1;
    const DYNAMIC: u64 = 2;
    const TLS: u64 = 7;
    const RELRO: u64 = 0x6474_e552;
    let text = [LOAD, 5, 0x200, 0x1000, 0x20, 0x20];
    let data = [LOAD, 6, 0x240, 0x2000, 0x140, 0x1000];
    let code: (usize, &[u8]) = (0x200, &[0x13; 0x20]);
    let plain = elf(3, 0, 0x1004, &[text, data], &[code], 0x400);
    // A table of one relocation at 0x2040, the dynamic section at 0x2060.
    let dynamic = [DYNAMIC, 6, 0x2a0, 0x2060, 0x80, 0x80];
    let tags = words(&[7, 0x2040, 8, 24, 9, 24, 0, 0]);
    let relative = words(&[0x2008, 3, 0x1010]);
    let pokes = [code, (0x280, relative.as_slice()), (0x2a0, tags.as_slice())];
    let relocated = elf(3, 0, 0x1004, &[text, data, dynamic], &pokes, 0x400);
    let tls = [TLS, 4, 0x240, 0x2000, 0x10, 0x20];
    let fixed = elf(
        2,
        0,
        0x8040_1004,
        &[
            [LOAD, 5, 0x200, 0x8040_1000, 0x20, 0x20],
            [LOAD, 6, 0x240, 0x8040_2000, 0x40, 0x80],
            [TLS, 4, 0x240, 0x8040_2000, 0x10, 0x20],
        ],
        &[code],
        0x300,
    );
    // Five capabilities to be made: code, constant, data.
    let relro = [LOAD, 6, 0x240, 0x2000, 0x140, 0x140];
    let relro_range = [RELRO, 4, 0x240, 0x2000, 0x140, 0x1000];
    let bss = [LOAD, 6, 0, 0x3000, 0, 0x100];
    let relocations = words(&[
        0x2000,
        0x1000,
        4,
        0x1c,
        1 << 63,
        0x2010,
        0x2000,
        0,
        0x20,
        1 << 62,
        0x2020,
        0x3000,
        8,
        0x10,
        0,
    ]);
    let tags = words(&[0x7000_c000, 0x2040, 0x7000_c001, 120, 0, 0]);
    let dynamic = [DYNAMIC, 4, 0x240 + 0xc0, 0x20c0, 0x80, 0x80];
    let pokes = [code, (0x280, relocations.as_slice()), (0x300, tags.as_slice())];
    let headers = [text, relro, relro_range, bss, dynamic];
    let purecap = elf(3, PURECAP, 0x1004, &headers, &pokes, 0x400);
    let purecap_tls = elf(3, PURECAP, 0x1004, &[text, data, tls], &[code], 0x400);
    // Symbols: one function, one object, and a relocation of type 193 to each.
    let symbols = words(&[
        0,
        0,
        0,
        1 | 2 << 32 | 1 << 48,
        0x1000,
        0x20,
        6 | 1 << 32 | 2 << 48,
        0x3000,
        0x10,
    ]);
    let table = words(&[0x2000, 193 | 1 << 32, 4, 0x2010, 193 | 2 << 32, 0]);
    let tags = words(&[5, 0x2030, 10, 16, 6, 0x2040, 11, 24, 7, 0x2088, 8, 48, 9, 24, 0, 0]);
    let dynamic = [DYNAMIC, 4, 0x240 + 0xc0, 0x20c0, 0x80, 0x80];
    let pokes = [
        code,
        (0x270, b"\0main\0data\0".as_slice()),
        (0x280, symbols.as_slice()),
        (0x2c8, table.as_slice()),
        (0x300, tags.as_slice()),
    ];
    let symbolic = elf(
        3,
        PURECAP,
        0x1004,
        &[text, relro, relro_range, bss, dynamic],
        &pokes,
        0x400,
    );
    vec![plain, relocated, fixed, purecap, purecap_tls, symbolic]
}

fn manifests() -> Vec<Vec<u8>> {
    let mut full = CvmSpec::new("full", "program");
    full.args = vec!["a".to_owned(), "b c".to_owned()];
    full.env = vec!["KEY=value".to_owned()];
    (full.isolation_base, full.isolation_size) = (Some(0x8100_0000), Some(1 << 20));
    full.restart.policy = abi::manifest::RestartPolicy::OnFault;
    (full.restart.limit, full.restart.delay, full.wait) = (3, 1_000_000, 2);
    let mut client = CvmSpec::new("client", "a");
    client.callback_out = "full".to_owned();
    let lists = [
        vec![CvmSpec::new("one", "program")],
        vec![full.clone()],
        vec![full, client],
    ];
    let encode = |list: &Vec<CvmSpec>| Manifest::new(list).encode().expect("a plain manifest");
    lists.iter().map(encode).collect()
}

fn trees() -> Vec<Vec<u8>> {
    let mut all = manifests();
    let mut writer = vm_fdt::FdtWriter::new().expect("an empty tree");
    let mut write = || -> Result<(), vm_fdt::Error> {
        let root = writer.begin_node("")?;
        writer.property_u32("#address-cells", 2)?;
        writer.property_u32("#size-cells", 2)?;
        let memory = writer.begin_node("memory@80000000")?;
        writer.property_string("device_type", "memory")?;
        writer.property_array_u64("reg", &[0x8000_0000, 0x800_0000])?;
        writer.end_node(memory)?;
        let chosen = writer.begin_node("chosen")?;
        writer.property_string("bootargs", "log=debug")?;
        writer.property_u64("linux,initrd-start", 0x8200_0000)?;
        writer.property_u64("linux,initrd-end", 0x8210_0000)?;
        writer.end_node(chosen)?;
        let cpus = writer.begin_node("cpus")?;
        writer.property_u32("timebase-frequency", 10_000_000)?;
        writer.end_node(cpus)?;
        writer.end_node(root)
    };
    write().expect("a plain tree");
    all.push(writer.finish().expect("a plain tree"));
    all
}

/// A driver that sets a disk with 16 descriptors up and reads a sector, with a transport of this version, then the network
/// card, and sends itself a frame.
fn disk_request(version: u8) -> Vec<u8> {
    let mut bytes = vec![version, 0x36, 4, 0, 0x06, 4, 0];
    for (kind, number, address, length, flags) in [
        (0x32, 0u16, 0x6000u16, 16u16, 1u16),
        (0x32, 1, 0x6800, 512, 3),
        (0x32, 2, 0x6100, 1, 2),
        (0x02, 0, 0x6200, 100, 2),
        (0x12, 0, 0x6300, 80, 0),
    ] {
        bytes.push(kind);
        for half in [number, address, length, flags, number + 1] {
            bytes.extend(half.to_le_bytes());
        }
    }
    bytes.extend([0x34, 0, 0, 0x04, 0, 0, 0x14, 0, 0, 7, 0xff, 0]);
    bytes
}

fn main() -> Result<(), Box<dyn Error>> {
    let corpus = env::args().nth(1).ok_or("usage: seeds CORPUS")?;
    let manifest = manifests().remove(0);
    let members = [Member::new(MEMBER, manifest), Member::new("program", *b"program")];
    let texts = [
        "cVMs:\n- name: a\n  runtime: program\n",
        "cVMs:\n- name: a\n  runtime: p\n  args: [x, \"y z\"]\n  heap: 1MiB\n  stack: 64KiB\n  priority: 3\n  env: {A: b}\n",
        "cVMs:\n- name: a\n  runtime: p\n  isolation: {base: 0x81000000, size: 1MiB}\n  wait: 1\n  restart: {policy: always, limit: 3, delay: 5ms}\n",
        "cVMs:\n- name: s\n  runtime: p\n- name: c\n  runtime: p\n  callback_out: s\n  call_budget: 1ms\n  hostcalls: [console, time]\n",
        "cVMs:\n- name: s\n  runtime: p\n  service_stack: 8KiB\n- name: c\n  runtime: p\n  callback_out: s\n  within: s\n",
        "---\ncapfiles:\n- name: f\n  size: 4096\n  data: hello\n  access: write\n",
        "cVMs:\n- name: a\n  runtime: p\n  isolation:\n  - base: 0x10000000\n    size: 0x1000000\n    begin: 0x10000000\n    end: 0x11000000\n  callback_in: monitor\n",
    ];
    let calls = |numbers: &[u8]| {
        numbers
            .iter()
            .flat_map(|number| [*number, 1, 128, 0, 64, 16, 0, 0, 0])
            .collect()
    };
    let targets: [(&str, Vec<Vec<u8>>); 11] = [
        ("elf", programs()),
        ("loader", programs()),
        ("program", programs()),
        ("archive", vec![archive::write(&members)?]),
        ("manifest", manifests()),
        ("tree", trees()),
        ("yaml", texts.iter().map(|text| text.as_bytes().to_vec()).collect()),
        (
            "hostcalls",
            vec![calls(&[0, 1, 2, 3]), calls(&[4, 5, 6, 7, 8]), calls(&[2, 2, 230, 10])],
        ),
        // A plain archive; one archive with a twist behind another.
        ("image", vec![vec![0; 200], (0..=255).cycle().take(1500).collect()]),
        ("capability", vec![vec![0; 64], vec![1; 64], (0..128).collect()]),
        ("virtio", vec![disk_request(0), disk_request(1)]),
    ];
    for (target, inputs) in targets {
        let directory = Path::new(&corpus).join(target);
        fs::create_dir_all(&directory)?;
        for (number, input) in inputs.iter().enumerate() {
            fs::write(directory.join(format!("seed-{number}")), input)?;
        }
    }
    Ok(())
}
