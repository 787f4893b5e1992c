//! What the switch knows of frames and of fairness: no devices, no buffers, so that `cargo test -p switch` tests it.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod share;
pub mod table;
