//! Files by their paths.

use super::Context;
use super::time::SECOND;
use crate::layout::encode;
use crate::open::{Id, What};
use crate::tree::{Device, Facts, Node, Place};
use crate::{Error, Platform, Result};
use linux_raw_sys::general as sys;

/// What stands for the folder that relative paths begin in.
const HERE: i32 = sys::AT_FDCWD;
/// Bytes of an entry of a folder before its name.
const ENTRY: usize = core::mem::offset_of!(sys::linux_dirent64, d_name);

impl<P: Platform> Context<'_, P> {
    /// Nanoseconds since 1970.
    pub(super) fn real_time(&self) -> u64 {
        self.platform.clock().saturating_add(self.platform.epoch())
    }

    /// The folder that a path begins in.
    fn folder(&self, descriptor: u64) -> Result<Node> {
        if descriptor as i32 == HERE {
            return Ok(self.program.directory);
        }
        match self.shared.opens.get(self.program.descriptors.get(descriptor)?)?.what {
            What::Folder(node) => Ok(node),
            _ => Err(Error::ENOTDIR),
        }
    }

    /// Where a path leads.
    fn place(&self, folder: u64, path: u64, follow: bool) -> Result<Place> {
        let path = self.program.window.text(self.platform, path)?;
        let from = if path.first() == Some(&b'/') {
            0
        } else {
            self.folder(folder)?
        };
        self.shared.tree.find(from, &path, follow)
    }

    /// `openat`.
    pub(super) fn open(&mut self, folder: u64, path: u64, flags: u64, mode: u64) -> Result {
        let flags = flags as u32;
        let exclusive = flags & (sys::O_CREAT | sys::O_EXCL) == sys::O_CREAT | sys::O_EXCL;
        let follow = flags & sys::O_NOFOLLOW == 0 && !exclusive;
        let place = self.place(folder, path, follow)?;
        let writes = flags & sys::O_ACCMODE != sys::O_RDONLY;
        let now = self.real_time();
        let node = match place.node {
            Some(_) if exclusive => return Err(Error::EEXIST),
            Some(node) => node,
            None if flags & sys::O_CREAT != 0 => {
                let permissions = mode as u32 & 0o777 & !self.program.mask;
                self.shared.tree.make_file(&place, permissions, now)?
            }
            None => return Err(Error::ENOENT),
        };
        if self.shared.tree.target(node).is_ok() {
            return Err(Error::ELOOP);
        }
        let is_folder = self.shared.tree.is_folder(node);
        if flags & sys::O_DIRECTORY != 0 && !is_folder {
            return Err(Error::ENOTDIR);
        }
        if is_folder && (writes || flags & sys::O_CREAT != 0) {
            return Err(Error::EISDIR);
        }
        let what = match self.shared.tree.device(node) {
            Some(Device::Console) => What::Console,
            Some(Device::Null) => What::Null,
            Some(Device::Zero) => What::Zero,
            Some(Device::Random) => What::Random,
            None if is_folder => What::Folder(node),
            None => What::File(node),
        };
        if let What::File(node) = what
            && flags & sys::O_TRUNC != 0
            && writes
        {
            self.shared.tree.resize(node, 0, now)?;
            self.refresh_mapped(node)?;
        }
        if let What::File(node) | What::Folder(node) = what {
            self.shared.tree.opened(node);
            if flags & sys::O_DSYNC != 0 && writes {
                self.shared.tree.synchronous(node);
            }
        }
        let kept = flags & (sys::O_ACCMODE | sys::O_SYNC | sys::O_APPEND | sys::O_NONBLOCK | sys::O_DIRECTORY);
        let open = self.shared.opens.add(what, kept);
        self.descriptor_for(open, flags)
    }

    fn put_facts(&mut self, address: u64, facts: &Facts) -> Result {
        let parts = |time: u64| (time / SECOND, time % SECOND);
        let ((accessed, accessed_rest), (seconds, rest)) = (parts(facts.accessed), parts(facts.modified));
        let (device, number) = facts.numbers();
        let bytes = encode!(sys::stat {
            st_dev: device,
            st_ino: number,
            st_mode: facts.mode,
            st_nlink: facts.links as _,
            st_size: facts.size as _,
            st_blksize: 4096,
            st_blocks: facts.sectors as _,
            st_atime: accessed as _,
            st_atime_nsec: accessed_rest,
            st_mtime: seconds as _,
            st_mtime_nsec: rest,
            st_ctime: seconds as _,
            st_ctime_nsec: rest,
        });
        self.put(address, &bytes)?;
        Ok(0)
    }

    fn facts_of(&self, open: Id) -> Result<Facts> {
        let mode = match self.shared.opens.get(open)?.what {
            What::File(node) | What::Folder(node) => return self.shared.tree.facts(node),
            What::Source(_) | What::Sink(_) => sys::S_IFIFO,
            What::Socket(_) | What::Datagrams(_) => sys::S_IFSOCK,
            What::Event { .. } | What::Epoll(_) => 0,
            What::Console | What::Null | What::Zero | What::Random => sys::S_IFCHR,
        };
        Ok(Facts {
            node: usize::MAX / 2 + open,
            mode: mode | 0o600,
            links: 1,
            size: 0,
            sectors: 0,
            accessed: 0,
            modified: 0,
        })
    }

    /// `fstat`.
    pub(super) fn facts(&mut self, descriptor: u64, address: u64) -> Result {
        let facts = self.facts_of(self.program.descriptors.get(descriptor)?)?;
        self.put_facts(address, &facts)
    }

    /// `newfstatat`.
    pub(super) fn facts_at(&mut self, folder: u64, path: u64, address: u64, flags: u64) -> Result {
        let flags = flags as u32;
        if flags & sys::AT_EMPTY_PATH != 0 && self.program.window.text(self.platform, path)?.is_empty() {
            if folder as i32 == HERE {
                let facts = self.shared.tree.facts(self.program.directory)?;
                return self.put_facts(address, &facts);
            }
            return self.facts(folder, address);
        }
        let place = self.place(folder, path, flags & sys::AT_SYMLINK_NOFOLLOW == 0)?;
        let facts = self.shared.tree.facts(place.node.ok_or(Error::ENOENT)?)?;
        self.put_facts(address, &facts)
    }

    /// `faccessat`: everything is allowed to everybody, what is there.
    pub(super) fn access(&mut self, folder: u64, path: u64) -> Result {
        let place = self.place(folder, path, true)?;
        place.node.ok_or(Error::ENOENT)?;
        Ok(0)
    }

    /// `getdents64`.
    pub(super) fn entries(&mut self, descriptor: u64, address: u64, length: u64) -> Result {
        let open = self.program.descriptors.get(descriptor)?;
        let What::Folder(folder) = self.shared.opens.get(open)?.what else {
            return Err(Error::ENOTDIR);
        };
        self.program.window.check(address, length)?;
        let mut done = 0;
        loop {
            let from = self.shared.opens.get(open)?.offset;
            let Some((name, facts, next)) = self.shared.tree.entry(folder, from)? else {
                return Ok(done);
            };
            let size = (ENTRY + name.len() + 1).next_multiple_of(8);
            if done + size as u64 > length {
                return if done == 0 { Err(Error::EINVAL) } else { Ok(done) };
            }
            let header = encode!(sys::linux_dirent64 {
                d_ino: facts.numbers().1,
                d_off: next as i64,
                d_reclen: size as u16,
                d_type: (facts.mode >> 12) as u8,
            });
            let mut entry = [0; 288];
            let entry = &mut entry[..size];
            entry[..ENTRY].copy_from_slice(&header[..ENTRY]);
            entry[ENTRY..ENTRY + name.len()].copy_from_slice(&name);
            self.put(address + done, entry)?;
            done += size as u64;
            self.shared.opens.get_mut(open)?.offset = next;
        }
    }

    /// `getcwd`.
    pub(super) fn current(&mut self, address: u64, length: u64) -> Result {
        let mut path = self.shared.tree.path(self.program.directory)?;
        path.push(0);
        if path.len() as u64 > length {
            return Err(Error::ERANGE);
        }
        self.put(address, &path)?;
        Ok(path.len() as u64)
    }

    /// Changes the folder that relative paths begin in.
    fn enter(&mut self, node: Node) -> Result {
        if !self.shared.tree.is_folder(node) {
            return Err(Error::ENOTDIR);
        }
        self.shared.tree.opened(node);
        let old = core::mem::replace(&mut self.program.directory, node);
        self.shared.tree.closed(old);
        Ok(0)
    }

    /// `chdir`.
    pub(super) fn change(&mut self, path: u64) -> Result {
        let place = self.place(HERE as u64, path, true)?;
        self.enter(place.node.ok_or(Error::ENOENT)?)
    }

    /// `fchdir`.
    pub(super) fn change_to(&mut self, descriptor: u64) -> Result {
        let node = self.folder(descriptor)?;
        self.enter(node)
    }

    /// `mkdirat`.
    pub(super) fn make_folder(&mut self, folder: u64, path: u64, mode: u64) -> Result {
        let place = self.place(folder, path, false)?;
        let (permissions, now) = (mode as u32 & 0o777 & !self.program.mask, self.real_time());
        self.shared.tree.make_folder(&place, permissions, now)?;
        Ok(0)
    }

    /// `unlinkat`.
    pub(super) fn remove(&mut self, folder: u64, path: u64, flags: u64) -> Result {
        let place = self.place(folder, path, false)?;
        let now = self.real_time();
        self.shared
            .tree
            .remove(&place, flags as u32 & sys::AT_REMOVEDIR != 0, now)?;
        Ok(0)
    }

    /// `renameat2`.
    pub(super) fn rename(&mut self, [from, old, to, new, flags]: [u64; 5]) -> Result {
        if flags as u32 & !sys::RENAME_NOREPLACE != 0 {
            return Err(Error::EINVAL);
        }
        let (from, to) = (self.place(from, old, false)?, self.place(to, new, false)?);
        let now = self.real_time();
        self.shared
            .tree
            .rename(&from, &to, flags as u32 & sys::RENAME_NOREPLACE != 0, now)?;
        Ok(0)
    }

    /// `linkat`.
    pub(super) fn link(&mut self, from: u64, old: u64, to: u64, new: u64) -> Result {
        let (from, to) = (self.place(from, old, false)?, self.place(to, new, false)?);
        let now = self.real_time();
        self.shared.tree.link(from.node.ok_or(Error::ENOENT)?, &to, now)?;
        Ok(0)
    }

    /// `symlinkat`.
    pub(super) fn make_link(&mut self, target: u64, folder: u64, path: u64) -> Result {
        let target = self.program.window.text(self.platform, target)?;
        if target.is_empty() {
            return Err(Error::ENOENT);
        }
        let place = self.place(folder, path, false)?;
        let now = self.real_time();
        self.shared.tree.make_link(&place, target, now)?;
        Ok(0)
    }

    /// `readlinkat`.
    pub(super) fn read_link(&mut self, [folder, path, address, length]: [u64; 4]) -> Result {
        let place = self.place(folder, path, false)?;
        let target = self.shared.tree.target(place.node.ok_or(Error::ENOENT)?)?;
        let count = target.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        let window = self.program.window;
        window.write(self.platform, address, &target[..count])?;
        Ok(count as u64)
    }

    /// `fchmodat`.
    pub(super) fn permit(&mut self, folder: u64, path: u64, mode: u64) -> Result {
        let place = self.place(folder, path, true)?;
        let now = self.real_time();
        let node = place.node.ok_or(Error::ENOENT)?;
        self.shared.tree.permit(node, mode as u32, now)?;
        Ok(0)
    }

    /// `fchmod`.
    pub(super) fn permit_open(&mut self, descriptor: u64, mode: u64) -> Result {
        let node = self.file(descriptor, false)?;
        let now = self.real_time();
        self.shared.tree.permit(node, mode as u32, now)?;
        Ok(0)
    }

    /// `utimensat`, to now or to times.
    pub(super) fn touch(&mut self, [folder, path, times, flags]: [u64; 4]) -> Result {
        let node = if path == 0 {
            self.file(folder, false)?
        } else {
            let place = self.place(folder, path, flags as u32 & sys::AT_SYMLINK_NOFOLLOW == 0)?;
            place.node.ok_or(Error::ENOENT)?
        };
        let [mut accessed, mut modified] = [Some(self.real_time()); 2];
        if times != 0 {
            let second = times.wrapping_add(size_of::<sys::__kernel_timespec>() as u64);
            accessed = self.time_to_set(times)?;
            modified = self.time_to_set(second)?;
        }
        let now = self.real_time();
        self.shared.tree.touch(node, accessed, modified, now)?;
        Ok(0)
    }

    /// A time that a file is to get; none when it keeps its own.
    fn time_to_set(&self, at: u64) -> Result<Option<u64>> {
        let rest = self.program.window.word(self.platform, at.wrapping_add(8))?;
        match rest as u32 {
            sys::UTIME_OMIT => Ok(None),
            sys::UTIME_NOW => Ok(Some(self.real_time())),
            _ => Ok(Some(self.span(at)?)),
        }
    }

    /// `statfs`.
    pub(super) fn file_system_at(&mut self, path: u64, address: u64) -> Result {
        let place = self.place(HERE as u64, path, true)?;
        self.put_file_system(place.node.ok_or(Error::ENOENT)?, address)
    }

    /// `fstatfs`.
    pub(super) fn file_system(&mut self, descriptor: u64, address: u64) -> Result {
        let open = self.program.descriptors.get(descriptor)?;
        let node = match self.shared.opens.get(open)?.what {
            What::File(node) | What::Folder(node) => node,
            _ => crate::tree::ROOT,
        };
        self.put_file_system(node, address)
    }

    fn put_file_system(&mut self, node: Node, address: u64) -> Result {
        let room = self.shared.tree.room(node)?;
        let bytes = encode!(sys::statfs64 {
            f_type: room.kind.into(),
            f_bsize: room.block as _,
            f_frsize: room.block as _,
            f_blocks: room.blocks,
            f_bfree: room.free,
            f_bavail: room.free,
            f_files: room.files,
            f_ffree: room.free_files,
            f_namelen: crate::tree::NAME as _,
        });
        self.put(address, &bytes)?;
        Ok(0)
    }
}
