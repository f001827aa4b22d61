//! Pictures, from the source to the core.

use std::io;
use std::time::{Instant, SystemTime};

use super::Driver;
use crate::media::Codec;
use crate::server::Input;
use crate::source::Source;

impl<S: Source> Driver<S> {
    pub(super) fn take_picture(&mut self, codecs: &[Codec]) {
        let mut frames = 0;
        let taken = self.try_picture(codecs, &mut frames);
        if let Err(error) = &taken
            && !self.source_failing
        {
            log::error!("capture failed: {error}");
        }
        self.source_failing = taken.is_err();
        if self.source_failing && frames == 0 {
            self.server.handle_input(Instant::now(), Input::CaptureFailed);
            self.drain();
        }
    }

    /// Each frame is on its way, and counted, before the next is encoded.
    fn try_picture(&mut self, codecs: &[Codec], frames: &mut usize) -> io::Result<()> {
        let mut begun = Instant::now();
        self.source.capture(begun, SystemTime::now())?;
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
