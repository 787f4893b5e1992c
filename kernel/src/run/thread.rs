//! Who runs: ready threads by priority, time slices, blocking and waking. Preemptive round robin within a priority; a
//! greater priority runs first. Nothing here looks at every thread, and nothing allocates.

use crate::cvm::id::{CvmId, ThreadId};
use crate::cvm::queue::Queues;
use crate::cvm::thread::{Link, State, Thread};
use crate::run::tree::Tree;
use crate::run::wait::Waiters;
use alloc::vec::Vec;
use arch::Frame;
use core::ops::{Index, IndexMut};

/// Length of a time slice in microseconds.
const SLICE_MICROSECONDS: u64 = 2000;

/// Who runs, who could, who waits. Times are ticks of the timer.
pub(crate) struct Scheduler {
    pub(crate) threads: Vec<Thread>,
    pub(super) ready: Queues,
    /// Who waits for console input, in one list.
    readers: Queues,
    /// By time: threads, then cVMs that start again, then the next cVM of the list, then calls by gates.
    pub(crate) deadlines: Tree,
    pub(super) waiters: Waiters,
    /// `NONE` = nobody runs.
    pub(super) current: ThreadId,
    /// When the current thread started to run.
    pub(super) since: u64,
    /// When the current time slice ends, whoever works in it.
    pub(super) slice_end: u64,
    pub(super) slice: u64,
    /// Counts the runs.
    pub(crate) runs: u64,
    /// Who of each family with a server has run last, by the outermost cVM.
    recent: Vec<ThreadId>,
    /// The first of the deadlines that are limits of calls by gates.
    pub(crate) limits: usize,
}

impl Index<ThreadId> for Scheduler {
    type Output = Thread;
    #[inline]
    fn index(&self, id: ThreadId) -> &Thread {
        &self.threads[id.index()]
    }
}

impl IndexMut<ThreadId> for Scheduler {
    #[inline]
    fn index_mut(&mut self, id: ThreadId) -> &mut Thread {
        &mut self.threads[id.index()]
    }
}

impl Scheduler {
    /// A scheduler without threads for a timer of `frequency` ticks a second.
    pub(crate) fn new(frequency: u64) -> Scheduler {
        Scheduler {
            threads: Vec::new(),
            ready: Queues::new(),
            readers: Queues::new(),
            deadlines: Tree::new(),
            waiters: Waiters::new(),
            current: ThreadId::NONE,
            since: 0,
            slice_end: 0,
            slice: (frequency * SLICE_MICROSECONDS / 1_000_000).max(1),
            runs: 0,
            recent: Vec::new(),
            limits: 0,
        }
    }

    /// Adds a stopped thread, the next one of its cVM.
    pub(crate) fn add(&mut self, thread: Thread) -> ThreadId {
        self.threads.push(thread);
        ThreadId::new(self.threads.len() - 1)
    }

    /// Makes room for the deadlines of all threads and of this many cVMs, and for every thread's wait. None is added
    /// afterwards.
    pub(crate) fn complete(&mut self, cvms: usize) {
        self.deadlines.grow(self.threads.len() + cvms + 1);
        self.waiters.grow(self.threads.len());
        self.recent.resize(cvms, ThreadId::NONE);
        self.limits = self.threads.len() + cvms + 1;
    }

    /// Makes room for the limits of so many threads' calls by gates.
    pub(crate) fn add_limits(&mut self, count: usize) {
        self.deadlines.grow(self.limits + count);
    }

    /// Lets the calls of a thread, of that number among those that can make any, end at this tick.
    pub(crate) fn limit_calls(&mut self, number: usize, until: Option<u64>) {
        let node = self.limits + number;
        self.deadlines.remove(node);
        if let Some(until) = until {
            self.deadlines.insert(node, (until, node as u64));
        }
    }

    /// The running thread, when one runs.
    #[inline]
    pub(crate) fn current(&self) -> Option<ThreadId> {
        (self.current != ThreadId::NONE).then_some(self.current)
    }

    /// Makes a thread that waits or is stopped ready to run.
    pub(crate) fn wake(&mut self, id: ThreadId) {
        let thread = &mut self[id];
        if thread.state != State::Ready {
            thread.state = State::Ready;
            let priority = thread.priority;
            self.ready.push(&mut self.threads, id, priority);
        }
    }

    /// Wakes a thread; it runs at once, for the rest of the slice, when nobody runs now.
    #[inline]
    pub(crate) fn hand_over(&mut self, id: ThreadId, now: u64) {
        if self.current != ThreadId::NONE {
            return self.wake(id);
        }
        self[id].state = State::Ready;
        self.run(id, now);
    }

    #[inline]
    pub(super) fn run(&mut self, id: ThreadId, now: u64) {
        self.current = id;
        self.since = now;
        self.touch(id);
    }

    /// Notes that a thread's registers may hold something new.
    #[inline]
    pub(crate) fn touch(&mut self, id: ThreadId) {
        self.runs += 1;
        let runs = self.runs;
        let thread = &mut self[id];
        let family = thread.family.index();
        let ran = core::mem::replace(&mut thread.ran, runs) != 0;
        if thread.listed && self.recent[family] != id {
            self.list_recent(id, family, ran);
        }
    }

