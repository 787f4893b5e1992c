//! Capfiles: the capability over one, by its name.

use super::length;
use crate::run::monitor::{Monitor, Outcome};
use abi::Errno;
use abi::manifest::NAME_LIMIT;
use arch::{Frame, user};

/// `capfile(name, length)`.
#[inline(never)]
pub(super) fn capfile(monitor: &Monitor, frame: &Frame) -> Result<Outcome, Errno> {
    let length = length(frame.argument(1))?;
    let mut name = [0; NAME_LIMIT];
    let name = name
        .get_mut(..length)
        .filter(|name| !name.is_empty())
        .ok_or(Errno::EINVAL)?;
    let (authority, address) = frame.pointer(0);
    user::copy_in(name, authority, address).map_err(|_| Errno::EFAULT)?;
    let found = monitor
        .capfiles
        .iter()
        .find(|capfile| capfile.name.as_bytes() == &*name);
    let capfile = found.ok_or(Errno::ENOENT)?;
    frame.set_result_capability(&capfile.capability);
    frame.set_second(capfile.size);
    Ok(Outcome::Set)
}
