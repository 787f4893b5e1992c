//! ext4 on a disk, reading and writing.
//!
//! The host's `mke2fs` makes such a file system, its `e2fsck` finds it in order, and Linux mounts it. Whatever a disk holds is an
//! allegation: numbers are checked where they are used, walks are bounded by what the disk can hold, and what does not fit
//! together is `EIO`. Every operation happens as a whole or not at all: `store` takes it back where it fails halfway, and
//! commits it together with others.
//!
//! What it does not write: files without extents, and file systems with features that change what is written elsewhere; those
//! can be read.

mod allocate;
mod bytes;
mod extents;
mod folder;
mod inode;
mod journal;
mod operations;
mod store;

use crate::{Error, Result};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use bytes::{crc, le16, le32, put32};
use core::fmt;
use store::Store;

pub use folder::Entry;
pub use inode::Facts;
pub use operations::Name;

/// Number of an inode.
pub type Number = u32;

/// The inode of `/`.
pub const ROOT: Number = 2;
/// Bytes of a sector.
pub const SECTOR: usize = 512;

/// Where the superblock is, and its bytes.
const SUPERBLOCK: u64 = 1024;
const SIZE: usize = 1024;
/// Most blocks that are committed without being asked for are this old, in nanoseconds.
const AGE: u64 = 5_000_000_000;

/// Places in the superblock.
const SB_FREE_BLOCKS: usize = 0x0c;
const SB_FREE_INODES: usize = 0x10;
const SB_MAGIC: usize = 0x38;
const SB_STATE: usize = 0x3a;
const SB_INCOMPATIBLE: usize = 0x60;
const SB_ORPHAN: usize = 0xe8;
const SB_FREE_BLOCKS_HIGH: usize = 0x158;
const SB_SUM: usize = 0x3fc;

/// Features: what has to be known to read, or to write.
const JOURNAL: u32 = 0x4;
const SPARSE_2: u32 = 0x200;
const FILE_TYPES: u32 = 0x2;
const RECOVER: u32 = 0x4;
const EXTENTS: u32 = 0x40;
const WIDE: u32 = 0x80;
const FLEXIBLE_GROUPS: u32 = 0x200;
const SUM_SEED: u32 = 0x2000;
const READABLE: u32 = FILE_TYPES | RECOVER | EXTENTS | WIDE | FLEXIBLE_GROUPS | SUM_SEED;
const SUMS: u32 = 0x400;
/// Sparse superblocks, large files, huge files, many folders in one, larger inodes, checksums.
const WRITABLE: u32 = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | SUMS;

/// A disk.
pub trait Disk {
    /// How many sectors it has.
    fn sectors(&self) -> u64;

    /// Whether it can only be read.
    fn is_read_only(&self) -> bool;

    /// Reads whole sectors.
    ///
    /// # Errors
    /// `EIO`.
    fn read(&mut self, sector: u64, to: &mut [u8]) -> Result<()>;

    /// Writes whole sectors.
    ///
    /// # Errors
    /// `EIO`.
    fn write(&mut self, sector: u64, from: &[u8]) -> Result<()>;

    /// What was written before outlasts a loss of power from now on.
    ///
    /// # Errors
    /// `EIO`.
    fn flush(&mut self) -> Result<()>;
}

/// Why there is no file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The disk does not hold one.
    None,
    /// It needs something that is not there.
    Needs(&'static str),
    /// It has features that are not known.
    Features(u32),
    /// This of it is damaged.
    Damaged(&'static str),
    /// The disk cannot be read or written, or there is no memory.
    Error(Error),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::None => f.write_str("no ext4 is on it: on the host, mke2fs -t ext4 IMAGE"),
            Problem::Needs(what) => write!(f, "it needs {what}"),
            Problem::Features(features) => write!(f, "features that are not there: {features:#x}"),
            Problem::Damaged(what) => write!(f, "{what} is damaged: on the host, e2fsck -f IMAGE"),
            Problem::Error(error) => write!(f, "{error:?}"),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        Problem::Error(error)
    }
}

