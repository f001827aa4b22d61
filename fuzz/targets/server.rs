//! A whole scenario, decoded from bytes. See `ballcast_fuzz::server`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ballcast_fuzz::server::run(data);
});
