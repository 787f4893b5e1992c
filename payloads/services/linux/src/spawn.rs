//! Processes: a child borrows its parent's memory until it executes a file (`vfork`, which `posix_spawn` is made of); then it has
//! a cVM of its own, one of those that the manifest has made ready.

use crate::arena::Arena;
use crate::open::{Descriptor, Descriptors};
use crate::page::Placed;
use crate::program::{Program, Thread, Who};
use crate::slot::{Executable, Slot, Texts, Words};
use crate::system::{On, Outcome, System, Waiting};
use crate::tree::{Node, ROOT};
use crate::{Error, Platform, Result};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use linux_raw_sys::general as sys;

/// What a clone asks for that becomes a process in its parent's memory.
const BORROWS: u32 = sys::CLONE_VM | sys::CLONE_VFORK;
/// Keys of programs in another one's memory have this, and their number.
const BORROWED: u32 = 1 << 31;
/// What a shell adds to the number of a signal that has ended a program.
const ENDED: i32 = 128;

/// How `wait` tells of an exit.
pub(crate) fn exited(code: i32) -> u32 {
    (code as u32 & 0xff) << 8
}

/// What is left of `wait`'s status in an exit code.
pub(crate) fn code(status: u32) -> i32 {
    match status & 0x7f {
        0 => (status >> 8 & 0xff) as i32,
        signal => ENDED + signal as i32,
    }
}

/// What the first program of a library OS is, when it has cVMs for processes.
#[derive(Clone, Debug)]
pub(crate) struct First {
    /// Path of its file.
    pub(crate) file: Vec<u8>,
    /// The cVM that it begins in, and what the monitor has for it there.
    pub(crate) place: Option<(u32, Texts)>,
    /// How it has ended.
    pub(crate) over: Option<i32>,
}

/// A file to execute.
#[derive(Clone, Debug)]
pub(crate) struct Execution {
    pub(crate) node: Node,
    pub(crate) file: Vec<u8>,
    pub(crate) texts: Texts,
}

impl System {
    /// Whether a call makes a process.
    pub(crate) fn borrows(flags: u64) -> bool {
        flags as u32 & (BORROWS | sys::CLONE_THREAD) == BORROWS
    }

    /// The key of the program that a thread belongs to.
    #[inline]
    pub(crate) fn key(&self, who: Who) -> u32 {
        if self.borrowed.is_empty() {
            return who.client;
        }
        self.borrowed.get(&who).copied().unwrap_or(who.client)
    }

    /// A program without anything but the console.
    pub(crate) fn fresh<P: Platform>(
        &mut self,
        platform: &P,
        id: u32,
        slot: (u32, crate::Window),
        arena: Arena,
    ) -> Program {
        let shared = &mut self.shared;
        let console = shared.opens.add(crate::open::What::Console, sys::O_RDWR);
        let mut descriptors = Descriptors::default();
        for descriptor in 0..3 {
            shared.opens.keep(console);
            let value = Descriptor {
                open: console,
                close_on_exec: false,
            };
            // There is room for three.
            let _ = descriptors.set(descriptor, Some(value));
        }
        shared.tree.opened(ROOT);
        Program {
            id,
            client: slot.0,
            first: 0,
            file: Vec::new(),
            page: Placed::default(),
            floats: false,
            pending: 0,
            window: slot.1,
            arena,
            threads: [(0, Thread::default())].into(),
            descriptors,
            directory: ROOT,
            mask: 0o022,
            actions: BTreeMap::new(),
            began: platform.clock(),
        }
    }

