//! The encoder of the program: the bouncing ball, or the pictures of a source.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::time::{Instant, SystemTime};

use bytes::Bytes;

use super::codec::{Encode, Quality};
use super::encoder;
use super::latest::Latest;
use super::{EncodePictures, PictureError, snapshot};
use crate::media::{
    Ball, Codec, Colour, Damage, Frame, Picture, Size, SnapshotError, SourcePicture, stamp_of,
    write_stamp,
};

/// Draws the bouncing ball or takes the pictures of a source, and encodes them. The ball moves once per capture,
/// so it stands still while nobody watches.
pub struct PictureEncoder {
    ball: Ball,
    frames_per_second: u32,
    quality: Quality,
    stamp: bool,
    /// Like an encoder, allocated when it is first needed.
    latest: Option<Latest>,
    /// The picture before, which is used if the latest is damaged.
    former: Option<Latest>,
    encoders: BTreeMap<Codec, Box<dyn Encode>>,
    /// The size that the encoders were made for.
    encoded_size: Option<Size>,
}

impl PictureEncoder {
    pub fn new(
        size: Size,
        frames_per_second: u32,
        quality: Quality,
        stamp: bool,
    ) -> PictureEncoder {
        PictureEncoder {
            ball: Ball::new(size),
            frames_per_second,
            quality,
            stamp,
            latest: None,
            former: None,
            encoders: BTreeMap::new(),
            encoded_size: None,
        }
    }

    /// Calls `act` with the latest picture. If that is damaged, the picture before becomes the latest, so each
    /// error is reported once.
    fn with_latest(
        &mut self,
        act: impl FnOnce(&mut Latest) -> Result<(), PictureError>,
    ) -> Result<(), PictureError> {
        let done = self.latest.as_mut().map_or(Ok(()), act);
        if done.is_err() {
            self.latest = self.former.take();
        }
        done
    }
}

impl EncodePictures for PictureEncoder {
    fn renewed(&self) -> PictureEncoder {
        let PictureEncoder { frames_per_second, quality, stamp, .. } = *self;
        let ball = self.ball.clone();
        PictureEncoder {
            ball,
            ..PictureEncoder::new(self.ball.size(), frames_per_second, quality, stamp)
        }
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
        self.latest = Some(Latest::new(SourcePicture::Picture(picture), now));
        Ok(())
    }

    fn show(&mut self, picture: SourcePicture, captured: Instant) {
        let may_be_damaged = matches!(picture, SourcePicture::Jpeg(_));
        let former = self.latest.replace(Latest::new(picture, captured));
        self.former = former.filter(|_| may_be_damaged);
    }

    fn encode(&mut self, codec: Codec) -> Result<Frame, PictureError> {
        self.with_latest(Latest::decode)?;
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
            // openh264 fails at noise that exceeds its buffers, and then at every later picture.
            self.encoders.remove(&codec);
        }
        encoded.map_err(failed)
    }

    fn snapshot(&mut self, width: Option<usize>) -> Result<Bytes, SnapshotError> {
        let damaged = |error: PictureError| SnapshotError::Damaged(error.damage);
        self.with_latest(Latest::check).map_err(damaged)?;
        if let Some(file) = self.latest.as_ref().and_then(|latest| latest.file(width)) {
            return Ok(file);
        }
        self.with_latest(Latest::decode).map_err(damaged)?;
        snapshot(self.latest.as_ref().and_then(Latest::picture), width)
    }

    fn force_keyframe(&mut self, codec: Codec) {
        // A new encoder starts with a key frame.
        if let Some(encoder) = self.encoders.get_mut(&codec) {
            encoder.force_keyframe();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::encode::jpeg;
    use crate::media::Jpeg;

    #[test]
    fn after_a_picture_that_cannot_be_encoded_the_next_one_is_a_key_frame() {
        let size = Size { width: 320, height: 240 };
        let mut source = PictureEncoder::new(size, 30, Quality::Bitrate(2_500_000), false);
        let mut encode = |picture| {
            source.show(SourcePicture::Picture(picture), Instant::now());
            source.encode(Codec::H264)
        };
        // The bitrate allows the finest quantiser.
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
    fn in_place_of_a_damaged_picture_the_last_good_one_is_shown() {
        let size = Size { width: 64, height: 48 };
        let good = snapshot(Some(&Picture::filled(size, Colour::GREEN)), None).unwrap();
        // Truncated, with an EOI marker.
        let damaged = [&good[..good.len() - 20], &[0xff, 0xd9]].concat();
        let mut source = PictureEncoder::new(size, 30, Quality::Constant, false);
        let show = |source: &mut PictureEncoder, data: &[u8]| {
            source.show(SourcePicture::Jpeg(Jpeg { data: data.to_vec(), size }), Instant::now());
        };
        for width in [None, Some(32)] {
            show(&mut source, &good);
            show(&mut source, &damaged);
            let error = Err(SnapshotError::Damaged(Damage::Decode));
            assert_eq!(source.snapshot(width), error, "reported once");
            assert!(source.snapshot(width).is_ok(), "{width:?}");
        }
        show(&mut source, &damaged);
        assert!(source.encode(Codec::H264).is_err());
        show(&mut source, &good);
        assert!(source.encode(Codec::H264).unwrap().is_keyframe());
    }

    #[test]
    fn a_file_of_the_camera_is_passed_on_in_its_own_width_and_decoded_for_any_other() {
        let size = Size { width: 64, height: 48 };
        let file = snapshot(Some(&Picture::filled(size, Colour::GREEN)), None).unwrap();
        let mut source = PictureEncoder::new(size, 30, Quality::Constant, false);
        assert_eq!(source.snapshot(None), Err(SnapshotError::NoPicture));
        source.show(SourcePicture::Jpeg(Jpeg { data: file.to_vec(), size }), Instant::now());
        assert_eq!(source.snapshot(None).unwrap(), file);
        assert_eq!(source.snapshot(Some(64)).unwrap(), file);
        let scaled = jpeg::decode(&source.snapshot(Some(32)).unwrap()).unwrap();
        assert_eq!(scaled.size(), Size { width: 32, height: 24 });
        assert_eq!(source.snapshot(Some(66)), Err(SnapshotError::TooWide { picture_width: 64 }));
        source.encode(Codec::H264).unwrap();
        assert_eq!(source.snapshot(None).unwrap(), file, "after it was decoded, too");
        source.show(SourcePicture::Picture(Picture::filled(size, Colour::GREEN)), Instant::now());
        assert!(source.snapshot(None).is_ok());
    }
}
