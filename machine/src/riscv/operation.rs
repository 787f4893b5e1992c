//! Decoded instructions.

/// What an instruction does. Where the encoding means different things in the two modes, the decoder has chosen already:
/// a name with `Ddc` goes through DDC, one with `Cap` through the capability in `rs1`.
///
/// The first and the last are among those that the interpreter's loop executes in place, which saves it a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Lui,
    Auipc,
    Auipcc,
    Jal,
    Jalr,
    Cjal,
    Cjalr,
    JalrPcc,
    Beq,
    Bne,
    Blt,
    Bge,
    Bltu,
    Bgeu,
    LbDdc,
    LhDdc,
    LwDdc,
    LdDdc,
    LbuDdc,
    LhuDdc,
    LwuDdc,
    LbCap,
    LhCap,
    LwCap,
    LdCap,
    LbuCap,
    LhuCap,
    LwuCap,
    SbDdc,
    ShDdc,
    SwDdc,
    SdDdc,
    SbCap,
    ShCap,
    SwCap,
    SdCap,
    /// Load and store of a capability.
    ClcDdc,
    ClcCap,
    CscDdc,
    CscCap,
    Addi,
    Slti,
    Sltiu,
    Xori,
    Ori,
    Andi,
    Slli,
    Srli,
    Srai,
    Addiw,
    Slliw,
    Srliw,
    Sraiw,
    Add,
    Sub,
    Sll,
    Slt,
    Sltu,
    Xor,
    Srl,
    Sra,
    Or,
    And,
    Addw,
    Subw,
    Sllw,
    Srlw,
    Sraw,
    Mul,
    Mulh,
    Mulhsu,
    Mulhu,
    Div,
    Divu,
    Rem,
    Remu,
    Mulw,
    Divw,
    Divuw,
    Remw,
    Remuw,
    Fence,
    FenceI,
    SfenceVma,
    Ecall,
    Ebreak,
    Mret,
    Wfi,
    Csrrw,
    Csrrs,
    Csrrc,
    Csrrwi,
    Csrrsi,
    Csrrci,
    /// `imm`: [`Atomic`].
    Amo,
    Lr,
    Sc,
    CSpecialRw,
    CGetPerm,
    CGetType,
    CGetBase,
    CGetLen,
    CGetTag,
    CGetSealed,
    CGetOffset,
    CGetFlags,
    CGetAddr,
    CGetHigh,
    Crrl,
    Cram,
    CMove,
    CClearTag,
    CSealEntry,
    CLoadTags,
    CSetBounds,
    CSetBoundsExact,
    CSetBoundsImm,
    CSeal,
    CUnseal,
    CAndPerm,
    CSetFlags,
    CSetOffset,
    CSetAddr,
    CSetHigh,
    CIncOffset,
    CIncOffsetImm,
    CToPtr,
    CFromPtr,
    CSub,
    CBuildCap,
    CCopyType,
    CCSeal,
    CTestSubset,
    CSeqx,
    CInvoke,
    /// Not decoded yet.
    Undecoded,
    /// No instruction: traps.
    Illegal,
    FlwDdc,
    FldDdc,
    FlwCap,
    FldCap,
    FswDdc,
    FsdDdc,
    FswCap,
    FsdCap,
    /// From here on, `imm` is [`FloatOperands`].
    Fadd,
    Fsub,
    Fmul,
    Fdiv,
    Fsqrt,
    Fsgnj,
    Fsgnjn,
    Fsgnjx,
    Fmin,
    Fmax,
    Fle,
    Flt,
    Feq,
    Fclass,
    Fmadd,
    Fmsub,
    Fnmsub,
    Fnmadd,
    /// Between single and double; the format is that of the result.
    FcvtFormat,
    FcvtToInteger,
    FcvtOfInteger,
    FmvToInteger,
    FmvOfInteger,
    /// A hint: does nothing.
    Nop,
}

impl Kind {
    /// Whether it computes with floating-point registers; loads and stores do not.
    pub(super) fn is_float(self) -> bool {
        (Kind::Fadd as u8..Kind::Nop as u8).contains(&(self as u8))
    }
}

