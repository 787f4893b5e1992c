//! Pipes: bytes from who writes to who reads. A connection of the loopback network is two of them.

use crate::{Error, Result};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Most bytes in a pipe.
const CAPACITY: usize = 16 * 1024;
/// Fewest and most that it can be told to take.
const PAGE: usize = 4096;
const LARGEST: usize = 64 * 1024;
/// Most pipes, those of connections included.
const LIMIT: usize = 256;

/// A pipe.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    bytes: VecDeque<u8>,
    /// Open files that are its ends.
    readers: u32,
    writers: u32,
    /// Most bytes in it.
    capacity: usize,
    /// Counts what happens to it.
    pub(crate) changes: u64,
}

impl Pipe {
    /// Whether a reader would not wait: there are bytes, or there will never be any again.
    pub(crate) fn readable(&self) -> bool {
        !self.bytes.is_empty() || self.writers == 0
    }

    /// Whether a writer would not wait.
    pub(crate) fn writable(&self) -> bool {
        self.bytes.len() < self.capacity || self.readers == 0
    }

    /// Whether nobody writes any more.
    pub(crate) fn ended(&self) -> bool {
        self.writers == 0
    }

    /// Whether nobody reads any more.
    pub(crate) fn broken(&self) -> bool {
        self.readers == 0
    }

    /// Takes bytes; none at the end. `peek` leaves them there.
    ///
    /// # Errors
    /// `EAGAIN` when there are none yet.
    pub(crate) fn read(&mut self, to: &mut [u8], peek: bool) -> Result<usize> {
        if !self.readable() {
            return Err(Error::EAGAIN);
        }
        let count = to.len().min(self.bytes.len());
        for (byte, place) in self.bytes.iter().zip(to.iter_mut()) {
            *place = *byte;
        }
        if !peek {
            self.bytes.drain(..count);
            self.changes += 1;
        }
        Ok(count)
    }

    /// Adds bytes, as many as fit.
    ///
    /// # Errors
    /// `EPIPE` when nobody reads; `EAGAIN` when it is full.
    pub(crate) fn write(&mut self, from: &[u8]) -> Result<usize> {
        if self.broken() {
            return Err(Error::EPIPE);
        }
        let count = from.len().min(self.capacity.saturating_sub(self.bytes.len()));
        if count == 0 && !from.is_empty() {
            return Err(Error::EAGAIN);
        }
        self.bytes.try_reserve(count).map_err(|_| Error::ENOMEM)?;
        self.bytes.extend(&from[..count]);
        self.changes += 1;
        Ok(count)
    }

    /// Most bytes in it.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Sets how many bytes it takes at most.
    ///
    /// # Errors
    /// `EPERM` for more than any pipe does; `EBUSY` for fewer than there are.
    pub(crate) fn set_capacity(&mut self, wanted: usize) -> Result<usize> {
        let wanted = wanted.clamp(PAGE, usize::MAX / 2 + 1).next_power_of_two();
        if wanted > LARGEST {
            return Err(Error::EPERM);
        }
        if wanted < self.bytes.len() {
            return Err(Error::EBUSY);
        }
        self.capacity = wanted;
        Ok(wanted)
    }

    /// Bytes in it.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// All pipes.
#[derive(Debug, Default)]
pub(crate) struct Pipes(Vec<Option<Pipe>>);

impl Pipes {
    /// A pipe with a reader and a writer.
    pub(crate) fn add(&mut self) -> Result<usize> {
        let pipe = Pipe {
            readers: 1,
            writers: 1,
            capacity: CAPACITY,
            ..Pipe::default()
        };
        if let Some(free) = self.0.iter().position(Option::is_none) {
            self.0[free] = Some(pipe);
            return Ok(free);
        }
        if self.0.len() >= LIMIT {
            return Err(Error::EMFILE);
        }
        self.0.push(Some(pipe));
        Ok(self.0.len() - 1)
    }

    pub(crate) fn get(&self, pipe: usize) -> Result<&Pipe> {
        self.0.get(pipe).and_then(Option::as_ref).ok_or(Error::EBADF)
    }

    pub(crate) fn get_mut(&mut self, pipe: usize) -> Result<&mut Pipe> {
        self.0.get_mut(pipe).and_then(Option::as_mut).ok_or(Error::EBADF)
    }

    /// How many there are.
    #[cfg(not(target_os = "none"))]
    pub(crate) fn count(&self) -> usize {
        self.0.iter().flatten().count()
    }

    /// A reader or a writer less.
    pub(crate) fn close(&mut self, pipe: usize, writer: bool) {
        let Ok(found) = self.get_mut(pipe) else { return };
        let users = if writer { &mut found.writers } else { &mut found.readers };
        *users = users.saturating_sub(1);
        found.changes += 1;
        if found.readers == 0 && found.writers == 0 {
            self.0[pipe] = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in_until_both_ends_are_closed() {
        let mut pipes = Pipes::default();
        let id = pipes.add().unwrap();
        let mut bytes = [0; 4];
        let pipe = pipes.get_mut(id).unwrap();
        assert_eq!(pipe.read(&mut bytes, false), Err(Error::EAGAIN));
        assert_eq!(pipe.write(b"abcdef"), Ok(6));
        assert_eq!((pipe.read(&mut bytes, true), &bytes), (Ok(4), b"abcd"));
        assert_eq!((pipe.read(&mut bytes, false), &bytes), (Ok(4), b"abcd"));
        assert_eq!(pipe.write(&[0; 2 * CAPACITY]), Ok(CAPACITY - 2));
        assert_eq!(pipe.write(b"x"), Err(Error::EAGAIN));
        pipes.close(id, true);
        let pipe = pipes.get_mut(id).unwrap();
        let mut rest = [0; 2 * CAPACITY];
        assert_eq!(pipe.read(&mut rest, false), Ok(CAPACITY));
        assert_eq!(pipe.read(&mut rest, false), Ok(0), "the end");
        pipes.close(id, false);
        assert!(pipes.get(id).is_err());
        let id = pipes.add().unwrap();
        pipes.close(id, false);
        assert_eq!(pipes.get_mut(id).unwrap().write(b"x"), Err(Error::EPIPE));
    }
}
