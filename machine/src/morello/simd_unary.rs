//! Advanced SIMD on one register: element by element, between neighbours, and across the whole.

use super::bus::Bus;
use super::core::{Core, Step};
use super::decode::{bit, bits, rd, rn};
use super::float::{Binary, Format, Rounding};
use super::simd::Shape;
use super::simd_memory::{element, insert};

/// The operation of a two-register encoding on one element, for those that keep the size.
fn unary_operation(core: &Core, shape: Shape, upper: bool, high: bool, opcode: u32, x: u64) -> Option<u64> {
    let (value, format, wide) = (shape.signed(x), shape.format(), shape.size == 3);
    let compare = |f: fn(f64) -> bool| shape.truth(f(format.to_double(x)));
    Some(match (upper, opcode) {
        (false, 0x04) if shape.size < 3 => {
            let differing = (x ^ (value >> 1) as u64) & shape.mask();
            u64::from(differing.leading_zeros()) - u64::from(64 - shape.width()) - 1
        }
        (true, 0x04) if shape.size < 3 => u64::from(x.leading_zeros()) - u64::from(64 - shape.width()),
        (false, 0x05) if shape.size == 0 => x.count_ones().into(),
        (false, 0x07) => shape.saturate(i128::from(value).abs(), true),
        (true, 0x07) => shape.saturate(-i128::from(value), true),
        (false, 0x08) => shape.truth(value > 0),
        (true, 0x08) => shape.truth(value >= 0),
        (false, 0x09) => shape.truth(value == 0),
        (true, 0x09) => shape.truth(value <= 0),
        (false, 0x0a) => shape.truth(value < 0),
        (false, 0x0b) => value.unsigned_abs(),
        (true, 0x0b) => x.wrapping_neg(),
        (false, 0x0c) if high => compare(|x| x > 0.0),
        (true, 0x0c) if high => compare(|x| x >= 0.0),
        (false, 0x0d) if high => compare(|x| x == 0.0),
        (true, 0x0d) if high => compare(|x| x <= 0.0),
        (false, 0x0e) if high => compare(|x| x < 0.0),
        (false, 0x0f) if high => x & !format.sign(),
        (true, 0x0f) if high => x ^ format.sign(),
        (false, 0x18) => format.round(x, if high { Rounding::Up } else { Rounding::Nearest }),
        (false, 0x19) => format.round(x, if high { Rounding::Zero } else { Rounding::Down }),
        (true, 0x18) if !high => format.round(x, Rounding::Away),
        (true, 0x19) => format.round(x, core.rounding()),
        (_, 0x1a) => format.to_integer(x, 0, if high { Rounding::Up } else { Rounding::Nearest }, !upper, wide),
        (_, 0x1b) => format.to_integer(x, 0, if high { Rounding::Zero } else { Rounding::Down }, !upper, wide),
        (_, 0x1c) if !high => format.to_integer(x, 0, Rounding::Away, !upper, wide),
        (_, 0x1d) if !high => format.of_integer(x, 0, !upper, wide),
        (true, 0x1f) if high => format.root(x),
        _ => return None,
    })
}

fn is_float_unary(opcode: u32) -> bool {
    (0x0c..=0x0f).contains(&opcode) || opcode >= 0x18
}

pub(super) fn two_register(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let (upper, size, opcode) = (bit(word, 29), bits(word, 22, 2), bits(word, 12, 5));
    core.require_fp()?;
    let (x, old, second) = (core.vector(rn(word)), core.vector(rd(word)), bit(word, 30));
    let low = if second { u128::MAX } else { u64::MAX.into() };
    let result = match (upper, opcode) {
        (_, 0x00 | 0x01) => {
            let container = match (upper, opcode) {
                (false, 0) => 3,
                (true, 0) => 2,
                (false, _) => 1,
                _ => return core.undefined(),
            };
            if size >= container {
                return core.undefined();
            }
            let group = (1 << (container - size)) - 1;
            let shape = Shape::vector(word, size);
            (0..shape.count).fold(0, |result, e| insert(result, e, size, element(x, e ^ group, size)))
        }
        (_, 0x02 | 0x06) if size < 3 => {
            let (narrow, wide) = (Shape::vector(word, size), Shape::vector(word, size + 1));
            (0..wide.count).fold(0, |result, e| {
                let value = |at| narrow.number(element(x, at, size), !upper);
                let base = if opcode == 6 {
                    element(old, e, size + 1).into()
                } else {
                    0
                };
                insert(result, e, size + 1, (value(2 * e) + value(2 * e + 1) + base) as u64)
            })
        }
        (true, 0x05) if size == 0 => !x & low,
        (true, 0x05) if size == 1 => Shape::vector(word, 0).map(x, |a| u64::from((a as u8).reverse_bits())),
        (_, 0x12 | 0x14) if size < 3 && !(opcode == 0x12 && upper && size == 3) => {
            let shape = Shape::vector(word, size);
            let wide = Shape {
                size: size + 1,
                count: 8 >> size,
            };
            let narrowed = (0..wide.count).fold(0u128, |result, e| {
                let source = element(x, e, size + 1);
                let value = match (upper, opcode) {
                    (false, 0x12) => source,
                    (true, 0x12) => shape.saturate(wide.number(source, true), false),
                    _ => shape.saturate(wide.number(source, !upper), !upper),
                };
                insert(result, e, size, value)
            });
            if second {
                old & u128::from(u64::MAX) | narrowed << 64
            } else {
                narrowed
            }
        }
        (true, 0x13) if size < 3 => {
            let half = if second { x >> 64 } else { x };
            (0..8 >> size).fold(0, |result, e| {
                insert(result, e, size + 1, element(half, e, size) << (8 << size))
            })
        }
        (false, 0x16) if size < 2 => {
            let (from, to) = if size == 1 {
                (Format::Double, Format::Single)
            } else {
                (Format::Single, Format::Half)
            };
            let narrowed = (0..4 >> size).fold(0u128, |result, e| {
                insert(result, e, size + 1, from.convert(element(x, e, size + 2), to))
            });
            if second {
                old & u128::from(u64::MAX) | narrowed << 64
            } else {
                narrowed
            }
        }
        (false, 0x17) if size < 2 => {
            let (from, to) = if size == 1 {
                (Format::Single, Format::Double)
            } else {
                (Format::Half, Format::Single)
            };
            let half = if second { x >> 64 } else { x };
            (0..4 >> size).fold(0, |result, e| {
                insert(result, e, size + 2, from.convert(element(half, e, size + 1), to))
            })
        }
        _ => {
            let shape = Shape::vector(word, if is_float_unary(opcode) { 2 + (size & 1) } else { size });
            let high = bit(word, 23);
            let known = unary_operation(core, shape, upper, high, opcode, 0).is_some();
            if !known || shape.size == 3 && !second {
                return core.undefined();
            }
            shape.map(x, |a| {
                unary_operation(core, shape, upper, high, opcode, a).unwrap_or_default()
            })
        }
    };
    core.set_vector(rd(word), result)
}

