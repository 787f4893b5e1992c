//! The system calls, one module a family.

mod file;
mod memory;
mod process;
mod thread;
mod time;

use crate::program::{Program, Who};
use crate::system::{Outcome, Shared};
use crate::{Platform, Result};
use linux_raw_sys::general as sys;

/// Bytes of a set of signals, and of what is done with one: handler, flags, set, as all architectures have them.
const SET: usize = 8;
const ACTION: usize = 24;

/// A call in its surroundings.
pub(crate) struct Context<'a, P> {
    pub(crate) platform: &'a mut P,
    pub(crate) program: &'a mut Program,
    pub(crate) shared: &'a mut Shared,
    pub(crate) who: Who,
}

impl<P: Platform> Context<'_, P> {
    /// Carries out a system call; none when there is none of this number.
    pub(crate) fn call(&mut self, number: u64, arguments: [u64; 6]) -> Option<Outcome> {
        let [a, b, c, d, e, f] = arguments;
        let result = match u32::try_from(number).ok()? {
            sys::__NR_write => self.write(a, b, c),
            sys::__NR_read => self.read(a, b, c),
            sys::__NR_writev => self.vector(a, b, c, true),
            sys::__NR_readv => self.vector(a, b, c, false),
            sys::__NR_close => self.close(a),
            sys::__NR_ioctl => self.control(a, b, c),

            sys::__NR_mmap => self.map([a, b, c, d, e, f]),
            sys::__NR_munmap => self.unmap(a, b),
            sys::__NR_mremap => self.remap([a, b, c, d]),
            sys::__NR_mprotect => self.protect(a, b, c),
            sys::__NR_madvise => self.advise(a, b, c),
            // Who asks is told where it ends; what does not move is not there.
            sys::__NR_brk => Ok(0),
            sys::__NR_msync => Ok(0),

            sys::__NR_clock_gettime => self.clock(a, b),
            sys::__NR_clock_getres => self.resolution(a, b),
            sys::__NR_gettimeofday => self.time_of_day(a),

            sys::__NR_exit_group => return Some(Outcome::EndProgram(a as i32 & 0xff)),
            sys::__NR_exit => return Some(self.exit_thread(a)),
            sys::__NR_clone => self.clone([a, b, c, d, e]),
            sys::__NR_futex => return Some(Outcome::from(self.futex([a, b, c, d, e, f]))),
            sys::__NR_nanosleep => return Some(Outcome::from(self.sleep(a))),
            sys::__NR_clock_nanosleep => return Some(Outcome::from(self.sleep_by(a, b, c))),
            sys::__NR_sched_yield => Ok(0),
            sys::__NR_sched_getaffinity => self.affinity(b, c),
            sys::__NR_set_tid_address => self.set_clear(a),
            sys::__NR_getpid => Ok(self.program.id.into()),
            sys::__NR_gettid => Ok(self.program.thread_number(self.who.thread).into()),
            sys::__NR_getppid => Ok(0),
            sys::__NR_getuid | sys::__NR_geteuid | sys::__NR_getgid | sys::__NR_getegid => Ok(0),
            sys::__NR_umask => self.set_mask(a),
            sys::__NR_uname => self.system_name(a),
            sys::__NR_getrandom => self.get_random(a, b, c),
            // No signal is ever delivered: what a program says about them is noted by nobody.
            sys::__NR_rt_sigaction => self.no_signals(c, d, ACTION),
            sys::__NR_rt_sigprocmask => self.no_signals(c, d, SET),
            sys::__NR_sigaltstack => Ok(0),
            _ => return None,
        };
        Some(Outcome::of(result))
    }

    /// Copies to the program.
    fn put(&mut self, address: u64, bytes: &[u8]) -> Result<()> {
        self.program.window.write(self.platform, address, bytes)
    }

    /// Copies from the program.
    fn get(&self, address: u64, bytes: &mut [u8]) -> Result<()> {
        self.program.window.read(self.platform, address, bytes)
    }
}
