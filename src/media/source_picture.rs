//! A picture as a source delivers it.

use super::{Frame, Picture, Samples, Size};

/// A picture that is to be encoded.
#[derive(Debug)]
pub enum SourcePicture {
    Picture(Picture),
    /// Still to be converted.
    Samples(Samples),
    Jpeg(Jpeg),
    /// Of a stream of H.264, which is passed on as it is: for files of the picture alone.
    Keyframe(Frame),
}

/// One JPEG, from SOI to EOI, with Huffman tables. Its data may be damaged: see [`check_jpeg`](crate::source::parse::check_jpeg).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jpeg {
    pub data: Vec<u8>,
    /// Without a last row or column where its own size is odd.
    pub size: Size,
}
