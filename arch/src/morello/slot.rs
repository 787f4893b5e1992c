//! Capabilities in Rust: pinned slots, changed by assembly on their addresses.
//!
//! rustc moves a 16-byte value by two integer accesses, which drops the tag. So a capability never is a Rust value: it
//! lives in a [`Slot`], and every operation is one assembly routine that loads, derives, stores and clears its register.

use crate::types::{Derivation, DeriveError, Register};
use capability::morello::Capability;
use capability::{Decoded, Permissions};
use core::cell::UnsafeCell;
use core::marker::PhantomPinned;

unsafe extern "C" {
    fn intravisor_slot_tag(slot: *const u64) -> u64;
    fn intravisor_slot_copy(from: *const u64, to: *mut u64);
    fn intravisor_slot_derive(
        parent: *const u64,
        to: *mut u64,
        base: u64,
        length: u64,
        cleared_permissions: u64,
        address: u64,
        sentry: u64,
    ) -> u64;
    fn intravisor_slot_set_address(slot: *mut u64, address: u64);
}

/// A pinned home of one capability. Neither `Copy` nor `Clone`; only ever reached through a shared reference, so that
/// safe code cannot move it.
#[repr(C, align(16))]
pub struct Slot {
    words: UnsafeCell<[u64; 2]>,
    _pinned: PhantomPinned,
}

// SAFETY: a slot is changed by single assembly routines; the monitor runs on one processor with interrupts masked, so no
// two of them overlap. (Capability loads and stores of 16 bytes are single-copy atomic besides.)
unsafe impl Sync for Slot {}

impl Slot {
    /// A slot that holds NULL.
    pub const fn null() -> Slot {
        Slot {
            words: UnsafeCell::new([0; 2]),
            _pinned: PhantomPinned,
        }
    }

    /// Address of the slot.
    pub(super) fn pointer(&self) -> *mut u64 {
        self.words.get().cast()
    }

    /// A plain value of what the slot holds, for looking at.
    pub fn decoded(&self) -> Decoded {
        // SAFETY: reads the 16 bytes of this slot, which is aligned and alive.
        let (low, high) = unsafe {
            let words = self.pointer();
            (words.read(), words.add(1).read())
        };
        Capability::from_memory(low, high, self.tag()).decode()
    }

    /// Makes the slot hold NULL.
    pub fn clear(&self) {
        self.set_integer(0);
    }

    /// Makes the slot hold an integer, as a write to an integer register does.
    pub(super) fn set_integer(&self, value: u64) {
        // SAFETY: the slot is alive and aligned; integer stores clear its tag.
        unsafe {
            self.pointer().write(value);
            self.pointer().add(1).write(0);
        }
    }

    /// Makes the slot hold an integer or what another slot holds.
    pub(super) fn set(&self, contents: Register<'_>) {
        match contents {
            Register::Integer(value) => self.set_integer(value),
            Register::Capability(slot) => self.copy_from(slot),
        }
    }

    /// Whether the slot holds a capability with a tag.
    #[inline]
    pub fn tag(&self) -> bool {
        // SAFETY: the slot is alive and aligned.
        unsafe { intravisor_slot_tag(self.pointer()) != 0 }
    }

    /// The low word: the value of a capability, or the integer.
    pub(super) fn integer(&self) -> u64 {
        // SAFETY: the slot is alive and aligned.
        unsafe { self.pointer().read() }
    }

    /// Makes the slot hold what `other` holds, tag included.
    pub fn copy_from(&self, other: &Slot) {
        // SAFETY: both are live, aligned slots.
        unsafe { intravisor_slot_copy(other.pointer(), self.pointer()) }
    }

    /// Moves the capability in the slot to another address; untagged where its bounds cannot follow.
    pub(super) fn set_address(&self, address: u64) {
        // SAFETY: the slot is alive and aligned.
        unsafe { intravisor_slot_set_address(self.pointer(), address) }
    }

