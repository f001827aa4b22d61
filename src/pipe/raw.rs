//! Pictures in I420 without headers: the planes of one after those of the other, without padding.

use super::{Item, Output};
use crate::media::{Picture, Plane, Size};
use crate::work;

/// Puts the bytes of pictures of one size together, plane by plane.
pub struct PlaneReader {
    size: Size,
    /// Luma and the two planes of chroma, as far as they have come.
    planes: [Vec<u8>; 3],
}

impl PlaneReader {
    /// A reader for pictures of this size, which is even and bounded.
    pub fn new(size: Size) -> PlaneReader {
        PlaneReader { size, planes: Default::default() }
    }

    /// Takes bytes off the front of `bytes`, at most as many as the picture under way lacks. A
    /// picture comes out with its last byte.
    pub fn take(&mut self, bytes: &mut &[u8]) -> Option<Picture> {
        let mut incomplete = false;
        for (index, plane) in self.planes.iter_mut().enumerate() {
            work::step();
            let area = area(self.size, index);
            if plane.capacity() < area {
                plane.reserve_exact(area - plane.len());
            }
            let (part, rest) = bytes.split_at(bytes.len().min(area - plane.len()));
            plane.extend_from_slice(part);
            *bytes = rest;
            incomplete |= plane.len() < area;
            if incomplete {
                return None;
            }
        }
        let [y, u, v] = std::mem::take(&mut self.planes);
        let (width, height) = (self.size.width, self.size.height);
        let chroma = |samples| Plane { width: width / 2, height: height / 2, samples };
        Some(Picture { y: Plane { width, height, samples: y }, u: chroma(u), v: chroma(v) })
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

fn area(size: Size, plane: usize) -> usize {
    match plane {
        0 => size.width * size.height,
        _ => (size.width / 2) * (size.height / 2),
    }
}

/// The parser of one stream.
pub struct Raw(PlaneReader);

impl Raw {
    /// A parser of pictures of this size, which is even and bounded.
    pub fn new(size: Size) -> Raw {
        Raw(PlaneReader::new(size))
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Output) {
        while !bytes.is_empty() {
            if let Some(picture) = self.0.take(&mut bytes) {
                out.add(Item::Picture(picture));
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

    const SIZE: Size = Size { width: 4, height: 2 };

    fn pictures(stream: &[u8], piece_bytes: usize) -> (Vec<Picture>, u64) {
        let (mut raw, mut out) = (Raw::new(SIZE), Output::default());
        for piece in stream.chunks(piece_bytes) {
            raw.push(piece, &mut out);
            assert!(raw.bytes() <= 12);
        }
        raw.finish(&mut out);
        let pictures = out.items.into_iter().map(|item| match item {
            Item::Picture(picture) => picture,
            other => panic!("{other:?}"),
        });
        (pictures.collect(), out.counters.damaged)
    }

    #[test]
    fn pictures_are_cut_out_at_every_size_of_pieces() {
        let stream: Vec<u8> = (0..30).collect();
        for piece_bytes in 1..=stream.len() {
            let (pictures, damaged) = pictures(&stream, piece_bytes);
            assert_eq!(pictures.len(), 2, "in pieces of {piece_bytes}");
            assert_eq!(pictures[1].size(), SIZE);
            assert_eq!(pictures[1].y.samples, (12..20).collect::<Vec<u8>>());
            assert_eq!(pictures[1].u.samples, [20, 21]);
            assert_eq!(pictures[1].v.samples, [22, 23]);
            assert_eq!(damaged, 1, "the third picture");
        }
        assert_eq!(pictures(&stream[..24], 7).1, 0);
    }
}
