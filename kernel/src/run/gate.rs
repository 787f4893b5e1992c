//! Gates: a thread goes from its cVM straight into a function of another one, and back, without the monitor
//! (`arch::gate`). What the monitor learns of it, it learns at the thread's next trap: it looks into the thread's record, which no
//! cVM reaches, for whom the thread acts now. From then on the thread's hostcalls and faults are those of that cVM.
//!
//! A thread with a record never takes a short way, and the switcher finds its record only while it runs.

use crate::authority::gate::{Name, Wanted};
use crate::authority::ledger::{AuthorityError, Lack};
use crate::authority::pool::Pool;
use crate::cvm::id::{CvmId, ThreadId};
use crate::cvm::thread::State;
use crate::cvm::{Cvm, Life};
use crate::plan::refusal::{Refusal, Value};
use crate::report::console::say;
use crate::run::monitor::{Monitor, Outcome};
use abi::manifest::{FLOAT, FLOAT_NO, FLOAT_YES, RUNTIME};
use abi::{Errno, Hostcall};
use alloc::boxed::Box;
use alloc::vec::Vec;
use arch::{Frame, Register, Settled, Slot, gate, user};
use core::ops::Range;

/// Levels of a thread: of calls that it can be in the middle of.
pub(crate) const LEVELS: usize = gate::DEPTH as usize;
/// How many cVMs can wait apart from each other until gates open: pseudo addresses, which no memory has.
const WAITERS: u64 = u64::MAX << 32;

/// A thread's part in gates.
pub(crate) struct Calls {
    /// Authority over its record.
    pub(crate) record: &'static Slot,
    /// How many calls it is in the middle of, as far as the monitor knows.
    pub(crate) level: usize,
    /// Ticks at which the budgets of these calls are used up, from when the monitor saw them first.
    until: [u64; LEVELS],
    /// Its number among the threads with records.
    index: usize,
}

impl Monitor {
    /// Makes the gates of the manifest, and the records of those threads that can call any.
    ///
    /// # Errors
    /// [`Refusal`] names the cVM and what it lacks.
    #[inline(never)]
    pub(crate) fn make_gates(&mut self, free: &mut Pool) -> Result<(), Refusal> {
        let offered = self.cvms.iter().enumerate().flat_map(|(index, cvm)| {
            let gates = cvm.spec.gates.iter().enumerate();
            gates.map(move |(place, gate)| (CvmId::new(index), place, gate.callers, gate.vector))
        });
        let gates: Vec<_> = offered.collect();
        let kept = self.ledger.kept.take();
        if gates.is_empty() {
            return Ok(());
        }
        let kept = kept.ok_or_else(|| AuthorityError::new("gates", Lack::Gone))?;
        for cvm in &self.cvms {
            let said = cvm.program.float && arch::FLOAT_IS_SAID && cvm.spec.float != FLOAT_NO;
            if (said || cvm.spec.float == FLOAT_YES) && cvm.closes_float() {
                let expected = "gates with vector: it uses floating point";
                return Err(cvm.spec.entry().text(RUNTIME, &cvm.spec.runtime, expected));
            }
            if cvm.vector_gates && cvm.spec.float == FLOAT_NO {
                let value = Value::Number(FLOAT_NO.into());
                return Err(cvm.spec.entry().expected(FLOAT, value, "gates without vector"));
            }
        }
        let callers = self.cvms.iter().filter(|cvm| !cvm.spec.calls.is_empty());
        let threads = callers.map(|cvm| usize::from(cvm.threads)).sum();
        self.gates
            .place(&Wanted { gates, threads }, &kept, free, &mut self.ledger)?;
        for index in 0..self.cvms.len() {
            if self.cvms[index].spec.calls.is_empty() {
                continue;
            }
            for id in self.cvms[index].all_threads() {
                let calls = Calls {
                    record: self.gates.record()?,
                    level: 0,
                    until: [u64::MAX; LEVELS],
                    index: self.callers.len(),
                };
                self.callers.push(id);
                self.scheduler[id].calls = Some(Box::new(calls));
            }
        }
        self.scheduler.add_limits(self.callers.len());
        Ok(())
    }

