//! Capabilities in Rust: pinned slots, changed by assembly on their addresses.
//!
//! rustc moves a 16-byte value by two integer accesses, which drops the tag. So a capability never is a Rust value: it
//! lives in a [`Slot`], every operation is one assembly block that loads, derives and stores, and the registers used
//! are cleared before the block ends.

use super::variant;
use crate::types::{Derivation, DeriveError, Register};
use capability::riscv::Capability;
use capability::{Decoded, Permissions};
use core::arch::asm;
use core::cell::UnsafeCell;
use core::marker::PhantomPinned;

/// A pinned home of one capability. Neither `Copy` nor `Clone`; only ever reached through a shared reference, so that
/// safe code cannot move it.
#[repr(C, align(16))]
pub struct Slot {
    words: UnsafeCell<[u64; 2]>,
    _pinned: PhantomPinned,
}

// SAFETY: a slot is changed by single assembly blocks; the monitor runs on one hart with interrupts off, so no two of
// them overlap. (Capability loads and stores of 16 bytes are single-copy atomic besides.)
unsafe impl Sync for Slot {}

impl Slot {
    /// A slot that holds NULL.
    pub const fn null() -> Slot {
        Slot {
            words: UnsafeCell::new([0; 2]),
            _pinned: PhantomPinned,
        }
    }

    /// Address of the slot as the monitor's own pointers count.
    pub(crate) fn pointer(&self) -> *mut u64 {
        self.words.get().cast()
    }

    /// A plain value of what the slot holds, for looking at.
    pub fn decoded(&self) -> Decoded {
        self.capability().decode()
    }

    /// Whether the slot holds a capability: quicker than to look at it as a whole.
    #[inline]
    pub fn tag(&self) -> bool {
        let tag: u64;
        // SAFETY: reads the 16 bytes of this slot, which is aligned and alive; the register is cleared.
        unsafe {
            asm!(
                instruction!(LC "x6", 0, "{slot}"),
                instruction!(CGetTag "{tag}", "x6"),
                "li x6, 0",
                slot = in(reg) self.pointer(),
                tag = out(reg) tag,
                out("x6") _,
                options(nostack, readonly),
            );
        }
        tag != 0
    }

    /// Tag, seal, base, length (2^64 counts as one less) and permissions of what it holds.
    #[inline]
    fn fields(&self) -> [u64; 5] {
        let (tag, sealed, base, length, held): (u64, u64, u64, u64, u64);
        // SAFETY: reads a live, aligned slot; the register is cleared.
        unsafe {
            asm!(
                instruction!(LC "x6", 0, "{slot}"),
                instruction!(CGetTag "{tag}", "x6"),
                instruction!(CGetSealed "{sealed}", "x6"),
                instruction!(CGetBase "{base}", "x6"),
                instruction!(CGetLen "{length}", "x6"),
                instruction!(CGetPerm "{held}", "x6"),
                "li x6, 0",
                slot = in(reg) self.pointer(),
                tag = out(reg) tag,
                sealed = out(reg) sealed,
                base = out(reg) base,
                length = out(reg) length,
                held = out(reg) held,
                out("x6") _,
                options(nostack, readonly),
            );
        }
        [tag, sealed, base, length, held]
    }

    pub(super) fn capability(&self) -> Capability {
        let (low, high, tag): (u64, u64, u64);
        // SAFETY: reads the 16 bytes of this slot, which is aligned and alive.
        unsafe {
            asm!(
                instruction!(LC "x6", 0, "{slot}"),
                instruction!(CGetTag "{tag}", "x6"),
                "li x6, 0",
                "ld {low}, 0({slot})",
                "ld {high}, 8({slot})",
                slot = in(reg) self.pointer(),
                tag = out(reg) tag,
                low = out(reg) low,
                high = out(reg) high,
                out("x6") _,
                options(nostack, readonly),
            );
        }
        Capability::from_memory(low, high, tag != 0)
    }

    /// Makes the slot hold NULL.
    pub fn clear(&self) {
        self.set_integer(0);
    }

    /// Makes the slot hold an integer: no tag.
    #[inline]
    pub(super) fn set_integer(&self, value: u64) {
        // SAFETY: the slot is alive and aligned. Integer stores clear its tag, as a write to an integer register does.
        unsafe {
            self.pointer().write(value);
            self.pointer().add(1).write(0);
        }
    }

    /// The low word: the address of a capability, or the integer.
    #[inline]
    pub fn integer(&self) -> u64 {
        // SAFETY: the slot is alive and aligned.
        unsafe { self.pointer().read() }
    }

    /// Makes the slot hold an integer or what another slot holds.
    pub(crate) fn set(&self, contents: Register<'_>) {
        match contents {
            Register::Integer(value) => self.set_integer(value),
            Register::Capability(slot) => self.copy_from(slot),
        }
    }

