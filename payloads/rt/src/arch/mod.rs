//! What differs between the processors: the first instructions of a cVM and the hostcall instruction.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "riscv64")]
mod riscv64;

#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::{hostcall, hostcall_for_capability, load_byte, pass_on, shape, store_byte};
#[cfg(target_arch = "riscv64")]
pub(crate) use riscv64::{hostcall, hostcall_for_capability, load_byte, pass_on, shape, store_byte};
#[cfg(not(any(target_arch = "aarch64", target_arch = "riscv64")))]
compile_error!("a cVM runs on riscv64 or aarch64");
