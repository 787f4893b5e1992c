//! Decoding of 32-bit instructions: RV64IMAFD, Zicsr, Zifencei, and the CHERI encodings (CHERI ISAv9, chapter 8).

use super::decode_float::decode_float;
use super::operation::{Atomic, Kind, Operation};
use crate::registers::DISCARD;

/// Destination register `rd`.
pub(super) fn destination(rd: u32) -> u8 {
    if rd == 0 { DISCARD } else { rd as u8 }
}

fn bits(word: u32, high: u32, low: u32) -> u32 {
    word << (31 - high) >> (31 - high + low)
}

/// The fields that most formats share.
pub(super) struct Fields {
    pub(super) word: u32,
    rd: u32,
    rs1: u32,
    pub(super) rs2: u32,
    pub(super) funct3: u32,
    pub(super) funct7: u32,
}

impl Fields {
    pub(super) fn operation(&self, kind: Kind, imm: i32) -> Operation {
        Operation {
            kind,
            rd: destination(self.rd),
            rs1: self.rs1 as u8,
            rs2: self.rs2 as u8,
            length: 4,
            imm,
        }
    }

    /// The same with a floating-point register as destination: there register 0 is one like the others.
    pub(super) fn float_operation(&self, kind: Kind, imm: i32) -> Operation {
        Operation {
            rd: self.rd as u8,
            ..self.operation(kind, imm)
        }
    }

    pub(super) fn immediate_i(&self) -> i32 {
        self.word as i32 >> 20
    }

    pub(super) fn immediate_s(&self) -> i32 {
        (self.word as i32 >> 25) << 5 | bits(self.word, 11, 7) as i32
    }

    fn immediate_b(&self) -> i32 {
        let word = self.word;
        (word as i32 >> 31) << 12 | (bits(word, 7, 7) << 11 | bits(word, 30, 25) << 5 | bits(word, 11, 8) << 1) as i32
    }

    fn immediate_j(&self) -> i32 {
        let word = self.word;
        (word as i32 >> 31) << 20
            | (bits(word, 19, 12) << 12 | bits(word, 20, 20) << 11 | bits(word, 30, 21) << 1) as i32
    }
}

/// What words that are no instruction decode to.
pub(super) fn illegal(length: u8) -> Operation {
    Operation {
        kind: Kind::Illegal,
        length,
        ..Operation::UNDECODED
    }
}

/// Decodes a 32-bit instruction, as it is meant in capability mode or in integer (hybrid) mode.
pub(super) fn decode32(word: u32, capability_mode: bool) -> Operation {
    let fields = Fields {
        word,
        rd: bits(word, 11, 7),
        rs1: bits(word, 19, 15),
        rs2: bits(word, 24, 20),
        funct3: bits(word, 14, 12),
        funct7: bits(word, 31, 25),
    };
    decode_major(&fields, capability_mode).unwrap_or_else(|| illegal(4))
}

