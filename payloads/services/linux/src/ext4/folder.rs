//! Folders: names, and the inodes that have them. Entries are one behind the other; a folder that another system has made an
//! index for is read the same way, and loses it when it changes.

use super::bytes::{crc, le16, le32, put16, put32};
use super::extents::Extents;
use super::inode::{INDEXED, Inode};
use super::{Ext4, Number};
use crate::{Error, Result};
use alloc::vec::Vec;
use linux_raw_sys::general as sys;

/// Bytes of an entry before its name, and of the one at the end of a block that is its checksum.
const HEADER: usize = 8;
const TAIL: usize = 12;
/// The kind of that one.
const SUM: u8 = 0xde;

/// An entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: Vec<u8>,
    /// What has this name.
    pub number: Number,
    /// What the next entry is asked for by.
    pub next: u64,
}

/// Where an entry is.
struct Found {
    place: u64,
    at: usize,
    /// The entry before it in the same block.
    before: Option<usize>,
    number: Number,
}

/// Bytes that an entry with such a name takes.
fn needed(name: usize) -> usize {
    (HEADER + name).next_multiple_of(4)
}

/// The kind of a file, as an entry tells it.
fn kind(mode: u32) -> u8 {
    match mode & sys::S_IFMT {
        sys::S_IFREG => 1,
        sys::S_IFDIR => 2,
        sys::S_IFCHR => 3,
        sys::S_IFBLK => 4,
        sys::S_IFIFO => 5,
        sys::S_IFSOCK => 6,
        sys::S_IFLNK => 7,
        _ => 0,
    }
}

/// The length of the entry at an offset, which is checked.
fn length(block: &[u8], at: usize) -> Result<usize> {
    let length = usize::from(le16(block, at + 4));
    let name = usize::from(block.get(at + 6).copied().ok_or(Error::EIO)?);
    if length % 4 != 0 || length < HEADER + name || at + length > block.len() {
        return Err(Error::EIO);
    }
    Ok(length)
}

fn name(block: &[u8], at: usize) -> &[u8] {
    let length = block.get(at + 6).map_or(0, |length| usize::from(*length));
    block.get(at + HEADER..at + HEADER + length).unwrap_or_default()
}

fn put_entry(block: &mut [u8], at: usize, length: usize, number: Number, mode: u32, name: &[u8]) {
    put32(block, at, number);
    put16(block, at + 4, length as u16);
    if let Some(place) = block.get_mut(at + 6..at + HEADER + name.len()) {
        place[0] = name.len() as u8;
        place[1] = if number == 0 { 0 } else { kind(mode) };
        place[2..].copy_from_slice(name);
    }
}

impl Ext4 {
    /// Bytes of a block that entries can be in.
    fn entries_end(&self) -> usize {
        self.shape.size - if self.shape.sums.is_some() { TAIL } else { 0 }
    }

    /// Writes the checksum of a block of a folder.
    fn seal_entries(&self, inode: &Inode, block: &mut [u8]) {
        if let Some(seed) = self.shape.sums {
            let end = self.entries_end();
            put32(block, end, 0);
            put32(block, end + 4, TAIL as u32 | u32::from(SUM) << 24);
            let sum = crc(inode.seed(seed), &block[..end]);
            put32(block, end + 8, sum);
        }
    }

    /// Whether a block of a folder is what its checksum says. What only helps others to find entries is not looked at.
    fn check_entries(&self, inode: &Inode, index: u32, block: &[u8]) -> Result<()> {
        let Some(seed) = self.shape.sums else { return Ok(()) };
        let helps = index == 0 || le32(block, 0) == 0 && usize::from(le16(block, 4)) == block.len();
        if inode.flags() & INDEXED != 0 && helps {
            return Ok(());
        }
        let end = self.entries_end();
        if le32(block, end + 8) == crc(inode.seed(seed), &block[..end]) {
            Ok(())
        } else {
            Err(Error::EIO)
        }
    }

    /// Block `index` of a folder: where it is, and its bytes.
    fn folder_block(&mut self, inode: &Inode, extents: &Extents, index: u32) -> Result<(u64, Vec<u8>)> {
        // A folder has no holes.
        let place = self.block_of(extents, index).ok_or(Error::EIO)?;
        let block = self.store.read(place)?.to_vec();
        self.check_entries(inode, index, &block)?;
        Ok((place, block))
    }

    fn folder_blocks(&self, inode: &Inode) -> Result<u32> {
        u32::try_from(inode.size() / self.shape.size as u64).map_err(|_| Error::EIO)
    }

    fn find_entry(&mut self, inode: &Inode, wanted: &[u8]) -> Result<Option<Found>> {
        let extents = self.extents(inode)?;
        for index in 0..self.folder_blocks(inode)? {
            let (place, block) = self.folder_block(inode, &extents, index)?;
            let mut at = 0;
            let mut before = None;
            while at < block.len() {
                let next = at + length(&block, at)?;
                let number = le32(&block, at);
                if number != 0 && name(&block, at) == wanted {
                    return Ok(Some(Found {
                        place,
                        at,
                        before,
                        number,
                    }));
                }
                before = Some(at);
                at = next;
            }
        }
        Ok(None)
    }

    /// The inode of a folder.
    pub(super) fn folder(&mut self, number: Number) -> Result<Inode> {
        let inode = self.inode(number)?;
        if inode.is_folder() {
            Ok(inode)
        } else {
            Err(Error::ENOTDIR)
        }
    }

