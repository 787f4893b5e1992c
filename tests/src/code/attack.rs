//! Programs that attack: the assembler with capability instructions under one name for both architectures, and with the
//! addresses of what is worth attacking.

mod capabilities;
mod gates;
mod victim;

use std::ops::{Deref, DerefMut};

use abi::Hostcall;
use abi::hostcall::HANDLER;
use tools::Architecture;
use tools::elf::synthesis::Elf;

use super::assembler::{Assembler, Register, Register::*};
use crate::Platform;

pub use victim::{SECRET, Victim};

/// Exit code of an attack that got through.
pub const UNPUNISHED: u32 = 66;
/// Where the memory of the victim lies, from the start of the RAM.
const VICTIM: u64 = 0x0400_0000;
/// Where a program of this module has its code and its data, from the start of its memory: behind a stack of 16 KiB.
const CODE: u64 = 0x4000;
const DATA: u64 = 0x5000;
/// The register that the operations of this module use for themselves.
const SPARE: Register = Scratch(9);

/// A hostile program in the making.
pub struct Attacker {
    /// Where it will run.
    pub platform: Platform,
    /// Initialised data, at [`Assembler::data_address`].
    pub data: Vec<u8>,
    /// Whether nothing may stand behind its last instruction.
    pub open_end: bool,
    handler: Option<i64>,
    functions: Vec<(i64, String)>,
    code: Assembler,
}

impl Deref for Attacker {
    type Target = Assembler;

    fn deref(&self) -> &Assembler {
        &self.code
    }
}

impl DerefMut for Attacker {
    fn deref_mut(&mut self) -> &mut Assembler {
        &mut self.code
    }
}

impl Attacker {
    /// No instruction yet.
    pub fn new(platform: Platform) -> Attacker {
        Attacker {
            platform,
            data: Vec::new(),
            open_end: false,
            handler: None,
            functions: Vec::new(),
            code: Assembler::new(platform.arch()).relocating(platform.relocates()),
        }
    }

    /// The program. Where it comes to its end, it exits with [`UNPUNISHED`].
    pub fn elf(mut self) -> Elf {
        if !self.open_end {
            self.exit(UNPUNISHED);
        }
        let mut elf = self.code.elf(&self.data);
        if let Some(distance) = self.handler {
            let address = elf.entry.wrapping_add_signed(distance);
            elf.functions.push((address, 4, HANDLER.to_owned()));
        }
        for (distance, name) in self.functions {
            let address = elf.entry.wrapping_add_signed(distance);
            elf.functions.push((address, 4, name));
        }
        elf
    }

    /// What follows serves the hostcalls of others.
    pub fn handler(&mut self) -> &mut Attacker {
        self.handler = Some(self.code.here());
        self
    }

    /// Physical address of the memory of the victim.
    pub fn victim(&self) -> u64 {
        victim_base(self.platform)
    }

    /// Physical address of the victim's secret.
    pub fn secret(&self) -> u64 {
        self.victim_code() + (DATA - CODE)
    }

    /// Physical address of the victim's code.
    pub fn victim_code(&self) -> u64 {
        // Where addresses count from 0, the first page is nobody's.
        self.victim() + CODE + if self.platform.relocates() { 0x1000 } else { 0 }
    }
}

impl Assembler {
    /// The register in which a handler finds the capability over its stack.
    pub fn service_stack(&self) -> Register {
        Number(if self.is_riscv() { 5 } else { 9 })
    }

    /// Answers the call that the handler serves.
    pub fn reply(&mut self, value: u64) -> &mut Assembler {
        self.call(Hostcall::Reply, &[value, 0, 0])
    }

    /// Whether this is CHERI-RISC-V.
    pub fn is_riscv(&self) -> bool {
        self.arch() == Architecture::CheriRiscv
    }

    /// This word on CHERI-RISC-V, that one on Morello.
    pub fn word(&mut self, riscv: u32, morello: u32) -> &mut Assembler {
        let word = if self.is_riscv() { riscv } else { morello };
        self.push(word)
    }

