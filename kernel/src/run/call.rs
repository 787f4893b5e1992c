//! cVMs that serve the hostcalls of others. A call goes from the caller's frame to the server's handler, which runs on a
//! thread, a frame and a stack of its own, with the authority of the server; the answer comes back by `reply`, or the
//! call goes on by `delegate`. One call at a time, and only while the server's main thread rests in `serve`.
//!
//! What a caller passes is lent: a capability for data only, and local, so that it can be nowhere but in the registers of
//! the handler and on its stack, the only memory that the server may store local capabilities to. Both are cleared when
//! the call ends, however it ends.

use crate::cvm::Life;
use crate::hostcall::{self, Outcome};
use crate::report::console::say;
use crate::run::monitor::Monitor;
use crate::run::thread::{State, Thread, ThreadId};
use abi::hostcall::TRANSFER_LIMIT;
use abi::{Errno, Hostcall};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use arch::{Derivation, Frame, Register, Slot, user};
use capability::Permissions;

/// What a cVM that serves others is doing.
pub(crate) struct Service {
    /// The thread that runs its handler.
    pub(crate) thread: ThreadId,
    /// Threads whose calls wait to be served, in order.
    queue: VecDeque<ThreadId>,
    /// The thread whose call the handler serves.
    caller: Option<ThreadId>,
    /// Whether that call lent a capability.
    lent: bool,
    /// Where a capability is made that is lent.
    slot: Slot,
}

/// Gives every cVM that serves others its handler's thread.
///
/// # Errors
/// A message that names the cVM that cannot serve.
pub(crate) fn prepare(monitor: &mut Monitor, boxed: impl Fn() -> Result<Box<Frame>, String>) -> Result<(), String> {
    let budgets = monitor.cvms.iter().map(|cvm| monitor.ticks(cvm.spec.call_budget));
    monitor.budgets = budgets.collect();
    for id in 0..monitor.cvms.len() {
        let clients = monitor.cvms.iter().filter(|cvm| cvm.spec.server == Some(id));
        let Some(client) = clients.clone().next() else {
            monitor.services.push(None);
            continue;
        };
        let spec = &monitor.cvms[id].spec;
        if monitor.cvms[id].program.handler.is_none() {
            return Err(format!(
                "cVM {}: callback-out = \"{}\": its program {} exports no function {}",
                client.spec.name,
                spec.name,
                spec.runtime,
                abi::hostcall::HANDLER
            ));
        }
        // A client calls from its main thread, and from its handler while it serves.
        let callers = 2 * clients.count();
        let frame = boxed().map_err(|error| format!("cVM {}: register frame of its handler: {error}", spec.name))?;
        let thread = monitor.scheduler.add_handler(id, Box::leak(frame));
        monitor.services.push(Some(Box::new(Service {
            thread,
            queue: VecDeque::with_capacity(callers),
            caller: None,
            lent: false,
            slot: Slot::null(),
        })));
    }
    Ok(())
}

impl Monitor {
    /// The cVM whose call the handler on this thread serves, if it is one.
    pub(crate) fn served_by(&self, thread: ThreadId) -> Option<usize> {
        let service = self.services[self.scheduler.threads[thread].cvm].as_ref()?;
        let caller = service.caller.filter(|_| service.thread == thread)?;
        Some(self.scheduler.threads[caller].cvm)
    }

    /// A hostcall of the running thread goes to the cVM that serves it.
    pub(crate) fn call(&mut self, caller: ThreadId, server: usize) -> Result<Outcome, Errno> {
        let now = arch::timer::now();
        let budget = self.budgets[self.scheduler.threads[caller].cvm];
        self.scheduler.block(State::Calling(now.saturating_add(budget)), now);
        self.send(caller, server, now);
        Ok(Outcome::Switch)
    }

    /// Puts the call of a thread that waits for its answer before a server.
    fn send(&mut self, caller: ThreadId, server: usize, now: u64) {
        if matches!(self.cvms[server].life, Life::Ended(_)) {
            return self.answer(caller, Errno::ECONNREFUSED.to_result());
        }
        if let Some(service) = &mut self.services[server] {
            service.queue.push_back(caller);
        }
        self.deliver(server, now);
    }

    /// Lets the handler of a server begin with the next call, when it can.
    fn deliver(&mut self, server: usize, now: u64) {
        while self.scheduler.threads[server].state == State::Serving {
            let Some(service) = &mut self.services[server] else {
                return;
            };
            if service.caller.is_some() {
                return;
            }
            let Some(caller) = service.queue.pop_front() else {
                return;
            };
            match self.lend(caller, server) {
                Ok(thread) => {
                    let priority = self.scheduler.threads[caller].priority;
                    if self.scheduler.current().is_none() {
                        self.scheduler.hand_over(thread, priority, now);
                    } else {
                        self.scheduler.threads[thread].priority = priority;
                        self.scheduler.wake(thread);
                    }
                }
                Err(errno) => self.answer(caller, errno.to_result()),
            }
        }
    }

