//! An offer's SDP on the whole way to its answer. See `ballcast_fuzz::offer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ballcast_fuzz::offer::run(data);
});
