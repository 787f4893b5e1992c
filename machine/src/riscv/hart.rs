//! The state of one hart, and how it enters and leaves traps.

use capability::riscv::Capability;

use crate::cli::Isa;
use crate::registers::Registers;
use crate::stays::Stays;

use super::float::FloatRegisters;
use super::map;
use super::pmp::Pmp;
use super::trace::TrapRecord;
use super::trap::{CAUSE_INTERRUPT, CapabilityCause, REGISTER_PCC, Trap};

/// Privilege modes of this board; there is no supervisor mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// U mode.
    User,
    /// M mode.
    Machine,
}

/// Numbers of the special capability registers (CSpecialRW).
pub mod special {
    /// Program counter capability; read only.
    pub const PCC: u8 = 0;
    /// Default data capability.
    pub const DDC: u8 = 1;
    /// User trap code capability; nothing but storage here, as are its three companions and the supervisor's.
    pub const UTCC: u8 = 4;
    /// User trap data capability.
    pub const UTDC: u8 = 5;
    /// User scratch capability.
    pub const USCRATCHC: u8 = 6;
    /// User exception program counter capability.
    pub const UEPCC: u8 = 7;
    /// Supervisor trap code capability.
    pub const STCC: u8 = 12;
    /// Supervisor trap data capability.
    pub const STDC: u8 = 13;
    /// Supervisor scratch capability.
    pub const SSCRATCHC: u8 = 14;
    /// Supervisor exception program counter capability.
    pub const SEPCC: u8 = 15;
    /// Machine trap code capability: where a trap goes.
    pub const MTCC: u8 = 28;
    /// Machine trap data capability.
    pub const MTDC: u8 = 29;
    /// Machine scratch capability.
    pub const MSCRATCHC: u8 = 30;
    /// Machine exception program counter capability: where a trap came from.
    pub const MEPCC: u8 = 31;

    /// All that exist.
    pub const ALL: [u8; 14] = [
        PCC, DDC, UTCC, UTDC, USCRATCHC, UEPCC, STCC, STDC, SSCRATCHC, SEPCC, MTCC, MTDC, MSCRATCHC, MEPCC,
    ];
}

/// Bits of `mstatus`.
pub(super) mod status {
    pub(in super::super) const MIE: u64 = 1 << 3;
    pub(in super::super) const MPIE: u64 = 1 << 7;
    pub(in super::super) const MPP: u64 = 3 << 11;
    /// The state of the floating-point registers: 0 off, 1 initial, 2 clean, 3 dirty.
    pub(in super::super) const FS: u64 = 3 << 13;
    /// Some state is dirty: read only.
    pub(in super::super) const SD: u64 = 1 << 63;
    pub(in super::super) const MPRV: u64 = 1 << 17;
    pub(in super::super) const TW: u64 = 1 << 21;
    /// U mode has 64 bits.
    pub(in super::super) const UXL: u64 = 2 << 32;
}

/// Bits of `mip` and `mie`.
pub(super) const SOFTWARE_INTERRUPT: u32 = 3;
pub(super) const TIMER_INTERRUPT: u32 = 7;
pub(super) const EXTERNAL_INTERRUPT: u32 = 11;
pub(super) const INTERRUPTS: u64 = 1 << SOFTWARE_INTERRUPT | 1 << TIMER_INTERRUPT | 1 << EXTERNAL_INTERRUPT;

/// Permission bit numbers as CGetPerm counts them.
pub(super) mod permission {
    pub(in super::super) const GLOBAL: u32 = 1 << 0;
    pub(in super::super) const EXECUTE: u32 = 1 << 1;
    pub(in super::super) const LOAD: u32 = 1 << 2;
    pub(in super::super) const STORE: u32 = 1 << 3;
    pub(in super::super) const LOAD_CAPABILITY: u32 = 1 << 4;
    pub(in super::super) const STORE_CAPABILITY: u32 = 1 << 5;
    pub(in super::super) const STORE_LOCAL: u32 = 1 << 6;
    pub(in super::super) const SEAL: u32 = 1 << 7;
    pub(in super::super) const INVOKE: u32 = 1 << 8;
    pub(in super::super) const UNSEAL: u32 = 1 << 9;
    pub(in super::super) const SYSTEM_REGISTERS: u32 = 1 << 10;
}

/// A range of addresses that needs no check but this: for accesses whose start lies in `start..start + span`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    pub(super) start: u64,
    pub(super) span: u64,
}

impl Window {
    pub(super) const EMPTY: Window = Window { start: 0, span: 0 };

