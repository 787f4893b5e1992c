//! TCP/IP to the outside, by `smoltcp`: connections that come through a network card, and such as programs make. Frames go
//! through whatever card is lent for a moment; this part waits for nothing.

use crate::{Error, Result};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use smoltcp::iface::{Config, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::Device;
use smoltcp::socket::tcp::{RecvError, Socket, SocketBuffer, State};
use smoltcp::socket::udp;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, IpAddress, IpEndpoint, Ipv4Address, Ipv4Cidr};

/// Most connections at a time, those that are expected included.
const CONNECTIONS: usize = 64;
/// Most frames that are taken in one go.
const FRAMES: usize = 128;
/// Bytes that have come and that are to be sent, of each.
const RECEIVE: usize = 8 * 1024;
const SEND: usize = 16 * 1024;
/// Datagrams and bytes of them that have come and that are to be sent, of each.
const DATAGRAMS: usize = 16;
const DATAGRAM_BYTES: usize = 16 * 1024;
/// How long a connection that its program has closed may take to end.
const FAREWELL: Duration = Duration::from_secs(30);
/// Ports of who asks for none: the second half of those that are for this; the first is the loopback network's.
const EPHEMERAL: core::ops::Range<u16> = 49152..u16::MAX;

/// An IPv4 address.
pub(crate) type Host = [u8; 4];

/// What the network is told about this machine.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The card's address.
    pub card: [u8; 6],
    /// This machine's address, and the bits of it that are its network's.
    pub host: ([u8; 4], u8),
    /// Who takes what is for other networks.
    pub gateway: [u8; 4],
    /// What numbers that nobody should guess are made of.
    pub seed: u64,
}

/// A port that connections come to.
struct Port {
    number: u16,
    /// Sockets of connections that are not there yet; one of them waits for the next one, if there can be one.
    expected: Vec<SocketHandle>,
}

/// A connection to the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wire(SocketHandle);

/// A port that datagrams come to and go from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Door(SocketHandle);

/// What can be done with a connection without waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readiness {
    /// There is something to read, or the end.
    pub(crate) reads: bool,
    /// There is room to write, or writing fails.
    pub(crate) writes: bool,
    /// The other side sends no more.
    pub(crate) ended: bool,
    /// It is over.
    pub(crate) over: bool,
    /// Added to the bytes that have moved through it, this counts what happens to it.
    pub(crate) changes: u64,
}

/// The network.
pub struct Network {
    interface: Interface,
    sockets: SocketSet<'static>,
    ports: Vec<Port>,
    /// Closed by their programs, but not over.
    closing: Vec<SocketHandle>,
    host: Host,
    next_port: u16,
    /// Programs have done something that frames may follow from.
    pub(crate) touched: bool,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "network {:?}, {} connections",
            self.host,
            self.sockets.iter().count()
        )
    }
}

fn instant(nanoseconds: u64) -> Instant {
    Instant::from_micros((nanoseconds / 1000) as i64)
}

impl Network {
    /// For a card, at a time in nanoseconds.
    pub fn new(settings: &Settings, card: &mut impl Device, now: u64) -> Network {
        let mut config = Config::new(EthernetAddress(settings.card).into());
        config.random_seed = settings.seed;
        let mut interface = Interface::new(config, card, instant(now));
        let (host, prefix) = settings.host;
        let address = Ipv4Address::from(host);
        interface.update_ip_addrs(|addresses| {
            // The first one: there is room.
            let _ = addresses.push(Ipv4Cidr::new(address, prefix.min(32)).into());
        });
        // As above.
        let _ = interface
            .routes_mut()
            .add_default_ipv4_route(Ipv4Address::from(settings.gateway));
        Network {
            interface,
            sockets: SocketSet::new(Vec::new()),
            ports: Vec::new(),
            closing: Vec::new(),
            host,
            next_port: EPHEMERAL.start + (settings.seed % 4096) as u16,
            touched: false,
        }
    }

    /// This machine's address.
    pub(crate) fn host(&self) -> Host {
        self.host
    }

