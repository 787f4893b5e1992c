//! Taking foreign authority back. A family counts as one holder: what one of its threads was given, any of them can have. So
//! it is looked for in the registers of all of them, those that have run since it was lent, and in all local areas of the family:
//! when a lent call ends, and when memory is revoked.

use crate::authority::sweep;
use crate::cvm::id::{CvmId, ThreadId};
use crate::cvm::service::{ARGUMENTS, Lent};
use crate::cvm::thread::{Role, Stage, State};
use crate::run::monitor::Monitor;
use abi::Errno;
use arch::{Frame, Slot};
use capability::Permissions;
use core::ops::Range;

/// Whether a slot that reaches what was lent holds it by no right.
fn is_taken(slot: &Slot, rightful: &[Lent]) -> bool {
    let what = slot.decoded();
    let covered = rightful.iter().any(|lent| {
        lent.range.start <= what.base
            && what.top <= u128::from(lent.range.end)
            && (lent.load || !what.permissions.contains(Permissions::LOAD))
            && (lent.store || !what.permissions.contains(Permissions::STORE))
    });
    !what.permissions.contains(Permissions::GLOBAL) && !covered
}

/// What to look at the registers of a thread takes, and to undo a call, in units of about an instruction.
const THREAD: u32 = 400;
pub(crate) const CALL: u32 = 2500;

/// What to look at so many threads and bytes of local areas takes.
pub(crate) fn weight(threads: u32, bytes: u64) -> u32 {
    // Lines full of capabilities.
    threads * THREAD + (bytes / sweep::LINE) as u32 * 600
}

impl Monitor {
    /// What was lent to a handler for its call is gone when this returns. A handler whose part is over has no registers any
    /// more, and no tag on its stack; one that goes on (`defer`) loses what was lent.
    pub(crate) fn recall(&mut self, handler: ThreadId, index: u8, over: bool) {
        let (server, family) = (self.scheduler[handler].cvm, self.scheduler[handler].family);
        let holders = &self.holders[family.index()];
        let cvm = &mut self.cvms[server.index()];
        let Some(service) = cvm.service.as_deref_mut() else {
            return;
        };
        let alone = over && holders.len() == 1 && service.handlers.len() == 1 && cvm.layout.local.is_empty();
        let own = &mut service.handlers[index as usize];
        let began = own.began;
        if own.lent.is_empty() {
            return;
        }
        if over {
            self.scheduler[handler].frame.forget();
        }
        // The usual server has no family that has run meanwhile, and no other stack.
        let recent = self.scheduler.recent(family);
        let other = if recent == handler {
            self.scheduler[handler].recent.next
        } else {
            recent
        };
        if alone && (other == ThreadId::NONE || self.scheduler[other].ran < began) {
            own.lent.clear();
            return cvm.clear_local_area(0);
        }
        let lent: heapless::Vec<Lent, ARGUMENTS> = core::mem::take(&mut own.lent);
        let mut id = self.scheduler.recent(family);
        while id != ThreadId::NONE && self.scheduler[id].ran >= began {
            let next = self.scheduler[id].recent.next;
            if !(over && id == handler) {
                self.recall_from(id, &lent);
            }
            id = next;
        }
        for number in 0..self.holders[family.index()].len() {
            let member = self.holders[family.index()][number];
            self.recall_from_areas(member, &lent, (over && member == server).then_some(index as usize));
        }
    }

    /// Takes what was lent out of a thread's registers, unless it belongs to the thread's own cVM or was lent to the thread
    /// as well.
    fn recall_from(&mut self, id: ThreadId, lent: &[Lent]) {
        let thread = &self.scheduler[id];
        let cvm = &self.cvms[thread.cvm.index()];
        let own = |lent: &Lent| cvm.bounds.start <= lent.range.start && lent.range.end <= cvm.bounds.end;
        if lent.iter().all(own) {
            return;
        }
        let rightful = match (thread.role, thread.serving, &cvm.service) {
            (Role::Handler(index), Some(_), Some(service)) => service.handlers[index as usize].lent.clone(),
            _ => heapless::Vec::new(),
        };
        let frame = thread.frame;
        let wanted = |slot: &Slot| is_taken(slot, &rightful);
        let taken = lent.iter().fold(0, |taken, lent| {
            taken | sweep::registers(frame, &lent.range, Some(&wanted))
        });
        self.taken_from(id, taken);
    }

    /// These slots of a thread's frame have been cleared. A hostcall that the thread is in the middle of, and that reaches
    /// memory by one of them, ends with an error; a call by which it has lent it to others is undone.
    fn taken_from(&mut self, id: ThreadId, taken: u64) {
        if taken & Frame::AUTHORITIES == 0 {
            return;
        }
        let thread = &self.scheduler[id];
        let (frame, state, stage) = (thread.frame, thread.state, thread.call.stage);
        let now = arch::timer::now();
        match state {
            // What a deferred call was lent is gone already.
            State::Calling if stage != Stage::Deferred => self.fail(id, Errno::ECONNRESET, now),
            State::Waiting | State::Reading => {
                self.scheduler.stop(id, now);
                frame.set_result(Errno::EFAULT.to_result());
                self.scheduler.wake(id);
            }
            _ => {}
        }
    }

    /// Takes what was lent out of the local areas of a cVM; the stack of handler `over` keeps no tag at all.
    fn recall_from_areas(&self, cvm: CvmId, lent: &[Lent], over: Option<usize>) {
        let cvm = &self.cvms[cvm.index()];
        for (index, area) in cvm.local_areas().enumerate() {
            if over == Some(index) {
                cvm.clear_local_area(index);
                continue;
            }
            let handler = cvm.service.as_ref().and_then(|service| service.handlers.get(index));
            let serving = handler.filter(|handler| self.scheduler[handler.thread].serving.is_some());
            let rightful = serving.map_or(&[][..], |handler| handler.lent.as_slice());
            for lent in lent {
                sweep::area(area.clone(), &lent.range, Some(&|slot| is_taken(slot, rightful)));
            }
        }
    }

    /// Takes all authority over a range from a family, and from the servers to which it has lent some.
    pub(crate) fn take_from_family(&mut self, family: CvmId, range: &Range<u64>) {
        for member in 0..self.families[family.index()].len() {
            let member = self.families[family.index()][member];
            for id in self.cvms[member.index()].all_threads() {
                let taken = sweep::registers(self.scheduler[id].frame, range, None);
                self.taken_from(id, taken);
            }
        }
        for holder in &self.holders[family.index()] {
            for area in self.cvms[holder.index()].local_areas() {
                sweep::area(area, range, None);
            }
        }
    }
}
