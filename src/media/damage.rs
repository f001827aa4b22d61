//! What is wrong with a picture that came whole and cannot be shown.

use std::fmt;

use super::Codec;

/// What is wrong with a picture that came whole and cannot be shown. Displays as the end of a sentence about
/// it, in our own words: everybody may read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The data of a JPEG contradicts itself, or some of it is missing.
    Decode,
    /// A key frame of H.264 that a file is asked of is damaged, or is not decoded here.
    DecodeKeyframe,
    /// A JPEG of a kind that is not decoded: its name, as in "it has arithmetic coding".
    Unsupported(&'static str),
    /// The encoder of this codec fails at it.
    Encode(Codec),
    /// No JPEG file can be made of it.
    EncodeJpeg,
    /// A decoder, converter or encoder has panicked.
    Panic,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Decode => f.write_str("its JPEG data is damaged"),
            Damage::DecodeKeyframe => f.write_str("its key frame cannot be decoded"),
            Damage::Unsupported(what) => write!(f, "it has {what}, which Ballcast cannot decode"),
            Damage::Encode(codec) => write!(f, "the {} encoder failed on it", codec.name()),
            Damage::EncodeJpeg => f.write_str("the JPEG encoder failed on it"),
            Damage::Panic => f.write_str("Ballcast failed to convert it, which is a bug"),
        }
    }
}
