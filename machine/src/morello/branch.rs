//! Branches of A64 and calls into the next exception level (DDI 0487 C4.1.3). In C64 a link is a capability derived from PCC.

use super::bus::Bus;
use super::core::{Core, Leave, Step, cctlr};
use super::decode::{Row, bits, rd, rn, row, signed};
use super::exception::class;
use super::integer::cut;
use capability::morello::Capability;

/// Branches, exception generation, exception return.
pub(super) const INSTRUCTIONS: &[Row] = &[
    row!("0001 01.. .... .... .... .... .... ....", branch),
    row!("1001 01.. .... .... .... .... .... ....", branch_link),
    row!("0101 0100 .... .... .... .... ...0 0000", branch_conditional::<0>),
    row!("0101 0100 .... .... .... .... ...0 0001", branch_conditional::<1>),
    row!("0101 0100 .... .... .... .... ...0 0010", branch_conditional::<2>),
    row!("0101 0100 .... .... .... .... ...0 0011", branch_conditional::<3>),
    row!("0101 0100 .... .... .... .... ...0 0100", branch_conditional::<4>),
    row!("0101 0100 .... .... .... .... ...0 0101", branch_conditional::<5>),
    row!("0101 0100 .... .... .... .... ...0 0110", branch_conditional::<6>),
    row!("0101 0100 .... .... .... .... ...0 0111", branch_conditional::<7>),
    row!("0101 0100 .... .... .... .... ...0 1000", branch_conditional::<8>),
    row!("0101 0100 .... .... .... .... ...0 1001", branch_conditional::<9>),
    row!("0101 0100 .... .... .... .... ...0 1010", branch_conditional::<10>),
    row!("0101 0100 .... .... .... .... ...0 1011", branch_conditional::<11>),
    row!("0101 0100 .... .... .... .... ...0 1100", branch_conditional::<12>),
    row!("0101 0100 .... .... .... .... ...0 1101", branch_conditional::<13>),
    row!("0101 0100 .... .... .... .... ...0 111.", branch_conditional::<14>),
    row!(
        "0011 0100 .... .... .... .... .... ....",
        compare_branch::<false, false>
    ),
    row!("0011 0101 .... .... .... .... .... ....", compare_branch::<false, true>),
    row!("1011 0100 .... .... .... .... .... ....", compare_branch::<true, false>),
    row!("1011 0101 .... .... .... .... .... ....", compare_branch::<true, true>),
    row!(".011 0110 .... .... .... .... .... ....", test_branch::<false>),
    row!(".011 0111 .... .... .... .... .... ....", test_branch::<true>),
    row!("1101 0110 0001 1111 0000 00.. ...0 0000", branch_register),
    row!("1101 0110 0011 1111 0000 00.. ...0 0000", branch_link_register),
    row!("1101 0110 0101 1111 0000 00.. ...0 0000", branch_register),
    row!("1101 0110 1001 1111 0000 0011 1110 0000", exception_return),
    row!("1101 0100 000. .... .... .... ...0 0001", supervisor_call),
    row!("1101 0100 000. .... .... .... ...0 0010", hypervisor_call),
    row!("1101 0100 000. .... .... .... ...0 0011", monitor_call),
    row!("1101 0100 001. .... .... .... ...0 0000", breakpoint),
    row!("1101 0100 0101 1110 0000 0000 0000 0000", semihosting),
    row!("1101 0100 0101 1100 000. .... ...0 0000", firmware_call),
];

impl Core {
    /// What a branch with link leaves in C30: an integer in A64, a capability (a sentry under SBL) in C64.
    pub(super) fn link(&self) -> Capability {
        let after = self.pc.wrapping_add(4);
        if self.c64 {
            self.sealed_link(after | 1)
        } else {
            Capability::from_integer(after.wrapping_sub(self.pcc_offset()))
        }
    }

    /// The link as a capability to `address`.
    pub(super) fn sealed_link(&self, address: u64) -> Capability {
        let link = self.pcc.with_address_unchecked(address);
        if self.cctlr() & cctlr::SBL != 0 {
            link.seal_entry()
        } else {
            link
        }
    }
}

fn branch(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.branch(core.pc.wrapping_add_signed(signed(word, 0, 26) * 4))
}

fn branch_link(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let link = core.link();
    core.set_c(30, link);
    core.branch(core.pc.wrapping_add_signed(signed(word, 0, 26) * 4))
}