    /// Who runs after a usual wait or wake is noted in the list of its family.
    pub(crate) fn list_next(&mut self, id: ThreadId) -> &'static Frame {
        self.runs -= 1;
        self.touch(id);
        self[id].frame
    }

    #[inline(never)]
    fn list_recent(&mut self, id: ThreadId, family: usize, ran: bool) {
        let Link { previous, next } = self[id].recent;
        if ran {
            // It is not the first one.
            self[previous].recent.next = next;
            if next != ThreadId::NONE {
                self[next].recent.previous = previous;
            }
        }
        let first = core::mem::replace(&mut self.recent[family], id);
        self[id].recent = Link {
            previous: ThreadId::NONE,
            next: first,
        };
        if first != ThreadId::NONE {
            self[first].recent.previous = id;
        }
    }

    /// Who of a family with a server has run last.
    pub(crate) fn recent(&self, family: CvmId) -> ThreadId {
        self.recent[family.index()]
    }

    /// Takes the processor from the current thread, which goes on later if it is still ready. The call that it serves is
    /// from now on ended by its deadline.
    pub(crate) fn release(&mut self, now: u64) {
        let Some(id) = self.current() else { return };
        self.current = ThreadId::NONE;
        let since = self.since;
        let thread = &mut self[id];
        thread.run_time += now.saturating_sub(since);
        let Thread {
            state,
            priority,
            serving,
            ..
        } = *thread;
        if state == State::Ready {
            self.ready.push(&mut self.threads, id, priority);
        }
        if let Some(caller) = serving {
            self.limit(caller);
        }
    }

    /// Lets the budget of a thread's call end it.
    pub(crate) fn limit(&mut self, caller: ThreadId) {
        if !self.deadlines.contains(caller.index()) {
            let until = self[caller].call.until;
            self.set_deadline(caller, until);
        }
    }

    pub(crate) fn set_deadline(&mut self, id: ThreadId, at: u64) {
        self.deadlines.insert(id.index(), (at, id.index() as u64));
    }

    /// Puts the current thread to sleep or to wait.
    #[inline]
    pub(crate) fn block(&mut self, state: State, now: u64) {
        if let Some(id) = self.current() {
            self[id].state = state;
        }
        self.release(now);
    }

    /// Puts the current thread to sleep, until this tick.
    pub(crate) fn sleep(&mut self, until: u64, now: u64) {
        if let Some(id) = self.current() {
            self.set_deadline(id, until);
        }
        self.block(State::Sleeping, now);
    }

    /// Lets the current thread wait for console input.
    pub(crate) fn read(&mut self, now: u64) {
        if let Some(id) = self.current() {
            self.readers.push(&mut self.threads, id, 0);
        }
        self.block(State::Reading, now);
    }

    /// The thread that waits longest for input.
    pub(crate) fn reader(&self) -> Option<ThreadId> {
        self.readers.first()
    }

    /// The wait of the thread that waits longest for input is over.
    pub(crate) fn wake_reader(&mut self) {
        if let Some(id) = self.readers.pop(&mut self.threads) {
            self.wake(id);
        }
    }

    /// Stops the current thread or one that waits; it is in no list afterwards. It has no call any more.
    pub(crate) fn stop(&mut self, id: ThreadId, now: u64) {
        let was = core::mem::replace(&mut self[id].state, State::Stopped);
        match was {
            State::Ready if self.current == id => self.release(now),
            State::Ready => self.ready.remove(&mut self.threads, id),
            State::Reading => self.readers.remove(&mut self.threads, id),
            State::Waiting => self.waiters.remove(&self.threads, id),
            State::Sleeping | State::Calling | State::Serving | State::Stopped => {}
        }
        self.deadlines.remove(id.index());
        let thread = &mut self[id];
        thread.leaving = None;
        thread.pending = false;
    }

    /// Gives a thread another priority, where it stands.
    pub(crate) fn set_priority(&mut self, id: ThreadId, priority: u8) {
        self[id].priority = priority;
        match self[id].state {
            State::Ready if self.current != id => {
                self.ready.remove(&mut self.threads, id);
                self.ready.push(&mut self.threads, id, priority);
            }
            State::Waiting => self.waiters.renew(&self.threads, id),
            _ => {}
        }
    }

    /// Whether somebody of a greater priority than the current thread's is ready.
    #[inline]
    pub(crate) fn outranked(&self) -> bool {
        self.current()
            .is_some_and(|id| self.ready.reaches(self[id].priority as usize + 1))
    }

    /// Whether the current thread has to let another one run: its slice is over, or a greater priority is ready.
    pub(crate) fn preempted(&self, now: u64) -> bool {
        let Some(id) = self.current() else { return true };
        self.outranked() || (now >= self.slice_end && self.ready.holds(self[id].priority as usize))
    }

    /// After the timer: the current thread goes on with a new slice, when its slice is over and nobody wants to run.
    pub(crate) fn renew(&mut self, now: u64) {
        if now >= self.slice_end {
            self.slice_end = now + self.slice;
        }
    }

    /// Chooses the next thread when none runs; `None` = nobody is ready.
    #[inline]
    pub(crate) fn dispatch(&mut self, now: u64) -> Option<ThreadId> {
        if self.current == ThreadId::NONE {
            let id = self.ready.pop(&mut self.threads)?;
            self.slice_end = now + self.slice;
            self.run(id, now);
        }
        self.current()
    }

    /// When the timer has to interrupt: the end of the slice and of the budget of the call that is being served, if somebody
    /// runs; the next deadline.
    #[inline]
    pub(crate) fn deadline(&self) -> u64 {
        let mut at = self.deadlines.first().map_or(u64::MAX, |(_, (at, _))| at);
        if let Some(id) = self.current() {
            at = at.min(self.slice_end);
            if let Some(caller) = self[id].serving {
                at = at.min(self[caller].call.until);
            }
        }
        at
    }

    /// Ticks a thread has run, the current slice included.
    pub(crate) fn run_time(&self, id: ThreadId, now: u64) -> u64 {
        let running = self.current == id;
        self[id].run_time + if running { now.saturating_sub(self.since) } else { 0 }
    }
}
