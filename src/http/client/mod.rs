//! The client's side: one request and its response, on one TCP connection of its own.
//!
//! The caller connects, sends [`ClientRequest::to_bytes`], and tells an [`Exchange`] what comes back and
//! what time it is, until [`Exchange::poll_timeout`] is `None`: then there is an outcome, and the
//! connection can be dropped.
//!
//! Responses are read as strictly as the server's side reads requests: a line ends with CR LF, and folded
//! lines and every ambiguity about the end of the body are errors. The outcome depends on the bytes, not
//! on how they were cut. What follows the end of the response is ignored.

mod body;
mod head;

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;

use self::body::BodyReader;
use self::head::LineReader;
use super::{BODY_MAX_BYTES, HEADERS_MAX, Method, Url};

pub use self::head::ResponseHead;

/// A status line with all header lines, their line ends and the empty line after them; or all trailers.
/// Media servers send less than 1 KiB.
pub const RESPONSE_HEAD_MAX_BYTES: usize = 16 * 1024;
/// Interim responses before the final one. Servers send one or none.
pub const INTERIM_MAX: usize = 8;
/// The line with the size of a chunk, with its line end: up to 16 digits, and extensions, which no media
/// server sends.
pub const CHUNK_LINE_MAX_BYTES: usize = 256;

/// From the request to the end of the response's head. A media server that starts a path, or asks another
/// server for permission, takes a second or two.
pub const RESPONSE_HEAD_TIME: Duration = Duration::from_secs(10);
/// From the end of the head to the end of the body.
pub const RESPONSE_BODY_TIME: Duration = Duration::from_secs(5);

/// A request with any method but HEAD, whose response an [`Exchange`] would misread.
#[derive(Clone, Copy, Debug)]
pub struct ClientRequest<'a> {
    pub method: Method,
    pub url: &'a Url,
    /// Beside Host, User-Agent, Connection and Content-Length, in the order they are sent. Control
    /// characters in values become spaces, so no value can end its line.
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
}

/// From a request to the outcome. See the [module](self) for the contract.
#[derive(Debug)]
pub struct Exchange {
    phase: ExchangePhase,
    deadline: Instant,
    head: Option<ResponseHead>,
    outcome: Option<Result<ClientResponse, ExchangeError>>,
}

/// One complete final response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientResponse {
    pub head: ResponseHead,
    /// At most [`BODY_MAX_BYTES`], free of chunks.
    pub body: Vec<u8>,
}

/// Why there is no complete response: the fault of the peer or of the network. Displays as a clause that
/// follows "the media server".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeError {
    /// No final head within [`RESPONSE_HEAD_TIME`].
    HeadLate,
    /// No end of the body within [`RESPONSE_BODY_TIME`] after the head.
    BodyLate,
    /// The connection ended before the response did (RFC 9112 section 8).
    Closed,
    /// Not a head or trailers of RFC 9112 sections 4 and 5.
    NotHttp,
    /// Status 101, without an Upgrade in the request (RFC 9110 section 15.2.2).
    SwitchesProtocols,
    /// More than [`INTERIM_MAX`].
    InterimTooMany,
    /// A head, or trailers, of more than [`RESPONSE_HEAD_MAX_BYTES`].
    HeadTooLarge,
    /// More than [`HEADERS_MAX`] header lines or trailers.
    HeadersTooMany,
    /// More than [`BODY_MAX_BYTES`].
    BodyTooLarge,
    /// Content-Length is not one decimal number (RFC 9112 section 6.3).
    LengthMalformed,
    /// Both together are ambiguous (RFC 9112 section 6.3).
    LengthAndCoding,
    /// A transfer coding other than chunked alone, or any in HTTP/1.0 (RFC 9112 section 6.1).
    CodingUnknown,
    /// Not chunks of RFC 9112 section 7.1, or a line of more than [`CHUNK_LINE_MAX_BYTES`].
    Chunks,
}

#[derive(Debug)]
enum ExchangePhase {
    Head { lines: LineReader, interim_count: usize },
    Body(BodyReader),
    Over,
}

impl ClientRequest<'_> {
    /// The bytes of the request, for a connection of its own.
    pub fn to_bytes(self) -> Bytes {
        debug_assert!(self.method != Method::Head, "a response without the body that it announces");
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method.as_str(), self.url.target);
        let mut add = |name: &str, value: &str| {
            let value = value.replace(char::is_control, " ");
            for part in [name, ": ", &value, "\r\n"] {
                head.push_str(part);
            }
        };
        add("Host", &self.url.authority.to_string());
        add("User-Agent", concat!("ballcast/", env!("CARGO_PKG_VERSION")));
        add("Connection", "close");
        for (name, value) in self.headers {
            add(name, value);
        }
        // RFC 9110 section 8.6.
        let may_have_body = matches!(self.method, Method::Post | Method::Put | Method::Patch);
        if may_have_body || !self.body.is_empty() {
            add("Content-Length", &self.body.len().to_string());
        }
        head.push_str("\r\n");
        [head.as_bytes(), self.body].concat().into()
    }
}

