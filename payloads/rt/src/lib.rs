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
//! A cVM is an ordinary program in a box: it has threads, a heap and a stack as its manifest says, and reaches nothing else
//! except through [`hostcall`]. The parts that need no hostcall ([`block`], [`line`](mod@line)) are compiled for the host
//! too, where `cargo test -p rt` tests them; so are the locks and channels of [`sync`], with the host's threads.

#![cfg_attr(not(test), no_std)]

#[cfg(any(target_os = "none", test))]
pub extern crate alloc;

#[cfg(target_os = "none")]
mod arch;
pub mod block;
#[cfg(target_os = "none")]
mod buffer;
#[cfg(target_os = "none")]
mod capability;
#[cfg(target_os = "none")]
pub mod console;
#[cfg(target_os = "none")]
pub mod device;
pub mod disk;
#[cfg(target_os = "none")]
mod gate;
#[cfg(target_os = "none")]
mod heap;
#[cfg(target_os = "none")]
pub mod hostcall;
pub mod line;
#[cfg(target_os = "none")]
mod local;
#[cfg(target_os = "none")]
mod memory;
#[cfg(target_os = "none")]
pub mod net;
#[cfg(target_os = "none")]
mod panic;
#[cfg(target_os = "none")]
mod service;
#[cfg(target_os = "none")]
mod start;
#[cfg(any(target_os = "none", test))]
pub mod stream;
#[cfg(any(target_os = "none", test))]
pub mod sync;
#[cfg(any(target_os = "none", test))]
mod sys;
#[cfg(target_os = "none")]
pub mod thread;
#[cfg(target_os = "none")]
pub mod time;

pub use abi::{self, Errno};
#[cfg(target_os = "none")]
pub use arch::MACHINE;
#[cfg(target_os = "none")]
pub use buffer::Buffer;
#[cfg(target_os = "none")]
pub use capability::CapBuffer;
#[cfg(target_os = "none")]
pub use console::read_line;
#[cfg(target_os = "none")]
pub use gate::{Argument, Foreign, Gate};
#[cfg(target_os = "none")]
#[doc(hidden)]
pub use gate::{Frame as GateFrame, FromPassed};
#[cfg(target_os = "none")]
pub use hostcall::{exit, info, yield_now};
#[cfg(target_os = "none")]
pub use local::LocalKey;
#[cfg(target_os = "none")]
pub use memory::zero;
#[cfg(target_os = "none")]
#[doc(hidden)]
pub use service::handle;
#[cfg(target_os = "none")]
pub use service::{Answer, Call, Token};
#[cfg(target_os = "none")]
pub use start::{Termination, args, env, start_block, var};
#[cfg(target_os = "none")]
pub use time::{Instant, sleep};
