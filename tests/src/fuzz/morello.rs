//! Random Morello instructions: the machine's own table of encodings, with registers that are likely to hold something.

use std::sync::OnceLock;

use machine::morello::{Encoding, encodings};

use super::random::Random;

/// Does nothing.
pub(super) const NOP: u32 = 0xd503_201f;
/// Register of the hostcall number.
pub(super) const NUMBER: u8 = 8;
/// The hostcall.
pub(super) const CALL: u32 = 0xd400_0001;
/// Goes on behind itself in the other instruction set.
pub(super) const SWITCH: u32 = 0xc2c2_73e0;

/// Registers that a program prefers: what one instruction leaves there, the next one finds.
const FAVOURITES: [u32; 12] = [0, 1, 2, 3, 9, 10, 11, 19, 20, 29, 30, 31];

/// Groups of encodings by the module that executes them, and how often each is chosen.
const GROUPS: [(&str, u64); 14] = [
    ("capability_operations", 28),
    ("capability_memory", 26),
    ("capability_branches", 6),
    ("memory", 12),
    ("atomics", 4),
    ("integer", 8),
    ("branch", 5),
    ("system", 3),
    ("system_instructions", 0),
    ("simd_memory", 2),
    ("simd", 1),
    ("fp", 1),
    ("call", 5),
    ("any", 2),
];

/// A system register as bits 20 to 5 of an instruction; op0 is 3.
const fn register(op1: u32, crn: u32, crm: u32, op2: u32) -> u32 {
    3 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2
}

/// System registers that EL0 may have, and some that it may not.
const REGISTERS: [u32; 17] = [
    register(3, 4, 1, 1),  // DDC
    register(3, 4, 1, 1),  // DDC
    register(3, 4, 3, 1),  // RDDC_EL0
    register(3, 4, 2, 0),  // NZCV
    register(3, 4, 4, 0),  // FPCR
    register(3, 4, 4, 1),  // FPSR
    register(3, 13, 0, 2), // TPIDR_EL0
    register(3, 13, 0, 3), // TPIDRRO_EL0
    register(3, 13, 0, 4), // RTPIDR_EL0
    register(3, 13, 0, 7), // CID_EL0
    register(3, 14, 0, 2), // CNTVCT_EL0
    register(3, 14, 2, 1), // CNTP_CTL_EL0
    register(7, 4, 1, 3),  // RSP_EL0
    register(3, 1, 2, 2),  // CCTLR_EL0
    register(3, 4, 2, 1),  // DAIF
    register(0, 4, 1, 0),  // SP_EL0
    register(0, 12, 0, 0), // VBAR_EL1
];

fn groups() -> &'static [Vec<Encoding>] {
    static ALL: OnceLock<Vec<Vec<Encoding>>> = OnceLock::new();
    ALL.get_or_init(|| {
        let of = |module: &str| {
            encodings()
                .filter(|found| found.name.split("::").next() == Some(module))
                .collect()
        };
        GROUPS.iter().map(|(module, _)| of(module)).collect()
    })
}

/// B over `distance` bytes.
pub(super) fn jump(distance: i32) -> u32 {
    0x1400_0000 | (distance >> 2) as u32 & 0x3ff_ffff
}

/// One random instruction.
pub(super) fn instruction(random: &mut Random) -> u32 {
    let group = random.weighted(&GROUPS.map(|(_, weight)| weight));
    let Some(found) = (!groups()[group].is_empty()).then(|| *random.pick(&groups()[group])) else {
        return match GROUPS[group].0 {
            "call" => CALL,
            _ => random.word(),
        };
    };
    let mut fields = random.word();
    // Immediates, in the middle of the word, are small as a rule.
    if random.chance(75) {
        fields &= random.word() & random.word() | 0xffc0_03ff;
    }
    for low in [0, 5, 16] {
        if random.chance(70) {
            fields = fields & !(31 << low) | random.pick(&FAVOURITES) << low;
        } else {
            fields = fields & !(31 << low) | (random.word() & 31) << low;
        }
    }
    // Where the field at 20:16 belongs to an immediate it has been made large again; not for branches.
    let instructions = 1 + random.below(12) as i32;
    let distance = if random.chance(75) { instructions } else { -instructions } as u32;
    match found.name {
        "branch::branch" | "branch::branch_link" => fields = instructions.min(4) as u32,
        "branch::branch_conditional" | "branch::compare_branch" => {
            fields = fields & !(0x7_ffff << 5) | (distance & 0x7_ffff) << 5;
        }
        "branch::test_branch" => fields = fields & !(0x3fff << 5) | (distance & 0x3fff) << 5,
        "memory::unsigned_offset" | "capability_memory::unsigned_offset" | "simd_memory::unsigned_offset" => {
            fields &= !(0xff8 << 10);
        }
        "system::register_access" if random.chance(60) => {
            fields = fields & !(0xffff << 5) | random.pick(&REGISTERS) << 5 | (random.word() & 1) << 21;
        }
        "capability_memory::super::system::capability_register" if random.chance(60) => {
            fields = fields & !(0x7fff << 5) | (random.pick(&REGISTERS) & 0x7fff) << 5 | (random.word() & 1) << 20;
        }
        _ => {}
    }
    fields & !found.mask | found.value
}
