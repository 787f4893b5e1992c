//! The embedded machine: small emulators of the two boards that the image boots on.
//!
//! A library first: a test builds a board, loads an image, runs it to an exit, a breakpoint, an instruction limit or a
//! pattern on the console, and looks into registers, memory and tags. Virtual time counts instructions, so a run is
//! reproducible to the instruction. The program `cheri-machine` is the same behind a command line.
//!
//! What both boards share is here: [`memory`] (bytes and tags), [`console`], [`program`] (kernel, ELF, symbols, initrd),
//! [`stop`] (how a run ended), [`virtio`] and [`net`] (devices), [`clock`] (wall time), [`gdb`] (a debugger's view),
//! [`options`] and [`cli`]. Each board is one module: [`riscv`] and, beside it, Morello.
//!
//! Capability arithmetic is not here: it is the crate `capability`, which the machine, the tools and the tests share.

pub mod cli;
pub mod clock;
pub mod console;
mod float;
pub mod gdb;
pub mod memory;
pub mod morello;
pub mod net;
pub mod options;
pub mod program;
mod registers;
pub mod riscv;
mod stays;
pub mod stop;
pub mod virtio;

pub use console::Console;
pub use memory::TaggedMemory;
pub use program::{LoadError, Program, Symbols};
pub use stays::Stay;
pub use stop::{Stop, Unsupported};
