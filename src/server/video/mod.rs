//! The picture on its way to the viewers: when one is taken, when it is a key frame, and who gets it.
//!
//! [`Video`] owns the source, the frame clock, the key frames that are due, the frames since the last key
//! frame, and what is being fanned out. It takes who watches as a value ([`Audience`]), writes to the
//! [`Outbox`], and returns what happened as [`VideoEvent`]s.

mod fan_out;
pub mod frame_clock;
mod group;
mod keyframes;
mod overload;
mod source;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::fan_out::MAX_SPREAD;
pub(crate) use self::fan_out::{FanOut, Recipient};
use self::frame_clock::FrameClock;
use self::group::Group;
use self::keyframes::Keyframes;
use self::overload::Overload;
pub(crate) use self::source::VideoEvent;
use super::contract::Output;
use super::limits::admission::RETRY_AFTER;
use super::outbox::{Outbox, Timer};
use crate::media::{Appearance, Codec, EncoderName, Frame};
use crate::source::{Source, SourceItem};
use crate::web::reason::Reason;
use crate::web::refusal::Refusal;
use crate::web::snapshot::NO_PICTURE;
use crate::webrtc::ViewerId;
use crate::webrtc::payload::Packets;

/// The RTP clock of all video (RFC 6184, section 8.1).
const RTP_CLOCK_HZ: u128 = 90_000;
/// How long after a failed capture the ball's source counts as failed. It is tried again when a viewer
/// watches.
const CAPTURE_RETRY: Duration = Duration::from_secs(2);
/// The shortest time between two groups for one viewer, however often it asks.
const GROUP_INTERVAL: Duration = Duration::from_millis(500);
/// The packets of a group are paced over this time.
const GROUP_SPREAD: Duration = Duration::from_millis(200);

/// Who needs pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Audience {
    /// By codec: a viewer watches.
    pub(crate) codecs: [bool; Codec::ALL.len()],
    /// Somebody watches pictures over HTTP.
    pub(crate) streams: bool,
}

impl Audience {
    fn is_anybody(&self) -> bool {
        self.streams || self.codecs.contains(&true)
    }
}

/// A picture that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Captured {
    pub(crate) at: Instant,
    /// It is the sentence that viewers see while there is no picture.
    pub(crate) is_no_signal: bool,
}

/// What has been counted since the start.
#[derive(Debug, Default, Clone)]
pub struct VideoCounters {
    /// Encoded frames, those of each codec.
    pub frames: u64,
    pub keyframes: u64,
    /// Pictures that were due, or came, while another was being encoded.
    pub left_out: u64,
    /// Pictures that could not be decoded or encoded.
    pub damaged: u64,
    /// Time for rendering and encoding.
    pub encode_total: Duration,
    pub encode_max: Duration,
}

impl VideoCounters {
    fn count_frame(&mut self, frame: &Frame) {
        self.frames += 1;
        self.keyframes += u64::from(frame.is_keyframe());
        self.encode_total += frame.cost;
        self.encode_max = self.encode_max.max(frame.cost);
    }
}

pub(crate) struct Video {
    /// In place of the ball.
    source: Option<Source>,
    appearance: Appearance,
    /// The operator was told that frames of the source show no clock.
    has_warned_of_clock: bool,
    /// Somebody watches, or is about to.
    is_watched: bool,
    /// What the source has to show and the server has not polled yet.
    items: VecDeque<SourceItem>,
    /// The source was opened again.
    has_opened: bool,
    /// The frames to come do not refer to those before.
    has_restarted: bool,
    clock: FrameClock,
    /// By codec.
    keyframes: [Keyframes; Codec::ALL.len()],
    group: Group,
    overload: Overload,
    fan_outs: VecDeque<FanOut>,
    /// The origin of RTP time.
    started: Instant,
    /// When the ball's source failed, if there was no frame since.
    capture_failed_at: Option<Instant>,
    /// What the current picture has taken to encode so far, in all codecs.
    encoding: Duration,
    encoder: Option<EncoderName>,
    counters: VideoCounters,
}

impl Video {
    /// The video of a source, or of the ball at this rate.
    ///
    /// # Panics
    /// If `frames_per_second` is 0.
    pub(crate) fn new(
        source: Option<Source>,
        frames_per_second: u32,
        appearance: Appearance,
        now: Instant,
        outbox: &mut Outbox,
    ) -> Video {
        outbox.set_timer(Timer::Source, source.as_ref().and_then(Source::poll_timeout));
        let frames_per_second = match source {
            Some(_) => source::NO_SIGNAL_FRAMES_PER_SECOND,
            None => frames_per_second,
        };
        Video {
            source,
            appearance,
            has_warned_of_clock: false,
            is_watched: false,
            items: VecDeque::new(),
            has_opened: false,
            has_restarted: false,
            clock: FrameClock::new(frames_per_second),
            keyframes: Default::default(),
            group: Group::default(),
            overload: Overload::default(),
            fan_outs: VecDeque::new(),
            started: now,
            capture_failed_at: None,
            encoding: Duration::ZERO,
            encoder: None,
            counters: VideoCounters::default(),
        }
    }

