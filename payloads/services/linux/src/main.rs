//! The library OS for Linux programs, as a cVM: its clients are raw, and lie within it.
//!
//! Environment: `ROOT` names the buffer with the tar file that programs see as `/`, `FILES` is how many bytes they may write
//! above it; `DISK` the buffer of a disk that another cVM drives, whose ext4 they see as `/disk`; `NET` that of the port of a switch, `ADDRESS` and `GATEWAY` where that is; `LOG=debug` shows every system
//! call. `FIRST` is the path of the first program in cVMs for processes.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod card;
#[cfg(target_os = "none")]
mod cvm;
#[cfg(target_os = "none")]
mod disk;
#[cfg(target_os = "none")]
mod machine;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("linux: this is a cVM: intravisor pack puts it into an image");
    std::process::exit(2);
}
