//! What the end-to-end tests are written with: a [`Scenario`] is packed into an image, booted on a [`Platform`], and
//! comes back as an [`Outcome`] whose console lines are taken apart.
//!
//! A test is a function of the platform; the macros [`on_every_platform`] and [`on_machine`] make one test of it for
//! every platform of their list.

pub mod artifacts;
pub mod board;
pub mod code;
pub mod ext4;
pub mod fuzz;
pub mod lines;
pub mod outcome;
pub mod platform;
pub mod qemu;
pub mod report;
pub mod scenario;
pub mod served;
pub mod sizes;
pub mod tcb;

use std::path::PathBuf;

pub use board::Board;
pub use outcome::{Ending, Line, Outcome};
pub use platform::Platform;
pub use scenario::{Running, Scenario, cvm};
pub use served::Served;

/// Linux programs must be there when this is set; without it, what is missing is said, and left out.
const REQUIRED: &str = "INTRAVISOR_LINUX";

/// Where `scripts/setup --linux` has put a Linux program; none where it has not.
///
/// # Panics
/// It is missing, and must not be.
pub fn linux_program(platform: Platform, name: &str) -> Option<PathBuf> {
    let workspace = tools::workspace::Workspace::locate().unwrap_or_else(|error| panic!("{error}"));
    let program = workspace.linux_programs(platform.arch()).join(name);
    if program.exists() {
        return Some(program);
    }
    let missing = format!("{}: scripts/setup --linux builds it", program.display());
    assert!(std::env::var_os(REQUIRED).is_none(), "{missing}");
    eprintln!("left out: {missing}");
    None
}