    /// Prepares the handler's registers for a call.
    fn lend(&mut self, caller: ThreadId, server: usize) -> Result<ThreadId, Errno> {
        let Some(service) = &mut self.services[server] else {
            return Err(Errno::ECONNREFUSED);
        };
        let to = self.scheduler.threads[service.thread].frame;
        if let Err(error) = self.cvms[server].start_handler(to) {
            say!(
                Error,
                "{}: cannot run its handler: {error}",
                self.cvms[server].spec.name
            );
            return Err(Errno::EIO);
        }
        let client = &self.scheduler.threads[caller];
        match pass(client.frame, to, &service.slot) {
            Ok(lent) => service.lent = lent,
            Err(errno) => {
                to.clear();
                service.slot.clear();
                return Err(errno);
            }
        }
        service.slot.clear();
        to.set_argument(6, Register::Integer(client.cvm as u64));
        to.set_argument(7, Register::Integer(client.frame.number()));
        to.set_number(client.frame.number());
        service.caller = Some(caller);
        Ok(service.thread)
    }

    /// The call that a server's handler is busy with is over: its thread stops, and what was lent is gone. Returns the
    /// caller, if there was one.
    pub(crate) fn finish_call(&mut self, server: usize, now: u64) -> Option<ThreadId> {
        let service = self.services[server].as_mut()?;
        let caller = service.caller.take()?;
        let (thread, lent) = (service.thread, core::mem::take(&mut service.lent));
        self.withdraw(thread, now);
        self.scheduler.stop(thread, now);
        self.scheduler.threads[thread].frame.clear();
        if lent {
            self.cvms[server].clear_service_stack();
        }
        Some(caller)
    }

    /// Gives a caller its result and lets it go on.
    fn answer(&mut self, caller: ThreadId, result: u64) {
        self.set_answer(caller, result);
        self.scheduler.wake(caller);
    }

    /// Gives a caller its result. Whatever a server says to an exit, the caller ends.
    fn set_answer(&mut self, caller: ThreadId, result: u64) {
        let caller = &mut self.scheduler.threads[caller];
        if caller.frame.number() == Hostcall::Exit as u64 {
            caller.exiting = Some(caller.frame.argument(0) as i32);
        }
        caller.frame.set_result(result);
    }

    /// The server whose handler this thread is.
    fn handler(&self, thread: ThreadId) -> Result<usize, Errno> {
        let server = self.scheduler.threads[thread].cvm;
        if server == thread {
            Err(Errno::EPERM)
        } else {
            Ok(server)
        }
    }

    /// `serve()`.
    pub(crate) fn serve(&mut self, thread: ThreadId) -> Result<Outcome, Errno> {
        let id = self.scheduler.threads[thread].cvm;
        if thread != id {
            return Err(Errno::EPERM);
        }
        if self.services[id].is_none() || self.clients_have_ended(id) {
            return Ok(Outcome::Value(0));
        }
        let now = arch::timer::now();
        self.scheduler.block(State::Serving, now);
        self.deliver(id, now);
        Ok(Outcome::Switch)
    }

    /// `reply(value, second, with_second)`.
    pub(crate) fn reply(&mut self, thread: ThreadId, frame: &Frame) -> Result<Outcome, Errno> {
        let server = self.handler(thread)?;
        let (value, second, with_second) = (frame.argument(0), frame.argument(1), frame.argument(2) == 1);
        let now = arch::timer::now();
        if let Some(caller) = self.finish_call(server, now) {
            self.set_answer(caller, value);
            let answered = &self.scheduler.threads[caller];
            if with_second {
                answered.frame.set_second(second);
            }
            let priority = answered.priority;
            self.scheduler.hand_over(caller, priority, now);
        }
        self.deliver(server, now);
        Ok(Outcome::Switch)
    }

    /// `delegate()`.
    pub(crate) fn delegate(&mut self, thread: ThreadId) -> Result<Outcome, Errno> {
        let server = self.handler(thread)?;
        let now = arch::timer::now();
        let Some(caller) = self.finish_call(server, now) else {
            return Ok(Outcome::Switch);
        };
        match self.cvms[server].spec.server {
            Some(next) => self.send(caller, next, now),
            None => {
                let Thread { frame, priority, .. } = self.scheduler.threads[caller];
                self.scheduler.hand_over(caller, priority, now);
                hostcall::serve_delegated(self, caller, frame);
            }
        }
        self.deliver(server, now);
        Ok(Outcome::Switch)
    }

    /// A thread is about to stop: if it waits for the answer to a call, nobody works on that call any more.
    pub(crate) fn withdraw(&mut self, caller: ThreadId, now: u64) {
        if !matches!(self.scheduler.threads[caller].state, State::Calling(_)) {
            return;
        }
        for server in 0..self.services.len() {
            let Some(service) = &mut self.services[server] else {
                continue;
            };
            service.queue.retain(|other| *other != caller);
            if service.caller == Some(caller) {
                self.finish_call(server, now);
                self.deliver(server, now);
            }
        }
    }