    /// `to` = `value`, whatever it is.
    pub fn constant(&mut self, to: Register, value: u64) -> &mut Assembler {
        let number = self.number(to);
        if self.is_riscv() {
            // 11 bits at a time: ADDI extends the sign of its twelfth.
            let groups = (64 - value.leading_zeros()).div_ceil(11).max(1);
            let group = |index: u32| (value >> (11 * index)) as u32 & 0x7ff;
            self.set(to, group(groups - 1));
            for index in (0..groups - 1).rev() {
                self.push(11 << 20 | number << 15 | 1 << 12 | number << 7 | 0x13); // SLLI
                self.add(to, to, group(index).into());
            }
        } else {
            for part in 0..4 {
                let bits = (value >> (16 * part)) as u32 & 0xffff;
                let opcode = if part == 0 { 0xd280_0000 } else { 0xf280_0000 }; // MOVZ, MOVK
                if part == 0 || bits != 0 {
                    self.push(opcode | part << 21 | bits << 5 | number);
                }
            }
        }
        self
    }

    /// `to` = the integer address with which a load means this physical address.
    pub fn address(&mut self, to: Register, physical: u64) -> &mut Assembler {
        self.constant(to, physical);
        if self.relocates() {
            self.read_ddc(SPARE);
            self.address_of(SPARE, SPARE).subtract_register(to, SPARE);
        }
        self
    }

    /// `to` = the integer address that is `distance` (0 to 2047) from the start of the code.
    pub fn code_address(&mut self, to: Register, distance: i64) -> &mut Assembler {
        self.data_address(to)
            .add(to, to, -2048)
            .add(to, to, -2048)
            .add(to, to, distance)
    }

    /// `to` = first address of the own memory, as integer for loads.
    pub fn start_of_memory(&mut self, to: Register) -> &mut Assembler {
        self.read_ddc(SPARE).base_of(to, SPARE);
        if self.relocates() {
            self.address_of(SPARE, SPARE).subtract_register(to, SPARE);
        }
        self
    }

    /// `to` = first address above the own memory, as integer for loads.
    pub fn end_of_memory(&mut self, to: Register) -> &mut Assembler {
        self.start_of_memory(to).read_ddc(SPARE);
        self.length_of(SPARE, SPARE).add_register(to, SPARE);
        self
    }

    /// `to` = a capability to the own data, with all that DDC permits.
    pub fn data_capability(&mut self, to: Register) -> &mut Assembler {
        self.data_address(SPARE).read_ddc(to);
        if self.relocates() {
            self.offset(to, to, SPARE)
        } else {
            self.set_address(to, to, SPARE)
        }
    }

    /// Exits with `code` unless the register is zero.
    pub fn must_be_zero(&mut self, register: Register, code: u32) -> &mut Assembler {
        // Goes on behind the exit, which a server can make return.
        self.branch_not_zero(register, 8).jump(20).exit(code).illegal()
    }

    /// Exits with `code` when the register is zero.
    pub fn must_not_be_zero(&mut self, register: Register, code: u32) -> &mut Assembler {
        self.when_zero(register, |a| {
            a.exit(code).illegal();
        })
    }

    /// Exits with `code` unless both registers are equal. The first one is lost.
    pub fn must_be_equal(&mut self, one: Register, other: Register, code: u32) -> &mut Assembler {
        self.subtract_register(one, other);
        self.must_be_zero(one, code)
    }

    /// Exits with `code` when the capability is tagged.
    pub fn must_be_untagged(&mut self, capability: Register, code: u32) -> &mut Assembler {
        self.tag_of(SPARE, capability).must_be_zero(SPARE, code)
    }

    /// Exits with the result of the latest hostcall.
    pub fn exit_with_result(&mut self) -> &mut Assembler {
        self.hostcall(Hostcall::Exit);
        self
    }

    /// Makes a hostcall with arguments from 0 on.
    pub fn call(&mut self, call: Hostcall, arguments: &[u64]) -> &mut Assembler {
        for (index, argument) in arguments.iter().enumerate() {
            self.constant(Argument(index as u32), *argument);
        }
        self.hostcall(call);
        self
    }