    /// Makes the slot hold a capability derived from `parent`: exact bounds, fewer permissions.
    ///
    /// # Errors
    /// [`DeriveError`]; the slot keeps what it held.
    pub fn derive(&self, parent: &Slot, request: &Derivation) -> Result<(), DeriveError> {
        self.derive_from(parent, request, false)
    }

    /// Makes the slot hold an entry point derived from `parent`: as [`derive`](Self::derive), then sealed as a sentry, so
    /// that its holder can branch to `request.address` and do nothing else with it. Bit 0 of the address: the code is
    /// C64.
    ///
    /// # Errors
    /// [`DeriveError`]; the slot keeps what it held.
    pub fn derive_entry(&self, parent: &Slot, request: &Derivation) -> Result<(), DeriveError> {
        self.derive_from(parent, request, true)
    }

    fn derive_from(&self, parent: &Slot, request: &Derivation, sentry: bool) -> Result<(), DeriveError> {
        request.check(&parent.decoded())?;
        let kept = capability::morello::permission_bits(request.permissions);
        // SAFETY: both are live, aligned slots. A result without tag is not stored.
        let tag = unsafe {
            intravisor_slot_derive(
                parent.pointer(),
                self.pointer(),
                request.base,
                request.length,
                u64::from(!kept),
                request.address,
                sentry.into(),
            )
        };
        if tag == 0 {
            Err(DeriveError::Unrepresentable)
        } else {
            Ok(())
        }
    }
}

/// Permissions of a cVM's code capability: never System, never Executive.
pub fn code_permissions() -> Permissions {
    Permissions::GLOBAL
        | Permissions::EXECUTE
        | Permissions::LOAD
        | Permissions::LOAD_CAPABILITY
        | Permissions::MUTABLE_LOAD
        | Permissions::INVOKE
}

/// Permissions of a cVM's data capability: never Execute, never sealing authority, never CompartmentID, never StoreLocal:
/// what is lent to it cannot be kept.
pub fn data_permissions() -> Permissions {
    Permissions::GLOBAL
        | Permissions::LOAD
        | Permissions::STORE
        | Permissions::LOAD_CAPABILITY
        | Permissions::STORE_CAPABILITY
        | Permissions::MUTABLE_LOAD
        | Permissions::INVOKE
}

/// Permissions of a service stack: the only memory of a cVM that lent capabilities can be stored to.
pub fn service_stack_permissions() -> Permissions {
    data_permissions() | Permissions::STORE_LOCAL
}

/// Permissions of memory that a cVM may only read. With MutableLoad, as what it loads from there is as strong as it was
/// stored.
pub fn read_only_permissions() -> Permissions {
    Permissions::GLOBAL | Permissions::LOAD | Permissions::LOAD_CAPABILITY | Permissions::MUTABLE_LOAD
}

/// Permissions of the monitor's own data capability: register frames hold local capabilities, too.
pub fn monitor_data_permissions() -> Permissions {
    service_stack_permissions() - Permissions::INVOKE
}

/// Permissions of the monitor's own code capability: it alone may access system registers and both register banks.
pub fn monitor_text_permissions() -> Permissions {
    Permissions::GLOBAL | Permissions::EXECUTE | Permissions::SYSTEM | Permissions::EXECUTIVE
}

/// Permissions of a device window.
pub fn device_permissions() -> Permissions {
    Permissions::GLOBAL | Permissions::LOAD | Permissions::STORE
}

/// Rounds a region so that its bounds are representable: the length to use and the alignment that its base needs.
pub fn representable(length: u64) -> (u64, u64) {
    let mask = capability::morello::representable_mask(length);
    (capability::morello::representable_length(length), mask.wrapping_neg())
}

/// The base of the addresses that a hybrid cVM in a region at `base` sees: absolute ones.
pub fn address_base(base: u64) -> u64 {
    base
}
