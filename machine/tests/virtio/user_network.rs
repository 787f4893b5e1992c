//! The user-mode network from both of its sides: smoltcp in the guest, sockets of the loopback interface on the host.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;

use machine::net::{Capture, UserNetwork};
use machine::virtio::{Network, Version};
use smoltcp::socket::{dhcpv4, tcp};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, Icmpv4Packet,
    Icmpv4Repr, IpProtocol, Ipv4Address, Ipv4Packet, Ipv4Repr,
};

use crate::boards::{ALL, Kind};
use crate::network::MAC;
use crate::stack::{Card, Stack};

/// One board with each version of the transport.
const BOTH: [(Kind, Version); 2] = [ALL[0], ALL[3]];

const GUEST: [u8; 4] = [10, 0, 2, 15];
const GATEWAY: Ipv4Address = Ipv4Address::new(10, 0, 2, 2);
const GATEWAY_MAC: EthernetAddress = EthernetAddress([0x52, 0x55, 10, 0, 2, 2]);

fn stack(board: (Kind, Version), network: UserNetwork) -> Stack {
    Stack::new(board, Network::new(MAC, network), GUEST)
}

/// Bytes in which a loss, a repetition or a swap shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + index / 251) as u8).collect()
}

/// Sends all of `bytes` from the guest.
fn send(stack: &mut Stack, socket: smoltcp::iface::SocketHandle, bytes: &[u8]) {
    let mut sent = 0;
    stack.until("sending", |stack| {
        let socket = stack.tcp(socket);
        if socket.can_send() {
            sent += socket.send_slice(&bytes[sent..]).expect("an open socket");
        }
        (sent == bytes.len()).then_some(())
    });
}

/// Receives on the guest until the far end closes.
fn receive(stack: &mut Stack, socket: smoltcp::iface::SocketHandle) -> Vec<u8> {
    let mut bytes = Vec::new();
    stack.until("the end of the stream", |stack| {
        let socket = stack.tcp(socket);
        while socket.can_recv() {
            socket
                .recv(|part| (part.len(), bytes.extend_from_slice(part)))
                .expect("an open socket");
        }
        (!socket.may_recv()).then_some(())
    });
    bytes
}

#[test]
fn the_guest_learns_its_address_by_dhcp() {
    for board in ALL {
        let mut stack = stack(board, UserNetwork::new());
        let dhcp = stack.sockets.add(dhcpv4::Socket::new());
        let (address, router, server, dns) = stack.until("a lease", |stack| {
            match stack.sockets.get_mut::<dhcpv4::Socket>(dhcp).poll() {
                Some(dhcpv4::Event::Configured(lease)) => Some((
                    lease.address.to_string(),
                    lease.router,
                    lease.server.address,
                    lease.dns_servers.len(),
                )),
                _ => None,
            }
        });
        assert_eq!((address.as_str(), router), ("10.0.2.15/24", Some(GATEWAY)));
        assert_eq!((server, dns), (GATEWAY, 0));
    }
}

#[test]
fn a_run_on_a_network_without_the_host_is_the_same_every_time() {
    let run = || {
        let mut stack = stack(ALL[1], UserNetwork::new());
        let dhcp = stack.sockets.add(dhcpv4::Socket::new());
        stack.until("a lease", |stack| {
            let event = stack.sockets.get_mut::<dhcpv4::Socket>(dhcp).poll();
            matches!(event, Some(dhcpv4::Event::Configured(_))).then_some(())
        });
        (stack.card.driver.guest.time(), stack.card.log)
    };
    let first = run();
    assert!(first.1.len() >= 4, "discover, offer, request, acknowledgement");
    assert_eq!(run(), first);
}

