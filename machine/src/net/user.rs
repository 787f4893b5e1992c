//! A network for one guest, like QEMU's `user`: the guest is 10.0.2.15 and learns so by DHCP, the gateway 10.0.2.2 answers
//! ARP and pings, TCP connections to the gateway go to the loopback interface of the host, and connections to forwarded
//! ports of the loopback interface go to the guest. Nothing else of the world is reached.
//!
//! The gateway's TCP/IP is smoltcp's, on virtual time. A connection is two sockets, one of the gateway and one of the host,
//! and bytes are carried between them as fast as both take them.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{
    DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, IpCidr, IpEndpoint,
    IpProtocol, Ipv4Packet, TcpPacket,
};

use super::{Interest, Wire};

/// The address that the guest gets.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// The address of the gateway, behind which the loopback interface of the host is.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const NETMASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
/// QEMU's gateway has this one.
const GATEWAY_MAC: EthernetAddress = EthernetAddress([0x52, 0x55, 10, 0, 2, 2]);
/// Seconds.
const LEASE: u32 = 86_400;
const DHCP_SERVER: u16 = 67;
const DHCP_CLIENT: u16 = 68;

/// The longest frame of this network.
const FRAME: usize = 1514;
/// Frames that may wait for the guest.
const MOST_FRAMES: usize = 64;
/// Connections at the same time; further ones wait at the host's port, and the guest's are refused.
const MOST_CONNECTIONS: usize = 256;
/// Bytes under way in each direction of a connection.
const BUFFER: usize = 1 << 16;
/// Nanoseconds between two tries to do what the gateway wants to do at once.
const PAUSE: u64 = 10_000;
/// How long the host may take to connect to itself.
const HOST_PATIENCE: time::Duration = time::Duration::from_millis(200);
/// How long a guest may take to answer, in virtual time.
const GUEST_PATIENCE: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(60);
/// First of the ports from which the gateway connects to the guest.
const FIRST_PORT: u16 = 49_152;

/// The cable between guest and gateway.
#[derive(Default)]
struct Cable {
    to_guest: VecDeque<Vec<u8>>,
    from_guest: VecDeque<Vec<u8>>,
}

/// A frame from the guest.
struct Received(Vec<u8>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

/// Room for a frame to the guest.
struct Room<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut frame = vec![0; length];
        let result = write(&mut frame);
        self.0.push_back(frame);
        result
    }
}

impl phy::Device for Cable {
    type RxToken<'a> = Received;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, now: Instant) -> Option<(Received, Room<'_>)> {
        if self.to_guest.len() >= MOST_FRAMES {
            return None;
        }
        let frame = self.from_guest.pop_front()?;
        Some((Received(frame), self.transmit(now)?))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Room<'_>> {
        (self.to_guest.len() < MOST_FRAMES).then_some(Room(&mut self.to_guest))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME;
        capabilities
    }
}

/// A port of the host whose connections go to a port of the guest.
struct Forward {
    listener: TcpListener,
    guest_port: u16,
}

/// A connection: the host's side and the guest's.
struct Connection {
    socket: SocketHandle,
    stream: TcpStream,
    /// The host has said all that it will.
    host_done: bool,
    /// The host was told that the guest has said all that it will.
    guest_done: bool,
    /// The host has broken it off.
    broken: bool,
}

/// The network.
pub struct UserNetwork {
    interface: Interface,
    cable: Cable,
    sockets: SocketSet<'static>,
    dhcp: SocketHandle,
    forwards: Vec<Forward>,
    connections: Vec<Connection>,
    next_port: u16,
    /// Virtual time when everything that could be done was done last, and the gateway's own clock then: that one does not go
    /// back when the board starts anew.
    last_run: u64,
    clock: u64,
}

fn instant(time: u64) -> Instant {
    Instant::from_micros((time / 1000) as i64)
}

