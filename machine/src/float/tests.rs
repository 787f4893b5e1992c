//! Every operation in every rounding mode against an oracle that knows no floating point: it rounds fractions of big integers.

use num_bigint::BigUint;
use proptest::prelude::*;

use super::{Arithmetic, Flags, Format, Outcome, Rounding};

const ROUNDINGS: [Rounding; 5] = [
    Rounding::Nearest,
    Rounding::Up,
    Rounding::Down,
    Rounding::Zero,
    Rounding::Away,
];
const FORMATS: [Format; 3] = [Format::Half, Format::Single, Format::Double];
/// Those that the host has.
const WIDE: [Format; 2] = [Format::Single, Format::Double];

/// A number other than zero, infinity and NaN: `numerator / denominator`, negative or not.
#[derive(Clone, Debug)]
struct Fraction {
    negative: bool,
    numerator: BigUint,
    denominator: BigUint,
}

fn power(exponent: i64) -> (BigUint, BigUint) {
    let one = BigUint::from(1u32);
    let power = one.clone() << exponent.unsigned_abs();
    if exponent < 0 { (one, power) } else { (power, one) }
}

/// Bits of precision, least exponent of a unit in the last place, largest number.
fn limits(format: Format) -> (u64, i64, u64) {
    match format {
        Format::Half => (11, -24, 0x7bff),
        Format::Single => (24, -149, 0x7f7f_ffff),
        Format::Double => (53, -1074, 0x7fef_ffff_ffff_ffff),
    }
}

impl Fraction {
    /// A finite number, zero included.
    fn of(format: Format, bits: u64) -> Self {
        let (precision, least, _) = limits(format);
        let magnitude = bits & !format.sign();
        let encoded = magnitude >> (precision - 1);
        let fraction = magnitude & ((1 << (precision - 1)) - 1);
        let significand = fraction | u64::from(encoded != 0) << (precision - 1);
        let (numerator, denominator) = power(least + encoded.max(1) as i64 - 1);
        Fraction {
            negative: bits & format.sign() != 0,
            numerator: numerator * significand,
            denominator,
        }
    }

    fn is_zero(&self) -> bool {
        self.numerator == BigUint::ZERO
    }

    fn times(&self, other: &Self) -> Self {
        Fraction {
            negative: self.negative != other.negative,
            numerator: &self.numerator * &other.numerator,
            denominator: &self.denominator * &other.denominator,
        }
    }

    fn over(&self, other: &Self) -> Self {
        Fraction {
            negative: self.negative != other.negative,
            numerator: &self.numerator * &other.denominator,
            denominator: &self.denominator * &other.numerator,
        }
    }

    fn plus(&self, other: &Self) -> Self {
        let (a, b) = (
            &self.numerator * &other.denominator,
            &other.numerator * &self.denominator,
        );
        let denominator = &self.denominator * &other.denominator;
        let (negative, numerator) = if self.negative == other.negative {
            (self.negative, a + b)
        } else if a >= b {
            (self.negative, a - b)
        } else {
            (other.negative, b - a)
        };
        Fraction {
            negative,
            numerator,
            denominator,
        }
    }

    /// The square root, with a last bit that says whether there is more.
    fn root(&self) -> Self {
        const BITS: u64 = 200;
        let square: BigUint = (&self.numerator * &self.denominator) << (2 * BITS);
        let root = square.sqrt();
        let more = u32::from(&root * &root != square);
        Fraction {
            negative: false,
            numerator: root * 2u32 + more,
            denominator: &self.denominator << (BITS + 1),
        }
    }

    /// Rounded to a multiple of `2^exponent`: the multiple, and whether something was lost.
    fn multiple(&self, exponent: i64, rounding: Rounding) -> (BigUint, bool) {
        let (scale, divisor) = power(-exponent);
        let (numerator, denominator) = (&self.numerator * scale, &self.denominator * divisor);
        let floor = &numerator / &denominator;
        let rest = &numerator - &floor * &denominator;
        let twice = &rest * 2u32;
        let up = match rounding {
            Rounding::Nearest => twice > denominator || twice == denominator && floor.bit(0),
            Rounding::Away => twice >= denominator,
            Rounding::Zero => false,
            Rounding::Up => !self.negative && rest != BigUint::ZERO,
            Rounding::Down => self.negative && rest != BigUint::ZERO,
        };
        (floor + u32::from(up), rest != BigUint::ZERO)
    }

    /// The exponent of the unit in the last place of a number of this size with `precision` bits.
    fn unit(&self, precision: u64) -> i64 {
        let mut exponent = self.numerator.bits() as i64 - self.denominator.bits() as i64;
        let (scale, divisor) = power(exponent);
        if &self.numerator * divisor < &self.denominator * scale {
            exponent -= 1;
        }
        exponent - precision as i64 + 1
    }

