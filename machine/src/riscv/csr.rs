//! Control and status registers.

use capability::riscv::Capability;

use crate::cli::Isa;
use crate::float::Flags;

use super::bus::Bus;
use super::hart::{Hart, INTERRUPTS, Privilege, special, status};
use super::pmp;
use super::trap::{CapabilityCause, Trap};

const FFLAGS: u32 = 0x001;
const FRM: u32 = 0x002;
const FCSR: u32 = 0x003;
const CYCLE: u32 = 0xc00;
pub(super) const TIME: u32 = 0xc01;
const INSTRET: u32 = 0xc02;
const HPMCOUNTERS: std::ops::RangeInclusive<u32> = 0xc03..=0xc1f;
const MHPMCOUNTERS: std::ops::RangeInclusive<u32> = 0xb03..=0xb1f;
const MHPMEVENTS: std::ops::RangeInclusive<u32> = 0x323..=0x33f;
const MCYCLE: u32 = 0xb00;
const MINSTRET: u32 = 0xb02;
const MVENDORID: u32 = 0xf11;
const MARCHID: u32 = 0xf12;
const MIMPID: u32 = 0xf13;
const MHARTID: u32 = 0xf14;
const MSTATUS: u32 = 0x300;
const MISA: u32 = 0x301;
const MEDELEG: u32 = 0x302;
const MIDELEG: u32 = 0x303;
const MIE: u32 = 0x304;
const MTVEC: u32 = 0x305;
const MCOUNTEREN: u32 = 0x306;
const MSCRATCH: u32 = 0x340;
const MEPC: u32 = 0x341;
const MCAUSE: u32 = 0x342;
const MTVAL: u32 = 0x343;
const MIP: u32 = 0x344;
const PMPCFG: std::ops::RangeInclusive<u32> = 0x3a0..=0x3a3;
const PMPADDR: std::ops::RangeInclusive<u32> = 0x3b0..=0x3bf;
const UCCSR: u32 = 0x8c0;
const MCCSR: u32 = 0xbc0;

/// RV64 with A, C, D, F, I, M, U and X (CHERI).
const MISA_VALUE: u64 = 2 << 62 | 1 << 0 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 8 | 1 << 12 | 1 << 20 | 1 << 23;
/// CHERI is there and enabled.
const CCSR_ENABLE: u64 = 1;
/// v9: no relocation by DDC and PCC, tags cleared instead of traps.
const CCSR_V9: u64 = 3 << 30;

/// Registers that may be read without permission to access system registers (CHERI ISAv9, table 5.2).
fn needs_no_permission(number: u32) -> bool {
    matches!(number, FFLAGS | FRM | FCSR | CYCLE | TIME | INSTRET)
        || HPMCOUNTERS.contains(&number)
        || MHPMCOUNTERS.contains(&number)
}

/// The program counter in a special register as a CSR shows it: an offset from its base in v8.
fn program_counter_view(isa: Isa, register: &Capability) -> u64 {
    match isa {
        Isa::V8 => register.offset(),
        Isa::V9 => register.address(),
    }
}

/// A special register after its CSR view was set; untagged when it was sealed or cannot represent the address.
pub(super) fn with_program_counter_view(isa: Isa, register: Capability, value: u64) -> Capability {
    let address = match isa {
        Isa::V8 => register.base().wrapping_add(value),
        Isa::V9 => value,
    };
    register.set_address(address)
}

/// `mtcc` after a write of `new`: reserved vector modes keep the old mode.
pub(super) fn legal_trap_vector(isa: Isa, old: &Capability, new: Capability) -> Capability {
    let view = program_counter_view(isa, &new);
    let view = if view & 3 > 1 {
        view & !3 | program_counter_view(isa, old) & 3
    } else {
        view
    };
    with_program_counter_view(isa, new, view)
}

impl Hart {
    /// Whether the CSR may be accessed at all, by its number, the privilege and PCC's permission.
    pub(super) fn check_csr(&self, number: u32, write: bool) -> Result<(), Trap> {
        let needed = number >> 8 & 3;
        let read_only = number >> 10 == 3;
        let held = if self.privilege == Privilege::Machine { 3 } else { 0 };
        if write && read_only || held < needed || !self.csr_exists(number) {
            return Err(Trap::illegal());
        }
        if !self.has_system_registers() && !needs_no_permission(number) {
            // The reference emulator names register 0, not PCC.
            return Err(Trap::capability(CapabilityCause::SystemRegisters, 0));
        }
        Ok(())
    }

