//! Exceptions: how they are recorded, taken and returned from (DDI 0487 D1.10, DDI 0606 chapter 2.10).

use super::bus::Bus;
use super::core::{Core, Leave, Step, cctlr, permission};
use crate::Stop;
use capability::morello::Capability;

/// Exception classes of ESR.
pub(super) mod class {
    pub(crate) const UNKNOWN: u32 = 0x00;
    pub(crate) const WFX: u32 = 0x01;
    pub(crate) const FP_ACCESS: u32 = 0x07;
    pub(crate) const ILLEGAL_STATE: u32 = 0x0e;
    pub(crate) const SVC: u32 = 0x15;
    pub(crate) const HVC: u32 = 0x16;
    pub(crate) const SMC: u32 = 0x17;
    pub(crate) const SYSTEM_REGISTER: u32 = 0x18;
    pub(crate) const INSTRUCTION_ABORT: u32 = 0x20;
    pub(crate) const PC_ALIGNMENT: u32 = 0x22;
    pub(crate) const DATA_ABORT: u32 = 0x24;
    pub(crate) const SP_ALIGNMENT: u32 = 0x26;
    pub(crate) const CAPABILITY_ACCESS: u32 = 0x29;
    pub(crate) const CAPABILITY_SYSTEM_REGISTER: u32 = 0x2a;
    pub(crate) const BREAKPOINT: u32 = 0x3c;
}

/// Fault status codes.
pub(super) mod status {
    pub(crate) const ADDRESS_SIZE: u32 = 0x00;
    pub(crate) const TRANSLATION: u32 = 0x04;
    pub(crate) const ACCESS_FLAG: u32 = 0x08;
    pub(crate) const PERMISSION: u32 = 0x0c;
    pub(crate) const EXTERNAL: u32 = 0x10;
    pub(crate) const EXTERNAL_ON_WALK: u32 = 0x14;
    pub(crate) const ALIGNMENT: u32 = 0x21;
    pub(crate) const CAPABILITY_TAG: u32 = 0x28;
    pub(crate) const CAPABILITY_SEAL: u32 = 0x29;
    pub(crate) const CAPABILITY_BOUNDS: u32 = 0x2a;
    pub(crate) const CAPABILITY_PERMISSION: u32 = 0x2b;
    pub(crate) const CAPABILITY_PAGE: u32 = 0x2c;
}

/// Instruction length bit of ESR.
const IL: u32 = 1 << 25;
/// Write-not-read bit of a data abort.
const WNR: u32 = 1 << 6;
/// Cache maintenance bit of a data abort.
const CM: u32 = 1 << 8;

/// SPSR and PSTATE bits.
pub(super) mod pstate {
    pub(crate) const SP: u32 = 1;
    pub(crate) const AARCH32: u32 = 1 << 4;
    pub(crate) const DAIF: u32 = 0x3c0;
    pub(crate) const IL: u32 = 1 << 20;
    pub(crate) const PAN: u32 = 1 << 22;
    pub(crate) const UAO: u32 = 1 << 23;
    pub(crate) const C64: u32 = 1 << 26;
    pub(crate) const NZCV: u32 = 0xf << 28;
}

/// An exception that waits to be taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    vector: u64,
    target: u8,
    syndrome: Option<u32>,
    far: Option<u64>,
    /// Return to the instruction after the current one.
    after: bool,
}

impl Core {
    /// Records a synchronous exception for EL1, or the current level if that is higher.
    pub(super) fn raise<T>(&mut self, class: u32, iss: u32) -> Step<T> {
        self.raise_at(self.default_target(), class, iss)
    }

    /// Records a synchronous exception for the given level.
    pub(super) fn raise_at<T>(&mut self, target: u8, class: u32, iss: u32) -> Step<T> {
        self.pending = Some(Pending {
            vector: 0,
            target,
            syndrome: Some(class << 26 | IL | iss),
            far: None,
            after: false,
        });
        Err(Leave::Raised)
    }

    /// Records a supervisor, hypervisor or monitor call, which returns behind the instruction.
    pub(super) fn raise_call<T>(&mut self, target: u8, class: u32, immediate: u32) -> Step<T> {
        let _: Step = self.raise_at(target, class, immediate);
        if let Some(pending) = &mut self.pending {
            pending.after = true;
        }
        Err(Leave::Raised)
    }

