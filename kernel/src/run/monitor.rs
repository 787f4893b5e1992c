//! The state of the running monitor, and what happens to whole cVMs: starting, ending, restarting, the summary.

use crate::authority::buffer::Buffers;
use crate::authority::gate::Gates;
use crate::authority::ledger::Ledger;
use crate::cvm::id::{CvmId, ThreadId};
use crate::cvm::loader::LoadError;
use crate::cvm::short::Line;
use crate::cvm::thread::{Leaving, State};
use crate::cvm::{Cvm, End, Life};
use crate::report::console::say;
use crate::run::device::Device;
use crate::run::hart;
use crate::run::thread::Scheduler;
use abi::manifest::RestartPolicy;
use alloc::boxed::Box;
use alloc::vec::Vec;
use arch::Frame;
use core::fmt::Write;
use core::sync::atomic::Ordering;
use spin::Mutex;

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// Fastest timer, in ticks a second, with which nanoseconds are told without overflow.
pub(crate) const FREQUENCY_LIMIT: u64 = u64::MAX / SECOND;

/// A cVM that is started again rests for this many times as long as the monitor has dealt with its end, the report above
/// all, so that a storm of faults leaves most of the processor to the others.
const RESTART_REST: u64 = 8;

/// Most deadlines that are dealt with at a time: what one stay in the monitor takes is what others may have to wait for.
const DUE_LIMIT: usize = 32;
/// Most cVMs that are started at a time.
const START_LIMIT: usize = 8;

/// Bytes of a state in the summary at most.
const STATE_LIMIT: usize = 64;

/// Everything that a trap handler works on. Lock order: this, then the console.
pub(crate) static MONITOR: Mutex<Option<Box<Monitor>>> = Mutex::new(None);

/// The running monitor.
pub(crate) struct Monitor {
    pub(crate) scheduler: Scheduler,
    pub(crate) cvms: Vec<Cvm>,
    /// All cVMs, by their family's outermost cVM.
    pub(crate) families: Vec<Vec<CvmId>>,
    /// The cVMs with memory for local capabilities, by their family's outermost cVM.
    pub(crate) holders: Vec<Vec<CvmId>>,
    /// What to look for something in a family takes, by its outermost cVM.
    pub(crate) weights: Vec<u32>,
    /// The families that are linked by gates, each with all of them, by their outermost cVMs: what is passed to one may be passed on
    /// to any.
    pub(crate) linked: Vec<Vec<CvmId>>,
    pub(crate) gates: Gates,
    /// Where the search for those goes on who can still call somebody; as many as there are cVMs.
    pub(crate) reached: Vec<CvmId>,
    /// The threads that can call gates.
    pub(crate) callers: Vec<ThreadId>,
    pub(crate) buffers: Buffers,
    /// Those that cVMs drive, in the order of the manifest.
    pub(crate) devices: Vec<Device>,
    pub(crate) ledger: Ledger,
    /// Ticks of the timer in a second.
    pub(crate) frequency: u64,
    /// Tick at which the monitor started.
    pub(crate) boot: u64,
    /// Nanoseconds from 1970 to that, when the machine knows.
    pub(crate) born: Option<u64>,
    /// Console input that nobody has read yet.
    pub(crate) input: heapless::Deque<u8, 1024>,
    /// The first cVM that still waits for an earlier one; all before it have been started.
    pub(crate) next_start: usize,
    /// cVMs that have not ended for good.
    pub(crate) left: usize,
    /// The call that is usual so far, while its handler runs.
    pub(crate) usual: Option<&'static Line>,
    /// When the timer is to interrupt, as it was told last.
    pub(crate) programmed: u64,
}

/// What a hostcall did.
pub(crate) enum Outcome {
    /// It returns this value.
    Value(u64),
    /// Its results are in the frame already.
    Set,
    /// The caller goes on later; its result is in its frame already, or will be.
    Switch,
    /// The servers of this thread, which runs now, have passed its hostcall on: it is the monitor's to serve.
    Delegated(ThreadId),
}