    /// The switcher, which is there when a thread has a record.
    fn switcher(&self) -> &Slot {
        match &self.gates.switcher {
            Some(switcher) => switcher,
            None => panic!("a thread has a record, and there are no gates"),
        }
    }

    /// A thread with a record has trapped: the switcher works for nobody until it runs again, and the thread acts for whom its
    /// record says. When its call cannot begin, its caller has an error.
    #[inline(never)]
    pub(crate) fn arrive(&mut self, id: ThreadId, frame: &Frame, fault: bool) -> Settled {
        let Some(calls) = &self.scheduler[id].calls else {
            return Settled::Elsewhere;
        };
        let record = calls.record;
        gate::leave(self.gates.memory(), self.switcher(), record);
        let settled = gate::settle(self.gates.memory(), self.switcher(), record, frame, fault);
        if settled == Settled::Refused {
            let errno = self.refusal(record, frame.gate_wanted());
            frame.refuse_gate(self.switcher(), errno.to_result());
        }
        self.follow(id, arch::timer::now());
        settled
    }

    /// Why a call could not begin.
    fn refusal(&self, record: &Slot, wanted: u64) -> Errno {
        let Some(gate) = self.gates.at(wanted) else {
            return Errno::EINVAL;
        };
        if matches!(self.cvms[gate.server.index()].life, Life::Ended(_)) {
            Errno::ECONNREFUSED
        } else if gate::level(self.gates.memory(), record) == gate::DEPTH {
            Errno::ENOMEM
        } else {
            Errno::EAGAIN
        }
    }

    /// Before a thread goes on.
    #[inline]
    pub(crate) fn depart(&self, id: ThreadId) {
        if let Some(calls) = &self.scheduler[id].calls {
            gate::enter(self.gates.memory(), self.switcher(), calls.record);
        }
    }

    /// The server of a thread's call, counted from 1, and the stack that it runs on among those of its gate.
    fn called(&self, record: &Slot, level: usize) -> (usize, CvmId, usize) {
        let seat = gate::seat(self.gates.memory(), record, level as u64);
        let (gate, place) = self.gates.of_seat(seat);
        let first = self.gates.of_server(gate.server).start;
        let before: usize = self.gates.list[first..first + gate.place]
            .iter()
            .map(|gate| gate.seats.len())
            .sum();
        (gate.seats.start + place, gate.server, before + place)
    }

    /// The gate of a call, by its server and its place there.
    pub(crate) fn gate_of(&self, record: &Slot, level: usize) -> (CvmId, usize) {
        let seat = gate::seat(self.gates.memory(), record, level as u64);
        let (gate, _) = self.gates.of_seat(seat);
        (gate.server, gate.place)
    }

    /// For whom a thread acts at a level.
    pub(crate) fn acts_for(&self, id: ThreadId, level: usize) -> CvmId {
        match (&self.scheduler[id].calls, level) {
            (Some(calls), 1..) => self.called(calls.record, level).1,
            _ => self.scheduler[id].home,
        }
    }

    /// Looks into a thread's record.
    fn follow(&mut self, id: ThreadId, now: u64) {
        let Some(calls) = &self.scheduler[id].calls else { return };
        let (record, known) = (calls.record, calls.level);
        let level = gate::level(self.gates.memory(), record) as usize;
        let mut news = level != known;
        for each in 1..=level {
            if !gate::mark(self.gates.memory(), record, each as u64) {
                news = true;
                let budget = self.cvms[self.acts_for(id, each - 1).index()].short.budget;
                let until = now.saturating_add(budget);
                if let Some(calls) = &mut self.scheduler[id].calls {
                    calls.until[each - 1] = until;
                }
            }
        }
        if news {
            self.note(id, level);
        }
    }