/// What does not change while a file system is mounted.
#[derive(Debug)]
struct Shape {
    size: usize,
    blocks: u64,
    inodes: u32,
    first_block: u64,
    blocks_per_group: u32,
    inodes_per_group: u32,
    groups: u32,
    inode_size: usize,
    first_inode: u32,
    /// Bytes of a group's descriptor.
    descriptor: usize,
    /// Blocks behind the superblock that are there for more descriptors.
    reserved: u64,
    /// Whether superblocks are only in some groups.
    sparse: bool,
    /// What checksums begin with, where there are some.
    sums: Option<u32>,
}

/// A file system.
#[derive(Debug)]
pub struct Ext4 {
    store: Store,
    shape: Shape,
    /// When something was changed that is not committed.
    since: Option<u64>,
}

/// Marks in a superblock whether there may be something in the journal.
fn set_recovery(superblock: &mut [u8], set: bool) {
    let others = le32(superblock, SB_INCOMPATIBLE) & !RECOVER;
    put32(superblock, SB_INCOMPATIBLE, others | if set { RECOVER } else { 0 });
    seal_superblock(superblock);
}

fn seal_superblock(superblock: &mut [u8]) {
    if le32(superblock, 0x64) & SUMS != 0 {
        let sum = crc(!0, superblock.get(..SB_SUM).unwrap_or_default());
        put32(superblock, SB_SUM, sum);
    }
}

fn is_power(number: u32, base: u32) -> bool {
    let mut power = base;
    while power < number {
        power = power.saturating_mul(base);
    }
    power == number
}

/// Whether a superblock is as its checksum says. A disk that has lost its power while the mark of the journal was written may have
/// one of its two sectors only; all else in them is the same.
fn is_sound(superblock: &[u8]) -> bool {
    let (bytes, sum) = (superblock.get(..SB_SUM).unwrap_or_default(), le32(superblock, SB_SUM));
    let mut other = bytes.to_vec();
    let features = le32(bytes, SB_INCOMPATIBLE);
    put32(&mut other, SB_INCOMPATIBLE, features ^ RECOVER);
    le32(bytes, 0x64) & SUMS == 0 || crc(!0, bytes) == sum || crc(!0, &other) == sum
}

impl Shape {
    fn read(sb: &[u8], sectors: u64) -> core::result::Result<Shape, Problem> {
        const DAMAGED: Problem = Problem::Damaged("its superblock");
        if le16(sb, SB_MAGIC) != 0xef53 {
            return Err(Problem::None);
        }
        let incompatible = le32(sb, SB_INCOMPATIBLE);
        if incompatible & !READABLE != 0 {
            return Err(Problem::Features(incompatible & !READABLE));
        }
        if incompatible & FILE_TYPES == 0 || le32(sb, 0x4c) == 0 {
            return Err(Problem::Needs("the feature filetype, which mke2fs -t ext4 gives it"));
        }
        let has_sums = le32(sb, 0x64) & SUMS != 0;
        let seed = if incompatible & SUM_SEED != 0 {
            le32(sb, 0x270)
        } else {
            crc(!0, &sb[0x68..0x78])
        };
        let log = le32(sb, 0x18);
        if log > 2 {
            return Err(Problem::Needs(
                "blocks of 1, 2 or 4 KiB: make it with mke2fs -t ext4 -b 4096",
            ));
        }
        let size = 1024_usize << log;
        let wide = incompatible & WIDE != 0;
        let high = if wide { u64::from(le32(sb, 0x150)) } else { 0 };
        let shape = Shape {
            size,
            blocks: high << 32 | u64::from(le32(sb, 4)),
            inodes: le32(sb, 0),
            first_block: le32(sb, 0x14).into(),
            blocks_per_group: le32(sb, 0x20),
            inodes_per_group: le32(sb, 0x28),
            groups: 0,
            inode_size: le16(sb, 0x58).into(),
            first_inode: le32(sb, 0x54),
            descriptor: if wide { le16(sb, 0xfe).into() } else { 32 },
            reserved: le16(sb, 0xce).into(),
            sparse: le32(sb, 0x64) & 1 != 0,
            sums: has_sums.then_some(seed),
        };
        let bits = 8 * size as u32;
        let in_order = shape.first_block == u64::from(size == 1024)
            && (1..=bits).contains(&shape.blocks_per_group)
            && (1..=bits).contains(&shape.inodes_per_group)
            && shape.inode_size.is_power_of_two()
            && (128..=size).contains(&shape.inode_size)
            && shape.descriptor.is_power_of_two()
            && (if wide { 64 } else { 32 }..=size).contains(&shape.descriptor)
            && shape.blocks > shape.first_block
            && shape.blocks < 1 << 48;
        if !in_order {
            return Err(DAMAGED);
        }
        if shape.blocks > sectors / (size / SECTOR) as u64 {
            return Err(Problem::Damaged("its size, which is more than the disk's,"));
        }
        let groups = (shape.blocks - shape.first_block).div_ceil(shape.blocks_per_group.into());
        let groups = u32::try_from(groups).map_err(|_| DAMAGED)?;
        if u64::from(groups) * u64::from(shape.inodes_per_group) != u64::from(shape.inodes) {
            return Err(DAMAGED);
        }
        Ok(Shape { groups, ..shape })
    }

