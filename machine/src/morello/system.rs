//! System instructions and system registers (DDI 0487 C5 and D13, DDI 0606 chapter 3).
//!
//! An access is checked in this order: the register exists, the exception level may access it, the bank (some names exist only
//! in Executive), the form (capability or 64 bits), the System permission, and then what the register itself demands.

use super::bus::Bus;
use super::core::{Core, Step, cctlr};
use super::decode::{Row, bit, bits, rd, row};
use super::exception::{class, pstate};
use super::system_instructions::{self, set_pan, system_instruction};
use super::timer::Timer;
use capability::morello::Capability;

/// Hints, barriers, PSTATE and system register accesses.
pub(super) const INSTRUCTIONS: &[Row] = &[
    row!("1101 0101 0000 0011 0010 .... ...1 1111", system_instructions::hint),
    row!("1101 0101 0000 0011 0011 .... ...1 1111", system_instructions::barrier),
    row!(
        "1101 0101 0000 0... 0100 .... ...1 1111",
        system_instructions::set_pstate
    ),
    row!("1101 0101 00.. .... .... .... .... ....", register_access),
];

/// The encoding of a register as bits 20 to 5 of the instruction.
pub(super) const fn encoding(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> u16 {
    (op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2) as u16
}

macro_rules! names {
    ($($name:ident = $op0:literal $op1:literal $crn:literal $crm:literal $op2:literal;)*) => {
        $(const $name: u16 = encoding($op0, $op1, $crn, $crm, $op2);)*
    };
}

names! {
    MDSCR_EL1 = 2 0 0 2 2; MDCCSR_EL0 = 2 3 0 1 0; DBGDTR_EL0 = 2 3 0 4 0; DBGDTRTX_EL0 = 2 3 0 5 0;
    MIDR_EL1 = 3 0 0 0 0; MPIDR_EL1 = 3 0 0 0 5; REVIDR_EL1 = 3 0 0 0 6;
    ID_AA64PFR0 = 3 0 0 4 0; ID_AA64PFR1 = 3 0 0 4 1; ID_AA64DFR0 = 3 0 0 5 0; ID_AA64ISAR0 = 3 0 0 6 0;
    ID_AA64ISAR1 = 3 0 0 6 1; ID_AA64MMFR0 = 3 0 0 7 0; ID_AA64MMFR1 = 3 0 0 7 1; ID_AA64MMFR2 = 3 0 0 7 2;
    SCTLR_EL1 = 3 0 1 0 0; CPACR_EL1 = 3 0 1 0 2; CCTLR_EL1 = 3 0 1 2 2;
    TTBR0_EL1 = 3 0 2 0 0; TTBR1_EL1 = 3 0 2 0 1; TCR_EL1 = 3 0 2 0 2;
    SPSR_EL1 = 3 0 4 0 0; ELR_EL1 = 3 0 4 0 1; SP_EL0 = 3 0 4 1 0; DDC_EL0 = 3 0 4 1 1;
    SPSEL = 3 0 4 2 0; CURRENT_EL = 3 0 4 2 2; PAN = 3 0 4 2 3; UAO = 3 0 4 2 4;
    ESR_EL1 = 3 0 5 2 0; FAR_EL1 = 3 0 6 0 0; PAR_EL1 = 3 0 7 4 0; MAIR_EL1 = 3 0 10 2 0;
    VBAR_EL1 = 3 0 12 0 0; ISR_EL1 = 3 0 12 1 0; TPIDR_EL1 = 3 0 13 0 4; CNTKCTL_EL1 = 3 0 14 1 0;
    CLIDR_EL1 = 3 1 0 0 1; CCSIDR_EL1 = 3 1 0 0 0; CTR_EL0 = 3 3 0 0 1; DCZID_EL0 = 3 3 0 0 7;
    CCTLR_EL0 = 3 3 1 2 2; DDC = 3 3 4 1 1; NZCV = 3 3 4 2 0; DAIF = 3 3 4 2 1; RDDC_EL0 = 3 3 4 3 1;
    FPCR = 3 3 4 4 0; FPSR = 3 3 4 4 1; PMCCNTR_EL0 = 3 3 9 13 0; PMUSERENR_EL0 = 3 3 9 14 0;
    TPIDR_EL0 = 3 3 13 0 2; TPIDRRO_EL0 = 3 3 13 0 3; RTPIDR_EL0 = 3 3 13 0 4; CID_EL0 = 3 3 13 0 7;
    CNTFRQ_EL0 = 3 3 14 0 0; CNTPCT_EL0 = 3 3 14 0 1; CNTVCT_EL0 = 3 3 14 0 2;
    CNTP_TVAL_EL0 = 3 3 14 2 0; CNTP_CTL_EL0 = 3 3 14 2 1; CNTP_CVAL_EL0 = 3 3 14 2 2;
    CNTV_TVAL_EL0 = 3 3 14 3 0; CNTV_CTL_EL0 = 3 3 14 3 1; CNTV_CVAL_EL0 = 3 3 14 3 2;
    SCTLR_EL2 = 3 4 1 0 0; HCR_EL2 = 3 4 1 1 0; CPTR_EL2 = 3 4 1 1 2; CCTLR_EL2 = 3 4 1 2 2; CHCR_EL2 = 3 4 1 2 3;
    TTBR0_EL2 = 3 4 2 0 0; TTBR1_EL2 = 3 4 2 0 1; TCR_EL2 = 3 4 2 0 2; SPSR_EL2 = 3 4 4 0 0; ELR_EL2 = 3 4 4 0 1;
    SP_EL1 = 3 4 4 1 0; DDC_EL1 = 3 4 4 1 1; ESR_EL2 = 3 4 5 2 0; FAR_EL2 = 3 4 6 0 0; MAIR_EL2 = 3 4 10 2 0;
    VBAR_EL2 = 3 4 12 0 0; TPIDR_EL2 = 3 4 13 0 2; CNTVOFF_EL2 = 3 4 14 0 3; CNTHCTL_EL2 = 3 4 14 1 0;
    SCTLR_EL3 = 3 6 1 0 0; SCR_EL3 = 3 6 1 1 0; CPTR_EL3 = 3 6 1 1 2; CCTLR_EL3 = 3 6 1 2 2; CSCR_EL3 = 3 6 1 2 3;
    TTBR0_EL3 = 3 6 2 0 0; TCR_EL3 = 3 6 2 0 2; SPSR_EL3 = 3 6 4 0 0; ELR_EL3 = 3 6 4 0 1; SP_EL2 = 3 6 4 1 0;
    DDC_EL2 = 3 6 4 1 1; ESR_EL3 = 3 6 5 2 0; FAR_EL3 = 3 6 6 0 0; MAIR_EL3 = 3 6 10 2 0; VBAR_EL3 = 3 6 12 0 0;
    TPIDR_EL3 = 3 6 13 0 2; RSP_EL0 = 3 7 4 1 3;
}

/// Registers that hold what is written and do nothing, and how they read after reset where that is not zero.
const PLAIN: &[(u16, u64)] = &[
    (encoding(2, 0, 0, 2, 0), 0),
    (encoding(2, 0, 0, 2, 2), 0),
    (encoding(2, 0, 1, 0, 4), 0),
    (encoding(2, 0, 1, 3, 4), 0),
    (encoding(2, 0, 7, 8, 6), 0),
    (encoding(2, 0, 7, 9, 6), 0),
    (encoding(2, 3, 0, 1, 0), 0),
    (encoding(2, 3, 0, 4, 0), 0),
    (encoding(2, 3, 0, 5, 0), 0),
    (encoding(3, 0, 1, 0, 1), 0),
    (encoding(3, 0, 5, 1, 0), 0),
    (encoding(3, 0, 5, 1, 1), 0),
    (encoding(3, 0, 10, 3, 0), 0),
    (encoding(3, 0, 13, 0, 1), 0),
    (encoding(3, 2, 0, 0, 0), 0),
    (encoding(3, 0, 9, 14, 1), 0),
    (encoding(3, 0, 9, 14, 2), 0),
    (encoding(3, 3, 9, 12, 0), 0x4100_3000),
    (encoding(3, 3, 9, 12, 1), 0),
    (encoding(3, 3, 9, 12, 2), 0),
    (encoding(3, 3, 9, 12, 3), 0),
    (encoding(3, 3, 9, 12, 5), 0),
    (encoding(3, 3, 14, 15, 7), 0),
    (encoding(3, 4, 0, 0, 0), 0x410f_d083),
    (encoding(3, 4, 0, 0, 5), 1 << 31),
    (encoding(3, 4, 1, 0, 1), 0),
    (encoding(3, 4, 1, 1, 1), 0),
    (encoding(3, 4, 1, 1, 3), 0),
    (encoding(3, 4, 1, 1, 7), 0),
    (encoding(3, 4, 2, 1, 0), 0),
    (encoding(3, 4, 2, 1, 2), 0),
    (encoding(3, 4, 5, 1, 0), 0),
    (encoding(3, 4, 5, 1, 1), 0),
    (encoding(3, 4, 6, 0, 4), 0),
    (encoding(3, 4, 10, 3, 0), 0),
    (encoding(3, 4, 12, 11, 0), 0),
    (encoding(3, 4, 12, 11, 7), 0),
    (encoding(3, 4, 13, 0, 1), 0),
    (encoding(3, 6, 1, 0, 1), 0),
    (encoding(3, 6, 1, 3, 1), 0),
    (encoding(3, 6, 5, 1, 0), 0),
    (encoding(3, 6, 5, 1, 1), 0),
    (encoding(3, 6, 10, 3, 0), 0),
];

/// Names that Restricted code does not have.
const EXECUTIVE_ONLY: &[u16] = &[
    DDC_EL0, DDC_EL1, DDC_EL2, RDDC_EL0, SP_EL0, SP_EL1, SP_EL2, RSP_EL0, RTPIDR_EL0,
];

/// Names that need no System permission.
const WITHOUT_SYSTEM: &[u16] = &[
    TPIDR_EL0,
    TPIDRRO_EL0,
    RTPIDR_EL0,
    TPIDR_EL1,
    TPIDR_EL2,
    TPIDR_EL3,
    CID_EL0,
    CNTVCT_EL0,
    PAN,
    UAO,
    NZCV,
    DAIF,
    FPCR,
    FPSR,
    DCZID_EL0,
    CTR_EL0,
    CURRENT_EL,
    SPSEL,
    ELR_EL1,
    ELR_EL2,
    ELR_EL3,
    SPSR_EL1,
    SPSR_EL2,
    SPSR_EL3,
    SP_EL0,
    SP_EL1,
    SP_EL2,
    RSP_EL0,
    DDC,
    DDC_EL0,
    DDC_EL1,
    DDC_EL2,
    RDDC_EL0,
];

/// How a register is accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) encoding: u16,
    pub(super) target: u32,
    pub(super) read: bool,
    capability: bool,
}

