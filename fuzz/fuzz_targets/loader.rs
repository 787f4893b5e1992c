//! ELF programs, all the way into the memory and the registers of a cVM.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::loader(bytes));
