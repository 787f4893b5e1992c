//! All programs of one library OS, and the way of a system call through it.

use crate::arena::Arena;
use crate::calls::Context;
use crate::names::name;
use crate::network::Network;
use crate::open::{Address, Behind, Descriptor, Descriptors, Id, Opens, Socket, SocketState, What};
use crate::pipe::Pipes;
use crate::program::{Program, Thread, Who};
use crate::stack::{self, ImageError, Start};
use crate::tree::{ROOT, Tree};
use crate::{Error, Platform, Result};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use linux_raw_sys::general as sys;
use linux_raw_sys::general::O_RDWR;
use smoltcp::phy::Device;

/// Most numbers that are named in the log because they are not there.
const NAMED: usize = 64;

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
#[derive(Debug)]
pub(crate) struct Shared {
    /// Numbers of calls that were asked for and are not there, each named once.
    missing: BTreeSet<u64>,
    /// Who waits for a word of memory, the longest first.
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) tree: Tree,
    pub(crate) opens: Opens,
    pub(crate) pipes: Pipes,
    pub(crate) network: Option<Network>,
    /// What bytes cross through; empty while they do.
    pub(crate) crossing: Vec<u8>,
    /// Something has happened to an open file: who waits may go on.
    pub(crate) stirred: bool,
}

/// A thread whose call is not answered yet.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) who: Who,
    /// What answers it, as soon as that is known.
    pub(crate) token: Option<u64>,
    pub(crate) on: On,
}

/// What a thread waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum On {
    /// Somebody wakes who waits for a word of the program's memory.
    Word { address: u64, bits: u32 },
    /// Something happens to an open file; then the call is made again.
    Anything {
        number: u64,
        arguments: [u64; 6],
        /// When it returns `late` instead, by the platform's clock.
        until: Option<u64>,
        late: u64,
    },
}

impl Shared {
    /// Somebody uses an open file no more.
    pub(crate) fn release(&mut self, open: Id) {
        let mut behind = Behind {
            tree: &mut self.tree,
            pipes: &mut self.pipes,
            network: &mut self.network,
        };
        self.opens.release(open, &mut behind);
        self.stirred = true;
    }

    /// Gives the connections that have come to those who listen.
    fn accept_arrived(&mut self) {
        while let Some((port, wire, (host, from))) = self.network.as_mut().and_then(Network::arrived) {
            let listens = |(id, opened): (Id, &crate::open::Opened)| match &opened.what {
                What::Socket(socket) => socket.is_open_to(port).map(|six| (id, six)),
                _ => None,
            };
            let found = self.opens.iter().find_map(listens);
            let local = Address::Port {
                port,
                six: found.is_some_and(|(_, six)| six),
            };
            let remote = Address::Far {
                host,
                port: from,
                six: found.is_some_and(|(_, six)| six),
            };
            let state = SocketState::Wired {
                wire,
                remote,
                receives: true,
                sends: true,
                moved: 0,
            };
            let open = self.opens.add(What::Socket(Socket::new(state, local)), O_RDWR);
            self.opens.keep(open);
            let listener = found.and_then(|(id, _)| self.opens.get_mut(id).ok());
            if let Some(What::Socket(Socket {
                state: SocketState::Listening { queue, limit },
                ..
            })) = listener.map(|opened| &mut opened.what)
                && queue.len() < *limit
            {
                queue.push_back(open);
                self.stirred = true;
            } else {
                self.release(open);
            }
        }
    }

    /// Whether nobody has asked for this system call, which is not there.
    pub(crate) fn once(&mut self, number: u64) -> bool {
        self.missing.len() < NAMED && self.missing.insert(number)
    }
}

/// A library OS.
#[derive(Debug)]
pub struct System {
    programs: BTreeMap<u32, Program>,
    shared: Shared,
    /// Whether every system call is logged.
    traces: bool,
}