impl Monitor {
    /// Nanoseconds as ticks, rounded up. Whole seconds and the rest apart, so that 64 bits are enough: the frequency is at
    /// most [`FREQUENCY_LIMIT`].
    pub(crate) fn ticks(&self, nanoseconds: u64) -> u64 {
        let seconds = (nanoseconds / SECOND).saturating_mul(self.frequency);
        seconds.saturating_add((nanoseconds % SECOND * self.frequency).div_ceil(SECOND))
    }

    /// Ticks as nanoseconds.
    pub(crate) fn nanoseconds(&self, ticks: u64) -> u64 {
        let seconds = (ticks / self.frequency).wrapping_mul(SECOND);
        seconds.wrapping_add(ticks % self.frequency * SECOND / self.frequency)
    }

    /// Starts the cVMs whose turn has come: those before the first one that others wait for. Not more than `most` of them;
    /// for the others the timer interrupts again at once.
    pub(crate) fn start_waiting(&mut self, now: u64, most: usize) {
        let node = self.scheduler.threads.len() + self.cvms.len();
        self.scheduler.deadlines.remove(node);
        let behind = self.next_start.saturating_add(most);
        while self.next_start < self.cvms.len() {
            if self.next_start == behind {
                self.scheduler.deadlines.insert(node, (now, node as u64));
                return;
            }
            if let Some(before) = self.next_start.checked_sub(1) {
                let previous = &self.cvms[before];
                let ended = matches!(previous.life, Life::Ended(_));
                let end = match previous.spec.wait {
                    ..=-1 => now,
                    0 => u64::MAX,
                    seconds => self.wait_end(before, seconds),
                };
                if !ended && now < end {
                    if end != u64::MAX {
                        self.scheduler.deadlines.insert(node, (end, node as u64));
                    }
                    return;
                }
            }
            let id = CvmId::new(self.next_start);
            self.next_start += 1;
            self.start(id, now);
        }
    }

    fn wait_end(&self, id: usize, seconds: i32) -> u64 {
        let started = self.cvms[id].first_started.unwrap_or(self.boot);
        started.saturating_add(self.ticks(SECOND.saturating_mul(seconds.unsigned_abs().into())))
    }

    fn start(&mut self, id: CvmId, now: u64) {
        let cvm = &mut self.cvms[id.index()];
        let main = cvm.main();
        match cvm.begin(&self.ledger, now) {
            Ok(()) => {
                self.scheduler[main].pending = true;
                self.scheduler.wake(main);
            }
            Err(error) => {
                say!(Error, "{}: cannot start: {error}", cvm.spec.name);
                self.refuse(id, now);
            }
        }
    }

    /// A cVM has ended for good.
    pub(crate) fn close(&mut self, id: CvmId, end: End) {
        self.cvms[id.index()].life = Life::Ended(end);
        self.left -= 1;
        self.gates_gone(id);
        self.client_ended(id);
    }

    /// A cVM's life is over: its threads stop, their registers are forgotten, calls that it made or served are undone, its
    /// restart policy decides what follows. `now` is when the monitor began to deal with it.
    pub(crate) fn end(&mut self, id: CvmId, end: End, now: u64) {
        self.tell_holdings();
        for thread in self.cvms[id.index()].all_threads() {
            self.cease(thread, now);
        }
        self.calls_ended(id, now);
        self.gates_ended(id, now);
        for thread in self.cvms[id.index()].all_threads() {
            self.scheduler[thread].frame.clear();
        }
        // Before any memory that they may be working on is used again.
        let stopped = self.reset_devices(id);
        for area in 0..self.cvms[id.index()].local_areas().count() {
            self.cvms[id.index()].clear_local_area(area);
        }
        self.end_buffers(id);
        self.take_own_memory(id);
        let delay = self.ticks(self.cvms[id.index()].spec.restart_delay);
        let cvm = &mut self.cvms[id.index()];
        cvm.leave();
        // What a cVM around it has left out of its load so far is its own now.
        let mut around = cvm.spec.within;
        while let Some(outer) = around {
            let outer = &mut self.cvms[outer];
            if outer.loading.is_some() {
                outer.reload();
            }
            around = outer.spec.within;
        }
        let cvm = &mut self.cvms[id.index()];
        cvm.lines.finish(&cvm.spec.name);
        if let End::Faulted(kind) = end {
            cvm.last_fault = Some(kind);
        }
        let server = cvm.server;
        let orphaned = server.is_some_and(|server| matches!(self.cvms[server.index()].life, Life::Ended(_)));
        let cvm = &mut self.cvms[id.index()];
        let wanted = match cvm.spec.restart {
            RestartPolicy::Never => false,
            // Without its server it would end again at once.
            RestartPolicy::OnFault if end == End::Orphaned => !orphaned,
            RestartPolicy::OnFault => matches!(end, End::Faulted(_)),
            RestartPolicy::Always => end != End::Failed,
        };
        if !stopped {
            say!(Error, "{}: a device does not stop: no restart", cvm.spec.name);
        }
        if wanted && stopped && cvm.restarts < cvm.spec.restart_limit {
            cvm.restarts += 1;
            let spent = arch::timer::now().saturating_sub(now);
            let at = now.saturating_add(delay.max(spent.saturating_mul(RESTART_REST)));
            cvm.life = Life::Restarting { at, ended: end };
            say!(
                Info,
                "{}: restart {} of {}",
                cvm.spec.name,
                cvm.restarts,
                cvm.spec.restart_limit
            );
            let node = self.scheduler.threads.len() + id.index();
            self.scheduler.deadlines.insert(node, (at, node as u64));
        } else {
            cvm.authority.clear();
            self.close(id, end);
            self.queue_ended(id, now);
        }
        self.due(now);
    }

