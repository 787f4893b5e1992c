//! Capfiles: the capability over one, by its name.

use super::name;
use crate::run::monitor::{Monitor, Outcome};
use abi::Errno;
use abi::manifest::NAME_LIMIT;
use arch::Frame;

/// `capfile(name, length)`.
#[inline(never)]
pub(super) fn capfile(monitor: &Monitor, frame: &Frame) -> Result<Outcome, Errno> {
    let name = name::<NAME_LIMIT>(frame)?;
    let found = monitor
        .capfiles
        .iter()
        .find(|capfile| capfile.name.as_bytes() == &name[..]);
    let capfile = found.ok_or(Errno::ENOENT)?;
    frame.set_result_capability(&capfile.capability);
    frame.set_second(capfile.size);
    Ok(Outcome::Set)
}
