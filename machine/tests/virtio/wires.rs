//! Wires between machines, and to whoever speaks as QEMU does.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use machine::Stop;
use machine::net::{Datagram, Stream, Wire};
use machine::virtio::Network;
use smoltcp::socket::tcp;
use smoltcp::wire::Ipv4Address;

use crate::boards::ALL;
use crate::driver::Driver;
use crate::network::{MAC, RECEIVE};
use crate::stack::Stack;

/// What `wire` receives, when it has come.
fn receive(wire: &mut impl Wire) -> Vec<u8> {
    let begun = Instant::now();
    loop {
        if let Some(frame) = wire.receive(0) {
            return frame;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "no frame came");
        std::thread::yield_now();
    }
}

/// Two ports that nobody uses.
fn ports() -> (u16, u16) {
    let sockets = [0, 1].map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let [one, other] = sockets.map(|socket| socket.local_addr().unwrap().port());
    (one, other)
}

#[test]
fn a_datagram_is_a_frame_and_strangers_are_not_heard() {
    let (one, other) = ports();
    let mut wire = Datagram::new(one, other).unwrap();
    // Nobody at the far end yet: the frame is lost, and that is all.
    wire.send(&[1; 60], 0);
    assert_eq!(wire.receive(0), None);
    let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, other)).unwrap();
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    stranger.send_to(&[9; 60], (Ipv4Addr::LOCALHOST, one)).unwrap();
    peer.send_to(&[2; 1514], (Ipv4Addr::LOCALHOST, one)).unwrap();
    assert_eq!(receive(&mut wire), [2; 1514]);
    assert_eq!(wire.receive(0), None);
    wire.send(&[3; 61], 0);
    let mut bytes = [0; 100];
    assert_eq!(peer.recv(&mut bytes).unwrap(), 61);
    let error = Datagram::new(one, other).err().expect("the port is taken");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

#[test]
fn a_stream_has_the_length_in_front_of_each_frame() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut wire = Stream::connect(listener.local_addr().unwrap().port()).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    wire.send(&[7; 300], 0);
    let mut bytes = [0; 304];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!((&bytes[..4], &bytes[4..]), (&[0, 0, 1, 44][..], &[7; 300][..]));
    // Two frames, the second one in two parts.
    peer.write_all(&[&[0, 0, 0, 2, 1, 2, 0, 0][..], &[0, 60], &[5; 30]].concat())
        .unwrap();
    assert_eq!(receive(&mut wire), [1, 2]);
    assert_eq!(wire.receive(0), None);
    peer.write_all(&[5; 30]).unwrap();
    assert_eq!(receive(&mut wire), [5; 60]);
}

#[test]
fn a_far_end_that_speaks_nonsense_is_hung_up_on_and_another_may_come() {
    let mut wire = Stream::listen(0).unwrap();
    let address = (Ipv4Addr::LOCALHOST, wire.port().unwrap());
    for nonsense in [&[0xff; 8][..], &[0, 1, 0, 0][..]] {
        let mut peer = TcpStream::connect(address).unwrap();
        peer.write_all(nonsense).unwrap();
        let begun = Instant::now();
        peer.set_nonblocking(true).unwrap();
        loop {
            assert_eq!(wire.receive(0), None);
            match peer.read(&mut [0; 1]) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                ended => break assert!(matches!(ended, Ok(0) | Err(_))),
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "not hung up");
        }
    }
    let mut peer = TcpStream::connect(address).unwrap();
    peer.write_all(&[0, 0, 0, 1, 42]).unwrap();
    assert_eq!(receive(&mut wire), [42]);
    drop(peer);
    let mut peer = TcpStream::connect(address).unwrap();
    peer.write_all(&[0, 0, 0, 1, 43]).unwrap();
    assert_eq!(receive(&mut wire), [43], "after one that went of itself");
}