    /// The window for accesses of up to `size` bytes in `start..end`.
    pub(super) fn new(start: u64, end: u64, size: u64) -> Self {
        let room = end.saturating_sub(start);
        Window {
            start,
            span: (room + 1).saturating_sub(size),
        }
    }

    #[inline(always)]
    pub(super) fn contains(&self, address: u64) -> bool {
        address.wrapping_sub(self.start) < self.span
    }
}

/// Parts of RAM in which PMP is known to allow everything of a kind, at a privilege.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Admitted {
    pub(super) fetch: Window,
    pub(super) load: Window,
    pub(super) store: Window,
}

/// What LR saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reservation {
    pub(super) address: u64,
    pub(super) size: u8,
    pub(super) low: u64,
    pub(super) high: u64,
    pub(super) tag: bool,
}

/// One hart.
#[derive(Clone)]
pub(super) struct Hart {
    pub(super) id: usize,
    pub(super) isa: Isa,
    pub(super) registers: Registers<Capability>,
    pub(super) floats: FloatRegisters,
    pub(super) pc: u64,
    /// PCC but for its address, which is `pc`.
    pub(super) pcc: Capability,
    pub(super) special: [Capability; 32],
    pub(super) privilege: Privilege,
    pub(super) mstatus: u64,
    pub(super) mie: u64,
    /// Interrupt lines as the devices drive them.
    pub(super) mip: u64,
    pub(super) mcause: u64,
    pub(super) mtval: u64,
    pub(super) mscratch: u64,
    pub(super) mcounteren: u64,
    pub(super) pmp: Pmp,
    pub(super) reservation: Option<Reservation>,
    /// In WFI.
    pub(super) waiting: bool,
    /// Instructions started, completed or not: the hart's clock.
    pub(super) steps: u64,
    /// Steps that ended in an exception.
    pub(super) trapped: u64,
    /// `minstret` and `mcycle` less the completed instructions, when they were written.
    pub(super) retired_offset: u64,
    pub(super) cycle_offset: u64,
    /// The run loop goes on while `steps` is below this.
    pub(super) end: u64,
    /// The run loop ended early because something happened that the board has to look at.
    pub(super) attention: bool,
    /// Return from the run loop after every trap.
    pub(super) pause_on_trap: bool,
    /// The last instruction was a semihosting call that the board has to serve.
    pub(super) semihosting: bool,
    /// Set when the first instruction of the trap handler traps: the hart will never do anything else.
    pub(super) trap_loop: bool,
    /// `steps` when the last trap was taken.
    pub(super) last_trap_step: u64,
    pub(super) last_trap: Option<TrapRecord>,
    pub(super) stays: Stays,
    /// A reservation outlives a change of privilege, as the architecture allows.
    pub(super) keeps_reservations: bool,

    // Derived from the state above; emptied when that changes and filled again by the slow path.
    pub(super) fetch_window: Window,
    pub(super) ddc_load: Window,
    pub(super) ddc_store: Window,
    /// For the present privilege.
    pub(super) admitted: Admitted,
    /// For the other privilege, while `mstatus.MPRV` is clear.
    parked: Admitted,
    /// Added to an integer address: DDC's address in v8, nothing in v9.
    pub(super) ddc_relocation: u64,
}

impl Hart {
    pub(super) fn new(id: usize, isa: Isa) -> Self {
        let mut special = [Capability::NULL; 32];
        for number in [
            special::DDC,
            special::UTCC,
            special::UEPCC,
            special::STCC,
            special::SEPCC,
        ] {
            special[usize::from(number)] = Capability::ROOT;
        }
        special[usize::from(special::MTCC)] = Capability::ROOT;
        special[usize::from(special::MEPCC)] = Capability::ROOT;
        Hart {
            id,
            isa,
            registers: Registers::new(),
            floats: FloatRegisters::default(),
            pc: map::ROM,
            pcc: Capability::ROOT,
            special,
            privilege: Privilege::Machine,
            mstatus: status::UXL,
            mie: 0,
            mip: 0,
            mcause: 0,
            mtval: 0,
            mscratch: 0,
            mcounteren: 0,
            pmp: Pmp::default(),
            reservation: None,
            stays: Stays::default(),
            keeps_reservations: false,
            waiting: false,
            steps: 0,
            trapped: 0,
            retired_offset: 0,
            cycle_offset: 0,
            end: 0,
            attention: false,
            pause_on_trap: false,
            semihosting: false,
            trap_loop: false,
            last_trap_step: u64::MAX,
            last_trap: None,
            fetch_window: Window::EMPTY,
            ddc_load: Window::EMPTY,
            ddc_store: Window::EMPTY,
            admitted: Admitted::default(),
            parked: Admitted::default(),
            ddc_relocation: 0,
        }
    }