impl Form {
    /// The syndrome of a trapped access.
    pub(super) fn syndrome(self) -> u32 {
        let field = |low: u32, count: u32| u32::from(self.encoding) >> low & ((1 << count) - 1);
        let (op0, op1, crn, crm, op2) = (field(14, 2), field(11, 3), field(7, 4), field(3, 4), field(0, 3));
        op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | self.target << 5 | crm << 1 | u32::from(self.read)
    }

    fn class(self) -> u32 {
        if self.capability {
            class::CAPABILITY_SYSTEM_REGISTER
        } else {
            class::SYSTEM_REGISTER
        }
    }

    fn op1(self) -> u32 {
        u32::from(self.encoding) >> 11 & 7
    }
}

/// The lowest exception level that an op1 field belongs to.
pub(super) fn lowest_level(encoding: u16) -> u8 {
    match encoding >> 11 & 7 {
        3 => 0,
        4 | 5 => 2,
        6 => 3,
        7 if encoding == RSP_EL0 => 0,
        7 => 3,
        _ => 1,
    }
}

/// MRS and MSR of capability registers.
pub(super) fn capability_register(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let form = Form {
        encoding: 0x8000 | bits(word, 5, 15) as u16,
        target: rd(word),
        read: bit(word, 20),
        capability: true,
    };
    access(core, bus, form)
}

