//! A handful of instructions of either architecture, under one name each. Offsets and constants are small; what does not fit
//! is a bug of the program that is assembled.

use abi::Hostcall;
use tools::Architecture;
use tools::elf::synthesis::Elf;

/// Bytes between the start of the code and the start of the data behind it.
const DATA: i64 = 4096;

/// A register by its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// The stack pointer.
    Stack,
    /// Hostcall argument 0 to 5; 0 is the result, too.
    Argument(u32),
    /// Kept by nobody: 0 to 3.
    Scratch(u32),
    /// Where a function returns to.
    Link,
    /// By its number in the instruction set.
    Number(u32),
}

/// Collects the instructions of a program.
pub struct Assembler {
    arch: Architecture,
    relocates: bool,
    words: Vec<u32>,
}

use Architecture::{CheriRiscv, Morello};

impl Assembler {
    /// No instruction yet.
    pub fn new(arch: Architecture) -> Assembler {
        Assembler {
            arch,
            relocates: false,
            words: Vec::new(),
        }
    }

    /// The same for where integer addresses of a cVM count from 0 wherever its memory lies.
    pub fn relocating(self, relocates: bool) -> Assembler {
        Assembler { relocates, ..self }
    }

    /// Whether integer addresses count from 0.
    pub fn relocates(&self) -> bool {
        self.relocates
    }

    /// The architecture.
    pub fn arch(&self) -> Architecture {
        self.arch
    }

    /// The program with these bytes at the start of its page of data, the rest of which is zero.
    pub fn elf(&self, data: &[u8]) -> Elf {
        let bytes = self.bytes();
        assert!(bytes.len() as i64 <= DATA, "the code is longer than a page");
        let mut elf = Elf::program(self.arch, &bytes);
        elf.loads[1].data = data.to_vec();
        elf
    }

    /// The instructions so far, for a program that is put together otherwise.
    pub fn bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// The same, one by one.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// Bytes so far.
    pub fn here(&self) -> i64 {
        self.words.len() as i64 * 4
    }

    /// Number of a register in the instruction set.
    pub fn number(&self, register: Register) -> u32 {
        match (self.arch, register) {
            (CheriRiscv, Register::Link) => 1,
            (Morello, Register::Link) => 30,
            (CheriRiscv, Register::Stack) => 2,
            (CheriRiscv, Register::Argument(index)) => 10 + index,
            (CheriRiscv, Register::Scratch(index)) => 18 + index,
            (Morello, Register::Stack) => 31,
            (Morello, Register::Argument(index)) => index,
            (Morello, Register::Scratch(index)) => 19 + index,
            (_, Register::Number(number)) => number,
        }
    }

    /// Any instruction.
    pub fn push(&mut self, word: u32) -> &mut Assembler {
        self.words.push(word);
        self
    }

    /// `to` = `value`, 0 to 2047.
    pub fn set(&mut self, to: Register, value: u32) -> &mut Assembler {
        let to = self.number(to);
        match self.arch {
            CheriRiscv => self.push(i_type(0x13, 0, to, 0, value.into())), // ADDI to, zero, value
            Morello => self.push(0xd280_0000 | value << 5 | to),           // MOVZ
        }
    }

    /// `to` = `from` + `value`, -2048 to 2047.
    pub fn add(&mut self, to: Register, from: Register, value: i64) -> &mut Assembler {
        let (to, from) = (self.number(to), self.number(from));
        match self.arch {
            CheriRiscv => self.push(i_type(0x13, 0, to, from, value)), // ADDI
            Morello if value < 0 => self.push(0xd100_0000 | (value.unsigned_abs() as u32) << 10 | from << 5 | to), // SUB
            Morello => self.push(0x9100_0000 | (value as u32) << 10 | from << 5 | to), // ADD
        }
    }

    /// `to` = `to` + `from`.
    pub fn add_register(&mut self, to: Register, from: Register) -> &mut Assembler {
        let (to, from) = (self.number(to), self.number(from));
        match self.arch {
            CheriRiscv => self.push(from << 20 | to << 15 | to << 7 | 0x33),
            Morello => self.push(0x8b00_0000 | from << 16 | to << 5 | to),
        }
    }

