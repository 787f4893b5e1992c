//! A disk: the device `block0` or another, in sectors (virtio 1.2, section 5.2).

use core::time::Duration;

use abi::manifest::DeviceKind;

use crate::Errno;
use crate::device::Device;

/// Bytes of a sector.
pub const SECTOR: usize = 512;

/// Features: the disk can only be read, it has a cache to flush, requests may be laid out in any way.
const READ_ONLY: u32 = 5;
const FLUSH: u32 = 9;
const ANY_LAYOUT: u32 = 27;

/// Kinds of requests.
const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSHING: u32 = 4;

/// A status that no disk gives.
const NO_STATUS: u8 = 0xff;
/// The queue.
const QUEUE: u64 = 0;
/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A disk that this cVM drives.
#[derive(Debug)]
pub struct Disk {
    device: Device,
    sectors: u64,
}

impl Disk {
    /// Starts the disk at this place of the manifest entry.
    ///
    /// # Errors
    /// `ENOENT` when there is none; `EIO` when it refuses.
    pub fn start(place: usize) -> Result<Disk, Errno> {
        let features = [READ_ONLY, FLUSH, ANY_LAYOUT];
        let features = features.iter().fold(0, |all, feature| all | 1 << feature);
        let device = Device::start(place, DeviceKind::Block, features)?;
        let sectors = device.configuration_number(0)?;
        Ok(Disk { device, sectors })
    }

    /// How many sectors it has.
    pub fn sectors(&self) -> u64 {
        self.sectors
    }

    /// Whether it can only be read.
    pub fn is_read_only(&self) -> bool {
        self.device.has(READ_ONLY)
    }

    /// Reads whole sectors from this one on.
    ///
    /// # Errors
    /// `EINVAL` for bytes that are no whole sectors of the disk; `EIO`, `ETIMEDOUT` when it has failed.
    pub fn read(&mut self, sector: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        self.check(sector, bytes.len())?;
        self.request(IN, sector, &[], bytes)
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
        self.request(OUT, sector, bytes, &mut [])
    }

    /// Returns when all that was written before outlives the machine.
    ///
    /// # Errors
    /// `EIO`, `ETIMEDOUT`: then nobody knows.
    pub fn flush(&mut self) -> Result<(), Errno> {
        if !self.device.has(FLUSH) {
            // It has no cache.
            return Ok(());
        }
        self.request(FLUSHING, 0, &[], &mut [])
    }

    fn check(&self, sector: u64, length: usize) -> Result<(), Errno> {
        let end = sector.checked_add((length / SECTOR) as u64);
        let inside = end.is_some_and(|end| end <= self.sectors);
        if length > 0 && length.is_multiple_of(SECTOR) && inside {
            Ok(())
        } else {
            Err(Errno::EINVAL)
        }
    }

    fn request(&mut self, kind: u32, sector: u64, out: &[u8], into: &mut [u8]) -> Result<(), Errno> {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        let mut status = [NO_STATUS];
        let (reads, mut both) = ([&header[..], out], [into, &mut status[..]]);
        let reads = &reads[..if out.is_empty() { 1 } else { 2 }];
        let from = if both[0].is_empty() { 1 } else { 0 };
        let done = self.device.transfer(QUEUE, reads, &mut both[from..], Some(PATIENCE));
        match (done, status) {
            (Ok(_), [0]) => Ok(()),
            (Ok(_), _) => Err(Errno::EIO),
            (Err(errno), _) => {
                // It was reset; the next request finds it started.
                self.device.restart()?;
                Err(errno)
            }
        }
    }
}
