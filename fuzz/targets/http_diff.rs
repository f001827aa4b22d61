//! Our parser against a reference written from the grammar. See `ballcast_fuzz::http_diff`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ballcast_fuzz::http_diff::run(data);
});