    /// Whether the slot holds code that executes in capability mode.
    pub(super) fn capability_mode(&self) -> bool {
        let flags: u64;
        // SAFETY: reads the 16 bytes of this slot, which is aligned and alive; the register is cleared.
        unsafe {
            asm!(
                instruction!(LC "x6", 0, "{slot}"),
                instruction!(CGetFlags "{flags}", "x6"),
                "li x6, 0",
                slot = in(reg) self.pointer(),
                flags = out(reg) flags,
                out("x6") _,
                options(nostack, readonly),
            );
        }
        flags != 0
    }

    /// Base of what the slot holds.
    pub(super) fn base(&self) -> u64 {
        let base: u64;
        // SAFETY: reads the 16 bytes of this slot, which is aligned and alive; the register is cleared.
        unsafe {
            asm!(
                instruction!(LC "x6", 0, "{slot}"),
                instruction!(CGetBase "{base}", "x6"),
                "li x6, 0",
                slot = in(reg) self.pointer(),
                base = out(reg) base,
                out("x6") _,
                options(nostack, readonly),
            );
        }
        base
    }

    /// Makes the slot hold what is lent of `from`: its bounds, to load or store data, local. Returns its base, its length (2^64
    /// counts as one less), and whether it loads and stores; `None`, and nothing changes, for what is no capability or sealed.
    pub fn narrow(&self, from: &Slot) -> Option<(u64, u64, [bool; 2])> {
        let (lent, base, length, held): (u64, u64, u64, u64);
        // SAFETY: both are live, aligned slots. Only an unsealed capability with a tag is changed, so that nothing traps on
        // ISAv8; the register is cleared.
        unsafe {
            asm!(
                instruction!(LC "x6", 0, "{from}"),
                instruction!(CGetTag "{lent}", "x6"),
                instruction!(CGetBase "{base}", "x6"),
                instruction!(CGetLen "{length}", "x6"),
                instruction!(CGetPerm "{held}", "x6"),
                "beqz {lent}, 1f",
                instruction!(CGetSealed "{lent}", "x6"),
                "xori {lent}, {lent}, 1",
                "beqz {lent}, 1f",
                instruction!(CAndPerm "x6", "x6", "{permissions}"),
                instruction!(SC "x6", 0, "{to}"),
                "1: li x6, 0",
                from = in(reg) from.pointer(),
                to = in(reg) self.pointer(),
                permissions = in(reg) LOAD | STORE,
                lent = out(reg) lent,
                base = out(reg) base,
                length = out(reg) length,
                held = out(reg) held,
                out("x6") _,
                options(nostack),
            );
        }
        (lent != 0).then_some((base, length, [LOAD, STORE].map(|permission| held & permission != 0)))
    }

    /// Makes the slot hold a capability over exactly `length` bytes at `base`, local, to store data or to load it, when
    /// `authority` covers them and has the permission.
    ///
    /// # Errors
    /// [`DeriveError`]; the slot keeps what it held.
    #[inline]
    pub fn lend(&self, authority: &Slot, base: u64, length: u64, written: bool) -> Result<(), DeriveError> {
        let permission = if written { STORE } else { LOAD };
        // In ISAv9 what must not be made has no tag; in ISAv8 it traps, and is looked at before.
        if !variant::relocates() {
            let (tag, held): (u64, u64);
            // SAFETY: both are live, aligned slots; what has a tag is exact, and stored only with the permission. The register
            // is cleared.
            unsafe {
                asm!(
                    instruction!(LC "x6", 0, "{authority}"),
                    instruction!(CSetAddr "x6", "x6", "{base}"),
                    instruction!(CSetBoundsExact "x6", "x6", "{length}"),
                    instruction!(CAndPerm "x6", "x6", "{permission}"),
                    instruction!(CGetPerm "{held}", "x6"),
                    instruction!(CGetTag "{tag}", "x6"),
                    "beqz {tag}, 1f",
                    "beqz {held}, 1f",
                    instruction!(SC "x6", 0, "{to}"),
                    "1: li x6, 0",
                    authority = in(reg) authority.pointer(),
                    to = in(reg) self.pointer(),
                    base = in(reg) base,
                    length = in(reg) length,
                    permission = in(reg) permission,
                    held = out(reg) held,
                    tag = out(reg) tag,
                    out("x6") _,
                    options(nostack),
                );
            }
            if tag != 0 && held != 0 {
                return Ok(());
            }
        }
        self.make(authority, [base, length, base], permission, Kind::Hybrid)
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
        // SAFETY: both are live, aligned slots; the register is cleared.
        unsafe {
            asm!(
                instruction!(LC "x6", 0, "{from}"),
                instruction!(SC "x6", 0, "{to}"),
                "li x6, 0",
                from = in(reg) other.pointer(),
                to = in(reg) self.pointer(),
                out("x6") _,
                options(nostack),
            );
        }
    }

