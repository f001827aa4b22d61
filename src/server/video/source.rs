//! The source in place of the ball: what it brings goes to the viewers.
//!
//! Encoded frames are passed on as they come. A viewer that connects, or asks for a key frame, is sent the
//! group since the last one, as a pipe cannot be asked for it. Pictures are encoded here while somebody
//! watches. While there are neither, viewers see a sentence instead.

use std::time::{Duration, Instant};

use super::{Audience, Captured, Video};
use crate::media::{
    Codec, Damage, Frame, Orientation, Size, SourcePicture, has_room_for_words, no_signal,
};
use crate::server::contract::Output;
use crate::server::outbox::{Outbox, Timer};
use crate::source::{Source, SourceEvent, SourceItem, SourceStatus};
use crate::web::snapshot::NO_PICTURE;

/// The rate of the picture that says why there is none, in which only a number of seconds changes. At one per
/// second or less, the page would report that the picture has stopped.
pub(super) const NO_SIGNAL_FRAMES_PER_SECOND: u32 = 2;
/// The size of that picture while the source's is unknown or too small for text.
const NO_SIGNAL_SIZE: Size = Size { width: 640, height: 480 };

/// What has happened to the source or a picture, for the rest of the server.
#[derive(Debug)]
pub(crate) enum VideoEvent {
    /// The source was opened, or its command started.
    Opened,
    /// Nothing to come refers to what was shown before: [`Video::restart_stream`] follows.
    Restarted,
    Captured(Captured),
    /// A key frame was passed on.
    Keyframe(Frame),
}

impl Video {
    pub(crate) fn handle_source(&mut self, now: Instant, event: SourceEvent, outbox: &mut Outbox) {
        self.drive_source(now, outbox, |source| source.handle_event(now, event));
    }

    pub(crate) fn handle_source_timeout(&mut self, now: Instant, outbox: &mut Outbox) {
        self.drive_source(now, outbox, |source| source.handle_timeout(now));
    }

    /// Somebody watches or is about to, or nobody does.
    pub(crate) fn set_watched(&mut self, now: Instant, is_watched: bool, outbox: &mut Outbox) {
        if self.is_watched != is_watched {
            self.is_watched = is_watched;
            self.drive_source(now, outbox, |source| source.set_watched(now, is_watched));
        }
    }

    /// Somebody asks for one picture.
    pub(crate) fn note_asked(&mut self, now: Instant, outbox: &mut Outbox) {
        self.drive_source(now, outbox, |source| source.note_asked(now));
    }

    /// A picture of the source was encoded, or could not be.
    pub(crate) fn note_outcome(
        &mut self,
        now: Instant,
        damage: Option<Damage>,
        outbox: &mut Outbox,
    ) {
        self.count_outcome(damage);
        let cost = std::mem::take(&mut self.encoding);
        self.drive_source(now, outbox, |source| {
            source.note_outcome(now, damage);
            source.note_encoded(now, cost);
        });
    }

    /// Counts a picture that was made a file while viewers judge the source.
    pub(crate) fn count_outcome(&mut self, damage: Option<Damage>) {
        self.counters.damaged += u64::from(damage.is_some());
    }

    /// Changes the source and executes its commands. [`poll_event`](Self::poll_event) shows what it has.
    fn drive_source(
        &mut self,
        now: Instant,
        outbox: &mut Outbox,
        change: impl FnOnce(&mut Source),
    ) {
        let passed_on = self.passes_on(Codec::H264);
        let Some(source) = &mut self.source else { return };
        let was_running = source.is_running();
        change(source);
        while let Some(command) = source.poll_command() {
            if command.begins_stream() {
                self.group.clear();
                self.has_opened = true;
            }
            outbox.push(Output::Source(command));
        }
        let mut items: Vec<SourceItem> = std::iter::from_fn(|| source.poll_item()).collect();
        outbox.set_timer(Timer::Source, source.poll_timeout());
        let is_running = source.is_running();
        if !is_running && !source.tries_pictures() {
            // Pictures from just before a failure would appear between sentences about it.
            items.clear();
        }
        self.warn_of_clock();
        self.has_restarted |= was_running != is_running || passed_on != self.passes_on(Codec::H264);
        // Of pictures that have come at once, only the newest is worth encoding.
        let is_picture = |item: &SourceItem| !matches!(item, SourceItem::Frame(_));
        let pictures = items.iter().filter(|item| is_picture(item)).count();
        let mut older = pictures.saturating_sub(1);
        if pictures > 0 {
            self.note_picture(now, older as u64);
        }
        items.retain(|item| {
            let is_older = is_picture(item) && older > 0;
            older -= usize::from(is_older);
            !is_older
        });
        self.items.extend(items);
    }

