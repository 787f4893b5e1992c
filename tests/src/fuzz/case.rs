//! One program with everything that it starts from.

use tools::Architecture;

use super::board::{Raw, integer};
use super::random::Random;
use super::seeds::{Snippets, Sources};
use super::{morello, riscv};

/// Longest program in instructions.
const LONGEST: u64 = 72;
/// Granules of data that a program finds.
const GRANULES: u64 = 24;
/// Number of hostcalls, and some more that do not exist.
pub(super) const CALLS: u64 = 18;
/// Percentage of a program that shares something with others that is about that.
const SNIPPETS: u64 = 8;
/// The watcher wakes after this many nanoseconds; an interrupt comes somewhere in the program when time passes by up to that.
const PERIOD: u64 = 33_000;

/// In which mode the program starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As it is entered: hybrid or purecap.
    Entered,
    /// Capability mode, C64.
    Capability,
}

/// A program and what it starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Mode at the first instruction.
    pub mode: Mode,
    /// The program, executed from its first word, round and round.
    pub words: Vec<u32>,
    /// General registers and what is put into them.
    pub registers: Vec<(u8, Raw)>,
    /// Granules of the cVM's memory and what is put into them.
    pub memory: Vec<(u64, Raw)>,
    /// Nanoseconds that pass before the first instruction, so that the timer fires in the middle.
    pub passed: u64,
    /// Whether the monitor deals with a fault to the end, before anybody looks.
    pub handled: bool,
    /// Goes on when the program faults, into the next life of the cVM.
    pub restarts: bool,
}

impl Case {
    /// The case that belongs to this stream of random numbers.
    pub(super) fn random(sources: &Sources, random: &mut Random) -> Case {
        let mode = if random.chance(50) {
            Mode::Entered
        } else {
            Mode::Capability
        };
        let length = 4 + random.below(LONGEST - 4);
        let mut words = Vec::new();
        if mode == Mode::Capability && sources.arch == Architecture::Morello {
            words.push(morello::SWITCH);
        }
        while (words.len() as u64) < length {
            if sources.snippets != Snippets::None && random.chance(SNIPPETS) {
                words.extend(sources.snippets.random(sources.arch, random));
            } else if random.chance(4) {
                words.extend(hostcall(sources.arch, random.below(sources.calls) as u32));
            } else {
                words.push(instruction(sources.arch, random));
            }
        }
        let jump = back(sources.arch, words.len() as i32);
        words.push(jump);
        let (numbers, call) = match sources.arch {
            Architecture::CheriRiscv => (1..32u8, riscv::NUMBER),
            Architecture::Morello => (0..31u8, morello::NUMBER),
        };
        let kept = sources.snippets.kept(sources.arch);
        let numbers = numbers.filter(|number| !kept.contains(number) || random.chance(20));
        let numbers: Vec<u8> = numbers.collect();
        let registers = numbers.into_iter().map(|number| {
            let value = if number == call && random.chance(90) {
                integer(sources.arch, random.below(sources.calls))
            } else {
                sources.value(random)
            };
            (number, value)
        });
        let registers = registers.collect();
        let memory = (0..GRANULES).map(|_| {
            let place = (random.pick(&sources.own) + 16 * random.below(16)) & !15;
            (place, sources.value(random))
        });
        let (first, length) = sources.text;
        let memory = memory
            .filter(|(place, _)| !(first..first + length).contains(place))
            .collect();
        Case {
            mode,
            words,
            registers,
            memory,
            passed: if random.chance(30) { random.below(PERIOD) } else { 0 },
            handled: true,
            restarts: random.chance(1),
        }
    }
}

impl Case {
    /// A single hostcall.
    pub(super) fn call(arch: Architecture) -> Case {
        Case {
            mode: Mode::Entered,
            words: hostcall(arch, 0).to_vec(),
            registers: Vec::new(),
            memory: Vec::new(),
            passed: 0,
            handled: true,
            restarts: false,
        }
    }
}

/// The jump from word `from` to the first one.
pub(super) fn back(arch: Architecture, from: i32) -> u32 {
    let distance = from * -4;
    match arch {
        Architecture::CheriRiscv => riscv::jump(0, distance),
        Architecture::Morello => morello::jump(distance),
    }
}

/// One random instruction.
pub(super) fn instruction(arch: Architecture, random: &mut Random) -> u32 {
    match arch {
        Architecture::CheriRiscv => riscv::instruction(random),
        Architecture::Morello => morello::instruction(random),
    }
}

/// A hostcall of this number, with arguments as they are.
pub(super) fn hostcall(arch: Architecture, number: u32) -> [u32; 2] {
    match arch {
        Architecture::CheriRiscv => [number << 20 | u32::from(riscv::NUMBER) << 7 | 0x13, riscv::CALL],
        Architecture::Morello => [0xd280_0000 | number << 5 | u32::from(morello::NUMBER), morello::CALL],
    }
}

/// The registers of a hostcall's number and of its result.
pub(super) fn hostcall_registers(arch: Architecture) -> (u8, u8) {
    match arch {
        Architecture::CheriRiscv => (riscv::NUMBER, 10),
        Architecture::Morello => (morello::NUMBER, 0),
    }
}

/// The instruction that does nothing.
pub(super) fn nop(arch: Architecture) -> u32 {
    match arch {
        Architecture::CheriRiscv => riscv::NOP,
        Architecture::Morello => morello::NOP,
    }
}
