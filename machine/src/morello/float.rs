//! The machine's floating-point arithmetic with Arm's rules for NaN: an operand that is NaN is passed on made quiet, signalling
//! ones first, and an invalid operation gives the positive default NaN. Results are rounded to nearest; exceptions are not
//! gathered.

use crate::float::{Arithmetic, Flags};
pub(super) use crate::float::{Format, Rounding};

/// An operation on two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Subtract,
    Multiply,
    /// Like [`Binary::Multiply`], but zero times infinity is two.
    MultiplyExtended,
    Divide,
    Maximum,
    Minimum,
    /// A quiet NaN counts as missing.
    MaximumNumber,
    /// A quiet NaN counts as missing.
    MinimumNumber,
    AbsoluteDifference,
}

impl Rounding {
    /// From an rmode field, which is also FPCR's.
    pub(super) fn from_field(field: u32) -> Self {
        [Self::Nearest, Self::Up, Self::Down, Self::Zero][(field & 3) as usize]
    }
}

impl Format {
    /// From a ptype field.
    pub(super) fn from_field(field: u32) -> Option<Self> {
        match field {
            0 => Some(Self::Single),
            1 => Some(Self::Double),
            3 => Some(Self::Half),
            _ => None,
        }
    }

    /// The first signalling NaN of the operands, else the first NaN, made quiet.
    fn passed_on(self, operands: &[u64]) -> Option<u64> {
        let signalling = operands.iter().find(|operand| self.is_signalling(**operand));
        let nan = signalling.or_else(|| operands.iter().find(|operand| self.is_nan(**operand)))?;
        Some(nan | self.quiet())
    }

    /// An operation on two numbers.
    pub(super) fn binary(self, operation: Binary, x: u64, y: u64) -> u64 {
        if self == Self::Half {
            // Twice as many digits and two more: rounded twice is rounded once.
            let wide = Self::Double.binary(operation, half_to_double(x as u16), half_to_double(y as u16));
            return double_to_half(wide).into();
        }
        if self.is_nan(x) || self.is_nan(y) {
            return self.binary_of_nan(operation, x, y);
        }
        let arithmetic = |operation| self.arithmetic(operation, x, y, Rounding::Nearest, Flags::all()).bits;
        let magnitudes = [x, y].map(|operand| operand & !self.sign());
        match operation {
            Binary::Add => arithmetic(Arithmetic::Add),
            Binary::Subtract => arithmetic(Arithmetic::Subtract),
            Binary::MultiplyExtended if magnitudes.contains(&0) && magnitudes.contains(&self.infinity()) => {
                (x ^ y) & self.sign() | Self::Double.convert(2f64.to_bits(), self)
            }
            Binary::Multiply | Binary::MultiplyExtended => arithmetic(Arithmetic::Multiply),
            Binary::Divide => arithmetic(Arithmetic::Divide),
            Binary::Maximum | Binary::MaximumNumber if self.order(x) < self.order(y) => y,
            Binary::Minimum | Binary::MinimumNumber if self.order(x) > self.order(y) => y,
            Binary::Maximum | Binary::MaximumNumber | Binary::Minimum | Binary::MinimumNumber => x,
            Binary::AbsoluteDifference => arithmetic(Arithmetic::Subtract) & !self.sign(),
        }
    }

    #[cold]
    fn binary_of_nan(self, operation: Binary, x: u64, y: u64) -> u64 {
        let number = matches!(operation, Binary::MaximumNumber | Binary::MinimumNumber);
        match self.passed_on(&[x, y]) {
            _ if number && !self.is_nan(y) && !self.is_signalling(x) => y,
            _ if number && !self.is_nan(x) && !self.is_signalling(y) => x,
            Some(nan) if operation == Binary::AbsoluteDifference => nan & !self.sign(),
            nan => nan.unwrap_or(self.default_nan()),
        }
    }

