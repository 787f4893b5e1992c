//! Devices that the manifest gives this cVM: virtio devices, whose queues the monitor keeps. The driver says which of its
//! memory a device may read and write.

use core::time::Duration;

use abi::hostcall::{DEVICE_QUEUE_SIZE, SEGMENT_LIMIT, SEGMENT_WRITTEN, Segment};
use abi::manifest::DeviceKind;

use crate::alloc::boxed::Box;
use crate::alloc::vec::Vec;
use crate::buffer::Places;
use crate::{Buffer, Errno, hostcall};

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
    /// `EIO` when the device refuses, or is not what it was.
    pub fn restart(&self) -> Result<(), Errno> {
        let same = hostcall::device_start(self.number, self.features)? == (self.features, self.queues);
        same.then_some(()).ok_or(Errno::EIO)
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

/// A part of a mapped buffer, as a part of a request.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// The buffer.
    pub buffer: &'a Buffer,
    /// Where the part begins.
    pub offset: u64,
    /// Its bytes.
    pub length: u64,
    /// Whether the device writes it.
    pub written: bool,
}

/// Places of a capability in a segment's record.
const RECORD_PLACES: u64 = 2;
/// Most segments of a request with a part of a buffer: what the device reads before it, that part, what it writes behind it.
const PARTS: usize = 3;

/// Requests of which a device has some, each with memory of its own. It owns that, so that none can be used, or given back,
/// meanwhile.
pub struct Requests {
    queue: u64,
    in_flight: Vec<Option<Box<[u8]>>>,
    count: usize,
    /// Where records with local capabilities can lie.
    records: Option<Places>,
}

impl Requests {
    /// For a queue of a device.
    pub fn new(queue: u64) -> Requests {
        let in_flight = (0..DEVICE_QUEUE_SIZE).map(|_| None).collect();
        Requests {
            queue,
            in_flight,
            count: 0,
            records: None,
        }
    }

    /// For a queue of a device, which may get parts of buffers.
    ///
    /// # Errors
    /// `ENOMEM` when there is no room for six capabilities in the local area.
    pub fn with_pieces(queue: u64) -> Result<Requests, Errno> {
        Ok(Requests {
            records: Some(Places::take(RECORD_PLACES as u32 * PARTS as u32)?),
            ..Requests::new(queue)
        })
    }

    /// How many the device has.
    pub fn in_flight(&self) -> usize {
        self.count
    }

    /// Gives the device the first `length` bytes of some memory, to write to them or to read them.
    ///
    /// # Errors
    /// The memory, and why the device does not take it: `EAGAIN` when it has as many as it can.
    pub fn give(
        &mut self,
        device: &Device,
        mut memory: Box<[u8]>,
        length: usize,
        written: bool,
    ) -> Result<(), (Box<[u8]>, Errno)> {
        let Some(bytes) = memory.get_mut(..length) else {
            return Err((memory, Errno::EINVAL));
        };
        let segment = if written { writable(bytes) } else { readable(bytes) };
        self.submit(device, &[segment], memory)
    }

    /// Gives the device the first `reads` bytes of some memory to read, the `writes` bytes behind them to write, and between
    /// these a part of a buffer when there is one.
    ///
    /// # Errors
    /// The memory, and why the device does not take it: `EAGAIN` when it has as many as it can; `EFAULT` when the buffer is not
    /// there any more.
    pub fn give_request(
        &mut self,
        device: &Device,
        mut memory: Box<[u8]>,
        (reads, writes): (usize, usize),
        piece: Option<Piece<'_>>,
    ) -> Result<(), (Box<[u8]>, Errno)> {
        let Some((head, tail)) = memory
            .split_at_mut_checked(reads)
            .filter(|(_, tail)| tail.len() >= writes)
        else {
            return Err((memory, Errno::EINVAL));
        };
        let (head, tail) = (readable(head), writable(&mut tail[..writes]));
        let Some(piece) = piece else {
            return self.submit(device, &[head, tail], memory);
        };
        let Some(records) = &self.records else {
            return Err((memory, Errno::ENOMEM));
        };
        let place = records.address() as usize as *mut Segment;
        let middle = Segment {
            pointer: [0; 2],
            length: piece.length,
            flags: if piece.written { SEGMENT_WRITTEN } else { 0 },
        };
        for (index, segment) in [head, middle, tail].into_iter().enumerate() {
            // SAFETY: these places of the local area are for this many records, and nobody else's.
            unsafe { place.add(index).write_volatile(segment) };
        }
        if let Err(errno) = piece.buffer.copy_to(piece.offset, records, RECORD_PLACES) {
            return Err((memory, errno));
        }
        // SAFETY: as above, and they were written.
        let segments = unsafe { core::slice::from_raw_parts(place, PARTS) };
        let outcome = self.submit(device, segments, memory);
        // SAFETY: as above; the copy of the capability goes.
        unsafe { place.add(1).write_volatile(Segment::default()) };
        outcome
    }

    fn submit(&mut self, device: &Device, segments: &[Segment], memory: Box<[u8]>) -> Result<(), (Box<[u8]>, Errno)> {
        // SAFETY: the memory is kept until the request was taken. When the device is dropped before, it was reset. A buffer is no
        // memory that compiled code knows of.
        match unsafe { hostcall::device_submit(device.number, self.queue, segments) } {
            Ok(id) => {
                self.in_flight[id as usize] = Some(memory);
                self.count += 1;
                Ok(())
            }
            Err(errno) => Err((memory, errno)),
        }
    }

    /// Takes the memory of a request back that the device is done with, and how many bytes it has written.
    ///
    /// # Errors
    /// `EAGAIN` when there is none; `EIO` when the device has failed.
    pub fn take(&mut self, device: &Device) -> Result<(Box<[u8]>, usize), Errno> {
        let (id, length) = hostcall::device_take(device.number, self.queue)?;
        let memory = self.in_flight.get_mut(id as usize).and_then(Option::take);
        let memory = memory.ok_or(Errno::EIO)?;
        self.count -= 1;
        Ok((memory, length as usize))
    }

    /// Takes back the memory of all requests: the device, which was reset, has none any more.
    pub fn abandoned(&mut self) -> Vec<Box<[u8]>> {
        self.count = 0;
        self.in_flight.iter_mut().filter_map(Option::take).collect()
    }
}
