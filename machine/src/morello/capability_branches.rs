//! Morello's branches: to capabilities, to sealed pairs, through memory (DDI 0606, chapter 4.4). What a branch does not allow
//! loses its tag, and the fault happens at the target.

use super::access::LOAD;
use super::bus::Bus;
use super::core::{Core, Leave, Step, cctlr, permission};
use super::decode::{Row, bit, bits, rd, rm, rn, row, signed};
use capability::morello::{Capability, OTYPE_LOAD_BRANCH, OTYPE_LOAD_PAIR_BRANCH};

/// Branches and the switch of the instruction set.
pub(super) const INSTRUCTIONS: &[Row] = &[
    row!("1100 0010 1100 0010 0111 0011 1110 0000", switch_instruction_set),
    row!("1100 0010 1100 0010 0.01 00.. ...0 00..", branch_capability),
    row!("1100 0010 1100 0010 0011 00.. ...0 00..", branch_capability),
    row!("1100 0010 110. .... 1.00 01.. ...0 0000", branch_sealed_pair),
    row!("1100 0010 110. .... 1010 01.. ...0 0000", branch_sealed_pair),
    row!("1100 0010 1100 0100 00.1 00.. .... ....", load_pair_branch),
    row!("1100 0010 1101 .... ...1 00.. ...0 000.", load_branch),
];

impl Core {
    /// Branches to `target`, leaving a link in C30 first if asked to. A target that is not allowed loses its tag, and the
    /// fault happens there.
    fn jump(&mut self, mut target: Capability, link: bool, demand: Demand, may_restrict: bool) -> Step {
        if !may_restrict && self.executive() && !target.has_permission_bits(permission::EXECUTIVE) {
            target = target.clear_tag();
        }
        let target = if target.tag() && target.is_sentry() {
            target.unseal()
        } else if demand == Demand::Sentry || target.is_sealed() {
            target.clear_tag()
        } else {
            target
        };
        if link {
            let after = self.pc.wrapping_add(4) | u64::from(self.c64);
            let link = self.sealed_link(after);
            self.set_c(30, link);
        }
        self.c64 = target.address() & 1 == 1;
        self.go_to_capability(target.with_address_unchecked(target.address() & !1));
        Err(Leave::Jumped)
    }
}

/// BX: the same PCC in the other instruction set.
fn switch_instruction_set(core: &mut Core, _: &mut Bus, _: u32) -> Step {
    core.require_capabilities()?;
    core.c64 = !core.c64;
    core.forget_direct();
    Ok(())
}

/// Which targets a branch accepts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Demand {
    Any,
    Sentry,
}

/// BR, BLR, RET; their sealed forms; BRR, BLRR, RETR, which alone lead from Executive to Restricted.
fn branch_capability(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let (form, kind) = (bits(word, 0, 2), bits(word, 13, 2));
    if form == 1 || kind == 3 {
        return core.undefined();
    }
    let restricted = form == 3;
    if restricted && !core.executive() {
        return core.undefined();
    }
    core.require_capabilities()?;
    let sealed_by_rule = core.cctlr() & cctlr::SBL != 0 && form >= 2;
    let demand = if sealed_by_rule { Demand::Sentry } else { Demand::Any };
    let target = core.c(rn(word));
    core.jump(target, kind == 1, demand, restricted)
}

/// BRS, BLRS, RETS with a pair: code and data sealed with the same otype.
fn branch_sealed_pair(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let (code, data) = (core.c(rn(word)), core.c(rm(word)));
    let pair = permission::BRANCH_SEALED_PAIR;
    let matching = code.tag()
        && data.tag()
        && code.otype() > OTYPE_LOAD_BRANCH
        && code.otype() == data.otype()
        && code.has_permission_bits(pair | permission::EXECUTE)
        && data.has_permission_bits(pair)
        && !data.has_permission_bits(permission::EXECUTE);
    let (code, data) = if matching {
        (code.unseal(), data.unseal())
    } else {
        (code.clear_tag(), data)
    };
    core.set_c(29, data);
    core.jump(code, bits(word, 13, 2) == 1, Demand::Any, false)
}

/// LDPBR, LDPBLR: loads data and target.
fn load_pair_branch(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let mut base = core.c_or_sp(rn(word));
    if base.tag() && rd(word) == 29 && base.otype() == OTYPE_LOAD_PAIR_BRANCH {
        base = base.unseal();
    }
    let address = base.address();
    core.check_capability(&base, address, 32, LOAD)?;
    core.check_alignment(address, 16, false)?;
    let user = core.user();
    let target = core.load_capability(bus, address.wrapping_add(16), &base, user)?;
    let data = core.load_capability(bus, address, &base, user)?;
    core.set_c(rd(word), data);
    core.jump(target, bit(word, 13), Demand::Any, false)
}

/// BR, BLR through memory: loads the target.
fn load_branch(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let n = rn(word);
    let mut base = core.c_or_sp(n);
    if base.tag() && n == 29 && base.otype() == OTYPE_LOAD_BRANCH {
        base = base.unseal();
    }
    // The register is unsealed even if the load then faults.
    core.set_c_or_sp(n, base);
    let address = base.address().wrapping_add_signed(signed(word, 13, 7) * 16);
    core.check_capability(&base, address, 16, LOAD)?;
    core.check_alignment(address, 16, false)?;
    let user = core.user();
    let target = core.load_capability(bus, address, &base, user)?;
    core.jump(target, bit(word, 0), Demand::Any, false)
}
