//! Frames on their way to the viewers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::media::Codec;
use crate::webrtc::ViewerId;
use crate::webrtc::payload::Packets;

/// The longest time over which the packets of a frame are paced. It is also at most half the time to the
/// next frame.
pub(super) const MAX_SPREAD: Duration = Duration::from_millis(15);

/// Frames on their way to the viewers. The packets of one viewer are made when those of the one before it
/// are sent, so that little memory is in use at a time.
pub(crate) struct FanOut {
    pub(crate) now: Instant,
    pub(crate) frames: Vec<Arc<Packets>>,
    /// The time over which they are paced.
    pub(crate) within: Duration,
    recipient: Recipient,
    /// A viewer that watches did not get the frame.
    missed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recipient {
    /// All viewers of the codec whose id is at least this.
    AllFrom(ViewerId, Codec),
    One(ViewerId),
}

impl FanOut {
    pub(super) fn to_all(now: Instant, frame: Arc<Packets>, within: Duration) -> FanOut {
        let recipient = Recipient::AllFrom(ViewerId(0), frame.codec);
        FanOut { now, frames: vec![frame], within, recipient, missed: false }
    }

    pub(super) fn to_one(
        now: Instant,
        frames: Vec<Arc<Packets>>,
        within: Duration,
        id: ViewerId,
    ) -> FanOut {
        FanOut { now, frames, within, recipient: Recipient::One(id), missed: false }
    }

    pub(crate) fn recipient(&self) -> Recipient {
        self.recipient
    }

    /// A viewer's turn is over. It may have `missed` the frame, as it waits for a key frame.
    pub(crate) fn note_turn(&mut self, id: ViewerId, missed: bool) {
        if let Recipient::AllFrom(next, _) = &mut self.recipient {
            *next = ViewerId(id.0 + 1);
            self.missed |= missed;
        }
    }

    /// The codec of a frame that not all viewers of that codec got.
    pub(super) fn codec_missed(&self) -> Option<Codec> {
        match self.recipient {
            Recipient::AllFrom(_, codec) if self.missed => Some(codec),
            _ => None,
        }
    }
}
