//! One program: its memory, its threads, its descriptors.

use crate::Window;
use crate::arena::Arena;
use crate::calls::Wish;
use crate::credentials::Credentials;
use crate::open::Descriptors;
use crate::page::Placed;
use crate::tree::Node;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem::offset_of;
use core::ops::Range;
use linux_raw_sys::general as sys;

/// Who makes a system call: a cVM, and a thread by its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who {
    /// Number of the cVM.
    pub client: u32,
    /// Place of the thread, 0 = the main thread.
    pub thread: u16,
}

impl Who {
    /// From what a server is told of who calls.
    pub fn from_caller(caller: u64) -> Who {
        Who {
            client: caller as u32,
            thread: (caller >> 32) as u16,
        }
    }
}

/// Bytes of what is to happen by a signal.
pub(crate) const ACTION: usize = size_of::<sys::kernel_sigaction>();

/// What is to happen by a signal, as a program has said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Action(pub(crate) [u8; ACTION]);

impl Default for Action {
    fn default() -> Action {
        Action([0; ACTION])
    }
}

impl Action {
    fn word(&self, at: usize) -> u64 {
        self.0[at..].first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    }

    /// Its handler: 0 for what happens by itself, 1 for nothing.
    pub(crate) fn handler(&self) -> u64 {
        self.word(offset_of!(sys::kernel_sigaction, sa_handler_kernel))
    }

    pub(crate) fn flags(&self) -> u32 {
        self.word(offset_of!(sys::kernel_sigaction, sa_flags)) as u32
    }

    /// The signals that are blocked while the handler runs.
    pub(crate) fn mask(&self) -> u64 {
        self.word(offset_of!(sys::kernel_sigaction, sa_mask))
    }
}

/// What a program is told of a signal beside its number: why it was sent, by whom, and a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) code: i32,
    /// The process and the user that have sent it; or the number of a timer, and how often it has gone off in vain.
    pub(crate) from: [u32; 2],
    pub(crate) value: u64,
}

/// A signal that has come and is still to be seen by the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) signal: u32,
    /// The thread that it is for; without one it is for any.
    pub(crate) thread: Option<u16>,
    pub(crate) told: Told,
}

impl Sent {
    /// One for a whole program, of which there is nothing to tell.
    pub(crate) fn plain(signal: u32) -> Sent {
        Sent {
            signal,
            thread: None,
            told: Told::default(),
        }
    }
}

/// The first signal of which several can wait, and how many signals can at most.
const QUEUED: u32 = 32;
const QUEUE: usize = 256;

/// A thread of a program.
#[derive(Debug, Default)]
pub(crate) struct Thread {
    /// Where its number becomes 0 when it ends (`set_tid_address`, `clone`); 0 = nowhere.
    pub(crate) clear: u64,
    /// The signals that it does not want now, a bit each.
    pub(crate) blocked: u64,
    /// Its list of locks that somebody may wait for when it ends (`set_robust_list`); 0 = none.
    pub(crate) robust: u64,
    /// The stack for handlers that ask for one of their own (`sigaltstack`); empty = none.
    pub(crate) stack: Range<u64>,
    /// What it has said that it is called.
    pub(crate) name: Option<[u8; 16]>,
    /// Those that it does not want when the handler that comes next is over, where that is something else.
    pub(crate) restored: Option<u64>,
}

/// A program.
#[derive(Debug)]
pub(crate) struct Program {
    /// Its number among processes.
    pub(crate) id: u32,
    /// The cVM that its memory is.
    pub(crate) client: u32,
    /// The place of the thread that it has begun with: not 0 in the memory of another one.
    pub(crate) first: u16,
    /// The path of its file.
    pub(crate) file: Vec<u8>,
    /// The page of text that it has from its library OS.
    pub(crate) page: Placed,
    /// Whether it uses registers for floating-point numbers.
    pub(crate) floats: bool,
    /// Signals that have come and are still to be seen, a bit each, and what there is to tell of them.
    pub(crate) pending: u64,
    pub(crate) queue: Vec<Sent>,
    pub(crate) window: Window,
    pub(crate) arena: Arena,
    pub(crate) threads: BTreeMap<u16, Thread>,
    pub(crate) descriptors: Descriptors,
    /// Where relative paths begin.
    pub(crate) directory: Node,
    pub(crate) mask: u32,
    /// What it wants to happen by a signal, as it has said it.
    pub(crate) actions: BTreeMap<u32, Action>,
    /// In whose name it runs.
    pub(crate) credentials: Credentials,
    /// How it wants to be scheduled.
    pub(crate) wish: Wish,
    /// When it began, by the platform's clock.
    pub(crate) began: u64,
}

/// Threads of one program have numbers this far apart, so that those of two programs never meet.
pub(crate) const THREADS: u32 = 1024;

impl Program {
    /// The number of one of its threads.
    pub(crate) fn thread_number(&self, place: u16) -> u32 {
        self.id + u32::from(place.wrapping_sub(self.first)) * THREADS
    }

    /// Whether a thread is its own.
    pub(crate) fn owns(&self, who: Who) -> bool {
        who.client == self.client && self.threads.contains_key(&who.thread)
    }

    /// Whether a signal that comes has to wait because nobody wants it now.
    pub(crate) fn blocks(&self, sent: &Sent) -> bool {
        let bit = 1 << (sent.signal - 1);
        let mut meant = self
            .threads
            .iter()
            .filter(|(place, _)| sent.thread.is_none_or(|thread| thread == **place));
        meant.all(|(_, thread)| thread.blocked & bit != 0)
    }

    /// Keeps a signal that has come; whether there was room.
    pub(crate) fn keep(&mut self, sent: Sent) -> bool {
        let same = |kept: &Sent| (kept.signal, kept.thread) == (sent.signal, sent.thread);
        if sent.signal < QUEUED && self.queue.iter().any(same) {
            return true;
        }
        if self.queue.len() >= QUEUE {
            return false;
        }
        self.queue.push(sent);
        self.pending |= 1 << (sent.signal - 1);
        true
    }

    /// The place in the queue of the signal of a set that comes next to a thread.
    pub(crate) fn next_of(&self, place: u16, set: u64) -> Option<usize> {
        let meant = |sent: &Sent| set & 1 << (sent.signal - 1) != 0 && sent.thread.is_none_or(|thread| thread == place);
        let found = self.queue.iter().enumerate().filter(|(_, sent)| meant(sent));
        found
            .min_by_key(|(index, sent)| (sent.signal, *index))
            .map(|(index, _)| index)
    }

    /// Takes a signal from the queue.
    pub(crate) fn take_sent(&mut self, index: usize) -> Sent {
        let sent = self.queue.remove(index);
        self.pending = self.queue.iter().fold(0, |set, sent| set | 1 << (sent.signal - 1));
        sent
    }

    /// Forgets what has come of a signal.
    pub(crate) fn forget(&mut self, signal: u32) {
        self.queue.retain(|sent| sent.signal != signal);
        self.pending &= !(1 << (signal - 1));
    }

    /// What is to happen by a signal.
    pub(crate) fn action(&self, signal: u32) -> Action {
        self.actions.get(&signal).copied().unwrap_or_default()
    }
}
