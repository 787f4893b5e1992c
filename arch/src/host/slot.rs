//! Slots that hold a capability of `capability::riscv` as a plain value.

use crate::types::{Derivation, DeriveError};
use capability::riscv::{Capability, permission_bits, representable_length, representable_mask};
use capability::{Decoded, Permissions};
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

    fn set(&self, value: Capability) {
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
        self.set(Capability::NULL);
    }

    pub(super) fn set_integer(&self, value: u64) {
        self.set(Capability::from_integer(value));
    }

    /// Makes the slot hold what `other` holds.
    pub fn copy_from(&self, other: &Slot) {
        self.set(other.get());
    }

    /// Makes the slot hold a capability derived from `parent`.
    ///
    /// # Errors
    /// [`DeriveError`]; the slot keeps what it held.
    pub fn derive(&self, parent: &Slot, request: &Derivation) -> Result<(), DeriveError> {
        self.set(derived(parent, request)?);
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
        self.set(derived(parent, request)?.set_flags(CAPABILITY_MODE).seal_entry());
        Ok(())
    }

    /// As [`Slot::derive`], in capability mode.
    pub(super) fn derive_purecap(&self, parent: &Slot, request: &Derivation) -> Result<(), DeriveError> {
        self.set(derived(parent, request)?.set_flags(CAPABILITY_MODE));
        Ok(())
    }
}

/// The flag of a code capability that executes in capability mode.
const CAPABILITY_MODE: u64 = 1;

/// What [`Slot::derive`] makes: hybrid mode, exact bounds.
fn derived(parent: &Slot, request: &Derivation) -> Result<Capability, DeriveError> {
    let from = parent.get();
    request.check(&from.decode())?;
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

/// Permissions of a cVM's code capability.
pub fn code_permissions() -> Permissions {
    Permissions::GLOBAL | Permissions::EXECUTE | Permissions::LOAD | Permissions::LOAD_CAPABILITY | Permissions::INVOKE
}

/// Permissions of a cVM's data capability: never Execute, never sealing authority, and no place for local capabilities.
pub fn data_permissions() -> Permissions {
    service_stack_permissions() - Permissions::STORE_LOCAL
}

/// Permissions of the one place that holds local capabilities: the stack on which a server's handler runs.
pub fn service_stack_permissions() -> Permissions {
    monitor_data_permissions() | Permissions::INVOKE
}

/// Permissions of what a cVM may read and not change: start block, constants.
pub fn read_only_permissions() -> Permissions {
    Permissions::GLOBAL | Permissions::LOAD | Permissions::LOAD_CAPABILITY
}

/// Permissions of the monitor's own data capability.
pub fn monitor_data_permissions() -> Permissions {
    Permissions::GLOBAL
        | Permissions::LOAD
        | Permissions::STORE
        | Permissions::LOAD_CAPABILITY
        | Permissions::STORE_CAPABILITY
        | Permissions::STORE_LOCAL
}

/// Permissions of the monitor's own code capability.
pub fn monitor_text_permissions() -> Permissions {
    Permissions::GLOBAL | Permissions::EXECUTE | Permissions::SYSTEM
}

/// Permissions of a device window.
pub fn device_permissions() -> Permissions {
    Permissions::GLOBAL | Permissions::LOAD | Permissions::STORE
}

/// The length and the alignment of the base that make bounds representable.
pub fn representable(length: u64) -> (u64, u64) {
    (representable_length(length), representable_mask(length).wrapping_neg())
}

/// The base of the addresses that a cVM in a region at `base` sees.
pub fn address_base(base: u64) -> u64 {
    base
}