    /// A cVM for processes has begun. One that was in use has begun anew: its program has faulted.
    pub(crate) fn begin_slot<P: Platform>(
        &mut self,
        platform: &mut P,
        client: u32,
        slot: Slot,
        texts: Texts,
    ) -> Outcome {
        let fault = sys::SIGSEGV;
        let inside: Vec<u32> = self.of_client(client);
        self.slots.insert(client, slot);
        for key in inside {
            self.finish(platform, key, fault, None);
        }
        if let Some(slot) = self.slots.get_mut(&client) {
            slot.leaving.clear();
            slot.main = None;
        }
        self.settle(platform);
        let first = self.first.get_or_insert_with(|| First {
            file: Vec::new(),
            place: None,
            over: None,
        });
        if let Some(code) = first.over {
            return Outcome::EndProgram(if first.place.as_ref().is_some_and(|(place, _)| *place == client) {
                code
            } else {
                0
            });
        }
        if first.place.is_none() {
            first.place = Some((client, texts));
        }
        Outcome::Wait {
            nanoseconds: 0,
            late: 0,
        }
    }

    /// The keys of programs in a cVM, those that borrow its memory first.
    fn of_client(&self, client: u32) -> Vec<u32> {
        let inside = self.programs.iter().filter(|(_, program)| program.client == client);
        let mut keys: Vec<u32> = inside.map(|(key, _)| *key).collect();
        keys.sort_unstable_by(|one, other| other.cmp(one));
        keys
    }

    /// Lets the first program begin, when its cVM waits for it.
    pub(crate) fn begin_first<P: Platform>(&mut self, platform: &mut P, client: u32) {
        let Some(First {
            file,
            place: Some((place, texts)),
            over: None,
        }) = self.first.clone()
        else {
            return;
        };
        let begun = self.programs.contains_key(&client) || self.shared.processes.get(1).is_ok();
        if place != client || begun {
            return;
        }
        let who = Who { client, thread: 0 };
        let mut texts = texts;
        if let Some(name) = texts.arguments.first_mut() {
            name.clone_from(&file);
            name.push(0);
        }
        let place = self.shared.tree.find(ROOT, &file, true);
        let started = place
            .and_then(|place| place.node.ok_or(Error::ENOENT))
            .and_then(|node| {
                let id = self.shared.processes.add(Some(1), 0)?;
                self.shared.processes.foreground = id;
                let window = self.slots.get(&client).ok_or(Error::ESRCH)?.window;
                let program = self.fresh(platform, id, (client, window), Arena::default());
                self.programs.insert(client, program);
                let execution = Execution {
                    node,
                    file: file.clone(),
                    texts,
                };
                self.install(platform, client, client, &execution)
            });
        let started = started.and_then(|words| {
            let token = self.slots.get_mut(&client).and_then(|slot| slot.main.take());
            platform.set_registers(token, &words)?;
            platform.answer(token.unwrap_or_default(), 0);
            Ok(())
        });
        if let Err(error) = started {
            let name = alloc::string::String::from_utf8_lossy(&file);
            platform.log(who, format_args!("cannot start {name}: {error:?}"));
            // As a shell says it: found, but cannot be executed.
            if self.programs.contains_key(&client) {
                self.finish(platform, client, exited(126), None);
            } else {
                self.over(platform, 126);
            }
            self.settle(platform);
        }
    }