fn register_access(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let form = Form {
        encoding: bits(word, 5, 16) as u16,
        target: rd(word),
        read: bit(word, 21),
        capability: false,
    };
    match form.encoding >> 14 {
        1 => system_instruction(core, bus, form),
        2 | 3 => access(core, bus, form),
        _ => core.undefined(),
    }
}

impl Core {
    /// The register that a name means: EL12 names at EL2 are EL1's, and with E2H EL1 names at EL2 are EL2's own.
    fn resolve(&self, encoding: u16) -> Option<u16> {
        let host = self.registers.hcr_el2 >> 34 & 1 == 1;
        let (op1, rest) = (encoding >> 11 & 7, encoding & !(7 << 11));
        if op1 == 5 {
            return (host && self.el >= 2).then_some(rest);
        }
        if host && self.el == 2 && op1 == 0 {
            return Some(match encoding {
                CPACR_EL1 => CPTR_EL2,
                CNTKCTL_EL1 => CNTHCTL_EL2,
                SCTLR_EL1 | TTBR0_EL1 | TTBR1_EL1 | TCR_EL1 | SPSR_EL1 | ELR_EL1 | ESR_EL1 | FAR_EL1 | MAIR_EL1
                | VBAR_EL1 | CCTLR_EL1 => rest | 4 << 11,
                other => other,
            });
        }
        Some(encoding)
    }