    /// Records an undefined instruction.
    pub(super) fn undefined<T>(&mut self) -> Step<T> {
        self.raise(class::UNKNOWN, 0)
    }

    /// Records an exception with the whole syndrome, even its length bit, given.
    pub(super) fn raise_raw<T>(&mut self, target: u8, syndrome: u32) -> Step<T> {
        self.pending = Some(Pending {
            vector: 0,
            target,
            syndrome: Some(syndrome),
            far: None,
            after: false,
        });
        Err(Leave::Raised)
    }

    fn default_target(&self) -> u8 {
        let trap_general = self.el2_enabled() && self.registers.hcr_el2 >> 27 & 1 == 1;
        if self.el == 0 && trap_general {
            2
        } else {
            self.el.max(1)
        }
    }

    /// Whether EL2 exists and is used in the current security state.
    pub(super) fn el2_enabled(&self) -> bool {
        self.levels.el2 && (!self.levels.el3 || self.registers.scr_el3 & 1 == 1 || self.el == 2)
    }

    /// Records a data abort at `address`.
    pub(super) fn data_abort<T>(&mut self, address: u64, status: u32, write: bool) -> Step<T> {
        self.data_abort_at(self.default_target(), address, status | if write { WNR } else { 0 })
    }

    /// Records a data abort that a capability check found.
    pub(super) fn capability_abort<T>(&mut self, address: u64, status: u32, write: bool) -> Step<T> {
        let target = self.capability_target();
        self.data_abort_at(target, address, status | if write { WNR } else { 0 })
    }

    /// Records a data abort of a cache maintenance instruction that a capability check found.
    pub(super) fn cache_abort<T>(&mut self, address: u64, status: u32) -> Step<T> {
        let target = self.capability_target();
        self.data_abort_at(target, address, status | WNR | CM)
    }

    fn data_abort_at<T>(&mut self, target: u8, address: u64, iss: u32) -> Step<T> {
        let class = class::DATA_ABORT + u32::from(target == self.el);
        let _: Step = self.raise_at(target, class, iss);
        self.with_far(address)
    }

    fn with_far<T>(&mut self, address: u64) -> Step<T> {
        if let Some(pending) = &mut self.pending {
            pending.far = Some(address);
        }
        Err(Leave::Raised)
    }

    /// Records an instruction abort at the current address.
    pub(super) fn instruction_abort<T>(&mut self, status: u32) -> Step<T> {
        self.instruction_abort_at(self.default_target(), status)
    }

    fn instruction_abort_at<T>(&mut self, target: u8, status: u32) -> Step<T> {
        let class = class::INSTRUCTION_ABORT + u32::from(target == self.el);
        let _: Step = self.raise_at(target, class, status);
        self.with_far(self.pc)
    }

    /// An instruction abort because nothing answers at the physical address.
    pub(super) fn external_fetch_abort<T>(&mut self) -> Step<T> {
        self.instruction_abort(status::EXTERNAL)
    }

    /// SP is used as a base and is not a multiple of 16.
    pub(super) fn sp_alignment_fault<T>(&mut self) -> Step<T> {
        let _: Step = self.raise(class::SP_ALIGNMENT, 0);
        self.with_far(0)
    }

    /// Refuses to execute anything in the illegal execution state.
    pub(super) fn check_state(&mut self) -> Step {
        if self.illegal {
            return self.raise(class::ILLEGAL_STATE, 0);
        }
        Ok(())
    }

    /// Checks alignment and PCC before an instruction is executed.
    #[inline(always)]
    pub(super) fn check_fetch(&mut self) -> Step {
        let pcc = &self.pcc;
        let executable = pcc.tag() && !pcc.is_sealed() && pcc.has_permission_bits(permission::EXECUTE);
        if executable && self.pc & 3 == 0 && pcc.in_bounds(self.pc, 4) {
            return Ok(());
        }
        self.refuse_fetch()
    }

    #[cold]
    fn refuse_fetch(&mut self) -> Step {
        if self.pc & 3 != 0 {
            let _: Step = self.raise(class::PC_ALIGNMENT, 0);
            return self.with_far(self.pc);
        }
        let status = if !self.pcc.tag() {
            status::CAPABILITY_TAG
        } else if self.pcc.is_sealed() {
            status::CAPABILITY_SEAL
        } else if !self.pcc.has_permission_bits(permission::EXECUTE) {
            status::CAPABILITY_PERMISSION
        } else {
            status::CAPABILITY_BOUNDS
        };
        let target = self.capability_target();
        self.instruction_abort_at(target, status)
    }

