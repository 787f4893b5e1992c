//! Random CHERI-RISC-V instructions: encodings that mean something, with registers that are likely to hold something.

use super::random::Random;

/// Does nothing, in either mode.
pub(super) const NOP: u32 = 0x0000_0013;
/// Register of the hostcall number.
pub(super) const NUMBER: u8 = 17;
/// The hostcall.
pub(super) const CALL: u32 = 0x0000_0073;

/// Registers that a program prefers: what one instruction leaves there, the next one finds.
const FAVOURITES: [u32; 12] = [2, 5, 8, 9, 10, 11, 12, 13, 18, 19, 28, 31];

fn register(random: &mut Random) -> u32 {
    if random.chance(70) {
        *random.pick(&FAVOURITES)
    } else {
        random.below(32) as u32
    }
}

fn r_type(random: &mut Random, opcode: u32, funct3: u32, funct7: u32) -> u32 {
    let (rs2, rs1, rd) = (register(random), register(random), register(random));
    funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

fn i_type(random: &mut Random, opcode: u32, funct3: u32) -> u32 {
    // Often small, sometimes anything that the field can hold.
    let any = random.word() & 0xfff;
    let immediate = if random.chance(75) { any & 0x0f0 } else { any };
    let (rs1, rd) = (register(random), register(random));
    immediate << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

fn store(random: &mut Random, funct3: u32) -> u32 {
    let word = i_type(random, 0, 0);
    let (immediate, rs1) = (word >> 20, word >> 15 & 31);
    (immediate >> 5) << 25 | register(random) << 20 | rs1 << 15 | funct3 << 12 | (immediate & 31) << 7 | 0x23
}

/// JAL over `distance` bytes.
pub(super) fn jump(rd: u32, distance: i32) -> u32 {
    let distance = distance as u32;
    (distance >> 20 & 1) << 31
        | (distance >> 1 & 0x3ff) << 21
        | (distance >> 11 & 1) << 20
        | (distance >> 12 & 0xff) << 12
        | rd << 7
        | 0x6f
}

fn branch(random: &mut Random, funct3: u32, distance: i32) -> u32 {
    let distance = distance as u32;
    let (rs1, rs2) = (register(random), register(random));
    (distance >> 12 & 1) << 31
        | (distance >> 5 & 0x3f) << 25
        | rs2 << 20
        | rs1 << 15
        | funct3 << 12
        | (distance >> 1 & 0xf) << 8
        | (distance >> 11 & 1) << 7
        | 0x63
}

/// A distance of a few instructions, forwards more often than backwards.
fn near(random: &mut Random) -> i32 {
    let instructions = 1 + random.below(12) as i32;
    4 * if random.chance(75) { instructions } else { -instructions }
}

fn capability_operation(random: &mut Random) -> u32 {
    const THREE: [u32; 21] = [
        0x08, 0x09, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x12, 0x13, 0x14, 0x16, 0x1d, 0x1e, 0x1f, 0x20, 0x21,
        0x08, 0x10, 0x11,
    ];
    const TWO: [u32; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15, 17, 18, 23];
    match random.below(10) {
        0..5 => {
            let funct7 = *random.pick(&THREE);
            r_type(random, 0x5b, 0, funct7)
        }
        5..7 => {
            let word = r_type(random, 0x5b, 0, 0x7f);
            word & !(31 << 20) | random.pick(&TWO) << 20
        }
        7 => i_type(random, 0x5b, 1), // CIncOffsetImm
        8 => i_type(random, 0x5b, 2), // CSetBoundsImm
        // CSpecialRW: PCC, DDC, and what must be refused.
        _ => {
            let word = r_type(random, 0x5b, 0, 1);
            let number = *random.pick(&[0, 1, 1, 1, 4, 5, 6, 7, 12, 13, 14, 15, 28, 29, 30, 31]);
            word & !(31 << 20) | number << 20
        }
    }
}

fn memory(random: &mut Random) -> u32 {
    match random.below(10) {
        0..2 => {
            let width = random.below(7) as u32;
            i_type(random, 0x03, width)
        }
        2..4 => {
            let width = random.below(5) as u32;
            store(random, width)
        }
        4 => i_type(random, 0x0f, 2), // LC
        // Loads and stores that name DDC or a capability as their authority.
        5..7 => {
            let selector = *random.pick(&[8, 9, 10, 11, 12, 13, 14, 31, 31, 31, 0, 3, 6, 23, 23]);
            r_type(random, 0x5b, 0, 0x7d) & !(31 << 20) | selector << 20
        }
        7..9 => {
            let selector = *random.pick(&[8, 9, 10, 11, 12, 12, 12, 0, 3, 4, 4]);
            r_type(random, 0x5b, 0, 0x7c) & !(31 << 7) | selector << 7
        }
        _ => atomic(random),
    }
}

fn atomic(random: &mut Random) -> u32 {
    if random.chance(30) {
        // LR and SC that name their authority.
        let selector = 16 + random.below(5) as u32 + if random.chance(60) { 8 } else { 0 };
        return if random.chance(50) {
            r_type(random, 0x5b, 0, 0x7d) & !(31 << 20) | selector << 20
        } else {
            r_type(random, 0x5b, 0, 0x7c) & !(31 << 7) | selector << 7
        };
    }
    let function = *random.pick(&[0, 1, 1, 2, 3, 4, 8, 12, 16, 20, 24, 28]);
    let width = *random.pick(&[2, 3, 3, 4]);
    let ordering = random.word() & 3;
    let word = r_type(random, 0x2f, width, function << 2 | ordering);
    if function == 2 { word & !(31 << 20) } else { word }
}

fn arithmetic(random: &mut Random) -> u32 {
    match random.below(6) {
        0 => {
            let funct3 = *random.pick(&[0, 2, 3, 4, 6, 7]);
            i_type(random, 0x13, funct3)
        }
        1 => {
            let (opcode, funct3) = (*random.pick(&[0x13, 0x1b]), *random.pick(&[1, 5]));
            i_type(random, opcode, funct3) & !(0xfe << 24) | (random.word() & 1) << 30
        }
        2 => {
            let (opcode, funct3) = (*random.pick(&[0x33, 0x3b]), random.below(8) as u32);
            let funct7 = *random.pick(&[0, 0x20, 1]);
            r_type(random, opcode, funct3, funct7)
        }
        3 => i_type(random, 0x1b, 0),
        4 => (random.of_any_size() as u32) << 12 | register(random) << 7 | 0x37, // LUI
        _ => (random.of_any_size() as u32 & 3) << 12 | register(random) << 7 | 0x17, // AUIPC
    }
}

fn control(random: &mut Random) -> u32 {
    let distance = near(random);
    match random.below(10) {
        0..4 => {
            let funct3 = *random.pick(&[0, 1, 4, 5, 6, 7]);
            branch(random, funct3, distance)
        }
        4 => jump(register(random), distance.abs().min(16)),
        5 => i_type(random, 0x67, 0),                                // JALR, CJALR
        6 => r_type(random, 0x5b, 0, 0x7f) & !(31 << 20) | 12 << 20, // CJALR
        7 => r_type(random, 0x5b, 0, 0x7f) & !(31 << 20) | 20 << 20, // JALR.PCC
        8 => r_type(random, 0x5b, 0, 0x7e) & !(31 << 7) | 1 << 7,    // CInvoke
        _ => branch(random, 1, distance),
    }
}

fn system(random: &mut Random) -> u32 {
    match random.below(6) {
        0 => *random.pick(&[
            0x0010_0073,
            0x3020_0073,
            0x1050_0073,
            0x1020_0073,
            0x0000_100f,
            0x0ff0_000f,
        ]),
        1 => 0x1200_0073 | register(random) << 15 | register(random) << 20, // SFENCE.VMA
        // CSRs of user mode, counters, machine mode, and those that govern capabilities.
        _ => {
            let csr = *random.pick(&[
                0x001, 0x005, 0x041, 0x042, 0x8c0, 0x9c0, 0xbc0, 0xc00, 0xc01, 0xc02, 0x300, 0x304, 0x305, 0x340,
                0x341, 0x342, 0x343, 0x344, 0x306, 0x3a0, 0x3b0, 0x180, 0x100, 0x7c0, 0xf14, 0x7b0,
            ]);
            let csr = if random.chance(80) { csr } else { random.word() & 0xfff };
            let funct3 = *random.pick(&[1, 2, 2, 3, 5, 6, 7]);
            i_type(random, 0x73, funct3) & !(0xfff << 20) | csr << 20
        }
    }
}

/// One random instruction.
pub(super) fn instruction(random: &mut Random) -> u32 {
    match random.weighted(&[30, 32, 13, 11, 3, 5, 3, 3]) {
        0 => capability_operation(random),
        1 => memory(random),
        2 => arithmetic(random),
        3 => control(random),
        4 => system(random),
        5 => CALL,
        // Two compressed ones.
        6 => {
            let half = |random: &mut Random| random.word() & 0xfffc | random.below(3) as u32;
            half(random) << 16 | half(random)
        }
        _ => random.word(),
    }
}
