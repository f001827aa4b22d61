//! The state of a viewer, and why it has ended.

use std::fmt;

/// Why a viewer has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndReason {
    /// A DTLS close_notify arrived, a player deleted its session, or its page reconnected.
    PeerClosed,
    ConnectTimeout,
    /// It did not connect, and has no ECDSA certificate for DTLS.
    Certificate,
    /// Nothing authentic came from it for [`GONE_AFTER`](super::activity::GONE_AFTER).
    Silent,
    /// DTLS failed: the peer sent a fatal alert, or its certificate did not match its fingerprint.
    Failed,
    /// It was half-open when another viewer needed its place.
    Displaced,
    /// The source turned out to use a codec that the viewer did not offer.
    NoCodec,
    /// str0m panicked on something that this viewer sent.
    Panicked,
    /// The server shut down.
    Shutdown,
}

impl EndReason {
    /// The name in the statistics.
    pub fn name(self) -> &'static str {
        match self {
            EndReason::PeerClosed => "peer-closed",
            EndReason::ConnectTimeout => "connect-timeout",
            EndReason::Certificate => "certificate",
            EndReason::Silent => "silent",
            EndReason::Failed => "failed",
            EndReason::Displaced => "displaced",
            EndReason::NoCodec => "no-codec",
            EndReason::Panicked => "panicked",
            EndReason::Shutdown => "shutdown",
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EndReason::PeerClosed => "the peer closed the connection",
            EndReason::ConnectTimeout => "it never connected",
            EndReason::Certificate => {
                "its DTLS certificate is RSA, as in GStreamer, or missing, and only ECDSA works here"
            }
            EndReason::Silent => "it stopped sending authenticated messages",
            EndReason::Failed => "the connection failed",
            EndReason::Displaced => "it had not connected when another viewer needed its place",
            EndReason::NoCodec => "the stream is H.264, which it does not offer",
            EndReason::Panicked => "its connection panicked on something that it sent",
            EndReason::Shutdown => "the server shut down",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewerState {
    HalfOpen,
    Live,
    Silent,
    Ended(EndReason),
}

impl ViewerState {
    /// The name in the statistics.
    pub fn name(self) -> &'static str {
        match self {
            ViewerState::HalfOpen => "half-open",
            ViewerState::Live => "live",
            ViewerState::Silent => "silent",
            ViewerState::Ended(_) => "ended",
        }
    }

    pub fn end_reason(self) -> Option<EndReason> {
        match self {
            ViewerState::Ended(reason) => Some(reason),
            _ => None,
        }
    }
}
