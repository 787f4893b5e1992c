//! Files in memory: what an archive holds, and above it what programs have written.

use super::{Device, Facts, Node, Place, ROOT, Room};
use crate::bytes::{Bytes, PAGE};
use crate::{Archive, Error, Result};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Range;
use linux_raw_sys::general as sys;

/// What a node takes beside its contents, about.
const NODE: u64 = 256;
/// Longest file.
const LARGEST: u64 = 1 << 40;

/// Takes room, when there is so much.
fn charge(left: &mut u64, bytes: u64) -> bool {
    match left.checked_sub(bytes) {
        Some(rest) => {
            *left = rest;
            true
        }
        None => false,
    }
}

/// The bytes of a file.
#[derive(Debug)]
enum Content {
    /// A part of the archive.
    Archive(Range<usize>),
    Memory(Bytes),
}

/// What a node is.
#[derive(Debug)]
enum Kind {
    Folder(BTreeMap<Vec<u8>, Node>),
    File(Content),
    Link(Vec<u8>),
    Device(Device),
}

#[derive(Debug)]
struct Inode {
    kind: Kind,
    permissions: u32,
    /// Names that it has.
    links: u32,
    /// Open files that it is.
    users: u32,
    /// Whether it has taken room.
    charged: bool,
    /// A folder: where `..` leads.
    parent: Node,
    accessed: u64,
    modified: u64,
}

/// The files.
#[derive(Debug)]
pub(super) struct Memory {
    nodes: Vec<Option<Inode>>,
    archive: Box<dyn Archive>,
    /// Bytes that programs may write, and those that they may still write.
    whole: u64,
    left: u64,
    /// Bytes that something else than a file has of them.
    lent: u64,
}

impl Memory {
    /// A tree with `/dev` and `/tmp`, for so many bytes above what `archive` holds.
    pub(super) fn new(archive: Box<dyn Archive>, left: u64) -> Memory {
        let mut tree = Memory {
            nodes: Vec::new(),
            archive: Box::new(Vec::new()),
            whole: left,
            left: u64::MAX,
            lent: 0,
        };
        tree.nodes
            .push(Some(Inode::new(Kind::Folder(BTreeMap::new()), 0o755, ROOT, 0)));
        for member in crate::tar::members(&*archive) {
            tree.unpack(&member);
        }
        tree.archive = archive;
        for name in [b"dev".as_slice(), b"tmp"] {
            tree.folder_for(name);
        }
        let devices = [
            (b"console".as_slice(), Device::Console),
            (b"tty", Device::Console),
            (b"null", Device::Null),
            (b"zero", Device::Zero),
            (b"random", Device::Random),
            (b"urandom", Device::Random),
        ];
        let dev = tree.folder_for(b"dev");
        for (name, device) in devices {
            tree.insert(dev, name, Kind::Device(device), 0o666, 0);
        }
        // Where C libraries keep what `shm_open` and `sem_open` name.
        if tree.child(dev, b"shm").is_none() {
            tree.insert(dev, b"shm", Kind::Folder(BTreeMap::new()), 0o755, 0);
        }
        tree.left = left;
        tree
    }

    /// The folder of this name in `/`, made when it is not there.
    pub(super) fn folder_for(&mut self, name: &[u8]) -> Node {
        match self.child(ROOT, name) {
            Some(node) if self.is_folder(node) => node,
            _ => self.insert(ROOT, name, Kind::Folder(BTreeMap::new()), 0o755, 0),
        }
    }

    /// Adds a member of the archive. What cannot be is left out: a name below a file, or none.
    fn unpack(&mut self, member: &crate::tar::Member) {
        let mut names: Vec<&[u8]> = member.name.split(|byte| *byte == b'/').collect();
        names.retain(|name| !name.is_empty() && *name != b".");
        if names.contains(&b"..".as_slice()) {
            return;
        }
        let Some((last, way)) = names.split_last() else { return };
        let mut folder = ROOT;
        for name in way {
            folder = match self.child(folder, name) {
                Some(node) if self.is_folder(node) => node,
                Some(_) => return,
                None => self.insert(folder, name, Kind::Folder(BTreeMap::new()), 0o755, member.modified),
            };
        }
        let kind = match &member.kind {
            crate::tar::Kind::Folder if self.child(folder, last).is_some_and(|node| self.is_folder(node)) => return,
            crate::tar::Kind::Folder => Kind::Folder(BTreeMap::new()),
            crate::tar::Kind::File(range) => Kind::File(Content::Archive(range.clone())),
            crate::tar::Kind::Link(target) => Kind::Link(target.clone()),
        };
        self.insert(folder, last, kind, member.mode & 0o777, member.modified);
    }