#[test]
fn a_network_goes_on_after_a_reset_of_the_board() {
    for board in ALL {
        let mut network = UserNetwork::new();
        let port = network.forward(0, 80).unwrap();
        let mut first = stack(board, network);
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.set_nonblocking(true).unwrap();
        first
            .until("a refusal", |_| match stream.read(&mut [0; 1]) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
                read => Some(read),
            })
            .unwrap_or(0);
        // Late in a life.
        for _ in 0..100 {
            first.card.driver.guest.pass(100_000_000);
            first.poll();
        }
        first.card.driver.guest.reset();
        let mut stack = Stack::with_card(first.card.again(), GUEST);
        let server = stack.add_tcp();
        stack.tcp(server).listen(80).unwrap();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.write_all(b"anew").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        stack.until("a connection", |stack| stack.tcp(server).may_recv().then_some(()));
        assert_eq!(receive(&mut stack, server), b"anew");
        assert!(
            stack.card.driver.guest.time() < 5_000_000_000,
            "the clock has not to catch up"
        );
    }
}

fn ethernet(
    protocol: EthernetProtocol,
    to: EthernetAddress,
    payload: impl FnOnce(&mut [u8]),
    length: usize,
) -> Vec<u8> {
    let header = EthernetRepr {
        src_addr: EthernetAddress(MAC),
        dst_addr: to,
        ethertype: protocol,
    };
    let mut bytes = vec![0; header.buffer_len() + length];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    header.emit(&mut frame);
    payload(frame.payload_mut());
    bytes
}

#[test]
fn the_gateway_answers_who_it_is_and_pings() {
    for board in ALL {
        let mut card = Card::new(board, Network::new(MAC, UserNetwork::new()));
        let ask = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: EthernetAddress(MAC),
            source_protocol_addr: GUEST.into(),
            target_hardware_addr: EthernetAddress([0; 6]),
            target_protocol_addr: GATEWAY,
        };
        let frame = ethernet(
            EthernetProtocol::Arp,
            EthernetAddress::BROADCAST,
            |bytes| ask.emit(&mut ArpPacket::new_unchecked(bytes)),
            ask.buffer_len(),
        );
        card.send(&frame);
        card.collect();
        let answer = EthernetFrame::new_checked(card.log.last().unwrap()).unwrap();
        assert_eq!(
            (answer.src_addr(), answer.ethertype()),
            (GATEWAY_MAC, EthernetProtocol::Arp)
        );

        let checksums = smoltcp::phy::ChecksumCapabilities::default();
        let ping = Icmpv4Repr::EchoRequest {
            ident: 77,
            seq_no: 3,
            data: b"are you there?",
        };
        let packet = Ipv4Repr {
            src_addr: GUEST.into(),
            dst_addr: GATEWAY,
            next_header: IpProtocol::Icmp,
            payload_len: ping.buffer_len(),
            hop_limit: 64,
        };
        let frame = ethernet(
            EthernetProtocol::Ipv4,
            GATEWAY_MAC,
            |bytes| {
                let mut header = Ipv4Packet::new_unchecked(bytes);
                packet.emit(&mut header, &checksums);
                ping.emit(&mut Icmpv4Packet::new_unchecked(header.payload_mut()), &checksums);
            },
            packet.buffer_len() + ping.buffer_len(),
        );
        card.send(&frame);
        card.collect();
        let answer = card.log.last().unwrap();
        let packet = Ipv4Packet::new_checked(&answer[14..]).unwrap();
        assert_eq!((packet.src_addr(), packet.dst_addr()), (GATEWAY, GUEST.into()));
        let message = Icmpv4Packet::new_checked(packet.payload()).unwrap();
        let pong = Icmpv4Repr::EchoReply {
            ident: 77,
            seq_no: 3,
            data: b"are you there?",
        };
        assert_eq!(Icmpv4Repr::parse(&message, &checksums), Ok(pong));
    }
}

