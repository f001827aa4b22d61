//! Why a complete picture cannot be shown, and why there is no snapshot of one.

use std::fmt;

use super::Codec;

/// Why a complete picture cannot be shown. Displays as the end of a sentence about it, in our own words, so
/// that everybody may read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The data of a JPEG is invalid or incomplete.
    Decode,
    /// A key frame of H.264 that a snapshot needs is damaged, or cannot be decoded here.
    DecodeKeyframe,
    /// The encoder of this codec fails.
    Encode(Codec),
    /// The JPEG encoder fails.
    EncodeJpeg,
    /// A decoder, converter or encoder has panicked.
    Panic,
}

/// Why there is no JPEG file of the newest picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotError {
    /// There is no picture now: the source has failed, or has not delivered one yet.
    NoPicture,
    /// The picture cannot be decoded or encoded.
    Damaged(Damage),
    /// There is never a picture, as the source delivers encoded frames.
    NoPictures,
    /// The picture is only this wide, and is not scaled up.
    TooWide { picture_width: usize },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Decode => f.write_str("its JPEG data is damaged"),
            Damage::DecodeKeyframe => f.write_str("its key frame cannot be decoded"),
            Damage::Encode(codec) => write!(f, "the {} encoder failed on it", codec.name()),
            Damage::EncodeJpeg => f.write_str("the JPEG encoder failed on it"),
            Damage::Panic => f.write_str("Ballcast failed to convert it, which is a bug"),
        }
    }
}
