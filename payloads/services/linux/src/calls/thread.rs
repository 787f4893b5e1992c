//! Threads: made, ended, waiting for each other.

use super::Context;
use super::time::SECOND;
use crate::layout::field;
use crate::program::{Thread, Who};
use crate::system::{On, Outcome, Waiting};
use crate::{Error, Platform, Result};
use linux_raw_sys::general as sys;
use linux_raw_sys::general::__kernel_timespec;

/// What a clone has to share to be a thread.
const THREAD: u32 = sys::CLONE_VM | sys::CLONE_FS | sys::CLONE_FILES | sys::CLONE_SIGHAND | sys::CLONE_THREAD;

impl<P: Platform> Context<'_, P> {
    /// `clone`, as far as it makes a thread.
    pub(super) fn clone(&mut self, [flags, stack, parent, pointer, child]: [u64; 5]) -> Result {
        let flags = flags as u32;
        if flags & THREAD != THREAD {
            if self.shared.once(sys::__NR_clone.into()) {
                let line = format_args!(
                    "clone with flags {flags:#x} is not there: a copy of a program would need the same addresses; \
                     threads, vfork and posix_spawn do not"
                );
                self.platform.log(self.who, line);
            }
            return Err(Error::ENOSYS);
        }
        for (flag, address) in [(sys::CLONE_PARENT_SETTID, parent), (sys::CLONE_CHILD_SETTID, child)] {
            if flags & flag != 0 {
                self.program.window.check(address, 4)?;
            }
        }
        let pointer = if flags & sys::CLONE_SETTLS != 0 {
            Some(pointer)
        } else {
            None
        };
        let blocked = self
            .program
            .threads
            .get(&self.who.thread)
            .map_or(0, |thread| thread.blocked);
        let pointer = pointer.ok_or(Error::EINVAL)?;
        let place = self.platform.clone(Some(stack), Some(pointer))?;
        let number = self.program.thread_number(place);
        let clear = if flags & sys::CLONE_CHILD_CLEARTID != 0 {
            child
        } else {
            0
        };
        let thread = Thread {
            clear,
            blocked,
            robust: 0,
            restored: None,
            stack: 0..0,
            name: None,
        };
        self.program.threads.insert(place, thread);
        for (flag, address) in [(sys::CLONE_PARENT_SETTID, parent), (sys::CLONE_CHILD_SETTID, child)] {
            if flags & flag != 0 {
                self.put(address, &number.to_ne_bytes())?;
            }
        }
        Ok(number.into())
    }

    /// `exit`: the calling thread ends, and with the last one the program.
    pub(super) fn exit_thread(&mut self, status: u64) -> Outcome {
        let place = self.who.thread;
        self.leave_locks();
        if let Some(Thread { clear, .. }) = self.program.threads.remove(&place)
            && clear != 0
            && self.put(clear, &[0; 4]).is_ok()
        {
            self.wake(clear, 1);
        }
        if self.program.threads.is_empty() {
            Outcome::EndProgram(status as i32 & 0xff)
        } else if place == 0 {
            // The others go on; a cVM cannot do without its main thread.
            Outcome::Wait {
                nanoseconds: 0,
                late: 0,
            }
        } else {
            Outcome::EndThread
        }
    }

    /// `set_tid_address`.
    pub(super) fn set_clear(&mut self, address: u64) -> Result {
        let number = self.program.thread_number(self.who.thread);
        self.program.threads.entry(self.who.thread).or_default().clear = address;
        Ok(number.into())
    }

    /// `set_robust_list`.
    pub(super) fn set_robust(&mut self, head: u64, length: u64) -> Result {
        if length != size_of::<sys::robust_list_head>() as u64 {
            return Err(Error::EINVAL);
        }
        self.program.threads.entry(self.who.thread).or_default().robust = head;
        Ok(0)
    }

    /// `get_robust_list`, of a thread of this program; 0 is the calling one.
    pub(super) fn robust(&mut self, number: u64, [head, length]: [u64; 2]) -> Result {
        let places = self.program.threads.keys().copied();
        let place = match number as u32 {
            0 => Some(self.who.thread),
            number => places
                .into_iter()
                .find(|place| self.program.thread_number(*place) == number),
        };
        let thread = place.and_then(|place| self.program.threads.get(&place));
        let robust = thread.ok_or(Error::ESRCH)?.robust;
        self.put(head, &robust.to_ne_bytes())?;
        self.put(length, &(size_of::<sys::robust_list_head>() as u64).to_ne_bytes())?;
        Ok(0)
    }

    /// Marks the locks that the calling thread has and never gives back, and wakes who waits for them. The list is the
    /// program's: it ends where it cannot be read, or is too long.
    fn leave_locks(&mut self) {
        let number = self.program.thread_number(self.who.thread);
        let robust = self
            .program
            .threads
            .get(&self.who.thread)
            .map_or(0, |thread| thread.robust);
        if robust == 0 {
            return;
        }
        let word = |context: &Self, at: u64| context.program.window.word(context.platform, at).ok();
        let field = |offset: usize| robust.wrapping_add(offset as u64);
        let Some(distance) = word(self, field(core::mem::offset_of!(sys::robust_list_head, futex_offset))) else {
            return;
        };
        let pending = word(
            self,
            field(core::mem::offset_of!(sys::robust_list_head, list_op_pending)),
        );
        let mut next = word(self, robust);
        let mut left = sys::ROBUST_LIST_LIMIT;
        while let Some(entry) = next.filter(|entry| *entry != robust && left > 0) {
            left -= 1;
            next = word(self, entry);
            if Some(entry) != pending {
                self.leave_lock(entry.wrapping_add(distance), number);
            }
        }
        if let Some(pending) = pending.filter(|pending| *pending != 0) {
            self.leave_lock(pending.wrapping_add(distance), number);
        }
    }

    /// Marks a lock, if this thread has it.
    fn leave_lock(&mut self, at: u64, number: u32) {
        let window = self.program.window;
        let Ok(value) = window.half(self.platform, at) else {
            return;
        };
        if !at.is_multiple_of(4) || value & sys::FUTEX_TID_MASK != number {
            return;
        }
        let left = value & sys::FUTEX_WAITERS | sys::FUTEX_OWNER_DIED;
        if self.put(at, &left.to_ne_bytes()).is_ok() && value & sys::FUTEX_WAITERS != 0 {
            self.wake(at, 1);
        }
    }

    /// A time span that stands in the program's memory, in nanoseconds.
    pub(super) fn span(&self, address: u64) -> Result<u64> {
        let mut bytes = [0; size_of::<__kernel_timespec>()];
        self.get(address, &mut bytes)?;
        let seconds = u64::try_from(field!(bytes, __kernel_timespec, tv_sec)).map_err(|_| Error::EINVAL)?;
        let rest = u64::try_from(field!(bytes, __kernel_timespec, tv_nsec)).map_err(|_| Error::EINVAL)?;
        if rest >= SECOND {
            return Err(Error::EINVAL);
        }
        Ok(seconds.saturating_mul(SECOND).saturating_add(rest))
    }

    /// Waits for so long, or until somebody answers; 0 is no time.
    fn wait_for(nanoseconds: u64, late: Result) -> Outcome {
        if nanoseconds == 0 {
            return Outcome::of(late);
        }
        Outcome::Wait {
            // What is beyond the monitor's longest sleep is as good as for ever.
            nanoseconds: nanoseconds.min(abi::hostcall::SLEEP_LIMIT),
            late: late.unwrap_or_else(Error::to_result),
        }
    }

    /// `nanosleep`.
    pub(super) fn sleep(&mut self, address: u64, left: u64) -> Result<Outcome> {
        let span = self.span(address)?;
        Ok(self.wait_for_time(span, left))
    }

    /// Waits for so long, or for a signal; then what is left is told there, if that is anywhere.
    fn wait_for_time(&mut self, span: u64, left: u64) -> Outcome {
        let until = self.platform.clock().saturating_add(span);
        let outcome = Self::wait_for(span, Ok(0));
        if let Outcome::Wait { .. } = outcome {
            self.shared.waiting.push(Waiting {
                who: self.who,
                token: None,
                on: On::Time {
                    left: (left != 0).then_some((left, until)),
                },
            });
        }
        outcome
    }

    /// `clock_nanosleep`.
    pub(super) fn sleep_by(&mut self, clock: u64, flags: u64, address: u64, left: u64) -> Result<Outcome> {
        let now = self.now(clock)?;
        let mut span = self.span(address)?;
        let absolute = flags as u32 & sys::TIMER_ABSTIME != 0;
        if absolute {
            span = span.saturating_sub(now);
        }
        Ok(self.wait_for_time(span, if absolute { 0 } else { left }))
    }

    /// `futex`.
    pub(super) fn futex(&mut self, [word, operation, value, timeout, other, bits]: [u64; 6]) -> Result<Outcome> {
        let operation = operation as u32;
        if !word.is_multiple_of(4) {
            return Err(Error::EINVAL);
        }
        self.program.window.check(word, 4)?;
        match operation & !(sys::FUTEX_PRIVATE_FLAG | sys::FUTEX_CLOCK_REALTIME) {
            command @ (sys::FUTEX_WAIT | sys::FUTEX_WAIT_BITSET) => {
                let absolute = command == sys::FUTEX_WAIT_BITSET;
                if absolute && bits as u32 == 0 {
                    return Err(Error::EINVAL);
                }
                if self.program.window.half(self.platform, word)? != value as u32 {
                    return Err(Error::EAGAIN);
                }
                let mut nanoseconds = None;
                if timeout != 0 {
                    let span = self.span(timeout)?;
                    let real = operation & sys::FUTEX_CLOCK_REALTIME != 0;
                    let clock = if real {
                        sys::CLOCK_REALTIME
                    } else {
                        sys::CLOCK_MONOTONIC
                    };
                    let begin = if absolute { self.now(clock.into())? } else { 0 };
                    nanoseconds = Some(span.saturating_sub(begin));
                }
                self.shared.waiting.push(Waiting {
                    who: self.who,
                    token: None,
                    on: On::Word {
                        address: word,
                        bits: if absolute { bits as u32 } else { u32::MAX },
                    },
                });
                Ok(match nanoseconds {
                    None => Outcome::Wait {
                        nanoseconds: 0,
                        late: 0,
                    },
                    Some(nanoseconds) => Self::wait_for(nanoseconds, Err(Error::ETIMEDOUT)),
                })
            }
            sys::FUTEX_WAKE => Ok(Outcome::Value(self.wake(word, value as u32))),
            sys::FUTEX_WAKE_BITSET if bits as u32 != 0 => {
                Ok(Outcome::Value(self.wake_some(word, value as u32, bits as u32)))
            }
            command @ (sys::FUTEX_REQUEUE | sys::FUTEX_CMP_REQUEUE) => {
                if !other.is_multiple_of(4) {
                    return Err(Error::EINVAL);
                }
                self.program.window.check(other, 4)?;
                if command == sys::FUTEX_CMP_REQUEUE && self.program.window.half(self.platform, word)? != bits as u32 {
                    return Err(Error::EAGAIN);
                }
                // What is a timeout elsewhere is here how many wait for the other word from now on.
                let woken = self.wake(word, value as u32);
                let client = self.who.client;
                let waiting = self
                    .shared
                    .waiting
                    .iter_mut()
                    .filter(|waiting| waiting.who.client == client);
                let words = waiting.filter_map(|waiting| match &mut waiting.on {
                    On::Word { address, .. } if *address == word => Some(address),
                    _ => None,
                });
                let moved = words
                    .take(timeout as u32 as usize)
                    .map(|address| *address = other)
                    .count();
                Ok(Outcome::Value(woken + moved as u64))
            }
            _ => Err(Error::ENOSYS),
        }
    }

    /// Wakes up to `count` threads of this program that wait for a word; how many.
    pub(super) fn wake(&mut self, word: u64, count: u32) -> u64 {
        self.wake_some(word, count, u32::MAX)
    }

    fn wake_some(&mut self, word: u64, count: u32, bits: u32) -> u64 {
        let mut woken = 0;
        let (client, platform) = (self.who.client, &mut *self.platform);
        self.shared.waiting.retain(|waiting| {
            let meant = match waiting.on {
                On::Word { address, bits: wanted } => address == word && wanted & bits != 0,
                _ => false,
            };
            if !meant || waiting.who.client != client || woken >= u64::from(count) {
                return true;
            }
            if let Some(token) = waiting.token {
                woken += u64::from(platform.answer(token, 0));
            }
            false
        });
        woken
    }

    /// `sched_getaffinity`: one processor.
    pub(super) fn affinity(&mut self, number: u64, length: u64, address: u64) -> Result {
        self.is_there(number).map_err(|_| Error::ESRCH)?;
        if length < 8 || !length.is_multiple_of(8) {
            return Err(Error::EINVAL);
        }
        self.put(address, &1_u64.to_ne_bytes())?;
        Ok(8)
    }
}

impl Waiting {
    /// Whether this is a wait of a thread.
    pub(crate) fn is_of(&self, who: Who) -> bool {
        self.who == who
    }
}
