//! Virtio devices of the embedded machine: a driver that does anything.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::virtio(bytes));
