//! Raw datagrams into a server with live viewers. See `ballcast_fuzz::datagram`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ballcast_fuzz::datagram::run(data);
});
