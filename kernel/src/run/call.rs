//! cVMs that serve the hostcalls of others. A call goes from the caller's frame to a handler of the server, which runs on a
//! thread, a frame and a stack of its own, with the authority of the server, in its caller's time; the answer comes back by
//! `reply`, or later by `answer`, or the call goes on by `delegate`. Calls are served as many at a time as the server has
//! handlers, and only while its main thread rests in `serve`.
//!
//! What a caller passes is lent; what becomes of it at the end is in [`recall`](crate::run::recall).

use crate::cvm::id::{CvmId, ThreadId};
use crate::cvm::service::{ARGUMENTS, Lent, Service};
use crate::cvm::short::NAME_BUFFERS;
use crate::cvm::thread::{Leaving, Role, Stage, State};
use crate::cvm::{End, Life};
use crate::report::console::say;
use crate::run::monitor::{Monitor, Outcome};
use abi::hostcall::{TRANSFER_LIMIT, WAIT_ON, WITH_SECOND};
use abi::{Errno, Hostcall};
use arch::{Frame, Register, user};

impl Monitor {
    /// The cVM whose call the handler on this thread serves, if it is one.
    pub(crate) fn served_by(&self, thread: ThreadId) -> Option<CvmId> {
        self.scheduler[thread].serving.map(|caller| self.scheduler[caller].cvm)
    }

    #[inline]
    fn service(&mut self, server: CvmId) -> Option<&mut Service> {
        self.cvms[server.index()].service.as_deref_mut()
    }

    /// A hostcall of the running thread goes to the cVM that serves it.
    pub(crate) fn call(&mut self, caller: ThreadId, server: CvmId) -> Outcome {
        let now = arch::timer::now();
        let budget = self.cvms[self.scheduler[caller].cvm.index()].short.budget;
        let call = &mut self.scheduler[caller].call;
        call.number = call.number.wrapping_add(1);
        call.until = now.saturating_add(budget);
        call.late = Errno::ETIMEDOUT.to_result();
        self.scheduler.block(State::Calling, now);
        self.send(caller, server, now);
        Outcome::Switch
    }

    /// Puts the call of a thread that waits for its answer before a server. Nobody runs, or somebody else.
    fn send(&mut self, caller: ThreadId, server: CvmId, now: u64) {
        let cvm = &mut self.cvms[server.index()];
        let main = cvm.main();
        let Some(service) = cvm
            .service
            .as_deref_mut()
            .filter(|_| !matches!(cvm.life, Life::Ended(_)))
        else {
            self.refuse_call(caller, Errno::ECONNREFUSED);
            return self.scheduler.hand_over(caller, now);
        };
        let priority = self.scheduler[caller].priority;
        service.enter(priority);
        let free = service.free != 0 && service.queue.is_empty() && self.scheduler[main].state == State::Serving;
        let call = &mut self.scheduler[caller].call;
        call.server = server;
        call.stage = Stage::Queued;
        if free {
            let handler = service.free.trailing_zeros() as usize;
            match self.begin(caller, server, handler) {
                Ok(thread) => self.scheduler.hand_over(thread, now),
                Err(errno) => {
                    self.leave_service(caller);
                    self.refuse_call(caller, errno);
                    return self.scheduler.hand_over(caller, now);
                }
            }
            if self.cvms[server.index()].threads > 2 {
                self.reorder(server);
            }
        } else {
            service.queue.push(&mut self.scheduler.threads, caller, priority);
            self.scheduler.limit(caller);
            self.reorder(server);
        }
        self.refresh(server);
    }

    /// Lets free handlers of a server begin with the calls that wait.
    fn deliver(&mut self, server: CvmId) {
        loop {
            let cvm = &mut self.cvms[server.index()];
            let main = cvm.main();
            let Some(service) = cvm.service.as_deref_mut() else {
                return;
            };
            if service.free == 0 || service.queue.is_empty() || self.scheduler[main].state != State::Serving {
                return;
            }
            let handler = service.free.trailing_zeros() as usize;
            let Some(caller) = service.queue.pop(&mut self.scheduler.threads) else {
                return;
            };
            match self.begin(caller, server, handler) {
                Ok(thread) => self.scheduler.wake(thread),
                Err(errno) => {
                    self.scheduler.deadlines.remove(caller.index());
                    self.leave_service(caller);
                    self.refuse_call(caller, errno);
                    self.scheduler.wake(caller);
                }
            }
        }
    }

