//! Sockets of streams: between the programs of one library OS, a loopback network without packets, and to other machines.

use super::Context;
use crate::layout::encode;
use crate::network::{Host, Network, Wire};
use crate::open::{Address, Id, Socket, SocketState, What};
use crate::{Error, Outcome, Platform, Result};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use linux_raw_sys::general as sys;
use linux_raw_sys::net;

/// Most connections that wait to be accepted.
const BACKLOG: u64 = 128;
/// The first port that is given to who asks for none.
const EPHEMERAL: u16 = 32768;
/// 127.0.0.1, as it stands in memory.
const LOCALHOST: [u8; 4] = [127, 0, 0, 1];
/// Longest address that is looked at.
const ADDRESS: u64 = 128;
/// Bytes before the path in the address of a local socket.
const FAMILY: usize = 2;

/// The host that an address names, by IPv4 or as IPv6 calls that; none for this machine.
fn host_of(bytes: &[u8], six: bool) -> Result<Option<Host>> {
    let address = if six {
        let address = bytes.get(8..24).ok_or(Error::EINVAL)?;
        match address {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, last @ ..] => last,
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 | 1] => return Ok(None),
            _ => return Err(Error::EADDRNOTAVAIL),
        }
    } else {
        &bytes[4..8]
    };
    let host = address.first_chunk().copied().ok_or(Error::EINVAL)?;
    Ok(Some(host).filter(|host| *host != [0; 4]))
}