    /// Blocks of descriptors.
    fn descriptor_blocks(&self) -> u64 {
        (u64::from(self.groups) * self.descriptor as u64).div_ceil(self.size as u64)
    }

    fn has_superblock(&self, group: u32) -> bool {
        !self.sparse || group <= 1 || [3, 5, 7].iter().any(|base| is_power(group, *base))
    }

    /// The first block of a group.
    fn start_of(&self, group: u32) -> u64 {
        self.first_block + u64::from(group) * u64::from(self.blocks_per_group)
    }

    /// How many blocks a group has.
    fn blocks_of(&self, group: u32) -> u32 {
        let left = self.blocks.saturating_sub(self.start_of(group));
        left.min(self.blocks_per_group.into()) as u32
    }
}

impl Ext4 {
    /// Finds the file system of a disk, and brings it in order: replays its journal, and frees files that were open without a
    /// name. Whether it had to be.
    ///
    /// # Errors
    /// Why there is none.
    pub fn mount(mut disk: Box<dyn Disk + Send>, now: u64) -> core::result::Result<(Ext4, bool), Problem> {
        let sectors = disk.sectors();
        let mut superblock = vec![0; SIZE];
        if sectors < 4 {
            return Err(Problem::None);
        }
        disk.read(SUPERBLOCK / SECTOR as u64, &mut superblock)?;
        let shape = Shape::read(&superblock, sectors)?;
        let (compatible, incompatible, for_writing) = (
            le32(&superblock, 0x5c),
            le32(&superblock, SB_INCOMPATIBLE),
            le32(&superblock, 0x64),
        );
        let has_journal = compatible & JOURNAL != 0;
        let writable = !disk.is_read_only()
            && has_journal
            && compatible & SPARSE_2 == 0
            && for_writing & !WRITABLE == 0
            && incompatible & EXTENTS != 0
            && le16(&superblock, SB_STATE) & 2 == 0;
        let (journal, wide) = (le32(&superblock, 0xe0), incompatible & WIDE != 0);
        let sums = shape.sums.is_some();
        let store = Store::new(disk, shape.size, shape.blocks);
        let mut found = Ext4 {
            store,
            shape,
            since: None,
        };
        let mut replayed = false;
        if has_journal {
            let runs = found.runs_of_journal(journal)?;
            replayed = found.store.open(runs, writable, wide, sums)?;
        }
        // The superblock may be another one now: its place may have been half written, but then the journal has all of it.
        let superblock = found.superblock()?.to_vec();
        if !is_sound(&superblock) {
            return Err(Problem::Damaged("its superblock"));
        }
        found.shape = Shape::read(&superblock, sectors)?;
        if writable {
            replayed |= found.free_orphans(now)?;
            found.store.commit(now)?;
            found.store.settle()?;
        }
        Ok((found, replayed))
    }

