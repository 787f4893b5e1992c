//! The format of ext4's journal (JBD2): transactions, one behind the other, each of them blocks and a descriptor that says where they
//! belong, and a last block that makes it one. There are three forms of it; what is written is that with the most checksums that
//! the file system has.

use super::Problem;
use super::bytes::{be16, be32, be64, crc, crc_around, put16_be, put32_be, put64_be};
use crate::{Error, Result};
use alloc::vec;
use alloc::vec::Vec;

pub(super) const MAGIC: u32 = 0xc03b_3998;
pub(super) const DESCRIPTOR: u32 = 1;
pub(super) const COMMIT: u32 = 2;
const SUPERBLOCK: u32 = 4;
pub(super) const REVOKE: u32 = 5;
/// Bytes of what every block of the journal but data begins with: magic number, kind, number of the transaction.
const HEADER: usize = 12;
/// Bytes of a journal's name, which a descriptor's first tag is followed by.
const NAME: usize = 16;

/// Features of a journal.
const REVOKES: u32 = 1;
const WIDE: u32 = 2;
const SUMS_2: u32 = 8;
const SUMS_3: u32 = 16;

/// What a tag says of its block: the magic number at its start is left out; the name is that of the tag before; there is no
/// other one.
const ESCAPED: u32 = 1;
const SAME_NAME: u32 = 2;
const LAST: u32 = 8;

/// Places in the superblock.
const SB_LENGTH: usize = 16;
const SB_FIRST: usize = 20;
const SB_SEQUENCE: usize = 24;
const SB_START: usize = 28;
const SB_ERROR: usize = 32;
const SB_INCOMPATIBLE: usize = 40;
const SB_NAME: usize = 48;
const SB_KIND: usize = 80;
const SB_SUM: usize = 252;
const SB_SIZE: usize = 1024;
/// The kind of checksum: CRC-32C.
const CRC32C: u8 = 4;

/// Blocks one behind the other, of a file and of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) place: u64,
    pub(super) length: u64,
}

/// The journal.
#[derive(Debug)]
pub(super) struct Journal {
    runs: Vec<Run>,
    pub(super) superblock: Vec<u8>,
    pub(super) length: u32,
    first: u32,
    /// Where the next transaction goes; and its number.
    pub(super) head: u32,
    pub(super) sequence: u32,
    /// Whether there is something in it.
    pub(super) used: bool,
}

/// What a descriptor says of a block behind it.
pub(super) struct Tag {
    /// Where it belongs.
    pub(super) home: u64,
    /// Whether it begins with the magic number, which is left out.
    pub(super) escaped: bool,
    sum: u32,
}

impl Journal {
    /// The journal that these blocks are, before anything of it is read.
    pub(super) fn new(runs: Vec<Run>) -> Journal {
        Journal {
            runs,
            superblock: Vec::new(),
            length: 0,
            first: 0,
            head: 0,
            sequence: 0,
            used: false,
        }
    }

    /// The block of the disk that a block of the journal is.
    pub(super) fn place(&self, at: u32) -> Result<u64> {
        let mut left = u64::from(at);
        for run in &self.runs {
            if left < run.length {
                return Ok(run.place + left);
            }
            left -= run.length;
        }
        Err(Error::EIO)
    }

    pub(super) fn after(&self, at: u32) -> u32 {
        if at + 1 >= self.length { self.first } else { at + 1 }
    }

    fn incompatible(&self) -> u32 {
        be32(&self.superblock, SB_INCOMPATIBLE)
    }

    fn has_sums(&self) -> bool {
        self.incompatible() & (SUMS_2 | SUMS_3) != 0
    }

    fn seed(&self) -> u32 {
        crc(!0, self.superblock.get(SB_NAME..SB_NAME + NAME).unwrap_or_default())
    }

