//! The system call layer of the library OS, with programs that do anything.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::linux(bytes));
