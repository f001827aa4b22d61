//! Connections to viewers, and the RTP payloads that they are sent.

mod activity;
mod config;
mod driven_rtc;
mod effect;
mod failure;
mod learnt_addresses;
mod local_side;
mod pacing;
pub mod payload;
mod playout_delay;
mod repeats;
mod resends;
mod state;
mod statistics;
mod stream;
pub mod viewer;

use std::fmt;
use std::net::SocketAddr;

#[cfg(feature = "testing")]
pub use activity::{CONSENT, GONE_AFTER, HALF_OPEN_LIMIT, SILENT_AFTER};
pub use config::{LocalParameters, StreamNumbers, resend_packets};
pub use effect::ViewerEffect;
pub(crate) use is::stun::{StunMessage, TransId};
pub use learnt_addresses::MAX_ADDRESSES;
pub use state::{EndReason, ViewerState};
pub use statistics::{Reception, ViewerCounters};

/// Identifies a viewer. Unique for the life of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ViewerId(pub u64);

impl fmt::Display for ViewerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "viewer {}", self.0)
    }
}

/// One of our addresses, and one of the viewer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressPair {
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

/// A datagram to a viewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub contents: Vec<u8>,
}
