//! Live video from a small device to any browser on the local network, over WebRTC.
//!
//! Ballcast is a **pure core** and a **thin driver**. The core is [`server::Server`]. It never reads
//! a clock, opens a socket, draws entropy, starts a thread or blocks. Whoever drives it keeps this
//! contract:
//!
//! 1. Something has happened: [`Server::handle_input`] is told the fact and the time.
//! 2. [`Server::poll_output`] is called, and what it returns is done, until it returns
//!    [`Output::Timeout`].
//! 3. The driver waits until that time, or until something happens (for ever, if there is no time),
//!    and begins again.
//!
//! The core cannot fail: bytes from the network never make it panic, and never end any viewer but
//! the one that is gone. The same inputs at the same times give the same outputs, which is how it
//! is tested.
//!
//! What is random comes from [`Config::entropy`](server::Config): ICE credentials, SSRCs, sequence
//! numbers, ETags. What the libraries draw by themselves is no secret, or theirs: str0m takes ICE
//! tie-breakers, STUN transaction ids and CNAMEs from `fastrand`, which `main` seeds from the
//! operating system; dimpl, its DTLS, takes randoms and key shares from the crypto provider in
//! [`Config::crypto`](server::Config). str0m also reads the wall clock once a process, for the NTP times
//! of its RTCP reports.
//!
//! ```text
//!  kernel      driver (mio)               core: Server                                             driver        kernel
//!  TCP in  -> read     -> Received   -> http: parse  -> web: page, /offer, WHEP -> sdp: answer --.
//!  UDP in  -> recv     -> Datagram   -> demux (address, then ufrag) -> Viewer -> Rtc -> drain ---+-> Send/Close -> write
//!  TCP out -> read     -> Publish    -> publish: its offer is POSTed, its answer -> Viewer ------+-> Publish    -> connect, write
//!  time    -> poll(at) -> Timeout    -> due viewers, due connections ----------------------------+-> Transmit   -> sendmmsg
//!                                       frame clock due, a viewer watches -> Capture -------.    |
//!  picture -> encoded ONCE for each codec <- driver <---------------------------------------'    |
//!                `-> Frame -> packetised ONCE -> for each viewer past its key frame: write, drain'
//!                                    viewer connected, or PLI -> ForceKeyframe -> Source
//! ```
//!
//! With a source, its bytes come as `Input::Source` and the frame clock stands still: H.264 goes to the
//! viewers as a frame, a picture goes out as `Encode` and comes back as `Frame`.
//!
//! Folders are the wall: I/O happens in [`driver`], [`cli`] and `main.rs`; the rest is the core, where
//! `clippy.toml` forbids clocks, sockets, files, threads and randomness. The core builds and tests without
//! the feature `driver`, and then links neither mio nor a codec.
//!
//! | folder | holds | side |
//! |---|---|---|
//! | [`server`] | inputs to outputs: datagrams, requests, frames, limits, statistics | core |
//! | [`web`] | which requests are served, and what pages and players are told; why others are refused | core |
//! | [`http`] | bytes to requests, responses to bytes, one connection at a time; the client side too | core |
//! | [`sdp`] | offers and answers, read and written | core |
//! | [`webrtc`] | one viewer: str0m's `Rtc`, the gate, the timers; payload formats | core |
//! | [`source`] | where pictures come from: opened, watched over, started again; `parse` turns its bytes into access units, pictures and JPEGs | core |
//! | [`publish`] | the stream to media servers: requests, sessions, retries | core |
//! | [`media`] | picture, ball, stamp; frames of each codec | core |
//! | [`foreign`], [`os_error`] | text from others and system errors, made fit to be shown | core |
//! | `backoff` | the pauses between attempts that fail | core |
//! | [`containment`] | keeps a panic to the input that caused it | core |
//! | [`work`] | counts the work that an input takes, for the tests | core |
//! | [`driver`] | the mio loop; `net`: sockets, addresses; `source`: descriptors and processes; `encode`: codecs; `publish`: connections to media servers | I/O |
//! | [`cli`] | the command line | I/O |
//!
//! [`Server::handle_input`]: server::Server::handle_input
//! [`Server::poll_output`]: server::Server::poll_output
//! [`Output::Timeout`]: server::Output::Timeout

#![deny(unsafe_code)]
// The documentation is that of the private rooms, too: cargo doc --features testing --document-private-items.
#![allow(rustdoc::private_intra_doc_links)]
// Unit tests may read the clock.
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

#[cfg(feature = "driver")]
#[allow(clippy::disallowed_methods, clippy::disallowed_types)]
mod cli;
#[cfg(feature = "driver")]
#[allow(clippy::disallowed_methods, clippy::disallowed_types)]
mod driver;

mod backoff;
mod containment;
mod foreign;
mod http;
mod media;
mod os_error;
mod publish;
mod sdp;
mod server;
mod source;
mod web;
mod webrtc;
mod work;

#[cfg(feature = "driver")]
pub use cli::run::run;

/// The rooms, for tests, benchmarks and fuzzers. They are private otherwise, so that the compiler finds what
/// nothing uses.
#[cfg(feature = "testing")]
pub mod testing {
    macro_rules! rooms {
        ($($room:ident)*) => {
            $(pub mod $room {
                pub use crate::$room::*;
            })*
        };
    }

    rooms! {
        containment foreign http media os_error publish sdp server source web webrtc work
    }
    #[cfg(feature = "driver")]
    rooms! { cli driver }
}
