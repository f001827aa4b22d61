//! The built-in source: the bouncing ball.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::time::{Instant, SystemTime};

use bytes::Bytes;

use super::encode::{Encode, Quality, encoder};
use super::latest::Latest;
use super::{PictureError, Source, snapshot};
use crate::media::{
    Ball, Codec, Colour, Damage, Frame, Picture, Size, SnapshotError, stamp_of, write_stamp,
};
use crate::server::Raw;

/// The bouncing ball, or pictures from outside in its place. The ball moves once for each capture, so
/// it stands still while nobody watches.
pub struct BallSource {
    ball: Ball,
    frames_per_second: u32,
    quality: Quality,
    stamp: bool,
    /// Like an encoder it is made when it is first needed: they take memory.
    latest: Option<Latest>,
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

    /// Decodes the picture that was taken last. One that is damaged is forgotten: it is decoded, and its
    /// error told, once.
    fn decode(&mut self) -> Result<(), PictureError> {
        let decoded = self.latest.as_mut().map_or(Ok(()), Latest::decode);
        if decoded.is_err() {
            self.latest = None;
        }
        decoded
    }
}

impl Source for BallSource {
    fn renewed(&self) -> BallSource {
        let BallSource { frames_per_second, quality, stamp, .. } = *self;
        let ball = self.ball.clone();
        BallSource { ball, ..BallSource::new(self.ball.size(), frames_per_second, quality, stamp) }
    }

    fn capture(&mut self, now: Instant, wall: SystemTime) -> io::Result<()> {
        let size = self.ball.size();
        let last = self.latest.take().and_then(Latest::into_picture);
        let last = last.filter(|picture| picture.size() == size);
        let mut picture = last.unwrap_or_else(|| Picture::filled(size, Colour::BLACK));
        self.ball.advance();
        self.ball.draw(&mut picture);
        if self.stamp {
            write_stamp(&mut picture, stamp_of(wall));
        }
        self.latest = Some(Latest::new(Raw::Picture(picture), now));
        Ok(())
    }

    fn show(&mut self, picture: Raw, captured: Instant) {
        self.latest = Some(Latest::new(picture, captured));
    }

    fn encode(&mut self, codec: Codec) -> Result<Frame, PictureError> {
        self.decode()?;
        let failed = |error| PictureError::new(Damage::Encode(codec), error);
        let latest = self.latest.as_ref().and_then(|it| Some((it.picture()?, it.captured)));
        let Some((picture, captured)) = latest else {
            return Err(PictureError::new(Damage::Decode, io::ErrorKind::NotFound));
        };
        if self.encoded_size.replace(picture.size()) != Some(picture.size()) {
            self.encoders.clear();
        }
        let encoder = match self.encoders.entry(codec) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let encoder = encoder(codec, self.frames_per_second, self.quality);
                entry.insert(encoder.map_err(failed)?)
            }
        };
        let encoded = encoder.encode(picture, captured);
        if encoded.is_err() {
            // openh264 fails at noise that is too large for its buffers, and from then on at everything.
            self.encoders.remove(&codec);
        }
        encoded.map_err(failed)
    }

    fn snapshot(&mut self, width: Option<usize>) -> Result<Bytes, SnapshotError> {
        if let Some(file) = self.latest.as_ref().and_then(|latest| latest.file(width)) {
            return Ok(file);
        }
        self.decode().map_err(|error| SnapshotError::Damaged(error.damage))?;
        snapshot(self.latest.as_ref().and_then(Latest::picture), width)
    }

    fn force_keyframe(&mut self, codec: Codec) {
        // An encoder that is still to be made begins with one.
        if let Some(encoder) = self.encoders.get_mut(&codec) {
            encoder.force_keyframe();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipe::Jpeg;
    use crate::source::jpeg;

    #[test]
    fn after_a_picture_that_cannot_be_encoded_the_next_one_is_a_key_frame() {
        let size = Size { width: 320, height: 240 };
        let mut source = BallSource::new(size, 30, Quality::Bitrate(2_500_000), false);
        let mut encode = |picture| {
            source.show(Raw::Picture(picture), Instant::now());
            source.encode(Codec::H264)
        };
        // At a bitrate that allows the finest quantiser.
        for _ in 0..60 {
            encode(Picture::filled(size, Colour::BLACK)).unwrap();
        }
        let mut random = fastrand::Rng::with_seed(1);
        let mut noise = Picture::filled(size, Colour::BLACK);
        for plane in [&mut noise.y, &mut noise.u, &mut noise.v] {
            plane.samples.iter_mut().for_each(|sample| *sample = random.u8(..));
        }
        assert!(encode(noise).is_err());
        assert!(encode(Picture::filled(size, Colour::GREEN)).unwrap().is_keyframe());
    }

    #[test]
    fn a_file_of_the_camera_is_passed_on_in_its_own_width_and_decoded_for_any_other() {
        let size = Size { width: 64, height: 48 };
        let file = snapshot(Some(&Picture::filled(size, Colour::GREEN)), None).unwrap();
        let mut source = BallSource::new(size, 30, Quality::Constant, false);
        assert_eq!(source.snapshot(None), Err(SnapshotError::NoPicture));
        source.show(Raw::Jpeg(Jpeg { data: file.to_vec(), size }), Instant::now());
        assert_eq!(source.snapshot(None).unwrap(), file);
        assert_eq!(source.snapshot(Some(64)).unwrap(), file);
        let scaled = jpeg::decode(&source.snapshot(Some(32)).unwrap()).unwrap();
        assert_eq!(scaled.size(), Size { width: 32, height: 24 });
        assert_eq!(source.snapshot(Some(66)), Err(SnapshotError::TooWide { picture_width: 64 }));
        source.encode(Codec::H264).unwrap();
        assert_eq!(source.snapshot(None).unwrap(), file, "after it was decoded, too");
        source.show(Raw::Picture(Picture::filled(size, Colour::GREEN)), Instant::now());
        assert!(source.snapshot(None).is_ok());
    }
}