    /// Warns once that frames which are passed on show no clock.
    fn warn_of_clock(&mut self) {
        if self.appearance.has_clock && !self.has_warned_of_clock && self.passes_on(Codec::H264) {
            self.has_warned_of_clock = true;
            log::warn!(
                "--clock is not in the video, but in snapshots only: the source's H.264 is passed on \
                 unchanged. Use MJPEG or raw pictures, or have the camera draw the time"
            );
        }
    }

    /// What has happened since the last call, in order. Frames are queued for the viewers, and pictures
    /// are sent to the encoders, as they are reached.
    pub(crate) fn poll_event(
        &mut self,
        now: Instant,
        audience: Audience,
        outbox: &mut Outbox,
    ) -> Option<VideoEvent> {
        if std::mem::take(&mut self.has_opened) {
            return Some(VideoEvent::Opened);
        }
        if std::mem::take(&mut self.has_restarted) {
            return Some(VideoEvent::Restarted);
        }
        while let Some(item) = self.items.pop_front() {
            let (picture, captured) = match item {
                SourceItem::Frame(frame) => {
                    self.handle_frame(now, &frame);
                    if frame.is_keyframe() {
                        return Some(VideoEvent::Keyframe(frame));
                    }
                    continue;
                }
                SourceItem::Picture(picture, at) => (SourcePicture::Picture(picture), at),
                SourceItem::Samples(samples, at) => (SourcePicture::Samples(samples), at),
                SourceItem::Jpeg(jpeg, at) => (SourcePicture::Jpeg(jpeg), at),
            };
            let captured = Captured { at: captured, is_no_signal: false };
            self.encode(now, picture, captured, audience, outbox);
            return Some(VideoEvent::Captured(captured));
        }
        None
    }

    /// After [`VideoEvent::Restarted`], when all gates are shut: everybody waits for a key frame.
    pub(crate) fn restart_stream(&mut self) {
        self.keyframes.iter_mut().for_each(|keyframes| keyframes.viewer_joined());
    }

    /// Has the picture encoded that says why there is none.
    pub(super) fn encode_no_signal(
        &mut self,
        now: Instant,
        audience: Audience,
        outbox: &mut Outbox,
    ) -> Option<Captured> {
        let source = self.source.as_ref()?;
        let missing = source.no_signal(now)?;
        let size = source.info().size.filter(has_room_for_words).unwrap_or(NO_SIGNAL_SIZE);
        let size = self.appearance.orientation.size(size);
        let [sentence, duration, retry] = missing.lines();
        let picture = no_signal(size, &["No signal", &sentence, &duration, &retry]);
        let captured = Captured { at: now, is_no_signal: true };
        self.encode(now, SourcePicture::NoSignal(picture), captured, audience, outbox);
        Some(captured)
    }

    fn encode(
        &mut self,
        now: Instant,
        picture: SourcePicture,
        captured: Captured,
        audience: Audience,
        outbox: &mut Outbox,
    ) {
        self.encoding = Duration::ZERO;
        let codecs = self.force_keyframes(now, audience, outbox);
        let is_reported = !captured.is_no_signal;
        outbox.push(Output::Encode { picture, captured: captured.at, codecs, is_reported });
    }

    /// The [problem](Self::problem), unless it is that the source rests as nobody watches.
    pub(crate) fn fault(&self, now: Instant) -> Option<String> {
        let resting = |source: &Source| *source.status() == SourceStatus::Resting;
        self.problem(now).filter(|_| !self.source.as_ref().is_some_and(resting))
    }

    /// The sentence that says why there is no picture, if there is none. Everybody may read it.
    pub(crate) fn problem(&self, now: Instant) -> Option<String> {
        match &self.source {
            Some(source) => source.no_signal(now).map(|missing| missing.sentence),
            None => self.has_failed(now).then(|| NO_PICTURE.to_owned()),
        }
    }

    pub(crate) fn source(&self) -> Option<&Source> {
        self.source.as_ref()
    }

    /// The source, if it brings encoded frames as far as is known.
    pub(crate) fn encoded_source(&self) -> Option<&Source> {
        self.source.as_ref().filter(|source| source.is_encoded())
    }

    /// Whether frames of this codec come from the source, encoded.
    pub(crate) fn passes_on(&self, codec: Codec) -> bool {
        codec == Codec::H264 && self.encoded_source().is_some_and(Source::is_running)
    }

    /// How viewers have to show the frames: as they are, unless they are passed on.
    pub(crate) fn viewers_orientation(&self) -> Orientation {
        match self.passes_on(Codec::H264) {
            true => self.appearance.orientation,
            false => Orientation::default(),
        }
    }

    /// Whether pictures of the source are tried again that could not be shown before.
    pub(crate) fn tries_pictures(&self) -> bool {
        self.source.as_ref().is_some_and(Source::tries_pictures)
    }
}
