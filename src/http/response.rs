//! Responses, and their bytes.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::Context;

/// A body up to this size shares the buffer of its head, so that both leave in one packet train; a
/// larger one is not copied.
const JOINED_BODY_MAX_BYTES: usize = 16 * 1024;

/// `httpdate` ends with the year 9999. A device with a broken clock should still answer.
const LAST_DATE: Duration = Duration::from_secs(253_402_300_799);

/// Formats a date for HTTP (RFC 9110, section 5.6.7).
pub(crate) fn http_date(date: SystemTime) -> String {
    httpdate::fmt_http_date(date.clamp(UNIX_EPOCH, UNIX_EPOCH + LAST_DATE))
}

/// A response. The connection adds Date, Content-Length, Connection and the
/// [common headers](Context::common_headers).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// A final status, 200 to 599.
    pub status: u16,
    /// In the order they are sent.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// A response to HEAD needs the body of the response to GET: it is measured but not sent.
    pub body: Bytes,
    /// More of the body follows, until the connection ends.
    pub(super) streams: bool,
}

impl Response {
    /// A response without a body.
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new(), streams: false }
    }

    /// Adds a header. It replaces the common header of the same name. Control characters in `value`
    /// become spaces, so no value can end its line.
    pub fn with_header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        let mut value = value.into();
        if value.contains(char::is_control) {
            value = Cow::Owned(value.replace(char::is_control, " "));
        }
        self.headers.push((name, value));
        self
    }

    /// Sets the body and its Content-Type.
    pub fn with_body(mut self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.with_header("Content-Type", content_type)
    }

    /// Turns the body into an endless one, which
    /// [`HttpConnection::send_part`](super::HttpConnection::send_part) continues: there is no
    /// Content-Length, and the body ends with the connection.
    pub fn into_stream(mut self) -> Self {
        self.streams = true;
        self
    }

    /// All bytes of the response, for a connection that is refused before its first request.
    pub fn into_closing_bytes(self, context: &Context) -> Bytes {
        let [head, body] = self.render(context, false, true);
        if body.is_empty() { head } else { [head, body].concat().into() }
    }

    /// The bytes to send: the head with a small body, then a large body or nothing.
    pub(super) fn render(self, context: &Context, to_head: bool, close: bool) -> [Bytes; 2] {
        let mut first = self.head(context, close).into_bytes();
        if to_head || !self.may_have_body() {
            return [first.into(), Bytes::new()];
        }
        if self.body.len() <= JOINED_BODY_MAX_BYTES {
            first.extend_from_slice(&self.body);
            return [first.into(), Bytes::new()];
        }
        [first.into(), self.body]
    }

    fn head(&self, context: &Context, close: bool) -> String {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason_phrase(self.status));
        let mut add = |name: &str, value: &str| {
            for part in [name, ": ", value, "\r\n"] {
                head.push_str(part);
            }
        };
        add("Date", &http_date(context.date));
        let replaced = |name: &str| self.headers.iter().any(|(own, _)| *own == name);
        for (name, value) in context.common_headers.iter().filter(|(name, _)| !replaced(name)) {
            add(name, value);
        }
        for (name, value) in &self.headers {
            add(name, value);
        }
        if self.may_have_body() && !self.streams {
            add("Content-Length", &self.body.len().to_string());
        }
        if close {
            add("Connection", "close");
        }
        head.push_str("\r\n");
        head
    }

    /// 204 and 304 end with their head; Content-Length is forbidden in the former (RFC 9110 section
    /// 8.6), and 0 would be wrong in the latter.
    fn may_have_body(&self) -> bool {
        !matches!(self.status, 204 | 304)
    }
}

/// The reason phrase of RFC 9110 or RFC 6585, for the statuses that this server sends. Clients ignore it,
/// people read it.
pub(crate) fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        409 => "Conflict",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
