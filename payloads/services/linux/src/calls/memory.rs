//! The program's memory map: memory between two addresses of its cVM, zero or with a copy of a file.

use super::Context;
use crate::arena::pages;
use crate::maps::Wanted;
use crate::tree::Node;
use crate::{Error, Platform, Result};
use alloc::vec;
use core::ops::Range;
use linux_raw_sys::general as sys;

/// The flags that `mmap` has always had.
const KNOWN: u32 = sys::MAP_TYPE
    | sys::MAP_FIXED
    | sys::MAP_ANONYMOUS
    | sys::MAP_NORESERVE
    | sys::MAP_LOCKED
    | sys::MAP_POPULATE
    | sys::MAP_NONBLOCK
    | sys::MAP_STACK
    | sys::MAP_FIXED_NOREPLACE;

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
        if let Some(range) = &wanted {
            self.end_mapped(range, false)?;
        }
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
        let shared = match flags & sys::MAP_TYPE {
            sys::MAP_PRIVATE => false,
            sys::MAP_SHARED | sys::MAP_SHARED_VALIDATE => true,
            _ => return Err(Error::EINVAL),
        };
        // What is not known is refused to who wants to know.
        if flags & sys::MAP_TYPE == sys::MAP_SHARED_VALIDATE && flags & !KNOWN != 0 {
            return Err(Error::EOPNOTSUPP);
        }
        let writes = protection & sys::PROT_WRITE != 0;
        let file = if flags & sys::MAP_ANONYMOUS == 0 {
            if !offset.is_multiple_of(crate::arena::PAGE) || offset.checked_add(length).is_none() {
                return Err(Error::EINVAL);
            }
            let id = self.program.descriptors.get(descriptor)?;
            let opened = self.shared.opens.get(id)?.flags;
            Self::allows(opened, false).map_err(|_| Error::EACCES)?;
            if shared && writes {
                Self::allows(opened, true).map_err(|_| Error::EACCES)?;
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
        if let Some(range) = wanted.as_ref().filter(|_| flags & sys::MAP_FIXED_NOREPLACE != 0)
            && self.program.arena.covers(range)
            && !self.program.arena.is_free(range)
        {
            return Err(Error::EEXIST);
        }
        let start = self.take(wanted, length)?;
        let range = start..start + length;
        let filled = match file {
            None => Ok(()),
            Some(file) => self.store_mapped(file).and_then(|()| {
                if !shared {
                    return self.fill(file, offset, start, length);
                }
                let wanted = Wanted {
                    client: self.program.client,
                    window: self.program.window,
                    range: range.clone(),
                    node: file,
                    offset,
                    writes,
                };
                self.shared.maps.add(self.platform, &mut self.shared.tree, wanted)
            }),
        };
        if let Err(error) = filled {
            self.program.arena.give(range);
            return Err(error);
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
        self.end_mapped(&range, false)?;
        self.program.arena.give(range);
        Ok(0)
    }

    /// `msync`: of what is mapped it looks at all, of memory at nothing.
    pub(super) fn synchronize_memory(&mut self, address: u64, length: u64, flags: u64) -> Result {
        let flags = flags as u32;
        let both = sys::MS_SYNC | sys::MS_ASYNC;
        if flags & !(both | sys::MS_INVALIDATE) != 0 || flags & both == both {
            return Err(Error::EINVAL);
        }
        if length == 0 && address.is_multiple_of(crate::arena::PAGE) {
            return Ok(0);
        }
        let range = self.named(address, length)?;
        self.program
            .window
            .check(range.start, range.end - range.start)
            .map_err(|_| Error::ENOMEM)?;
        self.end_mapped(&range, true)?;
        if flags & sys::MS_SYNC != 0 && self.shared.maps.are_in(self.program.client, &range, false) {
            let now = self.real_time();
            self.shared.tree.commit(None, now)?;
        }
        Ok(0)
    }

    /// Writes what the program has stored in files that it maps in a range, and ends that unless it is to be kept.
    fn end_mapped(&mut self, range: &Range<u64>, keep: bool) -> Result<()> {
        if self.shared.maps.is_empty() {
            return Ok(());
        }
        let (now, client) = (self.real_time(), self.program.client);
        let shared = &mut *self.shared;
        shared
            .maps
            .end(self.platform, &mut shared.tree, (client, range), keep, now)
    }

    /// Writes what programs have stored in a file that they map.
    pub(super) fn store_mapped(&mut self, node: Node) -> Result<()> {
        if !self.shared.maps.has(node) {
            return Ok(());
        }
        let now = self.real_time();
        let shared = &mut *self.shared;
        shared.maps.store(self.platform, &mut shared.tree, node, now)
    }

    /// Lets programs that map a file see what has become of it.
    pub(super) fn refresh_mapped(&mut self, node: Node) -> Result<()> {
        if !self.shared.maps.has(node) {
            return Ok(());
        }
        let shared = &mut *self.shared;
        shared.maps.refresh(self.platform, &shared.tree, node)
    }

    /// `mremap`.
    pub(super) fn remap(&mut self, [address, old, new, flags]: [u64; 4]) -> Result {
        let range = self.named(address, old)?;
        let new = pages(new).filter(|length| *length > 0).ok_or(Error::EINVAL)?;
        if !self.program.arena.covers(&range) {
            return Err(Error::EFAULT);
        }
        // What is a file's stays as it is.
        let mapped = self.shared.maps.are_in(self.program.client, &range, false);
        if flags as u32 & !sys::MREMAP_MAYMOVE != 0 || mapped {
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
        // What is stored where a file is only read would not reach it.
        let client = self.program.client;
        let writes = protection as u32 & sys::PROT_WRITE != 0;
        if protection as u32 & sys::PROT_EXEC != 0 || writes && self.shared.maps.are_in(client, &range, true) {
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
                let client = self.program.client;
                if self.shared.maps.are_in(client, &range, false) {
                    // What is a file's would come back from there: nothing is to be seen of it.
                    let alone = self.shared.maps.has_all(client, &range);
                    return alone.then_some(0).ok_or(Error::EINVAL);
                }
                let window = self.program.window;
                window.zero(self.platform, range.start, range.end - range.start)?;
                Ok(0)
            }
            sys::MADV_NORMAL | sys::MADV_RANDOM | sys::MADV_SEQUENTIAL | sys::MADV_WILLNEED => Ok(0),
            _ => Err(Error::EINVAL),
        }
    }
}