fn decode_major(fields: &Fields, capability_mode: bool) -> Option<Operation> {
    use Kind::*;
    let by_mode = |hybrid: Kind, capability: Kind| if capability_mode { capability } else { hybrid };
    let immediate_u = (fields.word & 0xffff_f000) as i32;
    Some(match fields.word & 0x7f {
        0x37 => fields.operation(Lui, immediate_u),
        0x17 => fields.operation(by_mode(Auipc, Auipcc), immediate_u),
        0x6f => fields.operation(by_mode(Jal, Cjal), fields.immediate_j()),
        0x67 if fields.funct3 == 0 => fields.operation(by_mode(Jalr, Cjalr), fields.immediate_i()),
        0x63 => {
            let kind = match fields.funct3 {
                0 => Beq,
                1 => Bne,
                4 => Blt,
                5 => Bge,
                6 => Bltu,
                7 => Bgeu,
                _ => return None,
            };
            fields.operation(kind, fields.immediate_b())
        }
        0x03 => fields.operation(load(fields.funct3, capability_mode)?, fields.immediate_i()),
        0x23 => fields.operation(store(fields.funct3, capability_mode)?, fields.immediate_s()),
        0x13 => immediate_arithmetic(fields)?,
        0x1b => immediate_arithmetic_word(fields)?,
        0x33 => fields.operation(arithmetic(fields)?, 0),
        0x3b => fields.operation(arithmetic_word(fields)?, 0),
        0x0f => match fields.funct3 {
            0 => fields.operation(Fence, 0),
            1 => fields.operation(FenceI, 0),
            2 => fields.operation(by_mode(ClcDdc, ClcCap), fields.immediate_i()),
            _ => return None,
        },
        0x2f => atomic(fields, capability_mode)?,
        0x07 | 0x27 | 0x43 | 0x47 | 0x4b | 0x4f | 0x53 => decode_float(fields, capability_mode)?,
        0x73 => system(fields)?,
        0x5b => match fields.funct3 {
            0 => cheri(fields)?,
            1 => fields.operation(CIncOffsetImm, fields.immediate_i()),
            2 => fields.operation(CSetBoundsImm, bits(fields.word, 31, 20) as i32),
            _ => return None,
        },
        _ => return None,
    })
}

/// The integer load of encoding `selector` (the base instructions' `funct3`).
fn load(selector: u32, by_capability: bool) -> Option<Kind> {
    use Kind::*;
    let kinds = match selector {
        0 => (LbDdc, LbCap),
        1 => (LhDdc, LhCap),
        2 => (LwDdc, LwCap),
        3 => (LdDdc, LdCap),
        4 => (LbuDdc, LbuCap),
        5 => (LhuDdc, LhuCap),
        6 => (LwuDdc, LwuCap),
        _ => return None,
    };
    Some(if by_capability { kinds.1 } else { kinds.0 })
}

/// The store of encoding `selector` (the base instructions' `funct3`); 4 is a capability.
fn store(selector: u32, by_capability: bool) -> Option<Kind> {
    use Kind::*;
    let kinds = match selector {
        0 => (SbDdc, SbCap),
        1 => (ShDdc, ShCap),
        2 => (SwDdc, SwCap),
        3 => (SdDdc, SdCap),
        4 => (CscDdc, CscCap),
        _ => return None,
    };
    Some(if by_capability { kinds.1 } else { kinds.0 })
}

fn immediate_arithmetic(fields: &Fields) -> Option<Operation> {
    use Kind::*;
    let shift = bits(fields.word, 25, 20) as i32;
    let kind = match (fields.funct3, fields.funct7 >> 1) {
        (0, _) => Addi,
        (2, _) => Slti,
        (3, _) => Sltiu,
        (4, _) => Xori,
        (6, _) => Ori,
        (7, _) => Andi,
        (1, 0) => return Some(fields.operation(Slli, shift)),
        (5, 0) => return Some(fields.operation(Srli, shift)),
        (5, 0x10) => return Some(fields.operation(Srai, shift)),
        _ => return None,
    };
    Some(fields.operation(kind, fields.immediate_i()))
}

fn immediate_arithmetic_word(fields: &Fields) -> Option<Operation> {
    use Kind::*;
    let shift = fields.rs2 as i32;
    Some(match (fields.funct3, fields.funct7) {
        (0, _) => fields.operation(Addiw, fields.immediate_i()),
        (1, 0) => fields.operation(Slliw, shift),
        (5, 0) => fields.operation(Srliw, shift),
        (5, 0x20) => fields.operation(Sraiw, shift),
        _ => return None,
    })
}

fn arithmetic(fields: &Fields) -> Option<Kind> {
    use Kind::*;
    Some(match (fields.funct7, fields.funct3) {
        (0x00, 0) => Add,
        (0x20, 0) => Sub,
        (0x00, 1) => Sll,
        (0x00, 2) => Slt,
        (0x00, 3) => Sltu,
        (0x00, 4) => Xor,
        (0x00, 5) => Srl,
        (0x20, 5) => Sra,
        (0x00, 6) => Or,
        (0x00, 7) => And,
        (0x01, 0) => Mul,
        (0x01, 1) => Mulh,
        (0x01, 2) => Mulhsu,
        (0x01, 3) => Mulhu,
        (0x01, 4) => Div,
        (0x01, 5) => Divu,
        (0x01, 6) => Rem,
        (0x01, 7) => Remu,
        _ => return None,
    })
}

