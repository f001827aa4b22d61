//! Parses a video stream that comes in pieces of any size into access units, pictures and JPEGs. Pure.
//!
//! A [`Parser`] takes bytes ([`push`](Parser::push)), pauses of the stream
//! ([`handle_pause`](Parser::handle_pause)) and its end ([`finish`](Parser::finish)). After each of these,
//! [`poll`](Parser::poll) returns the complete items. The first bytes tell the format: H.264 without a
//! container, yuv4mpeg2 or MJPEG. A stream that was joined in the middle of a picture, or starts with
//! messages of a program, is parsed from where a format starts. Raw pictures have no header, see
//! [`Parser::raw`].
//!
//! Items, counters and errors do not depend on how the bytes are split. Work and memory:
//!
//! - A push takes at most 1,024 steps ([`work`](crate::work)) plus 10 for each byte.
//! - Between pushes, [`buffered_bytes`](Parser::buffered_bytes) is at most [`BUFFERED_MAX_BYTES`]: one
//!   picture of 3840×2160 in three bytes a pixel. Only one picture is buffered.
//! - Complete items wait for `poll`. They are little more than the bytes of the push, except in hostile
//!   streams, which get up to 2 kB of parameter sets before each key frame. Push at most 64 KiB at a time,
//!   the size of a pipe.
//!
//! ```
//! use ballcast::testing::source::parse::{ParsedItem, Parser};
//!
//! let mut parser = Parser::new();
//! for piece in [&b"YUV4MPEG2 W16 H"[..], b"16 F25:1\nFRAME\n", &[7; 300], &[7; 84]] {
//!     parser.push(piece)?;
//!     while let Some(item) = parser.poll() {
//!         let ParsedItem::Picture(picture) = item else { unreachable!("yuv4mpeg2 has pictures") };
//!         assert_eq!(picture.y.samples, [7; 256]);
//!     }
//! }
//! assert_eq!(parser.counters().items, 1);
//! # Ok::<(), ballcast::testing::source::parse::StreamError>(())
//! ```

mod annex_b;
mod bits;
mod buffer;
mod decode_confidence;
mod error;
mod flushes;
mod format;
mod huffman;
mod jpeg;
mod likeness;
mod parameter_sets;
mod raw;
mod slice_header;
mod sps;
mod start;
mod start_codes;
mod y4m;

use std::collections::VecDeque;

#[cfg(feature = "testing")]
pub use annex_b::ACCESS_UNIT_MAX_BYTES;
pub use error::{Lack, StreamError};
#[cfg(feature = "testing")]
pub use format::DETECT_MAX_BYTES;
pub use format::{StreamFormat, detect};
pub use jpeg::check as check_jpeg;
#[cfg(feature = "testing")]
pub use jpeg::{JPEG_MAX_BYTES, JPEG_MIN_BYTES, JpegFault};
pub use sps::Sps;

use crate::containment::contain;
use crate::media::{AccessUnit, Jpeg, Picture, PixelFormat, Samples, Size};
use crate::source::camera::{CameraFormat, CameraStarted};
use annex_b::AnnexB;
use buffer::RawBuffers;
use jpeg::Mjpeg;
use raw::RawPlanes;
use start::{Found, Start};
use y4m::Y4m;

/// The most bytes that a parser buffers between pushes, without the items that wait for [`Parser::poll`].
#[cfg(feature = "testing")]
pub const BUFFERED_MAX_BYTES: usize = 24 << 20;

/// The shortest side of a picture that the encoder takes.
const ENCODED_MIN_SIDE: u64 = 16;

/// A complete item of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParsedItem {
    /// A picture of H.264. A key frame is an IDR picture after its parameter sets.
    AccessUnit(AccessUnit),
    Picture(Picture),
    /// A picture that is not yet converted.
    Samples(Samples),
    Jpeg(Jpeg),
}

/// Frames per second, as a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRate {
    pub numerator: u32,
    pub denominator: u32,
}

