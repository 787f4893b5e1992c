//! The tree of files: those in memory, and those of a disk in a folder of theirs.

mod disk;
mod memory;

use crate::ext4::{Disk, Problem};
use crate::{Archive, Error, Result};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::RefCell;
use disk::Mounted;
use linux_raw_sys::general as sys;
use memory::Memory;

/// Number of a node: those of the disk are from [`DISK`] on.
pub(crate) type Node = usize;

/// The node of `/`.
pub(crate) const ROOT: Node = 0;
/// The first of the nodes of the disk.
const DISK: Node = 1 << 40;

/// Most symbolic links on the way along a path.
const LINKS: u32 = 40;
/// Longest name in a folder.
pub(crate) const NAME: usize = 255;

/// A file that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    Console,
    Null,
    Zero,
    Random,
}

/// What `stat` tells of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) node: Node,
    /// Kind and permissions.
    pub(crate) mode: u32,
    pub(crate) links: u32,
    pub(crate) size: u64,
    /// What it takes, in sectors.
    pub(crate) sectors: u64,
    /// Nanoseconds since 1970: of the last access that was told, and of the last change.
    pub(crate) accessed: u64,
    pub(crate) modified: u64,
}

impl Facts {
    /// Numbers of the file system, and of the file in it.
    pub(crate) fn numbers(&self) -> (u64, u64) {
        match self.node.checked_sub(DISK) {
            Some(number) if number < DISK => (2, number as u64),
            _ => (1, self.node as u64 + 1),
        }
    }
}

/// What `statfs` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// What kind of file system it is.
    pub(crate) kind: u32,
    /// Bytes of a block.
    pub(crate) block: u64,
    pub(crate) blocks: u64,
    pub(crate) free: u64,
    pub(crate) files: u64,
    pub(crate) free_files: u64,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The folder that it ends in.
    pub(crate) folder: Node,
    /// The last name.
    pub(crate) name: Vec<u8>,
    /// What has this name, if anything has.
    pub(crate) node: Option<Node>,
    /// Whether the path says that it is a folder.
    pub(crate) slash: bool,
}

/// The tree.
#[derive(Debug)]
pub(crate) struct Tree {
    memory: Memory,
    disk: Option<RefCell<Mounted>>,
}

impl Tree {
    /// A tree with `/dev` and `/tmp`, for so many bytes above what `archive` holds.
    pub(crate) fn new(archive: Box<dyn Archive>, left: u64) -> Tree {
        Tree {
            memory: Memory::new(archive, left),
            disk: None,
        }
    }

    /// Mounts the file system of a disk at a folder of this name in `/`. Whether it had to be brought in order.
    pub(crate) fn mount(
        &mut self,
        name: &[u8],
        disk: Box<dyn Disk + Send>,
        now: u64,
    ) -> core::result::Result<bool, Problem> {
        let at = self.memory.folder_for(name);
        let (mounted, repaired) = Mounted::new(at, disk, now)?;
        self.disk = Some(RefCell::new(mounted));
        Ok(repaired)
    }

