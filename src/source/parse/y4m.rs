//! Parses yuv4mpeg2 of mjpegtools (yuv4mpeg(5)), as ffmpeg and GStreamer write it: a line of parameters,
//! then pictures with a line before each.
//!
//! Another line of parameters between two pictures starts the next stream, as programs may write to a pipe
//! one after the other. Bytes that are neither are dropped up to the next of these lines.

use super::raw::PlaneReader;
use super::{FrameRate, ParserOutput, StreamError, check_encoded_size};
use crate::media::{PixelFormat, Size};
use crate::work;

/// The longest line. Those of ffmpeg are below 100 bytes.
const LINE_MAX_BYTES: usize = 256;
/// The most gaps in a row. After these, no picture can be expected, such as when the size has changed and
/// the header was lost.
const ASTRAY_MAX: u8 = 8;
/// The first bytes of a stream.
const MAGIC: &[u8] = b"YUV4MPEG2 ";

/// The parser of one stream.
pub struct Y4m {
    state: Y4mState,
    line: Vec<u8>,
    /// The number of gaps since two pictures followed each other.
    astray: u8,
}

enum Y4mState {
    Header,
    /// The line before a picture.
    FrameHeader(PlaneReader),
    Picture(PlaneReader),
    /// Bytes between two pictures that are not part of the format.
    Lost(PlaneReader),
    /// An error has ended the stream.
    Failed,
}

impl Y4m {
    pub fn new() -> Y4m {
        Y4m { state: Y4mState::Header, line: Vec::new(), astray: 0 }
    }

    /// Parses the next bytes of the stream, which starts with `YUV4MPEG2 `.
    ///
    /// # Errors
    /// [`StreamError::Header`], [`StreamError::PixelFormat`], [`StreamError::Interlaced`],
    /// [`StreamError::Size`], [`StreamError::TooSmall`] and [`StreamError::OddSize`].
    pub fn push(&mut self, mut bytes: &[u8], out: &mut ParserOutput) -> Result<(), StreamError> {
        while !bytes.is_empty() {
            work::step();
            self.state = match std::mem::replace(&mut self.state, Y4mState::Failed) {
                Y4mState::Header => match self.take_line(&mut bytes)? {
                    false => Y4mState::Header,
                    true => self.begin(0, out)?,
                },
                Y4mState::FrameHeader(planes) => match self.take_line(&mut bytes) {
                    Ok(false) => Y4mState::FrameHeader(planes),
                    Ok(true) if is_frame_header(&self.line) => {
                        self.line.clear();
                        self.astray = 0;
                        Y4mState::Picture(planes)
                    }
                    Ok(true) if self.line.starts_with(MAGIC) => self.begin(0, out)?,
                    read => {
                        let is_stream = out.counters.items > 0 && self.astray < ASTRAY_MAX;
                        if !is_stream {
                            read?;
                            return Err(StreamError::Header("there is no FRAME before a picture"));
                        }
                        out.counters.damaged += 1;
                        self.astray += 1;
                        match read {
                            Ok(_) => self.resume(planes, out)?,
                            Err(_) => Y4mState::Lost(planes),
                        }
                    }
                },
                Y4mState::Lost(planes) => match self.take_line_end(&mut bytes) {
                    true => self.resume(planes, out)?,
                    false => Y4mState::Lost(planes),
                },
                Y4mState::Picture(mut planes) => match planes.take(&mut bytes) {
                    None => Y4mState::Picture(planes),
                    Some(item) => {
                        out.add(item);
                        Y4mState::FrameHeader(planes)
                    }
                },
                Y4mState::Failed => return Ok(()),
            };
        }
        Ok(())
    }

    /// Handles the end of the stream.
    pub fn finish(&mut self, out: &mut ParserOutput) {
        let is_whole = matches!(self.state, Y4mState::FrameHeader(_)) && self.line.is_empty();
        out.counters.damaged += u64::from(!is_whole);
    }

    /// The bytes of allocated memory.
    #[cfg(feature = "testing")]
    pub fn bytes(&self) -> usize {
        let planes = match &self.state {
            Y4mState::FrameHeader(planes) | Y4mState::Picture(planes) | Y4mState::Lost(planes) => {
                planes.bytes()
            }
            Y4mState::Header | Y4mState::Failed => 0,
        };
        planes + self.line.capacity()
    }

    /// Starts a stream with the parameters in `line` from `start` on.
    fn begin(&mut self, at: usize, out: &mut ParserOutput) -> Result<Y4mState, StreamError> {
        let header = Header::parse(&self.line[at..])?;
        out.info.size = Some(header.size);
        out.info.frame_rate = header.frame_rate;
        self.line.clear();
        Ok(Y4mState::FrameHeader(PlaneReader::new(header.size, header.pixels)))
    }

