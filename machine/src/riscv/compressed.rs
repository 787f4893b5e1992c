//! Decoding of compressed instructions: each is one of the 32-bit operations. In capability mode the slots of doubles
//! hold capability loads and stores, and stack pointer arithmetic keeps the capability (CHERI ISAv9, section 8.5).

use super::decode::{destination, illegal};
use super::operation::{Kind, Operation};

/// Bits `high..=low` of `word`, moved to bit `to`.
fn field(word: u32, high: u32, low: u32, to: u32) -> i32 {
    (word << (31 - high) >> (31 - high + low) << to) as i32
}

/// `value` with its bit `sign` extended upwards.
fn extend(value: i32, sign: u32) -> i32 {
    value << (31 - sign) >> (31 - sign)
}

const STACK: u32 = 2;

/// Decodes a compressed instruction (the low 16 bits), as it is meant in capability or in integer mode.
pub(super) fn decode16(word: u16, capability_mode: bool) -> Operation {
    let word = u32::from(word);
    let decoded = match word & 3 {
        0 => quadrant0(word, capability_mode),
        1 => quadrant1(word, capability_mode),
        _ => quadrant2(word, capability_mode),
    };
    decoded.unwrap_or_else(|| illegal(2))
}

fn operation(kind: Kind, rd: u32, rs1: u32, rs2: u32, imm: i32) -> Option<Operation> {
    Some(Operation {
        kind,
        rd: destination(rd),
        rs1: rs1 as u8,
        rs2: rs2 as u8,
        length: 2,
        imm,
    })
}

fn quadrant0(word: u32, capability_mode: bool) -> Option<Operation> {
    use Kind::*;
    let low = 8 + (word >> 2 & 7);
    let base = 8 + (word >> 7 & 7);
    let word_offset = field(word, 5, 5, 6) | field(word, 12, 10, 3) | field(word, 6, 6, 2);
    let double_offset = field(word, 6, 5, 6) | field(word, 12, 10, 3);
    let capability_offset = field(word, 10, 10, 8) | field(word, 6, 5, 6) | field(word, 12, 11, 4);
    let by_mode = |hybrid: Kind, capability: Kind| if capability_mode { capability } else { hybrid };
    match word >> 13 {
        0 => {
            let imm = field(word, 10, 7, 6) | field(word, 12, 11, 4) | field(word, 5, 5, 3) | field(word, 6, 6, 2);
            (imm != 0).then(|| operation(by_mode(Addi, CIncOffsetImm), low, STACK, 0, imm))?
        }
        1 if capability_mode => operation(ClcCap, low, base, 0, capability_offset),
        1 => operation(FldDdc, low, base, 0, double_offset),
        2 => operation(by_mode(LwDdc, LwCap), low, base, 0, word_offset),
        3 => operation(by_mode(LdDdc, LdCap), low, base, 0, double_offset),
        5 if capability_mode => operation(CscCap, 0, base, low, capability_offset),
        5 => operation(FsdDdc, 0, base, low, double_offset),
        6 => operation(by_mode(SwDdc, SwCap), 0, base, low, word_offset),
        7 => operation(by_mode(SdDdc, SdCap), 0, base, low, double_offset),
        _ => None,
    }
}

