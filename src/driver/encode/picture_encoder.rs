//! The encoder of the program: the bouncing ball, or the pictures of a source.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use mio::Registry;

use super::codec::{Encode, Quality};
use super::encoder;
use super::finish::Finish;
use super::hardware::{EncoderInput, EncoderWish, HardwareEncoder, Put, Taken};
use super::latest::Latest;
use super::rate::Rate;
use super::{EncodePictures, Encoded, PictureError, snapshot};
use crate::media::{
    Appearance, Ball, Codec, Colour, Damage, EncoderName, Frame, Layout, Picture, Size,
    SnapshotError, SourcePicture, stamp_of, write_stamp,
};

/// Draws the bouncing ball or takes the pictures of a source, and encodes them. The ball moves once per capture,
/// so it stands still while nobody watches.
pub struct PictureEncoder {
    ball: Ball,
    rate: Rate,
    quality: Quality,
    stamp: bool,
    finish: Finish,
    /// The ball's picture before it is turned, if it is.
    canvas: Option<Picture>,
    /// Like an encoder, allocated when it is first needed.
    latest: Option<Latest>,
    /// The picture before, which is used if the latest is damaged.
    former: Option<Latest>,
    /// In place of openh264.
    hardware: HardwareEncoder,
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
            rate: Rate::new(frames_per_second),
            quality,
            stamp,
            finish: Finish::new(Appearance::default(), stamp),
            canvas: None,
            latest: None,
            former: None,
            hardware: HardwareEncoder::new(EncoderWish::Software, frames_per_second, quality),
            encoders: BTreeMap::new(),
            encoded_size: None,
        }
    }

    /// Rotates, mirrors and marks all pictures but those that say why there is none.
    pub fn with_appearance(self, appearance: Appearance) -> PictureEncoder {
        let finish = Finish::new(appearance, self.stamp);
        PictureEncoder { finish, ..self }
    }

    /// Encodes H.264 with the encoder of the board, if that is wanted.
    pub fn with_hardware(self, wish: EncoderWish) -> PictureEncoder {
        let hardware = HardwareEncoder::new(wish, self.rate.frames_per_second(), self.quality);
        PictureEncoder { hardware, ..self }
    }

    /// Calls `act` with the latest picture. If that is damaged, the picture before becomes the latest, so each
    /// error is reported once.
    fn with_latest(
        &mut self,
        act: impl FnOnce(&mut Latest, &mut Finish) -> Result<(), PictureError>,
    ) -> Result<(), PictureError> {
        let PictureEncoder { latest, finish, .. } = self;
        let done = latest.as_mut().map_or(Ok(()), |latest| act(latest, finish));
        if done.is_err() {
            self.latest = self.former.take();
        }
        done
    }
}

/// Encoders.
impl PictureEncoder {
    /// Tells the encoders if the pictures come at another rate.
    fn note_rate(&mut self) {
        let Some(latest) = &self.latest else { return };
        if let Some(rate) = self.rate.note(latest.captured) {
            self.encoders.values_mut().for_each(|encoder| encoder.set_rate(rate));
            self.hardware.set_rate(rate);
        }
    }

    /// Has the encoder of the board encode the latest picture, as it is if possible.
    fn put_into_hardware(&mut self) -> Result<Put, PictureError> {
        let now = Instant::now();
        if !self.hardware.takes(Layout::I420, now) {
            return Ok(Put::Refused);
        }
        let samples = self.latest.as_ref().and_then(Latest::samples);
        let raw = samples.filter(|_| self.finish.is_nothing()).and_then(EncoderInput::of_samples);
        if let (Some(raw), Some(latest)) = (raw, &self.latest)
            && self.hardware.takes(raw.layout(), now)
        {
            return Ok(self.hardware.put(raw, latest.captured, now));
        }
        self.with_latest(Latest::decode)?;
        let latest = self.latest.as_ref().and_then(|it| Some((it.picture()?, it.captured)));
        Ok(match latest {
            Some((picture, captured)) => {
                self.hardware.put(EncoderInput::Picture(picture), captured, now)
            }
            None => Put::Refused,
        })
    }

    fn encode_in_software(&mut self, codec: Codec) -> Result<Frame, PictureError> {
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
                let encoder = encoder(codec, self.rate.frames_per_second(), self.quality);
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
}

impl EncodePictures for PictureEncoder {
    fn renewed(&self) -> PictureEncoder {
        let PictureEncoder { quality, stamp, .. } = *self;
        let frames_per_second = self.rate.frames_per_second();
        let (ball, finish) = (self.ball.clone(), self.finish.clone());
        PictureEncoder {
            ball,
            finish,
            hardware: self.hardware.renewed(),
            ..PictureEncoder::new(self.ball.size(), frames_per_second, quality, stamp)
        }
    }

