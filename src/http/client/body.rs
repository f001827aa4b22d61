//! The body of a response: its framing (RFC 9112 section 6.3) and its content.

use httparse::Status;

use super::super::BODY_MAX_BYTES;
use super::super::headers::{self, Headers};
use super::head::LineReader;
use super::{CHUNK_LINE_MAX_BYTES, ExchangeError, ResponseHead};

/// Collects a body.
#[derive(Debug)]
pub(super) struct BodyReader {
    framing: Framing,
    body: Vec<u8>,
}

#[derive(Debug)]
enum Framing {
    /// This much is still to come.
    Length(usize),
    Chunked(Chunk),
    /// The end of the connection is the end of the body.
    Close,
}

/// The part of a chunk that comes next (RFC 9112 section 7.1).
#[derive(Debug)]
enum Chunk {
    /// The line with the size, of which this much has come.
    Size(Vec<u8>),
    /// This much data is still to come.
    Data(usize),
    /// The line end after the data, of which CR may have come.
    DataEnd { has_cr: bool },
    /// After the last chunk. Trailers are read and discarded.
    Trailers(LineReader),
}

impl BodyReader {
    pub(super) fn new(head: &ResponseHead) -> Result<Self, ExchangeError> {
        Ok(Self { framing: Framing::of(head)?, body: Vec::new() })
    }

    /// Returns the body once it is complete; the reader is then spent.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, ExchangeError> {
        let is_whole = match &mut self.framing {
            Framing::Length(remaining) => {
                let data = &bytes[..bytes.len().min(*remaining)];
                self.body.extend_from_slice(data);
                *remaining -= data.len();
                *remaining == 0
            }
            Framing::Chunked(chunk) => chunk.read(bytes, &mut self.body)?,
            Framing::Close => {
                if self.body.len() + bytes.len() > BODY_MAX_BYTES {
                    return Err(ExchangeError::BodyTooLarge);
                }
                self.body.extend_from_slice(bytes);
                false
            }
        };
        Ok(is_whole.then(|| std::mem::take(&mut self.body)))
    }

    /// Takes the body, if the end of the connection ends it.
    pub(super) fn take_body_at_close(&mut self) -> Option<Vec<u8>> {
        matches!(self.framing, Framing::Close).then(|| std::mem::take(&mut self.body))
    }
}

impl Framing {
    /// RFC 9112 section 6.3, with every ambiguity an error. A doubled header is a list here, and a list is
    /// not a number.
    fn of(head: &ResponseHead) -> Result<Self, ExchangeError> {
        if matches!(head.status, 204 | 304) {
            return Ok(Self::Length(0));
        }
        match (head.header("content-length"), head.header("transfer-encoding")) {
            (Some(_), Some(_)) => Err(ExchangeError::LengthAndCoding),
            (None, Some(coding)) if coding.eq_ignore_ascii_case("chunked") && !head.is_http_1_0 => {
                Ok(Self::Chunked(Chunk::Size(Vec::new())))
            }
            (None, Some(_)) => Err(ExchangeError::CodingUnknown),
            (Some(digits), None) => match headers::parse_length(digits) {
                None => Err(ExchangeError::LengthMalformed),
                Some(length) if length > BODY_MAX_BYTES => Err(ExchangeError::BodyTooLarge),
                Some(length) => Ok(Self::Length(length)),
            },
            (None, None) => Ok(Self::Close),
        }
    }
}

impl Chunk {
    /// Appends data to `body`. Returns whether the body is complete.
    fn read(&mut self, mut bytes: &[u8], body: &mut Vec<u8>) -> Result<bool, ExchangeError> {
        while let Some((&byte, rest)) = bytes.split_first() {
            match self {
                Self::Size(line) => {
                    line.push(byte);
                    if byte == b'\n' {
                        *self = Self::after_size(line, body.len())?;
                    } else if line.len() == CHUNK_LINE_MAX_BYTES {
                        return Err(ExchangeError::Chunks);
                    }
                    bytes = rest;
                }
                Self::Data(remaining) => {
                    let (data, rest) = bytes.split_at(bytes.len().min(*remaining));
                    body.extend_from_slice(data);
                    *remaining -= data.len();
                    if *remaining == 0 {
                        *self = Self::DataEnd { has_cr: false };
                    }
                    bytes = rest;
                }
                Self::DataEnd { has_cr } => {
                    match (*has_cr, byte) {
                        (false, b'\r') => *has_cr = true,
                        (true, b'\n') => *self = Self::Size(Vec::new()),
                        _ => return Err(ExchangeError::Chunks),
                    }
                    bytes = rest;
                }
                Self::Trailers(reader) => {
                    let is_end = reader.read(bytes)?.is_some();
                    if is_end {
                        Headers::parse(reader.lines())?;
                    }
                    return Ok(is_end);
                }
            }
        }
        Ok(false)
    }

    /// Parses the line with a chunk's size, which ends with LF.
    fn after_size(line: &[u8], body_bytes: usize) -> Result<Self, ExchangeError> {
        // `httparse` reads a line without digits as a size of 0.
        if !line.first().is_some_and(u8::is_ascii_hexdigit) {
            return Err(ExchangeError::Chunks);
        }
        // `httparse` rejects a line that ends with LF alone, or reads it as partial.
        let Ok(Status::Complete((_, size))) = httparse::parse_chunk_size(line) else {
            return Err(ExchangeError::Chunks);
        };
        match usize::try_from(size) {
            Ok(0) => Ok(Self::Trailers(LineReader::for_trailers())),
            Ok(size) if size <= BODY_MAX_BYTES - body_bytes => Ok(Self::Data(size)),
            _ => Err(ExchangeError::BodyTooLarge),
        }
    }
}
