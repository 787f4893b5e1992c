//! Purecap cVMs without a CHERI compiler: programs in assembler, one source for both architectures.
//!
//! The stock assembler knows no capability instruction. `asm/riscv64.s` and `asm/aarch64.s` encode them, one macro an
//! instruction, named as in the architecture's manual, and define on top of them the same *operations* for both:
//! `load_capability`, `set_bounds`, `call`, … Registers are passed to macros by number; [`program!`] puts the
//! architecture's numbers in place of `{a0}`, `{t0}`, `{s0}`, `{sp}` and so on. `asm/relocations.s` makes the tables by
//! which the monitor gives a program its capabilities, in the format of the CHERI compilers, and `asm/runtime.s` has the
//! routines that most programs need.
//!
//! What the linker cannot do is done after linking by the tools (`elf::flags`): they find the section `.purecap` and set the ELF
//! header's flags.

#![no_std]

pub use abi::Hostcall;

/// Defines the whole program: the files in `asm/` with these names, one after the other.
#[macro_export]
macro_rules! program {
    ($($file:literal),+) => {
        #[cfg(target_arch = "riscv64")]
        $crate::assemble!(
            "riscv64.s", [$($file),+],
            zero 0, lr 1, sp 2, a0 10, a1 11, a2 12, a3 13, a4 14, a5 15, a6 16, a7 17,
            t0 5, t1 6, t2 7, t3 28, t4 29, s0 8, s1 9, s2 18, s3 19, s4 20, s5 21
        );
        #[cfg(target_arch = "aarch64")]
        $crate::assemble!(
            "aarch64.s", [$($file),+],
            zero 31, lr 30, sp 31, a0 0, a1 1, a2 2, a3 3, a4 4, a5 5, a6 6, a7 7,
            t0 9, t1 10, t2 11, t3 12, t4 13, s0 19, s1 20, s2 21, s3 22, s4 23, s5 24
        );
    };
}

/// What [`program!`] expands to for one architecture: macros, hostcall numbers, the program.
#[doc(hidden)]
#[macro_export]
macro_rules! assemble {
    ($machine:literal, [$($file:literal),+], $($register:ident $number:literal),+) => {
        ::core::arch::global_asm!(
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/asm/", $machine)),
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/asm/relocations.s")),
            ".set HOSTCALL_NULL, {hostcall_null}",
            ".set HOSTCALL_EXIT, {hostcall_exit}",
            ".set HOSTCALL_YIELD, {hostcall_yield}",
            ".set HOSTCALL_WRITE, {hostcall_write}",
            ".set HOSTCALL_READ, {hostcall_read}",
            ".set HOSTCALL_NANOSLEEP, {hostcall_nanosleep}",
            ".set HOSTCALL_CLOCK, {hostcall_clock}",
            ".set HOSTCALL_ARGUMENTS, {hostcall_arguments}",
            ".set HOSTCALL_INFO, {hostcall_info}",
            ".set HOSTCALL_HEAP, {hostcall_heap}",
            ".set HOSTCALL_CAPFILE, {hostcall_capfile}",
            ".set HOSTCALL_SERVE, {hostcall_serve}",
            ".set HOSTCALL_REPLY, {hostcall_reply}",
            ".set HOSTCALL_DELEGATE, {hostcall_delegate}",
            ".set HOSTCALL_THREAD_CREATE, {hostcall_thread_create}",
            ".set HOSTCALL_THREAD_EXIT, {hostcall_thread_exit}",
            ".set HOSTCALL_WAIT, {hostcall_wait}",
            ".set HOSTCALL_WAKE, {hostcall_wake}",
            ".set HOSTCALL_GATE, {hostcall_gate}",
            // A program need not use every register.
            $(concat!("// {", stringify!($register), "}"),)+
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/asm/runtime.s")),
            $(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/asm/", $file)),)+
            hostcall_null = const $crate::Hostcall::Null as u64,
            hostcall_exit = const $crate::Hostcall::Exit as u64,
            hostcall_yield = const $crate::Hostcall::Yield as u64,
            hostcall_write = const $crate::Hostcall::Write as u64,
            hostcall_read = const $crate::Hostcall::Read as u64,
            hostcall_nanosleep = const $crate::Hostcall::Nanosleep as u64,
            hostcall_clock = const $crate::Hostcall::Clock as u64,
            hostcall_arguments = const $crate::Hostcall::Arguments as u64,
            hostcall_info = const $crate::Hostcall::Info as u64,
            hostcall_heap = const $crate::Hostcall::Heap as u64,
            hostcall_capfile = const $crate::Hostcall::Capfile as u64,
            hostcall_serve = const $crate::Hostcall::Serve as u64,
            hostcall_reply = const $crate::Hostcall::Reply as u64,
            hostcall_delegate = const $crate::Hostcall::Delegate as u64,
            hostcall_thread_create = const $crate::Hostcall::ThreadCreate as u64,
            hostcall_thread_exit = const $crate::Hostcall::ThreadExit as u64,
            hostcall_wait = const $crate::Hostcall::Wait as u64,
            hostcall_wake = const $crate::Hostcall::Wake as u64,
            hostcall_gate = const $crate::Hostcall::Gate as u64,
            $($register = const $number,)+
        );
    };
}

/// No Rust code runs in these programs, but every one of them must have a panic handler.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