    /// Makes the hostcall with this number, whether there is one or not.
    pub fn call_number(&mut self, number: u64, arguments: &[u64]) -> &mut Assembler {
        for (index, argument) in arguments.iter().enumerate() {
            self.constant(Argument(index as u32), *argument);
        }
        let register = Number(if self.is_riscv() { 17 } else { 8 });
        self.constant(register, number).word(0x0000_0073, 0xd400_0001) // ECALL, SVC
    }

    /// Prints the first `length` bytes of the data.
    pub fn print(&mut self, length: usize) -> &mut Assembler {
        self.data_address(Argument(1)).set(Argument(0), 1);
        self.set(Argument(2), length as u32).hostcall(Hostcall::Write);
        self
    }

    /// Jumps to an integer address.
    pub fn jump_to(&mut self, target: Register) -> &mut Assembler {
        let number = self.number(target);
        self.word(number << 15 | 0x67, 0xd61f_0000 | number << 5) // JALR zero, BR
    }

    /// Keeps the lower 32 bits.
    pub fn lower_half(&mut self, register: Register) -> &mut Assembler {
        self.shift_left(register, 32).shift_right(register, 32)
    }

    /// The register = itself shifted left by 1 to 63 bits.
    pub fn shift_left(&mut self, register: Register, bits: u32) -> &mut Assembler {
        let number = self.number(register);
        self.word(
            bits << 20 | number << 15 | 1 << 12 | number << 7 | 0x13,
            0xd340_0000 | (64 - bits) << 16 | (63 - bits) << 10 | number << 5 | number,
        ) // SLLI, LSL
    }

    /// The register = itself shifted right by 1 to 63 bits.
    pub fn shift_right(&mut self, register: Register, bits: u32) -> &mut Assembler {
        let number = self.number(register);
        self.word(
            bits << 20 | number << 15 | 5 << 12 | number << 7 | 0x13,
            0xd340_fc00 | bits << 16 | number << 5 | number,
        ) // SRLI, LSR
    }

    /// `to` = `to` & `from`.
    pub fn and(&mut self, to: Register, from: Register) -> &mut Assembler {
        let [to, from] = [to, from].map(|register| self.number(register));
        self.word(
            from << 20 | to << 15 | 7 << 12 | to << 7 | 0x33,
            0x8a00_0000 | from << 16 | to << 5 | to,
        )
    }

    /// Goes back to where [`Assembler::here`] was `start`, for ever.
    pub fn repeat(&mut self, start: i64) -> &mut Assembler {
        let back = start - self.here();
        self.jump(back);
        self
    }

    /// Goes back to where [`Assembler::here`] was `start`, while the register, one less each time, is not zero.
    pub fn count_down(&mut self, register: Register, start: i64) -> &mut Assembler {
        self.add(register, register, -1);
        let back = start - self.here();
        self.branch_not_zero(register, back);
        self
    }
}

impl Assembler {
    /// Executes one of these instructions in each life, the first in the first, and exits with 0 in the life after the last.
    pub fn one_a_life(&mut self, words: &[u32]) {
        let (record, restarts, target) = (Scratch(0), Scratch(1), Scratch(2));
        self.data_address(Argument(0)).set(Argument(1), 16);
        self.hostcall(Hostcall::Info)
            .data_address(record)
            .load(restarts, record, 0);
        // The number of restarts is the upper half of the first word; each life's code has 16 bytes.
        self.shift_right(restarts, 32).shift_left(restarts, 4);
        // One addition and one jump stand between here and the table, behind the five instructions of the address at most.
        let first = self.here() + if self.is_riscv() { 28 } else { 24 };
        self.code_address(target, first)
            .add_register(target, restarts)
            .jump_to(target);
        assert_eq!(self.here(), first, "the table is where the program looks for it");
        for word in words {
            self.push(*word).exit(UNPUNISHED);
        }
        self.exit(0);
    }
}

/// Physical address of the memory of the victim.
pub fn victim_base(platform: Platform) -> u64 {
    platform.ram() + VICTIM
}