    /// The level that disabled capabilities at `el`, or `None` where they are enabled.
    pub(super) fn capabilities_disabled_by(&self, el: u8) -> Option<u8> {
        let registers = &self.registers;
        let host = self.el2_enabled() && registers.hcr_el2 >> 34 & 1 == 1;
        let general = registers.hcr_el2 >> 27 & 1 == 1;
        if el < 2 && !(host && general) {
            let disabled = match registers.cpacr_el1 >> 18 & 3 {
                0b11 => false,
                0b01 => el == 0,
                _ => true,
            };
            if disabled {
                return Some(if self.levels.el2 && general { 2 } else { 1 });
            }
        }
        if self.el2_enabled() {
            let disabled = if host {
                match registers.cptr_el2 >> 18 & 3 {
                    0b11 => false,
                    0b01 => el == 0 && general,
                    _ => el < 3,
                }
            } else {
                registers.cptr_el2 >> 9 & 1 == 1
            };
            if disabled {
                return Some(2);
            }
        }
        (self.levels.el3 && registers.cptr_el3 >> 9 & 1 == 0).then_some(3)
    }

    /// Refuses an instruction of the capability set where capabilities are disabled.
    #[inline(always)]
    pub(super) fn require_capabilities(&mut self) -> Step {
        if self.registers.capabilities_enabled[usize::from(self.el)] {
            return Ok(());
        }
        self.capabilities_are_disabled()
    }

    #[cold]
    fn capabilities_are_disabled(&mut self) -> Step {
        match self.capabilities_disabled_by(self.el) {
            Some(target) => self.raise_at(target, class::CAPABILITY_ACCESS, 0),
            None => Ok(()),
        }
    }

    /// The level that takes capability aborts: the lowest with capabilities enabled, and not below the current one.
    fn capability_target(&self) -> u8 {
        let highest = self.levels.highest();
        let lowest = if highest == 1 || self.capabilities_disabled_by(1).is_none() {
            1
        } else if highest == 2 || self.capabilities_disabled_by(2).is_none() {
            2
        } else {
            3
        };
        self.el.max(lowest)
    }

    /// Where accesses to system registers without the System permission are reported.
    pub(super) fn raise_system<T>(&mut self, class: u32, iss: u32) -> Step<T> {
        let target = self.capability_target();
        self.raise_at(target, class, iss)
    }

    /// PSTATE as SPSR holds it.
    pub(super) fn pstate(&self) -> u32 {
        self.nzcv
            | self.daif
            | u32::from(self.el) << 2
            | u32::from(self.sp_selected)
            | if self.c64 { pstate::C64 } else { 0 }
            | if self.pan { pstate::PAN } else { 0 }
            | if self.uao { pstate::UAO } else { 0 }
            | if self.illegal { pstate::IL } else { 0 }
    }

    /// Takes the exception that was recorded.
    #[cold]
    pub(super) fn take_pending(&mut self, bus: &mut Bus) {
        if let Some(pending) = self.pending.take() {
            self.take(bus, pending);
        }
    }

    /// The level that takes interrupts.
    pub(super) fn interrupt_target(&self) -> u8 {
        let registers = &self.registers;
        let general = registers.hcr_el2 >> 27 & 1 == 1;
        if self.levels.el3 && registers.scr_el3 >> 1 & 1 == 1 {
            3
        } else if self.el2_enabled() && (registers.hcr_el2 >> 4 & 1 == 1 || general) {
            2
        } else {
            1
        }
    }

    /// Takes an IRQ to `target`.
    pub(super) fn take_irq(&mut self, bus: &mut Bus, target: u8) {
        self.take(
            bus,
            Pending {
                vector: 0x80,
                target,
                syndrome: None,
                far: None,
                after: false,
            },
        );
    }

    /// Takes an FIQ to `target`.
    pub(super) fn take_fiq(&mut self, bus: &mut Bus, target: u8) {
        self.take(
            bus,
            Pending {
                vector: 0x100,
                target,
                syndrome: None,
                far: None,
                after: false,
            },
        );
    }

