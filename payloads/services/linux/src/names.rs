//! Names of system calls, for the log.

use linux_raw_sys::general as sys;

/// What C libraries try first and do without where it is not there: a way to make threads, sequences that start anew, questions about
/// the processor.
pub(crate) fn is_tried(number: u64) -> bool {
    // `linux-raw-sys` has the last one for RISC-V alone.
    const RISCV_HWPROBE: u32 = 258;
    [sys::__NR_clone3, sys::__NR_rseq, RISCV_HWPROBE].contains(&(number as u32))
}

macro_rules! names {
    ($($name:ident $number:ident)+) => {
        /// The name of a system call that is known here.
        pub(crate) fn name(number: u64) -> Option<&'static str> {
            match u32::try_from(number).ok()? {
                $(sys::$number => Some(stringify!($name)),)+
                _ => None,
            }
        }
    };
}

names! {
    accept __NR_accept
    accept4 __NR_accept4
    bind __NR_bind
    brk __NR_brk
    chdir __NR_chdir
    clock_getres __NR_clock_getres
    clock_gettime __NR_clock_gettime
    clock_nanosleep __NR_clock_nanosleep
    clone __NR_clone
    clone3 __NR_clone3
    close __NR_close
    connect __NR_connect
    dup __NR_dup
    dup3 __NR_dup3
    epoll_create1 __NR_epoll_create1
    epoll_ctl __NR_epoll_ctl
    epoll_pwait __NR_epoll_pwait
    eventfd2 __NR_eventfd2
    execve __NR_execve
    exit __NR_exit
    exit_group __NR_exit_group
    faccessat __NR_faccessat
    fadvise64 __NR_fadvise64
    fchdir __NR_fchdir
    fchmod __NR_fchmod
    fchmodat __NR_fchmodat
    fchown __NR_fchown
    fcntl __NR_fcntl
    fdatasync __NR_fdatasync
    flock __NR_flock
    fstat __NR_fstat
    fstatfs __NR_fstatfs
    fsync __NR_fsync
    ftruncate __NR_ftruncate
    futex __NR_futex
    getcwd __NR_getcwd
    getdents64 __NR_getdents64
    getegid __NR_getegid
    geteuid __NR_geteuid
    getgid __NR_getgid
    getpeername __NR_getpeername
    getpid __NR_getpid
    getppid __NR_getppid
    get_robust_list __NR_get_robust_list
    getrandom __NR_getrandom
    getrusage __NR_getrusage
    getsockname __NR_getsockname
    getsockopt __NR_getsockopt
    gettid __NR_gettid
    gettimeofday __NR_gettimeofday
    getuid __NR_getuid
    ioctl __NR_ioctl
    kill __NR_kill
    linkat __NR_linkat
    listen __NR_listen
    lseek __NR_lseek
    madvise __NR_madvise
    mkdirat __NR_mkdirat
    mmap __NR_mmap
    mprotect __NR_mprotect
    mremap __NR_mremap
    msync __NR_msync
    munmap __NR_munmap
    nanosleep __NR_nanosleep
    newfstatat __NR_newfstatat
    openat __NR_openat
    pipe2 __NR_pipe2
    ppoll __NR_ppoll
    prctl __NR_prctl
    pread64 __NR_pread64
    prlimit64 __NR_prlimit64
    pselect6 __NR_pselect6
    pwrite64 __NR_pwrite64
    read __NR_read
    readlinkat __NR_readlinkat
    readv __NR_readv
    recvfrom __NR_recvfrom
    recvmsg __NR_recvmsg
    renameat2 __NR_renameat2
    rt_sigaction __NR_rt_sigaction
    rt_sigprocmask __NR_rt_sigprocmask
    rt_sigreturn __NR_rt_sigreturn
    rt_sigsuspend __NR_rt_sigsuspend
    sched_getaffinity __NR_sched_getaffinity
    sched_yield __NR_sched_yield
    sendfile __NR_sendfile
    sendmsg __NR_sendmsg
    sendto __NR_sendto
    set_robust_list __NR_set_robust_list
    set_tid_address __NR_set_tid_address
    setitimer __NR_setitimer
    setsockopt __NR_setsockopt
    shutdown __NR_shutdown
    sigaltstack __NR_sigaltstack
    socket __NR_socket
    socketpair __NR_socketpair
    statfs __NR_statfs
    statx __NR_statx
    symlinkat __NR_symlinkat
    sync __NR_sync
    syncfs __NR_syncfs
    sysinfo __NR_sysinfo
    tgkill __NR_tgkill
    tkill __NR_tkill
    umask __NR_umask
    uname __NR_uname
    unlinkat __NR_unlinkat
    utimensat __NR_utimensat
    wait4 __NR_wait4
    write __NR_write
    writev __NR_writev
}
