//! Waiting for a word of memory, and waking who waits: what everything in [`sync`](crate::sync) is made of. On the host,
//! where the tests run, it is a condition variable of the standard library.

use core::sync::atomic::AtomicU32;
use core::time::Duration;

/// Time since the monitor started; on the host, since the first call.
#[cfg(target_os = "none")]
pub(crate) fn now() -> Duration {
    Duration::from_nanos(crate::hostcall::clock())
}

/// Time since the monitor started; on the host, since the first call.
#[cfg(test)]
pub(crate) fn now() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

/// Waits while `word` holds `expected`, for `timeout` at the longest. It may return early: the caller looks again.
#[cfg(target_os = "none")]
pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
    use crate::{Errno, hostcall};
    match hostcall::wait(word, expected, timeout) {
        Ok(()) | Err(Errno::EAGAIN | Errno::ETIMEDOUT) => {}
        // The manifest does not allow the family `sync`: whoever holds the word goes on all the same.
        Err(_) => hostcall::yield_now(),
    }
}

/// Wakes up to `count` of those that wait for `word`.
#[cfg(target_os = "none")]
pub(crate) fn wake(word: &AtomicU32, mut count: u64) {
    use abi::hostcall::WAKE_LIMIT;
    while count > 0 {
        let portion = count.min(WAKE_LIMIT);
        match crate::hostcall::wake(word, portion) {
            Ok(woken) if woken == portion => count -= woken,
            // Fewer than asked for: that were all. Where the manifest forbids it, nobody waits.
            _ => return,
        }
    }
}

#[cfg(all(test, not(target_os = "none")))]
mod host {
    use std::sync::{Condvar, Mutex};

    pub(super) static LOCK: Mutex<()> = Mutex::new(());
    pub(super) static WOKEN: Condvar = Condvar::new();
}

/// Waits while `word` holds `expected`, for `timeout` at the longest. It may return early: the caller looks again.
#[cfg(all(test, not(target_os = "none")))]
pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
    use std::sync::PoisonError;
    let guard = host::LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    if word.load(core::sync::atomic::Ordering::Relaxed) == expected {
        let longest = timeout.unwrap_or(Duration::from_secs(3600));
        drop(host::WOKEN.wait_timeout(guard, longest));
    }
}

/// Wakes up to `count` of those that wait for `word`: here all, and of other words, too.
#[cfg(all(test, not(target_os = "none")))]
pub(crate) fn wake(_word: &AtomicU32, _count: u64) {
    drop(host::LOCK.lock());
    host::WOKEN.notify_all();
}
