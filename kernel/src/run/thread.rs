//! Threads: register frames, run queues, time slices, blocking and waking. Preemptive round robin within a priority; a
//! greater priority runs first.

use abi::manifest::PRIORITY_LIMIT;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use arch::Frame;

/// Length of a time slice in microseconds.
const SLICE_MICROSECONDS: u64 = 2000;
/// Number of priorities.
const PRIORITIES: usize = PRIORITY_LIMIT as usize + 1;

/// Index of a thread. Thread n is the main thread of cVM n; those that run the handlers of servers follow.
pub(crate) type ThreadId = usize;

/// What a thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// In a run queue, or running.
    Ready,
    /// Asleep until this tick.
    Sleeping(u64),
    /// Waiting for console input since this tick.
    Reading(u64),
    /// Waiting for the cVM that serves its hostcall, until this tick at the latest.
    Calling(u64),
    /// Resting: its handler serves the hostcalls of others.
    Serving,
    /// Not started yet, or ended.
    Stopped,
}

/// One thread.
pub(crate) struct Thread {
    /// Its cVM.
    pub(crate) cvm: usize,
    pub(crate) frame: &'static Frame,
    pub(crate) state: State,
    pub(crate) priority: u32,
    /// Ticks that it has run.
    pub(crate) run_time: u64,
    /// Exit code of its cVM, when its exit hostcall has come back from a server: exit never returns, whoever serves it.
    pub(crate) exiting: Option<i32>,
}

/// Who runs, who could, who waits. Times are ticks of the timer.
pub(crate) struct Scheduler {
    pub(crate) threads: Vec<Thread>,
    queues: [VecDeque<ThreadId>; PRIORITIES],
    current: Option<ThreadId>,
    /// When the current thread started to run.
    since: u64,
    /// When the current thread's time slice ends.
    slice_end: u64,
    slice: u64,
}

impl Scheduler {
    /// A scheduler without threads for a timer of `frequency` ticks a second.
    pub(crate) fn new(frequency: u64) -> Scheduler {
        Scheduler {
            threads: Vec::new(),
            queues: [const { VecDeque::new() }; PRIORITIES],
            current: None,
            since: 0,
            slice_end: 0,
            slice: (frequency * SLICE_MICROSECONDS / 1_000_000).max(1),
        }
    }

    /// Adds a stopped main thread, that of the next cVM. Room for it in its queue is made now, so that scheduling never
    /// allocates.
    pub(crate) fn add(&mut self, frame: &'static Frame, priority: u32) -> ThreadId {
        let id = self.threads.len();
        self.push(id, frame, priority);
        self.reserve(priority, 0);
        id
    }

    /// Adds a stopped thread for the handler of a cVM. It runs with the priority of whom it serves: room is made in every
    /// queue.
    pub(crate) fn add_handler(&mut self, cvm: usize, frame: &'static Frame) -> ThreadId {
        self.push(cvm, frame, 0);
        let handlers = self.threads.iter().enumerate().filter(|(id, thread)| *id != thread.cvm);
        let handlers = handlers.count();
        for priority in 0..PRIORITIES as u32 {
            self.reserve(priority, handlers);
        }
        self.threads.len() - 1
    }

    fn push(&mut self, cvm: usize, frame: &'static Frame, priority: u32) {
        self.threads.push(Thread {
            cvm,
            frame,
            state: State::Stopped,
            priority,
            run_time: 0,
            exiting: None,
        });
    }

    fn reserve(&mut self, priority: u32, handlers: usize) {
        let threads = self.threads.iter().filter(|thread| thread.priority == priority);
        let room = 1 + threads.count() + handlers;
        self.queues[priority as usize].reserve(room);
    }

    /// The running thread, when one runs.
    #[inline]
    pub(crate) fn current(&self) -> Option<ThreadId> {
        self.current
    }

    /// Makes a thread that waits or is stopped ready to run.
    pub(crate) fn wake(&mut self, id: ThreadId) {
        let thread = &mut self.threads[id];
        if thread.state != State::Ready {
            thread.state = State::Ready;
            self.queues[thread.priority as usize].push_back(id);
        }
    }

