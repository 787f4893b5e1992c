//! The file system of a disk that is damaged.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::ext4(bytes));