    /// Takes note that a thread is in the middle of so many calls.
    fn note(&mut self, id: ThreadId, level: usize) {
        let acting = self.acts_for(id, level);
        let thread = &mut self.scheduler[id];
        thread.cvm = acting;
        let Some(calls) = &mut thread.calls else { return };
        calls.level = level;
        let until = calls.until[..level].iter().copied().min();
        let index = calls.index;
        self.scheduler.limit_calls(index, until);
    }

    /// A hostcall was counted as one of the thread's own cVM.
    pub(crate) fn count_for(&self, id: ThreadId) {
        let thread = &self.scheduler[id];
        if thread.cvm != thread.home {
            self.cvms[thread.home.index()].short.discount();
            self.cvms[thread.cvm.index()].short.count();
        }
    }

    /// A seat that nobody is on any more: no tag is left on its stack, and the next caller can have it.
    fn free_seat(&self, record: &Slot, level: usize) {
        let (seat, server, place) = self.called(record, level);
        let at = self.gates.seat(seat);
        let (gate, _) = self.gates.of_seat(at);
        let cvm = &self.cvms[server.index()];
        let area = cvm.gate_area(place);
        cvm.clear_tags((area.start, area.end - area.start));
        if cvm.gates_open {
            let next = gate::free(self.gates.memory(), gate.at);
            gate::set_next(self.gates.memory(), at, (next != 0).then_some(next));
            gate::set_free(self.gates.memory(), gate.at, Some(at));
        }
    }

    /// Undoes a thread's calls from a level on. It is in no list, or runs.
    fn drop_calls(&mut self, id: ThreadId, from: usize) {
        let Some(calls) = &self.scheduler[id].calls else { return };
        let record = calls.record;
        let level = gate::level(self.gates.memory(), record) as usize;
        for each in from..=level {
            self.free_seat(record, each);
        }
        if from <= level {
            gate::set_level(self.gates.memory(), record, from as u64 - 1);
        }
        self.note(id, (from - 1).min(level));
    }

    /// A thread's life, or its part in a call that it serves, is over: so are its calls.
    pub(crate) fn forget_calls(&mut self, id: ThreadId) {
        self.drop_calls(id, 1);
    }

    /// A thread is back at the caller of its call at this level, with an error.
    fn undo_calls(&mut self, id: ThreadId, level: usize, errno: Errno, now: u64) {
        let Some(calls) = &self.scheduler[id].calls else { return };
        let record = calls.record;
        self.withdraw(id, now);
        self.scheduler.stop(id, now);
        let frame = self.scheduler[id].frame;
        frame.unwind_gate(
            self.gates.memory(),
            self.switcher(),
            record,
            level as u64,
            errno.to_result(),
        );
        self.drop_calls(id, level);
        self.scheduler.wake(id);
    }

    /// The time has come for a thread's call.
    pub(crate) fn end_late_calls(&mut self, index: usize, now: u64) {
        let id = self.callers[index];
        let Some(calls) = &self.scheduler[id].calls else { return };
        let late = calls.until[..calls.level].iter().position(|until| *until <= now);
        match late {
            Some(late) => {
                let client = self.acts_for(id, late);
                say!(
                    Debug,
                    "{}: a call by a gate took too long",
                    self.cvms[client.index()].spec.name
                );
                self.undo_calls(id, late + 1, Errno::ETIMEDOUT, now);
            }
            None => self.note(id, calls.level),
        }
    }

