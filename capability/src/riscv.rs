//! CHERI-RISC-V, 64 bit: CHERI Concentrate with a 14-bit mantissa (CHERI ISAv9, sections 3.3 to 3.5; v8 uses the same bits).
//!
//! | metadata bits | field                                                             |
//! |---------------|-------------------------------------------------------------------|
//! | 63:60         | software permissions                                              |
//! | 59:48         | hardware permissions                                              |
//! | 47:46         | reserved, zero in every tagged capability                         |
//! | 45            | flag: capability mode                                             |
//! | 44:27         | otype                                                             |
//! | 26:0          | bounds: internal exponent (26), T (25:14), B (13:0)               |
//!
//! In memory the metadata is combined with a mask so that NULL is all zero.

use crate::concentrate::{self, Field};
use crate::{Decoded, Error, Permissions, Seal};

const MANTISSA: u32 = 14;
const MAX_EXPONENT: u32 = 52;

const SOFTWARE_PERMISSIONS_SHIFT: u32 = 60;
const HARDWARE_PERMISSIONS_SHIFT: u32 = 48;
const RESERVED_MASK: u64 = 3 << 46;
const FLAG_SHIFT: u32 = 45;
const OTYPE_SHIFT: u32 = 27;
const OTYPE_MASK: u64 = OTYPE_MAX as u64;
const BOUNDS_MASK: u64 = (1 << 27) - 1;

/// NULL's metadata, and what the metadata in memory is combined with.
const NULL_METADATA: u64 = (OTYPE_UNSEALED as u64) << OTYPE_SHIFT | WHOLE_SPACE;
/// The bounds field of 0 to 2^64: internal exponent 52, T 1, B 0.
const WHOLE_SPACE: u64 = concentrate::encode::<MANTISSA>(0, 1 << 64).field as u64;

/// The largest otype that has an encoding.
pub const OTYPE_MAX: u32 = (1 << 18) - 1;
/// The otype of an unsealed capability.
pub const OTYPE_UNSEALED: u32 = OTYPE_MAX;
/// The otype of a sentry.
pub const OTYPE_SENTRY: u32 = OTYPE_MAX - 1;
/// The first of the otypes that the architecture keeps for itself; every smaller one can be used with a sealing key.
pub const OTYPE_FIRST_RESERVED: u32 = OTYPE_MAX - 3;

/// The hardware permissions have the same numbers in CGetPerm's result as in [`Permissions`] …
const HARDWARE_PERMISSIONS: u32 = Permissions::MUTABLE_LOAD.bits() - 1;
/// … and the software ones, four from this one on, others: from bit 15.
const SOFTWARE_PERMISSIONS: u32 = Permissions::USER0.bits().trailing_zeros();
const SOFTWARE_PERMISSIONS_BIT: u32 = 15;

/// The permission bits as CGetPerm numbers them, for permissions that this format has; others are dropped.
#[inline]
#[must_use]
pub const fn permission_bits(permissions: Permissions) -> u32 {
    let bits = permissions.bits();
    bits & HARDWARE_PERMISSIONS | (bits >> SOFTWARE_PERMISSIONS & 0xf) << SOFTWARE_PERMISSIONS_BIT
}

/// The meaning of the permission bits as CGetPerm numbers them.
#[inline]
#[must_use]
pub const fn permissions_from_bits(bits: u32) -> Permissions {
    let software = bits >> SOFTWARE_PERMISSIONS_BIT & 0xf;
    Permissions::from_bits_truncate(bits & HARDWARE_PERMISSIONS | software << SOFTWARE_PERMISSIONS)
}