    fn take(&mut self, bus: &mut Bus, pending: Pending) {
        let target = usize::from(pending.target);
        let return_to = if pending.after {
            self.pc.wrapping_add(4)
        } else {
            self.pc
        };
        bus.record_exception(self, pending.target, pending.vector, pending.syndrome, pending.far);
        let interrupted = (self.el, self.pc);
        if self.el == 0 {
            self.stays.enter(bus.now, self.pc);
        }
        let mut offset = pending.vector;
        if self.el < pending.target {
            offset += 0x400;
        } else if self.sp_selected && self.executive() {
            offset += 0x200;
        }
        if let Some(syndrome) = pending.syndrome {
            self.registers.esr[target] = syndrome.into();
        }
        if let Some(far) = pending.far {
            self.registers.far[target] = far;
        }
        let with_capabilities = self.capabilities_disabled_by(pending.target).is_none();
        self.registers.elr[target] = if with_capabilities {
            self.pcc.with_address_unchecked(return_to)
        } else {
            Capability::from_integer(return_to)
        };
        self.registers.spsr[target] = self.pstate().into();
        let span = self.registers.sctlr[target] >> 23 & 1 == 1;
        let host = self.registers.hcr_el2 >> 27 & 1 == 1 && self.registers.hcr_el2 >> 34 & 1 == 1;
        if !span && (target == 1 || target == 2 && host) && !self.pan {
            self.pan = true;
            self.tlb.flush();
        }
        self.daif = pstate::DAIF;
        self.uao = false;
        self.illegal = false;
        self.sp_selected = true;
        self.c64 = with_capabilities && self.registers.cctlr[target] & cctlr::C64E != 0;
        self.change_level(pending.target);
        let vector = self.registers.vbar[target];
        let address = (vector.address() & !0x7ff).wrapping_add(offset);
        if with_capabilities {
            let pcc = if vector.is_sealed() { vector.clear_tag() } else { vector };
            self.go_to_capability(pcc.set_address(address));
        } else {
            self.go_to(address);
        }
        self.select_bank();
        self.pause();
        if pending.syndrome.is_some() && !pending.after && interrupted == (self.el, self.pc) {
            // The first instruction of the vector cannot be executed: nothing else will ever happen.
            bus.stop = Some(Stop::TrapLoop {
                address: self.pc,
                core: self.number,
            });
        }
    }

    /// Makes `el` the current exception level; translations of another regime are forgotten.
    fn change_level(&mut self, el: u8) {
        if self.el == el {
            return;
        }
        if self.el.max(1) != el.max(1) {
            self.tlb.flush();
        }
        self.el = el;
        self.close_window();
    }

    /// Returns from an exception (ERET).
    pub(super) fn exception_return(&mut self) {
        let from = usize::from(self.el);
        let spsr = self.registers.spsr[from] as u32;
        let elr = self.registers.elr[from];
        let el = (spsr >> 2 & 3) as u8;
        self.exclusive = None;
        self.event = true;
        let exists = match el {
            2 => self.levels.el2,
            3 => self.levels.el3,
            _ => true,
        };
        let legal =
            spsr & pstate::AARCH32 == 0 && spsr & 2 == 0 && el <= self.el && exists && (el > 0 || spsr & 1 == 0);
        self.nzcv = spsr & pstate::NZCV;
        self.daif = spsr & pstate::DAIF;
        let with_capabilities = self.capabilities_disabled_by(self.el).is_none();
        let pcc = if with_capabilities {
            let keep = self.system() && !elr.is_sealed();
            elr.with_tag(elr.tag() && keep)
        } else {
            self.current_pcc().set_address(elr.address())
        };
        if legal {
            self.c64 = spsr & pstate::C64 != 0 && with_capabilities && self.capabilities_disabled_by(el).is_none();
            let pan = spsr & pstate::PAN != 0;
            if pan != self.pan {
                self.tlb.flush();
            }
            self.pan = pan;
            self.uao = spsr & pstate::UAO != 0;
            self.illegal = spsr & pstate::IL != 0;
            self.sp_selected = spsr & pstate::SP != 0;
            self.change_level(el);
        } else {
            self.illegal = true;
        }
        self.close_window();
        self.go_to_capability(pcc);
        self.pause();
    }
}
