//! The monitor proper: what happens at boot, who holds which authority, how cVMs are loaded, run, served and stopped.
//!
//! No assembly, no `cfg(target_arch)`: everything that depends on the processor is behind `arch`. A boot is told in
//! [`start`](start()); from then on the monitor only runs inside `hostcall::trap`.
//!
//! The rooms, from above to below; nothing below calls a room above it: `start`, `hostcall`, `run`, `cvm`, `plan`,
//! `authority`, then `elf` and `report`.

#![cfg_attr(target_os = "none", no_std)]

extern crate alloc;

#[cfg(any(test, feature = "fuzz"))]
mod accomplice;
mod authority;
mod cvm;
mod elf;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod heap;
mod hostcall;
mod measure;
mod plan;
mod report;
mod run;
mod start;

#[cfg(test)]
mod tests;

pub use heap::Heap;
pub use report::panic::panic;
pub use start::start;
