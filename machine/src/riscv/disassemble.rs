//! Instructions as text, in the notation of the CHERI ISA manual.

use super::code;
use super::disassemble_float as float;
use super::operation::{Atomic, Kind, Operation};
use super::trap::special_register_name;
use crate::registers::DISCARD;

/// The instruction `word` (the low half for a compressed one) as text.
pub fn disassemble(word: u32, capability_mode: bool) -> String {
    text(&code::decode(word, capability_mode))
}

/// What the operands of an instruction are.
#[derive(Clone, Copy)]
enum Form {
    /// rd, rs1, rs2 as integers.
    Integers,
    /// rd, rs1, immediate.
    Immediate,
    /// rd, immediate.
    Upper,
    /// rs1, rs2, distance.
    Branch,
    /// x: integer, c: capability, for rd, rs1, rs2; a space for none.
    Registers(&'static [u8; 3]),
    /// Register and address.
    Load(char, char),
    /// Register and address.
    Store(char, char),
    None,
}

/// What the instructions of one kind have in common of their names.
pub(super) fn mnemonic(kind: Kind) -> &'static str {
    match kind {
        Kind::Undecoded | Kind::Illegal => "illegal",
        Kind::Amo => "amo",
        Kind::Lr => "lr",
        Kind::Sc => "sc (conditional)",
        Kind::Csrrw | Kind::Csrrs | Kind::Csrrc | Kind::Csrrwi | Kind::Csrrsi | Kind::Csrrci => csr_name(kind),
        Kind::CSpecialRw => "cspecialrw",
        Kind::CInvoke => "cinvoke",
        kind if kind.is_float() => float::mnemonic(kind),
        kind => simple(kind).0,
    }
}

fn text(op: &Operation) -> String {
    use Form::*;
    let (name, form) = match op.kind {
        Kind::Undecoded | Kind::Illegal => return "illegal".to_owned(),
        Kind::Amo | Kind::Lr | Kind::Sc => return atomic(op),
        Kind::Csrrw | Kind::Csrrs | Kind::Csrrc => {
            return format!("{} x{}, {:#x}, x{}", csr_name(op.kind), rd(op), op.imm, op.rs1);
        }
        Kind::Csrrwi | Kind::Csrrsi | Kind::Csrrci => {
            return format!("{} x{}, {:#x}, {}", csr_name(op.kind), rd(op), op.imm, op.rs1);
        }
        Kind::CSpecialRw => {
            let special = special_register_name(op.imm as u8);
            return format!("cspecialrw c{}, {special}, c{}", rd(op), op.rs1);
        }
        Kind::CInvoke => return format!("cinvoke c{}, c{}", op.rs1, op.rs2),
        kind if kind.is_float() => return float::text(op),
        kind => simple(kind),
    };
    let register = |kind: char, number: u8| format!("{kind}{number}");
    match form {
        Integers => format!("{name} x{}, x{}, x{}", rd(op), op.rs1, op.rs2),
        Immediate => format!("{name} x{}, x{}, {}", rd(op), op.rs1, op.imm),
        Upper => format!("{name} x{}, {:#x}", rd(op), op.imm),
        Branch => format!("{name} x{}, x{}, {}", op.rs1, op.rs2, op.imm),
        Registers(kinds) => {
            let numbers = [rd(op), op.rs1, op.rs2];
            let operands = kinds.iter().zip(numbers).filter(|(kind, _)| **kind != b' ');
            let operands: Vec<_> = operands
                .map(|(kind, number)| register(char::from(*kind), number))
                .collect();
            let immediate = if has_immediate(op.kind) {
                format!(", {}", op.imm)
            } else {
                String::new()
            };
            format!("{name} {}{immediate}", operands.join(", "))
        }
        Load(value, base) => format!(
            "{name} {}, {}({})",
            register(value, rd(op)),
            op.imm,
            register(base, op.rs1)
        ),
        Store(value, base) => format!(
            "{name} {}, {}({})",
            register(value, op.rs2),
            op.imm,
            register(base, op.rs1)
        ),
        None => name.to_owned(),
    }
}

pub(super) fn rd(op: &Operation) -> u8 {
    if op.rd == DISCARD { 0 } else { op.rd }
}

fn has_immediate(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Cjalr | Kind::Cjal | Kind::CIncOffsetImm | Kind::CSetBoundsImm
    )
}

fn csr_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Csrrw => "csrrw",
        Kind::Csrrs => "csrrs",
        Kind::Csrrc => "csrrc",
        Kind::Csrrwi => "csrrwi",
        Kind::Csrrsi => "csrrsi",
        _ => "csrrci",
    }
}

