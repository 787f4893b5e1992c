//! The cVMs of a set-up, in machine code. The neighbours of the fuzzed cVM write nothing after their first sleep, so that
//! whatever changes in their memory was changed by somebody else.

use std::collections::HashSet;

use abi::Hostcall;
use abi::hostcall::HANDLER;
use tools::Architecture;
use tools::elf::synthesis::Elf;

use super::case::{back, hostcall};
use super::random::Random;

/// Words that a neighbour keeps secret: in its memory, in its registers, and on Morello in vector registers.
const SECRETS: usize = 10;
/// What the watcher says when a secret is not what it was.
pub(super) const ALARM: &[u8] = b"alarm\n";
/// Offsets in a neighbour's data.
const CAPABILITY: u32 = 512;
const MESSAGE: u32 = 1024;
/// The buffer that a client lends.
const BUFFER: u32 = 1536;
const BUFFER_SIZE: u32 = 64;
/// Instruction at which the handler of a serving subject is.
pub(super) const HANDLER_AT: usize = 16;
/// Pages of data of the fuzzed cVM.
pub(super) const DATA_PAGES: u64 = 4;

/// The second value of what the server answers.
pub(super) const SECOND_VALUE: u32 = 7;

/// The register of a hostcall's second value.
pub(super) fn second_value(arch: Architecture) -> u8 {
    match arch {
        Architecture::CheriRiscv => 11,
        Architecture::Morello => 1,
    }
}

/// The register in which a handler finds the capability over its stack.
pub(super) fn service_stack(arch: Architecture) -> u8 {
    match arch {
        Architecture::CheriRiscv => 5,
        Architecture::Morello => 9,
    }
}

/// A neighbour of the fuzzed cVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Neighbour {
    /// Sleeps for ever.
    Victim,
    /// Serves hostcalls: answers those with an even number, and delegates the others. What it is lent it keeps on its service
    /// stack.
    Server,
    /// Has its hostcalls served by the fuzzed cVM, and asks it again and again to fill a buffer.
    Client,
    /// Lies within the fuzzed cVM and keeps what that hands to it.
    Accomplice,
    /// Grants a buffer to the fuzzed cVM and takes it back, again and again.
    Owner,
    /// Has a gate that the fuzzed cVM calls.
    Callee,
    /// Calls a gate of the fuzzed cVM again and again.
    Caller,
    /// Waits for a word of a buffer that it shares with the fuzzed cVM, and wakes who waits for that.
    Peer,
    /// Wakes every 33 microseconds, looks whether its registers and its memory still agree, and cries out when they do not.
    Watcher,
}

/// From the start of a client's data to the buffer that it lends, and its size.
pub(super) const LENT: (u64, u64) = (BUFFER as u64, BUFFER_SIZE as u64);

impl Neighbour {
    /// The hostcall that it makes again and again.
    fn call(self) -> Hostcall {
        match self {
            Neighbour::Victim | Neighbour::Watcher => Hostcall::Nanosleep,
            Neighbour::Server => Hostcall::Serve,
            Neighbour::Client => Hostcall::Read,
            // Their programs are made elsewhere.
            Neighbour::Accomplice | Neighbour::Owner | Neighbour::Callee | Neighbour::Caller | Neighbour::Peer => {
                Hostcall::Null
            }
        }
    }

    pub(super) fn secrets(self) -> [u64; SECRETS] {
        let mut random = Random::new(&[0x5ec2_e700, self as u64]);
        std::array::from_fn(|_| random.next())
    }
}

/// Every secret of all neighbours.
pub(super) fn secrets() -> HashSet<u64> {
    [
        Neighbour::Victim,
        Neighbour::Watcher,
        Neighbour::Server,
        Neighbour::Client,
        Neighbour::Owner,
        Neighbour::Callee,
        Neighbour::Caller,
        Neighbour::Peer,
    ]
    .into_iter()
    .flat_map(Neighbour::secrets)
    .collect()
}

/// The program of a neighbour.
pub(super) fn neighbour(arch: Architecture, which: Neighbour) -> Vec<u8> {
    let mut words = match arch {
        Architecture::CheriRiscv => riscv(which),
        Architecture::Morello => morello(which),
    };
    let handler = words.len();
    if which == Neighbour::Server {
        words.extend(match arch {
            Architecture::CheriRiscv => riscv_handler().to_vec(),
            Architecture::Morello => morello_handler().to_vec(),
        });
    }
    let mut data: Vec<u8> = which.secrets().iter().flat_map(|word| word.to_le_bytes()).collect();
    data.resize(MESSAGE as usize, 0);
    data.extend(ALARM);
    let mut elf = program(arch, &words);
    elf.loads[1].data = data;
    if which == Neighbour::Server {
        let address = elf.entry + 4 * handler as u64;
        elf.functions
            .push((address, 4 * (words.len() - handler) as u64, HANDLER.to_owned()));
    }
    elf.to_bytes()
}