    /// Lets a thread that waits or is stopped run at once for the rest of the slice, with this priority; nobody runs now.
    pub(crate) fn hand_over(&mut self, id: ThreadId, priority: u32, now: u64) {
        let thread = &mut self.threads[id];
        thread.state = State::Ready;
        thread.priority = priority;
        self.current = Some(id);
        self.since = now;
    }

    /// Takes the processor from the current thread, which goes on later if it is still ready.
    pub(crate) fn release(&mut self, now: u64) {
        if let Some(id) = self.current.take() {
            let thread = &mut self.threads[id];
            thread.run_time += now.saturating_sub(self.since);
            if thread.state == State::Ready {
                self.queues[thread.priority as usize].push_back(id);
            }
        }
    }

    /// Stops the current thread or one that waits; it is in no queue afterwards.
    pub(crate) fn stop(&mut self, id: ThreadId, now: u64) {
        self.threads[id].exiting = None;
        if self.current == Some(id) {
            self.threads[id].state = State::Stopped;
            self.release(now);
        } else {
            let priority = self.threads[id].priority as usize;
            self.queues[priority].retain(|other| *other != id);
            self.threads[id].state = State::Stopped;
        }
    }

    /// Puts the current thread to sleep or to wait.
    pub(crate) fn block(&mut self, state: State, now: u64) {
        if let Some(id) = self.current {
            self.threads[id].state = state;
        }
        self.release(now);
    }

    /// Wakes the sleepers whose time has come.
    pub(crate) fn wake_sleepers(&mut self, now: u64) {
        for id in 0..self.threads.len() {
            if matches!(self.threads[id].state, State::Sleeping(until) if until <= now) {
                self.wake(id);
            }
        }
    }

    /// Whether the current thread has to let another one run: its slice is over, or a greater priority is ready.
    pub(crate) fn preempted(&self, now: u64) -> bool {
        let Some(id) = self.current else { return true };
        let priority = self.threads[id].priority as usize;
        let greater = self.queues[priority + 1..].iter().any(|queue| !queue.is_empty());
        greater || (now >= self.slice_end && !self.queues[priority].is_empty())
    }

    /// Chooses the next thread when none runs; `None` = nobody is ready.
    pub(crate) fn dispatch(&mut self, now: u64) -> Option<&'static Frame> {
        if self.current.is_none() {
            let id = self.queues.iter_mut().rev().find_map(VecDeque::pop_front)?;
            self.current = Some(id);
            self.since = now;
            self.slice_end = now + self.slice;
        } else if now >= self.slice_end {
            self.slice_end = now + self.slice;
        }
        self.current.map(|id| self.threads[id].frame)
    }

    /// When the timer has to interrupt: the end of the slice if somebody runs, the next sleeper's time, or the end of
    /// a call's budget.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let sleepers = self.threads.iter().filter_map(|thread| match thread.state {
            State::Sleeping(until) | State::Calling(until) => Some(until),
            _ => None,
        });
        sleepers.chain(self.current.map(|_| self.slice_end)).min()
    }

    /// The thread that waits longest for input.
    pub(crate) fn reader(&self) -> Option<ThreadId> {
        let readers = self
            .threads
            .iter()
            .enumerate()
            .filter_map(|(id, thread)| match thread.state {
                State::Reading(since) => Some((since, id)),
                _ => None,
            });
        readers.min().map(|(_, id)| id)
    }

    /// Ticks the threads of a cVM have run, the current slice included.
    pub(crate) fn run_time(&self, cvm: usize, now: u64) -> u64 {
        let threads = self.threads.iter().enumerate().filter(|(_, thread)| thread.cvm == cvm);
        let times = threads.map(|(id, thread)| {
            let running = self.current == Some(id);
            thread.run_time + if running { now.saturating_sub(self.since) } else { 0 }
        });
        times.sum()
    }
}