fn atomic(op: &Operation) -> String {
    let atomic = Atomic::unpack(op.imm);
    let name = match atomic.function {
        0 => "amoadd",
        1 => "amoswap",
        2 => "lr",
        3 => "sc",
        4 => "amoxor",
        8 => "amoor",
        12 => "amoand",
        16 => "amomin",
        20 => "amomax",
        24 => "amominu",
        _ => "amomaxu",
    };
    let width = ["b", "h", "w", "d", "c"][usize::from(atomic.size.min(4))];
    let value = if atomic.size == 4 { 'c' } else { 'x' };
    let result = if op.kind == Kind::Sc { 'x' } else { value };
    let base = if atomic.by_capability { 'c' } else { 'x' };
    match op.kind {
        Kind::Lr => format!("{name}.{width} {result}{}, ({base}{})", rd(op), op.rs1),
        _ => format!(
            "{name}.{width} {result}{}, {value}{}, ({base}{})",
            rd(op),
            op.rs2,
            op.rs1
        ),
    }
}

fn simple(kind: Kind) -> (&'static str, Form) {
    use Form::*;
    match kind {
        Kind::Nop => ("nop", None),
        Kind::Lui => ("lui", Upper),
        Kind::Auipc => ("auipc", Upper),
        Kind::Auipcc => ("auipcc", Upper),
        Kind::Jal => ("jal", Upper),
        Kind::Cjal => ("cjal", Registers(b"c  ")),
        Kind::Jalr => ("jalr", Immediate),
        Kind::JalrPcc => ("jalr.pcc", Immediate),
        Kind::Cjalr => ("cjalr", Registers(b"cc ")),
        Kind::Beq => ("beq", Branch),
        Kind::Bne => ("bne", Branch),
        Kind::Blt => ("blt", Branch),
        Kind::Bge => ("bge", Branch),
        Kind::Bltu => ("bltu", Branch),
        Kind::Bgeu => ("bgeu", Branch),
        Kind::LbDdc => ("lb", Load('x', 'x')),
        Kind::LhDdc => ("lh", Load('x', 'x')),
        Kind::LwDdc => ("lw", Load('x', 'x')),
        Kind::LdDdc => ("ld", Load('x', 'x')),
        Kind::LbuDdc => ("lbu", Load('x', 'x')),
        Kind::LhuDdc => ("lhu", Load('x', 'x')),
        Kind::LwuDdc => ("lwu", Load('x', 'x')),
        Kind::ClcDdc => ("lc", Load('c', 'x')),
        Kind::LbCap => ("clb", Load('x', 'c')),
        Kind::LhCap => ("clh", Load('x', 'c')),
        Kind::LwCap => ("clw", Load('x', 'c')),
        Kind::LdCap => ("cld", Load('x', 'c')),
        Kind::LbuCap => ("clbu", Load('x', 'c')),
        Kind::LhuCap => ("clhu", Load('x', 'c')),
        Kind::LwuCap => ("clwu", Load('x', 'c')),
        Kind::ClcCap => ("clc", Load('c', 'c')),
        Kind::FlwDdc => ("flw", Load('f', 'x')),
        Kind::FldDdc => ("fld", Load('f', 'x')),
        Kind::FlwCap => ("cflw", Load('f', 'c')),
        Kind::FldCap => ("cfld", Load('f', 'c')),
        Kind::FswDdc => ("fsw", Store('f', 'x')),
        Kind::FsdDdc => ("fsd", Store('f', 'x')),
        Kind::FswCap => ("cfsw", Store('f', 'c')),
        Kind::FsdCap => ("cfsd", Store('f', 'c')),
        Kind::SbDdc => ("sb", Store('x', 'x')),
        Kind::ShDdc => ("sh", Store('x', 'x')),
        Kind::SwDdc => ("sw", Store('x', 'x')),
        Kind::SdDdc => ("sd", Store('x', 'x')),
        Kind::CscDdc => ("sc", Store('c', 'x')),
        Kind::SbCap => ("csb", Store('x', 'c')),
        Kind::ShCap => ("csh", Store('x', 'c')),
        Kind::SwCap => ("csw", Store('x', 'c')),
        Kind::SdCap => ("csd", Store('x', 'c')),
        Kind::CscCap => ("csc", Store('c', 'c')),
        Kind::Addi => ("addi", Immediate),
        Kind::Slti => ("slti", Immediate),
        Kind::Sltiu => ("sltiu", Immediate),
        Kind::Xori => ("xori", Immediate),
        Kind::Ori => ("ori", Immediate),
        Kind::Andi => ("andi", Immediate),
        Kind::Slli => ("slli", Immediate),
        Kind::Srli => ("srli", Immediate),
        Kind::Srai => ("srai", Immediate),
        Kind::Addiw => ("addiw", Immediate),
        Kind::Slliw => ("slliw", Immediate),
        Kind::Srliw => ("srliw", Immediate),
        Kind::Sraiw => ("sraiw", Immediate),
        Kind::Add => ("add", Integers),
        Kind::Sub => ("sub", Integers),
        Kind::Sll => ("sll", Integers),
        Kind::Slt => ("slt", Integers),
        Kind::Sltu => ("sltu", Integers),
        Kind::Xor => ("xor", Integers),
        Kind::Srl => ("srl", Integers),
        Kind::Sra => ("sra", Integers),
        Kind::Or => ("or", Integers),
        Kind::And => ("and", Integers),
        Kind::Addw => ("addw", Integers),
        Kind::Subw => ("subw", Integers),
        Kind::Sllw => ("sllw", Integers),
        Kind::Srlw => ("srlw", Integers),
        Kind::Sraw => ("sraw", Integers),
        Kind::Mul => ("mul", Integers),
        Kind::Mulh => ("mulh", Integers),
        Kind::Mulhsu => ("mulhsu", Integers),
        Kind::Mulhu => ("mulhu", Integers),
        Kind::Div => ("div", Integers),
        Kind::Divu => ("divu", Integers),
        Kind::Rem => ("rem", Integers),
        Kind::Remu => ("remu", Integers),
        Kind::Mulw => ("mulw", Integers),
        Kind::Divw => ("divw", Integers),
        Kind::Divuw => ("divuw", Integers),
        Kind::Remw => ("remw", Integers),
        Kind::Remuw => ("remuw", Integers),
        Kind::Fence => ("fence", None),
        Kind::FenceI => ("fence.i", None),
        Kind::SfenceVma => ("sfence.vma", None),
        Kind::Ecall => ("ecall", None),
        Kind::Ebreak => ("ebreak", None),
        Kind::Mret => ("mret", None),
        Kind::Wfi => ("wfi", None),
        kind => cheri(kind),
    }
}

