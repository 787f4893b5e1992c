//! The usual served call, there and back: one handler, which is free while its server rests; nobody else waits. It does what
//! [`call`](crate::run::call) does, with every step that is idle then left out, in a tenth of the instructions. Whatever
//! is not usual goes the long way: nothing has been changed when these return `None`.

use crate::cvm::id::{CvmId, ThreadId};
use crate::cvm::short::Short;
use crate::cvm::thread::{Role, Stage, State};
use crate::run::hart;
use crate::run::monitor::Monitor;
use abi::Hostcall;
use arch::{Frame, Register};

impl Monitor {
    /// A hostcall of the running thread that goes to its server.
    #[inline]
    pub(crate) fn usual_call(&mut self, id: ThreadId, from: &Frame, short: &Short) -> Option<&'static Frame> {
        let cvm = &mut self.cvms[short.server];
        let (main, usual) = (cvm.first_thread, cvm.threads == 2);
        let service = cvm.service.as_deref_mut().filter(|_| usual)?;
        let scheduler = &mut self.scheduler;
        let handler = service.handlers.first_mut()?;
        let threads = &mut scheduler.threads;
        if service.free == 0 || !service.queue.is_empty() || threads[main.index()].state != State::Serving {
            return None;
        }
        let [caller, thread] = threads.get_disjoint_mut([id.index(), handler.thread.index()]).ok()?;
        // The usual server's own priority is that of its only caller; a thread that serves somebody has a deadline to set.
        if caller.serving.is_some() {
            return None;
        }
        let (to, number) = (thread.frame, from.number());
        to.renew();
        super::call::pass(from, to, &service.slot, &mut handler.lent).ok()?;
        to.set_argument(6, Register::Integer(caller.cvm.index() as u64));
        to.set_argument(7, Register::Integer(number));
        to.set_number(number);
        let now = arch::timer::now();
        let until = now.saturating_add(short.budget);
        caller.call.server = CvmId::new(short.server);
        caller.call.stage = Stage::Served(handler.thread);
        caller.call.until = until;
        caller.call.number = caller.call.number.wrapping_add(1);
        caller.state = State::Calling;
        caller.run_time += now.saturating_sub(scheduler.since);
        thread.state = State::Ready;
        thread.priority = caller.priority;
        thread.serving = Some(id);
        handler.began = scheduler.runs + 1;
        let handler = handler.thread;
        service.enter(caller.priority);
        service.free = 0;
        scheduler.run(handler, now);
        if until < self.programmed {
            self.program();
        }
        hart::enter(self.cvms[short.server].short);
        Some(to)
    }

    /// The running handler's part in its call is over, and its caller runs again; returns the caller.
    #[inline]
    pub(crate) fn usual_end(&mut self, id: ThreadId) -> Option<ThreadId> {
        let scheduler = &mut self.scheduler;
        let thread = &mut scheduler.threads[id.index()];
        let caller_id = thread.serving.filter(|_| thread.role == Role::Handler(0))?;
        let cvm = &mut self.cvms[thread.cvm.index()];
        let usual = cvm.threads == 2;
        let service = cvm.service.as_deref_mut().filter(|_| usual)?;
        let [thread, caller] = scheduler
            .threads
            .get_disjoint_mut([id.index(), caller_id.index()])
            .ok()?;
        let priority = caller.priority as usize;
        let exits = caller.frame.number() == Hostcall::Exit as u64;
        if exits
            || !service.queue.is_empty()
            || scheduler.ready.reaches(priority + 1)
            || scheduler.deadlines.contains(caller_id.index())
        {
            return None;
        }
        let now = arch::timer::now();
        thread.state = State::Stopped;
        thread.serving = None;
        thread.run_time += now.saturating_sub(scheduler.since);
        service.free = 1;
        service.leave(caller.priority);
        caller.state = State::Ready;
        let until = caller.call.until;
        let client = caller.cvm;
        if !service.handlers[0].lent.is_empty() {
            self.recall(id, 0, true);
        }
        self.scheduler.run(caller_id, now);
        if until <= self.programmed {
            self.program();
        }
        hart::enter(self.cvms[client.index()].short);
        Some(caller_id)
    }
}
