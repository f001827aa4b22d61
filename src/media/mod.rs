//! Pictures and frames: drawing them, encoding them, cutting them into RTP payloads.
//!
//! A *picture* is raw I420, a *frame* is one encoded access unit. Everything here is pure except
//! the encoders and the source that owns them, which are part of the driver's side of the wall.

mod ball;
mod frame;
mod h264;
mod picture;
mod stamp;
mod vp8;

#[cfg(feature = "driver")]
mod encoder;
#[cfg(feature = "driver")]
mod source;

pub use ball::Ball;
pub use frame::{Codec, Frame, MAX_PAYLOAD_BYTES};
pub use picture::{Colour, Picture, Plane, Size};
pub use stamp::{STAMP_WIDTH, read_stamp, stamp_of, write_stamp};

#[cfg(feature = "driver")]
pub use encoder::{Encode, Quality, encoder};
#[cfg(feature = "driver")]
pub use source::{BallSource, Source};
