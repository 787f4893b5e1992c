//! The debugger's view of both boards: over the protocol itself, and with a real gdb where there is one.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use machine::gdb::{Guest, serve};
use machine::{Stop, morello, riscv};

/// A program of the CHERI-RISC-V board: counts in t0, then stores DDC, with its tag, to 0x80100000.
const RISCV: [u32; 7] = [
    0x0010_0293, // addi t0, zero, 1
    0x0012_8293, // addi t0, t0, 1
    0x0010_0317, // auipc t1, 0x100
    0xff03_7313, // andi t1, t1, -16
    0x0210_03db, // CSpecialRW ct2, DDC, cnull
    0x0073_4023, // SC ct2, 0(t1)
    0x0000_006f, // j .
];
const RISCV_START: u64 = 0x8000_0000;
const RISCV_DATA: u64 = 0x8010_0000;

/// The same of the Morello board, to 0x41000000, after it has switched capabilities on.
const MORELLO: [u32; 9] = [
    0xd2a0_0789, // movz x9, #0x3c, lsl #16
    0xd518_1049, // msr cpacr_el1, x9
    0xd503_3fdf, // isb
    0xd280_0025, // movz x5, #1
    0x9100_04a5, // add x5, x5, #1
    0xd2a8_2006, // movz x6, #0x4100, lsl #16
    0xc29b_4127, // mrs c7, ddc
    0xc200_00c7, // str c7, [x6]
    0x1400_0000, // b .
];
const MORELLO_START: u64 = 0x4008_0000;
const MORELLO_DATA: u64 = 0x4100_0000;

