//! Raw clients (`raw` in the manifest): cVMs whose hostcalls only their server understands. The monitor hands over number and
//! arguments as they are, and before the first instruction makes a call for the client by which its server learns where the
//! client's memory is. The server is the client's whole world: it may end it, make threads for it within its quota, stop and set
//! them, say what of its memory is text, and takes as long as it likes; without it the client ends.

use crate::cvm::id::{CvmId, ThreadId};
use crate::cvm::thread::{Call, Leaving, Role, Stage, State};
use crate::cvm::{End, Life};
use crate::elf::PAGE;
use crate::run::monitor::{Monitor, Outcome};
use abi::Errno;
use abi::hostcall::{END_CVM, END_THREAD, KEEP_STACK, KEEP_THREAD_POINTER, REGISTERS, START, TEXT_LIMIT, WITH_STACK};
use arch::{Frame, Register, user};

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

    /// `clone(stack, thread_pointer, result, keep)`.
    pub(crate) fn clone_caller(&mut self, handler: ThreadId, frame: &Frame) -> Result<Outcome, Errno> {
        let caller = self.scheduler[handler].serving.ok_or(Errno::EPERM)?;
        if !self.is_raw(caller) {
            return Err(Errno::EPERM);
        }
        let id = self.free_worker(self.scheduler[caller].cvm)?;
        let (from, priority) = (self.scheduler[caller].frame, self.scheduler[caller].base);
        let thread = &mut self.scheduler[id];
        thread.frame.copy_from(from);
        let keep = frame.argument(3);
        if keep & KEEP_STACK == 0 {
            thread.frame.set_stack(frame.argument(0));
        }
        if keep & KEEP_THREAD_POINTER == 0 {
            thread.frame.set_thread_pointer(frame.argument(1));
        }
        thread.frame.set_result(frame.argument(2));
        (thread.base, thread.priority) = (priority, priority);
        let place = thread.place;
        self.scheduler.touch(id);
        self.scheduler.wake(id);
        Ok(Outcome::Value(place.into()))
    }

    /// The raw client of this number that a server serves and that lives.
    fn client(&self, server: CvmId, number: u64) -> Result<CvmId, Errno> {
        let index = usize::try_from(number).map_err(|_| Errno::ESRCH)?;
        let found = self.cvms.get(index).is_some_and(|cvm| {
            cvm.short.raw && cvm.server == Some(server) && cvm.life == Life::Alive && cvm.loading.is_none()
        });
        if found {
            Ok(CvmId::new(index))
        } else {
            Err(Errno::ESRCH)
        }
    }

    /// `text(client, address, length, executable)`.
    pub(crate) fn change_text(&mut self, server: CvmId, frame: &Frame) -> Result<Outcome, Errno> {
        let client = self.client(server, frame.argument(0))?;
        let (cvm, outer) = (&self.cvms[client.index()], &self.cvms[server.index()]);
        if !outer.covers(&cvm.memory()) {
            return Err(Errno::ESRCH);
        }
        let [address, length, executable] = [1, 2, 3].map(|index| frame.argument(index));
        let whole = address.is_multiple_of(PAGE) && length.is_multiple_of(PAGE);
        if !whole || !(1..=TEXT_LIMIT).contains(&length) || executable > 1 {
            return Err(Errno::EINVAL);
        }
        let offset = address.wrapping_sub(cvm.place.seen);
        let pages = cvm.code_pages(offset, length).ok_or(Errno::EFAULT)?;
        if executable == 1 {
            arch::protection::executable(pages.clone());
            arch::protection::publish(pages, &cvm.authority.data);
        } else {
            arch::protection::loaded(pages);
        }
        Ok(Outcome::Value(0))
    }

    /// `registers(token, pointer, write)`.
    pub(crate) fn registers(&mut self, thread: ThreadId, frame: &Frame) -> Result<Outcome, Errno> {
        let held = match frame.argument(0) {
            0 => self.scheduler[thread].serving.ok_or(Errno::ENOENT)?,
            token => self.deferred(self.scheduler[thread].cvm, token)?,
        };
        if !self.is_raw(held) {
            return Err(Errno::ENOENT);
        }
        let (authority, address) = frame.pointer(1);
        let registers = self.scheduler[held].frame;
        let mut bytes = [0; 8 * REGISTERS];
        match frame.argument(2) {
            0 => {
                for (place, word) in bytes.chunks_exact_mut(8).zip(registers.integers()) {
                    place.copy_from_slice(&word.to_le_bytes());
                }
                user::copy_out(&bytes, authority, address).map_err(|_| Errno::EFAULT)?;
            }
            1 => {
                user::copy_in(&mut bytes, authority, address).map_err(|_| Errno::EFAULT)?;
                let (words, _) = bytes.as_chunks();
                let mut integers = [0; REGISTERS];
                for (integer, word) in integers.iter_mut().zip(words) {
                    *integer = u64::from_le_bytes(*word);
                }
                registers.set_integers(&integers).map_err(|_| Errno::EFAULT)?;
            }
            _ => return Err(Errno::EINVAL),
        }
        Ok(Outcome::Value(0))
    }

    /// `seize(client, place)`.
    pub(crate) fn seize(&mut self, server: CvmId, frame: &Frame) -> Result<Outcome, Errno> {
        let client = self.client(server, frame.argument(0))?;
        let place = usize::try_from(frame.argument(1)).map_err(|_| Errno::ESRCH)?;
        let id = self.cvms[client.index()].all_threads().nth(place);
        let id = id.filter(|id| !matches!(self.scheduler[*id].role, Role::Handler(_)));
        let id = id.ok_or(Errno::ESRCH)?;
        let thread = &self.scheduler[id];
        if thread.state == State::Stopped {
            return Err(Errno::ESRCH);
        }
        if thread.state != State::Ready || thread.pending {
            return Err(Errno::EAGAIN);
        }
        let priority = thread.priority;
        self.scheduler.stop(id, arch::timer::now());
        let thread = &mut self.scheduler[id];
        thread.state = State::Calling;
        thread.call = Call {
            server,
            stage: Stage::Deferred,
            until: u64::MAX,
            late: Errno::ETIMEDOUT.to_result(),
            number: thread.call.number.wrapping_add(1),
        };
        self.scheduler.limit(id);
        if let Some(service) = self.cvms[server.index()].service.as_deref_mut() {
            service.enter(priority);
            service.deferred.push(&mut self.scheduler.threads, id, priority);
        }
        self.reorder(server);
        self.refresh(server);
        Ok(Outcome::Value(self.token(id)))
    }
}
