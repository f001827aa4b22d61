//! Where frames come from.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Instant, SystemTime};

use super::{Ball, Colour, Encoder, Frame, Picture, Quality, Size, stamp_of, write_stamp};

/// The driver's only seam to pictures.
pub trait Source {
    /// The frame of the picture at `now`, `None` when there is no new one. `wall` is the same
    /// moment on the wall clock.
    fn capture(&mut self, now: Instant, wall: SystemTime) -> io::Result<Option<Frame>>;

    /// Makes the next frame a key frame.
    fn force_keyframe(&mut self);

    /// What becomes readable when the source has something, for sources that are not asked.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// The built-in source: the bouncing ball. It moves once for each capture, so it stands still
/// while nobody watches.
pub struct BallSource {
    ball: Ball,
    picture: Picture,
    encoder: Encoder,
    keyframe_wanted: bool,
    stamp: bool,
}

impl BallSource {
    pub fn new(
        size: Size,
        frames_per_second: u32,
        quality: Quality,
        stamp: bool,
    ) -> io::Result<BallSource> {
        Ok(BallSource {
            ball: Ball::new(size),
            picture: Picture::filled(size, Colour::BLACK),
            encoder: Encoder::new(frames_per_second, quality)?,
            keyframe_wanted: false,
            stamp,
        })
    }
}

impl Source for BallSource {
    fn capture(&mut self, now: Instant, wall: SystemTime) -> io::Result<Option<Frame>> {
        self.ball.advance();
        self.ball.draw(&mut self.picture);
        if self.stamp {
            write_stamp(&mut self.picture, stamp_of(wall));
        }
        if std::mem::take(&mut self.keyframe_wanted) {
            self.encoder.force_keyframe();
        }
        self.encoder.encode(&self.picture, now).map(Some)
    }

    fn force_keyframe(&mut self) {
        self.keyframe_wanted = true;
    }
}
