//! One program: its memory, its threads, its descriptors.

use crate::Window;
use crate::arena::Arena;
use crate::open::Descriptors;
use crate::tree::Node;
use alloc::collections::BTreeMap;

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

/// Bytes of what is to happen by a signal: handler, flags, set, as all architectures have them.
pub(crate) const ACTION: usize = 24;

/// A thread of a program.
#[derive(Debug, Default)]
pub(crate) struct Thread {
    /// Where its number becomes 0 when it ends (`set_tid_address`, `clone`); 0 = nowhere.
    pub(crate) clear: u64,
    /// The signals that it does not want now, a bit each.
    pub(crate) blocked: u64,
    /// Its list of locks that somebody may wait for when it ends (`set_robust_list`); 0 = none.
    pub(crate) robust: u64,
}

/// A program.
#[derive(Debug)]
pub(crate) struct Program {
    /// Its number among processes.
    pub(crate) id: u32,
    pub(crate) window: Window,
    pub(crate) arena: Arena,
    pub(crate) threads: BTreeMap<u16, Thread>,
    pub(crate) descriptors: Descriptors,
    /// Where relative paths begin.
    pub(crate) directory: Node,
    pub(crate) mask: u32,
    /// What it wants to happen by a signal, as it has said it.
    pub(crate) actions: BTreeMap<u32, [u8; ACTION]>,
    /// When it began, by the platform's clock.
    pub(crate) began: u64,
}

/// Threads of one program have numbers this far apart, so that those of two programs never meet.
const THREADS: u32 = 1024;

impl Program {
    /// The number of one of its threads.
    pub(crate) fn thread_number(&self, place: u16) -> u32 {
        self.id + u32::from(place) * THREADS
    }
}
