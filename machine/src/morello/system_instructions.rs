//! Hints, barriers, PSTATE, cache maintenance, address translation and invalidation (DDI 0487 C5).

use super::access::{Base, LOAD, STORE};
use super::bus::Bus;
use super::core::{Activity, Core, Step, permission};
use super::decode::bits;
use super::exception::{class, status};
use super::mmu::Access;
use super::system::{Form, encoding, lowest_level};

/// Sets PSTATE.PAN, on which translations depend.
pub(super) fn set_pan(core: &mut Core, pan: bool) {
    if core.pan != pan {
        core.pan = pan;
        core.tlb.flush();
    }
}

pub(super) fn hint(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    /// Condition field of the syndrome: always, and valid.
    const CONDITION: u32 = 1 << 24 | 0xe << 20;
    match bits(word, 5, 7) {
        3 => {
            let interrupt = bus.interrupt_status(core.number) != 0;
            if interrupt {
                return Ok(());
            }
            if core.el == 0 && core.registers.sctlr[1] >> 16 & 1 == 0 {
                return core.raise(class::WFX, CONDITION);
            }
            if core.el < 2 && core.el2_enabled() && core.registers.hcr_el2 >> 13 & 1 == 1 {
                return core.raise_at(2, class::WFX, CONDITION);
            }
            if core.el < 3 && core.levels.el3 && core.registers.scr_el3 >> 12 & 1 == 1 {
                return core.raise_at(3, class::WFX, CONDITION);
            }
            core.activity = Activity::Waiting;
            core.stays.wait(bus.now);
            core.pause();
        }
        // WFE may always return at once; giving up the turn lets the other cores go on.
        1 | 2 => core.pause(),
        _ => (),
    }
    Ok(())
}

pub(super) fn barrier(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    match bits(word, 5, 3) {
        2 => core.exclusive = None,
        4..=6 => (),
        _ => return core.undefined(),
    }
    Ok(())
}

/// MSR of an immediate to a PSTATE field.
pub(super) fn set_pstate(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let (op1, immediate, op2) = (bits(word, 16, 3), bits(word, 8, 4), bits(word, 5, 3));
    match (op1, op2) {
        (0, 3..=5) if core.el == 0 => return core.undefined(),
        (0, 3) => core.uao = immediate & 1 == 1,
        (0, 4) => set_pan(core, immediate & 1 == 1),
        (0, 5) => {
            core.sp_selected = immediate & 1 == 1;
            core.select_bank();
        }
        (3, 6 | 7) => {
            if core.el == 0 && core.registers.sctlr[1] >> 9 & 1 == 0 {
                // The reference reports this one without any syndrome.
                return core.raise_raw(1, 0);
            }
            let mask = immediate << 6;
            core.daif = if op2 == 6 { core.daif | mask } else { core.daif & !mask };
            core.pause();
        }
        _ => return core.undefined(),
    }
    Ok(())
}

const fn instruction(op1: u32, crn: u32, crm: u32, op2: u32) -> u16 {
    encoding(1, op1, crn, crm, op2)
}

const DC_ZVA: u16 = instruction(3, 7, 4, 1);
const IC_IVAU: u16 = instruction(3, 7, 5, 1);
const DC_CVAC: u16 = instruction(3, 7, 10, 1);
const DC_CVAU: u16 = instruction(3, 7, 11, 1);
const DC_CVAP: u16 = instruction(3, 7, 12, 1);
const DC_CIVAC: u16 = instruction(3, 7, 14, 1);
const DC_IVAC: u16 = instruction(0, 7, 6, 1);

