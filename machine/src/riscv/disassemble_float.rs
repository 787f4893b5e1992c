//! The instructions of F and D that compute, as text.

use super::disassemble::rd;
use super::operation::{FloatOperands, Kind, Operation};

/// What the instructions of one kind have in common of their names.
pub(super) fn mnemonic(kind: Kind) -> &'static str {
    match kind {
        Kind::Fadd => "fadd",
        Kind::Fsub => "fsub",
        Kind::Fmul => "fmul",
        Kind::Fdiv => "fdiv",
        Kind::Fsqrt => "fsqrt",
        Kind::Fsgnj => "fsgnj",
        Kind::Fsgnjn => "fsgnjn",
        Kind::Fsgnjx => "fsgnjx",
        Kind::Fmin => "fmin",
        Kind::Fmax => "fmax",
        Kind::Fle => "fle",
        Kind::Flt => "flt",
        Kind::Feq => "feq",
        Kind::Fclass => "fclass",
        Kind::Fmadd => "fmadd",
        Kind::Fmsub => "fmsub",
        Kind::Fnmsub => "fnmsub",
        Kind::Fnmadd => "fnmadd",
        Kind::FcvtFormat => "fcvt (format)",
        Kind::FcvtToInteger => "fcvt (to integer)",
        Kind::FcvtOfInteger => "fcvt (of integer)",
        Kind::FmvToInteger => "fmv (to integer)",
        _ => "fmv (of integer)",
    }
}

pub(super) fn text(op: &Operation) -> String {
    let operands = FloatOperands::unpack(op.imm);
    let (format, other) = if operands.double { ("d", "s") } else { ("s", "d") };
    let bits = if operands.double { "d" } else { "w" };
    let integer = ["w", "wu", "l", "lu"][usize::from(operands.third % 4)];
    let rounding = match operands.rounding {
        0 => ", rne",
        1 => ", rtz",
        2 => ", rdn",
        3 => ", rup",
        4 => ", rmm",
        _ => "",
    };
    let (rd, rs1, rs2) = (rd(op), op.rs1, op.rs2);
    let name = mnemonic(op.kind);
    match op.kind {
        Kind::Fadd | Kind::Fsub | Kind::Fmul | Kind::Fdiv => {
            format!("{name}.{format} f{rd}, f{rs1}, f{rs2}{rounding}")
        }
        Kind::Fmadd | Kind::Fmsub | Kind::Fnmsub | Kind::Fnmadd => {
            format!("{name}.{format} f{rd}, f{rs1}, f{rs2}, f{}{rounding}", operands.third)
        }
        Kind::Fsqrt => format!("{name}.{format} f{rd}, f{rs1}{rounding}"),
        Kind::Fle | Kind::Flt | Kind::Feq => format!("{name}.{format} x{rd}, f{rs1}, f{rs2}"),
        Kind::Fclass => format!("{name}.{format} x{rd}, f{rs1}"),
        Kind::FcvtFormat => format!("fcvt.{format}.{other} f{rd}, f{rs1}{rounding}"),
        Kind::FcvtToInteger => format!("fcvt.{integer}.{format} x{rd}, f{rs1}{rounding}"),
        Kind::FcvtOfInteger => format!("fcvt.{format}.{integer} f{rd}, x{rs1}{rounding}"),
        Kind::FmvToInteger => format!("fmv.x.{bits} x{rd}, f{rs1}"),
        Kind::FmvOfInteger => format!("fmv.{bits}.x f{rd}, x{rs1}"),
        _ => format!("{name}.{format} f{rd}, f{rs1}, f{rs2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::disassemble;

    #[test]
    fn floating_point_instructions_read_as_in_the_manual() {
        assert_eq!(disassemble(0x0220_f053, false), "fadd.d f0, f1, f2");
        assert_eq!(disassemble(0x2031_10c3, false), "fmadd.s f1, f2, f3, f4, rtz");
        assert_eq!(disassemble(0xc221_40d3, false), "fcvt.l.d x1, f2, rmm");
        assert_eq!(disassemble(0x4010_70d3, false), "fcvt.s.d f1, f0");
        assert_eq!(disassemble(0xe000_1053, false), "fclass.s x0, f0");
        assert_eq!(disassemble(0xf200_80d3, false), "fmv.d.x f1, x1");
        assert_eq!(disassemble(0x0085_3007, false), "fld f0, 8(x10)");
        assert_eq!(disassemble(0x0085_3007, true), "cfld f0, 8(c10)");
        assert_eq!(disassemble(0xa422, false), "fsd f8, 8(x2)");
    }
}
