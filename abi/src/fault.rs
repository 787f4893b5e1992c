//! Kinds of fault, the same on every ISA. The kernel reports them, `info` tells a restarted cVM the last one.

/// Why a cVM was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FaultKind {
    /// A capability without tag was used as authority.
    Tag = 1,
    /// A sealed capability was used as authority.
    Seal = 2,
    /// An access or a jump outside the bounds of a capability.
    Bounds = 3,
    /// A capability lacks the permission for the operation.
    Permission = 4,
    /// Sealed capabilities of different or unsuitable object types.
    Type = 5,
    /// Another capability exception: inexact bounds, unaligned base.
    Capability = 6,
    /// The second line of defence (PMP or page tables) or the bus refused the access.
    Access = 7,
    /// An instruction that does not exist or is not allowed to a cVM.
    Illegal = 8,
    /// A misaligned access that the processor does not perform.
    Misaligned = 9,
    /// A breakpoint instruction.
    Breakpoint = 10,
    /// A privileged register or instruction was tried.
    Privilege = 11,
    /// An exception that the architecture module does not know.
    Unknown = 12,
}

impl FaultKind {
    /// All kinds.
    pub const ALL: [FaultKind; 12] = [
        FaultKind::Tag,
        FaultKind::Seal,
        FaultKind::Bounds,
        FaultKind::Permission,
        FaultKind::Type,
        FaultKind::Capability,
        FaultKind::Access,
        FaultKind::Illegal,
        FaultKind::Misaligned,
        FaultKind::Breakpoint,
        FaultKind::Privilege,
        FaultKind::Unknown,
    ];

    /// The kind as the log writes it.
    pub const fn name(self) -> &'static str {
        match self {
            FaultKind::Tag => "tag violation",
            FaultKind::Seal => "seal violation",
            FaultKind::Bounds => "bounds violation",
            FaultKind::Permission => "permission violation",
            FaultKind::Type => "type violation",
            FaultKind::Capability => "capability exception",
            FaultKind::Access => "access fault",
            FaultKind::Illegal => "illegal instruction",
            FaultKind::Misaligned => "misaligned access",
            FaultKind::Breakpoint => "breakpoint",
            FaultKind::Privilege => "privilege violation",
            FaultKind::Unknown => "unknown exception",
        }
    }

    /// The kind with this number, as [`CvmInfo::last_fault`](crate::hostcall::CvmInfo::last_fault) holds it.
    pub fn from_number(number: u32) -> Option<FaultKind> {
        FaultKind::ALL.into_iter().find(|kind| *kind as u32 == number)
    }
}