    /// What has a name in a folder.
    ///
    /// # Errors
    /// `ENOTDIR` when it is none; `EIO`.
    pub fn lookup(&mut self, folder: Number, name: &[u8]) -> Result<Option<Number>> {
        let inode = self.folder(folder)?;
        Ok(self.find_entry(&inode, name)?.map(|found| found.number))
    }

    /// The entry of a folder at `from` or behind it, which is 0 or what another entry says. `.` and `..` are among them.
    ///
    /// # Errors
    /// As of [`lookup`](Ext4::lookup).
    pub fn entry(&mut self, folder: Number, from: u64) -> Result<Option<Entry>> {
        let inode = self.folder(folder)?;
        let extents = self.extents(&inode)?;
        let size = self.shape.size as u64;
        let first = u32::try_from(from / size).unwrap_or(u32::MAX);
        for index in first..self.folder_blocks(&inode)? {
            let (_, block) = self.folder_block(&inode, &extents, index)?;
            let start = u64::from(index) * size;
            let mut at = 0;
            while at < block.len() {
                let next = at + length(&block, at)?;
                let number = le32(&block, at);
                if number != 0 && start + at as u64 >= from {
                    return Ok(Some(Entry {
                        name: name(&block, at).to_vec(),
                        number,
                        next: start + next as u64,
                    }));
                }
                at = next;
            }
        }
        Ok(None)
    }

    /// Whether there is nothing in a folder.
    pub(super) fn is_empty(&mut self, folder: Number) -> Result<bool> {
        let mut from = 0;
        while let Some(entry) = self.entry(folder, from)? {
            if entry.name != b"." && entry.name != b".." {
                return Ok(false);
            }
            from = entry.next;
        }
        Ok(true)
    }

    /// Gives an inode a name that nothing has.
    pub(super) fn add_entry(&mut self, folder: &mut Inode, new: &[u8], number: Number, mode: u32) -> Result<()> {
        self.drop_index(folder)?;
        let extents = self.extents(folder)?;
        let end = self.entries_end();
        for index in 0..self.folder_blocks(folder)? {
            let (place, mut block) = self.folder_block(folder, &extents, index)?;
            let mut at = 0;
            while at < end {
                let length = length(&block, at)?;
                let used = if le32(&block, at) == 0 {
                    0
                } else {
                    needed(name(&block, at).len())
                };
                let left = length.saturating_sub(used);
                if left < needed(new.len()) || at + length > end {
                    at += length;
                    continue;
                }
                if used > 0 {
                    put16(&mut block, at + 4, used as u16);
                }
                put_entry(&mut block, at + used, left, number, mode, new);
                return self.put_entries(folder, place, block);
            }
        }
        let mut block = alloc::vec![0; self.shape.size];
        put_entry(&mut block, 0, end, number, mode, new);
        self.seal_entries(folder, &mut block);
        self.write_to(folder, folder.size(), &block)
    }

    fn put_entries(&mut self, folder: &Inode, place: u64, mut block: Vec<u8>) -> Result<()> {
        self.seal_entries(folder, &mut block);
        self.store.edit(place)?.copy_from_slice(&block);
        Ok(())
    }

    /// Takes a name away.
    pub(super) fn remove_entry(&mut self, folder: &mut Inode, old: &[u8]) -> Result<()> {
        self.drop_index(folder)?;
        let found = self.find_entry(folder, old)?.ok_or(Error::ENOENT)?;
        let mut block = self.store.read(found.place)?.to_vec();
        let gone = length(&block, found.at)?;
        match found.before {
            Some(before) => {
                let whole = length(&block, before)? + gone;
                put16(&mut block, before + 4, whole as u16);
            }
            None => put32(&mut block, found.at, 0),
        }
        self.put_entries(folder, found.place, block)
    }

    /// Lets a name stand for another inode.
    pub(super) fn change_entry(&mut self, folder: &mut Inode, name: &[u8], number: Number, mode: u32) -> Result<()> {
        self.drop_index(folder)?;
        let found = self.find_entry(folder, name)?.ok_or(Error::ENOENT)?;
        let mut block = self.store.read(found.place)?.to_vec();
        let length = length(&block, found.at)?;
        put_entry(&mut block, found.at, length, number, mode, name);
        self.put_entries(folder, found.place, block)
    }

    /// The first entries of a new folder.
    pub(super) fn begin_folder(&mut self, folder: &mut Inode, parent: Number) -> Result<()> {
        let mut block = alloc::vec![0; self.shape.size];
        let end = self.entries_end();
        put_entry(&mut block, 0, needed(1), folder.number, sys::S_IFDIR, b".");
        put_entry(&mut block, needed(1), end - needed(1), parent, sys::S_IFDIR, b"..");
        self.seal_entries(folder, &mut block);
        self.write_to(folder, 0, &block)
    }

    /// Makes a folder with an index one without.
    fn drop_index(&mut self, folder: &mut Inode) -> Result<()> {
        if folder.flags() & INDEXED == 0 {
            return Ok(());
        }
        let extents = self.extents(folder)?;
        let end = self.entries_end();
        for index in 0..self.folder_blocks(folder)? {
            let (place, mut block) = self.folder_block(folder, &extents, index)?;
            let first = length(&block, 0)?;
            if index == 0 {
                // What the index begins with is behind the entry of the folder above.
                length(&block, first)?;
                put16(&mut block, first + 4, (end - first) as u16);
                block[first + needed(2)..].fill(0);
            } else if le32(&block, 0) == 0 && first == block.len() {
                block.fill(0);
                put_entry(&mut block, 0, end, 0, 0, b"");
            } else {
                continue;
            }
            self.put_entries(folder, place, block)?;
        }
        folder.set_flags(folder.flags() & !INDEXED);
        self.put_inode(folder)
    }
}