    /// A thread's life is over, whatever it is doing.
    pub(crate) fn cease(&mut self, id: ThreadId, now: u64) {
        self.withdraw(id, now);
        self.scheduler.stop(id, now);
        self.forget_calls(id);
        let thread = &mut self.scheduler[id];
        thread.lives = thread.lives.wrapping_add(1);
        thread.base = self.cvms[thread.home.index()].spec.priority as u8;
        thread.priority = thread.base;
    }

    /// Does what the time has come for: sleepers wake, cVMs start and start again, calls end that took too long.
    pub(crate) fn due(&mut self, now: u64) {
        let served = self.scheduler.current().and_then(|id| self.scheduler[id].serving);
        if let Some(caller) = served.filter(|caller| self.scheduler[*caller].call.until <= now) {
            self.end_late(caller, now);
        }
        let threads = self.scheduler.threads.len();
        let mut starts = START_LIMIT;
        // For what is left the timer interrupts again at once.
        for _ in 0..DUE_LIMIT {
            let Some((number, _)) = self.scheduler.deadlines.first().filter(|(_, (at, _))| *at <= now) else {
                break;
            };
            if (threads..self.scheduler.limits).contains(&number) && starts == 0 {
                break;
            }
            self.scheduler.deadlines.remove(number);
            if number < threads {
                let id = ThreadId::new(number);
                match self.scheduler[id].state {
                    State::Calling => self.end_late(id, now),
                    State::Waiting => self.end_wait(id),
                    _ => self.scheduler.wake(id),
                }
            } else if number >= self.scheduler.limits {
                self.end_late_calls(number - self.scheduler.limits, now);
            } else if number < threads + self.cvms.len() {
                starts -= 1;
                self.start(CvmId::new(number - threads), now);
            }
        }
        if self.next_start < self.cvms.len() {
            self.start_waiting(now, starts);
        }
    }

