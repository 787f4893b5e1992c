//! Raw clients (`raw` in the manifest): cVMs whose hostcalls only their server understands. The monitor hands over number and
//! arguments as they are, and before the first instruction makes a call for the client by which its server learns where the
//! client's memory is. The server is the client's whole world: it may end it, make threads for it within its quota, and
//! takes as long as it likes; without it the client ends.

use crate::cvm::End;
use crate::cvm::id::ThreadId;
use crate::cvm::thread::{Leaving, Role};
use crate::run::monitor::{Monitor, Outcome};
use abi::Errno;
use abi::hostcall::{END_CVM, END_THREAD, START, WITH_STACK};
use arch::{Frame, Register};

impl Monitor {
    /// The call that the monitor makes for a raw client whose load is done; it runs now.
    pub(crate) fn call_at_start(&mut self, thread: ThreadId) {
        let cvm = &self.cvms[self.scheduler[thread].cvm.index()];
        let Some(server) = cvm.server else { return };
        let outer = &self.cvms[server.index()];
        let memory = cvm.memory();
        let inside = outer.bounds.start <= memory.start && memory.end <= outer.bounds.end;
        let arguments = [
            cvm.place.seen,
            cvm.layout.size,
            if inside {
                memory.start - outer.place.base + outer.place.seen
            } else {
                0
            },
            cvm.place.seen + cvm.layout.start_block.start,
            cvm.place.seen.wrapping_add(cvm.layout.bias),
        ];
        let frame = self.scheduler[thread].frame;
        for (index, argument) in arguments.into_iter().enumerate() {
            frame.set_argument(index, Register::Integer(argument));
        }
        frame.set_number(START);
        self.call(thread, server);
    }

    /// Ends a call in a way that only a raw client's can end in: value, stack pointer, how.
    #[inline(never)]
    pub(super) fn conclude_raw(&mut self, caller: ThreadId, [value, stack, how]: [u64; 3]) {
        if !self.is_raw(caller) {
            return;
        }
        match how {
            WITH_STACK => self.scheduler[caller].frame.set_stack(stack),
            END_THREAD if self.scheduler[caller].role == Role::Worker => self.leave(caller, Leaving::Thread),
            END_THREAD | END_CVM => self.leave(caller, Leaving::Cvm(End::Exited(value as i32))),
            _ => {}
        }
    }

    /// A deferred call goes on waiting: its result then, and nanoseconds, 0 = for ever.
    pub(super) fn wait_on(&mut self, caller: ThreadId, [late, nanoseconds]: [u64; 2]) {
        self.scheduler.deadlines.remove(caller.index());
        self.scheduler[caller].call.until = u64::MAX;
        if nanoseconds != 0 {
            self.set_limit(caller, nanoseconds, late);
        }
        self.scheduler.limit(caller);
    }

    /// `clone(stack, thread_pointer, result)`.
    pub(crate) fn clone_caller(&mut self, handler: ThreadId, frame: &Frame) -> Result<Outcome, Errno> {
        let caller = self.scheduler[handler].serving.ok_or(Errno::EPERM)?;
        if !self.is_raw(caller) {
            return Err(Errno::EPERM);
        }
        let id = self.free_worker(self.scheduler[caller].cvm)?;
        let (from, priority) = (self.scheduler[caller].frame, self.scheduler[caller].base);
        let thread = &mut self.scheduler[id];
        thread.frame.copy_from(from);
        thread.frame.set_stack(frame.argument(0));
        thread.frame.set_thread_pointer(frame.argument(1));
        thread.frame.set_result(frame.argument(2));
        (thread.base, thread.priority) = (priority, priority);
        let place = thread.place;
        self.scheduler.touch(id);
        self.scheduler.wake(id);
        Ok(Outcome::Value(place.into()))
    }
}
