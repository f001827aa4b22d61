//! Pictures, from the source to the core.

use std::io;
use std::time::{Instant, SystemTime};

use super::Driver;
use crate::media::{Codec, SnapshotError};
use crate::server::{Input, Raw};
use crate::source::{PictureError, Source};

/// What a picture that cannot be decoded or encoded comes to.
const LEFT_OUT: &str = "a picture is left out";

impl<S: Source> Driver<S> {
    /// Takes a picture, and encodes it.
    pub(super) fn take_picture(&mut self, codecs: &[Codec]) {
        let begun = Instant::now();
        let captured = self.source.capture(begun, SystemTime::now());
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
    pub(super) fn show_picture(&mut self, picture: Raw, captured: Instant, codecs: &[Codec]) {
        let begun = Instant::now();
        let shown = self.source.show(picture, captured);
        if let Err(error) = shown.and_then(|()| self.encode(begun, codecs, &mut 0)) {
            let damage = error.damage;
            self.warnings.warn(&io::Error::other(error), LEFT_OUT);
            self.server.handle_input(Instant::now(), Input::PictureDamaged(damage));
            self.drain();
        }
    }

    /// Makes a file of the newest picture.
    pub(super) fn take_snapshot(&mut self, width: Option<usize>) {
        let begun = Instant::now();
        let made = self.source.snapshot(width);
        let cost = begun.elapsed();
        if matches!(made, Err(SnapshotError::Damaged(_))) {
            self.warnings.warn(&io::Error::other("no JPEG file can be made of it"), LEFT_OUT);
        }
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
            let mut frame = self.source.encode(*codec)?;
            frame.cost = begun.elapsed();
            self.server.handle_input(Instant::now(), Input::Frame(frame));
            self.drain();
            *frames += 1;
            begun = Instant::now();
        }
        Ok(())
    }
}