    fn insert(&mut self, folder: Node, name: &[u8], kind: Kind, permissions: u32, modified: u64) -> Node {
        let inode = Inode::new(kind, permissions, folder, modified);
        let node = match self.nodes.iter().position(Option::is_none) {
            Some(free) => {
                self.nodes[free] = Some(inode);
                free
            }
            None => {
                self.nodes.push(Some(inode));
                self.nodes.len() - 1
            }
        };
        self.attach(folder, name, node);
        node
    }

    /// Gives a node a name, instead of what had it.
    fn attach(&mut self, folder: Node, name: &[u8], node: Node) {
        let old = match self.inode_mut(folder).map(|inode| &mut inode.kind) {
            Ok(Kind::Folder(entries)) => entries.insert(name.to_vec(), node),
            _ => None,
        };
        if let Some(old) = old.filter(|old| *old != node) {
            self.unlinked(old);
        }
    }

    fn inode(&self, node: Node) -> Result<&Inode> {
        self.nodes.get(node).and_then(Option::as_ref).ok_or(Error::ENOENT)
    }

    fn inode_mut(&mut self, node: Node) -> Result<&mut Inode> {
        self.nodes.get_mut(node).and_then(Option::as_mut).ok_or(Error::ENOENT)
    }

    fn entries(&self, node: Node) -> Result<&BTreeMap<Vec<u8>, Node>> {
        match &self.inode(node)?.kind {
            Kind::Folder(entries) => Ok(entries),
            _ => Err(Error::ENOTDIR),
        }
    }

    /// What has a name in a folder.
    pub(super) fn step(&self, folder: Node, name: &[u8]) -> Result<Option<Node>> {
        let entries = self.entries(folder)?;
        Ok(match name {
            b"." => Some(folder),
            b".." => Some(self.inode(folder)?.parent),
            _ => entries.get(name).copied(),
        })
    }

    /// The name of something in a folder.
    pub(super) fn name_of(&self, folder: Node, node: Node) -> Result<&[u8]> {
        let named = self.entries(folder)?.iter().find(|(_, entry)| **entry == node);
        Ok(named.ok_or(Error::ENOENT)?.0)
    }

    fn child(&self, folder: Node, name: &[u8]) -> Option<Node> {
        self.entries(folder).ok()?.get(name).copied()
    }

    pub(super) fn is_folder(&self, node: Node) -> bool {
        self.entries(node).is_ok()
    }

    /// The device that a node is.
    pub(super) fn device(&self, node: Node) -> Option<Device> {
        match self.inode(node).ok()?.kind {
            Kind::Device(device) => Some(device),
            _ => None,
        }
    }

    /// Where a symbolic link leads.
    pub(super) fn target(&self, node: Node) -> Result<&[u8]> {
        match &self.inode(node)?.kind {
            Kind::Link(target) => Ok(target),
            _ => Err(Error::EINVAL),
        }
    }

    /// What `stat` tells.
    pub(super) fn facts(&self, node: Node) -> Result<Facts> {
        let inode = self.inode(node)?;
        let (kind, size) = match &inode.kind {
            Kind::Folder(entries) => (sys::S_IFDIR, entries.len() as u64),
            Kind::File(Content::Archive(range)) => (sys::S_IFREG, range.len() as u64),
            Kind::File(Content::Memory(bytes)) => (sys::S_IFREG, bytes.len()),
            Kind::Link(target) => (sys::S_IFLNK, target.len() as u64),
            Kind::Device(_) => (sys::S_IFCHR, 0),
        };
        Ok(Facts {
            node,
            mode: kind | inode.permissions,
            links: inode.links,
            size,
            sectors: size.div_ceil(512),
            accessed: inode.accessed,
            modified: inode.modified,
        })
    }