    /// Prepares a free handler's registers for a call, and makes the call its own.
    fn begin(&mut self, caller: ThreadId, server: CvmId, index: usize) -> Result<ThreadId, Errno> {
        let short = self.cvms[self.scheduler[caller].cvm.index()].short;
        let Some(service) = self.cvms[server.index()].service.as_deref_mut() else {
            return Err(Errno::ECONNREFUSED);
        };
        let greatest = service.greatest();
        let handler = &mut service.handlers[index];
        let (client, thread) = (&self.scheduler[caller], handler.thread);
        let (from, to) = (client.frame, self.scheduler[thread].frame);
        to.renew();
        if let Err(errno) = pass((from, short.raw), to, &mut handler.lent) {
            to.forget();
            handler.lent.clear();
            return Err(errno);
        }
        let number = from.number();
        to.set_argument(6, Register::Integer(short.caller(client.place)));
        to.set_argument(7, Register::Integer(number));
        to.set_number(number);
        handler.began = self.scheduler.runs + 1;
        service.free &= !(1 << index);
        let priority = greatest.unwrap_or(client.priority);
        self.scheduler[caller].call.stage = Stage::Served(thread);
        let thread = &mut self.scheduler[thread];
        thread.serving = Some(caller);
        thread.priority = priority;
        Ok(handler.thread)
    }

    /// A caller does not wait for its server any more.
    fn leave_service(&mut self, caller: ThreadId) {
        let thread = &self.scheduler[caller];
        let (server, priority) = (thread.call.server, thread.priority);
        if let Some(service) = self.service(server) {
            service.leave(priority);
        }
    }

    /// Whether only its server knows what a thread's hostcalls mean.
    pub(super) fn is_raw(&self, thread: ThreadId) -> bool {
        self.cvms[self.scheduler[thread].cvm.index()].short.raw
    }

    /// Gives a caller its result. Whatever a server says to an exit, the caller ends.
    #[inline]
    fn set_answer(&mut self, caller: ThreadId, result: u64) {
        let frame = self.scheduler[caller].frame;
        if frame.number() == Hostcall::Exit as u64 && !self.is_raw(caller) {
            self.leave(caller, Leaving::Cvm(End::Exited(frame.argument(0) as i32)));
        }
        frame.set_result(result);
    }

    /// Ends a thread, or its cVM, before it would run again.
    pub(super) fn leave(&mut self, thread: ThreadId, what: Leaving) {
        let thread = &mut self.scheduler[thread];
        thread.leaving = Some(what);
        thread.pending = true;
    }

    /// Gives a caller an error in its server's place. A raw client can do nothing without its server.
    fn refuse_call(&mut self, caller: ThreadId, errno: Errno) {
        self.set_answer(caller, errno.to_result());
        if self.is_raw(caller) {
            self.leave(caller, Leaving::Cvm(End::Orphaned));
        }
    }

    /// Ends a call as its server says: value, second value, how.
    #[inline]
    fn conclude(&mut self, caller: ThreadId, [value, second, how]: [u64; 3]) {
        self.set_answer(caller, value);
        if how == WITH_SECOND {
            self.scheduler[caller].frame.set_second(second);
        } else if how != 0 {
            self.conclude_raw(caller, [value, second, how]);
        }
    }

    /// The handler's part in a call is over: it is free, and what was lent is gone. It runs no more.
    fn park(&mut self, handler: ThreadId, index: u8, now: u64) {
        self.scheduler.stop(handler, now);
        let server = self.scheduler[handler].cvm;
        let Some(service) = self.service(server) else { return };
        service.free |= 1 << index;
        let lent = !service.handlers[index as usize].lent.is_empty();
        if lent {
            self.recall(handler, index, true);
        }
        self.refresh(server);
    }

