//! A wire to another machine or to QEMU, over a socket of the loopback interface: a frame a UDP datagram, as QEMU's
//! `-netdev socket,udp=` and `-netdev dgram` have it, or frames with their length before them on a TCP stream, as its
//! `-netdev socket,listen=`, `connect=` and `-netdev stream` do.
//!
//! A wire loses frames rather than wait: nobody at the far end is like a cable that is not plugged in.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;

use super::{Interest, MAX_FRAME, Wire};

/// Frames as datagrams.
pub struct Datagram(UdpSocket);

impl Datagram {
    /// Receives at one port, sends to another one, and takes nothing from elsewhere.
    ///
    /// # Errors
    /// The host does not give the port.
    pub fn new(local: u16, remote: u16) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, local))?;
        socket.connect((Ipv4Addr::LOCALHOST, remote))?;
        socket.set_nonblocking(true)?;
        Ok(Datagram(socket))
    }
}

impl Wire for Datagram {
    fn send(&mut self, frame: &[u8], _now: u64) {
        // Nobody there, or no room: the frame is lost.
        let _ = self.0.send(frame);
    }

    fn receive(&mut self, _now: u64) -> Option<Vec<u8>> {
        let mut frame = vec![0; MAX_FRAME];
        loop {
            match self.0.recv(&mut frame) {
                Ok(length) => {
                    frame.truncate(length);
                    return Some(frame);
                }
                // What an earlier frame met; it says nothing of what is here to be received.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(_) => return None,
            }
        }
    }

    fn next_event(&mut self, _now: u64) -> Option<u64> {
        None
    }

    fn interests(&self) -> Vec<Interest<'_>> {
        vec![Interest {
            descriptor: self.0.as_fd(),
            read: true,
            write: false,
        }]
    }
}

/// Bytes of the length in front of a frame.
const LENGTH: usize = 4;
/// Bytes that may wait for the far end before frames are lost.
const MOST_WAITING: usize = 1 << 20;

/// Frames on a stream.
pub struct Stream {
    /// Where a far end may come; it may come again after it has gone.
    listener: Option<TcpListener>,
    stream: Option<TcpStream>,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Stream {
    /// Waits at a port for a far end. Port 0 lets the host choose; see [`Stream::port`].
    ///
    /// # Errors
    /// The host does not give the port.
    pub fn listen(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        Ok(Stream {
            listener: Some(listener),
            stream: None,
            incoming: Vec::new(),
            outgoing: Vec::new(),
        })
    }

    /// Goes to a far end that waits at a port.
    ///
    /// # Errors
    /// Nobody waits there.
    pub fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        Ok(Stream {
            listener: None,
            stream: Some(prepared(stream)?),
            incoming: Vec::new(),
            outgoing: Vec::new(),
        })
    }

    /// The port at which it waits for a far end.
    pub fn port(&self) -> Option<u16> {
        let address = self.listener.as_ref()?.local_addr().ok()?;
        Some(address.port())
    }

    /// Takes a far end that has come, if there is none.
    fn accept(&mut self) {
        if self.stream.is_none()
            && let Some(listener) = &self.listener
        {
            self.stream = listener.accept().and_then(|(stream, _)| prepared(stream)).ok();
        }
    }

    fn hang_up(&mut self) {
        self.stream = None;
        self.incoming.clear();
        self.outgoing.clear();
    }

    /// Sends of what waits as much as the far end takes now.
    fn push(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        while !self.outgoing.is_empty() {
            match stream.write(&self.outgoing) {
                Ok(length) => drop(self.outgoing.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.hang_up(),
            }
        }
    }

    /// Takes a whole frame out of what has come.
    fn frame(&mut self) -> Option<Vec<u8>> {
        let (length, rest) = self.incoming.split_first_chunk::<LENGTH>()?;
        let length = u32::from_be_bytes(*length) as usize;
        if length > MAX_FRAME {
            // Whoever that is does not speak of frames.
            self.hang_up();
            return None;
        }
        let frame = rest.get(..length)?.to_vec();
        self.incoming.drain(..LENGTH + length);
        Some(frame)
    }
}

fn prepared(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Wire for Stream {
    fn send(&mut self, frame: &[u8], _now: u64) {
        self.accept();
        if self.stream.is_some() && self.outgoing.len() < MOST_WAITING {
            self.outgoing.extend((frame.len() as u32).to_be_bytes());
            self.outgoing.extend(frame);
            self.push();
        }
    }

    fn receive(&mut self, _now: u64) -> Option<Vec<u8>> {
        self.accept();
        self.push();
        loop {
            if let Some(frame) = self.frame() {
                return Some(frame);
            }
            let mut bytes = [0; 1 << 16];
            match self.stream.as_mut()?.read(&mut bytes) {
                Ok(0) => self.hang_up(),
                Ok(length) => self.incoming.extend(&bytes[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => self.hang_up(),
            }
        }
    }

    fn next_event(&mut self, _now: u64) -> Option<u64> {
        None
    }

    fn interests(&self) -> Vec<Interest<'_>> {
        let stream = self.stream.as_ref().map(|stream| Interest {
            descriptor: stream.as_fd(),
            read: true,
            write: !self.outgoing.is_empty(),
        });
        let listener = self.listener.as_ref().map(|listener| Interest {
            descriptor: listener.as_fd(),
            read: true,
            write: false,
        });
        stream.or(listener).into_iter().collect()
    }
}