    /// Makes the slot hold a capability derived from `parent`: exact bounds, fewer permissions, hybrid mode.
    ///
    /// # Errors
    /// [`DeriveError`]; the slot keeps what it held.
    pub fn derive(&self, parent: &Slot, request: &Derivation) -> Result<(), DeriveError> {
        self.derive_as(parent, request, Kind::Hybrid)
    }

    /// Makes the slot hold a sentry: as [`Slot::derive`], but in capability mode and sealed as an entry.
    ///
    /// # Errors
    /// [`DeriveError`]; the slot keeps what it held.
    pub fn derive_entry(&self, parent: &Slot, request: &Derivation) -> Result<(), DeriveError> {
        // CSealEntry seals code only; on ISAv8 it would trap here.
        if !request.permissions.contains(Permissions::EXECUTE) {
            return Err(DeriveError::Permissions);
        }
        self.derive_as(parent, request, Kind::Entry)
    }

    pub(super) fn derive_as(&self, parent: &Slot, request: &Derivation, kind: Kind) -> Result<(), DeriveError> {
        let Derivation {
            base,
            length,
            permissions,
            address,
        } = *request;
        let bits = u64::from(capability::riscv::permission_bits(permissions));
        self.make(parent, [base, length, address], bits, kind)
    }

    /// What the hardware will check of the parent is checked beforehand, with its own words: ISAv8 would trap.
    fn make(
        &self,
        parent: &Slot,
        [base, length, address]: [u64; 3],
        permissions: u64,
        kind: Kind,
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
        let (rounded, alignment) = representable(length);
        if rounded != length || base & alignment.wrapping_sub(1) != 0 {
            return Err(DeriveError::Unrepresentable);
        }
        let tag: u64;
        // SAFETY: both are live, aligned slots. The operands were checked, so that no instruction traps on ISAv8; the
        // working register is cleared.
        unsafe {
            asm!(
                instruction!(LC "x6", 0, "{parent}"),
                instruction!(CSetAddr "x6", "x6", "{base}"),
                instruction!(CSetBoundsExact "x6", "x6", "{length}"),
                instruction!(CAndPerm "x6", "x6", "{permissions}"),
                instruction!(CSetFlags "x6", "x6", "{flag}"),
                instruction!(CSetAddr "x6", "x6", "{address}"),
                instruction!(CGetTag "{tag}", "x6"),
                "beqz {tag}, 2f",
                "beqz {entry}, 1f",
                instruction!(CSealEntry "x6", "x6"),
                "1:",
                instruction!(SC "x6", 0, "{to}"),
                "2: li x6, 0",
                parent = in(reg) parent.pointer(),
                to = in(reg) self.pointer(),
                base = in(reg) base,
                length = in(reg) length,
                permissions = in(reg) permissions,
                flag = in(reg) u64::from(kind != Kind::Hybrid),
                address = in(reg) address,
                entry = in(reg) u64::from(kind == Kind::Entry),
                tag = out(reg) tag,
                out("x6") _,
                options(nostack),
            );
        }
        if tag == 0 {
            Err(DeriveError::Unrepresentable)
        } else {
            Ok(())
        }
    }
}

/// Permission bits as CGetPerm numbers them.
const GLOBAL: u64 = 1;
const LOAD: u64 = 1 << 2;
const STORE: u64 = 1 << 3;

/// What a derivation makes besides bounds and permissions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Flag 0: as PCC, executes in hybrid mode. Also what data has.
    Hybrid,
    /// Flag 1: as PCC, executes in capability mode.
    Purecap,
    /// As [`Kind::Purecap`], and sealed as an entry.
    Entry,
}

/// What loads what was stored as it was: no permission of its own.
pub(crate) fn faithful() -> Permissions {
    Permissions::empty()
}

/// What the monitor's own code has besides: access to system registers.
pub(crate) fn privileged() -> Permissions {
    Permissions::SYSTEM
}

/// Rounds a region so that its bounds are representable: the length to use and the alignment that its base needs.
pub fn representable(length: u64) -> (u64, u64) {
    let (rounded, mask): (u64, u64);
    // SAFETY: computes on integers.
    unsafe {
        asm!(
            instruction!(CRRL "{rounded}", "{length}"),
            instruction!(CRAM "{mask}", "{length}"),
            length = in(reg) length,
            rounded = out(reg) rounded,
            mask = out(reg) mask,
            options(nostack, nomem, pure),
        );
    }
    (rounded, mask.wrapping_neg())
}

/// The base of the addresses that a hybrid cVM in a region at `base` sees: ISAv8 relocates by DDC and PCC.
pub fn address_base(base: u64) -> u64 {
    if variant::relocates() { 0 } else { base }
}
