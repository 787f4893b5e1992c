//! Memory behind a capability of its own: what the hostcall `heap` gives.

use core::{
    cell::UnsafeCell,
    fmt::{self, Debug, Formatter},
    marker::PhantomPinned,
    pin::Pin,
};

use crate::{Errno, arch};

/// Room for one capability. Compiled code that moves it loses the tag, so whoever holds one keeps it where it is.
#[repr(C, align(16))]
pub(crate) struct Slot(UnsafeCell<[u64; 2]>);

impl Slot {
    /// Nothing.
    pub(crate) const fn null() -> Slot {
        Slot(UnsafeCell::new([0; 2]))
    }

    /// Makes it hold an integer.
    pub(crate) fn set(&self, value: u64) {
        // SAFETY: a slot is not shared between threads, and no reference to the contents is ever made.
        unsafe { self.0.get().write_volatile([value, 0]) }
    }

    /// Where it lies.
    pub(crate) fn address(&self) -> u64 {
        self.0.get().addr() as u64
    }

    /// The address that the capability points to, or the integer that is no capability.
    pub(crate) fn value(&self) -> u64 {
        // SAFETY: a slot is not shared between threads, and no reference to the contents is ever made.
        unsafe { self.0.get().cast::<u64>().read_volatile() }
    }

    /// Makes it hold nothing.
    pub(crate) fn clear(&self) {
        self.set(0);
    }

    /// Makes it hold a capability over exactly these bytes of this program's memory, to load data and perhaps to store it.
    ///
    /// # Errors
    /// `EINVAL` when each that covers them covers more.
    pub(crate) fn derive(&self, bytes: *const u8, length: usize, written: bool) -> Result<(), Errno> {
        arch::derive(self, bytes, length, written);
        let shape = self.shape();
        if shape.usable && shape.base == self.value() && shape.length == length as u64 {
            return Ok(());
        }
        self.clear();
        Err(Errno::EINVAL)
    }

    /// What the capability covers and allows.
    pub(crate) fn shape(&self) -> Shape {
        arch::shape(self)
    }

    /// Copies `bytes.len()` bytes that begin `offset` bytes behind the capability's base.
    ///
    /// # Errors
    /// `EFAULT` when it is none, is sealed, does not cover them or does not allow to load them.
    pub(crate) fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        let shape = self.shape();
        shape.check(shape.loads, offset, bytes.len())?;
        arch::load_bytes(self, shape.base + offset, bytes);
        Ok(())
    }

    /// Copies `bytes` to `offset` bytes behind the capability's base.
    ///
    /// # Errors
    /// `EFAULT` when it is none, is sealed, does not cover them or does not allow to store them.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let shape = self.shape();
        shape.check(shape.stores, offset, bytes.len())?;
        arch::store_bytes(self, shape.base + offset, bytes);
        Ok(())
    }
}

/// What a capability covers and allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Whether it is a capability, sealed or not.
    pub(crate) tagged: bool,
    /// Whether it is a capability that can be used: tagged and not sealed.
    pub(crate) usable: bool,
    /// Lowest address, absolute.
    pub(crate) base: u64,
    /// Bytes.
    pub(crate) length: u64,
    /// Whether data may be loaded.
    pub(crate) loads: bool,
    /// Whether data may be stored.
    pub(crate) stores: bool,
}

impl Shape {
    fn check(&self, allowed: bool, offset: u64, length: usize) -> Result<(), Errno> {
        let end = offset.checked_add(length as u64);
        if self.usable && allowed && end.is_some_and(|end| end <= self.length) {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }
}

/// Memory that the monitor gave by a capability. It can be empty; [`hostcall::heap`](crate::hostcall::heap) fills it. It must
/// not move while it holds a capability, so it is used pinned:
///
/// ```ignore
/// let mut heap = core::pin::pin!(rt::CapBuffer::new());
/// rt::hostcall::heap(heap.as_mut())?;
/// heap.read(0, &mut bytes)?;
/// ```
pub struct CapBuffer {
    slot: Slot,
    _pinned: PhantomPinned,
}

impl CapBuffer {
    /// Without a capability.
    pub const fn new() -> CapBuffer {
        CapBuffer {
            slot: Slot(UnsafeCell::new([0; 2])),
            _pinned: PhantomPinned,
        }
    }

    /// Bytes behind the capability, 0 when there is none.
    pub fn size(&self) -> u64 {
        let shape = self.slot.shape();
        if shape.usable { shape.length } else { 0 }
    }

    /// Copies the bytes from `offset` on to `bytes`, through the capability.
    ///
    /// # Errors
    /// `EFAULT` when there is no capability, or it does not cover them or does not allow to load.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        self.slot.read(offset, bytes)
    }

    /// Copies `bytes` to `offset`, through the capability.
    ///
    /// # Errors
    /// `EFAULT` when there is no capability, or it does not cover the place or does not allow to store.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.slot.write(offset, bytes)
    }

    pub(crate) fn slot(&self) -> &Slot {
        &self.slot
    }

    /// The result of the hostcall that has put its first result register here.
    pub(crate) fn filled(self: Pin<&mut Self>, first: u64, size: u64) -> Result<u64, Errno> {
        match (Errno::from_result(first), self.slot.shape().usable) {
            (_, true) => Ok(size),
            (Some(errno), false) => Err(errno),
            // Neither an error nor a capability: the monitor is not the one that this program was made for.
            (None, false) => Err(Errno::EIO),
        }
    }
}

impl Default for CapBuffer {
    fn default() -> Self {
        CapBuffer::new()
    }
}

impl Debug for CapBuffer {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("CapBuffer").field(&self.slot.shape()).finish()
    }
}