    /// The server whose handler this thread is, and the handler's place.
    #[inline]
    fn handler(&self, thread: ThreadId) -> Result<(CvmId, u8), Errno> {
        match self.scheduler[thread].role {
            Role::Handler(index) => Ok((self.scheduler[thread].cvm, index)),
            _ => Err(Errno::EPERM),
        }
    }

    /// `serve()`.
    pub(crate) fn serve(&mut self, thread: ThreadId) -> Result<Outcome, Errno> {
        let server = self.scheduler[thread].cvm;
        if self.scheduler[thread].role != Role::Main {
            return Err(Errno::EPERM);
        }
        self.open_gates(server);
        let linked = self.cvms[server.index()].is_linked;
        if !linked && self.service(server).is_none_or(|service| service.clients == 0) {
            return Ok(Outcome::Value(0));
        }
        self.scheduler.block(State::Serving, arch::timer::now());
        self.deliver(server);
        self.refresh(server);
        if linked {
            self.release_servers();
        }
        Ok(Outcome::Switch)
    }

    /// `reply(value, second, how)`.
    pub(crate) fn reply(&mut self, thread: ThreadId, frame: &Frame) -> Result<Outcome, Errno> {
        let (server, index) = self.handler(thread)?;
        let answer = [0, 1, 2].map(|index| frame.argument(index));
        let now = arch::timer::now();
        let caller = self.scheduler[thread].serving.take();
        self.park(thread, index, now);
        if let Some(caller) = caller {
            self.settle(caller);
            self.conclude(caller, answer);
            self.scheduler.hand_over(caller, now);
        }
        self.settled(server);
        Ok(Outcome::Switch)
    }

    /// `delegate()`. Without a next server, the caller runs again, and its hostcall is the monitor's to serve.
    pub(crate) fn delegate(&mut self, thread: ThreadId) -> Result<Outcome, Errno> {
        let (server, index) = self.handler(thread)?;
        let now = arch::timer::now();
        let caller = self.scheduler[thread].serving.take();
        self.park(thread, index, now);
        let mut outcome = Outcome::Switch;
        if let Some(caller) = caller {
            self.settle(caller);
            match self.cvms[server.index()].server {
                // Nobody else knows what it means.
                _ if self.is_raw(caller) => {
                    self.set_answer(caller, Errno::ENOSYS.to_result());
                    self.scheduler.hand_over(caller, now);
                }
                Some(next) => self.send(caller, next, now),
                None => {
                    self.scheduler.hand_over(caller, now);
                    outcome = Outcome::Delegated(caller);
                }
            }
        }
        self.settled(server);
        Ok(outcome)
    }

    /// Lets a call end with `late` when so many nanoseconds have passed, if its budget does not end it before.
    pub(super) fn set_limit(&mut self, caller: ThreadId, nanoseconds: u64, late: u64) {
        // As `nanosleep`: at least the time asked for.
        let until = arch::timer::now()
            .saturating_add(self.ticks(nanoseconds))
            .saturating_add(1);
        let call = &mut self.scheduler[caller].call;
        if until < call.until {
            (call.until, call.late) = (until, late);
            self.scheduler.deadlines.remove(caller.index());
        }
    }

    /// `defer(nanoseconds, value)`.
    pub(crate) fn defer(&mut self, thread: ThreadId, frame: &Frame) -> Result<Outcome, Errno> {
        let (server, index) = self.handler(thread)?;
        let caller = self.scheduler[thread].serving.take().ok_or(Errno::EPERM)?;
        if frame.argument(0) != 0 {
            self.set_limit(caller, frame.argument(0), frame.argument(1));
        }
        self.scheduler.limit(caller);
        let priority = self.scheduler[caller].priority;
        if let Some(service) = self.cvms[server.index()].service.as_deref_mut() {
            service.deferred.push(&mut self.scheduler.threads, caller, priority);
        }
        self.recall(thread, index, false);
        self.scheduler[caller].call.stage = Stage::Deferred;
        Ok(Outcome::Value(self.token(caller)))
    }

