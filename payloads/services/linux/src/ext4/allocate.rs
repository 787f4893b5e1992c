//! Which blocks and inodes are in use.

use super::bytes::{crc, crc_around, le16, le32, put16, put32};
use super::inode::Inode;
use super::{Ext4, Number, SB_FREE_BLOCKS, SB_FREE_BLOCKS_HIGH, SB_FREE_INODES};
use crate::{Error, Result};
use alloc::vec::Vec;

/// Places in the descriptor of a group; of what has two parts, that of the first.
const BLOCK_MAP: usize = 0;
const INODE_MAP: usize = 4;
const TABLE: usize = 8;
const FREE_BLOCKS: usize = 0x0c;
const FREE_INODES: usize = 0x0e;
const FOLDERS: usize = 0x10;
const FLAGS: usize = 0x12;
const BLOCK_SUM: usize = 0x18;
const INODE_SUM: usize = 0x1a;
const UNUSED: usize = 0x1c;
const SUM: usize = 0x1e;
/// Where the second parts are: that of 32 bits, and that of 16.
const HIGH: usize = 0x20;

/// Flags: the map of inodes, or of blocks, was never written.
const NO_INODE_MAP: u16 = 1;
const NO_BLOCK_MAP: u16 = 2;

/// The descriptor of a group.
#[derive(Clone, Debug)]
struct Group(Vec<u8>);

impl Group {
    fn is_wide(&self) -> bool {
        self.0.len() >= 64
    }

    fn place(&self, at: usize) -> u64 {
        let high = if self.is_wide() { le32(&self.0, HIGH + at) } else { 0 };
        u64::from(high) << 32 | u64::from(le32(&self.0, at))
    }

    fn count(&self, at: usize) -> u32 {
        let high = if self.is_wide() { le16(&self.0, HIGH + at) } else { 0 };
        u32::from(high) << 16 | u32::from(le16(&self.0, at))
    }

    fn set_count(&mut self, at: usize, count: u32) {
        put16(&mut self.0, at, count as u16);
        if self.is_wide() {
            put16(&mut self.0, HIGH + at, (count >> 16) as u16);
        }
    }

    fn flags(&self) -> u16 {
        le16(&self.0, FLAGS)
    }

    fn clear_flag(&mut self, flag: u16) {
        let flags = self.flags() & !flag;
        put16(&mut self.0, FLAGS, flags);
    }

    fn sum(&self, seed: u32, number: u32) -> u16 {
        crc_around(crc(seed, &number.to_le_bytes()), &self.0, SUM, 2) as u16
    }

    /// Whether the checksum of a map is this one.
    fn has_sum(&self, at: usize, sum: u32) -> bool {
        let found = self.count(at);
        found == if self.is_wide() { sum } else { sum & 0xffff }
    }
}

/// Which map of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Map {
    Blocks,
    Inodes,
}

impl Map {
    fn place(self) -> usize {
        if self == Map::Blocks { BLOCK_MAP } else { INODE_MAP }
    }

    fn sum(self) -> usize {
        if self == Map::Blocks { BLOCK_SUM } else { INODE_SUM }
    }

    fn never_written(self) -> u16 {
        if self == Map::Blocks {
            NO_BLOCK_MAP
        } else {
            NO_INODE_MAP
        }
    }

    fn free(self) -> usize {
        if self == Map::Blocks { FREE_BLOCKS } else { FREE_INODES }
    }
}

fn bit(map: &[u8], index: u32) -> bool {
    map.get(index as usize / 8)
        .is_none_or(|byte| byte & 1 << (index % 8) != 0)
}

fn set_bits(map: &mut [u8], first: u32, count: u32, used: bool) {
    for index in first..first.saturating_add(count) {
        if let Some(byte) = map.get_mut(index as usize / 8) {
            *byte = *byte & !(1 << (index % 8)) | u8::from(used) << (index % 8);
        }
    }
}

/// The first run of free bits from `from` on, below `end`: at most so many.
fn free_run(map: &[u8], from: u32, end: u32, most: u32) -> Option<(u32, u32)> {
    let mut first = from;
    while first < end && bit(map, first) {
        let full = first.is_multiple_of(8) && map.get(first as usize / 8) == Some(&0xff);
        first += if full { 8 } else { 1 };
    }
    let length = (first..end)
        .take(most as usize)
        .take_while(|index| !bit(map, *index))
        .count();
    (length > 0).then_some((first, length as u32))
}

impl Ext4 {
    fn descriptor_place(&self, number: u32) -> Result<(u64, usize)> {
        if number >= self.shape.groups {
            return Err(Error::EIO);
        }
        let at = u64::from(number) * self.shape.descriptor as u64;
        let size = self.shape.size as u64;
        Ok((self.shape.first_block + 1 + at / size, (at % size) as usize))
    }

