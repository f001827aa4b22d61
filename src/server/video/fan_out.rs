//! The way of a frame: the clock asks for a picture, its encoded frames go to all who watch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::media::{Codec, Frame};
use crate::server::http::snapshots::Captured;
use crate::server::{Output, Server, Timer};
use crate::source::Source;
use crate::webrtc::ViewerId;
use crate::webrtc::payload::Packets;

/// The RTP clock of all video (RFC 6184, section 8.1).
const RTP_CLOCK_HZ: u128 = 90_000;

/// A large frame leaves over at most so long, and at most half of the time to the next.
const MAX_SPREAD: Duration = Duration::from_millis(15);

/// Frames on their way to the viewers. One viewer's packets are made when those of the one before it
/// are sent: what is under way never takes much memory.
pub(crate) enum FanOut {
    ToAll {
        now: Instant,
        frame: Arc<Packets>,
        within: Duration,
        /// Whose turn it is, in the order of their ids.
        next: ViewerId,
        /// A viewer watches, and did not get the frame.
        missed: bool,
    },
    ToOne {
        now: Instant,
        frames: Vec<Arc<Packets>>,
        within: Duration,
        id: ViewerId,
    },
}

impl Server {
    /// A frame is due.
    pub(crate) fn tick(&mut self, now: Instant) {
        if let Some(skipped) = self.clock.tick(now) {
            if self.source.is_some() {
                self.show_no_signal(now);
            } else {
                self.note_picture(now, skipped);
                let codecs = self.request_keyframes(now);
                self.outbox.push_back(Output::Capture(codecs));
                self.snapshots.note_capture(Captured { at: now, is_words: false });
                self.request_part(now);
            }
        }
        self.timers.set(Timer::Frame, self.clock.deadline());
    }

    /// A viewer or a stream of pictures needs the source to be awake.
    pub(crate) fn is_watched(&self) -> bool {
        self.viewers.counts().any_watching() || self.snapshots.any_streams()
    }

    /// The codecs that the next picture is encoded in. Where somebody waits for a key frame, it
    /// becomes one.
    pub(crate) fn request_keyframes(&mut self, now: Instant) -> Vec<Codec> {
        let watched = |codec: &Codec| self.viewers.counts().watching(*codec) > 0;
        let codecs: Vec<Codec> = Codec::ALL.into_iter().filter(watched).collect();
        for codec in &codecs {
            if self.keyframes[*codec as usize].take(now) {
                self.outbox.push_back(Output::ForceKeyframe(*codec));
            }
        }
        codecs
    }

    /// Whether the clock brings the pictures: those of the ball, or words while a stream from outside
    /// has none.
    pub(crate) fn wants_clock(&self) -> bool {
        let running = self.source.as_ref().is_some_and(Source::is_running);
        self.is_watched() && !running
    }

    /// Starts the frame clock when the first viewer watches, and stops it after the last.
    pub(crate) fn update_clock(&mut self, now: Instant) {
        if self.wants_clock() {
            self.clock.start(now);
        } else {
            self.clock.stop();
        }
        self.timers.set(Timer::Frame, self.clock.deadline());
    }

    pub(crate) fn handle_frame(&mut self, now: Instant, frame: &Frame) {
        self.capture_failed_at = None;
        self.counters.count_frame(frame);
        self.overload.add_encoding(frame.cost);
        let frame = Arc::new(Packets::new(frame, self.rtp_time(frame.captured)));
        if self.passes_on(frame.codec) {
            self.group.add(&frame);
        }
        let within = (self.picture_period() / 2).min(MAX_SPREAD);
        let next = ViewerId(0);
        self.fan_outs.push_back(FanOut::ToAll { now, frame, within, next, missed: false });
    }

    /// Sends to one viewer; what is left to do then.
    pub(crate) fn send_to_next(&mut self, mut fan_out: FanOut) -> Option<FanOut> {
        let (now, frame, within, next, missed) = match &mut fan_out {
            FanOut::ToAll { now, frame, within, next, missed } => {
                (*now, &*frame, *within, next, missed)
            }
            FanOut::ToOne { now, frames, within, id } => {
                self.with_viewer(*now, *id, |viewer| {
                    frames.iter().for_each(|frame| viewer.write(*now, frame, *within));
                });
                return None;
            }
        };
        let Some(id) = self.viewers.next_of(frame.codec, *next) else {
            // The source may have been late with a key frame, or a viewer have lost one on our side.
            if *missed && !self.passes_on(frame.codec) {
                self.keyframes[frame.codec as usize].request();
            }
            return None;
        };
        *next = ViewerId(id.0 + 1);
        let mut awaits_keyframe = false;
        self.with_viewer(now, id, |viewer| {
            viewer.write(now, frame, within);
            awaits_keyframe = viewer.awaits_keyframe();
        });
        *missed |= awaits_keyframe;
        if awaits_keyframe && self.passes_on(frame.codec) {
            // The next one may be seconds away, and nobody can ask for it.
            self.send_group(now, id);
        }
        Some(fan_out)
    }

    /// A picture is taken, and those that were due before it are left out.
    pub(crate) fn note_picture(&mut self, now: Instant, left_out: u64) {
        self.counters.frames_left_out += left_out;
        self.overload.add_picture(left_out);
        let Some(word) = self.overload.poll(now, self.picture_period()) else { return };
        let help = match &self.source {
            None => "--size and --fps make the ball's pictures smaller and fewer",
            Some(_) => "smaller or fewer pictures help, or a camera that encodes H.264",
        };
        log::warn!(
            "{} of {} pictures were left out, as encoding one takes {:.0} ms here: {help}",
            word.left_out,
            word.left_out + word.taken,
            word.encoding.as_secs_f64() * 1e3,
        );
    }

    /// From one picture to the next.
    pub(crate) fn picture_period(&self) -> Duration {
        let streamed =
            self.source.as_ref().filter(|source| source.is_running()).and_then(Source::period);
        streamed.unwrap_or(self.clock.period())
    }

    fn rtp_time(&self, captured: Instant) -> u32 {
        let since_start = captured.saturating_duration_since(self.started);
        (since_start.as_nanos() * RTP_CLOCK_HZ / 1_000_000_000) as u32
    }
}
