//! Error numbers.

use linux_raw_sys::errno;

/// Why a system call fails: one of Linux's error numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Error(u32);

/// What a system call gives.
pub type Result<T = u64> = core::result::Result<T, Error>;

macro_rules! numbers {
    ($($name:ident)+) => {
        impl Error {
            $(
                #[doc = concat!("`", stringify!($name), "`.")]
                pub const $name: Error = Error(errno::$name);
            )+
        }

        impl core::fmt::Debug for Error {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.0 {
                    $(errno::$name => f.write_str(stringify!($name)),)+
                    other => write!(f, "error {other}"),
                }
            }
        }
    };
}

numbers! {
    E2BIG EACCES EAGAIN EBADF EBUSY ECHILD EDESTADDRREQ EMSGSIZE ECONNABORTED ECONNREFUSED ECONNRESET EEXIST EFAULT EFBIG EINTR EINVAL EIO EISDIR EISCONN
    ELOOP EMFILE EMLINK ENAMETOOLONG ENODEV ENOENT ENOEXEC ENOMEM ENOSPC ENOSYS ENOTCONN ENOTDIR ENOTEMPTY ENOTSOCK ENOTTY ENXIO
    EOPNOTSUPP EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT EALREADY ENETUNREACH ENOBUFS EINPROGRESS EPERM EPIPE ERANGE EROFS ESPIPE ESRCH ETIMEDOUT EXDEV EPROTONOSUPPORT
}

impl Error {
    /// As a system call returns it: negated.
    pub const fn to_result(self) -> u64 {
        (self.0 as u64).wrapping_neg()
    }
}
