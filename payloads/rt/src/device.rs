//! Devices that the manifest gives this cVM: virtio devices, whose queues the monitor keeps. The driver says which of its
//! memory a device may read and write.

use core::time::Duration;

use abi::hostcall::{DEVICE_QUEUE_SIZE, SEGMENT_LIMIT, SEGMENT_WRITTEN, Segment};
use abi::manifest::DeviceKind;

use crate::alloc::boxed::Box;
use crate::alloc::vec::Vec;
use crate::{Errno, hostcall};

/// A segment for memory that the device reads.
fn readable(bytes: &[u8]) -> Segment {
    Segment {
        pointer: [bytes.as_ptr().addr() as u64, 0],
        length: bytes.len() as u64,
        flags: 0,
    }
}

/// A segment for memory that the device writes.
fn writable(bytes: &mut [u8]) -> Segment {
    Segment {
        pointer: [bytes.as_mut_ptr().expose_provenance() as u64, 0],
        length: bytes.len() as u64,
        flags: SEGMENT_WRITTEN,
    }
}

/// A device that was started. Dropped, it is reset.
#[derive(Debug)]
pub struct Device {
    number: u64,
    kind: DeviceKind,
    legacy: bool,
    features: u64,
    queues: u64,
}

impl Device {
    /// Starts the device at this place of the manifest entry, which is of this kind, with those of the `features` that it
    /// offers.
    ///
    /// # Errors
    /// `ENOENT` when there is none, or it is of another kind; `EIO` when the device refuses.
    pub fn start(place: usize, kind: DeviceKind, features: u64) -> Result<Device, Errno> {
        let number = place as u64;
        let (_, identity) = hostcall::device_info(number)?;
        if identity & 0xff != kind as u64 {
            return Err(Errno::ENOENT);
        }
        let (features, queues) = hostcall::device_start(number, features)?;
        Ok(Device {
            number,
            kind,
            legacy: identity >> 8 == 1,
            features,
            queues,
        })
    }

    /// Resets it and starts it again, with the same features. Nothing is in flight any more.
    ///
    /// # Errors
    /// `EIO` when the device refuses.
    pub fn restart(&mut self) -> Result<(), Errno> {
        (self.features, self.queues) = hostcall::device_start(self.number, self.features)?;
        Ok(())
    }

    /// What it is.
    pub fn kind(&self) -> DeviceKind {
        self.kind
    }

    /// Whether it is one of before virtio 1.0.
    pub fn is_legacy(&self) -> bool {
        self.legacy
    }

    /// Whether a feature was agreed on.
    pub fn has(&self, feature: u32) -> bool {
        self.features >> feature & 1 == 1
    }

    /// The number of its queues.
    pub fn queues(&self) -> u64 {
        self.queues
    }

    /// Copies from its configuration space.
    ///
    /// # Errors
    /// `EINVAL` beyond its end.
    pub fn configuration(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        for (at, byte) in (offset..).zip(bytes) {
            *byte = hostcall::device_config(self.number, at, 1)?.0 as u8;
        }
        Ok(())
    }

    /// A number of 64 bits in its configuration space, as it was at one instant.
    ///
    /// # Errors
    /// `EINVAL` beyond its end.
    pub fn configuration_number(&self, offset: u64) -> Result<u64, Errno> {
        loop {
            let (low, before) = hostcall::device_config(self.number, offset, 4)?;
            let (high, after) = hostcall::device_config(self.number, offset + 4, 4)?;
            if before == after {
                return Ok(low | high << 32);
            }
        }
    }

    /// Waits until there may be something to take from `queues`, a bit each.
    ///
    /// # Errors
    /// `ETIMEDOUT`; `EIO` when the device has failed.
    pub fn wait(&self, queues: u64, timeout: Option<Duration>) -> Result<(), Errno> {
        hostcall::device_wait(self.number, queues, timeout)
    }