    /// `clone(CLONE_VM | CLONE_VFORK)`: the child runs in the caller's memory, and the caller waits until it has executed a file
    /// or ended.
    pub(crate) fn borrow<P: Platform>(&mut self, platform: &mut P, who: Who, stack: u64) -> Result<Outcome> {
        let key = self.key(who);
        if self.slots.is_empty() {
            if self.shared.once(sys::__NR_execve.into()) {
                let line = format_args!("there are no cVMs for processes: expected linux.processes in the manifest");
                platform.log(who, line);
            }
            return Err(Error::ENOSYS);
        }
        let program = self.programs.get(&key).ok_or(Error::ESRCH)?;
        let parent = program.id;
        let id = self.shared.processes.add(None, parent)?;
        let stack = (stack != 0).then_some(stack);
        let place = match platform.clone(stack, None) {
            Ok(place) => place,
            Err(error) => {
                self.shared.processes.end(id, 0, true);
                return Err(error);
            }
        };
        let program = self.programs.get(&key).ok_or(Error::ESRCH)?;
        let blocked = program.threads.get(&who.thread).map_or(0, |thread| thread.blocked);
        let thread = Thread {
            blocked,
            ..Thread::default()
        };
        let child = Program {
            id,
            client: who.client,
            first: place,
            file: program.file.clone(),
            page: program.page,
            floats: program.floats,
            pending: 0,
            window: program.window,
            arena: Arena::default(),
            threads: [(place, thread)].into(),
            descriptors: program.descriptors.clone(),
            directory: program.directory,
            mask: program.mask,
            actions: program.actions.clone(),
            began: platform.clock(),
        };
        for open in child.descriptors.all() {
            self.shared.opens.keep(open);
        }
        self.shared.tree.opened(child.directory);
        let borrower = Who {
            client: who.client,
            thread: place,
        };
        self.borrowed.insert(borrower, BORROWED | id);
        self.programs.insert(BORROWED | id, child);
        self.shared.waiting.push(Waiting {
            who,
            token: None,
            on: On::Child { id },
        });
        Ok(Outcome::Wait {
            nanoseconds: 0,
            late: 0,
        })
    }

    /// A child needs its parent's memory no more: the parent goes on.
    fn give_back<P: Platform>(&mut self, platform: &mut P, id: u32) {
        let waits = |waiting: &Waiting| matches!(waiting.on, On::Child { id: child } if child == id);
        if let Some(index) = self.shared.waiting.iter().position(waits) {
            let waiting = self.shared.waiting.remove(index);
            if let Some(token) = waiting.token {
                platform.answer(token, id.into());
            }
        }
        self.borrowed.retain(|_, key| *key != BORROWED | id);
    }

    /// A cVM that no process is in.
    fn free_slot(&self) -> Option<u32> {
        let free = |(client, slot): &(&u32, &Slot)| {
            slot.main.is_some() && slot.leaving.is_empty() && !self.programs.contains_key(client)
        };
        let found = self.slots.iter().find(free);
        found.map(|(client, _)| *client)
    }

    /// `execve`.
    pub(crate) fn execute<P: Platform>(
        &mut self,
        platform: &mut P,
        who: Who,
        execution: &Execution,
    ) -> Result<Outcome> {
        let key = self.key(who);
        let executable = self.executable(platform, execution.node)?;
        if key & BORROWED == 0 {
            // In its own cVM, which no other thread of it may be in.
            let slot = self.slots.get(&key).ok_or(Error::ENOSYS)?;
            if !slot.takes(&executable) {
                return Err(Error::ENOMEM);
            }
            if who.thread != 0 {
                return Err(Error::EAGAIN);
            }
            self.end_threads(platform, key, Some(who), 0);
            let words = self.install(platform, key, key, execution);
            let begun = words.and_then(|words| platform.set_registers(None, &words));
            return Ok(match begun {
                Ok(()) => Outcome::Value(0),
                // There is nothing to go back to.
                Err(_) => Outcome::Killed(sys::SIGKILL),
            });
        }
        let client = self.free_slot().ok_or(Error::EAGAIN)?;
        let slot = self.slots.get(&client).ok_or(Error::EAGAIN)?;
        let token = slot.main.ok_or(Error::EAGAIN)?;
        if !slot.takes(&executable) {
            return Err(Error::ENOMEM);
        }
        let words = self.install(platform, key, client, execution)?;
        platform.set_registers(Some(token), &words)?;
        let mut program = self.programs.remove(&key).ok_or(Error::ESRCH)?;
        let id = program.id;
        program.client = client;
        program.first = 0;
        let thread = program.threads.remove(&who.thread).unwrap_or_default();
        program.threads = [(0, thread)].into();
        self.programs.insert(client, program);
        if let Some(slot) = self.slots.get_mut(&client) {
            slot.main = None;
        }
        platform.answer(token, 0);
        self.give_back(platform, id);
        Ok(Outcome::EndThread)
    }

