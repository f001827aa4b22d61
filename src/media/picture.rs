//! Raw pictures in I420 (full-size luma, chroma at half the size in both directions), and pictures as a source
//! delivers them.

use std::fmt;

use super::{Frame, Samples};

/// Width and height in luma pixels, both even, as 4:2:0 chroma needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub width: usize,
    pub height: usize,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// A colour in limited-range BT.601, the range that H.264 in a browser assumes for small pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour {
    pub y: u8,
    pub u: u8,
    pub v: u8,
}

impl Colour {
    pub const BLACK: Colour = Colour { y: 16, u: 128, v: 128 };
    /// sRGB (0, 255, 0).
    pub const GREEN: Colour = Colour { y: 145, u: 54, v: 34 };
}

/// One plane of a picture, rows without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plane {
    pub width: usize,
    pub height: usize,
    pub samples: Vec<u8>,
}

impl Plane {
    fn filled(width: usize, height: usize, value: u8) -> Plane {
        Plane { width, height, samples: vec![value; width * height] }
    }

    /// Row `y` from its left edge, `width` samples.
    pub fn row_mut(&mut self, y: usize) -> &mut [u8] {
        &mut self.samples[y * self.width..][..self.width]
    }

    #[cfg(feature = "testing")]
    pub fn at(&self, x: usize, y: usize) -> u8 {
        self.samples[y * self.width + x]
    }
}

/// One picture in I420.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    pub y: Plane,
    pub u: Plane,
    pub v: Plane,
}

impl Picture {
    /// A picture of one colour. `size` is even in both directions.
    pub fn filled(size: Size, colour: Colour) -> Picture {
        debug_assert!(size.width.is_multiple_of(2) && size.height.is_multiple_of(2));
        let (chroma_width, chroma_height) = (size.width / 2, size.height / 2);
        Picture {
            y: Plane::filled(size.width, size.height, colour.y),
            u: Plane::filled(chroma_width, chroma_height, colour.u),
            v: Plane::filled(chroma_width, chroma_height, colour.v),
        }
    }

    pub fn size(&self) -> Size {
        Size { width: self.y.width, height: self.y.height }
    }
}

/// A picture to encode.
#[derive(Debug)]
pub enum SourcePicture {
    Picture(Picture),
    /// Why there is no picture, as text, in the size of oriented pictures. Shown as it is.
    NoSignal(Picture),
    /// Not yet converted.
    Samples(Samples),
    Jpeg(Jpeg),
    /// A key frame of H.264, which is passed on unchanged. For snapshots only.
    Keyframe(Frame),
}

/// One JPEG, from SOI to EOI, with Huffman tables. Its data may be damaged: see [`check_jpeg`](crate::source::parse::check_jpeg).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jpeg {
    pub data: Vec<u8>,
    /// Without the last row or column if its own size is odd.
    pub size: Size,
}