    /// Copies from a file; how many bytes.
    pub(super) fn read(&self, node: Node, offset: u64, to: &mut [u8]) -> Result<usize> {
        let range = match &self.inode(node)?.kind {
            Kind::File(Content::Archive(range)) => range,
            Kind::File(Content::Memory(bytes)) => return Ok(bytes.read(offset, to)),
            Kind::Folder(_) => return Err(Error::EISDIR),
            _ => return Err(Error::EINVAL),
        };
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(range.len());
        let count = to.len().min(range.len() - from);
        self.archive.read(range.start + from, &mut to[..count])?;
        Ok(count)
    }

    /// The bytes of a file, in memory and about to change, and how much may be taken.
    fn memory(&mut self, node: Node, now: u64) -> Result<(&mut Bytes, &mut u64)> {
        let inode = self.nodes.get_mut(node).and_then(Option::as_mut).ok_or(Error::ENOENT)?;
        let Kind::File(content) = &mut inode.kind else {
            return Err(Error::EINVAL);
        };
        if let Content::Archive(range) = content {
            let mut copy = Bytes::default();
            let mut page = [0; PAGE];
            let room = self.left;
            for done in (0..range.len()).step_by(PAGE) {
                let part = &mut page[..PAGE.min(range.len() - done)];
                let read = self.archive.read(range.start + done, part);
                let mut written = || copy.write(done as u64, part, || charge(&mut self.left, PAGE as u64));
                if let Err(error) = read.and_then(|()| written().map_err(|_| Error::ENOSPC)) {
                    self.left = room;
                    return Err(error);
                }
            }
            *content = Content::Memory(copy);
        }
        let Content::Memory(bytes) = content else {
            return Err(Error::EIO);
        };
        inode.modified = now;
        Ok((bytes, &mut self.left))
    }

    /// Copies to a file.
    pub(super) fn write(&mut self, node: Node, offset: u64, from: &[u8], now: u64) -> Result<()> {
        let end = offset.checked_add(from.len() as u64).filter(|end| *end <= LARGEST);
        end.ok_or(Error::EFBIG)?;
        let (bytes, left) = self.memory(node, now)?;
        let written = bytes.write(offset, from, || charge(left, PAGE as u64));
        written.map_err(|_| Error::ENOSPC)
    }

    /// Gives a file a length.
    pub(super) fn resize(&mut self, node: Node, length: u64, now: u64) -> Result<()> {
        if self.is_folder(node) {
            return Err(Error::EISDIR);
        }
        if length > LARGEST {
            return Err(Error::EFBIG);
        }
        let (bytes, left) = self.memory(node, now)?;
        let held = bytes.held();
        bytes.resize(length);
        *left += held - bytes.held();
        Ok(())
    }

    /// Takes room that is no file's, when there is so much.
    pub(super) fn lend(&mut self, bytes: u64) -> bool {
        let there = charge(&mut self.left, bytes);
        self.lent += if there { bytes } else { 0 };
        there
    }

    /// Such room is needed no more.
    pub(super) fn take_back(&mut self, bytes: u64) {
        self.lent -= bytes;
        self.left += bytes;
    }

    /// Takes room for a node.
    fn charge(&mut self) -> Result<()> {
        if charge(&mut self.left, NODE) {
            Ok(())
        } else {
            Err(Error::ENOSPC)
        }
    }

    /// Whether something can get this name: there is nothing, in a folder that is still there.
    fn is_free(&self, place: &Place) -> Result<()> {
        if place.node.is_some() {
            return Err(Error::EEXIST);
        }
        self.entries(place.folder)?;
        if self.inode(place.folder)?.links == 0 && place.folder != ROOT {
            return Err(Error::ENOENT);
        }
        Ok(())
    }

    fn new_in(&mut self, place: &Place, kind: Kind, permissions: u32, now: u64) -> Result<Node> {
        self.is_free(place)?;
        self.charge()?;
        self.inode_mut(place.folder)?.modified = now;
        let node = self.insert(place.folder, &place.name, kind, permissions, now);
        self.inode_mut(node)?.charged = true;
        Ok(node)
    }