    /// Whether it can only be read.
    pub fn is_read_only(&self) -> bool {
        self.store.is_read_only()
    }

    fn superblock(&mut self) -> Result<&[u8]> {
        let size = self.shape.size as u64;
        let place = (SUPERBLOCK % size) as usize;
        let block = self.store.read(SUPERBLOCK / size)?;
        block.get(place..place + SIZE).ok_or(Error::EIO)
    }

    /// Changes the superblock. What is committed of it always says that there is something in the journal.
    fn edit_superblock(&mut self, change: impl FnOnce(&mut [u8])) -> Result<()> {
        let size = self.shape.size as u64;
        let place = (SUPERBLOCK % size) as usize;
        let block = self.store.edit(SUPERBLOCK / size)?;
        let superblock = block.get_mut(place..place + SIZE).ok_or(Error::EIO)?;
        change(superblock);
        set_recovery(superblock, true);
        Ok(())
    }

    /// Carries out an operation, as a whole or not at all.
    fn whole<R>(&mut self, now: u64, operation: impl FnOnce(&mut Ext4) -> Result<R>) -> Result<R> {
        if self.store.is_read_only() {
            return Err(Error::EROFS);
        }
        if self.since.is_some_and(|since| now.saturating_sub(since) >= AGE) {
            self.commit(now)?;
        }
        self.store.begin(now)?;
        let done = operation(self);
        if done.is_err() {
            self.store.undo();
        }
        self.since = self.store.is_changed().then_some(self.since.unwrap_or(now));
        done
    }

    /// What has been written outlasts a loss of power from now on.
    ///
    /// # Errors
    /// `EIO` when the disk has failed; nothing can be written any more then.
    pub fn commit(&mut self, now: u64) -> Result<()> {
        self.since = None;
        self.store.commit(now)
    }

    /// As [`commit`](Ext4::commit), and nothing is left in the journal.
    ///
    /// # Errors
    /// As there.
    pub fn finish(&mut self, now: u64) -> Result<()> {
        self.commit(now)?;
        self.store.settle()
    }

    /// Bytes of a block, blocks, those that are free, files, and how many there can still be.
    ///
    /// # Errors
    /// `EIO`.
    pub fn room(&mut self) -> Result<[u64; 5]> {
        let (size, blocks, inodes) = (self.shape.size as u64, self.shape.blocks, self.shape.inodes);
        let wide = self.shape.descriptor > 32;
        let sb = self.superblock()?;
        let high = if wide {
            u64::from(le32(sb, SB_FREE_BLOCKS_HIGH))
        } else {
            0
        };
        let free = high << 32 | u64::from(le32(sb, SB_FREE_BLOCKS));
        Ok([size, blocks, free, inodes.into(), le32(sb, SB_FREE_INODES).into()])
    }

    /// The blocks of the journal.
    fn runs_of_journal(&mut self, number: Number) -> core::result::Result<Vec<journal::Run>, Problem> {
        const DAMAGED: Problem = Problem::Damaged("its journal");
        let inode = self.inode(number).map_err(|_| DAMAGED)?;
        let extents = self.extents(&inode).map_err(|_| DAMAGED)?.list;
        let mut next = 0;
        let mut runs = Vec::new();
        for extent in extents {
            if extent.first != next {
                return Err(DAMAGED);
            }
            next += extent.length;
            runs.push(journal::Run {
                place: extent.place,
                length: extent.length.into(),
            });
        }
        Ok(runs)
    }
}