    fn round(&self, format: Format, rounding: Rounding) -> Outcome {
        let (precision, least, largest) = limits(format);
        let sign = if self.negative { format.sign() } else { 0 };
        let unit = self.unit(precision);
        let (multiple, inexact) = self.multiple(unit.max(least), rounding);
        let mut flags = if inexact { Flags::INEXACT } else { Flags::empty() };
        let smallest_normal = BigUint::from(1u32) << (precision - 1);
        if inexact && unit < least {
            let (unbounded, _) = self.multiple(unit, rounding);
            if unbounded < &smallest_normal << (least - unit) as u64 {
                flags |= Flags::UNDERFLOW;
            }
        }
        let digits = multiple.iter_u64_digits().next().unwrap_or(0);
        // The carry out of the fraction is the next exponent; a subnormal has exponent 0.
        let magnitude = i128::from(digits) + (i128::from(unit.max(least) - least) << (precision - 1));
        if magnitude > i128::from(largest) {
            let infinite = match rounding {
                Rounding::Nearest | Rounding::Away => true,
                Rounding::Zero => false,
                Rounding::Up => !self.negative,
                Rounding::Down => self.negative,
            };
            return Outcome {
                bits: sign | if infinite { format.infinity() } else { largest },
                flags: Flags::OVERFLOW | Flags::INEXACT,
            };
        }
        Outcome {
            bits: sign | magnitude as u64,
            flags,
        }
    }
}

fn plain(bits: u64) -> Outcome {
    Outcome {
        bits,
        flags: Flags::empty(),
    }
}

fn invalid(format: Format) -> Outcome {
    Outcome {
        bits: format.default_nan(),
        flags: Flags::INVALID,
    }
}

fn infinite(format: Format, x: u64) -> bool {
    x & !format.sign() == format.infinity()
}

/// The sign of an exact zero sum of operands whose signs these are.
fn zero_sum(format: Format, negative: [bool; 2], rounding: Rounding) -> u64 {
    let minus = if negative[0] == negative[1] {
        negative[0]
    } else {
        rounding == Rounding::Down
    };
    if minus { format.sign() } else { 0 }
}

fn arithmetic_oracle(format: Format, operation: Arithmetic, x: u64, y: u64, rounding: Rounding) -> Outcome {
    let y = if operation == Arithmetic::Subtract {
        y ^ format.sign()
    } else {
        y
    };
    let sign = (x ^ y) & format.sign();
    let zero = |bits: u64| bits & !format.sign() == 0;
    let (infinite_x, infinite_y) = (infinite(format, x), infinite(format, y));
    let exact =
        |operation: fn(&Fraction, &Fraction) -> Fraction| operation(&Fraction::of(format, x), &Fraction::of(format, y));
    match operation {
        Arithmetic::Add | Arithmetic::Subtract => match (infinite_x, infinite_y) {
            (true, true) if x != y => invalid(format),
            (true, _) => plain(x),
            (_, true) => plain(y),
            _ => {
                let sum = exact(Fraction::plus);
                if sum.is_zero() {
                    return plain(zero_sum(format, [x, y].map(|bits| bits & format.sign() != 0), rounding));
                }
                sum.round(format, rounding)
            }
        },
        Arithmetic::Multiply if infinite_x && zero(y) || zero(x) && infinite_y => invalid(format),
        Arithmetic::Multiply if infinite_x || infinite_y => plain(sign | format.infinity()),
        Arithmetic::Multiply if zero(x) || zero(y) => plain(sign),
        Arithmetic::Multiply => exact(Fraction::times).round(format, rounding),
        Arithmetic::Divide if infinite_x && infinite_y || zero(x) && zero(y) => invalid(format),
        Arithmetic::Divide if infinite_x => plain(sign | format.infinity()),
        Arithmetic::Divide if infinite_y || zero(x) => plain(sign),
        Arithmetic::Divide if zero(y) => Outcome {
            bits: sign | format.infinity(),
            flags: Flags::DIVISION_BY_ZERO,
        },
        Arithmetic::Divide => exact(Fraction::over).round(format, rounding),
    }
}

fn multiply_add_oracle(format: Format, x: u64, y: u64, addend: u64, rounding: Rounding) -> Outcome {
    let zero = |bits: u64| bits & !format.sign() == 0;
    let (infinite_x, infinite_y) = (infinite(format, x), infinite(format, y));
    let sign = (x ^ y) & format.sign();
    if infinite_x && zero(y) || zero(x) && infinite_y {
        return invalid(format);
    }
    if infinite_x || infinite_y {
        let product = sign | format.infinity();
        let opposed = infinite(format, addend) && addend != product;
        return if opposed { invalid(format) } else { plain(product) };
    }
    if infinite(format, addend) {
        return plain(addend);
    }
    let product = Fraction::of(format, x).times(&Fraction::of(format, y));
    let sum = product.plus(&Fraction::of(format, addend));
    if sum.is_zero() {
        return plain(zero_sum(format, [sign != 0, addend & format.sign() != 0], rounding));
    }
    sum.round(format, rounding)
}

