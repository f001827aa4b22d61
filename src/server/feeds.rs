//! The stream from outside, if there is one: what it brings goes to the viewers.
//!
//! What is encoded already is passed on as it comes, and who comes, or asks for a key frame, is given
//! the group since the last one: a pipe cannot be asked for it. Pictures are encoded here, while
//! somebody watches. While there is neither, viewers see words instead.

use std::time::{Duration, Instant};

use super::frames::FanOut;
use super::snapshots::Taken;
use super::{Output, Server, Timer};
use crate::feed::{Command, Event, Feed, Item};
use crate::media::{Codec, Damage, Frame, Picture, Samples, Size, has_room_for_words, no_signal};
use crate::pipe::Jpeg;
use crate::webrtc::{EndReason, ViewerId};

/// A viewer is given a whole group at most this often, however often it asks.
const GROUP_INTERVAL: Duration = Duration::from_millis(500);
/// And it leaves over so long.
const GROUP_SPREAD: Duration = Duration::from_millis(200);

/// A picture that is to be encoded.
#[derive(Debug)]
pub enum Raw {
    Picture(Picture),
    /// Still to be converted.
    Samples(Samples),
    Jpeg(Jpeg),
    /// Of a stream of H.264, which is passed on as it is: for files of the picture alone.
    Keyframe(Frame),
}

/// Of the words that are shown while there is no picture: only the seconds in them change.
/// More than one a second, after which the page takes the picture for stopped.
pub const NO_SIGNAL_FRAMES_PER_SECOND: u32 = 2;
/// Of the words, as long as nothing is known about the stream, or its pictures are too small for words.
const USUAL_SIZE: Size = Size { width: 640, height: 480 };

impl Server {
    pub(super) fn handle_feed(&mut self, now: Instant, event: Event) {
        self.with_feed(now, |feed| feed.handle_event(now, event));
    }

    /// What has become of a picture of the stream.
    pub(super) fn handle_outcome(&mut self, now: Instant, damage: Option<Damage>) {
        self.counters.pictures_damaged += u64::from(damage.is_some());
        self.with_feed(now, |feed| feed.note_outcome(now, damage));
    }

    pub(super) fn feed_timeout(&mut self, now: Instant) {
        self.with_feed(now, |feed| feed.handle_timeout(now));
    }

    /// Changes the feed, then does what it wants and shows what it has.
    fn with_feed(&mut self, now: Instant, change: impl FnOnce(&mut Feed)) {
        let passed_on = self.passes_on(Codec::H264);
        let Some(mut feed) = self.feed.take() else { return };
        let was_running = feed.is_running();
        change(&mut feed);
        while let Some(command) = feed.poll_command() {
            if command == Command::Open {
                self.group.clear();
                self.snapshots.forget_keyframe();
            }
            self.outbox.push_back(Output::Feed(command));
        }
        let is_running = feed.is_running();
        let shows = is_running || feed.tries_pictures();
        let mut items = Vec::new();
        while let Some(item) = feed.poll_item() {
            items.push(item);
        }
        self.timers.set(Timer::Feed, feed.poll_timeout());
        self.feed = Some(feed);
        if was_running != is_running || passed_on != self.passes_on(Codec::H264) {
            // What was shown until now, words or pictures, is nothing that the next refers to.
            self.begin_again(now);
        }
        if !shows {
            // What came just before a failure would be a picture between words that refer to words.
            return;
        }
        // Of pictures that have come at once, only the newest is worth encoding.
        let is_picture = |item: &Item| !matches!(item, Item::Frame(_));
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

    fn show(&mut self, now: Instant, item: Item) {
        match item {
            Item::Frame(frame) => {
                self.handle_frame(now, &frame);
                if frame.is_keyframe() {
                    self.snapshots.note_keyframe(now, frame);
                }
            }
            Item::Picture(picture, captured) => {
                self.encode(now, Raw::Picture(picture), captured, true);
            }
            Item::Samples(samples, captured) => {
                self.encode(now, Raw::Samples(samples), captured, true);
            }
            Item::Jpeg(jpeg, captured) => self.encode(now, Raw::Jpeg(jpeg), captured, true),
        }
    }

    fn encode(&mut self, now: Instant, picture: Raw, captured: Instant, is_reported: bool) {
        let codecs = self.request_keyframes(now);
        self.outbox.push_back(Output::Encode { picture, captured, codecs, is_reported });
        self.snapshots.note_capture(Taken { at: captured, is_words: !is_reported });
        self.request_part(now);
    }

    /// The words that viewers see while there is no picture.
    pub(super) fn show_no_signal(&mut self, now: Instant) {
        let Some(feed) = &self.feed else { return };
        let Some(missing) = feed.missing(now) else { return };
        let size = feed.info().size.filter(has_room_for_words).unwrap_or(USUAL_SIZE);
        let [sentence, duration, retry] = missing.lines();
        let lines = ["No signal", &sentence, &duration, &retry];
        self.encode(now, Raw::Picture(no_signal(size, &lines)), now, false);
    }

    /// Whether frames of this codec come from outside, encoded.
    pub(super) fn passes_on(&self, codec: Codec) -> bool {
        let passes = |feed: &Feed| feed.is_running() && feed.is_encoded();
        codec == Codec::H264 && self.feed.as_ref().is_some_and(passes)
    }

    /// Sends a viewer all that it needs to be where the stream is.
    pub(super) fn send_group(&mut self, now: Instant, id: ViewerId) {
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