fn kernel(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn riscv_board() -> riscv::Board {
    riscv::Board::new(riscv::Config::new(kernel(&RISCV))).expect("the board")
}

fn morello_board() -> morello::Board {
    morello::Board::new(morello::Config::new(kernel(&MORELLO))).expect("the board")
}

/// Runs a board under a debugger; `debugger` gets the port.
fn under<G: Guest, R>(
    build: impl FnOnce() -> G + Send + 'static,
    debugger: impl FnOnce(u16) -> R,
) -> (R, Result<Stop, String>) {
    let (told, port) = mpsc::channel();
    let machine = thread::spawn(move || {
        let mut board = build();
        serve(&mut board, 0, &[], |port| {
            told.send(port).expect("the test waits for the port")
        })
        .inspect_err(|error| eprintln!("{error}"))
    });
    let seen = debugger(port.recv().expect("the port"));
    (seen, machine.join().expect("the machine does not panic"))
}

/// A debugger that does what a test says.
struct Client(TcpStream);

impl Client {
    fn connect(port: u16) -> Client {
        Client(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the server listens"))
    }

    fn byte(&mut self) -> u8 {
        let mut byte = [0];
        self.0.read_exact(&mut byte).expect("an answer");
        byte[0]
    }

    /// Sends a packet and returns the answer's contents.
    fn ask(&mut self, packet: &str) -> String {
        let sum = packet.bytes().fold(0_u8, u8::wrapping_add);
        write!(self.0, "${packet}#{sum:02x}").expect("the server reads");
        while self.byte() != b'$' {}
        let mut answer = Vec::new();
        loop {
            match self.byte() {
                b'#' => break,
                // A run of one byte: its length follows.
                b'*' => {
                    let count = self.byte() - 29;
                    let last = *answer.last().expect("a run of something");
                    answer.extend(std::iter::repeat_n(last, count.into()));
                }
                byte => answer.push(byte),
            }
        }
        self.byte();
        self.byte();
        self.0.write_all(b"+").expect("the server reads");
        String::from_utf8(answer).expect("text")
    }

    fn register(&mut self, number: usize) -> u128 {
        let answer = self.ask(&format!("p{number:x}"));
        let bytes = (0..answer.len()).step_by(2).rev();
        let digits: String = bytes.map(|at| &answer[at..at + 2]).collect();
        u128::from_str_radix(&digits, 16).unwrap_or_else(|_| panic!("register {number}: {answer}"))
    }

    /// What `monitor COMMAND` prints.
    fn monitor(&mut self, command: &str) -> String {
        let hexadecimal = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
        let text = |answer: &str| {
            let bytes = (0..answer.len()).step_by(2);
            let bytes = bytes.map(|at| u8::from_str_radix(&answer[at..at + 2], 16).expect("hexadecimal digits"));
            String::from_utf8(bytes.collect()).expect("text")
        };
        let mut answer = self.ask(&format!("qRcmd,{}", hexadecimal(command)));
        let mut printed = String::new();
        while let Some(part) = answer.strip_prefix('O').filter(|part| *part != "K") {
            printed += &text(part);
            // The rest comes without being asked for; an empty question would be answered, too.
            answer = self.next();
        }
        printed
    }

    fn next(&mut self) -> String {
        while self.byte() != b'$' {}
        let mut answer = String::new();
        loop {
            match self.byte() {
                b'#' => break,
                byte => answer.push(byte.into()),
            }
        }
        self.byte();
        self.byte();
        self.0.write_all(b"+").expect("the server reads");
        answer
    }
}

/// Number of the register of this name.
fn number<G: Guest>(name: &str) -> usize {
    let found = G::list().iter().position(|register| register.name == name);
    found.unwrap_or_else(|| panic!("no register {name}"))
}

/// What a debugger does with a program that counts and stores a capability: `names` = counter and capability.
fn session<G: Guest>(port: u16, [counter, stored]: [&str; 2], (start, data): (u64, u64), skip: u64) {
    let mut gdb = Client::connect(port);
    assert!(
        gdb.ask("qSupported:swbreak+;hwbreak+;xmlRegisters=none")
            .contains("qXfer:features:read+")
    );
    let description = gdb.ask("qXfer:features:read:target.xml:0,7ff");
    assert!(description.contains(G::ARCHITECTURE), "{description}");
    let pc = number::<G>("pc");
    // It begins stopped, before what the board itself does.
    assert_eq!(gdb.ask(&format!("Z0,{start:x},4")), "OK");
    if gdb.register(pc) != start.into() {
        assert!(gdb.ask("c").contains("swbreak"));
    }
    assert_eq!(gdb.register(pc), start.into());
    assert_eq!(gdb.ask(&format!("z0,{start:x},4")), "OK");

    // Stepping, after the instructions that only Morello needs.
    for _ in 0..skip + 2 {
        assert_eq!(gdb.ask("s"), "S05");
    }
    let count = number::<G>(counter);
    assert_eq!(gdb.register(count), 2);
    assert_eq!(gdb.register(pc), u128::from(start + 4 * (skip + 2)));

    // A breakpoint before the store.
    let store = start + 4 * (skip + if skip == 0 { 5 } else { 4 });
    assert_eq!(gdb.ask(&format!("Z0,{store:x},4")), "OK");
    assert!(gdb.ask("c").contains("swbreak"));
    assert_eq!(gdb.register(pc), store.into());
    assert_eq!(gdb.ask(&format!("z0,{store:x},4")), "OK");

    // The capability that will be stored: its tag, in words, as it stands in memory.
    let capability = number::<G>(stored);
    let first = G::list()
        .iter()
        .position(|register| register.kind == machine::gdb::Kind::Capability);
    let tag = capability - first.expect("capabilities");
    assert_eq!(gdb.register(number::<G>("tags")) >> tag & 1, 1);
    let words = gdb.monitor(&format!("capability {stored}"));
    assert!(words.starts_with("0x0 [0x0-0x10000000000000000) "), "{words}");
    assert!(
        gdb.monitor("capability nothing")
            .contains("there is no register nothing")
    );
    assert!(
        gdb.monitor(&format!("granule {data:#x}")).contains("untagged"),
        "{}",
        gdb.monitor(&format!("granule {data:#x}"))
    );

    // A watchpoint sees the store; memory has the capability then.
    assert_eq!(gdb.ask(&format!("Z2,{data:x},10")), "OK");
    let seen = gdb.ask("c");
    assert!(seen.contains("watch") && seen.contains(&format!("{data:x}")), "{seen}");
    assert_eq!(gdb.monitor(&format!("granule {data:#x}")), words);
    assert_eq!(gdb.ask(&format!("z2,{data:x},10")), "OK");

    // A debugger can write integers and memory, and forge nothing.
    assert_eq!(gdb.ask(&format!("P{count:x}=2a00000000000000")), "OK");
    assert_eq!(gdb.register(count), 42);
    let bits = gdb.ask(&format!("p{capability:x}"));
    assert_eq!(gdb.ask(&format!("P{capability:x}={bits}")), "OK");
    assert_eq!(
        gdb.register(number::<G>("tags")) >> tag & 1,
        0,
        "written from outside: no tag"
    );
    assert_eq!(gdb.ask(&format!("M{data:x},1:00")), "OK");
    assert!(gdb.monitor(&format!("granule {data:#x}")).contains("untagged"));
    assert!(gdb.ask("m0,4").starts_with('E'), "no RAM there");

    // The program goes round for ever: Ctrl-C, then the debugger kills the run.
    write!(gdb.0, "$c#63").expect("the server reads");
    gdb.0.write_all(&[3]).expect("the server reads");
    assert!(gdb.next().starts_with("S02"));
    gdb.0.write_all(b"$k#6b").expect("the server reads");
}

#[test]
fn a_debugger_sees_the_capabilities_of_cheri_riscv() {
    let (_, stop) = under(riscv_board, |port| {
        session::<riscv::Board>(port, ["t0", "ct2"], (RISCV_START, RISCV_DATA), 0);
    });
    assert_eq!(stop, Ok(Stop::Quit));
}

#[test]
fn a_debugger_sees_the_capabilities_of_morello() {
    let (_, stop) = under(morello_board, |port| {
        session::<morello::Board>(port, ["x5", "c7"], (MORELLO_START, MORELLO_DATA), 3);
    });
    assert_eq!(stop, Ok(Stop::Quit));
}

#[test]
fn a_run_that_ends_tells_the_debugger_and_gives_its_status() {
    // sw zero, … : the device that ends the run with status 0.
    let off = [
        0x0010_02b7_u32, // lui t0, 0x100
        0x0000_5337,     // lui t1, 5
        0x5553_0313,     // addi t1, t1, 0x555
        0x0062_a023,     // sw t1, 0(t0)
        0x0000_006f,     // j .
    ];
    let build = move || riscv::Board::new(riscv::Config::new(kernel(&off))).expect("the board");
    let (answer, stop) = under(build, |port| Client::connect(port).ask("c"));
    assert_eq!(answer, "W00");
    assert_eq!(stop, Ok(Stop::Exit(0)));
}

#[test]
fn gdb_takes_the_description_and_prints_capabilities() {
    let gdb = Command::new("gdb-multiarch").arg("--version").output();
    if gdb.is_err() {
        println!("gdb-multiarch is not on PATH: left out");
        return;
    }
    let script = |port: u16, commands: &[&str]| {
        let target = format!("target remote localhost:{port}");
        let mut gdb = Command::new("gdb-multiarch");
        gdb.args(["-nx", "-batch", "-ex", &target]);
        for command in commands {
            gdb.args(["-ex", command]);
        }
        let output = gdb.args(["-ex", "kill"]).output().expect("gdb runs");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let commands = [
        "break *0x80000000",
        "continue",
        "stepi 6",
        "info registers ct2",
        "p/x $tags",
        "monitor capability ct2",
        "x/2gx 0x80100000",
    ];
    let (text, _) = under(riscv_board, |port| script(port, &commands));
    for line in [
        "ct2            0xffff000000000000",
        "= 0x2700000080",
        "0x0 [0x0-0x10000000000000000) ",
        "0x80100000:",
    ] {
        assert!(text.contains(line), "{line:?} is missing in\n{text}");
    }
    let commands = [
        "break *0x40080000",
        "stepi 8",
        "info registers c7",
        "monitor capability c7",
        "info registers pc",
    ];
    let (text, _) = under(morello_board, |port| script(port, &commands));
    for line in [
        "c7             0xffffc",
        "0x0 [0x0-0x10000000000000000) ",
        "pc             0x40080020",
    ] {
        assert!(text.contains(line), "{line:?} is missing in\n{text}");
    }
}
