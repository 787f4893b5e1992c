//! Inodes: what is known of a file beside its name.

use super::bytes::{crc, crc_around, le16, le32, put16, put32};
use super::{Ext4, Number};
use crate::{Error, Result};
use alloc::vec::Vec;
use linux_raw_sys::general as sys;

/// Places in an inode.
const MODE: usize = 0;
const SIZE: usize = 4;
/// User and group, their lower and their upper half.
const OWNER: [(usize, usize); 2] = [(0x02, 0x78), (0x18, 0x7a)];
const ACCESSED: usize = 0x08;
const CHANGED: usize = 0x0c;
const MODIFIED: usize = 0x10;
/// When it was deleted; or the next one that is open and has no name.
const DELETED: usize = 0x14;
const LINKS: usize = 0x1a;
const SECTORS: usize = 0x1c;
const FLAGS: usize = 0x20;
/// Extents, or where a short symbolic link leads.
pub(super) const MAP: usize = 0x28;
pub(super) const MAP_SIZE: usize = 60;
const GENERATION: usize = 0x64;
const ATTRIBUTES: usize = 0x68;
const SIZE_HIGH: usize = 0x6c;
const SECTORS_HIGH: usize = 0x74;
const ATTRIBUTES_HIGH: usize = 0x76;
const SUM: usize = 0x7c;
const EXTRA: usize = 0x80;
const SUM_HIGH: usize = 0x82;
const CHANGED_MORE: usize = 0x84;
const MODIFIED_MORE: usize = 0x88;
const ACCESSED_MORE: usize = 0x8c;
const MADE: usize = 0x90;
const MADE_MORE: usize = 0x94;
/// Bytes of what is behind the first 128.
const EXTRA_SIZE: u16 = 32;
/// Bytes of an inode that all of them have.
const OLD: usize = 128;

/// Flags.
const IMMUTABLE: u32 = 0x10;
const APPEND_ONLY: u32 = 0x20;
pub(super) const INDEXED: u32 = 0x1000;
const HUGE: u32 = 0x4_0000;
const HAS_EXTENTS: u32 = 0x8_0000;

const SECOND: u64 = 1_000_000_000;

/// An inode.
#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) number: Number,
    bytes: Vec<u8>,
}

/// What `stat` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Kind and permissions.
    pub mode: u32,
    /// How many names it has.
    pub links: u32,
    /// Bytes of it.
    pub size: u64,
    /// What it takes of the disk, in sectors.
    pub sectors: u64,
    /// Nanoseconds since 1970: of the last access that was told.
    pub accessed: u64,
    /// And of the last change.
    pub modified: u64,
    /// When something about it has changed last, its contents or what is told of it.
    pub changed: u64,
    /// The user and the group that it belongs to.
    pub owner: [u32; 2],
}

impl Inode {
    pub(super) fn mode(&self) -> u32 {
        le16(&self.bytes, MODE).into()
    }

    fn is(&self, kind: u32) -> bool {
        self.mode() & sys::S_IFMT == kind
    }

    pub(super) fn is_folder(&self) -> bool {
        self.is(sys::S_IFDIR)
    }

    pub(super) fn is_file(&self) -> bool {
        self.is(sys::S_IFREG)
    }

    pub(super) fn is_link(&self) -> bool {
        self.is(sys::S_IFLNK)
    }

    pub(super) fn set_mode(&mut self, mode: u32) {
        put16(&mut self.bytes, MODE, mode as u16);
    }

    /// Sets user and group.
    pub(super) fn set_owner(&mut self, owner: [u32; 2]) {
        for ((low, high), number) in OWNER.into_iter().zip(owner) {
            put16(&mut self.bytes, low, number as u16);
            put16(&mut self.bytes, high, (number >> 16) as u16);
        }
    }

    pub(super) fn links(&self) -> u16 {
        le16(&self.bytes, LINKS)
    }

    pub(super) fn set_links(&mut self, links: u16) {
        put16(&mut self.bytes, LINKS, links);
    }

    /// Bytes of the file.
    pub(super) fn size(&self) -> u64 {
        let high = if self.is_file() || self.is_folder() {
            le32(&self.bytes, SIZE_HIGH)
        } else {
            0
        };
        u64::from(high) << 32 | u64::from(le32(&self.bytes, SIZE))
    }

    pub(super) fn set_size(&mut self, size: u64) {
        put32(&mut self.bytes, SIZE, size as u32);
        put32(&mut self.bytes, SIZE_HIGH, (size >> 32) as u32);
    }

