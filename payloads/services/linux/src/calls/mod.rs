//! The system calls, one module a family.

pub(crate) mod datagram;
mod file;
mod identity;
mod memory;
mod path;
mod poll;
mod process;
mod scheduling;
mod signal;
mod socket;
mod thread;
mod time;
mod timer;

pub(crate) use scheduling::Wish;
pub(crate) use time::SECOND;

use crate::program::{Program, Who};
use crate::system::{On, Outcome, Shared, Waiting};
use crate::{Platform, Result};
use file::At;
use identity::Of;
use linux_raw_sys::general as sys;

/// `renameat` in the table that newer architectures share, some of them without this row.
const RENAMEAT: u32 = 38;

/// A call in its surroundings.
pub(crate) struct Context<'a, P> {
    pub(crate) platform: &'a mut P,
    pub(crate) program: &'a mut Program,
    pub(crate) shared: &'a mut Shared,
    pub(crate) who: Who,
    /// The call, when it may have to be made again.
    pub(crate) again: Option<(u64, [u64; 6])>,
}

impl<P: Platform> Context<'_, P> {
    /// Carries out a system call; none when there is none of this number.
    pub(crate) fn call(&mut self, number: u64, arguments: [u64; 6]) -> Option<Outcome> {
        let [a, b, c, d, e, f] = arguments;
        let result = match u32::try_from(number).ok()? {
            sys::__NR_write => return Some(self.transfer([a, b, c], At::Offset, true).into()),
            sys::__NR_read => return Some(self.transfer([a, b, c], At::Offset, false).into()),
            sys::__NR_pwrite64 => return Some(self.transfer([a, b, c], At::Place(d), true).into()),
            sys::__NR_pread64 => return Some(self.transfer([a, b, c], At::Place(d), false).into()),
            sys::__NR_writev => return Some(self.vector(a, b, c, true).into()),
            sys::__NR_readv => return Some(self.vector(a, b, c, false).into()),
            sys::__NR_sendfile => return Some(self.send_file(a, b, c, d).into()),
            sys::__NR_lseek => self.seek(a, b, c),
            sys::__NR_close => self.close(a),
            sys::__NR_dup => self.duplicate(a, 0, false),
            sys::__NR_dup3 => self.duplicate_to(a, b, c),
            sys::__NR_fcntl => self.file_control(a, b, c),
            sys::__NR_ioctl => self.control(a, b, c),
            sys::__NR_ftruncate => self.resize(a, b),
            sys::__NR_fsync | sys::__NR_fdatasync | sys::__NR_syncfs => self.synchronize(a),
            sys::__NR_sync => self.synchronize_all(),
            sys::__NR_flock => self.lock_file(a, b),
            sys::__NR_fadvise64 => self.advise_file(a, d),
            sys::__NR_pipe2 => self.pipe(a, b),

            sys::__NR_openat => self.open(a, b, c, d),
            sys::__NR_fstat => self.facts(a, b),
            sys::__NR_newfstatat => self.facts_at(a, b, c, d),
            sys::__NR_faccessat => self.access(a, b, c, 0),
            sys::__NR_faccessat2 => self.access(a, b, c, d),
            sys::__NR_truncate => self.resize_at(a, b),
            sys::__NR_statfs => self.file_system_at(a, b),
            sys::__NR_fstatfs => self.file_system(a, b),
            sys::__NR_getdents64 => self.entries(a, b, c),
            sys::__NR_getcwd => self.current(a, b),
            sys::__NR_chdir => self.change(a),
            sys::__NR_fchdir => self.change_to(a),
            sys::__NR_mkdirat => self.make_folder(a, b, c),
            sys::__NR_unlinkat => self.remove(a, b, c),
            sys::__NR_renameat2 => self.rename([a, b, c, d, e]),
            sys::__NR_linkat => self.link([a, b, c, d, e]),
            sys::__NR_symlinkat => self.make_link(a, b, c),
            sys::__NR_readlinkat => self.read_link([a, b, c, d]),
            sys::__NR_fchmod => self.permit_open(a, b),
            sys::__NR_fchmodat => self.permit(a, b, c),
            sys::__NR_fchown => self.own_open(a, b, c),
            sys::__NR_fchownat => self.own([a, b, c, d, e]),
            sys::__NR_utimensat => self.touch([a, b, c, d]),

            sys::__NR_ppoll => return Some(self.poll([a, b, c], [d, e]).into()),
            sys::__NR_pselect6 => return Some(self.select(a, [b, c, d], e, f).into()),
            sys::__NR_eventfd2 => self.event(a, b),
            sys::__NR_epoll_create1 => self.epoll(a),
            sys::__NR_epoll_ctl => self.epoll_control(a, b, c, d),
            sys::__NR_epoll_pwait => return Some(self.epoll_wait([a, b, c, d], [e, f]).into()),
            sys::__NR_epoll_pwait2 => return Some(self.epoll_wait_precisely([a, b, c, d], [e, f]).into()),

            sys::__NR_socket => self.socket(a, b),
            sys::__NR_socketpair => self.socket_pair(a, b, d),
            sys::__NR_bind => self.bind(a, b, c),
            sys::__NR_listen => self.listen(a, b),
            sys::__NR_connect => return Some(self.connect(a, b, c).into()),
            sys::__NR_accept => return Some(self.accept([a, b, c, 0]).into()),
            sys::__NR_accept4 => return Some(self.accept([a, b, c, d]).into()),
            sys::__NR_getsockname => self.socket_name(a, b, c, false),
            sys::__NR_getpeername => self.socket_name(a, b, c, true),
            sys::__NR_sendto => return Some(self.transfer_socket([a, b, c, d], [e, f], true).into()),
            sys::__NR_recvfrom => return Some(self.transfer_socket([a, b, c, d], [e, f], false).into()),
            sys::__NR_sendmsg => return Some(self.message(a, b, c, true).into()),
            sys::__NR_recvmsg => return Some(self.message(a, b, c, false).into()),
            sys::__NR_shutdown => self.shut_down(a, b),
            sys::__NR_setsockopt => self.set_option(a, b, c, [d, e]),
            sys::__NR_getsockopt => self.option(a, b, c, [d, e]),

            sys::__NR_mmap => self.map([a, b, c, d, e, f]),
            sys::__NR_munmap => self.unmap(a, b),
            sys::__NR_mremap => self.remap([a, b, c, d]),
            sys::__NR_mprotect => self.protect(a, b, c),
            sys::__NR_madvise => self.advise(a, b, c),
            // Who asks is told where it ends; what does not move is not there.
            sys::__NR_brk => Ok(0),
            sys::__NR_msync => self.synchronize_memory(a, b, c),

            sys::__NR_clock_gettime => self.clock(a, b),
            sys::__NR_clock_getres => self.resolution(a, b),
            sys::__NR_gettimeofday => self.time_of_day(a),

            sys::__NR_getitimer => self.given_timer(a, b),
            sys::__NR_setitimer => self.set_given_timer(a, b, c),
            sys::__NR_timer_create => self.make_timer(a, b, c),
            sys::__NR_timer_settime => self.set_timer(a, b, c, d),
            sys::__NR_timer_gettime => self.timer(a, b),
            sys::__NR_timer_getoverrun => self.missed(a),
            sys::__NR_timer_delete => self.remove_timer(a),
            sys::__NR_timerfd_create => self.open_timer(a, b),
            sys::__NR_timerfd_settime => self.set_open_timer(a, b, c, d),
            sys::__NR_timerfd_gettime => self.open_timer_left(a, b),

            sys::__NR_exit_group => return Some(Outcome::EndProgram(a as i32 & 0xff)),
            sys::__NR_exit => return Some(self.exit_thread(a)),
            sys::__NR_clone => self.clone([a, b, c, d, e]),
            sys::__NR_futex => return Some(self.futex([a, b, c, d, e, f]).into()),
            sys::__NR_nanosleep => return Some(self.sleep(a, b).into()),
            sys::__NR_clock_nanosleep => return Some(self.sleep_by(a, b, c, d).into()),
            sys::__NR_sched_yield => Ok(0),
            sys::__NR_sched_getscheduler => self.policy(a),
            sys::__NR_sched_setscheduler => self.set_policy(a, Some(b), c),
            sys::__NR_sched_setparam => self.set_policy(a, None, b),
            sys::__NR_sched_getparam => self.priority_of(a, b),
            sys::__NR_sched_get_priority_max => self.priority_limit(a, true),
            sys::__NR_sched_get_priority_min => self.priority_limit(a, false),
            sys::__NR_sched_rr_get_interval => self.slice(a, b),
            sys::__NR_sched_setaffinity => self.set_affinity(a, b, c),
            sys::__NR_getcpu => self.processor(a, b),
            sys::__NR_getpriority => self.nice(a, b),
            sys::__NR_setpriority => self.set_nice(a, b, c),
            sys::__NR_times => self.times(a),
            sys::__NR_mlock | sys::__NR_munlock => self.lock(a, b),
            sys::__NR_mlockall => self.lock_all(a),
            sys::__NR_munlockall => Ok(0),
            sys::__NR_mincore => self.resident(a, b, c),
            sys::__NR_statx => self.facts_more([a, b, c, d, e]),
            sys::__NR_fallocate => self.allocate(a, b, c, d),
            sys::__NR_preadv => return Some(self.vector_at(a, b, c, d, false).into()),
            sys::__NR_pwritev => return Some(self.vector_at(a, b, c, d, true).into()),
            sys::__NR_preadv2 => return Some(self.vector_with([a, b, c, d], f, false).into()),
            sys::__NR_pwritev2 => return Some(self.vector_with([a, b, c, d], f, true).into()),
            sys::__NR_readahead | sys::__NR_sync_file_range => self.acknowledge_file(a, [b, c], d),
            sys::__NR_close_range => self.close_some(a, b, c),
            sys::__NR_sched_getaffinity => self.affinity(a, b, c),
            sys::__NR_set_tid_address => self.set_clear(a),
            sys::__NR_set_robust_list => self.set_robust(a, b),
            sys::__NR_get_robust_list => self.robust(a, [b, c]),
            sys::__NR_getpid => Ok(self.program.id.into()),
            sys::__NR_gettid => Ok(self.program.thread_number(self.who.thread).into()),
            sys::__NR_getppid => self.parent(),
            sys::__NR_getpgid => self.group(a, false),
            sys::__NR_getsid => self.group(a, true),
            sys::__NR_setpgid => self.set_group(a, b),
            sys::__NR_setsid => self.set_session(),
            sys::__NR_wait4 => return Some(self.wait([a, b, c, d]).into()),
            sys::__NR_waitid => return Some(self.wait_for_id([a, b, c, d]).into()),
            sys::__NR_getuid => Ok(self.program.credentials.user.real.into()),
            sys::__NR_geteuid => Ok(self.program.credentials.user.effective.into()),
            sys::__NR_getgid => Ok(self.program.credentials.group.real.into()),
            sys::__NR_getegid => Ok(self.program.credentials.group.effective.into()),
            sys::__NR_setuid => self.set_number(Of::Users, a),
            sys::__NR_setgid => self.set_number(Of::Groups, a),
            sys::__NR_setreuid => self.set_two_numbers(Of::Users, a, b),
            sys::__NR_setregid => self.set_two_numbers(Of::Groups, a, b),
            sys::__NR_setresuid => self.set_three_numbers(Of::Users, [a, b, c]),
            sys::__NR_setresgid => self.set_three_numbers(Of::Groups, [a, b, c]),
            sys::__NR_getresuid => self.three_numbers(Of::Users, [a, b, c]),
            sys::__NR_getresgid => self.three_numbers(Of::Groups, [a, b, c]),
            sys::__NR_setfsuid => self.number_for_files(Of::Users),
            sys::__NR_setfsgid => self.number_for_files(Of::Groups),
            sys::__NR_getgroups => self.groups(a, b),
            sys::__NR_setgroups => self.set_groups(a, b),
            sys::__NR_sysinfo => self.information(a),
            sys::__NR_prlimit64 => self.limits(b, c, d),
            sys::__NR_prctl => self.control_process(a, b),
            sys::__NR_personality => Ok(0),
            sys::__NR_umask => self.set_mask(a),
            sys::__NR_uname => self.system_name(a),
            sys::__NR_getrandom => self.get_random(a, b, c),
            sys::__NR_rt_sigaction => self.act(a, [b, c], d),
            sys::__NR_rt_sigprocmask => self.block_signals(a, [b, c], d),
            sys::__NR_rt_sigsuspend => return Some(self.suspend(a, b).into()),
            sys::__NR_rt_sigtimedwait => return Some(self.wait_for_signal(a, b, c, d).into()),
            sys::__NR_rt_sigqueueinfo => return Some(self.send(a, b, c).into()),
            sys::__NR_rt_tgsigqueueinfo => return Some(self.send_to_thread(b, c, d).into()),
            sys::__NR_rt_sigpending => self.pending(a, b),
            sys::__NR_kill => return Some(self.kill(a, b).into()),
            sys::__NR_tkill => return Some(self.kill_thread(None, a, b).into()),
            sys::__NR_tgkill => return Some(self.kill_thread(Some(a), b, c).into()),
            sys::__NR_getrusage => self.usage(a, b),
            sys::__NR_sigaltstack => self.set_stack(a, b),
            number if number == RENAMEAT => self.rename([a, b, c, d, 0]),
            _ => return None,
        };
        Some(Outcome::of(result))
    }

    /// The call waits until something has happened, and is then made again; `late` is what it returns when it takes too long.
    fn wait_again(&mut self, nanoseconds: Option<u64>, late: u64) -> Outcome {
        let span = nanoseconds.map(|span| span.clamp(1, abi::hostcall::SLEEP_LIMIT));
        if let Some((number, arguments)) = self.again {
            let until = span.map(|span| self.platform.clock().saturating_add(span));
            self.shared.waiting.push(Waiting {
                who: self.who,
                token: None,
                on: On::Anything {
                    number,
                    arguments,
                    until,
                    late,
                },
            });
        }
        Outcome::Wait {
            nanoseconds: span.unwrap_or(0),
            late,
        }
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
