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
    frames_per_second: u32,
    quality: Quality,
    stamp: bool,
    keyframe_wanted: bool,
    /// Made for the first picture: it takes memory that nobody needs before.
    studio: Option<Studio>,
}

struct Studio {
    picture: Picture,
    encoder: Encoder,
}

impl BallSource {
    pub fn new(size: Size, frames_per_second: u32, quality: Quality, stamp: bool) -> BallSource {
        BallSource {
            ball: Ball::new(size),
            frames_per_second,
            quality,
            stamp,
            keyframe_wanted: false,
            studio: None,
        }
    }

    fn open_studio(&self) -> io::Result<Studio> {
        Ok(Studio {
            picture: Picture::filled(self.ball.size(), Colour::BLACK),
            encoder: Encoder::new(self.frames_per_second, self.quality)?,
        })
    }
}

impl Source for BallSource {
    fn capture(&mut self, now: Instant, wall: SystemTime) -> io::Result<Option<Frame>> {
        let studio = match self.studio.take() {
            Some(studio) => studio,
            None => self.open_studio()?,
        };
        let Studio { picture, encoder } = self.studio.insert(studio);
        self.ball.advance();
        self.ball.draw(picture);
        if self.stamp {
            write_stamp(picture, stamp_of(wall));
        }
        if std::mem::take(&mut self.keyframe_wanted) {
            encoder.force_keyframe();
        }
        encoder.encode(picture, now).map(Some)
    }

    fn force_keyframe(&mut self) {
        self.keyframe_wanted = true;
    }
}