    fn sectors(&self) -> u64 {
        u64::from(le16(&self.bytes, SECTORS_HIGH)) << 32 | u64::from(le32(&self.bytes, SECTORS))
    }

    pub(super) fn set_sectors(&mut self, sectors: u64) {
        put32(&mut self.bytes, SECTORS, sectors as u32);
        put16(&mut self.bytes, SECTORS_HIGH, (sectors >> 32) as u16);
    }

    pub(super) fn flags(&self) -> u32 {
        le32(&self.bytes, FLAGS)
    }

    pub(super) fn set_flags(&mut self, flags: u32) {
        put32(&mut self.bytes, FLAGS, flags);
    }

    /// The block with its extended attributes; 0 = none.
    pub(super) fn attributes(&self) -> u64 {
        u64::from(le16(&self.bytes, ATTRIBUTES_HIGH)) << 32 | u64::from(le32(&self.bytes, ATTRIBUTES))
    }

    /// The next inode that is open and has no name.
    pub(super) fn next_orphan(&self) -> Number {
        le32(&self.bytes, DELETED)
    }

    pub(super) fn set_next_orphan(&mut self, next: Number) {
        put32(&mut self.bytes, DELETED, next);
    }

    pub(super) fn has_extents(&self) -> bool {
        self.flags() & HAS_EXTENTS != 0
    }

    pub(super) fn map(&self) -> &[u8] {
        self.bytes.get(MAP..MAP + MAP_SIZE).unwrap_or_default()
    }

    pub(super) fn map_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(MAP..MAP + MAP_SIZE).unwrap_or_default()
    }

    /// Whether a symbolic link is short enough to be in here.
    pub(super) fn is_short_link(&self, block: usize) -> bool {
        let attributes = if self.attributes() != 0 {
            (block / super::SECTOR) as u64
        } else {
            0
        };
        self.is_link() && self.sectors() == attributes && self.size() < MAP_SIZE as u64
    }

    /// Whether its bytes can be changed.
    pub(super) fn check_writable(&self) -> Result<()> {
        if self.flags() & (IMMUTABLE | APPEND_ONLY) != 0 {
            return Err(Error::EPERM);
        }
        if !self.has_extents() || self.flags() & HUGE != 0 {
            return Err(Error::EOPNOTSUPP);
        }
        Ok(())
    }

    /// Whether there is room for parts of times behind the first 128 bytes.
    fn has_extra(&self, end: usize) -> bool {
        self.bytes.len() > OLD && OLD + usize::from(le16(&self.bytes, EXTRA)) >= end
    }

    fn time(&self, at: usize, more: usize) -> u64 {
        let extra = if self.has_extra(more + 4) {
            le32(&self.bytes, more)
        } else {
            0
        };
        let seconds = i64::from(le32(&self.bytes, at) as i32) + (i64::from(extra & 3) << 32);
        let rest = u64::from(extra >> 2).min(SECOND - 1);
        u64::try_from(seconds)
            .unwrap_or(0)
            .saturating_mul(SECOND)
            .saturating_add(rest)
    }

    fn set_time(&mut self, at: usize, more: usize, time: u64) {
        let (seconds, rest) = (time / SECOND, time % SECOND);
        put32(&mut self.bytes, at, seconds as u32);
        if self.has_extra(more + 4) {
            // What is beyond 31 bits counts from the number that those are with their sign.
            let epochs = seconds.wrapping_sub(seconds as i32 as u64) >> 32;
            put32(&mut self.bytes, more, (rest as u32) << 2 | epochs as u32 & 3);
        }
    }

    pub(super) fn set_accessed(&mut self, time: u64) {
        self.set_time(ACCESSED, ACCESSED_MORE, time);
    }

    pub(super) fn set_modified(&mut self, time: u64) {
        self.set_time(MODIFIED, MODIFIED_MORE, time);
    }

    pub(super) fn set_changed(&mut self, time: u64) {
        self.set_time(CHANGED, CHANGED_MORE, time);
    }

    /// It changes now.
    pub(super) fn stamp(&mut self, now: u64) {
        self.set_modified(now);
        self.set_changed(now);
    }

    /// Makes it that of a new file.
    pub(super) fn renew(&mut self, mode: u32, now: u64) {
        let generation = le32(&self.bytes, GENERATION).wrapping_add(1);
        self.bytes.fill(0);
        put32(&mut self.bytes, GENERATION, generation);
        if self.bytes.len() >= OLD + usize::from(EXTRA_SIZE) {
            put16(&mut self.bytes, EXTRA, EXTRA_SIZE);
        }
        self.set_mode(mode);
        self.set_flags(HAS_EXTENTS);
        self.set_accessed(now);
        self.stamp(now);
        self.set_time(MADE, MADE_MORE, now);
    }

    /// Makes it that of none; `least` is a time that cannot be the number of an inode.
    pub(super) fn clear(&mut self, now: u64, least: u32) {
        self.set_links(0);
        self.set_mode(0);
        self.set_size(0);
        self.set_sectors(0);
        self.set_flags(0);
        self.map_mut().fill(0);
        put32(&mut self.bytes, ATTRIBUTES, 0);
        put16(&mut self.bytes, ATTRIBUTES_HIGH, 0);
        put32(&mut self.bytes, DELETED, ((now / SECOND) as u32).max(least));
    }

    pub(super) fn facts(&self) -> Facts {
        Facts {
            mode: self.mode(),
            links: self.links().into(),
            size: self.size(),
            sectors: self.sectors(),
            accessed: self.time(ACCESSED, ACCESSED_MORE),
            modified: self.time(MODIFIED, MODIFIED_MORE),
            changed: self.time(CHANGED, CHANGED_MORE),
            owner: OWNER
                .map(|(low, high)| u32::from(le16(&self.bytes, high)) << 16 | u32::from(le16(&self.bytes, low))),
        }
    }

    /// What the checksums of its blocks begin with.
    pub(super) fn seed(&self, seed: u32) -> u32 {
        let own = crc(seed, &self.number.to_le_bytes());
        crc(own, self.bytes.get(GENERATION..GENERATION + 4).unwrap_or_default())
    }

    fn sum(&self, seed: u32) -> u32 {
        let (first, rest) = self.bytes.split_at(OLD.min(self.bytes.len()));
        let sum = crc_around(self.seed(seed), first, SUM, 2);
        if self.has_extra(SUM_HIGH + 2) {
            crc_around(sum, rest, SUM_HIGH - OLD, 2)
        } else {
            crc(sum, rest)
        }
    }
}