/// IC, DC, AT, TLBI.
pub(super) fn system_instruction(core: &mut Core, bus: &mut Bus, form: Form) -> Step {
    let encoding = form.encoding;
    let (crn, crm) = (encoding >> 7 & 15, encoding >> 3 & 15);
    if form.read || core.el < lowest_level(encoding) {
        return core.undefined();
    }
    let by_address = [IC_IVAU, DC_CVAC, DC_CVAU, DC_CVAP, DC_CIVAC, DC_IVAC].contains(&encoding);
    let known = by_address
        || encoding == DC_ZVA
        || crn == 8
        || crn == 7 && matches!(crm, 1 | 5) && encoding & 7 == 0
        || crn == 7 && matches!(crm, 6 | 10 | 14) && encoding & 7 == 2
        || crn == 7 && matches!(crm, 8 | 9);
    if !known {
        return core.undefined();
    }
    if encoding != DC_ZVA && !by_address && !core.system() {
        return core.raise_system(class::SYSTEM_REGISTER, form.syndrome());
    }
    if core.el == 0 {
        let enable = if encoding == DC_ZVA { 14 } else { 26 };
        if core.registers.sctlr[1] >> enable & 1 == 0 {
            return core.raise(class::SYSTEM_REGISTER, form.syndrome());
        }
    }
    if encoding == DC_ZVA {
        return zero_block(core, bus, form.target);
    }
    if by_address {
        return maintain(core, bus, form);
    }
    match (crn, crm) {
        (8, _) => {
            core.tlb.flush();
            core.close_window();
            if crm & 4 == 0 || crm & 7 == 3 {
                bus.broadcast_flush = true;
            }
            core.pause();
        }
        (7, 8 | 9) => translate_address(core, bus, encoding, form.target),
        _ => (),
    }
    Ok(())
}

/// Bytes that DC ZVA zeroes and that cache maintenance works on.
const BLOCK: u64 = 64;

/// Checks a cache operation on the block of X`t`, and returns its address.
fn authorise_block(core: &mut Core, t: u32, permissions: u32) -> Step<u64> {
    let start = core.x(t) & !(BLOCK - 1);
    let (address, authority) = if core.capability_base(Base::Normal) {
        (start, core.c(t))
    } else {
        (start.wrapping_add(core.ddc_offset()), *core.current_ddc())
    };
    core.check_capability(&authority, address, BLOCK, permissions)?;
    Ok(address)
}

fn zero_block(core: &mut Core, bus: &mut Bus, t: u32) -> Step {
    let address = authorise_block(core, t, STORE)?;
    let user = core.user();
    for offset in (0..BLOCK).step_by(16) {
        core.store(bus, address + offset, [0u8; 16], user)?;
    }
    Ok(())
}

/// Cache maintenance by address: nothing is cached here, only the checks remain.
fn maintain(core: &mut Core, bus: &mut Bus, form: Form) -> Step {
    let invalidate = form.encoding == DC_IVAC;
    let start = core.x(form.target) & !(BLOCK - 1);
    let needed = if invalidate { STORE } else { LOAD };
    let (address, authority) = if core.capability_base(Base::Normal) {
        (start, core.c(form.target))
    } else {
        (start.wrapping_add(core.ddc_offset()), *core.current_ddc())
    };
    let status = if !authority.tag() {
        status::CAPABILITY_TAG
    } else if authority.is_sealed() {
        status::CAPABILITY_SEAL
    } else if !authority.has_permission_bits(needed & (permission::LOAD | permission::STORE)) {
        status::CAPABILITY_PERMISSION
    } else if !authority.in_bounds(address, BLOCK) {
        status::CAPABILITY_BOUNDS
    } else {
        if form.encoding == IC_IVAU {
            core.close_window();
        }
        let _ = bus;
        return Ok(());
    };
    core.cache_abort(address, status)
}

/// AT: the result, or the fault, goes to PAR_EL1.
fn translate_address(core: &mut Core, bus: &mut Bus, encoding: u16, t: u32) {
    const RESERVED: u64 = 1 << 11;
    let (op1, op2) = (encoding >> 11 & 7, encoding & 7);
    let el = match op1 {
        0 => 1,
        4 if op2 < 2 => 2,
        6 => 3,
        _ => 1,
    };
    let user = op1 == 0 && matches!(op2, 2 | 3) || op1 == 4 && matches!(op2, 6 | 7);
    let access = if op2 & 1 == 1 { Access::Write } else { Access::Read };
    let address = core.x(t);
    core.registers.par_el1 = match core.walk_for(bus, address, access, user, el) {
        Ok(found) => found.physical & 0x0000_ffff_ffff_f000 | RESERVED | 0xff << 56,
        Err(fault) => u64::from(fault.status) << 1 | RESERVED | 1,
    };
}
