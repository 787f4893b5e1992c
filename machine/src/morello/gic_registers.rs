//! The names of GICv3's system registers.

/// The system registers of version 3 (ICC_*_EL1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    PriorityMask,
    Acknowledge0,
    End0,
    Highest0,
    BinaryPoint0,
    Active,
    Deactivate,
    Running,
    Generate0,
    Generate1,
    Acknowledge1,
    End1,
    Highest1,
    BinaryPoint1,
    Control,
    SystemEnable,
    Group0,
    Group1,
}

impl Register {
    /// The register with this encoding (bits 20 to 5 of the instruction).
    pub(super) fn from_encoding(encoding: u16) -> Option<Self> {
        let (op0, op1, crn) = (encoding >> 14, encoding >> 11 & 7, encoding >> 7 & 15);
        let (crm, op2) = (encoding >> 3 & 15, encoding & 7);
        if op0 != 3 || op1 == 4 && (crn, crm, op2) == (12, 9, 5) {
            return (op0 == 3).then_some(Self::SystemEnable);
        }
        if op1 != 0 {
            return ((op1, crn, crm, op2) == (6, 12, 12, 5)).then_some(Self::SystemEnable);
        }
        Some(match (crn, crm, op2) {
            (4, 6, 0) => Self::PriorityMask,
            (12, 8, 0) => Self::Acknowledge0,
            (12, 8, 1) => Self::End0,
            (12, 8, 2) => Self::Highest0,
            (12, 8, 3) => Self::BinaryPoint0,
            (12, 8, 4..=7) | (12, 9, 0..=3) => Self::Active,
            (12, 11, 1) => Self::Deactivate,
            (12, 11, 3) => Self::Running,
            (12, 11, 5) => Self::Generate1,
            (12, 11, 6 | 7) => Self::Generate0,
            (12, 12, 0) => Self::Acknowledge1,
            (12, 12, 1) => Self::End1,
            (12, 12, 2) => Self::Highest1,
            (12, 12, 3) => Self::BinaryPoint1,
            (12, 12, 4) => Self::Control,
            (12, 12, 5) => Self::SystemEnable,
            (12, 12, 6) => Self::Group0,
            (12, 12, 7) => Self::Group1,
            _ => return None,
        })
    }
}
