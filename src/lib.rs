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
//! ```text
//!  kernel      driver (mio)               core: Server                                             driver        kernel
//!  TCP in  -> read     -> Received   -> http: parse  -> routes: page, /offer -> Viewer::answer --.
//!  UDP in  -> recv     -> Datagram   -> find by address, then ufrag -> Viewer -> Transport ------+-> Send/Close -> write
//!  time    -> poll(at) -> Timeout    -> due viewers, due connections ----------------------------+-> Transmit   -> sendmmsg
//!                                       frame clock due and somebody watches -> Capture ----.    |
//!  picture -> encoded ONCE for each codec <- driver <---------------------------------------'    |
//!                `-> Frame -> packetised ONCE -> for each viewer past its key frame: write, drain'
//!                                    viewer connected, or PLI -> ForceKeyframe -> Source
//! ```
//!
//! | module | holds | side |
//! |---|---|---|
//! | [`server`] | routing of inputs, finding viewers, fan-out, the limits' enforcement | core |
//! | [`http`] | bytes to requests, responses to bytes, one connection at a time | core |
//! | [`routes`] | which request is welcome; the page from memory | core |
//! | [`whep`] | the same for players that somebody else wrote | core |
//! | [`token`] | the secret that viewers have to know, if there is one | core |
//! | [`offer`] | an SDP offer, read for what we can answer | core |
//! | [`answer`] | the answer, with a refusal for whatever we do not send | core |
//! | [`viewer`] | one viewer: answer, gate, timers | core |
//! | [`transport`] | the way to it, found and secured by str0m's ICE and DTLS | core |
//! | [`rtp`] | its stream: packets, their protection, their repair | core |
//! | [`frame_clock`], [`limits`], `keyframes`, `schedule` | when, and how much | core |
//! | [`media`] | picture, ball, stamp; frames of each codec, and how they are cut for RTP; encoders and source for the driver | both |
//! | `driver` | the mio loop: sockets, signals, the clock | driver |
//! | `udp` | datagrams to the kernel, many with one call | driver |
//! | `host` | the host's addresses and names | driver |
//! | `flags` | the command line | driver |
//!
//! The core builds and tests without the feature `driver`, and then links neither mio nor a codec.
//!
//! [`Server::handle_input`]: server::Server::handle_input
//! [`Server::poll_output`]: server::Server::poll_output
//! [`Output::Timeout`]: server::Output::Timeout

#![deny(unsafe_code)]

#[cfg(feature = "driver")]
pub mod cli;
#[cfg(feature = "driver")]
pub mod driver;
#[cfg(feature = "driver")]
pub mod source;

pub mod http;
pub mod media;
pub mod refusal;
pub mod sdp;
pub mod server;
pub mod web;
pub mod webrtc;
