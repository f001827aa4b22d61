//! Where frames come from: the driver's only seam to pictures.

mod ball;
pub mod encode;

use std::io;
use std::time::{Instant, SystemTime};

pub use ball::BallSource;

use crate::media::{Codec, Frame};

/// One stream of pictures, and their encoding.
pub trait Source {
    /// Takes the picture of `now`, which is `wall` on the wall clock.
    fn capture(&mut self, now: Instant, wall: SystemTime) -> io::Result<()>;

    /// The picture that was taken last, encoded.
    fn encode(&mut self, codec: Codec) -> io::Result<Frame>;

    /// Makes the codec's next frame a key frame.
    fn force_keyframe(&mut self, codec: Codec);
}
