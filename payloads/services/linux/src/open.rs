//! Open files, and the descriptors that stand for them.

use crate::calls::datagram::Datagrams;
use crate::network::{Host, Network, Wire};
use crate::pipe::Pipes;
use crate::timers::When;
use crate::tree::{Node, Tree};
use crate::{Error, Result};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Most descriptors of a program.
pub(crate) const LIMIT: usize = 1024;

/// Number of an open file.
pub(crate) type Id = usize;

/// What an open file is.
#[derive(Debug)]
pub(crate) enum What {
    Console,
    Null,
    Zero,
    Random,
    File(Node),
    Folder(Node),
    /// The end of a pipe that is read.
    Source(usize),
    /// The end of a pipe that is written.
    Sink(usize),
    /// `eventfd`.
    Event {
        count: u64,
        semaphore: bool,
    },
    /// `timerfd`.
    Timer(OpenTimer),
    /// `epoll`.
    Epoll(Vec<Interest>),
    /// A stream socket, in whatever state.
    Socket(Socket),
    /// A datagram socket.
    Datagrams(Datagrams),
}

/// A timer that is an open file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenTimer {
    /// The clock that it is set by.
    pub(crate) clock: u32,
    pub(crate) when: When,
    /// How often it has gone off since it was read.
    pub(crate) passed: u64,
}

impl OpenTimer {
    /// How often it has gone off by now since it was read.
    pub(crate) fn passed(&mut self, now: u64) -> u64 {
        self.passed = self.passed.saturating_add(self.when.pass(now));
        self.passed
    }
}

/// What an `epoll` waits for.
#[derive(Debug)]
pub(crate) struct Interest {
    pub(crate) descriptor: u32,
    pub(crate) open: Id,
    pub(crate) events: u32,
    pub(crate) data: u64,
    /// What it was told last, and how much had happened by then; for who wants to hear of changes only.
    pub(crate) told: Option<(u32, u64)>,
}

/// A name that sockets find each other by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A port of this machine, by IPv4 or IPv6.
    Port { port: u16, six: bool },
    /// A port of another machine, by IPv4 or as IPv6 calls that.
    Far { host: Host, port: u16, six: bool },
    /// A name in the file system or out of it, as it was given.
    Name(Vec<u8>),
}

/// A stream socket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) state: SocketState,
    pub(crate) local: Address,
    /// One of IPv6 that has nothing to do with IPv4.
    pub(crate) six_only: bool,
}

impl Socket {
    /// One that is in this state.
    pub(crate) fn new(state: SocketState, local: Address) -> Socket {
        Socket {
            state,
            local,
            six_only: false,
        }
    }

    /// Whether connections of other machines can come to it at this port; then whether it calls them by IPv6.
    pub(crate) fn is_open_to(&self, wanted: u16) -> Option<bool> {
        match (&self.state, &self.local) {
            (SocketState::Listening { .. }, Address::Port { port, six }) if *port == wanted && !self.six_only => {
                Some(*six)
            }
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(crate) enum SocketState {
    Fresh,
    /// Who has called and was not accepted yet.
    Listening {
        queue: VecDeque<Id>,
        limit: usize,
    },
    /// The pipe that it reads and the one that it writes, as long as these ways are open.
    Connected {
        receives: Option<usize>,
        sends: Option<usize>,
        remote: Address,
    },
    /// A connection to another machine.
    Wired {
        wire: Wire,
        remote: Address,
        /// Whether these ways are open.
        receives: bool,
        sends: bool,
        /// Bytes that have gone through it.
        moved: u64,
    },
}

/// What stands behind open files.
#[derive(Debug)]
pub(crate) struct Behind<'a> {
    pub(crate) tree: &'a mut Tree,
    pub(crate) pipes: &'a mut Pipes,
    pub(crate) network: &'a mut Option<Network>,
}

/// An open file.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) what: What,
    /// How it was opened: access, `O_APPEND`, `O_NONBLOCK`.
    pub(crate) flags: u32,
    pub(crate) offset: u64,
    /// Descriptors, and queues of listening sockets, that it is in.
    users: u32,
}

/// All open files.
#[derive(Debug, Default)]
pub(crate) struct Opens(Vec<Option<Opened>>);

impl Opens {
    /// Adds one that nobody uses yet.
    pub(crate) fn add(&mut self, what: What, flags: u32) -> Id {
        let opened = Opened {
            what,
            flags,
            offset: 0,
            users: 0,
        };
        match self.0.iter().position(Option::is_none) {
            Some(free) => {
                self.0[free] = Some(opened);
                free
            }
            None => {
                self.0.push(Some(opened));
                self.0.len() - 1
            }
        }
    }