    /// Makes an empty file.
    pub(super) fn make_file(&mut self, place: &Place, permissions: u32, now: u64) -> Result<Node> {
        if place.slash {
            return Err(Error::EISDIR);
        }
        self.new_in(place, Kind::File(Content::Memory(Bytes::default())), permissions, now)
    }

    /// Makes an empty folder.
    pub(super) fn make_folder(&mut self, place: &Place, permissions: u32, now: u64) -> Result<Node> {
        self.new_in(place, Kind::Folder(BTreeMap::new()), permissions, now)
    }

    /// Makes a symbolic link.
    pub(super) fn make_link(&mut self, place: &Place, target: Vec<u8>, now: u64) -> Result<Node> {
        self.new_in(place, Kind::Link(target), 0o777, now)
    }

    /// Gives a file another name.
    pub(super) fn link(&mut self, node: Node, place: &Place) -> Result<()> {
        self.is_free(place)?;
        if self.is_folder(node) {
            return Err(Error::EPERM);
        }
        self.inode_mut(node)?.links += 1;
        self.attach(place.folder, &place.name, node);
        Ok(())
    }

    /// Takes a name away.
    pub(super) fn remove(&mut self, place: &Place, folder: bool, now: u64) -> Result<()> {
        let node = place.node.ok_or(Error::ENOENT)?;
        match self.entries(node) {
            _ if place.name.is_empty() || place.name == b"." || place.name == b".." => return Err(Error::EINVAL),
            Ok(_) if !folder => return Err(Error::EISDIR),
            Ok(entries) if !entries.is_empty() => return Err(Error::ENOTEMPTY),
            Err(_) if folder => return Err(Error::ENOTDIR),
            _ => {}
        }
        self.detach(place.folder, &place.name, now);
        self.unlinked(node);
        Ok(())
    }

    fn detach(&mut self, folder: Node, name: &[u8], now: u64) {
        if let Ok(inode) = self.inode_mut(folder) {
            inode.modified = now;
            if let Kind::Folder(entries) = &mut inode.kind {
                entries.remove(name);
            }
        }
    }

    /// Gives what is at `from` the name at `to`, instead of what had it.
    pub(super) fn rename(&mut self, from: &Place, to: &Place, keep: bool, now: u64) -> Result<()> {
        let node = from.node.ok_or(Error::ENOENT)?;
        for place in [from, to] {
            if place.name.is_empty() || place.name == b"." || place.name == b".." {
                return Err(Error::EINVAL);
            }
        }
        // A folder cannot go into itself.
        let mut above = to.folder;
        while above != ROOT && self.is_folder(node) {
            if above == node {
                return Err(Error::EINVAL);
            }
            above = self.inode(above)?.parent;
        }
        if to.node.is_none() {
            self.is_free(to)?;
        }
        if let Some(old) = to.node {
            if old == node {
                return Ok(());
            }
            match (self.is_folder(node), self.entries(old)) {
                _ if keep => return Err(Error::EEXIST),
                (true, Err(_)) => return Err(Error::ENOTDIR),
                (false, Ok(_)) => return Err(Error::EISDIR),
                (_, Ok(entries)) if !entries.is_empty() => return Err(Error::ENOTEMPTY),
                _ => {}
            }
        }
        self.detach(from.folder, &from.name, now);
        self.attach(to.folder, &to.name, node);
        self.inode_mut(node)?.parent = to.folder;
        Ok(())
    }

    /// A node has a name less.
    fn unlinked(&mut self, node: Node) {
        if let Ok(inode) = self.inode_mut(node) {
            inode.links = inode.links.saturating_sub(1);
            if inode.links == 0 {
                // Who is still in a folder that is gone finds the way out.
                inode.parent = ROOT;
            }
        }
        self.dispose(node);
    }

    /// Somebody has opened a node.
    pub(super) fn opened(&mut self, node: Node) {
        if let Ok(inode) = self.inode_mut(node) {
            inode.users += 1;
        }
    }