    fn csr_exists(&self, number: u32) -> bool {
        match number {
            FFLAGS | FRM | FCSR => self.mstatus & status::FS != 0,
            CYCLE | TIME | INSTRET => self.counter_enabled(number),
            _ if HPMCOUNTERS.contains(&number) => self.counter_enabled(number),
            MCYCLE | MINSTRET | MVENDORID | MARCHID | MIMPID | MHARTID | MSTATUS | MISA | MEDELEG | MIDELEG | MIE
            | MTVEC | MCOUNTEREN | MSCRATCH | MEPC | MCAUSE | MTVAL | MIP | UCCSR | MCCSR => true,
            _ => {
                PMPCFG.contains(&number)
                    || PMPADDR.contains(&number)
                    || MHPMCOUNTERS.contains(&number)
                    || MHPMEVENTS.contains(&number)
            }
        }
    }

    fn counter_enabled(&self, number: u32) -> bool {
        self.privilege == Privilege::Machine || self.mcounteren >> (number - CYCLE) & 1 == 1
    }

    /// Reads a CSR that [`Hart::check_csr`] admitted.
    pub(super) fn read_csr(&self, number: u32, bus: &Bus) -> u64 {
        // The instruction that reads is not yet complete.
        let retired = self.retired().wrapping_sub(1);
        match number {
            CYCLE | MCYCLE => retired.wrapping_add(self.cycle_offset),
            INSTRET | MINSTRET => retired.wrapping_add(self.retired_offset),
            TIME => bus.devices.clint.time(bus.time_base.wrapping_add(self.steps)),
            MHARTID => self.id as u64,
            FFLAGS => self.floats.flags.bits().into(),
            FRM => self.floats.rounding.into(),
            FCSR => u64::from(self.floats.rounding) << 5 | u64::from(self.floats.flags.bits()),
            MSTATUS if self.mstatus & status::FS == status::FS => self.mstatus | status::SD,
            MSTATUS => self.mstatus,
            MISA => MISA_VALUE,
            MIE => self.mie,
            MTVEC => program_counter_view(self.isa, &self.special[special::MTCC as usize]),
            MCOUNTEREN => self.mcounteren,
            MSCRATCH => self.mscratch,
            MEPC => program_counter_view(self.isa, &self.special[special::MEPCC as usize]) & !1,
            MCAUSE => self.mcause,
            MTVAL => self.mtval,
            MIP => self.mip,
            UCCSR | MCCSR => match self.isa {
                Isa::V8 => CCSR_ENABLE,
                Isa::V9 => CCSR_ENABLE | CCSR_V9,
            },
            _ if PMPCFG.contains(&number) => {
                let index = (number - PMPCFG.start()) as usize;
                if index.is_multiple_of(2) {
                    self.pmp.configuration(index)
                } else {
                    0
                }
            }
            _ if PMPADDR.contains(&number) => self.pmp.address((number - PMPADDR.start()) as usize),
            // Identification, event counters and delegation: none, hard-wired to zero.
            _ => 0,
        }
    }

