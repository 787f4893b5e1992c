//! Clocks.

use super::Context;
use crate::layout::encode;
use crate::program::Program;
use crate::{Error, Platform, Result};
use linux_raw_sys::general as sys;
use linux_raw_sys::general::{__kernel_old_timeval, __kernel_timespec};

/// Nanoseconds of a second.
pub(crate) const SECOND: u64 = 1_000_000_000;

impl Program {
    /// Nanoseconds by one of Linux's clocks.
    pub(crate) fn now<P: Platform>(&self, platform: &P, clock: u64) -> Result<u64> {
        let machine = platform.clock();
        match clock as u32 {
            sys::CLOCK_REALTIME | sys::CLOCK_REALTIME_COARSE => Ok(machine.saturating_add(platform.epoch())),
            sys::CLOCK_MONOTONIC | sys::CLOCK_MONOTONIC_RAW | sys::CLOCK_MONOTONIC_COARSE | sys::CLOCK_BOOTTIME => {
                Ok(machine)
            }
            // The program has the processor to itself, as far as it can see.
            sys::CLOCK_PROCESS_CPUTIME_ID | sys::CLOCK_THREAD_CPUTIME_ID => Ok(machine.saturating_sub(self.began)),
            _ => Err(Error::EINVAL),
        }
    }

    /// Tells a time.
    pub(crate) fn put_time<P: Platform>(&self, platform: &mut P, address: u64, nanoseconds: u64) -> Result {
        let time = encode!(__kernel_timespec {
            tv_sec: (nanoseconds / SECOND) as i64,
            tv_nsec: (nanoseconds % SECOND) as i64,
        });
        self.window.write(platform, address, &time)?;
        Ok(0)
    }
}

impl<P: Platform> Context<'_, P> {
    /// Nanoseconds by one of Linux's clocks.
    pub(super) fn now(&self, clock: u64) -> Result<u64> {
        self.program.now(self.platform, clock)
    }

    fn put_time(&mut self, address: u64, nanoseconds: u64) -> Result {
        self.program.put_time(self.platform, address, nanoseconds)
    }

    /// `clock_gettime`.
    pub(super) fn clock(&mut self, clock: u64, address: u64) -> Result {
        let now = self.now(clock)?;
        self.put_time(address, now)
    }

    /// `clock_getres`.
    pub(super) fn resolution(&mut self, clock: u64, address: u64) -> Result {
        self.now(clock)?;
        if address == 0 {
            return Ok(0);
        }
        self.put_time(address, 100)
    }

    /// `gettimeofday`.
    pub(super) fn time_of_day(&mut self, address: u64) -> Result {
        if address == 0 {
            return Ok(0);
        }
        let now = self.now(sys::CLOCK_REALTIME.into())?;
        let time = encode!(__kernel_old_timeval {
            tv_sec: (now / SECOND) as i64,
            tv_usec: (now % SECOND / 1000) as i64,
        });
        self.put(address, &time)?;
        Ok(0)
    }
}
