//! Parses the bytes of a head to a [`Head`]: every rule on how a request must be written.

use super::headers::{self, Headers, HeadersError};
use super::{Authority, BLANK_LINES_MAX, BODY_MAX_BYTES, HEADERS_MAX_BYTES, HttpError};
use super::{REQUEST_LINE_MAX_BYTES, TARGET_MAX_BYTES};

/// A request's head. One that exists is well-formed, names its host, and has a body of known, bounded
/// length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub method: Method,
    /// The target's path, still percent-encoded; `*` for `OPTIONS *`. Compare it, never decode it to a
    /// file name.
    pub path: String,
    /// What follows the first `?` of the target.
    pub query: Option<String>,
    /// The authority of an absolute target, else of the Host header (RFC 9112 section 3.3).
    pub host: Authority,
    /// The body's length, 0 to [`BODY_MAX_BYTES`].
    pub content_length: usize,
    /// The client waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
    /// The connection ends with the answer.
    pub(super) closes: bool,
    headers: Headers,
}

/// The methods this server knows; any other is rejected with 501. Names are case-sensitive (RFC 9110
/// section 9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

impl Head {
    /// Finds a header by name, in any case. The value is visible ASCII, with spaces and tabs inside, and
    /// obs-text read as Latin-1.
    ///
    /// Several lines of one name are one list joined by `", "` (RFC 9110 section 5.3). A header that must
    /// be single is thus malformed when doubled, and a second line cannot undo what a check of the first
    /// has passed.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.find(name)
    }

    /// Whether Content-Type names this media type, whatever its parameters.
    pub fn has_media_type(&self, media_type: &str) -> bool {
        self.headers.have_media_type(media_type)
    }

    /// Whether Accept names this media type itself, and not with a weight of 0 (RFC 9110 section 12.5.1).
    pub fn accepts(&self, media_type: &str) -> bool {
        self.headers.accept(media_type)
    }

    fn new(line: RequestLine, headers: Headers) -> Result<Self, HttpError> {
        let content_length = content_length(&line, &headers)?;
        let host = headers.find("host").ok_or(HttpError::HostMissing)?;
        let host = Authority::parse(host).ok_or(HttpError::HostMalformed)?;
        let expects_continue = expects_continue(&line, &headers)?;
        let closes = line.is_http_1_0 || headers.lists("connection", "close");
        let RequestTarget { path, query, authority } = line.target;
        let host = authority.unwrap_or(host);
        Ok(Self {
            method: line.method,
            path,
            query,
            host,
            content_length,
            expects_continue,
            closes,
            headers,
        })
    }
}

impl Method {
    /// For an Allow header about the server as a whole.
    pub const ALL_NAMES: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }

    /// Whether the method only reads (RFC 9110 section 9.2.1).
    pub fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options)
    }

    fn parse(name: &[u8]) -> Option<Self> {
        use Method::*;
        let all = [Get, Head, Post, Put, Patch, Delete, Options];
        all.into_iter().find(|method| method.as_str().as_bytes() == name)
    }
}

/// Reads one head as its bytes arrive.
///
/// It looks at each byte once and in order, and the first wrong one decides: it does not matter how the
/// bytes are cut, and sending them one by one costs no more than sending them at once.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    scanned: usize,
    line_start: usize,
    headers_start: usize,
    blank_lines: usize,
    request_line: Option<RequestLine>,
}

impl HeadReader {
    /// Reads what is new in `input`, which starts where this reader started. Returns the head and its size
    /// in bytes once it is complete; the reader is then spent.
    pub(super) fn read(&mut self, input: &[u8]) -> Result<Option<(Head, usize)>, HttpError> {
        while let Some(&byte) = input.get(self.scanned) {
            let previous = (self.scanned > self.line_start).then(|| input[self.scanned - 1]);
            self.check_byte(previous, byte)?;
            self.scanned += 1;
            self.check_size()?;
            if byte == b'\n' {
                // A line feed passed the check, so a carriage return is before it.
                let line = &input[self.line_start..self.scanned - 2];
                self.line_start = self.scanned;
                if let Some(head) = self.end_line(line, input)? {
                    return Ok(Some((head, self.scanned)));
                }
            }
        }
        Ok(None)
    }

    /// Whether a request has begun; empty lines before it do not count.
    pub(super) fn has_begun(&self) -> bool {
        self.scanned > self.line_start || self.request_line.is_some()
    }

    /// The request's method, once its line is complete.
    pub(super) fn method(&self) -> Option<Method> {
        self.request_line.as_ref().map(|line| line.method)
    }

    fn check_byte(&self, previous: Option<u8>, byte: u8) -> Result<(), HttpError> {
        match (previous, byte) {
            (Some(b'\r'), b'\n') => Ok(()),
            (Some(b'\r'), _) => Err(HttpError::BareCr),
            (_, b'\n') => Err(HttpError::BareLf),
            (None, b' ' | b'\t') if self.request_line.is_some() => Err(HttpError::LineFolded),
            (_, b'\t' | b'\r') => Ok(()),
            (_, byte) if byte.is_ascii_control() => Err(HttpError::ControlCharacter),
            _ => Ok(()),
        }
    }

