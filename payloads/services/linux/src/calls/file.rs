//! Open files: reading, writing, descriptors.

use super::Context;
use crate::layout::{encode, field};
use crate::open::{Descriptor, Id, SocketState, What};
use crate::tree::Node;
use crate::{Error, Outcome, Platform, Result};
use alloc::vec::Vec;
use linux_raw_sys::general as sys;
use linux_raw_sys::general::{iovec, winsize};
use linux_raw_sys::ioctl;

/// Bytes that cross at a time.
const CHUNK: usize = 8192;
/// The last of the numbers that `fadvise64` takes.
const LAST_ADVICE: u64 = 5;
/// What `fcntl` asks a pipe.
const F_SETPIPE_SZ: u32 = 1031;
const F_GETPIPE_SZ: u32 = 1032;
/// What `close_range` can be told.
const CLOSE_RANGE_UNSHARE: u32 = 2;
const CLOSE_RANGE_CLOEXEC: u32 = 4;
/// Most parts of a vector (`IOV_MAX`).
const PARTS: u64 = 1024;
/// Most bytes that one call moves, as Linux has it.
const MOST: u64 = 0x7fff_f000;

/// Where in a file something is read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// Where the last one has ended.
    Offset,
    /// There.
    Place(u64),
}

impl<P: Platform> Context<'_, P> {
    /// Whether an open file can be used this way.
    pub(super) fn allows(flags: u32, writes: bool) -> Result<()> {
        let access = flags & sys::O_ACCMODE;
        let fits = access == sys::O_RDWR || access == if writes { sys::O_WRONLY } else { sys::O_RDONLY };
        if fits { Ok(()) } else { Err(Error::EBADF) }
    }

    /// Puts some bytes of an open file into the buffer.
    fn take_bytes(&mut self, id: Id, offset: Option<u64>, to: &mut [u8], peek: bool) -> Result<usize> {
        let pipe = match &mut self.shared.opens.get_mut(id)?.what {
            What::Console => {
                self.shared.console.reader = self.program.id;
                self.platform.expect_input();
                return self.shared.console.take(to).ok_or(Error::EAGAIN);
            }
            What::Null => return Ok(0),
            What::Zero => {
                to.fill(0);
                return Ok(to.len());
            }
            What::Random => {
                self.platform.random(to);
                return Ok(to.len());
            }
            What::File(node) => return self.shared.tree.read(*node, offset.unwrap_or_default(), to),
            What::Folder(_) => return Err(Error::EISDIR),
            What::Event { count, semaphore } => {
                if to.len() < 8 {
                    return Err(Error::EINVAL);
                }
                if *count == 0 {
                    return Err(Error::EAGAIN);
                }
                let taken = if *semaphore { 1 } else { *count };
                *count -= taken;
                to[..8].copy_from_slice(&taken.to_ne_bytes());
                self.shared.stirred = true;
                return Ok(8);
            }
            What::Timer(timer) => {
                if to.len() < 8 {
                    return Err(Error::EINVAL);
                }
                if timer.passed(self.platform.clock()) == 0 {
                    return Err(Error::EAGAIN);
                }
                to[..8].copy_from_slice(&core::mem::take(&mut timer.passed).to_ne_bytes());
                return Ok(8);
            }
            What::Source(pipe) => *pipe,
            What::Socket(socket) => match &mut socket.state {
                SocketState::Connected { receives: None, .. } => return Ok(0),
                SocketState::Connected {
                    receives: Some(pipe), ..
                } => *pipe,
                SocketState::Wired { receives: false, .. } => return Ok(0),
                SocketState::Wired { wire, moved, .. } => {
                    let network = self.shared.network.as_mut().ok_or(Error::ENOTCONN)?;
                    let count = network.receive(*wire, to, peek)?;
                    *moved += if peek { 0 } else { count as u64 };
                    return Ok(count);
                }
                _ => return Err(Error::ENOTCONN),
            },
            What::Sink(_) | What::Datagrams(_) => return Err(Error::EBADF),
            What::Epoll(_) => return Err(Error::EINVAL),
        };
        let count = self.shared.pipes.get_mut(pipe)?.read(to, peek)?;
        self.shared.stirred = true;
        Ok(count)
    }

    /// Gives some bytes to an open file.
    fn give_bytes(&mut self, id: Id, offset: Option<u64>, from: &[u8]) -> Result<usize> {
        let pipe = match &mut self.shared.opens.get_mut(id)?.what {
            What::Console => {
                self.platform.write(from);
                return Ok(from.len());
            }
            What::Null | What::Zero | What::Random => return Ok(from.len()),
            What::File(node) => {
                let node = *node;
                let now = self.real_time();
                self.shared.tree.write(node, offset.unwrap_or_default(), from, now)?;
                return Ok(from.len());
            }
            What::Event { count, .. } => {
                let bytes = from.first_chunk::<8>().ok_or(Error::EINVAL)?;
                let more = u64::from_ne_bytes(*bytes);
                if more == u64::MAX {
                    return Err(Error::EINVAL);
                }
                *count = count
                    .checked_add(more)
                    .filter(|sum| *sum != u64::MAX)
                    .ok_or(Error::EAGAIN)?;
                self.shared.stirred = true;
                return Ok(8);
            }
            What::Sink(pipe) => *pipe,
            What::Socket(socket) => match &mut socket.state {
                SocketState::Connected { sends: None, .. } => return Err(Error::EPIPE),
                SocketState::Connected { sends: Some(pipe), .. } => *pipe,
                SocketState::Wired { sends: false, .. } => return Err(Error::EPIPE),
                SocketState::Wired { wire, moved, .. } => {
                    let network = self.shared.network.as_mut().ok_or(Error::ENOTCONN)?;
                    let count = network.send(*wire, from)?;
                    *moved += count as u64;
                    return Ok(count);
                }
                _ => return Err(Error::ENOTCONN),
            },
            What::Source(_) | What::Folder(_) | What::Datagrams(_) => return Err(Error::EBADF),
            What::Epoll(_) | What::Timer(_) => return Err(Error::EINVAL),
        };
        let count = self.shared.pipes.get_mut(pipe)?.write(from)?;
        self.shared.stirred = true;
        Ok(count)
    }

    /// Moves bytes between the program's memory and an open file.
    pub(super) fn move_bytes(
        &mut self,
        id: Id,
        at: At,
        [address, length]: [u64; 2],
        writes: bool,
        peek: bool,
    ) -> Result {
        let opened = self.shared.opens.get(id)?;
        Self::allows(opened.flags, writes)?;
        if matches!(opened.what, What::Datagrams(_)) {
            return match at {
                At::Offset => self.move_datagram(id, &[[address, length]], ([0; 2], 0), writes),
                At::Place(_) => Err(Error::ESPIPE),
            };
        }
        let seekable = matches!(opened.what, What::File(_));
        let appends = writes && seekable && opened.flags & sys::O_APPEND != 0;
        let mut offset = match at {
            At::Place(_) if matches!(opened.what, What::Folder(_)) => return Err(Error::EISDIR),
            At::Place(_) if !seekable => return Err(Error::ESPIPE),
            // As Linux has it: where it is said to be written does not count.
            _ if appends => self.size(id)?,
            At::Place(place) => place,
            At::Offset => opened.offset,
        };
        // Whoever reads it gets what there is: more may not come for long.
        let console = matches!(opened.what, What::Console) && !writes;
        let length = length.min(MOST);
        // Nothing can be anywhere.
        if length > 0 {
            self.program.window.check(address, length)?;
        }
        let mapped = match opened.what {
            What::File(node) if self.shared.maps.has(node) => Some(node),
            _ => None,
        };
        if let Some(node) = mapped {
            self.store_mapped(node)?;
        }
        // Zeroed once.
        let mut buffer = core::mem::take(&mut self.shared.crossing);
        buffer.resize(CHUNK, 0);
        let moved = self.move_through(
            &mut buffer,
            (id, &mut offset),
            [address, length],
            writes,
            (console, peek),
        );
        self.shared.crossing = buffer;
        if let Some(node) = mapped.filter(|_| writes) {
            self.refresh_mapped(node)?;
        }
        if seekable && at == At::Offset {
            self.shared.opens.get_mut(id)?.offset = offset;
        }
        moved
    }

    /// Moves bytes through a buffer, as long as there are some.
    fn move_through(
        &mut self,
        buffer: &mut [u8],
        (id, offset): (Id, &mut u64),
        [address, length]: [u64; 2],
        writes: bool,
        (once, peek): (bool, bool),
    ) -> Result {
        let mut done = 0;
        while done < length {
            let part = &mut buffer[..(length - done).min(CHUNK as u64) as usize];
            let asked = part.len();
            let moved = if writes {
                self.program.window.read(self.platform, address + done, part)?;
                self.give_bytes(id, Some(*offset), part)
            } else {
                self.take_bytes(id, Some(*offset), part, peek)
            };
            let count = match moved {
                Ok(count) => count,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            };
            if !writes {
                self.program
                    .window
                    .write(self.platform, address + done, &buffer[..count])?;
            }
            done += count as u64;
            *offset = offset.saturating_add(count as u64);
            if count < asked || once || peek {
                break;
            }
        }
        Ok(done)
    }

    /// Bytes of the file that is open.
    fn size(&self, id: Id) -> Result<u64> {
        match self.shared.opens.get(id)?.what {
            What::File(node) | What::Folder(node) => Ok(self.shared.tree.facts(node)?.size),
            _ => Ok(0),
        }
    }

    /// The end of a call that would have to wait: it does, unless the file was opened not to.
    pub(super) fn or_wait(&mut self, id: Id, result: Result) -> Result<Outcome> {
        match result {
            Err(Error::EAGAIN) if self.shared.opens.get(id)?.flags & sys::O_NONBLOCK == 0 => {
                Ok(self.wait_again(None, 0))
            }
            Err(Error::EPIPE) if self.again.is_some() => match self.kill_self(sys::SIGPIPE.into())? {
                Outcome::Value(_) => Err(Error::EPIPE),
                ended => Ok(ended),
            },
            other => other.map(Outcome::Value),
        }
    }

    /// `read`, `write`, `pread64` and `pwrite64`.
    pub(super) fn transfer(
        &mut self,
        [descriptor, address, length]: [u64; 3],
        at: At,
        writes: bool,
    ) -> Result<Outcome> {
        if let At::Place(place) = at
            && place > i64::MAX as u64
        {
            return Err(Error::EINVAL);
        }
        let id = self.program.descriptors.get(descriptor)?;
        let result = self.move_bytes(id, at, [address, length], writes, false);
        self.or_wait(id, result)
    }

    /// The parts of a vector: addresses and lengths.
    pub(super) fn parts(&self, address: u64, count: u64) -> Result<Vec<[u64; 2]>> {
        if count > PARTS {
            return Err(Error::EINVAL);
        }
        let (mut parts, mut sum) = (Vec::new(), 0_u64);
        for index in 0..count {
            let mut part = [0; size_of::<iovec>()];
            self.get(address.wrapping_add(index * size_of::<iovec>() as u64), &mut part)?;
            let length: u64 = field!(part, iovec, iov_len);
            let start = part.first_chunk::<8>().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
            sum = sum
                .checked_add(length)
                .filter(|sum| *sum <= i64::MAX as u64)
                .ok_or(Error::EINVAL)?;
            parts.push([start, length]);
        }
        Ok(parts)
    }

    /// Moves the bytes of a vector.
    pub(super) fn move_parts(&mut self, id: Id, parts: &[[u64; 2]], writes: bool) -> Result {
        // A datagram is moved whole.
        if matches!(self.shared.opens.get(id)?.what, What::Datagrams(_)) {
            return self.move_datagram(id, parts, ([0; 2], 0), writes);
        }
        let mut done = 0;
        for part in parts.iter().filter(|part| part[1] != 0) {
            match self.move_bytes(id, At::Offset, *part, writes, false) {
                Ok(moved) => {
                    done += moved;
                    if moved != part[1] {
                        break;
                    }
                }
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// `writev` and `readv`.
    pub(super) fn vector(&mut self, descriptor: u64, address: u64, count: u64, writes: bool) -> Result<Outcome> {
        let id = self.program.descriptors.get(descriptor)?;
        let parts = self.parts(address, count)?;
        let result = self.move_parts(id, &parts, writes);
        self.or_wait(id, result)
    }

    /// `preadv` and `pwritev`.
    pub(super) fn vector_at(
        &mut self,
        descriptor: u64,
        address: u64,
        count: u64,
        place: u64,
        writes: bool,
    ) -> Result<Outcome> {
        if place > i64::MAX as u64 {
            return Err(Error::EINVAL);
        }
        let id = self.program.descriptors.get(descriptor)?;
        if !matches!(self.shared.opens.get(id)?.what, What::File(_) | What::Folder(_)) {
            return Err(Error::ESPIPE);
        }
        let (parts, mut place, mut done) = (self.parts(address, count)?, place, 0);
        for part in parts.iter().filter(|part| part[1] != 0) {
            match self.move_bytes(id, At::Place(place), *part, writes, false) {
                Ok(moved) => {
                    (done, place) = (done + moved, place.saturating_add(moved));
                    if moved != part[1] {
                        break;
                    }
                }
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        if parts.is_empty() || done == 0 {
            Self::allows(self.shared.opens.get(id)?.flags, writes)?;
        }
        Ok(Outcome::Value(done))
    }

    /// `preadv2` and `pwritev2`, without flags; at -1 as `readv` and `writev`.
    pub(super) fn vector_with(
        &mut self,
        [descriptor, address, count, place]: [u64; 4],
        flags: u64,
        writes: bool,
    ) -> Result<Outcome> {
        if flags != 0 {
            return Err(Error::EOPNOTSUPP);
        }
        if place == u64::MAX {
            return self.vector(descriptor, address, count, writes);
        }
        self.vector_at(descriptor, address, count, place, writes)
    }

    /// `fallocate`: a file takes room when it is written to, and is as long as it is said to be.
    pub(super) fn allocate(&mut self, descriptor: u64, mode: u64, offset: u64, length: u64) -> Result {
        let id = self.program.descriptors.get(descriptor)?;
        if offset > i64::MAX as u64 || length == 0 || length > i64::MAX as u64 {
            return Err(Error::EINVAL);
        }
        if mode as u32 & !sys::FALLOC_FL_KEEP_SIZE != 0 {
            return Err(Error::EOPNOTSUPP);
        }
        let opened = self.shared.opens.get(id)?;
        Self::allows(opened.flags, true)?;
        let node = match opened.what {
            What::File(node) => node,
            What::Source(_) | What::Sink(_) => return Err(Error::ESPIPE),
            _ => return Err(Error::ENODEV),
        };
        let end = offset
            .checked_add(length)
            .filter(|end| *end <= i64::MAX as u64)
            .ok_or(Error::EFBIG)?;
        if mode as u32 & sys::FALLOC_FL_KEEP_SIZE == 0 && end > self.size(id)? {
            self.resize_node(node, end)?;
        }
        Ok(0)
    }

    /// `readahead` and `sync_file_range`, which nothing follows from.
    pub(super) fn acknowledge_file(&self, descriptor: u64, [offset, length]: [u64; 2], _flags: u64) -> Result {
        let id = self.program.descriptors.get(descriptor)?;
        match self.shared.opens.get(id)?.what {
            _ if offset > i64::MAX as u64 || length > i64::MAX as u64 => Err(Error::EINVAL),
            What::File(_) => Ok(0),
            What::Source(_) | What::Sink(_) => Err(Error::ESPIPE),
            _ => Err(Error::EINVAL),
        }
    }

    /// `fadvise64`.
    pub(super) fn advise_file(&self, descriptor: u64, advice: u64) -> Result {
        let id = self.program.descriptors.get(descriptor)?;
        match self.shared.opens.get(id)?.what {
            What::Source(_) | What::Sink(_) => Err(Error::ESPIPE),
            _ if advice > LAST_ADVICE => Err(Error::EINVAL),
            _ => Ok(0),
        }
    }

    /// `close_range`.
    pub(super) fn close_some(&mut self, first: u64, last: u64, flags: u64) -> Result {
        let (first, last, flags) = (first as u32, last as u32, flags as u32);
        if first > last || flags & !(CLOSE_RANGE_CLOEXEC | CLOSE_RANGE_UNSHARE) != 0 {
            return Err(Error::EINVAL);
        }
        for descriptor in u64::from(first)..=u64::from(last).min(crate::open::LIMIT as u64) {
            if let Ok(found) = self.program.descriptors.find_mut(descriptor) {
                if flags & CLOSE_RANGE_CLOEXEC != 0 {
                    found.close_on_exec = true;
                } else {
                    self.close(descriptor)?;
                }
            }
        }
        Ok(0)
    }

    /// `sendfile`, from a file.
    pub(super) fn send_file(&mut self, to: u64, from: u64, place: u64, length: u64) -> Result<Outcome> {
        let (to, from) = (self.program.descriptors.get(to)?, self.program.descriptors.get(from)?);
        Self::allows(self.shared.opens.get(to)?.flags, true)?;
        Self::allows(self.shared.opens.get(from)?.flags, false)?;
        let start = if place == 0 {
            self.shared.opens.get(from)?.offset
        } else {
            self.program.window.word(self.platform, place)?
        };
        let What::File(node) = self.shared.opens.get(from)?.what else {
            return Err(Error::EINVAL);
        };
        if start > i64::MAX as u64 {
            return Err(Error::EINVAL);
        }
        self.store_mapped(node)?;
        let mut buffer = alloc::vec![0; CHUNK];
        let mut done = 0;
        while done < length {
            let room = (length - done).min(CHUNK as u64) as usize;
            let count = self
                .shared
                .tree
                .read(node, start.saturating_add(done), &mut buffer[..room])?;
            let offset = self.shared.opens.get(to)?.offset;
            let sent = match self.give_bytes(to, Some(offset), &buffer[..count]) {
                Ok(sent) => sent,
                Err(error) if done == 0 => return self.or_wait(to, Err(error)),
                Err(_) => break,
            };
            self.shared.opens.get_mut(to)?.offset += sent as u64;
            done += sent as u64;
            if sent < room {
                break;
            }
        }
        if let What::File(node) = self.shared.opens.get(to)?.what {
            self.refresh_mapped(node)?;
        }
        let end = start.saturating_add(done);
        if place == 0 {
            self.shared.opens.get_mut(from)?.offset = end;
        } else {
            self.put(place, &end.to_ne_bytes())?;
        }
        Ok(Outcome::Value(done))
    }

    /// `lseek`.
    pub(super) fn seek(&mut self, descriptor: u64, distance: u64, from: u64) -> Result {
        let id = self.program.descriptors.get(descriptor)?;
        let opened = self.shared.opens.get(id)?;
        if !matches!(opened.what, What::File(_) | What::Folder(_)) {
            return Err(Error::ESPIPE);
        }
        let begin = match from as u32 {
            sys::SEEK_SET => 0,
            sys::SEEK_CUR => opened.offset,
            sys::SEEK_END => self.size(id)?,
            _ => return Err(Error::EINVAL),
        };
        let place = begin
            .checked_add_signed(distance as i64)
            .filter(|place| *place <= i64::MAX as u64);
        let place = place.ok_or(Error::EINVAL)?;
        self.shared.opens.get_mut(id)?.offset = place;
        Ok(place)
    }

    /// A new descriptor for an open file.
    pub(super) fn descriptor_for(&mut self, open: Id, flags: u32) -> Result {
        let descriptor = self.program.descriptors.free(0);
        let descriptor = match descriptor {
            Ok(descriptor) => descriptor,
            Err(error) => {
                self.release(open);
                return Err(error);
            }
        };
        let close_on_exec = flags & sys::O_CLOEXEC != 0;
        self.shared.opens.keep(open);
        self.program
            .descriptors
            .set(descriptor, Some(Descriptor { open, close_on_exec }))?;
        Ok(descriptor)
    }

    /// Somebody uses an open file no more.
    pub(super) fn release(&mut self, open: Id) {
        self.shared.release(open);
    }

    /// `close`.
    pub(super) fn close(&mut self, descriptor: u64) -> Result {
        self.program.descriptors.get(descriptor)?;
        if let Some(open) = self.program.descriptors.set(descriptor, None)? {
            self.release(open);
        }
        Ok(0)
    }

    /// `dup`, and `fcntl(F_DUPFD)`.
    pub(super) fn duplicate(&mut self, descriptor: u64, least: u64, close_on_exec: bool) -> Result {
        let open = self.program.descriptors.get(descriptor)?;
        let to = self.program.descriptors.free(least)?;
        self.shared.opens.keep(open);
        self.program
            .descriptors
            .set(to, Some(Descriptor { open, close_on_exec }))?;
        Ok(to)
    }

    /// `dup3`.
    pub(super) fn duplicate_to(&mut self, from: u64, to: u64, flags: u64) -> Result {
        let (from, to) = (u64::from(from as u32), u64::from(to as u32));
        let close_on_exec = flags as u32 & sys::O_CLOEXEC != 0;
        if from == to || flags as u32 & !sys::O_CLOEXEC != 0 {
            return Err(Error::EINVAL);
        }
        if to >= self.program.descriptors.limit.0 {
            return Err(Error::EBADF);
        }
        let open = self.program.descriptors.get(from)?;
        let old = self
            .program
            .descriptors
            .set(to, Some(Descriptor { open, close_on_exec }))?;
        self.shared.opens.keep(open);
        if let Some(old) = old {
            self.release(old);
        }
        Ok(to)
    }

    /// `fcntl`.
    pub(super) fn file_control(&mut self, descriptor: u64, command: u64, argument: u64) -> Result {
        const CHANGEABLE: u32 = sys::O_APPEND | sys::O_NONBLOCK;
        let found = *self.program.descriptors.find(descriptor)?;
        match command as u32 {
            sys::F_DUPFD => self.duplicate(descriptor, argument, false),
            sys::F_DUPFD_CLOEXEC => self.duplicate(descriptor, argument, true),
            sys::F_GETFD => Ok(u64::from(found.close_on_exec) * u64::from(sys::FD_CLOEXEC)),
            sys::F_SETFD => {
                self.program.descriptors.find_mut(descriptor)?.close_on_exec = argument as u32 & sys::FD_CLOEXEC != 0;
                Ok(0)
            }
            sys::F_GETFL => Ok(self.shared.opens.get(found.open)?.flags.into()),
            sys::F_SETFL => {
                let opened = self.shared.opens.get_mut(found.open)?;
                opened.flags = opened.flags & !CHANGEABLE | argument as u32 & CHANGEABLE;
                Ok(0)
            }
            // Nobody else locks anything: every lock is free.
            sys::F_SETLK | sys::F_SETLKW => {
                self.lock_at(argument)?;
                Ok(0)
            }
            F_SETPIPE_SZ | F_GETPIPE_SZ => {
                let (What::Source(pipe) | What::Sink(pipe)) = self.shared.opens.get(found.open)?.what else {
                    return Err(Error::EBADF);
                };
                let pipe = self.shared.pipes.get_mut(pipe)?;
                if command as u32 == F_GETPIPE_SZ {
                    return Ok(pipe.capacity() as u64);
                }
                let wanted = i32::try_from(argument).map_err(|_| Error::EINVAL)?;
                self.shared.stirred = true;
                Ok(pipe.set_capacity(wanted as usize)? as u64)
            }
            sys::F_GETLK => {
                let mut lock = self.lock_at(argument)?;
                lock[..2].copy_from_slice(&(sys::F_UNLCK as u16).to_ne_bytes());
                self.put(argument, &lock)?;
                Ok(0)
            }
            _ => Err(Error::EINVAL),
        }
    }

    /// A lock as a program describes it.
    fn lock_at(&self, address: u64) -> Result<[u8; size_of::<sys::flock>()]> {
        let mut lock = [0; size_of::<sys::flock>()];
        self.get(address, &mut lock)?;
        let half = |at: usize| u32::from(u16::from_ne_bytes([lock[at], lock[at + 1]]));
        let (kind, whence) = (half(0), half(2));
        if kind > sys::F_UNLCK || whence > sys::SEEK_END {
            return Err(Error::EINVAL);
        }
        Ok(lock)
    }

    /// `ioctl`.
    pub(super) fn control(&mut self, descriptor: u64, request: u64, argument: u64) -> Result {
        let id = self.program.descriptors.get(descriptor)?;
        let opened = self.shared.opens.get_mut(id)?;
        match (&opened.what, request as u32) {
            (What::Console, ioctl::TIOCGWINSZ) => {
                let size = encode!(winsize { ws_row: 24, ws_col: 80 });
                self.put(argument, &size)?;
                Ok(0)
            }
            (What::Console, ioctl::TIOCGPGRP) => {
                let group = self.shared.processes.foreground;
                self.put(argument, &group.to_ne_bytes())?;
                Ok(0)
            }
            (What::Console, ioctl::TIOCSPGRP) => {
                let group = self.program.window.half(self.platform, argument)?;
                if self.shared.processes.of_group(group).next().is_none() {
                    return Err(Error::EPERM);
                }
                self.shared.processes.foreground = group;
                Ok(0)
            }
            (_, ioctl::FIONBIO) => {
                let on = self.program.window.half(self.platform, argument)? != 0;
                let opened = self.shared.opens.get_mut(id)?;
                opened.flags = opened.flags & !sys::O_NONBLOCK | if on { sys::O_NONBLOCK } else { 0 };
                Ok(0)
            }
            _ => Err(Error::ENOTTY),
        }
    }

    /// The regular file that a descriptor stands for.
    pub(super) fn file(&self, descriptor: u64, writes: bool) -> Result<Node> {
        let opened = self.shared.opens.get(self.program.descriptors.get(descriptor)?)?;
        if writes {
            Self::allows(opened.flags, true)?;
        }
        match opened.what {
            What::File(node) => Ok(node),
            _ => Err(Error::EINVAL),
        }
    }

    /// `ftruncate`.
    pub(super) fn resize(&mut self, descriptor: u64, length: u64) -> Result {
        let node = self.file(descriptor, true)?;
        if length > i64::MAX as u64 {
            return Err(Error::EINVAL);
        }
        self.resize_node(node, length)
    }

    pub(super) fn resize_node(&mut self, node: Node, length: u64) -> Result {
        let now = self.real_time();
        self.store_mapped(node)?;
        self.shared.tree.resize(node, length, now)?;
        self.refresh_mapped(node)?;
        Ok(0)
    }

    /// `fsync` and `fdatasync`.
    pub(super) fn synchronize(&mut self, descriptor: u64) -> Result {
        let open = self.program.descriptors.get(descriptor)?;
        let (What::File(node) | What::Folder(node)) = self.shared.opens.get(open)?.what else {
            return Err(Error::EINVAL);
        };
        let now = self.real_time();
        self.store_mapped(node)?;
        self.shared.tree.commit(Some(node), now)?;
        Ok(0)
    }

    /// `sync`, which never fails.
    pub(super) fn synchronize_all(&mut self) -> Result {
        let now = self.real_time();
        for node in self.shared.maps.nodes() {
            let _ = self.store_mapped(node);
        }
        // Whoever wants to know whether it has asks for one file.
        let _ = self.shared.tree.commit(None, now);
        Ok(0)
    }

    /// `flock`: nobody else locks anything.
    pub(super) fn lock_file(&self, descriptor: u64, operation: u64) -> Result {
        self.program.descriptors.get(descriptor)?;
        match operation as u32 & !sys::LOCK_NB {
            sys::LOCK_SH | sys::LOCK_EX | sys::LOCK_UN => Ok(0),
            _ => Err(Error::EINVAL),
        }
    }

    /// `pipe2`.
    pub(super) fn pipe(&mut self, address: u64, flags: u64) -> Result {
        self.program.window.check(address, 8)?;
        let flags = flags as u32;
        if flags & !(sys::O_CLOEXEC | sys::O_NONBLOCK) != 0 {
            return Err(Error::EINVAL);
        }
        let pipe = self.shared.pipes.add()?;
        let kept = flags & sys::O_NONBLOCK;
        let source = self.shared.opens.add(What::Source(pipe), sys::O_RDONLY | kept);
        let sink = self.shared.opens.add(What::Sink(pipe), sys::O_WRONLY | kept);
        let first = self.descriptor_for(source, flags);
        let second = self.descriptor_for(sink, flags);
        match (first, second) {
            (Ok(first), Ok(second)) => {
                self.put(address, &(first as u32).to_ne_bytes())?;
                self.put(address + 4, &(second as u32).to_ne_bytes())?;
                Ok(0)
            }
            (first, second) => {
                for descriptor in [first, second].into_iter().flatten() {
                    self.close(descriptor)?;
                }
                Err(Error::EMFILE)
            }
        }
    }
}
