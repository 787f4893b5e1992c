//! Integer data processing: immediate and register forms (DDI 0487 C4.1.2, C4.1.5).

use super::bus::Bus;
use super::core::{Core, Step, cctlr};
use super::decode::{Row, bit, bits, ra, rd, rm, rn, row};

/// Data processing (immediate).
pub(super) const IMMEDIATE: &[Row] = &[
    row!("...1 0000 .... .... .... .... .... ....", address_relative),
    row!("0001 0001 00.. .... .... .... .... ....", add_sub_immediate::<0b000>),
    row!("0101 0001 00.. .... .... .... .... ....", add_sub_immediate::<0b010>),
    row!("0111 0001 00.. .... .... .... .... ....", add_sub_immediate::<0b011>),
    row!("1001 0001 00.. .... .... .... .... ....", add_sub_immediate::<0b100>),
    row!("1101 0001 00.. .... .... .... .... ....", add_sub_immediate::<0b110>),
    row!("1111 0001 00.. .... .... .... .... ....", add_sub_immediate::<0b111>),
    row!("...1 0001 0... .... .... .... .... ....", add_sub_immediate::<ANY>),
    row!("0001 0010 00.. .... .... .... .... ....", logical_immediate::<0b000>),
    row!("0111 0010 00.. .... .... .... .... ....", logical_immediate::<0b011>),
    row!("1001 0010 0... .... .... .... .... ....", logical_immediate::<0b100>),
    row!("1111 0010 0... .... .... .... .... ....", logical_immediate::<0b111>),
    row!("1..1 0010 0... .... .... .... .... ....", logical_immediate::<ANY>),
    row!("0..1 0010 00.. .... .... .... .... ....", logical_immediate::<ANY>),
    row!("0101 0010 10.. .... .... .... .... ....", move_wide::<0b010>),
    row!("1101 0010 1... .... .... .... .... ....", move_wide::<0b110>),
    row!("1111 0010 1... .... .... .... .... ....", move_wide::<0b111>),
    row!("1001 0010 1... .... .... .... .... ....", move_wide::<ANY>),
    row!("0001 0010 10.. .... .... .... .... ....", move_wide::<ANY>),
    row!("0111 0010 10.. .... .... .... .... ....", move_wide::<ANY>),
    row!("0101 0011 000. .... 0... .... .... ....", bitfield::<0b010>),
    row!("1001 0011 01.. .... .... .... .... ....", bitfield::<0b100>),
    row!("1101 0011 01.. .... .... .... .... ....", bitfield::<0b110>),
    row!("1..1 0011 01.. .... .... .... .... ....", bitfield::<ANY>),
    row!("0..1 0011 000. .... 0... .... .... ....", bitfield::<ANY>),
    row!("1001 0011 110. .... .... .... .... ....", extract),
    row!("0001 0011 100. .... 0... .... .... ....", extract),
];

