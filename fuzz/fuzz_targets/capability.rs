//! The two capability formats: what they encode, and that nothing derived is more than it was derived from.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::capability(bytes));
