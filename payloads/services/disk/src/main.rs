//! The driver of a disk. Each of its clients has a range of the disk's blocks, and reaches nothing else of it: what a client asks
//! for is checked here, and goes to the device with the client's own buffer as the place of the data.
//!
//! Arguments: `CLIENT,START,BLOCKS,ACCESS` each, as `intravisor pack` makes them of the clients' key `disk`.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod driver;
#[cfg(target_os = "none")]
mod server;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("disk: this is a cVM: intravisor pack puts it into an image");
    std::process::exit(2);
}
