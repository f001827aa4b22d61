//! A picture as a file: what becomes of the wish for one.

use super::Damage;

/// Why there is no JPEG file of the newest picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotError {
    /// There is no picture now: the source has failed, or did not bring one yet.
    NoPicture,
    /// The picture cannot be decoded or encoded.
    Damaged(Damage),
    /// There never is a picture: the source delivers frames that are encoded already.
    NoPictures,
    /// The picture is only this wide, and is not scaled up.
    TooWide { picture_width: usize },
}