/// The cVM whose text the fuzzer replaces. What it has of its own spins at the start, and comes back to the start from
/// everywhere else: so does a program that leaves its end behind.
pub(super) fn subject(arch: Architecture, purecap: bool, serving: bool) -> Vec<u8> {
    let start = if serving { HANDLER_AT } else { 0 };
    let mut words: Vec<u32> = (0..1024).map(|index| back(arch, index - start as i32)).collect();
    if serving {
        words[..2].copy_from_slice(&hostcall(arch, Hostcall::Serve as u32));
    }
    let mut elf = program(arch, &words);
    if serving {
        let handler = elf.entry + 4 * HANDLER_AT as u64;
        elf.functions
            .push((handler, 4 * (words.len() - HANDLER_AT) as u64, HANDLER.to_owned()));
    }
    if purecap {
        elf.flags = match arch {
            Architecture::CheriRiscv => 0x3_0000, // EF_RISCV_CHERIABI, EF_RISCV_CAP_MODE
            Architecture::Morello => 0x1_0000,    // EF_AARCH64_CHERI_PURECAP
        };
        if arch == Architecture::Morello {
            elf.entry |= 1;
        }
    }
    elf.loads[1].memory_size = DATA_PAGES * 4096;
    elf.to_bytes()
}

pub(super) fn program(arch: Architecture, words: &[u32]) -> Elf {
    let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    Elf::program(arch, &code)
}

fn riscv(which: Neighbour) -> Vec<u32> {
    const DATA: u32 = 5;
    let secret = |index: usize| 18 + index as u32;
    let immediate = |funct3: u32, opcode: u32, rd: u32, rs1: u32, value: u32| {
        value << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
    };
    let addi = |rd, rs1, value| immediate(0, 0x13, rd, rs1, value);
    let load = |rd, offset| immediate(3, 0x03, rd, DATA, offset);
    let call = |number: Hostcall| [addi(17, 0, number as u32), 0x0000_0073];
    let jump = |from: usize, to: usize| {
        let distance = (4 * (to as i32 - from as i32)) as u32;
        (distance >> 20 & 1) << 31
            | (distance >> 1 & 0x3ff) << 21
            | (distance >> 11 & 1) << 20
            | (distance >> 12 & 0xff) << 12
            | 0x6f
    };
    let mut code = vec![1 << 12 | DATA << 7 | 0x17]; // AUIPC
    code.extend((0..SECRETS).map(|index| load(secret(index), index as u32 * 8)));
    code.push(1 << 25 | 1 << 20 | 28 << 7 | 0x5b); // CSpecialRW c28, DDC
    code.push((CAPABILITY >> 5) << 25 | 28 << 20 | DATA << 15 | 4 << 12 | 0x23); // SC
    let start = code.len();
    match which {
        Neighbour::Client => code.extend([
            addi(10, 0, 0),
            addi(11, DATA, BUFFER),
            addi(12, 0, BUFFER_SIZE),
            addi(13, 0, 0),
        ]),
        Neighbour::Victim => code.extend([addi(10, 0, 0xfff), immediate(5, 0x13, 10, 10, 1)]), // SRLI
        Neighbour::Watcher => code.push(8 << 12 | 10 << 7 | 0x37),                             // LUI
        _ => {}
    }
    code.extend(call(which.call()));
    if which == Neighbour::Watcher {
        code.push(addi(6, 0, 0));
        for index in 0..SECRETS {
            code.push(load(7, index as u32 * 8));
            code.push(secret(index) << 20 | 7 << 15 | 4 << 12 | 7 << 7 | 0x33); // XOR
            code.push(7 << 20 | 6 << 15 | 6 << 12 | 6 << 7 | 0x33); // OR
        }
        code.push(6 << 15 | 1 << 12 | 8 << 7 | 0x63); // BNE x6, zero, 8
        code.push(jump(code.len(), start));
        code.extend([addi(10, 0, 1), addi(11, DATA, MESSAGE), addi(12, 0, ALARM.len() as u32)]);
        code.extend(call(Hostcall::Write));
    }
    if which == Neighbour::Client {
        // Runs for a while: then there is no call under way.
        code.push(addi(29, 0, 2047));
        code.extend([addi(29, 29, 0xfff), 0xfe0e_9ee3]); // BNE x29, zero, -4
    }
    code.push(jump(code.len(), start));
    code
}

