//! F and D: singles in the low half of a register whose upper half is ones, NaN always the default one, exceptions gathered
//! in `fflags`, and `mstatus.FS`, which closes all of it or says that something was written.

use crate::float::{Arithmetic, Flags, Format, Outcome, Rounding};

use super::bus::Bus;
use super::hart::{Hart, status};
use super::operation::{FloatOperands, Kind, Operation};
use super::trap::Trap;

/// The upper half of a register that holds a single.
const BOX: u64 = 0xffff_ffff_0000_0000;

/// Registers 0 to 31 and `fcsr`.
#[derive(Clone)]
pub(super) struct FloatRegisters {
    pub(super) values: [u64; 32],
    pub(super) flags: Flags,
    /// `frm`, reserved values included.
    pub(super) rounding: u8,
}

impl Default for FloatRegisters {
    fn default() -> Self {
        FloatRegisters {
            values: [0; 32],
            flags: Flags::empty(),
            rounding: 0,
        }
    }
}

impl FloatRegisters {
    /// An operand; what is no single where one is needed is the default NaN.
    #[inline]
    fn operand(&self, format: Format, number: u8) -> u64 {
        let value = self.values[usize::from(number) % 32];
        match format {
            Format::Double => value,
            _ if value & BOX == BOX => value & !BOX,
            _ => format.default_nan(),
        }
    }

    #[inline]
    fn set(&mut self, format: Format, number: u8, value: u64) {
        let upper = if format == Format::Double { 0 } else { BOX };
        self.values[usize::from(number) % 32] = value | upper;
    }
}

impl Hart {
    #[inline]
    fn require_float(&self) -> Result<(), Trap> {
        if self.mstatus & status::FS == 0 {
            return Err(Trap::illegal());
        }
        Ok(())
    }

    #[inline]
    fn set_float(&mut self, format: Format, number: u8, value: u64) {
        self.floats.set(format, number, value);
        self.mstatus |= status::FS;
    }

    fn raise(&mut self, flags: Flags) {
        if !flags.is_empty() {
            self.floats.flags |= flags;
            self.mstatus |= status::FS;
        }
    }

    #[inline]
    pub(super) fn load_float_by_ddc(&mut self, bus: &mut Bus, op: Operation) -> Result<(), Trap> {
        self.require_float()?;
        let address = self.registers.integer(op.rs1).wrapping_add(op.imm as u64);
        let address = address.wrapping_add(self.ddc_relocation);
        if op.kind == Kind::FldDdc {
            let value = self.load_by_ddc(bus, address)?;
            self.set_float(Format::Double, op.rd, u64::from_le_bytes(value));
        } else {
            let value = self.load_by_ddc(bus, address)?;
            self.set_float(Format::Single, op.rd, u32::from_le_bytes(value).into());
        }
        Ok(())
    }

    #[inline]
    pub(super) fn store_float_by_ddc(&mut self, bus: &mut Bus, op: Operation) -> Result<(), Trap> {
        self.require_float()?;
        let address = self.registers.integer(op.rs1).wrapping_add(op.imm as u64);
        let address = address.wrapping_add(self.ddc_relocation);
        let value = self.floats.values[usize::from(op.rs2) % 32];
        if op.kind == Kind::FsdDdc {
            self.store_by_ddc(bus, address, value.to_le_bytes())
        } else {
            self.store_by_ddc(bus, address, (value as u32).to_le_bytes())
        }
    }

    #[inline]
    pub(super) fn load_float_by_register(&mut self, bus: &mut Bus, op: Operation) -> Result<(), Trap> {
        self.require_float()?;
        if op.kind == Kind::FldCap {
            let value = self.load_by_register(bus, op.rs1, op.imm)?;
            self.set_float(Format::Double, op.rd, u64::from_le_bytes(value));
        } else {
            let value = self.load_by_register(bus, op.rs1, op.imm)?;
            self.set_float(Format::Single, op.rd, u32::from_le_bytes(value).into());
        }
        Ok(())
    }

    #[inline]
    pub(super) fn store_float_by_register(&mut self, bus: &mut Bus, op: Operation) -> Result<(), Trap> {
        self.require_float()?;
        let value = self.floats.values[usize::from(op.rs2) % 32];
        if op.kind == Kind::FsdCap {
            self.store_by_register(bus, op.rs1, op.imm, value.to_le_bytes())
        } else {
            self.store_by_register(bus, op.rs1, op.imm, (value as u32).to_le_bytes())
        }
    }