    fn check_size(&self) -> Result<(), HttpError> {
        match self.request_line {
            None if self.scanned - self.line_start > REQUEST_LINE_MAX_BYTES => {
                Err(HttpError::TargetTooLong)
            }
            Some(_) if self.scanned - self.headers_start > HEADERS_MAX_BYTES => {
                Err(HttpError::HeadersTooLarge)
            }
            _ => Ok(()),
        }
    }

    fn end_line(&mut self, line: &[u8], input: &[u8]) -> Result<Option<Head>, HttpError> {
        match &self.request_line {
            None if line.is_empty() && self.blank_lines < BLANK_LINES_MAX => self.blank_lines += 1,
            None => {
                self.request_line = Some(RequestLine::parse(line)?);
                self.headers_start = self.scanned;
            }
            Some(request_line) if line.is_empty() => {
                let lines = &input[self.headers_start..self.scanned];
                let headers = Headers::parse(lines).map_err(|error| match error {
                    HeadersError::TooMany => HttpError::HeadersTooMany,
                    HeadersError::Malformed => HttpError::HeaderMalformed,
                })?;
                return Head::new(request_line.clone(), headers).map(Some);
            }
            Some(_) => {}
        }
        Ok(None)
    }
}

#[derive(Clone, Debug)]
struct RequestLine {
    method: Method,
    target: RequestTarget,
    is_http_1_0: bool,
}

#[derive(Clone, Debug)]
struct RequestTarget {
    path: String,
    query: Option<String>,
    authority: Option<Authority>,
}

impl RequestLine {
    /// RFC 9112 section 3, without the lenient reading of white space that section allows.
    fn parse(line: &[u8]) -> Result<Self, HttpError> {
        let mut parts = line.split(|&byte| byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(HttpError::RequestLine);
        };
        if method.is_empty() || !method.iter().all(|&byte| is_token_byte(byte)) {
            return Err(HttpError::RequestLine);
        }
        let is_http_1_0 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                return Err(HttpError::Version);
            }
            _ => return Err(HttpError::RequestLine),
        };
        let method = Method::parse(method).ok_or(HttpError::MethodUnknown)?;
        let target = RequestTarget::parse(method, target)?;
        Ok(Self { method, target, is_http_1_0 })
    }
}

impl RequestTarget {
    /// RFC 9112 section 3.2. Only CONNECT, which is rejected as a method, uses the authority-form.
    fn parse(method: Method, target: &[u8]) -> Result<Self, HttpError> {
        if target.len() > TARGET_MAX_BYTES {
            return Err(HttpError::TargetTooLong);
        }
        let target = str::from_utf8(target).map_err(|_| HttpError::Target)?;
        let is_visible = target.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_visible || target.contains('#') {
            return Err(HttpError::Target);
        }
        if target == "*" && method == Method::Options {
            return Ok(Self { path: target.to_owned(), query: None, authority: None });
        }
        let (authority, rest) = match target.split_at_checked("http://".len()) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http://") => {
                let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
                let authority = Authority::parse(authority).ok_or(HttpError::Target)?;
                (Some(authority), rest)
            }
            _ if target.starts_with('/') => (None, target),
            _ => return Err(HttpError::Target),
        };
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (rest, None),
        };
        // RFC 9110 section 4.2.3, RFC 9112 section 3.2.4.
        let path = match path {
            "" if method == Method::Options && query.is_none() => "*",
            "" => "/",
            path => path,
        };
        Ok(Self { path: path.to_owned(), query, authority })
    }
}

/// RFC 9112 section 6.3, with every ambiguity an error. A doubled header is a list here, and a list is
/// not a number.
fn content_length(line: &RequestLine, headers: &Headers) -> Result<usize, HttpError> {
    let (length, coding) = (headers.find("content-length"), headers.find("transfer-encoding"));
    let digits = match (length, coding) {
        (Some(_), Some(_)) => return Err(HttpError::LengthAndCoding),
        (None, Some(coding)) if coding.eq_ignore_ascii_case("chunked") && !line.is_http_1_0 => {
            return Err(HttpError::Chunked);
        }
        (None, Some(_)) => return Err(HttpError::CodingUnknown),
        (None, None) if line.method == Method::Post => return Err(HttpError::LengthMissing),
        (None, None) => return Ok(0),
        (Some(digits), None) => digits,
    };
    match headers::parse_length(digits) {
        None => Err(HttpError::LengthMalformed),
        Some(length) if length <= BODY_MAX_BYTES => Ok(length),
        Some(_) => Err(HttpError::BodyTooLarge),
    }
}

/// RFC 9110 section 10.1.1; HTTP/1.0 has no expectations.
fn expects_continue(line: &RequestLine, headers: &Headers) -> Result<bool, HttpError> {
    match headers.find("expect") {
        Some(_) if line.is_http_1_0 => Ok(false),
        Some(expectation) if expectation.eq_ignore_ascii_case("100-continue") => Ok(true),
        Some(_) => Err(HttpError::Expectation),
        None => Ok(false),
    }
}

/// RFC 9110 section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