    fn socket(&self, wire: Wire) -> &Socket<'static> {
        self.sockets.get(wire.0)
    }

    fn socket_mut(&mut self, wire: Wire) -> &mut Socket<'static> {
        self.touched = true;
        self.sockets.get_mut(wire.0)
    }

    fn add(&mut self) -> Result<SocketHandle> {
        if self.sockets.iter().count() >= CONNECTIONS {
            return Err(Error::ENOBUFS);
        }
        let mut socket = Socket::new(SocketBuffer::new(vec![0; RECEIVE]), SocketBuffer::new(vec![0; SEND]));
        socket.set_nagle_enabled(false);
        Ok(self.sockets.add(socket))
    }

    /// Lets connections come to a port.
    pub(crate) fn listen(&mut self, number: u16) {
        if !self.ports.iter().any(|port| port.number == number) {
            self.ports.push(Port {
                number,
                expected: Vec::new(),
            });
        }
    }

    /// Lets no more connections come to a port.
    pub(crate) fn unlisten(&mut self, number: u16) {
        if let Some(index) = self.ports.iter().position(|port| port.number == number) {
            for handle in self.ports.swap_remove(index).expected {
                self.sockets.get_mut::<Socket<'_>>(handle).abort();
                self.closing.push(handle);
            }
            self.touched = true;
        }
    }

    /// Expects another connection to each port, if there can be one.
    fn expect(&mut self) {
        for index in 0..self.ports.len() {
            let mut expected = self.ports[index].expected.iter();
            if expected.any(|handle| self.sockets.get::<Socket<'_>>(*handle).state() == State::Listen) {
                continue;
            }
            let Ok(handle) = self.add() else { return };
            // A new socket listens, at any port but 0.
            let _ = self
                .sockets
                .get_mut::<Socket<'_>>(handle)
                .listen(self.ports[index].number);
            self.ports[index].expected.push(handle);
        }
    }

    /// A connection that has come since, to which port, and from where.
    pub(crate) fn arrived(&mut self) -> Option<(u16, Wire, (Host, u16))> {
        for index in 0..self.ports.len() {
            let mut place = 0;
            while let Some(handle) = self.ports[index].expected.get(place).copied() {
                let socket = self.sockets.get::<Socket<'_>>(handle);
                match socket.state() {
                    State::Listen | State::SynReceived => place += 1,
                    State::Established | State::CloseWait => {
                        self.ports[index].expected.swap_remove(place);
                        let from = socket.remote_endpoint().map_or(([0; 4], 0), whose);
                        return Some((self.ports[index].number, Wire(handle), from));
                    }
                    // Gone before anybody has seen it.
                    _ => {
                        self.ports[index].expected.swap_remove(place);
                        self.closing.push(handle);
                        self.touched = true;
                    }
                }
            }
        }
        None
    }

    /// Begins to connect.
    pub(crate) fn connect(&mut self, host: Host, port: u16) -> Result<Wire> {
        if port == 0 {
            return Err(Error::ECONNREFUSED);
        }
        let handle = self.add()?;
        let local = self.next_port;
        self.next_port = if local + 1 < EPHEMERAL.end {
            local + 1
        } else {
            EPHEMERAL.start
        };
        let remote = IpEndpoint::new(IpAddress::Ipv4(Ipv4Address::from(host)), port);
        let socket = self.sockets.get_mut::<Socket<'_>>(handle);
        if socket.connect(self.interface.context(), remote, local).is_err() {
            self.sockets.remove(handle);
            return Err(Error::ENETUNREACH);
        }
        self.touched = true;
        Ok(Wire(handle))
    }

    /// Whether a connection that a program makes is there; `EAGAIN` while nobody knows.
    pub(crate) fn is_connected(&self, wire: Wire) -> Result<()> {
        match self.socket(wire).state() {
            State::SynSent | State::SynReceived => Err(Error::EAGAIN),
            State::Closed => Err(Error::ECONNREFUSED),
            _ => Ok(()),
        }
    }

    /// Where this side of a connection is.
    pub(crate) fn local(&self, wire: Wire) -> (Host, u16) {
        self.socket(wire).local_endpoint().map_or(([0; 4], 0), whose)
    }

    /// Takes bytes that have come; none at the end. `peek` leaves them there.
    ///
    /// # Errors
    /// `EAGAIN` when there are none yet; `ECONNRESET` when the other side has broken it off.
    pub(crate) fn receive(&mut self, wire: Wire, to: &mut [u8], peek: bool) -> Result<usize> {
        let socket = self.socket_mut(wire);
        let taken = if peek {
            socket.peek_slice(to)
        } else {
            socket.recv_slice(to)
        };
        match taken {
            Ok(0) if !to.is_empty() => Err(Error::EAGAIN),
            Ok(count) => Ok(count),
            Err(RecvError::Finished) => Ok(0),
            Err(RecvError::InvalidState) if socket.state() == State::Closed => Err(Error::ECONNRESET),
            // The other side has finished, and all was read.
            Err(RecvError::InvalidState) => Ok(0),
        }
    }

    /// Adds bytes to what is to be sent, as many as fit.
    ///
    /// # Errors
    /// `EAGAIN` when none do; `EPIPE` when nothing can be sent any more.
    pub(crate) fn send(&mut self, wire: Wire, from: &[u8]) -> Result<usize> {
        match self.socket_mut(wire).send_slice(from) {
            Ok(0) if !from.is_empty() => Err(Error::EAGAIN),
            Ok(count) => Ok(count),
            Err(_) => Err(Error::EPIPE),
        }
    }

    /// What can be done with a connection.
    pub(crate) fn readiness(&self, wire: Wire) -> Readiness {
        let socket = self.socket(wire);
        let begins = matches!(socket.state(), State::SynSent | State::SynReceived);
        let ended = !socket.may_recv() && !begins;
        Readiness {
            reads: socket.can_recv() || ended,
            writes: socket.can_send() || !socket.may_send() && !begins,
            ended,
            over: socket.state() == State::Closed,
            // With the bytes that have moved: what has come and what was acknowledged, so far.
            changes: (socket.recv_queue() as u64).wrapping_sub(socket.send_queue() as u64),
        }
    }

    /// Sends no more.
    pub(crate) fn finish(&mut self, wire: Wire) {
        self.socket_mut(wire).close();
    }

    /// Nobody uses a connection any more.
    pub(crate) fn close(&mut self, wire: Wire) {
        let socket = self.socket_mut(wire);
        socket.close();
        socket.set_timeout(Some(FAREWELL));
        self.closing.push(wire.0);
    }

    /// Lets datagrams come to a port, and go from it.
    pub(crate) fn open_door(&mut self, port: u16) -> Result<Door> {
        if self.sockets.iter().count() >= CONNECTIONS {
            return Err(Error::ENOBUFS);
        }
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; DATAGRAMS], vec![0; DATAGRAM_BYTES]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(port).map_err(|_| Error::EADDRNOTAVAIL)?;
        Ok(Door(self.sockets.add(socket)))
    }

    /// Lets no more datagrams come.
    pub(crate) fn close_door(&mut self, door: Door) {
        self.sockets.remove(door.0);
    }

    /// Whether a datagram has come, and whether there is room for one.
    pub(crate) fn door_ready(&self, door: Door) -> (bool, bool) {
        let socket = self.sockets.get::<udp::Socket<'_>>(door.0);
        (socket.can_recv(), socket.can_send())
    }

    /// Adds a datagram to what is to be sent.
    ///
    /// # Errors
    /// `EAGAIN` when there is no room; `EINVAL` for no address.
    pub(crate) fn send_to(&mut self, door: Door, (host, port): (Host, u16), bytes: &[u8]) -> Result<()> {
        self.touched = true;
        let to = IpEndpoint::new(IpAddress::Ipv4(Ipv4Address::from(host)), port);
        let sent = self.sockets.get_mut::<udp::Socket<'_>>(door.0).send_slice(bytes, to);
        sent.map_err(|error| match error {
            udp::SendError::BufferFull => Error::EAGAIN,
            udp::SendError::Unaddressable => Error::EINVAL,
        })
    }

    /// Takes a datagram that has come, and from where.
    pub(crate) fn receive_from(&mut self, door: Door) -> Option<((Host, u16), Vec<u8>)> {
        let (bytes, told) = self.sockets.get_mut::<udp::Socket<'_>>(door.0).recv().ok()?;
        Some((whose(told.endpoint), bytes.to_vec()))
    }

    /// Lets frames come and go through a card, until there is nothing left to do; whether that may have changed anything.
    pub fn poll(&mut self, card: &mut impl Device, now: u64) -> bool {
        self.touched = false;
        let now = instant(now);
        let mut changed = false;
        // Frame by frame: whoever calls finds somebody who listens, also when many call at once.
        for _ in 0..FRAMES {
            self.expect();
            match self.interface.poll_ingress_single(now, card, &mut self.sockets) {
                PollIngressSingleResult::None => break,
                PollIngressSingleResult::PacketProcessed => {}
                PollIngressSingleResult::SocketStateChanged => changed = true,
            }
        }
        changed |= self.interface.poll_egress(now, card, &mut self.sockets) == PollResult::SocketStateChanged;
        let sockets = &mut self.sockets;
        self.closing.retain(|handle| {
            let over = matches!(
                sockets.get::<Socket<'_>>(*handle).state(),
                State::Closed | State::TimeWait | State::Listen
            );
            // A broken one still has to say so, which it has by now.
            if over {
                sockets.remove(*handle);
            }
            !over
        });
        changed
    }

    /// Nanoseconds until there is something to do without a frame; none when there is nothing.
    pub fn delay(&mut self, now: u64) -> Option<u64> {
        let delay = self.interface.poll_delay(instant(now), &self.sockets)?;
        Some(delay.total_micros() * 1000)
    }

    /// How many connections programs have.
    #[cfg(not(target_os = "none"))]
    pub(crate) fn count(&self) -> usize {
        let expected: usize = self.ports.iter().map(|port| port.expected.len()).sum();
        self.sockets.iter().count() - expected - self.closing.len()
    }
}

