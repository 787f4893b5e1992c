//! IEEE 754 arithmetic for both boards: every rounding mode, with the exceptions that an operation raises.
//!
//! Values are kept as bits, in the low half where they are single. What the two instruction sets do with NaN differs, so no
//! function here takes one; an invalid operation gives the default NaN, which is the same for both. Rounding to nearest is
//! mostly done by the host's own arithmetic, where its result and whether that is exact are certain; all else by the library
//! in [`exact`].

use bitflags::bitflags;

mod exact;
mod host;

/// The format of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Half,
    Single,
    Double,
}

/// How a result that cannot be represented is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// To nearest, ties to even.
    Nearest,
    /// Towards plus infinity.
    Up,
    /// Towards minus infinity.
    Down,
    /// Towards zero.
    Zero,
    /// To nearest, ties away from zero.
    Away,
}

/// An operation on two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
}

bitflags! {
    /// The exceptions of IEEE 754, as RISC-V numbers them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Flags: u8 {
        const INEXACT = 1;
        /// The result is inexact and was tiny after rounding.
        const UNDERFLOW = 2;
        const OVERFLOW = 4;
        const DIVISION_BY_ZERO = 8;
        const INVALID = 16;
    }
}

/// A result and the exceptions that finding it raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) bits: u64,
    pub(crate) flags: Flags,
}

impl Outcome {
    fn inexact_if(inexact: bool, bits: u64) -> Self {
        let flags = if inexact { Flags::INEXACT } else { Flags::empty() };
        Outcome { bits, flags }
    }
}

impl Rounding {
    /// The value rounded to an integer.
    pub(crate) fn apply(self, value: f64) -> f64 {
        match self {
            Self::Nearest => value.round_ties_even(),
            Self::Up => value.ceil(),
            Self::Down => value.floor(),
            Self::Zero => value.trunc(),
            Self::Away => value.round(),
        }
    }
}

impl Format {
    /// Bits of a number.
    pub(crate) fn width(self) -> u32 {
        match self {
            Self::Half => 16,
            Self::Single => 32,
            Self::Double => 64,
        }
    }

    /// Bits of the fraction.
    pub(crate) fn fraction_width(self) -> u32 {
        match self {
            Self::Half => 10,
            Self::Single => 23,
            Self::Double => 52,
        }
    }

    /// The sign bit.
    pub(crate) fn sign(self) -> u64 {
        1 << (self.width() - 1)
    }

    /// All bits of a number.
    pub(crate) fn mask(self) -> u64 {
        u64::MAX >> (64 - self.width())
    }

    /// The bits of plus infinity, which are those of the exponent.
    pub(crate) fn infinity(self) -> u64 {
        (self.sign() - 1) & !(u64::MAX >> (64 - self.fraction_width()))
    }

    /// The bit that tells a quiet NaN from a signalling one.
    pub(crate) fn quiet(self) -> u64 {
        1 << (self.fraction_width() - 1)
    }

    /// The NaN that an invalid operation gives.
    pub(crate) fn default_nan(self) -> u64 {
        self.infinity() | self.quiet()
    }

    /// Whether it is not a number.
    pub(crate) fn is_nan(self, x: u64) -> bool {
        x & (self.sign() - 1) > self.infinity()
    }

    /// Whether it is a signalling NaN.
    pub(crate) fn is_signalling(self, x: u64) -> bool {
        self.is_nan(x) && x & self.quiet() == 0
    }

    /// An integer that is ordered like the number, which is not NaN; minus zero is below plus zero.
    pub(crate) fn order(self, x: u64) -> i64 {
        let shifted = (x << (64 - self.width())) as i64;
        if shifted < 0 { shifted ^ i64::MAX } else { shifted }
    }

    /// The value of a single or double that is not NaN.
    fn value(self, x: u64) -> f64 {
        match self {
            Self::Double => f64::from_bits(x),
            _ => f32::from_bits(x as u32).into(),
        }
    }

