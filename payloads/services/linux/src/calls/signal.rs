//! Signals: what programs say about them is kept, and those that they send are passed on; [`deliver`](crate::deliver) does the
//! rest.

use super::Context;
use crate::deliver::stack;
use crate::deliver::{HARMLESS, IGNORE, bit};
use crate::system::{On, Waiting};
use crate::{Error, Outcome, Platform, Result};
use alloc::vec::Vec;
use core::mem::offset_of;
use linux_raw_sys::general as sys;

/// Bytes of a set of signals.
const SET: usize = 8;
/// What nobody can refuse.
const UNBLOCKABLE: u64 = 1 << (sys::SIGKILL - 1) | 1 << (sys::SIGSTOP - 1);

fn signal(number: u64) -> Result<u32> {
    let number = number as u32;
    if (1..=sys::_NSIG).contains(&number) {
        Ok(number)
    } else {
        Err(Error::EINVAL)
    }
}

impl<P: Platform> Context<'_, P> {
    /// `rt_sigaction`.
    pub(super) fn act(&mut self, number: u64, [new, old]: [u64; 2], size: u64) -> Result {
        let number = signal(number)?;
        if size != SET as u64 || new != 0 && matches!(number, sys::SIGKILL | sys::SIGSTOP) {
            return Err(Error::EINVAL);
        }
        let before = self.program.action(number);
        let mut wanted = before;
        if new != 0 {
            self.get(new, &mut wanted.0)?;
        }
        if old != 0 {
            self.put(old, &before.0)?;
        }
        self.program.actions.insert(number, wanted);
        Ok(0)
    }

    /// `rt_sigprocmask`.
    pub(super) fn block_signals(&mut self, how: u64, [new, old]: [u64; 2], size: u64) -> Result {
        if size != SET as u64 {
            return Err(Error::EINVAL);
        }
        let place = self.who.thread;
        let before = self.program.threads.get(&place).map_or(0, |thread| thread.blocked);
        if new != 0 {
            let set = self.program.window.word(self.platform, new)?;
            let after = match how as u32 {
                sys::SIG_BLOCK => before | set,
                sys::SIG_UNBLOCK => before & !set,
                sys::SIG_SETMASK => set,
                _ => return Err(Error::EINVAL),
            };
            if let Some(thread) = self.program.threads.get_mut(&place) {
                thread.blocked = after & !UNBLOCKABLE;
            }
        }
        if old != 0 {
            self.put(old, &before.to_ne_bytes())?;
        }
        Ok(0)
    }

    /// `rt_sigsuspend`: other signals are wanted until one has come.
    pub(super) fn suspend(&mut self, set: u64, size: u64) -> Result<Outcome> {
        if size != SET as u64 {
            return Err(Error::EINVAL);
        }
        let wanted = self.program.window.word(self.platform, set)?;
        let thread = self.program.threads.get_mut(&self.who.thread).ok_or(Error::ESRCH)?;
        thread.restored = Some(core::mem::replace(&mut thread.blocked, wanted & !UNBLOCKABLE));
        self.shared.waiting.push(Waiting {
            who: self.who,
            token: None,
            on: On::Time,
        });
        Ok(Outcome::Wait {
            nanoseconds: 0,
            late: 0,
        })
    }

    /// `sigaltstack`.
    pub(super) fn set_stack(&mut self, new: u64, old: u64) -> Result {
        let place = self.who.thread;
        let before = self
            .program
            .threads
            .get(&place)
            .map_or(0..0, |thread| thread.stack.clone());
        let here = self.platform.registers(None)?[self.platform.roles().stack];
        let within = before.contains(&here.wrapping_sub(1));
        if new != 0 {
            let mut bytes = [0; size_of::<sys::stack_t>()];
            self.get(new, &mut bytes)?;
            let word = |at: usize| bytes[at..].first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
            let start = word(offset_of!(sys::stack_t, ss_sp));
            let flags = word(offset_of!(sys::stack_t, ss_flags)) as u32;
            let size = word(offset_of!(sys::stack_t, ss_size));
            let wanted = match flags {
                sys::SS_DISABLE => 0..0,
                0 | sys::SS_ONSTACK if size < sys::MINSIGSTKSZ.into() => return Err(Error::ENOMEM),
                0 | sys::SS_ONSTACK => start..start.checked_add(size).ok_or(Error::ENOMEM)?,
                _ => return Err(Error::EINVAL),
            };
            if within {
                return Err(Error::EPERM);
            }
            if let Some(thread) = self.program.threads.get_mut(&place) {
                thread.stack = wanted;
            }
        }
        if old != 0 {
            self.put(old, &stack(&before, here))?;
        }
        Ok(0)
    }

    /// `rt_sigpending`.
    pub(super) fn pending(&mut self, address: u64, size: u64) -> Result {
        if size != SET as u64 {
            return Err(Error::EINVAL);
        }
        let blocked = self
            .program
            .threads
            .get(&self.who.thread)
            .map_or(0, |thread| thread.blocked);
        let pending = self.program.pending & blocked;
        self.put(address, &pending.to_ne_bytes())?;
        Ok(0)
    }

    /// `tkill` and `tgkill`, of a program's own threads.
    pub(super) fn kill_thread(&mut self, whom: u64, number: u64) -> Result<Outcome> {
        let mut places = self.program.threads.keys();
        if !places.any(|place| self.program.thread_number(*place) == whom as u32) {
            return Err(Error::ESRCH);
        }
        self.kill_self(number)
    }

    /// `kill`.
    pub(super) fn kill(&mut self, whom: u64, number: u64) -> Result<Outcome> {
        let own = self.program.id;
        let processes = &self.shared.processes;
        let targets: Vec<u32> = match whom as i32 {
            0 => processes.of_group(processes.get(own)?.group).collect(),
            -1 => processes.living().filter(|id| *id != own).collect(),
            one if one > 0 => [one as u32]
                .into_iter()
                .filter(|one| processes.get(*one).is_ok())
                .collect(),
            group => processes.of_group(group.unsigned_abs()).collect(),
        };
        if targets.is_empty() {
            return Err(Error::ESRCH);
        }
        if number as u32 == 0 {
            return Ok(Outcome::Value(0));
        }
        let signal = signal(number)?;
        let others = targets.iter().filter(|id| **id != own);
        let sent = others.map(|id| (*id, signal));
        self.shared.signals.extend(sent);
        if targets.contains(&own) {
            return self.kill_self(number);
        }
        Ok(Outcome::Value(0))
    }

    /// A signal of a program to itself.
    pub(super) fn kill_self(&mut self, number: u64) -> Result<Outcome> {
        if number as u32 == 0 {
            return Ok(Outcome::Value(0));
        }
        let number = signal(number)?;
        match self.program.action(number).handler() {
            0 if HARMLESS.contains(&number) => Ok(Outcome::Value(0)),
            0 => {
                let blocked = self
                    .program
                    .threads
                    .values()
                    .all(|thread| thread.blocked & bit(number) != 0);
                if blocked && number != sys::SIGKILL {
                    self.program.pending |= bit(number);
                    return Ok(Outcome::Value(0));
                }
                Ok(Outcome::Killed(number))
            }
            IGNORE => Ok(Outcome::Value(0)),
            _ => {
                self.program.pending |= bit(number);
                Ok(Outcome::Value(0))
            }
        }
    }
}
