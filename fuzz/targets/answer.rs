//! A media server's answer to an offer of ours. See `ballcast_fuzz::answer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ballcast_fuzz::answer::run(data);
});
