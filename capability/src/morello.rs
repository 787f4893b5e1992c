//! Morello: CHERI Concentrate with a 16-bit mantissa (DDI 0606, chapters 2.5 to 2.8).
//!
//! | metadata bits | field                                                            |
//! |---------------|------------------------------------------------------------------|
//! | 63:46         | permissions                                                      |
//! | 45:31         | otype                                                            |
//! | 30:0          | bounds: T (29:16), B (15:0); bit 30 clear: internal exponent     |
//!
//! The exponent is stored inverted, so that NULL is all zero. The upper eight bits of the value are *flags*: they travel with
//! the pointer but are no part of the address that the bounds are about, which is the value sign-extended from bit 55.

use crate::concentrate::{self, Encoded, Field};
use crate::{Decoded, Error, Permissions, Seal};

const MANTISSA: u32 = 16;
const MAX_EXPONENT: u32 = 50;
/// The exponent of NULL, which means the whole address space just like [`MAX_EXPONENT`] does in the root.
const NULL_EXPONENT: u32 = 63;
/// From this exponent on no bit of the value takes part in the bounds.
const FIRST_VALUELESS_EXPONENT: u32 = 48;

const PERMISSIONS_SHIFT: u32 = 46;
const PERMISSIONS_MASK: u64 = (1 << 18) - 1;
const OTYPE_SHIFT: u32 = 31;
const OTYPE_MASK: u64 = OTYPE_MAX as u64;
const BOUNDS_MASK: u64 = (1 << 31) - 1;
const INTERNAL: u64 = 1 << 30;
/// What is stored inverted when the internal exponent is in use.
const INVERTED: u64 = INTERNAL | 7 << 16 | 7;
/// The bit of the value that decides how the address is extended above the flags.
const SIGN_BIT: u32 = 55;

/// The largest otype that has an encoding.
pub const OTYPE_MAX: u32 = (1 << 15) - 1;
/// Unsealed.
pub const OTYPE_UNSEALED: u32 = 0;
/// RB: a sentry.
pub const OTYPE_SENTRY: u32 = 1;
/// LPB: sealed pointer to a pair of data and target.
pub const OTYPE_LOAD_PAIR_BRANCH: u32 = 2;
/// LB: sealed pointer to a target.
pub const OTYPE_LOAD_BRANCH: u32 = 3;
/// The flags of a value.
pub const FLAGS_MASK: u64 = 0xff << 56;

/// Numbers of the permission bits as GCPERM and CLRPERM count them.
const PERMISSIONS: [Permissions; 18] = [
    Permissions::GLOBAL,
    Permissions::EXECUTIVE,
    Permissions::USER0,
    Permissions::USER1,
    Permissions::USER2,
    Permissions::USER3,
    Permissions::MUTABLE_LOAD,
    Permissions::COMPARTMENT_ID,
    Permissions::INVOKE,
    Permissions::SYSTEM,
    Permissions::UNSEAL,
    Permissions::SEAL,
    Permissions::STORE_LOCAL,
    Permissions::STORE_CAPABILITY,
    Permissions::LOAD_CAPABILITY,
    Permissions::EXECUTE,
    Permissions::STORE,
    Permissions::LOAD,
];

/// The numbers of the [`Permissions`] in the order of their own.
const NUMBERS: [u8; PERMISSIONS.len()] = {
    let mut numbers = [0; PERMISSIONS.len()];
    let mut number = 0;
    while number < PERMISSIONS.len() {
        numbers[PERMISSIONS[number].bits().trailing_zeros() as usize] = number as u8;
        number += 1;
    }
    numbers
};

/// The permission bits as GCPERM numbers them; all [`Permissions`] exist here.
#[must_use]
pub const fn permission_bits(permissions: Permissions) -> u32 {
    let (mut bits, mut rest) = (0, permissions.bits());
    while rest != 0 {
        bits |= 1 << NUMBERS[rest.trailing_zeros() as usize];
        rest &= rest - 1;
    }
    bits
}

/// The meaning of the permission bits as GCPERM numbers them.
#[must_use]
pub const fn permissions_from_bits(bits: u32) -> Permissions {
    let (mut permissions, mut rest) = (0, bits & Permissions::all().bits());
    while rest != 0 {
        permissions |= PERMISSIONS[rest.trailing_zeros() as usize].bits();
        rest &= rest - 1;
    }
    Permissions::from_bits_truncate(permissions)
}

