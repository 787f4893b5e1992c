//! cpio archives, as the monitor reads them and as the tools do.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::archive(bytes));
