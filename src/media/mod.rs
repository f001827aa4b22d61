//! Pictures and frames, pure.
//!
//! A *picture* is raw I420, a *frame* is one encoded access unit.

mod ball;
mod damage;
mod encoder;
mod frame;
pub mod h264;
mod label;
mod orientation;
mod picture;
mod samples;
mod scale;
mod stamp;
mod text;

pub use ball::Ball;
pub use damage::{Damage, SnapshotError};
pub use encoder::{EncoderName, HardwareFault};
pub(crate) use frame::FrameContent;
pub use frame::{Codec, Frame};
pub use h264::AccessUnit;
pub use label::Label;
pub use orientation::{Appearance, Orientation, Rotation};
pub use picture::{Colour, Jpeg, Picture, Plane, Size, SourcePicture};
pub use samples::{Layout, Matrix, PixelFormat, Samples, limited_chroma, limited_luma};
#[cfg(feature = "testing")]
pub use stamp::read_stamp;
pub use stamp::{STAMP_HEIGHT, STAMP_WIDTH, stamp_of, write_stamp};
#[cfg(feature = "testing")]
pub use text::draw_text;
pub use text::{has_room_for_words, no_signal};
