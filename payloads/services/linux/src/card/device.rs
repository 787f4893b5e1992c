//! A network card of its own (virtio 1.2, section 5.1).

use core::cell::RefCell;

use rt::Errno;
use rt::abi::manifest::DeviceKind;
use rt::alloc::boxed::Box;
use rt::alloc::vec;
use rt::alloc::vec::Vec;
use rt::device::{Device, Requests};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

/// Features: the card has an address, requests may be laid out in any way.
const MAC: u32 = 5;
const ANY_LAYOUT: u32 = 27;

/// The queue of frames that come.
pub(crate) const RECEIVE: u64 = 0;
/// The queue of frames to send.
const TRANSMIT: u64 = 1;

/// Most bytes of a frame, its own header included.
const FRAME: usize = 1514;
/// Frames that the card can have received, or can have to send, at a time.
const BUFFERS: usize = 64;

/// A card.
pub(crate) struct Card {
    device: Device,
    queues: RefCell<Queues>,
    address: [u8; 6],
    /// Bytes that stand before a frame.
    header: usize,
}

struct Queues {
    receive: Requests,
    transmit: Requests,
    /// For frames to send.
    free: Vec<Box<[u8]>>,
    /// The card has failed.
    failure: Option<Errno>,
}

impl Card {
    /// Starts the card at this place of the manifest entry.
    ///
    /// # Errors
    /// As [`Device::start`], and `EIO` when the card takes no buffers.
    pub(crate) fn start(place: usize) -> Result<Card, Errno> {
        let device = Device::start(place, DeviceKind::Net, 1 << MAC | 1 << ANY_LAYOUT)?;
        let mut address = [0; 6];
        device.configuration(0, &mut address)?;
        let card = Card {
            header: if device.is_legacy() { 10 } else { 12 },
            address,
            queues: RefCell::new(Queues {
                receive: Requests::new(RECEIVE),
                transmit: Requests::new(TRANSMIT),
                free: Vec::new(),
                failure: None,
            }),
            device,
        };
        for _ in 0..BUFFERS {
            card.queues.borrow_mut().free.push(card.buffer());
            card.expect(card.buffer());
        }
        Ok(card)
    }

    fn buffer(&self) -> Box<[u8]> {
        vec![0; self.header + FRAME].into_boxed_slice()
    }

    /// Its address.
    pub(crate) fn address(&self) -> [u8; 6] {
        self.address
    }

    /// Lets the card write a frame to a buffer.
    fn expect(&self, buffer: Box<[u8]>) {
        let mut queues = self.queues.borrow_mut();
        let length = buffer.len();
        if let Err((_, errno)) = queues.receive.give(&self.device, buffer, length, true) {
            queues.failure = Some(errno);
        }
    }

    /// Whether there is a buffer for a frame to send; those that were sent are free again.
    fn can_send(&self) -> bool {
        let mut queues = self.queues.borrow_mut();
        while queues.free.is_empty() {
            match queues.transmit.take(&self.device) {
                Ok((buffer, _)) => queues.free.push(buffer),
                Err(Errno::EAGAIN) => return false,
                Err(errno) => {
                    queues.failure = Some(errno);
                    return false;
                }
            }
        }
        true
    }
}

impl phy::Device for Card {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received<'_>, Sending<'_>)> {
        if !self.can_send() {
            return None;
        }
        let card = &*self;
        let taken = card.queues.borrow_mut().receive.take(&card.device);
        match taken {
            Ok((buffer, length)) => Some((
                Received {
                    card,
                    frame: Some(buffer),
                    length,
                },
                Sending { card },
            )),
            Err(Errno::EAGAIN) => None,
            Err(errno) => {
                card.queues.borrow_mut().failure = Some(errno);
                None
            }
        }
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sending<'_>> {
        self.can_send().then_some(Sending { card: self })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME;
        capabilities
    }
}

/// A frame that has come.
pub(crate) struct Received<'a> {
    card: &'a Card,
    frame: Option<Box<[u8]>>,
    length: usize,
}

impl phy::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, look: F) -> R {
        let frame = self
            .frame
            .as_deref()
            .and_then(|frame| frame.get(self.card.header..self.length));
        look(frame.unwrap_or(&[]))
    }
}

impl Drop for Received<'_> {
    fn drop(&mut self) {
        if let Some(buffer) = self.frame.take() {
            self.card.expect(buffer);
        }
    }
}

/// Room for a frame to send.
pub(crate) struct Sending<'a> {
    card: &'a Card,
}

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let card = self.card;
        let Some(mut buffer) = card.queues.borrow_mut().free.pop() else {
            // Two of these at a time, and one buffer: this frame is lost, as frames are.
            return write(&mut vec![0; length]);
        };
        buffer[..card.header].fill(0);
        let result = write(&mut buffer[card.header..card.header + length]);
        let mut queues = card.queues.borrow_mut();
        if let Err((buffer, errno)) = queues.transmit.give(&card.device, buffer, card.header + length, false) {
            queues.free.push(buffer);
            if errno != Errno::EAGAIN {
                queues.failure = Some(errno);
            }
        }
        result
    }
}
