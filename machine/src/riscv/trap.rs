//! Exceptions: their causes, and what they leave for the handler.

use std::fmt;

/// The cause of a capability exception, bits 4:0 of `mtval` (CHERI ISAv9, table 3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CapabilityCause {
    /// Outside the bounds.
    Length = 0x01,
    /// No tag.
    Tag = 0x02,
    /// Sealed where it must not be, or unsealed where it must be sealed.
    Seal = 0x03,
    /// Object types do not match.
    Type = 0x04,
    /// Bounds cannot be represented exactly.
    InexactBounds = 0x0a,
    /// The base of a code capability is misaligned.
    UnalignedBase = 0x0b,
    /// Reserved bits, or a permission defined by software.
    UserDefined = 0x08,
    /// No permission Global.
    Global = 0x10,
    /// No permission to execute (or, for CInvoke's data capability, such a permission).
    Execute = 0x11,
    /// No permission to load.
    Load = 0x12,
    /// No permission to store.
    Store = 0x13,
    /// No permission to load capabilities.
    LoadCapability = 0x14,
    /// No permission to store capabilities.
    StoreCapability = 0x15,
    /// No permission to store local capabilities.
    StoreLocal = 0x16,
    /// No permission to seal.
    PermitSeal = 0x17,
    /// No permission to access system registers.
    SystemRegisters = 0x18,
    /// No permission to be invoked.
    Invoke = 0x19,
    /// No permission to unseal.
    PermitUnseal = 0x1b,
}

/// The register number by which a capability exception names PCC.
pub(super) const REGISTER_PCC: u8 = 32;
/// The register number by which a capability exception names DDC.
pub(super) const REGISTER_DDC: u8 = 33;

pub(super) const CAUSE_CAPABILITY: u64 = 0x1c;
/// Set in `mcause` for an interrupt.
pub(super) const CAUSE_INTERRUPT: u64 = 1 << 63;

/// An exception or interrupt as the handler sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// `mcause`.
    pub cause: u64,
    /// `mtval`.
    pub value: u64,
}

impl Trap {
    pub(super) const fn new(cause: u64, value: u64) -> Self {
        Trap { cause, value }
    }

    /// Capability exception over register `register` (32: PCC, 33: DDC, 32 + n: special register n).
    #[cold]
    pub(super) const fn capability(cause: CapabilityCause, register: u8) -> Self {
        Trap::new(CAUSE_CAPABILITY, cause as u64 | (register as u64) << 5)
    }

    pub(super) const fn fetch_access(address: u64) -> Self {
        Trap::new(1, address)
    }

    /// `mtval` is filled in from memory when the trap is taken.
    pub(super) const fn illegal() -> Self {
        Trap::new(2, 0)
    }

    pub(super) const fn breakpoint() -> Self {
        Trap::new(3, 0)
    }

    pub(super) const fn load_misaligned(address: u64) -> Self {
        Trap::new(4, address)
    }

    pub(super) const fn load_access(address: u64) -> Self {
        Trap::new(5, address)
    }

    pub(super) const fn store_misaligned(address: u64) -> Self {
        Trap::new(6, address)
    }

    pub(super) const fn store_access(address: u64) -> Self {
        Trap::new(7, address)
    }

    pub(super) const fn interrupt(number: u32) -> Self {
        Trap::new(CAUSE_INTERRUPT | number as u64, 0)
    }

    /// The capability exception's cause field and register number, if it is one.
    pub fn capability_fields(&self) -> Option<(u8, u8)> {
        (self.cause == CAUSE_CAPABILITY).then_some(((self.value & 31) as u8, (self.value >> 5 & 63) as u8))
    }
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((cause, register)) = self.capability_fields() {
            let what = match cause {
                0x01 => "length violation",
                0x02 => "tag violation",
                0x03 => "seal violation",
                0x04 => "type violation",
                0x08 => "user-defined violation",
                0x0a => "bounds not exact",
                0x0b => "unaligned base",
                0x10 => "global violation",
                0x11 => "permit-execute violation",
                0x12 => "permit-load violation",
                0x13 => "permit-store violation",
                0x14 => "permit-load-capability violation",
                0x15 => "permit-store-capability violation",
                0x16 => "permit-store-local violation",
                0x17 => "permit-seal violation",
                0x18 => "access-system-registers violation",
                0x19 => "permit-CInvoke violation",
                0x1b => "permit-unseal violation",
                _ => "capability exception",
            };
            return write!(f, "{what} of {}", register_name(register));
        }
        let what = match self.cause {
            1 => "instruction access fault",
            2 => "illegal instruction",
            3 => "breakpoint",
            4 => "misaligned load",
            5 => "load access fault",
            6 => "misaligned store or atomic",
            7 => "store access fault",
            8 => "call from U mode",
            11 => "call from M mode",
            cause if cause & CAUSE_INTERRUPT != 0 => match cause & 0xff {
                3 => return f.write_str("software interrupt"),
                7 => return f.write_str("timer interrupt"),
                11 => return f.write_str("external interrupt"),
                number => return write!(f, "interrupt {number}"),
            },
            cause => return write!(f, "exception {cause:#x} with value {:#x}", self.value),
        };
        match self.cause {
            3 | 8 | 11 => f.write_str(what),
            _ => write!(f, "{what}, value {:#x}", self.value),
        }
    }
}

/// The name of the register that a capability exception names by number.
fn register_name(number: u8) -> String {
    match number {
        0..32 => format!("c{number}"),
        _ => special_register_name(number - 32).to_owned(),
    }
}

/// The name of special capability register `number`.
pub(super) fn special_register_name(number: u8) -> &'static str {
    match number {
        0 => "pcc",
        1 => "ddc",
        4 => "utcc",
        5 => "utdc",
        6 => "uscratchc",
        7 => "uepcc",
        12 => "stcc",
        13 => "stdc",
        14 => "sscratchc",
        15 => "sepcc",
        28 => "mtcc",
        29 => "mtdc",
        30 => "mscratchc",
        31 => "mepcc",
        _ => "unknown special register",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_exception_packs_cause_and_register_as_the_manual_says() {
        assert_eq!(Trap::capability(CapabilityCause::Length, REGISTER_DDC).value, 0x421);
        assert_eq!(Trap::capability(CapabilityCause::Length, 13).value, 0x1a1);
        assert_eq!(
            Trap::capability(CapabilityCause::Length, REGISTER_PCC).to_string(),
            "length violation of pcc"
        );
    }
}
