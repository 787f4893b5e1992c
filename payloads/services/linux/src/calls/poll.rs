//! Waiting for open files: `ppoll`, `epoll`, `eventfd`.

use super::Context;
use super::file::At;
use crate::layout::{encode, field};
use crate::open::{Id, Interest, SocketState, What};
use crate::{Error, Outcome, Platform, Result};
use alloc::vec::Vec;
use linux_raw_sys::general as sys;

/// Events that are told whether they are asked for or not.
const ALWAYS: u32 = sys::EPOLLERR | sys::EPOLLHUP;
/// What makes a descriptor of each of the sets of `select` ready.
const SELECTED: [u32; 3] = [
    sys::EPOLLIN | sys::EPOLLRDNORM | sys::EPOLLHUP | sys::EPOLLERR,
    sys::EPOLLOUT | sys::EPOLLWRNORM | sys::EPOLLERR,
    sys::EPOLLPRI,
];
/// Most files in one `ppoll`, and events that one `epoll_pwait` asks for.
const MOST: u64 = 1024;
const MOST_EVENTS: u64 = i32::MAX as u64 / EVENT;
/// Bytes of an event of `epoll`.
const EVENT: u64 = size_of::<sys::epoll_event>() as u64;
/// Nanoseconds of a millisecond.
const MILLISECOND: u64 = 1_000_000;