fn whose(endpoint: IpEndpoint) -> (Host, u16) {
    let IpAddress::Ipv4(host) = endpoint.addr;
    (host.octets(), endpoint.port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;
    use smoltcp::phy::{DeviceCapabilities, Medium, RxToken, TxToken};

    /// The end of a wire: what has come, and what is to go.
    #[derive(Default)]
    struct End {
        come: VecDeque<Vec<u8>>,
        go: Vec<Vec<u8>>,
    }

    struct Frame(Vec<u8>);
    struct Room<'a>(&'a mut Vec<Vec<u8>>);

    impl RxToken for Frame {
        fn consume<R, F: FnOnce(&[u8]) -> R>(self, look: F) -> R {
            look(&self.0)
        }
    }

    impl TxToken for Room<'_> {
        fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
            let mut frame = vec![0; length];
            let result = write(&mut frame);
            self.0.push(frame);
            result
        }
    }

    impl Device for End {
        type RxToken<'a> = Frame;
        type TxToken<'a> = Room<'a>;

        fn receive(&mut self, _now: Instant) -> Option<(Frame, Room<'_>)> {
            let frame = self.come.pop_front()?;
            Some((Frame(frame), Room(&mut self.go)))
        }

        fn transmit(&mut self, _now: Instant) -> Option<Room<'_>> {
            Some(Room(&mut self.go))
        }

        fn capabilities(&self) -> DeviceCapabilities {
            let mut capabilities = DeviceCapabilities::default();
            capabilities.medium = Medium::Ethernet;
            capabilities.max_transmission_unit = 1514;
            capabilities
        }
    }

    #[test]
    fn datagrams_go_to_another_machine_and_come_from_there() {
        let mut ends = [End::default(), End::default()];
        let mut networks = [1_u8, 2].map(|number| {
            let settings = Settings {
                card: [2, 0, 0, 0, 0, number],
                host: ([10, 0, 2, number], 24),
                gateway: [10, 0, 2, 1],
                seed: 1,
            };
            Network::new(&settings, &mut End::default(), 0)
        });
        let doors = [
            networks[0].open_door(1000).unwrap(),
            networks[1].open_door(2000).unwrap(),
        ];
        assert_eq!(networks[0].door_ready(doors[0]), (false, true));
        networks[0].send_to(doors[0], ([10, 0, 2, 2], 2000), b"there").unwrap();
        let mut back = None;
        // Both ask for each other's card first.
        for round in 0..20 {
            for index in 0..2 {
                networks[index].poll(&mut ends[index], round * 1_000_000_000);
                let frames = core::mem::take(&mut ends[index].go);
                ends[1 - index].come.extend(frames);
            }
            if let Some((from, bytes)) = networks[1].receive_from(doors[1]) {
                assert_eq!((from, bytes.as_slice()), (([10, 0, 2, 1], 1000), b"there".as_slice()));
                networks[1].send_to(doors[1], from, b"and back").unwrap();
            }
            back = back.or_else(|| networks[0].receive_from(doors[0]));
        }
        assert_eq!(back, Some((([10, 0, 2, 2], 2000), b"and back".to_vec())));
        assert_eq!(
            networks[0].send_to(doors[0], ([10, 0, 2, 2], 0), b"x"),
            Err(Error::EINVAL)
        );
        let full = (0..=DATAGRAMS).find_map(|_| networks[0].send_to(doors[0], ([10, 0, 2, 9], 1), b"x").err());
        assert_eq!(full, Some(Error::EAGAIN));
        networks[0].close_door(doors[0]);
        assert_eq!(networks[0].count(), 0);
    }
}
