//! The cVM itself: exit, start block, information.

use super::copy_record;
use crate::cvm::End;
use crate::cvm::id::CvmId;
use crate::report::console::say;
use crate::run::monitor::{Monitor, Outcome};
use abi::Errno;
use abi::hostcall::CvmInfo;
use arch::Frame;

/// `exit(code)`.
#[inline(never)]
pub(super) fn exit(monitor: &mut Monitor, id: CvmId, code: u64) -> Result<Outcome, Errno> {
    let code = code as i32;
    say!(Debug, "{}: exit {code}", monitor.cvms[id.index()].spec.name);
    monitor.end(id, End::Exited(code), arch::timer::now());
    Ok(Outcome::Switch)
}

/// `arguments(pointer, length)`.
#[inline(never)]
pub(super) fn arguments(monitor: &Monitor, id: CvmId, frame: &Frame) -> Result<Outcome, Errno> {
    copy_record(frame, &monitor.cvms[id.index()].block)
}

/// `info(pointer, length)`.
#[inline(never)]
pub(super) fn info(monitor: &Monitor, id: CvmId, frame: &Frame) -> Result<Outcome, Errno> {
    let cvm = &monitor.cvms[id.index()];
    let run_time = monitor.run_time(cvm, arch::timer::now());
    let info = CvmInfo {
        id: id.index() as u32,
        restarts: cvm.restarts,
        priority: cvm.spec.priority,
        last_fault: cvm.last_fault.map_or(0, |kind| kind as u32),
        base: cvm.place.seen,
        size: cvm.layout.size,
        run_time: monitor.nanoseconds(run_time),
        hostcalls: cvm.hostcalls(),
        program: cvm.digest.0,
    };
    copy_record(frame, &info.to_bytes())
}

/// `holding(pointer, length, cvm, index)`.
#[inline(never)]
pub(super) fn holding(monitor: &Monitor, id: CvmId, frame: &Frame) -> Result<Outcome, Errno> {
    let about = monitor.may_know(id, frame.argument(2))?;
    let index = usize::try_from(frame.argument(3)).unwrap_or(usize::MAX);
    let holding = monitor.holding(about, index).ok_or(Errno::ENOENT)?;
    copy_record(frame, &holding.to_bytes())
}
