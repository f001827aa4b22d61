//! HTTP/1.1 without I/O: bytes in, requests out; responses in, bytes out. And, for publishing, the
//! other side: a request to bytes, bytes to a response.
//!
//! # The server's side
//!
//! A [`HttpConnection`] is the server's end of one TCP connection. It never touches a socket or a
//! clock:
//!
//! 1. Tell it one fact: [`receive`], [`half_closed`], [`flushed`], [`handle_timeout`] or
//!    [`shutdown`].
//! 2. Drain it: call [`poll`] until it returns `None`, [`judge`] each [`HttpEvent::Head`] at once, and
//!    [`respond`] to each [`HttpEvent::Request`], at once or as a later fact.
//! 3. Sleep until [`poll_timeout`], or until there is another fact.
//!
//! What it accepts is RFC 9112 to the letter, because every tolerance is a place where two parsers
//! can disagree about where a request ends. `httparse` splits the header lines; what `httparse`
//! lets pass (a bare LF, bytes from 0x80 in a target) and what it does not know (Host,
//! Content-Length, Transfer-Encoding) is judged here. Each refusal is a problem document (RFC 9457)
//! whose `detail` says what to do and whose `reason` is a short, stable name. A refusal by this
//! layer ends the connection, and nothing after it is parsed: once framing is in doubt, so is every
//! later byte.
//!
//! Requests that come together are served one at a time: the next is parsed when the kernel has taken
//! the answer to the last ([`flushed`]). So the driver decides how many it serves before it turns to
//! other sockets. While a connection [takes no bytes](HttpConnection::takes_bytes), they stay in the kernel.
//!
//! The bytes decide, not how the network cut them: while the peer takes its answers, a stream
//! yields the same events in one piece and byte by byte. There is one exception, which RFC 9110
//! section 10.1.1 allows: `100 Continue` is left out when some of the body came with the head.
//!
//! An answer is whole, or a [stream](Response::into_stream): a body without an end, of which a part
//! is given whenever the peer has taken the last ([`takes_part`], [`send_part`]).
//!
//! # The client's side
//!
//! A [`client::Exchange`] is one request to a [`Url`] and its response, on a TCP connection that
//! serves nothing else:
//!
//! 1. Connect, send [`client::ClientRequest::to_bytes`], and make an [`Exchange`](client::Exchange) at that
//!    time.
//! 2. Tell it one fact: [`receive`](client::Exchange::receive), [`closed`](client::Exchange::closed)
//!    or [`handle_timeout`](client::Exchange::handle_timeout).
//! 3. Sleep until its [`poll_timeout`](client::Exchange::poll_timeout), or until there is another
//!    fact. Once that is `None`, take the [outcome](client::Exchange::take_outcome) and drop the
//!    connection.
//!
//! It follows no redirect and keeps no connection; [`Url::join`] says where a Location points. There
//! is no TLS on either side.
//!
//! [`receive`]: HttpConnection::receive
//! [`half_closed`]: HttpConnection::half_closed
//! [`flushed`]: HttpConnection::flushed
//! [`handle_timeout`]: HttpConnection::handle_timeout
//! [`shutdown`]: HttpConnection::shutdown
//! [`poll`]: HttpConnection::poll
//! [`judge`]: HttpConnection::judge
//! [`poll_timeout`]: HttpConnection::poll_timeout
//! [`respond`]: HttpConnection::respond
//! [`takes_part`]: HttpConnection::takes_part
//! [`send_part`]: HttpConnection::send_part

mod authority;
pub mod client;
mod connection;
mod head;
mod headers;
mod input;
mod phase;
mod refusal;
mod response;
mod url;

use std::time::Duration;

pub use authority::Authority;
pub use connection::{Context, HttpConnection, HttpEvent, Request, Verdict};
pub use head::{Head, Method};
pub use headers::WHITE_SPACE;
pub use response::{Response, http_date};
pub use url::{Url, UrlError};

/// The longest request target. RFC 9112 section 3 recommends room for 8000 bytes.
pub const TARGET_MAX_BYTES: usize = 8 * 1024;
/// The longest request line: a target, a method, a version, and a little room to see what is wrong
/// with it.
pub const REQUEST_LINE_MAX_BYTES: usize = TARGET_MAX_BYTES + 64;
/// All header lines together, with their line ends and the empty line that ends them. Browsers send about 1 KiB; cookies of other
/// ports come on top.
pub const HEADERS_MAX_BYTES: usize = 16 * 1024;
/// Header lines in one request or response. Browsers send about 20.
pub const HEADERS_MAX: usize = 64;
/// Empty lines before a request line. Some clients end a body with one that does not belong to it
/// (RFC 9112 section 2.2).
pub const BLANK_LINES_MAX: usize = 4;
/// The largest body of a request, or of a response to one of ours. An offer or an answer is 2 to 10 KiB.
pub const BODY_MAX_BYTES: usize = 64 * 1024;
/// The largest unwanted body that is read and thrown away to keep the connection: a usual offer,
/// and some room.
pub const DISCARD_MAX_BYTES: usize = 16 * 1024;
/// What may wait while parsing is paused: more than the largest request, so that an honest client
/// never meets it, and a driver that leaves bytes in the kernel neither.
pub const INPUT_MAX_BYTES: usize = 128 * 1024;
/// What is read and thrown away after the last answer. It costs no memory, and without it the
/// answer is lost to a reset.
pub const LINGER_MAX_BYTES: usize = 1024 * 1024;

/// From the first byte of a head to its end. One packet on a LAN; the rest is for a client that was
/// put to sleep.
pub const HEAD_TIME: Duration = Duration::from_secs(5);
/// From the end of the head to the end of the body.
pub const BODY_TIME: Duration = Duration::from_secs(5);
/// Without a request. Above the pause between page and offer, below what hoards sockets.
pub const IDLE_TIME: Duration = Duration::from_secs(15);
/// From the first unsent byte until the kernel has taken all. The largest asset crosses a poor
/// Wi-Fi in less.
pub const ANSWER_TIME: Duration = Duration::from_secs(10);
/// From a request to its answer, where that is not made at once, and from one part of a stream to the
/// next. A source that wakes up needs a second or two.
pub const RESPOND_TIME: Duration = Duration::from_secs(10);
/// From the last answer taken until the socket goes, when the peer does not close.
pub const LINGER_TIME: Duration = Duration::from_secs(2);
