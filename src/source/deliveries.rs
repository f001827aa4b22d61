//! Delivers the parsed items of the stream, or finds out why there are none.

use std::time::{Duration, Instant};

use super::attempt::Attempt;
use super::camera::Camera;
use super::flood::MOST_PER_SECOND;
use super::restarts::Ending;
use super::{Source, SourceCause, SourceCommand, SourceItem, SourceKind, SourceStatus};
use crate::media::{Damage, Frame};
use crate::source::parse::{self, Info, ParserCounters, StreamError, StreamFormat};

/// A camera without a picture for this long after its start has none.
const CAMERA_STARTS_WITHIN: Duration = Duration::from_secs(2);

impl Source {
    pub(crate) fn take_items(&mut self, now: Instant, parsed: Result<(), StreamError>) {
        if self.attempt.is_put_to_rest {
            while self.parser.poll().is_some() {}
            return;
        }
        self.watch.note_bytes(now, self.parser.counters(), self.parser.lacks());
        if let Some(cause) = self.watch.blame().filter(|_| self.is_running()) {
            self.blame(now, cause);
        }
        while let Some(item) = self.parser.poll() {
            if self.config.kind == SourceKind::File {
                self.file.ready.push_back(item);
            } else {
                self.deliver(now, item);
            }
        }
        if let Err(error) = parsed
            && !self.attempt.failed
        {
            let words = error.words();
            self.fail(now, SourceCause::Stream(error), words);
            // The pictures before the error would hide its cause.
            self.file.ready.clear();
            if self.has_process && self.ending.is_none() {
                self.ending = Some(Ending::begin(now));
            }
            self.reject_camera(now);
            if self.config.kind == SourceKind::File && self.attempt.ended_at.is_none() {
                // The rest of the file may be gigabytes.
                self.attempt.ended_at = Some(now);
                self.commands.push_back(SourceCommand::Close);
            }
        }
        if self.is_fruitless(now) {
            self.blame_fruitless(now);
        }
        self.play_file(now);
    }

    pub(crate) fn deliver(&mut self, now: Instant, item: parse::ParsedItem) {
        self.attempt.first_item.get_or_insert(now);
        self.attempt.last_item = Some(now);
        (self.last_item, self.is_overdue) = (Some(now), false);
        self.rhythm.note_picture(now);
        if let parse::ParsedItem::AccessUnit(unit) = &item {
            let keyframe = unit.is_keyframe();
            self.groups.note_picture(now, keyframe);
            if let Some(camera) = self.camera.as_mut().filter(|_| keyframe) {
                camera.note_keyframe(now);
            }
            if !self.flood.admit(now, keyframe) {
                self.is_cut = true;
                return self.blame(now, SourceCause::TooMany(MOST_PER_SECOND));
            }
            self.is_cut &= !keyframe;
            self.watch.note_encoded();
        }
        if let Some(cause) = self.watch.blame() {
            self.blame(now, cause);
            if !self.watch.tries_pictures() || !self.watch.take_trial(now) {
                self.is_cut = true;
                return;
            }
        } else if self.is_cut && self.is_encoded() {
            return;
        } else {
            self.run(now);
        }
        let captured = self.arrivals.time_of_next(now);
        self.items.push_back(match item {
            parse::ParsedItem::AccessUnit(unit) => SourceItem::Frame(Frame::h264(unit, captured)),
            parse::ParsedItem::Picture(picture) => SourceItem::Picture(picture, captured),
            parse::ParsedItem::Samples(samples) => SourceItem::Samples(samples, captured),
            parse::ParsedItem::Jpeg(jpeg) => SourceItem::Jpeg(jpeg, captured),
        });
    }

    /// Reports that a picture of [`poll_item`](Self::poll_item) was decoded and encoded, or that it is
    /// damaged. Failures to decode H.264 are ignored: browsers may decode what the decoder here does not.
    pub fn note_outcome(&mut self, now: Instant, damage: Option<Damage>) {
        if self.is_encoded() {
            return;
        }
        let overdue = self.rhythm.silent_after(self.told_period());
        self.watch.note_outcome(now, damage, overdue);
        let is_damaged =
            matches!(self.status, SourceStatus::Failed { cause: SourceCause::Damaged(_), .. });
        match self.watch.blame() {
            Some(cause) if self.is_running() => self.blame(now, cause),
            None if is_damaged => self.run(now),
            _ => {}
        }
    }

    /// Reports that a picture was encoded in this time.
    pub fn note_encoded(&mut self, now: Instant, cost: Duration) {
        let stop = self.camera.as_mut().and_then(|camera| camera.note_encoded(now, cost));
        self.commands.extend(stop.map(SourceCommand::Camera));
    }

    /// Whether a picture is tried now and then although the last ones could not be shown.
    pub fn tries_pictures(&self) -> bool {
        self.watch.tries_pictures()
    }

