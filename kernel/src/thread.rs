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

/// Index of a thread. Thread n is the one thread of cVM n.
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
    /// Not started yet, or ended.
    Stopped,
}

/// One thread.
pub(crate) struct Thread {
    pub(crate) frame: &'static Frame,
    pub(crate) state: State,
    pub(crate) priority: u32,
    /// Ticks that it has run.
    pub(crate) run_time: u64,
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

    /// Adds a stopped thread. Room for it in every queue is made now, so that scheduling never allocates.
    pub(crate) fn add(&mut self, frame: &'static Frame, priority: u32) -> ThreadId {
        self.threads.push(Thread {
            frame,
            state: State::Stopped,
            priority,
            run_time: 0,
        });
        let queue = &mut self.queues[priority as usize];
        queue.reserve(1 + self.threads.iter().filter(|thread| thread.priority == priority).count());
        self.threads.len() - 1
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

    /// When the timer has to interrupt: the end of the slice if somebody runs, or the next sleeper's time.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let sleepers = self.threads.iter().filter_map(|thread| match thread.state {
            State::Sleeping(until) => Some(until),
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

    /// Ticks a thread has run, the current slice included.
    pub(crate) fn run_time(&self, id: ThreadId, now: u64) -> u64 {
        let running = if self.current == Some(id) {
            now.saturating_sub(self.since)
        } else {
            0
        };
        self.threads[id].run_time + running
    }
}
