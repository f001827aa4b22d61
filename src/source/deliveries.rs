//! What comes of the stream: pictures for the viewers, or why there are none.

use std::time::{Duration, Instant};

use super::flood::MOST_PER_SECOND;
use super::restarts::Ending;
use super::{Source, SourceCause, SourceCommand, SourceItem, SourceKind, SourceStatus};
use crate::media::{Damage, Frame};
use crate::source::parse::{self, Info, ParserCounters, StreamError, StreamFormat};

impl Source {
    pub(crate) fn take_items(&mut self, now: Instant, parsed: Result<(), StreamError>) {
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
            // The pictures before the error would hide its sentence.
            self.file.ready.clear();
            if self.has_process && self.ending.is_none() {
                self.ending = Some(Ending::begin(now));
            }
            if self.config.kind == SourceKind::File && self.attempt.ended_at.is_none() {
                // A film may have gigabytes.
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
            self.groups.note_picture(now, unit.keyframe);
            if !self.flood.admit(now, unit.keyframe) {
                self.is_cut = true;
                return self.blame(now, SourceCause::TooMany(MOST_PER_SECOND));
            }
            self.is_cut &= !unit.keyframe;
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
            parse::ParsedItem::AccessUnit(unit) => {
                SourceItem::Frame(Frame::h264(unit.data, captured))
            }
            parse::ParsedItem::Picture(picture) => SourceItem::Picture(picture, captured),
            parse::ParsedItem::Samples(samples) => SourceItem::Samples(samples, captured),
            parse::ParsedItem::Jpeg(jpeg) => SourceItem::Jpeg(jpeg, captured),
        });
    }

    /// A picture of [`poll_item`](Self::poll_item) was decoded and encoded, or it is damaged. Key frames
    /// that no file can be made of are no reason: browsers may decode what is beyond the decoder here.
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

    /// Whether pictures are tried now and then that could not be shown.
    pub fn tries_pictures(&self) -> bool {
        self.watch.tries_pictures()
    }

    /// There are pictures that can be shown.
    fn run(&mut self, now: Instant) {
        if self.is_running() {
            return;
        }
        self.set_status(now, SourceStatus::Running);
        // A command that is being ended may go on: its end is still to come.
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

    /// The stream goes on, and is not shown.
    pub(crate) fn blame(&mut self, now: Instant, cause: SourceCause) {
        self.attempt.is_blamed = true;
        self.set_status(now, SourceStatus::Failed { cause, words: None });
    }

    /// Bytes have come, and no picture.
    pub(crate) fn blame_fruitless(&mut self, now: Instant) {
        self.is_overdue = true;
        self.blame(now, self.watch.fruitless_cause());
    }

    /// The next picture is overdue.
    pub(crate) fn become_silent(&mut self, now: Instant) {
        self.is_overdue = true;
        let lately = self.rhythm.silent_after(self.told_period()) / 2;
        if self.attempt.is_open() && self.watch.fruitless_since(now, lately).is_some() {
            return self.blame_fruitless(now);
        }
        self.attempt.is_blamed = false;
        self.set_status(now, SourceStatus::Silent);
    }

    /// The stream has ended, or the command that made it: without a picture, what came instead says why.
    pub(crate) fn end_fruitless(&mut self, now: Instant) {
        let ParserCounters { bytes, items, .. } = self.parser.counters();
        // How a command ends may say more.
        let is_open = self.has_process || self.attempt.failed || self.attempt.is_blamed;
        if bytes > 0 && items == 0 && !is_open {
            self.blame_fruitless(now);
        }
    }

    /// When the next picture is overdue, so that a stream that was running is silent. A named pipe may
    /// have been opened again meanwhile.
    pub(crate) fn overdue_at(&self) -> Option<Instant> {
        let brings_pictures = match &self.status {
            SourceStatus::Running => true,
            SourceStatus::Failed { cause, .. } => {
                matches!(cause, SourceCause::LeftOut(_) | SourceCause::Damaged(_))
            }
            SourceStatus::Starting | SourceStatus::Silent => false,
        };
        let last = self.last_item.filter(|_| brings_pictures && !self.is_overdue)?;
        Some(last + self.rhythm.silent_after(self.told_period()))
    }

    /// When a stream that has brought bytes, and no picture, is taken for one that brings none.
    pub(crate) fn fruitless_at(&self) -> Option<Instant> {
        let is_new = self.attempt.is_open() && self.attempt.first_item.is_none();
        let is_open = is_new && !self.attempt.failed && !self.attempt.is_blamed;
        let since = self.watch.bytes_since().filter(|_| is_open)?;
        Some(since + self.fruitless_after())
    }

    /// Whether bytes have come for long, and no picture.
    fn is_fruitless(&self, now: Instant) -> bool {
        let is_said = self.is_running() || self.attempt.failed || self.attempt.is_blamed;
        let since = self.watch.bytes_since().filter(|_| !is_said && self.attempt.is_open());
        since.is_some_and(|since| now >= since + self.fruitless_after())
    }

    fn fruitless_after(&self) -> Duration {
        super::watch::FRUITLESS_AFTER.max(self.rhythm.silent_after(self.told_period()))
    }

    /// From one picture to the next, as the stream declares it.
    pub(crate) fn told_period(&self) -> Option<Duration> {
        let raw = self.config.raw.map(|raw| Duration::from_secs(1) / raw.frames_per_second);
        let rate = self.info().frame_rate;
        raw.or(rate.map(|rate| Duration::from_secs(1) * rate.denominator / rate.numerator))
    }
}
