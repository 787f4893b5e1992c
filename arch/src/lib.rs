//! The wall between the kernel and the processor: capability slots, trap entry and exit, register frames, timer,
//! interrupt controller, console UART, power-off. One module an ISA, each defining the same names; the only place with
//! assembly, `unsafe` machine access and `cfg(target_arch)`.
//!
//! `arch` never names a cVM, the kernel never names an ISA.

#![cfg_attr(target_os = "none", no_std)]

extern crate alloc;

pub mod gate;
mod permissions;
mod types;
pub mod user;

pub use permissions::{
    code_permissions, data_permissions, device_permissions, monitor_data_permissions, monitor_text_permissions,
    read_only_permissions, service_stack_permissions,
};

pub use types::{
    Access, BootInfo, Derivation, DeriveError, Description, Device, Fault, Instruction, Kind, Platform, Refused,
    Register, Relocation, Settled, Start, Trap, VIRTIO_LIMIT, VIRTIO_WINDOW, VirtioSlot, Window,
};

#[cfg(target_os = "none")]
#[macro_use]
mod instructions;

#[cfg(all(target_os = "none", target_arch = "riscv64"))]
mod cheri_riscv;
#[cfg(all(target_os = "none", target_arch = "riscv64"))]
use cheri_riscv as isa;

#[cfg(all(target_os = "none", target_arch = "aarch64"))]
mod morello;
#[cfg(all(target_os = "none", target_arch = "aarch64"))]
use morello as isa;

#[cfg(target_os = "none")]
mod board;
#[cfg(target_os = "none")]
use board::reach;

#[cfg(not(target_os = "none"))]
mod host;
#[cfg(not(target_os = "none"))]
use host as isa;
#[cfg(not(target_os = "none"))]
use host::reach;

pub use isa::*;

#[cfg(all(target_os = "none", not(any(target_arch = "riscv64", target_arch = "aarch64"))))]
compile_error!("the monitor has no module for this architecture");
