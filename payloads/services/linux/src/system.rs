//! All programs of one library OS, and the way of a system call through it.

use crate::arena::Arena;
use crate::calls::Context;
use crate::names::name;
use crate::open::Descriptors;
use crate::program::{Program, Thread, Who};
use crate::stack::{self, ImageError, Start};
use crate::{Error, Platform, Result};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// How a system call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It returns this.
    Value(u64),
    /// The program begins, with this stack pointer.
    Begin(u64),
    /// It returns later, when another call lets it, or with `late` after so many nanoseconds (0 = never).
    Wait {
        /// How long.
        nanoseconds: u64,
        /// What it returns then.
        late: u64,
    },
    /// The calling thread ends.
    EndThread,
    /// The program ends with this status.
    EndProgram(i32),
}

impl From<Result<Outcome>> for Outcome {
    fn from(result: Result<Outcome>) -> Outcome {
        result.unwrap_or_else(|error| Outcome::Value(error.to_result()))
    }
}

impl Outcome {
    /// What a call returns.
    pub(crate) fn of(result: Result) -> Outcome {
        Outcome::Value(result.unwrap_or_else(Error::to_result))
    }
}

/// What all programs share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Numbers of calls that were asked for and are not there, each named once.
    missing: BTreeSet<u64>,
    /// Who waits for a word of memory, the longest first.
    pub(crate) waiting: Vec<Waiting>,
}

/// A thread that waits for a word of its program's memory.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) who: Who,
    /// What answers its call, as soon as that is known.
    pub(crate) token: Option<u64>,
    pub(crate) word: u64,
    pub(crate) bits: u32,
}

impl Shared {
    /// Whether nobody has asked for this system call, which is not there.
    pub(crate) fn once(&mut self, number: u64) -> bool {
        self.missing.insert(number)
    }
}

/// A library OS.
#[derive(Debug, Default)]
pub struct System {
    programs: BTreeMap<u32, Program>,
    shared: Shared,
}

impl System {
    /// A library OS without programs.
    pub fn new() -> System {
        System::default()
    }

    /// Makes a program ready for its first instruction.
    pub fn begin<P: Platform>(&mut self, platform: &mut P, who: Who, start: &Start) -> Outcome {
        match self.try_begin(platform, who, start) {
            Ok(pointer) => Outcome::Begin(pointer),
            Err(error) => {
                platform.log(who, format_args!("cannot start: {error}"));
                // As a shell says it: found, but cannot be executed.
                Outcome::EndProgram(126)
            }
        }
    }

    fn try_begin<P: Platform>(
        &mut self,
        platform: &mut P,
        who: Who,
        start: &Start,
    ) -> core::result::Result<u64, ImageError> {
        let header = stack::header(platform, start)?;
        let heap_end = header.heap.checked_add(header.heap_size);
        let heap = header.heap..heap_end.ok_or(ImageError::Block)?;
        let inside = start.window.check(heap.start, header.heap_size);
        inside.map_err(|_| ImageError::Outside("heap"))?;
        let pointer = stack::build(platform, start, &header)?;
        let program = Program {
            id: who.client + 1,
            window: start.window,
            arena: Arena::new(heap),
            threads: [(0, Thread::default())].into(),
            descriptors: Descriptors::standard(),
            directory: b"/".into(),
            mask: 0o022,
            began: platform.clock(),
        };
        self.programs.insert(who.client, program);
        Ok(pointer)
    }

    /// Tells what answers the call of a thread that waits.
    pub fn waits(&mut self, who: Who, token: u64) {
        if let Some(waiting) = self.shared.waiting.iter_mut().find(|waiting| waiting.is_of(who)) {
            waiting.token = Some(token);
        }
    }

    /// Answers a system call.
    pub fn call<P: Platform>(&mut self, platform: &mut P, who: Who, number: u64, arguments: [u64; 6]) -> Outcome {
        let Some(program) = self.programs.get_mut(&who.client) else {
            platform.log(who, format_args!("a call of a program that has not started"));
            return Outcome::EndProgram(126);
        };
        // Whatever it has waited for, it waits no more.
        self.shared.waiting.retain(|waiting| !waiting.is_of(who));
        let mut context = Context {
            platform,
            program,
            shared: &mut self.shared,
            who,
        };
        let outcome = context.call(number, arguments).unwrap_or_else(|| {
            if self.shared.once(number) {
                let name = name(number).unwrap_or("unknown");
                platform.log(who, format_args!("system call {number} ({name}) is not there: ENOSYS"));
            }
            Outcome::of(Err(Error::ENOSYS))
        });
        if platform.traces() {
            trace(platform, who, number, arguments, outcome);
        }
        if let Outcome::EndProgram(_) = outcome {
            self.programs.remove(&who.client);
            self.shared.waiting.retain(|waiting| waiting.who.client != who.client);
        }
        outcome
    }
}

/// A line about a call, as `strace` writes them.
fn trace<P: Platform>(platform: &mut P, who: Who, number: u64, arguments: [u64; 6], outcome: Outcome) {
    let [a, b, c, d, e, f] = arguments;
    let name = name(number).unwrap_or("?");
    platform.log(
        who,
        format_args!("{name}({a:#x}, {b:#x}, {c:#x}, {d:#x}, {e:#x}, {f:#x}) = {outcome:x?}"),
    );
}
