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

/// `wait(word, expected, timeout)`.
#[inline(never)]
pub(super) fn wait(monitor: &mut Monitor, frame: &Frame) -> Result<Outcome, Errno> {
    let (expected, timeout) = (frame.argument(1), frame.argument(2));
    let forever = timeout == WAIT_FOREVER;
    if expected > u64::from(u32::MAX) || (timeout > SLEEP_LIMIT && !forever) {
        return Err(Errno::EINVAL);
    }
    let (address, found) = word(frame)?;
    if found != expected {
        return Err(Errno::EAGAIN);
    }
    if timeout == 0 {
        return Err(Errno::ETIMEDOUT);
    }
    let now = arch::timer::now();
    // As `nanosleep`: at least the time asked for.
    let until = now.saturating_add(monitor.ticks(timeout)).saturating_add(1);
    monitor.scheduler.wait(address, (!forever).then_some(until), now);
    Ok(Outcome::Switch)
}

/// `wake(word, count)`.
#[inline(never)]
pub(super) fn wake(monitor: &mut Monitor, frame: &Frame) -> Result<Outcome, Errno> {
    let (address, _) = word(frame)?;
    let count = frame.argument(1).min(WAKE_LIMIT);
    Ok(Outcome::Value(monitor.scheduler.wake_waiters(address, count)))
}