fn root_oracle(format: Format, x: u64, rounding: Rounding) -> Outcome {
    if x & !format.sign() == 0 || x == format.infinity() {
        return plain(x);
    }
    if x & format.sign() != 0 {
        return invalid(format);
    }
    Fraction::of(format, x).root().round(format, rounding)
}

fn narrow_oracle(x: u64, rounding: Rounding) -> Outcome {
    let sign = (x >> 32) & Format::Single.sign();
    if infinite(Format::Double, x) {
        return plain(sign | Format::Single.infinity());
    }
    if x << 1 == 0 {
        return plain(sign);
    }
    Fraction::of(Format::Double, x).round(Format::Single, rounding)
}

/// What is asked of an integer conversion: the integer, or `None` where it is out of range.
fn integer_oracle(format: Format, x: u64, rounding: Rounding, least: i128, greatest: i128) -> (Option<i128>, bool) {
    if infinite(format, x) {
        return (None, false);
    }
    let value = Fraction::of(format, x);
    let (multiple, inexact) = value.multiple(0, rounding);
    let integer = i128::try_from(multiple).ok();
    let integer = integer.map(|integer| if value.negative { -integer } else { integer });
    (integer.filter(|integer| (least..=greatest).contains(integer)), inexact)
}

/// Numbers, mostly where something is the matter: near the ends of the range, few digits, many ones or zeros.
fn number(format: Format) -> impl Strategy<Value = u64> {
    let fraction = (1u64 << format.fraction_width()) - 1;
    let greatest = format.infinity() >> format.fraction_width();
    let (bias, width) = (greatest / 2, u64::from(format.width()));
    let exponent = prop_oneof![
        2 => 0..=2u64,
        1 => greatest - 3..greatest,
        4 => bias - 3..=bias + 3,
        2 => bias.saturating_sub(width)..=(bias + width).min(greatest - 1),
        3 => 0..greatest,
    ];
    let digits = prop_oneof![
        Just(0),
        Just(fraction),
        Just(1),
        Just(format.quiet()),
        (0..=format.fraction_width()).prop_map(move |bits| fraction & (fraction << bits)),
        (0..=format.fraction_width()).prop_map(move |bits| fraction >> bits),
        0..=fraction,
    ];
    let finite = (any::<bool>(), exponent, digits).prop_map(move |(negative, exponent, digits)| {
        let sign = if negative { format.sign() } else { 0 };
        sign | exponent << format.fraction_width() | digits
    });
    let infinity = any::<bool>().prop_map(move |negative| format.infinity() | if negative { format.sign() } else { 0 });
    prop_oneof![20 => finite, 1 => infinity]
}

fn rounding() -> impl Strategy<Value = Rounding> {
    prop_oneof![3 => Just(Rounding::Nearest), 4 => prop::sample::select(&ROUNDINGS[..])]
}

