//! A fuzzed cVM that serves three clients with three handlers, and answers some calls later. When a random program begins, in a
//! handler that has just been called, one call is deferred and its handler free, another one is deferred and its handler still
//! busy, and two threads answer, again and again, whatever tokens of others they find in memory.

use std::ops::Range;

use abi::Hostcall::{Answer, Defer, Delegate, Nanosleep, Reply, Serve, ThreadCreate, ThreadEnd, Yield};
use tools::Architecture;
use tools::manifest::CvmSpec;

use super::programs::Neighbour;
use super::random::Random;
use crate::code::assembler::Assembler;
use crate::code::assembler::Register::{self, Argument, Number, Scratch};
use crate::code::attack::Attacker;
use crate::platform::Platform;

/// Handlers, and clients.
pub(super) const HANDLERS: usize = 3;
/// Threads that answer.
pub(super) const THREADS: usize = 2;
/// How many calls there have been, and the tokens of deferred ones, in the data of the fuzzed cVM.
const CALLS_AT: i64 = 1536;
const TOKENS_AT: i64 = 1600;
const TOKENS: i64 = 4;
/// Nanoseconds between two answers, and those that the call of one client may take.
const PERIOD: u64 = 5_000;
const BUDGET: u64 = 60_000;

const A: Register = Scratch(0);
const B: Register = Scratch(1);
const C: Register = Scratch(2);
/// What programs find in registers: the addresses of the data and of the program, and the handler's stack.
const DATA: Register = Scratch(4);
const BEGINS: Register = Scratch(5);
const STACK: Register = Scratch(6);

/// The manifest entries of the fuzzed cVM and of a neighbour.
pub(super) fn spec(which: Option<Neighbour>, spec: CvmSpec) -> CvmSpec {
    match which {
        Some(Neighbour::Client) if spec.name == "third" => CvmSpec {
            call_budget: BUDGET,
            ..spec
        },
        Some(_) => spec,
        None => CvmSpec {
            handlers: HANDLERS as u32,
            threads: 1 + THREADS as u32,
            ..spec
        },
    }
}

/// The way to a random program: instructions, and at which offsets in them the threads that answer begin, where handlers
/// wait for each other, and where the program begins.
pub(super) struct Prelude {
    pub(super) code: Attacker,
    pub(super) answers: i64,
    pub(super) waits: i64,
    pub(super) start: i64,
}

pub(super) fn prelude(platform: Platform) -> Prelude {
    // Where everything is does not depend on where everything is.
    let start = laid_out(platform, [0; 2]);
    laid_out(platform, [start.answers, start.start])
}

/// Answers the calls whose tokens lie at these places, for ever.
fn answer_for_ever(a: &mut Assembler, places: Range<i64>) {
    let again = a.here();
    for place in places {
        a.data_address(DATA).load(Argument(0), DATA, TOKENS_AT + 8 * place);
        a.set(Argument(1), 5)
            .set(Argument(2), 6)
            .set(Argument(3), place as u32 & 1);
        a.hostcall(Answer);
    }
    a.call(Nanosleep, &[PERIOD]).repeat(again);
}

/// The calling handler's call is answered later; its token goes to this place.
fn defer(a: &mut Assembler, place: i64) {
    a.hostcall(Defer).store(Argument(0), DATA, TOKENS_AT + 8 * place);
}

/// Lets others go first until the word at this place is no longer zero.
fn wait_for(a: &mut Assembler, place: i64) {
    let again = a.here();
    a.load(C, DATA, place).when_zero(C, |a| {
        a.hostcall(Yield).repeat(again);
    });
}

fn laid_out(platform: Platform, [answers, start]: [i64; 2]) -> Prelude {
    let mut a = Attacker::new(platform);
    for _ in 0..THREADS {
        a.code_address(Argument(0), answers).data_address(Argument(1));
        a.set(Argument(2), 0).set(Argument(4), 1).hostcall(ThreadCreate);
    }
    a.hostcall(Serve);
    let answers = a.here();
    answer_for_ever(&mut a, 2..TOKENS);
    a.handler();
    let stack = a.service_stack();
    a.constant(B, 64_u64.wrapping_neg()).offset(STACK, stack, B);
    a.code_address(BEGINS, start);
    a.data_address(DATA).add(B, DATA, CALLS_AT).set(C, 1);
    a.fetch_and_add(A, C, B);
    let waits = a.here();
    a.load(C, DATA, CALLS_AT)
        .add(C, C, -(HANDLERS as i64))
        .shift_right(C, 63);
    a.when_not_zero(C, |a| {
        a.hostcall(Yield).repeat(waits);
    });
    // The first one rests again, the second one works on without a call, the third one waits for both.
    a.when_zero(A, |a| {
        a.set(Argument(0), 0);
        defer(a, 0);
        a.reply(0);
    });
    a.add(A, A, -1).when_zero(A, |a| {
        a.set(Argument(0), 0);
        defer(a, 1);
        answer_for_ever(a, 3..TOKENS);
    });
    a.add(A, A, -1).when_zero(A, |a| {
        wait_for(a, TOKENS_AT);
        wait_for(a, TOKENS_AT + 8);
    });
    let start = a.here();
    Prelude {
        code: a,
        answers,
        waits,
        start,
    }
}

/// Some instructions about calls that are answered later.
pub(super) fn snippet(arch: Architecture, random: &mut Random) -> Vec<u32> {
    let mut a = Assembler::new(arch);
    let place = random.below(TOKENS as u64) as i64;
    let any = Number(1 + random.below(29) as u32);
    match random.below(12) {
        0..3 => {
            let nanoseconds = *random.pick(&[0, 0, 1, PERIOD / 2]);
            a.constant(Argument(0), nanoseconds).set(Argument(1), 9);
            defer(&mut a, place);
        }
        kind @ 3..6 => {
            a.load(Argument(0), DATA, TOKENS_AT + 8 * place);
            if kind == 5 {
                // A token of another time, or of another thread.
                let by = *random.pick(&[-1, 1]) << (11 * random.below(2));
                a.add(Argument(0), Argument(0), by.clamp(-2048, 2047));
            }
            a.set(Argument(1), 3).set(Argument(2), 4);
            a.set(Argument(3), random.below(8) as u32).hostcall(Answer);
        }
        6 => {
            a.set(Argument(2), random.below(3) as u32).hostcall(Reply);
        }
        7 => {
            a.hostcall(Delegate);
        }
        8 => {
            // A place for another thread.
            a.set(Argument(0), 1 + random.below(2) as u32).hostcall(ThreadEnd);
            a.copy(Argument(0), BEGINS).copy(Argument(1), DATA).set(Argument(2), 0);
            a.set(Argument(4), random.below(3) as u32).hostcall(ThreadCreate);
        }
        9 => {
            a.set(Argument(0), 1000).hostcall(*random.pick(&[Yield, Nanosleep]));
        }
        10 => {
            let distance = 16 * (random.below(5) as i64 - 2);
            a.constant(B, distance as u64).offset(STACK, STACK, B);
            a.store_capability_through(any, STACK);
        }
        _ => {
            a.load_capability_through(any, STACK);
        }
    }
    a.words().to_vec()
}

/// Registers that a random program begins with as they are, as a rule.
pub(super) const KEPT: [Register; 3] = [DATA, BEGINS, STACK];