    /// The capability register behind a name.
    fn capability_place(&mut self, encoding: u16) -> Option<&mut Capability> {
        let restricted = !self.executive();
        let registers = &mut self.registers;
        Some(match encoding {
            DDC => &mut self.ddc[self.bank],
            DDC_EL0 => &mut self.ddc[0],
            DDC_EL1 => &mut self.ddc[1],
            DDC_EL2 => &mut self.ddc[2],
            RDDC_EL0 => &mut self.ddc[4],
            SP_EL0 => &mut self.sp[0],
            SP_EL1 => &mut self.sp[1],
            SP_EL2 => &mut self.sp[2],
            RSP_EL0 => &mut self.sp[4],
            ELR_EL1 => &mut registers.elr[1],
            ELR_EL2 => &mut registers.elr[2],
            ELR_EL3 => &mut registers.elr[3],
            VBAR_EL1 => &mut registers.vbar[1],
            VBAR_EL2 => &mut registers.vbar[2],
            VBAR_EL3 => &mut registers.vbar[3],
            TPIDR_EL0 if restricted => &mut registers.rtpidr_el0,
            TPIDR_EL0 => &mut registers.tpidr[0],
            TPIDR_EL1 => &mut registers.tpidr[1],
            TPIDR_EL2 => &mut registers.tpidr[2],
            TPIDR_EL3 => &mut registers.tpidr[3],
            TPIDRRO_EL0 => &mut registers.tpidrro_el0,
            RTPIDR_EL0 => &mut registers.rtpidr_el0,
            CID_EL0 => &mut registers.cid_el0,
            _ => return None,
        })
    }