/// Data processing (register).
pub(super) const REGISTER: &[Row] = &[
    row!("0010 1010 000. .... 0000 0011 111. ....", move_register::<false>),
    row!("1010 1010 000. .... 0000 0011 111. ....", move_register::<true>),
    row!("0000 1010 000. .... 0000 00.. .... ....", logical::<0b000>),
    row!("0010 1010 000. .... 0000 00.. .... ....", logical::<0b001>),
    row!("1000 1010 000. .... 0000 00.. .... ....", logical::<0b100>),
    row!("1010 1010 000. .... 0000 00.. .... ....", logical::<0b101>),
    row!("1..0 1010 .... .... .... .... .... ....", logical_shifted),
    row!("0..0 1010 .... .... 0... .... .... ....", logical_shifted),
    row!("0000 1011 000. .... 0000 00.. .... ....", add_sub_register::<0b000>),
    row!("0100 1011 000. .... 0000 00.. .... ....", add_sub_register::<0b010>),
    row!("0110 1011 000. .... 0000 00.. .... ....", add_sub_register::<0b011>),
    row!("1000 1011 000. .... .... .... .... ....", add_sub_register::<0b100>),
    row!("1100 1011 000. .... .... .... .... ....", add_sub_register::<0b110>),
    row!("1110 1011 000. .... .... .... .... ....", add_sub_register::<0b111>),
    row!("1..0 1011 0.0. .... .... .... .... ....", add_sub_shifted),
    row!("1..0 1011 100. .... .... .... .... ....", add_sub_shifted),
    row!("0..0 1011 000. .... 0... .... .... ....", add_sub_shifted),
    row!("0..0 1011 010. .... 0... .... .... ....", add_sub_shifted),
    row!("0..0 1011 100. .... 0... .... .... ....", add_sub_shifted),
    row!("...0 1011 001. .... .... .... .... ....", add_sub_extended),
    row!("...1 1010 000. .... 0000 00.. .... ....", add_sub_carry),
    row!("..11 1010 010. .... .... .0.. ...0 ....", conditional_compare),
    row!("..01 1010 100. .... .... 0... .... ....", conditional_select),
    row!(".101 1010 1100 0000 000. .... .... ....", one_source),
    row!(".001 1010 110. .... 0000 1... .... ....", two_source),
    row!(".001 1010 110. .... 0010 .... .... ....", two_source),
    row!("0001 1010 110. .... 010. 00.. .... ....", crc32),
    row!("0001 1010 110. .... 010. 01.. .... ....", crc32),
    row!("0001 1010 110. .... 010. 10.. .... ....", crc32),
    row!("1001 1010 110. .... 010. 11.. .... ....", crc32),
    row!(".001 1011 000. .... .... .... .... ....", multiply_add),
    row!("1001 1011 .01. .... .... .... .... ....", multiply_add_long),
    row!("1001 1011 .10. .... 0... .... .... ....", multiply_high),
];

/// The form of which a function is made when it is not made for one: the instruction's fields say which. Functions for the
/// most frequent forms are made each on its own, as in `memory`: they are named by bits 31 to 29, the width and the operation.
const ANY: u32 = u32::MAX;

/// Bits 31 to 29: those of the form for which a function is made, or the instruction's.
#[inline(always)]
const fn operation<const FORM: u32>(word: u32) -> u32 {
    if FORM == ANY { word >> 29 } else { FORM }
}

/// Whether the 64-bit form is meant.
#[inline(always)]
const fn wide(word: u32) -> bool {
    word >> 31 == 1
}

/// `value` cut to the operation's width.
#[inline(always)]
pub(super) const fn cut(value: u64, wide: bool) -> u64 {
    if wide { value } else { value as u32 as u64 }
}

/// N, Z, C and V at their places.
#[inline(always)]
const fn flags([n, z, c, v]: [u32; 4]) -> u32 {
    n << 31 | z << 30 | c << 29 | v << 28
}

/// Sum, and the flags in bits 31 to 28 (AddWithCarry).
#[inline(always)]
pub(super) fn add_with_carry(x: u64, y: u64, carry: u64, wide: bool) -> (u64, u32) {
    if wide {
        let (partial, first) = x.overflowing_add(y);
        let (sum, second) = partial.overflowing_add(carry);
        let overflow = (!(x ^ y) & (x ^ sum)) >> 63;
        let negative = (sum >> 63) as u32;
        (
            sum,
            flags([
                negative,
                u32::from(sum == 0),
                u32::from(first || second),
                overflow as u32,
            ]),
        )
    } else {
        let total = u64::from(x as u32) + u64::from(y as u32) + carry;
        let (sum, x, y) = (total as u32, x as u32, y as u32);
        let overflow = (!(x ^ y) & (x ^ sum)) >> 31;
        let carry = (total >> 32) as u32;
        (sum.into(), flags([sum >> 31, u32::from(sum == 0), carry, overflow]))
    }
}

/// Flags of a logical result.
#[inline(always)]
fn logical_flags(result: u64, wide: bool) -> u32 {
    let negative = if wide { result >> 63 } else { result >> 31 };
    (negative as u32) << 31 | u32::from(result == 0) << 30
}