/// An IPv4 address as IPv6 calls it.
fn mapped(host: Host) -> [u8; 16] {
    let [a, b, c, d] = host;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// `sockaddr_in`.
fn four(host: Host, port: u16) -> Vec<u8> {
    let mut bytes = Vec::from((net::AF_INET as u16).to_ne_bytes());
    bytes.extend(port.to_be_bytes());
    bytes.extend(host);
    bytes.extend([0; 8]);
    bytes
}

/// `sockaddr_in6`.
fn six(host: [u8; 16], port: u16) -> Vec<u8> {
    let mut bytes = Vec::from((net::AF_INET6 as u16).to_ne_bytes());
    bytes.extend(port.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(host);
    bytes.extend([0; 4]);
    bytes
}

/// Ports below this are not for everybody.
const PRIVILEGED: u16 = 1024;

impl<P: Platform> Context<'_, P> {
    /// The open file that is a socket.
    pub(super) fn socket_id(&self, descriptor: u64) -> Result<Id> {
        let id = self.program.descriptors.get(descriptor)?;
        self.socket_in(id)?;
        Ok(id)
    }

    fn socket_in(&self, id: Id) -> Result<&Socket> {
        match &self.shared.opens.get(id)?.what {
            What::Socket(socket) => Ok(socket),
            _ => Err(Error::ENOTSOCK),
        }
    }

    fn socket_mut(&mut self, id: Id) -> Result<&mut Socket> {
        match &mut self.shared.opens.get_mut(id)?.what {
            What::Socket(socket) => Ok(socket),
            _ => Err(Error::ENOTSOCK),
        }
    }

    /// The flags of a type, and whether it is of datagrams.
    fn flags_of(kind: u64) -> Result<(u32, bool)> {
        let kind = kind as u32;
        let flags = kind & (sys::O_NONBLOCK | sys::O_CLOEXEC);
        match kind & !flags {
            net::SOCK_STREAM => Ok((flags, false)),
            net::SOCK_DGRAM => Ok((flags, true)),
            _ => Err(Error::EPROTONOSUPPORT),
        }
    }

    /// `socket`.
    pub(super) fn socket(&mut self, family: u64, kind: u64) -> Result {
        let local = match family as u32 {
            net::AF_INET => Address::Port { port: 0, six: false },
            net::AF_INET6 => Address::Port { port: 0, six: true },
            net::AF_UNIX => Address::Name(Vec::new()),
            _ => return Err(Error::EAFNOSUPPORT),
        };
        let (flags, datagrams) = Self::flags_of(kind)?;
        if datagrams {
            return self.datagram_socket(local, flags);
        }
        let socket = Socket::new(SocketState::Fresh, local);
        let open = self
            .shared
            .opens
            .add(What::Socket(socket), sys::O_RDWR | flags & sys::O_NONBLOCK);
        self.descriptor_for(open, flags)
    }

    /// `socketpair`.
    pub(super) fn socket_pair(&mut self, family: u64, kind: u64, address: u64) -> Result {
        if family as u32 != net::AF_UNIX {
            return Err(Error::EOPNOTSUPP);
        }
        let (flags, false) = Self::flags_of(kind)? else {
            return Err(Error::EOPNOTSUPP);
        };
        self.program.window.check(address, 8)?;
        let name = || Address::Name(Vec::new());
        let [first, second] = self.connection([name(), name()], flags & sys::O_NONBLOCK)?;
        let descriptors = [self.descriptor_for(first, flags), self.descriptor_for(second, flags)];
        if descriptors.iter().any(Result::is_err) {
            for descriptor in descriptors.into_iter().flatten() {
                self.close(descriptor)?;
            }
            return Err(Error::EMFILE);
        }
        for (index, descriptor) in descriptors.into_iter().flatten().enumerate() {
            self.put(address + 4 * index as u64, &(descriptor as u32).to_ne_bytes())?;
        }
        Ok(0)
    }

    /// Two sockets that are connected with each other; nobody uses them yet.
    fn connection(&mut self, locals: [Address; 2], flags: u32) -> Result<[Id; 2]> {
        let there = self.shared.pipes.add()?;
        let back = match self.shared.pipes.add() {
            Ok(back) => back,
            Err(error) => {
                self.shared.pipes.close(there, false);
                self.shared.pipes.close(there, true);
                return Err(error);
            }
        };
        let [first, second] = locals;
        let mut make = |local: &Address, remote: &Address, receives, sends| {
            let state = SocketState::Connected {
                receives: Some(receives),
                sends: Some(sends),
                remote: remote.clone(),
            };
            let local = local.clone();
            self.shared
                .opens
                .add(What::Socket(Socket::new(state, local)), sys::O_RDWR | flags)
        };
        Ok([make(&first, &second, back, there), make(&second, &first, there, back)])
    }

    /// The address that a program names.
    pub(super) fn address_of(&self, address: u64, length: u64, like: &Address) -> Result<Address> {
        let length = length as u32 as u64;
        if !(FAMILY as u64..=ADDRESS).contains(&length) {
            return Err(Error::EINVAL);
        }
        let mut bytes = [0; ADDRESS as usize];
        let bytes = &mut bytes[..length as usize];
        self.get(address, bytes)?;
        let family = u32::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        match (family, like) {
            (net::AF_INET | net::AF_INET6, Address::Port { six, .. }) if bytes.len() >= 16 => {
                if *six != (family == net::AF_INET6) {
                    return Err(Error::EAFNOSUPPORT);
                }
                let (port, six) = (u16::from_be_bytes([bytes[2], bytes[3]]), *six);
                let own = self.shared.network.as_ref().map(Network::host);
                Ok(match host_of(bytes, six)? {
                    Some(host) if host[0] != LOCALHOST[0] && own != Some(host) => Address::Far { host, port, six },
                    _ => Address::Port { port, six },
                })
            }
            (net::AF_UNIX, Address::Name(_)) => {
                let mut name = bytes[FAMILY..].to_vec();
                // A path ends with its NUL; a name out of the file system begins with one, and has a length.
                if name.first() != Some(&0) {
                    name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
                }
                Ok(Address::Name(name))
            }
            _ => Err(Error::EAFNOSUPPORT),
        }
    }

    /// Tells a program an address: as much of it as it has room for.
    pub(super) fn tell(&mut self, address: u64, room_at: u64, told: &Address) -> Result<()> {
        if address == 0 {
            return Ok(());
        }
        let bytes = match told {
            Address::Port { port, six: false } => four(LOCALHOST, *port),
            Address::Far { host, port, six: false } => four(*host, *port),
            Address::Port { port, six: true } => {
                let mut one = [0; 16];
                one[15] = 1;
                six(one, *port)
            }
            Address::Far { host, port, six: true } => six(mapped(*host), *port),
            Address::Name(name) => {
                let mut bytes = Vec::from((net::AF_UNIX as u16).to_ne_bytes());
                bytes.extend(name);
                bytes
            }
        };
        let room = self.program.window.half(self.platform, room_at)? as usize;
        self.put(address, &bytes[..room.min(bytes.len())])?;
        self.put(room_at, &(bytes.len() as u32).to_ne_bytes())
    }

    /// Who listens at an address.
    fn listener(&self, at: &Address, only: bool) -> Option<Id> {
        let meant = |socket: &Socket| match (&socket.local, at) {
            // One that is for IPv6 only has the port to itself there, and leaves it to others elsewhere.
            (
                Address::Port { port, six },
                Address::Port {
                    port: wanted,
                    six: by_six,
                },
            ) => port == wanted && (six == by_six || !socket.six_only && !only),
            (local, at) => local == at,
        };
        let mut listeners = self.shared.opens.iter().filter_map(|(id, opened)| match &opened.what {
            What::Socket(socket) if matches!(socket.state, SocketState::Listening { .. }) => Some((id, socket)),
            _ => None,
        });
        listeners.find(|(_, socket)| meant(socket)).map(|(id, _)| id)
    }

    /// A port that nobody has.
    pub(super) fn free_port(&self) -> Result<u16> {
        let taken = |wanted: u16| {
            self.shared.opens.iter().any(|(_, opened)| match &opened.what {
                What::Socket(socket) => matches!(socket.local, Address::Port { port, .. } if port == wanted),
                What::Datagrams(socket) => matches!(socket.local, Address::Port { port, .. } if port == wanted),
                _ => false,
            })
        };
        (EPHEMERAL..=u16::MAX)
            .find(|port| !taken(*port))
            .ok_or(Error::EADDRINUSE)
    }

    /// `bind`.
    pub(super) fn bind(&mut self, descriptor: u64, address: u64, length: u64) -> Result {
        if let Some(id) = self.datagram_id(descriptor) {
            return self.bind_datagrams(id, address, length);
        }
        let id = self.socket_id(descriptor)?;
        let socket = self.socket_in(id)?;
        let bound = match &socket.local {
            Address::Port { port, .. } | Address::Far { port, .. } => *port != 0,
            Address::Name(name) => !name.is_empty(),
        };
        if !matches!(socket.state, SocketState::Fresh) || bound {
            return Err(Error::EINVAL);
        }
        let like = socket.local.clone();
        let mut wanted = self.address_of(address, length, &like)?;
        if let Address::Port { port, .. } = &mut wanted
            && *port == 0
        {
            *port = self.free_port()?;
        }
        if matches!(wanted, Address::Far { .. }) {
            return Err(Error::EADDRNOTAVAIL);
        }
        if matches!(wanted, Address::Port { port, .. } if port < PRIVILEGED) && !self.program.credentials.is_root() {
            return Err(Error::EACCES);
        }
        if self.listener(&wanted, self.socket_in(id)?.six_only).is_some() {
            return Err(Error::EADDRINUSE);
        }
        self.socket_mut(id)?.local = wanted;
        Ok(0)
    }

    /// `listen`.
    pub(super) fn listen(&mut self, descriptor: u64, backlog: u64) -> Result {
        if self.datagram_id(descriptor).is_some() {
            return Err(Error::EOPNOTSUPP);
        }
        let id = self.socket_id(descriptor)?;
        let local = self.socket_in(id)?.local.clone();
        if let Address::Port { port: 0, six } = local {
            let port = self.free_port()?;
            self.socket_mut(id)?.local = Address::Port { port, six };
        } else if self
            .listener(&local, self.socket_in(id)?.six_only)
            .is_some_and(|other| other != id)
        {
            return Err(Error::EADDRINUSE);
        }
        let wanted = (backlog as u32 as u64).clamp(1, BACKLOG) as usize;
        let socket = self.socket_mut(id)?;
        match &mut socket.state {
            SocketState::Listening { limit, .. } => *limit = wanted,
            state @ SocketState::Fresh => {
                *state = SocketState::Listening {
                    queue: VecDeque::new(),
                    limit: wanted,
                };
            }
            SocketState::Connected { .. } | SocketState::Wired { .. } => return Err(Error::EINVAL),
        }
        let shared = &mut *self.shared;
        if let (Some(network), What::Socket(socket)) = (&mut shared.network, &shared.opens.get(id)?.what)
            && let Address::Port { port, .. } = socket.local
            && socket.is_open_to(port).is_some()
        {
            network.listen(port);
        }
        Ok(0)
    }

    /// A connection to another machine that the program makes: whether it is there.
    fn connected(&mut self, id: Id, wire: Wire) -> Result<Outcome> {
        let network = self.shared.network.as_ref().ok_or(Error::ENETUNREACH)?;
        match network.is_connected(wire) {
            // In the end it is made again, like any call that waits; otherwise it has been made before.
            Ok(()) if self.again.is_some() => Err(Error::EISCONN),
            Err(Error::EAGAIN) if self.shared.opens.get(id)?.flags & sys::O_NONBLOCK != 0 => Err(Error::EALREADY),
            Err(Error::EAGAIN) => Ok(self.wait_again(None, 0)),
            other => other.map(|()| Outcome::Value(0)),
        }
    }

    /// `connect`.
    pub(super) fn connect(&mut self, descriptor: u64, address: u64, length: u64) -> Result<Outcome> {
        if let Some(id) = self.datagram_id(descriptor) {
            return self.connect_datagrams(id, address, length).map(Outcome::Value);
        }
        let id = self.socket_id(descriptor)?;
        let socket = self.socket_in(id)?;
        match socket.state {
            SocketState::Fresh => {}
            SocketState::Wired { wire, .. } => return self.connected(id, wire),
            SocketState::Connected { .. } => return Err(Error::EISCONN),
            SocketState::Listening { .. } => return Err(Error::EINVAL),
        }
        let mut local = socket.local.clone();
        let wanted = self.address_of(address, length, &local)?;
        if let Address::Far { host, port, .. } = wanted {
            let network = self.shared.network.as_mut().ok_or(Error::ENETUNREACH)?;
            let wire = network.connect(host, port)?;
            self.socket_mut(id)?.state = SocketState::Wired {
                wire,
                remote: wanted,
                receives: true,
                sends: true,
                moved: 0,
            };
            let waits = self.shared.opens.get(id)?.flags & sys::O_NONBLOCK == 0;
            return if waits {
                self.connected(id, wire)
            } else {
                Err(Error::EINPROGRESS)
            };
        }
        let listener = self.listener(&wanted, false).ok_or(Error::ECONNREFUSED)?;
        if let SocketState::Listening { queue, limit } = &self.socket_in(listener)?.state
            && queue.len() >= *limit
        {
            return Err(Error::ECONNREFUSED);
        }
        if let Address::Port { port, .. } = &mut local
            && *port == 0
        {
            *port = self.free_port()?;
        }
        let [near, far] = self.connection([local, wanted], 0)?;
        // The calling one takes the place of its half.
        self.shared.opens.keep(near);
        let state = core::mem::replace(&mut self.socket_mut(near)?.state, SocketState::Fresh);
        let local = self.socket_in(near)?.local.clone();
        self.release(near);
        let socket = self.socket_mut(id)?;
        socket.state = state;
        socket.local = local;
        self.shared.opens.keep(far);
        if let SocketState::Listening { queue, .. } = &mut self.socket_mut(listener)?.state {
            queue.push_back(far);
        }
        self.shared.stirred = true;
        Ok(Outcome::Value(0))
    }

    /// `accept4`.
    pub(super) fn accept(&mut self, [descriptor, address, room, flags]: [u64; 4]) -> Result<Outcome> {
        if self.datagram_id(descriptor).is_some() {
            return Err(Error::EOPNOTSUPP);
        }
        let id = self.socket_id(descriptor)?;
        let SocketState::Listening { queue, .. } = &mut self.socket_mut(id)?.state else {
            return Err(Error::EINVAL);
        };
        let Some(open) = queue.pop_front() else {
            return self.or_wait(id, Err(Error::EAGAIN));
        };
        self.shared.stirred = true;
        let flags = flags as u32;
        self.shared.opens.get_mut(open)?.flags |= flags & sys::O_NONBLOCK;
        let told = match &self.socket_in(open)?.state {
            SocketState::Connected { remote, .. } | SocketState::Wired { remote, .. } => Some(remote.clone()),
            _ => None,
        };
        let accepted = self.descriptor_for(open, flags);
        // The queue uses it no more.
        self.release(open);
        let accepted = accepted?;
        if let Some(told) = told {
            self.tell(address, room, &told)?;
        }
        Ok(Outcome::Value(accepted))
    }

    /// `getsockname` and `getpeername`.
    pub(super) fn socket_name(&mut self, descriptor: u64, address: u64, room: u64, peer: bool) -> Result {
        if let Some(id) = self.datagram_id(descriptor) {
            let told = self.datagram_name(id, peer)?;
            self.tell(address, room, &told)?;
            return Ok(0);
        }
        let id = self.socket_id(descriptor)?;
        let socket = self.socket_in(id)?;
        let told = match &socket.state {
            SocketState::Connected { remote, .. } | SocketState::Wired { remote, .. } if peer => remote.clone(),
            _ if peer => return Err(Error::ENOTCONN),
            SocketState::Wired { wire, .. } => {
                let network = self.shared.network.as_ref().ok_or(Error::ENOTCONN)?;
                let (host, port) = network.local(*wire);
                let six = matches!(
                    socket.local,
                    Address::Port { six: true, .. } | Address::Far { six: true, .. }
                );
                Address::Far { host, port, six }
            }
            _ => socket.local.clone(),
        };
        self.tell(address, room, &told)?;
        Ok(0)
    }

    /// `shutdown`.
    pub(super) fn shut_down(&mut self, descriptor: u64, how: u64) -> Result {
        if let Some(id) = self.datagram_id(descriptor) {
            // Nothing waits for its end.
            return self.datagram_name(id, true).map(|_| 0);
        }
        let id = self.socket_id(descriptor)?;
        if how > 2 {
            return Err(Error::EINVAL);
        }
        let state = &mut self.socket_mut(id)?.state;
        if let SocketState::Wired {
            wire, receives, sends, ..
        } = state
        {
            let wire = *wire;
            *receives &= how == 1;
            *sends &= how == 0;
            let ends = !*sends;
            if let Some(network) = self.shared.network.as_mut().filter(|_| ends) {
                network.finish(wire);
            }
            self.shared.stirred = true;
            return Ok(0);
        }
        let SocketState::Connected { receives, sends, .. } = state else {
            return Err(Error::ENOTCONN);
        };
        let (reads, writes) = match how {
            0 => (receives.take(), None),
            1 => (None, sends.take()),
            _ => (receives.take(), sends.take()),
        };
        for (pipe, writer) in [(reads, false), (writes, true)] {
            if let Some(pipe) = pipe {
                self.shared.pipes.close(pipe, writer);
            }
        }
        self.shared.stirred = true;
        Ok(0)
    }

    /// `setsockopt`: nothing else that can be set makes a difference between programs in one memory.
    pub(super) fn set_option(&mut self, descriptor: u64, level: u64, name: u64, [value, length]: [u64; 2]) -> Result {
        if self.datagram_id(descriptor).is_some() {
            return Ok(0);
        }
        let id = self.socket_id(descriptor)?;
        if (level as u32, name as u32) == (net::IPPROTO_IPV6 as u32, net::IPV6_V6ONLY) && length >= 4 {
            let only = self.program.window.half(self.platform, value)? != 0;
            self.socket_mut(id)?.six_only = only;
        }
        Ok(0)
    }

    /// `getsockopt`.
    pub(super) fn option(&mut self, descriptor: u64, level: u64, name: u64, [value, room]: [u64; 2]) -> Result {
        let datagrams = self.datagram_id(descriptor).is_some();
        let id = if datagrams {
            None
        } else {
            Some(self.socket_id(descriptor)?)
        };
        let number = match (level as u32, name as u32) {
            (net::SOL_SOCKET, net::SO_TYPE) if datagrams => net::SOCK_DGRAM,
            (net::SOL_SOCKET, net::SO_ERROR) => {
                match (id.map(|id| self.socket_in(id)).transpose()?, &self.shared.network) {
                    (
                        Some(Socket {
                            state: SocketState::Wired { wire, moved: 0, .. },
                            ..
                        }),
                        Some(network),
                    ) => match network.is_connected(*wire) {
                        Err(Error::ECONNREFUSED) => linux_raw_sys::errno::ECONNREFUSED,
                        _ => 0,
                    },
                    _ => 0,
                }
            }
            (net::SOL_SOCKET, net::SO_TYPE) => net::SOCK_STREAM,
            (net::SOL_SOCKET, net::SO_SNDBUF | net::SO_RCVBUF) => 16 * 1024,
            _ => 0,
        };
        let length = self.program.window.half(self.platform, room)?.min(4);
        self.put(value, &number.to_ne_bytes()[..length as usize])?;
        self.put(room, &length.to_ne_bytes())?;
        Ok(0)
    }

    /// `sendmsg` and `recvmsg`: their vectors, no ancillary data.
    pub(super) fn message(&mut self, descriptor: u64, address: u64, flags: u64, writes: bool) -> Result<Outcome> {
        if let Some(id) = self.datagram_id(descriptor) {
            return self.datagram_message(id, address, flags, writes);
        }
        let id = self.socket_id(descriptor)?;
        // Name and its length, vector and its length, ancillary data and its length, flags.
        let vector = self.program.window.word(self.platform, address.wrapping_add(16))?;
        let count = self.program.window.word(self.platform, address.wrapping_add(24))?;
        let parts = self.parts(vector, count)?;
        let result = self.move_parts(id, &parts, writes);
        if !writes && result.is_ok() {
            for (at, length) in [(8, 4), (40, 8), (48, 4)] {
                self.put(address.wrapping_add(at), &[0; 8][..length])?;
            }
        }
        self.or_wait_unless(id, result, flags as u32)
    }

    /// `sysinfo`: what a program has to itself.
    pub(super) fn information(&mut self, address: u64) -> Result {
        let window = self.program.window;
        let bytes = encode!(linux_raw_sys::system::sysinfo {
            uptime: (self.platform.clock() / super::time::SECOND) as _,
            totalram: (window.end() - window.start()) as _,
            procs: 1,
            mem_unit: 1,
        });
        self.put(address, &bytes)?;
        Ok(0)
    }
}