/// The outcome when nothing is raised yet, and when inexact is: the same but for inexact itself.
fn check(outcome: impl Fn(Flags) -> Outcome, expected: Outcome) -> Result<(), TestCaseError> {
    prop_assert_eq!(outcome(Flags::empty()), expected);
    let known = outcome(Flags::INEXACT);
    prop_assert_eq!(known.bits, expected.bits);
    prop_assert_eq!(known.flags | Flags::INEXACT, expected.flags | Flags::INEXACT);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn sums_products_and_quotients_are_those_of_fractions(
        (format, x, y) in prop::sample::select(&FORMATS[..])
            .prop_flat_map(|format| (Just(format), number(format), number(format))),
        rounding in rounding(),
    ) {
        for operation in [Arithmetic::Add, Arithmetic::Subtract, Arithmetic::Multiply, Arithmetic::Divide] {
            let expected = arithmetic_oracle(format, operation, x, y, rounding);
            check(|raised| format.arithmetic(operation, x, y, rounding, raised), expected)?;
        }
    }

    #[test]
    fn a_product_and_a_sum_are_rounded_once(
        (format, x, y, addend) in prop::sample::select(&FORMATS[..])
            .prop_flat_map(|format| (Just(format), number(format), number(format), number(format))),
        near in any::<Option<i8>>(),
        rounding in rounding(),
    ) {
        // Often an addend that nearly cancels the product.
        let addend = match near {
            Some(distance) => {
                let product = arithmetic_oracle(format, Arithmetic::Multiply, x, y, Rounding::Nearest).bits;
                let product = product.wrapping_add_signed(distance.into()) ^ format.sign();
                if format.is_nan(product) || product & !format.mask() != 0 { addend } else { product }
            }
            None => addend,
        };
        let expected = multiply_add_oracle(format, x, y, addend, rounding);
        check(|raised| format.multiply_add(x, y, addend, rounding, raised), expected)?;
    }

    #[test]
    fn a_root_is_the_number_whose_square_is_nearest(
        (format, x) in prop::sample::select(&FORMATS[..]).prop_flat_map(|format| (Just(format), number(format))),
        rounding in rounding(),
    ) {
        check(|raised| format.square_root(x, rounding, raised), root_oracle(format, x, rounding))?;
    }

    #[test]
    fn conversions_round_as_fractions_do(
        wide in number(Format::Double),
        (format, x) in prop::sample::select(&WIDE[..]).prop_flat_map(|format| (Just(format), number(format))),
        exponent in 1023 - 160..1023 + 140u64,
        integer in any::<i64>(),
        shift in 0..64,
        rounding in rounding(),
    ) {
        prop_assert_eq!(Format::narrow(wide, rounding), narrow_oracle(wide, rounding));
        // In the range of singles.
        let near = wide & !Format::Double.infinity() | exponent << 52;
        prop_assert_eq!(Format::narrow(near, rounding), narrow_oracle(near, rounding));

        for (least, greatest) in [
            (i32::MIN.into(), i32::MAX.into()),
            (0, u32::MAX.into()),
            (i64::MIN.into(), i64::MAX.into()),
            (0, i128::from(u64::MAX)),
        ] {
            let (value, flags) = format.integer_within(x, rounding, least, greatest);
            match integer_oracle(format, x, rounding, least, greatest) {
                (Some(expected), inexact) => {
                    prop_assert_eq!(value, expected);
                    prop_assert_eq!(flags, if inexact { Flags::INEXACT } else { Flags::empty() });
                }
                (None, _) => {
                    prop_assert_eq!(value, if x & format.sign() != 0 { least } else { greatest });
                    prop_assert_eq!(flags, Flags::INVALID);
                }
            }
        }

        let integer = integer >> shift;
        for integer in [i128::from(integer), i128::from(integer as u64)] {
            let value = Fraction {
                negative: integer < 0,
                numerator: BigUint::from(integer.unsigned_abs()),
                denominator: BigUint::from(1u32),
            };
            let expected = if integer == 0 { plain(0) } else { value.round(format, rounding) };
            prop_assert_eq!(format.round_integer(integer, rounding), expected);
        }
    }
}

/// The bits of a double and of the flags that RISC-V's manual and IEEE 754 make the difference of.
#[test]
fn hard_cases_round_once_and_say_underflow_after_rounding() {
    let double = Format::Double;
    let smallest_normal = f64::MIN_POSITIVE.to_bits();
    // (2^-1022 + 2^-1074) * (1 - 2^-53) rounds to 2^-1022 from below, and is tiny with all of its precision only if it stays
    // below when it is rounded with 53 bits.
    let just_below = (1.0 - f64::EPSILON / 2.0).to_bits();
    let product = double.arithmetic(
        Arithmetic::Multiply,
        smallest_normal,
        just_below,
        Rounding::Nearest,
        Flags::empty(),
    );
    assert_eq!(product.bits, smallest_normal);
    assert_eq!(product.flags, Flags::INEXACT | Flags::UNDERFLOW);

    // Twice rounded this would be 1 + 2^-52 + 2^-51: the addend decides a tie of the product.
    let x = (1.0 + f64::EPSILON).to_bits();
    let tie = double.multiply_add(
        x,
        x,
        (-1.0f64 - 2.0 * f64::EPSILON).to_bits(),
        Rounding::Nearest,
        Flags::empty(),
    );
    assert_eq!(f64::from_bits(tie.bits), f64::EPSILON * f64::EPSILON);
    assert_eq!(tie.flags, Flags::empty());

    // Ties away from zero exist in no host.
    let half = Format::Single.integer_within(0xc020_0000, Rounding::Away, i64::MIN.into(), i64::MAX.into()); // -2.5
    assert_eq!(half, (-3, Flags::INEXACT));
}

#[test]
fn nan_and_its_kinds_are_told_apart_in_each_format() {
    for format in [Format::Half, Format::Single, Format::Double] {
        let signalling = format.infinity() | 1;
        assert!(format.is_nan(signalling) && format.is_signalling(signalling));
        assert!(format.is_nan(format.default_nan()) && !format.is_signalling(format.default_nan()));
        assert!(!format.is_nan(format.infinity()) && !format.is_nan(format.infinity() | format.sign()));
    }
    assert_eq!(Format::Single.default_nan(), 0x7fc0_0000);
    assert_eq!(Format::Double.default_nan(), 0x7ff8_0000_0000_0000);
    assert_eq!(Format::Half.default_nan(), 0x7e00);
}
