//! One response's bytes, whole, split and byte by byte. See `ballcast_fuzz::client`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ballcast_fuzz::client::run(data);
});
