//! All programs of one library OS, and the way of a system call through it.

use crate::arena::Arena;
use crate::calls::Context;
use crate::console::Console;
use crate::ext4::{Disk, Problem};
use crate::maps::Maps;
use crate::names::{is_tried, name};
use crate::network::Network;
use crate::open::{Address, Behind, Id, Opens, Socket, SocketState, What};
use crate::page;
use crate::pipe::Pipes;
use crate::process::Processes;
use crate::program::{Program, Sent, Who};
use crate::slot::Slot;
use crate::spawn::{self, First};
use crate::stack::{self, ImageError, Start};
use crate::timers::Timers;
use crate::tree::Tree;
use crate::{Archive, Error, Platform, Result};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use linux_raw_sys::general as sys;
use linux_raw_sys::general::O_RDWR;
use smoltcp::phy::Device;

/// Most numbers that are named in the log because they are not there.
const NAMED: usize = 64;

/// The folder in `/` with the files of a disk.
pub const MOUNT: &str = "disk";

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
    /// A signal ends the program.
    Killed(u32),
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
    pub(crate) maps: Maps,
    pub(crate) opens: Opens,
    pub(crate) pipes: Pipes,
    pub(crate) network: Option<Network>,
    pub(crate) console: Console,
    pub(crate) processes: Processes,
    /// Signals that are on their way: to whom.
    pub(crate) signals: Vec<(u32, Sent)>,
    pub(crate) timers: Timers,
    /// Some thread has, for the length of a call, other signals that it does not want.
    pub(crate) masked: bool,
    /// What threads have asked `select` for that wait in it.
    pub(crate) selecting: BTreeMap<Who, [Vec<u64>; 3]>,
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
    /// Time passes, or a signal comes; then what is left until when is told there.
    Time { left: Option<(u64, u64)> },
    /// A child that borrows its memory.
    Child { id: u32 },
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
    /// Ends what is mapped shared in the memory of a cVM, and logs what cannot be written to its file then.
    pub(crate) fn unmap_all<P: Platform>(&mut self, platform: &mut P, client: u32) {
        let now = System::real_time(platform);
        let all = (client, &(0..u64::MAX));
        if let Err(error) = self.maps.end(platform, &mut self.tree, all, false, now) {
            let who = Who { client, thread: 0 };
            platform.log(
                who,
                format_args!("a file that was mapped: {error:?}: what was stored last is lost"),
            );
        }
    }

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
    /// By their cVMs; those that borrow one by what [`System::key`] says.
    pub(crate) programs: BTreeMap<u32, Program>,
    /// Threads of programs that are in another one's memory.
    pub(crate) borrowed: BTreeMap<Who, u32>,
    /// CVMs for processes.
    pub(crate) slots: BTreeMap<u32, Slot>,
    /// The first program, when there are such cVMs.
    pub(crate) first: Option<First>,
    pub(crate) shared: Shared,
    /// Whether every system call is logged.
    traces: bool,
}

impl System {
    /// A library OS without programs. They see the tar file `archive` as `/`, and may write `files` bytes above it; `traces`
    /// says whether every system call is logged.
    pub fn new(archive: Box<dyn Archive>, files: u64, traces: bool) -> System {
        System {
            programs: BTreeMap::new(),
            borrowed: BTreeMap::new(),
            slots: BTreeMap::new(),
            first: None,
            traces,
            shared: Shared {
                missing: BTreeSet::new(),
                waiting: Vec::new(),
                tree: Tree::new(archive, files),
                maps: Maps::default(),
                opens: Opens::default(),
                pipes: Pipes::default(),
                network: None,
                console: Console::default(),
                processes: Processes::default(),
                signals: Vec::new(),
                timers: Timers::default(),
                masked: false,
                selecting: BTreeMap::new(),
                crossing: Vec::new(),
                stirred: false,
            },
        }
    }