    /// Whether files of a disk can only be read.
    pub(crate) fn is_read_only(&self) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.borrow().is_read_only())
    }

    /// The disk that a node is of.
    fn disk_of(&self, node: Node) -> Option<&RefCell<Mounted>> {
        self.disk.as_ref().filter(|_| node >= DISK)
    }

    /// The disk that a place is in. Where it is not in it but leads to it nothing can change.
    fn disk_at(&self, place: &Place) -> Result<Option<&RefCell<Mounted>>> {
        match self.disk_of(place.folder) {
            None if place.node.is_some_and(|node| node >= DISK) => Err(Error::EBUSY),
            found => Ok(found),
        }
    }

    pub(crate) fn is_folder(&self, node: Node) -> bool {
        match self.disk_of(node) {
            Some(disk) => disk.borrow_mut().is_folder(node),
            None => self.memory.is_folder(node),
        }
    }

    /// The device that a node is.
    pub(crate) fn device(&self, node: Node) -> Option<Device> {
        self.memory.device(node)
    }

    /// Where a symbolic link leads.
    pub(crate) fn target(&self, node: Node) -> Result<Vec<u8>> {
        match self.disk_of(node) {
            Some(disk) => disk.borrow_mut().target(node),
            None => self.memory.target(node).map(<[u8]>::to_vec),
        }
    }

    /// What has a name in a folder.
    fn step(&self, folder: Node, name: &[u8]) -> Result<Option<Node>> {
        let Some(disk) = self.disk_of(folder) else {
            let found = self.memory.step(folder, name)?;
            let crosses = self.disk.as_ref().filter(|disk| found == Some(disk.borrow().at()));
            return Ok(crosses.map_or(found, |_| Some(disk::ROOT)));
        };
        if folder == disk::ROOT && name == b".." {
            let at = disk.borrow().at();
            return self.memory.step(at, name);
        }
        disk.borrow_mut().step(folder, name)
    }

    /// Follows a path from a folder; a symbolic link at its end only when asked to.
    pub(crate) fn find(&self, from: Node, path: &[u8], follow: bool) -> Result<Place> {
        let mut links = 0;
        self.walk(from, path, follow, &mut links)
    }

    fn walk(&self, from: Node, path: &[u8], follow: bool, links: &mut u32) -> Result<Place> {
        if path.is_empty() {
            return Err(Error::ENOENT);
        }
        let mut folder = if path[0] == b'/' { ROOT } else { from };
        let slash = path.ends_with(b"/");
        let mut names = path
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
            .peekable();
        let mut place = Place {
            folder,
            name: Vec::new(),
            node: Some(folder),
            slash,
        };
        while let Some(name) = names.next() {
            if name.len() > NAME {
                return Err(Error::ENAMETOOLONG);
            }
            let last = names.peek().is_none();
            let node = self.step(folder, name)?;
            let mut found = node;
            if (!last || follow || slash)
                && let Some(node) = node
                && let Ok(target) = self.target(node)
            {
                *links += 1;
                if *links > LINKS {
                    return Err(Error::ELOOP);
                }
                let there = self.walk(folder, &target, true, links)?;
                if last {
                    return Ok(Place { slash, ..there });
                }
                found = there.node;
            }
            if last {
                place = Place {
                    folder,
                    name: name.to_vec(),
                    node: found,
                    slash,
                };
            } else {
                folder = found.ok_or(Error::ENOENT)?;
            }
        }
        if let Some(node) = place.node
            && slash
            && !self.is_folder(node)
        {
            return Err(Error::ENOTDIR);
        }
        Ok(place)
    }

    /// What `stat` tells.
    pub(crate) fn facts(&self, node: Node) -> Result<Facts> {
        match self.disk_of(node) {
            Some(disk) => disk.borrow_mut().facts(node),
            None => self.memory.facts(node),
        }
    }

    /// Copies from a file; how many bytes.
    pub(crate) fn read(&self, node: Node, offset: u64, to: &mut [u8]) -> Result<usize> {
        match self.memory.read(node, offset, to) {
            Err(Error::ENOENT) => self
                .disk_of(node)
                .ok_or(Error::ENOENT)?
                .borrow_mut()
                .read(node, offset, to),
            done => done,
        }
    }

    /// Copies to a file.
    pub(crate) fn write(&mut self, node: Node, offset: u64, from: &[u8], now: u64) -> Result<()> {
        // Those in memory are written to most often.
        match self.memory.write(node, offset, from, now) {
            Err(Error::ENOENT) => {
                let disk = self.disk_of(node).ok_or(Error::ENOENT)?;
                disk.borrow_mut().write(node, offset, from, now)
            }
            done => done,
        }
    }

    /// Gives a file a length.
    pub(crate) fn resize(&mut self, node: Node, length: u64, now: u64) -> Result<()> {
        match self.disk_of(node) {
            Some(disk) => disk.borrow_mut().resize(node, length, now),
            None => self.memory.resize(node, length, now),
        }
    }

    /// Makes an empty file.
    pub(crate) fn make_file(&mut self, place: &Place, permissions: u32, now: u64) -> Result<Node> {
        match self.disk_of(place.folder) {
            Some(_) if place.slash => Err(Error::EISDIR),
            Some(disk) => disk.borrow_mut().make(place, sys::S_IFREG | permissions, b"", now),
            None => self.memory.make_file(place, permissions, now),
        }
    }

    /// Makes an empty folder.
    pub(crate) fn make_folder(&mut self, place: &Place, permissions: u32, now: u64) -> Result<Node> {
        match self.disk_of(place.folder) {
            Some(disk) => disk.borrow_mut().make(place, sys::S_IFDIR | permissions, b"", now),
            None => self.memory.make_folder(place, permissions, now),
        }
    }

    /// Makes a symbolic link.
    pub(crate) fn make_link(&mut self, place: &Place, target: Vec<u8>, now: u64) -> Result<Node> {
        match self.disk_of(place.folder) {
            Some(disk) => disk.borrow_mut().make(place, sys::S_IFLNK | 0o777, &target, now),
            None => self.memory.make_link(place, target, now),
        }
    }

    /// Gives a file another name.
    pub(crate) fn link(&mut self, node: Node, place: &Place, now: u64) -> Result<()> {
        match (self.disk_of(node), self.disk_of(place.folder)) {
            (Some(disk), Some(_)) => disk.borrow_mut().link(node, place, now),
            (None, None) => self.memory.link(node, place),
            _ => Err(Error::EXDEV),
        }
    }

    /// Takes a name away.
    pub(crate) fn remove(&mut self, place: &Place, folder: bool, now: u64) -> Result<()> {
        match self.disk_at(place)? {
            Some(disk) => disk.borrow_mut().remove(place, folder, now),
            None => self.memory.remove(place, folder, now),
        }
    }

    /// Gives what is at `from` the name at `to`, instead of what had it.
    pub(crate) fn rename(&mut self, from: &Place, to: &Place, keep: bool, now: u64) -> Result<()> {
        match (self.disk_at(from)?, self.disk_at(to)?) {
            (Some(disk), Some(_)) => disk.borrow_mut().rename(from, to, keep, now),
            (None, None) => self.memory.rename(from, to, keep, now),
            _ => Err(Error::EXDEV),
        }
    }

    /// Somebody has opened a node.
    pub(crate) fn opened(&mut self, node: Node) {
        match self.disk_of(node) {
            Some(disk) => disk.borrow_mut().opened(node),
            None => self.memory.opened(node),
        }
    }

    /// Whoever writes to a node wants it to outlast a loss of power at once, as long as it is open.
    pub(crate) fn synchronous(&mut self, node: Node) {
        if let Some(disk) = self.disk_of(node) {
            disk.borrow_mut().synchronous(node);
        }
    }

    /// Somebody uses a node no more.
    pub(crate) fn closed(&mut self, node: Node) {
        match self.disk_of(node) {
            Some(disk) => disk.borrow_mut().closed(node),
            None => self.memory.closed(node),
        }
    }

    /// What was written to a file outlasts a loss of power from now on; without one, to all files.
    pub(crate) fn commit(&mut self, node: Option<Node>, now: u64) -> Result<()> {
        let disk = node.map_or(self.disk.as_ref(), |node| self.disk_of(node));
        disk.map_or(Ok(()), |disk| disk.borrow_mut().commit(now))
    }

    /// Nobody uses the tree any more, for now.
    pub(crate) fn finish(&mut self, now: u64) -> Result<()> {
        let disk = self.disk.as_ref();
        disk.map_or(Ok(()), |disk| disk.borrow_mut().finish(now))
    }

    /// Takes room in memory that is no file's, when there is so much.
    pub(crate) fn charge(&mut self, bytes: u64) -> bool {
        self.memory.lend(bytes)
    }

    /// Gives such room back.
    pub(crate) fn give_room(&mut self, bytes: u64) {
        self.memory.take_back(bytes);
    }

    /// Nodes that are open.
    #[cfg(not(target_os = "none"))]
    pub(crate) fn used(&self) -> usize {
        self.memory.used() + self.disk.as_ref().map_or(0, |disk| disk.borrow().used())
    }

    /// Whether names, links and the room that programs have altogether fit together in memory; else what does not.
    #[cfg(not(target_os = "none"))]
    pub(crate) fn check(&self, room: u64) -> core::result::Result<(), alloc::string::String> {
        self.memory.check(room)
    }

    /// Sets permissions.
    pub(crate) fn permit(&mut self, node: Node, permissions: u32, now: u64) -> Result<()> {
        match self.disk_of(node) {
            Some(disk) => disk.borrow_mut().permit(node, permissions, now),
            None => self.memory.permit(node, permissions),
        }
    }

    /// Sets the times of the last access and of the last change, those that are given.
    pub(crate) fn touch(&mut self, node: Node, accessed: Option<u64>, modified: Option<u64>, now: u64) -> Result<()> {
        match self.disk_of(node) {
            Some(disk) => disk.borrow_mut().touch(node, accessed, modified, now),
            None => self.memory.touch(node, accessed, modified),
        }
    }

    /// How much room there is where a node is.
    pub(crate) fn room(&self, node: Node) -> Result<Room> {
        match self.disk_of(node) {
            Some(disk) => disk.borrow_mut().room(),
            None => Ok(self.memory.room()),
        }
    }

    /// The entry of a folder that `from` stands for, 0 for the first one: its name, what it is, and what stands for the next one.
    pub(crate) fn entry(&self, folder: Node, from: u64) -> Result<Option<(Vec<u8>, Facts, u64)>> {
        match self.disk_of(folder) {
            Some(disk) => disk.borrow_mut().entry(folder, from),
            None => self.memory.entry(folder, from),
        }
    }

    /// The path of a folder.
    pub(crate) fn path(&self, mut folder: Node) -> Result<Vec<u8>> {
        let mut names = Vec::new();
        while folder != ROOT {
            let mut below = folder;
            folder = self.step(folder, b"..")?.ok_or(Error::ENOENT)?;
            if let Some(disk) = self.disk_of(below).filter(|_| folder < DISK) {
                below = disk.borrow().at();
            }
            names.push(match self.disk_of(folder) {
                Some(disk) => disk.borrow_mut().name_of(folder, below)?,
                None => self.memory.name_of(folder, below)?.to_vec(),
            });
        }
        let mut path = Vec::new();
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: u64 = 16 * 1024;

    fn tree() -> Tree {
        Tree::new(Box::new(Vec::new()), ROOM)
    }

    fn file(tree: &mut Tree, path: &[u8]) -> Node {
        let place = tree.find(ROOT, path, true).unwrap();
        tree.make_file(&place, 0o644, 7).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again_and_holes_are_zero() {
        let mut tree = tree();
        let node = file(&mut tree, b"/tmp/a");
        tree.write(node, 4, b"text", 8).unwrap();
        let mut bytes = [1; 16];
        assert_eq!(tree.read(node, 0, &mut bytes), Ok(8));
        assert_eq!(&bytes[..8], b"\0\0\0\0text");
        assert_eq!(tree.read(node, 9, &mut bytes), Ok(0));
        assert_eq!(tree.facts(node).unwrap().modified, 8);
        tree.resize(node, 5, 9).unwrap();
        tree.resize(node, 8, 9).unwrap();
        assert_eq!(tree.read(node, 4, &mut bytes), Ok(4));
        assert_eq!(&bytes[..4], b"t\0\0\0", "what was cut is gone");
    }

    #[test]
    fn there_is_room_for_so_much_and_it_comes_back() {
        let mut tree = tree();
        let before = tree.room(ROOT).unwrap();
        let node = file(&mut tree, b"/tmp/a");
        assert_eq!(tree.write(node, 0, &[1; 9_000], 0), Ok(()));
        assert_eq!(tree.write(node, 9_000, &[1; 5_000], 0), Err(Error::ENOSPC));
        assert_eq!(tree.write(node, u64::MAX, &[1], 0), Err(Error::EFBIG));
        tree.opened(node);
        let place = tree.find(ROOT, b"/tmp/a", true).unwrap();
        tree.remove(&place, false, 0).unwrap();
        assert_eq!(tree.read(node, 0, &mut [0; 4]), Ok(4), "as long as it is open");
        tree.closed(node);
        assert_eq!(tree.room(ROOT).unwrap(), before);
        assert_eq!(tree.facts(node), Err(Error::ENOENT));
    }

    #[test]
    fn a_folder_that_is_gone_takes_nothing_and_leads_out() {
        let mut tree = tree();
        let place = tree.find(ROOT, b"/tmp/deep", false).unwrap();
        let deep = tree.make_folder(&place, 0o755, 0).unwrap();
        tree.opened(deep);
        let place = tree.find(ROOT, b"/tmp/deep", false).unwrap();
        tree.remove(&place, true, 0).unwrap();
        let inside = tree.find(deep, b"file", false).unwrap();
        assert_eq!(tree.make_file(&inside, 0o644, 0), Err(Error::ENOENT));
        let other = file(&mut tree, b"/tmp/other");
        assert_eq!(tree.link(other, &inside, 0), Err(Error::ENOENT));
        let from = tree.find(ROOT, b"/tmp/other", false).unwrap();
        assert_eq!(tree.rename(&from, &inside, false, 0), Err(Error::ENOENT));
        assert_eq!(tree.find(deep, b"..", true).unwrap().node, Some(ROOT));
        tree.closed(deep);
        assert_eq!(tree.check(ROOM), Ok(()));
    }

    #[test]
    fn paths_lead_where_they_say() {
        let mut tree = tree();
        let place = tree.find(ROOT, b"/tmp/deep/", false).unwrap();
        assert_eq!(place.node, None);
        let deep = tree.make_folder(&place, 0o755, 0).unwrap();
        let inner = file(&mut tree, b"/tmp/deep/../deep/./file");
        let link = tree.find(deep, b"link", false).unwrap();
        tree.make_link(&link, b"../deep/file".to_vec(), 0).unwrap();
        assert_eq!(tree.find(ROOT, b"/tmp/deep/link", true).unwrap().node, Some(inner));
        assert_ne!(tree.find(ROOT, b"/tmp/deep/link", false).unwrap().node, Some(inner));
        assert_eq!(tree.find(ROOT, b"/tmp/deep/file/", true), Err(Error::ENOTDIR));
        assert_eq!(tree.find(ROOT, b"/tmp/none/file", true), Err(Error::ENOENT));
        assert_eq!(tree.path(deep).unwrap(), b"/tmp/deep");
        let round = tree.find(ROOT, b"/tmp/round", false).unwrap();
        tree.make_link(&round, b"round".to_vec(), 0).unwrap();
        assert_eq!(tree.find(ROOT, b"/tmp/round", true), Err(Error::ELOOP));
        assert_eq!(
            tree.find(ROOT, b"/../../tmp", true).unwrap().node,
            tree.find(ROOT, b"tmp", true).unwrap().node
        );
    }

    #[test]
    fn a_folder_does_not_move_into_itself_and_only_an_empty_one_goes() {
        let mut tree = tree();
        let outer = tree.find(ROOT, b"/tmp/outer", false).unwrap();
        tree.make_folder(&outer, 0o755, 0).unwrap();
        let inner = tree.find(ROOT, b"/tmp/outer/inner", false).unwrap();
        tree.make_folder(&inner, 0o755, 0).unwrap();
        let outer = tree.find(ROOT, b"/tmp/outer", false).unwrap();
        let into = tree.find(ROOT, b"/tmp/outer/inner/x", false).unwrap();
        assert_eq!(tree.rename(&outer, &into, false, 0), Err(Error::EINVAL));
        assert_eq!(tree.remove(&outer, true, 0), Err(Error::ENOTEMPTY));
        let inner = tree.find(ROOT, b"/tmp/outer/inner", false).unwrap();
        let up = tree.find(ROOT, b"/tmp/up", false).unwrap();
        tree.rename(&inner, &up, false, 0).unwrap();
        let up = tree.find(ROOT, b"/tmp/up", false).unwrap();
        assert_eq!(tree.path(up.node.unwrap()).unwrap(), b"/tmp/up");
        assert_eq!(tree.remove(&up, true, 0), Ok(()));
        let outer = tree.find(ROOT, b"/tmp/outer", false).unwrap();
        assert_eq!(tree.remove(&outer, false, 0), Err(Error::EISDIR));
        assert_eq!(tree.remove(&outer, true, 0), Ok(()));
    }
}