#[test]
fn a_client_on_the_host_talks_with_a_server_in_the_guest() {
    for board in ALL {
        let mut network = UserNetwork::new();
        let port = network.forward(0, 80).unwrap();
        let mut stack = stack(board, network);
        let server = stack.add_tcp();
        stack.tcp(server).listen(80).unwrap();
        let question = pattern(100_000);
        let answer: Vec<u8> = pattern(150_000).into_iter().rev().collect();
        let expected = answer.clone();
        let client = thread::spawn(move || {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            stream.write_all(&pattern(100_000)).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            bytes
        });
        stack.until("a connection", |stack| stack.tcp(server).may_recv().then_some(()));
        let from = stack.tcp(server).remote_endpoint().unwrap();
        assert_eq!(from.addr, GATEWAY.into());
        assert!(receive(&mut stack, server) == question);
        send(&mut stack, server, &answer);
        stack.tcp(server).close();
        stack.until("the end of the client", |_| client.is_finished().then_some(()));
        assert!(client.join().unwrap() == expected);
        stack.until("the end of the connection", |stack| {
            (stack.tcp(server).state() == tcp::State::Closed).then_some(())
        });
    }
}

#[test]
fn a_client_in_the_guest_talks_with_a_server_on_the_host() {
    for board in ALL {
        let mut stack = stack(board, UserNetwork::new());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, from) = listener.accept().unwrap();
            assert!(from.ip().is_loopback());
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            stream.write_all(&bytes).unwrap();
        });
        let client = stack.connect(port, 40_000);
        send(&mut stack, client, &pattern(100_000));
        stack.tcp(client).close();
        assert!(receive(&mut stack, client) == pattern(100_000));
        stack.until("the end of the server", |_| server.is_finished().then_some(()));
        server.join().unwrap();
    }
}

#[test]
fn many_connections_at_once_do_not_get_mixed_up() {
    for board in BOTH {
        let mut stack = stack(board, UserNetwork::new());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            for _ in 0..20 {
                let (mut stream, _) = listener.accept().unwrap();
                thread::spawn(move || {
                    let mut bytes = Vec::new();
                    stream.read_to_end(&mut bytes).unwrap();
                    bytes.extend(b" too");
                    stream.write_all(&bytes).unwrap();
                });
            }
        });
        let clients: Vec<_> = (0..20).map(|number| stack.connect(port, 41_000 + number)).collect();
        for (number, client) in clients.iter().enumerate() {
            send(&mut stack, *client, format!("guest {number}").as_bytes());
            stack.tcp(*client).close();
        }
        for (number, client) in clients.into_iter().enumerate() {
            let answer = receive(&mut stack, client);
            assert_eq!(String::from_utf8(answer).unwrap(), format!("guest {number} too"));
        }
        server.join().unwrap();
    }
}

#[test]
fn a_port_where_nobody_listens_refuses() {
    for board in BOTH {
        // On the host.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut network = UserNetwork::new();
        let forwarded = network.forward(0, 81).unwrap();
        let mut stack = stack(board, network);
        let client = stack.connect(free, 40_000);
        stack.until("a refusal", |stack| {
            (stack.tcp(client).state() == tcp::State::Closed).then_some(())
        });
        // In the guest: the host learns it when it reads.
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, forwarded)).unwrap();
        stream.set_nonblocking(true).unwrap();
        let read = stack.until("the end", |_| match stream.read(&mut [0; 1]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
            read => Some(read),
        });
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
}

#[test]
fn a_side_that_breaks_off_is_broken_off_at_the_other_side() {
    for board in BOTH {
        let mut network = UserNetwork::new();
        let port = network.forward(0, 80).unwrap();
        let mut stack = stack(board, network);
        let server = stack.add_tcp();
        // The guest breaks off.
        stack.tcp(server).listen(80).unwrap();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.set_nonblocking(true).unwrap();
        stack.until("a connection", |stack| stack.tcp(server).may_send().then_some(()));
        stack.tcp(server).abort();
        let read = stack.until("the end", |_| match stream.read(&mut [0; 1]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
            read => Some(read.unwrap_or(0)),
        });
        assert_eq!(read, 0);
        // The host breaks off, with something unread in its hands.
        stack.tcp(server).listen(80).unwrap();
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stack.until("a connection", |stack| stack.tcp(server).may_send().then_some(()));
        send(&mut stack, server, &pattern(1000));
        stack.until("the way to the host", |stack| {
            (stack.tcp(server).send_queue() == 0).then_some(())
        });
        drop(stream);
        let state = stack.until("the end", |stack| {
            let _ = stack.tcp(server).send_slice(b"?");
            let state = stack.tcp(server).state();
            (state != tcp::State::Established).then_some(state)
        });
        assert!(matches!(state, tcp::State::Closed | tcp::State::CloseWait), "{state}");
    }
}

