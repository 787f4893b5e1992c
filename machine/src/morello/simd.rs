//! Advanced SIMD (DDI 0487 C4.1.6): moves, logic, integer and floating-point arithmetic, comparisons, shifts, permutes,
//! narrowing and widening, reductions. Left out: widening saturating doubling multiplies, accumulating saturation,
//! polynomials, reciprocal estimates, cryptography and half precision; they are undefined here, as the identification
//! registers say for cryptography. FPSR.QC is not collected.

use super::bus::Bus;
use super::core::{Core, Step};
use super::decode::{Row, bit, bits, rd, rm, rn, row};
use super::float::{Binary, Format};
use super::simd_memory::{element, insert};
use super::{simd_move, simd_shift, simd_unary};

/// Advanced SIMD, vector and scalar.
pub(super) const INSTRUCTIONS: &[Row] = &[
    row!("0..0 1110 000. .... 0... .1.. .... ....", simd_move::copy),
    row!("0101 1110 000. .... 0000 01.. .... ....", simd_move::copy_scalar),
    row!("0.10 1110 000. .... 0... .0.. .... ....", simd_move::extract),
    row!("0.00 1110 000. .... 0... 00.. .... ....", simd_move::table),
    row!("0.00 1110 ..0. .... 0... 10.. .... ....", simd_move::permute),
    row!("0..0 1110 ..10 000. .... 10.. .... ....", simd_unary::two_register),
    row!("0..0 1110 ..11 000. .... 10.. .... ....", simd_unary::across),
    row!("0..0 1110 ..1. .... .... .1.. .... ....", three_same),
    row!("0..0 1110 ..1. .... .... 00.. .... ....", three_different),
    row!("0..0 1111 0000 0... .... .1.. .... ....", simd_move::modified_immediate),
    row!("0..0 1111 0... .... .... .1.. .... ....", simd_shift::shift_immediate),
    row!("0..0 1111 .... .... .... .0.. .... ....", by_element),
    row!(
        "01.1 1110 ..10 000. .... 10.. .... ....",
        simd_unary::two_register_scalar
    ),
    row!("01.1 1110 ..11 000. .... 10.. .... ....", simd_unary::pairwise_scalar),
    row!("01.1 1110 ..1. .... .... .1.. .... ....", three_same_scalar),
    row!(
        "01.1 1111 0... .... .... .1.. .... ....",
        simd_shift::shift_immediate_scalar
    ),
    row!("01.1 1111 .... .... .... .0.. .... ....", by_element_scalar),
];

/// How many elements, and of what size.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// Binary logarithm of the bytes of an element.
    pub(super) size: u32,
    pub(super) count: u32,
}

impl Shape {
    pub(super) fn vector(word: u32, size: u32) -> Self {
        Self {
            size,
            count: (if bit(word, 30) { 16 } else { 8 }) >> size,
        }
    }

    pub(super) fn scalar(size: u32) -> Self {
        Self { size, count: 1 }
    }

    pub(super) fn width(self) -> u32 {
        8 << self.size
    }

    pub(super) fn mask(self) -> u64 {
        u64::MAX >> (64 - self.width())
    }

    pub(super) fn signed(self, value: u64) -> i64 {
        let unused = 64 - self.width();
        (value << unused) as i64 >> unused
    }

    /// Sign- or zero-extended to a number that cannot overflow.
    pub(super) fn number(self, value: u64, signed: bool) -> i128 {
        if signed {
            self.signed(value).into()
        } else {
            value.into()
        }
    }

    /// The float format of the element size.
    pub(super) fn format(self) -> Format {
        if self.size == 3 { Format::Double } else { Format::Single }
    }

    pub(super) fn map(self, x: u128, f: impl Fn(u64) -> u64) -> u128 {
        (0..self.count).fold(0, |result, e| insert(result, e, self.size, f(element(x, e, self.size))))
    }

    pub(super) fn zip(self, x: u128, y: u128, f: impl Fn(u64, u64) -> u64) -> u128 {
        (0..self.count).fold(0, |result, e| {
            insert(
                result,
                e,
                self.size,
                f(element(x, e, self.size), element(y, e, self.size)),
            )
        })
    }

