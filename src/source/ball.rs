//! The built-in source: the bouncing ball.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::time::{Instant, SystemTime};

use bytes::Bytes;

use super::encode::{Encode, Quality, encoder};
use super::{Source, jpeg, snapshot};
use crate::media::{
    Ball, Codec, Colour, Frame, Picture, Size, SnapshotError, stamp_of, write_stamp,
};
use crate::server::Raw;

/// The bouncing ball. It moves once for each capture, so it stands still
/// while nobody watches.
pub struct BallSource {
    ball: Ball,
    frames_per_second: u32,
    quality: Quality,
    stamp: bool,
    /// The last one, and when it was taken. Like an encoder it is made when it is first needed: they
    /// take memory.
    picture: Option<(Picture, Instant)>,
    encoders: BTreeMap<Codec, Box<dyn Encode>>,
}

impl BallSource {
    pub fn new(size: Size, frames_per_second: u32, quality: Quality, stamp: bool) -> BallSource {
        BallSource {
            ball: Ball::new(size),
            frames_per_second,
            quality,
            stamp,
            picture: None,
            encoders: BTreeMap::new(),
        }
    }
}

impl Source for BallSource {
    fn capture(&mut self, now: Instant, wall: SystemTime) -> io::Result<()> {
        let black = || (Picture::filled(self.ball.size(), Colour::BLACK), now);
        let (picture, captured) = self.picture.get_or_insert_with(black);
        *captured = now;
        self.ball.advance();
        self.ball.draw(picture);
        if self.stamp {
            write_stamp(picture, stamp_of(wall));
        }
        Ok(())
    }

    fn show(&mut self, picture: Raw, captured: Instant) -> io::Result<()> {
        let picture = match picture {
            Raw::Picture(picture) => picture,
            Raw::Jpeg(jpeg) => jpeg::decode(&jpeg.data)?,
        };
        let size_before = self.picture.as_ref().map(|(picture, _)| picture.size());
        if size_before != Some(picture.size()) {
            self.encoders.clear();
        }
        self.picture = Some((picture, captured));
        Ok(())
    }

    fn encode(&mut self, codec: Codec) -> io::Result<Frame> {
        let (picture, captured) = self.picture.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let encoder = match self.encoders.entry(codec) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                entry.insert(encoder(codec, self.frames_per_second, self.quality)?)
            }
        };
        encoder.encode(picture, *captured)
    }

    fn snapshot(&mut self, width: Option<usize>) -> Result<Bytes, SnapshotError> {
        snapshot(self.picture.as_ref().map(|(picture, _)| picture), width)
    }

    fn force_keyframe(&mut self, codec: Codec) {
        // An encoder that is still to be made begins with one.
        if let Some(encoder) = self.encoders.get_mut(&codec) {
            encoder.force_keyframe();
        }
    }
}
