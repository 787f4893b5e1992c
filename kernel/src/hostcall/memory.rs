//! Memory: the capability over the heap.

use crate::cvm::id::CvmId;
use crate::run::monitor::{Monitor, Outcome};
use abi::Errno;
use arch::{Frame, Slot};

/// `heap()`.
#[inline(never)]
pub(super) fn heap(monitor: &Monitor, id: CvmId, frame: &Frame) -> Result<Outcome, Errno> {
    static HEAP: Slot = Slot::null();
    let size = monitor.cvms[id.index()].heap(&HEAP).map_err(|_| Errno::ENOMEM)?;
    frame.set_result_capability(&HEAP);
    frame.set_second(size);
    HEAP.clear();
    Ok(Outcome::Set)
}