    pub(super) fn zip3(self, x: u128, y: u128, z: u128, f: impl Fn(u64, u64, u64) -> u64) -> u128 {
        (0..self.count).fold(0, |result, e| {
            let at = |vector| element(vector, e, self.size);
            insert(result, e, self.size, f(at(x), at(y), at(z)))
        })
    }

    /// Combines neighbours: those of `x`, then those of `y`.
    pub(super) fn pairwise(self, x: u128, y: u128, f: impl Fn(u64, u64) -> u64) -> u128 {
        (0..self.count).fold(0, |result, e| {
            let (from, index) = if e < self.count / 2 {
                (x, e)
            } else {
                (y, e - self.count / 2)
            };
            let value = f(
                element(from, 2 * index, self.size),
                element(from, 2 * index + 1, self.size),
            );
            insert(result, e, self.size, value)
        })
    }

    pub(super) fn truth(self, holds: bool) -> u64 {
        if holds { self.mask() } else { 0 }
    }

    pub(super) fn saturate(self, value: i128, signed: bool) -> u64 {
        let (low, high) = if signed {
            (-(1i128 << (self.width() - 1)), (1i128 << (self.width() - 1)) - 1)
        } else {
            (0, (1i128 << self.width()) - 1)
        };
        value.clamp(low, high) as u64 & self.mask()
    }
}

impl Core {
    pub(super) fn vector(&self, n: u32) -> u128 {
        self.v[n as usize]
    }

    pub(super) fn set_vector(&mut self, n: u32, value: u128) -> Step {
        self.v[n as usize] = value;
        Ok(())
    }
}

fn float_binary(upper: bool, high: bool, opcode: u32) -> Option<Binary> {
    Some(match (upper, high, opcode) {
        (_, false, 0x18) => Binary::MaximumNumber,
        (_, true, 0x18) => Binary::MinimumNumber,
        (_, false, 0x1a) => Binary::Add,
        (false, true, 0x1a) => Binary::Subtract,
        (true, true, 0x1a) => Binary::AbsoluteDifference,
        (false, false, 0x1b) => Binary::MultiplyExtended,
        (true, false, 0x1b) => Binary::Multiply,
        (_, false, 0x1e) => Binary::Maximum,
        (_, true, 0x1e) => Binary::Minimum,
        (true, false, 0x1f) => Binary::Divide,
        _ => return None,
    })
}

/// The integer operation of a three-same encoding on one pair of elements.
fn integer_operation(shape: Shape, upper: bool, opcode: u32, x: u64, y: u64) -> Option<u64> {
    let signed = !upper;
    let (a, b) = (shape.number(x, signed), shape.number(y, signed));
    Some(match opcode {
        0x00 => ((a + b) >> 1) as u64,
        0x01 => shape.saturate(a + b, signed),
        0x02 => ((a + b + 1) >> 1) as u64,
        0x04 => ((a - b) >> 1) as u64,
        0x05 => shape.saturate(a - b, signed),
        0x06 => shape.truth(a > b),
        0x07 => shape.truth(a >= b),
        0x08 | 0x0a => shift_by(a, i32::from(y as u8 as i8), opcode == 0x0a),
        0x09 | 0x0b => shift_saturating(shape, signed, a, i32::from(y as u8 as i8), opcode == 0x0b),
        0x0c => a.max(b) as u64,
        0x0d => a.min(b) as u64,
        0x0e => (a - b).unsigned_abs() as u64,
        0x10 if upper => x.wrapping_sub(y),
        0x10 => x.wrapping_add(y),
        0x11 if upper => shape.truth(x == y),
        0x11 => shape.truth(x & y != 0),
        0x13 if !upper && shape.size < 3 => x.wrapping_mul(y),
        0x16 if matches!(shape.size, 1 | 2) => doubling_high(shape, upper, x, y),
        _ => return None,
    })
}

/// A shift left by a signed amount, right shifts rounding if asked to.
fn shift_by(value: i128, amount: i32, rounding: bool) -> u64 {
    match amount {
        64.. => 0,
        0.. => (value << amount) as u64,
        -65..0 => {
            let right = -amount;
            let round = if rounding { 1i128 << (right - 1) } else { 0 };
            ((value + round) >> right) as u64
        }
        _ => {
            if value < 0 && !rounding {
                u64::MAX
            } else {
                0
            }
        }
    }
}

