//! What the driver of a disk knows of its clients: no devices, no buffers, so that `cargo test -p disk` tests it.

#![cfg_attr(not(test), no_std)]

pub mod range;
