//! The stream sent to media servers, which show it to more viewers than this device can serve: WHIP
//! (RFC 9725), without I/O.
//!
//! A [`Publisher`] is what is published to one [`Target`]. It is told what has happened to its
//! connection ([`PublishEvent`]), that time has passed, and what has become of the media connection, and says
//! what it wants ([`PublisherEffect`]). It has one TCP connection at a time, for one request each; names are
//! resolved, and sockets opened, by the driver. The media connection is a viewer's
//! ([`PendingOffer`](crate::webrtc::viewer::PendingOffer)).
//!
//! ```text
//!             .------- a failure: a pause of 1 to 30 s -------.
//!             v                                               |
//!  start -> waiting -> DELETE what is left -> offer, POST -> connecting -> live
//! ```

mod backoff;
mod call;
mod problem;
mod publisher;
mod target;
mod whip;

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

pub use self::problem::{Problem, PublishCause, PublishFailure};
pub use self::publisher::{END_LIMIT, Publisher, PublisherEffect, PublisherStatus};
pub use self::target::{BearerToken, Target};

/// The most media servers that a device publishes to.
pub const MAX_TARGETS: usize = 4;
/// The most addresses of one host that are tried.
pub const MAX_ADDRESSES: usize = 8;

/// Names a media server that is published to: its place on the command line, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetId(pub usize);

/// What has happened to the one connection to a media server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishEvent<'a> {
    /// [`PublishCommand::Resolve`] is done: these addresses, the best first, at least one. Of more than
    /// [`MAX_ADDRESSES`], the first are used.
    Resolved(Vec<IpAddr>),
    /// [`PublishCommand::Connect`] is done.
    Connected,
    Received(&'a [u8]),
    /// The peer sends no more.
    Ended,
    /// The name cannot be resolved, or the connection cannot be made, or it is broken.
    Failed(PublishFailure),
}

/// What is to be done to the one connection to a media server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishCommand {
    /// Find the addresses of this host name. Answered by [`PublishEvent::Resolved`] or [`PublishEvent::Failed`].
    Resolve(String),
    /// Open a TCP connection. Answered by [`PublishEvent::Connected`] or [`PublishEvent::Failed`].
    Connect(SocketAddr),
    /// The same for an address that the media server has named, by a redirect or a Location. It fails
    /// with [`PublishCause::LeadsToThisDevice`] if the address is one of this device.
    ConnectElsewhere(SocketAddr),
    /// Send this on the connection, after what was sent before.
    Send(Bytes),
    /// Let go of the connection, or give up the one that is being made, or the name that is being
    /// resolved. No event of it comes after this.
    Close,
}
