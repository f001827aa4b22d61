//! Pictures, from the source to the core.

use std::io;
use std::time::{Instant, SystemTime};

use super::Driver;
use crate::media::Codec;
use crate::server::{Input, Raw};
use crate::source::Source;

impl<S: Source> Driver<S> {
    /// Takes a picture, and encodes it.
    pub(super) fn take_picture(&mut self, codecs: &[Codec]) {
        let begun = Instant::now();
        let captured = self.source.capture(begun, SystemTime::now());
        let frames = self.encode(begun, captured, codecs, "capture failed");
        if self.source_failing && frames == 0 {
            self.server.handle_input(Instant::now(), Input::CaptureFailed);
            self.drain();
        }
    }

    /// Encodes a picture from outside. One that is damaged is left out.
    pub(super) fn show_picture(&mut self, picture: Raw, captured: Instant, codecs: &[Codec]) {
        let begun = Instant::now();
        self.source.show(picture, captured);
        self.encode(begun, Ok(()), codecs, "a picture is left out");
    }

    /// How many frames it was encoded to. Each is on its way, and counted, before the next.
    fn encode(
        &mut self,
        begun: Instant,
        taken: io::Result<()>,
        codecs: &[Codec],
        failure: &str,
    ) -> usize {
        let mut frames = 0;
        let encoded = taken.and_then(|()| self.try_encode(begun, codecs, &mut frames));
        if let Err(error) = &encoded
            && !self.source_failing
        {
            log::error!("{failure}: {error}");
        }
        self.source_failing = encoded.is_err();
        frames
    }

    fn try_encode(
        &mut self,
        mut begun: Instant,
        codecs: &[Codec],
        frames: &mut usize,
    ) -> io::Result<()> {
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
