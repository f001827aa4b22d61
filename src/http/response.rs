//! From a [`Response`] to bytes, with the headers that every response carries.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::refusal::Reason;

/// A body up to this size shares the buffer of its head, so that both leave in one packet train; a
/// larger one is not copied.
const JOINED_BODY_MAX_BYTES: usize = 16 * 1024;

/// `httpdate` ends with the year 9999. A device with a broken clock should still answer.
const LAST_DATE: Duration = Duration::from_secs(253_402_300_799);

/// The page may run, show and connect to what came from here, and nothing may show it inside.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      media-src 'self' blob:; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// On every response that does not set them itself. No other site may read it.
const SECURITY_HEADERS: [(&str, &str); 4] = [
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
];

/// A date as HTTP writes it (RFC 9110, section 5.6.7).
pub fn http_date(date: SystemTime) -> String {
    httpdate::fmt_http_date(date.clamp(UNIX_EPOCH, UNIX_EPOCH + LAST_DATE))
}

/// An answer. The connection adds Date, Content-Length, Connection and the security headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// A final status, 200 to 599.
    pub status: u16,
    /// In the order they are sent.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// Give a response to HEAD, too, the body that GET gets: it is measured but not sent.
    pub body: Bytes,
    /// More of the body follows, until the connection ends.
    pub(super) streams: bool,
    /// Why the request was refused: a short, stable name to count by, reported as
    /// [`Event::Refused`](super::HttpEvent).
    pub refusal: Option<Reason>,
    /// What a refusal tells a person.
    sentence: Option<Box<str>>,
}

impl Response {
    /// A response without a body.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
            streams: false,
            refusal: None,
            sentence: None,
        }
    }

    /// A refusal as `application/problem+json` (RFC 9457): `sentence` tells a person what to do,
    /// `reason` tells a program and is counted. Guests read the sentence, so it names no option of the
    /// server; [`Reason::remedy`] does.
    pub fn problem(status: u16, reason: Reason, sentence: &str) -> Self {
        let problem = serde_json::json!({
            "type": "about:blank",
            "title": phrase(status),
            "status": status,
            "detail": sentence,
            "reason": reason.name(),
        });
        let mut response = Self::new(status)
            .with_body("application/problem+json", problem.to_string().into_bytes());
        response.refusal = Some(reason);
        response.sentence = Some(sentence.into());
        response
    }

    /// Turns a refusal into a page with its sentence, where [a person](super::Head::wants_page) reads it. Any
    /// other response stays as it is. There is nothing in the page to press, so pages of all sites may
    /// show it in a frame: whoever looks at one gets the reason, too.
    pub fn for_reader(mut self, wants_page: bool) -> Self {
        let Some(sentence) = self.sentence.take_if(|_| wants_page) else { return self };
        self.headers.retain(|(name, _)| *name != "Content-Type");
        let title = phrase(self.status);
        let sentence = sentence.replace('&', "&amp;").replace('<', "&lt;");
        let page = format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{title}</title>\n<p>{sentence}</p>\n"
        );
        self.with_body("text/html; charset=utf-8", page.into_bytes())
            .with_header("Cache-Control", "no-store")
            .framed_by("*")
    }

    /// Adds a header, in place of the one of that name that every response carries. Control characters in `value` become spaces, so no value can end its line.
    pub fn with_header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        let mut value = value.into();
        if value.contains(char::is_control) {
            value = Cow::Owned(value.replace(char::is_control, " "));
        }
        self.headers.push((name, value));
        self
    }

    /// Lets pages of these origins show this one inside (CSP 3, `frame-ancestors`).
    pub fn framed_by(self, ancestors: &str) -> Self {
        let policy = POLICY.trim_end_matches("'none'");
        self.with_header("Content-Security-Policy", format!("{policy}{ancestors}"))
    }

    /// Sets the body and its Content-Type.
    pub fn with_body(mut self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.with_header("Content-Type", content_type)
    }

    /// Makes the body one without an end, that goes on with
    /// [`Connection::send_part`](super::HttpConnection::send_part): there is no Content-Length, and the
    /// connection ends with it.
    pub fn into_stream(mut self) -> Self {
        self.streams = true;
        self
    }

    /// Says after how long to try again (RFC 9110 section 10.2.3), in seconds rounded up.
    pub fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.with_header("Retry-After", seconds.to_string())
    }

    /// The whole answer for a connection that is refused before it begins.
    pub fn into_closing_bytes(self, date: SystemTime) -> Bytes {
        let [head, body] = self.render(date, false, true);
        if body.is_empty() { head } else { [head, body].concat().into() }
    }

    /// The bytes to send: the head with a small body, then a large body or nothing.
    pub(super) fn render(self, date: SystemTime, to_head: bool, close: bool) -> [Bytes; 2] {
        let mut first = self.head(date, close).into_bytes();
        if to_head || !self.may_have_body() {
            return [first.into(), Bytes::new()];
        }
        if self.body.len() <= JOINED_BODY_MAX_BYTES {
            first.extend_from_slice(&self.body);
            return [first.into(), Bytes::new()];
        }
        [first.into(), self.body]
    }

    fn head(&self, date: SystemTime, close: bool) -> String {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, phrase(self.status));
        let mut add = |name: &str, value: &str| {
            for part in [name, ": ", value, "\r\n"] {
                head.push_str(part);
            }
        };
        add("Date", &http_date(date));
        let replaced = |name: &str| self.headers.iter().any(|(own, _)| *own == name);
        for (name, value) in SECURITY_HEADERS.iter().filter(|(name, _)| !replaced(name)) {
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

    /// 204 and 304 end with their head; Content-Length is forbidden in the one (RFC 9110 section
    /// 8.6), and 0 would be wrong in the other.
    fn may_have_body(&self) -> bool {
        !matches!(self.status, 204 | 304)
    }
}

/// The phrases of RFC 9110 and RFC 6585 for what this server sends; a client ignores them, a person
/// does not.
fn phrase(status: u16) -> &'static str {
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
