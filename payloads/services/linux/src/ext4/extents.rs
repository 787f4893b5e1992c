//! The bytes of a file: which blocks of the disk they are.

use super::bytes::{crc, le16, le32, put16, put32};
use super::inode::Inode;
use super::{Ext4, Number, SECTOR};
use crate::{Error, Result};
use alloc::vec::Vec;

const MAGIC: u16 = 0xf30a;
/// Bytes of a node's header, and of what follows it.
const HEADER: usize = 12;
const ENTRY: usize = 12;
/// Entries of the node in an inode; levels below it, at most.
const INLINE: usize = 4;
const DEPTH: u16 = 5;
/// Most blocks of an extent; from this length on it is one that nothing was written to.
const LONGEST: u32 = 0x8000;
/// Most extents of a file: all that says where they are fits into the smallest journal.
const MOST: usize = 20_000;
/// Most blocks that one operation writes, and most extents that it gives back, so that it fits there, too.
const WRITES: usize = 32;
const CUTS: usize = 64;
/// Most blocks of a file.
pub(super) const MOST_BLOCKS: u64 = u32::MAX as u64 - 1;

/// Blocks of a file that are next to each other on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) first: u32,
    pub(super) length: u32,
    pub(super) place: u64,
    /// Whether something was written to them; else they are zero, whatever the disk holds.
    pub(super) written: bool,
}

impl Extent {
    fn end(&self) -> u32 {
        self.first.saturating_add(self.length)
    }

    /// The part from a block on, which lies in it.
    fn from(&self, first: u32) -> Extent {
        let skipped = first - self.first;
        Extent {
            first,
            length: self.length - skipped,
            place: self.place + u64::from(skipped),
            written: self.written,
        }
    }

    /// The part before a block, which lies in it.
    fn before(&self, end: u32) -> Extent {
        Extent {
            length: end - self.first,
            ..*self
        }
    }

    fn continues(&self, next: &Extent) -> bool {
        self.end() == next.first
            && self.place + u64::from(self.length) == next.place
            && self.written == next.written
            && self.length + next.length < LONGEST
    }
}

/// All extents of a file, in order, and the blocks that say so.
#[derive(Debug, Default)]
pub(super) struct Extents {
    pub(super) list: Vec<Extent>,
    nodes: Vec<u64>,
}

impl Extents {
    fn index(&self, block: u32) -> usize {
        self.list.partition_point(|extent| extent.end() <= block)
    }

    /// The extent that a block is in, from there on.
    pub(super) fn find(&self, block: u32) -> Option<Extent> {
        let extent = self.list.get(self.index(block))?;
        (extent.first <= block).then(|| extent.from(block))
    }

    /// The first block behind this one that there is something for.
    fn next(&self, block: u32) -> u32 {
        self.list
            .get(self.index(block))
            .map_or(u32::MAX, |extent| extent.first.max(block))
    }

    /// Where the block before this one is.
    fn goal(&self, block: u32) -> Option<u64> {
        let before = self.list.get(self.index(block).checked_sub(1)?)?;
        Some(before.place + u64::from(before.length))
    }

    /// Adds an extent where there was none.
    fn add(&mut self, extent: Extent) {
        let mut index = self.index(extent.first);
        self.list.insert(index, extent);
        for _ in 0..2 {
            let Some([left, right]) = index.checked_sub(1).and_then(|left| self.list.get(left..=index)) else {
                index += 1;
                continue;
            };
            if left.continues(right) {
                let length = right.length;
                self.list[index - 1].length += length;
                self.list.remove(index);
            } else {
                index += 1;
            }
        }
    }

    /// Takes away what begins at a block or behind it; the blocks of the disk that are not used any more.
    fn cut(&mut self, end: u32) -> Vec<(u64, u32)> {
        let mut freed = Vec::new();
        while let Some(last) = self.list.last_mut().filter(|last| last.end() > end) {
            let gone = if last.first >= end { *last } else { last.from(end) };
            freed.push((gone.place, gone.length));
            if last.first >= end {
                self.list.pop();
            } else {
                *last = last.before(end);
            }
        }
        freed
    }

    /// Something is written to blocks that an extent is there for.
    fn mark(&mut self, first: u32, length: u32) {
        let index = self.index(first);
        let Some(whole) = self.list.get(index).copied().filter(|whole| whole.first <= first) else {
            return;
        };
        let end = first.saturating_add(length).min(whole.end());
        self.list.remove(index);
        if end < whole.end() {
            self.list.insert(index, whole.from(end));
        }
        let middle = whole.from(first).before(end);
        if whole.first < first {
            self.list.insert(index, whole.before(first));
        }
        self.add(Extent {
            written: true,
            ..middle
        });
    }

