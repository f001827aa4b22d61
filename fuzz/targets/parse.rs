//! The bytes of a stream of video, whole, cut and byte by byte. See `ballcast_fuzz::parse`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ballcast_fuzz::parse::run(data);
});