    /// A life of a cVM is over: nobody calls its gates any more, and who was in the middle of a call gets an error.
    pub(crate) fn gates_ended(&mut self, server: CvmId, now: u64) {
        for index in 0..self.callers.len() {
            let id = self.callers[index];
            let level = self.scheduler[id].calls.as_ref().map_or(0, |calls| calls.level);
            if let Some(level) = (1..=level).find(|level| self.acts_for(id, *level) == server) {
                self.undo_calls(id, level, Errno::ECONNRESET, now);
            }
            self.forget_returned(id);
        }
        self.cvms[server.index()].gates_open = false;
        for gate in &self.gates.list[self.gates.of_server(server)] {
            let cleared = user::zero(self.gates.memory(), gate.at, gate::GATE_AUTHORITY as usize);
            assert!(cleared.is_ok(), "a gate cannot be closed");
            for seat in gate.seats.clone() {
                let cleared = user::zero(self.gates.memory(), self.gates.seat(seat), gate::SEAT_SIZE as usize);
                assert!(cleared.is_ok(), "a seat cannot be cleared");
            }
        }
    }

    /// What callers have left in a thread's record and come back to is cleared: nothing ever reads it, and it may be authority of
    /// those whose life is over.
    fn forget_returned(&self, id: ThreadId) {
        let Some(calls) = &self.scheduler[id].calls else { return };
        for level in calls.level + 1..=LEVELS {
            let (start, length) = gate::saved(calls.record, level as u64);
            let cleared = user::clear_tags(self.gates.memory(), start, length);
            assert!(cleared.is_ok(), "a gate's record cannot be cleared");
        }
    }

    /// What a cVM offers can be called from now on, in this life.
    pub(crate) fn open_gates(&mut self, server: CvmId) {
        let cvm = &self.cvms[server.index()];
        if cvm.gates_open || cvm.spec.gates.is_empty() {
            return;
        }
        let opened = self.write_gates(server);
        let cvm = &mut self.cvms[server.index()];
        match opened {
            Ok(()) => cvm.gates_open = true,
            Err(error) => say!(Error, "{}: its gates stay closed: {error}", cvm.spec.name),
        }
        self.scheduler.wake_waiters(waiters(server), u64::MAX);
    }

    fn write_gates(&self, server: CvmId) -> Result<(), arch::DeriveError> {
        let cvm = &self.cvms[server.index()];
        let mut place = 0;
        for gate in &self.gates.list[self.gates.of_server(server)] {
            cvm.with_gate(gate.place, |start| gate::make_gate(self.gates.memory(), gate.at, start))?;
            let mut next = None;
            for (index, seat) in gate.seats.clone().enumerate().rev() {
                let at = self.gates.seat(seat);
                cvm.with_seat(place + index, |stack, spare| {
                    gate::make_seat(self.gates.memory(), at, gate.at, stack, spare)
                })?;
                gate::set_next(self.gates.memory(), at, next);
                next = Some(at);
            }
            place += gate.seats.len();
            gate::set_free(self.gates.memory(), gate.at, next);
        }
        Ok(())
    }

    /// `gate(name, length)`.
    pub(crate) fn give_gate(&mut self, cvm: CvmId, frame: &Frame, name: &Name) -> Result<Outcome, Errno> {
        let named = |(server, place): &&(usize, usize)| {
            let server = &self.cvms[*server].spec;
            let parts = [server.name.as_bytes(), b".", server.gates[*place].function.as_bytes()];
            parts.iter().copied().flatten().eq(name.iter())
        };
        let found = self.cvms[cvm.index()].spec.calls.iter().find(named);
        let (server, place) = *found.ok_or(Errno::ENOENT)?;
        let server = CvmId::new(server);
        let offering = &self.cvms[server.index()];
        if matches!(offering.life, Life::Ended(_)) {
            return Err(Errno::ECONNREFUSED);
        }
        if !offering.gates_open {
            // Whatever comes first, its end or its service: the caller asks again.
            frame.set_result(0);
            self.scheduler.wait(waiters(server), None, arch::timer::now());
            return Ok(Outcome::Switch);
        }
        let gate = &self.gates.list[self.gates.of_server(server).start + place];
        for (index, part) in gate.token.iter().enumerate() {
            frame.set_argument(index, Register::Capability(part));
        }
        Ok(Outcome::Set)
    }

