//! Morello's data processing and branches (DDI 0606, chapter 4.4). Nothing here traps on a bad operand: the result loses its tag.

use super::bus::Bus;
use super::core::{Core, Step, cctlr, permission};
use super::decode::{Row, bit, bits, rd, rm, rn, row};
use super::integer::{add_with_carry, extend};
use capability::morello::{
    Capability, FLAGS_MASK, OTYPE_LOAD_BRANCH, OTYPE_LOAD_PAIR_BRANCH, OTYPE_MAX, OTYPE_SENTRY, representable_length,
    representable_mask,
};

/// Everything but memory accesses.
pub(super) const INSTRUCTIONS: &[Row] = &[
    row!("0000 0010 .... .... .... .... .... ....", add_sub_immediate),
    row!("1100 0010 101. .... .... .... .... ....", add_extended),
    row!("1100 0010 110. .... ..01 10.. .... ....", align),
    row!("1100 0010 111. .... 0001 10.. .... ....", convert_to_capability),
    row!("1100 0010 111. .... 0101 10.. .... ....", convert_to_capability_or_null),
    row!("1100 0010 111. .... 1001 10.. .... ....", subtract),
    row!("1100 0010 111. .... .... .0.. .... ....", change_flags_immediate),
    row!("1100 0010 110. .... ..10 10.. .... ....", change_flags_or_high),
    row!("1100 0010 1100 0010 0001 00.. ...0 0001", check_sealed),
    row!("1100 0010 1100 0010 0011 00.. ...0 0001", check_tagged),
    row!("1100 0010 110. .... 1000 01.. ...0 0001", check_subset),
    row!("1100 0010 110. .... 1010 01.. ...0 0001", check_equal),
    row!("1100 0010 110. .... 0000 01.. .... ....", build),
    row!("1100 0010 110. .... 0010 01.. .... ....", copy_type),
    row!("1100 0010 110. .... 0100 01.. .... ....", conditional_seal),
    row!("1100 0010 110. .... 0110 01.. .... ....", copy_value),
    row!("1100 0010 110. .... 1010 00.. .... ....", clear_permissions),
    row!("1100 0010 110. .... 1000 00.. .... ....", set_tag),
    row!("1100 0010 110. .... 1110 00.. .... ....", set_flags),
    row!("1100 0010 1100 0001 1001 00.. .... ....", clear_tag),
    row!("1100 0010 1100 0001 1101 00.. .... ....", copy),
    row!("1100 0010 1100 0011 0..1 00.. .... ....", seal_immediate),
    row!("1100 0010 110. .... 0000 10.. .... ....", seal),
    row!("1100 0010 110. .... 0100 10.. .... ....", unseal),
    row!("1100 0010 110. .... 1000 10.. .... ....", check_subset_unseal),
    row!("1100 0010 110. .... .... 11.. .... ....", conditional_select),
    row!("1100 0010 1100 0001 0001 00.. .... ....", get_limit),
    row!("1100 0010 1100 0001 0011 00.. .... ....", get_flags),
    row!("1100 0010 1100 0001 0101 00.. .... ....", get_high),
    row!("1100 0010 1100 0101 00.1 00.. .... ....", convert_to_pointer_special),
    row!("1100 0010 1100 0000 ...1 00.. .... ....", get_field),
    row!("1100 0010 1100 0111 0001 00.. .... ....", round_length),
    row!("1100 0010 1100 0111 0011 00.. .... ....", round_mask),
    row!("1100 0010 110. .... ..11 10.. .... ....", set_bounds_immediate),
    row!("1100 0010 110. .... 0000 00.. .... ....", set_bounds),
    row!("1100 0010 110. .... 0010 00.. .... ....", set_bounds_exact),
    row!("1100 0010 110. .... 0100 00.. .... ....", set_value),
    row!("1100 0010 110. .... 0110 00.. .... ....", set_offset),
    row!("1100 0010 110. .... 1100 00.. .... ....", convert_to_pointer),
    row!("1100 0010 1100 0101 1..1 00.. .... ....", convert_special_to_capability),
    row!("1100 0010 1100 0110 ...1 00.. .... ....", clear_permissions_immediate),
];

const N: u32 = 1 << 31;
const Z: u32 = 1 << 30;
const C: u32 = 1 << 29;
const V: u32 = 1 << 28;

fn flag(set: bool, flag: u32) -> u32 {
    if set { flag } else { 0 }
}

