//! Waiting for a word of memory, and waking who waits for it. A word is its physical address, whatever capability leads
//! there. The waiters of an address stand together in one ordered set, so that no address makes another one's waiters slow.

use crate::cvm::id::ThreadId;
use crate::cvm::thread::State;
use crate::run::monitor::Monitor;
use crate::run::thread::Scheduler;
use abi::manifest::PRIORITY_LIMIT;

/// Where the priority stands in a waiter's key; the rest counts the waits.
const PRIORITY_SHIFT: u32 = 56;

fn order(priority: u8, run: u64) -> u64 {
    u64::from(PRIORITY_LIMIT as u8 - priority) << PRIORITY_SHIFT | run
}

impl Scheduler {
    /// Lets the current thread wait for an address, until this tick at the latest.
    pub(crate) fn wait(&mut self, address: u64, until: Option<u64>, now: u64) {
        if let Some(id) = self.current() {
            // Whoever begins to wait has run last: its run orders the waits.
            let key = (address, order(self[id].priority, self[id].ran));
            self.waiters.insert(id.index(), key);
            if let Some(until) = until {
                self.set_deadline(id, until);
            }
        }
        self.block(State::Waiting, now);
    }

    /// Wakes up to `count` of those that wait for an address, the greatest priority first, then who waits longest; returns
    /// how many.
    pub(crate) fn wake_waiters(&mut self, address: u64, count: u64) -> u64 {
        let mut woken = 0;
        while woken < count {
            let Some((number, (of, _))) = self.waiters.from((address, 0)) else {
                break;
            };
            if of != address {
                break;
            }
            self.waiters.remove(number);
            self.deadlines.remove(number);
            let id = ThreadId::new(number);
            self[id].frame.set_result(0);
            self.wake(id);
            woken += 1;
        }
        woken
    }

    /// A waiter has got another priority.
    pub(crate) fn move_waiter(&mut self, id: ThreadId) {
        if let Some((address, _)) = self.waiters.key(id.index()) {
            self.waiters.remove(id.index());
            let key = (address, order(self[id].priority, self[id].ran));
            self.waiters.insert(id.index(), key);
        }
    }
}

impl Monitor {
    /// A thread's time to wait is over.
    pub(crate) fn end_wait(&mut self, id: ThreadId) {
        self.scheduler.waiters.remove(id.index());
        self.scheduler[id].frame.set_result(abi::Errno::ETIMEDOUT.to_result());
        self.scheduler.wake(id);
    }
}