    /// The rounding mode of an instruction, or of `frm` where it says so.
    fn rounding(&self, field: u8) -> Result<Rounding, Trap> {
        let field = if field == 7 { self.floats.rounding } else { field };
        Ok(match field {
            0 => Rounding::Nearest,
            1 => Rounding::Zero,
            2 => Rounding::Down,
            3 => Rounding::Up,
            4 => Rounding::Away,
            _ => return Err(Trap::illegal()),
        })
    }

    /// Executes an instruction that computes with floating-point registers.
    #[inline(never)]
    pub(super) fn float(&mut self, op: Operation) -> Result<(), Trap> {
        self.require_float()?;
        let operands = FloatOperands::unpack(op.imm);
        let format = if operands.double {
            Format::Double
        } else {
            Format::Single
        };
        let rounding = self.rounding(operands.rounding)?;
        let x = self.floats.operand(format, op.rs1);
        let y = self.floats.operand(format, op.rs2);
        let sign = format.sign();
        let outcome = match op.kind {
            Kind::Fadd => self.arithmetic(format, Arithmetic::Add, x, y, rounding),
            Kind::Fsub => self.arithmetic(format, Arithmetic::Subtract, x, y, rounding),
            Kind::Fmul => self.arithmetic(format, Arithmetic::Multiply, x, y, rounding),
            Kind::Fdiv => self.arithmetic(format, Arithmetic::Divide, x, y, rounding),
            Kind::Fmadd | Kind::Fmsub | Kind::Fnmsub | Kind::Fnmadd => {
                let addend = self.floats.operand(format, operands.third);
                let negate = |condition, value| if condition { value ^ sign } else { value };
                let x = negate(matches!(op.kind, Kind::Fnmsub | Kind::Fnmadd), x);
                let addend = negate(matches!(op.kind, Kind::Fmsub | Kind::Fnmadd), addend);
                self.multiply_add(format, [x, y, addend], rounding)
            }
            Kind::Fsqrt if format.is_nan(x) => nan(format, &[x]),
            Kind::Fsqrt => format.square_root(x, rounding, self.floats.flags),
            Kind::Fsgnj => exact(x & !sign | y & sign),
            Kind::Fsgnjn => exact(x & !sign | !y & sign),
            Kind::Fsgnjx => exact(x ^ y & sign),
            Kind::Fmin => minimum(format, x, y),
            Kind::Fmax => maximum(format, x, y),
            Kind::FcvtFormat => self.convert(format, op.rs1, rounding),
            Kind::FcvtOfInteger => {
                let value = self.registers.integer(op.rs1);
                format.round_integer(integer(operands.third, value), rounding)
            }
            Kind::FmvOfInteger => exact(self.registers.integer(op.rs1) & format.mask()),
            _ => return self.float_to_integer(op, format, rounding),
        };
        self.raise(outcome.flags);
        self.set_float(format, op.rd, outcome.bits);
        Ok(())
    }

    #[inline]
    fn arithmetic(&self, format: Format, operation: Arithmetic, x: u64, y: u64, rounding: Rounding) -> Outcome {
        if format.is_nan(x) || format.is_nan(y) {
            return nan(format, &[x, y]);
        }
        format.arithmetic(operation, x, y, rounding, self.floats.flags)
    }

    fn multiply_add(&self, format: Format, operands: [u64; 3], rounding: Rounding) -> Outcome {
        let [x, y, addend] = operands;
        if operands.iter().any(|operand| format.is_nan(*operand)) {
            let mut outcome = nan(format, &operands);
            let magnitudes = [x, y].map(|operand| operand & !format.sign());
            // Invalid even where the addend is a quiet NaN.
            if magnitudes.contains(&0) && magnitudes.contains(&format.infinity()) {
                outcome.flags |= Flags::INVALID;
            }
            return outcome;
        }
        format.multiply_add(x, y, addend, rounding, self.floats.flags)
    }

    /// FCVT.S.D and FCVT.D.S.
    fn convert(&self, to: Format, source: u8, rounding: Rounding) -> Outcome {
        let from = if to == Format::Double {
            Format::Single
        } else {
            Format::Double
        };
        let x = self.floats.operand(from, source);
        if from.is_nan(x) {
            return Outcome {
                bits: to.default_nan(),
                ..nan(from, &[x])
            };
        }
        match to {
            Format::Double => exact(Format::widen(x)),
            _ => Format::narrow(x, rounding),
        }
    }

