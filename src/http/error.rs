//! What can be wrong with a request, or with the way a peer uses its connection.

/// One row per error: its source, then variant, stable name and status.
macro_rules! errors {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $status:expr;)*) => {
        /// Why [`HttpConnection`](super::HttpConnection) rejects a request or ends a connection. Every
        /// error but [`NotReady`](Self::NotReady) is the peer's fault and ends the connection: once
        /// framing is in doubt, so is every later byte.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum HttpError {
            $($(#[$doc])* $variant,)*
        }

        impl HttpError {
            #[cfg(feature = "testing")]
            pub const ALL: &[HttpError] = &[$(HttpError::$variant,)*];

            /// A short, stable name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(HttpError::$variant => $name,)*
                }
            }

            /// The status of the answer, or `None` if the connection ends without one.
            pub const fn status(self) -> Option<u16> {
                match self {
                    $(HttpError::$variant => $status,)*
                }
            }
        }
    };
}

errors! {
    /// RFC 9112 section 2.2 lets a server accept it; two parsers that differ on it are a smuggling
    /// hole.
    BareLf = "bare-lf", Some(400);
    /// RFC 9112 section 2.2: invalid.
    BareCr = "bare-cr", Some(400);
    /// RFC 9110 section 5.5: NUL is dangerous, the others are invalid. A TLS ClientHello fails here, too.
    ControlCharacter = "control-character", Some(400);
    /// RFC 9112 section 3: three parts, single spaces.
    RequestLine = "request-line", Some(400);
    /// RFC 9112 section 3.2: origin-form, absolute-form, or `*` for OPTIONS.
    Target = "target", Some(400);
    /// RFC 9112 sections 2.2 and 5.2.
    LineFolded = "line-folded", Some(400);
    /// RFC 9112 section 5.1.
    HeaderMalformed = "header-malformed", Some(400);
    /// RFC 9110 section 8.6.
    LengthMalformed = "length-malformed", Some(400);
    /// RFC 9112 section 6.1.
    LengthAndCoding = "length-and-coding", Some(400);
    /// RFC 9112 section 6.3: without a final `chunked` the body has no reliable end. A list of codings is
    /// not decoded either.
    CodingUnknown = "coding-unknown", Some(400);
    /// RFC 9112 section 3.2. Required of HTTP/1.0 too: the check of the host protects against DNS
    /// rebinding.
    HostMissing = "host-missing", Some(400);
    /// RFC 9112 section 3.2; two Host lines are one malformed list.
    HostMalformed = "host-malformed", Some(400);
    /// RFC 9112 section 8.
    Incomplete = "incomplete", Some(400);
    /// No complete head within [`HEAD_TIME`](super::HEAD_TIME) (RFC 9110 section 15.5.9).
    HeadLate = "head-late", Some(408);
    /// No complete body within [`BODY_TIME`](super::BODY_TIME) (RFC 9110 section 15.5.9).
    BodyLate = "body-late", Some(408);
    /// RFC 9110 section 15.5.12.
    LengthMissing = "length-missing", Some(411);
    /// RFC 9112 section 6.3 lets a server answer 411 instead of decoding.
    Chunked = "chunked", Some(411);
    /// More than [`BODY_MAX_BYTES`](super::BODY_MAX_BYTES) (RFC 9110 section 15.5.14).
    BodyTooLarge = "body-too-large", Some(413);
    /// More than [`TARGET_MAX_BYTES`](super::TARGET_MAX_BYTES) (RFC 9110 section 15.5.15).
    TargetTooLong = "target-too-long", Some(414);
    /// RFC 9110 section 10.1.1.
    Expectation = "expectation", Some(417);
    /// More than [`HEADERS_MAX`](super::HEADERS_MAX) lines (RFC 6585 section 5).
    HeadersTooMany = "headers-too-many", Some(431);
    /// More than [`HEADERS_MAX_BYTES`](super::HEADERS_MAX_BYTES) (RFC 6585 section 5).
    HeadersTooLarge = "headers-too-large", Some(431);
    /// RFC 9110 section 9.1. CONNECT and TRACE too: no resource here is a tunnel or an echo.
    MethodUnknown = "method-unknown", Some(501);
    /// RFC 9110 section 15.6.6.
    Version = "version", Some(505);
    /// The peer did not read an answer within [`ANSWER_TIME`](super::ANSWER_TIME).
    AnswerLate = "answer-late", None;
    /// The peer sent more than [`INPUT_MAX_BYTES`](super::INPUT_MAX_BYTES) while parsing was paused.
    InputOverflow = "input-overflow", None;
    /// The server had no answer within [`RESPOND_TIME`](super::RESPOND_TIME). The request was fine, and the
    /// connection stays open.
    NotReady = "not-ready", Some(503);
}
