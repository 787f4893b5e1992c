//! Isolation fuzzing: a cVM executes random programs on the embedded machine, monitor and all, and after every one the
//! machine says whether anything left the cVM.
//!
//! A [`Setup`] is an image that was booted until the cVM `fuzz` is about to execute its first instruction, beside a `victim`
//! that sleeps over its secrets and a `watcher` that wakes again and again and compares its own. From this moment, which is
//! kept, every [`Case`] starts: a program in the text of `fuzz`, registers and memory seeded from what `fuzz` holds at its
//! start. What must hold afterwards is in [`check`]. A case that breaks it is made as short as it can be ([`reduce`]).
//! Everything follows from the seed.

mod board;
mod campaign;
mod case;
mod check;
mod deferring;
mod family;
mod morello;
mod programs;
mod random;
mod reduce;
mod riscv;
mod scan;
mod seeds;
mod setup;
mod shared;
mod threads;

pub use campaign::{Campaign, Finding, Tally, known};
pub use case::{Case, Mode};
pub use scan::Scanned;
pub use setup::{Kind, Layout, Setup};