pub(super) fn two_register_scalar(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let (upper, size, opcode) = (bit(word, 29), bits(word, 22, 2), bits(word, 12, 5));
    core.require_fp()?;
    let float = is_float_unary(opcode);
    let shape = Shape::scalar(if float { 2 + (size & 1) } else { size });
    let x = element(core.vector(rn(word)), 0, shape.size);
    let vector_only = matches!(opcode, 0x04 | 0x05 | 0x0f | 0x18 | 0x19 | 0x1f);
    match unary_operation(core, shape, upper, bit(word, 23), opcode, x) {
        Some(value) if !vector_only && (float || size == 3 || opcode == 0x07) => {
            core.set_scalar(rd(word), value & shape.mask());
            Ok(())
        }
        _ => core.undefined(),
    }
}

pub(super) fn pairwise_scalar(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let (upper, size, opcode) = (bit(word, 29), bits(word, 22, 2), bits(word, 12, 5));
    core.require_fp()?;
    let x = core.vector(rn(word));
    if !upper && opcode == 0x1b && size == 3 {
        core.set_scalar(rd(word), (x as u64).wrapping_add((x >> 64) as u64));
        return Ok(());
    }
    let operation = match (opcode, bit(word, 23)) {
        (0x0c, false) => Binary::MaximumNumber,
        (0x0c, true) => Binary::MinimumNumber,
        (0x0d, false) => Binary::Add,
        (0x0f, false) => Binary::Maximum,
        (0x0f, true) => Binary::Minimum,
        _ => return core.undefined(),
    };
    if !upper {
        return core.undefined();
    }
    let shape = Shape::scalar(2 + (size & 1));
    let result = shape
        .format()
        .binary(operation, element(x, 0, shape.size), element(x, 1, shape.size));
    core.set_scalar(rd(word), result);
    Ok(())
}

/// ADDV, SADDLV, UADDLV, and the largest or smallest element.
pub(super) fn across(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let (upper, size, opcode) = (bit(word, 29), bits(word, 22, 2), bits(word, 12, 5));
    core.require_fp()?;
    let x = core.vector(rn(word));
    if upper && matches!(opcode, 0x0c | 0x0f) {
        let shape = Shape::vector(word, 2);
        if shape.count != 4 || size & 1 == 1 {
            return core.undefined();
        }
        let operation = match (opcode, bit(word, 23)) {
            (0x0c, false) => Binary::MaximumNumber,
            (0x0c, true) => Binary::MinimumNumber,
            (_, false) => Binary::Maximum,
            (_, true) => Binary::Minimum,
        };
        let pair = |a, b| Format::Single.binary(operation, a, b);
        let at = |e| element(x, e, 2);
        core.set_scalar(rd(word), pair(pair(at(0), at(1)), pair(at(2), at(3))));
        return Ok(());
    }
    let shape = Shape::vector(word, size);
    if size == 3 || size == 2 && !bit(word, 30) {
        return core.undefined();
    }
    let values = (0..shape.count).map(|e| shape.number(element(x, e, size), !upper));
    let (result, size) = match (upper, opcode) {
        (_, 0x03) => (values.sum(), size + 1),
        (false, 0x1b) => (values.sum(), size),
        (_, 0x0a) => (values.max().unwrap_or_default(), size),
        (_, 0x1a) => (values.min().unwrap_or_default(), size),
        _ => return core.undefined(),
    };
    core.set_scalar(rd(word), result as u64 & Shape::scalar(size).mask());
    Ok(())
}