#[test]
fn a_host_that_does_not_read_stops_the_guest_and_loses_nothing() {
    for board in BOTH {
        let mut stack = stack(board, UserNetwork::new());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = stack.connect(port, 40_000);
        let bytes = pattern(20 << 20);
        let mut sent = 0;
        let mut quiet = 0;
        let (mut stream, _) = listener.accept_after(&mut stack);
        // More than all buffers of the host and the machine hold.
        while quiet < 2_000 {
            stack.poll();
            let socket = stack.tcp(client);
            let now = if socket.can_send() {
                socket.send_slice(&bytes[sent..]).unwrap()
            } else {
                0
            };
            sent += now;
            quiet = if now == 0 { quiet + 1 } else { 0 };
            assert!(sent < bytes.len(), "somebody takes all of it");
        }
        stack.tcp(client).close();
        let reader = thread::spawn(move || {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            bytes
        });
        stack.until("the end", |_| reader.is_finished().then_some(()));
        assert!(reader.join().unwrap() == bytes[..sent]);
    }
}

trait AcceptAfter {
    fn accept_after(&self, stack: &mut Stack) -> (TcpStream, std::net::SocketAddr);
}

impl AcceptAfter for TcpListener {
    /// Accepts what the guest connects.
    fn accept_after(&self, stack: &mut Stack) -> (TcpStream, std::net::SocketAddr) {
        self.set_nonblocking(true).unwrap();
        let accepted = stack.until("a connection", |_| self.accept().ok());
        accepted.0.set_nonblocking(false).unwrap();
        accepted
    }
}

#[test]
fn nothing_but_the_gateway_is_reached() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut stack = stack(ALL[0], UserNetwork::new());
    let client = stack.add_tcp();
    let socket = stack.sockets.get_mut::<tcp::Socket>(client);
    let elsewhere = (Ipv4Address::new(10, 0, 2, 3), port);
    socket.connect(stack.interface.context(), elsewhere, 40_000).unwrap();
    for _ in 0..2_000 {
        stack.poll();
    }
    assert_eq!(stack.tcp(client).state(), tcp::State::SynSent);
    assert!(listener.accept().is_err());
}

#[test]
fn a_capture_has_every_frame_of_both_directions() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("user.pcap");
    let network = Capture::new(UserNetwork::new(), &path).unwrap();
    let mut stack = Stack::new(ALL[0], Network::new(MAC, network), GUEST);
    let dhcp = stack.sockets.add(dhcpv4::Socket::new());
    stack.until("a lease", |stack| {
        let event = stack.sockets.get_mut::<dhcpv4::Socket>(dhcp).poll();
        matches!(event, Some(dhcpv4::Event::Configured(_))).then_some(())
    });
    let bytes = std::fs::read(&path).unwrap();
    let word = |offset: usize| u32::from_ne_bytes(bytes[offset..offset + 4].try_into().unwrap());
    assert_eq!((word(0), word(20)), (0xa1b2_c3d4, 1), "the magic number, Ethernet");
    let (mut frames, mut offset, mut time) = (Vec::new(), 24, 0);
    while offset < bytes.len() {
        let length = word(offset + 8) as usize;
        assert_eq!(word(offset + 12) as usize, length);
        let microseconds = u64::from(word(offset)) * 1_000_000 + u64::from(word(offset + 4));
        assert!(microseconds >= time);
        time = microseconds;
        frames.push(bytes[offset + 16..][..length].to_vec());
        offset += 16 + length;
    }
    assert_eq!(frames, stack.card.log);
}