/// The address of a value: without flags, sign-extended from bit 55 (CapBoundsAddress).
#[inline]
#[must_use]
pub const fn bounds_address(value: u64) -> u64 {
    ((value << 8) as i64 >> 8) as u64
}

/// A Morello capability register: tag, value, metadata, and the bounds they decode to.
///
/// Two are equal when tag, value and metadata are (CHKEQ).
#[derive(Clone, Copy, Debug)]
pub struct Capability {
    address: u64,
    metadata: u64,
    base: u64,
    /// The low 64 bits of the top.
    top: u64,
    /// Bit 64 of the top.
    top_carry: bool,
    tag: bool,
    /// Whether the exponent has a meaning: bit patterns exist whose has none, and they allow nothing.
    bounds_valid: bool,
    exponent: u8,
}

impl PartialEq for Capability {
    fn eq(&self, other: &Self) -> bool {
        self.tag == other.tag && self.address == other.address && self.metadata == other.metadata
    }
}

impl Eq for Capability {}

impl Default for Capability {
    fn default() -> Self {
        Self::NULL
    }
}

impl Capability {
    /// No authority, all zero.
    pub const NULL: Self = Self {
        address: 0,
        metadata: 0,
        base: 0,
        top: 0,
        top_carry: true,
        tag: false,
        bounds_valid: true,
        exponent: NULL_EXPONENT as u8,
    };

    /// All authority there is: 0 to 2^64 with every permission, as after reset.
    pub const ROOT: Self = Self {
        metadata: PERMISSIONS_MASK << PERMISSIONS_SHIFT | to_stored(concentrate::encode::<MANTISSA>(0, 1 << 64)),
        tag: true,
        exponent: MAX_EXPONENT as u8,
        ..Self::NULL
    };

    /// NULL with a value: what a register holds after an integer was written to it.
    #[inline]
    #[must_use]
    pub const fn from_integer(value: u64) -> Self {
        Self {
            address: value,
            ..Self::NULL
        }
    }

    /// From the in-memory form: value in the low word, metadata in the high word.
    #[inline]
    #[must_use]
    pub const fn from_memory(low: u64, high: u64, tag: bool) -> Self {
        if high == 0 {
            return Self {
                address: low,
                tag,
                ..Self::NULL
            };
        }
        let field = stored_field(high);
        let (base, top, bounds_valid) = bounds(field, low);
        Self {
            address: low,
            metadata: high,
            base,
            top: top as u64,
            top_carry: top >> 64 != 0,
            tag,
            bounds_valid,
            exponent: field.exponent as u8,
        }
    }

    /// The in-memory form: value in the low word, metadata in the high word.
    #[inline]
    #[must_use]
    pub const fn to_memory(&self) -> (u64, u64) {
        (self.address, self.metadata)
    }

    const fn with_metadata(self, mask: u64, bits: u64) -> Self {
        Self {
            metadata: self.metadata & !mask | bits,
            ..self
        }
    }

    /// Whether this is a valid capability.
    #[inline]
    #[must_use]
    pub const fn tag(&self) -> bool {
        self.tag
    }

    /// The same bits with the tag as given.
    #[inline]
    #[must_use]
    pub const fn with_tag(self, tag: bool) -> Self {
        Self { tag, ..self }
    }

    /// The same bits without tag.
    #[inline]
    #[must_use]
    pub const fn clear_tag(self) -> Self {
        self.with_tag(false)
    }

    /// The value, flags included (GCVALUE).
    #[inline]
    #[must_use]
    pub const fn address(&self) -> u64 {
        self.address
    }

    /// First byte in bounds (GCBASE).
    #[inline]
    #[must_use]
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// First byte after the bounds, up to 2^64 (more only in bit patterns that were never derived).
    #[inline]
    #[must_use]
    pub const fn top(&self) -> u128 {
        (self.top_carry as u128) << 64 | self.top as u128
    }

    /// The top as GCLIM returns it: 2^64 and more saturate.
    #[inline]
    #[must_use]
    pub const fn limit(&self) -> u64 {
        if self.top_carry { u64::MAX } else { self.top }
    }

    /// Bytes in bounds as GCLEN returns them: 2^64 and negative lengths saturate.
    #[inline]
    #[must_use]
    pub const fn length(&self) -> u64 {
        let length = self.top().wrapping_sub(self.base as u128);
        if length >> 64 == 0 { length as u64 } else { u64::MAX }
    }

