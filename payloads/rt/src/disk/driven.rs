//! A disk that this cVM drives: the device `block0` or another (virtio 1.2, section 5.2).

use core::time::Duration;

use abi::manifest::DeviceKind;

use crate::Errno;
use crate::device::Device;

use super::{FLUSH, READ, WRITE};

/// Features: the disk can only be read, it has a cache to flush, requests may be laid out in any way.
const READ_ONLY: u32 = 5;
const FLUSHES: u32 = 9;
const ANY_LAYOUT: u32 = 27;

/// Bytes of a request's head.
pub const HEAD: usize = 16;
/// A status that no disk gives: what stands there before the disk has written its own.
pub const NO_STATUS: u8 = 0xff;
/// The status of what was done.
pub const DONE: u8 = 0;
/// The queue.
pub const QUEUE: u64 = 0;
/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts the disk at this place of the manifest entry: the device, and how many sectors it has.
///
/// # Errors
/// `ENOENT` when there is none; `EIO` when it refuses.
pub fn start(place: usize) -> Result<(Device, u64), Errno> {
    let features = [READ_ONLY, FLUSHES, ANY_LAYOUT];
    let features = features.iter().fold(0, |all, feature| all | 1 << feature);
    let device = Device::start(place, DeviceKind::Block, features)?;
    let sectors = device.configuration_number(0)?;
    Ok((device, sectors))
}

/// Whether a disk can only be read.
pub fn is_read_only(device: &Device) -> bool {
    device.has(READ_ONLY)
}

/// Whether a disk has a cache, which a request can flush.
pub fn has_cache(device: &Device) -> bool {
    device.has(FLUSHES)
}

/// The head of a request.
pub fn head(kind: u32, sector: u64) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&kind.to_le_bytes());
    head[8..].copy_from_slice(&sector.to_le_bytes());
    head
}

/// A disk that this cVM drives, and uses alone.
#[derive(Debug)]
pub(super) struct Driven {
    device: Device,
    sectors: u64,
}

impl Driven {
    pub(super) fn start(place: usize) -> Result<Driven, Errno> {
        let (device, sectors) = start(place)?;
        Ok(Driven { device, sectors })
    }

    pub(super) fn sectors(&self) -> u64 {
        self.sectors
    }

    pub(super) fn is_read_only(&self) -> bool {
        is_read_only(&self.device)
    }

    pub(super) fn read(&mut self, sector: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        self.request(READ, sector, &[], bytes)
    }

    pub(super) fn write(&mut self, sector: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.request(WRITE, sector, bytes, &mut [])
    }

    pub(super) fn flush(&mut self) -> Result<(), Errno> {
        if has_cache(&self.device) {
            return self.request(FLUSH, 0, &[], &mut []);
        }
        Ok(())
    }

    fn request(&mut self, kind: u32, sector: u64, out: &[u8], into: &mut [u8]) -> Result<(), Errno> {
        let header = head(kind, sector);
        let mut status = [NO_STATUS];
        let (reads, mut both) = ([&header[..], out], [into, &mut status[..]]);
        let reads = &reads[..if out.is_empty() { 1 } else { 2 }];
        let from = if both[0].is_empty() { 1 } else { 0 };
        let done = self.device.transfer(QUEUE, reads, &mut both[from..], Some(PATIENCE));
        match (done, status) {
            (Ok(_), [DONE]) => Ok(()),
            (Ok(_), _) => Err(Errno::EIO),
            (Err(errno), _) => {
                // It was reset; the next request finds it started.
                self.device.restart()?;
                Err(errno)
            }
        }
    }
}