    /// How many blocks of the disk there are.
    fn blocks(&self) -> u64 {
        let data: u64 = self.list.iter().map(|extent| u64::from(extent.length)).sum();
        data + self.nodes.len() as u64
    }
}

/// The header of a node: how many entries it has and how many there can be, and how many levels are below it.
fn header(node: &[u8]) -> Result<(usize, usize, u16)> {
    let (entries, most, depth) = (le16(node, 2), le16(node, 4), le16(node, 6));
    let room = node.len().saturating_sub(HEADER) / ENTRY;
    if le16(node, 0) != MAGIC || entries > most || usize::from(most) > room || depth > DEPTH {
        return Err(Error::EIO);
    }
    Ok((entries.into(), most.into(), depth))
}

fn put_header(node: &mut [u8], entries: usize, most: usize, depth: u16) {
    put16(node, 0, MAGIC);
    put16(node, 2, entries as u16);
    put16(node, 4, most as u16);
    put16(node, 6, depth);
    put32(node, 8, 0);
}

fn put_extent(node: &mut [u8], index: usize, extent: &Extent) {
    let at = HEADER + index * ENTRY;
    let length = extent.length + if extent.written { 0 } else { LONGEST };
    put32(node, at, extent.first);
    put16(node, at + 4, length as u16);
    put16(node, at + 6, (extent.place >> 32) as u16);
    put32(node, at + 8, extent.place as u32);
}

fn put_index(node: &mut [u8], index: usize, first: u32, place: u64) {
    let at = HEADER + index * ENTRY;
    put32(node, at, first);
    put32(node, at + 4, place as u32);
    put16(node, at + 8, (place >> 32) as u16);
    put16(node, at + 10, 0);
}

impl Ext4 {
    /// All extents of a file.
    pub(super) fn extents(&mut self, inode: &Inode) -> Result<Extents> {
        if !inode.has_extents() {
            return Err(Error::EOPNOTSUPP);
        }
        let mut found = Extents::default();
        self.collect(inode, inode.map(), None, &mut found)?;
        Ok(found)
    }

    fn collect(&mut self, inode: &Inode, node: &[u8], level: Option<u16>, found: &mut Extents) -> Result<()> {
        let (entries, _, depth) = header(node)?;
        // A node that leads nowhere could be there over and over again.
        if level.is_some_and(|level| depth != level || entries == 0) {
            return Err(Error::EIO);
        }
        for index in 0..entries {
            let at = HEADER + index * ENTRY;
            let first = le32(node, at);
            if depth > 0 {
                let place = u64::from(le16(node, at + 8)) << 32 | u64::from(le32(node, at + 4));
                let child = self.store.read(place)?.to_vec();
                self.check_node(inode, &child)?;
                found.nodes.push(place);
                self.collect(inode, &child, Some(depth - 1), found)?;
                continue;
            }
            let length = u32::from(le16(node, at + 4));
            let place = u64::from(le16(node, at + 6)) << 32 | u64::from(le32(node, at + 8));
            let written = length <= LONGEST;
            let length = if written { length } else { length - LONGEST };
            let follows = found.list.last().is_none_or(|last| last.end() <= first);
            let fits = place > self.shape.first_block && place + u64::from(length) <= self.shape.blocks;
            if length == 0 || !follows || !fits || first.checked_add(length).is_none() {
                return Err(Error::EIO);
            }
            if found.list.len() == MOST {
                return Err(Error::ENOMEM);
            }
            found.list.push(Extent {
                first,
                length,
                place,
                written,
            });
        }
        Ok(())
    }

    fn check_node(&self, inode: &Inode, node: &[u8]) -> Result<()> {
        let (_, most, _) = header(node)?;
        let end = HEADER + most * ENTRY;
        if let Some(seed) = self.shape.sums {
            let sum = crc(inode.seed(seed), node.get(..end).unwrap_or_default());
            if end + 4 > node.len() || le32(node, end) != sum {
                return Err(Error::EIO);
            }
        }
        Ok(())
    }

