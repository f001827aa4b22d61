//! Detects the format at the start of a stream, and where in the stream it starts.

use super::format::{Y4M, begins_unit, is_h265};
use super::{StreamError, StreamFormat, detect};
use crate::work;

/// How much of a stream is searched for the start of a format. In a stream that was joined in the middle of
/// a picture, it comes after that picture.
pub const SEARCH_MAX_BYTES: usize = 1 << 20;
/// The same of a stream that starts with text.
const TEXT_MAX_BYTES: usize = 4096;
/// The longest line of text.
const LINE_MAX_BYTES: usize = 200;
/// How many of the first bytes are shown if they are not text.
const SHOWN_BYTES: usize = 10;

/// The start of a stream, until its format is known.
pub struct Start {
    /// The first bytes, at most [`LINE_MAX_BYTES`].
    first: Vec<u8>,
    /// The number of bytes read.
    read: usize,
    /// The last bytes read.
    last: [u8; Y4M.len()],
    /// The first bytes do not start a format.
    searches: bool,
}

/// A detected format.
pub struct Found {
    pub format: StreamFormat,
    /// The first bytes of this format.
    pub bytes: Vec<u8>,
    /// How many bytes came before them.
    pub stray_bytes: usize,
}

impl Start {
    pub fn new() -> Start {
        // A byte with which nothing is found that is longer than what was read.
        Start { first: Vec::new(), read: 0, last: [0x80; Y4M.len()], searches: false }
    }

