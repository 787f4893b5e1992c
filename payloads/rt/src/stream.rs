//! Streams between cVMs: bytes, or messages, from one writer to one reader, over a buffer that both map to read and to write.
//! While the other side keeps up, neither makes a hostcall.
//!
//! The writer's position is the first word of the stream, the reader's is at [`READER`]; they count bytes, modulo 2^32. Each side
//! believes only its own: what the other one says is looked at once, and refused when it cannot be. A hostile peer makes errors
//! here, and no access outside of the buffer.

use core::ops::Deref;
use core::sync::atomic::{Ordering, fence};
use core::time::Duration;

use crate::Errno;

/// Offsets: where each side's words begin, and the bytes of the stream.
const WRITER: u64 = 0;
const READER: u64 = 64;
const BYTES: u64 = 128;
/// Of a side's words: its position, whether it waits for the other one, whether it will not go on, and what the other one waits
/// for.
const POSITION: u64 = 0;
const WAITS: u64 = 4;
const CLOSED: u64 = 8;
const EVENTS: u64 = 12;
/// Bytes of a message's length, which stands before it.
const LENGTH: usize = 4;

/// Memory that two sides share: a mapped [`Buffer`](crate::Buffer).
pub trait Shared {
    /// Its bytes.
    fn size(&self) -> u64;

    /// The aligned word at an offset.
    ///
    /// # Errors
    /// `EFAULT` when it cannot be loaded, or any more.
    fn load(&self, offset: u64) -> Result<u32, Errno>;

    /// Stores an aligned word.
    ///
    /// # Errors
    /// `EFAULT` when it cannot be stored, or any more.
    fn store(&self, offset: u64, word: u32) -> Result<(), Errno>;

    /// Copies from an offset on.
    ///
    /// # Errors
    /// `EFAULT` when it cannot be loaded, or any more.
    fn copy_in(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Errno>;

    /// Copies to an offset.
    ///
    /// # Errors
    /// `EFAULT` when it cannot be stored, or any more.
    fn copy_out(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno>;

    /// Waits for a wake of the word at an offset while it holds `expected`.
    ///
    /// # Errors
    /// `EAGAIN` when it does not; `ETIMEDOUT`; `EFAULT` when it is there no more.
    fn wait(&self, offset: u64, expected: u32, timeout: Option<Duration>) -> Result<(), Errno>;

    /// Wakes who waits for the word at an offset.
    ///
    /// # Errors
    /// `EFAULT` when it is there no more.
    fn wake(&self, offset: u64) -> Result<(), Errno>;

    /// What time it is, on the clock by which it waits.
    fn now(&self) -> Duration;
}

/// A part of memory that two sides share, as memory.
#[derive(Clone)]
pub struct Part<M> {
    memory: M,
    start: u64,
    size: u64,
}

impl<M: Deref<Target: Shared>> Part<M> {
    /// So many bytes of a memory, from this multiple of 64 on.
    ///
    /// # Errors
    /// `EINVAL` when it has not so many, or they begin elsewhere.
    pub fn new(memory: M, start: u64, size: u64) -> Result<Part<M>, Errno> {
        let end = start.checked_add(size).ok_or(Errno::EINVAL)?;
        let inside = start.is_multiple_of(64) && end <= memory.size();
        inside.then_some(Part { memory, start, size }).ok_or(Errno::EINVAL)
    }

    /// The offset in the whole memory of so many bytes in this part.
    fn place(&self, offset: u64, bytes: usize) -> Result<u64, Errno> {
        let end = offset.checked_add(bytes as u64);
        let inside = end.is_some_and(|end| end <= self.size);
        if inside {
            Ok(self.start + offset)
        } else {
            Err(Errno::EFAULT)
        }
    }
}

impl<M: Deref<Target: Shared>> Shared for Part<M> {
    fn size(&self) -> u64 {
        self.size
    }

    fn load(&self, offset: u64) -> Result<u32, Errno> {
        self.memory.load(self.place(offset, 4)?)
    }

    fn store(&self, offset: u64, word: u32) -> Result<(), Errno> {
        self.memory.store(self.place(offset, 4)?, word)
    }

    fn copy_in(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        self.memory.copy_in(self.place(offset, bytes.len())?, bytes)
    }

    fn copy_out(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.memory.copy_out(self.place(offset, bytes.len())?, bytes)
    }

    fn wait(&self, offset: u64, expected: u32, timeout: Option<Duration>) -> Result<(), Errno> {
        self.memory.wait(self.place(offset, 4)?, expected, timeout)
    }

    fn wake(&self, offset: u64) -> Result<(), Errno> {
        self.memory.wake(self.place(offset, 4)?)
    }

    fn now(&self) -> Duration {
        self.memory.now()
    }
}

/// What a side finds that says that it waits.
enum Announced {
    /// So many bytes can be moved; there will not be more if the other side has closed.
    Ready(u32),
    /// The other side's count of events, until it wakes.
    Waits(u32),
}

/// Waits for what a [`Reader`] reads, without the reader: others may use it meanwhile.
pub struct Watch<M> {
    memory: M,
    /// The writer's count of events, and what it was.
    word: u64,
    events: u32,
}

impl<M: Shared> Watch<M> {
    /// Waits until there may be something to read, for this time at the longest.
    ///
    /// # Errors
    /// `ETIMEDOUT`; `EFAULT` when the buffer is gone.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<(), Errno> {
        match self.memory.wait(self.word, self.events, timeout) {
            Err(Errno::EAGAIN) => Ok(()),
            waited => waited,
        }
    }
}

/// What both sides have.
struct Side<M> {
    memory: M,
    /// A power of two.
    capacity: u32,
    /// Where its own words and the other one's are.
    own: u64,
    other: u64,
    position: u32,
    /// Counts what the other side was woken for.
    events: u32,
    /// Whether neither side ever says that it will not go on.
    endless: bool,
}

impl<M: Shared> Side<M> {
    fn new(memory: M, own: u64, other: u64) -> Result<Side<M>, Errno> {
        let room = memory.size().saturating_sub(BYTES).min(1 << 30) as u32;
        let capacity = room.checked_ilog2().map(|bits| 1 << bits).ok_or(Errno::EINVAL)?;
        // A side that begins anew begins where it was.
        let (position, events) = (memory.load(own + POSITION)?, memory.load(own + EVENTS)?);
        memory.store(own + CLOSED, 0)?;
        Ok(Side {
            memory,
            capacity,
            own,
            other,
            position,
            events,
            endless: false,
        })
    }