    /// Makes a program ready for its first instruction.
    pub fn begin<P: Platform>(&mut self, platform: &mut P, who: Who, start: &Start) -> Outcome {
        match self.try_begin(platform, who, start) {
            Ok(outcome) => outcome,
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
    ) -> core::result::Result<Outcome, ImageError> {
        let block = stack::block(platform, start)?;
        let header = &block.header;
        let heap_end = header.heap.checked_add(header.heap_size);
        let heap = header.heap..heap_end.ok_or(ImageError::Block)?;
        let inside = start.window.check(heap.start, header.heap_size);
        inside.map_err(|_| ImageError::Outside("heap"))?;
        let image = stack::image(platform, start)?;
        if let Some(slot) = Slot::find(platform, start.bias, &block, &image) {
            return Ok(self.begin_slot(platform, who.client, slot, block.texts));
        }
        let end = header.stack.checked_add(header.stack_size);
        let stack = header.stack..end.ok_or(ImageError::Block)?;
        let text_end = image.text_end.ok_or(ImageError::Order)?;
        let place = start.bias.wrapping_sub(abi::hostcall::RAW_TEXT);
        let page = page::fill(platform, who.client, &start.window, place);
        let page = page.map_err(|_| ImageError::Outside("page of text"))?;
        let pointer = stack::fill(platform, &image, &stack, &block.texts, page.start)?;
        // One that begins anew has nothing of its last life.
        if self.programs.contains_key(&who.client) {
            self.finish(platform, who.client, sys::SIGKILL, None);
            self.settle(platform);
        }
        let id = self.shared.processes.add(Some(who.client + 1), 0);
        let id = id.map_err(|_| ImageError::Number)?;
        let window = start.window.with_text(&(page.start..text_end));
        let slot = (who.client, window);
        let mut program = self.fresh(platform, id, slot, Arena::new(heap));
        (program.page, program.floats) = (page, image.floats);
        self.programs.insert(who.client, program);
        Ok(Outcome::Begin(pointer))
    }

    /// Lets the file at a path be the first program in cVMs for processes.
    pub fn set_first(&mut self, file: &str) {
        self.first = Some(First {
            file: file.as_bytes().to_vec(),
            place: None,
            over: None,
        });
    }

    /// Tells what answers the call of a thread that waits.
    pub fn waits<P: Platform>(&mut self, platform: &mut P, who: Who, token: u64) {
        if let Some(waiting) = self.shared.waiting.iter_mut().find(|waiting| waiting.is_of(who)) {
            waiting.token = Some(token);
        }
        if who.thread == 0
            && let Some(slot) = self.slots.get_mut(&who.client)
        {
            slot.main = Some(token);
            self.begin_first(platform, who.client);
        }
    }

    /// Answers a system call that nothing follows from, if this is one: what programs ask most often.
    #[inline]
    pub fn quick<P: Platform>(&self, platform: &mut P, who: Who, number: u64, [a, b]: [u64; 2]) -> Option<u64> {
        let program = self.programs.get(&self.key(who)).filter(|_| !self.traces)?;
        // Whoever has signals to come gets them first.
        if program.pending != 0 {
            return None;
        }
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
        let key = self.key(who);
        if self.shared.masked {
            self.unmask(key, who);
        }
        // Whatever it has waited for, it waits no more.
        self.shared.waiting.retain(|waiting| !waiting.is_of(who));
        let [a, b, c, ..] = arguments;
        // Whether no signal is to come.
        let mut quiet = false;
        let done = match u32::try_from(number).unwrap_or(u32::MAX) {
            sys::__NR_clone if System::borrows(a) => {
                let own = self.is_own(key, who);
                own.then(|| Some(self.borrow(platform, who, b).into()))
            }
            sys::__NR_execve => {
                let execution = self.context(platform, key, who, None, |context| {
                    let own = context.program.owns(who);
                    own.then(|| context.execution([a, b, c]))
                });
                execution.flatten().map(|execution| {
                    let executed = execution.and_then(|execution| self.execute(platform, who, &execution));
                    Some(executed.into())
                })
            }
            sys::__NR_rt_sigreturn => {
                let own = self.is_own(key, who);
                own.then(|| Some(self.come_back(platform, who).into()))
            }
            _ => {
                let again = Some((number, arguments));
                let done = self.context(platform, key, who, again, |context| {
                    context.program.owns(who).then(|| {
                        let outcome = context.call(number, arguments);
                        quiet = context.program.pending == 0;
                        outcome
                    })
                });
                done.flatten()
            }
        };
        let Some(outcome) = done else {
            if !self.slots.contains_key(&who.client) {
                platform.log(who, format_args!("a call of a program that has not started"));
            }
            return self.stray(who);
        };
        let outcome = outcome.unwrap_or_else(|| {
            if !is_tried(number) && self.shared.once(number) {
                let name = name(number).unwrap_or("unknown");
                platform.log(who, format_args!("system call {number} ({name}) is not there: ENOSYS"));
            }
            Outcome::of(Err(Error::ENOSYS))
        });
        if key != who.client
            && number == sys::__NR_clone.into()
            && !System::borrows(a)
            && let Some(program) = self.programs.get(&key)
        {
            // A thread of what borrows another one's memory is no thread of that one.
            for thread in program.threads.keys() {
                let who = Who { thread: *thread, ..who };
                self.borrowed.insert(who, key);
            }
        }
        if self.traces {
            trace(platform, who, number, arguments, outcome);
        }
        let idle = self.shared.signals.is_empty() && !self.shared.stirred && !self.shared.timers.changed;
        if quiet && idle && !self.shared.masked && matches!(outcome, Outcome::Value(_)) {
            return outcome;
        }
        let outcome = match outcome {
            Outcome::EndProgram(code) => self.finish(platform, key, spawn::exited(code), Some(who)),
            Outcome::Killed(signal) => self.finish(platform, key, signal, Some(who)),
            other => other,
        };
        if self.shared.masked && matches!(outcome, Outcome::Value(_)) {
            self.unmask(key, who);
        }
        self.settle(platform);
        self.interrupt_call(platform, key, who, outcome)
    }

    /// Whether a thread is one of the program with this key.
    fn is_own(&self, key: u32, who: Who) -> bool {
        self.programs.get(&key).is_some_and(|program| program.owns(who))
    }

    /// Does something in the name of a thread; none when its program is not there.
    #[inline]
    fn context<P: Platform, R>(
        &mut self,
        platform: &mut P,
        key: u32,
        who: Who,
        again: Option<(u64, [u64; 6])>,
        work: impl FnOnce(&mut Context<'_, P>) -> R,
    ) -> Option<R> {
        // What maps memory in another program's takes it from there.
        let owner = (key != who.client).then_some(who.client);
        if owner.is_some() {
            self.lend_arena(owner, key);
        }
        let result = self.programs.get_mut(&key).map(|program| {
            work(&mut Context {
                platform,
                program,
                shared: &mut self.shared,
                who,
                again,
            })
        });
        if owner.is_some() {
            self.lend_arena(owner, key);
        }
        result
    }

    /// Exchanges the memory maps of a program and one that borrows its memory.
    fn lend_arena(&mut self, owner: Option<u32>, key: u32) {
        let Some(owner) = owner else { return };
        let lent = self
            .programs
            .get_mut(&owner)
            .map(|owner| core::mem::take(&mut owner.arena));
        let other = self
            .programs
            .get_mut(&key)
            .map(|program| core::mem::replace(&mut program.arena, lent.unwrap_or_default()));
        if let (Some(owner), Some(other)) = (self.programs.get_mut(&owner), other) {
            owner.arena = other;
        }
    }

    /// The signals that a thread does not want are those from before its call again.
    #[cold]
    fn unmask(&mut self, key: u32, who: Who) {
        let Some(program) = self.programs.get_mut(&key) else {
            return;
        };
        if let Some(thread) = program.threads.get_mut(&who.thread)
            && let Some(blocked) = thread.restored.take()
        {
            thread.blocked = blocked;
        }
        let mut threads = self.programs.values().flat_map(|program| program.threads.values());
        self.shared.masked = threads.any(|thread| thread.restored.is_some());
    }

    /// The time has come that the platform was told: what was to happen by now does. When it has to be told so again.
    pub fn tick<P: Platform>(&mut self, platform: &mut P) -> Option<u64> {
        let now = platform.clock();
        for (id, sent) in self.shared.timers.due(now) {
            self.shared.signals.push((id, sent));
        }
        // Those who wait for a timer of theirs look themselves.
        self.shared.stirred = true;
        self.settle(platform);
        self.shared.next_tick(platform.clock())
    }

    #[inline]
    pub(crate) fn settle<P: Platform>(&mut self, platform: &mut P) {
        loop {
            if !self.shared.signals.is_empty() {
                self.signals(platform);
            }
            if core::mem::take(&mut self.shared.timers.changed) {
                let next = self.shared.next_tick(platform.clock());
                platform.wake_at(next);
            }
            if !core::mem::take(&mut self.shared.stirred) {
                return;
            }
            self.stir(platform);
        }
    }

    /// Lets programs see the files of a disk in the folder [`MOUNT`]. Whether it had to be brought in order.
    ///
    /// # Errors
    /// Why there are none.
    pub fn mount<P: Platform>(
        &mut self,
        platform: &P,
        disk: Box<dyn Disk + Send>,
    ) -> core::result::Result<bool, Problem> {
        self.shared
            .tree
            .mount(MOUNT.as_bytes(), disk, System::real_time(platform))
    }

    /// Whether the files of a disk can only be read.
    pub fn is_read_only(&self) -> bool {
        self.shared.tree.is_read_only()
    }

    /// What programs have written to a disk outlasts a loss of power from now on.
    ///
    /// # Errors
    /// `EIO` when the disk has failed.
    pub fn commit<P: Platform>(&mut self, platform: &P) -> Result<()> {
        self.shared.tree.commit(None, System::real_time(platform))
    }

    /// Nanoseconds since 1970.
    pub(crate) fn real_time<P: Platform>(platform: &P) -> u64 {
        platform.clock().saturating_add(platform.epoch())
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
            let key = self.key(who);
            let outcome = self.context(platform, key, who, None, |context| context.call(number, arguments));
            let Some(outcome) = outcome.filter(|_| waits) else {
                self.shared.waiting.remove(index);
                continue;
            };
            match outcome {
                Some(Outcome::Value(value)) => {
                    self.shared.waiting.remove(index);
                    if self.shared.masked {
                        self.unmask(key, who);
                    }
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
        let processes = shared.processes.count();
        let borrowed = self.borrowed.len();
        if wires == 0
            && self.programs.is_empty()
            && processes + borrowed == 0
            && waiting.is_empty()
            && opens.is_empty()
            && pipes == 0
            && used == 0
            && shared.maps.is_empty()
        {
            return Ok(());
        }
        let programs = self.programs.len();
        Err(alloc::format!(
            "{programs} programs, {processes} processes, {borrowed} in others, {pipes} pipes, {wires} connections, {used} nodes in use, open {opens:?}, waiting {waiting:?}"
        ))
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