    /// Who waits for an answer of a server by this token.
    pub(super) fn deferred(&self, server: CvmId, token: u64) -> Result<ThreadId, Errno> {
        let caller = ThreadId::new((token & 0xffff) as usize);
        let waiting = self.scheduler.threads.get(caller.index()).is_some_and(|caller| {
            caller.state == State::Calling
                && caller.call.server == server
                && caller.call.stage == Stage::Deferred
                && u64::from(caller.call.number) == token >> 16
        });
        if waiting { Ok(caller) } else { Err(Errno::ENOENT) }
    }

    /// What stands for a deferred call.
    pub(super) fn token(&self, caller: ThreadId) -> u64 {
        u64::from(self.scheduler[caller].call.number) << 16 | caller.index() as u64
    }

    /// `answer(token, value, second, how)`.
    pub(crate) fn answer_deferred(&mut self, thread: ThreadId, frame: &Frame) -> Result<Outcome, Errno> {
        let server = self.scheduler[thread].cvm;
        let caller = self.deferred(server, frame.argument(0))?;
        if frame.argument(3) == WAIT_ON && self.is_raw(caller) {
            self.wait_on(caller, [1, 2].map(|index| frame.argument(index)));
            return Ok(Outcome::Value(0));
        }
        self.undo(caller, arch::timer::now());
        self.conclude(caller, [1, 2, 3].map(|index| frame.argument(index)));
        self.scheduler.wake(caller);
        self.settled(server);
        Ok(Outcome::Value(0))
    }

    /// A call has left its server: its budget does not count any more, nor does its caller's priority.
    #[inline]
    fn settle(&mut self, caller: ThreadId) {
        self.scheduler.deadlines.remove(caller.index());
        self.leave_service(caller);
    }

    /// A call has left this server: the next ones can begin, and who worked for it has the priority of who is left.
    #[inline]
    fn settled(&mut self, server: CvmId) {
        let cvm = &self.cvms[server.index()];
        let queued = cvm.service.as_ref().is_some_and(|service| !service.queue.is_empty());
        if queued || cvm.threads > 2 {
            self.deliver(server);
            self.reorder(server);
            self.refresh(server);
        }
    }

    /// Nobody works on a thread's call any more; the thread still waits for an answer.
    fn undo(&mut self, caller: ThreadId, now: u64) {
        let call = self.scheduler[caller].call;
        self.settle(caller);
        match call.stage {
            Stage::Served(handler) => self.abandon(handler, now),
            stage => {
                if let Some(service) = self.cvms[call.server.index()].service.as_deref_mut() {
                    let list = match stage {
                        Stage::Deferred => &mut service.deferred,
                        _ => &mut service.queue,
                    };
                    list.remove(&mut self.scheduler.threads, caller);
                }
            }
        }
    }

    /// A handler stops in the middle of its work; so does whoever works for it.
    pub(crate) fn abandon(&mut self, handler: ThreadId, now: u64) {
        self.scheduler[handler].serving = None;
        self.withdraw(handler, now);
        self.forget_calls(handler);
        if let Role::Handler(index) = self.scheduler[handler].role {
            self.park(handler, index, now);
        }
        self.scheduler[handler].frame.forget();
    }

    /// A thread is about to stop: if it waits for the answer to a call, nobody works on that call any more.
    pub(crate) fn withdraw(&mut self, caller: ThreadId, now: u64) {
        if self.scheduler[caller].state == State::Calling {
            let server = self.scheduler[caller].call.server;
            self.undo(caller, now);
            self.scheduler[caller].state = State::Stopped;
            self.settled(server);
        }
    }

    /// A call that is not answered ends with an error.
    pub(crate) fn fail(&mut self, caller: ThreadId, errno: Errno, now: u64) {
        self.withdraw(caller, now);
        self.refuse_call(caller, errno);
        self.scheduler.wake(caller);
    }