    /// Writes a CSR that [`Hart::check_csr`] admitted. Fields that do not exist keep their value.
    pub(super) fn write_csr(&mut self, number: u32, value: u64) {
        match number {
            MCYCLE => self.cycle_offset = value.wrapping_sub(self.retired()),
            MINSTRET => self.retired_offset = value.wrapping_sub(self.retired()),
            FFLAGS | FRM | FCSR => self.write_float_csr(number, value),
            MSTATUS => {
                let writable = status::MIE | status::MPIE | status::FS | status::MPRV | status::TW;
                let privilege = if value & status::MPP == status::MPP {
                    status::MPP
                } else {
                    0
                };
                self.set_status(self.mstatus & !(writable | status::MPP) | value & writable | privilege);
            }
            MIE => self.mie = value & INTERRUPTS,
            MTVEC if value & 3 > 1 => {}
            MTVEC => {
                let register = &mut self.special[special::MTCC as usize];
                *register = with_program_counter_view(self.isa, *register, value);
            }
            MCOUNTEREN => self.mcounteren = value & 0xffff_ffff,
            MSCRATCH => self.mscratch = value,
            MEPC => {
                let register = &mut self.special[special::MEPCC as usize];
                *register = with_program_counter_view(self.isa, *register, value);
            }
            MCAUSE => self.mcause = value,
            MTVAL => self.mtval = value,
            _ if PMPCFG.contains(&number) => {
                let index = (number - PMPCFG.start()) as usize;
                if index.is_multiple_of(2) {
                    self.pmp.set_configuration(index, value);
                    self.forget_windows();
                }
            }
            _ if PMPADDR.contains(&number) => {
                let index = (number - PMPADDR.start()) as usize;
                debug_assert!(index < pmp::ENTRIES);
                self.pmp.set_address(index, value);
                self.forget_windows();
            }
            _ => {}
        }
    }
}

impl Hart {
    fn write_float_csr(&mut self, number: u32, value: u64) {
        if number != FRM {
            self.floats.flags = Flags::from_bits_truncate(value as u8);
        }
        if number != FFLAGS {
            let field = if number == FCSR { value >> 5 } else { value };
            self.floats.rounding = (field & 7) as u8;
        }
        self.mstatus |= status::FS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_mode_reads_counters_only_when_mcounteren_allows() {
        let mut hart = Hart::new(0, Isa::V9);
        hart.privilege = Privilege::User;
        assert_eq!(hart.check_csr(CYCLE, false), Err(Trap::illegal()));
        hart.mcounteren = 1;
        assert_eq!(hart.check_csr(CYCLE, false), Ok(()));
        assert_eq!(hart.check_csr(CYCLE, true), Err(Trap::illegal()));
        assert_eq!(hart.check_csr(INSTRET, false), Err(Trap::illegal()));
    }

    #[test]
    fn without_the_permission_a_csr_access_is_a_capability_fault_and_counters_stay_readable() {
        let mut hart = Hart::new(0, Isa::V9);
        hart.pcc = Capability::ROOT.and_permissions(0x117);
        assert_eq!(hart.check_csr(MHARTID, false).unwrap_err().value, 0x18);
        assert_eq!(hart.check_csr(TIME, false), Ok(()));
    }

    #[test]
    fn a_register_that_does_not_exist_is_illegal() {
        let hart = Hart::new(0, Isa::V9);
        for number in [0x100, 0x180, 0x34b, 0x7c0, 0x3a4] {
            assert_eq!(hart.check_csr(number, false), Err(Trap::illegal()), "{number:#x}");
        }
    }

    #[test]
    fn the_program_counter_registers_are_offsets_in_v8_and_addresses_in_v9() {
        let code = Capability::ROOT
            .set_address(0x8000_0000)
            .set_bounds(0x1000)
            .0
            .set_address(0x8000_0040);
        assert_eq!(program_counter_view(Isa::V8, &code), 0x40);
        assert_eq!(program_counter_view(Isa::V9, &code), 0x8000_0040);
        assert_eq!(with_program_counter_view(Isa::V8, code, 0x44).address(), 0x8000_0044);
        assert_eq!(
            with_program_counter_view(Isa::V9, code, 0x8000_0044).address(),
            0x8000_0044
        );
        assert!(!with_program_counter_view(Isa::V9, code.seal_entry(), 0x8000_0044).tag());
    }

    #[test]
    fn reserved_modes_of_the_trap_vector_keep_the_old_mode() {
        let old = Capability::ROOT.set_address(0x8000_0001);
        assert_eq!(
            legal_trap_vector(Isa::V9, &old, Capability::ROOT.set_address(0x9000_0002)).address(),
            0x9000_0001
        );
    }

    #[test]
    fn an_unsupported_previous_privilege_becomes_user() {
        let mut hart = Hart::new(0, Isa::V9);
        hart.write_csr(MSTATUS, 1 << 11 | status::MPIE);
        assert_eq!(hart.mstatus & (status::MPP | status::MPIE), status::MPIE);
        hart.write_csr(MSTATUS, status::MPP);
        assert_eq!(hart.mstatus & status::MPP, status::MPP);
    }
}
