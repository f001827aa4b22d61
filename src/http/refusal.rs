//! Everything this layer refuses, with the status, the stable name and the sentence for each.

use std::time::Duration;

use super::Response;
use crate::refusal::Reason;

/// Why the layer itself turned a request down. Always the client's doing, and always the end of the
/// connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: u16,
    reason: Reason,
    sentence: &'static str,
}

impl Refusal {
    pub(super) fn response(self) -> Response {
        Response::problem(self.status, self.reason, self.sentence)
    }
}

/// What the server itself did not manage in time. The request was fine, and the connection stays.
pub(super) fn not_ready() -> Response {
    let sentence = "The answer was not ready within 10 seconds. Try again in a moment.";
    Response::problem(503, Reason::NotReady, sentence).retry_after(Duration::from_secs(1))
}

/// One constant a rule: why the rule is there, then status, reason and sentence.
macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $status:literal $reason:ident $sentence:literal;)*) => {
        $($(#[$doc])* pub(super) const $name: Refusal =
            Refusal { status: $status, reason: Reason::$reason, sentence: $sentence };)*
    };
}

refusals! {
    /// RFC 9112 section 2.2 lets a server accept it; two parsers that differ on it are a smuggling
    /// hole.
    BARE_LF = 400 BareLf
        "End each line of the head with CR LF, not with LF alone.";
    /// RFC 9112 section 2.2: invalid.
    BARE_CR = 400 BareCr
        "Use CR in the head only as part of a CR LF line end.";
    /// RFC 9110 section 5.5: NUL is dangerous, the others are invalid. TLS ends here, too.
    CONTROL_CHARACTER = 400 ControlCharacter
        "Send plain HTTP (not TLS) without control characters in the head.";
    /// RFC 9112 section 3: three parts, single spaces.
    REQUEST_LINE = 400 RequestLine
        "Start the request with `METHOD target HTTP/1.1`, separated by single spaces.";
    /// RFC 9112 section 3.2: origin-form, absolute-form, or `*` for OPTIONS.
    TARGET = 400 Target
        "Use a path from `/` or an `http://` address, in visible ASCII and without a `#` part.";
    /// RFC 9112 sections 2.2 and 5.2.
    LINE_FOLDED = 400 LineFolded
        "Put each header on one line: a header line must not begin with a space or a tab.";
    /// RFC 9112 section 5.1.
    HEADER_MALFORMED = 400 HeaderMalformed
        "Write each header as `Name: value`, with no space before the colon.";
    /// RFC 9110 section 8.6.
    LENGTH_MALFORMED = 400 LengthMalformed
        "Send Content-Length once, as decimal digits only.";
    /// RFC 9112 section 6.1.
    LENGTH_AND_CODING = 400 LengthAndCoding
        "Send Content-Length without Transfer-Encoding: both together are ambiguous.";
    /// RFC 9112 section 6.3: without a final `chunked` the body has no end that can be relied on. A
    /// coding beside it is as little understood, and what to do about it is the same.
    CODING_UNKNOWN = 400 CodingUnknown
        "Send the body unencoded, with Content-Length and without Transfer-Encoding.";
    /// RFC 9112 section 3.2. Asked of HTTP/1.0 too: who the client believes we are is what guards
    /// against DNS rebinding.
    HOST_MISSING = 400 HostMissing
        "Send a Host header with this server's name.";
    /// RFC 9112 section 3.2; two Host lines are one malformed list.
    HOST_MALFORMED = 400 HostMalformed
        "Send one Host header with a host name or address, and a port if there is one.";
    /// RFC 9112 section 8.
    INCOMPLETE = 400 Incomplete
        "Send the whole request before closing the connection.";
    /// RFC 9110 section 15.5.9.
    HEAD_LATE = 408 HeadLate
        "Send the request again, with its whole head within 5 seconds.";
    /// RFC 9110 section 15.5.9.
    BODY_LATE = 408 BodyLate
        "Send the request again, with its whole body within 5 seconds of the head.";
    /// RFC 9110 section 15.5.12.
    LENGTH_MISSING = 411 LengthMissing
        "State the length of the body with Content-Length.";
    /// RFC 9112 section 6.3 lets a server answer 411 instead of decoding.
    CHUNKED = 411 Chunked
        "Send the body with Content-Length: this server does not accept chunked bodies.";
    /// RFC 9110 section 15.5.14.
    BODY_TOO_LARGE = 413 BodyTooLarge
        "Send at most 65536 bytes of body.";
    /// RFC 9110 section 15.5.15.
    TARGET_TOO_LONG = 414 TargetTooLong
        "Use a target of at most 8192 bytes.";
    /// RFC 9110 section 10.1.1.
    EXPECTATION = 417 Expectation
        "Leave out the Expect header, or send `Expect: 100-continue`.";
    /// RFC 6585 section 5.
    HEADERS_TOO_MANY = 431 HeadersTooMany
        "Send at most 64 header lines.";
    /// RFC 6585 section 5.
    HEADERS_TOO_LARGE = 431 HeadersTooLarge
        "Send at most 16384 bytes of headers; clearing this site's cookies may help.";
    /// RFC 9110 section 9.1. CONNECT and TRACE too: no target here has a tunnel or an echo.
    METHOD_UNKNOWN = 501 MethodUnknown
        "Use one of GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS, in capital letters.";
    /// RFC 9110 section 15.6.6.
    VERSION = 505 Version
        "Use HTTP/1.1.";
}
