//! What the host cannot do with certainty, by the port of LLVM's `APFloat`. It has no square root, says underflow by the
//! result's own precision, and no overflow where the result stays finite; these are made up for here.

use rustc_apfloat::ieee::{Double, Half, Quad, Single};
use rustc_apfloat::{Float, FloatConvert, Round, Status, StatusAnd};

use super::{Arithmetic, Flags, Format, Outcome, Rounding};

impl From<Rounding> for Round {
    fn from(rounding: Rounding) -> Self {
        match rounding {
            Rounding::Nearest => Round::NearestTiesToEven,
            Rounding::Up => Round::TowardPositive,
            Rounding::Down => Round::TowardNegative,
            Rounding::Zero => Round::TowardZero,
            Rounding::Away => Round::NearestTiesToAway,
        }
    }
}

impl From<Status> for Flags {
    fn from(status: Status) -> Self {
        [
            (Status::INVALID_OP, Flags::INVALID),
            (Status::DIV_BY_ZERO, Flags::DIVISION_BY_ZERO),
            (Status::OVERFLOW, Flags::OVERFLOW),
            (Status::UNDERFLOW, Flags::UNDERFLOW),
            (Status::INEXACT, Flags::INEXACT),
        ]
        .into_iter()
        .filter(|(bit, _)| status.contains(*bit))
        .map(|(_, flag)| flag)
        .collect()
    }
}

/// The result of an operation. IEEE 754 asks for overflow and underflow what the result would be if exponents had no bounds.
/// Where that is in question, `scaled` does the same operation for a result that is larger by the power of two it is given.
fn finish<F: Float>(format: Format, result: StatusAnd<F>, scaled: impl Fn(i32) -> F) -> Outcome {
    // Enough to leave the edge of the range, and too little to reach its other one.
    let scale = format.width() as i32 / 2;
    let mut flags = Flags::from(result.status);
    if flags.contains(Flags::INVALID) {
        return Outcome {
            bits: format.default_nan(),
            flags,
        };
    }
    if flags == Flags::INEXACT {
        let magnitude = result.value.abs();
        if magnitude.bitwise_eq(F::smallest_normalized()) && scaled(scale).abs() < magnitude.scalbn(scale) {
            flags |= Flags::UNDERFLOW;
        } else if magnitude.bitwise_eq(F::largest()) && scaled(-scale).abs() > magnitude.scalbn(-scale) {
            flags |= Flags::OVERFLOW;
        }
    }
    Outcome {
        bits: result.value.to_bits() as u64,
        flags,
    }
}

/// Calls a generic function for the type of a format.
macro_rules! by_format {
    ($format:expr, $function:ident($($argument:expr),*)) => {
        match $format {
            Format::Half => $function::<Half>($format, $($argument),*),
            Format::Single => $function::<Single>($format, $($argument),*),
            Format::Double => $function::<Double>($format, $($argument),*),
        }
    };
}

pub(super) fn arithmetic(format: Format, operation: Arithmetic, x: u64, y: u64, rounding: Rounding) -> Outcome {
    fn of<F: Float>(format: Format, operation: Arithmetic, x: u64, y: u64, round: Round) -> Outcome {
        let (x, y) = (F::from_bits(x.into()), F::from_bits(y.into()));
        let apply = |x: F, y: F| match operation {
            Arithmetic::Add => x.add_r(y, round),
            Arithmetic::Subtract => x.sub_r(y, round),
            Arithmetic::Multiply => x.mul_r(y, round),
            Arithmetic::Divide => x.div_r(y, round),
        };
        finish(format, apply(x, y), |scale| {
            let (x, y) = match operation {
                Arithmetic::Add | Arithmetic::Subtract => (scale_term(x, scale), scale_term(y, scale)),
                Arithmetic::Multiply => scale_factor(x, y, scale),
                Arithmetic::Divide => (x.scalbn(scale), y),
            };
            apply(x, y).value
        })
    }
    by_format!(format, of(operation, x, y, rounding.into()))
}

/// Two factors for a product that is scaled: the larger one made smaller, or the smaller one larger.
fn scale_factor<F: Float>(x: F, y: F, scale: i32) -> (F, F) {
    if (x.abs() < y.abs()) == (scale > 0) {
        (x.scalbn(scale), y)
    } else {
        (x, y.scalbn(scale))
    }
}

/// A term of a sum that is scaled. One that is too small for that matters only by not being zero.
fn scale_term<F: Float>(term: F, scale: i32) -> F {
    let scaled = term.scalbn(scale);
    if term.is_non_zero() && !scaled.is_normal() {
        F::smallest_normalized().copy_sign(term)
    } else {
        scaled
    }
}

pub(super) fn multiply_add(format: Format, x: u64, y: u64, addend: u64, rounding: Rounding) -> Outcome {
    fn of<F: Float>(format: Format, x: u64, y: u64, addend: u64, round: Round) -> Outcome {
        let value = |bits: u64| F::from_bits(bits.into());
        let (x, y, addend) = (value(x), value(y), value(addend));
        finish(format, x.mul_add_r(y, addend, round), |scale| {
            let (x, y) = scale_factor(x, y, scale);
            x.mul_add_r(y, scale_term(addend, scale), round).value
        })
    }
    by_format!(format, of(x, y, addend, rounding.into()))
}

/// A number rounded to a format.
fn round(format: Format, value: Quad, rounding: Rounding) -> Outcome {
    fn of<F: Float>(format: Format, value: Quad, round: Round) -> Outcome
    where
        Quad: FloatConvert<F>,
    {
        let convert = |value: Quad| -> StatusAnd<F> { value.convert_r(round, &mut false) };
        finish(format, convert(value), |scale| convert(value.scalbn(scale)).value)
    }
    by_format!(format, of(value, rounding.into()))
}

pub(super) fn square_root(format: Format, x: u64, rounding: Rounding) -> Outcome {
    /// Bits of the root before rounding: more than any format has, twice as many in 128 bits.
    const ROOT: i32 = 60;
    if x & !format.sign() == 0 || x == format.infinity() {
        return Outcome::inexact_if(false, x);
    }
    if x & format.sign() != 0 {
        return Outcome {
            bits: format.default_nan(),
            flags: Flags::INVALID,
        };
    }
    let encoded = x >> format.fraction_width();
    let fraction = x & !(u64::MAX << format.fraction_width());
    let hidden = u64::from(encoded != 0) << format.fraction_width();
    let significand = u128::from(fraction | hidden);
    // The value is significand * 2^exponent.
    let bias = (1 << (format.width() - format.fraction_width() - 2)) - 1;
    let exponent = encoded.max(1) as i32 - bias - format.fraction_width() as i32;
    let shift = 2 * ROOT - (128 - significand.leading_zeros() as i32);
    let shift = shift + ((exponent - shift) & 1);
    let radicand = significand << shift;
    let root = radicand.isqrt();
    // One bit more says whether there is more.
    let sticky = u128::from(root * root != radicand);
    let root = Quad::from_u128(root << 1 | sticky).value;
    round(format, root.scalbn((exponent - shift) / 2 - 1), rounding)
}

pub(super) fn narrow(x: u64, rounding: Rounding) -> Outcome {
    let value: StatusAnd<Quad> = Double::from_bits(x.into()).convert(&mut false);
    round(Format::Single, value.value, rounding)
}

pub(super) fn of_integer(format: Format, integer: i128, rounding: Rounding) -> Outcome {
    round(format, Quad::from_i128(integer).value, rounding)
}