    /// Value less base, modulo 2^64 (GCOFF).
    #[inline]
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.address.wrapping_sub(self.base)
    }

    /// Whether the exponent has a meaning. Where it has none, no address is in bounds and no move is representable.
    #[inline]
    #[must_use]
    pub const fn bounds_valid(&self) -> bool {
        self.bounds_valid
    }

    /// Whether all of `size` bytes at `address` are in bounds: the check of every access.
    #[inline]
    #[must_use]
    pub const fn in_bounds(&self, address: u64, size: u64) -> bool {
        let (end, wrapped) = address.overflowing_add(size);
        let below_top = if wrapped {
            self.top_carry && end <= self.top
        } else {
            self.top_carry || end <= self.top
        };
        address >= self.base && below_top && self.bounds_valid
    }

    /// The permission bits as GCPERM returns them, 18 bits.
    #[inline]
    #[must_use]
    pub const fn permission_bits(&self) -> u32 {
        (self.metadata >> PERMISSIONS_SHIFT) as u32
    }

    /// Whether it has all of `bits`, numbered as by GCPERM.
    #[inline]
    #[must_use]
    pub const fn has_permission_bits(&self, bits: u32) -> bool {
        self.permission_bits() & bits == bits
    }

    /// The permissions by meaning.
    #[must_use]
    pub fn permissions(&self) -> Permissions {
        permissions_from_bits(self.permission_bits())
    }

    /// The flags, at their place in the value (GCFLGS).
    #[inline]
    #[must_use]
    pub const fn flags(&self) -> u64 {
        self.address & FLAGS_MASK
    }

    /// The object type, 15 bits (GCTYPE).
    #[inline]
    #[must_use]
    pub const fn otype(&self) -> u32 {
        (self.metadata >> OTYPE_SHIFT & OTYPE_MASK) as u32
    }

    /// Whether it is sealed in any way (GCSEAL).
    #[inline]
    #[must_use]
    pub const fn is_sealed(&self) -> bool {
        self.otype() != OTYPE_UNSEALED
    }

    /// Whether it is sealed as RB.
    #[inline]
    #[must_use]
    pub const fn is_sentry(&self) -> bool {
        self.otype() == OTYPE_SENTRY
    }

    /// Whether and how it is sealed.
    #[must_use]
    pub const fn seal_kind(&self) -> Seal {
        match self.otype() {
            OTYPE_UNSEALED => Seal::Unsealed,
            OTYPE_SENTRY => Seal::Sentry,
            OTYPE_LOAD_PAIR_BRANCH => Seal::LoadPairBranch,
            OTYPE_LOAD_BRANCH => Seal::LoadBranch,
            otype => Seal::Otype(otype),
        }
    }

    /// Whether the bounds depend on the value (CapBoundsUsesValue).
    const fn bounds_use_value(&self) -> bool {
        (self.exponent as u32) < FIRST_VALUELESS_EXPONENT
    }

    const fn sign_change_matters(&self, address: u64) -> bool {
        (self.address ^ address) >> SIGN_BIT & 1 == 1 && self.bounds_use_value()
    }

    /// Whether the bounds stay the same when the value becomes `address`, by decoding them again (CapIsRepresentable).
    #[inline]
    #[must_use]
    pub const fn is_representable(&self, address: u64) -> bool {
        if self.sign_change_matters(address) || !self.bounds_valid {
            return false;
        }
        let extended = bounds_address(address);
        if extended >= self.base && (self.top_carry || extended < self.top) {
            return true;
        }
        let (base, top, valid) = bounds(stored_field(self.metadata), address);
        base == self.base && top == self.top() && valid
    }

    /// The hardware's quick form of [`Self::is_representable`] for a move by `increment`, which refuses some moves just
    /// inside the edges of representable space (CapIsRepresentableFast).
    #[inline]
    #[must_use]
    pub const fn is_representable_move(&self, increment: u64) -> bool {
        !self.sign_change_matters(self.address.wrapping_add(increment))
            && self.bounds_valid
            && concentrate::move_is_representable::<MANTISSA, MAX_EXPONENT>(
                stored_field(self.metadata),
                bounds_address(self.address),
                bounds_address(increment),
            )
    }

    /// Points it to `address` (SCVALUE). Untagged when it was sealed or the bounds cannot follow; then the bounds are what the
    /// unchanged metadata means at the new address.
    #[inline]
    #[must_use]
    pub const fn set_address(self, address: u64) -> Self {
        if self.is_representable(address) {
            Self {
                address,
                tag: self.tag && !self.is_sealed(),
                ..self
            }
        } else {
            Self::from_memory(address, self.metadata, false)
        }
    }

    /// Moves it by `increment` (ADD, SUB, ADR): as [`Self::set_address`], but by the quick check.
    #[inline]
    #[must_use]
    pub const fn inc_offset(self, increment: u64) -> Self {
        let address = self.address.wrapping_add(increment);
        if self.tag && !self.is_sealed() && self.is_representable_move(increment) {
            Self { address, ..self }
        } else {
            Self::from_memory(address, self.metadata, false)
        }
    }

    /// Replaces the flags by those of `value` (SCFLGS and relatives). Untagged when it was sealed.
    #[inline]
    #[must_use]
    pub const fn set_flags(self, value: u64) -> Self {
        let address = self.address & !FLAGS_MASK | value & FLAGS_MASK;
        Self {
            address,
            tag: self.tag && !self.is_sealed(),
            ..self
        }
    }

    /// Another value without any check, seal and tag untouched. For a program counter that is known to be in bounds;
    /// everybody else wants [`Self::set_address`].
    #[inline]
    #[must_use]
    pub const fn with_address_unchecked(self, address: u64) -> Self {
        Self { address, ..self }
    }

    /// Bounds from its address over `length` bytes (SCBNDS), rounded outwards where they must be, and whether they are exact
    /// (SCBNDSE untags when not). Untagged when it was sealed, the request reaches outside the old bounds, or the new bounds
    /// would swallow flags that the old ones did not.
    #[must_use]
    pub const fn set_bounds(self, length: u64) -> (Self, bool) {
        self.set_bounds_wide(length as u128)
    }

    /// [`Self::set_bounds`] with a length of up to 2^64.
    #[must_use]
    pub const fn set_bounds_wide(self, length: u128) -> (Self, bool) {
        let uses_value = self.bounds_use_value();
        let requested_base = if uses_value {
            bounds_address(self.address)
        } else {
            self.address
        };
        let requested_top = requested_base as u128 + length;
        let inside = requested_base >= self.base && requested_top <= self.top();
        let encoded = concentrate::encode::<MANTISSA>(requested_base, requested_top);
        let result = Self::from_memory(self.address, self.metadata & !BOUNDS_MASK | to_stored(encoded), false);
        let flags_swallowed = !uses_value && result.bounds_use_value() && bounds_address(self.address) != self.address;
        let tag = self.tag && inside && self.bounds_valid && !self.is_sealed() && !flags_swallowed;
        (result.with_tag(tag), encoded.exact)
    }

    /// Clears the permissions in `bits`, numbered as by GCPERM (CLRPERM). Untagged when it was sealed.
    #[inline]
    #[must_use]
    pub const fn clear_permissions(self, bits: u32) -> Self {
        let result = self.with_metadata((bits as u64 & PERMISSIONS_MASK) << PERMISSIONS_SHIFT, 0);
        result.with_tag(self.tag && !self.is_sealed())
    }

    /// Keeps the permissions in `bits`, numbered as by GCPERM. Untagged when it was sealed.
    #[inline]
    #[must_use]
    pub const fn and_permissions(self, bits: u32) -> Self {
        self.clear_permissions(!bits)
    }

    /// Clears the permissions in `bits` and changes nothing else: what loading through a capability without MutableLoad does.
    #[inline]
    #[must_use]
    pub const fn without_permissions(self, bits: u32) -> Self {
        self.with_metadata((bits as u64 & PERMISSIONS_MASK) << PERMISSIONS_SHIFT, 0)
    }

    /// Writes the object type, the low 15 bits of `otype`, and changes nothing else: whether that is allowed is decided
    /// elsewhere.
    #[inline]
    #[must_use]
    pub const fn seal(self, otype: u32) -> Self {
        self.with_metadata(OTYPE_MASK << OTYPE_SHIFT, (otype as u64 & OTYPE_MASK) << OTYPE_SHIFT)
    }

    /// Writes the object type of an unsealed capability and changes nothing else.
    #[inline]
    #[must_use]
    pub const fn unseal(self) -> Self {
        self.seal(OTYPE_UNSEALED)
    }

    /// Writes the object type of a sentry and changes nothing else.
    #[inline]
    #[must_use]
    pub const fn seal_entry(self) -> Self {
        self.seal(OTYPE_SENTRY)
    }

    /// Replaces the metadata (CTHI); the result is untagged.
    #[must_use]
    pub const fn set_high(self, high: u64) -> Self {
        Self::from_memory(self.address, high, false)
    }

    /// Whether its bounds and permissions are within those of `other`, whatever the tags (CapIsSubSetOf).
    #[must_use]
    pub const fn is_subset_of(&self, other: &Self) -> bool {
        self.base >= other.base
            && self.top() <= other.top()
            && other.has_permission_bits(self.permission_bits())
            && self.bounds_valid
            && other.bounds_valid
    }

    /// Re-tags `bits` unsealed when they describe a subset of this capability (BUILD); a tagged unsealed one stays as it is.
    #[must_use]
    pub const fn build(&self, bits: &Self) -> Self {
        let authorised = self.tag && !self.is_sealed() && bits.is_subset_of(self) && bits.base as u128 <= bits.top();
        bits.unseal().with_tag(authorised || bits.tag && !bits.is_sealed())
    }

    /// Derives a capability to `length` bytes at `base` with `permissions`, pointing to `base`, or says why not. With
    /// `exact`, bounds that would have to be rounded are refused.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn restrict(&self, base: u64, length: u64, permissions: Permissions, exact: bool) -> Result<Self, Error> {
        if !self.tag {
            return Err(Error::Untagged);
        }
        if self.is_sealed() {
            return Err(Error::Sealed);
        }
        let missing = permissions - self.permissions();
        if !missing.is_empty() {
            return Err(Error::Permissions { missing });
        }
        if !self.in_bounds(base, length) {
            return Err(Error::OutOfBounds { base, length });
        }
        let (derived, is_exact) = self.set_address(base).set_bounds(length);
        // Bits of `base` that bounds leave out would move them elsewhere.
        if exact && (!is_exact || derived.base != base) {
            return Err(Error::Inexact { base, length });
        }
        if !derived.tag || derived.base < self.base || derived.top() > self.top() {
            return Err(Error::Unrepresentable { base, length });
        }
        Ok(derived.and_permissions(permission_bits(permissions)))
    }

    /// All of it as a plain value.
    #[must_use]
    pub fn decode(&self) -> Decoded {
        Decoded {
            tag: self.tag,
            address: self.address,
            base: self.base,
            top: self.top(),
            permissions: self.permissions(),
            seal: self.seal_kind(),
            capability_mode: self.is_sentry() && self.address & 1 == 1,
        }
    }
}

