//! Error numbers: POSIX names with the values of Linux, so that a libc port needs no table.

/// Why a hostcall failed. A hostcall returns the negated number in its first result register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Errno {
    /// The caller may not do this.
    EPERM = 1,
    /// No such object.
    ENOENT = 2,
    /// No such thread.
    ESRCH = 3,
    /// Input or output error.
    EIO = 5,
    /// The data does not fit into the space given.
    E2BIG = 7,
    /// Bad stream number.
    EBADF = 9,
    /// Nothing available now, and the caller asked not to wait; or what it waits for has changed, or there are no more.
    EAGAIN = 11,
    /// A quota or the memory is exhausted.
    ENOMEM = 12,
    /// A pointer argument does not carry the authority that the hostcall needs.
    EFAULT = 14,
    /// An argument has a value outside its documented range.
    EINVAL = 22,
    /// No hostcall has this number.
    ENOSYS = 38,
    /// The cVM that serves the caller's hostcalls ended before it answered.
    ECONNRESET = 104,
    /// Nobody woke the caller within its timeout, or the cVM that serves its hostcalls did not answer within its call
    /// budget.
    ETIMEDOUT = 110,
    /// The cVM that serves the caller's hostcalls has ended for good.
    ECONNREFUSED = 111,
}

impl Errno {
    /// All error numbers.
    pub const ALL: [Errno; 14] = [
        Errno::EPERM,
        Errno::ENOENT,
        Errno::ESRCH,
        Errno::EIO,
        Errno::E2BIG,
        Errno::EBADF,
        Errno::EAGAIN,
        Errno::ENOMEM,
        Errno::EFAULT,
        Errno::EINVAL,
        Errno::ENOSYS,
        Errno::ECONNRESET,
        Errno::ETIMEDOUT,
        Errno::ECONNREFUSED,
    ];

    /// The value of the first result register for this failure.
    pub const fn to_result(self) -> u64 {
        -(self as i32 as i64) as u64
    }

    /// The error a first result register stands for; `None` for a success or an unknown number.
    pub fn from_result(value: u64) -> Option<Errno> {
        Errno::ALL.into_iter().find(|errno| errno.to_result() == value)
    }
}
