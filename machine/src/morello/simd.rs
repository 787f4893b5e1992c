//! Advanced SIMD (DDI 0487 C4.1.6): moves, logic, integer and floating-point arithmetic, comparisons, shifts, permutes,
//! narrowing and widening, reductions. Left out: saturating doubling multiplies, polynomials, reciprocal estimates,
//! cryptography and half precision; they are undefined here, as the identification registers say for cryptography.

use super::bus::Bus;
use super::core::{Core, Step};
use super::decode::{Row, bit, bits, pattern, rd, rm, rn};
use super::float::{Binary, Format, Rounding};
use super::fp::expand_immediate;
use super::simd_memory::{element, insert};

/// Advanced SIMD, vector and scalar.
pub(super) const INSTRUCTIONS: &[Row] = &[
    (pattern("0..0 1110 000. .... 0... .1.. .... ...."), copy),
    (pattern("0101 1110 000. .... 0000 01.. .... ...."), copy_scalar),
    (pattern("0.10 1110 000. .... 0... .0.. .... ...."), extract),
    (pattern("0.00 1110 000. .... 0... 00.. .... ...."), table),
    (pattern("0.00 1110 ..0. .... 0... 10.. .... ...."), permute),
    (pattern("0..0 1110 ..10 000. .... 10.. .... ...."), two_register),
    (pattern("0..0 1110 ..11 000. .... 10.. .... ...."), across),
    (pattern("0..0 1110 ..1. .... .... .1.. .... ...."), three_same),
    (pattern("0..0 1110 ..1. .... .... 00.. .... ...."), three_different),
    (pattern("0..0 1111 0000 0... .... .1.. .... ...."), modified_immediate),
    (pattern("0..0 1111 0... .... .... .1.. .... ...."), shift_immediate),
    (pattern("0..0 1111 .... .... .... .0.. .... ...."), by_element),
    (pattern("01.1 1110 ..10 000. .... 10.. .... ...."), two_register_scalar),
    (pattern("01.1 1110 ..11 000. .... 10.. .... ...."), pairwise_scalar),
    (pattern("01.1 1110 ..1. .... .... .1.. .... ...."), three_same_scalar),
    (
        pattern("01.1 1111 0... .... .... .1.. .... ...."),
        shift_immediate_scalar,
    ),
    (pattern("01.1 1111 .... .... .... .0.. .... ...."), by_element_scalar),
];

/// How many elements, and of what size.
#[derive(Clone, Copy)]
struct Shape {
    /// Binary logarithm of the bytes of an element.
    size: u32,
    count: u32,
}

impl Shape {
    fn vector(word: u32, size: u32) -> Self {
        Self {
            size,
            count: (if bit(word, 30) { 16 } else { 8 }) >> size,
        }
    }

    fn scalar(size: u32) -> Self {
        Self { size, count: 1 }
    }

    fn width(self) -> u32 {
        8 << self.size
    }

    fn mask(self) -> u64 {
        u64::MAX >> (64 - self.width())
    }

    fn signed(self, value: u64) -> i64 {
        let unused = 64 - self.width();
        (value << unused) as i64 >> unused
    }

    /// Sign- or zero-extended to a number that cannot overflow.
    fn number(self, value: u64, signed: bool) -> i128 {
        if signed {
            self.signed(value).into()
        } else {
            value.into()
        }
    }

    /// The float format of the element size.
    fn format(self) -> Format {
        if self.size == 3 { Format::Double } else { Format::Single }
    }

    fn map(self, x: u128, f: impl Fn(u64) -> u64) -> u128 {
        (0..self.count).fold(0, |result, e| insert(result, e, self.size, f(element(x, e, self.size))))
    }

    fn zip(self, x: u128, y: u128, f: impl Fn(u64, u64) -> u64) -> u128 {
        (0..self.count).fold(0, |result, e| {
            insert(
                result,
                e,
                self.size,
                f(element(x, e, self.size), element(y, e, self.size)),
            )
        })
    }

    fn zip3(self, x: u128, y: u128, z: u128, f: impl Fn(u64, u64, u64) -> u64) -> u128 {
        (0..self.count).fold(0, |result, e| {
            let at = |vector| element(vector, e, self.size);
            insert(result, e, self.size, f(at(x), at(y), at(z)))
        })
    }

