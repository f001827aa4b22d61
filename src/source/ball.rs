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

/// The bouncing ball, or pictures from outside in its place. The ball moves once for each capture, so
/// it stands still while nobody watches.
pub struct BallSource {
    ball: Ball,
    frames_per_second: u32,
    quality: Quality,
    stamp: bool,
    /// The last one, and when it was taken. Like an encoder it is made when it is first needed: they
    /// take memory.
    latest: Option<(Raw, Instant)>,
    encoders: BTreeMap<Codec, Box<dyn Encode>>,
    /// What the encoders have encoded last.
    encoded_size: Option<Size>,
}

impl BallSource {
    pub fn new(size: Size, frames_per_second: u32, quality: Quality, stamp: bool) -> BallSource {
        BallSource {
            ball: Ball::new(size),
            frames_per_second,
            quality,
            stamp,
            latest: None,
            encoders: BTreeMap::new(),
            encoded_size: None,
        }
    }
}

impl Source for BallSource {
    fn capture(&mut self, now: Instant, wall: SystemTime) -> io::Result<()> {
        let mut picture = match self.latest.take() {
            Some((Raw::Picture(picture), _)) => picture,
            _ => Picture::filled(self.ball.size(), Colour::BLACK),
        };
        self.ball.advance();
        self.ball.draw(&mut picture);
        if self.stamp {
            write_stamp(&mut picture, stamp_of(wall));
        }
        self.latest = Some((Raw::Picture(picture), now));
        Ok(())
    }

    fn show(&mut self, picture: Raw, captured: Instant) {
        self.latest = Some((picture, captured));
    }

    fn encode(&mut self, codec: Codec) -> io::Result<Frame> {
        let (picture, captured) = decoded(&mut self.latest)?;
        if self.encoded_size.replace(picture.size()) != Some(picture.size()) {
            self.encoders.clear();
        }
        let encoder = match self.encoders.entry(codec) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                entry.insert(encoder(codec, self.frames_per_second, self.quality)?)
            }
        };
        encoder.encode(picture, captured)
    }

    fn snapshot(&mut self, width: Option<usize>) -> Result<Bytes, SnapshotError> {
        snapshot(decoded(&mut self.latest).ok().map(|(picture, _)| picture), width)
    }

    fn force_keyframe(&mut self, codec: Codec) {
        // An encoder that is still to be made begins with one.
        if let Some(encoder) = self.encoders.get_mut(&codec) {
            encoder.force_keyframe();
        }
    }
}

/// The last picture. A JPEG is decoded when it is first needed: without viewers it never is.
fn decoded(latest: &mut Option<(Raw, Instant)>) -> io::Result<(&Picture, Instant)> {
    let (picture, captured) = latest.as_mut().ok_or(io::ErrorKind::NotFound)?;
    if let Raw::Jpeg(jpeg) = picture {
        *picture = Raw::Picture(jpeg::decode(&jpeg.data)?);
    }
    let Raw::Picture(picture) = picture else { unreachable!("it is decoded") };
    Ok((picture, *captured))
}
