//! What a network device is plugged into: a user-mode network, or a wire to another machine. Whatever of the host it
//! reaches, it reaches on the loopback interface.

mod capture;
mod socket;
mod user;

use std::os::fd::BorrowedFd;

pub use capture::Capture;
pub use socket::{Datagram, Stream};
pub use user::{GATEWAY, GUEST, UserNetwork};

/// The longest frame: what fits into a UDP datagram.
pub const MAX_FRAME: usize = 65_507;

/// A descriptor of the host that a wire waits for.
pub struct Interest<'a> {
    /// The descriptor.
    pub descriptor: BorrowedFd<'a>,
    /// Until it can be read.
    pub read: bool,
    /// Until it can be written.
    pub write: bool,
}

impl Wire for Box<dyn Wire> {
    fn send(&mut self, frame: &[u8], now: u64) {
        self.as_mut().send(frame, now);
    }

    fn receive(&mut self, now: u64) -> Option<Vec<u8>> {
        self.as_mut().receive(now)
    }

    fn next_event(&mut self, now: u64) -> Option<u64> {
        self.as_mut().next_event(now)
    }

    fn interests(&self) -> Vec<Interest<'_>> {
        self.as_ref().interests()
    }
}

/// The far end of a network device's cable. `now` is virtual time, in nanoseconds.
pub trait Wire: Send {
    /// Takes an Ethernet frame from the guest.
    fn send(&mut self, frame: &[u8], now: u64);

    /// The next Ethernet frame for the guest, if there is one.
    fn receive(&mut self, now: u64) -> Option<Vec<u8>>;

    /// When there may be a frame for the guest, although nothing comes from the host.
    fn next_event(&mut self, now: u64) -> Option<u64>;

    /// What to wait for when the guest waits. A wire that has nothing to wait for is deterministic.
    fn interests(&self) -> Vec<Interest<'_>>;
}