impl<P: Platform> Context<'_, P> {
    /// What could be done with an open file without waiting, and how much has happened to it so far.
    fn ready(&self, id: Id) -> (u32, u64) {
        let (input, output) = (sys::EPOLLIN | sys::EPOLLRDNORM, sys::EPOLLOUT | sys::EPOLLWRNORM);
        let Ok(opened) = self.shared.opens.get(id) else {
            return (sys::EPOLLHUP, 0);
        };
        let pipe = |pipe: &usize| self.shared.pipes.get(*pipe).ok();
        let reads = |from: &usize, ended: u32| {
            let found = pipe(from);
            let events = found.map_or(ended, |pipe| {
                (if pipe.len() > 0 { input } else { 0 }) | if pipe.ended() { ended } else { 0 }
            });
            (events, found.map_or(0, |pipe| pipe.changes))
        };
        let writes = |to: &usize| {
            let found = pipe(to);
            let events = found.map_or(sys::EPOLLERR, |pipe| match (pipe.broken(), pipe.writable()) {
                (true, _) => output | sys::EPOLLERR,
                (false, true) => output,
                (false, false) => 0,
            });
            (events, found.map_or(0, |pipe| pipe.changes))
        };
        match &opened.what {
            What::Console if self.shared.console.is_ready() => (input | output, 0),
            What::Console => (output, 0),
            What::Null | What::Zero | What::Random | What::File(_) | What::Folder(_) => (input | output, 0),
            What::Source(from) => reads(from, sys::EPOLLHUP),
            What::Sink(to) => writes(to),
            What::Event { count, .. } => {
                let reads = if *count > 0 { input } else { 0 };
                let writes = if *count < u64::MAX - 1 { output } else { 0 };
                (reads | writes, *count)
            }
            What::Timer(timer) => {
                let mut timer = *timer;
                let passed = timer.passed(self.platform.clock());
                (if passed > 0 { input } else { 0 }, passed)
            }
            What::Epoll(_) => (0, 0),
            What::Datagrams(socket) => {
                let (reads, writes, came) = socket.ready(self.shared.network.as_ref());
                let events = if reads { input } else { 0 } | if writes { output } else { 0 };
                (events, came)
            }
            What::Socket(socket) => match &socket.state {
                SocketState::Fresh => (output | sys::EPOLLHUP, 0),
                SocketState::Wired { wire, sends, moved, .. } => {
                    let Some(network) = &self.shared.network else {
                        return (sys::EPOLLHUP, 0);
                    };
                    let ready = network.readiness(*wire);
                    let events = [
                        (ready.reads, input),
                        (ready.writes, output),
                        (ready.ended, sys::EPOLLRDHUP),
                        (ready.over || ready.ended && !sends, sys::EPOLLHUP),
                        (ready.over && *moved == 0, sys::EPOLLERR),
                    ];
                    let events = events
                        .into_iter()
                        .filter(|(is, _)| *is)
                        .fold(0, |all, (_, one)| all | one);
                    (events, moved.wrapping_add(ready.changes))
                }
                SocketState::Listening { queue, .. } => (if queue.is_empty() { 0 } else { input }, queue.len() as u64),
                SocketState::Connected { receives, sends, .. } => {
                    let closed = input | sys::EPOLLRDHUP;
                    let (first, changed) = receives.as_ref().map_or((closed, 0), |from| reads(from, closed));
                    let (second, more) = sends.as_ref().map_or((0, 0), writes);
                    (first | second, changed.wrapping_add(more))
                }
            },
        }
    }

    /// The same for who waits for it.
    fn expect_ready(&mut self, id: Id) -> (u32, u64) {
        if self
            .shared
            .opens
            .get(id)
            .is_ok_and(|opened| matches!(opened.what, What::Console))
        {
            self.platform.expect_input();
        }
        self.ready(id)
    }

    /// `ppoll`.
    pub(super) fn poll(&mut self, [address, count, span]: [u64; 3], mask: [u64; 2]) -> Result<Outcome> {
        if count > MOST.min(self.program.descriptors.limit.0) {
            return Err(Error::EINVAL);
        }
        let nanoseconds = if span == 0 { None } else { Some(self.span(span)?) };
        self.mask_for_call(mask)?;
        let mut found = 0;
        for index in 0..count {
            let at = address.wrapping_add(index * size_of::<sys::pollfd>() as u64);
            let mut bytes = [0; size_of::<sys::pollfd>()];
            self.get(at, &mut bytes)?;
            let descriptor: i32 = field!(bytes, sys::pollfd, fd);
            let events: i16 = field!(bytes, sys::pollfd, events);
            let told = match self.program.descriptors.get(descriptor as u64) {
                _ if descriptor < 0 => 0,
                Ok(id) => self.expect_ready(id).0 & (events as u16 as u32 | ALWAYS),
                Err(_) => sys::POLLNVAL,
            };
            found += u64::from(told != 0);
            let place = at.wrapping_add(core::mem::offset_of!(sys::pollfd, revents) as u64);
            self.put(place, &(told as u16).to_ne_bytes())?;
        }
        if found > 0 || nanoseconds == Some(0) {
            return Ok(Outcome::Value(found));
        }
        Ok(self.wait_again(nanoseconds, 0))
    }

    /// `eventfd2`.
    pub(super) fn event(&mut self, count: u64, flags: u64) -> Result {
        let flags = flags as u32;
        if flags & !(sys::EFD_SEMAPHORE | sys::EFD_CLOEXEC | sys::EFD_NONBLOCK) != 0 {
            return Err(Error::EINVAL);
        }
        let semaphore = flags & sys::EFD_SEMAPHORE != 0;
        let what = What::Event {
            count: count as u32 as u64,
            semaphore,
        };
        let open = self.shared.opens.add(what, sys::O_RDWR | flags & sys::O_NONBLOCK);
        self.descriptor_for(open, flags & sys::O_CLOEXEC)
    }

    /// `epoll_create1`.
    pub(super) fn epoll(&mut self, flags: u64) -> Result {
        if flags as u32 & !sys::EPOLL_CLOEXEC != 0 {
            return Err(Error::EINVAL);
        }
        let open = self.shared.opens.add(What::Epoll(Vec::new()), sys::O_RDWR);
        self.descriptor_for(open, flags as u32 & sys::O_CLOEXEC)
    }

    fn interests(&mut self, epoll: Id) -> Result<&mut Vec<Interest>> {
        match &mut self.shared.opens.get_mut(epoll)?.what {
            What::Epoll(interests) => Ok(interests),
            _ => Err(Error::EINVAL),
        }
    }

    /// `epoll_ctl`.
    pub(super) fn epoll_control(&mut self, epoll: u64, operation: u64, descriptor: u64, event: u64) -> Result {
        let epoll = self.program.descriptors.get(epoll)?;
        let open = self.program.descriptors.get(descriptor)?;
        let descriptor = descriptor as u32;
        if epoll == open {
            return Err(Error::EINVAL);
        }
        match self.shared.opens.get(open)?.what {
            // Files are always ready, and an epoll is not waited for.
            What::File(_) | What::Folder(_) | What::Null | What::Zero | What::Random | What::Epoll(_) => {
                return Err(Error::EPERM);
            }
            _ => {}
        }
        let mut bytes = [0; EVENT as usize];
        if operation as u32 != sys::EPOLL_CTL_DEL {
            self.get(event, &mut bytes)?;
        }
        let (events, data): (u32, u64) = (
            field!(bytes, sys::epoll_event, events),
            field!(bytes, sys::epoll_event, data),
        );
        let interests = self.interests(epoll)?;
        let known = interests
            .iter()
            .position(|interest| (interest.descriptor, interest.open) == (descriptor, open));
        let new = Interest {
            descriptor,
            open,
            events,
            data,
            told: None,
        };
        match (operation as u32, known) {
            (sys::EPOLL_CTL_ADD, Some(_)) => return Err(Error::EEXIST),
            (sys::EPOLL_CTL_ADD, None) if interests.len() < crate::open::LIMIT => interests.push(new),
            (sys::EPOLL_CTL_ADD, None) => return Err(Error::ENOSPC),
            (sys::EPOLL_CTL_MOD, Some(index)) => interests[index] = new,
            (sys::EPOLL_CTL_DEL, Some(index)) => drop(interests.remove(index)),
            (sys::EPOLL_CTL_MOD | sys::EPOLL_CTL_DEL, None) => return Err(Error::ENOENT),
            _ => return Err(Error::EINVAL),
        }
        self.shared.stirred = true;
        Ok(0)
    }

    /// `epoll_pwait`.
    pub(super) fn epoll_wait(
        &mut self,
        [epoll, address, count, milliseconds]: [u64; 4],
        mask: [u64; 2],
    ) -> Result<Outcome> {
        let span = u64::try_from(milliseconds as i32).ok().map(|span| span * MILLISECOND);
        self.epoll_wait_for([epoll, address, count], span, mask)
    }

    /// `epoll_pwait2`.
    pub(super) fn epoll_wait_precisely(
        &mut self,
        [epoll, address, count, span]: [u64; 4],
        mask: [u64; 2],
    ) -> Result<Outcome> {
        let span = if span == 0 { None } else { Some(self.span(span)?) };
        self.epoll_wait_for([epoll, address, count], span, mask)
    }

    fn epoll_wait_for(
        &mut self,
        [epoll, address, count]: [u64; 3],
        span: Option<u64>,
        mask: [u64; 2],
    ) -> Result<Outcome> {
        let epoll = self.program.descriptors.get(epoll)?;
        let count = count as u32 as u64;
        if !(1..=MOST_EVENTS).contains(&count) {
            return Err(Error::EINVAL);
        }
        self.program.window.check(address, count * EVENT)?;
        self.mask_for_call(mask)?;
        let opens: Vec<Id> = self.interests(epoll)?.iter().map(|interest| interest.open).collect();
        let mut found = 0;
        for (index, open) in opens.into_iter().enumerate() {
            if found == count {
                break;
            }
            let (ready, changes) = self.expect_ready(open);
            let interest = &mut self.interests(epoll)?[index];
            let told = ready & (interest.events | ALWAYS);
            let changed = interest.told != Some((told, changes));
            let edge = interest.events & sys::EPOLLET != 0;
            interest.told = Some((told, changes));
            // One that was told once and for all waits for nothing.
            let asleep = interest.events & !(sys::EPOLLONESHOT | sys::EPOLLET) == 0;
            if told == 0 || asleep || edge && !changed {
                continue;
            }
            if interest.events & sys::EPOLLONESHOT != 0 {
                interest.events = sys::EPOLLONESHOT;
            }
            let key = interest.data;
            let bytes = encode!(sys::epoll_event {
                events: told,
                data: key,
            });
            self.put(address + found * EVENT, &bytes)?;
            found += 1;
        }
        if found > 0 || span == Some(0) {
            return Ok(Outcome::Value(found));
        }
        Ok(self.wait_again(span, 0))
    }

    /// `pselect6`.
    pub(super) fn select(&mut self, count: u64, sets: [u64; 3], span: u64, mask: u64) -> Result<Outcome> {
        let count = count as u32 as i32;
        let count = u64::try_from(count).map_err(|_| Error::EINVAL)?.min(MOST);
        let nanoseconds = if span == 0 { None } else { Some(self.span(span)?) };
        if mask != 0 {
            let window = &self.program.window;
            let mask = [
                window.word(self.platform, mask)?,
                window.word(self.platform, mask.wrapping_add(8))?,
            ];
            self.mask_for_call(mask)?;
        }
        // When the call is made again, what it was asked for is here: the program finds nothing ready where it takes too long.
        let kept = self.shared.selecting.remove(&self.who).filter(|_| self.again.is_none());
        let asked = match kept {
            Some(asked) => asked,
            None => self.sets(sets, count.div_ceil(64))?,
        };
        let mut told = [const { Vec::new() }; 3];
        let mut found = 0;
        for ((asked, told), events) in asked.iter().zip(&mut told).zip(SELECTED) {
            for (index, asked) in (0..).zip(asked.iter().copied()) {
                let mut ready = 0;
                for bit in (0..64).filter(|bit| asked & 1 << bit != 0 && 64 * index + bit < count) {
                    let open = self.program.descriptors.get(64 * index + bit)?;
                    if self.expect_ready(open).0 & events != 0 {
                        ready |= 1_u64 << bit;
                        found += 1;
                    }
                }
                told.push(ready);
            }
        }
        for (address, told) in sets.into_iter().zip(told).filter(|(address, _)| *address != 0) {
            let bytes: Vec<u8> = told.iter().flat_map(|word| word.to_ne_bytes()).collect();
            self.put(address, &bytes)?;
        }
        if found > 0 || nanoseconds == Some(0) {
            return Ok(Outcome::Value(found));
        }
        self.shared.selecting.insert(self.who, asked);
        Ok(self.wait_again(nanoseconds, 0))
    }

    /// Sets of descriptors in the program's memory, of so many words.
    fn sets(&self, addresses: [u64; 3], words: u64) -> Result<[Vec<u64>; 3]> {
        let mut sets = [const { Vec::new() }; 3];
        for (address, set) in addresses.into_iter().zip(&mut sets) {
            for index in (0..words).filter(|_| address != 0) {
                let at = address.wrapping_add(8 * index);
                set.push(self.program.window.word(self.platform, at)?);
            }
        }
        Ok(sets)
    }

    /// `recvfrom` and `sendto`; `flags` may say not to wait, or to leave what is read. The address is of datagrams.
    pub(super) fn transfer_socket(
        &mut self,
        [descriptor, address, length, flags]: [u64; 4],
        name: [u64; 2],
        writes: bool,
    ) -> Result<Outcome> {
        use linux_raw_sys::net::MSG_PEEK;
        let flags = flags as u32;
        if let Some(id) = self.datagram_id(descriptor) {
            let moved = self.move_datagram(id, &[[address, length]], (name, flags), writes);
            return self.or_wait_unless(id, moved, flags);
        }
        let id = self.socket_id(descriptor)?;
        let peek = !writes && flags & MSG_PEEK != 0;
        let result = self.move_bytes(id, At::Offset, [address, length], writes, peek);
        self.or_wait_unless(id, result, flags)
    }
}
