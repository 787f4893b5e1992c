//! What programs say about how they share processors: there is one, and the monitor shares it as the manifest says. It is kept, and told
//! again.

use super::Context;
use super::time::SECOND;
use crate::layout::encode;
use crate::{Error, Platform, Result};
use linux_raw_sys::general as sys;

/// Ticks of a second, as `times` counts it.
const TICKS: u64 = 100;
/// How long a thread runs before others of its priority do.
const SLICE: u64 = SECOND / 10;
/// Priorities that stand for real time.
const LOWEST: i32 = 1;
const HIGHEST: i32 = 99;

/// How a program wants to be scheduled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    policy: u32,
    priority: i32,
    nice: i32,
}

/// The lowest and the highest priority of a policy.
fn priorities(policy: u64) -> Result<(i32, i32)> {
    match policy as u32 {
        sys::SCHED_FIFO | sys::SCHED_RR => Ok((LOWEST, HIGHEST)),
        sys::SCHED_NORMAL | sys::SCHED_BATCH | sys::SCHED_IDLE | sys::SCHED_DEADLINE => Ok((0, 0)),
        _ => Err(Error::EINVAL),
    }
}

impl<P: Platform> Context<'_, P> {
    /// Whether a number is that of a process, or of a thread of this one; 0 is the caller's.
    pub(super) fn is_there(&self, number: u64) -> Result<()> {
        let number = number as u32;
        if (number as i32) < 0 {
            return Err(Error::EINVAL);
        }
        let mut threads = self.program.threads.keys();
        let own = number == 0 || threads.any(|place| self.program.thread_number(*place) == number);
        if own || self.shared.processes.get(number).is_ok() {
            Ok(())
        } else {
            Err(Error::ESRCH)
        }
    }

    /// `sched_getscheduler`.
    pub(super) fn policy(&self, number: u64) -> Result {
        self.is_there(number)?;
        Ok(self.program.wish.policy.into())
    }

    /// `sched_setscheduler`, and with the same policy `sched_setparam`.
    pub(super) fn set_policy(&mut self, number: u64, policy: Option<u64>, address: u64) -> Result {
        if address == 0 {
            return Err(Error::EINVAL);
        }
        let policy = policy.unwrap_or(self.program.wish.policy.into());
        let (least, most) = priorities(policy)?;
        let priority = self.program.window.half(self.platform, address)? as i32;
        self.is_there(number)?;
        if !(least..=most).contains(&priority) {
            return Err(Error::EINVAL);
        }
        if most > 0 && !self.program.credentials.is_root() {
            return Err(Error::EPERM);
        }
        (self.program.wish.policy, self.program.wish.priority) = (policy as u32, priority);
        Ok(0)
    }

    /// `sched_getparam`.
    pub(super) fn priority_of(&mut self, number: u64, address: u64) -> Result {
        if address == 0 {
            return Err(Error::EINVAL);
        }
        self.is_there(number)?;
        let priority = self.program.wish.priority;
        self.put(address, &priority.to_ne_bytes())?;
        Ok(0)
    }

    /// `sched_get_priority_min` and `sched_get_priority_max`.
    pub(super) fn priority_limit(&self, policy: u64, highest: bool) -> Result {
        let (least, most) = priorities(policy)?;
        Ok(if highest { most } else { least } as u64)
    }

    /// `sched_rr_get_interval`.
    pub(super) fn slice(&mut self, number: u64, address: u64) -> Result {
        self.is_there(number)?;
        let span = if self.program.wish.policy == sys::SCHED_FIFO {
            0
        } else {
            SLICE
        };
        self.program.put_time(self.platform, address, span)
    }

    /// `sched_setaffinity`.
    pub(super) fn set_affinity(&mut self, number: u64, length: u64, address: u64) -> Result {
        let word = if length >= 8 {
            self.program.window.word(self.platform, address)?
        } else {
            let mut bytes = [0; 8];
            self.get(address, &mut bytes[..length as usize])?;
            u64::from_ne_bytes(bytes)
        };
        self.is_there(number)?;
        if word & 1 == 0 { Err(Error::EINVAL) } else { Ok(0) }
    }

    /// `getcpu`.
    pub(super) fn processor(&mut self, processor: u64, node: u64) -> Result {
        for address in [processor, node].into_iter().filter(|address| *address != 0) {
            self.put(address, &[0; 4])?;
        }
        Ok(0)
    }

    /// Whether a process, a group or a user is there that `getpriority` names.
    fn is_named(&self, which: u64, whom: u64) -> Result<()> {
        let whom = whom as u32;
        let there = match which as u32 {
            sys::PRIO_PROCESS => return self.is_there(whom.into()).map_err(|_| Error::ESRCH),
            sys::PRIO_PGRP => whom == 0 || self.shared.processes.of_group(whom).next().is_some(),
            sys::PRIO_USER => whom == 0 || whom == self.program.credentials.user.real,
            _ => return Err(Error::EINVAL),
        };
        if there { Ok(()) } else { Err(Error::ESRCH) }
    }

    /// `getpriority`, which counts from 1 on so that it never fails.
    pub(super) fn nice(&self, which: u64, whom: u64) -> Result {
        self.is_named(which, whom)?;
        Ok((20 - self.program.wish.nice) as u64)
    }

    /// `setpriority`.
    pub(super) fn set_nice(&mut self, which: u64, whom: u64, nice: u64) -> Result {
        self.is_named(which, whom)?;
        let root = self.program.credentials.is_root();
        if which as u32 == sys::PRIO_PROCESS
            && !root
            && let Ok(process) = self.shared.processes.get(whom as u32)
            && process.user.effective != self.program.credentials.user.effective
        {
            return Err(Error::EPERM);
        }
        let nice = (nice as i32).clamp(-20, 19);
        if nice < self.program.wish.nice && !root {
            return Err(Error::EACCES);
        }
        self.program.wish.nice = nice;
        Ok(0)
    }

    /// `times`: the time since the program has begun is its own.
    pub(super) fn times(&mut self, address: u64) -> Result {
        let now = self.now(sys::CLOCK_MONOTONIC.into())? / (SECOND / TICKS);
        if address != 0 {
            let spent = self.now(sys::CLOCK_PROCESS_CPUTIME_ID.into())? / (SECOND / TICKS);
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&spent.to_ne_bytes());
            self.put(address, &bytes)?;
        }
        Ok(now)
    }

    /// `mlock` and `munlock`: memory stays where it is.
    pub(super) fn lock(&mut self, address: u64, length: u64) -> Result {
        let start = address / crate::arena::PAGE * crate::arena::PAGE;
        let length = length.checked_add(address - start).ok_or(Error::EINVAL)?;
        self.program.window.check(start, length).map_err(|_| Error::ENOMEM)?;
        Ok(0)
    }

    /// `mlockall`.
    pub(super) fn lock_all(&self, flags: u64) -> Result {
        let all = sys::MCL_CURRENT | sys::MCL_FUTURE | sys::MCL_ONFAULT;
        if flags as u32 & !all != 0 || flags as u32 & !sys::MCL_ONFAULT == 0 {
            return Err(Error::EINVAL);
        }
        Ok(0)
    }

    /// `mincore`: all of it is there.
    pub(super) fn resident(&mut self, address: u64, length: u64, vector: u64) -> Result {
        if !address.is_multiple_of(crate::arena::PAGE) {
            return Err(Error::EINVAL);
        }
        self.program.window.check(address, length).map_err(|_| Error::ENOMEM)?;
        let pages = length.div_ceil(crate::arena::PAGE);
        self.program.window.check(vector, pages)?;
        for page in 0..pages {
            self.put(vector + page, &[1])?;
        }
        Ok(0)
    }

    /// `statx`.
    pub(super) fn facts_more(&mut self, [folder, path, flags, mask, address]: [u64; 5]) -> Result {
        let (flags, mask) = (flags as u32, mask as u32);
        let known = sys::AT_SYMLINK_NOFOLLOW | sys::AT_EMPTY_PATH | sys::AT_NO_AUTOMOUNT | sys::AT_STATX_SYNC_TYPE;
        if flags & !known != 0
            || flags & sys::AT_STATX_SYNC_TYPE == sys::AT_STATX_SYNC_TYPE
            || mask & sys::STATX__RESERVED != 0
        {
            return Err(Error::EINVAL);
        }
        let facts = self.facts_named(folder, path, flags)?;
        let time = |time: u64| sys::statx_timestamp {
            tv_sec: (time / SECOND) as i64,
            tv_nsec: (time % SECOND) as u32,
            __reserved: 0,
        };
        let put_time = |bytes: &mut [u8], at: usize, nanoseconds: u64| {
            let parts = time(nanoseconds);
            bytes[at..at + 8].copy_from_slice(&parts.tv_sec.to_ne_bytes());
            bytes[at + 8..at + 12].copy_from_slice(&parts.tv_nsec.to_ne_bytes());
        };
        let (device, number) = facts.numbers();
        let mut bytes = encode!(sys::statx {
            stx_mask: sys::STATX_BASIC_STATS,
            stx_blksize: 4096,
            stx_nlink: facts.links,
            stx_uid: facts.owner[0],
            stx_gid: facts.owner[1],
            stx_mode: facts.mode as u16,
            stx_ino: number,
            stx_size: facts.size,
            stx_blocks: facts.sectors,
            stx_dev_minor: device as u32,
        });
        for (at, nanoseconds) in [
            (core::mem::offset_of!(sys::statx, stx_atime), facts.accessed),
            (core::mem::offset_of!(sys::statx, stx_ctime), facts.changed),
            (core::mem::offset_of!(sys::statx, stx_mtime), facts.modified),
        ] {
            put_time(&mut bytes, at, nanoseconds);
        }
        self.put(address, &bytes)?;
        Ok(0)
    }
}
