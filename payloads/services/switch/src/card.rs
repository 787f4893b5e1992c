//! A network card (virtio 1.2, section 5.1).

use rt::Errno;
use rt::abi::manifest::DeviceKind;
use rt::alloc::boxed::Box;
use rt::alloc::vec;
use rt::alloc::vec::Vec;
use rt::device::{Device, Requests};
use rt::net::FRAME;
use rt::sync::Mutex;
use switch_server::table::Address;

/// Features: the card has an address, requests may be laid out in any way.
const MAC: u32 = 5;
const ANY_LAYOUT: u32 = 27;

const RECEIVE: u64 = 0;
const TRANSMIT: u64 = 1;

/// Frames that the card can have received, and that it can have to send, at a time.
const FRAMES: usize = 32;

/// A card.
pub(crate) struct Card {
    device: Device,
    pub(crate) address: Address,
    /// Bytes that stand before a frame.
    header: usize,
    receive: Mutex<Requests>,
    transmit: Mutex<Transmit>,
}

struct Transmit {
    requests: Requests,
    /// For frames to send. Behind the frame stands whose it is, which the device does not see.
    free: Vec<Box<[u8]>>,
    /// Frames of each source that the card has.
    of: Vec<usize>,
}

impl Transmit {
    fn back(&mut self, memory: Box<[u8]>) {
        if let Some(count) = memory.last().and_then(|source| self.of.get_mut(usize::from(*source))) {
            *count -= 1;
        }
        self.free.push(memory);
    }
}

impl Card {
    /// Starts the card at this place of the manifest entry, which sends for so many sources.
    pub(crate) fn start(place: usize, sources: usize) -> Result<Card, Errno> {
        let device = Device::start(place, DeviceKind::Net, 1 << MAC | 1 << ANY_LAYOUT)?;
        let mut address = [0; 6];
        device.configuration(0, &mut address)?;
        let header = if device.is_legacy() { 10 } else { 12 };
        let memory = || vec![0; header + FRAME + 1].into_boxed_slice();
        let card = Card {
            header,
            address,
            receive: Mutex::new(Requests::new(RECEIVE)),
            transmit: Mutex::new(Transmit {
                requests: Requests::new(TRANSMIT),
                free: (0..FRAMES).map(|_| memory()).collect(),
                of: vec![0; sources],
            }),
            device,
        };
        for _ in 0..FRAMES {
            card.expect(memory())?;
        }
        Ok(card)
    }

    /// Lets the card write a frame to some memory.
    fn expect(&self, memory: Box<[u8]>) -> Result<(), Errno> {
        let length = self.header + FRAME;
        let given = self.receive.lock().give(&self.device, memory, length, true);
        given.map_err(|(_, errno)| errno)
    }

    /// Shows all frames that have come, and waits for more when there are none.
    pub(crate) fn receive(&self, mut show: impl FnMut(&[u8])) -> Result<(), Errno> {
        loop {
            let taken = self.receive.lock().take(&self.device);
            match taken {
                Ok((memory, length)) => {
                    show(memory.get(self.header..length).unwrap_or(&[]));
                    self.expect(memory)?;
                }
                Err(Errno::EAGAIN) => match self.device.wait(1 << RECEIVE, None) {
                    Ok(()) => return Ok(()),
                    Err(errno) => return Err(errno),
                },
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Sends a frame of a source; it is lost when that has as many with the card as there is room for others.
    pub(crate) fn send(&self, source: usize, frame: &[u8]) -> Result<(), Errno> {
        let mut transmit = self.transmit.lock();
        loop {
            match transmit.requests.take(&self.device) {
                Ok((memory, _)) => transmit.back(memory),
                Err(Errno::EAGAIN) => break,
                Err(errno) => return Err(errno),
            }
        }
        if transmit.of[source] >= transmit.free.len() {
            return Ok(());
        }
        let Some(mut memory) = transmit.free.pop() else {
            return Ok(());
        };
        let length = self.header + frame.len();
        memory[..self.header].fill(0);
        memory[self.header..length].copy_from_slice(frame);
        if let Some(last) = memory.last_mut() {
            *last = source as u8;
        }
        transmit.of[source] += 1;
        match transmit.requests.give(&self.device, memory, length, false) {
            Ok(()) => Ok(()),
            Err((memory, errno)) => {
                transmit.back(memory);
                if errno == Errno::EAGAIN { Ok(()) } else { Err(errno) }
            }
        }
    }

    /// Starts a card anew that has failed: what it had is lost.
    pub(crate) fn recover(&self) -> Result<(), Errno> {
        let mut transmit = self.transmit.lock();
        let mut receive = self.receive.lock();
        self.device.restart()?;
        for memory in transmit.requests.abandoned() {
            transmit.back(memory);
        }
        let memories = receive.abandoned();
        drop((transmit, receive));
        memories.into_iter().try_for_each(|memory| self.expect(memory))
    }
}