    /// The budget of a call is used up: the caller gets an error, or what its server said for this case; the handler is
    /// stopped.
    pub(crate) fn end_late(&mut self, caller: ThreadId, now: u64) {
        let (client, late) = (self.scheduler[caller].cvm, self.scheduler[caller].call.late);
        if Errno::from_result(late) == Some(Errno::ETIMEDOUT) {
            say!(
                Debug,
                "{}: a hostcall was not served in time",
                self.cvms[client.index()].spec.name
            );
        }
        self.withdraw(caller, now);
        self.set_answer(caller, late);
        self.scheduler.wake(caller);
    }

    /// A life of a cVM is over: whom it was serving gets an error.
    pub(crate) fn calls_ended(&mut self, server: CvmId, now: u64) {
        for handler in self.cvms[server.index()].handlers() {
            if let Some(caller) = self.scheduler[handler].serving {
                self.fail(caller, Errno::ECONNRESET, now);
            } else {
                self.abandon(handler, now);
            }
        }
        while let Some(caller) = self.service(server).and_then(|service| service.deferred.first()) {
            self.fail(caller, Errno::ECONNRESET, now);
        }
    }

    /// A cVM has ended for good: who waits for it in vain gets an error.
    pub(crate) fn queue_ended(&mut self, server: CvmId, now: u64) {
        while let Some(caller) = self.service(server).and_then(|service| service.queue.first()) {
            self.fail(caller, Errno::ECONNREFUSED, now);
        }
    }

    /// A cVM has ended for good: when it was the last one that its servers had to serve, these go on.
    pub(crate) fn client_ended(&mut self, client: CvmId) {
        if let Some(server) = self.cvms[client.index()].server {
            let Some(service) = self.service(server) else { return };
            service.clients -= 1;
            if service.clients == 0 && !self.cvms[server.index()].is_linked {
                self.release_server(server);
            }
        }
        if self.callers.is_empty() {
            return;
        }
        self.release_servers();
    }

    /// A server that rests goes on: nobody calls it any more.
    pub(super) fn release_server(&mut self, server: CvmId) {
        let main = self.cvms[server.index()].main();
        if self.scheduler[main].state == State::Serving {
            self.scheduler[main].frame.set_result(0);
            self.scheduler.wake(main);
            self.refresh(server);
        }
    }

    /// Gives the threads of a server the priority of the greatest among those that wait for it, where it is greater than their
    /// own; a handler has no other. What they call themselves follows.
    pub(crate) fn reorder(&mut self, server: CvmId) {
        let cvm = &self.cvms[server.index()];
        let greatest = cvm.service.as_ref().and_then(|service| service.greatest());
        for id in cvm.all_threads() {
            let thread = &self.scheduler[id];
            let priority = match thread.role {
                Role::Handler(_) => greatest.unwrap_or(thread.base),
                _ => greatest.unwrap_or(0).max(thread.base),
            };
            let (was, calls) = (thread.priority, thread.state == State::Calling);
            let call = thread.call;
            if priority == was || thread.state == State::Stopped {
                continue;
            }
            self.scheduler.set_priority(id, priority);
            if !calls {
                continue;
            }
            if let Some(service) = self.cvms[call.server.index()].service.as_deref_mut() {
                service.leave(was);
                service.enter(priority);
                let list = match call.stage {
                    Stage::Queued => Some(&mut service.queue),
                    Stage::Deferred => Some(&mut service.deferred),
                    Stage::Served(_) => None,
                };
                if let Some(list) = list {
                    list.remove(&mut self.scheduler.threads, id);
                    list.push(&mut self.scheduler.threads, id, priority);
                }
            }
            // A chain of servers has an end: `abi::manifest::SERVER_LIMIT`.
            self.reorder(call.server);
        }
    }
}

/// Puts a caller's arguments into the registers of the handler, and notes what is lent.
fn pass((from, raw): (&Frame, bool), to: &Frame, lent: &mut heapless::Vec<Lent, ARGUMENTS>) -> Result<(), Errno> {
    let capabilities = to.pass(from);
    let buffer = names_buffer(from.number(), raw);
    if !capabilities && !buffer {
        return Ok(());
    }
    lend(from, to, lent, [capabilities, buffer])
}

