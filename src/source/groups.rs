//! Measures the key frame interval: a new viewer waits for the next key frame, or gets all frames since the
//! last one.

use std::time::{Duration, Instant};

/// A longer key frame interval is logged as a warning.
const LONG: Duration = Duration::from_secs(4);

#[derive(Debug, Default)]
pub struct Groups {
    keyframe_at: Option<Instant>,
    length: Option<Duration>,
    warned: bool,
}

impl Groups {
    /// Records a picture.
    pub fn note_picture(&mut self, now: Instant, keyframe: bool) {
        let so_far = self.keyframe_at.map(|at| now.saturating_duration_since(at));
        if keyframe {
            self.length = so_far;
            self.keyframe_at = Some(now);
        } else if so_far.is_some_and(|length| length > LONG) && !self.warned {
            self.warned = true;
            log::warn!(
                "key frames are more than {} s apart, so some viewers wait for their first picture: \
                 use rpicam-vid --intra 30, or ffmpeg -g 30",
                LONG.as_secs()
            );
        }
    }

    /// The time between the last two key frames.
    pub fn length(&self) -> Option<Duration> {
        self.length
    }
}
