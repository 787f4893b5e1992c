//! The runtime of a Rust cVM: entry point, panic handler, console, heap, time, arguments and the hostcalls.
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//!
//! rt::entry!(main);
//!
//! fn main() -> Result<(), rt::Errno> {
//!     for argument in rt::args().skip(1) {
//!         rt::println!("hello, {argument}");
//!     }
//!     rt::sleep(core::time::Duration::from_millis(10))
//! }
//! ```
//!
//! A cVM is an ordinary program in a box: it has one thread, a heap and a stack as large as its manifest says, and
//! reaches nothing else except through [`hostcall`]. The parts that need no hostcall ([`block`], [`line`](mod@line)) are
//! compiled for the host too, where `cargo test -p rt` tests them.

#![cfg_attr(not(test), no_std)]

#[cfg(target_os = "none")]
pub extern crate alloc;

#[cfg(target_os = "none")]
mod arch;
pub mod block;
#[cfg(target_os = "none")]
mod capability;
#[cfg(target_os = "none")]
pub mod console;
#[cfg(target_os = "none")]
mod heap;
#[cfg(target_os = "none")]
pub mod hostcall;
pub mod line;
#[cfg(target_os = "none")]
mod panic;
#[cfg(target_os = "none")]
mod service;
#[cfg(target_os = "none")]
mod start;
#[cfg(target_os = "none")]
pub mod time;

pub use abi::{self, Errno};
#[cfg(target_os = "none")]
pub use capability::CapBuffer;
#[cfg(target_os = "none")]
pub use console::read_line;
#[cfg(target_os = "none")]
pub use hostcall::{exit, info, yield_now};
#[cfg(target_os = "none")]
#[doc(hidden)]
pub use service::handle;
#[cfg(target_os = "none")]
pub use service::{Answer, Call};
#[cfg(target_os = "none")]
pub use start::{Termination, args, env, start_block, var};
#[cfg(target_os = "none")]
pub use time::{Instant, sleep};