fn arithmetic_word(fields: &Fields) -> Option<Kind> {
    use Kind::*;
    Some(match (fields.funct7, fields.funct3) {
        (0x00, 0) => Addw,
        (0x20, 0) => Subw,
        (0x00, 1) => Sllw,
        (0x00, 5) => Srlw,
        (0x20, 5) => Sraw,
        (0x01, 0) => Mulw,
        (0x01, 4) => Divw,
        (0x01, 5) => Divuw,
        (0x01, 6) => Remw,
        (0x01, 7) => Remuw,
        _ => return None,
    })
}

fn atomic(fields: &Fields, by_capability: bool) -> Option<Operation> {
    let function = (fields.funct7 >> 2) as u8;
    let size = fields.funct3 as u8;
    let imm = Atomic {
        function,
        size,
        by_capability,
    }
    .pack();
    let kind = match (function, size) {
        (2, 0..=4) if fields.rs2 == 0 => Kind::Lr,
        (3, 0..=4) => Kind::Sc,
        (1, 2..=4) => Kind::Amo,
        (0 | 4 | 8 | 12 | 16 | 20 | 24 | 28, 2..=3) => Kind::Amo,
        _ => return None,
    };
    Some(fields.operation(kind, imm))
}

fn system(fields: &Fields) -> Option<Operation> {
    use Kind::*;
    let csr = bits(fields.word, 31, 20) as i32;
    let kind = match fields.funct3 {
        1 => Csrrw,
        2 => Csrrs,
        3 => Csrrc,
        5 => Csrrwi,
        6 => Csrrsi,
        7 => Csrrci,
        0 => match fields.word {
            0x0000_0073 => Ecall,
            0x0010_0073 => Ebreak,
            0x3020_0073 => Mret,
            0x1050_0073 => Wfi,
            _ if fields.funct7 == 0x09 && fields.rd == 0 => SfenceVma,
            _ => return None,
        },
        _ => return None,
    };
    Some(fields.operation(kind, csr))
}

fn cheri(fields: &Fields) -> Option<Operation> {
    use Kind::*;
    let kind = match fields.funct7 {
        0x01 => return Some(fields.operation(CSpecialRw, fields.rs2 as i32)),
        0x08 => CSetBounds,
        0x09 => CSetBoundsExact,
        0x0b => CSeal,
        0x0c => CUnseal,
        0x0d => CAndPerm,
        0x0e => CSetFlags,
        0x0f => CSetOffset,
        0x10 => CSetAddr,
        0x11 => CIncOffset,
        0x12 => CToPtr,
        0x13 => CFromPtr,
        0x14 => CSub,
        0x16 => CSetHigh,
        0x1d => CBuildCap,
        0x1e => CCopyType,
        0x1f => CCSeal,
        0x20 => CTestSubset,
        0x21 => CSeqx,
        0x7c => return explicit_store(fields),
        0x7d => return explicit_load(fields),
        0x7e if fields.rd == 1 => CInvoke,
        0x7f => two_operands(fields.rs2)?,
        _ => return None,
    };
    Some(fields.operation(kind, 0))
}

fn two_operands(selector: u32) -> Option<Kind> {
    use Kind::*;
    Some(match selector {
        0 => CGetPerm,
        1 => CGetType,
        2 => CGetBase,
        3 => CGetLen,
        4 => CGetTag,
        5 => CGetSealed,
        6 => CGetOffset,
        7 => CGetFlags,
        8 => Crrl,
        9 => Cram,
        10 => CMove,
        11 => CClearTag,
        12 => Cjalr,
        15 => CGetAddr,
        17 => CSealEntry,
        18 => CLoadTags,
        20 => JalrPcc,
        23 => CGetHigh,
        _ => return None,
    })
}

