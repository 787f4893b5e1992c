//! The multiplications and divisions that Rust has no operator for.

use super::operation::Kind;

/// MULH, MULHSU, MULHU and the divisions, with the results that the manual gives for zero divisors and overflow.
pub(super) fn multiply_divide(kind: Kind, a: u64, b: u64) -> u64 {
    let (signed_a, signed_b) = (a as i64, b as i64);
    let (word_a, word_b) = (a as i32, b as i32);
    match kind {
        Kind::Mulh => ((i128::from(signed_a) * i128::from(signed_b)) >> 64) as u64,
        Kind::Mulhsu => (i128::from(signed_a).wrapping_mul(i128::from(b)) >> 64) as u64,
        Kind::Mulhu => ((u128::from(a) * u128::from(b)) >> 64) as u64,
        Kind::Div if b == 0 => u64::MAX,
        Kind::Div => signed_a.wrapping_div(signed_b) as u64,
        Kind::Divu => a.checked_div(b).unwrap_or(u64::MAX),
        Kind::Rem if b == 0 => a,
        Kind::Rem => signed_a.wrapping_rem(signed_b) as u64,
        Kind::Remu => a.checked_rem(b).unwrap_or(a),
        Kind::Divw if word_b == 0 => u64::MAX,
        Kind::Divw => word_a.wrapping_div(word_b) as u64,
        Kind::Divuw => (a as u32)
            .checked_div(b as u32)
            .map_or(u64::MAX, |quotient| quotient as i32 as u64),
        Kind::Remw if word_b == 0 => word_a as u64,
        Kind::Remw => word_a.wrapping_rem(word_b) as u64,
        _ => (a as u32)
            .checked_rem(b as u32)
            .map_or(word_a as u64, |rest| rest as i32 as u64),
    }
}

/// What an AMO stores, from the value in memory and the operand; both are sign-extended words when `word` is set.
pub(super) fn atomic(function: u8, word: bool, memory: u64, operand: u64) -> u64 {
    let less_unsigned = if word {
        (memory as u32) < operand as u32
    } else {
        memory < operand
    };
    let less_signed = (memory as i64) < operand as i64;
    match function {
        0 => memory.wrapping_add(operand),
        1 => operand,
        4 => memory ^ operand,
        8 => memory | operand,
        12 => memory & operand,
        16 => {
            if less_signed {
                memory
            } else {
                operand
            }
        }
        20 => {
            if less_signed {
                operand
            } else {
                memory
            }
        }
        24 => {
            if less_unsigned {
                memory
            } else {
                operand
            }
        }
        _ => {
            if less_unsigned {
                operand
            } else {
                memory
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division_by_zero_and_overflow_have_the_results_of_the_manual() {
        let minimum = i64::MIN as u64;
        assert_eq!(multiply_divide(Kind::Div, 7, 0), u64::MAX);
        assert_eq!(multiply_divide(Kind::Div, minimum, u64::MAX), minimum);
        assert_eq!(multiply_divide(Kind::Rem, minimum, u64::MAX), 0);
        assert_eq!(multiply_divide(Kind::Rem, 7, 0), 7);
        assert_eq!(multiply_divide(Kind::Divu, 7, 0), u64::MAX);
        assert_eq!(multiply_divide(Kind::Remu, 7, 0), 7);
        let minimum_word = i32::MIN as u64;
        assert_eq!(multiply_divide(Kind::Divw, minimum_word, u64::MAX), minimum_word);
        assert_eq!(multiply_divide(Kind::Divuw, 1 << 32 | 8, 2), 4);
        assert_eq!(multiply_divide(Kind::Remuw, 0xffff_ffff, 0), u64::MAX);
    }

    #[test]
    fn high_halves_of_products_respect_the_signs() {
        assert_eq!(multiply_divide(Kind::Mulh, u64::MAX, u64::MAX), 0);
        assert_eq!(multiply_divide(Kind::Mulhu, u64::MAX, u64::MAX), u64::MAX - 1);
        assert_eq!(multiply_divide(Kind::Mulhsu, u64::MAX, u64::MAX), u64::MAX);
    }

    #[test]
    fn atomics_compare_words_as_words() {
        let minus_one = u64::MAX;
        assert_eq!(atomic(16, true, minus_one, 1), minus_one);
        assert_eq!(atomic(24, true, minus_one, 1), 1);
        assert_eq!(atomic(28, false, minus_one, 1), minus_one);
        assert_eq!(atomic(20, false, minus_one, 1), 1);
    }
}
