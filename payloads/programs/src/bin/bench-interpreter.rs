//! Interprets bytecode in the manner of a scripting language, for measuring the machine: typed values in memory, a jump through a
//! table for each bytecode, calls with frames, a table of values, a library that it calls to format text, and a hostcall every
//! few thousand instructions.
//!
//! Argument: rounds (default 100). Each computes a Fibonacci number by recursion, goes through the table, asks for the time by
//! a hostcall, and formats it.

#![no_std]
#![no_main]

use core::fmt::Write;

use rt::{Errno, Instant};

rt::entry!(main);

/// A bytecode: operation in bits 7:0, then three operands of eight bits each.
type Word = u32;

const LOAD: u8 = 0;
const MOVE: u8 = 1;
const ADD: u8 = 2;
const SUBTRACT: u8 = 3;
const MULTIPLY: u8 = 4;
const GET: u8 = 5;
const SET: u8 = 6;
/// Skips the next bytecode unless the first operand is less than the second.
const LESS: u8 = 7;
/// To the bytecode of this number.
const JUMP: u8 = 8;
/// The frame of the callee begins at a register of the caller: there are argument and result.
const CALL: u8 = 9;
const RETURN: u8 = 10;
/// Loads the time.
const TIME: u8 = 11;
/// Writes a value as text to the buffer.
const FORMAT: u8 = 12;
const END: u8 = 13;

const fn word(operation: u8, a: u8, b: u8, c: u8) -> Word {
    u32::from_le_bytes([operation, a, b, c])
}

const FIBONACCI: u8 = 21;
const ARGUMENT: u8 = 6;
const RESULT: i64 = 8;
const TABLE: usize = 32;
/// Characters of a time: `{:>20} ns, {:#018x}`.
const TEXT: usize = 43;

/// r0: rounds, r1: where calls put their result.
const PROGRAM: [Word; 32] = [
    // Each round:
    word(LOAD, 1, ARGUMENT, 0),
    word(CALL, 1, FIBONACCI, 0),
    word(LOAD, 2, 0, 0),
    word(LOAD, 3, TABLE as u8, 0),
    word(LOAD, 4, 1, 0),
    word(LOAD, 5, 31, 0),
    // Each entry:
    word(GET, 6, 2, 0),
    word(MULTIPLY, 6, 6, 5),
    word(ADD, 6, 6, 2),
    word(SET, 6, 2, 0),
    word(ADD, 2, 2, 4),
    word(LESS, 2, 3, 0),
    word(JUMP, 6, 0, 0),
    word(TIME, 7, 0, 0),
    word(FORMAT, 7, 0, 0),
    word(SUBTRACT, 0, 0, 4),
    word(MOVE, 8, 0, 0),
    word(LESS, 8, 4, 0),
    word(END, 0, 0, 0),
    word(JUMP, 0, 0, 0),
    word(END, 0, 0, 0),
    // Fibonacci: argument and result in r0.
    word(LOAD, 1, 2, 0),
    word(LESS, 0, 1, 0),
    word(RETURN, 0, 0, 0),
    word(LOAD, 1, 1, 0),
    word(SUBTRACT, 2, 0, 1),
    word(CALL, 2, FIBONACCI, 0),
    word(LOAD, 1, 2, 0),
    word(SUBTRACT, 3, 0, 1),
    word(CALL, 3, FIBONACCI, 0),
    word(ADD, 0, 2, 3),
    word(RETURN, 0, 0, 0),
];

/// A value of the language.
#[derive(Clone, Copy)]
enum Value {
    Nothing,
    Integer(i64),
}

impl Value {
    fn integer(self) -> Result<i64, Errno> {
        match self {
            Value::Integer(value) => Ok(value),
            Value::Nothing => Err(Errno::EINVAL),
        }
    }
}

/// Text of a fixed length; what comes afterwards is lost.
struct Text {
    bytes: [u8; 64],
    length: usize,
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let room = self.bytes.get_mut(self.length..self.length + text.len());
        room.ok_or(core::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length += text.len();
        Ok(())
    }
}

/// The state of the language.
struct Interpreter {
    registers: [Value; 64],
    /// Where the running function's registers begin, and for each caller that and its next bytecode.
    base: usize,
    frames: [(usize, usize); 16],
    depth: usize,
    table: [Value; TABLE],
    text: Text,
}

impl Interpreter {
    fn get(&self, register: u8) -> Result<i64, Errno> {
        self.registers[self.base + usize::from(register)].integer()
    }

    fn set(&mut self, register: u8, value: i64) {
        self.registers[self.base + usize::from(register)] = Value::Integer(value);
    }

    fn run(&mut self, program: &[Word]) -> Result<(), Errno> {
        let mut next = 0;
        loop {
            let [operation, a, b, c] = program[next].to_le_bytes();
            next += 1;
            match operation {
                LOAD => self.set(a, b.into()),
                MOVE => self.set(a, self.get(b)?),
                ADD => self.set(a, self.get(b)?.wrapping_add(self.get(c)?)),
                SUBTRACT => self.set(a, self.get(b)?.wrapping_sub(self.get(c)?)),
                MULTIPLY => self.set(a, self.get(b)?.wrapping_mul(self.get(c)?)),
                GET => self.set(a, self.table[self.get(b)? as usize].integer()?),
                SET => {
                    let index = self.get(b)? as usize;
                    self.table[index] = Value::Integer(self.get(a)?);
                }
                LESS => next += usize::from(self.get(a)? >= self.get(b)?),
                JUMP => next = a.into(),
                CALL => {
                    *self.frames.get_mut(self.depth).ok_or(Errno::ENOMEM)? = (self.base, next);
                    self.depth += 1;
                    self.base += usize::from(a);
                    next = b.into();
                }
                RETURN => {
                    self.depth = self.depth.checked_sub(1).ok_or(Errno::EINVAL)?;
                    (self.base, next) = self.frames[self.depth];
                }
                TIME => self.set(a, Instant::now().since_start().as_nanos() as i64),
                FORMAT => {
                    let value = self.get(a)?;
                    self.text.length = 0;
                    write!(self.text, "{value:>20} ns, {value:#018x}").map_err(|_| Errno::ENOMEM)?;
                }
                END => return Ok(()),
                _ => return Err(Errno::ENOSYS),
            }
        }
    }
}

fn main() -> Result<(), Errno> {
    let rounds = rt::args()
        .nth(1)
        .map_or(Ok(100), |text| text.parse::<i64>().map_err(|_| Errno::EINVAL))?;
    let mut interpreter = Interpreter {
        registers: [Value::Nothing; 64],
        base: 0,
        frames: [(0, 0); 16],
        depth: 0,
        table: [Value::Integer(1); TABLE],
        text: Text {
            bytes: [0; 64],
            length: 0,
        },
    };
    interpreter.set(0, rounds);
    interpreter.run(&PROGRAM)?;
    if interpreter.get(1)? != RESULT {
        return Err(Errno::EIO);
    }
    if interpreter.text.length != TEXT {
        return Err(Errno::EIO);
    }
    rt::println!("{rounds} rounds");
    Ok(())
}