impl UserNetwork {
    /// A network with nothing forwarded to the guest.
    pub fn new() -> Self {
        let mut cable = Cable::default();
        let mut interface = Interface::new(Config::new(GATEWAY_MAC.into()), &mut cable, instant(0));
        interface.update_ip_addrs(|addresses| {
            // The list has room for the one address that there is.
            let _ = addresses.push(IpCidr::new(GATEWAY.into(), 24));
        });
        let packets = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4], vec![0; 4096]);
        let mut dhcp = udp::Socket::new(packets(), packets());
        // A port that is not 0 can be bound once.
        let _ = dhcp.bind(DHCP_SERVER);
        let mut sockets = SocketSet::new(Vec::new());
        UserNetwork {
            interface,
            cable,
            dhcp: sockets.add(dhcp),
            sockets,
            forwards: Vec::new(),
            connections: Vec::new(),
            next_port: FIRST_PORT,
            last_run: 0,
            clock: 0,
        }
    }

    /// Connections to `host_port` of the loopback interface go to `guest_port` of the guest. Port 0 lets the host choose;
    /// the result is the port.
    ///
    /// # Errors
    /// The host does not give the port.
    pub fn forward(&mut self, host_port: u16, guest_port: u16) -> io::Result<u16> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, host_port))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        self.forwards.push(Forward { listener, guest_port });
        Ok(port)
    }

    /// Does everything that can be done now.
    fn run(&mut self, now: u64) {
        self.clock += now.saturating_sub(self.last_run);
        self.last_run = now;
        let now = instant(self.clock);
        self.accept();
        self.carry();
        while self.interface.poll(now, &mut self.cable, &mut self.sockets) != smoltcp::iface::PollResult::None {
            self.serve_dhcp();
            self.carry();
        }
    }

    fn new_socket(&self) -> tcp::Socket<'static> {
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        socket.set_timeout(Some(GUEST_PATIENCE));
        socket
    }

    fn add(&mut self, socket: tcp::Socket<'static>, stream: TcpStream) -> SocketHandle {
        let socket = self.sockets.add(socket);
        self.connections.push(Connection {
            socket,
            stream,
            host_done: false,
            guest_done: false,
            broken: false,
        });
        socket
    }

    /// Takes what has come to the forwarded ports.
    fn accept(&mut self) {
        for index in 0..self.forwards.len() {
            while self.connections.len() < MOST_CONNECTIONS {
                let forward = &self.forwards[index];
                let Ok((stream, _)) = forward.listener.accept() else {
                    break;
                };
                let guest = IpEndpoint::new(GUEST.into(), forward.guest_port);
                if stream
                    .set_nonblocking(true)
                    .and_then(|()| stream.set_nodelay(true))
                    .is_err()
                {
                    continue;
                }
                let mut socket = self.new_socket();
                let port = self.next_port;
                self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_PORT);
                if socket.connect(self.interface.context(), guest, port).is_ok() {
                    self.add(socket, stream);
                }
            }
        }
    }

    /// Looks whether a frame opens a connection to the gateway, and if so, makes one to the host. Without one the gateway
    /// refuses of itself.
    fn open(&mut self, frame: &[u8]) -> Option<SocketHandle> {
        let (from, port) = connection_request(frame)?;
        let known = |connection: &Connection| {
            let socket = self.sockets.get::<tcp::Socket>(connection.socket);
            let local = socket.local_endpoint().map(|endpoint| endpoint.port);
            local == Some(port) && socket.remote_endpoint() == Some(from) && socket.is_open()
        };
        if self.connections.len() >= MOST_CONNECTIONS || self.connections.iter().any(known) {
            return None;
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect_timeout(&address, HOST_PATIENCE).ok()?;
        stream
            .set_nonblocking(true)
            .and_then(|()| stream.set_nodelay(true))
            .ok()?;
        let mut socket = self.new_socket();
        socket.listen(port).ok()?;
        Some(self.add(socket, stream))
    }

    /// Carries bytes between the two sides of all connections, and ends those that have ended.
    fn carry(&mut self) {
        for connection in &mut self.connections {
            connection.carry(self.sockets.get_mut(connection.socket));
        }
        let sockets = &mut self.sockets;
        self.connections.retain(|connection| {
            let socket = sockets.get::<tcp::Socket>(connection.socket);
            // What the guest said before it left is carried to the end.
            let ended = socket.state() == tcp::State::Closed && (connection.broken || !socket.can_recv());
            if ended {
                sockets.remove(connection.socket);
            }
            !ended
        });
    }

    fn serve_dhcp(&mut self) {
        let socket = self.sockets.get_mut::<udp::Socket>(self.dhcp);
        while let Ok((bytes, _)) = socket.recv() {
            if let Some(answer) = dhcp_answer(bytes) {
                // Without room the answer is lost, and the guest asks again.
                let _ = socket.send_slice(&answer, (Ipv4Addr::BROADCAST, DHCP_CLIENT));
            }
        }
    }
}

impl Default for UserNetwork {
    fn default() -> Self {
        UserNetwork::new()
    }
}

impl Connection {
    fn carry(&mut self, socket: &mut tcp::Socket<'_>) {
        if !self.carry_to_guest(socket) || !self.carry_to_host(socket) {
            self.broken = true;
            socket.abort();
        }
    }