/// The bounds field of `metadata` taken apart, with the exponent the right way round.
const fn stored_field(metadata: u64) -> Field {
    let stored = metadata & BOUNDS_MASK;
    let field = if stored & INTERNAL == 0 {
        stored ^ INVERTED
    } else {
        stored ^ INTERNAL
    };
    concentrate::unpack::<MANTISSA>(field as u32)
}

/// The bounds field as the metadata stores it.
const fn to_stored(encoded: Encoded) -> u64 {
    let field = encoded.field as u64;
    if field & INTERNAL == 0 {
        field ^ INTERNAL
    } else {
        field ^ INVERTED
    }
}

/// The bounds that `field` means for a capability of this value, and whether its exponent has a meaning (CapGetBounds).
const fn bounds(field: Field, value: u64) -> (u64, u128, bool) {
    if field.exponent > MAX_EXPONENT {
        return (0, 1 << 64, field.exponent == NULL_EXPONENT);
    }
    let (base, top) = concentrate::decode::<MANTISSA, MAX_EXPONENT>(field, bounds_address(value));
    (base, top, true)
}

/// The smallest length not below `length` that can have exact bounds at a suitably aligned base (RRLEN). Wraps to 0 where
/// that is 2^64.
#[must_use]
pub const fn representable_length(length: u64) -> u64 {
    let mask = representable_mask(length);
    length.wrapping_add(!mask) & mask
}

/// What a base must be aligned to for exact bounds of `representable_length(length)` bytes, as a mask (RRMASK).
#[must_use]
pub const fn representable_mask(length: u64) -> u64 {
    concentrate::encode::<MANTISSA>(0, length as u128).alignment_mask
}