#[inline(always)]
fn add_sub<const FORM: u32>(core: &mut Core, word: u32, x: u64, y: u64) -> (u64, bool) {
    let operation = operation::<FORM>(word);
    let wide = bit(operation, 2);
    let (y, carry) = if bit(operation, 1) { (!y, 1) } else { (y, 0) };
    if bit(operation, 0) {
        let (sum, flags) = add_with_carry(x, y, carry, wide);
        core.nzcv = flags;
        (sum, true)
    } else {
        (cut(x.wrapping_add(y).wrapping_add(carry), wide), false)
    }
}

fn add_sub_immediate<const FORM: u32>(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    if FORM == ANY && bit(word, 23) {
        return core.undefined();
    }
    let immediate = u64::from(bits(word, 10, 12)) << (12 * bits(word, 22, 1));
    let x = core.x_or_sp(rn(word));
    let (sum, flags) = add_sub::<FORM>(core, word, x, immediate);
    if flags {
        core.set_x(rd(word), sum);
    } else {
        core.set_x_or_sp(rd(word), sum);
    }
    Ok(())
}

/// The operand is not shifted, or to the left where the form is of 64 bits.
fn add_sub_register<const FORM: u32>(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let amount = if bit(FORM, 2) { bits(word, 10, 6) } else { 0 };
    let (x, y) = (core.x(rn(word)), core.x(rm(word)) << amount);
    let (sum, _) = add_sub::<FORM>(core, word, x, y);
    core.set_x(rd(word), sum);
    Ok(())
}

fn add_sub_shifted(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let y = shift(core.x(rm(word)), bits(word, 22, 2), bits(word, 10, 6), wide(word));
    let x = core.x(rn(word));
    let (sum, _) = add_sub::<ANY>(core, word, x, y);
    core.set_x(rd(word), sum);
    Ok(())
}

fn add_sub_extended(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let amount = bits(word, 10, 3);
    if amount > 4 {
        return core.undefined();
    }
    let y = extend(core.x(rm(word)), bits(word, 13, 3), amount);
    let x = core.x_or_sp(rn(word));
    let (sum, flags) = add_sub::<ANY>(core, word, x, y);
    if flags {
        core.set_x(rd(word), sum);
    } else {
        core.set_x_or_sp(rd(word), sum);
    }
    Ok(())
}

fn add_sub_carry(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let y = if bit(word, 30) {
        !core.x(rm(word))
    } else {
        core.x(rm(word))
    };
    let carry = core.nzcv >> 29 & 1;
    let (sum, flags) = add_with_carry(core.x(rn(word)), y, carry.into(), wide(word));
    if bit(word, 29) {
        core.nzcv = flags;
    }
    core.set_x(rd(word), sum);
    Ok(())
}

/// ADR, ADRP, and in C64 their capability forms and ADRDP.
fn address_relative(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    if rd(word) == 31 {
        return Ok(());
    }
    let (page, high, low) = (
        bit(word, 31),
        u64::from(bits(word, 5, 18)),
        u64::from(bits(word, 29, 2)),
    );
    let p = bit(word, 23);
    let data = core.c64 && page && !p;
    let offset = if core.c64 && page {
        let offset = (high << 2 | low) << 12;
        if data {
            offset
        } else {
            ((offset << 32) as i64 >> 32) as u64
        }
    } else {
        let offset = u64::from(p) << 20 | high << 2 | low;
        let offset = (offset << 43) as i64 >> 43;
        if page { (offset << 12) as u64 } else { offset as u64 }
    };
    if !core.c64 {
        let address = core.pc.wrapping_add(offset).wrapping_sub(core.pcc_offset());
        core.set_x(rd(word), if page { address & !0xfff } else { address });
        return Ok(());
    }
    let base = if !data {
        core.current_pcc()
    } else if core.cctlr() & cctlr::ADRDPB != 0 {
        core.c(28)
    } else {
        *core.current_ddc()
    };
    let address = base.address().wrapping_add(offset);
    let address = if page { address & !0xfff } else { address };
    core.set_c(rd(word), base.inc_offset(address.wrapping_sub(base.address())));
    Ok(())
}

