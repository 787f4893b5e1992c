//! Registers that the monitor itself never uses: they belong to one cVM at a time all the same.

use abi::manifest::{FLOAT_NO, FLOAT_YES, RestartPolicy};
use abi::{Errno, Hostcall};
use tests::code::assembler::Assembler;
use tests::code::assembler::Register::{Argument, Scratch};
use tests::code::attack::Attacker;
use tests::{Platform, Scenario, cvm, on_every_platform};
use tools::Architecture;
use tools::manifest::{CvmSpec, Restart};

on_every_platform!(
    vector_registers_are_kept_and_never_seen_by_others,
    floating_point_registers_are_kept_and_never_seen_by_others,
    the_manifest_decides_who_has_floating_point_registers,
    a_gate_with_vector_clears_them_on_the_way_there_and_back,
    a_gate_without_vector_closes_them_to_both_sides,
    a_handler_begins_every_call_with_floating_point_registers_that_are_zero,
);

/// How often a program of the second test gives the processor away.
const ROUNDS: u32 = 20;

/// Finds all floating-point registers 0, fills them with numbers from this one on, and finds these there whenever it has
/// given the processor away. In its first life it faults then.
fn float_program(a: &mut Attacker, first: u64) {
    let (word, found) = (Scratch(0), Scratch(1));
    let numbers = [a.number(word), a.number(found)];
    let to_float = |register: u32| 0xf200_0053 | numbers[0] << 15 | register << 7; // FMV.D.X
    let from_float = |register: u32| 0xe200_0053 | register << 15 | numbers[1] << 7; // FMV.X.D
    let write_status = 0x0030_1073 | numbers[0] << 15; // CSRRW zero, fcsr
    let read_status = 0x0030_2073 | numbers[1] << 7; // CSRRS fcsr, zero
    for register in 0..32 {
        a.push(from_float(register));
        a.must_be_zero(found, 80);
    }
    a.push(read_status);
    a.must_be_zero(found, 81);
    a.constant(word, first);
    for register in 0..32 {
        a.push(to_float(register));
        a.add(word, word, 1);
    }
    a.constant(word, first & 0xff);
    a.push(write_status);
    let rounds = Scratch(6);
    a.set(rounds, ROUNDS);
    let start = a.here();
    a.hostcall(Hostcall::Yield);
    // The first instruction of floating point then: CHERI's QEMU 6 executes it also where that is closed.
    a.push(0x2200_0053); // FSGNJ.D f0, f0, f0
    a.constant(word, first);
    for register in 0..32 {
        a.push(from_float(register));
        a.must_be_equal(found, word, 82);
        a.add(word, word, 1);
    }
    a.push(read_status);
    a.constant(word, first & 0xff);
    a.must_be_equal(found, word, 83);
    a.count_down(rounds, start);
}

fn floating_point_registers_are_kept_and_never_seen_by_others(platform: Platform) {
    if platform.arch() == Architecture::Morello {
        return;
    }
    let restarted = CvmSpec {
        restart: Restart {
            policy: RestartPolicy::OnFault,
            limit: 1,
            delay: 0,
        },
        ..cvm("three", "three", &[])
    };
    let cvms = [
        cvm("one", "one", &[]),
        cvm("two", "two", &[]),
        restarted,
        cvm("none", "none", &[]),
    ];
    let program = |first: u64, flags: u32, faults: bool| {
        let mut a = Attacker::new(platform);
        float_program(&mut a, first);
        if faults {
            a.illegal();
        }
        a.exit(0);
        let mut elf = a.elf();
        elf.flags |= flags;
        elf.to_bytes()
    };
    /// EF_RISCV_FLOAT_ABI_DOUBLE.
    const DOUBLE: u32 = 4;
    let outcome = Scenario::new(cvms)
        .member("one", program(0x4000_0000_1234_5600, DOUBLE, false))
        .member("two", program(0xbff0_0000_0000_0042, DOUBLE, false))
        .member("three", program(0x7ff8_dead_beef_0011, DOUBLE, true))
        .member("none", program(1, 0, false))
        .boot(platform);
    for (name, state, restarts) in [
        ("one", "exited 0", 0),
        ("two", "exited 0", 0),
        // What its first life has left is not there in its second.
        ("three", "killed: illegal instruction", 1),
        ("none", "killed: illegal instruction", 0),
    ] {
        let row = outcome.row(name);
        assert_eq!(
            (row.state.as_str(), row.restarts),
            (state, restarts),
            "{name}: {outcome}"
        );
    }
}

