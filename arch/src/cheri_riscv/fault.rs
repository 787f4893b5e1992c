//! What a fault was: mcause and mtval say cause and register, the faulting instruction tells the address.

use super::frame::{Frame, REGISTER_NAMES};
use super::variant;
use crate::types::{Access, Fault, Instruction};
use crate::user;
use abi::FaultKind;

/// `mcause` values (RISC-V privileged architecture 1.12, table 3.6; CHERI ISAv9, section 4.9).
const INSTRUCTION_MISALIGNED: u64 = 0;
const INSTRUCTION_ACCESS: u64 = 1;
const ILLEGAL_INSTRUCTION: u64 = 2;
const BREAKPOINT: u64 = 3;
const LOAD_MISALIGNED: u64 = 4;
const LOAD_ACCESS: u64 = 5;
const STORE_MISALIGNED: u64 = 6;
const STORE_ACCESS: u64 = 7;
const CHERI: u64 = 0x1c;

/// Register field of `mtval` for a CHERI fault: 32 + number of the special register.
const REGISTER_PCC: u64 = 32;
const REGISTER_DDC: u64 = 33;

/// Decodes the fault that `frame` was saved with.
pub fn describe(frame: &Frame) -> Fault {
    let (cause, value) = (frame.cause(), frame.value());
    // The monitor's own text cannot be read, and a refused copy would overwrite the monitor's frame.
    let instruction = if frame.is_of_monitor() { None } else { fetch(frame) };
    let operation = instruction.and_then(|word| Operation::decode(word, frame));
    let mut fault = Fault {
        kind: FaultKind::Unknown,
        pc: frame.pc(),
        access: operation.map(|operation| operation.access),
        address: None,
        authority: None,
        instruction: instruction.map(|word| Instruction {
            word,
            size: if word & 3 == 3 { 4 } else { 2 },
        }),
        raw: [("mcause", cause), ("mtval", value)],
    };
    match cause {
        CHERI => cheri(frame, value, operation, &mut fault),
        INSTRUCTION_MISALIGNED | LOAD_MISALIGNED | STORE_MISALIGNED => {
            fault.kind = FaultKind::Misaligned;
            fault.address = Some(value);
        }
        INSTRUCTION_ACCESS | LOAD_ACCESS | STORE_ACCESS => {
            fault.kind = FaultKind::Access;
            fault.address = Some(value);
            fault.access = Some(match cause {
                INSTRUCTION_ACCESS => Access::Execute,
                LOAD_ACCESS => Access::Read,
                _ => Access::Write,
            });
        }
        ILLEGAL_INSTRUCTION => {
            // A privileged register or instruction arrives as this, too.
            fault.kind = if instruction.is_some_and(is_system) {
                FaultKind::Privilege
            } else {
                FaultKind::Illegal
            };
            fault.access = None;
        }
        BREAKPOINT => fault.kind = FaultKind::Breakpoint,
        _ => {}
    }
    fault
}

fn cheri(frame: &Frame, value: u64, operation: Option<Operation>, fault: &mut Fault) {
    let register = value >> 5 & 0x3f;
    fault.kind = match value & 0x1f {
        0x01 => FaultKind::Bounds,
        0x02 => FaultKind::Tag,
        0x03 => FaultKind::Seal,
        0x04 => FaultKind::Type,
        0x18 => FaultKind::Privilege,
        0x10..=0x17 | 0x19..=0x1b => FaultKind::Permission,
        _ => FaultKind::Capability,
    };
    if fault.kind == FaultKind::Privilege {
        fault.access = None;
        return;
    }
    fault.authority = match register {
        0..=31 => Some((
            REGISTER_NAMES[register as usize],
            frame.register(register as usize).decoded(),
        )),
        REGISTER_PCC => Some(("pcc", frame.code().decoded())),
        REGISTER_DDC => Some(("ddc", frame.data().decoded())),
        _ => None,
    };
    // Register 0 as a general register is NULL, not the program counter that shares its index.
    if register == 0 {
        fault.authority = Some(("cnull", capability::riscv::Capability::NULL.decode()));
    }
    if register == REGISTER_PCC {
        fault.access = Some(Access::Execute);
        fault.address = Some(
            operation
                .filter(|o| o.access == Access::Execute)
                .map_or(fault.pc, |o| o.address),
        );
    } else {
        fault.address = operation.map(|operation| operation.address);
    }
}

/// The instruction at the program counter, read through the program's own code capability.
fn fetch(frame: &Frame) -> Option<u32> {
    let mut low = [0; 2];
    user::copy_in(&mut low, frame.code(), frame.pc()).ok()?;
    let low = u16::from_le_bytes(low);
    if low & 3 != 3 {
        return Some(u32::from(low));
    }
    let mut high = [0; 2];
    user::copy_in(&mut high, frame.code(), frame.pc().wrapping_add(2)).ok()?;
    Some(u32::from(low) | u32::from(u16::from_le_bytes(high)) << 16)
}

fn is_system(instruction: u32) -> bool {
    instruction & 0x7f == 0x73
}

/// A memory access or a jump, with its absolute address.
#[derive(Clone, Copy)]
struct Operation {
    access: Access,
    address: u64,
}

