//! One program: its memory, its threads, its descriptors.

use crate::Window;
use crate::arena::Arena;
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
    /// Signals that have come and have handlers, which are still to be called.
    pub(crate) pending: u64,
    pub(crate) window: Window,
    pub(crate) arena: Arena,
    pub(crate) threads: BTreeMap<u16, Thread>,
    pub(crate) descriptors: Descriptors,
    /// Where relative paths begin.
    pub(crate) directory: Node,
    pub(crate) mask: u32,
    /// What it wants to happen by a signal, as it has said it.
    pub(crate) actions: BTreeMap<u32, Action>,
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

    /// What is to happen by a signal.
    pub(crate) fn action(&self, signal: u32) -> Action {
        self.actions.get(&signal).copied().unwrap_or_default()
    }
}