    /// Reads the superblock.
    pub(super) fn check(&mut self, size: usize) -> core::result::Result<(), Problem> {
        let sb = &self.superblock;
        if be32(sb, 0) != MAGIC || be32(sb, 4) != SUPERBLOCK || be32(sb, 12) != size as u32 {
            return Err(Problem::Damaged("its journal's superblock"));
        }
        if be32(sb, SB_ERROR) != 0 {
            return Err(Problem::Damaged("its journal, which says so"));
        }
        if self.incompatible() & !(REVOKES | WIDE | SUMS_2 | SUMS_3) != 0 {
            return Err(Problem::Needs("a journal of another form: e2fsck -f, tune2fs"));
        }
        let whole = sb.get(..SB_SIZE).unwrap_or_default();
        if self.has_sums() && crc_around(!0, whole, SB_SUM, 4) != be32(sb, SB_SUM) {
            return Err(Problem::Damaged("its journal's superblock"));
        }
        let blocks: u64 = self.runs.iter().map(|run| run.length).sum();
        (self.length, self.first) = (be32(sb, SB_LENGTH), be32(sb, SB_FIRST));
        (self.sequence, self.head) = (be32(sb, SB_SEQUENCE), be32(sb, SB_START));
        self.used = self.head != 0;
        let fits = u64::from(self.length) <= blocks && self.first >= 1 && self.first < self.length;
        if !fits || self.length < 256 || self.used && !(self.first..self.length).contains(&self.head) {
            return Err(Problem::Damaged("its journal's superblock"));
        }
        Ok(())
    }

    /// Chooses how transactions are written.
    pub(super) fn features(&mut self, wide: bool, sums: bool) {
        let mut features = self.incompatible() & (REVOKES | WIDE) | if wide { WIDE } else { 0 };
        if sums {
            features |= SUMS_3;
            if let Some(kind) = self.superblock.get_mut(SB_KIND) {
                *kind = CRC32C;
            }
        }
        put32_be(&mut self.superblock, SB_INCOMPATIBLE, features);
    }

    fn seal(&mut self) {
        if self.has_sums() {
            let sum = crc_around(!0, self.superblock.get(..SB_SIZE).unwrap_or_default(), SB_SUM, 4);
            put32_be(&mut self.superblock, SB_SUM, sum);
        }
    }

    /// There is nothing in it.
    pub(super) fn empty(&mut self) {
        self.used = false;
        self.head = self.first;
        put32_be(&mut self.superblock, SB_START, 0);
        put32_be(&mut self.superblock, SB_SEQUENCE, self.sequence);
        self.seal();
    }

    /// The next transaction is the first one in it.
    pub(super) fn begin_log(&mut self) {
        self.used = true;
        self.head = self.first;
        put32_be(&mut self.superblock, SB_START, self.first);
        put32_be(&mut self.superblock, SB_SEQUENCE, self.sequence);
        self.seal();
    }

    /// Bytes of a tag.
    fn tag(&self) -> usize {
        let features = self.incompatible();
        if features & SUMS_3 != 0 {
            return 16;
        }
        let sum = if features & SUMS_2 != 0 { 2 } else { 0 };
        8 + sum + if features & WIDE != 0 { 4 } else { 0 }
    }

    /// How many tags are in a descriptor.
    pub(super) fn tags(&self, size: usize) -> usize {
        (size - HEADER - NAME - 4) / self.tag()
    }

    fn header(&self, size: usize, kind: u32) -> Vec<u8> {
        let mut bytes = vec![0; size];
        put32_be(&mut bytes, 0, MAGIC);
        put32_be(&mut bytes, 4, kind);
        put32_be(&mut bytes, 8, self.sequence);
        bytes
    }

    fn sum(&self, sequence: u32, bytes: &[u8]) -> u32 {
        crc(crc(self.seed(), &sequence.to_be_bytes()), bytes)
    }

    /// The tag of a block that belongs there.
    pub(super) fn tagged(&self, home: u64, bytes: &[u8]) -> Tag {
        let escaped = be32(bytes, 0) == MAGIC;
        let before = crc(self.seed(), &self.sequence.to_be_bytes());
        let sum = match escaped {
            true => crc_around(before, bytes, 0, 4),
            false => crc(before, bytes),
        };
        Tag { home, escaped, sum }
    }