    /// Handles a complete line that may end with a line of the format.
    fn resume(
        &mut self,
        planes: PlaneReader,
        out: &mut ParserOutput,
    ) -> Result<Y4mState, StreamError> {
        let begins = |line: &[u8]| line.starts_with(MAGIC) || is_frame_header(line);
        let found = (0..self.line.len()).rev().find(|at| begins(&self.line[*at..]));
        if let Some(at) = found.filter(|at| self.line[*at..].starts_with(MAGIC)) {
            return self.begin(at, out);
        }
        self.line.clear();
        Ok(if found.is_some() { Y4mState::Picture(planes) } else { Y4mState::Lost(planes) })
    }

    /// Moves bytes from the front of `bytes` to `line` until it is complete. Keeps the end of a long line.
    fn take_line_end(&mut self, bytes: &mut &[u8]) -> bool {
        let end = memchr::memchr(b'\n', bytes);
        let part = &bytes[..end.unwrap_or(bytes.len())];
        *bytes = &bytes[end.map_or(bytes.len(), |end| end + 1)..];
        self.line.extend_from_slice(&part[part.len().saturating_sub(LINE_MAX_BYTES)..]);
        self.line.drain(..self.line.len().saturating_sub(LINE_MAX_BYTES));
        end.is_some()
    }

    /// Moves bytes from the front of `bytes` to `line` until it is complete, without its newline.
    fn take_line(&mut self, bytes: &mut &[u8]) -> Result<bool, StreamError> {
        let room = LINE_MAX_BYTES - self.line.len();
        let window = &bytes[..bytes.len().min(room)];
        let end = memchr::memchr(b'\n', window);
        self.line.extend_from_slice(&window[..end.unwrap_or(window.len())]);
        *bytes = &bytes[end.map_or(window.len(), |end| end + 1)..];
        if end.is_none() && self.line.len() == LINE_MAX_BYTES {
            return Err(StreamError::Header("a header line is longer than 256 bytes"));
        }
        Ok(end.is_some())
    }
}

fn is_frame_header(line: &[u8]) -> bool {
    line.strip_prefix(b"FRAME").is_some_and(|rest| rest.is_empty() || rest[0] == b' ')
}

/// The first line.
struct Header {
    size: Size,
    pixels: PixelFormat,
    frame_rate: Option<FrameRate>,
}

impl Header {
    fn parse(line: &[u8]) -> Result<Header, StreamError> {
        let (mut width, mut height, mut frame_rate) = (None, None, None);
        let mut pixels = PixelFormat::PICTURE;
        for parameter in line.split(|byte| *byte == b' ').skip(1) {
            work::step();
            let Some((name, value)) = parameter.split_first() else { continue };
            match name {
                b'W' => {
                    width = Some(
                        number(value).ok_or(StreamError::Header("its width is not a number"))?,
                    )
                }
                b'H' => {
                    height = Some(
                        number(value).ok_or(StreamError::Header("its height is not a number"))?,
                    )
                }
                b'F' => {
                    let rate = rational(value)
                        .ok_or(StreamError::Header("its frame rate is not a ratio"))?;
                    frame_rate = FrameRate::new(rate.0, rate.1);
                }
                b'I' => check_interlacing(value)?,
                b'C' => check_chroma(value)?,
                // The range is said in a comment, by ffmpeg alone (libavformat/yuv4mpegenc.c).
                b'X' if value == b"COLORRANGE=FULL" => pixels.full_range = true,
                // The shape of pixels (A), other comments (X), and what is not known yet.
                _ => {}
            }
        }
        let width = width.ok_or(StreamError::Header("it has no width"))?;
        let height = height.ok_or(StreamError::Header("it has no height"))?;
        Ok(Header { size: check_encoded_size(width, height)?, pixels, frame_rate })
    }
}