    /// Takes bytes from the front of `bytes` until the format is known. Takes one at a time, so that errors do
    /// not depend on how the stream is split.
    ///
    /// # Errors
    /// Those of [`detect`], and [`StreamError::Text`].
    pub fn take(&mut self, bytes: &mut &[u8]) -> Result<Option<Found>, StreamError> {
        while let Some((&byte, rest)) = bytes.split_first() {
            work::step();
            *bytes = rest;
            if self.first.len() < LINE_MAX_BYTES {
                self.first.push(byte);
            }
            let found = if self.searches { self.search(byte)? } else { self.detect()? };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn detect(&mut self) -> Result<Option<Found>, StreamError> {
        match detect(&self.first) {
            Ok(None) => return Ok(None),
            Ok(Some(format)) => {
                return Ok(Some(Found { format, bytes: self.first.clone(), stray_bytes: 0 }));
            }
            Err(StreamError::UnknownFormat(_)) => self.searches = true,
            Err(error) => return Err(error),
        }
        for at in 0..self.first.len() {
            if let Some(mut found) = self.search(self.first[at])? {
                found.bytes.extend_from_slice(&self.first[at + 1..]);
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Checks whether a format starts with the last bytes read and this one.
    fn search(&mut self, byte: u8) -> Result<Option<Found>, StreamError> {
        self.read += 1;
        self.last.rotate_left(1);
        self.last[Y4M.len() - 1] = byte;
        let (format, length) = match self.last {
            [.., 0, 0, 1, header] if begins_unit(header) => (StreamFormat::H264, 4),
            [.., 0, 0, 1, header, second] if is_h265(header, second) => {
                return Err(StreamError::Container("H.265"));
            }
            // SOI, and the marker of any segment (ITU-T T.81, table B.1).
            [.., 0xff, 0xd8, 0xff, 0xc0..=0xfe] => (StreamFormat::Mjpeg, 4),
            last if last == Y4M => (StreamFormat::Y4m, Y4M.len()),
            _ => {
                let is_over = match self.read {
                    TEXT_MAX_BYTES => self.is_text(),
                    read => read >= SEARCH_MAX_BYTES,
                };
                return if is_over { Err(self.error()) } else { Ok(None) };
            }
        };
        let bytes = self.last[Y4M.len() - length..].to_vec();
        Ok(Some(Found { format, bytes, stray_bytes: self.read - length }))
    }

    /// Whether the stream starts with a line of text.
    pub fn is_text(&self) -> bool {
        let line = self.first.iter().position(|byte| *byte == b'\n');
        let line = &self.first[..line.unwrap_or(self.first.len())];
        let is_control = |c: char| c.is_control() && !matches!(c, '\t' | '\r' | '\x1b');
        (1..LINE_MAX_BYTES).contains(&line.len())
            && std::str::from_utf8(line).is_ok_and(|line| !line.contains(is_control))
    }

    /// Whether no byte has come.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// The error if nothing else comes.
    pub fn error(&self) -> StreamError {
        if self.is_text() {
            let end = self.first.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            return StreamError::Text(self.first[..end.unwrap_or(self.first.len())].to_vec());
        }
        StreamError::UnknownFormat(self.first[..self.first.len().min(SHOWN_BYTES)].to_vec())
    }

    /// The number of bytes kept.
    #[cfg(feature = "testing")]
    pub fn bytes(&self) -> usize {
        self.first.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Parser;
    use super::*;

    const SLICE: &[u8] = &[0, 0, 1, 0x41, 0x9a];
    const JPEG: &[u8] = &[0xff, 0xd8, 0xff, 0xe0];

    /// What a stream is found to be, and how many bytes come before, however it is cut.
    fn start(stream: &[u8]) -> Result<Option<(StreamFormat, usize)>, StreamError> {
        let by = |size: usize| {
            let mut start = Start::new();
            for mut piece in stream.chunks(size) {
                if let Some(found) = start.take(&mut piece)? {
                    return Ok(Some((found.format, found.stray_bytes)));
                }
            }
            Ok(None)
        };
        let whole = by(stream.len());
        assert_eq!(by(1), whole);
        assert_eq!(by(7), whole);
        whole
    }

    #[test]
    fn a_stream_that_was_joined_in_a_picture_begins_with_the_next_one() {
        let rest: Vec<u8> = (0..50_000_u32).map(|n| (n * 7 % 251) as u8 | 4).collect();
        for (begins, format) in [
            (SLICE, StreamFormat::H264),
            (JPEG, StreamFormat::Mjpeg),
            (b"YUV4MPEG2 W2", StreamFormat::Y4m),
        ] {
            for joined in [1, 9, 10, 11, 300, rest.len()] {
                let stream = [&rest[..joined], begins].concat();
                assert_eq!(start(&stream), Ok(Some((format, joined))), "after {joined}");
                let mut parser = Parser::new();
                parser.push(&stream).unwrap();
                assert_eq!(parser.counters().stray_bytes, joined as u64);
                assert_eq!(parser.info().format, Some(format));
            }
        }
        // What would continue with bytes that have not come.
        for rest in [&[1, 0x41][..], &[0, 1, 0x41], &[0xd8, 0xff, 0xe0]] {
            assert_eq!(start(&[rest, SLICE].concat()), Ok(Some((StreamFormat::H264, rest.len()))));
        }
        let h265 = [&rest[..], &[0, 0, 1, 0x40, 1, 0x0c]].concat();
        assert_eq!(start(&h265), Err(StreamError::Container("H.265")));
    }

    #[test]
    fn what_comes_after_messages_of_a_program_is_read() {
        let messages = b"Setting pipeline to PAUSED ...\nPipeline is live.\n";
        let stream = [&messages[..], b"\0", SLICE].concat();
        assert_eq!(start(&stream), Ok(Some((StreamFormat::H264, messages.len() + 1))));
        assert_eq!(start(b"Grabbing frames\nYUV4MPEG2 W2"), Ok(Some((StreamFormat::Y4m, 16))));
    }

    #[test]
    fn text_alone_is_an_error_of_its_own_with_its_first_line() {
        let text = StreamError::Text(b"frame 1".to_vec());
        assert_eq!(start(&b"frame 1\r\nframe 2\r\n".repeat(300)), Err(text.clone()));
        let mut parser = Parser::new();
        parser.push(b"frame 1\n").unwrap();
        assert_eq!(parser.lacks(), Some(crate::source::parse::Lack::Format { after_text: true }));
        assert_eq!(parser.finish(), Err(text));
        for no_text in [&b"frame 1"[..6], &[b'@'; LINE_MAX_BYTES], b"frame\x01\n", b"\xffframe\n"] {
            let long = [no_text, &[0x90; TEXT_MAX_BYTES]].concat();
            assert_eq!(start(&long), Ok(None), "{no_text:02x?}");
        }
    }

    #[test]
    fn what_begins_nowhere_is_an_error_after_a_bounded_search() {
        let garbage = vec![0x90; SEARCH_MAX_BYTES - 1];
        assert_eq!(start(&garbage), Ok(None));
        let unknown = StreamError::UnknownFormat(vec![0x90; SHOWN_BYTES]);
        assert_eq!(start(&[&garbage[..], &[0x90]].concat()), Err(unknown.clone()));
        // What looks like H.264 now and then, as dark pictures without headers do.
        let dark =
            [0, 0, 1, 1, 0, 0, 1, 2, 0, 0, 1, 6, 0, 0, 1, 0].repeat(SEARCH_MAX_BYTES / 16 + 1);
        let dark = [&[0x90; SHOWN_BYTES][..], &dark].concat();
        for size in [1, 7, dark.len()] {
            let mut parser = Parser::new();
            let result = dark.chunks(size).try_for_each(|piece| parser.push(piece));
            assert_eq!(result, Err(unknown.clone()));
        }
    }
}