impl Exchange {
    /// The request is sent at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            phase: ExchangePhase::Head { lines: LineReader::for_head(), interim_count: 0 },
            deadline: now + RESPONSE_HEAD_TIME,
            head: None,
            outcome: None,
        }
    }

    /// The peer sent `bytes`. Ignored after the outcome.
    pub fn receive(&mut self, now: Instant, bytes: &[u8]) {
        match self.read(now, bytes) {
            Ok(Some(body)) => self.finish(body),
            Ok(None) => {}
            Err(error) => self.fail(error),
        }
    }

    /// The peer sends no more, or the connection is gone. Ignored after the outcome.
    pub fn closed(&mut self) {
        match &mut self.phase {
            ExchangePhase::Over => {}
            ExchangePhase::Head { .. } => self.fail(ExchangeError::Closed),
            ExchangePhase::Body(reader) => match reader.take_body_at_close() {
                Some(body) => self.finish(body),
                None => self.fail(ExchangeError::Closed),
            },
        }
    }

    /// Time has passed; harmless when nothing is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now < self.deadline {
            return;
        }
        match self.phase {
            ExchangePhase::Over => {}
            ExchangePhase::Head { .. } => self.fail(ExchangeError::HeadLate),
            ExchangePhase::Body(_) => self.fail(ExchangeError::BodyLate),
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` after the outcome.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!matches!(self.phase, ExchangePhase::Over)).then_some(self.deadline)
    }

    /// The final response's head, as soon as it is complete, and whether or not the body is usable: a
    /// resource that was created has to be deleted even if its answer is not.
    pub fn head(&self) -> Option<&ResponseHead> {
        self.head.as_ref()
    }

    /// Takes the outcome, once there is one.
    pub fn take_outcome(&mut self) -> Option<Result<ClientResponse, ExchangeError>> {
        self.outcome.take()
    }

    /// Returns the body once it is whole.
    fn read(&mut self, now: Instant, mut bytes: &[u8]) -> Result<Option<Vec<u8>>, ExchangeError> {
        while let ExchangePhase::Head { lines, interim_count } = &mut self.phase {
            let Some(rest) = lines.read(bytes)? else {
                return Ok(None);
            };
            bytes = rest;
            let head = ResponseHead::parse(lines.lines())?;
            match head.status {
                101 => return Err(ExchangeError::SwitchesProtocols),
                100..200 if *interim_count == INTERIM_MAX => {
                    return Err(ExchangeError::InterimTooMany);
                }
                100..200 => {
                    *interim_count += 1;
                    *lines = LineReader::for_head();
                }
                _ => {
                    let head = self.head.insert(head);
                    self.phase = ExchangePhase::Body(BodyReader::new(head)?);
                    self.deadline = now + RESPONSE_BODY_TIME;
                }
            }
        }
        match &mut self.phase {
            ExchangePhase::Body(reader) => reader.read(bytes),
            _ => Ok(None),
        }
    }

    fn finish(&mut self, body: Vec<u8>) {
        self.phase = ExchangePhase::Over;
        self.outcome = self.head.clone().map(|head| Ok(ClientResponse { head, body }));
    }

    fn fail(&mut self, error: ExchangeError) {
        self.phase = ExchangePhase::Over;
        self.outcome = Some(Err(error));
    }
}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeadLate => {
                write!(f, "does not answer within {} s", RESPONSE_HEAD_TIME.as_secs())
            }
            Self::BodyLate => {
                let seconds = RESPONSE_BODY_TIME.as_secs();
                write!(f, "starts a response and does not finish it within {seconds} s")
            }
            Self::Closed => f.write_str("closes the connection before its response is complete"),
            Self::NotHttp => f.write_str("sends something other than HTTP/1.0 or HTTP/1.1"),
            Self::SwitchesProtocols => f.write_str("switches to a protocol that is not HTTP/1.1"),
            Self::InterimTooMany => write!(f, "sends more than {INTERIM_MAX} interim answers"),
            Self::HeadTooLarge => {
                write!(f, "sends more than {RESPONSE_HEAD_MAX_BYTES} bytes of headers")
            }
            Self::HeadersTooMany => write!(f, "sends more than {HEADERS_MAX} headers"),
            Self::BodyTooLarge => write!(f, "sends a body of more than {BODY_MAX_BYTES} bytes"),
            Self::LengthMalformed => f.write_str("sends a Content-Length that is not one number"),
            Self::LengthAndCoding => f.write_str("sends both Content-Length and Transfer-Encoding"),
            Self::CodingUnknown => {
                f.write_str("sends its response in a transfer coding other than chunked")
            }
            Self::Chunks => f.write_str("sends malformed chunks"),
        }
    }
}

impl std::error::Error for ExchangeError {}
