//! Disks, in sectors. One that this cVM drives, or the blocks of one that another cVM drives and that the manifest gives this
//! one (`disk:`).

#[cfg(target_os = "none")]
pub mod driven;
#[cfg(any(target_os = "none", test))]
pub mod share;

#[cfg(target_os = "none")]
use crate::{Buffer, Errno};
#[cfg(target_os = "none")]
use abi::hostcall::{BUFFER_READ, BUFFER_WRITE};

/// Bytes of a sector, and of a block.
pub const SECTOR: usize = 512;

/// Kinds of requests, numbered as virtio does.
pub const READ: u32 = 0;
/// To write.
pub const WRITE: u32 = 1;
/// To have all that was written outlive the machine.
pub const FLUSH: u32 = 4;

/// The key of the environment under which the manifest names the buffer of this cVM's blocks.
pub const VARIABLE: &str = "DISK";

/// A disk.
#[cfg(target_os = "none")]
pub struct Disk(Kind);

#[cfg(target_os = "none")]
enum Kind {
    Driven(driven::Driven),
    Shared(share::Client<Buffer>),
}

#[cfg(target_os = "none")]
impl Disk {
    /// The blocks that `disk:` in the manifest gives this cVM. Waits until who drives the disk has started.
    ///
    /// # Errors
    /// `ENOENT` when the manifest gives none; `ETIMEDOUT` when nobody drives the disk; `ENOMEM` without a place in the local area.
    pub fn open() -> Result<Disk, Errno> {
        let name = crate::var(VARIABLE).ok_or(Errno::ENOENT)?;
        let buffer = Buffer::open(name, BUFFER_READ | BUFFER_WRITE)?;
        share::Client::new(buffer).map(Kind::Shared).map(Disk)
    }

    /// Starts the disk at this place of the manifest entry's devices.
    ///
    /// # Errors
    /// `ENOENT` when there is none; `EIO` when it refuses.
    pub fn start(place: usize) -> Result<Disk, Errno> {
        driven::Driven::start(place).map(Kind::Driven).map(Disk)
    }

    /// How many sectors it has.
    pub fn sectors(&self) -> u64 {
        match &self.0 {
            Kind::Driven(disk) => disk.sectors(),
            Kind::Shared(disk) => disk.sectors(),
        }
    }

    /// Whether it can only be read.
    pub fn is_read_only(&self) -> bool {
        match &self.0 {
            Kind::Driven(disk) => disk.is_read_only(),
            Kind::Shared(disk) => disk.is_read_only(),
        }
    }

    /// Reads whole sectors from this one on.
    ///
    /// # Errors
    /// `EINVAL` for bytes that are no whole sectors of the disk; `EIO`, `ETIMEDOUT` when it has failed.
    pub fn read(&mut self, sector: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        self.check(sector, bytes.len())?;
        match &mut self.0 {
            Kind::Driven(disk) => disk.read(sector, bytes),
            Kind::Shared(disk) => disk.read(sector, bytes),
        }
    }

    /// Writes whole sectors from this one on. They outlive the machine when [`flush`](Disk::flush) has returned.
    ///
    /// # Errors
    /// As for [`read`](Disk::read), and `EPERM` when it can only be read. Any part may have been written then.
    pub fn write(&mut self, sector: u64, bytes: &[u8]) -> Result<(), Errno> {
        if self.is_read_only() {
            return Err(Errno::EPERM);
        }
        self.check(sector, bytes.len())?;
        match &mut self.0 {
            Kind::Driven(disk) => disk.write(sector, bytes),
            Kind::Shared(disk) => disk.write(sector, bytes),
        }
    }

    /// Returns when all that was written before outlives the machine.
    ///
    /// # Errors
    /// `EIO`, `ETIMEDOUT`: then nobody knows.
    pub fn flush(&mut self) -> Result<(), Errno> {
        match &mut self.0 {
            Kind::Driven(disk) => disk.flush(),
            Kind::Shared(disk) => disk.flush(),
        }
    }

    fn check(&self, sector: u64, length: usize) -> Result<(), Errno> {
        let end = sector.checked_add((length / SECTOR) as u64);
        let inside = end.is_some_and(|end| end <= self.sectors());
        if length > 0 && length.is_multiple_of(SECTOR) && inside {
            Ok(())
        } else {
            Err(Errno::EINVAL)
        }
    }
}