    /// Writes what the extents of a file are; the inode is to be written afterwards.
    fn put_extents(&mut self, inode: &mut Inode, extents: &mut Extents) -> Result<()> {
        let most = (self.shape.size - HEADER) / ENTRY;
        let list = &extents.list;
        // The nodes from the last level on: what each of them holds.
        let leaves = if list.len() <= INLINE {
            0
        } else {
            list.len().div_ceil(most)
        };
        let middles = if leaves <= INLINE { 0 } else { leaves.div_ceil(most) };
        if middles > INLINE {
            return Err(Error::EFBIG);
        }
        while extents.nodes.len() > leaves + middles {
            if let Some(gone) = extents.nodes.pop() {
                self.free(gone, 1)?;
            }
        }
        while extents.nodes.len() < leaves + middles {
            let goal = extents.list.last().map_or(0, |last| last.place);
            let (place, _) = self.allocate(goal, 1)?;
            extents.nodes.push(place);
        }
        let (leaf_places, middle_places) = extents.nodes.split_at(leaves);
        let mut below: Vec<(u32, u64)> = Vec::new();
        for (part, place) in extents.list.chunks(most).zip(leaf_places) {
            let seed = self.shape.sums.map(|seed| inode.seed(seed));
            let node = self.store.fresh(*place)?;
            put_header(node, part.len(), most, 0);
            part.iter()
                .enumerate()
                .for_each(|(index, extent)| put_extent(node, index, extent));
            seal(node, most, seed);
            below.push((part[0].first, *place));
        }
        if middles > 0 {
            let leaves = core::mem::take(&mut below);
            for (part, place) in leaves.chunks(most).zip(middle_places) {
                let seed = self.shape.sums.map(|seed| inode.seed(seed));
                let node = self.store.fresh(*place)?;
                put_header(node, part.len(), most, 1);
                for (index, (first, place)) in part.iter().enumerate() {
                    put_index(node, index, *first, *place);
                }
                seal(node, most, seed);
                below.push((part[0].0, *place));
            }
        }
        let map = inode.map_mut();
        map.fill(0);
        if leaves == 0 {
            put_header(map, extents.list.len(), INLINE, 0);
            for (index, extent) in extents.list.iter().enumerate() {
                put_extent(map, index, extent);
            }
        } else {
            put_header(map, below.len(), INLINE, if middles > 0 { 2 } else { 1 });
            for (index, (first, place)) in below.iter().enumerate() {
                put_index(map, index, *first, *place);
            }
        }
        let attributes = u64::from(inode.attributes() != 0);
        inode.set_sectors((extents.blocks() + attributes) * (self.shape.size / SECTOR) as u64);
        Ok(())
    }

    /// The inode of a new file has no extents.
    pub(super) fn put_no_extents(&mut self, inode: &mut Inode) -> Result<()> {
        self.put_extents(inode, &mut Extents::default())
    }

    /// Where block `block` of a file is on the disk; none where it is zero.
    pub(super) fn block_of(&self, extents: &Extents, block: u32) -> Option<u64> {
        extents
            .find(block)
            .filter(|extent| extent.written)
            .map(|extent| extent.place)
    }

    /// Copies from the bytes of an inode; how many.
    pub(super) fn read_from(&mut self, inode: &Inode, offset: u64, to: &mut [u8]) -> Result<usize> {
        let count = inode.size().saturating_sub(offset).min(to.len() as u64) as usize;
        if count == 0 {
            return Ok(0);
        }
        let extents = self.extents(inode)?;
        let size = self.shape.size;
        let mut done = 0;
        while done < count {
            let at = offset + done as u64;
            let inside = (at % size as u64) as usize;
            let part = &mut to[done..count];
            let length = part.len().min(size - inside);
            let block = u32::try_from(at / size as u64).map_err(|_| Error::EIO)?;
            match self.block_of(&extents, block) {
                Some(place) => part[..length].copy_from_slice(&self.store.read(place)?[inside..inside + length]),
                None => part[..length].fill(0),
            }
            done += length;
        }
        Ok(count)
    }

    /// Copies to the bytes of an inode, which is to be written afterwards.
    pub(super) fn write_to(&mut self, inode: &mut Inode, offset: u64, from: &[u8]) -> Result<()> {
        let size = self.shape.size as u64;
        let end = offset.checked_add(from.len() as u64).ok_or(Error::EFBIG)?;
        if end.div_ceil(size) > MOST_BLOCKS {
            return Err(Error::EFBIG);
        }
        if from.is_empty() {
            return Ok(());
        }
        let mut extents = self.extents(inode)?;
        let (first, last) = ((offset / size) as u32, ((end - 1) / size) as u32);
        let mut changed = false;
        let mut done = 0;
        for block in first..=last {
            let inside = if block == first { offset % size } else { 0 } as usize;
            let length = (from.len() - done).min(size as usize - inside);
            let mut found = extents.find(block);
            let mut new = length == size as usize;
            if found.is_none_or(|extent| !extent.written) {
                (changed, new) = (true, true);
                if found.is_none() {
                    let wanted = extents.next(block).min(last + 1) - block;
                    let goal = extents.goal(block).unwrap_or_else(|| self.near(inode.number));
                    let (place, length) = self.allocate(goal, wanted.min(LONGEST - 1))?;
                    // Only what is written is told to be; the rest is, by the blocks that follow.
                    extents.add(Extent {
                        first: block,
                        length,
                        place,
                        written: false,
                    });
                }
                extents.mark(block, 1);
                found = extents.find(block);
            }
            let place = found.ok_or(Error::EIO)?.place;
            let bytes = if new {
                self.store.fresh(place)?
            } else {
                self.store.edit(place)?
            };
            bytes[inside..inside + length].copy_from_slice(&from[done..done + length]);
            done += length;
        }
        if changed {
            self.put_extents(inode, &mut extents)?;
        }
        if end > inode.size() {
            inode.set_size(end);
        }
        Ok(())
    }

