//! The usual served call, there and back: one handler, free while its server's main thread rests, and nobody else waits. The handler begins
//! and the caller goes on before anything is written down of it but a few words in the server's [`Line`]; when something
//! else happens meanwhile, [`Monitor::write_down`] makes of these what the long way would have made. Whatever is not usual
//! goes the long way: nothing has been changed when these return [`Usual::Not`].

use crate::cvm::id::{CvmId, ThreadId};
use crate::cvm::short::{Line, Short};
use crate::cvm::thread::{Call, Stage, State};
use crate::run::monitor::Monitor;
use crate::run::{call, hart};
use abi::{Errno, Hostcall};
use arch::{Frame, Register};
use core::sync::atomic::Ordering::Relaxed;

/// What became of a hostcall on its short way. What is more to be done is the caller's, so that it is nobody's in between.
pub(crate) enum Usual {
    /// This thread runs next.
    Done(&'static Frame),
    /// So does this one, when [`Scheduler::list_next`](crate::run::thread::Scheduler::list_next) has taken note of it.
    Unlisted(ThreadId),
    /// The handler runs next, when [`Monitor::lend_usually`] has lent it what the arguments name: capabilities, a buffer.
    Lending(&'static Line, [bool; 2]),
    /// The caller goes on, when [`Monitor::recall_usually`] has taken back what was lent.
    Lent(&'static Line),
    /// The handler has passed the call on.
    Delegated(&'static Line),
    /// Nothing has been changed: the long way does it.
    Not,
}

impl Monitor {
    /// A hostcall of the running thread goes to its server's handler, which runs next.
    #[inline(always)]
    pub(crate) fn usual_call(&mut self, from: &'static Frame, short: &'static Short) -> Usual {
        let Some(line) = short.line.filter(|line| line.open.load(Relaxed)) else {
            return Usual::Not;
        };
        let now = arch::timer::now();
        // The timer ends a call whose deadline comes first.
        if now.saturating_add(short.budget) < self.programmed {
            return Usual::Not;
        }
        let (to, number) = (line.handler, from.number());
        to.renew();
        let capabilities = to.pass(from);
        let mut caller = short.id;
        if short.raw {
            let thread = self.scheduler.threads.get(self.scheduler.current.index());
            caller = short.caller(thread.map_or(0, |thread| thread.place));
        }
        to.set_argument(6, Register::Integer(caller));
        to.set_argument(7, Register::Integer(number));
        to.set_number(number);
        line.begin(from, short, now);
        self.usual = Some(line);
        hart::enter(line.short());
        let buffer = number < 64 && short.buffers >> number & 1 == 1;
        if capabilities || buffer {
            return Usual::Lending(line, [capabilities, buffer]);
        }
        Usual::Done(to)
    }

    /// The usual call lends something: the handler's registers, or nothing has happened.
    #[inline(always)]
    pub(crate) fn lend_usually(&mut self, line: &'static Line, what: [bool; 2]) -> Option<&'static Frame> {
        let service = self.cvms[line.server].service.as_deref_mut()?;
        let lent = &mut service.handlers.first_mut()?.lent;
        if call::lend(line.caller(), line.handler, lent, what).is_err() {
            lent.clear();
            line.open.store(true, Relaxed);
            self.usual = None;
            hart::enter(line.client());
            return None;
        }
        line.lent.store(true, Relaxed);
        Some(line.handler)
    }

    /// The handler's part in the usual call, which is that of this line, is over: its caller, who runs next. What was lent is
    /// to be recalled.
    #[inline(always)]
    pub(crate) fn usual_end(&mut self, line: &Line) -> Option<&'static Frame> {
        let to = line.caller();
        if to.number() == Hostcall::Exit as u64 {
            return None;
        }
        // The handler's time is not its caller's.
        let spent = arch::timer::now().saturating_sub(line.called.load(Relaxed));
        self.scheduler.since += spent;
        line.end(spent);
        self.usual = None;
        hart::enter(line.client());
        Some(to)
    }

    /// What the usual call lent is gone when this returns. Nobody else has run since it began: it is in the handler's registers
    /// and on its stack, if at all.
    #[inline(always)]
    pub(crate) fn recall_usually(&mut self, line: &Line) {
        line.lent.store(false, Relaxed);
        let cvm = &mut self.cvms[line.server];
        if let Some(handler) = cvm
            .service
            .as_deref_mut()
            .and_then(|service| service.handlers.first_mut())
        {
            if line.alone {
                handler.lent.clear();
                line.handler.forget();
                cvm.clear_tags(line.area);
            } else {
                handler.began = self.scheduler.runs + 1;
                let handler = handler.thread;
                self.recall(handler, 0, true);
            }
        }
    }

    /// The usual end of a time slice: nothing is due, and another thread of the same priority is ready, and loaded.
    #[inline(never)]
    pub(crate) fn usual_switch(&mut self) -> Option<&'static Frame> {
        let now = arch::timer::now();
        let scheduler = &mut self.scheduler;
        let id = scheduler.current().filter(|_| self.usual.is_none())?;
        let due = scheduler.deadlines.first().map_or(u64::MAX, |(_, (at, _))| at);
        let threads = &mut scheduler.threads;
        let thread = &mut threads[id.index()];
        let priority = thread.priority;
        let next = scheduler
            .ready
            .first()
            .filter(|_| !scheduler.ready.reaches(priority as usize + 1))?;
        if now < scheduler.slice_end
            || due <= now
            || !scheduler.ready.holds(priority as usize)
            || thread.serving.is_some()
        {
            return None;
        }
        if threads[next.index()].is_bound() {
            return None;
        }
        threads[id.index()].run_time += now.saturating_sub(scheduler.since);
        scheduler.ready.rotate(threads, id, priority);
        scheduler.slice_end = now + scheduler.slice;
        scheduler.run(next, now);
        self.programmed = due.min(scheduler.slice_end);
        arch::timer::set_deadline(Some(self.programmed));
        let next = &self.scheduler[next];
        hart::enter(next.short);
        Some(next.frame)
    }

    /// Makes of the usual call what the long way would have made: its handler runs.
    #[inline]
    pub(crate) fn write_down(&mut self) {
        if let Some(line) = self.usual.take() {
            self.write_down_call(line);
        }
    }

    #[inline(never)]
    fn write_down_call(&mut self, line: &'static Line) {
        let Some(id) = self.scheduler.current() else { return };
        let client = line.client();
        let Some(service) = self.cvms[line.server].service.as_deref_mut() else {
            return;
        };
        let handler = &mut service.handlers[0];
        handler.began = self.scheduler.runs + 1;
        let (thread, called) = (handler.thread, line.called.load(Relaxed));
        line.lent.store(false, Relaxed);
        let since = self.scheduler.since;
        let caller = &mut self.scheduler[id];
        caller.state = State::Calling;
        caller.call = Call {
            server: CvmId::new(line.server),
            stage: Stage::Served(thread),
            until: called.saturating_add(client.budget),
            late: Errno::ETIMEDOUT.to_result(),
            number: caller.call.number.wrapping_add(1),
        };
        caller.run_time += called.saturating_sub(since);
        let priority = caller.priority;
        service.enter(priority);
        service.free = 0;
        let serving = &mut self.scheduler[thread];
        serving.state = State::Ready;
        serving.priority = priority;
        serving.serving = Some(id);
        self.scheduler.run(thread, called);
        // Its other threads work for the caller, too.
        if self.cvms[line.server].threads > 2 {
            self.reorder(CvmId::new(line.server));
        }
    }

    /// Whether the next call to a server can be a usual one.
    pub(crate) fn refresh(&mut self, server: CvmId) {
        let cvm = &self.cvms[server.index()];
        if let (Some(line), Some(service)) = (cvm.line, cvm.service.as_deref()) {
            let rests = self.scheduler[cvm.main()].state == State::Serving;
            line.open
                .store(rests && service.free != 0 && service.queue.is_empty(), Relaxed);
        }
    }
}