/// A CHERI-RISC-V capability register: tag, address, metadata, and the bounds they decode to.
///
/// Two are equal when tag, address and metadata are (CSEQX).
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
    /// No authority, all zero in memory.
    pub const NULL: Self = Self {
        address: 0,
        metadata: NULL_METADATA,
        base: 0,
        top: 0,
        top_carry: true,
        tag: false,
    };

    /// All authority there is: 0 to 2^64 with every permission, as after reset.
    pub const ROOT: Self = Self {
        metadata: NULL_METADATA | 0xffff << HARDWARE_PERMISSIONS_SHIFT,
        tag: true,
        ..Self::NULL
    };

    /// NULL with an address: what a register holds after an integer was written to it.
    #[inline]
    #[must_use]
    pub const fn from_integer(value: u64) -> Self {
        Self {
            address: value,
            ..Self::NULL
        }
    }

    /// From the in-memory form: address in the low word, masked metadata in the high word.
    #[inline]
    #[must_use]
    pub const fn from_memory(low: u64, high: u64, tag: bool) -> Self {
        Self::from_parts(high ^ NULL_METADATA, low, tag)
    }

    /// The in-memory form: address in the low word, masked metadata in the high word.
    #[inline]
    #[must_use]
    pub const fn to_memory(&self) -> (u64, u64) {
        (self.address, self.metadata ^ NULL_METADATA)
    }

    const fn from_parts(metadata: u64, address: u64, tag: bool) -> Self {
        let (base, top) = bounds(metadata, address);
        Self {
            address,
            metadata,
            base,
            top: top as u64,
            top_carry: top >> 64 != 0,
            tag,
        }
    }

    const fn with_metadata(self, mask: u64, bits: u64) -> Self {
        Self {
            metadata: self.metadata & !mask | bits,
            ..self
        }
    }

    const fn field(&self) -> Field {
        concentrate::unpack::<MANTISSA>((self.metadata & BOUNDS_MASK) as u32)
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

    /// Where it points.
    #[inline]
    #[must_use]
    pub const fn address(&self) -> u64 {
        self.address
    }

    /// First byte in bounds.
    #[inline]
    #[must_use]
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// First byte after the bounds, up to 2^64 (more only in untagged bit patterns).
    #[inline]
    #[must_use]
    pub const fn top(&self) -> u128 {
        (self.top_carry as u128) << 64 | self.top as u128
    }

    /// Bytes in bounds as CGetLen returns them: 2^64 and the negative lengths of untagged bit patterns saturate.
    #[inline]
    #[must_use]
    pub const fn length(&self) -> u64 {
        let length = self.top().wrapping_sub(self.base as u128);
        if length >> 64 == 0 { length as u64 } else { u64::MAX }
    }

    /// Address less base, modulo 2^64.
    #[inline]
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.address.wrapping_sub(self.base)
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
        address >= self.base && below_top
    }

    /// The permission bits as CGetPerm returns them: hardware in 11:0, software in 18:15.
    #[inline]
    #[must_use]
    pub const fn permission_bits(&self) -> u32 {
        let hardware = self.metadata >> HARDWARE_PERMISSIONS_SHIFT & 0xfff;
        (hardware | self.metadata >> SOFTWARE_PERMISSIONS_SHIFT << SOFTWARE_PERMISSIONS_BIT) as u32
    }

    /// Whether it has all of `bits`, numbered as by CGetPerm.
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

    /// The flags as CGetFlags returns them: bit 0 is capability mode.
    #[inline]
    #[must_use]
    pub const fn flags(&self) -> u64 {
        self.metadata >> FLAG_SHIFT & 1
    }

    /// Whether reserved metadata bits are set, which no tagged capability has.
    #[inline]
    #[must_use]
    pub const fn has_reserved_bits(&self) -> bool {
        self.metadata & RESERVED_MASK != 0
    }

    /// The object type, 18 bits.
    #[inline]
    #[must_use]
    pub const fn otype(&self) -> u32 {
        (self.metadata >> OTYPE_SHIFT & OTYPE_MASK) as u32
    }

    /// The object type as CGetType returns it: the architecture's own ones sign-extended, so that unsealed is -1.
    #[inline]
    #[must_use]
    pub const fn otype_sign_extended(&self) -> i64 {
        let otype = self.otype() as i64;
        if otype < OTYPE_FIRST_RESERVED as i64 {
            otype
        } else {
            otype - OTYPE_MAX as i64 - 1
        }
    }

    /// Whether it is sealed in any way.
    #[inline]
    #[must_use]
    pub const fn is_sealed(&self) -> bool {
        self.otype() != OTYPE_UNSEALED
    }

    /// Whether it is a sealed entry.
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
            reserved @ OTYPE_FIRST_RESERVED.. => Seal::Reserved(reserved),
            otype => Seal::Otype(otype),
        }
    }

    /// Whether the bounds stay the same when the address becomes `address`, by decoding them again.
    #[inline]
    #[must_use]
    pub const fn is_representable(&self, address: u64) -> bool {
        if address >= self.base && (self.top_carry || address < self.top) {
            return true;
        }
        let (base, top) = bounds(self.metadata, address);
        base == self.base && top == self.top()
    }

    /// The hardware's quick form of [`Self::is_representable`] for a move by `increment`, which refuses some moves just
    /// inside the edges of representable space.
    #[inline]
    #[must_use]
    pub const fn is_representable_move(&self, increment: u64) -> bool {
        let address = self.address.wrapping_add(increment);
        if address >= self.base && (self.top_carry || address < self.top) {
            return true;
        }
        let whole_space = self.base == 0 && self.top_carry && self.top == 0;
        whole_space
            || concentrate::move_is_representable::<MANTISSA, MAX_EXPONENT>(self.field(), self.address, increment)
    }

    /// Points it to `address` (CSetAddr). Untagged when it was sealed or the bounds cannot follow; then the bounds are what
    /// the unchanged metadata means at the new address.
    #[inline]
    #[must_use]
    pub const fn set_address(self, address: u64) -> Self {
        let moved = Self {
            address,
            tag: self.tag && !self.is_sealed(),
            ..self
        };
        if self.is_representable(address) {
            moved
        } else {
            Self::from_parts(self.metadata, address, false)
        }
    }

    /// Moves it by `increment` (CIncOffset, CSetOffset): as [`Self::set_address`], but by the quick check.
    #[inline]
    #[must_use]
    pub const fn inc_offset(self, increment: u64) -> Self {
        let address = self.address.wrapping_add(increment);
        let moved = Self {
            address,
            tag: self.tag && !self.is_sealed(),
            ..self
        };
        if self.is_representable_move(increment) {
            moved
        } else {
            Self::from_parts(self.metadata, address, false)
        }
    }

    /// Another address without any check, seal and tag untouched. For a program counter that is known to be in bounds and
    /// for integers in NULL; everybody else wants [`Self::set_address`].
    #[inline]
    #[must_use]
    pub const fn with_address_unchecked(self, address: u64) -> Self {
        Self { address, ..self }
    }

    /// Bounds from its address over `length` bytes (CSetBounds), rounded outwards where they must be, and whether they are
    /// exact. Untagged when it was sealed or the request reaches outside the old bounds; whether inexact bounds are
    /// acceptable is the caller's decision.
    #[must_use]
    pub const fn set_bounds(self, length: u64) -> (Self, bool) {
        self.set_bounds_wide(length as u128)
    }

    /// [`Self::set_bounds`] with a length of up to 2^64.
    #[must_use]
    pub const fn set_bounds_wide(self, length: u128) -> (Self, bool) {
        let requested_top = self.address as u128 + length;
        let inside = self.address >= self.base && requested_top <= self.top();
        let encoded = concentrate::encode::<MANTISSA>(self.address, requested_top);
        let metadata = self.metadata & !BOUNDS_MASK | encoded.field as u64;
        let tag = self.tag && inside && !self.is_sealed();
        (Self::from_parts(metadata, self.address, tag), encoded.exact)
    }

    /// Keeps the permissions in `bits`, numbered as by CGetPerm (CAndPerm). Untagged when it was sealed.
    #[inline]
    #[must_use]
    pub const fn and_permissions(self, bits: u32) -> Self {
        let software = (bits >> SOFTWARE_PERMISSIONS_BIT & 0xf) as u64;
        let keep = software << SOFTWARE_PERMISSIONS_SHIFT | (bits as u64 & 0xfff) << HARDWARE_PERMISSIONS_SHIFT;
        let permissions = 0xffff << HARDWARE_PERMISSIONS_SHIFT;
        let result = self.with_metadata(permissions, self.metadata & keep);
        result.with_tag(self.tag && !self.is_sealed())
    }

    /// Sets the flags to bit 0 of `flags` (CSetFlags). Untagged when it was sealed.
    #[inline]
    #[must_use]
    pub const fn set_flags(self, flags: u64) -> Self {
        self.with_metadata(1 << FLAG_SHIFT, (flags & 1) << FLAG_SHIFT)
            .with_tag(self.tag && !self.is_sealed())
    }

    /// Writes the object type, the low 18 bits of `otype`, and changes nothing else: whether that is allowed is decided
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

    /// Replaces the metadata by the in-memory form `high` (CSetHigh); the result is untagged.
    #[must_use]
    pub const fn set_high(self, high: u64) -> Self {
        Self::from_memory(self.address, high, false)
    }

    /// Whether its bounds and permissions are within those of `other` and both have the same tag (CTestSubset).
    #[must_use]
    pub const fn is_subset_of(&self, other: &Self) -> bool {
        self.tag == other.tag
            && self.base >= other.base
            && self.top() <= other.top()
            && other.has_permission_bits(self.permission_bits())
    }

    /// Re-tags `bits` when they describe a canonical subset of this capability (CBuildCap): the result is unsealed, or a
    /// sentry when `bits` are one; untagged when this is no authority for them.
    #[must_use]
    pub const fn build(&self, bits: &Self) -> Self {
        let result = if bits.is_sentry() {
            bits.seal_entry()
        } else {
            bits.unseal()
        };
        let length = bits.top().wrapping_sub(bits.base as u128);
        let authorised = self.tag
            && !self.is_sealed()
            && bits.base >= self.base
            && bits.top() <= self.top()
            && bits.base as u128 <= bits.top()
            && self.has_permission_bits(bits.permission_bits())
            && !bits.has_reserved_bits();
        if !authorised {
            return result.clear_tag();
        }
        let (derived, _) = self.set_address(bits.base).set_bounds_wide(length);
        let derived = derived
            .set_address(bits.address)
            .and_permissions(bits.permission_bits())
            .set_flags(bits.flags());
        let derived = if bits.is_sentry() {
            derived.seal_entry()
        } else {
            derived
        };
        let canonical = derived.tag && derived.address == result.address && derived.metadata == result.metadata;
        if canonical { derived } else { result.clear_tag() }
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
        if exact && !is_exact {
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
            capability_mode: self.flags() == 1,
        }
    }
}

/// The bounds that `metadata` means for a capability pointing to `address`.
const fn bounds(metadata: u64, address: u64) -> (u64, u128) {
    let field = concentrate::unpack::<MANTISSA>((metadata & BOUNDS_MASK) as u32);
    concentrate::decode::<MANTISSA, MAX_EXPONENT>(field, address)
}

/// The smallest length not below `length` that can have exact bounds at a suitably aligned base (CRRL). Wraps to 0 where
/// that is 2^64.
#[must_use]
pub const fn representable_length(length: u64) -> u64 {
    let mask = representable_mask(length);
    length.wrapping_add(!mask) & mask
}

/// What a base must be aligned to for exact bounds of `representable_length(length)` bytes, as a mask (CRAM).
#[must_use]
pub const fn representable_mask(length: u64) -> u64 {
    concentrate::encode::<MANTISSA>(0, length as u128).alignment_mask
}
