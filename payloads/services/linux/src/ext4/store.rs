//! Blocks of a disk, and how changes get to them.
//!
//! What operations change stays in memory until it is committed: to ext4's own journal, data and all, so that whatever
//! happens a disk has all of a commit or nothing of it. Any other system replays the same journal. Blocks get to their places
//! when the journal is half full, or at the end.

use super::bytes::{be32, put32_be};
use super::journal::{COMMIT, DESCRIPTOR, Journal, MAGIC, REVOKE, Run, Tag};
use super::{Disk, Problem, SECTOR, SIZE};
use crate::{Error, Result};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;

/// Blocks that are only read and stay in memory, at most.
const CLEAN: usize = 256;
/// Blocks that a commit may have before it is made without being asked for.
const MANY: usize = 128;

/// What has become of a block in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is as on the disk.
    Clean,
    /// It is in the journal, and to be written to its place.
    Committed,
    /// It is to be committed.
    Changed,
}

#[derive(Debug)]
struct Block {
    bytes: Vec<u8>,
    state: State,
    /// When it was used last.
    used: u64,
}

/// The blocks of a disk.
pub(super) struct Store {
    disk: Box<dyn Disk + Send>,
    size: usize,
    blocks: u64,
    cache: BTreeMap<u64, Block>,
    /// How many there are that are not clean: committed, changed.
    committed: usize,
    changed: usize,
    uses: u64,
    /// What an operation has changed as it was before.
    before: BTreeMap<u64, Option<(Vec<u8>, State)>>,
    journal: Option<Journal>,
    /// Something could not be written that had to be: nothing is changed any more.
    failed: bool,
}

impl core::fmt::Debug for Store {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (changed, committed) = (self.changed, self.committed);
        write!(f, "{changed} blocks changed, {committed} committed, {:?}", self.journal)
    }
}

impl Store {
    pub(super) fn new(disk: Box<dyn Disk + Send>, size: usize, blocks: u64) -> Store {
        Store {
            disk,
            size,
            blocks,
            cache: BTreeMap::new(),
            committed: 0,
            changed: 0,
            uses: 0,
            before: BTreeMap::new(),
            journal: None,
            failed: false,
        }
    }

    /// Whether nothing can be changed.
    pub(super) fn is_read_only(&self) -> bool {
        self.failed || self.journal.is_none()
    }

    /// Whether there is something to commit.
    pub(super) fn is_changed(&self) -> bool {
        self.changed > 0
    }