fn the_manifest_decides_who_has_floating_point_registers(platform: Platform) {
    const DOUBLE: u32 = 4;
    let says = |name: &str, float: u32| CvmSpec {
        float,
        ..cvm(name, name, &["1"])
    };
    let killed = "killed: illegal instruction";
    if platform.arch() == Architecture::Morello {
        let cvms = [
            CvmSpec {
                runtime: "vectors".into(),
                ..says("none", FLOAT_NO)
            },
            CvmSpec {
                runtime: "vectors".into(),
                ..says("some", FLOAT_YES)
            },
        ];
        let outcome = Scenario::new(cvms).boot(platform);
        assert_eq!(outcome.row("none").state, killed, "{outcome}");
        assert_eq!(outcome.row("some").state, "exited 0", "{outcome}");
        return;
    }
    let program = |flags: u32| {
        let mut a = Attacker::new(platform);
        float_program(&mut a, 0x4000_0000_1234_5600);
        a.exit(0);
        let mut elf = a.elf();
        elf.flags |= flags;
        elf.to_bytes()
    };
    let cvms = [
        says("soft", FLOAT_YES),
        says("hard", FLOAT_NO),
        says("plain", 0),
        says("double", 0),
    ];
    let outcome = Scenario::new(cvms)
        .member("soft", program(0))
        .member("hard", program(DOUBLE))
        .member("plain", program(0))
        .member("double", program(DOUBLE))
        .boot(platform);
    for (name, state) in [
        ("soft", "exited 0"),
        ("hard", killed),
        ("plain", killed),
        ("double", "exited 0"),
    ] {
        assert_eq!(outcome.row(name).state, state, "{name}: {outcome}");
    }
}

/// Every 64 bits of the floating-point registers, and the status: the instructions that read one into a general register, and
/// that write one from it.
fn float_words(a: &Assembler, register: u32) -> Vec<[u32; 2]> {
    if a.is_riscv() {
        // FMV.X.D, FMV.D.X; CSRRS and CSRRW of fcsr.
        let registers = (0..32).map(|float| [0xe200_0053 | float << 15, 0xf200_0053 | float << 7]);
        let words = registers.chain([[0x0030_2073, 0x0030_1073]]);
        return words
            .map(|[read, write]| [read | register << 7, write | register << 15])
            .collect();
    }
    // UMOV and INS of both halves; MRS and MSR of FPSR and FPCR.
    let halves = (0..64).map(|half| (half >> 1, 0x4e08_0000 | (half & 1) << 20));
    let registers = halves.map(|(float, half)| {
        [
            half | 0x3c00 | float << 5 | register,
            half | 0x1c00 | register << 5 | float,
        ]
    });
    let statuses = [[0xd53b_4420, 0xd51b_4420], [0xd53b_4400, 0xd51b_4400]];
    let statuses = statuses.map(|[read, write]| [read | register, write | register]);
    registers.chain(statuses).collect()
}

/// What a status register is filled with, if this reads one: a bit that stays as it is written.
fn status(a: &Assembler, read: u32) -> Option<u64> {
    match (a.is_riscv(), read & !31) {
        (true, _) => (read & 0x7f == 0x73).then_some(1),
        (false, 0xd53b_4420) => Some(1),
        (false, 0xd53b_4400) => Some(1 << 22),
        _ => None,
    }
}

/// The floating-point registers hold numbers from this one on, or else it exits with the code; without a number they are 0.
fn float_holds(a: &mut Assembler, first: Option<u64>, code: u32) {
    let (wanted, found, wrong) = (Scratch(0), Scratch(1), Scratch(2));
    a.constant(wanted, first.unwrap_or_default()).set(wrong, 0);
    for [read, _] in float_words(a, a.number(found)) {
        a.push(read);
        if first.is_some() {
            if let Some(status) = status(a, read) {
                a.constant(wanted, status);
            }
            a.subtract_register(found, wanted).add(wanted, wanted, 1);
        }
        a.or(wrong, found);
    }
    a.must_be_zero(wrong, code);
}

/// Fills them.
fn fill_float(a: &mut Assembler, first: u64) {
    let word = Scratch(0);
    a.constant(word, first);
    for [read, write] in float_words(a, a.number(word)) {
        if let Some(status) = status(a, read) {
            a.constant(word, status);
        }
        a.push(write).add(word, word, 1);
    }
}

