//! Blocks of a disk for a cVM that does not drive it: requests and data by a buffer that it shares with the one that does.
//!
//! One request at a time. The client writes what it wants, then the request's number; the server answers by the same number. A
//! server that begins anew finds every request without an answer and serves it again, which does no harm: a request says all of
//! itself, and the client waits. A client that begins anew waits for the answer that is still due before it uses the buffer.
//! Each side looks once at what the other one writes, and believes nothing of it.

use core::sync::atomic::{AtomicU32, Ordering, fence};
use core::time::Duration;

use super::{FLUSH, READ, SECTOR, WRITE};
use crate::stream::Shared;
use crate::{Errno, sys};

/// Offsets: what the client writes - the number of its request, its kind, its first sector (8 bytes), how many sectors.
const REQUEST: u64 = 0;
const KIND: u64 = 4;
const REQUEST_BYTES: usize = 24;
/// What the server writes: the number of the request that it has answered, how (0 or an error number), the client's sectors (8
/// bytes), and what they are.
const ANSWER: u64 = 64;
const STATUS: u64 = 68;
const SECTORS: u64 = 72;
const STATE: u64 = 80;
/// The data of a request: as many sectors as there is room for.
pub const DATA: u64 = 512;

/// The server has started.
const READY: u32 = 1;
/// The client may only read.
const READ_ONLY: u32 = 2;

/// How long a server may take for anything, its own restart included.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sectors of data for which a buffer has room.
fn room(memory: &impl Shared) -> Result<u32, Errno> {
    let room = memory.size().saturating_sub(DATA) / SECTOR as u64;
    u32::try_from(room).ok().filter(|room| *room > 0).ok_or(Errno::EINVAL)
}

/// The side that asks.
pub struct Client<M> {
    memory: M,
    number: u32,
    room: u32,
    sectors: u64,
    read_only: bool,
}

impl<M: Shared> Client<M> {
    /// The client of the server on the other side of a buffer, when that has started.
    ///
    /// # Errors
    /// `ETIMEDOUT` when it does not start; `EINVAL` for a buffer that is too small; `EFAULT` for one that cannot be used.
    pub fn new(memory: M) -> Result<Client<M>, Errno> {
        let mut client = Client {
            room: room(&memory)?,
            number: memory.load(REQUEST)?,
            memory,
            sectors: 0,
            read_only: false,
        };
        // The one before this may have ended before it could say that it asks for something.
        client.memory.wake(REQUEST)?;
        let state = client.wait_for(STATE, |state| state & READY != 0)?;
        let mut sectors = [0; 8];
        client.memory.copy_in(SECTORS, &mut sectors)?;
        client.sectors = u64::from_le_bytes(sectors);
        client.read_only = state & READ_ONLY != 0;
        Ok(client)
    }

    /// How many sectors there are.
    pub fn sectors(&self) -> u64 {
        self.sectors
    }

    /// Whether they can only be read.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Reads whole sectors.
    ///
    /// # Errors
    /// `EINVAL` beyond the last sector; `EIO` when the disk, `ETIMEDOUT` when the server has failed.
    pub fn read(&mut self, sector: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        let room = self.room;
        for (chunk, at) in bytes
            .chunks_mut(room as usize * SECTOR)
            .zip((sector..).step_by(room as usize))
        {
            self.settle()?;
            self.request(READ, at, (chunk.len() / SECTOR) as u32)?;
            self.memory.copy_in(DATA, chunk)?;
        }
        Ok(())
    }

    /// Writes whole sectors.
    ///
    /// # Errors
    /// As [`Client::read`]; `EPERM` when they can only be read.
    pub fn write(&mut self, sector: u64, bytes: &[u8]) -> Result<(), Errno> {
        let room = self.room;
        for (chunk, at) in bytes
            .chunks(room as usize * SECTOR)
            .zip((sector..).step_by(room as usize))
        {
            self.settle()?;
            self.memory.copy_out(DATA, chunk)?;
            self.request(WRITE, at, (chunk.len() / SECTOR) as u32)?;
        }
        Ok(())
    }

    /// Has all that was written outlive the machine.
    ///
    /// # Errors
    /// As [`Client::read`].
    pub fn flush(&mut self) -> Result<(), Errno> {
        self.settle()?;
        self.request(FLUSH, 0, 0)
    }

    /// Waits until the server is done with the buffer: with what this client, or the one before it, gave up waiting for.
    fn settle(&self) -> Result<(), Errno> {
        self.wait_for(ANSWER, |answer| answer == self.number).map(|_| ())
    }

