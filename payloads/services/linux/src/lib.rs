//! The system call layer of the library OS: what a Linux program asks for, answered without a kernel. Pure and without
//! `unsafe`: what it needs from outside - the program's memory, the console, the time - is behind [`Platform`], so that it
//! runs on the host as it runs in a cVM.
//!
//! Every number and every pointer that a program passes is an allegation. A pointer becomes an access in one place only,
//! [`Window`], which covers the program's memory and nothing else.

#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod arena;
mod bytes;
mod calls;
mod console;
mod deliver;
mod error;
pub mod ext4;
mod layout;
mod maps;
#[cfg(not(target_os = "none"))]
pub mod model;
mod names;
pub mod network;
mod open;
mod page;
mod pipe;
mod platform;
mod process;
mod program;
mod slot;
mod spawn;
mod stack;
mod system;
mod tar;
mod tree;
mod window;

pub use console::Input;
pub use error::{Error, Result};
pub use page::Page;
pub use platform::{Archive, Platform, Roles};
pub use program::Who;
pub use stack::{ImageError, Start};
pub use system::{MOUNT, Outcome, System};
pub use window::Window;