fn add_sub_immediate(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let immediate = u64::from(bits(word, 10, 12)) << (12 * bits(word, 22, 1));
    let increment = if bit(word, 23) {
        immediate.wrapping_neg()
    } else {
        immediate
    };
    let result = core.c_or_sp(rn(word)).inc_offset(increment);
    core.set_c_or_sp(rd(word), result);
    Ok(())
}

fn add_extended(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    if bits(word, 10, 3) > 4 {
        return core.undefined();
    }
    core.require_capabilities()?;
    let increment = extend(core.x(rm(word)), bits(word, 13, 3), bits(word, 10, 3));
    let result = core.c_or_sp(rn(word)).inc_offset(increment);
    core.set_c_or_sp(rd(word), result);
    Ok(())
}

fn align(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let mask = (1u64 << bits(word, 15, 6)) - 1;
    let source = core.c_or_sp(rn(word));
    let value = if bit(word, 14) {
        source.address().wrapping_add(mask)
    } else {
        source.address()
    };
    core.set_c_or_sp(rd(word), source.set_address(value & !mask));
    Ok(())
}

fn change_flags(core: &mut Core, word: u32, operation: u32, operand: u64) {
    let source = core.c_or_sp(rn(word));
    let flags = match operation {
        0 => source.address() & !operand,
        1 => source.address() | operand,
        _ => source.address() ^ operand,
    };
    core.set_c_or_sp(rd(word), source.set_flags(flags));
}

/// BICFLGS, ORRFLGS, EORFLGS with an immediate.
fn change_flags_immediate(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let operation = bits(word, 11, 2);
    if operation == 3 {
        return core.undefined();
    }
    core.require_capabilities()?;
    change_flags(core, word, operation, u64::from(bits(word, 13, 8)) << 56);
    Ok(())
}

/// BICFLGS, ORRFLGS, EORFLGS with a register, and CTHI.
fn change_flags_or_high(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let operand = core.x(rm(word));
    let operation = bits(word, 14, 2);
    if operation == 3 {
        let result = core.c(rn(word)).set_high(operand);
        core.set_c_or_sp(rd(word), result);
    } else {
        change_flags(core, word, operation, operand & FLAGS_MASK);
    }
    Ok(())
}

fn set_flags(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let result = core.c_or_sp(rn(word)).set_flags(core.x(rm(word)));
    core.set_c_or_sp(rd(word), result);
    Ok(())
}

fn to_capability(core: &mut Core, destination: u32, base: Capability, pointer: u64, relative: bool) {
    let offset = if relative { base.base() } else { 0 };
    core.set_c(destination, base.set_address(pointer.wrapping_add(offset)));
}

/// CVT Cd, Cn, Rm.
fn convert_to_capability(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let relative = core.cctlr() & cctlr::DDCBO != 0;
    let (base, pointer) = (core.c_or_sp(rn(word)), core.x(rm(word)));
    to_capability(core, rd(word), base, pointer, relative);
    Ok(())
}

/// CVTZ Cd, Cn, Rm.
fn convert_to_capability_or_null(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    if core.x(rm(word)) == 0 {
        core.set_c(rd(word), Capability::NULL);
        return Ok(());
    }
    convert_to_capability(core, bus, word)
}

/// CVTD, CVTP, CVTDZ, CVTPZ: pointer to capability by DDC or PCC.
fn convert_special_to_capability(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let code = bit(word, 13);
    let pointer = core.x(rn(word));
    if bit(word, 14) && pointer == 0 {
        core.set_c(rd(word), Capability::NULL);
        return Ok(());
    }
    let (base, offset_bit) = if code {
        (core.current_pcc(), cctlr::PCCBO)
    } else {
        (*core.current_ddc(), cctlr::DDCBO)
    };
    let relative = core.cctlr() & offset_bit != 0;
    to_capability(core, rd(word), base, pointer, relative);
    Ok(())
}

fn to_pointer(core: &mut Core, word: u32, base: u64) {
    let source = core.c_or_sp(rn(word));
    let pointer = if source.tag() {
        source.address().wrapping_sub(base)
    } else {
        0
    };
    core.nzcv = flag(pointer == 0 && source.tag(), Z) | flag(source.tag(), C);
    core.set_x(rd(word), pointer);
}

/// CVT Rd, Cn, Cm.
fn convert_to_pointer(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let base = if core.cctlr() & cctlr::DDCBO != 0 {
        core.c(rm(word)).base()
    } else {
        0
    };
    to_pointer(core, word, base);
    Ok(())
}

