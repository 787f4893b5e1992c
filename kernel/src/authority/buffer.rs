//! Buffers: memory that cVMs share, as far as the manifest or the buffer's owner lets them; capfiles are buffers, too, of
//! nobody. Whoever maps one gets a local capability over data only. Tables and memory are taken at boot, and filled.

use crate::authority::ledger::{AuthorityError, Lack, Ledger, pool};
use crate::authority::pool::Pool;
use crate::elf::{File, PAGE};
use crate::plan::manifest::{BufferSpec, CvmSpec};
use abi::Errno;
use abi::hostcall::{BUFFER_LIMIT, BUFFER_READ, BUFFER_WRITE, BUFFERS};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};
use arch::{Derivation, Slot, user};
use capability::Permissions;
use core::ops::Range;

/// What a revocation may take at most, in units of about an instruction.
const SWEEP_LIMIT: u32 = 120_000;

/// A set of cVMs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set(Box<[u64]>);

impl Set {
    pub(crate) fn new(count: usize) -> Set {
        Set(vec![0; count.div_ceil(64)].into())
    }

    pub(crate) fn contains(&self, cvm: usize) -> bool {
        self.0[cvm / 64] >> (cvm % 64) & 1 == 1
    }

    pub(crate) fn set(&mut self, cvm: usize, member: bool) {
        let word = &mut self.0[cvm / 64];
        *word = *word & !(1 << (cvm % 64)) | u64::from(member) << (cvm % 64);
    }

    /// The first member from this number on.
    pub(crate) fn next(&self, from: usize) -> Option<usize> {
        let mut index = from / 64;
        let mut word = *self.0.get(index)? & u64::MAX << (from % 64);
        while word == 0 {
            index += 1;
            word = *self.0.get(index)?;
        }
        Some(index * 64 + word.trailing_zeros() as usize)
    }
}

/// Memory of which buffers are made: of one, for the image's author, or of those of one cVM.
pub(crate) struct Region {
    /// Local, to load and to store data.
    capability: Box<Slot>,
    pub(crate) memory: Range<u64>,
    /// The families that may hold something of it that somebody can take back, by their outermost cVMs, and what to look for
    /// it there takes.
    pub(crate) held: Set,
    weight: u32,
}

/// A buffer, or room for one.
pub(crate) struct Buffer {
    /// Of the manifest; empty otherwise.
    name: String,
    pub(crate) owner: Option<usize>,
    pub(crate) region: usize,
    /// Empty: it is nobody's.
    pub(crate) memory: Range<u64>,
    /// 0: there is none, but a device may still use the memory.
    pub(crate) size: u64,
    /// Counts the buffers that have been here: a number is not used again soon.
    life: u32,
    readers: Set,
    writers: Set,
}

/// All buffers.
#[derive(Default)]
pub(crate) struct Buffers {
    pub(crate) regions: Vec<Region>,
    list: Vec<Buffer>,
}

impl Buffer {
    pub(crate) fn may(&self, cvm: usize) -> u64 {
        let [read, write] = [&self.readers, &self.writers].map(|set| u64::from(set.contains(cvm)));
        (read * BUFFER_READ) | (write * BUFFER_WRITE)
    }

    fn allow(&mut self, cvm: usize, rights: u64) {
        self.readers.set(cvm, rights & BUFFER_READ != 0);
        self.writers.set(cvm, rights & BUFFER_WRITE != 0);
    }

    /// Nobody but the owner may do anything any more.
    fn allow_none(&mut self) {
        let kept = self.owner.map(|owner| (owner, self.may(owner)));
        for set in [&mut self.readers, &mut self.writers] {
            set.0.fill(0);
        }
        if let Some((owner, rights)) = kept {
            self.allow(owner, rights);
        }
    }
}

/// Whether rights are some, and known.
pub(crate) fn valid(rights: u64) -> Result<u64, Errno> {
    let known = rights != 0 && rights & !(BUFFER_READ | BUFFER_WRITE) == 0;
    known.then_some(rights).ok_or(Errno::EINVAL)
}

