//! The monitor's device queues: a driver and a device that do anything.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::queues(bytes));