    /// Gives an inode, which is to be written afterwards, a number of bytes.
    pub(super) fn resize_to(&mut self, inode: &mut Inode, length: u64) -> Result<()> {
        let size = self.shape.size as u64;
        if length.div_ceil(size) > MOST_BLOCKS {
            return Err(Error::EFBIG);
        }
        if length < inode.size() {
            let mut extents = self.extents(inode)?;
            let freed = extents.cut(length.div_ceil(size) as u32);
            for (place, count) in &freed {
                self.free(*place, *count)?;
            }
            let inside = (length % size) as usize;
            // What is cut off is zero when the file grows again.
            if inside != 0
                && let Some(place) = self.block_of(&extents, (length / size) as u32)
            {
                self.store.edit(place)?[inside..].fill(0);
            }
            if !freed.is_empty() {
                self.put_extents(inode, &mut extents)?;
            }
        }
        inode.set_size(length);
        Ok(())
    }

    /// Copies from a file; how many bytes.
    ///
    /// # Errors
    /// `EIO`; `EISDIR` for a folder, `EINVAL` for what has no bytes.
    pub fn read(&mut self, number: Number, offset: u64, to: &mut [u8]) -> Result<usize> {
        let inode = self.file(number)?;
        self.read_from(&inode, offset, to)
    }

    /// Copies to a file.
    ///
    /// # Errors
    /// As of [`read`](Ext4::read); `ENOSPC`, `EFBIG`, `EROFS`.
    pub fn write(&mut self, number: Number, offset: u64, from: &[u8], now: u64) -> Result<()> {
        let mut offset = offset;
        for part in from.chunks(WRITES * self.shape.size) {
            self.whole(now, |disk| {
                let mut inode = disk.file(number)?;
                inode.check_writable()?;
                disk.write_to(&mut inode, offset, part)?;
                inode.stamp(now);
                disk.put_inode(&mut inode)
            })?;
            offset += part.len() as u64;
        }
        Ok(())
    }

    /// Gives a file a length.
    ///
    /// # Errors
    /// As of [`write`](Ext4::write).
    pub fn resize(&mut self, number: Number, length: u64, now: u64) -> Result<()> {
        self.file(number)?.check_writable()?;
        self.shorten(number, length, now)?;
        self.whole(now, |disk| {
            let mut inode = disk.file(number)?;
            disk.resize_to(&mut inode, length)?;
            inode.stamp(now);
            disk.put_inode(&mut inode)
        })
    }

    /// Whether an inode has more than one operation can give back.
    pub(super) fn is_long(&mut self, inode: &Inode) -> Result<bool> {
        Ok(inode.has_extents() && self.extents(inode)?.list.len() > CUTS)
    }

    /// Takes most of the bytes of an inode away that are to go.
    pub(super) fn shorten(&mut self, number: Number, length: u64, now: u64) -> Result<()> {
        loop {
            let inode = self.inode(number)?;
            if length >= inode.size() || !self.is_long(&inode)? {
                return Ok(());
            }
            let list = self.extents(&inode)?.list;
            let first = list[list.len() - CUTS].first;
            let end = u64::from(first) * self.shape.size as u64;
            if end <= length || end >= inode.size() {
                return Ok(());
            }
            self.whole(now, |disk| {
                let mut inode = disk.inode(number)?;
                disk.resize_to(&mut inode, end)?;
                inode.stamp(now);
                disk.put_inode(&mut inode)
            })?;
        }
    }

    fn file(&mut self, number: Number) -> Result<Inode> {
        let inode = self.inode(number)?;
        match inode.is_file() {
            true => Ok(inode),
            false if inode.is_folder() => Err(Error::EISDIR),
            false => Err(Error::EINVAL),
        }
    }
}

fn seal(node: &mut [u8], most: usize, seed: Option<u32>) {
    let end = HEADER + most * ENTRY;
    if let Some(seed) = seed {
        let sum = crc(seed, node.get(..end).unwrap_or_default());
        put32(node, end, sum);
    }
}
