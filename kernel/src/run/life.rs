//! Threads of a cVM: made at boot, begun and ended by hostcalls.

use crate::authority::ledger::MONITOR_DATA;
use crate::cvm::id::{CvmId, ThreadId};
use crate::cvm::service::{Handler, Service};
use crate::cvm::short::{Line, Short};
use crate::cvm::thread::{Role, State, Thread};
use crate::elf::PAGE;
use crate::plan::refusal::{Problem, Refusal};
use crate::run::monitor::{Monitor, Outcome};
use abi::Errno;
use abi::hostcall::WAKE_LIMIT;
use abi::manifest::{CALLBACK_OUT, THREAD_LIMIT};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use arch::Frame;

impl Monitor {
    /// Makes every thread that a cVM can ever have, and the services. Nothing is added afterwards.
    ///
    /// # Errors
    /// [`Refusal`] names the cVM and what it lacks.
    #[inline(never)]
    pub(crate) fn make_threads(&mut self) -> Result<(), Refusal> {
        let count = self.cvms.len();
        self.left = count;
        self.families.resize_with(count, Vec::new);
        self.link_families();
        self.holders.resize_with(count, Vec::new);
        // One behind the other, so that the heap gets no holes between them.
        let most = self
            .cvms
            .iter()
            .map(|cvm| (cvm.spec.threads + cvm.spec.handlers) as usize)
            .sum();
        self.scheduler.threads.reserve_exact(most);
        let mut budgets = Vec::with_capacity(count);
        for index in 0..count {
            let mut family = index;
            while let Some(outer) = self.cvms[family].spec.within {
                family = outer;
            }
            let (id, family) = (CvmId::new(index), CvmId::new(family));
            let budget = self.ticks(self.cvms[index].spec.call_budget);
            let mut clients = self.cvms.iter().filter(|cvm| cvm.server == Some(id));
            let first_client = clients.next();
            let clients = first_client.iter().count() + clients.count();
            let spec = &self.cvms[index].spec;
            if let Some(client) = first_client.filter(|_| self.cvms[index].program.handler.is_none()) {
                return Err(client.spec.lacks(CALLBACK_OUT, spec, abi::hostcall::HANDLER));
            }
            let handlers = if clients > 0 { spec.handlers } else { 0 };
            let (threads, priority) = (spec.threads, spec.priority as u8);
            let all = self.scheduler.threads.len() + (threads + handlers) as usize;
            if all > THREAD_LIMIT {
                let (key, limit) = ("threads and handlers", THREAD_LIMIT as u64);
                let problem = Problem::Limit(key, all as u64, "of all cVMs", limit);
                return Err(spec.entry().refused(problem));
            }
            let first = ThreadId::new(self.scheduler.threads.len());
            let mut records = Vec::new();
            for place in 0..threads + handlers {
                let role = match place.checked_sub(threads) {
                    Some(handler) => Role::Handler(handler as u8),
                    None if place == 0 => Role::Main,
                    None => Role::Worker,
                };
                let cvm = &self.cvms[index];
                let frame = Frame::boxed(&MONITOR_DATA);
                let frame = frame.map_err(|error| cvm.spec.entry().refused(Problem::Frame(error)))?;
                if cvm.has_float() {
                    frame.allow_float();
                } else {
                    frame.close_float();
                }
                let thread = Thread::new((id, family), (role, place as u16), Box::leak(frame), priority);
                let thread = self.scheduler.add(thread);
                if let Role::Handler(_) = role {
                    records.push(Handler {
                        thread,
                        began: 0,
                        lent: heapless::Vec::new(),
                    });
                }
            }
            let cvm = &mut self.cvms[index];
            budgets.push(budget);
            cvm.first_thread = first;
            cvm.threads = (threads + handlers) as u16;
            if handlers > 0 {
                cvm.service = Some(Box::new(Service::new(records, clients as u32)));
            }
            cvm.areas = cvm.local_areas().collect();
            // They are looked through for others' sake from the first end of a life on, before their first load, too.
            for area in &cvm.areas {
                arch::protection::loading(area.start / PAGE * PAGE..area.end.next_multiple_of(PAGE));
            }
            self.families[family.index()].push(id);
            if !self.cvms[index].areas.is_empty() {
                self.holders[family.index()].push(id);
            }
        }
        for index in 0..count {
            let family = self.scheduler[self.cvms[index].main()].family.index();
            let cvm = &mut self.cvms[index];
            let Some(service) = &mut cvm.service else { continue };
            let few = self.holders[family].len() == 1 && service.handlers.len() == 1 && cvm.layout.local.is_empty();
            service.alone = few && !cvm.is_linked && self.linked[family].len() == 1;
            if service.handlers.len() == 1 && !cvm.is_linked {
                let (frame, alone) = (self.scheduler[service.handlers[0].thread].frame, service.alone);
                let line = Line::new((index, cvm), frame, alone);
                cvm.line = Some(Box::leak(Box::new(line)));
            }
        }
        let shorts = budgets.into_iter().enumerate().map(|(index, budget)| {
            let cvm = &self.cvms[index];
            let line = cvm.server.and_then(|server| self.cvms[server.index()].line);
            let line = line.filter(|_| cvm.service.is_none() && cvm.spec.calls.is_empty());
            Short::new((index, &cvm.spec), budget, line)
        });
        let shorts: &'static [Short] = shorts.collect::<Vec<_>>().leak();
        for (cvm, short) in self.cvms.iter_mut().zip(shorts) {
            cvm.short = short;
            if let Some(line) = cvm.line {
                line.set_short(short);
            }
        }
        for thread in &mut self.scheduler.threads {
            thread.short = self.cvms[thread.cvm.index()].short;
            let families = self.linked[thread.family.index()].iter();
            let mut members = families.flat_map(|family| &self.families[family.index()]);
            thread.listed = members.any(|cvm| self.cvms[cvm.index()].service.is_some());
        }
        self.scheduler.complete(count);
        self.weigh_families();
        Ok(())
    }