    /// Combines neighbours: those of `x`, then those of `y`.
    fn pairwise(self, x: u128, y: u128, f: impl Fn(u64, u64) -> u64) -> u128 {
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

    fn truth(self, holds: bool) -> u64 {
        if holds { self.mask() } else { 0 }
    }

    fn saturate(self, value: i128, signed: bool) -> u64 {
        let (low, high) = if signed {
            (-(1i128 << (self.width() - 1)), (1i128 << (self.width() - 1)) - 1)
        } else {
            (0, (1i128 << self.width()) - 1)
        };
        value.clamp(low, high) as u64 & self.mask()
    }
}

impl Core {
    fn vector(&self, n: u32) -> u128 {
        self.v[n as usize]
    }

    fn set_vector(&mut self, n: u32, value: u128) -> Step {
        self.v[n as usize] = value;
        Ok(())
    }
}

/// The element that an imm5 field names: size and index.
fn element_field(field: u32) -> Option<(u32, u32)> {
    let size = field.trailing_zeros();
    (size < 4).then_some((size, field >> (size + 1)))
}

/// DUP, INS, SMOV, UMOV.
fn copy(core: &mut Core, _: &mut Bus, word: u32) -> Step {
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

fn copy_scalar(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let Some((size, index)) = element_field(bits(word, 16, 5)) else {
        return core.undefined();
    };
    core.require_fp()?;
    core.set_scalar(rd(word), element(core.vector(rn(word)), index, size));
    Ok(())
}

fn extract(core: &mut Core, _: &mut Bus, word: u32) -> Step {
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
fn table(core: &mut Core, _: &mut Bus, word: u32) -> Step {
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
fn permute(core: &mut Core, _: &mut Bus, word: u32) -> Step {
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
        0x0c => a.max(b) as u64,
        0x0d => a.min(b) as u64,
        0x0e => (a - b).unsigned_abs() as u64,
        0x10 if upper => x.wrapping_sub(y),
        0x10 => x.wrapping_add(y),
        0x11 if upper => shape.truth(x == y),
        0x11 => shape.truth(x & y != 0),
        0x13 if !upper && shape.size < 3 => x.wrapping_mul(y),
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
    if size == 3 && !bit(word, 30) {
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
        return three_same_float(core, word, Shape::scalar(2 + (size & 1)));
    }
    let shape = Shape::scalar(size);
    let any_size = matches!(opcode, 0x01 | 0x05);
    let (x, y) = (
        element(core.vector(rn(word)), 0, size),
        element(core.vector(rm(word)), 0, size),
    );
    match integer_operation(shape, upper, opcode, x, y) {
        Some(result) if size == 3 || any_size => {
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

/// MOVI, MVNI, ORR, BIC and FMOV with an immediate.
fn modified_immediate(core: &mut Core, _: &mut Bus, word: u32) -> Step {
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

fn shift_immediate(core: &mut Core, _: &mut Bus, word: u32) -> Step {
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

fn shift_immediate_scalar(core: &mut Core, _: &mut Bus, word: u32) -> Step {
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

/// The operation of a two-register encoding on one element, for those that keep the size.
fn unary_operation(core: &Core, shape: Shape, upper: bool, high: bool, opcode: u32, x: u64) -> Option<u64> {
    let (value, format, wide) = (shape.signed(x), shape.format(), shape.size == 3);
    let compare = |f: fn(f64) -> bool| shape.truth(f(format.to_double(x)));
    Some(match (upper, opcode) {
        (false, 0x04) => {
            let differing = (x ^ (value >> 1) as u64) & shape.mask();
            u64::from(differing.leading_zeros()) - u64::from(64 - shape.width()) - 1
        }
        (true, 0x04) => u64::from(x.leading_zeros()) - u64::from(64 - shape.width()),
        (false, 0x05) if shape.size == 0 => x.count_ones().into(),
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

fn two_register(core: &mut Core, _: &mut Bus, word: u32) -> Step {
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

fn two_register_scalar(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let (upper, size, opcode) = (bit(word, 29), bits(word, 22, 2), bits(word, 12, 5));
    core.require_fp()?;
    let float = is_float_unary(opcode);
    let shape = Shape::scalar(if float { 2 + (size & 1) } else { size });
    let x = element(core.vector(rn(word)), 0, shape.size);
    let narrowing = matches!(opcode, 0x04 | 0x05 | 0x18 | 0x19) || opcode == 0x1f;
    match unary_operation(core, shape, upper, bit(word, 23), opcode, x) {
        Some(value) if !narrowing && (float || size == 3) => {
            core.set_scalar(rd(word), value & shape.mask());
            Ok(())
        }
        _ => core.undefined(),
    }
}

fn pairwise_scalar(core: &mut Core, _: &mut Bus, word: u32) -> Step {
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
fn across(core: &mut Core, _: &mut Bus, word: u32) -> Step {
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
