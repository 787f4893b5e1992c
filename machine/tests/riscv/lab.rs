//! A bench for single instructions: encoders, and a board that stands at the first word of a program.

use capability::riscv::Capability;
use machine::riscv::{Board, Config, Isa, Trap, Until};

/// Where programs start.
pub(crate) const START: u64 = 0x8000_0000;
/// RAM that no program uses.
pub(crate) const DATA: u64 = 0x8010_0000;

pub(crate) const fn r(opcode: u32, funct3: u32, funct7: u32, rd: u32, rs1: u32, rs2: u32) -> u32 {
    funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

pub(crate) const fn i(opcode: u32, funct3: u32, rd: u32, rs1: u32, imm: i32) -> u32 {
    (imm as u32) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

pub(crate) const fn s(funct3: u32, rs2: u32, rs1: u32, imm: i32) -> u32 {
    let imm = imm as u32;
    (imm >> 5 & 0x7f) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (imm & 31) << 7 | 0x23
}

/// A branch by `distance` bytes.
pub(crate) const fn b(funct3: u32, rs1: u32, rs2: u32, distance: i32) -> u32 {
    let d = distance as u32;
    (d >> 12 & 1) << 31
        | (d >> 5 & 0x3f) << 25
        | rs2 << 20
        | rs1 << 15
        | funct3 << 12
        | (d >> 1 & 0xf) << 8
        | (d >> 11 & 1) << 7
        | 0x63
}

pub(crate) const fn jal(rd: u32, distance: i32) -> u32 {
    let d = distance as u32;
    (d >> 20 & 1) << 31 | (d >> 1 & 0x3ff) << 21 | (d >> 11 & 1) << 20 | (d >> 12 & 0xff) << 12 | rd << 7 | 0x6f
}

pub(crate) const fn addi(rd: u32, rs1: u32, imm: i32) -> u32 {
    i(0x13, 0, rd, rs1, imm)
}

/// A capability instruction with three registers.
pub(crate) const fn cheri(funct7: u32, rd: u32, rs1: u32, rs2: u32) -> u32 {
    r(0x5b, 0, funct7, rd, rs1, rs2)
}

/// A capability instruction with two registers.
pub(crate) const fn cheri2(selector: u32, rd: u32, rs1: u32) -> u32 {
    cheri(0x7f, rd, rs1, selector)
}

pub(crate) const fn cspecialrw(rd: u32, number: u8, rs1: u32) -> u32 {
    cheri(0x01, rd, rs1, number as u32)
}

/// CSRRW, CSRRS or CSRRC.
pub(crate) const fn csr(funct3: u32, rd: u32, number: u32, rs1: u32) -> u32 {
    i(0x73, funct3, rd, rs1, number as i32)
}

pub(crate) const fn amo(function: u32, funct3: u32, rd: u32, rs2: u32, rs1: u32) -> u32 {
    r(0x2f, funct3, function << 2, rd, rs1, rs2)
}

pub(crate) const ECALL: u32 = 0x0000_0073;
pub(crate) const EBREAK: u32 = 0x0010_0073;
pub(crate) const MRET: u32 = 0x3020_0073;
pub(crate) const WFI: u32 = 0x1050_0073;
pub(crate) const FENCE_I: u32 = 0x0000_100f;
/// A jump to itself.
pub(crate) const STAY: u32 = 0x0000_006f;

pub(crate) fn image(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A capability to `length` bytes at `base` with the permissions CGetPerm would show.
pub(crate) fn region(base: u64, length: u64, permissions: u32) -> Capability {
    Capability::ROOT
        .set_address(base)
        .set_bounds(length)
        .0
        .and_permissions(permissions)
}

/// A board that has run its reset ROM and stands at the first word.
pub(crate) struct Lab {
    pub(crate) board: Board,
}

impl Lab {
    pub(crate) fn new(isa: Isa, words: &[u32]) -> Self {
        let config = Config {
            isa,
            memory: 32 << 20,
            ..Config::new(image(words))
        };
        let mut board = Board::new(config).expect("the program fits");
        board.run_to(START, 100).expect("the reset ROM leads to the program");
        Lab { board }
    }

    pub(crate) fn v9(words: &[u32]) -> Self {
        Lab::new(Isa::V9, words)
    }

    pub(crate) fn v8(words: &[u32]) -> Self {
        Lab::new(Isa::V8, words)
    }

    /// Puts the program counter into capability mode.
    pub(crate) fn capability_mode(mut self) -> Self {
        let pcc = self.board.special_register(0, machine::riscv::special::PCC);
        self.board
            .set_special_register(0, machine::riscv::special::PCC, pcc.set_flags(1));
        self
    }

    pub(crate) fn set(mut self, number: u8, value: u64) -> Self {
        self.board.set_register(0, number, Capability::from_integer(value));
        self
    }

    pub(crate) fn set_capability(mut self, number: u8, value: Capability) -> Self {
        self.board.set_register(0, number, value);
        self
    }

    pub(crate) fn set_special(mut self, number: u8, value: Capability) -> Self {
        self.board.set_special_register(0, number, value);
        self
    }

    /// Executes `count` instructions, trapping ones included.
    pub(crate) fn step(mut self, count: u64) -> Self {
        self.board.run(Until::exit(count));
        self
    }

    pub(crate) fn get(&self, number: u8) -> u64 {
        self.board.register(0, number).address()
    }

    pub(crate) fn capability(&self, number: u8) -> Capability {
        self.board.register(0, number)
    }

    /// The last trap; taking one is an instruction that did not complete.
    pub(crate) fn trap(&self) -> Option<Trap> {
        self.board.last_trap(0).map(|record| record.trap)
    }

    /// `mtval` of the capability exception that was the last trap.
    pub(crate) fn capability_fault(&self) -> u64 {
        let trap = self.trap().expect("a trap was taken");
        assert_eq!(trap.cause, 0x1c, "{trap}");
        trap.value
    }
}