    fn capture(&mut self, now: Instant, wall: SystemTime) -> io::Result<()> {
        let size = self.ball.size();
        let latest = self.latest.take();
        let last = match self.finish.is_turning() {
            true => self.canvas.take(),
            false => latest.and_then(Latest::into_picture),
        };
        let last = last.filter(|picture| picture.size() == size);
        let mut picture = last.unwrap_or_else(|| Picture::filled(size, Colour::BLACK));
        self.ball.advance();
        self.ball.draw(&mut picture);
        if self.finish.is_turning() {
            let turned = self.finish.turn(&picture);
            self.canvas = Some(std::mem::replace(&mut picture, turned));
        }
        self.finish.mark(&mut picture, wall);
        if self.stamp {
            write_stamp(&mut picture, stamp_of(wall));
        }
        self.latest = Some(Latest::finished(picture, now));
        Ok(())
    }

    fn show(&mut self, picture: SourcePicture, captured: Instant) {
        let may_be_damaged = matches!(picture, SourcePicture::Jpeg(_));
        let former = self.latest.replace(Latest::new(picture, captured));
        self.former = former.filter(|_| may_be_damaged);
    }

    fn encode(&mut self, codec: Codec) -> Result<Encoded, PictureError> {
        self.note_rate();
        if codec == Codec::H264 {
            match self.put_into_hardware()? {
                Put::Taken => {
                    // What it encoded last is not what viewers have when it is needed again.
                    self.encoders.remove(&Codec::H264);
                    return Ok(Encoded::Later);
                }
                Put::LeftOut => return Ok(Encoded::LeftOut),
                Put::Refused => {}
            }
        }
        self.encode_in_software(codec).map(Encoded::Frame)
    }

    fn encoder_name(&self) -> Option<EncoderName> {
        let is_software = self.encoders.contains_key(&Codec::H264);
        let software = || is_software.then(|| EncoderName::OpenH264(self.hardware.fault()));
        self.hardware.name().map(EncoderName::Hardware).or_else(software)
    }

    fn take(&mut self) -> Option<Result<Frame, PictureError>> {
        match self.hardware.take(Instant::now()) {
            Taken::Frame(frame) => Some(Ok(frame)),
            Taken::Nothing => None,
            // The newest picture in place of those that are lost.
            Taken::Failed => Some(self.encode_in_software(Codec::H264)),
        }
    }

    fn due(&self) -> Option<Instant> {
        self.hardware.due()
    }

    fn set_registry(&mut self, registry: Arc<Registry>) {
        self.hardware.set_registry(registry);
    }

    fn snapshot(&mut self, width: Option<usize>) -> Result<Bytes, SnapshotError> {
        let damaged = |error: PictureError| SnapshotError::Damaged(error.damage);
        if self.finish.is_nothing() {
            self.with_latest(|latest, _| latest.check()).map_err(damaged)?;
            if let Some(file) = self.latest.as_ref().and_then(|latest| latest.file(width)) {
                return Ok(file);
            }
        }
        self.with_latest(Latest::decode).map_err(damaged)?;
        snapshot(self.latest.as_ref().and_then(Latest::picture), width)
    }

