//! YAML files: what the tools accept, the monitor must accept.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::yaml(bytes));