    /// Whether the host's side is well.
    fn carry_to_guest(&mut self, socket: &mut tcp::Socket<'_>) -> bool {
        while !self.host_done && socket.can_send() {
            let mut well = true;
            let read = socket.send(|room| match self.stream.read(room) {
                Ok(length) => (length, Some(length)),
                Err(error) => {
                    well = error.kind() == ErrorKind::WouldBlock;
                    (0, None)
                }
            });
            match read {
                Ok(Some(0)) => {
                    self.host_done = true;
                    socket.close();
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return well,
            }
        }
        true
    }

    /// Whether the host's side is well.
    fn carry_to_host(&mut self, socket: &mut tcp::Socket<'_>) -> bool {
        while socket.can_recv() {
            let mut well = true;
            let written = socket.recv(|bytes| match self.stream.write(bytes) {
                Ok(length) => (length, length),
                Err(error) => {
                    well = error.kind() == ErrorKind::WouldBlock;
                    (0, 0)
                }
            });
            if written.unwrap_or(0) == 0 {
                return well;
            }
        }
        let open = matches!(
            socket.state(),
            tcp::State::Listen | tcp::State::SynSent | tcp::State::SynReceived
        );
        if !self.guest_done && !open && !socket.may_recv() {
            self.guest_done = true;
            // A host that is gone already has nothing to be told.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
        true
    }
}

/// From where to which port of the gateway a frame opens a connection, if it does.
fn connection_request(frame: &[u8]) -> Option<(IpEndpoint, u16)> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    if ethernet.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let packet = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
    if packet.dst_addr() != GATEWAY || packet.next_header() != IpProtocol::Tcp || !packet.verify_checksum() {
        return None;
    }
    let (from, to) = (packet.src_addr(), packet.dst_addr());
    let segment = TcpPacket::new_checked(packet.payload()).ok()?;
    if !segment.syn() || segment.ack() || segment.dst_port() == 0 || !segment.verify_checksum(&from.into(), &to.into())
    {
        return None;
    }
    Some((IpEndpoint::new(from.into(), segment.src_port()), segment.dst_port()))
}

/// What the server says to a message of a client.
fn dhcp_answer(bytes: &[u8]) -> Option<Vec<u8>> {
    let packet = DhcpPacket::new_checked(bytes).ok()?;
    let client = DhcpRepr::parse(&packet).ok()?;
    let elsewhere = |address: Option<Ipv4Addr>, here| address.is_some_and(|address| address != here);
    let kind = match client.message_type {
        DhcpMessageType::Discover => DhcpMessageType::Offer,
        // Meant for another server.
        DhcpMessageType::Request if elsewhere(client.server_identifier, GATEWAY) => return None,
        DhcpMessageType::Request if elsewhere(client.requested_ip, GUEST) => DhcpMessageType::Nak,
        DhcpMessageType::Request => DhcpMessageType::Ack,
        _ => return None,
    };
    let granted = kind != DhcpMessageType::Nak;
    let answer = DhcpRepr {
        message_type: kind,
        transaction_id: client.transaction_id,
        secs: 0,
        client_hardware_address: client.client_hardware_address,
        client_ip: Ipv4Addr::UNSPECIFIED,
        your_ip: if granted { GUEST } else { Ipv4Addr::UNSPECIFIED },
        server_ip: if granted { GATEWAY } else { Ipv4Addr::UNSPECIFIED },
        router: granted.then_some(GATEWAY),
        subnet_mask: granted.then_some(NETMASK),
        relay_agent_ip: Ipv4Addr::UNSPECIFIED,
        broadcast: true,
        requested_ip: None,
        client_identifier: None,
        server_identifier: Some(GATEWAY),
        parameter_request_list: None,
        dns_servers: None,
        max_size: None,
        lease_duration: granted.then_some(LEASE),
        renew_duration: None,
        rebind_duration: None,
        additional_options: &[],
    };
    let mut bytes = vec![0; answer.buffer_len()];
    answer.emit(&mut DhcpPacket::new_unchecked(&mut bytes)).ok()?;
    Some(bytes)
}

impl Wire for UserNetwork {
    fn send(&mut self, frame: &[u8], now: u64) {
        if self.cable.from_guest.len() >= MOST_FRAMES {
            // The guest sends and takes nothing of what is sent to it.
            return;
        }
        let opened = self.open(frame);
        self.cable.from_guest.push_back(frame.to_vec());
        self.run(now);
        // A request that was none after all leaves no socket for others to find.
        if let Some(handle) = opened
            && let Some(index) = self
                .connections
                .iter()
                .position(|connection| connection.socket == handle)
            && self.sockets.get::<tcp::Socket>(handle).is_listening()
        {
            self.connections.swap_remove(index);
            self.sockets.remove(handle);
        }
    }

    fn receive(&mut self, now: u64) -> Option<Vec<u8>> {
        self.run(now);
        self.cable.to_guest.pop_front()
    }

    fn next_event(&mut self, now: u64) -> Option<u64> {
        let clock = self.clock + now.saturating_sub(self.last_run);
        let at = self.interface.poll_at(instant(clock), &self.sockets)?;
        let at = u64::try_from(at.total_micros()).unwrap_or(0).saturating_mul(1000);
        // Something that cannot be done now does not stop the time.
        let at = at.max(self.clock + PAUSE);
        Some(now + at.saturating_sub(clock))
    }

    fn interests(&self) -> Vec<Interest<'_>> {
        let forwards = self.forwards.iter().map(|forward| forward.listener.as_fd());
        let forwards = forwards.take_while(|_| self.connections.len() < MOST_CONNECTIONS);
        let mut interests: Vec<_> = forwards
            .map(|descriptor| Interest {
                descriptor,
                read: true,
                write: false,
            })
            .collect();
        for connection in &self.connections {
            let socket = self.sockets.get::<tcp::Socket>(connection.socket);
            let (read, write) = (!connection.host_done && socket.can_send(), socket.can_recv());
            if read || write {
                interests.push(Interest {
                    descriptor: connection.stream.as_fd(),
                    read,
                    write,
                });
            }
        }
        interests
    }
}
