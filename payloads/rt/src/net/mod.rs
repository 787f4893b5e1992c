//! A network: the port of an Ethernet switch that the manifest gives this cVM (`net:`), and with the feature `net` TCP, UDP and IP
//! on it.

#[cfg(feature = "net")]
mod stack;

use core::time::Duration;

use abi::hostcall::{BUFFER_READ, BUFFER_WRITE};

use crate::alloc::sync::Arc;
use crate::stream::{self, Part, Reader, Shared as _, Writer};
use crate::{Buffer, Errno};

#[cfg(feature = "net")]
pub use smoltcp;
#[cfg(feature = "net")]
pub use stack::{Network, Problem, Wire, address};

/// Most bytes of a frame, its Ethernet header included.
pub const FRAME: usize = 1514;

/// The key of the environment under which the manifest names the buffer of this cVM's port.
pub const VARIABLE: &str = "NET";

/// Offsets in the buffer of a port: whether the switch has started, the port's address, and where the streams begin: half of the
/// rest is that of the frames to the switch, half that of those from it.
const STATE: u64 = 0;
const ADDRESS: u64 = 4;
const STREAMS: u64 = 128;
const READY: u32 = 1;

/// Half of the buffer of a port.
pub type Half = Part<Arc<Buffer>>;

/// Waits for frames of a [`Port`], without the port: others may use it meanwhile.
pub type Watch = stream::Watch<Half>;

/// The streams in the buffer of a port: to the switch, and from it.
fn halves(buffer: &Arc<Buffer>) -> Result<(Half, Half), Errno> {
    let size = buffer.size().saturating_sub(STREAMS) / 2 / 64 * 64;
    let part = |start| Part::new(Arc::clone(buffer), start, size);
    Ok((part(STREAMS)?, part(STREAMS + size)?))
}

/// The switch's side of the port in a buffer: it gets this address. What comes from it, and what goes to it.
///
/// # Errors
/// `EINVAL` for a buffer that is too small; `EFAULT` for one that cannot be used.
pub fn serve(buffer: Buffer, address: [u8; 6]) -> Result<(Reader<Half>, Writer<Half>), Errno> {
    let buffer = Arc::new(buffer);
    let (to, from) = halves(&buffer)?;
    let (reader, writer) = (Reader::new(to)?.endless(), Writer::new(from)?.endless());
    buffer.write(ADDRESS, &address)?;
    buffer.store(STATE, READY)?;
    buffer.wake(STATE, u64::MAX)?;
    Ok((reader, writer))
}

/// This cVM's port.
pub struct Port {
    to: Writer<Half>,
    from: Reader<Half>,
    address: [u8; 6],
}

impl Port {
    /// The port that `net:` in the manifest gives this cVM. Waits until the switch has started.
    ///
    /// # Errors
    /// `ENOENT` when the manifest gives none; `ENOMEM` without a place in the local area.
    pub fn open() -> Result<Port, Errno> {
        let name = crate::var(VARIABLE).ok_or(Errno::ENOENT)?;
        let buffer = Arc::new(Buffer::open(name, BUFFER_READ | BUFFER_WRITE)?);
        loop {
            let state = buffer.load(STATE)?;
            if state == READY {
                break;
            }
            match buffer.wait(STATE, state, None) {
                Ok(()) | Err(Errno::EAGAIN) => {}
                Err(errno) => return Err(errno),
            }
        }
        let mut address = [0; 6];
        buffer.read(ADDRESS, &mut address)?;
        let (to, from) = halves(&buffer)?;
        Ok(Port {
            to: Writer::new(to)?.endless(),
            from: Reader::new(from)?.endless(),
            address,
        })
    }

    /// The address that frames from here must have as their source.
    pub fn address(&self) -> [u8; 6] {
        self.address
    }

    /// Whether there is room for a frame to send.
    pub fn can_send(&self) -> bool {
        // A length stands before it.
        matches!(self.to.fill(), Ok((_, room)) if room as usize >= FRAME + 4)
    }

    /// Sends a frame. The switch may lose it, as networks do.
    ///
    /// # Errors
    /// `EAGAIN` when there is no room for it now; `E2BIG` for more than [`FRAME`] bytes; `EFAULT` when the port is gone.
    pub fn send(&mut self, frame: &[u8]) -> Result<(), Errno> {
        if frame.len() > FRAME {
            return Err(Errno::E2BIG);
        }
        self.to.try_send(frame)
    }

    /// Takes a frame that has come.
    ///
    /// # Errors
    /// `EAGAIN` when there is none; `EFAULT` when the port is gone.
    pub fn receive(&mut self, frame: &mut [u8; FRAME]) -> Result<usize, Errno> {
        match self.from.try_receive(frame) {
            Ok(length) => length.ok_or(Errno::EAGAIN),
            // What is no frame is nobody's.
            Err(Errno::EIO | Errno::E2BIG) => self.from.empty().and(Err(Errno::EAGAIN)),
            Err(errno) => Err(errno),
        }
    }

    /// Waits until there is a frame to take, for this time at the longest.
    ///
    /// # Errors
    /// `ETIMEDOUT`; `EFAULT` when the port is gone.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<(), Errno> {
        self.from.wait(timeout)
    }

    /// For who waits without this port: what it waits for. None when there is a frame to take.
    ///
    /// # Errors
    /// `EFAULT` when the port is gone.
    pub fn watch(&mut self) -> Result<Option<Watch>, Errno> {
        match self.from.watch() {
            // What is no frame is nobody's.
            Err(Errno::EIO) => self.from.empty().map(|()| None),
            watch => watch,
        }
    }

    /// Waits until there is room for a frame to send, for this time at the longest.
    ///
    /// # Errors
    /// As [`Port::wait`].
    pub fn wait_for_room(&mut self, timeout: Option<Duration>) -> Result<(), Errno> {
        self.to.wait_for_room(FRAME as u32 + 4, timeout)
    }
}