/// The value of a bit mask immediate, or `None` for a reserved encoding (DecodeBitMasks, the write mask only).
pub(super) fn bit_mask(n: u32, imms: u32, immr: u32) -> Option<u64> {
    let pattern = n << 6 | !imms & 63;
    if pattern < 2 {
        return None;
    }
    let length = pattern.ilog2();
    let levels = (1 << length) - 1;
    let (s, r) = (imms & levels, immr & levels);
    if s == levels {
        return None;
    }
    /// What repeats an element of 2, 4, … 64 bits, by the logarithm of their number.
    const REPEAT: [u64; 7] = {
        let mut repeat = [1; 7];
        let mut length = 0;
        while length < 6 {
            repeat[length] = u64::MAX / ((1 << (1 << length)) - 1);
            length += 1;
        }
        repeat
    };
    let element = u64::MAX >> (63 - s);
    Some(element.wrapping_mul(REPEAT[length as usize]).rotate_right(r))
}

/// A logical operation, with flags where it sets them.
#[inline(always)]
fn operate<const FORM: u32>(core: &mut Core, word: u32, x: u64, y: u64) -> u64 {
    let operation = operation::<FORM>(word);
    let result = match operation & 3 {
        0 | 3 => x & y,
        1 => x | y,
        _ => x ^ y,
    };
    let wide = bit(operation, 2);
    let result = cut(result, wide);
    if operation & 3 == 3 {
        core.nzcv = logical_flags(result, wide);
    }
    result
}

fn logical_immediate<const FORM: u32>(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let Some(mask) = bit_mask(bits(word, 22, 1), bits(word, 10, 6), bits(word, 16, 6)) else {
        return core.undefined();
    };
    let x = core.x(rn(word));
    let result = operate::<FORM>(core, word, x, mask);
    if operation::<FORM>(word) & 3 == 3 {
        core.set_x(rd(word), result);
    } else {
        core.set_x_or_sp(rd(word), result);
    }
    Ok(())
}

/// The form without a shift.
fn logical<const FORM: u32>(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let (x, y) = (core.x(rn(word)), core.x(rm(word)));
    let result = operate::<FORM>(core, word, x, y);
    core.set_x(rd(word), result);
    Ok(())
}

fn move_register<const WIDE: bool>(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let value = core.x(rm(word));
    core.set_x(rd(word), cut(value, WIDE));
    Ok(())
}

fn logical_shifted(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let y = shift(core.x(rm(word)), bits(word, 22, 2), bits(word, 10, 6), wide(word));
    let y = if bit(word, 21) { !y } else { y };
    let x = core.x(rn(word));
    let result = operate::<ANY>(core, word, x, y);
    core.set_x(rd(word), result);
    Ok(())
}

fn move_wide<const FORM: u32>(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let at = 16 * bits(word, 21, 2);
    let immediate = u64::from(bits(word, 5, 16)) << at;
    let operation = operation::<FORM>(word);
    let result = match operation & 3 {
        0 => !immediate,
        2 => immediate,
        _ => core.x(rd(word)) & !(0xffff << at) | immediate,
    };
    core.set_x(rd(word), cut(result, bit(operation, 2)));
    Ok(())
}

/// Takes `value`'s bits from 0 or `immr` up to `imms`, and places them at `size - immr` or 0: UBFM, or SBFM if `signed`. What is
/// above `imms` is shifted out at the top, then what is left comes down to its place.
#[inline(always)]
const fn field(value: u64, immr: u32, imms: u32, wide: bool, signed: bool) -> u64 {
    let down = immr.wrapping_sub(imms + 1);
    if wide {
        let up = value << (63 - imms);
        if signed {
            (up as i64 >> (down & 63)) as u64
        } else {
            up >> (down & 63)
        }
    } else {
        let up = (value as u32) << (31 - imms);
        let placed = if signed {
            (up as i32 >> (down & 31)) as u32
        } else {
            up >> (down & 31)
        };
        placed as u64
    }
}

fn bitfield<const FORM: u32>(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let (immr, imms, operation) = (bits(word, 16, 6), bits(word, 10, 6), operation::<FORM>(word));
    let (source, wide) = (core.x(rn(word)), bit(operation, 2));
    let result = match operation & 3 {
        0 => field(source, immr, imms, wide, true),
        1 => {
            let mask = field(u64::MAX, immr, imms, wide, false);
            core.x(rd(word)) & !mask | field(source, immr, imms, wide, false)
        }
        2 => field(source, immr, imms, wide, false),
        _ => return core.undefined(),
    };
    core.set_x(rd(word), cut(result, wide));
    Ok(())
}