    /// Sets the status to running: there are pictures that can be shown.
    fn run(&mut self, now: Instant) {
        if self.is_running() {
            return;
        }
        self.set_status(now, SourceStatus::Running);
        // A command that is being ended may still deliver pictures before it exits.
        (self.attempt.failed, self.attempt.is_blamed) = (false, false);
        let Info { format, size, profile_level_id, .. } = self.info();
        let format = format.map_or("", StreamFormat::name);
        let size = size.map_or(String::new(), |size| format!(" {size}"));
        let profile = profile_level_id.map_or(String::new(), |id| format!(", profile {id:06x}"));
        let sentence = format!("the picture is {format}{size}{profile}");
        if self.journal.is_news(now, &sentence) {
            log::info!("{sentence}");
        }
    }

    /// Sets the status to failed while the stream goes on.
    pub(crate) fn blame(&mut self, now: Instant, cause: SourceCause) {
        self.attempt.is_blamed = true;
        self.set_status(now, SourceStatus::Failed { cause, words: None });
    }

    /// Sets the status to failed, as bytes have come, but no picture.
    pub(crate) fn blame_fruitless(&mut self, now: Instant) {
        self.is_overdue = true;
        self.blame(now, self.watch.fruitless_cause());
    }

    /// Handles that the next picture is overdue.
    pub(crate) fn become_silent(&mut self, now: Instant) {
        self.is_overdue = true;
        let lately = self.rhythm.silent_after(self.told_period()) / 2;
        if self.attempt.is_open() && self.watch.fruitless_since(now, lately).is_some() {
            return self.blame_fruitless(now);
        }
        self.attempt.is_blamed = false;
        self.set_status(now, SourceStatus::Silent);
    }

    /// Sets the cause after the stream or its command has ended without a picture.
    pub(crate) fn end_fruitless(&mut self, now: Instant) {
        let ParserCounters { bytes, items, .. } = self.parser.counters();
        // The exit of a command may tell more.
        let is_open = self.has_process || self.attempt.failed || self.attempt.is_blamed;
        if bytes > 0 && items == 0 && !is_open {
            self.blame_fruitless(now);
        }
    }

    /// When the next picture is overdue, and a running stream becomes silent. A named pipe may have been
    /// reopened meanwhile.
    pub(crate) fn overdue_at(&self) -> Option<Instant> {
        if let Some(started) = self.camera_without_picture() {
            return Some(started + CAMERA_STARTS_WITHIN);
        }
        let brings_pictures = match &self.status {
            SourceStatus::Running => true,
            SourceStatus::Failed { cause, .. } => {
                matches!(cause, SourceCause::LeftOut(_) | SourceCause::Damaged(_))
            }
            SourceStatus::Starting | SourceStatus::Resting | SourceStatus::Silent => false,
        };
        let last = self.last_item.filter(|_| brings_pictures && !self.is_overdue)?;
        Some(last + self.rhythm.silent_after(self.told_period()))
    }

    /// When a camera was started that has shown nothing, if that was not said.
    fn camera_without_picture(&self) -> Option<Instant> {
        let is_running = self.camera.as_ref().is_some_and(Camera::is_running);
        let Attempt { opened_at, first_item, failed, is_blamed, .. } = self.attempt;
        let is_said = failed || is_blamed || matches!(self.status, SourceStatus::Silent);
        opened_at.filter(|_| is_running && first_item.is_none() && !is_said)
    }

    /// When a stream that has brought bytes but no picture is considered to have none.
    pub(crate) fn fruitless_at(&self) -> Option<Instant> {
        let is_new = self.attempt.is_open() && self.attempt.first_item.is_none();
        let is_open = is_new && !self.attempt.failed && !self.attempt.is_blamed;
        let since = self.watch.bytes_since().filter(|_| is_open)?;
        Some(since + self.fruitless_after())
    }

    /// Whether bytes have come for too long without a picture.
    fn is_fruitless(&self, now: Instant) -> bool {
        let is_said = self.is_running() || self.attempt.failed || self.attempt.is_blamed;
        let since = self.watch.bytes_since().filter(|_| !is_said && self.attempt.is_open());
        since.is_some_and(|since| now >= since + self.fruitless_after())
    }

    fn fruitless_after(&self) -> Duration {
        super::watch::FRUITLESS_AFTER.max(self.rhythm.silent_after(self.told_period()))
    }

    /// The time between two pictures as the stream declares it.
    pub(crate) fn told_period(&self) -> Option<Duration> {
        let raw = self.config.raw.map(|raw| Duration::from_secs(1) / raw.frames_per_second);
        let rate = self.info().frame_rate;
        raw.or(rate.map(|rate| Duration::from_secs(1) * rate.denominator / rate.numerator))
    }
}