    /// Bytes between the reader's position and the writer's, of which the other side's is `other`.
    fn between(&self, other: u32) -> Result<u32, Errno> {
        let used = if self.own == WRITER {
            self.position.wrapping_sub(other)
        } else {
            other.wrapping_sub(self.position)
        };
        (used <= self.capacity).then_some(used).ok_or(Errno::EIO)
    }

    /// How many bytes this side can move now: room for the writer, what is there for the reader.
    fn ready(&self, other: u32) -> Result<u32, Errno> {
        let used = self.between(other)?;
        Ok(if self.own == WRITER { self.capacity - used } else { used })
    }

    fn other_position(&self) -> Result<u32, Errno> {
        let position = self.memory.load(self.other + POSITION)?;
        // What the other side did before it said so is there.
        fence(Ordering::Acquire);
        Ok(position)
    }

    fn other_closed(&self) -> Result<bool, Errno> {
        Ok(!self.endless && self.memory.load(self.other + CLOSED)? != 0)
    }

    /// Begins anew, with nothing between the two sides.
    fn empty(&mut self) -> Result<(), Errno> {
        self.position = self.other_position()?;
        self.memory.store(self.own + POSITION, self.position)
    }

    /// Calls `copy` for the one or two pieces of memory that `length` bytes from a position on are, with the offset in the bytes.
    fn pieces(
        &self,
        from: u32,
        length: usize,
        mut copy: impl FnMut(&M, u64, core::ops::Range<usize>) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let start = from & (self.capacity - 1);
        let first = length.min((self.capacity - start) as usize);
        copy(&self.memory, BYTES + u64::from(start), 0..first)?;
        if first < length {
            copy(&self.memory, BYTES, first..length)?;
        }
        Ok(())
    }

