//! CHERI Concentrate: how a region is squeezed into a floating-point pair, shared by both formats.
//!
//! A bounds field holds the bottom `B` (`MW` bits), the top `T` (`MW - 2` bits, two more are inferred) and, when the
//! *internal exponent* bit is set, an exponent in the low three bits of both. Bounds are `B` and `T` shifted left by the
//! exponent, with the upper bits taken from the address and corrected by at most one. The formats differ in the mantissa
//! width `MW` and the largest exponent `MAX` (CHERI ISAv9, section 3.3.6; DDI 0606, CapGetBounds).

/// The bounds field taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// As encoded: may exceed the largest meaningful one in a bit pattern that was never a capability.
    pub(crate) exponent: u32,
    /// `B`, `MW` bits.
    pub(crate) bottom: u64,
    /// `T` with its upper two bits inferred, `MW` bits.
    pub(crate) top: u64,
}

/// A region in encoded form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// The bounds field: `B`, then `T`, then the internal exponent bit.
    pub(crate) field: u32,
    /// Whether exactly the requested region is represented, not a larger one.
    pub(crate) exact: bool,
    /// The alignment that bounds of this length need, as a mask for the base.
    pub(crate) alignment_mask: u64,
}

/// The low `bits` bits of `value`.
const fn low(value: u64, bits: u32) -> u64 {
    value & ((1 << bits) - 1)
}

/// Takes the bounds field apart and infers the upper two bits of `T`.
pub(crate) const fn unpack<const MW: u32>(field: u32) -> Field {
    let field = field as u64;
    let bottom = low(field, MW);
    let top = low(field >> MW, MW - 2);
    let internal = field >> (2 * MW - 2) & 1;
    let (exponent, bottom, top) = if internal == 1 {
        ((top & 7) << 3 | bottom & 7, bottom & !7, top & !7)
    } else {
        (0, bottom, top)
    };
    // T = B + length, of which the field holds the low bits: add the carry out of them, and the length's leading one,
    // which an internal exponent implies.
    let carry = (top < low(bottom, MW - 2)) as u64;
    let upper = low((bottom >> (MW - 2)) + carry + internal, 2);
    Field {
        exponent: exponent as u32,
        bottom,
        top: upper << (MW - 2) | top,
    }
}

/// The base and top that `field` means for a capability pointing to `address`.
pub(crate) const fn decode<const MW: u32, const MAX: u32>(field: Field, address: u64) -> (u64, u128) {
    let exponent = if field.exponent < MAX { field.exponent } else { MAX };
    let a3 = low(address >> (exponent + MW - 3), 3);
    let b3 = low(field.bottom >> (MW - 3), 3);
    let t3 = low(field.top >> (MW - 3), 3);
    // Representable space begins one eighth below the base; who lies under that edge belongs to the next space above.
    let edge = low(b3.wrapping_sub(1), 3);
    let address_above = (a3 < edge) as u64;
    let base_correction = ((b3 < edge) as u64).wrapping_sub(address_above);
    let top_correction = ((t3 < edge) as u64).wrapping_sub(address_above);

    let upper = if exponent + MW < 64 {
        address >> (exponent + MW)
    } else {
        0
    };
    let base = (upper.wrapping_add(base_correction) << MW | field.bottom) << exponent;
    let mut top = ((upper.wrapping_add(top_correction) as u128) << MW | field.top as u128) << exponent;
    top &= (1 << 65) - 1;
    // Base and top cannot be more than an address space apart: where they are, the space wrapped around.
    if exponent < MAX - 1 && ((top >> 63) as u64).wrapping_sub(base >> 63) > 1 {
        top ^= 1 << 64;
    }
    (base, top)
}

/// Encodes the smallest representable region that covers `base..top`.
pub(crate) const fn encode<const MW: u32>(base: u64, top: u128) -> Encoded {
    let length = top - base as u128;
    let exponent = if length >> 64 != 0 {
        65 - (MW - 1)
    } else if (length as u64) < 1 << (MW - 1) {
        0
    } else {
        (length as u64).ilog2() - (MW - 2)
    };
    let internal = exponent != 0 || length as u64 >> (MW - 2) & 1 == 1;
    if !internal {
        let field = low(top as u64, MW - 2) << MW | low(base, MW);
        return Encoded {
            field: field as u32,
            exact: true,
            alignment_mask: u64::MAX,
        };
    }
    let narrow = MW - 3;
    let mut exponent = exponent;
    let mut bottom = low(base >> (exponent + 3), narrow);
    let mut upper = low((top >> (exponent + 3)) as u64, narrow);
    let lost = (1u128 << (exponent + 3)) - 1;
    let mut lost_base = base as u128 & lost != 0;
    let mut lost_top = top & lost != 0;
    if lost_top {
        upper = low(upper + 1, narrow);
    }
    if low(upper.wrapping_sub(bottom), narrow) >> (narrow - 1) == 1 {
        // Rounding made the length overflow its mantissa: take the next exponent.
        lost_base |= bottom & 1 == 1;
        lost_top |= upper & 1 == 1;
        exponent += 1;
        bottom = low(base >> (exponent + 3), narrow);
        upper = low((top >> (exponent + 3)) as u64 + lost_top as u64, narrow);
    }
    let exponent_bits = exponent as u64;
    let bottom = bottom << 3 | exponent_bits & 7;
    // The field keeps MW - 2 bits of T, the mantissa's upper bits are inferred again.
    let upper = low(upper << 3, MW - 2) | exponent_bits >> 3 & 7;
    let field = 1 << (2 * MW - 2) | upper << MW | bottom;
    Encoded {
        field: field as u32,
        exact: !lost_base && !lost_top,
        alignment_mask: u64::MAX << (exponent + 3),
    }
}

/// The hardware's quick test whether bounds survive a move from `address` by `increment`. It may refuse a move that would
/// keep them, close to the edges of representable space, but never the reverse (CHERI ISAv9, fastRepCheck).
pub(crate) const fn move_is_representable<const MW: u32, const MAX: u32>(
    field: Field,
    address: u64,
    increment: u64,
) -> bool {
    if field.exponent >= MAX - 2 {
        return true;
    }
    let shift = field.exponent + MW;
    let shift = if shift < 63 { shift } else { 63 };
    let far = increment as i64 >> shift;
    let increment_middle = low(increment >> field.exponent, MW);
    let address_middle = low(address >> field.exponent, MW);
    let edge = low((field.bottom >> (MW - 3)).wrapping_sub(1), 3) << (MW - 3);
    let distance = low(edge.wrapping_sub(address_middle), MW);
    match far {
        0 => increment_middle < low(distance.wrapping_sub(1), MW),
        -1 => increment_middle >= distance && edge != address_middle,
        _ => false,
    }
}
