//! Makes the Null hostcall N times in a loop of fixed length, for measuring.
//!
//! Argument: N (default 1000). Between two visits of the symbol `bench_null_call` lie one round trip and
//! the two instructions that close the loop.

#![no_std]
#![no_main]

use core::arch::global_asm;

use abi::Hostcall;
use rt::Errno;

rt::entry!(main);

// FROM: main, by an ordinary call. LIVE: first argument register = rounds, at least 1. The convention keeps all registers
// except the results, so the loop needs no more than the counter.
#[cfg(target_arch = "riscv64")]
global_asm!(
    ".text",
    ".globl bench_null",
    ".type bench_null, @function",
    "bench_null:",
    "mv t0, a0",
    "li a7, {null}",
    ".globl bench_null_call",
    "bench_null_call:",
    "2:",
    "ecall",
    "addi t0, t0, -1",
    "bnez t0, 2b",
    "ret",
    ".size bench_null, . - bench_null",
    null = const Hostcall::Null as u64,
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".text",
    ".globl bench_null",
    ".type bench_null, @function",
    "bench_null:",
    "mov x9, x0",
    "mov x8, #{null}",
    ".globl bench_null_call",
    "bench_null_call:",
    "2:",
    "svc #0",
    "subs x9, x9, #1",
    "b.ne 2b",
    "ret",
    ".size bench_null, . - bench_null",
    null = const Hostcall::Null as u64,
);

unsafe extern "C" {
    /// Makes the Null hostcall `rounds` times; returns the last result. 0 rounds mean 2^64.
    safe fn bench_null(rounds: u64) -> u64;
}

fn main() -> Result<(), Errno> {
    let rounds = rt::args()
        .nth(1)
        .map_or(Ok(1000), |text| text.parse::<u64>().map_err(|_| Errno::EINVAL))?;
    if rounds == 0 {
        return Err(Errno::EINVAL);
    }
    rt::hostcall::result(bench_null(rounds))?;
    rt::println!("{rounds} null hostcalls");
    Ok(())
}