    /// Servers that rest until somebody calls them go on when nobody is left who could: who can has not ended, and does not merely
    /// rest like them, or is called by such a one.
    pub(crate) fn release_servers(&mut self) {
        self.reached.clear();
        for index in 0..self.cvms.len() {
            let cvm = &mut self.cvms[index];
            let (alone, main) = (cvm.spec.threads == 1, cvm.main());
            let served = cvm.service.as_ref().is_some_and(|service| service.clients > 0);
            let ended = matches!(cvm.life, Life::Ended(_));
            let rests = self.scheduler[main].state == State::Serving;
            cvm.is_reached = cvm.is_linked && !ended && (served || !rests);
            // Its other threads may call while the main thread rests.
            if cvm.is_reached || (cvm.is_linked && !ended && !alone) {
                self.reached.push(CvmId::new(index));
            }
        }
        while let Some(caller) = self.reached.pop() {
            for call in 0..self.cvms[caller.index()].spec.calls.len() {
                let server = self.cvms[caller.index()].spec.calls[call].0;
                if !core::mem::replace(&mut self.cvms[server].is_reached, true) {
                    self.reached.push(CvmId::new(server));
                }
            }
        }
        for index in 0..self.cvms.len() {
            if self.cvms[index].is_linked && !self.cvms[index].is_reached {
                self.release_server(CvmId::new(index));
            }
        }
    }

    /// A cVM has ended for good: who waits for its gates asks in vain.
    pub(crate) fn gates_gone(&mut self, server: CvmId) {
        self.scheduler.wake_waiters(waiters(server), u64::MAX);
    }

    /// Threads that act for a family, or have acted for it further out: each with its levels.
    pub(crate) fn is_acting_for(&self, id: ThreadId, family: CvmId, level: usize) -> bool {
        self.family(self.acts_for(id, level)) == family
    }

    /// The callers' registers in a thread's record that belong to a family, and those that nothing reads any more.
    pub(crate) fn saved_of(&self, id: ThreadId, family: CvmId) -> impl Iterator<Item = Range<u64>> {
        let calls = self.scheduler[id].calls.as_ref();
        let levels = calls.map_or(0, |_| LEVELS);
        (1..=levels).filter_map(move |level| {
            let calls = calls?;
            let (start, length) = gate::saved(calls.record, level as u64);
            (level > calls.level || self.is_acting_for(id, family, level - 1)).then_some(start..start + length)
        })
    }
}

/// Where threads wait for a cVM's gates to open.
fn waiters(server: CvmId) -> u64 {
    WAITERS + server.index() as u64 * 4
}

/// Whether a hostcall is for a thread of the cVM itself, and not for one that has come by a gate.
pub(crate) fn is_for_own_threads(hostcall: Hostcall) -> bool {
    matches!(
        hostcall,
        Hostcall::Serve
            | Hostcall::Reply
            | Hostcall::Delegate
            | Hostcall::Defer
            | Hostcall::Clone
            | Hostcall::Registers
            | Hostcall::ThreadExit
    )
}

impl Cvm {
    /// Whether its threads have floating point registers: by the word of its manifest entry, else of its program's header.
    pub(crate) fn has_float(&self) -> bool {
        let said = self.program.float || self.vector_gates || self.spec.raw != 0;
        !self.closes_float() && self.spec.float != FLOAT_NO && (said || self.spec.float == FLOAT_YES)
    }

    /// Whether floating point is closed to its threads, because others go on in them, or they in others.
    pub(crate) fn closes_float(&self) -> bool {
        // What it offers and calls is alike; what it calls has been looked at by the manifest's reader.
        (!self.spec.gates.is_empty() || !self.spec.calls.is_empty()) && !self.vector_gates
    }
}
