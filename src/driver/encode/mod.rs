//! Where frames come from: the driver's only seam to pictures.

pub mod assembly;
pub mod codec;
mod contained;
mod decode_h264;
mod h264;
pub mod jpeg;
mod latest;
mod picture_encoder;
pub(crate) mod pictures;
mod snapshot;
mod vp8;

use std::fmt;
use std::io;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
pub use contained::ContainedEncoder;
pub use picture_encoder::PictureEncoder;
pub use snapshot::snapshot;

use crate::media::{Codec, Damage, Frame, SnapshotError, SourcePicture};

/// One stream of pictures, and their encoding.
pub trait EncodePictures: Sized {
    /// A source of the same settings, with decoders and encoders of its own. Called after a panic in this
    /// one, of which nothing else can be relied on.
    fn renewed(&self) -> Self;

    /// Takes the picture of `now`, which is `wall` on the wall clock.
    fn capture(&mut self, now: Instant, wall: SystemTime) -> io::Result<()>;

    /// Takes a picture from outside, in place of a capture.
    fn show(&mut self, picture: SourcePicture, captured: Instant);

    /// The picture that was taken last, encoded.
    ///
    /// # Errors
    /// It cannot be decoded or encoded. The next one may be.
    fn encode(&mut self, codec: Codec) -> Result<Frame, PictureError>;

    /// A JPEG file of the picture that was taken last, scaled down to this even width or in its own.
    ///
    /// # Errors
    /// There is no such picture, none that is older than the last failed capture counts; or it is damaged,
    /// which is told once.
    fn snapshot(&mut self, width: Option<usize>) -> Result<Bytes, SnapshotError>;

    /// Makes the codec's next frame a key frame.
    fn force_keyframe(&mut self, codec: Codec);
}

/// Why a picture is left out. Displays as what the decoder or encoder says, for the log.
#[derive(Debug)]
pub struct PictureError {
    /// The same for everybody.
    pub damage: Damage,
    detail: String,
}

impl PictureError {
    pub fn new(damage: Damage, detail: impl fmt::Display) -> PictureError {
        PictureError { damage, detail: detail.to_string() }
    }
}

impl fmt::Display for PictureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for PictureError {}
