//! Buffers: memory that this cVM shares with others by a local capability, as far as the manifest or the buffer's owner lets
//! it. The capability lies in the cVM's local area (`local:` in the manifest), the only memory that takes it.

use core::fmt::{self, Debug, Formatter};
use core::sync::atomic::{AtomicU64, Ordering};

use abi::Hostcall;

use crate::capability::Slot;
use crate::stream::Shared;
use crate::{Errno, arch, hostcall, start_block};

/// Bytes of a capability.
const SIZE: u64 = 16;

/// Which places of the local area are taken, a bit each; as many as `local:` can say.
static TAKEN: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

/// Places in the local area, one behind the other, that nobody else has. Dropped, they are free again.
pub(crate) struct Places {
    first: u64,
    count: u32,
}

impl Places {
    /// Takes so many.
    pub(crate) fn take(count: u32) -> Result<Places, Errno> {
        let places = start_block().header().local_size / SIZE;
        for (index, word) in (0..places.div_ceil(64)).zip(&TAKEN) {
            let here = (places - index * 64).min(64) as u32;
            let run = u64::MAX >> (64 - count);
            let mut taken = word.load(Ordering::Relaxed);
            let free = |taken: u64| (0..=here.checked_sub(count)?).find(|bit| taken & run << bit == 0);
            while let Some(bit) = free(taken) {
                match word.compare_exchange_weak(taken, taken | run << bit, Ordering::Acquire, Ordering::Relaxed) {
                    Ok(_) => {
                        let first = index * 64 + u64::from(bit);
                        return Ok(Places { first, count });
                    }
                    Err(now) => taken = now,
                }
            }
        }
        Err(Errno::ENOMEM)
    }

    /// Where the first one is, from the start of the local area.
    fn offset(&self) -> u64 {
        self.first * SIZE
    }

    /// Address of the first one.
    pub(crate) fn address(&self) -> u64 {
        start_block().header().local + self.offset()
    }

    /// What lies in one of them.
    pub(crate) fn slot(&self, index: usize) -> &Slot {
        let place = (self.address() + index as u64 * SIZE) as usize as *const Slot;
        // SAFETY: a slot of the local area, which lives as long as the cVM; it is these places' alone.
        unsafe { &*place }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        let run = u64::MAX >> (64 - self.count);
        TAKEN[(self.first / 64) as usize].fetch_and(!(run << (self.first % 64)), Ordering::Release);
    }
}

/// Address of the capability over the local area.
pub(crate) fn local_authority() -> u64 {
    start_block().bytes().as_ptr().addr() as u64 + start_block().header().local_slot
}

/// A mapped buffer. Dropped, its capability is gone from this cVM's local area.
pub struct Buffer {
    place: Places,
    size: u64,
}

impl Buffer {
    /// Maps the buffer with this number, to do with it what `rights` says as far as this cVM may.
    ///
    /// # Errors
    /// As [`Hostcall::BufferMap`]; `ENOMEM` when the local area is full.
    pub fn map(number: u64, rights: u64) -> Result<Buffer, Errno> {
        Buffer::by(Hostcall::BufferMap, [number, rights])
    }

    /// Maps the capfile of this name, or another buffer of the manifest, to do with it all that this cVM may.
    ///
    /// # Errors
    /// As [`Hostcall::Capfile`]; `ENOMEM` when the local area is full.
    pub fn capfile(name: &str) -> Result<Buffer, Errno> {
        Buffer::by(Hostcall::Capfile, [name.as_ptr().addr() as u64, name.len() as u64])
    }

    /// What a hostcall gives.
    fn by(hostcall: Hostcall, arguments: [u64; 2]) -> Result<Buffer, Errno> {
        let mut buffer = Buffer {
            place: Places::take(1)?,
            size: 0,
        };
        let call = (hostcall as u64, arguments);
        let (first, size) = arch::hostcall_for_local(call, local_authority(), buffer.place.offset());
        // A capability is no error, whatever its address looks like.
        match Errno::from_result(first) {
            Some(errno) if !buffer.is_mapped() => Err(errno),
            _ => {
                buffer.size = size;
                Ok(buffer)
            }
        }
    }