impl System {
    /// A library OS without programs. They see the tar file `archive` as `/`, and may write `files` bytes above it; `traces`
    /// says whether every system call is logged.
    pub fn new(archive: Vec<u8>, files: u64, traces: bool) -> System {
        System {
            programs: BTreeMap::new(),
            traces,
            shared: Shared {
                missing: BTreeSet::new(),
                waiting: Vec::new(),
                tree: Tree::new(archive, files),
                opens: Opens::default(),
                pipes: Pipes::default(),
                network: None,
                crossing: Vec::new(),
                stirred: false,
            },
        }
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
        // One that begins anew has nothing of its last life.
        self.end(who.client);
        let console = self.shared.opens.add(What::Console, O_RDWR);
        let mut descriptors = Descriptors::default();
        for descriptor in 0..3 {
            self.shared.opens.keep(console);
            let value = Descriptor {
                open: console,
                close_on_exec: false,
            };
            // There is room for three.
            let _ = descriptors.set(descriptor, Some(value));
        }
        self.shared.tree.opened(ROOT);
        let program = Program {
            id: who.client + 1,
            window: start.window,
            arena: Arena::new(heap),
            threads: [(0, Thread::default())].into(),
            descriptors,
            directory: ROOT,
            mask: 0o022,
            actions: BTreeMap::new(),
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

    /// Answers a system call that nothing follows from, if this is one: what programs ask most often.
    #[inline]
    pub fn quick<P: Platform>(&self, platform: &mut P, who: Who, number: u64, [a, b]: [u64; 2]) -> Option<u64> {
        let program = self.programs.get(&who.client).filter(|_| !self.traces)?;
        Some(match u32::try_from(number).ok()? {
            sys::__NR_getpid => program.id.into(),
            sys::__NR_gettid => program.thread_number(who.thread).into(),
            sys::__NR_clock_gettime => {
                let told = program
                    .now(platform, a)
                    .and_then(|now| program.put_time(platform, b, now));
                told.unwrap_or_else(Error::to_result)
            }
            _ => return None,
        })
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
            again: Some((number, arguments)),
        };
        let outcome = context.call(number, arguments).unwrap_or_else(|| {
            if self.shared.once(number) {
                let name = name(number).unwrap_or("unknown");
                platform.log(who, format_args!("system call {number} ({name}) is not there: ENOSYS"));
            }
            Outcome::of(Err(Error::ENOSYS))
        });
        if self.traces {
            trace(platform, who, number, arguments, outcome);
        }
        if let Outcome::EndProgram(_) = outcome {
            self.end(who.client);
        }
        self.settle(platform);
        outcome
    }

    #[inline]
    fn settle<P: Platform>(&mut self, platform: &mut P) {
        while core::mem::take(&mut self.shared.stirred) {
            self.stir(platform);
        }
    }

    /// Connects the programs to the outside.
    pub fn attach(&mut self, network: Network) {
        self.shared.network = Some(network);
    }

    /// Whether frames may follow from what programs have done.
    pub fn has_news(&self) -> bool {
        self.shared.network.as_ref().is_some_and(|network| network.touched)
    }

    /// Lets frames come and go through a card, and programs go on that have waited for them. Nanoseconds until there is
    /// something to do without a frame; none when there is nothing.
    pub fn exchange<P: Platform>(&mut self, platform: &mut P, card: &mut impl Device) -> Option<u64> {
        loop {
            let now = platform.clock();
            let network = self.shared.network.as_mut()?;
            if network.poll(card, now) {
                self.shared.stirred = true;
                self.shared.accept_arrived();
            }
            self.settle(platform);
            let network = self.shared.network.as_mut()?;
            if !network.touched {
                return network.delay(now);
            }
        }
    }

    /// Makes the calls again that wait for something to happen.
    #[inline(never)]
    fn stir<P: Platform>(&mut self, platform: &mut P) {
        let mut index = 0;
        while let Some(waiting) = self.shared.waiting.get(index) {
            let (who, token) = (waiting.who, waiting.token);
            let On::Anything {
                number,
                arguments,
                until,
                late,
            } = waiting.on
            else {
                index += 1;
                continue;
            };
            let Some(token) = token else {
                index += 1;
                continue;
            };
            // While the call is made, its time stands still: it must not return in the middle of it.
            let waits = until.is_none() || platform.wait_on(token, 0, late);
            let Some(program) = self.programs.get_mut(&who.client).filter(|_| waits) else {
                self.shared.waiting.remove(index);
                continue;
            };
            let mut context = Context {
                platform,
                program,
                shared: &mut self.shared,
                who,
                again: None,
            };
            match context.call(number, arguments) {
                Some(Outcome::Value(value)) => {
                    self.shared.waiting.remove(index);
                    platform.answer(token, value);
                }
                _ => {
                    if let Some(until) = until {
                        let left = until.saturating_sub(platform.clock()).max(1);
                        platform.wait_on(token, left, late);
                    }
                    index += 1;
                }
            }
        }
    }

    /// Whether the files are in order, of which programs may write so many bytes.
    ///
    /// # Errors
    /// What is not.
    #[cfg(not(target_os = "none"))]
    pub fn check(&self, files: u64) -> core::result::Result<(), alloc::string::String> {
        self.shared.tree.check(files)
    }

    /// Whether nothing is open and nobody waits, as it is when there are no programs.
    ///
    /// # Errors
    /// What is left.
    #[cfg(not(target_os = "none"))]
    pub fn is_at_rest(&self) -> core::result::Result<(), alloc::string::String> {
        let shared = &self.shared;
        let (opens, waiting): (Vec<_>, _) = (shared.opens.iter().collect(), &shared.waiting);
        let (pipes, used) = (shared.pipes.count(), shared.tree.used());
        let wires = shared.network.as_ref().map_or(0, Network::count);
        if wires == 0 && self.programs.is_empty() && waiting.is_empty() && opens.is_empty() && pipes == 0 && used == 0 {
            return Ok(());
        }
        let programs = self.programs.len();
        Err(alloc::format!(
            "{programs} programs, {pipes} pipes, {wires} connections, {used} nodes in use, open {opens:?}, waiting {waiting:?}"
        ))
    }

    /// A program is over.
    fn end(&mut self, client: u32) {
        let Some(mut program) = self.programs.remove(&client) else {
            return;
        };
        let shared = &mut self.shared;
        shared.waiting.retain(|waiting| waiting.who.client != client);
        for open in program.descriptors.take_all() {
            shared.release(open);
        }
        shared.tree.closed(program.directory);
        shared.stirred = true;
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