    /// Finds out which families are linked by gates, and what each cVM has to do with gates.
    fn link_families(&mut self) {
        let count = self.cvms.len();
        self.reached.reserve_exact(count);
        let outermost = |mut cvm: usize| {
            while let Some(outer) = self.cvms[cvm].spec.within {
                cvm = outer;
            }
            cvm
        };
        // The least family of those that are linked stands for all of them.
        let mut least: Vec<usize> = (0..count).collect();
        let mut changed = true;
        while core::mem::take(&mut changed) {
            for cvm in 0..count {
                for (server, _) in &self.cvms[cvm].spec.calls {
                    let [one, other] = [cvm, *server].map(outermost);
                    let both = least[one].min(least[other]);
                    changed |= least[one] != both || least[other] != both;
                    (least[one], least[other]) = (both, both);
                }
            }
        }
        let families: Vec<usize> = (0..count).map(outermost).collect();
        let mut alike = vec![Vec::new(); count];
        for family in (0..count).filter(|family| families[*family] == *family) {
            alike[least[family]].push(CvmId::new(family));
        }
        self.linked = least.iter().map(|least| alike[*least].clone()).collect();
        for cvm in 0..count {
            let calls = self.cvms[cvm].spec.calls.clone();
            let called = calls
                .iter()
                .map(|(server, gate)| self.cvms[*server].spec.gates[*gate].vector);
            let vector = called
                .chain(self.cvms[cvm].spec.gates.iter().map(|gate| gate.vector))
                .next();
            self.cvms[cvm].vector_gates = vector == Some(true);
            self.cvms[cvm].is_linked = vector.is_some();
        }
    }

