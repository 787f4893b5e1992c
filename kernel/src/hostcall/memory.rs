//! Memory: the capability over the heap.

use super::Outcome;
use crate::run::monitor::Monitor;
use abi::Errno;
use arch::{Frame, Slot};

/// `heap()`.
#[inline(never)]
pub(super) fn heap(monitor: &Monitor, id: usize, frame: &Frame) -> Result<Outcome, Errno> {
    static HEAP: Slot = Slot::null();
    let size = monitor.cvms[id].heap(&HEAP).map_err(|_| Errno::ENOMEM)?;
    frame.set_result_capability(&HEAP);
    frame.set_second(size);
    HEAP.clear();
    Ok(Outcome::Set)
}
