//! Why a snapshot fails.

use super::Damage;

/// Why there is no JPEG file of the newest picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotError {
    /// There is no picture now: the source has failed, or has not delivered one yet.
    NoPicture,
    /// The picture cannot be decoded or encoded.
    Damaged(Damage),
    /// There is never a picture, as the source delivers encoded frames.
    NoPictures,
    /// The picture is only this wide, and is not scaled up.
    TooWide { picture_width: usize },
}
