//! When viewers get a key frame: at once when they come, and when they ask for one.

use std::time::{Duration, Instant};

use ballcast::testing::media::Codec;
use ballcast::testing::webrtc::ViewerId;

use super::{RuleResult, Rules, WINDOW, rule};
use crate::tally::{Happening, Tally};

/// A viewer is given a whole group at most this often.
const GROUP_INTERVAL: Duration = Duration::from_millis(500);
/// What a drain takes.
const AT_ONCE: Duration = Duration::from_millis(10);
/// From words to words.
const WORDS_PERIOD: Duration = Duration::from_millis(500);

impl Rules {
    pub fn keyframe_requested(
        &mut self,
        viewer: ViewerId,
        stream: u32,
        now: Instant,
        tally: &mut Tally,
    ) {
        // After a corrupted packet a client may request a stream that does not exist.
        let Some((codec, known, _)) = self.destinations.get(&viewer).copied() else { return };
        if known != stream {
            return;
        }
        if self.source.as_ref().is_some_and(|source| source.passes_on()) {
            // The answer is the group, if it is kept, and was not given just now.
            let lately =
                self.last_keyframe.get(&viewer).is_some_and(|at| now < *at + GROUP_INTERVAL);
            let kept =
                self.source.as_ref().is_some_and(|source| source.group_kept_since(now).is_some());
            if lately || !kept || codec != Codec::H264 {
                return;
            }
        } else if self.keyframe_requested_at.contains_key(&viewer)
            || self.forced_since(codec, now - WINDOW) >= 2
        {
            tally.happened(Happening::PliCollapsed);
        }
        self.keyframe_requested_at.entry(viewer).or_insert(now);
    }

    fn forced_since(&self, codec: Codec, since: Instant) -> usize {
        let lately = self.forced_keyframes.iter().rev().take_while(|(_, at)| *at > since);
        lately.filter(|(of, _)| *of == codec).count()
    }

    /// The server asks the source for a key frame: for a viewer that is newly connected, where words
    /// and pictures take turns, or for requests, of which two per second are granted.
    pub fn forced_keyframe(&mut self, codec: Codec, now: Instant) -> RuleResult {
        self.forced_keyframes.push((codec, now));
        let period = if self.source.is_some() { WORDS_PERIOD } else { self.period };
        let margin = WINDOW + period * 2;
        let joins = self.connected_at.values().filter(|at| **at + margin > now).count();
        let turns = self.source.iter().flat_map(|source| &source.begun_again);
        let joins = joins + turns.filter(|at| **at + margin > now).count();
        // One more may be left of a turn when nobody watched.
        let joins = joins + usize::from(self.source.is_some());
        let forced = self.forced_since(codec, now - WINDOW);
        rule!(forced <= 2 + joins, "L2: {forced} key frames in a second, with {joins} joins");
        Ok(())
    }

    /// Whether a request of a viewer may have to wait for the next second.
    fn window(&self, viewer: ViewerId, since: Instant) -> Duration {
        let codec = self.destinations.get(&viewer).map(|(codec, ..)| *codec);
        let granted = self
            .forced_keyframes
            .iter()
            .filter(|(of, at)| Some(*of) == codec && *at <= since && *at + WINDOW > since);
        // Two per second for all viewers.
        if granted.count() < 2 { Duration::ZERO } else { WINDOW }
    }

    /// The limits of time of key frames.
    pub(super) fn check_keyframes(&self, now: Instant) -> RuleResult {
        let Some(source) = &self.source else { return self.check_keyframes_of_clock(now) };
        if source.passes_on() {
            let Some(kept_since) = source.group_kept_since(now) else { return Ok(()) };
            let later =
                |since: Instant| since.max(kept_since).max(source.changed_at().unwrap_or(since));
            for (viewer, since) in &self.awaiting_first_keyframe {
                let waits = now.saturating_duration_since(later(*since));
                let is_h264 = self.codecs.get(viewer) == Some(&Codec::H264);
                let in_time = waits <= AT_ONCE || !is_h264;
                rule!(in_time, "L1: {viewer} waits {waits:?} for the group");
            }
            for (viewer, since) in &self.keyframe_requested_at {
                let waits = now.saturating_duration_since(later(*since));
                rule!(waits <= AT_ONCE, "L2: {viewer} waits {waits:?} for the group it asked for");
            }
        } else if !source.is_running() && !source.failed_encode {
            for (viewer, since) in &self.awaiting_first_keyframe {
                // Who was there before waits for the next words.
                let turned = source.changed_at().filter(|at| *at >= *since);
                let turned = turned.max(self.excused_at);
                let limit = turned.map_or(*since + AT_ONCE, |at| at + WORDS_PERIOD + AT_ONCE);
                let limit = limit.max(*since + AT_ONCE);
                rule!(now <= limit, "L1: {viewer} waits {:?} for words", now - *since);
            }
        }
        Ok(())
    }

    fn check_keyframes_of_clock(&self, now: Instant) -> RuleResult {
        let grace = self.period + Duration::from_millis(10);
        for (viewer, since) in &self.awaiting_first_keyframe {
            let waits = now - *since;
            rule!(waits <= grace, "L1: {viewer} waits {waits:?} for its first key frame");
        }
        for (viewer, since) in &self.keyframe_requested_at {
            let waits = now - *since;
            let limit = self.window(*viewer, *since) + Duration::from_millis(100).max(grace);
            rule!(waits <= limit, "L2: {viewer} waits {waits:?} for the key frame it asked for");
        }
        Ok(())
    }

    /// A picture of a stream, or words, was encoded and sent to these viewers: it is a key frame for
    /// those who waited.
    pub fn check_keyframes_of_picture(&self, now: Instant, live: &[ViewerId]) -> RuleResult {
        for viewer in live {
            if let Some(since) = self.awaiting_first_keyframe.get(viewer) {
                rule!(*since >= now, "L1: {viewer} waits {:?} and got no key frame", now - *since);
            }
            if let Some(since) = self.keyframe_requested_at.get(viewer) {
                let limit = *since + self.window(*viewer, *since);
                rule!(limit >= now, "L2: {viewer} asked {:?} ago and got none", now - *since);
            }
        }
        Ok(())
    }

    /// The stream has begun or ceased to run: what was asked for before is nothing that comes now.
    pub fn turned(&mut self) {
        self.keyframe_requested_at.clear();
    }
}
