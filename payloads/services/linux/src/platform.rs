//! What the system call layer is built on.

use crate::page::Page;
use crate::program::Who;
use crate::{Error, Result};
use abi::hostcall::REGISTERS;
use alloc::vec::Vec;
use core::fmt;

/// What the words of a thread's registers are: their places among them.
#[derive(Clone, Copy, Debug)]
pub struct Roles {
    /// The program counter.
    pub counter: usize,
    /// The stack pointer.
    pub stack: usize,
    /// The first argument, which is the result, too; the next two follow.
    pub result: usize,
    /// What the trampoline takes a handler's address from.
    pub handler: usize,
    /// Bytes between the start of the machine's part of a `ucontext` and the first of the words.
    pub before: u64,
    /// How many words there are.
    pub count: usize,
    /// What ELF calls the machine.
    pub machine: u16,
}

impl Roles {
    /// RISC-V: the program counter, `x1` to `x31`.
    pub const RISCV: Roles = Roles {
        counter: 0,
        stack: 2,
        result: 10,
        handler: 5,
        before: 0,
        count: 32,
        machine: 243,
    };
    /// 64-bit Arm: `x0` to `x30`, stack pointer, program counter, flags.
    pub const ARM: Roles = Roles {
        counter: 32,
        stack: 31,
        result: 0,
        handler: 16,
        before: 8,
        count: 34,
        machine: 183,
    };
}

/// Where an archive is read from: bytes that nobody changes.
pub trait Archive: fmt::Debug + Send {
    /// How many there are.
    fn size(&self) -> usize;

    /// Copies those from `offset` on, which are there.
    ///
    /// # Errors
    /// `EIO` when they cannot be read.
    fn read(&self, offset: usize, to: &mut [u8]) -> Result<()>;
}

impl Archive for Vec<u8> {
    fn size(&self) -> usize {
        self.len()
    }

    fn read(&self, offset: usize, to: &mut [u8]) -> Result<()> {
        let end = offset.checked_add(to.len()).ok_or(Error::EIO)?;
        to.copy_from_slice(self.get(offset..end).ok_or(Error::EIO)?);
        Ok(())
    }
}

/// What the cVM around the programs can do.
pub trait Platform {
    /// `tick` is to be called when the clock tells this; none when never. What was said before does not count any more.
    fn wake_at(&mut self, until: Option<u64>);

    /// Copies memory of the program from `address`, as this side sees it. Only [`Window`](crate::Window) asks for it, with
    /// ranges that it has checked.
    fn load(&self, address: u64, to: &mut [u8]);

    /// Copies `from` to memory of the program.
    fn store(&mut self, address: u64, from: &[u8]);

    /// Makes memory of the program zero.
    fn zero(&mut self, address: u64, length: u64);

    /// Nanoseconds since the machine started.
    fn clock(&self) -> u64;

    /// How a program can count the same itself: ticks of the counter in a second, and what it showed when the machine started.
    fn counter(&self) -> [u64; 2];

    /// The page of text that each program has.
    fn page(&self) -> Page;

    /// Nanoseconds between the year 1970 and the start of the machine, as far as it is known.
    fn epoch(&self) -> u64;

    /// The processor's name, as `uname` tells it.
    fn machine(&self) -> &'static str;

    /// Writes all of `bytes` to the console.
    fn write(&mut self, bytes: &[u8]);

    /// A program wants input from the console: [`System::input`](crate::System::input) is told of it from now on.
    fn expect_input(&mut self);

    /// Random bytes.
    fn random(&mut self, bytes: &mut [u8]);

    /// Starts another thread of the calling program with the registers of the calling thread but for these two and a result of
    /// 0; the thread's place. Without a stack or a thread pointer it keeps the calling thread's.
    ///
    /// # Errors
    /// `EAGAIN` when there are as many as there can be.
    fn clone(&mut self, stack: Option<u64>, thread_pointer: Option<u64>) -> Result<u16>;

    /// What the words of [`registers`](Platform::registers) are.
    fn roles(&self) -> Roles;

    /// The registers of a thread: of the one whose call is served, or which waits with this token.
    ///
    /// # Errors
    /// `ESRCH` when nobody waits.
    fn registers(&self, token: Option<u64>) -> Result<[u64; REGISTERS]>;

    /// Sets them.
    ///
    /// # Errors
    /// `ESRCH` when nobody waits; `EFAULT` when it could not go on there.
    fn set_registers(&mut self, token: Option<u64>, words: &[u64; REGISTERS]) -> Result<()>;

    /// Stops a thread that computes, as if it had made a call that waits now; its token.
    ///
    /// # Errors
    /// `ESRCH` when there is none; `EAGAIN` when it makes a call.
    fn seize(&mut self, who: Who) -> Result<u64>;

    /// Makes pages of a program text, or memory like any other.
    ///
    /// # Errors
    /// `EFAULT` when they cannot be.
    fn text(&mut self, client: u32, address: u64, length: u64, executable: bool) -> Result<()>;

    /// Ends a thread that waits, or with `status` its cVM.
    fn end(&mut self, token: u64, status: Option<i32>);

    /// Lets a call that waits return `value`; `token` is what [`System::waits`](crate::System::waits) was given.
    /// Whether it still waited.
    fn answer(&mut self, token: u64, value: u64) -> bool;

    /// Lets a call that waits do so for this long from now on (0 = for ever), and then return `late`. Whether it still waited.
    fn wait_on(&mut self, token: u64, nanoseconds: u64, late: u64) -> bool;

    /// A line for who looks for what goes wrong.
    fn log(&mut self, who: Who, line: fmt::Arguments<'_>);
}