fn a_handler_begins_every_call_with_floating_point_registers_that_are_zero(platform: Platform) {
    const MAIN: u64 = 0x4000_0000_1234_5600;
    let mut server = Attacker::new(platform);
    fill_float(&mut server, MAIN);
    server.hostcall(Hostcall::Serve);
    float_holds(&mut server, Some(MAIN), 80);
    server.exit(0);
    server.handler();
    float_holds(&mut server, None, 81);
    fill_float(&mut server, 0x7ff8_dead_beef_0011);
    server.hostcall(Hostcall::Yield).reply(7);
    let client = |first: u64| {
        let mut a = Attacker::new(platform);
        fill_float(&mut a, first);
        for _ in 0..3 {
            a.hostcall(Hostcall::Null);
            a.add(Argument(0), Argument(0), -7).must_be_zero(Argument(0), 82);
        }
        float_holds(&mut a, Some(first), 83);
        a.exit(0);
        a
    };
    let bytes = |a: Attacker| {
        let mut elf = a.elf();
        elf.flags |= if platform.arch() == Architecture::Morello { 0 } else { 4 };
        elf.to_bytes()
    };
    let served = |name: &str| CvmSpec {
        callback_out: "server".to_owned(),
        ..cvm(name, name, &[])
    };
    let outcome = Scenario::new([cvm("server", "server", &[]), served("one"), served("two")])
        .member("server", bytes(server))
        .member("one", bytes(client(0xbff0_0000_0000_0042)))
        .member("two", bytes(client(0x3ff0_0000_0000_0077)))
        .boot(platform);
    for name in ["server", "one", "two"] {
        assert_eq!(outcome.row(name).state, "exited 0", "{name}: {outcome}");
    }
}

fn vector_registers_are_kept_and_never_seen_by_others(platform: Platform) {
    let restarted = CvmSpec {
        restart: Restart {
            policy: RestartPolicy::OnFault,
            limit: 1,
            delay: 0,
        },
        ..cvm("three", "vectors", &["3", "--fault-once"])
    };
    let cvms = [cvm("one", "vectors", &["1"]), cvm("two", "vectors", &["2"]), restarted];
    let outcome = Scenario::new(cvms).boot(platform);
    outcome.assert_status(0);
    let (expected, restarts) = match platform.arch() {
        Architecture::CheriRiscv => ("no vector registers", 0),
        Architecture::Morello => ("kept them through 100 rounds", 1),
    };
    for name in ["one", "two", "three"] {
        assert_eq!(outcome.of(name), [expected], "{outcome}");
    }
    assert_eq!(outcome.row("three").restarts, restarts, "{outcome}");
}

/// All vector registers, all of their bits, and the words that say how they are used, begin with numbers from this one on.
fn fill_vectors(a: &mut Attacker, first: u64) {
    let word = Scratch(0);
    let number = a.number(word);
    a.constant(word, first);
    for register in 0..32 {
        if a.is_riscv() {
            a.push(0xf200_0053 | number << 15 | register << 7); // FMV.D.X
            a.add(word, word, 1);
            continue;
        }
        a.push(0x9e67_0000 | number << 5 | register); // FMOV Dn
        a.add(word, word, 1);
        a.push(0x9eaf_0000 | number << 5 | register); // FMOV Vn.D[1]
        a.add(word, word, 1);
    }
    for (write, _, value) in vector_words(a) {
        a.constant(word, value);
        a.push(write);
    }
}

/// How those words are written from the one scratch register and read to the other, and a value that they can have: how results
/// are rounded, and what has been inexact.
fn vector_words(a: &Attacker) -> Vec<(u32, u32, u64)> {
    let [word, found] = [Scratch(0), Scratch(1)].map(|register| a.number(register));
    if a.is_riscv() {
        return vec![(0x0030_1073 | word << 15, 0x0030_2073 | found << 7, 0x5f)]; // fcsr
    }
    vec![
        (0xd51b_4400 | word, 0xd53b_4400 | found, 0xc0_0000), // FPCR
        (0xd51b_4420 | word, 0xd53b_4420 | found, 0x1f),      // FPSR
    ]
}

/// Exits with `code` unless the vector registers are those that [`fill_vectors`] has made, or all 0.
fn must_be_vectors(a: &mut Attacker, first: Option<u64>, code: u32) {
    let (word, found) = (Scratch(0), Scratch(1));
    let number = a.number(found);
    let reads: Vec<u32> = if a.is_riscv() {
        (0..32)
            .map(|register| 0xe200_0053 | register << 15 | number << 7)
            .collect() // FMV.X.D
    } else {
        (0..64)
            .map(|half| (if half % 2 == 0 { 0x9e66_0000 } else { 0x9eae_0000 }) | (half / 2) << 5 | number)
            .collect() // FMOV from Dn, from Vn.D[1]
    };
    let differs = Scratch(2);
    let must_be_the_same = |a: &mut Attacker, read: u32| {
        a.push(read);
        a.subtract_register(found, word).or(differs, found);
    };
    a.constant(word, first.unwrap_or(0)).set(differs, 0);
    for read in reads {
        must_be_the_same(a, read);
        a.add(word, word, i64::from(first.is_some()));
    }
    a.must_be_zero(differs, code);
    for (_, read, value) in vector_words(a) {
        a.constant(word, if first.is_some() { value } else { 0 });
        must_be_the_same(a, read);
    }
    a.must_be_zero(differs, code + 1);
}

