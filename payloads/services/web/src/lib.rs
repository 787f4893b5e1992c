//! What the web server knows of requests and of its disk: no devices, no network, so that `cargo test -p web` tests it.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod http;
pub mod pages;