/// A shift left by a signed amount that saturates.
fn shift_saturating(shape: Shape, signed: bool, value: i128, amount: i32, rounding: bool) -> u64 {
    match amount {
        64.. if value == 0 => 0,
        64.. => shape.saturate(value.signum() << 100, signed),
        0.. => shape.saturate(value << amount, signed),
        _ => shift_by(value, amount, rounding),
    }
}

/// The high half of twice the product, saturated (SQDMULH, SQRDMULH).
fn doubling_high(shape: Shape, rounding: bool, x: u64, y: u64) -> u64 {
    let round = if rounding { 1i128 << (shape.width() - 1) } else { 0 };
    let doubled = 2 * shape.number(x, true) * shape.number(y, true);
    shape.saturate((doubled + round) >> shape.width(), true)
}

fn three_same(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let (upper, size, opcode) = (bit(word, 29), bits(word, 22, 2), bits(word, 11, 5));
    core.require_fp()?;
    let (x, y, old) = (core.vector(rn(word)), core.vector(rm(word)), core.vector(rd(word)));
    let low = if bit(word, 30) { u128::MAX } else { u64::MAX.into() };
    if opcode == 0x03 {
        let result = match (upper, size) {
            (false, 0) => x & y,
            (false, 1) => x & !y,
            (false, 2) => x | y,
            (false, _) => x | !y,
            (true, 0) => x ^ y,
            (true, 1) => y ^ (y ^ x) & old,
            (true, 2) => old ^ (old ^ x) & y,
            (true, _) => old ^ (old ^ x) & !y,
        };
        return core.set_vector(rd(word), result & low);
    }
    if opcode >= 0x18 {
        return three_same_float(core, word, Shape::vector(word, 2 + (size & 1)));
    }
    let wide_exists = matches!(opcode, 0x01 | 0x05..=0x0b | 0x10 | 0x11 | 0x17);
    if size == 3 && !(bit(word, 30) && wide_exists) {
        return core.undefined();
    }
    let shape = Shape::vector(word, size);
    let result = match opcode {
        0x14 | 0x15 if size < 3 => shape.pairwise(x, y, |a, b| {
            integer_operation(shape, upper, opcode - 0x14 + 0x0c, a, b).unwrap_or_default()
        }),
        0x17 if !upper => shape.pairwise(x, y, |a, b| a.wrapping_add(b)),
        0x0f if size < 3 => shape.zip3(x, y, old, |a, b, d| {
            let difference = shape.number(a, !upper) - shape.number(b, !upper);
            d.wrapping_add(difference.unsigned_abs() as u64)
        }),
        0x12 if size < 3 => shape.zip3(x, y, old, |a, b, d| {
            let product = a.wrapping_mul(b);
            if upper {
                d.wrapping_sub(product)
            } else {
                d.wrapping_add(product)
            }
        }),
        _ if integer_operation(shape, upper, opcode, 0, 0).is_some() => shape.zip(x, y, |a, b| {
            integer_operation(shape, upper, opcode, a, b).unwrap_or_default()
        }),
        _ => return core.undefined(),
    };
    core.set_vector(rd(word), result)
}

/// The comparison of a three-same encoding, FACGE and FACGT included.
fn float_comparison(format: Format, upper: bool, high: bool, opcode: u32, x: u64, y: u64) -> Option<bool> {
    let (a, b) = (format.to_double(x), format.to_double(y));
    Some(match (upper, high, opcode) {
        (false, false, 0x1c) => a == b,
        (true, false, 0x1c) => a >= b,
        (true, true, 0x1c) => a > b,
        (true, false, 0x1d) => a.abs() >= b.abs(),
        (true, true, 0x1d) => a.abs() > b.abs(),
        _ => return None,
    })
}

