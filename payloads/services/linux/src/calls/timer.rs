//! Timers: those that every program has, those that it makes, and those that are open files.

use super::Context;
use super::time::SECOND;
use crate::layout::encode;
use crate::open::{OpenTimer, What};
use crate::timers::{Kind, Timer, When};
use crate::{Error, Platform, Result};
use core::mem::offset_of;
use linux_raw_sys::general as sys;
use linux_raw_sys::general::{__kernel_itimerspec, __kernel_old_itimerval};

/// The signals of the timers that every program has.
const GIVEN: [u32; 3] = [sys::SIGALRM, sys::SIGVTALRM, sys::SIGPROF];
/// What a program says about the signal of a timer that it makes.
const SIGEV_SIGNAL: u32 = 0;
const SIGEV_NONE: u32 = 1;
const SIGEV_THREAD_ID: u32 = 4;

impl<P: Platform> Context<'_, P> {
    /// A time of a `timeval` in the program's memory, in nanoseconds.
    fn old_time(&self, at: u64) -> Result<u64> {
        let window = &self.program.window;
        let seconds = window.word(self.platform, at)?;
        let micro = window.word(self.platform, at.wrapping_add(8))?;
        if seconds > i64::MAX as u64 || micro >= SECOND / 1000 {
            return Err(Error::EINVAL);
        }
        Ok(seconds.saturating_mul(SECOND).saturating_add(micro * 1000))
    }

    /// What is left until something happens; what has happened already does at once.
    fn left(&self, when: When) -> (u64, u64) {
        let now = self.platform.clock();
        let mut when = when;
        when.pass(now);
        (
            when.next.map_or(0, |next| next.saturating_sub(now).max(1)),
            when.interval,
        )
    }

    fn put_given(&mut self, address: u64, when: When) -> Result<()> {
        let (left, interval) = self.left(when);
        let mut bytes = [0; size_of::<__kernel_old_itimerval>()];
        // What is less than a microsecond is left, too.
        for (index, time) in [interval, left].into_iter().enumerate() {
            let micro = time.div_ceil(1000);
            let (seconds, rest) = (micro / (SECOND / 1000), micro % (SECOND / 1000));
            bytes[16 * index..][..8].copy_from_slice(&seconds.to_ne_bytes());
            bytes[16 * index + 8..][..8].copy_from_slice(&rest.to_ne_bytes());
        }
        self.put(address, &bytes)
    }

    fn given(&mut self, which: u32) -> When {
        let timer = self
            .shared
            .timers
            .find(self.program.id, |kind| *kind == Kind::Given(which));
        timer.map_or(When::default(), |timer| timer.when)
    }

    /// `getitimer`. A program has the processor to itself, as far as it can see: its time is everybody's.
    pub(super) fn given_timer(&mut self, which: u64, address: u64) -> Result {
        let which = which as u32;
        if which as usize >= GIVEN.len() {
            return Err(Error::EINVAL);
        }
        let when = self.given(which);
        self.put_given(address, when)?;
        Ok(0)
    }

    /// `setitimer`.
    pub(super) fn set_given_timer(&mut self, which: u64, new: u64, old: u64) -> Result {
        let which = which as u32;
        let signal = *GIVEN.get(which as usize).ok_or(Error::EINVAL)?;
        let mut when = When::default();
        if new != 0 {
            let (interval, value) = (self.old_time(new)?, self.old_time(new.wrapping_add(16))?);
            let next = (value != 0).then(|| self.platform.clock().saturating_add(value));
            when = When { next, interval };
        }
        if old != 0 {
            let before = self.given(which);
            self.put_given(old, before)?;
        }
        self.shared.timers.changed = true;
        let owner = self.program.id;
        if let Some(timer) = self.shared.timers.find(owner, |kind| *kind == Kind::Given(which)) {
            timer.when = when;
            return Ok(0);
        }
        let timer = Timer {
            owner,
            kind: Kind::Given(which),
            signal,
            clock: sys::CLOCK_MONOTONIC,
            when,
            missed: 0,
        };
        if self.shared.timers.add(timer) {
            Ok(0)
        } else {
            Err(Error::EAGAIN)
        }
    }

    /// `timer_create`.
    pub(super) fn make_timer(&mut self, clock: u64, event: u64, address: u64) -> Result {
        self.now(clock)?;
        let owner = self.program.id;
        let number = self.shared.timers.free(owner);
        let (mut signal, mut thread, mut value) = (sys::SIGALRM, None, u64::from(number));
        if event != 0 {
            let mut bytes = [0; size_of::<sys::sigevent>()];
            self.get(event, &mut bytes)?;
            let half = |at: usize| bytes[at..].first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
            value = bytes.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
            signal = half(offset_of!(sys::sigevent, sigev_signo));
            match half(offset_of!(sys::sigevent, sigev_notify)) {
                SIGEV_NONE => signal = 0,
                SIGEV_SIGNAL => {}
                SIGEV_THREAD_ID => {
                    let wanted = half(offset_of!(sys::sigevent, _sigev_un));
                    let mut places = self.program.threads.keys().copied();
                    let place = places.find(|place| self.program.thread_number(*place) == wanted);
                    thread = Some(place.ok_or(Error::EINVAL)?);
                }
                _ => return Err(Error::EINVAL),
            }
            if signal > sys::_NSIG || signal == 0 && half(offset_of!(sys::sigevent, sigev_notify)) != SIGEV_NONE {
                return Err(Error::EINVAL);
            }
        }
        self.put(address, &number.to_ne_bytes())?;
        let timer = Timer {
            owner,
            kind: Kind::Made { number, thread, value },
            signal,
            clock: clock as u32,
            when: When::default(),
            missed: 0,
        };
        if self.shared.timers.add(timer) {
            Ok(0)
        } else {
            Err(Error::EAGAIN)
        }
    }

    /// One that the program has made.
    fn made_timer(&mut self, number: u64) -> Result<&mut Timer> {
        let wanted = number as u32;
        let timers = &mut self.shared.timers;
        let found = timers.find(
            self.program.id,
            |kind| matches!(kind, Kind::Made { number, .. } if *number == wanted),
        );
        found.ok_or(Error::EINVAL)
    }

    /// What a program wants of a timer: when it goes off by the platform's clock.
    fn wanted(&self, clock: u32, address: u64, absolute: bool) -> Result<When> {
        let interval = self.span(address)?;
        let value = self.span(address.wrapping_add(offset_of!(__kernel_itimerspec, it_value) as u64))?;
        let here = self.platform.clock();
        let next = if absolute {
            let there = self.now(clock.into())?;
            here.saturating_add(value.saturating_sub(there))
        } else {
            here.saturating_add(value)
        };
        Ok(When {
            next: (value != 0).then_some(next),
            interval,
        })
    }

    fn put_when(&mut self, address: u64, when: When) -> Result {
        let (left, interval) = self.left(when);
        let mut bytes = [0; size_of::<__kernel_itimerspec>()];
        for (index, time) in [interval, left].into_iter().enumerate() {
            let part = encode!(sys::__kernel_timespec {
                tv_sec: (time / SECOND) as i64,
                tv_nsec: (time % SECOND) as i64,
            });
            bytes[16 * index..][..16].copy_from_slice(&part);
        }
        self.put(address, &bytes)?;
        Ok(0)
    }

    /// `timer_settime`.
    pub(super) fn set_timer(&mut self, number: u64, flags: u64, new: u64, old: u64) -> Result {
        let before = *self.made_timer(number)?;
        if new == 0 {
            return Err(Error::EINVAL);
        }
        let when = self.wanted(before.clock, new, flags as u32 & sys::TIMER_ABSTIME != 0)?;
        if old != 0 {
            self.put_when(old, before.when)?;
        }
        let timer = self.made_timer(number)?;
        (timer.when, timer.missed) = (when, 0);
        self.shared.timers.changed = true;
        Ok(0)
    }

    /// `timer_gettime`.
    pub(super) fn timer(&mut self, number: u64, address: u64) -> Result {
        let when = self.made_timer(number)?.when;
        self.put_when(address, when)
    }

    /// `timer_getoverrun`.
    pub(super) fn missed(&mut self, number: u64) -> Result {
        Ok(self.made_timer(number)?.missed.min(i32::MAX as u64))
    }

    /// `timer_delete`.
    pub(super) fn remove_timer(&mut self, number: u64) -> Result {
        self.made_timer(number)?;
        self.shared.timers.remove(self.program.id, number as u32);
        Ok(0)
    }

    /// `timerfd_create`.
    pub(super) fn open_timer(&mut self, clock: u64, flags: u64) -> Result {
        let (clock, flags) = (clock as u32, flags as u32);
        if flags & !(sys::TFD_NONBLOCK | sys::TFD_CLOEXEC) != 0
            || !matches!(clock, sys::CLOCK_REALTIME | sys::CLOCK_MONOTONIC | sys::CLOCK_BOOTTIME)
        {
            return Err(Error::EINVAL);
        }
        let timer = OpenTimer {
            clock,
            when: When::default(),
            passed: 0,
        };
        let open = self
            .shared
            .opens
            .add(What::Timer(timer), sys::O_RDWR | flags & sys::O_NONBLOCK);
        self.descriptor_for(open, flags & sys::O_CLOEXEC)
    }

    fn opened_timer(&mut self, descriptor: u64) -> Result<&mut OpenTimer> {
        let id = self.program.descriptors.get(descriptor)?;
        match &mut self.shared.opens.get_mut(id)?.what {
            What::Timer(timer) => Ok(timer),
            _ => Err(Error::EINVAL),
        }
    }

    /// `timerfd_settime`.
    pub(super) fn set_open_timer(&mut self, descriptor: u64, flags: u64, new: u64, old: u64) -> Result {
        let flags = flags as u32;
        let before = *self.opened_timer(descriptor)?;
        if flags & !(sys::TFD_TIMER_ABSTIME | sys::TFD_TIMER_CANCEL_ON_SET) != 0 {
            return Err(Error::EINVAL);
        }
        let when = self.wanted(before.clock, new, flags & sys::TFD_TIMER_ABSTIME != 0)?;
        if old != 0 {
            self.put_when(old, before.when)?;
        }
        let timer = self.opened_timer(descriptor)?;
        (timer.when, timer.passed) = (when, 0);
        self.shared.timers.changed = true;
        self.shared.stirred = true;
        Ok(0)
    }

    /// `timerfd_gettime`.
    pub(super) fn open_timer_left(&mut self, descriptor: u64, address: u64) -> Result {
        let when = self.opened_timer(descriptor)?.when;
        self.put_when(address, when)
    }
}
