//! Scalar floating point (DDI 0487 C4.1.6). Results are rounded to nearest, ties to even; FPCR's rounding mode matters where a
//! number is converted to an integer. FPSR collects no cumulative flags.

use super::bus::Bus;
use super::core::{Core, Step};
use super::decode::{Row, bit, bits, ra, rd, rm, rn, row};
use super::float::{Binary, Format, Rounding};

/// Scalar floating point.
pub(super) const INSTRUCTIONS: &[Row] = &[
    row!(".001 1110 ..1. .... 0000 00.. .... ....", convert_integer),
    row!(".001 1110 ..0. .... .... .... .... ....", convert_fixed),
    row!("0001 1110 ..1. .... 0010 00.. .... .000", compare),
    row!("0001 1110 ..1. .... .100 00.. .... ....", one_source),
    row!("0001 1110 ..1. .... ...1 0000 000. ....", immediate),
    row!("0001 1110 ..1. .... .... 01.. .... ....", conditional_compare),
    row!("0001 1110 ..1. .... .... 10.. .... ....", two_source),
    row!("0001 1110 ..1. .... .... 11.. .... ....", conditional_select),
    row!("0001 1111 .... .... .... .... .... ....", three_source),
];

impl Core {
    /// The scalar in V`n`.
    pub(super) fn scalar(&self, n: u32, format: Format) -> u64 {
        self.v[n as usize] as u64 & format.mask()
    }

    /// Writes a scalar to V`n` and clears the rest.
    pub(super) fn set_scalar(&mut self, n: u32, value: u64) {
        self.v[n as usize] = value.into();
    }

    /// The format in bits 23 and 22, and whether SIMD&FP may be used at all.
    fn format(&mut self, word: u32) -> Step<Format> {
        match Format::from_field(bits(word, 22, 2)) {
            Some(format) if format != Format::Half => {
                self.require_fp()?;
                Ok(format)
            }
            _ => self.undefined(),
        }
    }

    /// The rounding mode of FPCR.
    pub(super) fn rounding(&self) -> Rounding {
        Rounding::from_field(self.fpcr >> 22)
    }
}

/// Conversions between registers: FCVT*S, FCVT*U, SCVTF, UCVTF, and FMOV.
fn convert_integer(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let (wide, mode, opcode) = (bit(word, 31), bits(word, 19, 2), bits(word, 16, 3));
    let (n, d) = (rn(word), rd(word));
    match (wide, bits(word, 22, 2), mode, opcode) {
        (true, 2, 1, 6) => {
            core.require_fp()?;
            core.set_x(d, (core.v[n as usize] >> 64) as u64);
            return Ok(());
        }
        (true, 2, 1, 7) => {
            core.require_fp()?;
            let low = core.v[d as usize] as u64;
            core.v[d as usize] = u128::from(core.x(n)) << 64 | u128::from(low);
            return Ok(());
        }
        _ => (),
    }
    let format = core.format(word)?;
    let matching = wide == (format == Format::Double);
    match (mode, opcode) {
        (_, 0 | 1) => {
            let rounding = Rounding::from_field(mode);
            let value = format.to_integer(core.scalar(n, format), 0, rounding, opcode == 0, wide);
            core.set_x(d, value);
        }
        (0, 2 | 3) => {
            let value = format.of_integer(core.x(n), 0, opcode == 2, wide);
            core.set_scalar(d, value);
        }
        (0, 4 | 5) => {
            let value = format.to_integer(core.scalar(n, format), 0, Rounding::Away, opcode == 4, wide);
            core.set_x(d, value);
        }
        (0, 6) if matching => core.set_x(d, core.scalar(n, format)),
        (0, 7) if matching => core.set_scalar(d, core.x(n) & format.mask()),
        _ => return core.undefined(),
    }
    Ok(())
}

fn convert_fixed(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let (wide, scale) = (bit(word, 31), 64 - bits(word, 10, 6));
    if !wide && scale > 32 {
        return core.undefined();
    }
    let format = core.format(word)?;
    match bits(word, 16, 5) {
        0b11000 | 0b11001 => {
            let value = core.scalar(rn(word), format);
            core.set_x(
                rd(word),
                format.to_integer(value, scale, Rounding::Zero, !bit(word, 16), wide),
            );
        }
        0b00010 | 0b00011 => {
            let value = format.of_integer(core.x(rn(word)), scale, !bit(word, 16), wide);
            core.set_scalar(rd(word), value);
        }
        _ => return core.undefined(),
    }
    Ok(())
}

