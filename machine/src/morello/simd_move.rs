//! Advanced SIMD that moves elements about: copies, permutes, tables, immediates.

use super::bus::Bus;
use super::core::{Core, Step};
use super::decode::{bit, bits, rd, rm, rn};
use super::float::Format;
use super::fp::expand_immediate;
use super::simd::Shape;
use super::simd_memory::{element, insert};

/// The element that an imm5 field names: size and index.
fn element_field(field: u32) -> Option<(u32, u32)> {
    let size = field.trailing_zeros();
    (size < 4).then(|| (size, field >> (size + 1)))
}

/// DUP, INS, SMOV, UMOV.
pub(super) fn copy(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let Some((size, index)) = element_field(bits(word, 16, 5)) else {
        return core.undefined();
    };
    core.require_fp()?;
    let (full, field) = (bit(word, 30), bits(word, 11, 4));
    let shape = Shape::vector(word, size);
    let source = core.vector(rn(word));
    if bit(word, 29) {
        if !full {
            return core.undefined();
        }
        let value = element(source, field >> size, size);
        let result = insert(core.vector(rd(word)), index, size, value);
        return core.set_vector(rd(word), result);
    }
    match field {
        0 if size < 3 || full => {
            let value = element(source, index, size);
            core.set_vector(rd(word), shape.map(0, |_| value))
        }
        1 if size < 3 || full => {
            let value = core.x(rn(word));
            core.set_vector(rd(word), shape.map(0, |_| value))
        }
        3 if full => {
            let result = insert(core.vector(rd(word)), index, size, core.x(rn(word)));
            core.set_vector(rd(word), result)
        }
        5 if size < 2 || size == 2 && full => {
            let value = shape.signed(element(source, index, size)) as u64;
            core.set_x(rd(word), if full { value } else { value & 0xffff_ffff });
            Ok(())
        }
        7 if full == (size == 3) => {
            core.set_x(rd(word), element(source, index, size));
            Ok(())
        }
        _ => core.undefined(),
    }
}

pub(super) fn copy_scalar(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let Some((size, index)) = element_field(bits(word, 16, 5)) else {
        return core.undefined();
    };
    core.require_fp()?;
    core.set_scalar(rd(word), element(core.vector(rn(word)), index, size));
    Ok(())
}

pub(super) fn extract(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let (full, index) = (bit(word, 30), bits(word, 11, 4));
    if bits(word, 22, 2) != 0 || !full && index > 7 {
        return core.undefined();
    }
    core.require_fp()?;
    let (low, high) = (core.vector(rn(word)), core.vector(rm(word)));
    let result = if full {
        if index == 0 {
            low
        } else {
            low >> (8 * index) | high << (128 - 8 * index)
        }
    } else {
        let both = u128::from(high as u64) << 64 | u128::from(low as u64);
        u128::from((both >> (8 * index)) as u64)
    };
    core.set_vector(rd(word), result)
}

/// TBL, TBX.
pub(super) fn table(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_fp()?;
    let (registers, keep) = (bits(word, 13, 2) + 1, bit(word, 12));
    let indices = core.vector(rm(word));
    let old = core.vector(rd(word));
    let shape = Shape::vector(word, 0);
    let result = (0..shape.count).fold(0, |result, e| {
        let index = element(indices, e, 0) as u32;
        let value = if index < 16 * registers {
            element(core.vector((rn(word) + index / 16) % 32), index % 16, 0)
        } else if keep {
            element(old, e, 0)
        } else {
            0
        };
        insert(result, e, 0, value)
    });
    core.set_vector(rd(word), result)
}

/// UZP, TRN, ZIP.
pub(super) fn permute(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let (size, opcode) = (bits(word, 22, 2), bits(word, 12, 3));
    if opcode & 3 == 0 || size == 3 && !bit(word, 30) {
        return core.undefined();
    }
    core.require_fp()?;
    let shape = Shape::vector(word, size);
    let (x, y) = (core.vector(rn(word)), core.vector(rm(word)));
    let part = opcode >> 2;
    let half = shape.count / 2;
    let result = (0..shape.count).fold(0, |result, e| {
        let (from, index) = match opcode & 3 {
            1 if e < half => (x, 2 * e + part),
            1 => (y, 2 * (e - half) + part),
            2 => (if e & 1 == 0 { x } else { y }, (e & !1) + part),
            _ => (if e & 1 == 0 { x } else { y }, e / 2 + part * half),
        };
        insert(result, e, size, element(from, index, size))
    });
    core.set_vector(rd(word), result)
}

/// MOVI, MVNI, ORR, BIC and FMOV with an immediate.
pub(super) fn modified_immediate(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let immediate = bits(word, 16, 3) << 5 | bits(word, 5, 5);
    let (mode, invert) = (bits(word, 12, 4), bit(word, 29));
    if bit(word, 11) {
        return core.undefined();
    }
    core.require_fp()?;
    let byte = u64::from(immediate);
    let repeat = |value: u64, width: u32| (0..64 / width).fold(0, |all, at| all | value << (at * width));
    let pattern = match mode {
        0..=7 => repeat(byte << (8 * (mode >> 1)), 32),
        8..=11 => repeat(byte << (8 * (mode >> 1 & 1)), 16),
        12 => repeat(byte << 8 | 0xff, 32),
        13 => repeat(byte << 16 | 0xffff, 32),
        14 if invert => (0..8).fold(0, |all, at| {
            all | if byte >> at & 1 == 1 { 0xff << (8 * at) } else { 0 }
        }),
        14 => repeat(byte, 8),
        _ if invert && !bit(word, 30) => return core.undefined(),
        _ if invert => expand_immediate(immediate, Format::Double),
        _ => repeat(expand_immediate(immediate, Format::Single), 32),
    };
    let whole = u128::from(pattern) << 64 | u128::from(pattern);
    let old = core.vector(rd(word));
    let changes = mode < 12 && mode & 1 == 1;
    let result = match (changes, invert, mode) {
        (true, false, _) => old | whole,
        (true, true, _) => old & !whole,
        (false, true, 0..=13) => !whole,
        _ => whole,
    };
    let low = if bit(word, 30) { u128::MAX } else { u64::MAX.into() };
    core.set_vector(rd(word), result & low)
}

#[cfg(test)]
mod tests {
    use super::element_field;

    #[test]
    fn an_element_field_without_a_one_names_nothing() {
        assert_eq!(element_field(0), None);
        assert_eq!(element_field(0b10000), None);
        assert_eq!(element_field(0b01000), Some((3, 0)));
        assert_eq!(element_field(0b11001), Some((0, 12)));
    }
}