    /// The 64-bit register behind a name, for those that are a plain field.
    fn field(&mut self, encoding: u16) -> Option<&mut u64> {
        let registers = &mut self.registers;
        Some(match encoding {
            SCTLR_EL1 => &mut registers.sctlr[1],
            SCTLR_EL2 => &mut registers.sctlr[2],
            SCTLR_EL3 => &mut registers.sctlr[3],
            TTBR0_EL1 => &mut registers.ttbr0[1],
            TTBR0_EL2 => &mut registers.ttbr0[2],
            TTBR0_EL3 => &mut registers.ttbr0[3],
            TTBR1_EL1 => &mut registers.ttbr1[1],
            TTBR1_EL2 => &mut registers.ttbr1[2],
            TCR_EL1 => &mut registers.tcr[1],
            TCR_EL2 => &mut registers.tcr[2],
            TCR_EL3 => &mut registers.tcr[3],
            MAIR_EL1 => &mut registers.mair[1],
            MAIR_EL2 => &mut registers.mair[2],
            MAIR_EL3 => &mut registers.mair[3],
            CCTLR_EL0 => &mut registers.cctlr[0],
            CCTLR_EL1 => &mut registers.cctlr[1],
            CCTLR_EL2 => &mut registers.cctlr[2],
            CCTLR_EL3 => &mut registers.cctlr[3],
            SPSR_EL1 => &mut registers.spsr[1],
            SPSR_EL2 => &mut registers.spsr[2],
            SPSR_EL3 => &mut registers.spsr[3],
            ESR_EL1 => &mut registers.esr[1],
            ESR_EL2 => &mut registers.esr[2],
            ESR_EL3 => &mut registers.esr[3],
            FAR_EL1 => &mut registers.far[1],
            FAR_EL2 => &mut registers.far[2],
            FAR_EL3 => &mut registers.far[3],
            PAR_EL1 => &mut registers.par_el1,
            CPACR_EL1 => &mut registers.cpacr_el1,
            HCR_EL2 => &mut registers.hcr_el2,
            CPTR_EL2 => &mut registers.cptr_el2,
            CPTR_EL3 => &mut registers.cptr_el3,
            SCR_EL3 => &mut registers.scr_el3,
            CHCR_EL2 => &mut registers.chcr_el2,
            CSCR_EL3 => &mut registers.cscr_el3,
            CNTKCTL_EL1 => &mut self.timers.kernel_control,
            CNTHCTL_EL2 => &mut self.timers.hypervisor_control,
            CNTVOFF_EL2 => &mut self.timers.virtual_offset,
            PMUSERENR_EL0 => registers.plain.entry(encoding).or_insert(0),
            _ => {
                let (_, reset) = PLAIN.iter().find(|(name, _)| *name == encoding)?;
                registers.plain.entry(encoding).or_insert(*reset)
            }
        })
    }

    /// The value of a read-only register.
    fn constant(&self, bus: &Bus, encoding: u16) -> Option<u64> {
        let levels = self.levels;
        Some(match encoding {
            MIDR_EL1 => 0x410f_d083,
            MPIDR_EL1 => self.registers.mpidr,
            REVIDR_EL1 => 0,
            ID_AA64PFR0 => {
                0x11 | u64::from(levels.el2) << 8 | u64::from(levels.el3) << 12 | u64::from(bus.gic_v3()) << 24
            }
            ID_AA64PFR1 => 1 << 20,
            ID_AA64DFR0 => 0x0000_0000_0070_0506,
            ID_AA64ISAR0 => 2 << 20 | 1 << 16,
            ID_AA64ISAR1 => 1 << 20 | 1,
            ID_AA64MMFR0 => 0x0000_0000_0f00_0025,
            ID_AA64MMFR1 => 2 << 20 | 2 << 12 | 1 << 8,
            ID_AA64MMFR2 => 1 << 4,
            CLIDR_EL1 => 0x0a20_0023,
            CCSIDR_EL1 => 0x7007_e01a,
            CTR_EL0 => 0x8444_c004,
            DCZID_EL0 => 4 | u64::from(self.el == 0 && self.registers.sctlr[1] >> 14 & 1 == 0) << 4,
            CURRENT_EL => u64::from(self.el) << 2,
            ISR_EL1 => bus.interrupt_status(self.number),
            CNTFRQ_EL0 => self.timers.frequency(),
            _ if encoding >> 14 == 3 && encoding >> 7 & 0x7f == 0 && (1..8).contains(&(encoding >> 3 & 15)) => 0,
            _ => return None,
        })
    }
}