/// At most 9 digits.
fn number(digits: &[u8]) -> Option<u64> {
    let is_short = (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    is_short.then(|| digits.iter().fold(0, |value, digit| 10 * value + u64::from(digit - b'0')))
}

fn rational(text: &[u8]) -> Option<(u64, u64)> {
    let colon = text.iter().position(|byte| *byte == b':')?;
    Some((number(&text[..colon])?, number(&text[colon + 1..])?))
}

fn check_interlacing(value: &[u8]) -> Result<(), StreamError> {
    match value {
        b"p" | b"?" => Ok(()),
        b"t" | b"b" | b"m" => Err(StreamError::Interlaced),
        _ => Err(StreamError::Header("its interlacing is unknown")),
    }
}

/// The variants of 4:2:0 differ only in the position of the chroma samples.
fn check_chroma(value: &[u8]) -> Result<(), StreamError> {
    match value {
        b"420" | b"420jpeg" | b"420mpeg2" | b"420paldv" => Ok(()),
        // Those with more bits have a suffix, such as p10.
        [b'4', b'2', b'0', ..] => Err(StreamError::PixelFormat("4:2:0 with more than 8 bits")),
        [b'4', b'2', b'2', ..] => Err(StreamError::PixelFormat("4:2:2")),
        [b'4', b'4', b'4', ..] => Err(StreamError::PixelFormat("4:4:4")),
        [b'4', b'1', b'1', ..] => Err(StreamError::PixelFormat("4:1:1")),
        [b'm', b'o', b'n', b'o', ..] => Err(StreamError::PixelFormat("monochrome")),
        _ => Err(StreamError::PixelFormat("in no pixel format of yuv4mpeg2")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::parse::ParsedItem;

    /// The pictures of a stream in pieces, and its error.
    fn read(stream: &[u8], piece_bytes: usize) -> (ParserOutput, Result<(), StreamError>) {
        let (mut y4m, mut out) = (Y4m::new(), ParserOutput::default());
        for piece in stream.chunks(piece_bytes) {
            if let Err(error) = y4m.push(piece, &mut out) {
                return (out, Err(error));
            }
        }
        y4m.finish(&mut out);
        (out, Ok(()))
    }

    fn error(header: &str) -> Option<StreamError> {
        let stream = format!("YUV4MPEG2 {header}\nFRAME\n");
        read(stream.as_bytes(), 9).1.err()
    }

    /// A picture of 16x16 whose samples are all this byte.
    fn picture(byte: u8) -> Vec<u8> {
        vec![byte; 16 * 16 * 3 / 2]
    }

    #[test]
    fn pictures_and_parameters_are_the_same_however_the_stream_is_cut() {
        let mut stream =
            b"YUV4MPEG2 W16 H16 F30000:1001 Ip A1:1 C420jpeg XYSCSS=420JPEG\n".to_vec();
        stream.extend([b"FRAME\n", &picture(b'\n')[..], b"FRAME Ippp\n", &picture(b'l')].concat());
        for piece_bytes in 1..=stream.len() {
            let (out, result) = read(&stream, piece_bytes);
            assert_eq!(result, Ok(()), "in pieces of {piece_bytes}");
            assert_eq!(out.info.size, Some(Size { width: 16, height: 16 }));
            assert_eq!(out.info.frame_rate, FrameRate::new(30_000, 1_001));
            let last = |item: &ParsedItem| match item {
                ParsedItem::Picture(picture) => picture.v.samples[63],
                other => panic!("{other:?}"),
            };
            assert_eq!(out.items.iter().map(last).collect::<Vec<_>>(), *b"\nl");
            assert_eq!(out.counters.damaged, 0);
        }
        assert_eq!(read(&stream[..stream.len() - 1], 5).0.counters.damaged, 1);
    }

    #[test]
    fn full_range_is_known_by_its_comment() {
        for (comments, full_range) in [
            ("XYSCSS=420JPEG XCOLORRANGE=FULL", true),
            ("XCOLORRANGE=LIMITED", false),
            ("XYSCSS=420JPEG", false),
        ] {
            let header = format!("YUV4MPEG2 W16 H16 F25:1 C420jpeg {comments}\nFRAME\n");
            let stream = [header.as_bytes(), &[0, 127, 122, 255], &picture(0)[4..]].concat();
            let (mut out, result) = read(&stream, 9);
            assert_eq!(result, Ok(()));
            let picture = match out.items.pop_front() {
                Some(ParsedItem::Picture(picture)) if !full_range => picture,
                Some(ParsedItem::Samples(samples)) if full_range => samples.into_picture(),
                other => panic!("{comments}: {other:?}"),
            };
            let expected = if full_range { [16, 125, 121, 235] } else { [0, 127, 122, 255] };
            assert_eq!(picture.y.samples[..4], expected, "{comments}");
        }
    }

    #[test]
    fn what_is_not_progressive_420_is_refused_by_name() {
        assert_eq!(error("W64 H48"), None);
        for tag in ["420", "420jpeg", "420mpeg2", "420paldv"] {
            assert_eq!(error(&format!("W64 H48 C{tag}")), None);
        }
        for (tag, name) in [
            ("422", "4:2:2"),
            ("444", "4:4:4"),
            ("411", "4:1:1"),
            ("420p10", "4:2:0 with more than 8 bits"),
            ("444alpha", "4:4:4"),
            ("mono", "monochrome"),
            ("mono16", "monochrome"),
            ("", "in no pixel format of yuv4mpeg2"),
            ("s3cret", "in no pixel format of yuv4mpeg2"),
        ] {
            assert_eq!(error(&format!("W64 H48 C{tag}")), Some(StreamError::PixelFormat(name)));
        }
        for order in ["It", "Ib", "Im"] {
            assert_eq!(error(&format!("W64 H48 {order}")), Some(StreamError::Interlaced));
        }
        assert_eq!(error("W64 H48 I?"), None);
    }

    #[test]
    fn sizes_are_bounded_before_memory_is_taken() {
        assert_eq!(error("W65 H48"), Some(StreamError::OddSize(65, 48)));
        assert_eq!(error("W0 H48"), Some(StreamError::Size(0, 48)));
        assert_eq!(error("W3842 H2160"), Some(StreamError::Size(3842, 2160)));
        assert_eq!(error("W999999999 H999999999"), Some(StreamError::Size(999999999, 999999999)));
        assert_eq!(
            error("W9999999999 H48"),
            Some(StreamError::Header("its width is not a number"))
        );
        assert_eq!(error("H48"), Some(StreamError::Header("it has no width")));
        assert_eq!(error("W8 H64"), Some(StreamError::TooSmall(8, 64)));
        assert_eq!(error("W64 H14"), Some(StreamError::TooSmall(64, 14)));
        assert_eq!(error("W16 H16"), None);
        assert_eq!(error("W64"), Some(StreamError::Header("it has no height")));
        assert_eq!(error("W-4 H48"), Some(StreamError::Header("its width is not a number")));
    }

    #[test]
    fn frame_rates_that_make_no_sense_are_none() {
        let rate = |text: &str| {
            let (out, result) = read(format!("YUV4MPEG2 W64 H48 F{text}\n").as_bytes(), 100);
            result.map(|()| out.info.frame_rate)
        };
        assert_eq!(rate("25:1"), Ok(FrameRate::new(25, 1)));
        for text in ["0:0", "25:0", "0:1", "1000000:1", "1:1000000"] {
            assert_eq!(rate(text), Ok(None));
        }
        assert_eq!(rate("25"), Err(StreamError::Header("its frame rate is not a ratio")));
    }

    #[test]
    fn lines_are_bounded_and_a_picture_needs_its_header() {
        let long = format!("W64 H48 X{}", "x".repeat(LINE_MAX_BYTES));
        assert!(matches!(error(&long), Some(StreamError::Header(_))));
        let (out, result) = read(b"YUV4MPEG2 W16 H16\nFRAMES\nabcdefghijkl", 7);
        assert_eq!(out.items.len(), 0);
        assert_eq!(result, Err(StreamError::Header("there is no FRAME before a picture")));
    }

    #[test]
    fn after_something_else_pictures_go_on_and_a_further_header_begins_a_stream() {
        let first = [b"YUV4MPEG2 W16 H16 F25:1\nFRAME\n", &picture(b'a')[..]].concat();
        let second = [b"FRAME\n", &picture(b'A')[..]].concat();
        let larger = [b"YUV4MPEG2 W32 H16 F30:1\nFRAME\n", &[b'1'; 768][..]].concat();
        let long = [b'x'; 2 * LINE_MAX_BYTES];
        for between in [&b""[..], b"FRAMES\nFRAM\n", b"FRAM", b"\n\n\nYUV4MPEG3 ", &long] {
            let stream = [&first[..], between, &second, between, &larger].concat();
            for piece_bytes in (1..400).chain([stream.len()]) {
                let (out, result) = read(&stream, piece_bytes);
                assert_eq!(result, Ok(()), "{between:?} in pieces of {piece_bytes}");
                let luma = |item: &ParsedItem| match item {
                    ParsedItem::Picture(picture) => (picture.y.samples.len(), picture.y.samples[0]),
                    other => panic!("{other:?}"),
                };
                let pictures: Vec<(usize, u8)> = out.items.iter().map(luma).collect();
                assert_eq!(pictures, [(256, b'a'), (256, b'A'), (512, b'1')]);
                assert_eq!(out.info.frame_rate, FrameRate::new(30, 1));
                assert_eq!(out.counters.damaged, if between.is_empty() { 0 } else { 2 });
            }
        }
        // A writer that is killed within a picture, and the next one.
        let cut = [&first[..], &second[..second.len() - 4], &first.repeat(3)].concat();
        let (out, result) = read(&cut, 9);
        assert_eq!((out.items.len(), out.counters.damaged, result), (5, 1, Ok(())));
        let never = [&first[..], &[&second[..], b"mnop"].concat().repeat(20)].concat();
        assert!(matches!(read(&never, 9).1, Err(StreamError::Header(_))));
        let refused = [&first[..], b"YUV4MPEG2 W16 H16 C444\n"].concat();
        assert!(matches!(read(&refused, 9).1, Err(StreamError::PixelFormat(_))));
    }
}
