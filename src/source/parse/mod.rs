//! The bytes of a stream of video, cut anywhere, to access units, pictures and JPEGs. Pure.
//!
//! A [`Parser`] is told what has come ([`push`](Parser::push)), that there is no more for now
//! ([`run_dry`](Parser::run_dry)) and that the stream has ended ([`finish`](Parser::finish)). After each
//! of these, what is complete is taken out with [`poll`](Parser::poll). It finds the format by the
//! first bytes: H.264 without a container, yuv4mpeg2, or MJPEG. A stream that was joined in the middle
//! of a picture, or begins with the messages of a program, is read from where one of these begins.
//! Pictures without headers have none, see [`Parser::raw`].
//!
//! However the bytes are cut, the items, counters and errors are the same. Work and memory:
//!
//! - A push takes at most 1,024 steps ([`work`](crate::work)) and 10 for each of its bytes.
//! - Between pushes, [`buffered_bytes`](Parser::buffered_bytes) is at most [`BUFFERED_MAX_BYTES`]:
//!   one picture of 3840×2160 in three bytes a pixel. No more than one picture is kept.
//! - What a push completes waits for `poll`. It is little more than the bytes of the push, but for
//!   hostile streams: up to 2 kB of parameter sets before each key frame. Push at most 64 KiB at a
//!   time, as pipes have them.
//!
//! ```
//! use ballcast::source::parse::{ParsedItem, Parser};
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
//! # Ok::<(), ballcast::source::parse::StreamError>(())
//! ```

mod annex_b;
mod bits;
mod error;
mod flushes;
mod format;
mod huffman;
mod jpeg;
mod likeness;
mod parameter_sets;
mod raw;
mod slice_header;
mod soundness;
mod sps;
mod start;
mod start_codes;
mod y4m;

use std::collections::VecDeque;

pub use annex_b::ACCESS_UNIT_MAX_BYTES;
pub use error::{Lack, StreamError};
pub use format::{DETECT_MAX_BYTES, StreamFormat, detect};
pub use jpeg::{JPEG_MAX_BYTES, JPEG_MIN_BYTES, JpegFault, check as check_jpeg};
pub use sps::Sps;

use crate::containment::contain;
use crate::media::{Jpeg, Picture, PixelFormat, Samples, Size};
use annex_b::AnnexB;
use jpeg::Mjpeg;
use raw::RawPlanes;
use start::{Found, Start};
use y4m::Y4m;

/// The most that a parser keeps between pushes, without what waits for [`Parser::poll`].
pub const BUFFERED_MAX_BYTES: usize = 24 << 20;

/// The shortest side of a picture that is encoded.
const ENCODED_MIN_SIDE: u64 = 16;

/// Something complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParsedItem {
    AccessUnit(AccessUnit),
    Picture(Picture),
    /// A picture that is still to be converted.
    Samples(Samples),
    Jpeg(Jpeg),
}

/// One picture of H.264, as [`Frame::h264`](crate::media::Frame::h264) takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessUnit {
    /// Slices, each after a start code of four bytes. A key frame has its parameter sets in front.
    pub data: Vec<u8>,
    /// An IDR picture.
    pub keyframe: bool,
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

/// What is known about a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info {
    pub format: Option<StreamFormat>,
    /// Of the last item, or of the next one if the stream has a header.
    pub size: Option<Size>,
    /// If the stream says one.
    pub frame_rate: Option<FrameRate>,
    /// Of H.264: the number whose six hexadecimal digits SDP has (RFC 6184, section 8.1).
    pub profile_level_id: Option<u32>,
    /// The stream of H.264 reserves the right to B-frames, which may delay its pictures.
    pub reorders: bool,
}

/// What has happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ParserCounters {
    pub bytes: u64,
    pub items: u64,
    /// Pictures of H.264 that were left out because no key frame came before.
    pub skipped: u64,
    /// Pictures and parameter sets that were left out because they are cut off or impossible.
    pub damaged: u64,
    /// Pictures that were left out because they are larger than the limit.
    pub oversized: u64,
    /// Bytes between pictures that belong to none.
    pub stray_bytes: u64,
    /// Pictures of which more came after [`run_dry`](Parser::run_dry) took them for complete: at most
    /// one in the life of a parser.
    pub early_flushes: u64,
}