/// Whether the name exists at all, in the given form.
fn exists(core: &mut Core, bus: &Bus, encoding: u16, capability: bool) -> bool {
    let timer = Timer::from_encoding(encoding).is_some();
    if core.capability_place(encoding).is_some() {
        let only_capability = [DDC, DDC_EL0, DDC_EL1, DDC_EL2, RDDC_EL0].contains(&encoding);
        return capability || !only_capability;
    }
    let special = [
        NZCV,
        DAIF,
        FPCR,
        FPSR,
        SPSEL,
        PAN,
        UAO,
        CNTPCT_EL0,
        CNTVCT_EL0,
        PMCCNTR_EL0,
    ]
    .contains(&encoding);
    !capability
        && (timer
            || special
            || core.field(encoding).is_some()
            || core.constant(bus, encoding).is_some()
            || bus.gic_register_exists(encoding))
}

fn access(core: &mut Core, bus: &mut Bus, form: Form) -> Step {
    let Some(encoding) = core.resolve(form.encoding) else {
        return core.undefined();
    };
    if !exists(core, bus, encoding, form.capability) {
        return core.undefined();
    }
    let level = if form.op1() == 5 { 2 } else { lowest_level(encoding) };
    let level = if encoding == TPIDRRO_EL0 && !form.read {
        1
    } else {
        level
    };
    let writable = core.constant(bus, encoding).is_none();
    if core.el < level || !form.read && !writable || level == 2 && !core.levels.el2 && core.el < 3 {
        return core.undefined();
    }
    if encoding == SP_EL0 && !core.sp_selected {
        return core.undefined();
    }
    if EXECUTIVE_ONLY.contains(&encoding) && !core.executive() {
        return core.undefined();
    }
    if !WITHOUT_SYSTEM.contains(&encoding) && !core.system() {
        return core.raise_system(form.class(), form.syndrome());
    }
    if form.capability {
        core.require_capabilities()?;
        return access_capability(core, form, encoding);
    }
    check_el0(core, form, encoding)?;
    if form.read {
        let value = read(core, bus, encoding)?;
        core.set_x(form.target, value);
        Ok(())
    } else {
        let value = core.x(form.target);
        write(core, bus, encoding, value)
    }
}

fn access_capability(core: &mut Core, form: Form, encoding: u16) -> Step {
    let value = core.c(form.target);
    let Some(place) = core.capability_place(encoding) else {
        return core.undefined();
    };
    if form.read {
        let value = *place;
        core.set_c(form.target, value);
    } else {
        *place = value;
        // It may have been DDC.
        core.forget_direct();
    }
    Ok(())
}

/// What EL0 may access only when EL1 lets it.
fn check_el0(core: &mut Core, form: Form, encoding: u16) -> Step {
    if core.el != 0 {
        return Ok(());
    }
    let sctlr = core.registers.sctlr[1];
    let kernel = core.timers.kernel_control;
    let permitted = match encoding {
        DAIF => sctlr >> 9 & 1 == 1,
        CTR_EL0 => sctlr >> 15 & 1 == 1,
        CNTVCT_EL0 => kernel >> 1 & 1 == 1 && (core.system() || core.registers.cctlr[0] & cctlr::PERMVCT != 0),
        CNTPCT_EL0 => kernel & 1 == 1,
        CNTFRQ_EL0 => kernel & 3 != 0,
        CNTP_TVAL_EL0 | CNTP_CTL_EL0 | CNTP_CVAL_EL0 => kernel >> 9 & 1 == 1,
        CNTV_TVAL_EL0 | CNTV_CTL_EL0 | CNTV_CVAL_EL0 => kernel >> 8 & 1 == 1,
        PMUSERENR_EL0 => form.read,
        // TDCC.
        MDCCSR_EL0 | DBGDTR_EL0 | DBGDTRTX_EL0 => core.field(MDSCR_EL1).is_none_or(|control| *control >> 12 & 1 == 0),
        _ if encoding >> 7 & 0x7f == 3 << 4 | 9 => core.field(PMUSERENR_EL0).is_some_and(|enable| *enable & 1 == 1),
        _ => true,
    };
    if permitted {
        Ok(())
    } else {
        core.raise(class::SYSTEM_REGISTER, form.syndrome())
    }
}