    pub(crate) fn get(&self, id: Id) -> Result<&Opened> {
        self.0.get(id).and_then(Option::as_ref).ok_or(Error::EBADF)
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> Result<&mut Opened> {
        self.0.get_mut(id).and_then(Option::as_mut).ok_or(Error::EBADF)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id, &Opened)> {
        let opens = self.0.iter().enumerate();
        opens.filter_map(|(id, opened)| Some((id, opened.as_ref()?)))
    }

    /// Somebody more uses it.
    pub(crate) fn keep(&mut self, id: Id) {
        if let Ok(opened) = self.get_mut(id) {
            opened.users += 1;
        }
    }

    /// Somebody less uses it; with the last one it is closed, and what it alone has used.
    pub(crate) fn release(&mut self, id: Id, behind: &mut Behind<'_>) {
        let Ok(opened) = self.get_mut(id) else { return };
        opened.users = opened.users.saturating_sub(1);
        if opened.users > 0 {
            return;
        }
        let Some(opened) = self.0[id].take() else { return };
        match opened.what {
            What::File(node) | What::Folder(node) => behind.tree.closed(node),
            What::Source(pipe) => behind.pipes.close(pipe, false),
            What::Sink(pipe) => behind.pipes.close(pipe, true),
            What::Datagrams(socket) => socket.close(behind.network.as_mut()),
            What::Socket(Socket { state, local, .. }) => match state {
                SocketState::Fresh => {}
                SocketState::Listening { queue, .. } => {
                    if let (Some(network), Address::Port { port, .. }) = (behind.network.as_mut(), local) {
                        network.unlisten(port);
                    }
                    for waiting in queue {
                        self.release(waiting, behind);
                    }
                }
                SocketState::Wired { wire, .. } => {
                    if let Some(network) = behind.network.as_mut() {
                        network.close(wire);
                    }
                }
                SocketState::Connected { receives, sends, .. } => {
                    for (pipe, writes) in [(receives, false), (sends, true)] {
                        if let Some(pipe) = pipe {
                            behind.pipes.close(pipe, writes);
                        }
                    }
                }
            },
            What::Console
            | What::Null
            | What::Zero
            | What::Random
            | What::Event { .. }
            | What::Timer(_)
            | What::Epoll(_) => {}
        }
        // Nobody hears of it any more.
        for opened in self.0.iter_mut().flatten() {
            if let What::Epoll(interests) = &mut opened.what {
                interests.retain(|interest| interest.open != id);
            }
        }
    }
}

/// A descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptor {
    pub(crate) open: Id,
    pub(crate) close_on_exec: bool,
}

/// The descriptors of a program.
#[derive(Clone, Debug)]
pub(crate) struct Descriptors {
    slots: Vec<Option<Descriptor>>,
    /// From this number on there are no new ones, and how far the program may raise that.
    pub(crate) limit: (u64, u64),
}

impl Default for Descriptors {
    fn default() -> Descriptors {
        Descriptors {
            slots: Vec::new(),
            limit: (LIMIT as u64, LIMIT as u64),
        }
    }
}

impl Descriptors {
    /// What a descriptor stands for.
    pub(crate) fn get(&self, descriptor: u64) -> Result<Id> {
        Ok(self.find(descriptor)?.open)
    }

    pub(crate) fn find(&self, descriptor: u64) -> Result<&Descriptor> {
        let found = self.slots.get(descriptor as u32 as usize).and_then(Option::as_ref);
        found.ok_or(Error::EBADF)
    }

    pub(crate) fn find_mut(&mut self, descriptor: u64) -> Result<&mut Descriptor> {
        let found = self.slots.get_mut(descriptor as u32 as usize).and_then(Option::as_mut);
        found.ok_or(Error::EBADF)
    }

    /// The lowest free descriptor, from `least` on.
    pub(crate) fn free(&self, least: u64) -> Result<u64> {
        let least = usize::try_from(least).map_err(|_| Error::EINVAL)?;
        let taken = self.slots.iter().skip(least).take_while(|slot| slot.is_some()).count();
        let place = least.saturating_add(taken);
        if (place as u64) < self.limit.0 {
            Ok(place as u64)
        } else {
            Err(Error::EMFILE)
        }
    }

    /// Makes a free descriptor, or one that was in use, stand for something; what it has stood for.
    pub(crate) fn set(&mut self, descriptor: u64, value: Option<Descriptor>) -> Result<Option<Id>> {
        let place = usize::try_from(descriptor).ok().filter(|place| *place < LIMIT);
        let place = place.ok_or(Error::EBADF)?;
        if place >= self.slots.len() {
            self.slots.resize(place + 1, None);
        }
        Ok(core::mem::replace(&mut self.slots[place], value).map(|old| old.open))
    }

    /// All that they stand for.
    pub(crate) fn all(&self) -> impl Iterator<Item = Id> + '_ {
        self.slots.iter().flatten().map(|descriptor| descriptor.open)
    }

    /// All that those stand for which a program that is executed does not get; they are free afterwards.
    pub(crate) fn take_closing(&mut self) -> Vec<Id> {
        let closing = self
            .slots
            .iter_mut()
            .filter_map(|slot| slot.take_if(|descriptor| descriptor.close_on_exec));
        closing.map(|descriptor| descriptor.open).collect()
    }

    /// All that they stand for; afterwards they stand for nothing.
    pub(crate) fn take_all(&mut self) -> Vec<Id> {
        core::mem::take(&mut self.slots)
            .into_iter()
            .flatten()
            .map(|descriptor| descriptor.open)
            .collect()
    }
}