    fn group(&mut self, number: u32) -> Result<Group> {
        let (block, at) = self.descriptor_place(number)?;
        let length = self.shape.descriptor;
        let bytes = self.store.read(block)?.get(at..at + length).ok_or(Error::EIO)?;
        let group = Group(bytes.to_vec());
        if self
            .shape
            .sums
            .is_some_and(|seed| group.sum(seed, number) != le16(&group.0, SUM))
        {
            return Err(Error::EIO);
        }
        Ok(group)
    }

    fn put_group(&mut self, number: u32, group: &mut Group) -> Result<()> {
        if let Some(seed) = self.shape.sums {
            let sum = group.sum(seed, number);
            put16(&mut group.0, SUM, sum);
        }
        let (block, at) = self.descriptor_place(number)?;
        let place = self.store.edit(block)?.get_mut(at..at + group.0.len());
        place.ok_or(Error::EIO)?.copy_from_slice(&group.0);
        Ok(())
    }

    /// Where the inodes of a group are.
    pub(super) fn table_of(&mut self, number: u32) -> Result<u64> {
        Ok(self.group(number)?.place(TABLE))
    }

    fn bits_of(&self, number: u32, map: Map) -> u32 {
        match map {
            Map::Blocks => self.shape.blocks_of(number),
            Map::Inodes => self.shape.inodes_per_group,
        }
    }

    /// A map of a group.
    fn map(&mut self, number: u32, group: &Group, map: Map) -> Result<Vec<u8>> {
        if self.shape.sums.is_some() && group.flags() & map.never_written() != 0 {
            return Ok(self.first_map(number, group, map));
        }
        let bytes = self.store.read(group.place(map.place()))?.to_vec();
        if let Some(sum) = self.sum_of_map(&bytes, map)
            && !group.has_sum(map.sum(), sum)
        {
            return Err(Error::EIO);
        }
        Ok(bytes)
    }

    fn sum_of_map(&self, bytes: &[u8], map: Map) -> Option<u32> {
        let bits = match map {
            Map::Blocks => self.shape.blocks_per_group,
            Map::Inodes => self.shape.inodes_per_group,
        };
        let covered = bytes.get(..bits as usize / 8)?;
        self.shape.sums.map(|seed| crc(seed, covered))
    }

    /// The map of a group that has none on the disk: only what describes the file system itself is in use.
    fn first_map(&self, number: u32, group: &Group, map: Map) -> Vec<u8> {
        let mut bytes = alloc::vec![0; self.shape.size];
        let bits = self.bits_of(number, map);
        set_bits(&mut bytes, bits, 8 * self.shape.size as u32 - bits, true);
        if map == Map::Inodes {
            return bytes;
        }
        let (start, length) = (self.shape.start_of(number), u64::from(bits));
        let table = u64::from(self.shape.inodes_per_group) * self.shape.inode_size as u64;
        let mut used = alloc::vec![
            (group.place(BLOCK_MAP), 1),
            (group.place(INODE_MAP), 1),
            (group.place(TABLE), table.div_ceil(self.shape.size as u64)),
        ];
        if self.shape.has_superblock(number) {
            used.push((start, 1 + self.shape.descriptor_blocks() + self.shape.reserved));
        }
        for (place, count) in used {
            let (first, end) = (place.max(start), place.saturating_add(count).min(start + length));
            if first < end {
                set_bits(&mut bytes, (first - start) as u32, (end - first) as u32, true);
            }
        }
        bytes
    }

    /// Writes a map of a group and what its descriptor says of it; `freed` more are free now than before.
    fn put_map(&mut self, number: u32, group: &mut Group, map: Map, bytes: &[u8], freed: i64) -> Result<()> {
        group.clear_flag(map.never_written());
        if let Some(sum) = self.sum_of_map(bytes, map) {
            group.set_count(map.sum(), sum);
        }
        let free = u32::try_from(i64::from(group.count(map.free())) + freed).map_err(|_| Error::EIO)?;
        group.set_count(map.free(), free);
        self.store.fresh(group.place(map.place()))?.copy_from_slice(bytes);
        self.put_group(number, group)?;
        let wide = group.is_wide();
        self.edit_superblock(|sb| {
            if map == Map::Inodes {
                let free = i64::from(le32(sb, SB_FREE_INODES)) + freed;
                put32(sb, SB_FREE_INODES, free as u32);
                return;
            }
            let high = if wide {
                u64::from(le32(sb, SB_FREE_BLOCKS_HIGH))
            } else {
                0
            };
            let free = (high << 32 | u64::from(le32(sb, SB_FREE_BLOCKS))).wrapping_add_signed(freed);
            put32(sb, SB_FREE_BLOCKS, free as u32);
            if wide {
                put32(sb, SB_FREE_BLOCKS_HIGH, (free >> 32) as u32);
            }
        })
    }

