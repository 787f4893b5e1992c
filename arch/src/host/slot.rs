//! Slots that hold a capability of `capability::riscv` as a plain value.

use crate::types::{Derivation, DeriveError, Register};
use capability::riscv::{Capability, permission_bits, representable_length, representable_mask};
use capability::{Decoded, Permissions};
use core::ops::Range;
use std::sync::Mutex;

/// A pinned home of one capability.
pub struct Slot(Mutex<Capability>);

impl Slot {
    /// A slot that holds NULL.
    pub const fn null() -> Slot {
        Slot(Mutex::new(Capability::NULL))
    }

    pub(super) const fn root() -> Slot {
        Slot(Mutex::new(Capability::ROOT))
    }

    pub(super) fn get(&self) -> Capability {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn put(&self, value: Capability) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = value;
    }

    /// A plain value of what the slot holds.
    pub fn decoded(&self) -> Decoded {
        self.get().decode()
    }

    /// Whether the slot holds a capability.
    pub fn tag(&self) -> bool {
        self.get().tag()
    }

    /// Makes the slot hold NULL.
    pub fn clear(&self) {
        self.put(Capability::NULL);
    }

    pub(super) fn set_integer(&self, value: u64) {
        self.put(Capability::from_integer(value));
    }

    /// The address of a capability, or the integer.
    pub fn integer(&self) -> u64 {
        self.get().decode().address
    }

    /// Makes the slot hold an integer or what another slot holds.
    pub(crate) fn set(&self, contents: Register<'_>) {
        match contents {
            Register::Integer(value) => self.set_integer(value),
            Register::Capability(slot) => self.copy_from(slot),
        }
    }

    pub(super) fn hold(&self, value: Option<Capability>) {
        self.put(value.unwrap_or(Capability::NULL));
    }

    pub(super) fn set_address(&self, address: u64) {
        self.put(self.get().set_address(address));
    }

    pub(super) fn reaches(&self, range: &Range<u64>) -> bool {
        let what = self.decoded();
        what.tag && what.base < range.end && what.top > u128::from(range.start)
    }

    /// Makes the slot hold what is lent of `from`: its bounds, to load or store data, local. Returns its base, its length, and
    /// whether it loads and stores; `None` for what is no capability or sealed.
    pub fn narrow(&self, from: &Slot) -> Option<(u64, u64, [bool; 2])> {
        let what = from.get();
        let decoded = what.decode();
        if !what.tag() || decoded.seal.is_sealed() {
            return None;
        }
        self.put(what.and_permissions(permission_bits(Permissions::LOAD | Permissions::STORE)));
        let length = u64::try_from(decoded.top - u128::from(decoded.base));
        let held = [Permissions::LOAD, Permissions::STORE].map(|permission| decoded.permissions.contains(permission));
        Some((decoded.base, length.unwrap_or(u64::MAX), held))
    }

    /// Makes the slot hold a capability over exactly `length` bytes at `base`, local, to store data or to load it.
    ///
    /// # Errors
    /// [`DeriveError`]; the slot keeps what it held.
    pub fn lend(&self, authority: &Slot, base: u64, length: u64, written: bool) -> Result<(), DeriveError> {
        let request = Derivation {
            base,
            length,
            permissions: if written { Permissions::STORE } else { Permissions::LOAD },
            address: base,
        };
        self.derive(authority, &request)
    }

    /// Whether the capability allows to store so many bytes at an address, or to load them: then whether it is global.
    pub fn covers(&self, address: u64, length: u64, written: bool) -> Option<bool> {
        let what = self.decoded();
        let needed = if written { Permissions::STORE } else { Permissions::LOAD };
        let allowed = what.tag && !what.seal.is_sealed() && what.permissions.contains(needed);
        (allowed && what.in_bounds(address, length)).then(|| what.permissions.contains(Permissions::GLOBAL))
    }

    /// Makes the slot hold what `other` holds.
    pub fn copy_from(&self, other: &Slot) {
        self.put(other.get());
    }

    /// Makes the slot hold a capability derived from `parent`.
    ///
    /// # Errors
    /// [`DeriveError`]; the slot keeps what it held.
    pub fn derive(&self, parent: &Slot, request: &Derivation) -> Result<(), DeriveError> {
        self.put(derived(parent, request)?);
        Ok(())
    }

    /// Makes the slot hold a sentry: derived from `parent`, in capability mode, sealed as an entry.
    ///
    /// # Errors
    /// [`DeriveError`]; the slot keeps what it held.
    pub fn derive_entry(&self, parent: &Slot, request: &Derivation) -> Result<(), DeriveError> {
        if !request.permissions.contains(Permissions::EXECUTE) {
            return Err(DeriveError::Permissions);
        }
        self.put(derived(parent, request)?.set_flags(CAPABILITY_MODE).seal_entry());
        Ok(())
    }

    /// As [`Slot::derive`], in capability mode.
    pub(super) fn derive_purecap(&self, parent: &Slot, request: &Derivation) -> Result<(), DeriveError> {
        self.put(derived(parent, request)?.set_flags(CAPABILITY_MODE));
        Ok(())
    }
}

/// The flag of a code capability that executes in capability mode.
const CAPABILITY_MODE: u64 = 1;

/// What [`Slot::derive`] makes: hybrid mode, exact bounds.
fn derived(parent: &Slot, request: &Derivation) -> Result<Capability, DeriveError> {
    let (from, what) = (parent.get(), parent.decoded());
    if !what.tag {
        return Err(DeriveError::Untagged);
    }
    if what.seal.is_sealed() {
        return Err(DeriveError::Sealed);
    }
    if request.base < what.base || u128::from(request.base) + u128::from(request.length) > what.top {
        return Err(DeriveError::OutOfBounds);
    }
    if !what.permissions.contains(request.permissions) {
        return Err(DeriveError::Permissions);
    }
    let (bounded, exact) = from.set_address(request.base).set_bounds(request.length);
    let derived = bounded
        .and_permissions(permission_bits(request.permissions))
        .set_flags(0)
        .set_address(request.address);
    if exact && derived.tag() {
        Ok(derived)
    } else {
        Err(DeriveError::Unrepresentable)
    }
}

/// What loads what was stored as it was: no permission of its own.
pub(crate) fn faithful() -> Permissions {
    Permissions::empty()
}

/// What the monitor's own code has besides: access to system registers.
pub(crate) fn privileged() -> Permissions {
    Permissions::SYSTEM
}

/// The length and the alignment of the base that make bounds representable.
pub fn representable(length: u64) -> (u64, u64) {
    (representable_length(length), representable_mask(length).wrapping_neg())
}

/// The base of the addresses that a cVM in a region at `base` sees.
pub fn address_base(base: u64) -> u64 {
    base
}
