//! The only way from a program's pointer to memory.

use crate::{Error, Platform, Result};
use alloc::vec::Vec;
use core::ops::Range;

/// Longest text that a program can pass, the NUL included (`PATH_MAX`).
const TEXT_LIMIT: usize = 4096;
/// Bytes that are copied at a time inside a program's memory.
const CHUNK: usize = 4096;

/// A program's memory: where it sees it, and where this side does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    seen: u64,
    size: u64,
    near: u64,
    /// What nobody writes, from offset to offset: text, where the processor would end this side for it.
    text: (u64, u64),
}

impl Window {
    /// The memory of `size` bytes that a program sees at `seen` and this side at `near`; none when an end of it would be
    /// beyond the last address.
    pub fn new(seen: u64, size: u64, near: u64) -> Option<Window> {
        seen.checked_add(size)?;
        near.checked_add(size)?;
        let text = (0, 0);
        Some(Window { seen, size, near, text })
    }

    /// The lowest address as the program sees it.
    pub fn start(&self) -> u64 {
        self.seen
    }

    /// The first address behind it as the program sees it.
    pub fn end(&self) -> u64 {
        self.seen + self.size
    }

    /// The same, but that nobody writes in this range of addresses.
    pub(crate) fn with_text(self, text: &Range<u64>) -> Window {
        let offset = |address: u64| address.saturating_sub(self.seen);
        Window {
            text: (offset(text.start), offset(text.end)),
            ..self
        }
    }

    /// Where this side finds what is to be written.
    fn near_to_write(&self, address: u64, length: u64) -> Result<u64> {
        let near = self.near(address, length)?;
        let offset = address - self.seen;
        if offset < self.text.1 && offset + length > self.text.0 {
            return Err(Error::EFAULT);
        }
        Ok(near)
    }

    /// Where this side finds `length` bytes that the program claims to be at `address`.
    fn near(&self, address: u64, length: u64) -> Result<u64> {
        let offset = address.checked_sub(self.seen).ok_or(Error::EFAULT)?;
        let end = offset.checked_add(length).ok_or(Error::EFAULT)?;
        if end > self.size {
            return Err(Error::EFAULT);
        }
        Ok(self.near + offset)
    }

    /// Whether `length` bytes at `address` are the program's.
    ///
    /// # Errors
    /// `EFAULT` when they are not.
    pub fn check(&self, address: u64, length: u64) -> Result<()> {
        self.near(address, length).map(|_| ())
    }

    /// Copies from the program.
    ///
    /// # Errors
    /// `EFAULT` for what is not the program's; nothing has been copied then.
    pub fn read<P: Platform>(&self, platform: &P, address: u64, to: &mut [u8]) -> Result<()> {
        platform.load(self.near(address, to.len() as u64)?, to);
        Ok(())
    }

    /// Copies to the program.
    ///
    /// # Errors
    /// As [`read`](Window::read); for its text, too.
    pub fn write<P: Platform>(&self, platform: &mut P, address: u64, from: &[u8]) -> Result<()> {
        platform.store(self.near_to_write(address, from.len() as u64)?, from);
        Ok(())
    }

    /// Makes memory of the program zero.
    ///
    /// # Errors
    /// As [`read`](Window::read).
    pub fn zero<P: Platform>(&self, platform: &mut P, address: u64, length: u64) -> Result<()> {
        platform.zero(self.near_to_write(address, length)?, length);
        Ok(())
    }

    /// Copies inside of the program's memory, between places that do not overlap.
    ///
    /// # Errors
    /// As [`read`](Window::read).
    pub fn copy<P: Platform>(&self, platform: &mut P, from: u64, to: u64, length: u64) -> Result<()> {
        let (from, to) = (self.near(from, length)?, self.near_to_write(to, length)?);
        let mut buffer = [0; CHUNK];
        let mut done = 0;
        while done < length {
            let part = &mut buffer[..(length - done).min(CHUNK as u64) as usize];
            platform.load(from + done, part);
            platform.store(to + done, part);
            done += part.len() as u64;
        }
        Ok(())
    }

    /// A 64-bit word.
    ///
    /// # Errors
    /// As [`read`](Window::read).
    pub fn word<P: Platform>(&self, platform: &P, address: u64) -> Result<u64> {
        let mut bytes = [0; 8];
        self.read(platform, address, &mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    /// A 32-bit word.
    ///
    /// # Errors
    /// As [`read`](Window::read).
    pub fn half<P: Platform>(&self, platform: &P, address: u64) -> Result<u32> {
        let mut bytes = [0; 4];
        self.read(platform, address, &mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    /// The bytes before the NUL that ends a text.
    ///
    /// # Errors
    /// `EFAULT`; `ENAMETOOLONG` when there is no NUL among the first 4096 bytes.
    pub fn text<P: Platform>(&self, platform: &P, address: u64) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        let mut part = [0; 64];
        while text.len() < TEXT_LIMIT {
            let at = address.wrapping_add(text.len() as u64);
            let room = (TEXT_LIMIT - text.len()).min(part.len()) as u64;
            // At the end of the memory there may be fewer.
            let left = self.end().saturating_sub(at).min(room);
            if left == 0 {
                return Err(Error::EFAULT);
            }
            let part = &mut part[..left as usize];
            self.read(platform, at, part)?;
            match part.iter().position(|byte| *byte == 0) {
                Some(end) => {
                    text.extend_from_slice(&part[..end]);
                    return Ok(text);
                }
                None => text.extend_from_slice(part),
            }
        }
        Err(Error::ENAMETOOLONG)
    }
}
