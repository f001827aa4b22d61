//! Containment of all code that reads pictures: decoders, converters, scalers and encoders.
//!
//! The driver uses an [`EncodePictures`] only through [`ContainedEncoder`], so every decoder and encoder is
//! contained by construction. A panic damages one picture: the call fails, and the encoder, with all its
//! decoders and encoders, is replaced by a new one.

use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use mio::Registry;

use super::{EncodePictures, Encoded, PictureError};
use crate::containment::contain;
use crate::media::{Codec, Damage, EncoderName, Frame, SnapshotError, SourcePicture};

/// An encoder whose panics are errors.
pub struct ContainedEncoder<S> {
    inner: S,
    renewals: u64,
}

impl<S: EncodePictures> ContainedEncoder<S> {
    pub fn new(inner: S) -> ContainedEncoder<S> {
        ContainedEncoder { inner, renewals: 0 }
    }

    /// How often the encoder panicked and was replaced.
    #[cfg(feature = "testing")]
    pub fn renewals(&self) -> u64 {
        self.renewals
    }

    #[cfg(test)]
    pub fn inner_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// See [`EncodePictures::capture`].
    pub fn capture(&mut self, now: Instant, wall: SystemTime) -> io::Result<()> {
        self.contain(|inner| inner.capture(now, wall)).map_err(io::Error::other)?
    }

    /// See [`EncodePictures::show`].
    pub fn show(&mut self, picture: SourcePicture, captured: Instant) -> Result<(), PictureError> {
        self.contain(|inner| inner.show(picture, captured))
    }

    /// See [`EncodePictures::encode`].
    pub fn encode(&mut self, codec: Codec) -> Result<Encoded, PictureError> {
        self.contain(|inner| inner.encode(codec))?
    }

    /// See [`EncodePictures::encoder_name`].
    pub fn encoder_name(&self) -> Option<EncoderName> {
        self.inner.encoder_name()
    }

    /// See [`EncodePictures::take`].
    pub fn take(&mut self) -> Option<Result<Frame, PictureError>> {
        self.contain(EncodePictures::take).unwrap_or_else(|error| Some(Err(error)))
    }

    /// See [`EncodePictures::due`].
    pub fn due(&self) -> Option<Instant> {
        self.inner.due()
    }

    /// See [`EncodePictures::set_registry`].
    pub fn set_registry(&mut self, registry: Arc<Registry>) {
        self.inner.set_registry(registry);
    }

    /// See [`EncodePictures::snapshot`].
    ///
    /// # Errors
    /// Also [`SnapshotError::Damaged`] if the encoder panicked.
    pub fn snapshot(&mut self, width: Option<usize>) -> Result<Bytes, SnapshotError> {
        let made = self.contain(|inner| inner.snapshot(width));
        made.unwrap_or_else(|error| Err(SnapshotError::Damaged(error.damage)))
    }

    /// See [`EncodePictures::force_keyframe`].
    pub fn force_keyframe(&mut self, codec: Codec) {
        // A new encoder starts with a key frame anyway.
        let _ = self.contain(|inner| inner.force_keyframe(codec));
    }

    /// Calls the encoder. After a panic, replaces it.
    fn contain<T>(&mut self, call: impl FnOnce(&mut S) -> T) -> Result<T, PictureError> {
        contain(|| call(&mut self.inner)).map_err(|message| {
            self.renewals += 1;
            let renewed = self.inner.renewed();
            let broken = std::mem::replace(&mut self.inner, renewed);
            // Dropping it may panic, too.
            let _ = contain(|| drop(broken));
            PictureError::new(Damage::Panic, format_args!("panic: {message}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{AccessUnit, Colour, Picture, Size};

    const SIZE: Size = Size { width: 64, height: 48 };

    /// Panics in its first call and in all that follow, and again when it is dropped.
    struct Fragile {
        name: &'static str,
        is_new: bool,
        is_broken: bool,
    }

    impl Fragile {
        fn touch(&mut self) {
            self.is_broken |= !self.is_new;
            assert!(!self.is_broken, "a planted\npanic");
        }
    }

    impl Drop for Fragile {
        fn drop(&mut self) {
            assert!(!self.is_broken, "a planted panic in drop");
        }
    }

    impl EncodePictures for Fragile {
        fn renewed(&self) -> Fragile {
            Fragile { name: self.name, is_new: true, is_broken: false }
        }

        fn capture(&mut self, _: Instant, _: SystemTime) -> io::Result<()> {
            self.touch();
            Ok(())
        }

        fn show(&mut self, _: SourcePicture, _: Instant) {
            self.touch();
        }

        fn encode(&mut self, _: Codec) -> Result<Encoded, PictureError> {
            self.touch();
            let unit = AccessUnit::parse(&[0, 0, 0, 1, 0x65]);
            Ok(Encoded::Frame(Frame::h264(unit, Instant::now())))
        }

        fn take(&mut self) -> Option<Result<Frame, PictureError>> {
            self.touch();
            None
        }

        fn snapshot(&mut self, _: Option<usize>) -> Result<Bytes, SnapshotError> {
            self.touch();
            Ok(Bytes::new())
        }

        fn force_keyframe(&mut self, _: Codec) {
            self.touch();
        }
    }

    #[test]
    fn a_panic_in_any_call_is_an_error_after_which_the_encoder_is_a_new_one() {
        type ContainedCall = fn(&mut ContainedEncoder<Fragile>) -> Option<String>;
        let calls: [ContainedCall; 6] = [
            |source| source.capture(Instant::now(), SystemTime::now()).err().map(|e| e.to_string()),
            |source| {
                let picture = SourcePicture::Picture(Picture::filled(SIZE, Colour::BLACK));
                source.show(picture, Instant::now()).err().map(|e| e.to_string())
            },
            |source| source.encode(Codec::H264).err().map(|e| e.to_string()),
            |source| source.snapshot(None).err().map(|e| format!("{e:?}")),
            |source| {
                source.force_keyframe(Codec::H264);
                (source.renewals == 0).then(String::new)
            },
            |source| source.take().and_then(Result::err).map(|e| e.to_string()),
        ];
        for (index, call) in calls.into_iter().enumerate() {
            let fragile = Fragile { name: "its settings", is_new: false, is_broken: false };
            let mut source = ContainedEncoder::new(fragile);
            let failure = call(&mut source);
            match index {
                0..=2 => assert_eq!(failure.as_deref(), Some("panic: a planted panic")),
                3 => assert_eq!(failure.as_deref(), Some("Damaged(Panic)")),
                5 => assert_eq!(failure.as_deref(), Some("panic: a planted panic")),
                _ => assert_eq!(failure, None),
            }
            assert_eq!((source.renewals(), source.inner.name), (1, "its settings"));
            assert_eq!(call(&mut source), None, "the next call succeeds");
            assert_eq!(source.renewals(), 1);
        }
    }
}