impl Ext4 {
    /// Where an inode is: a block and an offset.
    fn place_of(&mut self, number: Number) -> Result<(u64, usize)> {
        let index = number.checked_sub(1).filter(|_| number <= self.shape.inodes);
        let index = index.ok_or(Error::EIO)?;
        let group = index / self.shape.inodes_per_group;
        let offset = u64::from(index % self.shape.inodes_per_group) * self.shape.inode_size as u64;
        let table = self.table_of(group)?;
        let size = self.shape.size as u64;
        let block = table.checked_add(offset / size).ok_or(Error::EIO)?;
        Ok((block, (offset % size) as usize))
    }

    /// Reads an inode, whatever is in it.
    pub(super) fn raw_inode(&mut self, number: Number) -> Result<Inode> {
        let (block, at) = self.place_of(number)?;
        let length = self.shape.inode_size;
        let bytes = self.store.read(block)?.get(at..at + length).ok_or(Error::EIO)?.to_vec();
        Ok(Inode { number, bytes })
    }

    /// Reads the inode of a file that is there.
    pub(super) fn inode(&mut self, number: Number) -> Result<Inode> {
        let inode = self.raw_inode(number)?;
        if let Some(seed) = self.shape.sums {
            let (found, sum) = (le16(&inode.bytes, SUM), inode.sum(seed));
            let high = inode.has_extra(SUM_HIGH + 2);
            if found != sum as u16 || high && le16(&inode.bytes, SUM_HIGH) != (sum >> 16) as u16 {
                return Err(Error::EIO);
            }
        }
        if inode.mode() == 0 {
            return Err(Error::EIO);
        }
        Ok(inode)
    }

    /// Writes an inode.
    pub(super) fn put_inode(&mut self, inode: &mut Inode) -> Result<()> {
        if let Some(seed) = self.shape.sums {
            let sum = inode.sum(seed);
            put16(&mut inode.bytes, SUM, sum as u16);
            if inode.has_extra(SUM_HIGH + 2) {
                put16(&mut inode.bytes, SUM_HIGH, (sum >> 16) as u16);
            }
        }
        let (block, at) = self.place_of(inode.number)?;
        let place = self.store.edit(block)?.get_mut(at..at + inode.bytes.len());
        place.ok_or(Error::EIO)?.copy_from_slice(&inode.bytes);
        Ok(())
    }

    /// What `stat` tells.
    ///
    /// # Errors
    /// `EIO`.
    pub fn facts(&mut self, number: Number) -> Result<Facts> {
        Ok(self.inode(number)?.facts())
    }
}
