//! ELF programs: the monitor and the tools must agree on which can run as a cVM.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::elf(bytes));
