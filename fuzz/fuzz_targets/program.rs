//! ELF files of any architecture in the tools: facts, check, strip, inspection.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::program(bytes));