    /// Takes the tick that is due, if any: a picture of the ball, or the sentence that is shown while a
    /// source has none.
    pub(crate) fn tick(
        &mut self,
        now: Instant,
        audience: Audience,
        outbox: &mut Outbox,
    ) -> Option<Captured> {
        let skipped = self.clock.tick(now);
        outbox.set_timer(Timer::Frame, self.clock.deadline());
        let skipped = skipped?;
        if self.source.is_some() {
            return self.encode_no_signal(now, audience, outbox);
        }
        self.note_picture(now, skipped);
        let codecs = self.force_keyframes(now, audience, outbox);
        outbox.push(Output::Capture(codecs));
        Some(Captured { at: now, is_no_signal: false })
    }

    /// Takes one picture of the ball although nobody watches, if the last one is older than a period.
    pub(crate) fn capture_once(&mut self, now: Instant, outbox: &mut Outbox) -> Option<Captured> {
        if self.source.is_some() || !self.clock.tick_once(now) {
            return None;
        }
        outbox.push(Output::Capture(Vec::new()));
        Some(Captured { at: now, is_no_signal: false })
    }

    /// Whether the newest picture may be of yesterday: the clock is stopped, so that nobody takes any.
    pub(crate) fn newest_is_old(&self, now: Instant) -> bool {
        self.source.is_none() && self.clock.can_tick_once(now)
    }

    pub(crate) fn set_encoder(&mut self, name: EncoderName) {
        self.encoder = Some(name);
    }

    /// The encoder of H.264, once there is one.
    pub(crate) fn encoder(&self) -> Option<&EncoderName> {
        self.encoder.as_ref()
    }

    pub(crate) fn note_left_out(&mut self) {
        self.counters.left_out += 1;
    }

    pub(crate) fn note_capture_failed(&mut self, now: Instant) {
        self.capture_failed_at = Some(now);
    }

    /// Whether the last capture failed, and it is too early to try again.
    pub(crate) fn has_failed(&self, now: Instant) -> bool {
        self.capture_failed_at.is_some_and(|failed| now < failed + CAPTURE_RETRY)
    }

    /// Whether a viewer would see something.
    ///
    /// # Errors
    /// The ball's source [has failed](Self::has_failed).
    pub(crate) fn admit_viewer(&self, now: Instant) -> Result<(), Refusal> {
        if !self.has_failed(now) {
            return Ok(());
        }
        let refusal = Refusal::new(409, Reason::NoSource, NO_PICTURE);
        Err(refusal.retry_after(RETRY_AFTER))
    }

    /// Starts the frame clock when the first viewer watches, and stops it after the last.
    pub(crate) fn update_clock(&mut self, now: Instant, audience: Audience, outbox: &mut Outbox) {
        if self.needs_clock(audience) {
            self.clock.start(now);
        } else {
            self.clock.stop();
        }
        outbox.set_timer(Timer::Frame, self.clock.deadline());
    }

    /// Shows a viewer that has connected why there is no picture, without waiting for the next tick.
    pub(crate) fn show_no_signal_now(&mut self, now: Instant, outbox: &mut Outbox) {
        if self.source.is_some() {
            self.clock.restart_now(now);
            outbox.set_timer(Timer::Frame, self.clock.deadline());
        }
    }

    /// Whether pictures come from the clock: those of the ball, or sentences while a source has none.
    fn needs_clock(&self, audience: Audience) -> bool {
        let is_running = self.source.as_ref().is_some_and(Source::is_running);
        audience.is_anybody() && !is_running
    }

    /// Whether the clock runs just when it has to.
    pub(crate) fn clock_suits(&self, audience: Audience) -> bool {
        self.clock.deadline().is_some() == self.needs_clock(audience)
    }

    /// How many deadlines it has set.
    pub(crate) fn timers(&self) -> usize {
        let source = self.source.as_ref().and_then(Source::poll_timeout);
        [self.clock.deadline(), source].iter().flatten().count()
    }

    /// From one tick of the clock to the next.
    pub(crate) fn tick_period(&self) -> Duration {
        self.clock.period()
    }

