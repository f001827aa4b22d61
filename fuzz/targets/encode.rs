//! What a camera sends, through the decoder and the encoders. See `ballcast_fuzz::encode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ballcast_fuzz::encode::run(data);
});