fn extract(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let (high, low, amount) = (core.x(rn(word)), core.x(rm(word)), bits(word, 10, 6));
    let result = if wide(word) {
        (u128::from(high) << 64 | u128::from(low)) >> amount
    } else {
        u128::from((high << 32 | low & 0xffff_ffff) >> amount)
    };
    core.set_x(rd(word), cut(result as u64, wide(word)));
    Ok(())
}

/// A shifted operand: LSL, LSR, ASR, ROR.
#[inline(always)]
fn shift(value: u64, kind: u32, amount: u32, wide: bool) -> u64 {
    if wide {
        match kind {
            0 => value << amount,
            1 => value >> amount,
            2 => (value as i64 >> amount) as u64,
            _ => value.rotate_right(amount),
        }
    } else {
        let value = value as u32;
        u64::from(match kind {
            0 => value << amount,
            1 => value >> amount,
            2 => (value as i32 >> amount) as u32,
            _ => value.rotate_right(amount),
        })
    }
}

/// An extended operand (ExtendReg): zero or sign extension of 8 to 64 bits, then a shift.
#[inline(always)]
pub(super) fn extend(value: u64, option: u32, amount: u32) -> u64 {
    let unused = 64 - (8 << (option & 3));
    let up = value << unused;
    let extended = if bit(option, 2) {
        (up as i64 >> unused) as u64
    } else {
        up >> unused
    };
    extended << amount
}

fn conditional_compare(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    if core.condition(bits(word, 12, 4)) {
        let y = if bit(word, 11) {
            u64::from(rm(word))
        } else {
            core.x(rm(word))
        };
        let (y, carry) = if bit(word, 30) { (!y, 1) } else { (y, 0) };
        core.nzcv = add_with_carry(core.x(rn(word)), y, carry, wide(word)).1;
    } else {
        core.nzcv = bits(word, 0, 4) << 28;
    }
    Ok(())
}

fn conditional_select(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let result = if core.condition(bits(word, 12, 4)) {
        core.x(rn(word))
    } else {
        let other = core.x(rm(word));
        let other = if bit(word, 30) { !other } else { other };
        other.wrapping_add(bits(word, 10, 1).into())
    };
    core.set_x(rd(word), cut(result, wide(word)));
    Ok(())
}

fn one_source(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let wide = wide(word);
    let value = cut(core.x(rn(word)), wide);
    let narrow = value as u32;
    let result = match (bits(word, 10, 3), wide) {
        (0, true) => value.reverse_bits(),
        (0, false) => narrow.reverse_bits().into(),
        (1, _) => (value & 0x00ff_00ff_00ff_00ff) << 8 | value >> 8 & 0x00ff_00ff_00ff_00ff,
        (2, true) => value.swap_bytes().rotate_left(32),
        (2, false) => narrow.swap_bytes().into(),
        (3, true) => value.swap_bytes(),
        (4, true) => value.leading_zeros().into(),
        (4, false) => narrow.leading_zeros().into(),
        (5, true) => u64::from((value ^ ((value as i64) >> 1) as u64).leading_zeros()).wrapping_sub(1),
        (5, false) => u64::from((narrow ^ ((narrow as i32) >> 1) as u32).leading_zeros()).wrapping_sub(1),
        _ => return core.undefined(),
    };
    if bits(word, 13, 2) != 0 {
        return core.undefined();
    }
    core.set_x(rd(word), result);
    Ok(())
}

fn two_source(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let wide = wide(word);
    let (x, y) = (cut(core.x(rn(word)), wide), cut(core.x(rm(word)), wide));
    let amount = (y & if wide { 63 } else { 31 }) as u32;
    let result = match bits(word, 10, 6) {
        2 => x.checked_div(y).unwrap_or(0),
        3 if wide => {
            if y == 0 {
                0
            } else {
                (x as i64).wrapping_div(y as i64) as u64
            }
        }
        3 => {
            if y == 0 {
                0
            } else {
                (x as i32).wrapping_div(y as i32) as u32 as u64
            }
        }
        kind @ 8..=11 => shift(x, kind - 8, amount, wide),
        _ => return core.undefined(),
    };
    core.set_x(rd(word), cut(result, wide));
    Ok(())
}

