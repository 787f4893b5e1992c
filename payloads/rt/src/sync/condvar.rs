//! Waiting for a condition.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;

use super::MutexGuard;
use crate::sys;

/// Where threads wait until another one says that something has changed. A wait may end without that: who waits looks at
/// its condition again.
#[derive(Debug, Default)]
pub struct Condvar {
    /// Counts the notices, so that one between unlocking and waiting is not lost. 2^32 notices in between would be.
    notices: AtomicU32,
}

impl Condvar {
    /// One that nobody waits for.
    pub const fn new() -> Condvar {
        Condvar {
            notices: AtomicU32::new(0),
        }
    }

    /// Gives the lock back, waits for a notice, and takes the lock again.
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.wait_at_most(guard, None)
    }

    /// Waits while the condition is true.
    pub fn wait_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        while condition(&mut guard) {
            guard = self.wait(guard);
        }
        guard
    }

    /// As [`Condvar::wait`], but not longer than `timeout`: who waits looks at its condition, and at the clock.
    pub fn wait_timeout<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>, timeout: Duration) -> MutexGuard<'a, T> {
        self.wait_at_most(guard, Some(timeout))
    }

    fn wait_at_most<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>, timeout: Option<Duration>) -> MutexGuard<'a, T> {
        let notices = self.notices.load(Relaxed);
        let mutex = guard.mutex();
        drop(guard);
        sys::wait(&self.notices, notices, timeout);
        mutex.lock()
    }

    /// Wakes one of those that wait: the greatest priority first, then who waits longest.
    pub fn notify_one(&self) {
        self.notices.fetch_add(1, Relaxed);
        sys::wake(&self.notices, 1);
    }

    /// Wakes all that wait.
    pub fn notify_all(&self) {
        self.notices.fetch_add(1, Relaxed);
        sys::wake(&self.notices, u64::MAX);
    }
}