    /// This side's position is so many bytes on; who waits for that wakes.
    fn advance(&mut self, bytes: u32) -> Result<(), Errno> {
        self.position = self.position.wrapping_add(bytes);
        fence(Ordering::Release);
        self.memory.store(self.own + POSITION, self.position)?;
        // Either the other side sees what has been stored, or this one sees that it waits.
        fence(Ordering::SeqCst);
        if self.memory.load(self.other + WAITS)? != 0 {
            self.memory.store(self.other + WAITS, 0)?;
            self.wake()?;
        }
        Ok(())
    }

    fn wake(&mut self) -> Result<(), Errno> {
        self.events = self.events.wrapping_add(1);
        self.memory.store(self.own + EVENTS, self.events)?;
        self.memory.wake(self.own + EVENTS)
    }

    /// Lets the other side wake who waits, unless at least `wanted` bytes can be moved now, or it has closed.
    fn announce(&self, wanted: u32) -> Result<Announced, Errno> {
        self.memory.store(self.own + WAITS, 1)?;
        fence(Ordering::SeqCst);
        let events = self.memory.load(self.other + EVENTS)?;
        fence(Ordering::SeqCst);
        // What was stored before it closed counts.
        let closed = self.other_closed()?;
        let ready = self.ready(self.other_position()?)?;
        Ok(if closed || ready >= wanted {
            Announced::Ready(ready)
        } else {
            Announced::Waits(events)
        })
    }