fn three_same_float(core: &mut Core, word: u32, shape: Shape) -> Step {
    let (upper, high, opcode) = (bit(word, 29), bit(word, 23), bits(word, 11, 5));
    if shape.size == 3 && shape.count == 1 && bits(word, 28, 1) == 0 {
        return core.undefined();
    }
    let (x, y, old) = (core.vector(rn(word)), core.vector(rm(word)), core.vector(rd(word)));
    let format = shape.format();
    if opcode == 0x19 && !upper {
        let sign = if high { format.sign() } else { 0 };
        let result = shape.zip3(x, y, old, |a, b, d| format.fused(a ^ sign, b, d));
        return core.set_vector(rd(word), result);
    }
    if float_comparison(format, upper, high, opcode, 0, 0).is_some() {
        let result = shape.zip(x, y, |a, b| {
            shape.truth(float_comparison(format, upper, high, opcode, a, b).unwrap_or_default())
        });
        return core.set_vector(rd(word), result);
    }
    let Some(operation) = float_binary(upper, high, opcode) else {
        return core.undefined();
    };
    let pairwise = upper && matches!((opcode, high), (0x18 | 0x1e, _) | (0x1a, false));
    let result = if pairwise {
        shape.pairwise(x, y, |a, b| format.binary(operation, a, b))
    } else {
        shape.zip(x, y, |a, b| format.binary(operation, a, b))
    };
    core.set_vector(rd(word), result)
}

fn three_same_scalar(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let (upper, size, opcode) = (bit(word, 29), bits(word, 22, 2), bits(word, 11, 5));
    core.require_fp()?;
    if opcode >= 0x18 {
        let exists = matches!(
            (upper, bit(word, 23), opcode),
            (false, false, 0x1b | 0x1c) | (true, true, 0x1a) | (true, _, 0x1c | 0x1d)
        );
        if !exists {
            return core.undefined();
        }
        return three_same_float(core, word, Shape::scalar(2 + (size & 1)));
    }
    let shape = Shape::scalar(size);
    let (x, y) = (
        element(core.vector(rn(word)), 0, size),
        element(core.vector(rm(word)), 0, size),
    );
    let exists = match opcode {
        0x01 | 0x05 | 0x09 | 0x0b => true,
        0x06..=0x08 | 0x0a | 0x10 | 0x11 => size == 3,
        0x16 => matches!(size, 1 | 2),
        _ => false,
    };
    match integer_operation(shape, upper, opcode, x, y) {
        Some(result) if exists => {
            core.set_scalar(rd(word), result & shape.mask());
            Ok(())
        }
        _ => core.undefined(),
    }
}

/// Widening, narrowing and wide operations on halves of vectors.
fn three_different(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let (upper, size, opcode) = (bit(word, 29), bits(word, 22, 2), bits(word, 12, 4));
    if size == 3 || matches!(opcode, 9 | 11 | 13..=15) {
        return core.undefined();
    }
    core.require_fp()?;
    let signed = !upper;
    let narrow = Shape { size, count: 8 >> size };
    let wide = Shape {
        size: size + 1,
        count: 8 >> size,
    };
    let second = bit(word, 30);
    let (x, y, old) = (core.vector(rn(word)), core.vector(rm(word)), core.vector(rd(word)));
    let half = |vector: u128| if second { vector >> 64 } else { vector };
    let value = |vector: u128, e: u32| narrow.number(element(half(vector), e, size), signed);
    if matches!(opcode, 4 | 6) {
        let round = if upper { 1u64 << (narrow.width() - 1) } else { 0 };
        let result = (0..narrow.count).fold(0u128, |result, e| {
            let (a, b) = (element(x, e, size + 1), element(y, e, size + 1));
            let sum = if opcode == 4 {
                a.wrapping_add(b)
            } else {
                a.wrapping_sub(b)
            };
            insert(result, e, size, sum.wrapping_add(round) >> narrow.width())
        });
        let result = if second {
            old & u128::from(u64::MAX) | result << 64
        } else {
            result
        };
        return core.set_vector(rd(word), result);
    }
    let result = (0..wide.count).fold(0, |result, e| {
        let (a, b) = (value(x, e), value(y, e));
        let whole = wide.number(element(x, e, size + 1), signed);
        let accumulator = i128::from(element(old, e, size + 1));
        let number = match opcode {
            0 => a + b,
            1 => whole + b,
            2 => a - b,
            3 => whole - b,
            5 => accumulator + (a - b).abs(),
            7 => (a - b).abs(),
            8 => accumulator + a * b,
            10 => accumulator - a * b,
            _ => a * b,
        };
        insert(result, e, size + 1, number as u64)
    });
    core.set_vector(rd(word), result)
}

