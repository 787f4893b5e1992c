//! The same driver on the embedded machine and on a CHERI QEMU, if one is found on PATH or by
//! `INTRAVISOR_QEMU_RISCV64CHERI`: what it sees must be what is written here, on both. And frames between the two.
//!
//! The driver is a script, done by a guest of a few instructions that prints the words it is told to print.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use machine::Stop;
use machine::net::{Datagram, Stream, Wire};
use machine::riscv::{Board, Config, Until};
use machine::virtio::{Block, Device, DiskError, Network, Version};

use crate::network::MAC;

const SLOT: u64 = 0x1000_8000;
const QUEUES: u64 = 0x8020_0000;
const QUEUE_SPACE: u64 = 0x1_0000;
const BUFFERS: u64 = 0x8030_0000;
/// Of a queue of 8, from its start.
const AVAILABLE: u64 = 0x80;
const USED: u64 = 0x1000;

/// What the guest does, step by step.
#[derive(Clone, Copy)]
enum Step {
    Store(u64, u32),
    StoreWide(u64, u64),
    Print(u64),
    /// Until the half word is this.
    Wait(u64, u16),
}

const fn immediate(opcode: u32, funct3: u32, rd: u32, rs1: u32, value: i32) -> u32 {
    (value as u32) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

const fn store(funct3: u32, rs2: u32, rs1: u32) -> u32 {
    rs2 << 20 | rs1 << 15 | funct3 << 12 | 0x23
}

/// A branch from instruction `from` to instruction `to`.
const fn branch(funct3: u32, rs1: u32, rs2: u32, from: i32, to: i32) -> u32 {
    let d = (4 * (to - from)) as u32;
    (d >> 12 & 1) << 31
        | (d >> 5 & 0x3f) << 25
        | rs2 << 20
        | rs1 << 15
        | funct3 << 12
        | (d >> 1 & 0xf) << 8
        | (d >> 11 & 1) << 7
        | 0x63
}

const fn jump(from: i32, to: i32) -> u32 {
    let d = (4 * (to - from)) as u32;
    (d >> 20 & 1) << 31 | (d >> 1 & 0x3ff) << 21 | (d >> 11 & 1) << 20 | (d >> 12 & 0xff) << 12 | 0x6f
}

/// Where the script is, from the start of the program.
const SCRIPT: usize = 0x200;

/// x8: the next step. A step is an operation, an address and a value, of eight bytes each.
const INTERPRETER: [u32; 41] = [
    0x0000_0417,                     // auipc x8, 0
    immediate(0x13, 0, 8, 8, 0x200), // addi x8, x8, SCRIPT
    immediate(0x03, 3, 10, 8, 0),    // 2: ld x10, 0(x8)
    immediate(0x03, 3, 11, 8, 8),    // ld x11, 8(x8)
    immediate(0x03, 3, 12, 8, 16),   // ld x12, 16(x8)
    immediate(0x13, 0, 8, 8, 24),    // addi x8, x8, 24
    branch(0, 10, 0, 6, 36),         // beqz x10, the end
    immediate(0x13, 0, 13, 0, 1),
    branch(0, 10, 13, 8, 16), // 1: store
    immediate(0x13, 0, 13, 0, 2),
    branch(0, 10, 13, 10, 20), // 2: print
    immediate(0x13, 0, 13, 0, 3),
    branch(0, 10, 13, 12, 18),     // 3: store 8 bytes
    immediate(0x03, 5, 14, 11, 0), // lhu x14, 0(x11)
    branch(1, 14, 12, 14, 13),     // bne x14, x12, . - 4
    jump(15, 2),
    store(2, 12, 11), // 16: sw x12, 0(x11)
    jump(17, 2),
    store(3, 12, 11), // 18: sd x12, 0(x11)
    jump(19, 2),
    immediate(0x03, 6, 14, 11, 0), // 20: lwu x14, 0(x11)
    immediate(0x13, 0, 15, 0, 28), // addi x15, x0, 28
    0x00f7_5833,                   // 22: srl x16, x14, x15
    immediate(0x13, 7, 16, 16, 15),
    immediate(0x13, 0, 17, 0, 10),
    branch(4, 16, 17, 25, 27),      // blt x16, x17, . + 8
    immediate(0x13, 0, 16, 16, 39), // a to f
    immediate(0x13, 0, 16, 16, 48),
    0x1000_0937, // lui x18, 0x10000
    store(0, 16, 18),
    immediate(0x13, 0, 15, 15, -4),
    branch(5, 15, 0, 31, 22), // bgez x15
    immediate(0x13, 0, 16, 0, 10),
    store(0, 16, 18),
    jump(34, 2),
    0,
    0x0010_02b7,                     // 36: lui x5, 0x100
    0x0000_5337,                     // lui x6, 0x5
    immediate(0x13, 0, 6, 6, 0x555), // addi x6, x6, 0x555
    store(2, 6, 5),                  // the test finisher
    0x0000_006f,                     // j .
];

fn image(script: &[Step]) -> Vec<u8> {
    let mut bytes: Vec<u8> = INTERPRETER.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.resize(SCRIPT, 0);
    for step in script {
        let words = match *step {
            Step::Store(address, value) => [1, address, value.into()],
            Step::Print(address) => [2, address, 0],
            Step::StoreWide(address, value) => [3, address, value],
            Step::Wait(address, value) => [4, address, value.into()],
        };
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }
    bytes.extend([0; 24]);
    bytes
}

/// A script that is being written.
struct Script {
    steps: Vec<Step>,
    version: Version,
    /// What was made available in each queue.
    offered: [u16; 2],
}

impl Script {
    /// Brings the device in the highest slot up, without features but what its version needs.
    fn new(version: Version, queues: u32) -> Self {
        let mut script = Script {
            steps: Vec::new(),
            version,
            offered: [0; 2],
        };
        let modern = version == Version::Modern;
        for (register, value) in [
            (0x70, 0),
            (0x70, 1),
            (0x70, 3),
            (0x24, 0),
            (0x20, 0),
            (0x24, 1),
            (0x20, modern.into()),
        ] {
            script.register(register, value);
        }
        if modern {
            script.register(0x70, 11);
        } else {
            script.register(0x28, 0x1000);
        }
        for queue in 0..queues {
            let place = QUEUES + QUEUE_SPACE * u64::from(queue);
            script.register(0x30, queue);
            script.register(0x38, 8);
            if modern {
                for (register, address) in [(0x80, place), (0x90, place + AVAILABLE), (0xa0, place + USED)] {
                    script.register(register, address as u32);
                    script.register(register + 4, (address >> 32) as u32);
                }
                script.register(0x44, 1);
            } else {
                script.register(0x3c, 0x1000);
                script.register(0x40, (place >> 12) as u32);
            }
        }
        script.register(0x70, if modern { 15 } else { 7 });
        script
    }

    fn register(&mut self, register: u64, value: u32) {
        self.steps.push(Step::Store(SLOT + register, value));
    }

    fn print(&mut self, address: u64) {
        self.steps.push(Step::Print(address));
    }

    /// Makes a chain of these buffers available from descriptor 0 on.
    fn offer(&mut self, queue: usize, buffers: &[(u64, u32, bool)]) {
        let place = QUEUES + QUEUE_SPACE * queue as u64;
        for (number, (address, length, write)) in buffers.iter().enumerate() {
            let next = u64::from(number + 1 < buffers.len());
            let flags = next | u64::from(*write) << 1;
            let descriptor = place + 16 * number as u64;
            self.steps.push(Step::StoreWide(descriptor, *address));
            let rest = u64::from(*length) | flags << 32 | (number as u64 + 1) << 48;
            self.steps.push(Step::StoreWide(descriptor + 8, rest));
        }
        // Entry and index in one word each: descriptor 0, and no flags.
        self.offered[queue] += 1;
        self.steps
            .push(Step::Store(place + AVAILABLE, u32::from(self.offered[queue]) << 16));
        self.register(0x50, queue as u32);
    }

    /// Waits until everything of a queue has come back, and prints how much was written and why the device interrupted.
    fn collect(&mut self, queue: usize) {
        let place = QUEUES + QUEUE_SPACE * queue as u64 + USED;
        let given = self.offered[queue];
        self.steps.push(Step::Wait(place + 2, given));
        self.print(place + 4 + 8 * u64::from(given - 1) + 4);
        self.print(SLOT + 0x60);
        self.register(0x64, 3);
    }

    fn is_legacy(&self) -> bool {
        self.version == Version::Legacy
    }
}

fn on_machine(script: &[Step], version: Version, device: impl Into<Device>) -> Vec<u32> {
    let mut board = Board::new(Config {
        virtio: version,
        ..Config::new(image(script))
    })
    .expect("the image fits");
    board.attach(device).expect("an empty slot");
    assert_eq!(board.run(Until::exit(1 << 40)), Stop::Exit(0));
    words(&board.console().text())
}

fn words(text: &str) -> Vec<u32> {
    let word = |line: &str| u32::from_str_radix(line.trim(), 16).unwrap_or_else(|_| panic!("{line:?} is no word"));
    text.lines().map(word).collect()
}

/// QEMU, if it is there.
fn qemu() -> Option<PathBuf> {
    let named = std::env::var_os("INTRAVISOR_QEMU_RISCV64CHERI").map(PathBuf::from);
    named.or_else(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut programs = std::env::split_paths(&path).map(|folder| folder.join("qemu-system-riscv64cheri"));
        programs.find(|program| program.is_file())
    })
}

fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, bytes).expect("a file");
    path
}

fn start(program: &Path, name: &str, script: &[Step], version: Version, devices: &[String]) -> Child {
    let kernel = file(name, &image(script));
    let mut options: Vec<OsString> = "-M virt -cpu rv64,Xcheri_v9=true -m 128M -bios none -nographic"
        .split(' ')
        .map(OsString::from)
        .collect();
    if version == Version::Modern {
        options.extend(["-global", "virtio-mmio.force-legacy=false"].map(OsString::from));
    }
    options.extend(devices.iter().map(OsString::from));
    Command::new(program)
        .args(options)
        .arg("-kernel")
        .arg(kernel)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

fn end(child: Child) -> Vec<u32> {
    let output = child.wait_with_output().expect("QEMU ends");
    assert!(output.status.success(), "{}", output.status);
    words(&String::from_utf8(output.stdout).expect("digits").replace('\r', ""))
}

const VERSIONS: [Version; 2] = [Version::Legacy, Version::Modern];

fn contents() -> Vec<u8> {
    (0..4 * 512).map(|index| (index / 512 * 31 + index) as u8).collect()
}

/// Requests to a disk of four sectors, and what comes of them.
fn disk_script(version: Version) -> (Vec<Step>, Vec<u32>) {
    let mut script = Script::new(version, 1);
    let mut expected = Vec::new();
    for (register, value) in [
        (0x00, 0x7472_6976),
        (0x04, if version == Version::Legacy { 1 } else { 2 }),
        (0x08, 2),
        (0x0c, 0x554d_4551),
        (0x60, 0),
        (0x70, if version == Version::Legacy { 7 } else { 15 }),
        (0x100, 4),
        (0x104, 0),
        (0x114, 512),
        // The slot below is empty.
        (0x08_u64.wrapping_sub(0x1000), 0),
    ] {
        script.print(SLOT.wrapping_add(register));
        expected.push(value);
    }
    if script.is_legacy() {
        script.print(SLOT + 0x40);
        expected.push((QUEUES >> 12) as u32);
    } else {
        script.print(SLOT + 0x44);
        expected.push(1);
    }
    let (header, data, status) = (BUFFERS, BUFFERS + 0x1000, BUFFERS + 0x2000);
    let word = |offset: usize| u32::from_le_bytes(contents()[offset..offset + 4].try_into().expect("four bytes"));
    let serial = |text: &[u8]| u32::from_le_bytes(text.try_into().expect("four bytes"));
    // Type, sector, length, direction; bytes written by the device, status, first and last word of the data.
    for (kind, sector, length, write, written, result, first, last) in [
        (0, 1, 512, true, 513, 0, word(512), word(1020)),
        (0, 2, 1024, true, 1025, 0, word(1024), word(2044)),
        (8, 0, 20, true, 21, 0, serial(b"dist"), serial(b"disk")),
        (1, 3, 512, false, 1, 0, 0x1122_3344, 0x5566_7788),
        (0, 3, 512, true, 513, 0, 0x1122_3344, 0x5566_7788),
        (4, 0, 0, false, 1, 0, 0x1122_3344, 0x5566_7788),
        (1, 4, 512, false, 1, 1, 0x1122_3344, 0x5566_7788),
        (77, 0, 0, false, 1, 2, 0x1122_3344, 0x5566_7788),
    ] {
        script.steps.push(Step::StoreWide(header, kind));
        script.steps.push(Step::StoreWide(header + 8, sector));
        script.steps.push(Step::Store(status, 0xff));
        let end = data + u64::from(length) - if length == 0 { 0 } else { 4 };
        if kind == 1 {
            script.steps.push(Step::Store(data, 0x1122_3344));
            script.steps.push(Step::Store(end, 0x5566_7788));
        }
        let mut buffers = vec![(header, 16, false), (data, length, write), (status, 1, true)];
        buffers.retain(|(_, length, _)| *length > 0);
        script.offer(0, &buffers);
        script.collect(0);
        expected.extend([written, 1]);
        script.print(status);
        expected.push(result);
        let end = if length == 0 { data + 508 } else { end };
        for (address, value) in [(data, first), (end, last)] {
            script.print(address);
            expected.push(value);
        }
    }
    (script.steps, expected)
}

#[test]
fn a_disk_is_the_same_on_the_machine_and_on_qemu() {
    for version in VERSIONS {
        let (script, expected) = disk_script(version);
        let path = file("qemu-machine.img", &contents());
        let block = Block::open(&path, false).unwrap().with_serial("distinguishable disk");
        assert_eq!(on_machine(&script, version, block), expected, "{version:?}");
        let by_machine = std::fs::read(&path).unwrap();
        assert_eq!(by_machine[..3 * 512], contents()[..3 * 512]);
        assert_eq!(by_machine[1536..1540], 0x1122_3344_u32.to_le_bytes());
        assert_eq!(by_machine[2044..], 0x5566_7788_u32.to_le_bytes());
        let Some(program) = qemu() else {
            println!("skipped: no qemu-system-riscv64cheri");
            continue;
        };
        let disk = file("qemu.img", &contents());
        let devices = [
            "-drive".to_owned(),
            format!("if=none,format=raw,id=disk0,file={}", disk.display()),
            "-device".to_owned(),
            "virtio-blk-device,drive=disk0,serial=distinguishable disk".to_owned(),
        ];
        let child = start(&program, "qemu-disk", &script, version, &devices);
        assert_eq!(end(child), expected, "{version:?} on QEMU");
        assert!(std::fs::read(&disk).unwrap() == by_machine);
    }
}

#[test]
fn a_disk_that_one_of_the_two_writes_the_other_cannot_have() {
    let Some(program) = qemu() else {
        println!("skipped: no qemu-system-riscv64cheri");
        return;
    };
    let path = file("contested.img", &contents());
    let devices = [
        "-drive".to_owned(),
        format!("if=none,format=raw,id=disk0,file={}", path.display()),
        "-device".to_owned(),
        "virtio-blk-device,drive=disk0".to_owned(),
    ];
    let ours = Block::open(&path, false).unwrap();
    let refused = start(&program, "qemu-refused", &[], Version::Legacy, &devices)
        .wait()
        .unwrap();
    assert!(!refused.success(), "QEMU writes a disk that the machine writes");
    drop(ours);
    // Waits for what never comes, with the disk in its hands.
    let script = [Step::Print(SLOT + 8), Step::Wait(BUFFERS, 1)];
    let mut child = start(&program, "qemu-holds", &script, Version::Legacy, &devices);
    let mut line = [0; 8];
    std::io::Read::read_exact(child.stdout.as_mut().expect("a pipe"), &mut line).expect("a word");
    assert_eq!(&line, b"00000002");
    let opened = Block::open(&path, false);
    // Whatever comes out, nobody is left behind with the disk.
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        matches!(opened, Err(DiskError::InUse { .. })),
        "QEMU's lock is not heeded"
    );
    drop(opened);
    Block::open(&path, false).unwrap();
}