/// What the parsers of the formats write to.
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
    /// The first bytes, which do not decide yet.
    Start(Start),
    AnnexB(Box<AnnexB>),
    Y4m(Y4m),
    Mjpeg(Mjpeg),
    Raw(RawPlanes),
}

impl Default for Parser {
    fn default() -> Parser {
        Parser::new()
    }
}

impl Parser {
    /// A parser that finds the format by the first bytes ([`detect`]).
    pub fn new() -> Parser {
        Parser {
            state: ParserState::Start(Start::new()),
            out: ParserOutput::default(),
            error: None,
        }
    }

    /// A parser of pictures without headers. Both sides are even.
    ///
    /// # Errors
    /// [`StreamError::Size`], [`StreamError::TooSmall`] and [`StreamError::OddSize`].
    pub fn raw(size: Size, pixels: PixelFormat) -> Result<Parser, StreamError> {
        let size = check_encoded_size(size.width as u64, size.height as u64)?;
        let mut out = ParserOutput::default();
        (out.info.format, out.info.size) = (Some(StreamFormat::Raw), Some(size));
        Ok(Parser { state: ParserState::Raw(RawPlanes::new(size, pixels)), out, error: None })
    }

    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    /// The stream cannot be shown, which does not change: the same error is returned from now on.
    /// Items that were complete before it can still be taken out.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        self.unless_failed(|parser| {
            parser.out.counters.bytes += bytes.len() as u64;
            parser.take(bytes)
        })
    }

    /// All that there is for now was pushed: completes the picture of H.264 under way, which otherwise
    /// waits for the start of the next one. It does so once the source has shown for some time that it
    /// never pauses within a picture, and has a key frame every few seconds.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn run_dry(&mut self) -> Result<(), StreamError> {
        self.unless_failed(|parser| match &mut parser.state {
            ParserState::AnnexB(annex_b) => annex_b.run_dry(&mut parser.out),
            _ => Ok(()),
        })
    }

    /// The stream has ended: completes the picture of H.264 under way. Any other is damaged.
    ///
    /// # Errors
    /// As [`push`](Self::push), and [`StreamError::Empty`].
    pub fn finish(&mut self) -> Result<(), StreamError> {
        self.unless_failed(|parser| {
            let out = &mut parser.out;
            match &mut parser.state {
                ParserState::Start(start) if start.is_empty() => return Err(StreamError::Empty),
                ParserState::Start(start) => return Err(start.error()),
                ParserState::AnnexB(annex_b) => return annex_b.finish(out),
                ParserState::Y4m(y4m) => y4m.finish(out),
                ParserState::Mjpeg(mjpeg) => mjpeg.finish(out),
                ParserState::Raw(raw) => raw.finish(out),
            }
            Ok(())
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

    /// What has to come before there is a next item, judged by all that has come since the last one:
    /// a format, or what pictures of H.264 refer to. `None` if nothing was left out since then, and
    /// for other formats once they are known.
    ///
    /// For a moment, every stream lacks something: a parameter set comes before its key frame, and a
    /// stream may be joined between two key frames. It is the reason why there is no picture when it
    /// stays so for some seconds in which bytes come: then [`StreamError::Lacks`] is the sentence.
    pub fn lacks(&self) -> Option<Lack> {
        match &self.state {
            ParserState::Start(start) if start.is_empty() => None,
            ParserState::Start(start) => Some(Lack::Format { after_text: start.is_text() }),
            ParserState::AnnexB(annex_b) => annex_b.lacks(),
            ParserState::Y4m(_) | ParserState::Mjpeg(_) | ParserState::Raw(_) => None,
        }
    }

    /// The bytes of memory that are kept for the picture under way.
    pub fn buffered_bytes(&self) -> usize {
        match &self.state {
            ParserState::Start(start) => start.bytes(),
            ParserState::AnnexB(annex_b) => annex_b.bytes(),
            ParserState::Y4m(y4m) => y4m.bytes(),
            ParserState::Mjpeg(mjpeg) => mjpeg.bytes(),
            ParserState::Raw(raw) => raw.bytes(),
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
        }
    }
}

/// The size of a picture, if it is even, and at most 3840×2160 or 2160×3840.
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

/// The size of a picture that is to be encoded: openh264 takes none with a side below 16.
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