impl Buffers {
    /// Takes the memory of the manifest's buffers, fills it with what a file says and zeros, and that of the quotas.
    ///
    /// # Errors
    /// [`AuthorityError`] says what is missing.
    pub(crate) fn place(
        &mut self,
        specs: Vec<BufferSpec>,
        cvms: &[&CvmSpec],
        file: impl Fn(&str) -> Option<File>,
        free: &mut Pool,
        ledger: &mut Ledger,
    ) -> Result<(), AuthorityError> {
        let count = cvms.len();
        for spec in specs {
            let name = format!("buffer {}", spec.name);
            let what = (&*name, "for those that may map it");
            let region = self.region(count, spec.size, what, free, ledger)?;
            let memory = self.regions[region].memory.clone();
            let (pool, mut rest) = (pool(memory.start), memory.clone());
            let mut filled = Ok(());
            if let Some(file) = spec.data.as_deref().and_then(&file) {
                filled = file.copy(0..file.len(), pool, rest.start);
                rest.start += file.len() as u64;
            }
            filled
                .and_then(|()| user::zero(pool, rest.start, (rest.end - rest.start) as usize))
                .map_err(|_| AuthorityError::new(&name, Lack::Write))?;
            self.list.push(Buffer {
                name: spec.name,
                owner: spec.owner,
                region,
                memory,
                size: spec.size,
                life: 0,
                readers: spec.readers,
                writers: spec.writers,
            });
        }
        for (owner, cvm) in cvms.iter().enumerate().filter(|(_, cvm)| cvm.buffer_quota > 0) {
            let name = format!("{} buffers", cvm.name);
            let what = (&*name, "what it makes buffers of");
            let region = self.region(count, cvm.buffer_quota, what, free, ledger)?;
            self.list.extend((0..BUFFERS).map(|_| Buffer {
                name: String::new(),
                owner: Some(owner),
                region,
                memory: 0..0,
                size: 0,
                life: 0,
                readers: Set::new(count),
                writers: Set::new(count),
            }));
        }
        Ok(())
    }