impl FrameRate {
    /// A frame rate in lowest terms. `None` unless it is between one frame a minute and 1,000
    /// frames a second.
    pub fn new(numerator: u64, denominator: u64) -> Option<FrameRate> {
        let (mut divisor, mut rest) = (numerator, denominator);
        while rest != 0 {
            (divisor, rest) = (rest, divisor % rest);
        }
        let numerator = u32::try_from(numerator.checked_div(divisor)?).ok()?;
        let denominator = u32::try_from(denominator / divisor).ok()?;
        let is_sensible = denominator > 0
            && u64::from(numerator) * 60 >= u64::from(denominator)
            && u64::from(numerator) <= u64::from(denominator) * 1_000;
        is_sensible.then_some(FrameRate { numerator, denominator })
    }
}

/// Properties of a stream, as far as they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info {
    pub format: Option<StreamFormat>,
    /// The size of the last item, or of the next one if the stream has a header.
    pub size: Option<Size>,
    /// The frame rate that the stream declares.
    pub frame_rate: Option<FrameRate>,
    /// The `profile-level-id` of H.264 (RFC 6184, section 8.1).
    pub profile_level_id: Option<u32>,
    /// The SPS of H.264 permits B-frames, which may delay pictures.
    pub reorders: bool,
}

/// Counters of a parser.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ParserCounters {
    pub bytes: u64,
    pub items: u64,
    /// Pictures of H.264 dropped because no key frame came before.
    pub skipped: u64,
    /// Pictures and parameter sets dropped because they are truncated or invalid.
    pub damaged: u64,
    /// Pictures dropped because they exceed the size limit.
    pub oversized: u64,
    /// Bytes between pictures that belong to no picture.
    pub stray_bytes: u64,
    /// Pictures of which more came after [`handle_pause`](Parser::handle_pause) had completed them: at most
    /// one in the life of a parser.
    pub early_flushes: u64,
}

/// The output of the parsers of all formats.
#[derive(Default)]
struct ParserOutput {
    items: VecDeque<ParsedItem>,
    info: Info,
    counters: ParserCounters,
}

impl ParserOutput {
    fn add(&mut self, item: ParsedItem) {
        self.counters.items += 1;
        self.items.push_back(item);
    }
}

/// The parser of one stream.
pub struct Parser {
    state: ParserState,
    out: ParserOutput,
    error: Option<StreamError>,
}

enum ParserState {
    /// The format is not known yet.
    Start(Start),
    AnnexB(Box<AnnexB>),
    Y4m(Y4m),
    Mjpeg(Mjpeg),
    Raw(RawPlanes),
    Buffers(RawBuffers),
}

impl Default for Parser {
    fn default() -> Parser {
        Parser::new()
    }
}

impl Parser {
    /// A parser that detects the format ([`detect`]).
    pub fn new() -> Parser {
        Parser {
            state: ParserState::Start(Start::new()),
            out: ParserOutput::default(),
            error: None,
        }
    }

    /// A parser of raw pictures without headers. Both sides are even.
    ///
    /// # Errors
    /// [`StreamError::Size`], [`StreamError::TooSmall`] and [`StreamError::OddSize`].
    pub fn raw(size: Size, pixels: PixelFormat) -> Result<Parser, StreamError> {
        let size = check_encoded_size(size.width as u64, size.height as u64)?;
        let mut out = ParserOutput::default();
        (out.info.format, out.info.size) = (Some(StreamFormat::Raw), Some(size));
        Ok(Parser { state: ParserState::Raw(RawPlanes::new(size, pixels)), out, error: None })
    }

    /// A parser of the buffers of a camera, each of which holds one whole picture.
    ///
    /// # Errors
    /// [`StreamError::Size`] and [`StreamError::TooSmall`], of raw pictures.
    pub fn of_camera(started: &CameraStarted) -> Result<Parser, StreamError> {
        let mut out = ParserOutput::default();
        out.info.frame_rate = started.mode.rate;
        let state = match started.mode.format {
            CameraFormat::H264 => {
                let frame_rate = out.info.frame_rate;
                let mut parser = Parser::of_h264_buffers();
                parser.out.info.frame_rate = frame_rate;
                return Ok(parser);
            }
            CameraFormat::Mjpeg => {
                out.info.format = Some(StreamFormat::Mjpeg);
                ParserState::Mjpeg(Mjpeg::new())
            }
            CameraFormat::I420 | CameraFormat::Nv12 | CameraFormat::Yuyv => {
                let buffers = RawBuffers::new(started)?;
                (out.info.format, out.info.size) = (Some(StreamFormat::Raw), Some(buffers.size()));
                ParserState::Buffers(buffers)
            }
        };
        Ok(Parser { state, out, error: None })
    }

