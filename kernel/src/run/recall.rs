//! The end of a lent call. What was lent is local: it can be in registers, and in the service stacks, the only memory that
//! takes local capabilities. The server can have given it to whatever thread of its family; so it is looked for in the
//! frames of all of them that have run since the call began, and in all service stacks of the family.

use crate::cvm::id::{CvmId, ThreadId};
use crate::cvm::service::{ARGUMENTS, Lent};
use crate::cvm::thread::{Role, Stage, State};
use crate::run::monitor::Monitor;
use abi::Errno;
use arch::{Slot, user};
use capability::{Decoded, Permissions};

/// Bytes of a capability in memory, and bytes whose tags are looked at together.
const GRANULE: usize = 16;
const LINE: u64 = 64;

fn overlaps(what: &Decoded, lent: &[Lent]) -> bool {
    let local = what.tag && !what.permissions.contains(Permissions::GLOBAL);
    local
        && lent
            .iter()
            .any(|lent| what.top > u128::from(lent.range.start) && what.base < lent.range.end)
}

/// Whether what is found is covered by what is lent by rights.
fn covers(rightful: &[Lent], what: &Decoded) -> bool {
    rightful.iter().any(|lent| {
        lent.range.start <= what.base
            && what.top <= u128::from(lent.range.end)
            && (lent.load || !what.permissions.contains(Permissions::LOAD))
            && (lent.store || !what.permissions.contains(Permissions::STORE))
    })
}

impl Monitor {
    /// What was lent to a handler for its call is gone when this returns. A handler whose part is over has no registers any
    /// more, and no tag on its stack; one that goes on (`defer`) loses what was lent.
    pub(crate) fn recall(&mut self, handler: ThreadId, index: u8, over: bool) {
        let (server, family) = (self.scheduler[handler].cvm, self.scheduler[handler].family);
        let servers = &self.servers[family.index()];
        let cvm = &mut self.cvms[server.index()];
        let Some(service) = cvm.service.as_deref_mut() else {
            return;
        };
        let alone = over && servers.len() == 1 && service.handlers.len() == 1;
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
        for number in 0..self.servers[family.index()].len() {
            let member = self.servers[family.index()][number];
            self.recall_from_stacks(member, &lent, (over && member == server).then_some(index as usize));
        }
    }

    /// Takes what was lent out of a thread's registers, unless it belongs to the thread's own cVM or was lent to the thread
    /// as well. A call by which it has lent it to others is undone.
    fn recall_from(&mut self, id: ThreadId, lent: &[Lent]) {
        let thread = &self.scheduler[id];
        let cvm = &self.cvms[thread.cvm.index()];
        let own = |lent: &Lent| cvm.bounds.start <= lent.range.start && lent.range.end <= cvm.bounds.end;
        if lent.iter().all(own) {
            return;
        }
        let rightful: &[Lent] = match (thread.role, thread.serving, &cvm.service) {
            (Role::Handler(index), Some(_), Some(service)) => &service.handlers[index as usize].lent,
            _ => &[],
        };
        let mut taken = false;
        for slot in thread.frame.slots() {
            taken |= take(slot, lent, rightful);
        }
        let (state, call) = (thread.state, thread.call);
        if let (true, State::Calling, Stage::Served(_)) = (taken, state, call.stage) {
            self.fail(id, Errno::ECONNRESET, arch::timer::now());
        }
    }

    /// Takes what was lent out of the service stacks of a server; the stack of handler `over` keeps no tag at all.
    fn recall_from_stacks(&self, server: CvmId, lent: &[Lent], over: Option<usize>) {
        let cvm = &self.cvms[server.index()];
        let authority = &cvm.authority.service_stack;
        let Some(service) = cvm.service.as_deref().filter(|_| authority.tag()) else {
            return;
        };
        for (index, handler) in service.handlers.iter().enumerate() {
            let stack = cvm.local_area(index);
            let (mut at, end) = (stack.start, stack.end);
            if over == Some(index) {
                cvm.clear_local_area(index);
                continue;
            }
            let serving = self.scheduler[handler.thread].serving.is_some();
            let rightful = if serving { handler.lent.as_slice() } else { &[] };
            while let Some(line) = user::next_tags(authority, at, end - at) {
                for granule in (line..line + LINE).step_by(GRANULE) {
                    let loaded = user::load_capability(&service.slot, authority, granule);
                    if loaded.is_ok() && take(&service.slot, lent, rightful) {
                        let cleared = user::zero(authority, granule, GRANULE);
                        assert!(
                            cleared.is_ok(),
                            "{}: its service stack cannot be cleared",
                            cvm.spec.name
                        );
                    }
                }
                service.slot.clear();
                at = line + LINE;
            }
        }
    }
}

/// Clears a slot that holds something of what was lent, but for what is held by rights.
fn take(slot: &Slot, lent: &[Lent], rightful: &[Lent]) -> bool {
    if !slot.tag() {
        return false;
    }
    let what = slot.decoded();
    let taken = overlaps(&what, lent) && !covers(rightful, &what);
    if taken {
        slot.clear();
    }
    taken
}