    /// `to` = `to` - `from`.
    pub fn subtract_register(&mut self, to: Register, from: Register) -> &mut Assembler {
        let (to, from) = (self.number(to), self.number(from));
        match self.arch {
            CheriRiscv => self.push(0x4000_0000 | from << 20 | to << 15 | to << 7 | 0x33),
            Morello => self.push(0xcb00_0000 | from << 16 | to << 5 | to),
        }
    }

    /// `to` = `to` | `from`.
    pub fn or(&mut self, to: Register, from: Register) -> &mut Assembler {
        let (to, from) = (self.number(to), self.number(from));
        match self.arch {
            CheriRiscv => self.push(from << 20 | to << 15 | 6 << 12 | to << 7 | 0x33),
            Morello => self.push(0xaa00_0000 | from << 16 | to << 5 | to),
        }
    }

    /// `to` = address of the data.
    pub fn data_address(&mut self, to: Register) -> &mut Assembler {
        let (register, distance) = (self.number(to), DATA - self.here());
        match self.arch {
            CheriRiscv => {
                let here = self.here();
                self.push(DATA as u32 | register << 7 | 0x17).add(to, to, -here) // AUIPC
            }
            Morello => {
                let distance = distance as u32;
                self.push(0x1000_0000 | (distance & 3) << 29 | (distance >> 2) << 5 | register) // ADR
            }
        }
    }

    /// `to` = 8 bytes where the capability in `base` points.
    pub fn load_through(&mut self, to: Register, base: Register) -> &mut Assembler {
        let (to, base) = (self.number(to), self.number(base));
        match self.arch {
            CheriRiscv => self.push(0x7d << 25 | 11 << 20 | base << 15 | to << 7 | 0x5b), // LD.CAP
            Morello => self.push(0x8260_0c00 | base << 5 | to),                           // LDR, alternate base
        }
    }

    /// `to` = 8 bytes at `base` + `offset`.
    pub fn load(&mut self, to: Register, base: Register, offset: i64) -> &mut Assembler {
        let (to, base) = (self.number(to), self.number(base));
        match self.arch {
            CheriRiscv => self.push(i_type(0x03, 3, to, base, offset)),
            Morello => self.push(a64_access(0xf940_0000, 0xf840_0000, 3, to, base, offset)),
        }
    }

    /// 8 bytes at `base` + `offset` = `from`.
    pub fn store(&mut self, from: Register, base: Register, offset: i64) -> &mut Assembler {
        let (from, base) = (self.number(from), self.number(base));
        match self.arch {
            CheriRiscv => self.push(s_type(3, base, from, offset)),
            Morello => self.push(a64_access(0xf900_0000, 0xf800_0000, 3, from, base, offset)),
        }
    }

    /// `to` = capability at `base` + `offset`, through DDC.
    pub fn load_capability(&mut self, to: Register, base: Register, offset: i64) -> &mut Assembler {
        let (to, base) = (self.number(to), self.number(base));
        match self.arch {
            CheriRiscv => self.push(i_type(0x0f, 2, to, base, offset)), // LC
            Morello => self.push(a64_access(0xc240_0000, 0xa240_0000, 4, to, base, offset)), // LDR (capability)
        }
    }

    /// Capability at `base` + `offset`, through DDC, = `from`.
    pub fn store_capability(&mut self, from: Register, base: Register, offset: i64) -> &mut Assembler {
        let (from, base) = (self.number(from), self.number(base));
        match self.arch {
            CheriRiscv => self.push(s_type(4, base, from, offset)), // SC
            Morello => self.push(a64_access(0xc200_0000, 0xa200_0000, 4, from, base, offset)), // STR (capability)
        }
    }

    /// `to` = DDC.
    pub fn read_ddc(&mut self, to: Register) -> &mut Assembler {
        let to = self.number(to);
        match self.arch {
            CheriRiscv => self.push(1 << 25 | 1 << 20 | to << 7 | 0x5b), // CSpecialRW to, DDC, c0
            Morello => self.push(0xc29b_4120 | to),                      // MRS to, DDC
        }
    }