    /// An operation on two numbers. What is `raised` already need not be found out again.
    pub(crate) fn arithmetic(
        self,
        operation: Arithmetic,
        x: u64,
        y: u64,
        rounding: Rounding,
        raised: Flags,
    ) -> Outcome {
        debug_assert!(!self.is_nan(x) && !self.is_nan(y));
        let raised = raised.contains(Flags::INEXACT);
        let quick = match self {
            _ if rounding != Rounding::Nearest => None,
            Self::Double => host::double::arithmetic(operation, x, y, raised),
            Self::Single => host::single::arithmetic(operation, x as u32, y as u32, raised),
            Self::Half => None,
        };
        quick.unwrap_or_else(|| exact::arithmetic(self, operation, x, y, rounding))
    }

    /// `x * y + addend` with one rounding.
    pub(crate) fn multiply_add(self, x: u64, y: u64, addend: u64, rounding: Rounding, raised: Flags) -> Outcome {
        debug_assert!(![x, y, addend].iter().any(|operand| self.is_nan(*operand)));
        let quick = match self {
            _ if rounding != Rounding::Nearest || !raised.contains(Flags::INEXACT) => None,
            Self::Double => host::double::multiply_add(x, y, addend),
            Self::Single => host::single::multiply_add(x as u32, y as u32, addend as u32),
            Self::Half => None,
        };
        quick.unwrap_or_else(|| exact::multiply_add(self, x, y, addend, rounding))
    }

    /// The square root.
    pub(crate) fn square_root(self, x: u64, rounding: Rounding, raised: Flags) -> Outcome {
        debug_assert!(!self.is_nan(x));
        let raised = raised.contains(Flags::INEXACT);
        let quick = match self {
            _ if rounding != Rounding::Nearest => None,
            Self::Double => host::double::square_root(x, raised),
            Self::Single => host::single::square_root(x as u32, raised),
            Self::Half => None,
        };
        quick.unwrap_or_else(|| exact::square_root(self, x, rounding))
    }

    /// A single as a double, which is always exact.
    pub(crate) fn widen(x: u64) -> u64 {
        f64::from(f32::from_bits(x as u32)).to_bits()
    }

    /// A double as a single.
    pub(crate) fn narrow(x: u64, rounding: Rounding) -> Outcome {
        debug_assert!(!Self::Double.is_nan(x));
        let value = f64::from_bits(x);
        let single = value as f32;
        if rounding == Rounding::Nearest && single.is_normal() && single.abs() > f32::MIN_POSITIVE {
            return Outcome::inexact_if(f64::from(single) != value, single.to_bits().into());
        }
        exact::narrow(x, rounding)
    }

    /// A single or double as an integer in `least..=greatest`; the nearer end, and an invalid operation, when it is outside.
    pub(crate) fn integer_within(self, x: u64, rounding: Rounding, least: i128, greatest: i128) -> (i128, Flags) {
        debug_assert!(self != Self::Half && !self.is_nan(x));
        let value = self.value(x);
        let rounded = rounding.apply(value);
        let integer = rounded as i128;
        if integer < least || integer > greatest {
            return (integer.clamp(least, greatest), Flags::INVALID);
        }
        (integer, Outcome::inexact_if(rounded != value, 0).flags)
    }

    /// An integer of up to 64 bits as a number.
    pub(crate) fn round_integer(self, integer: i128, rounding: Rounding) -> Outcome {
        match (self, rounding) {
            (Self::Double, Rounding::Nearest) => {
                let value = integer as f64;
                Outcome::inexact_if(value as i128 != integer, value.to_bits())
            }
            (Self::Single, Rounding::Nearest) => {
                let value = integer as f32;
                Outcome::inexact_if(value as i128 != integer, value.to_bits().into())
            }
            _ => exact::of_integer(self, integer, rounding),
        }
    }
}

#[cfg(test)]
mod tests;