/// Loads that name their authority, whatever the mode: selectors 0 to 7 and 16 to 23 through DDC, 8 more through `rs1`.
fn explicit_load(fields: &Fields) -> Option<Operation> {
    let by_capability = fields.rs2 & 8 != 0;
    match fields.rs2 & !8 {
        selector @ 0..=6 => Some(fields.operation(load(selector, by_capability)?, 0)),
        23 => Some(fields.operation(if by_capability { Kind::ClcCap } else { Kind::ClcDdc }, 0)),
        selector @ 16..=20 => {
            let imm = Atomic {
                function: 2,
                size: (selector - 16) as u8,
                by_capability,
            }
            .pack();
            Some(fields.operation(Kind::Lr, imm))
        }
        _ => None,
    }
}

/// Stores that name their authority; the selector is where a load has its destination. A store-conditional has no room
/// for a destination and writes its result to `rs2`.
fn explicit_store(fields: &Fields) -> Option<Operation> {
    let by_capability = fields.rd & 8 != 0;
    match fields.rd & !8 {
        selector @ 0..=4 => Some(fields.operation(store(selector, by_capability)?, 0)),
        selector @ 16..=20 => {
            let imm = Atomic {
                function: 3,
                size: (selector - 16) as u8,
                by_capability,
            }
            .pack();
            Some(Operation {
                rd: destination(fields.rs2),
                ..fields.operation(Kind::Sc, imm)
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_facts_decode_to_what_they_are() {
        let expect = |word, kind, rd, rs1, rs2| {
            let operation = decode32(word, false);
            assert_eq!(
                (operation.kind, operation.rd, operation.rs1, operation.rs2),
                (kind, rd, rs1, rs2),
                "{word:#010x}"
            );
        };
        expect(0xfe01_815b, Kind::CGetPerm, 2, 3, 0);
        expect(0x2051_835b, Kind::CSetAddr, 6, 3, 5);
        expect(0xf833_065b, Kind::CscCap, 12, 6, 3);
        expect(0xfbf3_03db, Kind::ClcCap, 7, 6, 31);
        expect(0x1013_04db, Kind::CSetBounds, 9, 6, 1);
    }

    #[test]
    fn loads_and_jumps_depend_on_the_mode() {
        let load = 0x0080_3503; // ld x10, 8(x0)
        assert_eq!(decode32(load, false).kind, Kind::LdDdc);
        assert_eq!(decode32(load, true).kind, Kind::LdCap);
        assert_eq!(decode32(0x0000_80e7, true).kind, Kind::Cjalr);
        assert_eq!(decode32(0x0000_80e7, false).kind, Kind::Jalr);
    }

    #[test]
    fn immediates_are_sign_extended_and_put_together() {
        assert_eq!(decode32(0xfe00_0ee3, false).imm, -4); // beq x0, x0, -4
        assert_eq!(decode32(0xffdf_f06f, false).imm, -4); // jal x0, -4
        assert_eq!(decode32(0xfea3_bc23, false).imm, -8); // sd x10, -8(x7)
        assert_eq!(decode32(0x8000_00b7, false).imm, i32::MIN); // lui x1, 0x80000
    }

    #[test]
    fn a_write_to_register_zero_is_discarded() {
        assert_eq!(decode32(0x0010_0013, false).rd, DISCARD);
    }

    #[test]
    fn the_bounds_immediate_is_unsigned() {
        assert_eq!(decode32(0xfff0_a0db, false).imm, 0xfff);
    }

    #[test]
    fn reserved_words_are_illegal() {
        for word in [0xffff_ffff, 0x0000_0000, 0x0000_2063, 0xff35_82db, 0x1020_0073] {
            assert_eq!(decode32(word, true).kind, Kind::Illegal, "{word:#010x}");
        }
    }
}
