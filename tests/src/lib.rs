//! What the end-to-end tests are written with: a [`Scenario`] is packed into an image, booted on a [`Platform`], and
//! comes back as an [`Outcome`] whose console lines are taken apart.
//!
//! A test is a function of the platform; the macros [`on_every_platform`] and [`on_machine`] make one test of it for
//! every platform of their list.

pub mod artifacts;
pub mod board;
pub mod code;
pub mod fuzz;
pub mod lines;
pub mod outcome;
pub mod platform;
pub mod qemu;
pub mod report;
pub mod scenario;
pub mod tcb;

pub use board::Board;
pub use outcome::{Ending, Line, Outcome};
pub use platform::Platform;
pub use scenario::{Running, Scenario, cvm};