    /// `x * y + addend` with one rounding.
    pub(super) fn fused(self, x: u64, y: u64, addend: u64) -> u64 {
        if self == Self::Half {
            let wide = |bits: u64| half_to_double(bits as u16);
            return double_to_half(Self::Double.fused(wide(x), wide(y), wide(addend))).into();
        }
        if let Some(nan) = self.passed_on(&[addend, x, y]) {
            let magnitudes = [x, y].map(|operand| operand & !self.sign());
            let invalid = magnitudes.contains(&0) && magnitudes.contains(&self.infinity());
            // The addend alone is NaN.
            return if invalid && !self.is_signalling(addend) {
                self.default_nan()
            } else {
                nan
            };
        }
        self.multiply_add(x, y, addend, Rounding::Nearest, Flags::all()).bits
    }

    /// The square root.
    pub(super) fn root(self, x: u64) -> u64 {
        match self {
            Self::Half => double_to_half(Self::Double.root(half_to_double(x as u16))).into(),
            _ if self.is_nan(x) => x | self.quiet(),
            _ => self.square_root(x, Rounding::Nearest, Flags::all()).bits,
        }
    }

    /// The number as a double, NaN made quiet.
    pub(super) fn to_double(self, x: u64) -> f64 {
        f64::from_bits(self.convert(x, Self::Double))
    }

    /// A double rounded to this format.
    pub(super) fn narrow_double(self, value: f64) -> u64 {
        Self::Double.convert(value.to_bits(), self)
    }

    /// The number in another format.
    pub(super) fn convert(self, x: u64, to: Self) -> u64 {
        let wide = match self {
            Self::Double => x,
            Self::Single => single_to_double(x as u32),
            Self::Half => half_to_double(x as u16),
        };
        match to {
            Self::Double => wide,
            Self::Single => double_to_single(wide).into(),
            Self::Half => double_to_half(wide).into(),
        }
    }

    /// Compares two numbers: N, Z, C, V of FCMP in bits 31 to 28.
    pub(super) fn compare(self, x: u64, y: u64) -> u32 {
        use std::cmp::Ordering::{Equal, Greater, Less};
        match self.to_double(x).partial_cmp(&self.to_double(y)) {
            Some(Less) => 0b1000 << 28,
            Some(Equal) => 0b0110 << 28,
            Some(Greater) => 0b0010 << 28,
            None => 0b0011 << 28,
        }
    }

    /// The number rounded to an integer in the same format.
    pub(super) fn round(self, x: u64, rounding: Rounding) -> u64 {
        let value = self.to_double(x);
        if value.is_nan() || value.is_infinite() {
            return self.binary(Binary::Add, x, x);
        }
        // A result of zero keeps the sign.
        self.narrow_double(rounding.apply(value)) | x & self.sign()
    }

    /// The number times 2 to the power `scale` as an integer of 32 or 64 bits, saturated.
    pub(super) fn to_integer(self, x: u64, scale: u32, rounding: Rounding, signed: bool, wide: bool) -> u64 {
        let value = rounding.apply(self.to_double(x) * 2f64.powi(scale as i32));
        match (signed, wide) {
            (true, true) => value as i64 as u64,
            (true, false) => u64::from(value as i32 as u32),
            (false, true) => value as u64,
            (false, false) => u64::from(value as u32),
        }
    }

    /// An integer times 2 to the power `-scale` as a number.
    pub(super) fn of_integer(self, value: u64, scale: u32, signed: bool, wide: bool) -> u64 {
        let factor = 2f64.powi(-(scale as i32));
        let single = factor as f32;
        let (negative, magnitude) = match (signed, wide) {
            (true, true) => ((value as i64) < 0, (value as i64).unsigned_abs()),
            (true, false) => ((value as i32) < 0, (value as i32).unsigned_abs().into()),
            (false, true) => (false, value),
            (false, false) => (false, value & 0xffff_ffff),
        };
        // One rounding only: the integer is rounded to the format itself, the power of two is exact.
        let bits = match self {
            Self::Double => (magnitude as f64 * factor).to_bits(),
            Self::Single => (magnitude as f32 * single).to_bits().into(),
            Self::Half => double_to_half((magnitude as f64 * factor).to_bits()).into(),
        };
        if negative { bits | self.sign() } else { bits }
    }
}