    /// Looks at an executable file.
    fn executable<P: Platform>(&self, platform: &P, node: Node) -> Result<Executable> {
        let tree = &self.shared.tree;
        let facts = tree.facts(node)?;
        if facts.mode & sys::S_IFMT != sys::S_IFREG || facts.mode & 0o111 == 0 {
            return Err(Error::EACCES);
        }
        Executable::check(platform.roles().machine, facts.size, |offset, to| {
            tree.read(node, offset, to)
        })
    }

    /// Loads a file into a cVM, for the program with this key, which becomes it; its registers.
    fn install<P: Platform>(
        &mut self,
        platform: &mut P,
        key: u32,
        client: u32,
        execution: &Execution,
    ) -> Result<Words> {
        let executable = self.executable(platform, execution.node)?;
        let slot = self.slots.get_mut(&client).ok_or(Error::ESRCH)?;
        if !slot.takes(&executable) {
            return Err(Error::ENOMEM);
        }
        if key == client
            && let Some(program) = self.programs.get(&key)
        {
            slot.used(program.arena.touched());
            self.shared.unmap_all(platform, client);
        }
        let tree = &self.shared.tree;
        let read = |offset, to: &mut [u8]| tree.read(execution.node, offset, to);
        let loaded = slot.load(platform, client, &executable, &execution.texts, read)?;
        let heap = slot.heap.clone();
        let program = self.programs.get_mut(&key).ok_or(Error::ESRCH)?;
        program.window = loaded.window;
        program.arena = Arena::new(heap);
        program.file.clone_from(&execution.file);
        program.page = loaded.page;
        program.floats = executable.floats;
        program.pending = 0;
        program.began = platform.clock();
        // What is ignored stays so; handlers are gone with their program.
        program.actions.retain(|_, action| action.handler() == 1);
        for thread in program.threads.values_mut() {
            (thread.clear, thread.restored, thread.stack) = (0, None, 0..0);
        }
        for open in program.descriptors.take_closing() {
            self.shared.release(open);
        }
        if let Ok(process) = self.shared.processes.get_mut(program.id) {
            process.executed = true;
        }
        let roles = platform.roles();
        let mut words = [0; abi::hostcall::REGISTERS];
        words[roles.counter] = loaded.entry;
        words[roles.stack] = loaded.stack;
        Ok(words)
    }

    /// Ends the threads of a program but for the one that makes a call; where the main thread's end is the cVM's, with this exit
    /// code.
    fn end_threads<P: Platform>(&mut self, platform: &mut P, key: u32, caller: Option<Who>, code: i32) {
        let Some(program) = self.programs.get_mut(&key) else {
            return;
        };
        let client = program.client;
        let places: Vec<u16> = program.threads.keys().copied().collect();
        program
            .threads
            .retain(|place, _| caller.is_some_and(|who| who.thread == *place));
        let mut slot = self.slots.get_mut(&client);
        for place in places {
            let who = Who { client, thread: place };
            let waits = self.shared.waiting.iter().position(|waiting| waiting.is_of(who));
            let waiting = waits.and_then(|index| self.shared.waiting.remove(index).token);
            if caller == Some(who) {
                continue;
            }
            // A main thread stays, for the next program in its cVM.
            let main = place == 0;
            let known = waiting.or_else(|| slot.as_ref().and_then(|slot| slot.main.filter(|_| main)));
            let known = known.filter(|token| platform.registers(Some(*token)).is_ok());
            let token = known.map_or_else(|| platform.seize(who), Ok);
            match (token, &mut slot) {
                (Ok(token), Some(slot)) if main => slot.main = Some(token),
                (Ok(token), None) if main => platform.end(token, Some(code)),
                (Ok(token), _) => platform.end(token, None),
                (Err(Error::EAGAIN), Some(slot)) => {
                    slot.main = slot.main.filter(|_| !main);
                    slot.leaving.insert(place);
                }
                _ => {}
            }
        }
    }