    /// A thread of a cVM by its number, when it lives; no handler.
    fn find_thread(&self, cvm: CvmId, number: u64) -> Result<ThreadId, Errno> {
        let place = (number & 0xffff) as usize;
        let id = self.cvms[cvm.index()].all_threads().nth(place).ok_or(Errno::ESRCH)?;
        let thread = &self.scheduler[id];
        let handler = matches!(thread.role, Role::Handler(_));
        if thread.number() != number || (thread.state == State::Stopped && !handler) {
            return Err(Errno::ESRCH);
        }
        if handler { Err(Errno::EPERM) } else { Ok(id) }
    }

    fn allowed_priority(&self, cvm: CvmId, priority: u64) -> Result<u8, Errno> {
        if priority > u64::from(self.cvms[cvm.index()].spec.priority) {
            return Err(Errno::EPERM);
        }
        Ok(priority as u8)
    }

    /// `thread_create(entry, stack, thread_pointer, argument, priority)`.
    pub(crate) fn create_thread(&mut self, creator: ThreadId, frame: &Frame) -> Result<Outcome, Errno> {
        let cvm = self.scheduler[creator].cvm;
        let priority = self.allowed_priority(cvm, frame.argument(4))?;
        let id = self.free_worker(cvm)?;
        let thread = &mut self.scheduler[id];
        thread.frame.spawn(frame).map_err(|_| Errno::EFAULT)?;
        (thread.base, thread.priority) = (priority, priority);
        let number = thread.number();
        self.scheduler.touch(id);
        self.scheduler.wake(id);
        if self.cvms[cvm.index()].service.is_some() {
            self.reorder(cvm);
        }
        Ok(Outcome::Value(number))
    }

    /// `thread_exit(word, with_word)`.
    pub(crate) fn exit_thread(&mut self, id: ThreadId, frame: &Frame) -> Result<Outcome, Errno> {
        if self.scheduler[id].role != Role::Worker {
            return Err(Errno::EPERM);
        }
        let (authority, address) = frame.pointer(0);
        let stored = frame.argument(1) == 1
            && address.is_multiple_of(4)
            && arch::user::copy_out(&[0; 4], authority, address).is_ok();
        self.end_worker(id);
        if stored {
            self.scheduler.wake_waiters(address, WAKE_LIMIT);
        }
        Ok(Outcome::Switch)
    }

    /// `thread_priority(id, priority)`.
    pub(crate) fn set_thread_priority(&mut self, caller: ThreadId, frame: &Frame) -> Result<Outcome, Errno> {
        let cvm = self.scheduler[caller].cvm;
        let id = self.find_thread(cvm, frame.argument(0))?;
        let priority = self.allowed_priority(cvm, frame.argument(1))?;
        self.scheduler[id].base = priority;
        self.reorder(cvm);
        Ok(Outcome::Value(0))
    }

    /// `thread_end(id)`.
    pub(crate) fn end_thread(&mut self, caller: ThreadId, frame: &Frame) -> Result<Outcome, Errno> {
        let id = self.find_thread(self.scheduler[caller].cvm, frame.argument(0))?;
        if id == caller || self.scheduler[id].role == Role::Main {
            return Err(Errno::EPERM);
        }
        self.end_worker(id);
        Ok(Outcome::Value(0))
    }

    /// A thread that is not its cVM's main thread is over, and nothing is left of it.
    pub(crate) fn end_worker(&mut self, id: ThreadId) {
        self.cease(id, arch::timer::now());
        self.scheduler[id].frame.clear();
    }

    /// A thread that a cVM may begin with.
    pub(crate) fn free_worker(&self, cvm: CvmId) -> Result<ThreadId, Errno> {
        let mut threads = self.cvms[cvm.index()].all_threads();
        let free = threads.find(|id| {
            let thread = &self.scheduler[*id];
            thread.role == Role::Worker && thread.state == State::Stopped
        });
        free.ok_or(Errno::EAGAIN)
    }
}