    /// Makes the run loop return to the board after this instruction.
    #[inline]
    pub(super) fn pause(&mut self) {
        self.end = self.steps;
        self.attention = true;
    }

    /// PCC with its address.
    pub(super) fn program_counter(&self) -> Capability {
        self.pcc.with_address_unchecked(self.pc)
    }

    #[inline(always)]
    pub(super) fn capability_mode(&self) -> bool {
        self.pcc.flags() == 1
    }

    #[inline(always)]
    pub(super) fn ddc(&self) -> &Capability {
        &self.special[special::DDC as usize]
    }

    #[inline(always)]
    pub(super) fn traps_on_bad_operands(&self) -> bool {
        self.isa == Isa::V8
    }

    /// What the program counter is counted from in hybrid mode: PCC's base in v8, address 0 in v9.
    #[inline(always)]
    pub(super) fn pcc_relocation(&self) -> u64 {
        match self.isa {
            Isa::V8 => self.pcc.base(),
            Isa::V9 => 0,
        }
    }

    pub(super) fn retired(&self) -> u64 {
        self.steps - self.trapped
    }

    pub(super) fn set_ddc(&mut self, ddc: Capability) {
        self.special[special::DDC as usize] = ddc;
        self.ddc_load = Window::EMPTY;
        self.ddc_store = Window::EMPTY;
        self.ddc_relocation = match self.isa {
            Isa::V8 => ddc.address(),
            Isa::V9 => 0,
        };
    }

    /// To be called after every change of PMP or of the fields of `mstatus` that matter for memory.
    pub(super) fn forget_windows(&mut self) {
        self.fetch_window = Window::EMPTY;
        self.ddc_load = Window::EMPTY;
        self.ddc_store = Window::EMPTY;
        self.admitted = Admitted::default();
        self.parked = Admitted::default();
    }

    /// Sets `mstatus` and forgets what relied on its old value.
    pub(super) fn set_status(&mut self, value: u64) {
        let changed = self.mstatus ^ value;
        self.mstatus = value;
        if changed & status::MPRV != 0 || value & status::MPRV != 0 && changed & status::MPP != 0 {
            self.forget_windows();
        }
    }

    /// The privilege that loads and stores have: `mstatus.MPRV` lends machine mode that of `mstatus.MPP`.
    pub(super) fn data_privilege(&self) -> Privilege {
        let lent = self.privilege == Privilege::Machine && self.mstatus & status::MPRV != 0;
        if lent && self.mstatus & status::MPP == 0 {
            Privilege::User
        } else {
            self.privilege
        }
    }

    fn set_privilege(&mut self, privilege: Privilege) {
        if !self.keeps_reservations {
            self.reservation = None;
        }
        if self.mstatus & status::MPRV != 0 {
            // Loads and stores may have had another privilege than fetches, and may now.
            self.forget_windows();
        } else if privilege != self.privilege {
            self.fetch_window = Window::EMPTY;
            self.ddc_load = Window::EMPTY;
            self.ddc_store = Window::EMPTY;
            std::mem::swap(&mut self.admitted, &mut self.parked);
        }
        self.privilege = privilege;
    }

    pub(super) fn has_system_registers(&self) -> bool {
        self.pcc.has_permission_bits(permission::SYSTEM_REGISTERS)
    }

    /// The interrupt to take now, if any: external before software before timer.
    pub(super) fn pending_interrupt(&self) -> Option<u32> {
        let enabled = self.privilege == Privilege::User || self.mstatus & status::MIE != 0;
        let pending = self.mip & self.mie;
        if !enabled || pending == 0 {
            return None;
        }
        [EXTERNAL_INTERRUPT, SOFTWARE_INTERRUPT, TIMER_INTERRUPT]
            .into_iter()
            .find(|number| pending >> number & 1 == 1)
    }

    /// Enters the trap handler.
    pub(super) fn take_trap(&mut self, record: TrapRecord) {
        let trap = record.trap;
        let interrupt = trap.cause & CAUSE_INTERRUPT != 0;
        if self.privilege == Privilege::User {
            self.stays.enter(self.steps, self.pc);
        }
        self.last_trap = Some(record);
        if !interrupt {
            self.trapped += 1;
            self.trap_loop = self.last_trap_step != u64::MAX
                && self.last_trap_step + 1 == self.steps
                && self.privilege == Privilege::Machine;
        }
        self.last_trap_step = self.steps;

        self.special[special::MEPCC as usize] = self.program_counter();
        self.mcause = trap.cause;
        self.mtval = trap.value;
        let interrupts_enabled = self.mstatus & status::MIE != 0;
        self.mstatus &= !(status::MIE | status::MPIE | status::MPP);
        if interrupts_enabled {
            self.mstatus |= status::MPIE;
        }
        if self.privilege == Privilege::Machine {
            self.mstatus |= status::MPP;
        }

        let handler = self.special[special::MTCC as usize];
        let vector = handler.address() & 3 == 1 && interrupt;
        let offset = if vector { (trap.cause & 0xff) * 4 } else { 0 };
        let target = (handler.address() & !3).wrapping_add(offset);
        let handler = if handler.is_sealed() {
            handler.clear_tag()
        } else {
            handler
        };
        self.set_pcc(handler.set_address(target));
        self.waiting = false;
        self.set_privilege(Privilege::Machine);
    }