    /// A program is over, with this status of `wait`. What its thread that makes a call gets.
    pub(crate) fn finish<P: Platform>(
        &mut self,
        platform: &mut P,
        key: u32,
        status: u32,
        caller: Option<Who>,
    ) -> Outcome {
        let borrows = key & BORROWED != 0;
        if let Some(program) = self.programs.get(&key).filter(|_| !borrows) {
            // Whoever borrows its memory cannot stay.
            let inside: Vec<u32> = self.of_client(program.client);
            for other in inside.into_iter().filter(|other| *other != key) {
                self.finish(platform, other, sys::SIGKILL, None);
            }
        }
        self.end_threads(platform, key, caller, code(status));
        let Some(mut program) = self.programs.remove(&key) else {
            return Outcome::EndThread;
        };
        let (client, id) = (program.client, program.id);
        let shared = &mut self.shared;
        if !borrows {
            shared.unmap_all(platform, client);
        }
        for open in program.descriptors.take_all() {
            shared.release(open);
        }
        shared.tree.closed(program.directory);
        shared.stirred = true;
        if self.programs.is_empty()
            && let Err(error) = shared.tree.finish(System::real_time(platform))
        {
            let who = Who { client, thread: 0 };
            platform.log(
                who,
                format_args!("the disk: {error:?}: what was written last may be lost"),
            );
        }
        let parent = shared.processes.get(id).map_or(0, |process| process.parent);
        let ignores = |parent: &Program| {
            let action = parent.action(sys::SIGCHLD);
            parent.id == program.id || action.handler() == 1 || action.flags() & sys::SA_NOCLDWAIT != 0
        };
        let forgotten = self.programs.values().any(|other| other.id == parent && ignores(other));
        if let Some(parent) = self.shared.processes.end(id, status, forgotten) {
            self.shared.signals.push((parent, sys::SIGCHLD));
        }
        if borrows {
            self.give_back(platform, id);
            return Outcome::EndThread;
        }
        let Some(slot) = self.slots.get_mut(&client) else {
            return Outcome::EndProgram(code(status));
        };
        slot.used(program.arena.touched());
        if caller.is_some_and(|who| who.thread == 0) {
            slot.main = None;
        }
        if id == 1 {
            self.over(platform, code(status));
        }
        self.stray(caller.unwrap_or(Who { client, thread: 0 }))
    }

    /// The first program is over: so are all other processes, and the cVMs for them.
    fn over<P: Platform>(&mut self, platform: &mut P, code: i32) {
        let Some(first) = &mut self.first else { return };
        first.over = Some(code);
        let place = first.place.as_ref().map(|(place, _)| *place);
        let clients: Vec<u32> = self.slots.keys().copied().collect();
        let inside: Vec<u32> = clients.iter().flat_map(|client| self.of_client(*client)).collect();
        for key in inside {
            self.finish(platform, key, sys::SIGKILL, None);
        }
        for (client, slot) in &mut self.slots {
            if let Some(token) = slot.main.take() {
                platform.end(token, Some(if Some(*client) == place { code } else { 0 }));
            }
        }
    }

    /// What a call gets of a thread whose program is over, or of a cVM that has none yet.
    pub(crate) fn stray(&mut self, who: Who) -> Outcome {
        let Some(slot) = self.slots.get_mut(&who.client) else {
            return Outcome::EndProgram(126);
        };
        slot.leaving.remove(&who.thread);
        if let Some(First {
            over: Some(code),
            place,
            ..
        }) = &self.first
        {
            let first = place.as_ref().is_some_and(|(place, _)| *place == who.client);
            return Outcome::EndProgram(if first { *code } else { 0 });
        }
        if who.thread != 0 {
            return Outcome::EndThread;
        }
        Outcome::Wait {
            nanoseconds: 0,
            late: 0,
        }
    }
}
