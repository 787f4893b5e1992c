//! What differs between the processors: the first instructions of a cVM and the hostcall instruction.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "riscv64")]
mod riscv64;

#[cfg(target_arch = "aarch64")]
pub use aarch64::MACHINE;
#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::{
    THREAD_CONTROL_BLOCK, call_gate, copy_to_local, counter, derive, hostcall, hostcall_for_capability,
    hostcall_for_local, hostcall_for_token, hostcall_with, load_bytes, locals, pass_on, shape, store_bytes,
    thread_pointer, zero_blocks,
};
#[cfg(target_arch = "riscv64")]
pub use riscv64::MACHINE;
#[cfg(target_arch = "riscv64")]
pub(crate) use riscv64::{
    THREAD_CONTROL_BLOCK, call_gate, copy_to_local, counter, derive, hostcall, hostcall_for_capability,
    hostcall_for_local, hostcall_for_token, hostcall_with, load_bytes, locals, pass_on, shape, store_bytes,
    thread_pointer, zero_blocks,
};
#[cfg(not(any(target_arch = "aarch64", target_arch = "riscv64")))]
compile_error!("a cVM runs on riscv64 or aarch64");

unsafe extern "C" {
    fn rt_thread_start();
}

/// Bytes that [`zero_blocks`] zeroes at a time.
pub(crate) const ZERO_BLOCK: usize = 256;

/// Where a thread begins.
pub(crate) fn thread_entry() -> u64 {
    rt_thread_start as *const () as u64
}