fn crc32(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let polynomial: u32 = if bit(word, 12) { 0x82f6_3b78 } else { 0xedb8_8320 };
    let mut crc = core.x(rn(word)) as u32;
    let bytes = core.x(rm(word)).to_le_bytes();
    for byte in &bytes[..1 << bits(word, 10, 2)] {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { polynomial } else { 0 };
        }
    }
    core.set_x(rd(word), crc.into());
    Ok(())
}

fn multiply_add(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let product = core.x(rn(word)).wrapping_mul(core.x(rm(word)));
    let addend = core.x(ra(word));
    let result = if bit(word, 15) {
        addend.wrapping_sub(product)
    } else {
        addend.wrapping_add(product)
    };
    core.set_x(rd(word), cut(result, wide(word)));
    Ok(())
}

fn multiply_add_long(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let (x, y) = (core.x(rn(word)) as u32, core.x(rm(word)) as u32);
    let product = if bit(word, 23) {
        u64::from(x) * u64::from(y)
    } else {
        (i64::from(x as i32) * i64::from(y as i32)) as u64
    };
    let addend = core.x(ra(word));
    let result = if bit(word, 15) {
        addend.wrapping_sub(product)
    } else {
        addend.wrapping_add(product)
    };
    core.set_x(rd(word), result);
    Ok(())
}

fn multiply_high(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let (x, y) = (core.x(rn(word)), core.x(rm(word)));
    let product = if bit(word, 23) {
        u128::from(x) * u128::from(y)
    } else {
        (i128::from(x as i64) * i128::from(y as i64)) as u128
    };
    core.set_x(rd(word), (product >> 64) as u64);
    Ok(())
}

impl Core {
    /// Whether a condition code holds.
    #[inline(always)]
    pub(super) fn condition(&self, code: u32) -> bool {
        /// For each condition pair, the values of NZCV for which the even one holds.
        const HOLDS: [u16; 8] = condition_table();
        let holds = HOLDS[(code >> 1) as usize] >> (self.nzcv >> 28) & 1 == 1;
        holds != (code & 1 == 1 && code != 15)
    }
}

const fn condition_table() -> [u16; 8] {
    let mut table = [0u16; 8];
    let mut flags = 0;
    while flags < 16 {
        let (n, z, c, v) = (flags >> 3 & 1, flags >> 2 & 1 == 1, flags >> 1 & 1 == 1, flags & 1);
        let holds = [z, c, n == 1, v == 1, c && !z, n == v, n == v && !z, true];
        let mut pair = 0;
        while pair < 8 {
            table[pair] |= (holds[pair] as u16) << flags;
            pair += 1;
        }
        flags += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bit_masks_repeat_and_rotate_their_element() {
        assert_eq!(bit_mask(0, 0b111100, 0), Some(0x5555_5555_5555_5555));
        assert_eq!(bit_mask(1, 0b000000, 0), Some(1));
        assert_eq!(bit_mask(1, 0b000111, 4), Some(0xf000_0000_0000_000f));
        assert_eq!(bit_mask(0, 0b000111, 8), Some(0xff00_0000_ff00_0000));
        assert_eq!(bit_mask(1, 0b111111, 0), None);
    }

    #[test]
    fn sums_set_the_flags_of_the_manual() {
        assert_eq!(add_with_carry(i64::MAX as u64, 1, 0, true), (1 << 63, 0b1001 << 28));
        assert_eq!(add_with_carry(5, !5, 1, true), (0, 0b0110 << 28));
        assert_eq!(add_with_carry(0xffff_ffff, 1, 0, false), (0, 0b0110 << 28));
        assert_eq!(add_with_carry(0, !1, 1, false), (0xffff_ffff, 0b1000 << 28));
    }
}