#[test]
fn frames_that_the_far_end_does_not_take_are_lost_whole() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut wire = Stream::connect(listener.local_addr().unwrap().port()).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    const COUNT: u32 = 20_000;
    for number in 0..COUNT {
        let mut frame = number.to_be_bytes().to_vec();
        frame.resize(1500, number as u8);
        wire.send(&frame, 0);
    }
    let reader = std::thread::spawn(move || {
        let (mut numbers, mut bytes) = (Vec::new(), [0; 1504]);
        while peer.read_exact(&mut bytes).is_ok() {
            assert_eq!(bytes[..4], 1500u32.to_be_bytes());
            let number = u32::from_be_bytes(bytes[4..8].try_into().unwrap());
            assert!(bytes[8..].iter().all(|byte| *byte == number as u8));
            numbers.push(number);
        }
        numbers
    });
    let begun = Instant::now();
    while wire.interests().iter().any(|interest| interest.write) {
        assert_eq!(wire.receive(0), None);
        assert!(begun.elapsed() < Duration::from_secs(20), "the rest is not taken");
    }
    drop(wire);
    let numbers = reader.join().unwrap();
    assert!(
        numbers.is_sorted() && numbers.len() > 100 && numbers.len() < COUNT as usize,
        "{}",
        numbers.len()
    );
}

/// Two guests on one wire: one asks, the other answers.
fn talk(one: Network, other: Network) {
    let mut server = Stack::new(ALL[0], one, [10, 0, 0, 1]);
    let mut client = Stack::new(ALL[3], other, [10, 0, 0, 2]);
    let listening = server.add_tcp();
    server.tcp(listening).listen(7).unwrap();
    let calling = client.add_tcp();
    let socket = client.sockets.get_mut::<tcp::Socket>(calling);
    let address = (Ipv4Address::new(10, 0, 0, 1), 7);
    socket.connect(client.interface.context(), address, 40_000).unwrap();
    let question: Vec<u8> = (0..50_000).map(|index| (index * 11) as u8).collect();
    let (mut sent, mut answer) = (0, Vec::new());
    client.until("an answer", |client| {
        server.poll();
        let socket = server.tcp(listening);
        if socket.can_recv() && socket.can_send() {
            let bytes = socket
                .recv(|bytes| (bytes.len().min(512), bytes[..bytes.len().min(512)].to_vec()))
                .unwrap();
            assert_eq!(socket.send_slice(&bytes).unwrap(), bytes.len());
        }
        let socket = client.tcp(calling);
        if socket.can_send() {
            sent += socket
                .send_slice(&question[sent..(sent + 1000).min(question.len())])
                .unwrap();
        }
        if socket.can_recv() {
            socket
                .recv(|bytes| (bytes.len(), answer.extend_from_slice(bytes)))
                .unwrap();
        }
        (answer.len() == question.len()).then_some(())
    });
    assert!(answer == question);
}

#[test]
fn two_machines_share_a_wire_of_datagrams() {
    let (one, other) = ports();
    talk(
        Network::new(MAC, Datagram::new(one, other).unwrap()),
        Network::new(MAC, Datagram::new(other, one).unwrap()),
    );
}

#[test]
fn two_machines_share_a_wire_of_a_stream() {
    let listener = Stream::listen(0).unwrap();
    let port = listener.port().unwrap();
    talk(
        Network::new(MAC, listener),
        Network::new(MAC, Stream::connect(port).unwrap()),
    );
}

#[test]
fn a_guest_that_waits_is_woken_by_a_frame() {
    for board in ALL {
        let (one, other) = ports();
        let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, other)).unwrap();
        let mut driver = Driver::new(board, Network::new(MAC, Datagram::new(one, other).unwrap()), 2, 0);
        let (buffer, slot) = (driver.buffer(0), driver.slot);
        driver.chain(RECEIVE, 0, &[(buffer, 2000, true)]);
        driver.offer(RECEIVE, 0);
        driver.notify(RECEIVE);
        driver.guest.enable(slot);
        let far = std::thread::spawn(move || {
            // So that the guest waits by then; it does no harm if it does not.
            std::thread::sleep(Duration::from_millis(20));
            peer.send_to(&[4; 60], (Ipv4Addr::LOCALHOST, one)).unwrap();
        });
        assert_eq!(driver.guest.wait(), Stop::Limit, "an instruction after the wait");
        far.join().unwrap();
        assert_eq!(driver.take(RECEIVE).len(), 1);
    }
}

#[test]
fn a_wire_to_nowhere_is_an_error() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let error = Stream::connect(free).err().expect("nobody there");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}
