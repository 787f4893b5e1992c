//! Files of a disk.

use super::{DISK, Facts, Node, Place, Room};
use crate::ext4::{self, Disk, Ext4, Name, Number, Problem};
use crate::{Error, Result};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use linux_raw_sys::general as sys;

/// The node of its `/`.
pub(super) const ROOT: Node = DISK + ext4::ROOT as Node;

/// A disk whose files are in a folder of memory.
#[derive(Debug)]
pub(super) struct Mounted {
    files: Ext4,
    at: Node,
    /// How often each of them is open.
    users: BTreeMap<Number, u32>,
    /// Those that are to outlast a loss of power with every write.
    synchronous: BTreeSet<Number>,
    /// When something was changed last.
    time: u64,
}

fn number(node: Node) -> Number {
    (node - DISK) as Number
}

fn name(place: &Place) -> Name<'_> {
    Name {
        folder: number(place.folder),
        name: &place.name,
    }
}

/// Whether the end of a path is a name.
fn is_name(place: &Place) -> Result<()> {
    match place.name.as_slice() {
        b"" | b"." | b".." => Err(Error::EINVAL),
        _ => Ok(()),
    }
}

impl Mounted {
    /// Mounts a disk at a folder. Whether it had to be brought in order.
    pub(super) fn new(
        at: Node,
        disk: Box<dyn Disk + Send>,
        now: u64,
    ) -> core::result::Result<(Mounted, bool), Problem> {
        let (files, repaired) = Ext4::mount(disk, now)?;
        let mounted = Mounted {
            files,
            at,
            users: BTreeMap::new(),
            synchronous: BTreeSet::new(),
            time: now,
        };
        Ok((mounted, repaired))
    }

    /// The folder that it is in.
    pub(super) fn at(&self) -> Node {
        self.at
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.files.is_read_only()
    }

    fn open(&self, node: Option<Node>) -> bool {
        node.is_some_and(|node| self.users.contains_key(&number(node)))
    }

    pub(super) fn is_folder(&mut self, node: Node) -> bool {
        let facts = self.files.facts(number(node));
        facts.is_ok_and(|facts| facts.mode & sys::S_IFMT == sys::S_IFDIR)
    }

    pub(super) fn target(&mut self, node: Node) -> Result<Vec<u8>> {
        self.files.target(number(node))
    }

    pub(super) fn step(&mut self, folder: Node, name: &[u8]) -> Result<Option<Node>> {
        let found = match name {
            b"." => self.is_folder(folder).then_some(number(folder)),
            _ => self.files.lookup(number(folder), name)?,
        };
        Ok(found.map(|number| DISK + number as Node))
    }

    pub(super) fn facts(&mut self, node: Node) -> Result<Facts> {
        let facts = self.files.facts(number(node))?;
        Ok(Facts {
            node,
            mode: facts.mode,
            links: facts.links,
            size: facts.size,
            sectors: facts.sectors,
            accessed: facts.accessed,
            modified: facts.modified,
            changed: facts.changed,
            owner: facts.owner,
        })
    }

    pub(super) fn read(&mut self, node: Node, offset: u64, to: &mut [u8]) -> Result<usize> {
        self.files.read(number(node), offset, to)
    }

    pub(super) fn write(&mut self, node: Node, offset: u64, from: &[u8], now: u64) -> Result<()> {
        self.time = now;
        self.files.write(number(node), offset, from, now)?;
        if self.synchronous.contains(&number(node)) {
            self.files.commit(now)?;
        }
        Ok(())
    }

    pub(super) fn resize(&mut self, node: Node, length: u64, now: u64) -> Result<()> {
        self.time = now;
        self.files.resize(number(node), length, now)
    }

    pub(super) fn make(&mut self, place: &Place, mode: u32, target: &[u8], now: u64) -> Result<Node> {
        self.time = now;
        if place.node.is_some() {
            return Err(Error::EEXIST);
        }
        let made = self.files.make(name(place), mode, target, now)?;
        Ok(DISK + made as Node)
    }

    pub(super) fn link(&mut self, node: Node, place: &Place, now: u64) -> Result<()> {
        self.time = now;
        self.files.link(number(node), name(place), now)
    }

    pub(super) fn remove(&mut self, place: &Place, folder: bool, now: u64) -> Result<()> {
        self.time = now;
        is_name(place)?;
        let open = self.open(place.node);
        self.files.remove(name(place), folder, open, now)
    }

    pub(super) fn rename(&mut self, from: &Place, to: &Place, keep: bool, now: u64) -> Result<()> {
        self.time = now;
        is_name(from)?;
        is_name(to)?;
        let open = self.open(to.node);
        self.files.rename(name(from), name(to), keep, open, now)
    }

    pub(super) fn opened(&mut self, node: Node) {
        *self.users.entry(number(node)).or_default() += 1;
    }

    pub(super) fn synchronous(&mut self, node: Node) {
        self.synchronous.insert(number(node));
    }

    pub(super) fn closed(&mut self, node: Node) {
        let number = number(node);
        let left = self.users.get(&number).map_or(0, |users| users.saturating_sub(1));
        if left > 0 {
            self.users.insert(number, left);
            return;
        }
        self.users.remove(&number);
        self.synchronous.remove(&number);
        if self.files.facts(number).is_ok_and(|facts| facts.links == 0) {
            // Where it cannot be freed now it is at the next mount.
            let _ = self.files.release(number, self.time);
        }
    }

    pub(super) fn commit(&mut self, now: u64) -> Result<()> {
        self.files.commit(now)
    }

    pub(super) fn finish(&mut self, now: u64) -> Result<()> {
        self.files.finish(now)
    }

    #[cfg(not(target_os = "none"))]
    pub(super) fn used(&self) -> usize {
        self.users.len()
    }

    pub(super) fn permit(&mut self, node: Node, permissions: u32, now: u64) -> Result<()> {
        self.files.permit(number(node), permissions, now)
    }

    pub(super) fn own(&mut self, node: Node, owner: [u32; 2], permissions: u32, now: u64) -> Result<()> {
        self.files.own(number(node), owner, permissions, now)
    }

    pub(super) fn touch(&mut self, node: Node, accessed: Option<u64>, modified: Option<u64>, now: u64) -> Result<()> {
        self.files.touch(number(node), accessed, modified, now)
    }

    pub(super) fn room(&mut self) -> Result<Room> {
        let [block, blocks, free, files, free_files] = self.files.room()?;
        Ok(Room {
            kind: sys::EXT4_SUPER_MAGIC,
            block,
            blocks,
            free,
            files,
            free_files,
        })
    }

    pub(super) fn entry(&mut self, folder: Node, from: u64) -> Result<Option<(Vec<u8>, Facts, u64)>> {
        let Some(entry) = self.files.entry(number(folder), from)? else {
            return Ok(None);
        };
        let facts = self.facts(DISK + entry.number as Node)?;
        Ok(Some((entry.name, facts, entry.next)))
    }

    /// The name of something in a folder.
    pub(super) fn name_of(&mut self, folder: Node, node: Node) -> Result<Vec<u8>> {
        let mut from = 0;
        while let Some(entry) = self.files.entry(number(folder), from)? {
            if entry.number == number(node) && entry.name != b"." && entry.name != b".." {
                return Ok(entry.name);
            }
            from = entry.next;
        }
        Err(Error::ENOENT)
    }
}