fn read(core: &mut Core, bus: &mut Bus, encoding: u16) -> Step<u64> {
    if let Some(value) = core.constant(bus, encoding) {
        return Ok(value);
    }
    if let Some((timer, register)) = Timer::from_encoding(encoding) {
        return Ok(core.timers.read(timer, register, bus.now));
    }
    if bus.gic_register_exists(encoding) {
        core.pause();
        return Ok(bus.gic_register_read(core.number, encoding));
    }
    Ok(match encoding {
        NZCV => core.nzcv.into(),
        DAIF => core.daif.into(),
        SPSEL => core.sp_selected.into(),
        PAN => u64::from(core.pan) << 22,
        UAO => u64::from(core.uao) << 23,
        FPCR => {
            core.require_fp()?;
            core.fpcr.into()
        }
        FPSR => {
            core.require_fp()?;
            core.fpsr.into()
        }
        CNTPCT_EL0 => {
            core.stays.look(bus.now);
            core.timers.physical_count(bus.now)
        }
        CNTVCT_EL0 => {
            core.stays.look(bus.now);
            core.timers.virtual_count(bus.now)
        }
        PMCCNTR_EL0 => bus.now,
        _ => match core.capability_place(encoding) {
            Some(place) => place.address(),
            None => core.field(encoding).map_or(0, |field| *field),
        },
    })
}

fn write(core: &mut Core, bus: &mut Bus, encoding: u16, value: u64) -> Step {
    if let Some((timer, register)) = Timer::from_encoding(encoding) {
        core.timers.write(timer, register, value, bus.now);
        core.pause();
        return Ok(());
    }
    if bus.gic_register_exists(encoding) {
        bus.gic_register_write(core.number, encoding, value);
        core.pause();
        return Ok(());
    }
    match encoding {
        NZCV => core.nzcv = value as u32 & pstate::NZCV,
        DAIF => {
            core.daif = value as u32 & pstate::DAIF;
            core.pause();
        }
        SPSEL => {
            core.sp_selected = value & 1 == 1;
            core.select_bank();
        }
        PAN => set_pan(core, value >> 22 & 1 == 1),
        UAO => core.uao = value >> 23 & 1 == 1,
        FPCR => {
            core.require_fp()?;
            core.fpcr = value as u32 & 0x07f7_9f00;
        }
        FPSR => {
            core.require_fp()?;
            core.fpsr = value as u32 & 0xf800_009f;
        }
        CNTPCT_EL0 | CNTVCT_EL0 => return core.undefined(),
        PMCCNTR_EL0 => (),
        _ => {
            if let Some(place) = core.capability_place(encoding) {
                *place = Capability::from_integer(value);
            } else if let Some(field) = core.field(encoding) {
                *field = value;
            }
            // Anything may have changed what is translated and what is enabled.
            core.update_enables();
            core.tlb.flush();
            core.close_window();
            core.pause();
        }
    }
    Ok(())
}

impl Core {
    /// Works out where capabilities and SIMD&FP are enabled.
    pub(super) fn update_enables(&mut self) {
        for el in 0..4 {
            self.registers.capabilities_enabled[usize::from(el)] = self.capabilities_disabled_by(el).is_none();
            self.registers.fp_enabled[usize::from(el)] = self.fp_disabled_by(el).is_none();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_bits_20_to_5_of_the_instruction() {
        // mrs x0, currentel
        assert_eq!(bits(0xd538_4240, 5, 16) as u16, CURRENT_EL);
        // msr cpacr_el1, x0
        assert_eq!(bits(0xd518_1040, 5, 16) as u16, CPACR_EL1);
        // The capability form of MSR DDC_EL0.
        assert_eq!(0x8000 | bits(0xc288_4120, 5, 15) as u16, DDC_EL0);
    }

    #[test]
    fn a_trapped_access_is_described_in_the_syndrome() {
        let form = Form {
            encoding: CCTLR_EL0,
            target: 3,
            read: false,
            capability: false,
        };
        assert_eq!(form.syndrome(), 3 << 20 | 2 << 17 | 3 << 14 | 1 << 10 | 3 << 5 | 2 << 1);
    }
}
