//! The program's memory map: memory between two addresses of its cVM, zero or with a copy of a file.

use super::Context;
use crate::arena::pages;
use crate::tree::Node;
use crate::{Error, Platform, Result};
use alloc::vec;
use core::ops::Range;
use linux_raw_sys::general as sys;

impl<P: Platform> Context<'_, P> {
    /// A range of whole pages, as a program names it.
    fn named(&self, address: u64, length: u64) -> Result<Range<u64>> {
        if !address.is_multiple_of(crate::arena::PAGE) {
            return Err(Error::EINVAL);
        }
        let length = pages(length).filter(|length| *length > 0).ok_or(Error::EINVAL)?;
        Ok(address..address.checked_add(length).ok_or(Error::EINVAL)?)
    }

    /// Takes pages, which are zero.
    fn take(&mut self, wanted: Option<Range<u64>>, length: u64) -> Result<u64> {
        let arena = &mut self.program.arena;
        let taken = match wanted {
            Some(range) if arena.covers(&range) => {
                arena.give(range.clone());
                arena.take_at(range)
            }
            Some(_) => None,
            None => arena.take(length),
        };
        let taken = taken.ok_or(Error::ENOMEM)?;
        let used = self.program.arena.used(&taken);
        let window = self.program.window;
        window.zero(self.platform, used.start, used.end - used.start)?;
        Ok(taken.start)
    }

    /// `mmap`.
    pub(super) fn map(&mut self, [address, asked, protection, flags, descriptor, offset]: [u64; 6]) -> Result {
        let length = pages(asked).filter(|length| *length > 0).ok_or(Error::EINVAL)?;
        let (protection, flags) = (protection as u32, flags as u32);
        if protection & sys::PROT_EXEC != 0 {
            return Err(Error::EACCES);
        }
        let file = if flags & sys::MAP_ANONYMOUS == 0 {
            // What is written to a file would have to be seen by who reads it, and the other way round.
            if flags & sys::MAP_TYPE != sys::MAP_PRIVATE && protection & sys::PROT_WRITE != 0 {
                return Err(Error::ENODEV);
            }
            let id = self.program.descriptors.get(descriptor)?;
            Self::allows(self.shared.opens.get(id)?.flags, false).map_err(|_| Error::EACCES)?;
            if !offset.is_multiple_of(crate::arena::PAGE) {
                return Err(Error::EINVAL);
            }
            let file = self.file(descriptor, false).map_err(|_| Error::ENODEV)?;
            Some(file)
        } else {
            None
        };
        let fixed = flags & (sys::MAP_FIXED | sys::MAP_FIXED_NOREPLACE) != 0;
        let wanted = if fixed {
            Some(self.named(address, length)?)
        } else {
            None
        };
        let start = self.take(wanted, length)?;
        if let Some(file) = file {
            self.fill(file, offset, start, length)?;
        }
        Ok(start)
    }

    /// Copies a file to memory that is zero, as far as both go.
    fn fill(&mut self, file: Node, offset: u64, start: u64, length: u64) -> Result<()> {
        let mut buffer = vec![0; crate::arena::PAGE as usize];
        let mut done = 0;
        while done < length {
            let place = offset.checked_add(done).ok_or(Error::EINVAL)?;
            let count = self.shared.tree.read(file, place, &mut buffer)?;
            self.put(start + done, &buffer[..count])?;
            if count < buffer.len() {
                break;
            }
            done += count as u64;
        }
        Ok(())
    }

    /// `munmap`.
    pub(super) fn unmap(&mut self, address: u64, length: u64) -> Result {
        let range = self.named(address, length)?;
        self.program.arena.give(range);
        Ok(0)
    }

    /// `mremap`.
    pub(super) fn remap(&mut self, [address, old, new, flags]: [u64; 4]) -> Result {
        let range = self.named(address, old)?;
        let new = pages(new).filter(|length| *length > 0).ok_or(Error::EINVAL)?;
        if !self.program.arena.covers(&range) {
            return Err(Error::EFAULT);
        }
        if flags as u32 & !sys::MREMAP_MAYMOVE != 0 {
            return Err(Error::EINVAL);
        }
        let old = range.end - range.start;
        if new <= old {
            self.program.arena.give(range.start + new..range.end);
            return Ok(address);
        }
        let more = range.end..range.start.checked_add(new).ok_or(Error::ENOMEM)?;
        if self.program.arena.covers(&more)
            && let Some(taken) = self.program.arena.take_at(more)
        {
            let used = self.program.arena.used(&taken);
            let window = self.program.window;
            window.zero(self.platform, used.start, used.end - used.start)?;
            return Ok(address);
        }
        if flags as u32 & sys::MREMAP_MAYMOVE == 0 {
            return Err(Error::ENOMEM);
        }
        let to = self.take(None, new)?;
        let window = self.program.window;
        window.copy(self.platform, address, to, old)?;
        self.program.arena.give(range);
        Ok(to)
    }

    /// `mprotect`. All of a program's memory can be read and written, its text can be executed and nothing else.
    pub(super) fn protect(&mut self, address: u64, length: u64, protection: u64) -> Result {
        if length == 0 {
            return Ok(0);
        }
        let range = self.named(address, length)?;
        self.program
            .window
            .check(range.start, range.end - range.start)
            .map_err(|_| Error::ENOMEM)?;
        if protection as u32 & sys::PROT_EXEC != 0 {
            return Err(Error::EACCES);
        }
        Ok(0)
    }

    /// `madvise`.
    pub(super) fn advise(&mut self, address: u64, length: u64, advice: u64) -> Result {
        match advice as u32 {
            // Afterwards the pages are zero.
            sys::MADV_DONTNEED => {
                let range = self.named(address, length)?;
                let window = self.program.window;
                window.zero(self.platform, range.start, range.end - range.start)?;
                Ok(0)
            }
            sys::MADV_NORMAL | sys::MADV_RANDOM | sys::MADV_SEQUENTIAL | sys::MADV_WILLNEED => Ok(0),
            _ => Err(Error::EINVAL),
        }
    }
}
