//! The way of a frame: the clock asks for a picture, its encoded frames go to all who watch.

use std::time::Instant;

use super::{Output, Server, Timer};
use crate::media::{Codec, Frame};
use crate::webrtc::ViewerId;
use crate::webrtc::payload::Packets;

/// The RTP clock of all video (RFC 6184, section 8.1).
const RTP_CLOCK_HZ: u128 = 90_000;

/// A frame on its way to the viewers, in the order of their ids. One viewer's packets are made when
/// those of the one before it are sent: what is under way never takes much memory.
pub(super) struct FanOut {
    now: Instant,
    frame: Packets,
    next: ViewerId,
    /// A viewer watches, and did not get the frame.
    missed: bool,
}

impl Server {
    /// A frame is due.
    pub(super) fn tick(&mut self, now: Instant) {
        if self.clock.tick(now) {
            let watched = |codec: &Codec| self.viewers.counts().watching(*codec) > 0;
            let codecs: Vec<Codec> = Codec::ALL.into_iter().filter(watched).collect();
            for codec in &codecs {
                if self.keyframes[*codec as usize].take(now) {
                    self.outbox.push_back(Output::ForceKeyframe(*codec));
                }
            }
            self.outbox.push_back(Output::Capture(codecs));
            self.snapshots.note_capture();
            self.request_part(now);
        }
        self.timers.set(Timer::Frame, self.clock.deadline());
    }

    /// A viewer or a stream of pictures needs the source to be awake.
    pub(super) fn is_watched(&self) -> bool {
        self.viewers.counts().any_watching() || self.snapshots.any_streams()
    }

    /// Starts the frame clock when the first one watches, and stops it after the last.
    pub(super) fn update_clock(&mut self, now: Instant) {
        if self.is_watched() {
            self.clock.start(now);
        } else {
            self.clock.stop();
        }
        self.timers.set(Timer::Frame, self.clock.deadline());
    }

    pub(super) fn handle_frame(&mut self, now: Instant, frame: &Frame) {
        self.capture_failed_at = None;
        self.counters.count_frame(frame);
        let frame = Packets::new(frame, self.rtp_time(frame.captured));
        self.fan_out = Some(FanOut { now, frame, next: ViewerId(0), missed: false });
    }

    /// Sends a frame to one viewer; what is left to do then.
    pub(super) fn send_to_next(&mut self, mut fan_out: FanOut) -> Option<FanOut> {
        let FanOut { now, frame, next, missed } = &mut fan_out;
        let Some(id) = self.viewers.next_of(frame.codec, *next) else {
            // The source may have been late with a key frame, or a viewer have lost one on our side.
            if *missed {
                self.keyframes[frame.codec as usize].request();
            }
            return None;
        };
        *next = ViewerId(id.0 + 1);
        self.with_viewer(*now, id, |viewer| {
            viewer.write(*now, frame);
            *missed |= viewer.awaits_keyframe();
        });
        Some(fan_out)
    }

    fn rtp_time(&self, captured: Instant) -> u32 {
        let since_start = captured.saturating_duration_since(self.started);
        (since_start.as_nanos() * RTP_CLOCK_HZ / 1_000_000_000) as u32
    }
}