fn compare(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let format = core.format(word)?;
    let y = if bit(word, 3) { 0 } else { core.scalar(rm(word), format) };
    core.nzcv = format.compare(core.scalar(rn(word), format), y);
    Ok(())
}

fn conditional_compare(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let format = core.format(word)?;
    core.nzcv = if core.condition(bits(word, 12, 4)) {
        format.compare(core.scalar(rn(word), format), core.scalar(rm(word), format))
    } else {
        bits(word, 0, 4) << 28
    };
    Ok(())
}

/// The rounding that the opcodes of FRINTN to FRINTI name.
fn named_rounding(core: &Core, opcode: u32) -> Rounding {
    match opcode & 7 {
        4 => Rounding::Away,
        6 | 7 => core.rounding(),
        mode => Rounding::from_field(mode),
    }
}

fn one_source(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let opcode = bits(word, 15, 6);
    let Some(format) = Format::from_field(bits(word, 22, 2)) else {
        return core.undefined();
    };
    core.require_fp()?;
    let x = core.scalar(rn(word), format);
    if let 4 | 5 | 7 = opcode {
        let target = [Format::Single, Format::Double, Format::Single, Format::Half][(opcode & 3) as usize];
        if target == format {
            return core.undefined();
        }
        core.set_scalar(rd(word), format.convert(x, target));
        return Ok(());
    }
    if format == Format::Half {
        return core.undefined();
    }
    let result = match opcode {
        0 => x,
        1 => x & !format.sign(),
        2 => x ^ format.sign(),
        3 => format.root(x),
        8..=12 | 14 | 15 => format.round(x, named_rounding(core, opcode)),
        _ => return core.undefined(),
    };
    core.set_scalar(rd(word), result);
    Ok(())
}

/// The number that an 8-bit immediate means: sign, three bits of exponent, four of fraction.
pub(super) fn expand_immediate(immediate: u32, format: Format) -> u64 {
    let immediate = u64::from(immediate);
    let (sign, low) = (immediate >> 7, immediate & 0x3f);
    let (exponent_bits, fraction_bits) = match format {
        Format::Half => (5, 10),
        Format::Single => (8, 23),
        Format::Double => (11, 52),
    };
    let repeated = if immediate >> 6 & 1 == 1 {
        (1 << (exponent_bits - 3)) - 1
    } else {
        0
    };
    let inverted = immediate >> 6 & 1 ^ 1;
    let exponent = inverted << (exponent_bits - 1) | repeated << 2 | low >> 4;
    sign << (format.width() - 1) | exponent << fraction_bits | (low & 15) << (fraction_bits - 4)
}

fn immediate(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let format = core.format(word)?;
    core.set_scalar(rd(word), expand_immediate(bits(word, 13, 8), format));
    Ok(())
}

fn two_source(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let operation = match bits(word, 12, 4) {
        0 | 8 => Binary::Multiply,
        1 => Binary::Divide,
        2 => Binary::Add,
        3 => Binary::Subtract,
        4 => Binary::Maximum,
        5 => Binary::Minimum,
        6 => Binary::MaximumNumber,
        7 => Binary::MinimumNumber,
        _ => return core.undefined(),
    };
    let format = core.format(word)?;
    let result = format.binary(operation, core.scalar(rn(word), format), core.scalar(rm(word), format));
    let negated = bits(word, 12, 4) == 8;
    core.set_scalar(rd(word), if negated { result ^ format.sign() } else { result });
    Ok(())
}

fn conditional_select(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let format = core.format(word)?;
    let from = if core.condition(bits(word, 12, 4)) {
        rn(word)
    } else {
        rm(word)
    };
    core.set_scalar(rd(word), core.scalar(from, format));
    Ok(())
}

/// FMADD, FMSUB, FNMADD, FNMSUB.
fn three_source(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let format = core.format(word)?;
    let (negate_all, negate_product) = (bit(word, 21), bit(word, 15) != bit(word, 21));
    let sign = format.sign();
    let x = core.scalar(rn(word), format) ^ if negate_product { sign } else { 0 };
    let addend = core.scalar(ra(word), format) ^ if negate_all { sign } else { 0 };
    let result = format.fused(x, core.scalar(rm(word), format), addend);
    core.set_scalar(rd(word), result);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn immediates_expand_to_small_numbers() {
        assert_eq!(f64::from_bits(expand_immediate(0x70, Format::Double)), 1.0);
        assert_eq!(f64::from_bits(expand_immediate(0x80, Format::Double)), -2.0);
        assert_eq!(f32::from_bits(expand_immediate(0x00, Format::Single) as u32), 2.0);
        assert_eq!(f32::from_bits(expand_immediate(0x3f, Format::Single) as u32), 31.0);
    }
}
