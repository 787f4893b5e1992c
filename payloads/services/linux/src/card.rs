//! What the library OS reaches other machines by, as `smoltcp` wants it: a network card of its own, or the port of a switch that
//! another cVM is.

mod device;

use core::time::Duration;

use rt::abi::manifest::DeviceKind;
use rt::net::{Port, VARIABLE, Wire};
use rt::{Errno, hostcall};
use smoltcp::phy::{self, DeviceCapabilities};
use smoltcp::time::Instant;

/// How long somebody who waits for frames does not look whether there is room again for those to send.
const FULL: Duration = Duration::from_millis(1);

/// A card.
pub(crate) enum Card {
    /// One of its own, at this place of the manifest entry.
    Own(device::Card, u64),
    /// A port of a switch.
    Port(Wire),
}

impl Card {
    /// The one that the manifest gives, if it does. Of a port, waits until its switch has started.
    ///
    /// # Errors
    /// As [`Port::open`] and [`device::Card::start`].
    pub(crate) fn open() -> Result<Option<Card>, Errno> {
        if rt::var(VARIABLE).is_some() {
            return Ok(Some(Card::Port(Wire::new(Port::open()?))));
        }
        let Some(place) = crate::cvm::device(DeviceKind::Net) else {
            return Ok(None);
        };
        Ok(Some(Card::Own(device::Card::start(place)?, place as u64)))
    }

    /// Its address.
    pub(crate) fn address(&mut self) -> [u8; 6] {
        match self {
            Card::Own(card, _) => card.address(),
            Card::Port(wire) => wire.port().address(),
        }
    }

    /// For who waits for frames while others use the card, with this long at the longest.
    ///
    /// # Errors
    /// `EFAULT` when it is gone.
    pub(crate) fn watch(&mut self, longest: Duration) -> Result<Watch, Errno> {
        match self {
            Card::Own(_, place) => Ok(Watch::Own(*place, longest)),
            Card::Port(wire) => {
                // The switch takes frames when it has its turn: who asked at once again would be in its way.
                let room = wire.port().can_send();
                let longest = if room { longest } else { longest.max(FULL) };
                Ok(wire
                    .port()
                    .watch()?
                    .map_or(Watch::Nothing, |watch| Watch::Port(watch, longest)))
            }
        }
    }
}

/// What somebody waits for.
pub(crate) enum Watch {
    Own(u64, Duration),
    Port(rt::net::Watch, Duration),
    /// There are frames.
    Nothing,
}

impl Watch {
    /// Waits until there are frames, or for the time that was said.
    ///
    /// # Errors
    /// `EFAULT` and others when the card has failed.
    pub(crate) fn wait(&self) -> Result<(), Errno> {
        let waited = match self {
            Watch::Own(place, longest) => hostcall::device_wait(*place, 1 << device::RECEIVE, Some(*longest)),
            Watch::Port(watch, longest) => watch.wait(Some(*longest)),
            Watch::Nothing => Ok(()),
        };
        match waited {
            Err(Errno::ETIMEDOUT) => Ok(()),
            waited => waited,
        }
    }
}

/// A frame that has come.
pub(crate) enum Received<'a> {
    Own(device::Received<'a>),
    Port(<Wire as phy::Device>::RxToken<'a>),
}

impl phy::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, look: F) -> R {
        match self {
            Received::Own(frame) => frame.consume(look),
            Received::Port(frame) => frame.consume(look),
        }
    }
}

/// Room for a frame to send.
pub(crate) enum Sending<'a> {
    Own(device::Sending<'a>),
    Port(<Wire as phy::Device>::TxToken<'a>),
}

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        match self {
            Sending::Own(room) => room.consume(length, write),
            Sending::Port(room) => room.consume(length, write),
        }
    }
}

impl phy::Device for Card {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, now: Instant) -> Option<(Received<'_>, Sending<'_>)> {
        match self {
            Card::Own(card, _) => {
                let (frame, room) = card.receive(now)?;
                Some((Received::Own(frame), Sending::Own(room)))
            }
            Card::Port(wire) => {
                let (frame, room) = wire.receive(now)?;
                Some((Received::Port(frame), Sending::Port(room)))
            }
        }
    }

    fn transmit(&mut self, now: Instant) -> Option<Sending<'_>> {
        match self {
            Card::Own(card, _) => card.transmit(now).map(Sending::Own),
            Card::Port(wire) => wire.transmit(now).map(Sending::Port),
        }
    }

    fn capabilities(&self) -> DeviceCapabilities {
        match self {
            Card::Own(card, _) => card.capabilities(),
            Card::Port(wire) => wire.capabilities(),
        }
    }
}
