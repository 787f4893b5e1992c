//! What is made once.

use core::cell::UnsafeCell;
use core::fmt;
use core::mem::MaybeUninit;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::sys;

/// Nobody has begun.
const EMPTY: u32 = 0;
/// Somebody makes it.
const BUSY: u32 = 1;
/// Somebody makes it, and others may wait.
const AWAITED: u32 = 2;
/// It is there.
const FULL: u32 = 3;

/// A value that the first thread that wants it makes; the others wait for it.
pub struct OnceLock<T> {
    state: AtomicU32,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value is written by one thread, before any other can see it, and dropped by whoever has the lock then.
unsafe impl<T: Send> Send for OnceLock<T> {}
// SAFETY: as above; all threads share it afterwards.
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}

impl<T> OnceLock<T> {
    /// One without a value.
    pub const fn new() -> OnceLock<T> {
        OnceLock {
            state: AtomicU32::new(EMPTY),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// The value, if it is there.
    pub fn get(&self) -> Option<&T> {
        // SAFETY: FULL is stored after the value, which nobody changes from then on.
        (self.state.load(Acquire) == FULL).then(|| unsafe { (*self.value.get()).assume_init_ref() })
    }

    /// The value; the first caller makes it. `make` must not ask for it itself: that waits for ever.
    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        let mut make = Some(make);
        loop {
            if let Some(value) = self.get() {
                return value;
            }
            if self.state.compare_exchange(EMPTY, BUSY, Acquire, Relaxed).is_ok()
                && let Some(make) = make.take()
            {
                let value = make();
                // SAFETY: BUSY is this thread's own claim: nobody else touches the value before FULL.
                unsafe { (*self.value.get()).write(value) };
                if self.state.swap(FULL, Release) == AWAITED {
                    sys::wake(&self.state, u64::MAX);
                }
            } else {
                let _ = self.state.compare_exchange(BUSY, AWAITED, Relaxed, Relaxed);
                sys::wait(&self.state, AWAITED, None);
            }
        }
    }

    /// Puts the value there, or gives it back when there is one.
    ///
    /// # Errors
    /// The value, when there was one already.
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut given = Some(value);
        self.get_or_init(|| match given.take() {
            Some(value) => value,
            None => unreachable!("the value is taken once"),
        });
        given.map_or(Ok(()), Err)
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> OnceLock<T> {
        OnceLock::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnceLock").field(&self.get()).finish()
    }
}

impl<T> Drop for OnceLock<T> {
    fn drop(&mut self) {
        if *self.state.get_mut() == FULL {
            // SAFETY: the value is there, and nobody else has the lock any more.
            unsafe { self.value.get_mut().assume_init_drop() }
        }
    }
}
