//! Publishes the stream to media servers, which show it to more viewers than this device can serve: WHIP
//! (RFC 9725), without I/O.
//!
//! A [`Publisher`] publishes to one [`Target`]. Its owner reports what happens to its connection
//! ([`PublishEvent`]), to the media connection and to the time, and carries out its [`PublisherEffect`]s. It has one
//! TCP connection at a time, each for one request; the driver resolves names and opens sockets. The media
//! connection is that of a viewer ([`PendingOffer`](crate::webrtc::viewer::PendingOffer)).
//!
//! ```text
//!             .------- a failure: a pause of 1 to 30 s -------.
//!             v                                               |
//!  start -> waiting -> DELETE what is left -> offer, POST -> connecting -> live
//! ```

mod call;
mod pauses;
mod problem;
mod publisher;
mod target;
mod whip;

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

pub use self::problem::{Problem, PublishCause, PublishFailure};
pub use self::publisher::{END_LIMIT, Publisher, PublisherEffect, PublisherStatus};
pub use self::target::{BearerToken, Target};

/// The most media servers that one device publishes to.
pub const MAX_TARGETS: usize = 4;
/// The addresses of one host that are tried, at most.
pub const MAX_ADDRESSES: usize = 8;

/// Identifies a media server: its place on the command line, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetId(pub usize);

/// What happens to the connection to a media server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishEvent<'a> {
    /// The answer to [`PublishCommand::Resolve`]: at least one address, the best first. The first
    /// [`MAX_ADDRESSES`] are used.
    Resolved(Vec<IpAddr>),
    /// The answer to [`PublishCommand::Connect`].
    Connected,
    Received(&'a [u8]),
    /// The peer sends no more.
    Ended,
    /// The name cannot be resolved, or the connection cannot be made or is broken.
    Failed(PublishFailure),
}

/// What the driver does with the connection to a media server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishCommand {
    /// Resolve this host name. Answered by [`PublishEvent::Resolved`] or [`PublishEvent::Failed`].
    Resolve(String),
    /// Open a TCP connection. Answered by [`PublishEvent::Connected`] or [`PublishEvent::Failed`].
    Connect(SocketAddr),
    /// Open a TCP connection to an address that the media server has named, by a redirect or a Location.
    /// Fails with [`PublishCause::LeadsToThisDevice`] if the address is one of this device.
    ConnectElsewhere(SocketAddr),
    /// Send these bytes on the connection, after those before.
    Send(Bytes),
    /// Close the connection, or cancel the attempt to connect or to resolve. No event of it follows.
    Close,
}
