//! Pictures, from the source to the core.

use std::io;
use std::time::{Instant, SystemTime};

use crate::driver::Driver;
use crate::driver::encode::{EncodePictures, PictureError};
use crate::media::{Codec, SnapshotError, SourcePicture};
use crate::server::Input;

/// What a picture that cannot be decoded or encoded comes to.
const LEFT_OUT: &str = "skipping a picture";

impl<S: EncodePictures> Driver<S> {
    /// Takes a picture, and encodes it.
    pub(crate) fn take_picture(&mut self, codecs: &[Codec]) {
        let begun = Instant::now();
        let captured = self.encoder.capture(begun, SystemTime::now());
        let mut frames = 0;
        let encode = |()| self.encode(begun, codecs, &mut frames).map_err(io::Error::other);
        let encoded = captured.and_then(encode);
        if let Err(error) = encoded {
            self.warnings.warn(&error, "capture failed");
            if frames == 0 {
                self.server.handle_input(Instant::now(), Input::CaptureFailed);
                self.drain();
            }
        }
    }

    /// Encodes a picture from outside. One that is damaged is left out.
    pub(crate) fn show_picture(
        &mut self,
        picture: SourcePicture,
        captured: Instant,
        codecs: &[Codec],
        is_reported: bool,
    ) {
        let begun = Instant::now();
        let shown = self.encoder.show(picture, captured);
        let outcome = match shown.and_then(|()| self.encode(begun, codecs, &mut 0)) {
            Ok(()) if codecs.is_empty() => return,
            Ok(()) => Input::PictureShown,
            Err(error) => {
                let damage = error.damage;
                self.warnings.warn(&io::Error::other(error), LEFT_OUT);
                Input::PictureDamaged(damage)
            }
        };
        if is_reported {
            self.server.handle_input(Instant::now(), outcome);
            self.drain();
        }
    }

    /// Makes a file of the newest picture.
    pub(crate) fn take_snapshot(&mut self, width: Option<usize>) {
        let begun = Instant::now();
        let mut made = self.encoder.snapshot(width);
        if let Err(SnapshotError::Damaged(damage)) = made {
            self.warnings.warn(&io::Error::other(damage.to_string()), LEFT_OUT);
            self.server.handle_input(Instant::now(), Input::PictureDamaged(damage));
            self.drain();
            // The source shows the one before it.
            made = self.encoder.snapshot(width);
        }
        let cost = begun.elapsed();
        self.server.handle_input(Instant::now(), Input::Snapshot { width, made, cost });
    }

    /// Encodes the newest picture. Each of its frames is on its way, and counted, before the next.
    fn encode(
        &mut self,
        mut begun: Instant,
        codecs: &[Codec],
        frames: &mut usize,
    ) -> Result<(), PictureError> {
        for codec in codecs {
            let mut frame = self.encoder.encode(*codec)?;
            frame.cost = begun.elapsed();
            self.server.handle_input(Instant::now(), Input::Frame(frame));
            self.drain();
            *frames += 1;
            begun = Instant::now();
        }
        Ok(())
    }
}