    /// Maps the manifest's buffer of this name.
    ///
    /// # Errors
    /// As [`Hostcall::BufferFind`] and [`Buffer::map`].
    pub fn open(name: &str, rights: u64) -> Result<Buffer, Errno> {
        Buffer::map(hostcall::buffer_find(name)?.0, rights)
    }

    /// Its bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether it has not been revoked yet.
    pub fn is_mapped(&self) -> bool {
        self.slot().shape().usable
    }

    /// Copies the bytes from `offset` on to `bytes`. A revocation in the middle of that is a fault of this cVM, like any use of
    /// what has been revoked.
    ///
    /// # Errors
    /// `EFAULT` when it has been revoked, does not have so many bytes, or may not be read.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        self.slot().read(offset, bytes)
    }

    /// Copies `bytes` to `offset`, as [`Buffer::read`].
    ///
    /// # Errors
    /// `EFAULT` when it has been revoked, does not have so many bytes, or may not be written.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.slot().write(offset, bytes)
    }

    /// Makes a hostcall whose argument 0 is this buffer's capability, moved to `offset`: `wait` and `wake`.
    pub(crate) fn call(&self, call: Hostcall, offset: u64, arguments: [u64; 2]) -> Result<u64, Errno> {
        let shape = self.slot().shape();
        if !shape.usable || offset > shape.length {
            return Err(Errno::EFAULT);
        }
        let result = arch::hostcall_with(call as u64, self.slot(), shape.base + offset, arguments);
        Errno::from_result(result).map_or(Ok(result), Err)
    }

    /// Waits until [`Buffer::wake`] is called for the aligned word at `offset`, as [`hostcall::wait`] does.
    ///
    /// # Errors
    /// As [`hostcall::wait`]; `EFAULT` when the buffer has been revoked, before or meanwhile.
    pub fn wait(&self, offset: u64, expected: u32, timeout: Option<core::time::Duration>) -> Result<(), Errno> {
        let nanoseconds = hostcall::nanoseconds(timeout);
        self.call(Hostcall::Wait, offset, [expected.into(), nanoseconds])
            .map(|_| ())
    }

    /// Wakes up to `count` of the threads, of whatever cVM, that wait for the word at `offset`; returns how many.
    ///
    /// # Errors
    /// `EFAULT` when the buffer has been revoked.
    pub fn wake(&self, offset: u64, count: u64) -> Result<u64, Errno> {
        self.call(Hostcall::Wake, offset, [count, 0])
    }

    /// Puts a copy of the capability, moved to `offset`, to so many places behind the first of others.
    pub(crate) fn copy_to(&self, offset: u64, places: &Places, behind: u64) -> Result<(), Errno> {
        let shape = self.slot().shape();
        if !shape.usable || offset > shape.length {
            return Err(Errno::EFAULT);
        }
        let to = places.offset() + behind * SIZE;
        arch::copy_to_local(self.slot(), shape.base + offset, local_authority(), to);
        Ok(())
    }

    pub(crate) fn slot(&self) -> &Slot {
        let place = self.place.address() as usize as *const Slot;
        // SAFETY: a slot of the local area, which lives as long as the cVM; it is this buffer's alone.
        unsafe { &*place }
    }
}

impl Shared for Buffer {
    fn size(&self) -> u64 {
        self.size
    }

    fn load(&self, offset: u64) -> Result<u32, Errno> {
        let mut word = [0; 4];
        self.slot().read(offset, &mut word)?;
        Ok(u32::from_le_bytes(word))
    }

    fn store(&self, offset: u64, word: u32) -> Result<(), Errno> {
        self.slot().write(offset, &word.to_le_bytes())
    }

    fn copy_in(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        self.read(offset, bytes)
    }

    fn copy_out(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.write(offset, bytes)
    }

    fn wait(&self, offset: u64, expected: u32, timeout: Option<core::time::Duration>) -> Result<(), Errno> {
        Buffer::wait(self, offset, expected, timeout)
    }

    fn wake(&self, offset: u64) -> Result<(), Errno> {
        Buffer::wake(self, offset, 1).map(|_| ())
    }

    fn now(&self) -> core::time::Duration {
        core::time::Duration::from_nanos(hostcall::clock())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.slot().clear();
    }
}

impl Debug for Buffer {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Buffer").field(&self.slot().shape()).finish()
    }
}
