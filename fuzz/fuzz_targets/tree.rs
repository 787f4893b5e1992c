//! The platform's device tree.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::tree(bytes));
