//! Waiting for a word of memory, and waking who waits for it. A word is its physical address, whatever capability leads
//! there. Addresses fall into places: who is alone in one stands there, and several of a place in one ordered set, in which
//! the waiters of an address stand together, so that no address makes another one's waiters slow.
//!
//! The usual wait and the usual wake have a way of their own, as [`shortcut`](crate::run::shortcut) has one for the usual
//! call: nothing has been changed when these return [`Usual::Not`], and the long way does it.

use crate::cvm::id::ThreadId;
use crate::cvm::thread::{State, Thread};
use crate::run::hart;
use crate::run::monitor::Monitor;
use crate::run::shortcut::Usual;
use crate::run::thread::Scheduler;
use crate::run::tree::{Key, Tree};
use abi::manifest::PRIORITY_LIMIT;
use arch::Frame;

/// Where the priority stands in a waiter's key; the rest counts the waits.
const PRIORITY_SHIFT: u32 = 56;

/// Places that addresses fall into.
const PLACES: usize = 128;

#[inline]
fn place(word: u64) -> usize {
    // Programs that are alike have their words in like places, of pages of their own.
    (word ^ word >> 10) as usize / 4 % PLACES
}

/// By address, then priority, then time. Whoever begins to wait has run last: its run orders the waits.
fn key(thread: &Thread) -> Key {
    let priority = u64::from(PRIORITY_LIMIT as u8 - thread.priority);
    (thread.word & !1, priority << PRIORITY_SHIFT | thread.ran)
}

/// Who stands in a place of which several wait, in the set: no thread has this number.
const CROWD: ThreadId = ThreadId::new(u16::MAX as usize - 1);

#[derive(Clone, Copy)]
struct Place {
    /// Who is alone here, and not in the set; `NONE`, or [`CROWD`].
    who: ThreadId,
    /// How many of the set belong here.
    crowd: u16,
}

/// Who waits for which word.
pub(crate) struct Waiters {
    places: [Place; PLACES],
    set: Tree,
}

impl Waiters {
    pub(super) fn new() -> Waiters {
        let nobody = Place {
            who: ThreadId::NONE,
            crowd: 0,
        };
        Waiters {
            places: [nobody; PLACES],
            set: Tree::new(),
        }
    }

    /// Makes room for so many threads.
    pub(super) fn grow(&mut self, threads: usize) {
        self.set.grow(threads);
    }

    /// A thread begins to wait for its word.
    fn insert(&mut self, threads: &[Thread], id: ThreadId) {
        let place = &mut self.places[place(threads[id.index()].word)];
        if place.who == ThreadId::NONE {
            place.who = id;
            return;
        }
        for id in [core::mem::replace(&mut place.who, CROWD), id] {
            if let Some(thread) = threads.get(id.index()) {
                place.crowd += 1;
                self.set.insert(id.index(), key(thread));
            }
        }
    }

    /// A thread that waits does so no more.
    pub(super) fn remove(&mut self, threads: &[Thread], id: ThreadId) {
        let place = &mut self.places[place(threads[id.index()].word)];
        if place.who == CROWD {
            self.set.remove(id.index());
            place.crowd -= 1;
        }
        if place.crowd == 0 {
            place.who = ThreadId::NONE;
        }
    }

    /// A waiter has got another priority.
    pub(super) fn renew(&mut self, threads: &[Thread], id: ThreadId) {
        self.remove(threads, id);
        self.insert(threads, id);
    }

    /// Who is woken first of those that wait for a word.
    fn first(&self, threads: &[Thread], word: u64) -> Option<ThreadId> {
        let who = self.places[place(word)].who;
        if who != CROWD {
            return threads
                .get(who.index())
                .filter(|thread| thread.word & !1 == word)
                .map(|_| who);
        }
        let (number, _) = self.set.from((word, 0)).filter(|(_, (of, _))| *of == word)?;
        Some(ThreadId::new(number))
    }
}

impl Scheduler {
    /// Lets the current thread wait for a word, until this tick at the latest.
    pub(crate) fn wait(&mut self, word: u64, until: Option<u64>, now: u64) {
        if let Some(id) = self.current() {
            self[id].word = word | u64::from(until.is_some());
            self.waiters.insert(&self.threads, id);
            if let Some(until) = until {
                self.set_deadline(id, until);
            }
        }
        self.block(State::Waiting, now);
    }

