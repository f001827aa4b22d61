//! Pictures to frames and JPEG files.

pub mod assembly;
mod awaited;
pub mod codec;
mod contained;
mod decode_h264;
pub mod finish;
mod h264;
pub mod hardware;
pub mod jpeg;
mod latest;
mod picture_encoder;
pub(crate) mod pictures;
mod rate;
mod snapshot;
mod vp8;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use codec::{Encode, Quality};
pub use contained::ContainedEncoder;
use mio::Registry;
pub use picture_encoder::PictureEncoder;
pub use snapshot::snapshot;

use crate::media::{Codec, Damage, EncoderName, Frame, SnapshotError, SourcePicture};

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

/// Captures or takes pictures, and encodes them.
pub trait EncodePictures: Sized {
    /// Returns an instance with the same settings and new decoders and encoders. Called after a panic, when
    /// nothing but the settings of this instance can be relied on.
    fn renewed(&self) -> Self;

    /// Captures the picture of `now`, which is `wall` on the wall clock.
    ///
    /// # Errors
    /// There is no picture. The next capture may succeed.
    fn capture(&mut self, now: Instant, wall: SystemTime) -> io::Result<()>;

    /// Takes a picture of the source in place of a capture.
    fn show(&mut self, picture: SourcePicture, captured: Instant);

    /// Has the picture encoded that was taken last.
    ///
    /// # Errors
    /// The picture cannot be decoded or encoded. The next one may succeed.
    fn encode(&mut self, codec: Codec) -> Result<Encoded, PictureError>;

    /// The encoder that makes H.264, once one does.
    fn encoder_name(&self) -> Option<EncoderName> {
        None
    }

    /// Takes the next frame that was to come later, if it has come. If its encoder has failed, that is the frame of
    /// the picture that was taken last.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    fn take(&mut self) -> Option<Result<Frame, PictureError>> {
        None
    }

    /// When to call [`take`](Self::take) at the latest.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Frames that have come make an event with [`ENCODER`](super::tokens::ENCODER) in the poll of this registry.
    fn set_registry(&mut self, _registry: Arc<Registry>) {}

    /// Makes a JPEG file of the picture that was taken last, in its own width, or scaled down to this even width.
    ///
    /// # Errors
    /// There is no picture since the last failed capture; or it is damaged, which is reported once.
    fn snapshot(&mut self, width: Option<usize>) -> Result<Bytes, SnapshotError>;

    /// Makes the codec's next frame a key frame.
    fn force_keyframe(&mut self, codec: Codec);
}

/// What has become of a picture that is to be encoded.
#[derive(Debug)]
pub enum Encoded {
    Frame(Frame),
    /// The encoder is at work: [`EncodePictures::take`] has the frame later.
    Later,
    /// The encoder is busy with the pictures before.
    LeftOut,
}

impl Encoded {
    /// The frame, if it is there.
    #[cfg(any(test, feature = "testing"))]
    pub fn frame(self) -> Option<Frame> {
        match self {
            Encoded::Frame(frame) => Some(frame),
            Encoded::Later | Encoded::LeftOut => None,
        }
    }
}

/// Why a picture is dropped. Displays as the message of the decoder or encoder, for the log.
#[derive(Debug)]
pub struct PictureError {
    /// The reason that everybody may read.
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