    /// Waits until at least `wanted` bytes can be moved; fewer when the other side has closed. A peer that wakes for nothing, again
    /// and again, does not make the timeout longer.
    fn wait_for(&mut self, wanted: u32, timeout: Option<Duration>) -> Result<u32, Errno> {
        let mut end = None;
        loop {
            let ready = self.ready(self.other_position()?)?;
            if ready >= wanted {
                return Ok(ready);
            }
            let events = match self.announce(wanted)? {
                Announced::Ready(ready) => return Ok(ready),
                Announced::Waits(events) => events,
            };
            let left = timeout.map(|timeout| {
                let now = self.memory.now();
                end.get_or_insert(now.saturating_add(timeout)).saturating_sub(now)
            });
            match self.memory.wait(self.other + EVENTS, events, left) {
                Ok(()) | Err(Errno::EAGAIN) if left == Some(Duration::ZERO) => return Err(Errno::ETIMEDOUT),
                Ok(()) | Err(Errno::EAGAIN) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    fn close(&mut self) -> Result<(), Errno> {
        if self.endless {
            return Ok(());
        }
        self.memory.store(self.own + CLOSED, 1)?;
        fence(Ordering::SeqCst);
        self.wake()
    }
}

/// The end of a stream that writes. Dropped, it closes the stream.
pub struct Writer<M: Shared>(Side<M>);

/// The end of a stream that reads. Dropped, it closes the stream.
pub struct Reader<M: Shared>(Side<M>);

impl<M: Shared> Writer<M> {
    /// The writing end of the stream in a buffer; there is one only.
    ///
    /// # Errors
    /// `EINVAL` for a buffer that is too small; `EFAULT` for one that cannot be read and written.
    pub fn new(memory: M) -> Result<Writer<M>, Errno> {
        Side::new(memory, WRITER, READER).map(Writer)
    }

    /// A stream without an end: when a side is gone, another one goes on in its place.
    #[must_use]
    pub fn endless(mut self) -> Writer<M> {
        self.0.endless = true;
        self
    }

    /// Forgets what the reader has not read. What is left to do when it says what cannot be.
    ///
    /// # Errors
    /// `EFAULT` when the buffer is gone.
    pub fn empty(&mut self) -> Result<(), Errno> {
        self.0.empty()
    }

    /// Bytes that the reader has not read yet, and for how many more there is room.
    ///
    /// # Errors
    /// `EIO` when the reader says what cannot be; `EFAULT` when the buffer is gone.
    pub fn fill(&self) -> Result<(u32, u32), Errno> {
        let room = self.0.ready(self.0.other_position()?)?;
        Ok((self.0.capacity - room, room))
    }

    /// Waits until there is room for so many bytes.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub fn wait_for_room(&mut self, bytes: u32, timeout: Option<Duration>) -> Result<(), Errno> {
        self.0.wait_for(bytes, timeout).map(|_| ())
    }

    /// Writes as many of the bytes as there is room for now.
    ///
    /// # Errors
    /// `EAGAIN` when there is none; `ECONNRESET` when the reader has closed; `EIO` when it says what cannot be; `EFAULT` when
    /// the buffer is gone.
    pub fn try_write(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        if self.0.other_closed()? {
            return Err(Errno::ECONNRESET);
        }
        let room = self.0.ready(self.0.other_position()?)? as usize;
        let length = bytes.len().min(room);
        if length == 0 && !bytes.is_empty() {
            return Err(Errno::EAGAIN);
        }
        self.put(&[&bytes[..length]])?;
        Ok(length)
    }

    /// Writes all bytes, and waits for room as long as that takes, or for so long at a time.
    ///
    /// # Errors
    /// As [`Writer::try_write`]; `ETIMEDOUT`, when some of them may have been written.
    pub fn write(&mut self, mut bytes: &[u8], timeout: Option<Duration>) -> Result<(), Errno> {
        while !bytes.is_empty() {
            match self.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::EAGAIN) => drop(self.0.wait_for(1, timeout)?),
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Sends a message, whole, if there is room for it now.
    ///
    /// # Errors
    /// `EAGAIN` when there is none; `E2BIG` for one that the stream never has room for; as [`Writer::try_write`].
    pub fn try_send(&mut self, message: &[u8]) -> Result<(), Errno> {
        let whole = message.len().saturating_add(LENGTH);
        if whole > self.0.capacity as usize {
            return Err(Errno::E2BIG);
        }
        if self.0.other_closed()? {
            return Err(Errno::ECONNRESET);
        }
        if (self.0.ready(self.0.other_position()?)? as usize) < whole {
            return Err(Errno::EAGAIN);
        }
        self.put(&[&(message.len() as u32).to_le_bytes(), message])
    }

    /// Sends a message, whole, when there is room for it; waits for that as [`Writer::write`].
    ///
    /// # Errors
    /// `E2BIG` for one that the stream never has room for; as [`Writer::try_write`]; `ETIMEDOUT`.
    pub fn send(&mut self, message: &[u8], timeout: Option<Duration>) -> Result<(), Errno> {
        let whole = message.len().saturating_add(LENGTH);
        if whole > self.0.capacity as usize {
            return Err(Errno::E2BIG);
        }
        if self.0.wait_for(whole as u32, timeout)? < whole as u32 || self.0.other_closed()? {
            return Err(Errno::ECONNRESET);
        }
        self.put(&[&(message.len() as u32).to_le_bytes(), message])
    }

    /// Stores what there is room for.
    fn put(&mut self, parts: &[&[u8]]) -> Result<(), Errno> {
        let mut total = 0_u32;
        for part in parts {
            let from = self.0.position.wrapping_add(total);
            self.0.pieces(from, part.len(), |memory, offset, piece| {
                memory.copy_out(offset, &part[piece])
            })?;
            total += part.len() as u32;
        }
        self.0.advance(total)
    }
}

impl<M: Shared> Reader<M> {
    /// The reading end of the stream in a buffer; there is one only.
    ///
    /// # Errors
    /// `EINVAL` for a buffer that is too small; `EFAULT` for one that cannot be read and written.
    pub fn new(memory: M) -> Result<Reader<M>, Errno> {
        Side::new(memory, READER, WRITER).map(Reader)
    }

    /// As [`Writer::endless`].
    #[must_use]
    pub fn endless(mut self) -> Reader<M> {
        self.0.endless = true;
        self
    }

    /// Forgets what there is to read. What is left to do when the writer says what cannot be.
    ///
    /// # Errors
    /// `EFAULT` when the buffer is gone.
    pub fn empty(&mut self) -> Result<(), Errno> {
        self.0.empty()
    }

    /// Waits until there is something to read, or nothing more will come.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<(), Errno> {
        self.0.wait_for(1, timeout).map(|_| ())
    }

    /// For who waits without this reader: what it waits for. None when there is something to read, or nothing more will come.
    ///
    /// # Errors
    /// As [`Reader::try_read`].
    pub fn watch(&mut self) -> Result<Option<Watch<M>>, Errno>
    where
        M: Clone,
    {
        Ok(match self.0.announce(1)? {
            Announced::Ready(_) => None,
            Announced::Waits(events) => Some(Watch {
                memory: self.0.memory.clone(),
                word: self.0.other + EVENTS,
                events,
            }),
        })
    }

    /// Reads as many bytes as are there now and fit; 0 = the writer has closed, and nothing is left.
    ///
    /// # Errors
    /// `EAGAIN` when there are none; `EIO` when the writer says what cannot be; `EFAULT` when the buffer is gone.
    pub fn try_read(&mut self, bytes: &mut [u8]) -> Result<usize, Errno> {
        // Before the position: what was written before the end counts.
        let closed = self.0.other_closed()?;
        let there = self.0.ready(self.0.other_position()?)? as usize;
        let length = bytes.len().min(there);
        if there == 0 {
            return if closed { Ok(0) } else { Err(Errno::EAGAIN) };
        }
        self.take(0, &mut bytes[..length])?;
        self.0.advance(length as u32)?;
        Ok(length)
    }

    /// Reads at least one byte, and waits for it as long as that takes, or for so long; 0 = the end.
    ///
    /// # Errors
    /// As [`Reader::try_read`]; `ETIMEDOUT`.
    pub fn read(&mut self, bytes: &mut [u8], timeout: Option<Duration>) -> Result<usize, Errno> {
        loop {
            match self.try_read(bytes) {
                Err(Errno::EAGAIN) => drop(self.0.wait_for(1, timeout)?),
                read => return read,
            }
        }
    }

    /// Receives a message and returns its length; `None` = the end. Waits as [`Reader::read`].
    ///
    /// # Errors
    /// `E2BIG` when it is longer than `bytes`, and stays; as [`Reader::try_read`]; `ETIMEDOUT`.
    pub fn receive(&mut self, bytes: &mut [u8], timeout: Option<Duration>) -> Result<Option<usize>, Errno> {
        let there = self.0.wait_for(LENGTH as u32, timeout)?;
        if there == 0 {
            return Ok(None);
        }
        self.message(there, bytes).map(Some)
    }

    /// Receives a message if there is one now.
    ///
    /// # Errors
    /// `EAGAIN` when there is none; as [`Reader::receive`].
    pub fn try_receive(&mut self, bytes: &mut [u8]) -> Result<Option<usize>, Errno> {
        let closed = self.0.other_closed()?;
        match self.0.ready(self.0.other_position()?)? {
            0 if closed => Ok(None),
            0 => Err(Errno::EAGAIN),
            there => self.message(there, bytes).map(Some),
        }
    }

    /// Takes a message out of the bytes that are there.
    fn message(&mut self, there: u32, bytes: &mut [u8]) -> Result<usize, Errno> {
        let mut length = [0; LENGTH];
        if there < LENGTH as u32 {
            return Err(Errno::EIO);
        }
        self.take(0, &mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        // A message comes whole.
        if length > there as usize - LENGTH {
            return Err(Errno::EIO);
        }
        let message = bytes.get_mut(..length).ok_or(Errno::E2BIG)?;
        self.take(LENGTH as u32, message)?;
        self.0.advance((LENGTH + length) as u32)?;
        Ok(length)
    }

    /// Loads what is there, from so many bytes behind the position on.
    fn take(&self, behind: u32, bytes: &mut [u8]) -> Result<(), Errno> {
        let from = self.0.position.wrapping_add(behind);
        let length = bytes.len();
        self.0.pieces(from, length, |memory, offset, piece| {
            memory.copy_in(offset, &mut bytes[piece])
        })
    }
}

impl<M: Shared> Drop for Writer<M> {
    fn drop(&mut self) {
        // Who is not there any more does not have to be told.
        let _ = self.0.close();
    }
}

impl<M: Shared> Drop for Reader<M> {
    fn drop(&mut self) {
        // See above.
        let _ = self.0.close();
    }
}

#[cfg(test)]
pub(crate) mod memory;
#[cfg(test)]
mod tests;
