//! The block device: sectors of 512 bytes of a [`Storage`], most often a raw file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::FlockOperation;
use thiserror::Error;
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_ID_BYTES,
    VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN,
    VIRTIO_BLK_T_OUT,
};

use super::queue::{Chain, MAX_QUEUE_SIZE, Malformed, Segment};
use super::transport::Work;
use crate::memory::TaggedMemory;

/// Bytes in a sector.
pub const SECTOR: u64 = 512;
/// Type, priority and first sector.
const HEADER: u64 = 16;
/// The status.
const FOOTER: u64 = 1;
/// The most that is read from the storage at once.
const PIECE: usize = 1 << 16;

/// What holds the bytes of a disk.
pub trait Storage: Send {
    /// The number of bytes, a multiple of [`SECTOR`] that does not change.
    fn size(&self) -> u64;

    /// Reads bytes that are all within the size.
    ///
    /// # Errors
    /// The guest's request fails; what it would have read is zero then.
    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Writes bytes that are all within the size.
    ///
    /// # Errors
    /// The guest's request fails; any part of it may have been written.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Comes back when everything written before outlives the host.
    ///
    /// # Errors
    /// The guest's request fails.
    fn flush(&mut self) -> io::Result<()>;
}

/// A disk in the memory of the host, for tests.
impl Storage for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        bytes.copy_from_slice(&self[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why a file cannot be a disk.
#[derive(Debug, Error)]
pub enum DiskError {
    /// It cannot be opened.
    #[error("disk {file}: {source}")]
    Open {
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// Its size is none of a disk.
    #[error("disk {file}: {size} bytes; expected a multiple of {SECTOR}, not 0")]
    Size {
        /// The file.
        file: String,
        /// Its size.
        size: u64,
    },
    /// Another machine writes it, or reads it while this one would write.
    #[error("disk {file}: in use by another machine ({source}); only readers can share a disk")]
    InUse {
        /// The file.
        file: String,
        /// What the lock said.
        source: io::Error,
    },
}

/// A raw file, locked as long as it is open.
struct RawFile {
    file: File,
    size: u64,
}

impl RawFile {
    fn open(path: &Path, read_only: bool) -> Result<Self, DiskError> {
        let name = || path.display().to_string();
        let open = |source| DiskError::Open { file: name(), source };
        let file = File::options().read(true).write(!read_only).open(path).map_err(open)?;
        let lock = if read_only {
            FlockOperation::NonBlockingLockShared
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        // Two kinds of locks that know nothing of each other: the first one keeps out machines of this kind, in this
        // process too, the second one QEMU. What QEMU locks are single bytes, and only for reading: a reader does not see them.
        rustix::fs::flock(&file, lock)
            .and_then(|()| rustix::fs::fcntl_lock(&file, lock))
            .map_err(|errno| DiskError::InUse {
                file: name(),
                source: errno.into(),
            })?;
        let size = file.metadata().map_err(open)?.len();
        if size == 0 || !size.is_multiple_of(SECTOR) {
            return Err(DiskError::Size { file: name(), size });
        }
        Ok(RawFile { file, size })
    }
}

impl Storage for RawFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// What a device does wrong with a request, for tests of drivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mischief {
    /// It does what it should, and says that it was this request.
    Id(u32),
    /// It does what it should, and says that it has written so many bytes.
    Length(u32),
    /// It does what it should, and says it so many times.
    Times(u16),
    /// It does what it should, and says so with this status.
    Status(u8),
    /// It does nothing, and says nothing.
    Silence,
    /// It does nothing, and needs a reset.
    Breakdown,
}

/// Says what is wrong with the next request.
type Mischiefs = Box<dyn FnMut() -> Option<Mischief> + Send>;

/// A virtio block device.
pub struct Block {
    storage: Box<dyn Storage>,
    read_only: bool,
    serial: [u8; VIRTIO_BLK_ID_BYTES as usize],
    latency: u64,
    mischiefs: Mischiefs,
}

impl Block {
    /// A disk with these contents.
    pub fn new(storage: impl Storage + 'static) -> Self {
        Block {
            storage: Box::new(storage),
            read_only: false,
            serial: [0; VIRTIO_BLK_ID_BYTES as usize],
            latency: 0,
            mischiefs: Box::new(|| None),
        }
    }

    /// A raw file as a disk. The file is locked: there is one machine that writes, or any number that read.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub fn open(path: &Path, read_only: bool) -> Result<Self, DiskError> {
        Ok(Block {
            read_only,
            ..Block::new(RawFile::open(path, read_only)?)
        })
    }

    /// The guest can write nothing.
    #[must_use]
    pub fn read_only(self) -> Self {
        Block {
            read_only: true,
            ..self
        }
    }

    /// The name by which a driver can tell the disk from others: at most 20 bytes, the rest is cut off.
    #[must_use]
    pub fn with_serial(mut self, serial: &str) -> Self {
        let length = serial.len().min(self.serial.len());
        self.serial = [0; VIRTIO_BLK_ID_BYTES as usize];
        self.serial[..length].copy_from_slice(&serial.as_bytes()[..length]);
        self
    }

    /// Requests take effect this many nanoseconds of virtual time after the driver's notification. Without a latency they
    /// are complete before the guest's next instruction.
    #[must_use]
    pub fn with_latency(self, nanoseconds: u64) -> Self {
        Block {
            latency: nanoseconds,
            ..self
        }
    }

    /// A device that is broken, or hostile: `next` is asked at each request what is wrong with it.
    #[must_use]
    pub fn misbehaving(self, next: impl FnMut() -> Option<Mischief> + Send + 'static) -> Self {
        Block {
            mischiefs: Box::new(next),
            ..self
        }
    }

    pub(super) fn latency(&self) -> u64 {
        self.latency
    }

    pub(super) fn features(&self) -> u64 {
        1 << VIRTIO_BLK_F_SEG_MAX
            | 1 << VIRTIO_BLK_F_BLK_SIZE
            | 1 << VIRTIO_BLK_F_FLUSH
            | u64::from(self.read_only) << VIRTIO_BLK_F_RO
    }

    pub(super) fn configuration(&self) -> Vec<u8> {
        let mut bytes = vec![0; 60];
        bytes[0..8].copy_from_slice(&(self.storage.size() / SECTOR).to_le_bytes());
        // Header and status take a descriptor each.
        bytes[12..16].copy_from_slice(&(u32::from(MAX_QUEUE_SIZE) - 2).to_le_bytes());
        bytes[20..24].copy_from_slice(&(SECTOR as u32).to_le_bytes());
        bytes
    }

    pub(super) fn serve(&mut self, mut work: Work<'_>) -> Result<(), Malformed> {
        while let Some(chain) = work.take()? {
            let mischief = (self.mischiefs)();
            match mischief {
                Some(Mischief::Silence) => continue,
                Some(Mischief::Breakdown) => return Err(Malformed::Broken),
                _ => {}
            }
            let header = chain.header(work.memory, HEADER)?;
            let room = chain.writable.length();
            if room < FOOTER {
                return Err(chain.short("to write", room, FOOTER));
            }
            let kind = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
            let mut sector = [0; 8];
            sector.copy_from_slice(&header[8..]);
            let through = !work.has_feature(VIRTIO_BLK_F_FLUSH);
            let mut status = self.request(work.memory, &chain, kind, u64::from_le_bytes(sector), through) as u8;
            if let Some(Mischief::Status(wrong)) = mischief {
                status = wrong;
            }
            chain.writable.write(work.memory, room - FOOTER, &[status]);
            match mischief {
                Some(Mischief::Id(id)) => work.say(id, room as u32),
                Some(Mischief::Length(length)) => work.say(chain.head.into(), length),
                Some(Mischief::Times(times)) => (0..times).for_each(|_| work.give(&chain, room)),
                _ => work.give(&chain, room),
            }
        }
        Ok(())
    }

    /// Carries a request out and tells its status. Everything of the chain that the driver may look at is written.
    fn request(&mut self, memory: &mut TaggedMemory, chain: &Chain, kind: u32, sector: u64, through: bool) -> u32 {
        let room = chain.writable.length() - FOOTER;
        let result = match kind {
            VIRTIO_BLK_T_IN => self.read(memory, chain, sector, room),
            VIRTIO_BLK_T_OUT => self.write(memory, chain, sector, through),
            VIRTIO_BLK_T_FLUSH => self.storage.flush(),
            VIRTIO_BLK_T_GET_ID => {
                chain.writable.write(memory, 0, &self.serial[..room.min(20) as usize]);
                clear(memory, chain, room.min(20), room);
                return VIRTIO_BLK_S_OK;
            }
            _ => {
                clear(memory, chain, 0, room);
                return VIRTIO_BLK_S_UNSUPP;
            }
        };
        if kind != VIRTIO_BLK_T_IN || result.is_err() {
            clear(memory, chain, 0, room);
        }
        match result {
            Ok(()) => VIRTIO_BLK_S_OK,
            Err(_) => VIRTIO_BLK_S_IOERR,
        }
    }

    /// The place of `length` bytes from `sector` on, if they are whole sectors of this disk.
    fn place(&self, sector: u64, length: u64) -> io::Result<u64> {
        let start = sector.checked_mul(SECTOR);
        let end = start.and_then(|start| start.checked_add(length));
        match (start, end) {
            (Some(start), Some(end)) if end <= self.storage.size() && length.is_multiple_of(SECTOR) => Ok(start),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn read(&mut self, memory: &mut TaggedMemory, chain: &Chain, sector: u64, room: u64) -> io::Result<()> {
        let mut place = self.place(sector, room)?;
        let mut piece = vec![0; PIECE];
        for Segment { mut offset, mut length } in chain.writable.part(0, room) {
            while length > 0 {
                let bytes = &mut piece[..length.min(PIECE)];
                self.storage.read(place, bytes)?;
                memory.fill(offset, bytes);
                place += bytes.len() as u64;
                offset += bytes.len();
                length -= bytes.len();
            }
        }
        Ok(())
    }

    fn write(&mut self, memory: &TaggedMemory, chain: &Chain, sector: u64, through: bool) -> io::Result<()> {
        let length = chain.readable.length() - HEADER;
        let mut place = self.place(sector, length)?;
        if self.read_only {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        for Segment { offset, length } in chain.readable.part(HEADER, length) {
            self.storage.write(place, memory.bytes(offset, length))?;
            place += length as u64;
        }
        if through { self.storage.flush() } else { Ok(()) }
    }
}

/// Writes zeros from byte `start` to byte `end`.
fn clear(memory: &mut TaggedMemory, chain: &Chain, start: u64, end: u64) {
    const ZEROS: [u8; 4096] = [0; 4096];
    for Segment { offset, length } in chain.writable.part(start, end - start) {
        for piece in (0..length).step_by(ZEROS.len()) {
            memory.fill(offset + piece, &ZEROS[..(length - piece).min(ZEROS.len())]);
        }
    }
}
