//! Lists of threads by priority, first come first served within one. The links are in the threads: nothing is allocated, and
//! joining, leaving and finding the first take the same time however many there are.

use crate::cvm::id::ThreadId;
use crate::cvm::thread::{Link, Thread};
use abi::manifest::PRIORITY_LIMIT;

/// Number of priorities.
pub(crate) const PRIORITIES: usize = PRIORITY_LIMIT as usize + 1;

/// Number of the greatest bit that is set. A table: not every processor has an instruction for it.
#[inline]
pub(crate) fn greatest(bits: u32) -> Option<usize> {
    static GREATEST: [u8; 1 << PRIORITIES] = {
        let mut table = [0; 1 << PRIORITIES];
        let mut index: usize = 1;
        while index < table.len() {
            table[index] = index.ilog2() as u8;
            index += 1;
        }
        table
    };
    (bits != 0).then(|| GREATEST[bits as usize & (GREATEST.len() - 1)] as usize & (PRIORITIES - 1))
}

/// A list for each priority.
pub(crate) struct Queues {
    /// First and last.
    ends: [(ThreadId, ThreadId); PRIORITIES],
    /// Bit n: somebody is in list n.
    filled: u32,
}

impl Queues {
    pub(crate) const fn new() -> Queues {
        Queues {
            ends: [(ThreadId::NONE, ThreadId::NONE); PRIORITIES],
            filled: 0,
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Whether somebody is in this list or in one above it.
    #[inline]
    pub(crate) fn reaches(&self, level: usize) -> bool {
        self.filled >> level != 0
    }

    /// Whether somebody is in this list.
    pub(crate) fn holds(&self, level: usize) -> bool {
        self.filled >> level & 1 == 1
    }

    /// Puts a thread at the end of a list.
    pub(crate) fn push(&mut self, threads: &mut [Thread], id: ThreadId, level: u8) {
        let thread = &mut threads[id.index()];
        let last = self.append(id, thread, level);
        self.link(threads, last, id, level);
    }

    /// Puts a thread at the end of a list; returns who stood there, to be linked with it.
    #[inline(always)]
    pub(crate) fn append(&mut self, id: ThreadId, thread: &mut Thread, level: u8) -> ThreadId {
        let (_, last) = &mut self.ends[level as usize & (PRIORITIES - 1)];
        thread.level = level;
        thread.link = Link {
            previous: *last,
            next: ThreadId::NONE,
        };
        self.filled |= 1 << level;
        core::mem::replace(last, id)
    }

    /// Links a thread that has been appended with who stands before it.
    #[inline(always)]
    pub(crate) fn link(&mut self, threads: &mut [Thread], before: ThreadId, id: ThreadId, level: u8) {
        match threads.get_mut(before.index()) {
            Some(before) => before.link.next = id,
            None => self.ends[level as usize & (PRIORITIES - 1)].0 = id,
        }
    }

    /// Takes a thread out of its list.
    pub(crate) fn remove(&mut self, threads: &mut [Thread], id: ThreadId) {
        let Thread { link, level, .. } = threads[id.index()];
        let (first, last) = &mut self.ends[level as usize];
        match threads.get_mut(link.previous.index()) {
            Some(previous) => previous.link.next = link.next,
            None => *first = link.next,
        }
        match threads.get_mut(link.next.index()) {
            Some(next) => next.link.previous = link.previous,
            None => *last = link.previous,
        }
        if *first == ThreadId::NONE {
            self.filled &= !(1 << level);
        }
    }

    /// Takes the first of a list, which is not empty, and puts another thread at its end.
    #[inline]
    pub(crate) fn rotate(&mut self, threads: &mut [Thread], id: ThreadId, level: u8) -> ThreadId {
        let ends = &mut self.ends[level as usize];
        let (first, last) = *ends;
        let joined = &mut threads[id.index()];
        joined.level = level;
        joined.link = Link {
            previous: last,
            next: ThreadId::NONE,
        };
        threads[last.index()].link.next = id;
        let next = threads[first.index()].link.next;
        threads[next.index()].link.previous = ThreadId::NONE;
        *ends = (next, id);
        first
    }

    /// The first of the greatest priority.
    #[inline]
    pub(crate) fn first(&self) -> Option<ThreadId> {
        self.first_of().map(|(_, first)| first)
    }

    /// The same, and its priority.
    #[inline]
    pub(crate) fn first_of(&self) -> Option<(u8, ThreadId)> {
        greatest(self.filled).map(|level| (level as u8, self.ends[level].0))
    }

    /// The first of a list has left it; who stood behind it is the first now.
    #[inline(always)]
    pub(crate) fn drop_first(&mut self, threads: &mut [Thread], level: u8, behind: ThreadId) {
        let (first, last) = &mut self.ends[level as usize & (PRIORITIES - 1)];
        *first = behind;
        match threads.get_mut(behind.index()) {
            Some(behind) => behind.link.previous = ThreadId::NONE,
            None => {
                *last = ThreadId::NONE;
                self.filled &= !(1 << level);
            }
        }
    }

    /// Takes the first of the greatest priority.
    pub(crate) fn pop(&mut self, threads: &mut [Thread]) -> Option<ThreadId> {
        let first = self.first()?;
        let Thread { level, link, .. } = threads[first.index()];
        self.drop_first(threads, level, link.next);
        Some(first)
    }
}
