//! Waiting for a word of memory, and waking who waits.

use crate::run::monitor::{Monitor, Outcome};
use abi::Errno;
use abi::hostcall::{SLEEP_LIMIT, WAIT_FOREVER, WAKE_LIMIT};
use arch::{Frame, user};

/// The word that argument 0 points to: where it lies, and what it holds.
fn word(frame: &Frame) -> Result<(u64, u32), Errno> {
    let (authority, address) = frame.pointer(0);
    if !address.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    let mut bytes = [0; 4];
    user::copy_in(&mut bytes, authority, address).map_err(|_| Errno::EFAULT)?;
    Ok((address, u32::from_le_bytes(bytes)))
}

/// `wait(word, expected, timeout)`.
#[inline(never)]
pub(super) fn wait(monitor: &mut Monitor, frame: &Frame) -> Result<Outcome, Errno> {
    let (expected, timeout) = (frame.argument(1), frame.argument(2));
    let forever = timeout == WAIT_FOREVER;
    let expected = u32::try_from(expected).map_err(|_| Errno::EINVAL)?;
    if timeout > SLEEP_LIMIT && !forever {
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
