//! Waiting for a word of memory, and waking who waits.

use crate::run::monitor::{Monitor, Outcome};
use crate::run::shortcut::Usual;
use abi::Errno;
use abi::hostcall::{SLEEP_LIMIT, WAIT_FOREVER, WAKE_LIMIT};
use arch::{Frame, user};

/// The word that argument 0 points to: where it lies, and what it holds.
#[inline]
fn word(frame: &Frame) -> Result<(u64, u64), Errno> {
    let (authority, address) = frame.pointer(0);
    if !address.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    let found = user::load_word(authority, address).map_err(|_| Errno::EFAULT)?;
    Ok((address, found))
}

/// The usual wait on its short way.
#[inline(always)]
pub(crate) fn usual_wait(monitor: &mut Monitor, frame: &'static Frame) -> Usual {
    match word(frame) {
        Ok((address, found)) if frame.argument(2) == WAIT_FOREVER && found == frame.argument(1) => {
            monitor.usual_wait(address)
        }
        _ => Usual::Not,
    }
}

/// The usual wake on its short way.
#[inline(always)]
pub(crate) fn usual_wake(monitor: &mut Monitor, frame: &'static Frame) -> Usual {
    match word(frame) {
        Ok((address, _)) => monitor.usual_wake(frame, address),
        Err(_) => Usual::Not,
    }
}

/// A timeout as the hostcalls have it: nanoseconds, or none to wait for ever.
pub(super) fn timeout(nanoseconds: u64) -> Result<Option<u64>, Errno> {
    match nanoseconds {
        WAIT_FOREVER => Ok(None),
        ..=SLEEP_LIMIT => Ok(Some(nanoseconds)),
        _ => Err(Errno::EINVAL),
    }
}

/// Lets the caller wait until somebody wakes who waits for an address, or time is over.
pub(super) fn wait_for(monitor: &mut Monitor, address: u64, timeout: Option<u64>) -> Result<Outcome, Errno> {
    if timeout == Some(0) {
        return Err(Errno::ETIMEDOUT);
    }
    let now = arch::timer::now();
    // As `nanosleep`: at least the time asked for.
    let until = timeout.map(|time| now.saturating_add(monitor.ticks(time)).saturating_add(1));
    monitor.scheduler.wait(address, until, now);
    Ok(Outcome::Switch)
}

/// `wait(word, expected, timeout)`.
#[inline(never)]
pub(super) fn wait(monitor: &mut Monitor, frame: &Frame) -> Result<Outcome, Errno> {
    let (expected, timeout) = (frame.argument(1), timeout(frame.argument(2))?);
    if expected > u64::from(u32::MAX) {
        return Err(Errno::EINVAL);
    }
    let (address, found) = word(frame)?;
    if found != expected {
        return Err(Errno::EAGAIN);
    }
    wait_for(monitor, address, timeout)
}

/// `wake(word, count)`.
#[inline(never)]
pub(super) fn wake(monitor: &mut Monitor, frame: &Frame) -> Result<Outcome, Errno> {
    let (address, _) = word(frame)?;
    let count = frame.argument(1).min(WAKE_LIMIT);
    Ok(Outcome::Value(monitor.scheduler.wake_waiters(address, count)))
}
