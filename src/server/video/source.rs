//! The stream from outside, if there is one: what it brings goes to the viewers.
//!
//! What is encoded already is passed on as it comes, and who comes, or asks for a key frame, is given
//! the group since the last one: a pipe cannot be asked for it. Pictures are encoded here, while
//! somebody watches. While there is neither, viewers see words instead.

use std::time::{Duration, Instant};

use super::fan_out::FanOut;
use crate::media::{Codec, Damage, Size, SourcePicture, has_room_for_words, no_signal};
use crate::server::http::snapshots::Captured;
use crate::server::{Output, Server, Timer};
use crate::source::{Source, SourceCommand, SourceEvent, SourceItem};
use crate::webrtc::{EndReason, ViewerId};

/// A viewer is given a whole group at most this often, however often it asks.
const GROUP_INTERVAL: Duration = Duration::from_millis(500);
/// And it leaves over so long.
const GROUP_SPREAD: Duration = Duration::from_millis(200);

/// Of the words that are shown while there is no picture: only the seconds in them change.
/// More than one a second, after which the page takes the picture for stopped.
pub const NO_SIGNAL_FRAMES_PER_SECOND: u32 = 2;
/// Of the words, as long as nothing is known about the stream, or its pictures are too small for words.
const USUAL_SIZE: Size = Size { width: 640, height: 480 };

impl Server {
    pub(crate) fn handle_source(&mut self, now: Instant, event: SourceEvent) {
        self.with_source(now, |source| source.handle_event(now, event));
    }

    /// What has become of a picture of the stream.
    pub(crate) fn handle_outcome(&mut self, now: Instant, damage: Option<Damage>) {
        self.counters.pictures_damaged += u64::from(damage.is_some());
        self.with_source(now, |source| source.note_outcome(now, damage));
    }

    pub(crate) fn source_timeout(&mut self, now: Instant) {
        self.with_source(now, |source| source.handle_timeout(now));
    }

    /// Changes the source, then does what it wants and shows what it has.
    fn with_source(&mut self, now: Instant, change: impl FnOnce(&mut Source)) {
        let passed_on = self.passes_on(Codec::H264);
        let Some(mut source) = self.source.take() else { return };
        let was_running = source.is_running();
        change(&mut source);
        while let Some(command) = source.poll_command() {
            if command == SourceCommand::Open {
                self.group.clear();
                self.snapshots.forget_keyframe();
            }
            self.outbox.push_back(Output::Source(command));
        }
        let is_running = source.is_running();
        let shows = is_running || source.tries_pictures();
        let mut items = Vec::new();
        while let Some(item) = source.poll_item() {
            items.push(item);
        }
        self.timers.set(Timer::Source, source.poll_timeout());
        self.source = Some(source);
        if was_running != is_running || passed_on != self.passes_on(Codec::H264) {
            // What was shown until now, words or pictures, is nothing that the next refers to.
            self.begin_again(now);
        }
        if !shows {
            // What came just before a failure would be a picture between words that refer to words.
            return;
        }
        // Of pictures that have come at once, only the newest is worth encoding.
        let is_picture = |item: &SourceItem| !matches!(item, SourceItem::Frame(_));
        let newest = items.iter().rposition(is_picture);
        if let Some(newest) = newest {
            let older = items[..newest].iter().filter(|item| is_picture(item)).count();
            self.note_picture(now, older as u64);
        }
        for (index, item) in items.into_iter().enumerate() {
            if newest == Some(index) || !is_picture(&item) {
                self.show(now, item);
            }
        }
    }

    fn begin_again(&mut self, now: Instant) {
        let passes_on = self.passes_on(Codec::H264);
        for id in self.viewers.ids() {
            let Some(entry) = self.viewers.get_mut(id) else { continue };
            entry.viewer.shut_gate();
            if passes_on && entry.viewer.codec() != Codec::H264 {
                // It came for the words. Its next offer is answered with the sentence.
                self.with_viewer(now, id, |viewer| viewer.end(now, EndReason::NoCodec));
            } else if passes_on {
                self.send_group(now, id);
            }
        }
        self.keyframes.iter_mut().for_each(|keyframes| keyframes.viewer_joined());
        self.update_clock(now);
    }

    fn show(&mut self, now: Instant, item: SourceItem) {
        match item {
            SourceItem::Frame(frame) => {
                self.handle_frame(now, &frame);
                if frame.is_keyframe() {
                    self.snapshots.note_keyframe(now, frame);
                }
            }
            SourceItem::Picture(picture, captured) => {
                self.encode(now, SourcePicture::Picture(picture), captured, true);
            }
            SourceItem::Samples(samples, captured) => {
                self.encode(now, SourcePicture::Samples(samples), captured, true);
            }
            SourceItem::Jpeg(jpeg, captured) => {
                self.encode(now, SourcePicture::Jpeg(jpeg), captured, true)
            }
        }
    }

    fn encode(
        &mut self,
        now: Instant,
        picture: SourcePicture,
        captured: Instant,
        is_reported: bool,
    ) {
        let codecs = self.request_keyframes(now);
        self.outbox.push_back(Output::Encode { picture, captured, codecs, is_reported });
        self.snapshots.note_capture(Captured { at: captured, is_words: !is_reported });
        self.request_part(now);
    }

    /// The words that viewers see while there is no picture.
    pub(crate) fn show_no_signal(&mut self, now: Instant) {
        let Some(source) = &self.source else { return };
        let Some(missing) = source.missing(now) else { return };
        let size = source.info().size.filter(has_room_for_words).unwrap_or(USUAL_SIZE);
        let [sentence, duration, retry] = missing.lines();
        let lines = ["No signal", &sentence, &duration, &retry];
        self.encode(now, SourcePicture::Picture(no_signal(size, &lines)), now, false);
    }

    /// Whether frames of this codec come from outside, encoded.
    pub(crate) fn passes_on(&self, codec: Codec) -> bool {
        let passes = |source: &Source| source.is_running() && source.is_encoded();
        codec == Codec::H264 && self.source.as_ref().is_some_and(passes)
    }

    /// Sends a viewer all that it needs to be where the stream is.
    pub(crate) fn send_group(&mut self, now: Instant, id: ViewerId) {
        let Some(entry) = self.viewers.get_mut(id).filter(|entry| entry.viewer.is_watching())
        else {
            return;
        };
        let codec = entry.viewer.codec();
        if entry.group_sent_at.is_some_and(|at| now < at + GROUP_INTERVAL) {
            return;
        }
        let frames = self.group.frames().iter().filter(|frame| frame.codec == codec);
        let frames: Vec<_> = frames.cloned().collect();
        if !frames.is_empty() {
            entry.group_sent_at = Some(now);
            let within = GROUP_SPREAD;
            self.fan_outs.push_back(FanOut::ToOne { now, frames, within, id });
        }
    }
}
