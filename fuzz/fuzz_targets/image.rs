//! Archives with manifests, made of the fuzzer's choices: what the tools see is what boots.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz::image(bytes);
});
