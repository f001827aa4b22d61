//! Pictures without headers: the planes of one after those of the other, without padding.

use super::{Item, Output};
use crate::media::{PixelFormat, Samples, Size};
use crate::work;

/// Puts the bytes of pictures of one size together, plane by plane.
pub struct PlaneReader {
    size: Size,
    format: PixelFormat,
    /// As far as they have come.
    planes: [Vec<u8>; 3],
}

impl PlaneReader {
    /// A reader for pictures of this size, which is even and bounded.
    pub fn new(size: Size, format: PixelFormat) -> PlaneReader {
        PlaneReader { size, format, planes: Default::default() }
    }

    /// Takes bytes off the front of `bytes`, at most as many as the picture under way lacks. A
    /// picture comes out with its last byte.
    pub fn take(&mut self, bytes: &mut &[u8]) -> Option<Item> {
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
            PixelFormat::PICTURE => Item::Picture(samples.into_picture()),
            _ => Item::Samples(samples),
        })
    }

    /// Whether a picture has begun and is not complete.
    pub fn is_under_way(&self) -> bool {
        !self.planes[0].is_empty()
    }

    /// The bytes that are kept, in allocated memory.
    pub fn bytes(&self) -> usize {
        self.planes.iter().map(Vec::capacity).sum()
    }
}

/// The parser of one stream.
pub struct Raw(PlaneReader);

impl Raw {
    /// A parser of pictures of this size, which is even and bounded.
    pub fn new(size: Size, format: PixelFormat) -> Raw {
        Raw(PlaneReader::new(size, format))
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Output) {
        while !bytes.is_empty() {
            if let Some(item) = self.0.take(&mut bytes) {
                out.add(item);
            }
        }
    }

    /// The stream has ended.
    pub fn finish(&mut self, out: &mut Output) {
        out.counters.damaged += u64::from(self.0.is_under_way());
    }

    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Layout;

    const SIZE: Size = Size { width: 4, height: 2 };

    fn items(layout: Layout, stream: &[u8], piece_bytes: usize) -> (Vec<Item>, u64) {
        let mut out = Output::default();
        let mut raw = Raw::new(SIZE, PixelFormat::usual(layout));
        for piece in stream.chunks(piece_bytes) {
            raw.push(piece, &mut out);
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
            let [_, Item::Picture(picture)] = &items[..] else { panic!("{items:?}") };
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
        for (layout, bytes) in
            [(Layout::Nv12, 12), (Layout::Bgr24, 24), (Layout::Rgb24, 24), (Layout::Gray8, 8)]
        {
            let (items, damaged) = items(layout, &stream, 5);
            assert_eq!((items.len(), damaged), (48 / bytes, 0), "{layout:?}");
            let Item::Samples(samples) = &items[1] else { panic!("{items:?}") };
            assert_eq!(samples.planes.concat(), stream[bytes..2 * bytes]);
        }
    }
}