/// A function is made for each condition, as for the forms of the two that follow, so that the host's processor learns each on
/// its own how it goes.
fn branch_conditional<const CONDITION: u32>(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    if core.condition(CONDITION) {
        return core.branch(core.pc.wrapping_add_signed(signed(word, 5, 19) * 4));
    }
    Ok(())
}

fn compare_branch<const WIDE: bool, const UNEQUAL: bool>(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    if (cut(core.x(rd(word)), WIDE) == 0) != UNEQUAL {
        return core.branch(core.pc.wrapping_add_signed(signed(word, 5, 19) * 4));
    }
    Ok(())
}

fn test_branch<const SET: bool>(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let number = bits(word, 31, 1) << 5 | bits(word, 19, 5);
    if (core.x(rd(word)) >> number & 1 == 1) == SET {
        return core.branch(core.pc.wrapping_add_signed(signed(word, 5, 14) * 4));
    }
    Ok(())
}

impl Core {
    /// The address in PCC that an integer code address means.
    fn integer_target(&self, n: u32) -> u64 {
        self.x(n).wrapping_add(self.pcc_offset())
    }
}

fn branch_register(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.branch(core.integer_target(rn(word)))
}

fn branch_link_register(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let (target, link) = (core.integer_target(rn(word)), core.link());
    core.set_c(30, link);
    core.branch(target)
}

fn exception_return(core: &mut Core, bus: &mut Bus, _: u32) -> Step {
    if core.el == 0 {
        return core.undefined();
    }
    core.exception_return();
    if core.el == 0 {
        core.stays.leave(bus.now);
    }
    Err(Leave::Jumped)
}

fn supervisor_call(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    let general = core.el2_enabled() && core.registers.hcr_el2 >> 27 & 1 == 1;
    let target = if core.el == 0 && general { 2 } else { core.el.max(1) };
    core.raise_call(target, class::SVC, bits(word, 5, 16))
}

fn hypervisor_call(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    if core.el == 0 {
        return core.undefined();
    }
    if super::psci::call(core, bus, super::psci::Conduit::Hypervisor) {
        return Ok(());
    }
    let disabled = if core.levels.el3 {
        core.registers.scr_el3 >> 8 & 1 == 0
    } else {
        core.registers.hcr_el2 >> 29 & 1 == 1
    };
    if !core.levels.el2 || disabled {
        return core.undefined();
    }
    core.raise_call(core.el.max(2), class::HVC, bits(word, 5, 16))
}

fn monitor_call(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    if core.el == 0 {
        return core.undefined();
    }
    if super::psci::call(core, bus, super::psci::Conduit::Monitor) {
        return Ok(());
    }
    if !core.levels.el3 || core.registers.scr_el3 >> 7 & 1 == 1 {
        return core.undefined();
    }
    core.raise_call(3, class::SMC, bits(word, 5, 16))
}

fn breakpoint(core: &mut Core, _: &mut Bus, word: u32) -> Step {
    core.raise(class::BREAKPOINT, bits(word, 5, 16))
}

/// The instruction that calls the firmware: HLT #0xe000 and the number of the service.
pub(super) const fn efi_call(number: u32) -> u32 {
    0xd45c_0000 | number << 5
}

fn firmware_call(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    if core.el == 0 || !super::efi::call(core, bus, bits(word, 5, 8)) {
        return core.undefined();
    }
    Ok(())
}

/// HLT #0xf000: SYS_EXIT and SYS_EXIT_EXTENDED with an exit code end the run.
fn semihosting(core: &mut Core, bus: &mut Bus, _: u32) -> Step {
    const EXIT: u64 = 0x18;
    const EXIT_EXTENDED: u64 = 0x20;
    const APPLICATION_EXIT: u64 = 0x2_0026;
    if core.el == 0 || !bus.semihosting || !matches!(core.x(0), EXIT | EXIT_EXTENDED) {
        return core.undefined();
    }
    let block = core.x(1);
    let reason = u64::from_le_bytes(core.load(bus, block, false)?);
    let code = u64::from_le_bytes(core.load(bus, block + 8, false)?);
    let status = if reason == APPLICATION_EXIT { code as u8 } else { 1 };
    bus.stop = Some(crate::Stop::Exit(status));
    core.pause();
    Ok(())
}