    fn request(&mut self, kind: u32, sector: u64, count: u32) -> Result<(), Errno> {
        let mut bytes = [0; REQUEST_BYTES - KIND as usize];
        bytes[..4].copy_from_slice(&kind.to_le_bytes());
        bytes[4..12].copy_from_slice(&sector.to_le_bytes());
        bytes[12..16].copy_from_slice(&count.to_le_bytes());
        self.memory.copy_out(KIND, &bytes)?;
        // What is asked for is there before the number is.
        fence(Ordering::SeqCst);
        self.number = self.number.wrapping_add(1);
        self.memory.store(REQUEST, self.number)?;
        self.memory.wake(REQUEST)?;
        self.settle()?;
        match self.memory.load(STATUS)? {
            0 => Ok(()),
            number => Err(Errno::from_result(-i64::from(number) as u64).unwrap_or(Errno::EIO)),
        }
    }

    fn wait_for(&self, offset: u64, done: impl Fn(u32) -> bool) -> Result<u32, Errno> {
        // The clock is asked when there is something to wait for.
        let mut start = None;
        loop {
            let word = self.memory.load(offset)?;
            if done(word) {
                // What the server did before is there, too.
                fence(Ordering::SeqCst);
                return Ok(word);
            }
            let now = sys::now();
            let spent = now.saturating_sub(*start.get_or_insert(now));
            let left = PATIENCE.checked_sub(spent).ok_or(Errno::ETIMEDOUT)?;
            match self.memory.wait(offset, word, Some(left)) {
                Ok(()) | Err(Errno::EAGAIN) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// What a client asks for, as it stood in the buffer once. Nothing of it was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    number: u32,
    /// [`READ`], [`WRITE`], [`FLUSH`], or none of them.
    pub kind: u32,
    /// First of the client's sectors.
    pub sector: u64,
    /// How many of them.
    pub count: u32,
}

/// The side that serves. One thread takes requests; any may answer.
pub struct Server<M> {
    memory: M,
    answered: AtomicU32,
}

impl<M: Shared> Server<M> {
    /// The server of a client that has so many sectors.
    ///
    /// # Errors
    /// `EINVAL` for a buffer that is too small; `EFAULT` for one that cannot be used.
    pub fn new(memory: M, sectors: u64, read_only: bool) -> Result<Server<M>, Errno> {
        room(&memory)?;
        memory.copy_out(SECTORS, &sectors.to_le_bytes())?;
        fence(Ordering::SeqCst);
        memory.store(STATE, READY | if read_only { READ_ONLY } else { 0 })?;
        memory.wake(STATE)?;
        // The one before this may have ended before it could say that it has answered.
        memory.wake(ANSWER)?;
        let answered = AtomicU32::new(memory.load(ANSWER)?);
        Ok(Server { memory, answered })
    }

    /// The buffer.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Sectors of data for which the buffer has room.
    ///
    /// # Errors
    /// None: it was looked at.
    pub fn room(&self) -> Result<u32, Errno> {
        room(&self.memory)
    }

    /// Waits for the next request; the one before was answered.
    ///
    /// # Errors
    /// `EFAULT` when the buffer is there no more.
    pub fn next(&self) -> Result<Request, Errno> {
        let answered = self.answered.load(Ordering::Acquire);
        loop {
            let number = self.memory.load(REQUEST)?;
            if number == answered {
                match self.memory.wait(REQUEST, answered, None) {
                    Ok(()) | Err(Errno::EAGAIN) => continue,
                    Err(errno) => return Err(errno),
                }
            }
            fence(Ordering::SeqCst);
            let mut bytes = [0; REQUEST_BYTES];
            self.memory.copy_in(REQUEST, &mut bytes)?;
            let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            return Ok(Request {
                number,
                kind: word(4),
                sector: u64::from(word(8)) | u64::from(word(12)) << 32,
                count: word(16),
            });
        }
    }

    /// Answers a request.
    ///
    /// # Errors
    /// `EFAULT` when the buffer is there no more.
    pub fn answer(&self, request: &Request, outcome: Result<(), Errno>) -> Result<(), Errno> {
        self.answered.store(request.number, Ordering::Release);
        let status = outcome.map_or_else(|errno| errno as i32 as u32, |()| 0);
        self.memory.store(STATUS, status)?;
        fence(Ordering::SeqCst);
        self.memory.store(ANSWER, request.number)?;
        self.memory.wake(ANSWER)
    }
}

#[cfg(test)]
mod tests;
