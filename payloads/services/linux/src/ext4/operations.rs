//! What changes names and inodes.

use super::bytes::{crc_around, le32, put32};
use super::inode::Inode;
use super::{Ext4, Number, ROOT, SB_ORPHAN};
use crate::{Error, Result};
use alloc::vec::Vec;
use linux_raw_sys::general as sys;

/// Most names of a file, and folders in one.
const LINKS: u16 = 65_000;
/// Permissions among the bits of a mode.
const PERMISSIONS: u32 = 0o7777;
/// The block with extended attributes: where it says how many inodes have it, and its checksum.
const REFERENCES: usize = 4;
const ATTRIBUTES_SUM: usize = 16;

/// A name in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    /// The folder.
    pub folder: Number,
    /// The name.
    pub name: &'a [u8],
}

impl Ext4 {
    /// A file, folder or symbolic link of this kind and with these permissions, with a name that nothing has.
    ///
    /// # Errors
    /// `EEXIST`, `ENOSPC`, `EROFS`, `EIO`; `ENOENT` in a folder that is gone.
    pub fn make(&mut self, place: Name<'_>, mode: u32, target: &[u8], now: u64) -> Result<Number> {
        self.whole(now, |disk| {
            let mut folder = disk.free_name(place)?;
            let kind = mode & sys::S_IFMT;
            let is_folder = kind == sys::S_IFDIR;
            if is_folder && folder.links() >= LINKS {
                return Err(Error::EMLINK);
            }
            let mut inode = disk.take_inode(place.folder, is_folder)?;
            inode.renew(mode, now);
            disk.put_no_extents(&mut inode)?;
            inode.set_links(1);
            match kind {
                sys::S_IFDIR => {
                    disk.begin_folder(&mut inode, place.folder)?;
                    inode.set_links(2);
                    folder.set_links(folder.links().saturating_add(1));
                }
                sys::S_IFLNK if target.len() < inode.map().len() => {
                    inode.set_flags(0);
                    inode.map_mut().fill(0);
                    inode.map_mut()[..target.len()].copy_from_slice(target);
                    inode.set_size(target.len() as u64);
                }
                sys::S_IFLNK if target.len() >= disk.shape.size => return Err(Error::ENAMETOOLONG),
                sys::S_IFLNK => disk.write_to(&mut inode, 0, target)?,
                _ => {}
            }
            disk.put_inode(&mut inode)?;
            disk.add_entry(&mut folder, place.name, inode.number, mode)?;
            folder.stamp(now);
            disk.put_inode(&mut folder)?;
            Ok(inode.number)
        })
    }

    /// The folder of a name, which nothing has.
    fn free_name(&mut self, place: Name<'_>) -> Result<Inode> {
        let folder = self.folder(place.folder)?;
        if folder.links() == 0 {
            return Err(Error::ENOENT);
        }
        match self.lookup(place.folder, place.name)? {
            Some(_) => Err(Error::EEXIST),
            None => Ok(folder),
        }
    }

    /// Where a symbolic link leads.
    ///
    /// # Errors
    /// `EINVAL` when it is none; `EIO`.
    pub fn target(&mut self, number: Number) -> Result<Vec<u8>> {
        let inode = self.inode(number)?;
        if !inode.is_link() {
            return Err(Error::EINVAL);
        }
        let length = usize::try_from(inode.size()).unwrap_or(usize::MAX);
        if length >= self.shape.size {
            return Err(Error::EIO);
        }
        if inode.is_short_link(self.shape.size) {
            return Ok(inode.map()[..length].to_vec());
        }
        let mut target = alloc::vec![0; length];
        self.read_from(&inode, 0, &mut target)?;
        Ok(target)
    }

    /// Gives a file another name.
    ///
    /// # Errors
    /// `EPERM` for a folder; `EEXIST`, `EMLINK`, `ENOSPC`, `EROFS`, `EIO`.
    pub fn link(&mut self, number: Number, place: Name<'_>, now: u64) -> Result<()> {
        self.whole(now, |disk| {
            let mut folder = disk.free_name(place)?;
            let mut inode = disk.inode(number)?;
            match inode.links() {
                _ if inode.is_folder() => return Err(Error::EPERM),
                // One that is open and has no name does not get one again.
                0 => return Err(Error::ENOENT),
                LINKS.. => return Err(Error::EMLINK),
                links => inode.set_links(links + 1),
            }
            inode.set_changed(now);
            disk.put_inode(&mut inode)?;
            disk.add_entry(&mut folder, place.name, number, inode.mode())?;
            folder.stamp(now);
            disk.put_inode(&mut folder)
        })
    }