    /// Lets the device read and write, and waits for it, this time at the longest; how many bytes it has written. Nothing else
    /// may be in flight in this queue. After an error the device has to be started again.
    ///
    /// # Errors
    /// `ETIMEDOUT`; `EIO` when the device has failed; `EINVAL` for an empty piece, or too many of them.
    pub fn transfer(
        &mut self,
        queue: u64,
        reads: &[&[u8]],
        writes: &mut [&mut [u8]],
        timeout: Option<Duration>,
    ) -> Result<usize, Errno> {
        let mut segments = [Segment::default(); SEGMENT_LIMIT];
        let count = reads.len() + writes.len();
        let all = reads.iter().map(|bytes| readable(bytes));
        let all = all.chain(writes.iter_mut().map(|bytes| writable(bytes)));
        segments
            .iter_mut()
            .zip(all)
            .for_each(|(place, segment)| *place = segment);
        let segments = segments.get(..count).ok_or(Errno::EINVAL)?;
        // SAFETY: the slices are borrowed until the request is over, or the device is.
        let id = unsafe { hostcall::device_submit(self.number, queue, segments)? };
        let outcome = self.finish(queue, id, timeout);
        if outcome.is_err() {
            hostcall::device_reset(self.number)?;
        }
        outcome
    }

    fn finish(&self, queue: u64, id: u64, timeout: Option<Duration>) -> Result<usize, Errno> {
        let start = timeout.map(|_| crate::Instant::now());
        loop {
            match hostcall::device_take(self.number, queue) {
                Ok((taken, length)) if taken == id => return Ok(length as usize),
                // Not alone in the queue.
                Ok(_) => return Err(Errno::EIO),
                Err(Errno::EAGAIN) => {}
                Err(errno) => return Err(errno),
            }
            let spent = start.map_or(Duration::ZERO, crate::Instant::elapsed);
            let left = timeout.map(|timeout| timeout.saturating_sub(spent));
            self.wait(1 << queue, left)?;
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // A device that does not stop is the monitor's affair: it does not give this memory to others.
        let _ = hostcall::device_reset(self.number);
    }
}

/// Buffers of which a device has some. It owns them all, so that none can be used, or given back, meanwhile.
pub struct Buffers {
    queue: u64,
    in_flight: Vec<Option<Box<[u8]>>>,
    count: usize,
}

impl Buffers {
    /// For a queue of a device.
    pub fn new(queue: u64) -> Buffers {
        let in_flight = (0..DEVICE_QUEUE_SIZE).map(|_| None).collect();
        Buffers {
            queue,
            in_flight,
            count: 0,
        }
    }

    /// How many the device has.
    pub fn in_flight(&self) -> usize {
        self.count
    }

    /// Gives the device the first `length` bytes of a buffer, to write to them or to read them.
    ///
    /// # Errors
    /// The buffer, and why the device does not take it: `EAGAIN` when it has as many as it can.
    pub fn give(
        &mut self,
        device: &Device,
        mut buffer: Box<[u8]>,
        length: usize,
        written: bool,
    ) -> Result<(), (Box<[u8]>, Errno)> {
        let Some(bytes) = buffer.get_mut(..length) else {
            return Err((buffer, Errno::EINVAL));
        };
        let segment = if written { writable(bytes) } else { readable(bytes) };
        // SAFETY: the buffer is kept until the request was taken. When the device is dropped before, it was reset.
        match unsafe { hostcall::device_submit(device.number, self.queue, &[segment]) } {
            Ok(id) => {
                self.in_flight[id as usize] = Some(buffer);
                self.count += 1;
                Ok(())
            }
            Err(errno) => Err((buffer, errno)),
        }
    }

    /// Takes a buffer back that the device is done with, and how many bytes it has written.
    ///
    /// # Errors
    /// `EAGAIN` when there is none; `EIO` when the device has failed.
    pub fn take(&mut self, device: &Device) -> Result<(Box<[u8]>, usize), Errno> {
        let (id, length) = hostcall::device_take(device.number, self.queue)?;
        let buffer = self.in_flight.get_mut(id as usize).and_then(Option::take);
        let buffer = buffer.ok_or(Errno::EIO)?;
        self.count -= 1;
        Ok((buffer, length as usize))
    }
}