impl Operation {
    /// Decodes loads, stores, atomics and jumps, compressed ones included, in both modes.
    fn decode(word: u32, frame: &Frame) -> Option<Operation> {
        if word & 3 != 3 {
            return Operation::decode_compressed(word, frame);
        }
        let field = |low: u32, bits: u32| word >> low & ((1 << bits) - 1);
        let (rs1, funct3) = (field(15, 5) as usize, field(12, 3));
        let load_offset = i64::from(word as i32 >> 20);
        let store_offset = i64::from((word as i32 >> 25) << 5 | field(7, 5) as i32);
        let data = |access, offset| {
            Some(Operation {
                access,
                address: data_address(frame, rs1).wrapping_add_signed(offset),
            })
        };
        let jump = |address| {
            Some(Operation {
                access: Access::Execute,
                address,
            })
        };
        match word & 0x7f {
            0x03 | 0x07 => data(Access::Read, load_offset),
            0x0f if funct3 == 2 => data(Access::Read, load_offset),
            0x23 | 0x27 => data(Access::Write, store_offset),
            0x2f => data(if field(27, 5) == 2 { Access::Read } else { Access::Write }, 0),
            0x67 => jump(code_address(frame, rs1).wrapping_add_signed(load_offset)),
            0x6f => {
                let offset =
                    (word as i32 >> 31) << 20 | (field(12, 8) << 12 | field(20, 1) << 11 | field(21, 10) << 1) as i32;
                jump(frame.pc().wrapping_add_signed(i64::from(offset)))
            }
            0x63 => {
                let offset =
                    (word as i32 >> 31) << 12 | (field(7, 1) << 11 | field(25, 6) << 5 | field(8, 4) << 1) as i32;
                jump(frame.pc().wrapping_add_signed(i64::from(offset)))
            }
            0x5b if funct3 == 0 => {
                let explicit = |selector: u32, access| {
                    let through_ddc = selector & 8 == 0;
                    let address = if through_ddc {
                        ddc_address(frame, rs1)
                    } else {
                        register_address(frame, rs1)
                    };
                    Some(Operation { access, address })
                };
                match field(25, 7) {
                    0x7d => explicit(if field(20, 5) == 23 { 0 } else { field(20, 5) }, Access::Read),
                    0x7c => explicit(field(7, 5), Access::Write),
                    0x7e => jump(register_address(frame, rs1)),
                    0x7f if field(20, 5) == 12 => jump(register_address(frame, rs1)),
                    0x7f if field(20, 5) == 18 => Some(Operation {
                        access: Access::Read,
                        address: register_address(frame, rs1),
                    }),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The integer loads, stores and jumps of the C extension (RISC-V unprivileged ISA, chapter 16), and what stands in
    /// the place of its double-precision ones in capability mode: LC and SC with the offsets of C.LQ, C.SQ, C.LQSP and
    /// C.SQSP (CHERI ISAv9, compressed instructions).
    fn decode_compressed(word: u32, frame: &Frame) -> Option<Operation> {
        let field = |low: u32, bits: u32| word >> low & ((1 << bits) - 1);
        let small = field(7, 3) as usize + 8;
        let word_offset = u64::from(field(10, 3) << 3 | field(6, 1) << 2 | field(5, 1) << 6);
        let double_offset = u64::from(field(10, 3) << 3 | field(5, 2) << 6);
        let quad_offset = u64::from(field(11, 2) << 4 | field(5, 2) << 6 | field(10, 1) << 8);
        let data = |access, base, offset| {
            Some(Operation {
                access,
                address: data_address(frame, base).wrapping_add(offset),
            })
        };
        match (word & 3, word >> 13 & 7) {
            (0, 1) if capability_mode(frame) => data(Access::Read, small, quad_offset),
            (0, 5) if capability_mode(frame) => data(Access::Write, small, quad_offset),
            (2, 1) if capability_mode(frame) => data(
                Access::Read,
                2,
                u64::from(field(12, 1) << 5 | field(6, 1) << 4 | field(2, 4) << 6),
            ),
            (2, 5) if capability_mode(frame) => data(Access::Write, 2, u64::from(field(11, 2) << 4 | field(7, 4) << 6)),
            (0, 2) => data(Access::Read, small, word_offset),
            (0, 3) => data(Access::Read, small, double_offset),
            (0, 6) => data(Access::Write, small, word_offset),
            (0, 7) => data(Access::Write, small, double_offset),
            (2, 2) => data(
                Access::Read,
                2,
                u64::from(field(12, 1) << 5 | field(4, 3) << 2 | field(2, 2) << 6),
            ),
            (2, 3) => data(
                Access::Read,
                2,
                u64::from(field(12, 1) << 5 | field(5, 2) << 3 | field(2, 3) << 6),
            ),
            (2, 6) => data(Access::Write, 2, u64::from(field(9, 4) << 2 | field(7, 2) << 6)),
            (2, 7) => data(Access::Write, 2, u64::from(field(10, 3) << 3 | field(7, 3) << 6)),
            (2, 4) if field(2, 5) == 0 && field(7, 5) != 0 => Some(Operation {
                access: Access::Execute,
                address: code_address(frame, field(7, 5) as usize),
            }),
            _ => None,
        }
    }
}

fn register_address(frame: &Frame, register: usize) -> u64 {
    if register == 0 {
        0
    } else {
        frame.register(register).integer()
    }
}

fn ddc_address(frame: &Frame, register: usize) -> u64 {
    user::absolute(frame.data(), register_address(frame, register))
}

/// Absolute address of a mode-dependent data access without its offset.
fn data_address(frame: &Frame, register: usize) -> u64 {
    if capability_mode(frame) {
        register_address(frame, register)
    } else {
        ddc_address(frame, register)
    }
}

/// Absolute address of a mode-dependent jump through a register.
fn code_address(frame: &Frame, register: usize) -> u64 {
    let address = register_address(frame, register);
    if !capability_mode(frame) && variant::relocates() {
        address.wrapping_add(frame.code().base())
    } else {
        address
    }
}

fn capability_mode(frame: &Frame) -> bool {
    frame.code().capability_mode()
}