/// One decoded instruction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    pub(super) kind: Kind,
    /// Destination; `x0` is replaced by a register that nobody reads.
    pub(super) rd: u8,
    pub(super) rs1: u8,
    pub(super) rs2: u8,
    /// Bytes in memory: 2 or 4.
    pub(super) length: u8,
    /// Immediate operand, CSR number, special register number or [`Atomic`].
    pub(super) imm: i32,
}

impl Operation {
    pub(super) const UNDECODED: Operation = Operation {
        kind: Kind::Undecoded,
        rd: 0,
        rs1: 0,
        rs2: 0,
        length: 0,
        imm: 0,
    };
}

/// The operation, width and authority of an atomic instruction, packed into `imm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Atomic {
    /// `funct5`: 0 add, 1 swap, 2 LR, 3 SC, 4 xor, 8 or, 12 and, 16 min, 20 max, 24 minu, 28 maxu.
    pub(super) function: u8,
    /// Logarithm of the width in bytes: 0 to 3, 4 for a capability.
    pub(super) size: u8,
    /// Through the capability in `rs1`, not through DDC.
    pub(super) by_capability: bool,
}

impl Atomic {
    pub(super) const fn pack(self) -> i32 {
        self.function as i32 | (self.size as i32) << 8 | (self.by_capability as i32) << 16
    }

    pub(super) const fn unpack(imm: i32) -> Self {
        Atomic {
            function: imm as u8,
            size: (imm >> 8) as u8,
            by_capability: imm >> 16 != 0,
        }
    }
}

/// The format, rounding mode and further operand of a floating-point instruction, packed into `imm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FloatOperands {
    pub(super) double: bool,
    /// The field `rm`: 0 to 4, or 7 for the mode in `frm`.
    pub(super) rounding: u8,
    /// The addend's register, or the kind of integer: 0 signed word, 1 unsigned word, 2 and 3 doublewords.
    pub(super) third: u8,
}

impl FloatOperands {
    pub(super) const fn pack(self) -> i32 {
        self.third as i32 | (self.rounding as i32) << 8 | (self.double as i32) << 16
    }

    pub(super) const fn unpack(imm: i32) -> Self {
        FloatOperands {
            third: imm as u8,
            rounding: (imm >> 8) as u8,
            double: imm >> 16 != 0,
        }
    }
}

/// The access to memory that an operation makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MemoryAccess {
    pub(super) by_capability: bool,
    pub(super) store: bool,
    /// Bytes.
    pub(super) size: u8,
    /// Added to the base register.
    pub(super) offset: i32,
}

impl Operation {
    /// The access that this operation makes, if it is a load, store or atomic; an atomic counts as a store.
    pub(super) fn memory_access(&self) -> Option<MemoryAccess> {
        use Kind::*;
        let (by_capability, store, size) = match self.kind {
            LbDdc | LbuDdc => (false, false, 1),
            LhDdc | LhuDdc => (false, false, 2),
            LwDdc | LwuDdc | FlwDdc => (false, false, 4),
            LdDdc | FldDdc => (false, false, 8),
            ClcDdc => (false, false, 16),
            LbCap | LbuCap => (true, false, 1),
            LhCap | LhuCap => (true, false, 2),
            LwCap | LwuCap | FlwCap => (true, false, 4),
            LdCap | FldCap => (true, false, 8),
            ClcCap => (true, false, 16),
            CLoadTags => (true, false, 64),
            SbDdc => (false, true, 1),
            ShDdc => (false, true, 2),
            SwDdc | FswDdc => (false, true, 4),
            SdDdc | FsdDdc => (false, true, 8),
            CscDdc => (false, true, 16),
            SbCap => (true, true, 1),
            ShCap => (true, true, 2),
            SwCap | FswCap => (true, true, 4),
            SdCap | FsdCap => (true, true, 8),
            CscCap => (true, true, 16),
            Amo | Lr | Sc => {
                let atomic = Atomic::unpack(self.imm);
                let store = self.kind != Lr;
                return Some(MemoryAccess {
                    by_capability: atomic.by_capability,
                    store,
                    size: 1 << atomic.size,
                    offset: 0,
                });
            }
            _ => return None,
        };
        Some(MemoryAccess {
            by_capability,
            store,
            size,
            offset: self.imm,
        })
    }
}