    /// Continues at another PCC, its address included.
    pub(super) fn set_pcc(&mut self, pcc: Capability) {
        self.pcc = pcc;
        self.pc = pcc.address();
        self.fetch_window = Window::EMPTY;
    }

    /// MRET.
    pub(super) fn return_from_trap(&mut self) -> Result<(), Trap> {
        if self.privilege != Privilege::Machine {
            return Err(Trap::illegal());
        }
        if !self.has_system_registers() {
            return Err(Trap::capability(CapabilityCause::SystemRegisters, REGISTER_PCC));
        }
        let to = if self.mstatus & status::MPP == 0 {
            Privilege::User
        } else {
            Privilege::Machine
        };
        let interrupts_enabled = self.mstatus & status::MPIE != 0;
        self.mstatus &= !(status::MIE | status::MPP);
        self.mstatus |= status::MPIE;
        if interrupts_enabled {
            self.mstatus |= status::MIE;
        }
        let return_to = self.special[special::MEPCC as usize];
        let address = return_to.address() & !1;
        let pcc = if return_to.tag() && return_to.is_sentry() && address == return_to.address() {
            return_to.unseal()
        } else if return_to.tag() && return_to.is_sealed() && address == return_to.address() {
            // Stays sealed: the next fetch faults, in the mode returned to.
            return_to
        } else {
            return_to.set_address(address)
        };
        self.set_pcc(pcc);
        self.set_privilege(to);
        if to == Privilege::User {
            self.stays.leave(self.steps);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_admits_only_accesses_that_end_inside() {
        let window = Window::new(0x1000, 0x1010, 8);
        assert!(window.contains(0x1000) && window.contains(0x1008));
        assert!(!window.contains(0x1009) && !window.contains(0xfff));
        assert!(!Window::new(0x1000, 0x1004, 8).contains(0x1000));
    }

    #[test]
    fn a_trap_and_a_return_keep_ddc_and_restore_pcc_and_privilege() {
        let mut hart = Hart::new(0, Isa::V9);
        let user = Capability::ROOT
            .set_address(0x8100_0000)
            .set_bounds(0x1000)
            .0
            .and_permissions(0x117);
        hart.special[special::MEPCC as usize] = user;
        hart.special[special::MTCC as usize] = Capability::ROOT.set_address(0x8000_0000);
        hart.return_from_trap().unwrap();
        assert_eq!((hart.privilege, hart.pc), (Privilege::User, 0x8100_0000));
        hart.set_ddc(user);
        hart.pc = 0x8100_0010;
        hart.take_trap(TrapRecord::new(&hart, Trap::capability(CapabilityCause::Length, 33), 0));
        assert_eq!(hart.special[special::MEPCC as usize], user.set_address(0x8100_0010));
        assert_eq!((hart.mcause, hart.mtval), (0x1c, 0x421));
        assert_eq!((hart.pc, hart.privilege), (0x8000_0000, Privilege::Machine));
        assert_eq!(*hart.ddc(), user);
        assert_eq!(hart.mstatus & status::MPP, 0);
    }

    #[test]
    fn mret_needs_machine_mode_and_access_to_system_registers() {
        let mut hart = Hart::new(0, Isa::V9);
        hart.pcc = Capability::ROOT.and_permissions(0x117);
        assert_eq!(hart.return_from_trap().unwrap_err().value, 0x418);
        hart.privilege = Privilege::User;
        assert_eq!(hart.return_from_trap(), Err(Trap::illegal()));
    }

    #[test]
    fn an_interrupt_is_taken_from_user_mode_whatever_mie_says() {
        let mut hart = Hart::new(0, Isa::V9);
        (hart.mip, hart.mie) = (1 << TIMER_INTERRUPT, 1 << TIMER_INTERRUPT);
        assert_eq!(hart.pending_interrupt(), None);
        hart.privilege = Privilege::User;
        assert_eq!(hart.pending_interrupt(), Some(TIMER_INTERRUPT));
    }
}