    fn fetch(&mut self, block: u64) -> Result<Vec<u8>> {
        if block >= self.blocks {
            return Err(Error::EIO);
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(self.size).map_err(|_| Error::ENOMEM)?;
        bytes.resize(self.size, 0);
        self.disk.read(block * (self.size / SECTOR) as u64, &mut bytes)?;
        Ok(bytes)
    }

    fn put(&mut self, block: u64, bytes: &[u8]) -> Result<()> {
        self.disk.write(block * (self.size / SECTOR) as u64, bytes)
    }

    /// Forgets clean blocks where there are many.
    fn tidy(&mut self) {
        let clean = self.cache.len() - self.changed - self.committed;
        if clean <= CLEAN {
            return;
        }
        let mut uses: Vec<u64> = self.cache.values().map(|block| block.used).collect();
        uses.sort_unstable();
        let limit = uses[uses.len() / 2];
        self.cache
            .retain(|_, block| block.state != State::Clean || block.used > limit);
    }

    fn load(&mut self, block: u64) -> Result<&mut Block> {
        self.uses += 1;
        if !self.cache.contains_key(&block) {
            self.tidy();
            let bytes = self.fetch(block)?;
            let state = State::Clean;
            self.cache.insert(block, Block { bytes, state, used: 0 });
        }
        let found = self.cache.get_mut(&block).ok_or(Error::EIO)?;
        found.used = self.uses;
        Ok(found)
    }

    /// The bytes of a block.
    pub(super) fn read(&mut self, block: u64) -> Result<&[u8]> {
        Ok(&self.load(block)?.bytes)
    }

    /// The bytes of a block, about to change.
    pub(super) fn edit(&mut self, block: u64) -> Result<&mut [u8]> {
        self.load(block)?;
        self.change(block)
    }

    /// A block that is about to be written from its first byte to its last; it is zero.
    pub(super) fn fresh(&mut self, block: u64) -> Result<&mut [u8]> {
        if self.is_read_only() {
            return Err(Error::EROFS);
        }
        if block >= self.blocks {
            return Err(Error::EIO);
        }
        self.uses += 1;
        let used = self.uses;
        if !self.cache.contains_key(&block) {
            self.tidy();
            self.before.entry(block).or_insert(None);
            let state = State::Changed;
            self.changed += 1;
            let bytes = vec![0; self.size];
            self.cache.insert(block, Block { bytes, state, used });
        }
        let bytes = self.change(block)?;
        bytes.fill(0);
        Ok(bytes)
    }

    fn change(&mut self, block: u64) -> Result<&mut [u8]> {
        if self.is_read_only() {
            return Err(Error::EROFS);
        }
        let found = self.cache.get_mut(&block).ok_or(Error::EIO)?;
        let state = found.state;
        self.before
            .entry(block)
            .or_insert_with(|| Some((found.bytes.clone(), state)));
        if state != State::Changed {
            self.changed += 1;
            self.committed -= usize::from(state == State::Committed);
        }
        found.state = State::Changed;
        Ok(&mut found.bytes)
    }

    /// An operation begins. What is there to commit is committed first when it is much.
    pub(super) fn begin(&mut self, now: u64) -> Result<()> {
        self.before.clear();
        if self.changed >= self.limit() {
            self.commit(now)?;
        }
        Ok(())
    }

    fn limit(&self) -> usize {
        let room = self.journal.as_ref().map_or(0, |journal| journal.length as usize);
        MANY.min(room / 8)
    }

    /// An operation has failed: nothing of it remains.
    pub(super) fn undo(&mut self) {
        for (number, before) in core::mem::take(&mut self.before) {
            let Some(before) = before else {
                self.cache.remove(&number);
                self.changed -= 1;
                continue;
            };
            if let Some(block) = self.cache.get_mut(&number) {
                (block.bytes, block.state) = before;
                self.changed -= usize::from(block.state != State::Changed);
                self.committed += usize::from(block.state == State::Committed);
            }
        }
    }

    /// Commits all that has changed.
    pub(super) fn commit(&mut self, now: u64) -> Result<()> {
        self.before.clear();
        if self.failed {
            return Err(Error::EIO);
        }
        if self.changed == 0 {
            return Ok(());
        }
        let Some(mut journal) = self.journal.take() else {
            return Err(Error::EROFS);
        };
        let done = self.write_transaction(&mut journal, now);
        self.journal = Some(journal);
        if done.is_err() {
            self.failed = true;
        }
        done?;
        let room = self.journal.as_ref().map_or(0, |journal| journal.length - journal.head);
        // There has to be room for the largest transaction; one operation may go beyond the limit. And memory ends, too.
        if (room as usize) < self.limit() * 4 || self.committed > 2 * MANY {
            self.settle()?;
        }
        Ok(())
    }

    fn write_transaction(&mut self, journal: &mut Journal, now: u64) -> Result<()> {
        let changed: Vec<u64> = self
            .cache
            .iter()
            .filter(|(_, block)| block.state == State::Changed)
            .map(|(number, _)| *number)
            .collect();
        let tags = journal.tags(self.size);
        let needed = changed.len() + changed.len().div_ceil(tags) + 1;
        if needed > (journal.length - journal.head) as usize {
            return Err(Error::EIO);
        }
        if !journal.used {
            // Whoever finds the disk now has to look into the journal.
            self.advertise(false)?;
            self.disk.flush()?;
            journal.begin_log();
            self.put(journal.place(0)?, &journal.superblock)?;
        }
        let mut at = journal.head;
        for part in changed.chunks(tags) {
            let mut blocks = Vec::new();
            for number in part {
                let bytes = &self.cache.get(number).ok_or(Error::EIO)?.bytes;
                blocks.push(journal.tagged(*number, bytes));
            }
            let descriptor = journal.descriptor(self.size, &blocks);
            self.put(journal.place(at)?, &descriptor)?;
            at += 1;
            for block in blocks {
                let place = journal.place(at)? * (self.size / SECTOR) as u64;
                let bytes = &self.cache.get(&block.home).ok_or(Error::EIO)?.bytes;
                if block.escaped {
                    let mut bytes = bytes.clone();
                    put32_be(&mut bytes, 0, 0);
                    self.disk.write(place, &bytes)?;
                } else {
                    self.disk.write(place, bytes)?;
                }
                at += 1;
            }
        }
        self.disk.flush()?;
        let end = journal.end(self.size, now);
        self.put(journal.place(at)?, &end)?;
        self.disk.flush()?;
        journal.head = at + 1;
        journal.sequence = journal.sequence.wrapping_add(1);
        for number in &changed {
            if let Some(block) = self.cache.get_mut(number) {
                block.state = State::Committed;
            }
        }
        self.committed += changed.len();
        self.changed = 0;
        Ok(())
    }

    /// Writes the superblock of the file system to its place: as it is when the journal is empty, or when it is not.
    fn advertise(&mut self, idle: bool) -> Result<()> {
        let block = super::SUPERBLOCK / self.size as u64;
        let mut bytes = self.fetch(block)?;
        let place = (super::SUPERBLOCK % self.size as u64) as usize;
        let superblock = bytes.get_mut(place..place + SIZE).ok_or(Error::EIO)?;
        super::set_recovery(superblock, !idle);
        self.put(block, &bytes)
    }

    /// Writes what is committed to its place; the journal is empty then.
    pub(super) fn settle(&mut self) -> Result<()> {
        if self.failed || self.changed > 0 {
            return Err(Error::EIO);
        }
        let Some(mut journal) = self.journal.take() else {
            return Ok(());
        };
        let done = self.write_home(&mut journal);
        self.journal = Some(journal);
        self.failed = done.is_err();
        done
    }

    fn write_home(&mut self, journal: &mut Journal) -> Result<()> {
        if !journal.used {
            return Ok(());
        }
        let sectors = (self.size / SECTOR) as u64;
        for (number, block) in &mut self.cache {
            if block.state == State::Committed {
                self.disk.write(number * sectors, &block.bytes)?;
                block.state = State::Clean;
            }
        }
        self.committed = 0;
        self.disk.flush()?;
        journal.empty();
        self.put(journal.place(0)?, &journal.superblock)?;
        self.disk.flush()?;
        self.advertise(true)?;
        self.disk.flush()
    }

    /// Takes a journal into use, whose blocks these are, and replays what is in it. Blocks that were read before may be others.
    pub(super) fn open(
        &mut self,
        runs: Vec<Run>,
        writable: bool,
        wide: bool,
        sums: bool,
    ) -> core::result::Result<bool, Problem> {
        let mut journal = Journal::new(runs);
        journal.superblock = self.fetch(journal.place(0)?)?;
        journal.check(self.size)?;
        let replayed = journal.used;
        if replayed {
            if !writable {
                return Err(Problem::Needs("to be written, to replay its journal"));
            }
            self.replay(&mut journal)?;
            self.disk.flush()?;
            journal.empty();
            self.put(journal.place(0)?, &journal.superblock)?;
            self.disk.flush()?;
            self.cache.clear();
        }
        if writable {
            journal.features(wide, sums);
            journal.empty();
            self.put(journal.place(0)?, &journal.superblock)?;
            self.journal = Some(journal);
        }
        Ok(replayed)
    }

    fn replay(&mut self, journal: &mut Journal) -> core::result::Result<(), Problem> {
        let start = journal.head;
        let first = journal.sequence;
        // What was given up in which transaction; then what there is to write.
        let mut revoked = BTreeMap::new();
        let mut updates: Vec<(u32, Vec<(u32, Tag)>)> = Vec::new();
        let mut current = Vec::new();
        let mut at = start;
        let mut sequence = first;
        let mut gone = BTreeSet::new();
        for _ in 0..journal.length {
            let block = self.fetch(journal.place(at)?)?;
            if be32(&block, 0) != MAGIC || be32(&block, 8) != sequence {
                break;
            }
            at = journal.after(at);
            match be32(&block, 4) {
                DESCRIPTOR => {
                    if !journal.is_sound(&block, self.size - 4) {
                        break;
                    }
                    for tag in journal.read_tags(&block) {
                        current.push((at, tag));
                        at = journal.after(at);
                        if current.len() > journal.length as usize {
                            return Err(Problem::Damaged("its journal"));
                        }
                    }
                }
                REVOKE => {
                    if !journal.is_sound(&block, self.size - 4) {
                        break;
                    }
                    gone.extend(journal.read_revoked(&block));
                }
                COMMIT => {
                    if !journal.is_sound(&block, 16) {
                        break;
                    }
                    updates.push((sequence, core::mem::take(&mut current)));
                    for block in core::mem::take(&mut gone) {
                        revoked.insert(block, sequence);
                    }
                    sequence = sequence.wrapping_add(1);
                }
                _ => break,
            }
        }
        for (number, updates) in updates {
            for (at, update) in updates {
                let mut bytes = self.fetch(journal.place(at)?)?;
                if !journal.is_whole(&bytes, number, &update) {
                    return Err(Problem::Damaged("a block in its journal"));
                }
                if revoked
                    .get(&update.home)
                    .is_some_and(|in_which| number.wrapping_sub(*in_which) as i32 <= 0)
                {
                    continue;
                }
                if update.escaped {
                    put32_be(&mut bytes, 0, MAGIC);
                }
                if update.home >= self.blocks {
                    return Err(Problem::Damaged("a block in its journal"));
                }
                self.put(update.home, &bytes)?;
            }
        }
        // Numbers that are still in the journal are not used again.
        journal.sequence = sequence.wrapping_add(1);
        Ok(())
    }
}
