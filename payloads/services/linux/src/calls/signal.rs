//! Signals, as far as they need no handler: what programs say about them is kept, and one that a program sends to itself ends
//! it unless it has said otherwise. No handler is ever called: nothing here can interrupt a program.

use super::Context;
use crate::program::ACTION;
use crate::{Error, Outcome, Platform, Result};
use linux_raw_sys::general as sys;

/// Bytes of a set of signals.
const SET: usize = 8;
/// Signals that do nothing by themselves; those that stop a program have nobody who would let it go on.
const HARMLESS: [u32; 8] = [
    sys::SIGCHLD,
    sys::SIGCONT,
    sys::SIGURG,
    sys::SIGWINCH,
    sys::SIGSTOP,
    sys::SIGTSTP,
    sys::SIGTTIN,
    sys::SIGTTOU,
];
/// What a shell adds to the number of a signal that has ended a program.
const ENDED: i32 = 128;
/// What stands for a handler that does nothing.
const IGNORE: u64 = 1;

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
        let before = self.program.actions.get(&number).copied().unwrap_or_default();
        let mut wanted = before;
        if new != 0 {
            self.get(new, &mut wanted)?;
        }
        if old != 0 {
            self.put(old, &before)?;
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
                thread.blocked = after;
            }
        }
        if old != 0 {
            self.put(old, &before.to_ne_bytes())?;
        }
        Ok(0)
    }

    /// `kill`, `tkill` and `tgkill`, of a program by itself.
    pub(super) fn kill(&mut self, whom: u64, number: u64, thread: bool) -> Result<Outcome> {
        let own = if thread {
            let numbers = self
                .program
                .threads
                .keys()
                .map(|place| self.program.thread_number(*place));
            numbers.into_iter().any(|number| number == whom as u32)
        } else {
            whom as u32 == self.program.id
        };
        if !own {
            return Err(Error::ESRCH);
        }
        if number as u32 == 0 {
            return Ok(Outcome::Value(0));
        }
        let number = signal(number)?;
        let action: [u8; ACTION] = self.program.actions.get(&number).copied().unwrap_or_default();
        let handler = action.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        match handler {
            0 if HARMLESS.contains(&number) => Ok(Outcome::Value(0)),
            0 => Ok(Outcome::EndProgram(ENDED + number as i32)),
            IGNORE => Ok(Outcome::Value(0)),
            _ => {
                if self.shared.once(sys::__NR_rt_sigreturn.into()) {
                    let line = format_args!("signal {number} has a handler, which nothing can call: ENOSYS");
                    self.platform.log(self.who, line);
                }
                Err(Error::ENOSYS)
            }
        }
    }
}