/// A server whose gate's function computes with them, and then does as its argument says: 0 = return, 1 = fault, else compute for
/// ever.
fn vector_server(platform: Platform) -> Vec<u8> {
    const SECRET: u64 = 0x7000_5ec2_e700_0000;
    let mut a = Attacker::new(platform);
    a.hostcall(Hostcall::Serve).exit(0);
    a.gate("work");
    a.add(Scratch(6), Argument(0), 0);
    must_be_vectors(&mut a, None, 90);
    fill_vectors(&mut a, SECRET);
    // The thread keeps them whenever it has trapped, whomever it acts for.
    a.hostcall(Hostcall::Yield);
    must_be_vectors(&mut a, Some(SECRET), 92);
    a.add(Scratch(6), Scratch(6), -1);
    a.branch_not_zero(Scratch(6), 8).illegal();
    a.add(Scratch(6), Scratch(6), 1);
    a.branch_not_zero(Scratch(6), 0);
    a.return_from_gate();
    a.elf().to_bytes()
}

fn a_gate_with_vector_clears_them_on_the_way_there_and_back(platform: Platform) {
    const OWN: u64 = 0x4000_0000_0bad_5eed;
    let calls = [
        (0, 0),
        (0, 0),
        (2, Errno::ETIMEDOUT as u64),
        (0, 0),
        (1, Errno::ECONNRESET as u64),
    ];
    let mut a = Attacker::new(platform);
    a.data = calls
        .iter()
        .flat_map(|call| [call.0, call.1])
        .flat_map(u64::to_le_bytes)
        .collect();
    a.ask("server.work");
    let (next, left) = (Scratch(6), Scratch(5));
    a.data_address(next).set(left, calls.len() as u32);
    let start = a.here();
    fill_vectors(&mut a, OWN);
    a.hostcall(Hostcall::Yield);
    must_be_vectors(&mut a, Some(OWN), 80);
    a.load(Argument(0), next, 0).call_gate();
    a.load(Scratch(0), next, 8).add_register(Argument(0), Scratch(0));
    a.must_be_zero(Argument(0), 82);
    must_be_vectors(&mut a, None, 84);
    a.add(next, next, 16);
    a.count_down(left, start);
    a.exit(0);
    let cvms = [
        CvmSpec {
            gates: vec!["work 4096 1 vector".into()],
            ..cvm("server", "server", &[])
        },
        CvmSpec {
            calls: vec!["server.work".into()],
            call_budget: 20_000_000,
            ..cvm("client", "client", &[])
        },
    ];
    let outcome = Scenario::new(cvms)
        .member("server", vector_server(platform))
        .member("client", a.elf().to_bytes())
        .boot(platform);
    assert_eq!(outcome.row("client").state, "exited 0", "{outcome}");
    assert_eq!(outcome.row("server").state, "killed: illegal instruction", "{outcome}");
}

fn a_gate_without_vector_closes_them_to_both_sides(platform: Platform) {
    let program = |uses: bool, server: bool| {
        let mut a = Attacker::new(platform);
        if server {
            a.hostcall(Hostcall::Serve).exit(0);
            a.gate("work");
        } else {
            a.ask("server.work");
        }
        if uses {
            fill_vectors(&mut a, 1);
        }
        if server {
            a.return_from_gate();
        } else {
            a.set(Argument(0), 0).call_gate().exit(0);
        }
        a.elf().to_bytes()
    };
    for (who, server_uses) in [("server", true), ("client", false)] {
        let cvms = [
            CvmSpec {
                gates: vec!["work 4096 1".into()],
                ..cvm("server", "server", &[])
            },
            CvmSpec {
                calls: vec!["server.work".into()],
                ..cvm("client", "client", &[])
            },
        ];
        let outcome = Scenario::new(cvms)
            .member("server", program(server_uses, true))
            .member("client", program(!server_uses, false))
            .boot(platform);
        assert_eq!(outcome.row(who).state, "killed: illegal instruction", "{outcome}");
        let other = if server_uses { "client" } else { "server" };
        assert_eq!(outcome.row(other).state, "exited 0", "{outcome}");
    }
}