    fn region(
        &mut self,
        count: usize,
        size: u64,
        what: (&str, &'static str),
        free: &mut Pool,
        ledger: &mut Ledger,
    ) -> Result<usize, AuthorityError> {
        let (bounds, alignment) = arch::representable(size);
        let taken = bounds.next_multiple_of(PAGE);
        let base = free.allocate(taken, alignment.max(PAGE)).ok_or_else(|| {
            let (needed, free) = (taken, free.free_bytes());
            AuthorityError::new(what.0, Lack::Memory { needed, free })
        })?;
        arch::protection::loading(base..base + taken);
        arch::protection::loaded(base..base + taken);
        let memory = base..base + bounds;
        let capability = Box::new(Slot::null());
        let request = Derivation {
            base,
            length: bounds,
            permissions: Permissions::LOAD | Permissions::STORE,
            address: base,
        };
        ledger.derive_from_pool(&capability, what, request)?;
        self.regions.push(Region {
            capability,
            memory,
            held: Set::new(count),
            weight: 0,
        });
        Ok(self.regions.len() - 1)
    }

    pub(crate) fn number(&self, index: usize) -> u64 {
        u64::from(self.list[index].life) << 16 | index as u64
    }

    /// The buffer with this number.
    pub(crate) fn find(&self, number: u64) -> Result<usize, Errno> {
        let index = (number & 0xffff) as usize;
        let buffer = self.list.get(index).filter(|buffer| buffer.size != 0);
        let found = buffer.is_some_and(|_| self.number(index) == number);
        found.then_some(index).ok_or(Errno::ENOENT)
    }

    /// The buffer with this number, of this owner.
    pub(crate) fn owned(&self, number: u64, owner: usize) -> Result<usize, Errno> {
        let index = self.find(number)?;
        let own = self.list[index].owner == Some(owner);
        own.then_some(index).ok_or(Errno::EPERM)
    }

    /// Whether a cVM may write a range, or read it, as part of a buffer.
    pub(crate) fn allows(&self, cvm: usize, range: Range<u64>, written: bool) -> bool {
        let right = if written { BUFFER_WRITE } else { BUFFER_READ };
        let within = |buffer: &&Buffer| buffer.memory.start <= range.start && range.end <= buffer.memory.end;
        let buffer = self.list.iter().filter(|buffer| buffer.size != 0).find(within);
        buffer.is_some_and(|buffer| buffer.may(cvm) & right != 0)
    }

    /// The buffers that a cVM may do something with, or owns.
    pub(crate) fn concerning(&self, cvm: usize) -> impl Iterator<Item = usize> {
        let mut all = self.list.iter().enumerate();
        core::iter::from_fn(move || {
            let found = all.find(|(_, buffer)| buffer.size != 0 && (buffer.may(cvm) != 0 || buffer.owner == Some(cvm)));
            Some(found?.0)
        })
    }

    pub(crate) fn get(&self, index: usize) -> &Buffer {
        &self.list[index]
    }

    /// Whether the manifest has made it.
    pub(crate) fn is_named(&self, index: usize) -> bool {
        !self.list[index].name.is_empty()
    }

    /// Number and size of the manifest's buffer with this name, if it concerns the cVM.
    pub(crate) fn named(&self, name: &[u8], cvm: usize) -> Result<(u64, u64), Errno> {
        let mut named = self.list.iter().enumerate();
        let found = named.find(|(_, buffer)| !buffer.name.is_empty() && buffer.name.as_bytes() == name);
        let concerned = found.filter(|(_, buffer)| buffer.may(cvm) != 0 || buffer.owner == Some(cvm));
        let (index, buffer) = concerned.ok_or(Errno::ENOENT)?;
        Ok((self.number(index), buffer.size))
    }

    /// Makes a buffer of an owner's quota; its number. `in_flight` says whether a device may still use memory of an earlier one.
    pub(crate) fn create(
        &mut self,
        owner: usize,
        size: u64,
        in_flight: &dyn Fn(&Range<u64>) -> bool,
    ) -> Result<u64, Errno> {
        if !(1..=BUFFER_LIMIT).contains(&size) {
            return Err(Errno::EINVAL);
        }
        let (bounds, alignment) = arch::representable(size);
        let own = |buffer: &Buffer| buffer.name.is_empty() && buffer.owner == Some(owner);
        let first = self.list.iter().position(own).ok_or(Errno::ENOMEM)?;
        for buffer in &mut self.list[first..first + BUFFERS] {
            if buffer.size == 0 && !in_flight(&buffer.memory) {
                buffer.memory = 0..0;
            }
        }
        let places = &self.list[first..first + BUFFERS];
        let free = places.iter().position(|buffer| buffer.memory.is_empty());
        let index = first + free.ok_or(Errno::ENOMEM)?;
        let region = &self.regions[self.list[index].region];
        let taken = || {
            places
                .iter()
                .map(|buffer| &buffer.memory)
                .filter(|memory| !memory.is_empty())
        };
        let starts = taken().map(|memory| memory.end).chain([region.memory.start]);
        let fits = |base: &u64| {
            let end = *base + bounds;
            end <= region.memory.end && taken().all(|other| end <= other.start || other.end <= *base)
        };
        // A line of the processor's cache is not shared by two buffers.
        let base = starts
            .map(|start| start.next_multiple_of(alignment.max(64)))
            .filter(fits)
            .min();
        let base = base.ok_or(Errno::ENOMEM)?;
        let zeroed = user::zero(&region.capability, base, bounds as usize);
        zeroed.map_err(|_| Errno::ENOMEM)?;
        let buffer = &mut self.list[index];
        buffer.memory = base..base + bounds;
        buffer.size = size;
        buffer.allow(owner, BUFFER_READ | BUFFER_WRITE);
        Ok(self.number(index))
    }

    /// Makes `slot` hold the capability over a buffer with these rights as far as the cVM has them, whose family then holds
    /// it; what to look for it there takes is `weight`. Nobody takes back what nobody owns.
    pub(crate) fn map(
        &mut self,
        index: usize,
        (cvm, family, weight): (usize, usize, u32),
        rights: u64,
        slot: &Slot,
    ) -> Result<u64, Errno> {
        let buffer = &self.list[index];
        let rights = rights & buffer.may(cvm);
        let region = &mut self.regions[buffer.region];
        let mut permissions = Permissions::empty();
        permissions.set(Permissions::LOAD, rights & BUFFER_READ != 0);
        permissions.set(Permissions::STORE, rights & BUFFER_WRITE != 0);
        if permissions.is_empty() {
            return Err(Errno::EPERM);
        }
        if buffer.owner.is_some() && !region.held.contains(family) {
            let all = region.weight.saturating_add(weight);
            if all > SWEEP_LIMIT {
                return Err(Errno::EAGAIN);
            }
            region.weight = all;
            region.held.set(family, true);
        }
        let request = Derivation {
            base: buffer.memory.start,
            length: buffer.memory.end - buffer.memory.start,
            permissions,
            address: buffer.memory.start,
        };
        slot.derive(&region.capability, &request).map_err(|_| Errno::ENOMEM)?;
        Ok(buffer.size)
    }

    /// Lets a cVM do so with a buffer, besides what it may.
    pub(crate) fn grant(&mut self, index: usize, cvm: usize, rights: u64) {
        let buffer = &mut self.list[index];
        buffer.allow(cvm, buffer.may(cvm) | rights);
    }

    /// Nobody but the owner may do anything with a buffer, or one cVM may not.
    pub(crate) fn deny(&mut self, index: usize, cvm: Option<usize>) {
        match cvm {
            Some(cvm) => self.list[index].allow(cvm, 0),
            None => self.list[index].allow_none(),
        }
    }

    /// A buffer is no more. Its memory is not used again while a device may use it.
    pub(crate) fn forget(&mut self, index: usize) {
        let buffer = &mut self.list[index];
        buffer.size = 0;
        buffer.life = buffer.life.wrapping_add(1);
        for set in [&mut buffer.readers, &mut buffer.writers] {
            set.0.fill(0);
        }
    }

    /// A cVM's life is over: the region of which it has made buffers, if it has.
    pub(crate) fn region_of(&self, owner: usize) -> Option<usize> {
        let made = |buffer: &&Buffer| buffer.name.is_empty() && buffer.owner == Some(owner);
        let first = self.list.iter().find(made)?;
        let region = &self.regions[first.region];
        (region.held.next(0).is_some()).then_some(first.region)
    }

    /// All buffers of a region are no more, and nobody holds anything of it.
    pub(crate) fn empty(&mut self, region: usize) {
        for index in 0..self.list.len() {
            if self.list[index].region == region {
                self.forget(index);
            }
        }
        let region = &mut self.regions[region];
        region.held.0.fill(0);
        region.weight = 0;
    }
}