    /// Takes a name away, of an empty folder or of something else; `open` says whether its inode is in use and remains until it is
    /// [released](Ext4::release).
    ///
    /// # Errors
    /// `ENOENT`, `EISDIR`, `ENOTDIR`, `ENOTEMPTY`, `EROFS`, `EIO`.
    pub fn remove(&mut self, place: Name<'_>, folder: bool, open: bool, now: u64) -> Result<()> {
        let left = self.whole(now, |disk| {
            let number = disk.lookup(place.folder, place.name)?.ok_or(Error::ENOENT)?;
            let inode = disk.inode(number)?;
            match inode.is_folder() {
                true if !folder => return Err(Error::EISDIR),
                false if folder => return Err(Error::ENOTDIR),
                true if number == ROOT => return Err(Error::EBUSY),
                true if !disk.is_empty(number)? => return Err(Error::ENOTEMPTY),
                _ => {}
            }
            let mut above = disk.folder(place.folder)?;
            disk.remove_entry(&mut above, place.name)?;
            if folder {
                above.set_links(above.links().saturating_sub(1).max(2));
            }
            above.stamp(now);
            disk.put_inode(&mut above)?;
            disk.unlinked(inode, open, now)
        })?;
        self.release_left(left, now)
    }

    /// Frees what one operation was too little for.
    fn release_left(&mut self, left: Option<Number>, now: u64) -> Result<()> {
        left.map_or(Ok(()), |number| self.release(number, now))
    }

    /// An inode has a name less. It is given back when it is there for too much to be freed at once.
    fn unlinked(&mut self, mut inode: Inode, open: bool, now: u64) -> Result<Option<Number>> {
        let links = if inode.is_folder() {
            0
        } else {
            inode.links().saturating_sub(1)
        };
        inode.set_links(links);
        inode.set_changed(now);
        let long = !open && links == 0 && self.is_long(&inode)?;
        if links == 0 && !open && !long {
            self.delete(inode, now)?;
            return Ok(None);
        }
        if links == 0 {
            let next = le32(self.superblock()?, SB_ORPHAN);
            inode.set_next_orphan(next);
            let number = inode.number;
            self.edit_superblock(|sb| put32(sb, SB_ORPHAN, number))?;
        }
        self.put_inode(&mut inode)?;
        Ok(long.then_some(inode.number))
    }

    /// Frees an inode and all that it has.
    fn delete(&mut self, mut inode: Inode, now: u64) -> Result<()> {
        if inode.has_extents() {
            self.resize_to(&mut inode, 0)?;
        } else if !inode.is_short_link(self.shape.size) && inode.facts().sectors > 0 {
            return Err(Error::EOPNOTSUPP);
        }
        let attributes = inode.attributes();
        if attributes != 0 {
            self.drop_attributes(attributes)?;
        }
        let folder = inode.is_folder();
        inode.clear(now, self.shape.inodes.saturating_add(1));
        self.put_inode(&mut inode)?;
        self.give_inode(inode.number, folder)
    }

    /// An inode less has this block with extended attributes.
    fn drop_attributes(&mut self, place: u64) -> Result<()> {
        let sums = self.shape.sums;
        let references = le32(self.store.read(place)?, REFERENCES);
        if references <= 1 {
            return self.free(place, 1);
        }
        let block = self.store.edit(place)?;
        put32(block, REFERENCES, references - 1);
        if let Some(seed) = sums {
            let seed = super::crc(seed, &place.to_le_bytes());
            let sum = crc_around(seed, block, ATTRIBUTES_SUM, 4);
            put32(block, ATTRIBUTES_SUM, sum);
        }
        Ok(())
    }

    /// Nobody uses an inode any more that has no name.
    ///
    /// # Errors
    /// `EROFS`, `EIO`.
    pub fn release(&mut self, number: Number, now: u64) -> Result<()> {
        if self.inode(number)?.links() > 0 {
            return Ok(());
        }
        self.shorten(number, 0, now)?;
        self.whole(now, |disk| {
            let inode = disk.inode(number)?;
            let next = inode.next_orphan();
            let mut before = None;
            let mut at = le32(disk.superblock()?, SB_ORPHAN);
            for _ in 0..disk.shape.inodes {
                if at == number || at == 0 {
                    break;
                }
                before = Some(at);
                at = disk.inode(at)?.next_orphan();
            }
            match before {
                _ if at != number => return Err(Error::EIO),
                None => disk.edit_superblock(|sb| put32(sb, SB_ORPHAN, next))?,
                Some(before) => {
                    let mut before = disk.inode(before)?;
                    before.set_next_orphan(next);
                    disk.put_inode(&mut before)?;
                }
            }
            disk.delete(inode, now)
        })
    }

    /// Frees what was open without a name when the power went. Whether there was something.
    pub(super) fn free_orphans(&mut self, now: u64) -> Result<bool> {
        let mut some = false;
        for _ in 0..self.shape.inodes {
            let number = le32(self.superblock()?, SB_ORPHAN);
            if number == 0 {
                return Ok(some);
            }
            some = true;
            if self.inode(number)?.links() == 0 {
                self.shorten(number, 0, now)?;
            }
            self.whole(now, |disk| {
                let mut inode = disk.inode(number)?;
                let next = inode.next_orphan();
                disk.edit_superblock(|sb| put32(sb, SB_ORPHAN, next))?;
                if inode.links() == 0 {
                    return disk.delete(inode, now);
                }
                // It was about to become shorter.
                inode.set_next_orphan(0);
                if inode.is_file() {
                    let size = inode.size();
                    inode.set_size(u64::MAX);
                    disk.resize_to(&mut inode, size)?;
                }
                disk.put_inode(&mut inode)
            })?;
        }
        Err(Error::EIO)
    }