    /// Somebody uses a node no more.
    pub(super) fn closed(&mut self, node: Node) {
        if let Ok(inode) = self.inode_mut(node) {
            inode.users = inode.users.saturating_sub(1);
        }
        self.dispose(node);
    }

    /// Frees a node that has no name and no user.
    fn dispose(&mut self, node: Node) {
        let Ok(inode) = self.inode(node) else { return };
        if inode.links == 0 && inode.users == 0 && node != ROOT {
            let held = match &inode.kind {
                Kind::File(Content::Memory(bytes)) => bytes.held(),
                _ => 0,
            };
            let own = if inode.charged { NODE } else { 0 };
            self.left = self.left.saturating_add(held + own);
            self.nodes[node] = None;
        }
    }

    /// Nodes that are open.
    #[cfg(not(target_os = "none"))]
    pub(super) fn used(&self) -> usize {
        self.nodes.iter().flatten().filter(|inode| inode.users > 0).count()
    }

    /// Whether names, links and the room that programs have altogether fit together; else what does not.
    #[cfg(not(target_os = "none"))]
    pub(super) fn check(&self, room: u64) -> core::result::Result<(), alloc::string::String> {
        let mut names = alloc::vec![0; self.nodes.len()];
        let mut taken = self.left + self.lent;
        for (node, inode) in self.nodes.iter().enumerate() {
            let Some(inode) = inode else { continue };
            taken += if inode.charged { NODE } else { 0 };
            match &inode.kind {
                Kind::Folder(entries) => entries.values().for_each(|child| names[*child] += 1),
                Kind::File(Content::Memory(bytes)) => taken += bytes.held(),
                _ => {}
            }
            if self.is_folder(node) && !self.is_folder(inode.parent) {
                return Err(alloc::format!("node {node}: its parent {} is no folder", inode.parent));
            }
        }
        if taken != room {
            return Err(alloc::format!("{taken} bytes taken and left, expected {room}"));
        }
        let links = self
            .nodes
            .iter()
            .map(|inode| inode.as_ref().map_or(0, |inode| inode.links));
        match links.zip(names).skip(1).position(|(links, names)| links != names) {
            Some(node) => Err(alloc::format!("node {}: not as many links as names", node + 1)),
            None => Ok(()),
        }
    }

    /// Sets permissions.
    pub(super) fn permit(&mut self, node: Node, permissions: u32) -> Result<()> {
        self.inode_mut(node)?.permissions = permissions & 0o777;
        Ok(())
    }

    /// Sets the times of the last access and of the last change, those that are given.
    pub(super) fn touch(&mut self, node: Node, accessed: Option<u64>, modified: Option<u64>) -> Result<()> {
        let inode = self.inode_mut(node)?;
        inode.accessed = accessed.unwrap_or(inode.accessed);
        inode.modified = modified.unwrap_or(inode.modified);
        Ok(())
    }

    /// Bytes that programs may write at all, and still. A file takes room, and has no number of its own.
    pub(super) fn room(&self) -> Room {
        const BLOCK: u64 = PAGE as u64;
        let (whole, left) = (self.whole.div_ceil(BLOCK).max(1), self.left / BLOCK);
        Room {
            kind: sys::TMPFS_MAGIC,
            block: BLOCK,
            blocks: whole,
            free: left,
            files: whole,
            free_files: left,
        }
    }

    /// Entry `index` of a folder, the first two are `.` and `..`: its name and what it is.
    pub(super) fn entry(&self, folder: Node, index: u64) -> Result<Option<(Vec<u8>, Facts, u64)>> {
        let entries = self.entries(folder)?;
        let (name, node) = match index {
            0 => (b".".to_vec(), folder),
            1 => (b"..".to_vec(), self.inode(folder)?.parent),
            _ => match entries.iter().nth((index - 2) as usize) {
                Some((name, node)) => (name.clone(), *node),
                None => return Ok(None),
            },
        };
        Ok(Some((name, self.facts(node)?, index + 1)))
    }
}

impl Inode {
    fn new(kind: Kind, permissions: u32, parent: Node, modified: u64) -> Inode {
        Inode {
            kind,
            permissions,
            links: 1,
            users: 0,
            charged: false,
            parent,
            accessed: modified,
            modified,
        }
    }
}
