//! One connection's bytes, whole, split and byte by byte. See `ballcast_fuzz::http`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ballcast_fuzz::http::run(data);
});
