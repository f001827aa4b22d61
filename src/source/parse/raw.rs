//! Parses raw pictures without headers: plane after plane, without padding.

use super::format::Y4M;
use super::{ParsedItem, ParserOutput, StreamError, StreamFormat};
use crate::media::{PixelFormat, Samples, Size};
use crate::work;

/// Assembles pictures of one size, plane by plane.
pub struct PlaneReader {
    size: Size,
    format: PixelFormat,
    /// The bytes that have come.
    planes: [Vec<u8>; 3],
}

impl PlaneReader {
    /// A reader for pictures of this size, which is even and bounded.
    pub fn new(size: Size, format: PixelFormat) -> PlaneReader {
        PlaneReader { size, format, planes: Default::default() }
    }

    /// Takes bytes from the front of `bytes`, at most as many as the current picture lacks. Returns the
    /// picture with its last byte.
    pub fn take(&mut self, bytes: &mut &[u8]) -> Option<ParsedItem> {
        let areas = self.format.layout.plane_bytes(self.size);
        for (plane, area) in self.planes.iter_mut().zip(areas) {
            work::step();
            if plane.capacity() < area {
                plane.reserve_exact(area - plane.len());
            }
            let (part, rest) = bytes.split_at(bytes.len().min(area - plane.len()));
            plane.extend_from_slice(part);
            *bytes = rest;
            if plane.len() < area {
                return None;
            }
        }
        let planes = std::mem::take(&mut self.planes);
        let samples = Samples { size: self.size, format: self.format, planes };
        Some(match self.format {
            PixelFormat::PICTURE => ParsedItem::Picture(samples.into_picture()),
            _ => ParsedItem::Samples(samples),
        })
    }

    /// Whether a picture is incomplete.
    pub fn is_under_way(&self) -> bool {
        !self.planes[0].is_empty()
    }

    /// The bytes of allocated memory.
    #[cfg(feature = "testing")]
    pub fn bytes(&self) -> usize {
        self.planes.iter().map(Vec::capacity).sum()
    }
}

/// How many of the first bytes of a stream tell a header.
const HEADER_BYTES: usize = 10;

/// The parser of one stream.
pub struct RawPlanes {
    pictures: PlaneReader,
    /// The first bytes, at most [`HEADER_BYTES`].
    first: Vec<u8>,
}

impl RawPlanes {
    /// A parser of pictures of this size, which is even and bounded.
    pub fn new(size: Size, format: PixelFormat) -> RawPlanes {
        RawPlanes { pictures: PlaneReader::new(size, format), first: Vec::new() }
    }

    /// Parses the next bytes of the stream.
    ///
    /// # Errors
    /// [`StreamError::NotRaw`]: it begins with a header.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut ParserOutput) -> Result<(), StreamError> {
        let lacks = HEADER_BYTES - self.first.len();
        if lacks > 0 {
            self.first.extend_from_slice(&bytes[..lacks.min(bytes.len())]);
            if let Some(format) = format_of(&self.first) {
                return Err(StreamError::NotRaw(format));
            }
        }
        while !bytes.is_empty() {
            if let Some(item) = self.pictures.take(&mut bytes) {
                out.add(item);
            }
        }
        Ok(())
    }

    /// The stream has ended.
    pub fn finish(&mut self, out: &mut ParserOutput) {
        out.counters.damaged += u64::from(self.pictures.is_under_way());
    }

    #[cfg(feature = "testing")]
    pub fn bytes(&self) -> usize {
        self.pictures.bytes()
    }
}

/// The format of a stream whose first bytes are no pixels: an SPS of a profile, the first segment of a
/// JPEG file, or the word of yuv4mpeg2.
fn format_of(first: &[u8]) -> Option<StreamFormat> {
    match first {
        [0, 0, 0, 1, 0x27 | 0x47 | 0x67, 66 | 77 | 88 | 100 | 110 | 122 | 244, ..] => {
            Some(StreamFormat::H264)
        }
        [0xff, 0xd8, 0xff, 0xc4 | 0xdb | 0xe0..=0xef, ..] => Some(StreamFormat::Mjpeg),
        _ if first.starts_with(Y4M) => Some(StreamFormat::Y4m),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Layout;

    const SIZE: Size = Size { width: 4, height: 2 };

    fn items(layout: Layout, stream: &[u8], piece_bytes: usize) -> (Vec<ParsedItem>, u64) {
        let mut out = ParserOutput::default();
        let mut raw = RawPlanes::new(SIZE, PixelFormat::usual(layout));
        for piece in stream.chunks(piece_bytes) {
            raw.push(piece, &mut out).unwrap();
            assert!(raw.bytes() <= 24);
        }
        raw.finish(&mut out);
        (out.items.into(), out.counters.damaged)
    }

    #[test]
    fn pictures_are_cut_out_at_every_size_of_pieces() {
        let stream: Vec<u8> = (0..30).collect();
        for piece_bytes in 1..=stream.len() {
            let (items, damaged) = items(Layout::I420, &stream, piece_bytes);
            let [_, ParsedItem::Picture(picture)] = &items[..] else { panic!("{items:?}") };
            assert_eq!(picture.size(), SIZE);
            assert_eq!(picture.y.samples, (12..20).collect::<Vec<u8>>());
            assert_eq!(picture.u.samples, [20, 21]);
            assert_eq!(picture.v.samples, [22, 23]);
            assert_eq!(damaged, 1, "the third picture");
        }
        assert_eq!(items(Layout::I420, &stream[..24], 7).1, 0);
    }

    #[test]
    fn pictures_of_each_layout_have_their_own_length() {
        let stream: Vec<u8> = (0..48).collect();
        for (layout, bytes) in [
            (Layout::Nv12, 12),
            (Layout::Yuyv, 16),
            (Layout::Bgr24, 24),
            (Layout::Rgb24, 24),
            (Layout::Gray8, 8),
        ] {
            let (items, damaged) = items(layout, &stream, 5);
            assert_eq!((items.len(), damaged), (48 / bytes, 0), "{layout:?}");
            let ParsedItem::Samples(samples) = &items[1] else { panic!("{items:?}") };
            assert_eq!(samples.planes.concat(), stream[bytes..2 * bytes]);
        }
    }

    #[test]
    fn a_stream_with_a_header_is_not_taken_for_pixels() {
        for (stream, format) in [
            (&b"\0\0\0\x01\x67\x42\xc0\x1e\x8c\x8d\x40"[..], StreamFormat::H264),
            (b"\xff\xd8\xff\xe0\0\x10JFIF\0", StreamFormat::Mjpeg),
            (b"YUV4MPEG2 W4 H2", StreamFormat::Y4m),
        ] {
            for piece_bytes in 1..=stream.len() {
                let mut out = ParserOutput::default();
                let mut raw = RawPlanes::new(SIZE, PixelFormat::PICTURE);
                let mut pieces = stream.chunks(piece_bytes);
                let result = pieces.try_for_each(|piece| raw.push(piece, &mut out));
                assert_eq!(result, Err(StreamError::NotRaw(format)));
            }
        }
    }
}
