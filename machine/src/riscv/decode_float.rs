//! Decoding of the 32-bit instructions of F and D.

use super::decode::Fields;
use super::operation::{FloatOperands, Kind, Operation};

/// What the field `rm` must be where the rounding mode does not matter.
const NO_ROUNDING: u8 = 0;

pub(super) fn decode_float(fields: &Fields, capability_mode: bool) -> Option<Operation> {
    use Kind::*;
    match (fields.word & 0x7f, fields.funct3) {
        (0x07, 2) => Some(fields.float_operation(if capability_mode { FlwCap } else { FlwDdc }, fields.immediate_i())),
        (0x07, 3) => Some(fields.float_operation(if capability_mode { FldCap } else { FldDdc }, fields.immediate_i())),
        (0x27, 2) => Some(fields.operation(if capability_mode { FswCap } else { FswDdc }, fields.immediate_s())),
        (0x27, 3) => Some(fields.operation(if capability_mode { FsdCap } else { FsdDdc }, fields.immediate_s())),
        (0x43, _) => fused(fields, Fmadd),
        (0x47, _) => fused(fields, Fmsub),
        (0x4b, _) => fused(fields, Fnmsub),
        (0x4f, _) => fused(fields, Fnmadd),
        (0x53, _) => computation(fields),
        _ => None,
    }
}

/// Whether the format field says double; half and quad precision are not there.
fn double(fields: &Fields) -> Option<bool> {
    match fields.funct7 & 3 {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// The field `rm` unless it is reserved.
fn rounding(fields: &Fields) -> Option<u8> {
    (!matches!(fields.funct3, 5 | 6)).then_some(fields.funct3 as u8)
}

fn fused(fields: &Fields, kind: Kind) -> Option<Operation> {
    let operands = FloatOperands {
        double: double(fields)?,
        rounding: rounding(fields)?,
        third: (fields.funct7 >> 2) as u8,
    };
    Some(fields.float_operation(kind, operands.pack()))
}

fn computation(fields: &Fields) -> Option<Operation> {
    use Kind::*;
    let double = double(fields)?;
    let operands = |rounding, third| {
        FloatOperands {
            double,
            rounding,
            third,
        }
        .pack()
    };
    let rounded = || Some(operands(rounding(fields)?, fields.rs2 as u8));
    let plain = operands(NO_ROUNDING, 0);
    Some(match (fields.funct7 >> 2, fields.rs2, fields.funct3) {
        (0x00, ..) => fields.float_operation(Fadd, rounded()?),
        (0x01, ..) => fields.float_operation(Fsub, rounded()?),
        (0x02, ..) => fields.float_operation(Fmul, rounded()?),
        (0x03, ..) => fields.float_operation(Fdiv, rounded()?),
        (0x0b, 0, _) => fields.float_operation(Fsqrt, rounded()?),
        (0x04, _, 0) => fields.float_operation(Fsgnj, plain),
        (0x04, _, 1) => fields.float_operation(Fsgnjn, plain),
        (0x04, _, 2) => fields.float_operation(Fsgnjx, plain),
        (0x05, _, 0) => fields.float_operation(Fmin, plain),
        (0x05, _, 1) => fields.float_operation(Fmax, plain),
        (0x08, source, _) if source == u32::from(!double) => fields.float_operation(FcvtFormat, rounded()?),
        (0x14, _, 0) => fields.operation(Fle, plain),
        (0x14, _, 1) => fields.operation(Flt, plain),
        (0x14, _, 2) => fields.operation(Feq, plain),
        (0x18, 0..=3, _) => fields.operation(FcvtToInteger, rounded()?),
        (0x1a, 0..=3, _) => fields.float_operation(FcvtOfInteger, rounded()?),
        (0x1c, 0, 0) => fields.operation(FmvToInteger, plain),
        (0x1c, 0, 1) => fields.operation(Fclass, plain),
        (0x1e, 0, 0) => fields.float_operation(FmvOfInteger, plain),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::decode::decode32;
    use super::*;

    fn decoded(word: u32) -> (Kind, u8, u8, u8, FloatOperands) {
        let operation = decode32(word, false);
        (
            operation.kind,
            operation.rd,
            operation.rs1,
            operation.rs2,
            FloatOperands::unpack(operation.imm),
        )
    }

    fn operands(double: bool, rounding: u8, third: u8) -> FloatOperands {
        FloatOperands {
            double,
            rounding,
            third,
        }
    }

    #[test]
    fn words_of_an_assembler_decode_to_what_they_are() {
        assert_eq!(decoded(0x0220_f053), (Kind::Fadd, 0, 1, 2, operands(true, 7, 2))); // fadd.d f0, f1, f2
        assert_eq!(decoded(0x2031_10c3), (Kind::Fmadd, 1, 2, 3, operands(false, 1, 4))); // fmadd.s f1, f2, f3, f4, rtz
        assert_eq!(
            decoded(0xc221_40d3),
            (Kind::FcvtToInteger, 1, 2, 2, operands(true, 4, 2))
        ); // fcvt.l.d x1, f2, rmm
        assert_eq!(
            decoded(0xd200_0053),
            (Kind::FcvtOfInteger, 0, 0, 0, operands(true, 0, 0))
        ); // fcvt.d.w f0, x0
        assert_eq!(decoded(0xe000_1053), (Kind::Fclass, 32, 0, 0, operands(false, 0, 0))); // fclass.s x0, f0
        assert_eq!(decoded(0x4010_70d3), (Kind::FcvtFormat, 1, 0, 1, operands(false, 7, 1))); // fcvt.s.d f1, f0
    }

    #[test]
    fn loads_and_stores_depend_on_the_mode() {
        let words = [0x0085_2007, 0x0085_3007, 0x00a5_2427, 0x00a5_3427]; // flw, fld f0, 8(x10); fsw, fsd f10, 8(x10)
        let kinds = |mode| words.map(|word| decode32(word, mode).kind);
        assert_eq!(kinds(false), [Kind::FlwDdc, Kind::FldDdc, Kind::FswDdc, Kind::FsdDdc]);
        assert_eq!(kinds(true), [Kind::FlwCap, Kind::FldCap, Kind::FswCap, Kind::FsdCap]);
        assert_eq!((decode32(words[0], false).rd, decode32(words[2], false).imm), (0, 8));
    }

    #[test]
    fn reserved_rounding_modes_and_other_formats_are_illegal() {
        for word in [
            0x0220_d053, // fadd.d with rm 5
            0x2031_60c3, // fmadd.s with rm 6
            0x0420_7053, // fadd.h
            0x0620_7053, // fadd.q
            0x4000_7053, // fcvt.s.s
            0x4210_7053, // fcvt.d.d
            0x5810_7053, // fsqrt.s with rs2
            0x2000_3053, // fsgnj.s with funct3 3
            0xc040_7053, // fcvt to the fifth kind of integer
            0xe000_2053, // fmv.x.w with funct3 2
            0x0085_4007, // flq
        ] {
            assert_eq!(decode32(word, false).kind, Kind::Illegal, "{word:#010x}");
        }
    }
}
