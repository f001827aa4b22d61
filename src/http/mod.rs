//! HTTP/1.1 without I/O: bytes in, requests out; responses in, bytes out. [`client`] is the other side,
//! for publishing: a request to bytes, bytes to a response.
//!
//! # The server's side
//!
//! A [`HttpConnection`] is the server's end of one TCP connection. It never touches a socket or a
//! clock:
//!
//! 1. Tell it one fact: [`receive`], [`half_closed`], [`flushed`], [`handle_timeout`] or
//!    [`shutdown`].
//! 2. Drain it: call [`poll`] until it returns `None`, [`judge`] each [`HttpEvent::Head`] and [`respond`]
//!    to each [`HttpEvent::Error`] that has a status at once, and [`respond`] to each
//!    [`HttpEvent::Request`], at once or as a later fact.
//! 3. Sleep until [`poll_timeout`], or until there is another fact.
//!
//! It accepts RFC 9112 to the letter, because every tolerance is a place where two parsers can disagree
//! about the end of a request. `httparse` splits the header lines; this module checks what `httparse`
//! accepts (a bare LF, bytes from 0x80 in a target) or does not know (Host, Content-Length,
//! Transfer-Encoding). Everything else is an [`HttpError`], which ends the connection, and nothing after
//! it is parsed: once framing is in doubt, so is every later byte.
//!
//! Pipelined requests are served one at a time: the next one is parsed when the kernel has taken the
//! answer to the last ([`flushed`]). So the driver decides how many it serves before it turns to other
//! sockets. While a connection [takes no bytes](HttpConnection::takes_bytes), they stay in the kernel.
//!
//! The events depend on the bytes, not on how the network cut them: while the peer takes its answers, a
//! stream yields the same events in one piece and byte by byte. There is one exception, which RFC 9110
//! section 10.1.1 allows: there is no `100 Continue` if some of the body came with the head.
//!
//! A response is complete, or a [stream](Response::into_stream): an endless body, whose next part is sent
//! when the peer has taken the last ([`takes_part`], [`send_part`]).
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
//! It follows no redirect and keeps no connection; [`Url::join`] resolves a Location. There is no TLS on
//! either side.
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
mod error;
mod head;
mod headers;
mod input;
mod phase;
mod response;
mod token;
mod url;

use std::time::Duration;

pub use authority::Authority;
pub use connection::{Context, HttpConnection, HttpEvent, Request, Verdict};
pub use error::HttpError;
pub use head::{Head, Method};
pub(crate) use headers::WHITE_SPACE;
pub use response::Response;
pub(crate) use response::{http_date, reason_phrase};
pub(crate) use token::is_b64token;
pub use url::{Url, UrlError};

/// The longest request target. RFC 9112 section 3 recommends room for 8000 bytes.
pub const TARGET_MAX_BYTES: usize = 8 * 1024;
/// The longest request line: a target, a method, a version, and some room, so that the error can name what
/// is wrong.
pub const REQUEST_LINE_MAX_BYTES: usize = TARGET_MAX_BYTES + 64;
/// All header lines together, with their line ends and the empty line after them. Browsers send about
/// 1 KiB, and the cookies of other ports.
pub const HEADERS_MAX_BYTES: usize = 16 * 1024;
/// Header lines in one request or response. Browsers send about 20.
pub const HEADERS_MAX: usize = 64;
/// Empty lines before a request line. Some clients send one after a body (RFC 9112 section 2.2).
pub const BLANK_LINES_MAX: usize = 4;
/// The largest body of a request, or of a response to one of ours. An offer or an answer is 2 to 10 KiB.
pub const BODY_MAX_BYTES: usize = 64 * 1024;
/// The largest body of a rejected request that is discarded to keep the connection: a usual offer, and
/// some room.
pub const DISCARD_MAX_BYTES: usize = 16 * 1024;
/// The most that is buffered while parsing is paused: more than the largest request, so that neither an
/// honest client nor a driver that leaves bytes in the kernel reaches it.
pub const INPUT_MAX_BYTES: usize = 128 * 1024;
/// The most that is discarded after the last answer. It costs no memory; unread bytes would make the kernel
/// reset the connection and the answer get lost.
pub const LINGER_MAX_BYTES: usize = 1024 * 1024;

/// From the first byte of a head to its end. A head is one packet on a LAN; the time is for a client that
/// is put to sleep.
pub const HEAD_TIME: Duration = Duration::from_secs(5);
/// From the end of the head to the end of the body.
pub const BODY_TIME: Duration = Duration::from_secs(5);
/// Without a request: longer than from the page to its offer, shorter than what hoards sockets.
pub const IDLE_TIME: Duration = Duration::from_secs(15);
/// From the first unsent byte until the kernel has taken all. The largest asset crosses a poor
/// Wi-Fi in less.
pub const ANSWER_TIME: Duration = Duration::from_secs(10);
/// From a request to an answer that is not made at once, and from one part of a stream to the next. A
/// source that wakes up needs a second or two.
pub const RESPOND_TIME: Duration = Duration::from_secs(10);
/// From when the peer has taken the last answer until the socket is dropped, if the peer does not close.
pub const LINGER_TIME: Duration = Duration::from_secs(2);
