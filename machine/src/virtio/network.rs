//! The network card: frames between two queues and a [`Wire`].

use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_net::{VIRTIO_NET_F_MAC, VIRTIO_NET_F_STATUS, VIRTIO_NET_S_LINK_UP};

use super::queue::Malformed;
use super::transport::Work;
use crate::net::{Interest, MAX_FRAME, Wire};

/// The numbers of the queues.
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;

/// What stands before a frame: nothing that matters without offloads, all zero.
const LEGACY_HEADER: usize = 10;
/// With the number of buffers, which is always one.
const HEADER: usize = 12;
const BUFFERS: usize = 10;

/// Nanoseconds of virtual time after which the host is asked for frames while the guest has other things to do.
const LOOK: u64 = 1 << 16;

/// A virtio network card.
pub struct Network {
    mac: [u8; 6],
    wire: Box<dyn Wire>,
    /// The next frame for the guest.
    waiting: Option<Vec<u8>>,
    /// When to ask the wire for a frame.
    look: u64,
}

impl Network {
    /// A card with this address, plugged into `wire`.
    pub fn new(mac: [u8; 6], wire: impl Wire + 'static) -> Self {
        Network {
            mac,
            wire: Box::new(wire),
            waiting: None,
            look: 0,
        }
    }

    pub(super) fn features(&self) -> u64 {
        1 << VIRTIO_NET_F_MAC | 1 << VIRTIO_NET_F_STATUS
    }

    pub(super) fn configuration(&self) -> Vec<u8> {
        let mut bytes = self.mac.to_vec();
        bytes.extend((VIRTIO_NET_S_LINK_UP as u16).to_le_bytes());
        bytes
    }

    pub(super) fn reset(&mut self) {
        self.waiting = None;
        self.look();
    }

    /// Asks the wire for a frame at the next opportunity.
    pub(super) fn look(&mut self) {
        self.look = 0;
    }

    /// When to ask the wire at the latest. A frame that waits for room comes first.
    pub(super) fn next_look(&self) -> Option<u64> {
        let asks = self.waiting.is_none() && (self.look == 0 || !self.wire.interests().is_empty());
        asks.then_some(self.look)
    }

    pub(super) fn interests(&self) -> Vec<Interest<'_>> {
        // A frame that the guest has no room for is one that it does not wait for.
        if self.waiting.is_some() {
            return Vec::new();
        }
        self.wire.interests()
    }

    /// When the wire has something to do of itself.
    pub(super) fn next_event(&mut self, now: u64) -> Option<u64> {
        if self.waiting.is_some() {
            return None;
        }
        self.wire.next_event(now)
    }

    /// Whether a frame for the guest has come.
    pub(super) fn has_news(&mut self, number: usize, now: u64) -> bool {
        if number != RECEIVE {
            return false;
        }
        let timer = self.wire.next_event(now).is_some_and(|event| event <= now);
        // Time goes back when the board is put back to a snapshot.
        let due = now >= self.look || self.look - now > LOOK;
        if self.waiting.is_none() && (timer || due) {
            self.take(now);
        }
        self.waiting.is_some()
    }

    /// Takes the next frame from the wire, if there is one.
    fn take(&mut self, now: u64) {
        self.waiting = self.wire.receive(now);
        self.look = now + LOOK;
    }

    pub(super) fn serve(&mut self, number: usize, work: Work<'_>) -> Result<(), Malformed> {
        match number {
            TRANSMIT => self.transmit(work),
            _ => self.receive(work),
        }
    }

    fn transmit(&mut self, mut work: Work<'_>) -> Result<(), Malformed> {
        let header = header_length(&work) as u64;
        while let Some(chain) = work.take()? {
            chain.header(work.memory, header)?;
            let length = chain.readable.length() - header;
            // Nothing carries a longer one; it is lost.
            if length <= MAX_FRAME as u64 {
                let frame = chain.readable.read(work.memory, header, length);
                self.wire.send(&frame, work.now);
                self.look();
            }
            work.give(&chain, 0);
        }
        Ok(())
    }

    fn receive(&mut self, mut work: Work<'_>) -> Result<(), Malformed> {
        let mut header = vec![0; header_length(&work)];
        if let Some(buffers) = header.get_mut(BUFFERS) {
            *buffers = 1;
        }
        loop {
            if self.waiting.is_none() {
                self.take(work.now);
            }
            let Some(frame) = &self.waiting else { return Ok(()) };
            let Some(chain) = work.take()? else { return Ok(()) };
            let (room, needed) = (chain.writable.length(), (header.len() + frame.len()) as u64);
            if room < header.len() as u64 {
                return Err(chain.short("to write", room, header.len() as u64));
            }
            if room >= needed {
                chain.writable.write(work.memory, 0, &header);
                chain.writable.write(work.memory, header.len() as u64, frame);
                work.give(&chain, needed);
            } else {
                // A frame that does not fit is lost.
                work.put_back();
            }
            self.waiting = None;
        }
    }
}

fn header_length(work: &Work<'_>) -> usize {
    if work.has_feature(VIRTIO_F_VERSION_1) {
        HEADER
    } else {
        LEGACY_HEADER
    }
}