    /// A block that is near an inode.
    pub(super) fn near(&self, number: Number) -> u64 {
        let group = number.saturating_sub(1) / self.shape.inodes_per_group;
        self.shape.start_of(group)
    }

    /// Takes free blocks that are next to each other, at `goal` if those are free: the first one, and how many, at most `most`.
    pub(super) fn allocate(&mut self, goal: u64, most: u32) -> Result<(u64, u32)> {
        let goal = goal.clamp(self.shape.first_block, self.shape.blocks - 1) - self.shape.first_block;
        let first = (goal / u64::from(self.shape.blocks_per_group)) as u32;
        let inside = (goal % u64::from(self.shape.blocks_per_group)) as u32;
        // The group of the goal comes again at the end, from its beginning.
        for step in 0..=self.shape.groups {
            let number = ((u64::from(first) + u64::from(step)) % u64::from(self.shape.groups)) as u32;
            let mut group = self.group(number)?;
            if group.count(FREE_BLOCKS) == 0 {
                continue;
            }
            let mut map = self.map(number, &group, Map::Blocks)?;
            let from = if step == 0 { inside } else { 0 };
            let Some((start, length)) = free_run(&map, from, self.shape.blocks_of(number), most) else {
                continue;
            };
            set_bits(&mut map, start, length, true);
            self.put_map(number, &mut group, Map::Blocks, &map, -i64::from(length))?;
            return Ok((self.shape.start_of(number) + u64::from(start), length));
        }
        Err(Error::ENOSPC)
    }

    /// Gives blocks back.
    pub(super) fn free(&mut self, place: u64, length: u32) -> Result<()> {
        let mut place = place;
        let mut left = length;
        while left > 0 {
            let offset = place.checked_sub(self.shape.first_block).ok_or(Error::EIO)?;
            let number = u32::try_from(offset / u64::from(self.shape.blocks_per_group)).map_err(|_| Error::EIO)?;
            let inside = (offset % u64::from(self.shape.blocks_per_group)) as u32;
            let mut group = self.group(number)?;
            let part = left.min(self.shape.blocks_of(number).saturating_sub(inside));
            let mut map = self.map(number, &group, Map::Blocks)?;
            if part == 0 || (inside..inside + part).any(|index| !bit(&map, index)) {
                return Err(Error::EIO);
            }
            set_bits(&mut map, inside, part, false);
            self.put_map(number, &mut group, Map::Blocks, &map, part.into())?;
            place += u64::from(part);
            left -= part;
        }
        Ok(())
    }

    /// Takes a free inode, near that of a folder; what was in it before.
    pub(super) fn take_inode(&mut self, near: Number, folder: bool) -> Result<Inode> {
        let first = near.saturating_sub(1) / self.shape.inodes_per_group;
        for step in 0..self.shape.groups {
            let number = ((u64::from(first) + u64::from(step)) % u64::from(self.shape.groups)) as u32;
            let mut group = self.group(number)?;
            if group.count(FREE_INODES) == 0 {
                continue;
            }
            let mut map = self.map(number, &group, Map::Inodes)?;
            let start = number * self.shape.inodes_per_group;
            let from = self.shape.first_inode.saturating_sub(1).saturating_sub(start);
            let Some((index, _)) = free_run(&map, from, self.shape.inodes_per_group, 1) else {
                continue;
            };
            set_bits(&mut map, index, 1, true);
            if self.shape.sums.is_some() {
                let unused = self.shape.inodes_per_group - index - 1;
                let before = group.count(UNUSED);
                group.set_count(UNUSED, unused.min(before));
            }
            if folder {
                let folders = group.count(FOLDERS).saturating_add(1);
                group.set_count(FOLDERS, folders);
            }
            self.put_map(number, &mut group, Map::Inodes, &map, -1)?;
            return self.raw_inode(start + index + 1);
        }
        Err(Error::ENOSPC)
    }

    /// Gives an inode back.
    pub(super) fn give_inode(&mut self, number: Number, folder: bool) -> Result<()> {
        let index = number.checked_sub(1).ok_or(Error::EIO)?;
        let (number, index) = (index / self.shape.inodes_per_group, index % self.shape.inodes_per_group);
        let mut group = self.group(number)?;
        let mut map = self.map(number, &group, Map::Inodes)?;
        if !bit(&map, index) {
            return Err(Error::EIO);
        }
        set_bits(&mut map, index, 1, false);
        if folder {
            let folders = group.count(FOLDERS).saturating_sub(1);
            group.set_count(FOLDERS, folders);
        }
        self.put_map(number, &mut group, Map::Inodes, &map, 1)
    }
}
