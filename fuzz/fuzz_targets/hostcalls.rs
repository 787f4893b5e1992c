//! Hostcalls of cVMs with any arguments, and what happens between them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::hostcalls(bytes));