    /// A parser of buffers that hold one access unit of H.264 each, as encoders write them.
    pub fn of_h264_buffers() -> Parser {
        let mut out = ParserOutput::default();
        out.info.format = Some(StreamFormat::H264);
        let unless_h264 = StreamError::Lacks(Lack::Format { after_text: false });
        let state = ParserState::AnnexB(Box::new(AnnexB::new(0, unless_h264)));
        Parser { state, out, error: None }
    }

    /// Parses a buffer of a camera or an encoder. What is incomplete at its end is damaged.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_buffer(&mut self, buffer: &[u8]) -> Result<(), StreamError> {
        self.unless_failed(|parser| {
            parser.out.counters.bytes += buffer.len() as u64;
            parser.take(buffer)?;
            parser.end_picture()
        })
    }

    /// Counts a buffer of a camera whose data is known to be damaged. Pictures that refer to it are skipped.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn note_damaged_buffer(&mut self) -> Result<(), StreamError> {
        self.unless_failed(|parser| {
            match &mut parser.state {
                ParserState::AnnexB(annex_b) => annex_b.drop_damaged(&mut parser.out),
                _ => parser.out.counters.damaged += 1,
            }
            Ok(())
        })
    }

    /// Handles that a picture was lost before the next buffer of a camera. Pictures that refer to it are skipped.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn note_lost_buffer(&mut self) -> Result<(), StreamError> {
        self.unless_failed(|parser| {
            if let ParserState::AnnexB(annex_b) = &mut parser.state {
                annex_b.drop_damaged(&mut parser.out);
            }
            Ok(())
        })
    }

    /// Parses the next bytes of the stream.
    ///
    /// # Errors
    /// The stream cannot be shown. This is final: all later calls return the same error. `poll` still
    /// returns items that were complete before.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        self.unless_failed(|parser| {
            parser.out.counters.bytes += bytes.len() as u64;
            parser.take(bytes)
        })
    }

    /// Handles a pause of the stream: all available bytes were pushed. Completes the current picture of H.264,
    /// which otherwise waits for the start of the next one, if the source has not paused within a picture for
    /// some time, and has a key frame every few seconds.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn handle_pause(&mut self) -> Result<(), StreamError> {
        self.unless_failed(|parser| match &mut parser.state {
            ParserState::AnnexB(annex_b) => annex_b.handle_pause(&mut parser.out),
            _ => Ok(()),
        })
    }

    /// Handles the end of the stream. Completes the current picture of H.264; incomplete pictures of other
    /// formats are damaged.
    ///
    /// # Errors
    /// As [`push`](Self::push), and [`StreamError::Empty`].
    pub fn finish(&mut self) -> Result<(), StreamError> {
        self.unless_failed(|parser| match &parser.state {
            ParserState::Start(start) if start.is_empty() => Err(StreamError::Empty),
            ParserState::Start(start) => Err(start.error()),
            _ => parser.end_picture(),
        })
    }

    /// The next complete item.
    pub fn poll(&mut self) -> Option<ParsedItem> {
        self.out.items.pop_front()
    }

    pub fn info(&self) -> &Info {
        &self.out.info
    }

    pub fn counters(&self) -> ParserCounters {
        self.out.counters
    }

    /// What is missing for the next item: a known format, or what pictures of H.264 refer to. `None` if
    /// nothing was dropped since the last item, and for other formats once they are known.
    ///
    /// Every stream lacks something for a moment: a parameter set comes before its key frame, and a stream
    /// may be joined between two key frames. If bytes come for some seconds without an item,
    /// [`StreamError::Lacks`] tells the reason.
    pub fn lacks(&self) -> Option<Lack> {
        match &self.state {
            ParserState::Start(start) if start.is_empty() => None,
            ParserState::Start(start) => Some(Lack::Format { after_text: start.is_text() }),
            ParserState::AnnexB(annex_b) => annex_b.lacks(),
            ParserState::Y4m(_)
            | ParserState::Mjpeg(_)
            | ParserState::Raw(_)
            | ParserState::Buffers(_) => None,
        }
    }

    /// The bytes of memory that hold the incomplete picture.
    #[cfg(feature = "testing")]
    pub fn buffered_bytes(&self) -> usize {
        match &self.state {
            ParserState::Start(start) => start.bytes(),
            ParserState::AnnexB(annex_b) => annex_b.bytes(),
            ParserState::Y4m(y4m) => y4m.bytes(),
            ParserState::Mjpeg(mjpeg) => mjpeg.bytes(),
            ParserState::Raw(raw) => raw.bytes(),
            ParserState::Buffers(_) => 0,
        }
    }

    fn unless_failed(
        &mut self,
        act: impl FnOnce(&mut Parser) -> Result<(), StreamError>,
    ) -> Result<(), StreamError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let result = contain(|| act(self)).unwrap_or_else(|message| {
            log::error!("a parser has panicked: {message}");
            self.state = ParserState::Start(Start::new());
            Err(StreamError::Panicked)
        });
        self.error = result.as_ref().err().cloned();
        result
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        let out = &mut self.out;
        match &mut self.state {
            ParserState::Start(start) => {
                let mut rest = bytes;
                let Some(found) = start.take(&mut rest)? else { return Ok(()) };
                let Found { format, bytes, stray_bytes } = found;
                out.info.format = Some(format);
                out.counters.stray_bytes += stray_bytes as u64;
                self.state = match format {
                    StreamFormat::H264 => {
                        let annex_b = AnnexB::new(stray_bytes as u64, start.error());
                        ParserState::AnnexB(Box::new(annex_b))
                    }
                    StreamFormat::Y4m => ParserState::Y4m(Y4m::new()),
                    StreamFormat::Mjpeg => ParserState::Mjpeg(Mjpeg::new()),
                    StreamFormat::Raw => unreachable!("pictures without headers are not detected"),
                };
                self.take(&bytes)?;
                self.take(rest)
            }
            ParserState::AnnexB(annex_b) => annex_b.push(bytes, out),
            ParserState::Y4m(y4m) => y4m.push(bytes, out),
            ParserState::Mjpeg(mjpeg) => mjpeg.push(bytes, out),
            ParserState::Raw(raw) => raw.push(bytes, out),
            ParserState::Buffers(buffers) => {
                buffers.push(bytes, out);
                Ok(())
            }
        }
    }

    /// Completes the current picture, or drops it.
    fn end_picture(&mut self) -> Result<(), StreamError> {
        let out = &mut self.out;
        match &mut self.state {
            ParserState::AnnexB(annex_b) => return annex_b.finish(out),
            ParserState::Y4m(y4m) => y4m.finish(out),
            ParserState::Mjpeg(mjpeg) => mjpeg.finish(out),
            ParserState::Raw(raw) => raw.finish(out),
            ParserState::Start(_) | ParserState::Buffers(_) => {}
        }
        Ok(())
    }
}

/// Checks that a size is even, and at most 3840×2160 or 2160×3840.
fn check_size(width: u64, height: u64) -> Result<Size, StreamError> {
    let (small, large) = (width.min(height), width.max(height));
    if small == 0 || small > 2_160 || large > 3_840 {
        return Err(StreamError::Size(width, height));
    }
    if !width.is_multiple_of(2) || !height.is_multiple_of(2) {
        return Err(StreamError::OddSize(width, height));
    }
    Ok(Size { width: width as usize, height: height as usize })
}

/// Checks the size of a picture for the encoder: openh264 takes no side below 16.
fn check_encoded_size(width: u64, height: u64) -> Result<Size, StreamError> {
    match width.min(height) {
        1..ENCODED_MIN_SIDE => Err(StreamError::TooSmall(width, height)),
        _ => check_size(width, height),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_breaks_its_parser_is_an_error() {
        let mut parser = Parser::new();
        let broken = parser.unless_failed(|_| panic!("planted"));
        assert_eq!(broken, Err(StreamError::Panicked));
        assert_eq!(parser.push(b"YUV4MPEG2 "), broken, "for ever");
        assert_eq!(parser.buffered_bytes(), 0);
    }
}