/// CVTD, CVTP: capability to pointer by DDC or PCC.
fn convert_to_pointer_special(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let base = if bit(word, 13) {
        core.pcc_offset()
    } else {
        core.ddc_offset()
    };
    to_pointer(core, word, base);
    Ok(())
}

/// SUBS Rd, Cn, Cm: compares tags first, then values.
fn subtract(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let (x, y) = (core.c(rn(word)), core.c(rm(word)));
    let result = if x.tag() == y.tag() {
        let (difference, flags) = add_with_carry(x.address(), !y.address(), 1, true);
        core.nzcv = flags;
        difference
    } else {
        // As two-bit numbers in the top of the word, so that the flags come out right.
        let (x, y) = (u64::from(x.tag()) << 62, u64::from(y.tag()) << 62);
        let (difference, flags) = add_with_carry(x, !y, 1, true);
        core.nzcv = flags;
        difference >> 62
    };
    core.set_x(rd(word), result);
    Ok(())
}

fn check_sealed(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    core.nzcv = flag(core.c_or_sp(rn(word)).is_sealed(), V);
    Ok(())
}

fn check_tagged(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    core.nzcv = flag(core.c_or_sp(rn(word)).tag(), C);
    Ok(())
}

fn check_subset(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let (x, y) = (core.c_or_sp(rn(word)), core.c_or_sp(rm(word)));
    core.nzcv = flag(x.tag() == y.tag() && x.is_subset_of(&y), N);
    Ok(())
}

fn check_equal(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    core.nzcv = flag(core.c_or_sp(rn(word)) == core.c(rm(word)), Z);
    Ok(())
}

fn check_subset_unseal(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let (x, y) = (core.c_or_sp(rn(word)), core.c_or_sp(rm(word)));
    let subset = x.tag() == y.tag() && x.is_subset_of(&y);
    core.nzcv = flag(subset, N);
    let result = if subset && y.tag() && !y.is_sealed() {
        x.unseal()
    } else {
        x
    };
    core.set_c(rd(word), result);
    Ok(())
}

fn build(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let result = core.c_or_sp(rm(word)).build(&core.c_or_sp(rn(word)));
    core.set_c_or_sp(rd(word), result);
    Ok(())
}

fn copy_type(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let from = core.c(rm(word));
    let value = if from.is_sealed() {
        from.otype().into()
    } else {
        u64::MAX
    };
    let result = core.c(rn(word)).set_address(value);
    core.set_c(rd(word), result);
    Ok(())
}

fn copy_value(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let result = core.c(rn(word)).set_address(core.x(rm(word)));
    core.set_c(rd(word), result);
    Ok(())
}

/// Whether `key` may seal `what` with its value.
fn may_seal(what: &Capability, key: &Capability) -> bool {
    !what.is_sealed()
        && !key.is_sealed()
        && key.address() <= OTYPE_MAX.into()
        && key.in_bounds(key.address(), 1)
        && what.tag()
        && key.tag()
        && key.has_permission_bits(permission::SEAL)
}

fn conditional_seal(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let (what, key) = (core.c_or_sp(rn(word)), core.c_or_sp(rm(word)));
    let nothing_to_do = key.address() == u64::MAX;
    let allowed = may_seal(&what, &key);
    let result = if allowed && !nothing_to_do {
        what.seal(key.address() as u32)
    } else {
        what
    };
    core.nzcv = flag(allowed || nothing_to_do, V);
    core.set_c_or_sp(rd(word), result);
    Ok(())
}

fn seal(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let (what, key) = (core.c(rn(word)), core.c(rm(word)));
    let result = what
        .seal(key.address() as u32 & OTYPE_MAX)
        .with_tag(may_seal(&what, &key));
    core.set_c(rd(word), result);
    Ok(())
}

fn unseal(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let (what, key) = (core.c(rn(word)), core.c(rm(word)));
    let allowed = what.is_sealed()
        && key.address() == what.otype().into()
        && key.in_bounds(key.address(), 1)
        && key.tag()
        && !key.is_sealed()
        && what.tag()
        && key.has_permission_bits(permission::UNSEAL);
    let lost = permission::GLOBAL & !key.permission_bits();
    let result = what.unseal().without_permissions(lost).with_tag(allowed);
    core.set_c(rd(word), result);
    Ok(())
}

fn seal_immediate(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let otype = match bits(word, 13, 2) {
        1 => OTYPE_SENTRY,
        2 => OTYPE_LOAD_PAIR_BRANCH,
        3 => OTYPE_LOAD_BRANCH,
        _ => return super::decode::unallocated(core, bus, word),
    };
    core.require_capabilities()?;
    let what = core.c_or_sp(rn(word));
    let result = what.seal(otype).with_tag(what.tag() && !what.is_sealed());
    core.set_c_or_sp(rd(word), result);
    Ok(())
}

