//! Unit tests of the kernel on the host's stand-in.

mod archive;
mod build;
mod console;
mod cvm;
mod elf;
mod layout;
mod manifest;
mod monitor;
mod placement;
mod pool;
mod purecap;
mod service;
mod start;
mod symbols;
mod thread;
mod tree;
