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
mod snapshot;
mod source_picture;
mod stamp;
mod text;
mod vp8;

pub use ball::Ball;
pub use damage::Damage;
pub use frame::{Codec, Frame};
pub use picture::{Colour, Picture, Plane, Size};
pub use samples::{Layout, Matrix, PixelFormat, Samples, limited_chroma, limited_luma};
pub use snapshot::SnapshotError;
pub use source_picture::{Jpeg, SourcePicture};
pub use stamp::{STAMP_WIDTH, read_stamp, stamp_of, write_stamp};
pub use text::{draw_text, has_room_for_words, no_signal};