/// The index of the element, and the register, of a by-element encoding.
fn indexed_element(word: u32, size: u32) -> Option<(u32, u32)> {
    let (high, low, middle) = (bits(word, 11, 1), bits(word, 20, 1), bits(word, 21, 1));
    match size {
        1 => Some((rm(word) & 15, high << 2 | middle << 1 | low)),
        2 => Some((rm(word), high << 1 | middle)),
        3 if middle == 0 => Some((rm(word), high)),
        _ => None,
    }
}

fn by_element(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let (upper, opcode) = (bit(word, 29), bits(word, 12, 4));
    if matches!((upper, opcode), (_, 0x9) | (false, 0x1 | 0x5)) {
        return by_element_float(core, word, bit(word, 30));
    }
    let size = bits(word, 22, 2);
    let Some((register, index)) = indexed_element(word, size).filter(|_| matches!(size, 1 | 2)) else {
        return core.undefined();
    };
    core.require_fp()?;
    let (x, old) = (core.vector(rn(word)), core.vector(rd(word)));
    let factor = element(core.vector(register), index, size);
    let shape = Shape::vector(word, size);
    let result = match (upper, opcode) {
        (true, 0x0) => shape.zip(x, old, |a, d| d.wrapping_add(a.wrapping_mul(factor))),
        (true, 0x4) => shape.zip(x, old, |a, d| d.wrapping_sub(a.wrapping_mul(factor))),
        (false, 0x8) => shape.map(x, |a| a.wrapping_mul(factor)),
        (false, 0xc | 0xd) => shape.map(x, |a| doubling_high(shape, opcode == 0xd, a, factor)),
        (_, 0x2 | 0x6 | 0xa) => {
            let half = if bit(word, 30) { x >> 64 } else { x };
            (0..8 >> size).fold(0, |result, e| {
                let product = shape.number(element(half, e, size), !upper) * shape.number(factor, !upper);
                let accumulator = i128::from(element(old, e, size + 1));
                let value = match opcode {
                    0x2 => accumulator + product,
                    0x6 => accumulator - product,
                    _ => product,
                };
                insert(result, e, size + 1, value as u64)
            })
        }
        _ => return core.undefined(),
    };
    core.set_vector(rd(word), result)
}

fn by_element_scalar(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    match (bit(word, 29), bits(word, 12, 4)) {
        (_, 0x9) | (false, 0x1 | 0x5) => by_element_float(core, word, true),
        _ => core.undefined(),
    }
}

/// FMLA, FMLS, FMUL, FMULX by an element, vector and scalar.
fn by_element_float(core: &mut Core, word: u32, full: bool) -> Step {
    let (upper, opcode, scalar) = (bit(word, 29), bits(word, 12, 4), bit(word, 28));
    let size = match bits(word, 22, 2) {
        2 => 2,
        3 if full => 3,
        _ => return core.undefined(),
    };
    let Some((register, index)) = indexed_element(word, size) else {
        return core.undefined();
    };
    core.require_fp()?;
    let shape = if scalar {
        Shape::scalar(size)
    } else {
        Shape::vector(word, size)
    };
    let (x, old) = (core.vector(rn(word)), core.vector(rd(word)));
    let factor = element(core.vector(register), index, size);
    let format = shape.format();
    let result = match (upper, opcode) {
        (false, 0x1) => shape.zip(x, old, |a, d| format.fused(a, factor, d)),
        (false, 0x5) => shape.zip(x, old, |a, d| format.fused(a ^ format.sign(), factor, d)),
        (false, _) => shape.map(x, |a| format.binary(Binary::Multiply, a, factor)),
        (true, _) => shape.map(x, |a| format.binary(Binary::MultiplyExtended, a, factor)),
    };
    core.set_vector(rd(word), result)
}
