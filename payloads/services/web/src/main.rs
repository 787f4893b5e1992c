//! A web server: its pages are an archive on its blocks of a disk, its visitors come through its port of a switch. Every answer to
//! `/` counts one, on the disk, before it is sent.
//!
//! Environment: `ADDRESS` (10.0.2.15/24), `GATEWAY` (10.0.2.2), `PORT` (80).

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod server;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("web: this is a cVM: intravisor pack puts it into an image");
    std::process::exit(2);
}
