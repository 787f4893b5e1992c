//! Who runs, whom they wait for, and whom they work for.

mod buffer;
pub(crate) mod call;
pub(crate) mod device;
pub(crate) mod gate;
pub(crate) mod hart;
mod holding;
mod input;
pub(crate) mod life;
pub(crate) mod monitor;
mod raw;
mod recall;
pub(crate) mod shortcut;
pub(crate) mod thread;
pub(crate) mod tree;
pub(crate) mod wait;

use abi::Errno;

/// A length argument: `EINVAL` for what cannot be the size of an object.
pub(crate) fn length(argument: u64) -> Result<usize, Errno> {
    isize::try_from(argument)
        .map(|length| length as usize)
        .map_err(|_| Errno::EINVAL)
}
