//! What a fault was: ESR_EL1 says the cause, FAR_EL1 the address, the faulting instruction tells whose authority it was.

use super::frame::Frame;
use crate::types::{Access, Fault, Instruction};
use crate::user;
use abi::FaultKind;
use capability::{Decoded, Permissions};

/// Exception classes of ESR_EL1 (Arm Architecture Reference Manual, D13.2; Morello supplement for 0x29 and 0x2a).
const UNDEFINED: u64 = 0x00;
const ILLEGAL_STATE: u64 = 0x0e;
/// Floating point, where it is closed.
const FLOAT: u64 = 0x07;
const SUPERVISOR_CALL: u64 = 0x15;
const SYSTEM_REGISTER: u64 = 0x18;
const INSTRUCTION_ABORT: u64 = 0x20;
const INSTRUCTION_ABORT_OWN: u64 = 0x21;
const PC_ALIGNMENT: u64 = 0x22;
const DATA_ABORT: u64 = 0x24;
const DATA_ABORT_OWN: u64 = 0x25;
const SP_ALIGNMENT: u64 = 0x26;
const CAPABILITY_ACCESS: u64 = 0x29;
const CAPABILITY_SYSTEM_REGISTER: u64 = 0x2a;
const BREAKPOINT: u64 = 0x3c;

/// ESR_EL1 of a data abort: the access was a store.
const WRITE: u64 = 1 << 6;

/// Decodes the fault that `frame` was saved with.
pub fn describe(frame: &Frame) -> Fault {
    let (syndrome, address) = (frame.cause(), frame.fault_address());
    let word = fetch(frame);
    let mut fault = Fault {
        kind: FaultKind::Unknown,
        pc: frame.pc(),
        access: None,
        address: None,
        authority: None,
        instruction: word.map(|word| Instruction { word, size: 4 }),
        raw: [("esr_el1", syndrome), ("spsr_el1", frame.status())],
    };
    let class = syndrome >> 26;
    if matches!(class, INSTRUCTION_ABORT..=DATA_ABORT_OWN) {
        // Of other exceptions the address register knows nothing.
        fault.raw[1] = ("far_el1", address);
    }
    match class {
        INSTRUCTION_ABORT | INSTRUCTION_ABORT_OWN => {
            let (kind, code) = jump(frame, abort(syndrome));
            fault.kind = kind;
            fault.access = Some(Access::Execute);
            fault.address = Some(address);
            fault.authority = Some(("pcc", code));
        }
        DATA_ABORT | DATA_ABORT_OWN => {
            fault.kind = abort(syndrome);
            fault.access = Some(if syndrome & WRITE == 0 {
                Access::Read
            } else {
                Access::Write
            });
            fault.address = Some(address);
            fault.authority = word.and_then(|word| authority(frame, word));
        }
        PC_ALIGNMENT => {
            fault.kind = FaultKind::Misaligned;
            fault.access = Some(Access::Execute);
            fault.address = Some(address);
        }
        SP_ALIGNMENT => fault.kind = FaultKind::Misaligned,
        UNDEFINED if word.is_some_and(is_privileged) => fault.kind = FaultKind::Privilege,
        UNDEFINED | ILLEGAL_STATE | SUPERVISOR_CALL | FLOAT => fault.kind = FaultKind::Illegal,
        SYSTEM_REGISTER | CAPABILITY_ACCESS | CAPABILITY_SYSTEM_REGISTER => fault.kind = FaultKind::Privilege,
        BREAKPOINT => fault.kind = FaultKind::Breakpoint,
        _ => {}
    }
    fault
}

/// What stopped a jump, and the PCC that did: an integer jump far away leaves an untagged PCC with shifted bounds, the
/// permissions are still those of the program. And a processor may notice the closed page before it looks at PCC, which
/// would have refused as well.
fn jump(frame: &Frame, kind: FaultKind) -> (FaultKind, Decoded) {
    let (left, pc) = (frame.code().decoded(), frame.pc());
    let is_far = |start: &Decoded| !left.tag && start.permissions == left.permissions && !start.in_bounds(pc, 4);
    let code = frame.start_code().filter(is_far).unwrap_or(left);
    let kind = match kind {
        FaultKind::Tag | FaultKind::Access if !code.tag => FaultKind::Tag,
        FaultKind::Tag | FaultKind::Access if !code.permissions.contains(Permissions::EXECUTE) => FaultKind::Permission,
        FaultKind::Tag | FaultKind::Access if !code.in_bounds(pc, 4) => FaultKind::Bounds,
        kind => kind,
    };
    (kind, code)
}

/// The fault status code of an abort.
fn abort(syndrome: u64) -> FaultKind {
    match syndrome & 0x3f {
        0x28 => FaultKind::Tag,
        0x29 => FaultKind::Seal,
        0x2a => FaultKind::Bounds,
        0x2b => FaultKind::Permission,
        0x21 => FaultKind::Misaligned,
        // Translation, access flag, permission; external abort; no tags allowed in this page.
        0x04..=0x10 | 0x2c => FaultKind::Access,
        _ => FaultKind::Unknown,
    }
}

/// The instruction at the program counter, read through the program's own code capability. The monitor's own text cannot
/// be read; trying would overwrite the very frame that is looked at.
fn fetch(frame: &Frame) -> Option<u32> {
    if !frame.code().decoded().permissions.contains(Permissions::LOAD) {
        return None;
    }
    let mut bytes = [0; 4];
    user::copy_in(&mut bytes, frame.code(), frame.pc()).ok()?;
    Some(u32::from_le_bytes(bytes))
}

/// Whether this is an access to system registers, a system instruction, or a call or return between levels.
fn is_privileged(word: u32) -> bool {
    let system = word >> 22 == 0b11_0101_0100;
    let capability_register = matches!(word >> 20, 0xc28 | 0xc29);
    let exception = word >> 24 == 0xd4;
    let exception_return = word & 0xffff_f3ff == 0xd69f_03e0;
    system || capability_register || exception || exception_return
}

/// The capability that a load or store goes through: DDC, or the base register where that is a capability.
fn authority(frame: &Frame, word: u32) -> Option<(&'static str, Decoded)> {
    let literal = word & 0x3b00_0000 == 0x1800_0000 || word >> 22 == 0b10_0000_1000;
    let alternate = !literal && (matches!(word >> 24, 0x82 | 0xe2) || word >> 21 == 0b110_0001_0111);
    // LDPBR, LDPBLR; BR and BLR through memory: always through a capability.
    let branch = word & 0xffff_dc00 == 0xc2c4_1000 || word & 0xfff0_1c1e == 0xc2d0_1000;
    if literal && frame.capability_mode() {
        return Some(("pcc", frame.code().decoded()));
    }
    if branch || alternate != frame.capability_mode() {
        let (name, slot) = frame.base_register((word >> 5 & 0x1f) as usize);
        return Some((name, slot.decoded()));
    }
    Some(("ddc", frame.data().decoded()))
}