    fn force_keyframe(&mut self, codec: Codec) {
        // A new encoder starts with a key frame.
        if let Some(encoder) = self.encoders.get_mut(&codec) {
            encoder.force_keyframe();
        }
        if codec == Codec::H264 {
            self.hardware.force_keyframe();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::driver::encode::jpeg;
    use crate::media::{Jpeg, Orientation, PixelFormat, Rotation, Samples};

    #[test]
    fn after_a_picture_that_cannot_be_encoded_the_next_one_is_a_key_frame() {
        let size = Size { width: 320, height: 240 };
        let mut source = PictureEncoder::new(size, 30, Quality::Bitrate(2_500_000), false);
        let mut encode = |picture| {
            source.show(SourcePicture::Picture(picture), Instant::now());
            source.encode(Codec::H264).map(|encoded| encoded.frame().unwrap())
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
    fn the_bitrate_is_kept_at_other_rates_than_expected() {
        const BITRATE: u32 = 400_000;
        let size = Size { width: 320, height: 240 };
        let mut random = fastrand::Rng::with_seed(1);
        let mut noise = Picture::filled(size, Colour::BLACK);
        for codec in Codec::ALL {
            for frames_per_second in [10, 60] {
                let mut source = PictureEncoder::new(size, 30, Quality::Bitrate(BITRATE), false);
                let mut captured = Instant::now();
                let mut bytes = 0;
                let pictures = 12 * frames_per_second;
                for picture in 0..pictures {
                    noise.y.samples.iter_mut().for_each(|luma| *luma = random.u8(100..125));
                    captured += Duration::from_secs(1) / frames_per_second;
                    source.show(SourcePicture::Picture(noise.clone()), captured);
                    let frame = source.encode(codec).unwrap().frame().unwrap();
                    // The rate control has settled.
                    if picture >= pictures / 2 {
                        bytes += frame.data().len();
                    }
                }
                let ratio = bytes as f64 * 8.0 / 6.0 / f64::from(BITRATE);
                assert!((0.7..1.4).contains(&ratio), "{codec:?} at {frames_per_second}: {ratio}");
            }
        }
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
        assert!(source.encode(Codec::H264).unwrap().frame().unwrap().is_keyframe());
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

    const SIDEWAYS: Appearance = Appearance {
        orientation: Orientation { rotation: Rotation::Deg90, is_mirrored: false },
        has_clock: false,
    };

    /// A picture whose left half is white.
    fn half_white(size: Size) -> Picture {
        let mut picture = Picture::filled(size, Colour::BLACK);
        for y in 0..size.height {
            picture.y.row_mut(y)[..size.width / 2].fill(235);
        }
        picture
    }

    /// The size of a snapshot, and whether its upper half is white and its lower half black.
    fn look(source: &mut PictureEncoder) -> (Size, bool) {
        let picture = jpeg::decode(&source.snapshot(None).unwrap()).unwrap();
        let Size { width, height } = picture.size();
        let (upper, lower) = picture.y.samples.split_at(width * height / 2);
        let is_split = upper.iter().all(|y| *y > 200) && lower.iter().all(|y| *y < 50);
        (picture.size(), is_split)
    }

    #[test]
    fn every_kind_of_picture_is_turned_but_the_text_that_there_is_none() {
        let size = Size { width: 64, height: 32 };
        let turned = Size { width: 32, height: 64 };
        let picture = half_white(size);
        let planes =
            [picture.y.samples.clone(), picture.u.samples.clone(), picture.v.samples.clone()];
        let samples = Samples { size, format: PixelFormat::PICTURE, planes };
        let data = snapshot(Some(&picture), None).unwrap().to_vec();
        let mut h264 = encoder(Codec::H264, 30, Quality::Constant).unwrap();
        let keyframe = h264.encode(&picture, Instant::now()).unwrap();
        for shown in [
            SourcePicture::Picture(picture.clone()),
            SourcePicture::Samples(samples),
            SourcePicture::Jpeg(Jpeg { data, size }),
            SourcePicture::Keyframe(keyframe),
        ] {
            let name = format!("{shown:?}").chars().take(8).collect::<String>();
            let source = PictureEncoder::new(size, 30, Quality::Constant, false);
            let mut source = source.with_appearance(SIDEWAYS);
            source.show(shown, Instant::now());
            assert_eq!(look(&mut source), (turned, true), "{name}");
            source.encode(Codec::Vp8).unwrap();
            assert_eq!(source.encoded_size, Some(turned), "{name}");
            assert_eq!(look(&mut source), (turned, true), "{name}: turned once");
            let mut source = source.renewed();
            source.show(SourcePicture::NoSignal(picture.clone()), Instant::now());
            assert_eq!(look(&mut source), (size, false), "as it is");
            source.show(SourcePicture::Picture(picture.clone()), Instant::now());
            assert_eq!(look(&mut source), (turned, true), "a new instance turns pictures, too");
        }
    }

    #[test]
    fn a_ball_that_is_turned_is_the_same_ball() {
        let size = Size { width: 640, height: 480 };
        let source = || PictureEncoder::new(size, 30, Quality::Constant, false);
        let (mut upright, mut turned) = (source(), source().with_appearance(SIDEWAYS));
        for _ in 0..200 {
            for source in [&mut upright, &mut turned] {
                source.capture(Instant::now(), SystemTime::now()).unwrap();
            }
        }
        let picture = |source: &PictureEncoder| source.latest.as_ref()?.picture().cloned();
        let expected = picture(&upright).unwrap().oriented(SIDEWAYS.orientation);
        assert!(picture(&turned).unwrap() == expected);
    }

    #[test]
    fn a_file_of_the_camera_is_not_passed_on_without_the_clock() {
        let size = Size { width: 320, height: 240 };
        let file = snapshot(Some(&Picture::filled(size, Colour::GREEN)), None).unwrap();
        let appearance = Appearance { has_clock: true, ..Appearance::default() };
        let source = PictureEncoder::new(size, 30, Quality::Constant, false);
        let mut source = source.with_appearance(appearance);
        source.show(SourcePicture::Jpeg(Jpeg { data: file.to_vec(), size }), Instant::now());
        let picture = jpeg::decode(&source.snapshot(None).unwrap()).unwrap();
        assert!((0..100).map(|x| picture.y.at(x, 2)).any(|luma| luma < 40), "the bar");
        assert!(
            (0..320).map(|x| picture.y.at(x, 20)).all(|luma| luma.abs_diff(Colour::GREEN.y) < 8)
        );
    }
}
