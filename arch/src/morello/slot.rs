//! Capabilities in Rust: pinned slots, changed by assembly on their addresses.
//!
//! rustc moves a 16-byte value by two integer accesses, which drops the tag. So a capability never is a Rust value: it
//! lives in a [`Slot`], and every operation is one assembly routine that loads, derives, stores and clears its register.

use crate::types::{Derivation, DeriveError, Register};
use capability::morello::Capability;
use capability::{Decoded, Permissions};
use core::arch::asm;
use core::cell::UnsafeCell;
use core::marker::PhantomPinned;

unsafe extern "C" {
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
    fn intravisor_slot_fields(slot: *const u64, fields: *mut [u64; 5]);
    fn intravisor_slot_narrow(from: *const u64, to: *mut u64, cleared_permissions: u64);
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
    pub(crate) fn pointer(&self) -> *mut u64 {
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
    pub(crate) fn set(&self, contents: Register<'_>) {
        match contents {
            Register::Integer(value) => self.set_integer(value),
            Register::Capability(slot) => self.copy_from(slot),
        }
    }

    /// Whether the slot holds a capability with a tag.
    #[inline]
    pub fn tag(&self) -> bool {
        let tag: u64;
        // SAFETY: reads the 16 bytes of this slot, which is aligned and alive; the register is cleared.
        unsafe {
            asm!(
                instruction!(LDR_C 9, 0, 11),
                instruction!(GCTAG 11, 9),
                "mov x9, xzr",
                inlateout("x11") self.pointer() => tag,
                out("x9") _,
                options(nostack, readonly),
            );
        }
        tag != 0
    }

    /// The low word: the value of a capability, or the integer.
    #[inline]
    pub fn integer(&self) -> u64 {
        // SAFETY: the slot is alive and aligned.
        unsafe { self.pointer().read() }
    }

    fn fields(&self) -> [u64; 5] {
        let mut fields = [0; 5];
        // SAFETY: reads a live, aligned slot and writes five words.
        unsafe { intravisor_slot_fields(self.pointer(), &raw mut fields) };
        fields
    }

    /// Makes the slot hold what is lent of `from`: its bounds, to load or store data, local. Returns its base, its length (2^64
    /// counts as one less), and whether it loads and stores; `None`, and nothing changes, for what is no capability or sealed.
    pub fn narrow(&self, from: &Slot) -> Option<(u64, u64, [bool; 2])> {
        let [tag, sealed, base, length, held] = from.fields();
        if tag == 0 || sealed != 0 {
            return None;
        }
        // SAFETY: both are live, aligned slots.
        unsafe { intravisor_slot_narrow(from.pointer(), self.pointer(), !(LOAD | STORE)) }
        Some((base, length, [LOAD, STORE].map(|permission| held & permission != 0)))
    }

    /// Makes the slot hold a capability over exactly `length` bytes at `base`, local, to store data or to load it, when
    /// `authority` covers them and has the permission.
    ///
    /// # Errors
    /// [`DeriveError`]; the slot keeps what it held.
    #[inline]
    pub fn lend(&self, authority: &Slot, base: u64, length: u64, written: bool) -> Result<(), DeriveError> {
        let permission = if written { STORE } else { LOAD };
        let (tag, held): (u64, u64);
        // SAFETY: both are live, aligned slots; what has a tag is exact, and stored only with the permission. The register is
        // cleared.
        unsafe {
            asm!(
                instruction!(LDR_C 9, 0, 10),
                instruction!(SCVALUE 9, 9, 11),
                instruction!(SCBNDSE 9, 9, 12),
                instruction!(CLRPERM 9, 9, 13),
                instruction!(GCTAG 10, 9),
                instruction!(GCPERM 11, 9),
                "cbz x10, 1f",
                "cbz x11, 1f",
                instruction!(STR_C 9, 0, 14),
                "1: mov x9, xzr",
                inlateout("x10") authority.pointer() => tag,
                inlateout("x11") base => held,
                in("x12") length,
                in("x13") !permission,
                in("x14") self.pointer(),
                out("x9") _,
                options(nostack),
            );
        }
        if tag != 0 && held != 0 {
            return Ok(());
        }
        self.make(authority, [base, length, base], permission, false)
    }

    /// Whether the capability allows to store so many bytes at an address, or to load them: then whether it is global.
    #[inline]
    pub fn covers(&self, address: u64, length: u64, written: bool) -> Option<bool> {
        let [tag, sealed, base, size, held] = self.fields();
        let needed = if written { STORE } else { LOAD };
        let offset = address.wrapping_sub(base);
        let inside = address >= base && offset <= size && length <= size - offset;
        (tag != 0 && sealed == 0 && held & needed != 0 && inside).then_some(held & GLOBAL != 0)
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
        let Derivation {
            base,
            length,
            permissions,
            address,
        } = *request;
        let kept = u64::from(capability::morello::permission_bits(permissions));
        self.make(parent, [base, length, address], kept, sentry)
    }

    /// Says beforehand, with the processor's own words for the parent, why there would be no tag.
    fn make(
        &self,
        parent: &Slot,
        [base, length, address]: [u64; 3],
        permissions: u64,
        sentry: bool,
    ) -> Result<(), DeriveError> {
        let [tag, sealed, lowest, size, held] = parent.fields();
        if tag == 0 {
            return Err(DeriveError::Untagged);
        }
        if sealed != 0 {
            return Err(DeriveError::Sealed);
        }
        let offset = base.wrapping_sub(lowest);
        if base < lowest || offset > size || length > size - offset {
            return Err(DeriveError::OutOfBounds);
        }
        if permissions & !held != 0 {
            return Err(DeriveError::Permissions);
        }
        // SAFETY: both are live, aligned slots. A result without tag is not stored.
        let tag = unsafe {
            intravisor_slot_derive(
                parent.pointer(),
                self.pointer(),
                base,
                length,
                !permissions,
                address,
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

/// Permission bits as GCPERM numbers them.
const GLOBAL: u64 = 1;
const LOAD: u64 = 1 << 17;
const STORE: u64 = 1 << 16;
/// Number of the bit of LoadCapability.
pub(super) const LOAD_CAPABILITY_BIT: u32 = 14;

/// What loads what was stored as it was.
pub(crate) fn faithful() -> Permissions {
    Permissions::MUTABLE_LOAD
}

/// What the monitor's own code has besides: access to system registers and to both register banks.
pub(crate) fn privileged() -> Permissions {
    Permissions::SYSTEM | Permissions::EXECUTIVE
}

/// Rounds a region so that its bounds are representable: the length to use and the alignment that its base needs.
pub fn representable(length: u64) -> (u64, u64) {
    let (rounded, mask): (u64, u64);
    // SAFETY: computes on integers.
    unsafe {
        asm!(
            instruction!(RRLEN 10, 9),
            instruction!(RRMASK 11, 9),
            in("x9") length,
            out("x10") rounded,
            out("x11") mask,
            options(nostack, nomem, pure),
        );
    }
    (rounded, mask.wrapping_neg())
}

/// The base of the addresses that a hybrid cVM in a region at `base` sees: absolute ones.
pub fn address_base(base: u64) -> u64 {
    base
}
