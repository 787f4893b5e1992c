//! What a cVM that serves others is doing: its handlers, the calls that wait, what was lent.

use crate::cvm::id::ThreadId;
use crate::cvm::queue::{PRIORITIES, Queues, greatest};
use alloc::vec::Vec;
use core::ops::Range;

/// Arguments of a hostcall: as many capabilities can be lent at once.
pub(crate) const ARGUMENTS: usize = 6;

/// Memory that was lent, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lent {
    pub(crate) range: Range<u64>,
    pub(crate) load: bool,
    pub(crate) store: bool,
}

/// A handler's side of the call that it serves.
pub(crate) struct Handler {
    pub(crate) thread: ThreadId,
    /// The scheduler's run in which the call began.
    pub(crate) began: u64,
    pub(crate) lent: heapless::Vec<Lent, ARGUMENTS>,
}

/// A cVM's service.
pub(crate) struct Service {
    pub(crate) handlers: Vec<Handler>,
    /// Bit n: handler n is free.
    pub(crate) free: u64,
    /// Callers whose calls wait to be served.
    pub(crate) queue: Queues,
    /// Callers whose calls will be answered later.
    pub(crate) deferred: Queues,
    /// How many callers wait for this server with each priority, wherever their calls are.
    waiting: [u16; PRIORITIES],
    levels: u32,
    /// Clients that have not ended for good.
    pub(crate) clients: u32,
    /// Its handler's stack is the only memory where something lent can stay: it has no other local area, nor have those of its
    /// family, and nothing goes on from it by a gate.
    pub(crate) alone: bool,
}

impl Service {
    /// A service that nobody has called yet.
    pub(crate) fn new(handlers: Vec<Handler>, clients: u32) -> Service {
        Service {
            free: u64::MAX >> (64 - handlers.len()),
            handlers,
            queue: Queues::new(),
            deferred: Queues::new(),
            waiting: [0; PRIORITIES],
            levels: 0,
            clients,
            alone: false,
        }
    }

    /// Somebody waits.
    #[inline]
    pub(crate) fn enter(&mut self, priority: u8) {
        self.waiting[priority as usize] += 1;
        self.levels |= 1 << priority;
    }

    /// Somebody waits no more.
    #[inline]
    pub(crate) fn leave(&mut self, priority: u8) {
        let waiting = &mut self.waiting[priority as usize];
        *waiting -= 1;
        if *waiting == 0 {
            self.levels &= !(1 << priority);
        }
    }

    /// The greatest priority of those that wait.
    #[inline]
    pub(crate) fn greatest(&self) -> Option<u8> {
        greatest(self.levels).map(|level| level as u8)
    }
}