    /// Calls whose budget is used up: the caller gets an error, the handler is stopped.
    pub(crate) fn end_late_calls(&mut self, now: u64) {
        for caller in 0..self.scheduler.threads.len() {
            let thread = &self.scheduler.threads[caller];
            if !matches!(thread.state, State::Calling(until) if until <= now) {
                continue;
            }
            say!(
                Debug,
                "{}: a hostcall was not served in time",
                self.cvms[thread.cvm].spec.name
            );
            self.withdraw(caller, now);
            self.answer(caller, Errno::ETIMEDOUT.to_result());
        }
    }

    /// A cVM has ended, for good or to be started again: whom it served, and who waits for it in vain, gets an error.
    pub(crate) fn server_ended(&mut self, server: usize, caller: Option<ThreadId>) {
        if let Some(caller) = caller {
            self.answer(caller, Errno::ECONNRESET.to_result());
        }
        if !matches!(self.cvms[server].life, Life::Ended(_)) {
            return;
        }
        let Some(service) = &mut self.services[server] else {
            return;
        };
        let mut queue = core::mem::take(&mut service.queue);
        while let Some(caller) = queue.pop_front() {
            self.answer(caller, Errno::ECONNREFUSED.to_result());
        }
    }

    /// A cVM has ended: when it was the last one that its server had to serve, the server goes on.
    pub(crate) fn client_ended(&mut self, client: usize) {
        let Some(server) = self.cvms[client].spec.server else {
            return;
        };
        if self.scheduler.threads[server].state == State::Serving && self.clients_have_ended(server) {
            self.answer(server, 0);
        }
    }

    fn clients_have_ended(&self, server: usize) -> bool {
        let mut clients = self.cvms.iter().filter(|cvm| cvm.spec.server == Some(server));
        clients.all(|cvm| matches!(cvm.life, Life::Ended(_)))
    }
}

/// Puts a caller's arguments into the registers of the handler; whether a capability is among them. `slot` is where each
/// is made.
fn pass(from: &Frame, to: &Frame, slot: &Slot) -> Result<bool, Errno> {
    let hostcall = Hostcall::from_number(from.number());
    let buffer = hostcall.and_then(Hostcall::buffer);
    // The buffer of a caller without capabilities is a pointer and a length.
    let buffer = buffer.filter(|buffer| !from.argument_slot(buffer.pointer).tag());
    let (mut lent, mut length) = (false, 0);
    for index in 0..6 {
        let capability = match buffer {
            Some(buffer) if buffer.pointer == index => {
                length = mint(slot, from, index, buffer.written)?;
                length > 0
            }
            _ => narrow(slot, from.argument_slot(index)),
        };
        let value = match buffer {
            _ if capability => Register::Capability(slot),
            Some(buffer) if buffer.pointer + 1 == index => Register::Integer(length),
            _ => Register::Integer(from.argument(index)),
        };
        lent |= capability;
        to.set_argument(index, value);
    }
    Ok(lent)
}

/// Makes a capability over exactly the buffer that an integer pointer and the length behind it name; returns the length,
/// which is what one hostcall transfers at most. Nothing is made for a buffer of length 0.
fn mint(slot: &Slot, from: &Frame, pointer: usize, written: bool) -> Result<u64, Errno> {
    let asked = hostcall::length(from.argument(pointer + 1))?;
    let mut length = asked.min(TRANSFER_LIMIT) as u64;
    if length == 0 {
        return Ok(0);
    }
    let base = user::absolute(from.data(), from.argument(pointer));
    // The last bytes of a long buffer that begins at an odd place are left for another call.
    loop {
        let (bounds, alignment) = arch::representable(length);
        if bounds == length && base.is_multiple_of(alignment) {
            break;
        }
        length -= 1;
    }
    let permissions = if written { Permissions::STORE } else { Permissions::LOAD };
    let request = Derivation {
        base,
        length,
        permissions,
        address: base,
    };
    slot.derive(from.data(), &request).map_err(|_| Errno::EFAULT)?;
    Ok(length)
}

/// Makes what is lent of a capability argument: its bounds, for loads and stores of data. Whether there is anything to
/// lend: a sealed capability is not.
fn narrow(slot: &Slot, argument: &Slot) -> bool {
    if !argument.tag() {
        return false;
    }
    let what = argument.decoded();
    if what.seal.is_sealed() {
        return false;
    }
    let request = Derivation {
        base: what.base,
        length: (what.top - u128::from(what.base)) as u64,
        permissions: what.permissions & (Permissions::LOAD | Permissions::STORE),
        address: what.address,
    };
    slot.derive(argument, &request).is_ok()
}