fn clear_permissions(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let result = core.c_or_sp(rn(word)).clear_permissions(core.x(rm(word)) as u32);
    core.set_c_or_sp(rd(word), result);
    Ok(())
}

fn clear_permissions_immediate(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let which = bits(word, 13, 3);
    let mut mask = 0;
    for (number, permission) in [permission::EXECUTE, permission::STORE, permission::LOAD]
        .into_iter()
        .enumerate()
    {
        if bit(which, number as u32) {
            mask |= permission;
        }
    }
    let result = core.c_or_sp(rn(word)).clear_permissions(mask);
    core.set_c_or_sp(rd(word), result);
    Ok(())
}

impl Core {
    /// Whether tags may be set from nothing at this level: it has to be switched off for the levels below by a higher one.
    pub(super) fn may_set_tags(&self) -> bool {
        let off_by_el3 = self.levels.el3 && self.el < 3 && self.registers.cscr_el3 & 1 == 1;
        let off_by_el2 = self.el2_enabled() && self.el < 2 && self.registers.chcr_el2 & 1 == 1;
        self.system() && !off_by_el3 && !off_by_el2
    }
}

fn set_tag(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    if core.el == 0 {
        return core.undefined();
    }
    core.require_capabilities()?;
    let tag = core.x(rm(word)) & 1 == 1 && core.may_set_tags();
    let result = core.c_or_sp(rn(word)).with_tag(tag);
    core.set_c_or_sp(rd(word), result);
    Ok(())
}

fn clear_tag(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let result = core.c_or_sp(rn(word)).clear_tag();
    core.set_c_or_sp(rd(word), result);
    Ok(())
}

fn copy(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let result = core.c_or_sp(rn(word));
    core.set_c_or_sp(rd(word), result);
    Ok(())
}

fn conditional_select(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let result = if core.condition(bits(word, 12, 4)) {
        core.c(rn(word))
    } else {
        core.c(rm(word))
    };
    core.set_c(rd(word), result);
    Ok(())
}

fn get_limit(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    core.set_x(rd(word), core.c_or_sp(rn(word)).limit());
    Ok(())
}

fn get_flags(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    core.set_x(rd(word), core.c_or_sp(rn(word)).flags());
    Ok(())
}

fn get_high(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    core.set_x(rd(word), core.c_or_sp(rn(word)).to_memory().1);
    Ok(())
}

/// GCBASE, GCLEN, GCVALUE, GCOFF, GCTAG, GCSEAL, GCPERM, GCTYPE.
fn get_field(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let source = core.c_or_sp(rn(word));
    let value = match bits(word, 13, 3) {
        0 => source.base(),
        1 => source.length(),
        2 => source.address(),
        3 => source.offset(),
        4 => source.tag().into(),
        5 => source.is_sealed().into(),
        6 => source.permission_bits().into(),
        _ => source.otype().into(),
    };
    core.set_x(rd(word), value);
    Ok(())
}

fn round_length(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    core.set_x(rd(word), representable_length(core.x(rn(word))));
    Ok(())
}

fn round_mask(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    core.set_x(rd(word), representable_mask(core.x(rn(word))));
    Ok(())
}

fn bounded(core: &mut Core, word: u32, length: u64, exactly: bool) {
    let (result, exact) = core.c_or_sp(rn(word)).set_bounds(length);
    core.set_c_or_sp(rd(word), if exactly && !exact { result.clear_tag() } else { result });
}

fn set_bounds_immediate(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let length = u64::from(bits(word, 15, 6)) << if bit(word, 14) { 4 } else { 0 };
    bounded(core, word, length, true);
    Ok(())
}

fn set_bounds(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let length = core.x(rm(word));
    bounded(core, word, length, false);
    Ok(())
}

fn set_bounds_exact(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let length = core.x(rm(word));
    bounded(core, word, length, true);
    Ok(())
}

fn set_value(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let result = core.c_or_sp(rn(word)).set_address(core.x(rm(word)));
    core.set_c_or_sp(rd(word), result);
    Ok(())
}

fn set_offset(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let source = core.c_or_sp(rn(word));
    let result = source.set_address(core.x(rm(word)).wrapping_add(source.base()));
    core.set_c_or_sp(rd(word), result);
    Ok(())
}
