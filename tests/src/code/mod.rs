//! Programs in machine code, for what no compiler would write. Each is a position-independent ELF file.

pub mod assembler;
pub mod attack;

use abi::Hostcall;
use abi::hostcall::{STREAM_INPUT, STREAM_OUTPUT};
use tools::Architecture;
use tools::elf::synthesis::Elf;

use assembler::Register::{Argument, Number, Scratch, Stack};
pub use assembler::{Assembler, Register};

/// Offset of the heap's address in the start block (`abi::start::StartHeader`).
const START_HEAP: i64 = 56;
/// What the initialised data of [`amnesiac`] holds.
const INITIAL: u8 = 0x5a;
/// Where [`asker`] puts the byte that it reads, from the start of its data.
const ANSWER: i64 = 1024;

/// The least that can run: exits with 0.
pub fn minimal(arch: Architecture) -> Elf {
    Assembler::new(arch).exit(0).elf(&[])
}

/// Stores its DDC and its PCC to memory, keeps both in registers, loads the copies back into others, and then gives its
/// time away for ever.
pub fn hoarder(arch: Architecture) -> Elf {
    let mut code = Assembler::new(arch);
    let (data, ddc, pcc) = (Scratch(0), Scratch(1), Scratch(2));
    code.data_address(data).read_ddc(ddc).read_pcc(pcc);
    code.store_capability(ddc, data, 0).store_capability(pcc, data, 16);
    code.load_capability(Argument(2), data, 0)
        .load_capability(Argument(3), data, 16);
    code.add(Stack, Stack, -32).store_capability(ddc, Stack, 0);
    let start = code.here();
    code.hostcall(Hostcall::Yield);
    let back = start - code.here();
    code.jump(back);
    code.elf(&[])
}

/// Ends every life with an illegal instruction after it has left traces wherever it can; exits with the number of the
/// check when it finds a trace of an earlier life: 1 registers, 2 initialised data, 3 zeroed data, 4 heap, 5 stack.
pub fn amnesiac(arch: Architecture) -> Elf {
    let mut code = Assembler::new(arch);
    // What a life is given is in the stack pointer, on CHERI-RISC-V the thread pointer, and in two arguments.
    let (first, numbers, given) = match arch {
        Architecture::CheriRiscv => (1, 3..32, [4, 10, 11]),
        Architecture::Morello => (30, 2..30, [0, 1, 31]),
    };
    for number in numbers.clone().filter(|number| !given.contains(number)) {
        code.or(Number(first), Number(number));
    }
    let (data, value, heap) = (Scratch(0), Scratch(1), Scratch(2));
    // Exits when the register is not zero; else goes on behind the exit.
    let must_be_zero = |code: &mut Assembler, register, check: u32| {
        code.branch_not_zero(register, 8).jump(16).exit(check);
    };
    must_be_zero(&mut code, Number(first), 1);
    code.data_address(data)
        .load(value, data, 0)
        .add(value, value, -i64::from(INITIAL));
    must_be_zero(&mut code, value, 2);
    code.load(value, data, 1024);
    must_be_zero(&mut code, value, 3);
    code.load(heap, Argument(0), START_HEAP).load(value, heap, 0);
    must_be_zero(&mut code, value, 4);
    code.load(value, Stack, -16);
    must_be_zero(&mut code, value, 5);
    code.read_ddc(value)
        .store(data, data, 0)
        .store_capability(value, data, 1024);
    code.store_capability(value, heap, 0).store(data, Stack, -16);
    for number in numbers.filter(|number| !given.contains(number)) {
        code.set(Number(number), number);
    }
    code.illegal();
    code.elf(&u64::from(INITIAL).to_le_bytes())
}

/// Writes `length` bytes from `offset` in the data, whose address is in scratch register 0.
fn write(code: &mut Assembler, offset: usize, length: usize) {
    code.set(Argument(0), STREAM_OUTPUT as u32)
        .add(Argument(1), Scratch(0), offset as i64);
    code.set(Argument(2), length as u32).hostcall(Hostcall::Write);
}

/// Writes `text` (2047 bytes at most), in as many parts as the monitor wants it, and exits with 0.
pub fn writer(arch: Architecture, text: &[u8]) -> Elf {
    let mut code = Assembler::new(arch);
    let (pointer, rest) = (Scratch(0), Scratch(1));
    code.data_address(pointer).set(rest, text.len() as u32);
    let start = code.here();
    code.set(Argument(0), STREAM_OUTPUT as u32);
    code.add(Argument(1), pointer, 0).add(Argument(2), rest, 0);
    code.hostcall(Hostcall::Write);
    code.add_register(pointer, Argument(0))
        .subtract_register(rest, Argument(0));
    let back = start - code.here();
    code.branch_not_zero(rest, back).exit(0);
    code.elf(text)
}

/// Writes `first`, gives its time away, writes `second`, and all that again, 100 times; exits with 0.
pub fn stutterer(arch: Architecture, first: &[u8], second: &[u8]) -> Elf {
    let mut code = Assembler::new(arch);
    let rounds = Scratch(1);
    code.data_address(Scratch(0)).set(rounds, 100);
    let start = code.here();
    write(&mut code, 0, first.len());
    code.hostcall(Hostcall::Yield);
    write(&mut code, first.len(), second.len());
    code.add(rounds, rounds, -1);
    let back = start - code.here();
    code.branch_not_zero(rounds, back).exit(0);
    code.elf(&[first, second].concat())
}

/// Writes `prompt`, which ends no line, reads one byte and exits with it.
pub fn asker(arch: Architecture, prompt: &[u8]) -> Elf {
    let mut code = Assembler::new(arch);
    code.data_address(Scratch(0));
    write(&mut code, 0, prompt.len());
    code.set(Argument(0), STREAM_INPUT as u32)
        .add(Argument(1), Scratch(0), ANSWER);
    code.set(Argument(2), 1).set(Argument(3), 0).hostcall(Hostcall::Read);
    code.load(Argument(0), Scratch(0), ANSWER).hostcall(Hostcall::Exit);
    code.elf(prompt)
}

/// Number of the register that [`reader`] uses.
pub const READER_REGISTER: u8 = 20;

/// Reads a word through the capability that a test has put into its register, and exits with 0.
pub fn reader(arch: Architecture) -> Elf {
    let mut code = Assembler::new(arch);
    code.load_through(Scratch(0), Number(READER_REGISTER.into()));
    code.exit(0).elf(&[])
}
