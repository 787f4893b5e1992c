//! What the shortest way through the monitor needs of who runs. It is the hart's own: nothing is locked for it.

use crate::cvm::short::{NOBODY, Short};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

static RUNNING: AtomicPtr<Short> = AtomicPtr::new(ptr::from_ref(&NOBODY).cast_mut());

/// The cVM that runs from now on.
#[inline]
pub(crate) fn enter(cvm: &'static Short) {
    RUNNING.store(ptr::from_ref(cvm).cast_mut(), Ordering::Relaxed);
}

/// The cVM that runs.
#[inline]
pub(crate) fn running() -> &'static Short {
    // SAFETY: only `enter` stores, and what it stores lives for ever.
    unsafe { &*RUNNING.load(Ordering::Relaxed) }
}
