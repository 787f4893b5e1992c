//! TCP, UDP and IP of a port, by `smoltcp`.

use core::str::FromStr;
use core::time::Duration;

use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpEndpoint, Ipv4Address, Ipv4Cidr};

use super::{FRAME, Port};
use crate::alloc::boxed::Box;
use crate::alloc::vec;
use crate::alloc::vec::Vec;
use crate::{Errno, hostcall};

/// How long somebody who waits for frames does not look whether there is room again for those to send.
const FULL: Duration = Duration::from_millis(1);
/// Ports of connections that begin here.
const FIRST_PORT: u16 = 49152;

/// What keeps a cVM from having a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// `ADDRESS` in the environment is none, with the length of its network behind it.
    Address,
    /// `GATEWAY` in the environment is no address.
    Gateway,
    /// There is no port.
    Port(Errno),
}

/// The address that `ADDRESS` in the environment says (10.0.2.15/24), and whose the way to other networks is: `GATEWAY` (10.0.2.2).
///
/// # Errors
/// See [`Problem`].
pub fn address() -> Result<(Ipv4Cidr, Ipv4Address), Problem> {
    let address = crate::var("ADDRESS").unwrap_or("10.0.2.15/24");
    let gateway = crate::var("GATEWAY").unwrap_or("10.0.2.2");
    let address = Ipv4Cidr::from_str(address).map_err(|()| Problem::Address)?;
    let gateway = Ipv4Address::from_str(gateway).map_err(|_| Problem::Gateway)?;
    Ok((address, gateway))
}

/// The port as `smoltcp` wants one, with memory for one frame.
pub struct Wire {
    port: Port,
    frame: Box<[u8; FRAME]>,
}

impl Wire {
    /// For a port.
    pub fn new(port: Port) -> Wire {
        Wire {
            port,
            frame: Box::new([0; FRAME]),
        }
    }

    /// The port.
    pub fn port(&mut self) -> &mut Port {
        &mut self.port
    }
}

/// A frame that has come: so many bytes of the wire's memory.
pub struct Received<'a>(&'a [u8]);

impl phy::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, look: F) -> R {
        look(self.0)
    }
}

/// Room for a frame to send.
pub struct Sending<'a>(&'a mut Port);

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut frame = [0; FRAME];
        let result = write(&mut frame[..length]);
        // Where there is no room it is lost, as frames are; who sent it knows what to do.
        let _ = self.0.send(&frame[..length]);
        result
    }
}

impl phy::Device for Wire {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received<'_>, Sending<'_>)> {
        let length = self.port.receive(&mut self.frame).ok()?;
        Some((Received(&self.frame[..length]), Sending(&mut self.port)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sending<'_>> {
        self.port.can_send().then_some(Sending(&mut self.port))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME;
        capabilities
    }
}

fn now() -> Instant {
    Instant::from_micros((hostcall::clock() / 1000) as i64)
}

/// The network of a port, with an address of this cVM's.
pub struct Network {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    next_port: u16,
}

impl Network {
    /// With the address and the gateway that the environment says.
    ///
    /// # Errors
    /// See [`Problem`].
    pub fn from_environment() -> Result<Network, Problem> {
        let (address, gateway) = address()?;
        Network::open(address, Some(gateway)).map_err(Problem::Port)
    }

    /// With this address; what is not on its network goes by the gateway.
    ///
    /// # Errors
    /// As [`Port::open`].
    pub fn open(address: Ipv4Cidr, gateway: Option<Ipv4Address>) -> Result<Network, Errno> {
        let mut wire = Wire::new(Port::open()?);
        let seed = hostcall::clock();
        let mut config = Config::new(EthernetAddress(wire.port.address()).into());
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut wire, now());
        interface.update_ip_addrs(|addresses| {
            // The first one: there is room.
            let _ = addresses.push(address.into());
        });
        if let Some(gateway) = gateway {
            let routed = interface.routes_mut().add_default_ipv4_route(gateway);
            routed.map_err(|_| Errno::ENOMEM)?;
        }
        Ok(Network {
            wire,
            interface,
            sockets: SocketSet::new(Vec::new()),
            // Not the port of the life before this one, of which the far side may still know.
            next_port: (seed / 1000) as u16 | FIRST_PORT,
        })
    }

    /// A TCP socket with room for so many bytes that have come and that are to be sent. It is for [`tcp::Socket::listen`], or for
    /// [`Network::connect`].
    pub fn add_tcp(&mut self, receive: usize, send: usize) -> SocketHandle {
        let buffer = |size: usize| tcp::SocketBuffer::new(vec![0; size]);
        self.sockets.add(tcp::Socket::new(buffer(receive), buffer(send)))
    }

    /// A UDP socket with room for so many datagrams, of so many bytes together, each way.
    pub fn add_udp(&mut self, datagrams: usize, bytes: usize) -> SocketHandle {
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; datagrams], vec![0; bytes]);
        self.sockets.add(udp::Socket::new(buffer(), buffer()))
    }

    /// Takes a socket away.
    pub fn remove(&mut self, handle: SocketHandle) {
        self.sockets.remove(handle);
    }

    /// A TCP socket.
    pub fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// A UDP socket.
    pub fn udp(&mut self, handle: SocketHandle) -> &mut udp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Begins a connection of a TCP socket; it stands when the socket may send.
    ///
    /// # Errors
    /// `EINVAL` for a socket that is open, or an address that is none.
    pub fn connect(&mut self, handle: SocketHandle, to: impl Into<IpEndpoint>) -> Result<(), Errno> {
        let port = self.next_port;
        self.next_port = port.checked_add(1).unwrap_or(FIRST_PORT);
        let socket: &mut tcp::Socket<'static> = self.sockets.get_mut(handle);
        socket
            .connect(self.interface.context(), to, port)
            .map_err(|_| Errno::EINVAL)
    }

    /// Takes in what has come and sends what there is to send; whether something has changed for a socket.
    pub fn poll(&mut self) -> bool {
        self.interface.poll(now(), &mut self.wire, &mut self.sockets) == PollResult::SocketStateChanged
    }

    /// Waits until there is something to do, for this time at the longest.
    ///
    /// # Errors
    /// `EFAULT` when the port is gone.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<(), Errno> {
        let due = self.interface.poll_delay(now(), &self.sockets);
        let due = due.map(|due| Duration::from_micros(due.total_micros()));
        let full = (!self.wire.port.can_send()).then_some(FULL);
        let least = [due.map(|due| due.max(full.unwrap_or(due))), timeout];
        match self.wire.port.wait(least.into_iter().flatten().min()) {
            Ok(()) | Err(Errno::ETIMEDOUT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}