/// Sends a frame of 64 bytes, waits for one, and prints its length and the words of its first 16 bytes.
fn frame_script(version: Version) -> Vec<Step> {
    let mut script = Script::new(version, 2);
    let header = if script.is_legacy() { 10 } else { 12 };
    let (receiving, sending) = (BUFFERS, BUFFERS + 0x1000);
    script.offer(0, &[(receiving, 2000, true)]);
    for (offset, value) in FRAME.chunks(4).enumerate() {
        let word = u32::from_le_bytes(value.try_into().expect("four bytes"));
        script.steps.push(Step::Store(sending + 12 + 4 * offset as u64, word));
    }
    // Header and frame apart, so that the frame is aligned whatever the header's length.
    script.offer(1, &[(BUFFERS + 0x3000, header, false), (sending + 12, 64, false)]);
    script.steps.push(Step::Wait(QUEUES + USED + 2, 1));
    script.print(QUEUES + USED + 8);
    for word in 0..4 {
        script.print(receiving + u64::from(header) + 4 * word);
    }
    script.steps
}

const FRAME: [u8; 64] = {
    let mut frame = [0xa5; 64];
    let mut index = 0;
    while index < 6 {
        frame[index] = 0xff;
        index += 1;
    }
    frame[63] = 0x5a;
    frame
};

