//! Rounding to nearest by the host's arithmetic, for operands in whose range neither overflow nor underflow can happen, so that
//! inexact is the only exception, and the error of the result is a number of the format that the host can find.

use super::{Arithmetic, Outcome};

macro_rules! host {
    ($name:ident, $float:ty, $bits:ty) => {
        pub(super) mod $name {
            use super::{Arithmetic, Outcome};

            const FRACTION: u32 = <$float>::MANTISSA_DIGITS - 1;
            /// Where an exponent is too small for the error of a result to be representable.
            const LOW: i32 = 2 * <$float>::MANTISSA_DIGITS as i32 + 2;
            const BIAS: i32 = <$float>::MAX_EXP - 1;
            /// Where a sum may overflow.
            const HIGH: i32 = 2 * BIAS - 2;

            /// The exponent as it is encoded.
            fn exponent(x: $bits) -> i32 {
                (x << 1 >> (FRACTION + 1)) as i32
            }

            fn outcome(result: $float, error: impl FnOnce() -> $float, raised: bool) -> Option<Outcome> {
                let inexact = !raised && error() != 0.0;
                Some(Outcome::inexact_if(inexact, result.to_bits().into()))
            }

            pub(in super::super) fn arithmetic(
                operation: Arithmetic,
                x: $bits,
                y: $bits,
                raised: bool,
            ) -> Option<Outcome> {
                let (a, b) = (<$float>::from_bits(x), <$float>::from_bits(y));
                let (p, q) = (exponent(x), exponent(y));
                let safe = LOW..HIGH;
                match operation {
                    Arithmetic::Add if p < HIGH && q < HIGH => sum(a, b, raised),
                    Arithmetic::Subtract if p < HIGH && q < HIGH => sum(a, -b, raised),
                    Arithmetic::Multiply
                        if safe.contains(&p) && safe.contains(&q) && safe.contains(&(p + q - BIAS)) =>
                    {
                        let product = a * b;
                        outcome(product, || a.mul_add(b, -product), raised)
                    }
                    Arithmetic::Divide if safe.contains(&p) && safe.contains(&q) && safe.contains(&(p - q + BIAS)) => {
                        let quotient = a / b;
                        outcome(quotient, || quotient.mul_add(-b, a), raised)
                    }
                    Arithmetic::Multiply if (a == 0.0 || b == 0.0) && p < HIGH && q < HIGH => {
                        outcome(a * b, || 0.0, raised)
                    }
                    _ => None,
                }
            }

            /// The sum and its error (Knuth's two-sum); a sum that is subnormal is exact.
            fn sum(a: $float, b: $float, raised: bool) -> Option<Outcome> {
                let sum = a + b;
                let error = || {
                    let of_b = sum - a;
                    (a - (sum - of_b)) + (b - of_b)
                };
                outcome(sum, error, raised)
            }

            /// Inexact is raised already: whether this result is, is not asked.
            pub(in super::super) fn multiply_add(x: $bits, y: $bits, addend: $bits) -> Option<Outcome> {
                let (p, q, r) = (exponent(x), exponent(y), exponent(addend));
                let safe = LOW..HIGH;
                if !safe.contains(&p) || !safe.contains(&q) || !safe.contains(&(p + q - BIAS)) || r >= HIGH {
                    return None;
                }
                let value = |bits| <$float>::from_bits(bits);
                let result = value(x).mul_add(value(y), value(addend));
                (exponent(result.to_bits()) > 1).then(|| Outcome::inexact_if(false, result.to_bits().into()))
            }

            pub(in super::super) fn square_root(x: $bits, raised: bool) -> Option<Outcome> {
                let value = <$float>::from_bits(x);
                if value < 0.0 || !(LOW..HIGH).contains(&exponent(x)) {
                    return None;
                }
                let root = value.sqrt();
                outcome(root, || root.mul_add(-root, value), raised)
            }
        }
    };
}

host!(single, f32, u32);
host!(double, f64, u64);