    /// Gives what has one name another one, instead of what had it, which is `open` or not. With `keep` nothing may have had it.
    ///
    /// # Errors
    /// As Linux has them.
    pub fn rename(&mut self, from: Name<'_>, to: Name<'_>, keep: bool, open: bool, now: u64) -> Result<()> {
        let left = self.whole(now, |disk| {
            let number = disk.lookup(from.folder, from.name)?.ok_or(Error::ENOENT)?;
            let inode = disk.inode(number)?;
            let old = disk.lookup(to.folder, to.name)?;
            if old == Some(number) && !keep {
                return Ok(None);
            }
            let moves = inode.is_folder() && from.folder != to.folder;
            if inode.is_folder() && disk.is_above(number, to.folder)? {
                return Err(Error::EINVAL);
            }
            let mut replaced = None;
            if let Some(old) = old {
                let old = disk.inode(old)?;
                match (inode.is_folder(), old.is_folder()) {
                    _ if keep => return Err(Error::EEXIST),
                    (true, false) => return Err(Error::ENOTDIR),
                    (false, true) => return Err(Error::EISDIR),
                    (true, true) if !disk.is_empty(old.number)? => return Err(Error::ENOTEMPTY),
                    _ => replaced = Some(old),
                }
            }
            let mut above = disk.folder(to.folder)?;
            if above.links() == 0 {
                return Err(Error::ENOENT);
            }
            match &replaced {
                Some(_) => disk.change_entry(&mut above, to.name, number, inode.mode())?,
                None if moves && above.links() >= LINKS => return Err(Error::EMLINK),
                None => disk.add_entry(&mut above, to.name, number, inode.mode())?,
            }
            let gone = replaced.as_ref().is_some_and(Inode::is_folder);
            let links = above.links().saturating_add(moves.into()).saturating_sub(gone.into());
            above.set_links(links);
            above.stamp(now);
            disk.put_inode(&mut above)?;
            let mut before = disk.folder(from.folder)?;
            disk.remove_entry(&mut before, from.name)?;
            before.set_links(before.links().saturating_sub(moves.into()));
            before.stamp(now);
            disk.put_inode(&mut before)?;
            let mut inode = disk.inode(number)?;
            if moves {
                disk.change_entry(&mut inode, b"..", to.folder, sys::S_IFDIR)?;
            }
            inode.set_changed(now);
            disk.put_inode(&mut inode)?;
            match replaced {
                // It may have changed with the folders.
                Some(replaced) => {
                    let replaced = disk.inode(replaced.number)?;
                    disk.unlinked(replaced, open, now)
                }
                None => Ok(None),
            }
        })?;
        self.release_left(left, now)
    }

    /// Whether a folder is another one, or above it.
    fn is_above(&mut self, above: Number, folder: Number) -> Result<bool> {
        let mut at = folder;
        for _ in 0..self.shape.inodes {
            match at {
                _ if at == above => return Ok(true),
                ROOT => return Ok(false),
                _ => at = self.lookup(at, b"..")?.ok_or(Error::EIO)?,
            }
        }
        Err(Error::EIO)
    }

    /// Sets permissions.
    ///
    /// # Errors
    /// `EROFS`, `EIO`.
    pub fn permit(&mut self, number: Number, permissions: u32, now: u64) -> Result<()> {
        self.whole(now, |disk| {
            let mut inode = disk.inode(number)?;
            inode.set_mode(inode.mode() & !PERMISSIONS | permissions & PERMISSIONS);
            inode.set_changed(now);
            disk.put_inode(&mut inode)
        })
    }

    /// Sets permissions, and the user and the group that it belongs to.
    ///
    /// # Errors
    /// `EROFS`, `EIO`.
    pub fn own(&mut self, number: Number, owner: [u32; 2], permissions: u32, now: u64) -> Result<()> {
        self.whole(now, |disk| {
            let mut inode = disk.inode(number)?;
            inode.set_owner(owner);
            inode.set_mode(inode.mode() & !PERMISSIONS | permissions & PERMISSIONS);
            inode.set_changed(now);
            disk.put_inode(&mut inode)
        })
    }

    /// Sets the times of the last access and of the last change, those that are given.
    ///
    /// # Errors
    /// `EROFS`, `EIO`.
    pub fn touch(&mut self, number: Number, accessed: Option<u64>, modified: Option<u64>, now: u64) -> Result<()> {
        self.whole(now, |disk| {
            let mut inode = disk.inode(number)?;
            if let Some(accessed) = accessed {
                inode.set_accessed(accessed);
            }
            if let Some(modified) = modified {
                inode.set_modified(modified);
            }
            inode.set_changed(now);
            disk.put_inode(&mut inode)
        })
    }
}