/// A frame to everybody, of another length than the one that it answers.
fn answer() -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend((6..100).map(|index: u8| index.wrapping_mul(3)));
    frame
}

fn answer_words(version: Version) -> Vec<u32> {
    let header = if version == Version::Legacy { 10 } else { 12 };
    let words = answer()[..16]
        .chunks(4)
        .map(|word| u32::from_le_bytes(word.try_into().expect("four bytes")))
        .collect();
    [vec![header + 100], words].concat()
}

/// Waits for the frame at the far end, and answers it until there is an end.
fn converse(wire: &mut impl Wire, child: &mut Child) {
    let begun = Instant::now();
    let patience = Duration::from_secs(60);
    loop {
        if let Some(frame) = wire.receive(0) {
            assert_eq!(frame, FRAME);
            break;
        }
        assert!(begun.elapsed() < patience, "no frame from QEMU");
        assert_eq!(child.try_wait().expect("QEMU can be asked"), None);
    }
    wire.send(&answer(), 0);
}

#[test]
fn qemu_and_the_machine_share_a_wire() {
    for version in VERSIONS {
        let script = frame_script(version);
        // The machine first, with a far end that answers at once.
        let wires = || {
            let sockets = [0, 1].map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
            sockets.map(|socket| socket.local_addr().unwrap().port())
        };
        let [one, other] = wires();
        let far = std::net::UdpSocket::bind(("127.0.0.1", other)).unwrap();
        let answering = std::thread::spawn(move || {
            let mut bytes = [0; 100];
            let length = far.recv(&mut bytes).unwrap();
            far.send_to(&answer(), ("127.0.0.1", one)).unwrap();
            bytes[..length].to_vec()
        });
        let card = Network::new(MAC, Datagram::new(one, other).unwrap());
        assert_eq!(on_machine(&script, version, card), answer_words(version), "{version:?}");
        assert_eq!(answering.join().unwrap(), FRAME);

        let Some(program) = qemu() else {
            println!("skipped: no qemu-system-riscv64cheri");
            continue;
        };
        let device = ["-device".to_owned(), "virtio-net-device,netdev=net0".to_owned()];
        let [one, other] = wires();
        let mut wire = Datagram::new(one, other).unwrap();
        let netdev = format!("socket,id=net0,udp=127.0.0.1:{one},localaddr=127.0.0.1:{other}");
        let devices = [&["-netdev".to_owned(), netdev][..], &device].concat();
        let mut child = start(&program, "qemu-udp", &script, version, &devices);
        converse(&mut wire, &mut child);
        assert_eq!(end(child), answer_words(version), "{version:?}, datagrams");

        let mut wire = Stream::listen(0).unwrap();
        let netdev = format!("socket,id=net0,connect=127.0.0.1:{}", wire.port().unwrap());
        let devices = [&["-netdev".to_owned(), netdev][..], &device].concat();
        let mut child = start(&program, "qemu-stream", &script, version, &devices);
        converse(&mut wire, &mut child);
        assert_eq!(end(child), answer_words(version), "{version:?}, stream");
    }
}
