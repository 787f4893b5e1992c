//! Time: the monitor's monotonic clock and sleeping.

use core::time::Duration;

use crate::{Errno, hostcall};

/// A moment on the monotonic clock that all cVMs share; it starts with the monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant {
    nanoseconds: u64,
}

impl Instant {
    /// This moment.
    pub fn now() -> Instant {
        Instant {
            nanoseconds: hostcall::counted_clock(),
        }
    }

    /// Time since this moment.
    pub fn elapsed(self) -> Duration {
        Instant::now().since(self)
    }

    /// Time from `earlier` to this moment, zero when it is not earlier.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.nanoseconds.saturating_sub(earlier.nanoseconds))
    }

    /// Time since the monitor started.
    pub fn since_start(self) -> Duration {
        Duration::from_nanos(self.nanoseconds)
    }
}

/// Time since 1970 (UTC), by the machine's real-time clock.
///
/// # Errors
/// `ENOENT` when it has none.
pub fn since_1970() -> Result<Duration, Errno> {
    hostcall::wall_clock().map(Duration::from_nanos)
}

/// Sleeps for at least this time.
///
/// # Errors
/// `EINVAL` for more than [`abi::hostcall::SLEEP_LIMIT`] nanoseconds.
pub fn sleep(time: Duration) -> Result<(), Errno> {
    hostcall::nanosleep(u64::try_from(time.as_nanos()).map_err(|_| Errno::EINVAL)?)
}