    /// From one picture to the next.
    pub(crate) fn picture_period(&self) -> Duration {
        let running = self.source.as_ref().filter(|source| source.is_running());
        running.and_then(Source::period).unwrap_or(self.clock.period())
    }

    /// A viewer has connected and has nothing to decode yet.
    pub(crate) fn note_viewer_joined(&mut self, codec: Codec) {
        self.keyframes[codec as usize].viewer_joined();
    }

    /// A viewer has lost its picture.
    pub(crate) fn request_keyframe(&mut self, codec: Codec) {
        self.keyframes[codec as usize].request();
    }

    /// The codecs that the next picture is encoded in. Where somebody waits for a key frame, it becomes
    /// one.
    fn force_keyframes(
        &mut self,
        now: Instant,
        audience: Audience,
        outbox: &mut Outbox,
    ) -> Vec<Codec> {
        let watched = |codec: &Codec| audience.codecs[*codec as usize];
        let codecs: Vec<Codec> = Codec::ALL.into_iter().filter(watched).collect();
        for codec in &codecs {
            if self.keyframes[*codec as usize].take(now) {
                outbox.push(Output::ForceKeyframe(*codec));
            }
        }
        codecs
    }

    /// Packetises a frame, and queues it for all who watch.
    pub(crate) fn handle_frame(&mut self, now: Instant, frame: &Frame) {
        self.capture_failed_at = None;
        self.counters.count_frame(frame);
        self.overload.add_encoding(frame.cost);
        self.encoding += frame.cost;
        let timestamp = self.rtp_time(frame.captured);
        let is_passed_on = self.passes_on(frame.codec());
        let rotation = self.viewers_orientation().rotation;
        let frame = Arc::new(Packets::new(frame, timestamp, rotation));
        if is_passed_on {
            self.group.add(&frame);
        }
        let within = (self.picture_period() / 2).min(MAX_SPREAD);
        self.fan_outs.push_back(FanOut::to_all(now, frame, within));
    }

    /// Queues all frames since the last key frame for a viewer. `sent_at` is when it was sent them last.
    pub(crate) fn send_group(
        &mut self,
        now: Instant,
        id: ViewerId,
        codec: Codec,
        sent_at: &mut Option<Instant>,
    ) {
        if sent_at.is_some_and(|at| now < at + GROUP_INTERVAL) {
            return;
        }
        let frames = self.group.frames().iter().filter(|frame| frame.codec == codec);
        let frames: Vec<_> = frames.cloned().collect();
        if !frames.is_empty() {
            *sent_at = Some(now);
            self.fan_outs.push_back(FanOut::to_one(now, frames, GROUP_SPREAD, id));
        }
    }

    /// Whether nothing is being fanned out.
    pub(crate) fn is_drained(&self) -> bool {
        self.fan_outs.is_empty()
    }

    /// The fan-out that is first in line, to be [put back](Self::resume_fan_out) or
    /// [finished](Self::finish_fan_out).
    pub(crate) fn take_fan_out(&mut self) -> Option<FanOut> {
        self.fan_outs.pop_front()
    }

    /// Others may have got in line meanwhile: this one goes on first.
    pub(crate) fn resume_fan_out(&mut self, fan_out: FanOut) {
        self.fan_outs.push_front(fan_out);
    }

    /// Everybody has had the frame, or was passed over.
    pub(crate) fn finish_fan_out(&mut self, fan_out: &FanOut) {
        // The source may have been late with a key frame, or a viewer may have lost one on our side.
        if let Some(codec) = fan_out.codec_missed().filter(|codec| !self.passes_on(*codec)) {
            self.request_keyframe(codec);
        }
    }

    /// A picture is taken, and those that were due before it were skipped.
    fn note_picture(&mut self, now: Instant, left_out: u64) {
        self.counters.left_out += left_out;
        self.overload.add_picture(left_out);
        let Some(warning) = self.overload.poll(now, self.picture_period()) else { return };
        let help = match &self.source {
            None => "lower --size or --fps",
            Some(_) => "use smaller or fewer pictures, or a camera that encodes H.264",
        };
        log::warn!(
            "skipped {} of {} pictures, because encoding one takes {:.0} ms here: {help}",
            warning.left_out,
            warning.left_out + warning.taken,
            warning.encoding.as_secs_f64() * 1e3,
        );
    }

    pub(crate) fn counters(&self) -> &VideoCounters {
        &self.counters
    }

    fn rtp_time(&self, captured: Instant) -> u32 {
        let since_start = captured.saturating_duration_since(self.started);
        (since_start.as_nanos() * RTP_CLOCK_HZ / 1_000_000_000) as u32
    }
}

#[cfg(test)]
mod tests;
