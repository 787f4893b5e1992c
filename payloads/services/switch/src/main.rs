//! An Ethernet switch. On its ports are cVMs, and the network cards that it drives. No port sees what is not for it, sends in
//! another's name, or takes the room of others by sending much.
//!
//! Arguments: the names of the cVMs, as `intravisor pack` makes them of their key `net`.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod card;
#[cfg(target_os = "none")]
mod server;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("switch: this is a cVM: intravisor pack puts it into an image");
    std::process::exit(2);
}
