//! A fuzzed cVM with threads: random programs make, end and rank them, wait for words of its own memory and of a buffer that a
//! neighbour waits for, too, and wake who waits. One of its threads sleeps until it is woken, and executes the program then; one
//! asks the monitor for this and that all the time; the place of a third one is free.

use abi::Hostcall::{
    BufferCreate, BufferGrant, Nanosleep, ThreadCreate, ThreadEnd, ThreadExit, ThreadPriority, ThreadSelf, Wait, Wake,
    Yield,
};
use abi::hostcall::{BUFFER_READ, BUFFER_WRITE, WAIT_FOREVER};
use tools::Architecture;
use tools::manifest::CvmSpec;

use super::programs::Neighbour;
use super::random::Random;
use super::shared::{self, SHARED, SHARED_BUFFER};
use crate::code::assembler::Assembler;
use crate::code::assembler::Register::{self, Argument, Number, Scratch};
use crate::code::attack::Attacker;
use crate::platform::Platform;

/// Threads beside the first one.
const WORKERS: usize = 3;
/// The word that the first of them waits for, and one for whoever wants, in the data of the fuzzed cVM.
const WORD_AT: i64 = 1664;
/// Bytes of the buffer, and those from one of its words to the next that somebody waits for.
const SIZE: u64 = 64;
/// Nanoseconds that neighbour and workers wait for a word.
const PATIENCE: u64 = 15_000;

/// What programs find in registers: the address of the word, and of code that ends its thread and that begins the program.
const WORD: Register = Scratch(4);
const ENDS: Register = Scratch(5);
const BEGINS: Register = Scratch(6);

/// The manifest entries of the fuzzed cVM and of the neighbour with the buffer.
pub(super) fn spec(which: Option<Neighbour>, spec: CvmSpec) -> CvmSpec {
    match which {
        Some(Neighbour::Peer) => CvmSpec {
            buffer_quota: 0x1000,
            ..spec
        },
        Some(_) => spec,
        None => CvmSpec {
            threads: 1 + WORKERS as u32,
            ..spec
        },
    }
}

/// The way to a random program: instructions, and at which offset in them the workers and the program begin.
pub(super) struct Prelude {
    pub(super) code: Attacker,
    pub(super) workers: [i64; WORKERS],
    pub(super) start: i64,
}

pub(super) fn prelude(platform: Platform) -> Prelude {
    // Where everything is does not depend on where everything is.
    let mut known = ([0; WORKERS], 0);
    loop {
        let made = laid_out(platform, known);
        if (made.workers, made.start) == known {
            return made;
        }
        known = (made.workers, made.start);
    }
}

fn laid_out(platform: Platform, (workers, start): ([i64; WORKERS], i64)) -> Prelude {
    let mut a = Attacker::new(platform);
    let ready = |a: &mut Attacker| {
        shared::map(a, SHARED_BUFFER, |a| {
            a.set(Argument(0), SHARED);
        });
        a.data_address(WORD).add(WORD, WORD, WORD_AT);
        a.code_address(ENDS, workers[2]).code_address(BEGINS, start);
    };
    let to_start = |a: &mut Attacker| {
        let distance = start - a.here();
        a.jump(distance);
    };
    for (place, worker) in (1..).zip(workers) {
        a.code_address(Argument(0), worker).data_address(Argument(1));
        a.set(Argument(2), 0).set(Argument(3), place).set(Argument(4), 1);
        a.hostcall(ThreadCreate).hostcall(Yield);
    }
    ready(&mut a);
    to_start(&mut a);
    let sleeper = a.here();
    a.data_address(WORD).add(Argument(0), WORD, WORD_AT);
    a.set(Argument(1), 0).constant(Argument(2), WAIT_FOREVER).hostcall(Wait);
    ready(&mut a);
    to_start(&mut a);
    let busybody = a.here();
    ready(&mut a);
    let again = a.here();
    a.hostcall(Yield)
        .copy(Argument(0), WORD)
        .set(Argument(1), 1)
        .hostcall(Wake);
    for call in [Wait, Wake] {
        a.copy(Argument(0), SHARED_BUFFER).set(Argument(1), 0);
        a.constant(Argument(2), PATIENCE).hostcall(call);
    }
    a.hostcall(ThreadSelf).set(Argument(1), 1).hostcall(ThreadPriority);
    a.repeat(again);
    let fleeting = a.here();
    a.data_address(Argument(0)).add(Argument(0), Argument(0), WORD_AT);
    a.set(Argument(1), 1).hostcall(ThreadExit);
    let workers = [sleeper, busybody, fleeting];
    let start = a.here();
    Prelude {
        code: a,
        workers,
        start,
    }
}

/// The neighbour: lends its buffer, waits for a word of it, and wakes who waits for it.
pub(super) fn peer(platform: Platform, subject: usize) -> Attacker {
    const BUFFER: Register = Scratch(3);
    let mut a = Attacker::new(platform);
    let rights = BUFFER_READ | BUFFER_WRITE;
    a.call(BufferCreate, &[SIZE]);
    shared::map(&mut a, BUFFER, |a| {
        a.set(Argument(0), SHARED);
    });
    let again = a.here();
    a.call(BufferGrant, &[SHARED.into(), subject as u64, rights]);
    for call in [Wait, Wake] {
        a.copy(Argument(0), BUFFER)
            .set(Argument(1), if call == Wake { 2 } else { 0 });
        a.constant(Argument(2), PATIENCE).hostcall(call);
    }
    a.call(Nanosleep, &[PATIENCE]).repeat(again);
    a
}

/// Some instructions about threads and waiting.
pub(super) fn snippet(arch: Architecture, random: &mut Random) -> Vec<u32> {
    let mut a = Assembler::new(arch);
    let id = random.below(6) as u32;
    match random.below(12) {
        kind @ 0..4 => {
            match kind {
                0 | 1 => a.copy(Argument(0), BEGINS),
                2 => a.copy(Argument(0), ENDS),
                _ => a.copy(Argument(0), Number(1 + random.below(29) as u32)),
            };
            a.copy(Argument(1), WORD).set(Argument(2), 0);
            a.set(Argument(4), random.below(3) as u32).hostcall(ThreadCreate);
            if random.chance(40) {
                a.hostcall(if random.chance(50) { Yield } else { ThreadEnd });
            }
        }
        4 => {
            a.set(Argument(0), id).hostcall(ThreadEnd);
        }
        5 => {
            a.set(Argument(0), id).set(Argument(1), random.below(4) as u32);
            a.hostcall(ThreadPriority);
        }
        6 => {
            a.copy(Argument(0), WORD).set(Argument(1), random.below(3) as u32);
            a.hostcall(*random.pick(&[ThreadExit, ThreadSelf]));
        }
        kind => {
            let word = if kind % 2 == 0 { WORD } else { SHARED_BUFFER };
            a.copy(Argument(0), word).set(Argument(1), random.below(4) as u32 / 3);
            let timeout = *random.pick(&[0, 1, 1000, PATIENCE]);
            a.constant(Argument(2), timeout);
            let call = *random.pick(&[Wait, Wait, Wake, Wake, Yield]);
            if call == Wake {
                a.set(Argument(1), random.below(9) as u32);
            }
            a.hostcall(call);
        }
    }
    a.words().to_vec()
}

/// Registers that a random program begins with as they are, as a rule.
pub(super) const KEPT: [Register; 4] = [SHARED_BUFFER, WORD, ENDS, BEGINS];