fn quadrant1(word: u32, capability_mode: bool) -> Option<Operation> {
    use Kind::*;
    let rd = word >> 7 & 31;
    let imm = extend(field(word, 12, 12, 5) | field(word, 6, 2, 0), 5);
    match word >> 13 {
        0 => operation(Addi, rd, rd, 0, imm),
        1 => (rd != 0).then(|| operation(Addiw, rd, rd, 0, imm))?,
        2 => operation(Addi, rd, 0, 0, imm),
        3 if imm == 0 => None,
        3 if rd == STACK => {
            let imm = field(word, 12, 12, 9)
                | field(word, 4, 3, 7)
                | field(word, 5, 5, 6)
                | field(word, 2, 2, 5)
                | field(word, 6, 6, 4);
            operation(
                if capability_mode { CIncOffsetImm } else { Addi },
                rd,
                rd,
                0,
                extend(imm, 9),
            )
        }
        3 => operation(Lui, rd, 0, 0, imm << 12),
        4 => register_arithmetic(word),
        5 => {
            let imm = field(word, 12, 12, 11)
                | field(word, 8, 8, 10)
                | field(word, 10, 9, 8)
                | field(word, 6, 6, 7)
                | field(word, 7, 7, 6)
                | field(word, 2, 2, 5)
                | field(word, 11, 11, 4)
                | field(word, 5, 3, 1);
            operation(if capability_mode { Cjal } else { Jal }, 0, 0, 0, extend(imm, 11))
        }
        branch => {
            let imm = field(word, 12, 12, 8)
                | field(word, 6, 5, 6)
                | field(word, 2, 2, 5)
                | field(word, 11, 10, 3)
                | field(word, 4, 3, 1);
            let kind = if branch == 6 { Beq } else { Bne };
            operation(kind, 0, 8 + (word >> 7 & 7), 0, extend(imm, 8))
        }
    }
}

fn register_arithmetic(word: u32) -> Option<Operation> {
    use Kind::*;
    let rd = 8 + (word >> 7 & 7);
    let rs2 = 8 + (word >> 2 & 7);
    let shift = field(word, 12, 12, 5) | field(word, 6, 2, 0);
    let kind = match (word >> 10 & 3, word >> 12 & 1, word >> 5 & 3) {
        (0, ..) if shift == 0 => return operation(Nop, 0, 0, 0, 0),
        (1, ..) if shift == 0 => return operation(Nop, 0, 0, 0, 0),
        (0, ..) => return operation(Srli, rd, rd, 0, shift),
        (1, ..) => return operation(Srai, rd, rd, 0, shift),
        (2, ..) => return operation(Andi, rd, rd, 0, extend(shift, 5)),
        (_, 0, 0) => Sub,
        (_, 0, 1) => Xor,
        (_, 0, 2) => Or,
        (_, 0, _) => And,
        (_, _, 0) => Subw,
        (_, _, 1) => Addw,
        _ => return None,
    };
    operation(kind, rd, rd, rs2, 0)
}