    /// Chooses who runs next, waiting for something to happen when nobody can. Ends the run when no cVM is left.
    pub(crate) fn next(&mut self) -> &'static Frame {
        loop {
            let now = arch::timer::now();
            if self.scheduler.outranked() {
                self.scheduler.release(now);
            }
            if let Some(id) = self.scheduler.dispatch(now) {
                if self.scheduler[id].pending {
                    self.prepare(id);
                    continue;
                }
                self.program(now);
                let thread = &self.scheduler[id];
                hart::enter(thread.short);
                self.depart(id);
                return thread.frame;
            }
            if self.left == 0 {
                self.finish(now);
            }
            self.programmed = 0;
            self.program(now);
            arch::interrupts::wait();
            self.service_devices();
            self.due(arch::timer::now());
        }
    }

    /// Tells the timer when to interrupt: when that has changed, or it should have done so by now; an interrupt that got lost
    /// is made up for.
    #[inline(never)]
    pub(super) fn program(&mut self, now: u64) {
        let deadline = self.scheduler.deadline();
        if deadline != self.programmed || deadline <= now {
            self.programmed = deadline;
            arch::timer::set_deadline((deadline != u64::MAX).then_some(deadline));
        }
    }

    /// What comes before a thread runs: the end of its cVM, when a server has answered its exit; a step of its load in its
    /// time, when it is not loaded yet, then what has become due meanwhile.
    #[inline(never)]
    fn prepare(&mut self, thread: ThreadId) {
        let own = self.scheduler[thread].cvm;
        match self.scheduler[thread].leaving.take() {
            Some(Leaving::Cvm(end)) => return self.end(own, end, arch::timer::now()),
            Some(Leaving::Thread) => return self.end_worker(thread),
            None => {}
        }
        let id = self.loads_first(own);
        if let Err(error) = self.load_step(id) {
            say!(Error, "{}: cannot start: {error}", self.cvms[id.index()].spec.name);
            self.cvms[id.index()].loading = None;
            self.end(id, End::Failed, arch::timer::now());
        } else if self.cvms[own.index()].loading.is_none() && self.is_raw(thread) {
            self.call_at_start(thread);
        }
        self.service_devices();
        let now = arch::timer::now();
        self.due(now);
        self.reschedule(now);
    }

    /// Whose load goes on in the turn of this cVM: that of the outermost cVM around it that is being loaded, which makes the
    /// memory of all within it fresh and opens it, or else its own.
    fn loads_first(&self, id: CvmId) -> CvmId {
        let around = |id: &CvmId| self.cvms[id.index()].spec.within.map(CvmId::new);
        let outers = core::iter::successors(Some(id), around);
        let loading = outers.filter(|outer| self.cvms[outer.index()].loading.is_some());
        loading.last().unwrap_or(id)
    }

    /// The next step of a cVM's load; after the last one its main thread and its handlers are ready.
    pub(crate) fn load_step(&mut self, id: CvmId) -> Result<(), LoadError> {
        let cvm = &mut self.cvms[id.index()];
        let main = &mut self.scheduler[cvm.main()];
        cvm.load(main.frame)?;
        if cvm.loading.is_none() {
            main.pending = false;
            for (index, handler) in cvm.handlers().enumerate() {
                cvm.prepare_handler(index, self.scheduler[handler].frame)
                    .map_err(LoadError::Handler)?;
            }
        }
        Ok(())
    }

    /// Lets another thread run when the current one's slice is over or a more urgent one woke up.
    pub(crate) fn reschedule(&mut self, now: u64) {
        if self.scheduler.preempted(now) {
            self.scheduler.release(now);
        } else {
            self.scheduler.renew(now);
        }
    }

    /// Prints what became of every cVM and powers off.
    fn finish(&self, now: u64) -> ! {
        say!(Info, "all cVMs have ended");
        say!(
            Info,
            "{:<16} {:<28} {:>8} {:>12} {:>9}",
            "name",
            "state",
            "restarts",
            "time us",
            "hostcalls"
        );
        for cvm in &self.cvms {
            let mut state: heapless::String<STATE_LIMIT> = heapless::String::new();
            // Every state has room.
            let _ = match cvm.life {
                Life::Ended(End::Exited(code)) => write!(state, "exited {code}"),
                Life::Ended(End::Faulted(kind)) => write!(state, "killed: {}", kind.name()),
                Life::Ended(End::Orphaned) => write!(state, "ended with its server"),
                _ => write!(state, "not started"),
            };
            let time = self.nanoseconds(self.run_time(cvm, now)) / 1000;
            say!(
                Info,
                "{:<16} {state:<28} {:>8} {time:>12} {:>9}",
                cvm.spec.name,
                cvm.restarts,
                cvm.hostcalls()
            );
        }
        let success = self.cvms.iter().all(|cvm| cvm.life == Life::Ended(End::Exited(0)));
        say!(Info, "power off, status {}", u8::from(!success));
        arch::power_off(success)
    }

    /// Ticks that the threads of a cVM have run.
    pub(crate) fn run_time(&self, cvm: &Cvm, now: u64) -> u64 {
        let threads: u64 = cvm.all_threads().map(|id| self.scheduler.run_time(id, now)).sum();
        threads + cvm.line.map_or(0, |line| line.spent.load(Ordering::Relaxed))
    }
}
