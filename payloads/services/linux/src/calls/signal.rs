//! Signals: what programs say about them is kept, and those that they send are passed on; [`deliver`](crate::deliver) does the
//! rest.

use super::Context;
use crate::deliver::{Arrival, HARMLESS, IGNORE, arrive, stack};
use crate::program::{Sent, Told};
use crate::system::{On, Waiting};
use crate::{Error, Outcome, Platform, Result};
use alloc::vec::Vec;
use core::mem::offset_of;
use linux_raw_sys::general as sys;

/// Why a signal comes: `kill`, `tkill`.
const BY_PROCESS: i32 = 0;
const BY_THREAD: i32 = -6;
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
        // What is ignored from now on has not come, either.
        let handler = wanted.handler();
        if new != 0 && (handler == IGNORE || handler == 0 && HARMLESS.contains(&number)) {
            self.program.forget(number);
        }
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
            on: On::Time { left: None },
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
        let place = self.who.thread;
        let mine = self
            .program
            .queue
            .iter()
            .filter(|sent| sent.thread.is_none_or(|thread| thread == place));
        let pending = blocked & mine.fold(0, |set, sent| set | 1 << (sent.signal - 1));
        self.put(address, &pending.to_ne_bytes())?;
        Ok(0)
    }

    /// `tkill` and `tgkill`, of a program's own threads.
    pub(super) fn kill_thread(&mut self, process: Option<u64>, whom: u64, number: u64) -> Result<Outcome> {
        self.signal_thread(process, whom, number, self.sender(BY_THREAD))
    }

    fn signal_thread(&mut self, process: Option<u64>, whom: u64, number: u64, told: Told) -> Result<Outcome> {
        if whom as i32 <= 0 || process.is_some_and(|process| process as i32 <= 0) {
            return Err(Error::EINVAL);
        }
        if number as u32 != 0 {
            signal(number)?;
        }
        if process.is_some_and(|process| process as u32 != self.program.id) {
            return Err(Error::ESRCH);
        }
        let mut places = self.program.threads.keys().copied();
        let place = places.find(|place| self.program.thread_number(*place) == whom as u32);
        let thread = place.ok_or(Error::ESRCH)?;
        self.kill_own(number, Some(thread), told)
    }

    /// What is told of a signal that this program sends.
    fn sender(&self, code: i32) -> Told {
        Told {
            code,
            from: [self.program.id, self.program.credentials.user.real],
            value: 0,
        }
    }

    /// What the program itself wants to be told of a signal.
    fn told_at(&self, address: u64) -> Result<Told> {
        let window = &self.program.window;
        let half = |at: u64| window.half(self.platform, address.wrapping_add(at));
        let code = half(8)? as i32;
        Ok(Told {
            code,
            from: [half(16)?, half(20)?],
            value: window.word(self.platform, address.wrapping_add(24))?,
        })
    }

    /// `rt_sigqueueinfo`.
    pub(super) fn send(&mut self, whom: u64, number: u64, information: u64) -> Result<Outcome> {
        let told = self.told_at(information)?;
        // Nobody says of a signal that the kernel has sent it.
        if told.code >= 0 && whom as u32 != self.program.id {
            return Err(Error::EPERM);
        }
        self.signal_processes(whom as i32, number, told)
    }

    /// `rt_tgsigqueueinfo`.
    pub(super) fn send_to_thread(&mut self, whom: u64, number: u64, information: u64) -> Result<Outcome> {
        let told = self.told_at(information)?;
        self.signal_thread(None, whom, number, told)
    }

    /// `rt_sigtimedwait`.
    pub(super) fn wait_for_signal(&mut self, set: u64, information: u64, span: u64, size: u64) -> Result<Outcome> {
        if size != SET as u64 {
            return Err(Error::EINVAL);
        }
        let set = self.program.window.word(self.platform, set)? & !UNBLOCKABLE;
        let nanoseconds = if span == 0 { None } else { Some(self.span(span)?) };
        if let Some(index) = self.program.next_of(self.who.thread, set) {
            let sent = self.program.queue[index];
            if information != 0 {
                self.put(information, &crate::deliver::information(&sent))?;
            }
            self.program.take_sent(index);
            return Ok(Outcome::Value(sent.signal.into()));
        }
        if nanoseconds == Some(0) {
            return Err(Error::EAGAIN);
        }
        Ok(self.wait_again(nanoseconds, Error::EAGAIN.to_result()))
    }

    /// For the length of a call the thread does not want the signals of another set.
    pub(super) fn mask_for_call(&mut self, [set, size]: [u64; 2]) -> Result<()> {
        if set == 0 || self.again.is_none() {
            return Ok(());
        }
        if size != SET as u64 {
            return Err(Error::EINVAL);
        }
        let wanted = self.program.window.word(self.platform, set)?;
        let thread = self.program.threads.get_mut(&self.who.thread).ok_or(Error::ESRCH)?;
        let before = core::mem::replace(&mut thread.blocked, wanted & !UNBLOCKABLE);
        thread.restored.get_or_insert(before);
        self.shared.masked = true;
        Ok(())
    }

    /// `kill`.
    pub(super) fn kill(&mut self, whom: u64, number: u64) -> Result<Outcome> {
        self.signal_processes(whom as i32, number, self.sender(BY_PROCESS))
    }

    fn signal_processes(&mut self, whom: i32, number: u64, told: Told) -> Result<Outcome> {
        if number as u32 != 0 {
            signal(number)?;
        }
        let own = self.program.id;
        let processes = &self.shared.processes;
        let targets: Vec<u32> = match whom {
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
        let mine = &self.program.credentials;
        let may = |id: &u32| *id == own || processes.get(*id).is_ok_and(|process| mine.may_signal(&process.user));
        let targets: Vec<u32> = targets.into_iter().filter(may).collect();
        if targets.is_empty() {
            return Err(Error::EPERM);
        }
        if number as u32 == 0 {
            return Ok(Outcome::Value(0));
        }
        let signal = signal(number)?;
        let others = targets.iter().filter(|id| **id != own);
        let sent = Sent {
            told,
            ..Sent::plain(signal)
        };
        self.shared.signals.extend(others.map(|id| (*id, sent)));
        if targets.contains(&own) {
            return self.kill_own(number, None, told);
        }
        Ok(Outcome::Value(0))
    }

    /// A signal of a program to itself.
    pub(super) fn kill_self(&mut self, number: u64) -> Result<Outcome> {
        self.kill_own(number, None, self.sender(BY_PROCESS))
    }

    fn kill_own(&mut self, number: u64, thread: Option<u16>, told: Told) -> Result<Outcome> {
        if number as u32 == 0 {
            return Ok(Outcome::Value(0));
        }
        let signal = signal(number)?;
        let sent = Sent { signal, thread, told };
        match arrive(self.program, sent) {
            Arrival::Ends => Ok(Outcome::Killed(signal)),
            Arrival::Nothing => Ok(Outcome::Value(0)),
            Arrival::Full => Err(Error::EAGAIN),
            // Another thread than this one may be the one that is to see it.
            Arrival::Waits => {
                self.shared.stirred = true;
                if thread.is_some_and(|thread| thread != self.who.thread) {
                    self.shared.signals.push((self.program.id, Sent { signal: 0, ..sent }));
                }
                Ok(Outcome::Value(0))
            }
        }
    }
}
