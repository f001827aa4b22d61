//! Video encoders, one for each codec.

use std::io;
use std::time::Instant;

use super::{h264, vp8};
use crate::media::{Codec, Frame, Picture};

/// What an encoder keeps constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quality {
    /// The quantiser. The ball then takes about 45 kbit/s of H.264, or 370 kbit/s of VP8.
    Constant,
    /// The bitrate, in bits per second.
    Bitrate(u32),
}

/// An encoder of one stream. It runs on the caller's thread.
pub trait Encode {
    /// Encodes the next picture, in order of capture.
    fn encode(&mut self, picture: &Picture, captured: Instant) -> io::Result<Frame>;

    /// Makes the next frame a key frame.
    fn force_keyframe(&mut self);
}

/// Makes an encoder for pictures of one size, up to 3840×2160 or 2160×3840.
///
/// # Errors
/// The codec's library rejects the settings.
pub fn encoder(
    codec: Codec,
    frames_per_second: u32,
    quality: Quality,
) -> io::Result<Box<dyn Encode>> {
    Ok(match codec {
        Codec::H264 => Box::new(h264::H264Encoder::new(frames_per_second, quality)?),
        Codec::Vp8 => Box::new(vp8::Vp8Encoder::new(frames_per_second, quality)?),
    })
}