fn quadrant2(word: u32, capability_mode: bool) -> Option<Operation> {
    use Kind::*;
    let rd = word >> 7 & 31;
    let rs2 = word >> 2 & 31;
    let by_mode = |hybrid: Kind, capability: Kind| if capability_mode { capability } else { hybrid };
    let word_load = field(word, 3, 2, 6) | field(word, 12, 12, 5) | field(word, 6, 4, 2);
    let double_load = field(word, 4, 2, 6) | field(word, 12, 12, 5) | field(word, 6, 5, 3);
    let capability_load = field(word, 5, 2, 6) | field(word, 12, 12, 5) | field(word, 6, 6, 4);
    let word_store = field(word, 8, 7, 6) | field(word, 12, 9, 2);
    let double_store = field(word, 9, 7, 6) | field(word, 12, 10, 3);
    let capability_store = field(word, 10, 7, 6) | field(word, 12, 11, 4);
    match word >> 13 {
        0 => match field(word, 12, 12, 5) | field(word, 6, 2, 0) {
            0 => operation(Nop, 0, 0, 0, 0),
            shift => operation(Slli, rd, rd, 0, shift),
        },
        1 if !capability_mode => Some(Operation {
            // Floating-point register 0 is one like the others.
            rd: rd as u8,
            ..operation(FldDdc, rd, STACK, 0, double_load)?
        }),
        1 if rd != 0 => operation(ClcCap, rd, STACK, 0, capability_load),
        2 if rd != 0 => operation(by_mode(LwDdc, LwCap), rd, STACK, 0, word_load),
        3 if rd != 0 => operation(by_mode(LdDdc, LdCap), rd, STACK, 0, double_load),
        4 => match (word >> 12 & 1, rd, rs2) {
            (0, 0, 0) => None,
            (0, _, 0) => operation(by_mode(Jalr, Cjalr), 0, rd, 0, 0),
            (0, ..) => operation(Addi, rd, rs2, 0, 0),
            (_, 0, 0) => operation(Ebreak, 0, 0, 0, 0),
            (_, _, 0) => operation(by_mode(Jalr, Cjalr), 1, rd, 0, 0),
            _ => operation(Add, rd, rd, rs2, 0),
        },
        5 if capability_mode => operation(CscCap, 0, STACK, rs2, capability_store),
        5 => operation(FsdDdc, 0, STACK, rs2, double_store),
        6 => operation(by_mode(SwDdc, SwCap), 0, STACK, rs2, word_store),
        7 => operation(by_mode(SdDdc, SdCap), 0, STACK, rs2, double_store),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(word: u16, capability_mode: bool) -> (Kind, u8, u8, u8, i32) {
        let operation = decode16(word, capability_mode);
        assert_eq!(operation.length, 2);
        (
            operation.kind,
            operation.rd,
            operation.rs1,
            operation.rs2,
            operation.imm,
        )
    }

    #[test]
    fn compressed_words_expand_to_their_instruction() {
        assert_eq!(decoded(0x4505, false), (Kind::Addi, 10, 0, 0, 1)); // c.li a0, 1
        assert_eq!(decoded(0x852e, false), (Kind::Addi, 10, 11, 0, 0)); // c.mv a0, a1
        assert_eq!(decoded(0x8082, false), (Kind::Jalr, 32, 1, 0, 0)); // ret
        assert_eq!(decoded(0x60a2, false), (Kind::LdDdc, 1, 2, 0, 8)); // c.ldsp ra, 8
        assert_eq!(decoded(0xe406, false), (Kind::SdDdc, 32, 2, 1, 8)); // c.sdsp ra, 8
        assert_eq!(decoded(0x1141, false), (Kind::Addi, 2, 2, 0, -16)); // c.addi sp, -16
        assert_eq!(decoded(0x7139, false), (Kind::Addi, 2, 2, 0, -64)); // c.addi16sp -64
        assert_eq!(decoded(0xbfd5, false).4, -12); // c.j -12
        assert_eq!(decoded(0x9002, false).0, Kind::Ebreak);
    }

    #[test]
    fn capability_mode_changes_stack_arithmetic_and_the_floating_point_slots() {
        assert_eq!(decoded(0x7139, true), (Kind::CIncOffsetImm, 2, 2, 0, -64));
        assert_eq!(decoded(0x2082, true), (Kind::ClcCap, 1, 2, 0, 0));
        assert_eq!(decoded(0x2082, false), (Kind::FldDdc, 1, 2, 0, 0)); // c.fldsp f1, 0
        assert_eq!(decoded(0x2002, true).0, Kind::Illegal);
        assert_eq!(decoded(0x2002, false), (Kind::FldDdc, 0, 2, 0, 0)); // c.fldsp f0, 0
        assert_eq!(decoded(0xa422, false), (Kind::FsdDdc, 32, 2, 8, 8)); // c.fsdsp f8, 8
        assert_eq!(decoded(0xa422, true), (Kind::CscCap, 32, 2, 8, 512));
        assert_eq!(decoded(0x2500, false), (Kind::FldDdc, 8, 10, 0, 8)); // c.fld f8, 8(x10)
        assert_eq!(decoded(0xa500, false), (Kind::FsdDdc, 32, 10, 8, 8)); // c.fsd f8, 8(x10)
        assert_eq!(decoded(0x2500, true).0, Kind::ClcCap);
        assert_eq!(decoded(0xa500, true).0, Kind::CscCap);
        assert_eq!(decoded(0x8082, true).0, Kind::Cjalr);
    }

    #[test]
    fn reserved_encodings_are_illegal_and_hints_do_nothing() {
        for word in [0x0000, 0x8002, 0x4002, 0x6002, 0x6101, 0x2001, 0x9c41] {
            assert_eq!(decode16(word, false).kind, Kind::Illegal, "{word:#06x}");
        }
        assert_eq!(decoded(0x8001, false).0, Kind::Nop);
        assert_eq!(decoded(0x0502, false).0, Kind::Nop);
    }
}
