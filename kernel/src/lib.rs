//! The monitor proper: what happens at boot, who holds which authority, how cVMs are loaded, run, served and stopped.
//!
//! No assembly, no `cfg(target_arch)`: everything that depends on the processor is behind `arch`. A boot is told in
//! [`start`](start()); from then on the monitor only runs inside `trap::handle`.

#![cfg_attr(target_os = "none", no_std)]

extern crate alloc;

mod archive;
mod capfile;
mod console;
mod cvm;
mod elf;
mod fault;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod hostcall;
mod layout;
mod loader;
mod manifest;
mod panic;
mod placement;
mod pool;
mod root;
mod service;
mod start;
mod state;
mod symbols;
mod thread;
mod trap;
mod tree;

#[cfg(test)]
mod tests;

pub use panic::panic;
pub use start::start;
