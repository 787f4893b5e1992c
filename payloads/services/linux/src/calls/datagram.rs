//! Datagram sockets: between the programs of one library OS, and by IPv4 to and from other machines.

use super::Context;
use crate::network::{Door, Network};
use crate::open::{Address, Id, What};
use crate::{Error, Outcome, Platform, Result};
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use linux_raw_sys::general as sys;
use linux_raw_sys::net;

/// Most bytes of a datagram; of one to another machine, what a frame takes beside its headers.
const MOST: u64 = 65_507;
const FRAME: usize = 1472;
/// Most datagrams, and bytes of them, that wait in a socket.
const QUEUE: usize = 64;
const HELD: usize = 128 * 1024;
/// Where a message has its name, the name's length, its vector, the vector's length, and what is told of it.
const NAME: u64 = 0;
const NAME_LENGTH: u64 = 8;
const VECTOR: u64 = 16;
const CONTROL_LENGTH: u64 = 40;
const FLAGS: u64 = 48;

/// A datagram socket.
#[derive(Debug)]
pub(crate) struct Datagrams {
    pub(crate) local: Address,
    /// Who it sends to, and hears alone.
    peer: Option<Address>,
    /// What has come from programs: from whom, and the bytes.
    queue: VecDeque<(Address, Vec<u8>)>,
    held: usize,
    /// How often something has come.
    came: u64,
    /// The way to other machines.
    door: Option<Door>,
}

impl Datagrams {
    fn new(local: Address) -> Datagrams {
        Datagrams {
            local,
            peer: None,
            queue: VecDeque::new(),
            held: 0,
            came: 0,
            door: None,
        }
    }

    /// Nobody uses it any more.
    pub(crate) fn close(self, network: Option<&mut Network>) {
        if let (Some(network), Some(door)) = (network, self.door) {
            network.close_door(door);
        }
    }

    /// What could be done with it without waiting, and how much has happened to it.
    pub(crate) fn ready(&self, network: Option<&Network>) -> (bool, bool, u64) {
        let (reads, writes) = match (network, self.door) {
            (Some(network), Some(door)) => network.door_ready(door),
            _ => (false, true),
        };
        (reads || !self.queue.is_empty(), writes, self.came)
    }

    /// Whether a datagram for an address from another one is for this socket.
    fn takes(&self, to: &Address, from: &Address) -> bool {
        let own = match (&self.local, to) {
            // Who is bound by IPv6 hears IPv4, too.
            (Address::Port { port, six }, Address::Port { port: wanted, six: by }) => {
                port == wanted && (six == by || *six)
            }
            (Address::Name(name), Address::Name(wanted)) => !name.is_empty() && name == wanted,
            _ => false,
        };
        let heard = match (&self.peer, from) {
            (None, _) | (Some(Address::Name(_)), _) => true,
            (Some(Address::Port { port, .. }), Address::Port { port: other, .. }) => port == other,
            (Some(peer), from) => peer == from,
        };
        own && heard
    }
}

/// What a program wants to move: parts of its memory, and whom from or to.
struct Message<'a> {
    parts: &'a [[u64; 2]],
    /// Where the address is, and its length or the room for it; 0 = none.
    name: [u64; 2],
    flags: u32,
}