    /// `to` = PCC, with some address.
    pub fn read_pcc(&mut self, to: Register) -> &mut Assembler {
        let register = self.number(to);
        match self.arch {
            CheriRiscv => self.push(1 << 25 | register << 7 | 0x5b), // CSpecialRW to, PCC, c0
            Morello => {
                self.push(0x1000_0000 | register); // ADR to, .
                self.push(0xc2c5_b000 | register << 5 | register) // CVTP to, to
            }
        }
    }

    /// Goes on `distance` bytes from here when `register` is not zero.
    pub fn branch_not_zero(&mut self, register: Register, distance: i64) -> &mut Assembler {
        let (register, distance) = (self.number(register), distance as u32);
        match self.arch {
            CheriRiscv => self.push(
                (distance >> 12 & 1) << 31
                    | (distance >> 5 & 0x3f) << 25
                    | register << 15
                    | 1 << 12
                    | (distance >> 1 & 0xf) << 8
                    | (distance >> 11 & 1) << 7
                    | 0x63,
            ), // BNE register, zero
            Morello => self.push(0xb500_0000 | (distance >> 2 & 0x7_ffff) << 5 | register), // CBNZ
        }
    }

    /// Does something only when `register` is not zero.
    pub fn when_not_zero(&mut self, register: Register, what: impl FnOnce(&mut Assembler)) -> &mut Assembler {
        self.branch_not_zero(register, 8);
        let jump = self.words.len();
        self.jump(0);
        what(self);
        // The jump over it, now that its length is known.
        let over = self.words.split_off(jump);
        self.jump(over.len() as i64 * 4);
        self.words.extend(&over[1..]);
        self
    }

    /// Does something only when `register` is zero.
    pub fn when_zero(&mut self, register: Register, what: impl FnOnce(&mut Assembler)) -> &mut Assembler {
        let branch = self.words.len();
        self.branch_not_zero(register, 0);
        what(self);
        let over = self.words.split_off(branch);
        self.branch_not_zero(register, over.len() as i64 * 4);
        self.words.extend(&over[1..]);
        self
    }

    /// Goes on `distance` bytes from here.
    pub fn jump(&mut self, distance: i64) -> &mut Assembler {
        let distance = distance as u32;
        match self.arch {
            CheriRiscv => self.push(
                (distance >> 20 & 1) << 31
                    | (distance >> 1 & 0x3ff) << 21
                    | (distance >> 11 & 1) << 20
                    | (distance >> 12 & 0xff) << 12
                    | 0x6f,
            ), // JAL zero
            Morello => self.push(0x1400_0000 | distance >> 2 & 0x3ff_ffff), // B
        }
    }

    /// Makes a hostcall with the arguments as they are.
    pub fn hostcall(&mut self, call: Hostcall) -> &mut Assembler {
        let (number, instruction) = match self.arch {
            CheriRiscv => (17, 0x0000_0073), // a7, ECALL
            Morello => (8, 0xd400_0001),     // x8, SVC #0
        };
        self.set(Register::Number(number), call as u32).push(instruction)
    }

    /// Ends the cVM.
    pub fn exit(&mut self, code: u32) -> &mut Assembler {
        self.set(Register::Argument(0), code).hostcall(Hostcall::Exit)
    }

    /// Traps: all bits zero are no instruction of either architecture.
    pub fn illegal(&mut self) -> &mut Assembler {
        self.push(0)
    }
}

fn i_type(opcode: u32, funct3: u32, rd: u32, rs1: u32, immediate: i64) -> u32 {
    (immediate as u32) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

fn s_type(funct3: u32, rs1: u32, rs2: u32, immediate: i64) -> u32 {
    let immediate = immediate as u32;
    (immediate >> 5 & 0x7f) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (immediate & 0x1f) << 7 | 0x23
}

/// A load or store with a scaled offset, or an unscaled negative one.
fn a64_access(scaled: u32, unscaled: u32, shift: u32, value: u32, base: u32, offset: i64) -> u32 {
    if offset < 0 {
        unscaled | (offset as u32 & 0x1ff) << 12 | base << 5 | value
    } else {
        scaled | (offset as u32 >> shift) << 10 | base << 5 | value
    }
}
