//! Pictures and frames, pure.
//!
//! A *picture* is raw I420, a *frame* is one encoded access unit.

mod ball;
mod damage;
mod frame;
pub mod h264;
mod picture;
mod samples;
mod scale;
mod stamp;
mod text;

pub use ball::Ball;
pub use damage::{Damage, SnapshotError};
pub(crate) use frame::FrameContent;
pub use frame::{Codec, Frame};
pub use h264::AccessUnit;
pub use picture::{Colour, Jpeg, Picture, Plane, Size, SourcePicture};
pub use samples::{Layout, Matrix, PixelFormat, Samples, limited_chroma, limited_luma};
pub use stamp::{STAMP_WIDTH, read_stamp, stamp_of, write_stamp};
pub use text::{draw_text, has_room_for_words, no_signal};
