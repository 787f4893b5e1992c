//! Programs in CHERI-RISC-V machine code, for what no compiler would write. Each is a position-independent ELF file.

use tools::Architecture;
use tools::elf::synthesis::Elf;

/// Registers by their names in the ABI.
mod register {
    pub(super) const ZERO: u32 = 0;
    pub(super) const RA: u32 = 1;
    pub(super) const SP: u32 = 2;
    pub(super) const TP: u32 = 4;
    pub(super) const T0: u32 = 5;
    pub(super) const T1: u32 = 6;
    pub(super) const T2: u32 = 7;
    pub(super) const A0: u32 = 10;
    pub(super) const A1: u32 = 11;
    pub(super) const A2: u32 = 12;
    pub(super) const A3: u32 = 13;
    pub(super) const A7: u32 = 17;
}

use register::{A0, A1, A2, A3, A7, RA, SP, T0, T1, T2, TP, ZERO};

/// Bytes of a page, which code and data do not share.
const PAGE: u32 = 4096;
/// Offset of the heap's address in the start block (`abi::start::StartHeader`).
const START_HEAP: i32 = 56;
/// What the initialised data of [`amnesiac`] holds.
const INITIAL: i32 = 0x5a;

fn i_type(opcode: u32, funct3: u32, rd: u32, rs1: u32, immediate: i32) -> u32 {
    (immediate as u32) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

fn s_type(opcode: u32, funct3: u32, rs1: u32, rs2: u32, immediate: i32) -> u32 {
    let immediate = immediate as u32;
    (immediate >> 5 & 0x7f) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (immediate & 0x1f) << 7 | opcode
}

fn addi(rd: u32, rs1: u32, immediate: i32) -> u32 {
    i_type(0x13, 0, rd, rs1, immediate)
}

fn shift_left(rd: u32, rs1: u32, bits: i32) -> u32 {
    i_type(0x13, 1, rd, rs1, bits)
}

fn shift_right(rd: u32, rs1: u32, bits: i32) -> u32 {
    i_type(0x13, 5, rd, rs1, bits)
}

fn or(rd: u32, rs1: u32, rs2: u32) -> u32 {
    rs2 << 20 | rs1 << 15 | 6 << 12 | rd << 7 | 0x33
}

fn ld(rd: u32, rs1: u32, offset: i32) -> u32 {
    i_type(0x03, 3, rd, rs1, offset)
}

fn sd(rs2: u32, rs1: u32, offset: i32) -> u32 {
    s_type(0x23, 3, rs1, rs2, offset)
}

/// Store capability, relative to DDC: SC in hybrid mode.
fn sc(rs2: u32, rs1: u32, offset: i32) -> u32 {
    s_type(0x23, 4, rs1, rs2, offset)
}

/// Load capability, relative to DDC: LC in hybrid mode.
fn lc(rd: u32, rs1: u32, offset: i32) -> u32 {
    i_type(0x0f, 2, rd, rs1, offset)
}

/// CSpecialRW rd, special, c0: only reads.
fn special(rd: u32, number: u32) -> u32 {
    1 << 25 | number << 20 | rd << 7 | 0x5b
}

fn bne(rs1: u32, rs2: u32, offset: i32) -> u32 {
    let offset = offset as u32;
    (offset >> 12 & 1) << 31
        | (offset >> 5 & 0x3f) << 25
        | rs2 << 20
        | rs1 << 15
        | 1 << 12
        | (offset >> 1 & 0xf) << 8
        | (offset >> 11 & 1) << 7
        | 0x63
}

fn jump(offset: i32) -> u32 {
    let offset = offset as u32;
    (offset >> 20 & 1) << 31
        | (offset >> 1 & 0x3ff) << 21
        | (offset >> 11 & 1) << 20
        | (offset >> 12 & 0xff) << 12
        | 0x6f
}

const ECALL: u32 = 0x73;
/// All bits zero: defined to be illegal.
const ILLEGAL: u32 = 0;

/// Collects instructions.
#[derive(Default)]
struct Code(Vec<u32>);

impl Code {
    fn add(&mut self, words: &[u32]) -> &mut Code {
        self.0.extend(words);
        self
    }

    fn offset(&self) -> i32 {
        (self.0.len() * 4) as i32
    }

    /// `rd` = address of the page behind the code's.
    fn data_address(&mut self, rd: u32) -> &mut Code {
        let here = self.offset();
        // AUIPC rd, 1 page
        self.add(&[PAGE | rd << 7 | 0x17, addi(rd, rd, -here)])
    }

    fn hostcall(&mut self, call: abi::Hostcall) -> &mut Code {
        self.add(&[addi(A7, ZERO, call as i32), ECALL])
    }

    fn exit(&mut self, code: i32) -> &mut Code {
        self.add(&[addi(A0, ZERO, code)]).hostcall(abi::Hostcall::Exit)
    }

    /// Writes `length` bytes from the address in `T1` on to the console. T1 survives.
    fn write(&mut self, offset: i32, length: i32) -> &mut Code {
        let stream = abi::hostcall::STREAM_OUTPUT as i32;
        self.add(&[addi(A0, ZERO, stream), addi(A1, T1, offset), addi(A2, ZERO, length)]);
        self.hostcall(abi::Hostcall::Write)
    }

    fn elf_with_data(&self, data: &[u8]) -> Elf {
        let mut elf = self.elf();
        elf.loads[1].data = data.to_vec();
        elf
    }

    fn elf(&self) -> Elf {
        let bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        Elf::program(Architecture::CheriRiscv, &bytes)
    }
}

/// The least that can run: exits with 0.
pub fn minimal() -> Elf {
    let mut code = Code::default();
    code.exit(0);
    code.elf()
}

/// Stores its DDC and its PCC to memory, keeps both in registers, loads the copies back into others, and then gives its
/// time away for ever.
pub fn hoarder() -> Elf {
    let mut code = Code::default();
    code.data_address(T1);
    code.add(&[
        special(T0, 1),
        special(T2, 0),
        sc(T0, T1, 0),
        sc(T2, T1, 16),
        lc(A2, T1, 0),
        lc(A3, T1, 16),
    ]);
    // The stack pointer is inside the bounds of DDC: a granule below it takes a copy, too.
    code.add(&[addi(SP, SP, -32), sc(T0, SP, 0)]);
    code.hostcall(abi::Hostcall::Yield);
    code.add(&[jump(-8)]);
    code.elf()
}

/// Ends every life with an illegal instruction after it has left traces wherever it can; exits with the number of the
/// check when it finds a trace of an earlier life: 1 registers, 2 initialised data, 3 zeroed data, 4 heap, 5 stack.
pub fn amnesiac() -> Elf {
    let mut code = Code::default();
    // What a life starts with is in sp, tp, a0 and a1; ra collects the others.
    let given = [SP, TP, A0, A1];
    code.add(
        &(2..32)
            .filter(|number| !given.contains(number))
            .map(|number| or(RA, RA, number))
            .collect::<Vec<_>>(),
    );
    // The exits stand at the end; every check jumps over one of its own.
    let check = |code: &mut Code, left: u32, right: u32, number: i32| {
        code.add(&[bne(left, right, 8), jump(16)]).exit(number);
    };
    check(&mut code, RA, ZERO, 1);
    code.data_address(T1);
    code.add(&[ld(T0, T1, 0), addi(T2, ZERO, INITIAL)]);
    check(&mut code, T0, T2, 2);
    code.add(&[ld(T0, T1, 1024)]);
    check(&mut code, T0, ZERO, 3);
    code.add(&[ld(TP, A0, START_HEAP), ld(T0, TP, 0)]);
    check(&mut code, T0, ZERO, 4);
    code.add(&[ld(T0, SP, -16)]);
    check(&mut code, T0, ZERO, 5);
    code.add(&[
        special(T0, 1),
        sd(SP, T1, 0),
        sc(T0, T1, 1024),
        sc(T0, TP, 0),
        sc(T0, SP, -16),
    ]);
    code.add(&(18..32).map(|number| or(number, SP, ZERO)).collect::<Vec<_>>());
    code.add(&[ILLEGAL]);
    code.elf_with_data(&i64::from(INITIAL).to_le_bytes())
}

/// Writes `text` (2047 bytes at most) with one hostcall and exits with 0.
pub fn writer(text: &[u8]) -> Elf {
    let mut code = Code::default();
    code.data_address(T1).write(0, text.len() as i32).exit(0);
    code.elf_with_data(text)
}

/// Writes `first`, gives its time away, writes `second`, and all that again, 100 times; exits with 0.
pub fn stutterer(first: &[u8], second: &[u8]) -> Elf {
    let mut code = Code::default();
    code.data_address(T1).add(&[addi(T0, ZERO, 100)]);
    let start = code.offset();
    code.write(0, first.len() as i32).hostcall(abi::Hostcall::Yield);
    code.write(first.len() as i32, second.len() as i32);
    code.add(&[addi(T0, T0, -1)]);
    let back = start - code.offset();
    code.add(&[bne(T0, ZERO, back)]).exit(0);
    code.elf_with_data(&[first, second].concat())
}

/// Writes `prompt`, which ends no line, reads one byte and exits with it.
pub fn asker(prompt: &[u8]) -> Elf {
    let mut code = Code::default();
    code.data_address(T1).write(0, prompt.len() as i32);
    let stream = abi::hostcall::STREAM_INPUT as i32;
    code.add(&[
        addi(A0, ZERO, stream),
        addi(A1, T1, 2040),
        addi(A2, ZERO, 1),
        addi(A3, ZERO, 0),
    ]);
    code.hostcall(abi::Hostcall::Read);
    code.add(&[ld(A0, T1, 2040), addi(A7, ZERO, abi::Hostcall::Exit as i32), ECALL]);
    code.elf_with_data(prompt)
}

/// Reads the word at a physical address below 2^32, given that its data capability counts from 0, and exits with 0.
pub fn reader(address: u32) -> Elf {
    let mut code = Code::default();
    // LUI extends the sign; the two shifts take it back.
    code.add(&[
        address & !0xfff | T0 << 7 | 0x37,
        shift_left(T0, T0, 32),
        shift_right(T0, T0, 32),
    ]);
    code.add(&[ld(T0, T0, (address & 0xfff) as i32)]).exit(0);
    code.elf()
}
