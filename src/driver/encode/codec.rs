//! What all video encoders have in common.

use std::io;
use std::time::Instant;

use crate::media::{Frame, Picture};

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

    /// Tells how many pictures come in a second, at least 1: a bitrate is spread over them.
    fn set_rate(&mut self, frames_per_second: u32);
}
