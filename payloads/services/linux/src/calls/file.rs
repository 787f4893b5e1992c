//! Reading and writing.

use super::Context;
use crate::layout::{encode, field};
use crate::open::Open;
use crate::{Error, Platform, Result};
use linux_raw_sys::general::{iovec, winsize};
use linux_raw_sys::ioctl;

/// Bytes that cross at a time, through a buffer on the stack.
const CHUNK: usize = 1024;
/// Most parts of a vector (`IOV_MAX`).
const PARTS: u64 = 1024;
/// Most bytes that one call moves, as Linux has it.
const MOST: u64 = 0x7fff_f000;

impl<P: Platform> Context<'_, P> {
    /// `write`.
    pub(super) fn write(&mut self, descriptor: u64, address: u64, length: u64) -> Result {
        let open = self.program.descriptors.get(descriptor)?.clone();
        let length = length.min(MOST);
        let mut done = 0;
        let mut buffer = [0; CHUNK];
        while done < length {
            let part = &mut buffer[..(length - done).min(CHUNK as u64) as usize];
            let read = self
                .program
                .window
                .read(self.platform, address.wrapping_add(done), part);
            match read {
                Ok(()) => {}
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
            match open {
                Open::Console => self.platform.write(part),
                Open::Null | Open::Zero | Open::Random => {}
            }
            done += part.len() as u64;
        }
        Ok(done)
    }

    /// `read`.
    pub(super) fn read(&mut self, descriptor: u64, address: u64, length: u64) -> Result {
        let open = self.program.descriptors.get(descriptor)?.clone();
        let length = length.min(MOST);
        self.program.window.check(address, length)?;
        let mut buffer = [0; CHUNK];
        let mut done = 0;
        while done < length {
            let room = &mut buffer[..(length - done).min(CHUNK as u64) as usize];
            let count = match open {
                Open::Null => 0,
                Open::Zero => {
                    room.fill(0);
                    room.len()
                }
                Open::Random => {
                    self.platform.random(room);
                    room.len()
                }
                Open::Console => self.platform.read(room),
            };
            self.put(address + done, &buffer[..count])?;
            done += count as u64;
            // The console gives what there is.
            if count == 0 || open == Open::Console {
                break;
            }
        }
        Ok(done)
    }

    /// `writev` and `readv`.
    pub(super) fn vector(&mut self, descriptor: u64, address: u64, count: u64, writes: bool) -> Result {
        if count > PARTS {
            return Err(Error::EINVAL);
        }
        let mut done = 0;
        for index in 0..count {
            let mut part = [0; size_of::<iovec>()];
            self.get(address.wrapping_add(index * size_of::<iovec>() as u64), &mut part)?;
            let at = u64::from_ne_bytes(part[..8].try_into().unwrap_or_default());
            let length = field!(part, iovec, iov_len);
            if length == 0 {
                continue;
            }
            let moved = if writes {
                self.write(descriptor, at, length)
            } else {
                self.read(descriptor, at, length)
            };
            match moved {
                Ok(moved) => done += moved,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
            if moved != Ok(length) {
                break;
            }
        }
        Ok(done)
    }

    /// `close`.
    pub(super) fn close(&mut self, descriptor: u64) -> Result {
        self.program.descriptors.close(descriptor)?;
        Ok(0)
    }

    /// `ioctl`.
    pub(super) fn control(&mut self, descriptor: u64, request: u64, argument: u64) -> Result {
        let open = self.program.descriptors.get(descriptor)?;
        match (open, request as u32) {
            (Open::Console, ioctl::TIOCGWINSZ) => {
                let size = encode!(winsize { ws_row: 24, ws_col: 80 });
                self.put(argument, &size)?;
                Ok(0)
            }
            _ => Err(Error::ENOTTY),
        }
    }
}