    pub(super) fn descriptor(&self, size: usize, tags: &[Tag]) -> Vec<u8> {
        let mut bytes = self.header(size, DESCRIPTOR);
        let mut at = HEADER;
        for (index, tag) in tags.iter().enumerate() {
            let flags = [
                (tag.escaped, ESCAPED),
                (index > 0, SAME_NAME),
                (index + 1 == tags.len(), LAST),
            ];
            let flags = flags.iter().filter(|(is, _)| *is).fold(0, |all, (_, flag)| all | flag);
            let (low, high, sum) = (tag.home as u32, (tag.home >> 32) as u32, tag.sum);
            put32_be(&mut bytes, at, low);
            if self.incompatible() & SUMS_3 != 0 {
                put32_be(&mut bytes, at + 4, flags);
                put32_be(&mut bytes, at + 8, high);
                put32_be(&mut bytes, at + 12, sum);
            } else {
                put16_be(&mut bytes, at + 4, sum as u16);
                put16_be(&mut bytes, at + 6, flags as u16);
                if self.incompatible() & WIDE != 0 {
                    put32_be(&mut bytes, at + 8, high);
                }
            }
            at += self.tag();
            if index == 0 {
                let name = &self.superblock[SB_NAME..SB_NAME + NAME];
                bytes[at..at + NAME].copy_from_slice(name);
                at += NAME;
            }
        }
        self.seal_block(&mut bytes, size - 4);
        bytes
    }

    pub(super) fn end(&self, size: usize, now: u64) -> Vec<u8> {
        const SECOND: u64 = 1_000_000_000;
        let mut bytes = self.header(size, COMMIT);
        put64_be(&mut bytes, 48, now / SECOND);
        put32_be(&mut bytes, 56, (now % SECOND) as u32);
        self.seal_block(&mut bytes, 16);
        bytes
    }

    fn seal_block(&self, bytes: &mut [u8], at: usize) {
        if self.has_sums() {
            let sum = crc_around(self.seed(), bytes, at, 4);
            put32_be(bytes, at, sum);
        }
    }

    pub(super) fn is_sound(&self, bytes: &[u8], at: usize) -> bool {
        !self.has_sums() || crc_around(self.seed(), bytes, at, 4) == be32(bytes, at)
    }

    /// Whether a block of data is as its tag says.
    pub(super) fn is_whole(&self, bytes: &[u8], sequence: u32, tag: &Tag) -> bool {
        let (features, sum) = (self.incompatible(), tag.sum);
        let found = self.sum(sequence, bytes);
        features & SUMS_3 != 0 && found == sum
            || features & SUMS_3 == 0 && (features & SUMS_2 == 0 || found as u16 == sum as u16)
    }

    /// What a descriptor says of the blocks behind it.
    pub(super) fn read_tags(&self, bytes: &[u8]) -> Vec<Tag> {
        let features = self.incompatible();
        let end = bytes.len() - if self.has_sums() { 4 } else { 0 };
        let mut found = Vec::new();
        let mut at = HEADER;
        while at + self.tag() <= end {
            let low = be32(bytes, at);
            let (flags, high, sum) = if features & SUMS_3 != 0 {
                (be32(bytes, at + 4), be32(bytes, at + 8), be32(bytes, at + 12))
            } else {
                let high = if features & WIDE != 0 { be32(bytes, at + 8) } else { 0 };
                (be16(bytes, at + 6).into(), high, be16(bytes, at + 4).into())
            };
            let high = if features & WIDE != 0 { high } else { 0 };
            found.push(Tag {
                home: u64::from(high) << 32 | u64::from(low),
                escaped: flags & ESCAPED != 0,
                sum,
            });
            at += self.tag() + if flags & SAME_NAME != 0 { 0 } else { NAME };
            if flags & LAST != 0 {
                break;
            }
        }
        found
    }

    pub(super) fn read_revoked(&self, bytes: &[u8]) -> Vec<u64> {
        let width = if self.incompatible() & WIDE != 0 { 8 } else { 4 };
        let end = (be32(bytes, HEADER) as usize).min(bytes.len());
        let entries = bytes.get(HEADER + 4..end).unwrap_or_default().chunks_exact(width);
        entries
            .map(|entry| {
                if width == 8 {
                    be64(entry, 0)
                } else {
                    be32(entry, 0).into()
                }
            })
            .collect()
    }
}
