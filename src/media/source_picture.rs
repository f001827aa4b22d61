//! Pictures as a source delivers them.

use super::{Frame, Picture, Samples, Size};

/// A picture to encode.
#[derive(Debug)]
pub enum SourcePicture {
    Picture(Picture),
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
