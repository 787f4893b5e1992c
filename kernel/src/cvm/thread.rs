//! One thread: whose it is, what it does, whom it works for, and its links in the lists that it stands in.

use crate::cvm::End;
use crate::cvm::id::{CvmId, ThreadId};
use crate::cvm::short::{NOBODY, Short};
use crate::run::gate::Calls;
use alloc::boxed::Box;
use arch::Frame;

/// What a thread is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The one that a cVM starts with.
    Main,
    /// One that the cVM has made.
    Worker,
    /// It runs the handler of a server; this is its place among the server's handlers.
    Handler(u8),
}

/// What a thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// In a run queue, or running.
    Ready,
    /// Asleep until its deadline.
    Sleeping,
    /// Waiting for console input.
    Reading,
    /// Waiting for somebody to wake it by an address.
    Waiting,
    /// Waiting for the cVM that serves its hostcall.
    Calling,
    /// Resting: its cVM serves the hostcalls of others.
    Serving,
    /// Not started yet, or ended; a handler: free.
    Stopped,
}

/// What ends with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// The thread.
    Thread,
    /// Its cVM.
    Cvm(End),
}

/// Where a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// In the queue of its server.
    Queued,
    /// A handler works on it.
    Served(ThreadId),
    /// It will be answered later.
    Deferred,
}

/// The call that a thread waits for, in [`State::Calling`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) server: CvmId,
    pub(crate) stage: Stage,
    /// Tick at which its budget is used up.
    pub(crate) until: u64,
    /// Its result then.
    pub(crate) late: u64,
    /// Counts the calls of this thread: what a token says of it is true once.
    pub(crate) number: u32,
}

/// Neighbours in a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) previous: ThreadId,
    pub(crate) next: ThreadId,
}

impl Link {
    pub(crate) const NONE: Link = Link {
        previous: ThreadId::NONE,
        next: ThreadId::NONE,
    };
}

/// One thread.
pub(crate) struct Thread {
    /// The cVM that it acts for: its own, or the one whose gate it has called.
    pub(crate) cvm: CvmId,
    /// Its own cVM.
    pub(crate) home: CvmId,
    /// The family of its own cVM, by the outermost cVM.
    pub(crate) family: CvmId,
    pub(crate) role: Role,
    pub(crate) frame: &'static Frame,
    pub(crate) state: State,
    /// The priority that it has of its own.
    pub(crate) base: u8,
    /// The one that it runs and waits with: greater, while somebody waits for its work.
    pub(crate) priority: u8,
    /// There is something to do before it runs: its cVM is loaded, or ends.
    pub(crate) pending: bool,
    /// What ends before it would run again: an exit hostcall that has come back from a server never returns, whoever serves it.
    pub(crate) leaving: Option<Leaving>,
    /// Place among the threads of its cVM, and how many threads have been there before.
    pub(crate) place: u16,
    pub(crate) lives: u32,
    /// Ticks that it has run.
    pub(crate) run_time: u64,
    /// The run of the scheduler in which it has run last, 0 = never.
    pub(crate) ran: u64,
    /// In the list that its state calls for, and the level there.
    pub(crate) link: Link,
    pub(crate) level: u8,
    /// In [`State::Waiting`]: the address that it waits for, a multiple of 4; plus 1 when it waits until a deadline.
    pub(crate) word: u64,
    /// Its cVM's part in the shortest way.
    pub(crate) short: &'static Short,
    /// Whether a server is in its family, so that it can get what is lent.
    pub(crate) listed: bool,
    /// In the list of its family's threads, who has run last first.
    pub(crate) recent: Link,
    pub(crate) call: Call,
    /// A handler: whose call it serves.
    pub(crate) serving: Option<ThreadId>,
    /// Its calls by gates, if it can make any.
    pub(crate) calls: Option<Box<Calls>>,
}

impl Thread {
    /// A stopped thread.
    pub(crate) fn new(
        (cvm, family): (CvmId, CvmId),
        (role, place): (Role, u16),
        frame: &'static Frame,
        priority: u8,
    ) -> Thread {
        Thread {
            cvm,
            home: cvm,
            family,
            role,
            frame,
            state: State::Stopped,
            base: priority,
            priority,
            pending: false,
            leaving: None,
            place,
            lives: 0,
            run_time: 0,
            ran: 0,
            link: Link::NONE,
            level: 0,
            word: 0,
            short: &NOBODY,
            listed: false,
            recent: Link::NONE,
            call: Call {
                server: cvm,
                stage: Stage::Queued,
                until: 0,
                late: 0,
                number: 0,
            },
            serving: None,
            calls: None,
        }
    }

    /// Whether more is to be done than to go on when it runs next: before it, or at the end of the call that it serves, or when
    /// it traps.
    #[inline]
    pub(crate) fn is_bound(&self) -> bool {
        self.pending || self.serving.is_some() || self.calls.is_some()
    }

    /// Its number as its cVM knows it.
    pub(crate) fn number(&self) -> u64 {
        u64::from(self.lives & 0x7fff_ffff) << 16 | u64::from(self.place)
    }
}