    /// Wakes up to `count` of those that wait for a word, the greatest priority first, then who waits longest; returns how
    /// many.
    pub(crate) fn wake_waiters(&mut self, word: u64, count: u64) -> u64 {
        let mut woken = 0;
        while woken < count {
            let Some(id) = self.waiters.first(&self.threads, word) else {
                break;
            };
            self.waiters.remove(&self.threads, id);
            self.deadlines.remove(id.index());
            self[id].frame.set_result(0);
            self.wake(id);
            woken += 1;
        }
        woken
    }
}

impl Monitor {
    /// A thread's time to wait is over.
    pub(crate) fn end_wait(&mut self, id: ThreadId) {
        self.scheduler.waiters.remove(&self.scheduler.threads, id);
        self.scheduler[id].frame.set_result(abi::Errno::ETIMEDOUT.to_result());
        self.scheduler.wake(id);
    }

    /// The running thread waits for a word, as long as it takes, and another one runs.
    #[inline(always)]
    pub(crate) fn usual_wait(&mut self, word: u64) -> Usual {
        let scheduler = &mut self.scheduler;
        let threads = scheduler.threads.as_mut_slice();
        let (id, place) = (scheduler.current, &mut scheduler.waiters.places[place(word)]);
        let Some((level, next)) = scheduler.ready.first_of() else {
            return Usual::Not;
        };
        let (Some(own), Some(other)) = (threads.get(id.index()), threads.get(next.index())) else {
            return Usual::Not;
        };
        let bound = other.is_bound() || own.serving.is_some() || self.usual.is_some();
        if bound || place.who != ThreadId::NONE {
            return Usual::Not;
        }
        let now = arch::timer::now();
        if timer_is_wrong(self.programmed, scheduler.slice, now) {
            return Usual::Not;
        }
        place.who = id;
        let own = &mut threads[id.index()];
        own.word = word;
        own.state = State::Waiting;
        own.run_time += now.wrapping_sub(scheduler.since);
        (scheduler.since, scheduler.slice_end) = (now, now + scheduler.slice);
        scheduler.runs += 1;
        scheduler.current = next;
        let other = &mut threads[next.index()];
        let (behind, usual) = (other.link.next, enter(next, other, scheduler.runs));
        scheduler.ready.drop_first(threads, level, behind);
        usual
    }

    /// The running thread wakes who waits for a word, alone and without a deadline, and goes on unless that is more urgent.
    #[inline(always)]
    pub(crate) fn usual_wake(&mut self, frame: &'static Frame, word: u64) -> Usual {
        let scheduler = &mut self.scheduler;
        let threads = scheduler.threads.as_mut_slice();
        let (id, place) = (scheduler.current, &mut scheduler.waiters.places[place(word)]);
        let woken = place.who;
        let (Some(own), Some(other)) = (threads.get(id.index()), threads.get(woken.index())) else {
            return Usual::Not;
        };
        // Who waits has nothing to do before it runs.
        let bound = other.serving.is_some() || own.serving.is_some() || other.calls.is_some() || self.usual.is_some();
        if bound || other.word != word || frame.argument(1) == 0 {
            return Usual::Not;
        }
        let now = arch::timer::now();
        let (level, own_level) = (other.priority, own.priority);
        let urgent = level > own_level;
        if urgent && timer_is_wrong(self.programmed, scheduler.slice, now) {
            return Usual::Not;
        }
        place.who = ThreadId::NONE;
        let other = &mut threads[woken.index()];
        other.state = State::Ready;
        other.frame.set_result(0);
        frame.set_result(1);
        if !urgent {
            let last = scheduler.ready.append(woken, other, level);
            scheduler.ready.link(threads, last, woken, level);
            return Usual::Done(frame);
        }
        let own = &mut threads[id.index()];
        own.run_time += now.wrapping_sub(scheduler.since);
        let last = scheduler.ready.append(id, own, own_level);
        (scheduler.since, scheduler.slice_end) = (now, now + scheduler.slice);
        scheduler.runs += 1;
        scheduler.current = woken;
        let usual = enter(woken, &mut threads[woken.index()], scheduler.runs);
        scheduler.ready.link(threads, last, id, own_level);
        usual
    }
}

/// A thread runs from now on, in this run of the scheduler.
#[inline(always)]
fn enter(id: ThreadId, thread: &mut Thread, run: u64) -> Usual {
    hart::enter(thread.short);
    if thread.listed {
        return Usual::Unlisted(id);
    }
    thread.ran = run;
    Usual::Done(thread.frame)
}

/// Whether the timer would come after the end of a slice that begins now, or should have come already. It may come too early.
#[inline(always)]
fn timer_is_wrong(programmed: u64, slice: u64, now: u64) -> bool {
    programmed.wrapping_sub(now).wrapping_sub(1) >= slice
}
