//! A guest's TCP/IP over a network card: smoltcp, whose frames the test's driver carries through the queues of a board.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use machine::virtio::{Network, Version};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time;
use smoltcp::wire::{EthernetAddress, IpCidr, Ipv4Address};

use crate::boards::Kind;
use crate::driver::Driver;
use crate::network::{MAC, RECEIVE, TRANSMIT};

/// Buffers for frames to the guest.
const BUFFERS: u16 = 8;
const BUFFER: u64 = 0x800;
/// The one for frames from the guest.
const SENDING: u64 = 0x10_0000;
/// How long anything may take on the host.
const PATIENCE: Duration = Duration::from_secs(20);

/// The card as a device of smoltcp.
pub(crate) struct Card {
    pub(crate) driver: Driver,
    header: u32,
    received: VecDeque<Vec<u8>>,
    /// Every frame in both directions.
    pub(crate) log: Vec<Vec<u8>>,
}

impl Card {
    pub(crate) fn new(board: (Kind, Version), network: Network) -> Self {
        Card::with_driver(Driver::new(board, network, 2, 0))
    }

    /// The card of a board that was reset, brought up anew.
    pub(crate) fn again(mut self) -> Self {
        self.driver.start(2, 8, 0);
        Card::with_driver(self.driver)
    }

    fn with_driver(mut driver: Driver) -> Self {
        for number in 0..BUFFERS {
            let place = driver.buffer(BUFFER * u64::from(number));
            driver.chain(RECEIVE, number, &[(place, BUFFER as u32, true)]);
            driver.offer(RECEIVE, number);
        }
        driver.notify(RECEIVE);
        Card {
            header: if driver.version == Version::Legacy { 10 } else { 12 },
            driver,
            received: VecDeque::new(),
            log: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, frame: &[u8]) {
        let place = self.driver.buffer(SENDING);
        self.driver.poke(place, &vec![0; self.header as usize]);
        self.driver.poke(place + u64::from(self.header), frame);
        let length = self.header + frame.len() as u32;
        assert_eq!(self.driver.submit(TRANSMIT, &[(place, length, false)]), Some(0));
        self.log.push(frame.to_vec());
    }

    /// Lets the board run a moment, and takes what has come.
    pub(crate) fn collect(&mut self) {
        self.driver.guest.pass(100_000);
        for (number, length) in self.driver.take(RECEIVE) {
            let place = self.driver.buffer(BUFFER * u64::from(number));
            let frame = self
                .driver
                .peek(place + u64::from(self.header), (length - self.header) as usize);
            self.log.push(frame.clone());
            self.received.push_back(frame);
            self.driver.offer(RECEIVE, number as u16);
            self.driver.notify(RECEIVE);
        }
    }
}

pub(crate) struct Received(Vec<u8>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

pub(crate) struct Sending<'a>(&'a mut Card);

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut frame = vec![0; length];
        let result = write(&mut frame);
        self.0.send(&frame);
        result
    }
}

impl Device for Card {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _now: time::Instant) -> Option<(Received, Sending<'_>)> {
        let frame = self.received.pop_front()?;
        Some((Received(frame), Sending(self)))
    }

    fn transmit(&mut self, _now: time::Instant) -> Option<Sending<'_>> {
        Some(Sending(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

/// A guest with an address.
pub(crate) struct Stack {
    pub(crate) card: Card,
    pub(crate) interface: Interface,
    pub(crate) sockets: SocketSet<'static>,
}

impl Stack {
    pub(crate) fn new(board: (Kind, Version), network: Network, address: [u8; 4]) -> Self {
        Stack::with_card(Card::new(board, network), address)
    }

    pub(crate) fn with_card(mut card: Card, address: [u8; 4]) -> Self {
        let mut mac = MAC;
        mac[5] = address[3];
        let mut interface = Interface::new(Config::new(EthernetAddress(mac).into()), &mut card, time::Instant::ZERO);
        let address = Ipv4Address::from(address);
        interface.update_ip_addrs(|addresses| addresses.push(IpCidr::new(address.into(), 24)).expect("room"));
        Stack {
            card,
            interface,
            sockets: SocketSet::new(Vec::new()),
        }
    }

    pub(crate) fn poll(&mut self) {
        self.card.collect();
        let now = time::Instant::from_micros((self.card.driver.guest.time() / 1000) as i64);
        self.interface.poll(now, &mut self.card, &mut self.sockets);
    }

    /// Polls until `done` has a result. What the host does takes real time; what stands still is a failure.
    pub(crate) fn until<T>(&mut self, what: &str, mut done: impl FnMut(&mut Stack) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(result) = done(self) {
                return result;
            }
            assert!(begun.elapsed() < PATIENCE, "{what} did not happen");
            self.poll();
        }
    }

    pub(crate) fn add_tcp(&mut self) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 8192]);
        self.sockets.add(tcp::Socket::new(buffer(), buffer()))
    }

    pub(crate) fn tcp(&mut self, socket: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(socket)
    }

    /// Opens a connection from `local` to a port of 10.0.2.2.
    pub(crate) fn connect(&mut self, port: u16, local: u16) -> SocketHandle {
        let handle = self.add_tcp();
        let socket = self.sockets.get_mut::<tcp::Socket>(handle);
        let gateway = (Ipv4Address::new(10, 0, 2, 2), port);
        socket
            .connect(self.interface.context(), gateway, local)
            .expect("a free port");
        handle
    }
}
