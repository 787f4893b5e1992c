//! What the system call layer is built on.

use crate::Result;
use crate::program::Who;
use core::fmt;

/// What the cVM around the programs can do.
pub trait Platform {
    /// Copies memory of the program from `address`, as this side sees it. Only [`Window`](crate::Window) asks for it, with
    /// ranges that it has checked.
    fn load(&self, address: u64, to: &mut [u8]);

    /// Copies `from` to memory of the program.
    fn store(&mut self, address: u64, from: &[u8]);

    /// Makes memory of the program zero.
    fn zero(&mut self, address: u64, length: u64);

    /// Nanoseconds since the machine started.
    fn clock(&self) -> u64;

    /// Nanoseconds between the year 1970 and the start of the machine, as far as it is known.
    fn epoch(&self) -> u64;

    /// The processor's name, as `uname` tells it.
    fn machine(&self) -> &'static str;

    /// Writes all of `bytes` to the console.
    fn write(&mut self, bytes: &[u8]);

    /// Waits for input from the console; how many bytes it put into `buffer`, 0 at its end.
    fn read(&mut self, buffer: &mut [u8]) -> usize;

    /// Random bytes.
    fn random(&mut self, bytes: &mut [u8]);

    /// Starts another thread of the calling program with the registers of the calling thread but for these two and a result of
    /// 0; the thread's place. Without a thread pointer it keeps the calling thread's.
    ///
    /// # Errors
    /// `EAGAIN` when there are as many as there can be.
    fn clone(&mut self, stack: u64, thread_pointer: Option<u64>) -> Result<u16>;

    /// Lets a call that waits return `value`; `token` is what [`System::waits`](crate::System::waits) was given.
    /// Whether it still waited.
    fn answer(&mut self, token: u64, value: u64) -> bool;

    /// Lets a call that waits do so for this long from now on (0 = for ever), and then return `late`. Whether it still waited.
    fn wait_on(&mut self, token: u64, nanoseconds: u64, late: u64) -> bool;

    /// A line for who looks for what goes wrong.
    fn log(&mut self, who: Who, line: fmt::Arguments<'_>);
}
