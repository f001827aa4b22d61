//! The lines of a response's head, and of trailers, which have the same form.

use httparse::Status;

use super::super::HEADERS_MAX;
use super::super::headers::{Headers, HeadersError};
use super::{ExchangeError, RESPONSE_HEAD_MAX_BYTES};

/// The start of every response (RFC 9112 section 2.3). `httparse` would skip empty lines before it, and
/// what is not HTTP at all is known long before the end of a head.
const VERSION: &[u8] = b"HTTP/1.";

/// A final response's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// 200 to 599.
    pub status: u16,
    pub(super) is_http_1_0: bool,
    pub(super) headers: Headers,
}

impl ResponseHead {
    /// Finds a header by name, as [`Head::header`](crate::http::Head::header) does: several lines of one name
    /// are one list.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.find(name)
    }

    /// Whether Content-Type names this media type, whatever its parameters.
    #[cfg(feature = "testing")]
    pub fn has_media_type(&self, media_type: &str) -> bool {
        self.headers.have_media_type(media_type)
    }

    /// Parses the lines of a complete head. The status may be an interim one, from 100.
    pub(super) fn parse(lines: &[u8]) -> Result<Self, ExchangeError> {
        let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Response::new(&mut slots);
        let Status::Complete(_) = parsed.parse(lines).map_err(HeadersError::from)? else {
            return Err(ExchangeError::NotHttp);
        };
        // RFC 9110 section 15: other values are invalid.
        let status = parsed.code.filter(|status| (100..600).contains(status));
        let status = status.ok_or(ExchangeError::NotHttp)?;
        let headers = Headers::collect(parsed.headers);
        Ok(Self { status, is_http_1_0: parsed.version == Some(0), headers })
    }
}

/// Collects lines up to an empty one. It looks at each byte once and in order, and the first wrong one
/// decides.
#[derive(Debug)]
pub(super) struct LineReader {
    /// The required start of the first line.
    start: &'static [u8],
    lines: Vec<u8>,
    line_start: usize,
}

impl LineReader {
    pub(super) fn for_head() -> Self {
        Self { start: VERSION, lines: Vec::new(), line_start: 0 }
    }

    pub(super) fn for_trailers() -> Self {
        Self { start: b"", lines: Vec::new(), line_start: 0 }
    }

    /// Returns what follows the empty line, once it has come; the reader is then spent.
    pub(super) fn read<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<&'a [u8]>, ExchangeError> {
        for (index, &byte) in bytes.iter().enumerate() {
            if self.push(byte)? {
                return Ok(Some(&bytes[index + 1..]));
            }
        }
        Ok(None)
    }

    /// The lines so far, up to the end of the empty line.
    pub(super) fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Returns whether `byte` ends the empty line.
    fn push(&mut self, byte: u8) -> Result<bool, ExchangeError> {
        let is_line_byte = match (self.lines.last(), byte) {
            (Some(b'\r'), byte) => byte == b'\n',
            (_, b'\n') => false,
            (_, b'\t' | b'\r') => true,
            (_, byte) => !byte.is_ascii_control(),
        };
        let is_start = self.start.get(self.lines.len()).is_none_or(|&start| start == byte);
        if !(is_start && is_line_byte) {
            return Err(ExchangeError::NotHttp);
        }
        if self.lines.len() == RESPONSE_HEAD_MAX_BYTES {
            return Err(ExchangeError::HeadTooLarge);
        }
        self.lines.push(byte);
        if byte != b'\n' {
            return Ok(false);
        }
        let line = &self.lines[self.line_start..];
        self.line_start = self.lines.len();
        Ok(line == b"\r\n")
    }
}

impl From<HeadersError> for ExchangeError {
    fn from(error: HeadersError) -> Self {
        match error {
            HeadersError::TooMany => Self::HeadersTooMany,
            HeadersError::Malformed => Self::NotHttp,
        }
    }
}
