//! The state behind the system registers.

use capability::morello::Capability;
use std::collections::HashMap;

/// System registers that something in the machine looks at; the others are plain storage.
#[derive(Clone)]
pub(super) struct SystemRegisters {
    /// By exception level, as are all arrays here.
    pub(super) sctlr: [u64; 4],
    pub(super) tcr: [u64; 4],
    pub(super) ttbr0: [u64; 4],
    pub(super) ttbr1: [u64; 4],
    pub(super) mair: [u64; 4],
    pub(super) cctlr: [u64; 4],
    pub(super) vbar: [Capability; 4],
    pub(super) elr: [Capability; 4],
    pub(super) spsr: [u64; 4],
    pub(super) esr: [u64; 4],
    pub(super) far: [u64; 4],
    pub(super) tpidr: [Capability; 4],
    pub(super) tpidrro_el0: Capability,
    pub(super) rtpidr_el0: Capability,
    pub(super) cid_el0: Capability,
    pub(super) cpacr_el1: u64,
    pub(super) hcr_el2: u64,
    pub(super) cptr_el2: u64,
    pub(super) cptr_el3: u64,
    pub(super) scr_el3: u64,
    pub(super) chcr_el2: u64,
    pub(super) cscr_el3: u64,
    pub(super) par_el1: u64,
    /// Multiprocessor affinity of this core.
    pub(super) mpidr: u64,
    /// Registers without any effect, by encoding.
    pub(super) plain: HashMap<u16, u64>,
    /// Whether capability instructions work, by level; follows from CPACR, CPTR and HCR.
    pub(super) capabilities_enabled: [bool; 4],
    /// Whether SIMD&FP instructions work, by level; follows from CPACR, CPTR and HCR.
    pub(super) fp_enabled: [bool; 4],
}

/// SCTLR after reset: everything off, traps of WFI and WFE off, PAN kept on exceptions.
const SCTLR_RESET: u64 = 0x00c5_0838;

impl SystemRegisters {
    /// The reset state of core `number`.
    pub(super) fn new(number: usize) -> Self {
        Self {
            sctlr: [SCTLR_RESET; 4],
            tcr: [0; 4],
            ttbr0: [0; 4],
            ttbr1: [0; 4],
            mair: [0; 4],
            cctlr: [0; 4],
            vbar: [Capability::NULL; 4],
            elr: [Capability::NULL; 4],
            spsr: [0; 4],
            esr: [0; 4],
            far: [0; 4],
            tpidr: [Capability::NULL; 4],
            tpidrro_el0: Capability::NULL,
            rtpidr_el0: Capability::NULL,
            cid_el0: Capability::NULL,
            cpacr_el1: 0,
            hcr_el2: 0,
            cptr_el2: 0,
            cptr_el3: 0,
            scr_el3: 0,
            chcr_el2: 0,
            cscr_el3: 0,
            par_el1: 0,
            mpidr: 1 << 31 | number as u64,
            plain: HashMap::new(),
            capabilities_enabled: [false; 4],
            fp_enabled: [false; 4],
        }
    }
}