fn cheri(kind: Kind) -> (&'static str, Form) {
    use Form::Registers;
    match kind {
        Kind::CGetPerm => ("cgetperm", Registers(b"xc ")),
        Kind::CGetType => ("cgettype", Registers(b"xc ")),
        Kind::CGetBase => ("cgetbase", Registers(b"xc ")),
        Kind::CGetLen => ("cgetlen", Registers(b"xc ")),
        Kind::CGetTag => ("cgettag", Registers(b"xc ")),
        Kind::CGetSealed => ("cgetsealed", Registers(b"xc ")),
        Kind::CGetOffset => ("cgetoffset", Registers(b"xc ")),
        Kind::CGetFlags => ("cgetflags", Registers(b"xc ")),
        Kind::CGetAddr => ("cgetaddr", Registers(b"xc ")),
        Kind::CGetHigh => ("cgethigh", Registers(b"xc ")),
        Kind::Crrl => ("crrl", Registers(b"xx ")),
        Kind::Cram => ("cram", Registers(b"xx ")),
        Kind::CMove => ("cmove", Registers(b"cc ")),
        Kind::CClearTag => ("ccleartag", Registers(b"cc ")),
        Kind::CSealEntry => ("csealentry", Registers(b"cc ")),
        Kind::CLoadTags => ("cloadtags", Registers(b"xc ")),
        Kind::CSetBounds => ("csetbounds", Registers(b"ccx")),
        Kind::CSetBoundsExact => ("csetboundsexact", Registers(b"ccx")),
        Kind::CSetBoundsImm => ("csetbounds", Registers(b"cc ")),
        Kind::CSeal => ("cseal", Registers(b"ccc")),
        Kind::CUnseal => ("cunseal", Registers(b"ccc")),
        Kind::CAndPerm => ("candperm", Registers(b"ccx")),
        Kind::CSetFlags => ("csetflags", Registers(b"ccx")),
        Kind::CSetOffset => ("csetoffset", Registers(b"ccx")),
        Kind::CSetAddr => ("csetaddr", Registers(b"ccx")),
        Kind::CSetHigh => ("csethigh", Registers(b"ccx")),
        Kind::CIncOffset => ("cincoffset", Registers(b"ccx")),
        Kind::CIncOffsetImm => ("cincoffset", Registers(b"cc ")),
        Kind::CToPtr => ("ctoptr", Registers(b"xcc")),
        Kind::CFromPtr => ("cfromptr", Registers(b"ccx")),
        Kind::CSub => ("csub", Registers(b"xcc")),
        Kind::CBuildCap => ("cbuildcap", Registers(b"ccc")),
        Kind::CCopyType => ("ccopytype", Registers(b"ccc")),
        Kind::CCSeal => ("ccseal", Registers(b"ccc")),
        Kind::CTestSubset => ("ctestsubset", Registers(b"xcc")),
        _ => ("cseqx", Registers(b"xcc")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_read_as_in_the_manual() {
        assert_eq!(disassemble(0x03ca_0fdb, true), "cspecialrw c31, mtcc, c20");
        assert_eq!(disassemble(0x7ff4_4013, false), "xori x0, x8, 2047");
        assert_eq!(disassemble(0x0080_3503, false), "ld x10, 8(x0)");
        assert_eq!(disassemble(0x0080_3503, true), "cld x10, 8(c0)");
        assert_eq!(disassemble(0x2051_835b, false), "csetaddr c6, c3, x5");
        assert_eq!(disassemble(0x8082, true), "cjalr c0, c1, 0");
        assert_eq!(disassemble(0x032a_4033, false), "div x0, x20, x18");
        assert_eq!(disassemble(0x1005_262f, false), "lr.w x12, (x10)");
    }
}