impl<P: Platform> Context<'_, P> {
    /// The open file behind a descriptor, when it is a datagram socket.
    pub(super) fn datagram_id(&self, descriptor: u64) -> Option<Id> {
        let id = self.program.descriptors.get(descriptor).ok()?;
        self.datagrams(id).is_ok().then_some(id)
    }

    fn datagrams(&self, id: Id) -> Result<&Datagrams> {
        match &self.shared.opens.get(id)?.what {
            What::Datagrams(socket) => Ok(socket),
            _ => Err(Error::ENOTSOCK),
        }
    }

    fn datagrams_mut(&mut self, id: Id) -> Result<&mut Datagrams> {
        match &mut self.shared.opens.get_mut(id)?.what {
            What::Datagrams(socket) => Ok(socket),
            _ => Err(Error::ENOTSOCK),
        }
    }

    /// `socket(…, SOCK_DGRAM, …)`.
    pub(super) fn datagram_socket(&mut self, local: Address, flags: u32) -> Result {
        let what = What::Datagrams(Datagrams::new(local));
        let open = self.shared.opens.add(what, sys::O_RDWR | flags & sys::O_NONBLOCK);
        self.descriptor_for(open, flags)
    }

    /// Gives a socket an address that nobody has, and for a port the way to other machines.
    fn settle_datagrams(&mut self, id: Id, wanted: Address) -> Result<()> {
        let mut wanted = wanted;
        if let Address::Port { port, .. } = &mut wanted
            && *port == 0
        {
            *port = self.free_port()?;
        }
        let taken = |what: &What| match (what, &wanted) {
            (What::Datagrams(other), Address::Port { port, .. }) => {
                matches!(other.local, Address::Port { port: other, .. } if other == *port)
            }
            (What::Datagrams(other), name) => other.local == *name,
            _ => false,
        };
        if self
            .shared
            .opens
            .iter()
            .any(|(other, opened)| other != id && taken(&opened.what))
        {
            return Err(Error::EADDRINUSE);
        }
        let door = match (&wanted, self.shared.network.as_mut()) {
            (Address::Port { port, .. }, Some(network)) => Some(network.open_door(*port)?),
            _ => None,
        };
        let socket = self.datagrams_mut(id)?;
        (socket.local, socket.door) = (wanted, door);
        Ok(())
    }

    /// Binds a socket that has no port yet to a free one.
    fn settle_any(&mut self, id: Id) -> Result<()> {
        match self.datagrams(id)?.local {
            Address::Port { port: 0, six } => self.settle_datagrams(id, Address::Port { port: 0, six }),
            _ => Ok(()),
        }
    }

    /// `bind`.
    pub(super) fn bind_datagrams(&mut self, id: Id, address: u64, length: u64) -> Result {
        let local = self.datagrams(id)?.local.clone();
        if !matches!(&local, Address::Port { port: 0, .. }) && local != Address::Name(Vec::new()) {
            return Err(Error::EINVAL);
        }
        match self.address_of(address, length, &local)? {
            Address::Far { .. } => Err(Error::EADDRNOTAVAIL),
            wanted => self.settle_datagrams(id, wanted).map(|()| 0),
        }
    }

    /// `connect`: whom it sends to from now on. An address of no family undoes it.
    pub(super) fn connect_datagrams(&mut self, id: Id, address: u64, length: u64) -> Result {
        let mut family = [0; 2];
        self.get(address, &mut family)?;
        let local = self.datagrams(id)?.local.clone();
        let peer = if u32::from(u16::from_ne_bytes(family)) == net::AF_UNSPEC {
            None
        } else {
            Some(self.address_of(address, length, &local)?)
        };
        if matches!(peer, Some(Address::Port { port: 0, .. })) {
            return Err(Error::ECONNREFUSED);
        }
        if peer.is_some() {
            self.settle_any(id)?;
        }
        self.datagrams_mut(id)?.peer = peer;
        Ok(0)
    }

    /// `getsockname` and `getpeername`.
    pub(super) fn datagram_name(&self, id: Id, peer: bool) -> Result<Address> {
        let socket = self.datagrams(id)?;
        if peer {
            return socket.peer.clone().ok_or(Error::ENOTCONN);
        }
        Ok(socket.local.clone())
    }

    /// Sends a datagram.
    fn send_datagram(&mut self, id: Id, to: Option<Address>, bytes: Vec<u8>) -> Result {
        let count = bytes.len() as u64;
        let (given, connected) = (to.is_some(), self.datagrams(id)?.peer.clone());
        let to = to.or(connected).ok_or(Error::EDESTADDRREQ)?;
        self.settle_any(id)?;
        let socket = self.datagrams(id)?;
        let (from, door) = (socket.local.clone(), socket.door);
        if let Address::Far { host, port, .. } = to {
            if bytes.len() > FRAME {
                return Err(Error::EMSGSIZE);
            }
            let network = self.shared.network.as_mut().ok_or(Error::ENETUNREACH)?;
            network.send_to(door.ok_or(Error::ENETUNREACH)?, (host, port), &bytes)?;
            return Ok(count);
        }
        let found = self.shared.opens.iter().find_map(|(other, opened)| match &opened.what {
            What::Datagrams(socket) if socket.takes(&to, &from) => Some(other),
            _ => None,
        });
        let local = matches!(to, Address::Name(_));
        let Some(receiver) = found else {
            // Of a port that nobody has only those hear that are connected to it.
            return if local || !given {
                Err(Error::ECONNREFUSED)
            } else {
                Ok(count)
            };
        };
        let socket = self.datagrams_mut(receiver)?;
        if socket.queue.len() >= QUEUE || socket.held + bytes.len() > HELD {
            // What is for a port may get lost.
            return if local { Err(Error::EAGAIN) } else { Ok(count) };
        }
        let from = match (from, &socket.local) {
            (Address::Port { port, .. }, Address::Port { six, .. }) => Address::Port { port, six: *six },
            (from, _) => from,
        };
        socket.held += bytes.len();
        socket.came += 1;
        socket.queue.push_back((from, bytes));
        self.shared.stirred = true;
        Ok(count)
    }

    /// Takes a datagram that has come, or with `peek` a copy of it.
    fn take_datagram(&mut self, id: Id, peek: bool) -> Result<(Address, Vec<u8>)> {
        let six = matches!(self.datagrams(id)?.local, Address::Port { six: true, .. });
        // What comes from other machines goes through the queue when somebody looks at it.
        if self.datagrams(id)?.queue.is_empty()
            && let (Some(door), Some(network)) = (self.datagrams(id)?.door, self.shared.network.as_mut())
        {
            while let Some(((host, port), bytes)) = network.receive_from(door) {
                let from = Address::Far { host, port, six };
                let What::Datagrams(socket) = &mut self.shared.opens.get_mut(id)?.what else {
                    break;
                };
                let heard = socket.peer.as_ref().is_none_or(|peer| *peer == from);
                if heard {
                    socket.held += bytes.len();
                    socket.came += 1;
                    socket.queue.push_back((from, bytes));
                    break;
                }
            }
        }
        let socket = self.datagrams_mut(id)?;
        let first = if peek {
            socket.queue.front().cloned()
        } else {
            socket.queue.pop_front()
        };
        let (from, bytes) = first.ok_or(Error::EAGAIN)?;
        if !peek {
            socket.held -= bytes.len();
            // Somebody may wait for room.
            self.shared.stirred = true;
        }
        Ok((from, bytes))
    }

    /// Moves one datagram; its bytes that have moved, or with `MSG_TRUNC` all that it has, and whether some were lost.
    fn move_message(&mut self, id: Id, message: &Message<'_>, writes: bool) -> Result<(u64, bool)> {
        let [name, room] = message.name;
        if writes {
            let length: u64 = message
                .parts
                .iter()
                .fold(0, |sum: u64, part| sum.saturating_add(part[1]));
            if length > MOST {
                return Err(Error::EMSGSIZE);
            }
            let mut bytes = vec![0; length as usize];
            let mut rest = &mut bytes[..];
            for [start, length] in message.parts.iter().filter(|part| part[1] != 0) {
                let (part, behind) = rest.split_at_mut(*length as usize);
                self.get(*start, part)?;
                rest = behind;
            }
            let like = self.datagrams(id)?.local.clone();
            let to = if name == 0 {
                None
            } else {
                Some(self.address_of(name, room, &like)?)
            };
            return self.send_datagram(id, to, bytes).map(|count| (count, false));
        }
        // Nothing is lost for memory that is none.
        for [start, length] in message.parts.iter().filter(|part| part[1] != 0) {
            self.program.window.check(*start, *length)?;
        }
        let (from, bytes) = self.take_datagram(id, message.flags & net::MSG_PEEK != 0)?;
        let mut rest = &bytes[..];
        for [start, length] in message.parts.iter().filter(|part| part[1] != 0) {
            let (part, behind) = rest.split_at(rest.len().min(*length as usize));
            self.put(*start, part)?;
            rest = behind;
        }
        if name != 0 {
            self.tell(name, room, &from)?;
        }
        let all = message.flags & net::MSG_TRUNC != 0;
        let moved = if all { bytes.len() } else { bytes.len() - rest.len() };
        Ok((moved as u64, !rest.is_empty()))
    }

    /// `read`, `write`, `recvfrom`, `sendto` and their like.
    pub(super) fn move_datagram(
        &mut self,
        id: Id,
        parts: &[[u64; 2]],
        (name, flags): ([u64; 2], u32),
        writes: bool,
    ) -> Result {
        let message = Message { parts, name, flags };
        self.move_message(id, &message, writes).map(|(moved, _)| moved)
    }

    /// `sendmsg` and `recvmsg`.
    pub(super) fn datagram_message(&mut self, id: Id, address: u64, flags: u64, writes: bool) -> Result<Outcome> {
        let word = |context: &Self, at: u64| context.program.window.word(context.platform, address.wrapping_add(at));
        let (vector, count) = (word(self, VECTOR)?, word(self, VECTOR + 8)?);
        let parts = self.parts(vector, count)?;
        let name = match (word(self, NAME)?, writes) {
            (0, _) => [0; 2],
            (name, true) => [name, word(self, NAME_LENGTH)? & u64::from(u32::MAX)],
            (name, false) => [name, address.wrapping_add(NAME_LENGTH)],
        };
        let flags = flags as u32;
        let message = Message {
            parts: &parts,
            name,
            flags,
        };
        let moved = self.move_message(id, &message, writes);
        if let (Ok((_, lost)), false) = (&moved, writes) {
            self.put(address.wrapping_add(CONTROL_LENGTH), &[0; 8])?;
            let told = if *lost { net::MSG_TRUNC } else { 0 };
            self.put(address.wrapping_add(FLAGS), &told.to_ne_bytes())?;
        }
        self.or_wait_unless(id, moved.map(|(moved, _)| moved), flags)
    }

    /// The end of a call with flags that may say not to wait.
    pub(super) fn or_wait_unless(&mut self, id: Id, result: Result, flags: u32) -> Result<Outcome> {
        if flags & net::MSG_DONTWAIT != 0 {
            return result.map(Outcome::Value);
        }
        self.or_wait(id, result)
    }
}
