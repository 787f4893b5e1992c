//! Advanced SIMD shifts by an immediate, narrowing and widening ones and fixed-point conversions included.

use super::bus::Bus;
use super::core::{Core, Step};
use super::decode::{bit, bits, rd, rn};
use super::float::Rounding;
use super::simd::Shape;
use super::simd_memory::{element, insert};

/// Shifts of one element by an immediate that keep the size.
fn shift_operation(shape: Shape, upper: bool, opcode: u32, amounts: (u32, u32), x: u64, old: u64) -> Option<u64> {
    let (right, left) = amounts;
    let signed = !upper;
    let value = shape.number(x, signed);
    let rounded = || (value + (1i128 << (right - 1))) >> right;
    Some(match (upper, opcode) {
        (_, 0x00) => (value >> right) as u64,
        (_, 0x02) => old.wrapping_add((value >> right) as u64),
        (_, 0x04) => rounded() as u64,
        (_, 0x06) => old.wrapping_add(rounded() as u64),
        (true, 0x08) => {
            let kept = (u128::from(u64::MAX) << (shape.width() - right)) as u64;
            old & kept | (u128::from(x) >> right) as u64
        }
        (false, 0x0a) => x << left,
        (true, 0x0a) => old & ((1u64 << left) - 1) | x << left,
        (_, 0x0e) => shape.saturate(value << left, signed),
        _ => return None,
    })
}

pub(super) fn shift_immediate(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let (upper, field, opcode) = (bit(word, 29), bits(word, 16, 7), bits(word, 11, 5));
    let size = (field >> 3).ilog2();
    core.require_fp()?;
    let width = 8 << size;
    let (right, left) = (2 * width - field, field - width);
    let (x, old) = (core.vector(rn(word)), core.vector(rd(word)));
    let second = bit(word, 30);
    let shape = Shape::vector(word, size);
    if (0x10..=0x13).contains(&opcode) && size < 3 {
        return core.set_vector(rd(word), narrow(shape, word, right, x, old));
    }
    if opcode == 0x14 && size < 3 {
        let half = if second { x >> 64 } else { x };
        let result = (0..8 >> size).fold(0, |result, e| {
            let value = shape.number(element(half, e, size), !upper) << left;
            insert(result, e, size + 1, value as u64)
        });
        return core.set_vector(rd(word), result);
    }
    if size == 3 && !second {
        return core.undefined();
    }
    if matches!(opcode, 0x1c | 0x1f) && size >= 2 {
        return core.set_vector(rd(word), shape.map(x, |a| fixed_point(shape, upper, opcode, right, a)));
    }
    if shift_operation(shape, upper, opcode, (right, left), 0, 0).is_none() {
        return core.undefined();
    }
    let result = shape.zip(x, old, |a, d| {
        shift_operation(shape, upper, opcode, (right, left), a, d).unwrap_or_default()
    });
    core.set_vector(rd(word), result)
}

/// SHRN, RSHRN, SQSHRN, UQSHRN, SQSHRUN and their rounding forms.
fn narrow(shape: Shape, word: u32, right: u32, x: u128, old: u128) -> u128 {
    let (upper, opcode, size) = (bit(word, 29), bits(word, 11, 5), shape.size);
    let wide = Shape {
        size: size + 1,
        count: 8 >> size,
    };
    let round = if opcode & 1 == 1 { 1i128 << (right - 1) } else { 0 };
    let result = (0..wide.count).fold(0u128, |result, e| {
        let source = element(x, e, size + 1);
        let value = match (opcode >> 1 & 1, upper) {
            (0, false) => ((i128::from(source) + round) >> right) as u64,
            (0, true) => shape.saturate((wide.number(source, true) + round) >> right, false),
            (_, signed_off) => {
                let signed = !signed_off;
                shape.saturate((wide.number(source, signed) + round) >> right, signed)
            }
        };
        insert(result, e, size, value)
    });
    if bit(word, 30) {
        old & u128::from(u64::MAX) | result << 64
    } else {
        result
    }
}

fn fixed_point(shape: Shape, upper: bool, opcode: u32, scale: u32, x: u64) -> u64 {
    let (format, wide) = (shape.format(), shape.size == 3);
    if opcode == 0x1c {
        format.of_integer(x, scale, !upper, wide)
    } else {
        format.to_integer(x, scale, Rounding::Zero, !upper, wide)
    }
}

pub(super) fn shift_immediate_scalar(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let (upper, field, opcode) = (bit(word, 29), bits(word, 16, 7), bits(word, 11, 5));
    if field < 8 {
        return core.undefined();
    }
    let size = (field >> 3).ilog2();
    core.require_fp()?;
    let width = 8 << size;
    let shape = Shape::scalar(size);
    let (right, left) = (2 * width - field, field - width);
    let (x, old) = (
        element(core.vector(rn(word)), 0, size),
        element(core.vector(rd(word)), 0, size),
    );
    let result = if matches!(opcode, 0x1c | 0x1f) && size >= 2 {
        Some(fixed_point(shape, upper, opcode, right, x))
    } else if size == 3 || opcode == 0x0e {
        shift_operation(shape, upper, opcode, (right, left), x, old)
    } else {
        None
    };
    match result {
        Some(value) => {
            core.set_scalar(rd(word), value & shape.mask());
            Ok(())
        }
        None => core.undefined(),
    }
}