/// Whether the arguments of a hostcall name a buffer.
#[inline]
fn names_buffer(number: u64, raw: bool) -> bool {
    number < 64 && NAME_BUFFERS >> number & 1 == 1 && !raw
}

/// What the arguments of the hostcalls say of buffers, bit n = number n.
struct Buffers {
    /// The second one points to it, and not the first.
    second: u64,
    written: u64,
}

const BUFFERS: Buffers = {
    let (mut second, mut written, mut index) = (0, 0, 0);
    while index < Hostcall::ALL.len() {
        let hostcall = Hostcall::ALL[index];
        if let Some(buffer) = hostcall.buffer() {
            assert!(buffer.pointer < 2);
            second |= (buffer.pointer as u64) << hostcall as u64;
            written |= (buffer.written as u64) << hostcall as u64;
        }
        index += 1;
    }
    Buffers { second, written }
};

/// Makes what is lent of arguments that have been passed as they are.
#[inline(always)]
pub(super) fn lend(
    from: &Frame,
    to: &Frame,
    lent: &mut heapless::Vec<Lent, ARGUMENTS>,
    [capabilities, buffer]: [bool; 2],
) -> Result<(), Errno> {
    if capabilities {
        lend_capabilities(from, to, lent);
    }
    if buffer {
        lend_buffer(from, to, lent)?;
    }
    Ok(())
}

#[inline(never)]
fn lend_capabilities(from: &Frame, to: &Frame, lent: &mut heapless::Vec<Lent, ARGUMENTS>) {
    for index in 0..ARGUMENTS {
        let argument = from.argument_slot(index);
        if let Some((base, length, use_of)) = to.argument_slot(index).narrow(argument) {
            note(lent, base, length, use_of);
        } else if argument.tag() {
            to.set_argument(index, Register::Integer(argument.integer()));
        }
    }
}

/// The buffer of a caller without capabilities is a pointer and a length.
#[inline(never)]
fn lend_buffer(from: &Frame, to: &Frame, lent: &mut heapless::Vec<Lent, ARGUMENTS>) -> Result<(), Errno> {
    let number = from.number();
    let (pointer, written) = (BUFFERS.second >> number & 1, BUFFERS.written >> number & 1 == 1);
    let pointer = pointer as usize;
    if from.argument_slot(pointer).tag() {
        return Ok(());
    }
    let base = user::absolute(from.data(), from.argument(pointer));
    let length = buffer_length(base, from.argument(pointer + 1))?;
    to.set_argument(pointer + 1, Register::Integer(length));
    if length > 0 {
        let made = to.argument_slot(pointer).lend(from.data(), base, length, written);
        made.map_err(|_| Errno::EFAULT)?;
        note(lent, base, length, [!written, written]);
    }
    Ok(())
}

#[inline]
fn note(lent: &mut heapless::Vec<Lent, ARGUMENTS>, base: u64, length: u64, [load, store]: [bool; 2]) {
    // There is room for every argument.
    let _ = lent.push(Lent {
        range: base..base.saturating_add(length),
        load,
        store,
    });
}

/// How much of a buffer of so many bytes is lent: what one hostcall transfers at most, and what a capability can say exactly.
#[inline]
fn buffer_length(base: u64, asked: u64) -> Result<u64, Errno> {
    let mut length = super::length(asked)?.min(TRANSFER_LIMIT) as u64;
    // The last bytes of a long buffer that begins at an odd place are left for another call.
    while length > 0 {
        let (bounds, alignment) = arch::representable(length);
        if bounds == length && base & (alignment - 1) == 0 {
            break;
        }
        length -= 1;
    }
    Ok(length)
}

impl Monitor {
    /// A cVM that could not be started again has ended for good.
    pub(crate) fn refuse(&mut self, id: CvmId, now: u64) {
        self.close(id, End::Failed);
        self.queue_ended(id, now);
    }
}