fn single_to_double(x: u32) -> u64 {
    let value = f32::from_bits(x);
    if value.is_nan() {
        let sign = u64::from(x >> 31) << 63;
        return sign | Format::Double.default_nan() | u64::from(x & 0x3f_ffff) << 29;
    }
    f64::from(value).to_bits()
}

fn double_to_single(x: u64) -> u32 {
    let value = f64::from_bits(x);
    if value.is_nan() {
        return (x >> 32) as u32 & 0x8000_0000 | Format::Single.default_nan() as u32 | (x >> 29) as u32 & 0x3f_ffff;
    }
    (value as f32).to_bits()
}

fn half_to_double(x: u16) -> u64 {
    let sign = u64::from(x >> 15) << 63;
    let (exponent, fraction) = (x >> 10 & 31, x & 0x3ff);
    let magnitude = match (exponent, fraction) {
        (31, 0) => f64::INFINITY.to_bits(),
        (31, _) => Format::Double.default_nan() | u64::from(fraction & 0x1ff) << 42,
        (0, _) => (f64::from(fraction) * 2f64.powi(-24)).to_bits(),
        _ => (f64::from(fraction | 0x400) * 2f64.powi(i32::from(exponent) - 25)).to_bits(),
    };
    sign | magnitude
}

fn double_to_half(x: u64) -> u16 {
    let sign = (x >> 48) as u16 & 0x8000;
    let value = f64::from_bits(x & !(1 << 63));
    if value.is_nan() {
        return sign | 0x7e00 | (x >> 42) as u16 & 0x1ff;
    }
    if value >= 65520.0 {
        return sign | 0x7c00;
    }
    // In units of the last place; the carry out of the fraction is the next exponent.
    let exponent = ((x >> 52 & 0x7ff) as i32 - 1023).max(-14);
    let units = (value * 2f64.powi(10 - exponent)).round_ties_even() as u32;
    let biased = (exponent + 14) as u32;
    sign | (units + (biased << 10)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_operations_give_the_positive_default_nan() {
        let infinity = f64::INFINITY.to_bits();
        assert_eq!(
            Format::Double.binary(Binary::Subtract, infinity, infinity),
            Format::Double.default_nan()
        );
        assert_eq!(
            Format::Single.root((-1f32).to_bits().into()),
            Format::Single.default_nan()
        );
    }

    #[test]
    fn a_signalling_nan_wins_and_becomes_quiet() {
        let (quiet, signalling) = (0x7ff8_0000_0000_0001, 0x7ff0_0000_0000_0002);
        assert_eq!(
            Format::Double.binary(Binary::Add, quiet, signalling),
            0x7ff8_0000_0000_0002
        );
        assert_eq!(
            Format::Double.binary(Binary::MaximumNumber, quiet, 1f64.to_bits()),
            1f64.to_bits()
        );
    }

    #[test]
    fn halves_convert_both_ways_for_every_value() {
        for bits in 0..=u16::MAX {
            let wide = half_to_double(bits);
            if !f64::from_bits(wide).is_nan() {
                assert_eq!(double_to_half(wide), bits, "{bits:#06x}");
            }
        }
    }

    #[test]
    fn conversions_to_integers_saturate() {
        let huge = 1e30f64.to_bits();
        assert_eq!(
            Format::Double.to_integer(huge, 0, Rounding::Zero, true, false),
            0x7fff_ffff
        );
        assert_eq!(
            Format::Double.to_integer((-1f64).to_bits(), 0, Rounding::Zero, false, true),
            0
        );
        assert_eq!(
            Format::Double.to_integer(2.5f64.to_bits(), 0, Rounding::Nearest, true, true),
            2
        );
        assert_eq!(
            Format::Double.to_integer(2.5f64.to_bits(), 0, Rounding::Away, true, true),
            3
        );
    }
}