    /// The instructions with an integer register as destination.
    fn float_to_integer(&mut self, op: Operation, format: Format, rounding: Rounding) -> Result<(), Trap> {
        let x = self.floats.operand(format, op.rs1);
        let y = self.floats.operand(format, op.rs2);
        let (value, flags) = match op.kind {
            Kind::FmvToInteger if format == Format::Double => (x, Flags::empty()),
            Kind::FmvToInteger => {
                // The low half, whatever the upper one holds.
                let value = self.floats.values[usize::from(op.rs1) % 32];
                (value as i32 as u64, Flags::empty())
            }
            Kind::Fclass => (1 << class(format, x), Flags::empty()),
            Kind::FcvtToInteger => {
                let selector = FloatOperands::unpack(op.imm).third;
                let (least, greatest) = range(selector);
                let (value, flags) = if format.is_nan(x) {
                    (greatest, Flags::INVALID)
                } else {
                    format.integer_within(x, rounding, least, greatest)
                };
                let word = selector < 2;
                (if word { value as i32 as u64 } else { value as u64 }, flags)
            }
            kind => compare(kind, format, x, y),
        };
        self.raise(flags);
        self.registers.set_integer(op.rd, value);
        Ok(())
    }
}

/// A result that raises nothing.
fn exact(bits: u64) -> Outcome {
    Outcome {
        bits,
        flags: Flags::empty(),
    }
}

/// The result of an operation with a NaN among its operands.
#[cold]
fn nan(format: Format, operands: &[u64]) -> Outcome {
    let signalling = operands.iter().any(|operand| format.is_signalling(*operand));
    Outcome {
        bits: format.default_nan(),
        flags: if signalling { Flags::INVALID } else { Flags::empty() },
    }
}

/// The integer of a kind that a register holds.
fn integer(selector: u8, value: u64) -> i128 {
    match selector {
        0 => (value as i32).into(),
        1 => (value as u32).into(),
        2 => (value as i64).into(),
        _ => value.into(),
    }
}

/// The least and the greatest integer of a kind.
fn range(selector: u8) -> (i128, i128) {
    match selector {
        0 => (i32::MIN.into(), i32::MAX.into()),
        1 => (0, u32::MAX.into()),
        2 => (i64::MIN.into(), i64::MAX.into()),
        _ => (0, u64::MAX.into()),
    }
}

fn minimum(format: Format, x: u64, y: u64) -> Outcome {
    choose(format, x, y, format.order(x) <= format.order(y))
}

fn maximum(format: Format, x: u64, y: u64) -> Outcome {
    choose(format, x, y, format.order(x) >= format.order(y))
}

/// The first operand or the second; a NaN counts as missing.
fn choose(format: Format, x: u64, y: u64, first: bool) -> Outcome {
    let outcome = |bits| Outcome {
        bits,
        ..nan(format, &[x, y])
    };
    match (format.is_nan(x), format.is_nan(y)) {
        (true, true) => nan(format, &[x, y]),
        (true, false) => outcome(y),
        (false, true) => outcome(x),
        (false, false) => exact(if first { x } else { y }),
    }
}

/// FLE, FLT and FEQ; only the last is quiet about a quiet NaN.
fn compare(kind: Kind, format: Format, x: u64, y: u64) -> (u64, Flags) {
    if format.is_nan(x) || format.is_nan(y) {
        let flags = if kind == Kind::Feq {
            nan(format, &[x, y]).flags
        } else {
            Flags::INVALID
        };
        return (0, flags);
    }
    let zeros = (x | y) & !format.sign() == 0;
    let (x, y) = (format.order(x), format.order(y));
    let holds = match kind {
        Kind::Feq => zeros || x == y,
        Kind::Flt => !zeros && x < y,
        _ => zeros || x <= y,
    };
    (holds.into(), Flags::empty())
}

/// The number of the bit that FCLASS sets.
fn class(format: Format, x: u64) -> u32 {
    let negative = x & format.sign() != 0;
    let magnitude = x & !format.sign();
    if format.is_nan(x) {
        return if format.is_signalling(x) { 8 } else { 9 };
    }
    let distance = if magnitude == format.infinity() {
        3
    } else if magnitude == 0 {
        0
    } else if magnitude & format.infinity() == 0 {
        1
    } else {
        2
    };
    if negative { 3 - distance } else { 4 + distance }
}
