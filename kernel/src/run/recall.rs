//! Taking foreign authority back. A family counts as one holder: what one of its threads was given, any of them can have. So
//! it is looked for in the registers of all of them, those that have run since it was lent, and in all local areas of the family:
//! when a lent call ends, and when memory is revoked.

use crate::authority::sweep;
use crate::cvm::id::{CvmId, ThreadId};
use crate::cvm::service::{ARGUMENTS, Lent};
use crate::cvm::thread::{Role, Stage, State};
use crate::run::gate::LEVELS;
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
        let cvm = &mut self.cvms[server.index()];
        let Some(service) = cvm.service.as_deref_mut() else {
            return;
        };
        let alone = over && service.alone;
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
        // What it was lent, it may have passed on by a gate, and so on.
        for linked in 0..self.linked[family.index()].len() {
            let family = self.linked[family.index()][linked];
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
    }

    /// Takes what was lent out of a thread's registers, unless it belongs to the thread's own cVM or was lent to the thread
    /// as well.
    fn recall_from(&mut self, id: ThreadId, lent: &[Lent]) {
        let thread = &self.scheduler[id];
        self.recall_from_saved(id, lent);
        let cvm = &self.cvms[thread.cvm.index()];
        if lent.iter().all(|lent| cvm.covers(&lent.range)) {
            return;
        }
        let rightful = self.lent_to(id);
        let frame = thread.frame;
        let wanted = |slot: &Slot| is_taken(slot, &rightful);
        let taken = lent.iter().fold(0, |taken, lent| {
            taken | sweep::registers(frame, &lent.range, Some(&wanted))
        });
        self.taken_from(id, taken);
    }

    /// Takes what was lent out of the registers that a thread has left behind in calls by gates, unless it belongs to who called. What
    /// it has come back to is still there, though nothing reads it.
    fn recall_from_saved(&self, id: ThreadId, lent: &[Lent]) {
        let Some(calls) = &self.scheduler[id].calls else { return };
        let rightful = self.lent_to(id);
        for level in 1..=LEVELS {
            let caller = (level <= calls.level).then(|| &self.cvms[self.acts_for(id, level - 1).index()]);
            let (start, length) = arch::gate::saved(calls.record, level as u64);
            for lent in lent.iter() {
                if caller.is_some_and(|caller| caller.covers(&lent.range)) {
                    continue;
                }
                sweep::area(
                    self.gates.memory(),
                    start..start + length,
                    &lent.range,
                    Some(&|slot| is_taken(slot, &rightful)),
                );
            }
        }
    }

    /// What was lent to a thread for the call that it serves.
    fn lent_to(&self, id: ThreadId) -> heapless::Vec<Lent, ARGUMENTS> {
        let thread = &self.scheduler[id];
        match (thread.role, thread.serving, &self.cvms[thread.home.index()].service) {
            (Role::Handler(index), Some(_), Some(service)) => service.handlers[index as usize].lent.clone(),
            _ => heapless::Vec::new(),
        }
    }

    /// These slots of a thread's frame have been cleared. A hostcall that the thread is in the middle of, and that reaches
    /// memory by one of them, ends with an error; a call by which it has lent it to others is undone.
    #[inline]
    fn taken_from(&mut self, id: ThreadId, taken: u64) {
        if taken & Frame::AUTHORITIES != 0 {
            self.stop_by(id);
        }
    }

    #[inline(never)]
    fn stop_by(&mut self, id: ThreadId) {
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
                sweep::area(
                    &cvm.stock.slot,
                    area.clone(),
                    &lent.range,
                    Some(&|slot| is_taken(slot, rightful)),
                );
            }
        }
    }

    /// Takes all authority over a range from the families that are linked to one by gates, itself included, but for one, and from
    /// the servers to which they have lent some.
    pub(crate) fn take_from_linked(&mut self, family: CvmId, range: &Range<u64>, but: Option<CvmId>) {
        for index in 0..self.linked[family.index()].len() {
            let linked = self.linked[family.index()][index];
            if Some(linked) != but {
                self.take_from_family(linked, range);
            }
        }
    }

    /// Takes all authority over a range from a family. What a thread holds is that of the cVM that it acts for.
    pub(crate) fn take_from_family(&mut self, family: CvmId, range: &Range<u64>) {
        for member in 0..self.families[family.index()].len() {
            let member = self.families[family.index()][member];
            for id in self.cvms[member.index()].all_threads() {
                if self.scheduler[id].calls.is_none() {
                    self.take_from_registers(id, range);
                }
            }
        }
        for index in 0..self.callers.len() {
            let id = self.callers[index];
            for saved in self.saved_of(id, family) {
                sweep::area(self.gates.memory(), saved, range, None);
            }
            if self.family(self.scheduler[id].cvm) == family {
                self.take_from_registers(id, range);
            }
        }
        for holder in &self.holders[family.index()] {
            let holder = &self.cvms[holder.index()];
            for area in &holder.areas {
                sweep::area(&holder.stock.slot, area.clone(), range, None);
            }
        }
    }

    #[inline]
    fn take_from_registers(&mut self, id: ThreadId, range: &Range<u64>) {
        let taken = sweep::registers(self.scheduler[id].frame, range, None);
        self.taken_from(id, taken);
    }

    /// A life of a cVM is over: what others hold over its memory, who were passed it by gates, they hold no more.
    pub(crate) fn take_own_memory(&mut self, cvm: CvmId) {
        let (family, memory) = (self.family(cvm), self.cvms[cvm.index()].memory());
        if self.linked[family.index()].len() > 1 {
            self.take_from_linked(family, &memory, Some(family));
        }
    }
}