fn morello(which: Neighbour) -> Vec<u32> {
    const DATA: u32 = 9;
    const FIRST_VECTOR: u32 = 8;
    let secret = |index: usize| 19 + index as u32;
    let set = |rd: u32, value: u32| 0xd280_0000 | value << 5 | rd; // MOVZ
    let load = |rt: u32, index: usize| 0xf940_0000 | (index as u32) << 10 | DATA << 5 | rt; // LDR
    let call = |number: Hostcall| [set(8, number as u32), 0xd400_0001];
    let distance = |from: usize, to: usize| (to as i32 - from as i32) as u32;
    let jump = |from, to| 0x1400_0000 | distance(from, to) & 0x3ff_ffff; // B
    let compare = |with: u32| {
        [
            0xca00_0000 | with << 16 | 12 << 5 | 12, // EOR
            0xaa00_0000 | 12 << 16 | 10 << 5 | 10,   // ORR
        ]
    };
    let mut code = vec![0x1000_0000 | 0x400 << 5 | DATA]; // ADR
    code.extend((0..SECRETS).map(|index| load(secret(index), index)));
    code.extend((0..SECRETS as u32 / 2).map(|index| 0x3dc0_0000 | index << 10 | DATA << 5 | (FIRST_VECTOR + index))); // LDR q
    code.push(0xc29b_4120 | 11); // MRS c11, DDC
    code.push(0xc200_0000 | (CAPABILITY / 16) << 10 | DATA << 5 | 11); // STR
    let start = code.len();
    match which {
        Neighbour::Client => code.extend([
            set(0, 0),
            0x9100_0000 | BUFFER << 10 | DATA << 5 | 1,
            set(2, BUFFER_SIZE),
            set(3, 0),
        ]),
        Neighbour::Victim => code.push(0x92e0_0000 | 0x8000 << 5), // MOVN x0, #0x8000, LSL #48
        Neighbour::Watcher => code.push(set(0, 0x8000)),
        _ => {}
    }
    code.extend(call(which.call()));
    if which == Neighbour::Watcher {
        code.push(set(10, 0));
        for index in 0..SECRETS {
            code.push(load(12, index));
            code.extend(compare(secret(index)));
        }
        for index in 0..SECRETS as u32 / 2 {
            code.push(0x4e08_3c00 | (FIRST_VECTOR + index) << 5 | 12); // UMOV x12, v.d[0]
            code.extend(compare(secret(2 * index as usize)));
        }
        code.push(0xb400_0000 | (distance(code.len(), start) & 0x7_ffff) << 5 | 10); // CBZ
        code.extend([
            set(0, 1),
            0x9100_0000 | MESSAGE << 10 | DATA << 5 | 1,
            set(2, ALARM.len() as u32),
        ]);
        code.extend(call(Hostcall::Write));
    }
    if which == Neighbour::Client {
        // Runs for a while: then there is no call under way.
        code.extend([
            set(13, 2047),
            0xd100_0400 | 13 << 5 | 13,
            0xb500_0000 | 0x7_ffff << 5 | 13,
        ]); // SUB, CBNZ
    }
    code.push(jump(code.len(), start));
    code
}

/// What a server does with a call. At its entry c5 is the capability over its service stack.
fn riscv_handler() -> [u32; 11] {
    let addi = |rd: u32, rs1: u32, value: u32| value << 20 | rs1 << 15 | rd << 7 | 0x13;
    [
        0xfc0 << 20 | 5 << 15 | 1 << 12 | 5 << 7 | 0x5b, // CIncOffsetImm c5, c5, -64
        0x7c << 25 | 11 << 20 | 5 << 15 | 12 << 7 | 0x5b, // SC.CAP c11, (c5)
        1 << 20 | 17 << 15 | 7 << 12 | 6 << 7 | 0x13,    // ANDI x6, a7, 1
        6 << 15 | 1 << 12 | (24 >> 1) << 8 | 0x63,       // BNE x6, zero, 24
        addi(10, 17, 0),
        addi(11, 0, SECOND_VALUE),
        addi(12, 0, 1),
        addi(17, 0, Hostcall::Reply as u32),
        0x0000_0073,
        addi(17, 0, Hostcall::Delegate as u32),
        0x0000_0073,
    ]
}

/// What a server does with a call. At its entry c9 is the capability over its service stack.
fn morello_handler() -> [u32; 10] {
    let set = |rd: u32, value: u32| 0xd280_0000 | value << 5 | rd; // MOVZ
    [
        0x0280_0000 | 64 << 10 | 9 << 5 | 9, // SUB c9, c9, #64
        0x8240_0000 | 9 << 5 | 1,            // STR c1, [c9], alternate base
        0x3700_0000 | 6 << 5 | 8,            // TBNZ x8, #0, . + 24
        0xaa08_03e0,                         // MOV x0, x8
        set(1, SECOND_VALUE),
        set(2, 1),
        set(8, Hostcall::Reply as u32),
        0xd400_0001,
        set(8, Hostcall::Delegate as u32),
        0xd400_0001,
    ]
}
