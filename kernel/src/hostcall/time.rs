//! Time: yield, sleep, clock.

use crate::run::monitor::{Monitor, Outcome};
use abi::Errno;
use abi::hostcall::SLEEP_LIMIT;
use arch::Frame;

/// `yield()`.
#[inline(never)]
pub(super) fn yield_now(monitor: &mut Monitor, frame: &Frame) -> Result<Outcome, Errno> {
    frame.set_result(0);
    monitor.scheduler.release(arch::timer::now());
    Ok(Outcome::Switch)
}

/// `nanosleep(nanoseconds)`.
#[inline(never)]
pub(super) fn nanosleep(monitor: &mut Monitor, frame: &Frame) -> Result<Outcome, Errno> {
    let nanoseconds = frame.argument(0);
    if nanoseconds > SLEEP_LIMIT {
        return Err(Errno::EINVAL);
    }
    frame.set_result(0);
    // The current tick has begun already: one more makes it at least the time asked for.
    let now = arch::timer::now();
    let until = now.saturating_add(monitor.ticks(nanoseconds)).saturating_add(1);
    monitor.scheduler.sleep(until, now);
    Ok(Outcome::Switch)
}

/// `wall_clock()`.
#[inline(never)]
pub(super) fn wall_clock(monitor: &Monitor) -> Result<Outcome, Errno> {
    let born = monitor.born.ok_or(Errno::ENOENT)?;
    let since = monitor.nanoseconds(arch::timer::now() - monitor.boot);
    Ok(Outcome::Value(born.wrapping_add(since)))
}

/// `clock()`.
#[inline(never)]
pub(super) fn clock(monitor: &Monitor) -> Result<Outcome, Errno> {
    Ok(Outcome::Value(since_start(monitor)))
}

/// Nanoseconds since the monitor has started its cVMs.
pub(super) fn since_start(monitor: &Monitor) -> u64 {
    monitor.nanoseconds(arch::timer::now() - monitor.boot)
}
