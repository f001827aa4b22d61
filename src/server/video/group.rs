//! The GOP cache: the frames since the last key frame of a source that cannot be asked for one.

use std::sync::Arc;
use std::time::Duration;

use crate::webrtc::payload::Packets;

/// The most bytes of all frames together.
const MAX_BYTES: usize = 4 << 20;
/// The longest time from the key frame to the last frame, unless there are few frames, as in a slow stream.
const MAX_LENGTH: Duration = Duration::from_secs(4);
const FEW_FRAMES: usize = 16;

/// The group of pictures that a decoder needs to catch up with the stream. A new viewer first gets all of
/// it. A group that is too long or too large is dropped, and a new viewer then waits for the next key frame.
#[derive(Debug, Default)]
pub struct Group {
    frames: Vec<Arc<Packets>>,
    bytes: usize,
}

impl Group {
    pub fn add(&mut self, frame: &Arc<Packets>) {
        if frame.keyframe {
            self.clear();
        } else if self.frames.is_empty() {
            return;
        }
        self.frames.push(Arc::clone(frame));
        self.bytes += frame.payloads.iter().map(|payload| payload.len()).sum::<usize>();
        let length = frame.captured.saturating_duration_since(self.frames[0].captured);
        let is_long = length > MAX_LENGTH && self.frames.len() > FEW_FRAMES;
        if self.bytes > MAX_BYTES || is_long {
            self.clear();
        }
    }

    pub fn clear(&mut self) {
        self.frames.clear();
        self.bytes = 0;
    }

    /// The frames from the key frame on; none if the group was dropped.
    pub fn frames(&self) -> &[Arc<Packets>] {
        &self.frames
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::media::{Codec, Rotation};

    fn frame(keyframe: bool, bytes: usize, captured: Instant) -> Arc<Packets> {
        let payloads = vec![vec![0; bytes].into()];
        let rotation = Rotation::Deg0;
        let (codec, timestamp) = (Codec::H264, 0);
        Arc::new(Packets { payloads, codec, keyframe, captured, timestamp, rotation })
    }

    #[test]
    fn a_group_begins_with_its_key_frame_and_ends_with_the_next() {
        let now = Instant::now();
        let mut group = Group::default();
        group.add(&frame(false, 10, now));
        assert!(group.frames().is_empty());
        for keyframe in [true, false, false] {
            group.add(&frame(keyframe, 10, now));
        }
        assert_eq!(group.frames().len(), 3);
        group.add(&frame(true, 10, now));
        assert_eq!((group.frames().len(), group.bytes), (1, 10));
    }

    #[test]
    fn a_group_that_is_too_long_or_too_large_is_let_go_until_the_next_key_frame() {
        let now = Instant::now();
        let mut group = Group::default();
        group.add(&frame(true, 10, now));
        for few in 2..=FEW_FRAMES {
            group.add(&frame(false, 10, now + 10 * MAX_LENGTH));
            assert_eq!(group.frames().len(), few);
        }
        group.add(&frame(true, 10, now));
        for _ in 0..FEW_FRAMES {
            group.add(&frame(false, 10, now + MAX_LENGTH));
        }
        assert_eq!(group.frames().len(), 1 + FEW_FRAMES);
        group.add(&frame(false, 10, now + MAX_LENGTH + Duration::from_millis(1)));
        group.add(&frame(false, 10, now + MAX_LENGTH));
        assert!(group.frames().is_empty());
        group.add(&frame(true, MAX_BYTES, now));
        assert_eq!(group.frames().len(), 1);
        group.add(&frame(false, 1, now));
        assert!(group.frames().is_empty());
    }
}
