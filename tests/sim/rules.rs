//! What must hold after every event. Each rule has a number in the messages: S for safety, L for
//! liveness.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ballcast::media::Codec;
use ballcast::webrtc::ViewerId;

use crate::tally::{Happening, Tally};
use crate::wire::Wire;

/// A frame that the server was given. Those of one picture have its number.
#[derive(Debug, Clone, Copy)]
pub struct SentFrame {
    pub codec: Codec,
    pub number: u64,
    pub keyframe: bool,
    pub captured: Instant,
}

/// One RTP stream, as it left the server.
#[derive(Debug)]
struct Stream {
    sequence: u16,
    timestamp: u32,
    frame: u64,
    /// A packet was lost on the server's side: only a key frame may follow.
    broken: bool,
}

#[derive(Debug, Default)]
pub struct Rules {
    /// Addresses from which an authenticated check has come.
    proved: BTreeSet<SocketAddr>,
    /// By SSRC. RTX streams are not in it.
    streams: BTreeMap<u32, Stream>,
    /// The stream of each viewer.
    destinations: BTreeMap<ViewerId, (Codec, u32)>,

    /// When connections came up.
    up: BTreeMap<ViewerId, Instant>,
    /// When a connection came up that has not had its key frame yet.
    waiting: BTreeMap<ViewerId, Instant>,
    /// Who has said goodbye, and when.
    left: BTreeMap<ViewerId, Instant>,
    /// When a key frame was asked for that has not come yet.
    asked: BTreeMap<ViewerId, Instant>,
    /// The frames that the server was given lately.
    frames: BTreeMap<(u64, Codec), SentFrame>,
    /// When something last came from each viewer, forged or not.
    heard: BTreeMap<ViewerId, Instant>,
    /// When something genuine last came from each viewer.
    understood: BTreeMap<ViewerId, Instant>,
    /// When each half-open viewer was first seen.
    half_open: BTreeMap<ViewerId, Instant>,
    /// The last SRTCP index from each SSRC.
    reports: BTreeMap<u32, u32>,
    /// When key frames were forced.
    forced: Vec<(Codec, Instant)>,
    last_capture: Option<Instant>,
    period: Duration,
}

/// A rule that does not hold.
pub type Verdict = Result<(), String>;

macro_rules! rule {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err(format!($($message)+));
        }
    };
}
pub(crate) use rule;

impl Rules {
    pub fn new(frames_per_second: u32) -> Rules {
        let period = Duration::from_secs(1) / frames_per_second;
        Rules { period, ..Rules::default() }
    }

    pub fn proves(&mut self, address: SocketAddr) {
        self.proved.insert(address);
    }

    pub fn is_proved(&self, address: SocketAddr) -> bool {
        self.proved.contains(&address)
    }

    /// ICE and DTLS have come up for a viewer.
    pub fn connected(&mut self, viewer: ViewerId, now: Instant) {
        if let Entry::Vacant(first) = self.up.entry(viewer) {
            first.insert(now);
            self.waiting.insert(viewer, now);
        }
    }

    pub fn given(&mut self, frame: SentFrame) {
        self.frames.insert((frame.number, frame.codec), frame);
        if self.frames.len() > 1_000 {
            self.frames.pop_first();
        }
    }

    pub fn heard(&mut self, viewer: Option<ViewerId>, genuine: bool, now: Instant) {
        self.heard.extend(viewer.map(|viewer| (viewer, now)));
        self.understood.extend(viewer.filter(|_| genuine).map(|viewer| (viewer, now)));
    }

    /// The number of the frame that went to a viewer last.
    pub fn last_frame(&self, viewer: ViewerId) -> Option<u64> {
        Some(self.streams.get(&self.destinations.get(&viewer)?.1)?.frame)
    }

    /// What was seen before is a replay, and not heard (RFC 3711, section 3.3.2).
    pub fn is_new_report(&mut self, ssrc: u32, index: u32) -> bool {
        let is_new = self.reports.get(&ssrc).is_none_or(|last| index > *last);
        if is_new {
            self.reports.insert(ssrc, index);
        }
        is_new
    }

    /// The host has slept, and nobody could keep a promise meanwhile.
    pub fn slept(&mut self, time: Duration) {
        let Rules { up, waiting, asked, left, .. } = self;
        for since in [up, waiting, asked, left].into_iter().flat_map(BTreeMap::values_mut) {
            *since += time;
        }
    }

    pub fn said_goodbye(&mut self, viewer: ViewerId, now: Instant) {
        if self.up.contains_key(&viewer) {
            self.left.entry(viewer).or_insert(now);
        }
    }

    pub fn keyframe_requested(
        &mut self,
        viewer: ViewerId,
        stream: u32,
        now: Instant,
        tally: &mut Tally,
    ) {
        // A client misled by a damaged packet asks for streams that do not exist.
        let Some((codec, known)) = self.destinations.get(&viewer).copied() else { return };
        if known != stream {
            return;
        }
        if self.asked.contains_key(&viewer) || self.forced_since(codec, now - WINDOW) >= 2 {
            tally.happened(Happening::PliCollapsed);
        }
        self.asked.entry(viewer).or_insert(now);
    }

    fn forced_since(&self, codec: Codec, since: Instant) -> usize {
        let lately = self.forced.iter().rev().take_while(|(_, at)| *at > since);
        lately.filter(|(of, _)| *of == codec).count()
    }

    pub fn captured(&mut self, now: Instant, viewers: usize) -> Verdict {
        rule!(viewers > 0, "S11: a picture is taken and nobody watches");
        if let Some(last) = self.last_capture.replace(now) {
            // A clock that was stopped and started again begins a new grid.
            let spacing = now - last;
            rule!(!spacing.is_zero(), "S11: two pictures in one tick");
        }
        Ok(())
    }

    /// A datagram that leaves the server, or that the kernel would not take.
    pub fn transmitted(
        &mut self,
        now: Instant,
        to: SocketAddr,
        viewer: Option<ViewerId>,
        wire: &Wire,
        fails: bool,
        tally: &mut Tally,
    ) -> Verdict {
        rule!(self.proved.contains(&to), "S4: {wire:?} goes to {to}, which has proved nothing");
        let Wire::Rtp { sequence, timestamp, ssrc, codec, frame } = *wire else {
            return Ok(());
        };
        let Some(codec) = codec else {
            tally.happened(Happening::Resend);
            return Ok(());
        };
        let number = frame.or_else(|| Some(self.streams.get(&ssrc)?.frame));
        let frame = number.and_then(|number| self.frames.get(&(number, codec)).copied());
        let frame = frame.ok_or("S1: media that is of no frame")?;
        let age = now - frame.captured;
        rule!(age <= self.period * 2, "S8: a frame leaves that is {age:?} old");
        if let Some(viewer) = viewer {
            self.destinations.insert(viewer, (codec, ssrc));
            let silent = self.heard.get(&viewer).map(|heard| now - *heard).unwrap_or_default();
            let limit = SILENCE + self.period;
            rule!(silent <= limit, "L4: media for {viewer}, silent for {silent:?}");
            if frame.keyframe {
                self.waiting.remove(&viewer);
                self.asked.remove(&viewer);
            }
        }
        match self.streams.get_mut(&ssrc) {
            None => {
                rule!(frame.keyframe, "S1: the first frame to {to} is no key frame");
                let broken = fails;
                let stream = Stream { sequence, timestamp, frame: frame.number, broken };
                self.streams.insert(ssrc, stream);
            }
            Some(stream) => {
                let next = stream.sequence.wrapping_add(1);
                rule!(sequence == next, "S3: {sequence} follows {} to {to}", stream.sequence);
                let step = timestamp.wrapping_sub(stream.timestamp) as i32;
                rule!(step >= 0, "S3: the timestamp goes back by {step} to {to}");
                if sequence == 0 {
                    tally.happened(Happening::SequenceWrap);
                }
                if timestamp < stream.timestamp {
                    tally.happened(Happening::TimestampWrap);
                }
                let same = stream.frame == frame.number;
                rule!(same == (step == 0), "S3: timestamp and frame differ to {to}");
                if frame.keyframe && frame.number > stream.frame + 1 {
                    tally.happened(Happening::GatedViewer);
                }
                if !same {
                    let follows = stream.frame + 1 == frame.number && !stream.broken;
                    rule!(frame.keyframe || follows, "S2: a delta frame follows a gap to {to}");
                    stream.broken = false;
                }
                stream.broken |= fails;
                (stream.sequence, stream.timestamp, stream.frame) =
                    (sequence, timestamp, frame.number);
            }
        }
        Ok(())
    }

    /// A key frame is asked of the source: for a viewer that came up, or for requests, of which
    /// two a second are granted.
    pub fn forced_keyframe(&mut self, codec: Codec, now: Instant) -> Verdict {
        self.forced.push((codec, now));
        let margin = WINDOW + self.period * 2;
        let joins = self.up.values().filter(|at| **at + margin > now).count();
        let forced = self.forced_since(codec, now - WINDOW);
        rule!(forced <= 2 + joins, "L2: {forced} key frames in a second, with {joins} joins");
        Ok(())
    }

    /// Silent viewers and those that never connect are freed within 10 s.
    fn gone_in_time(&mut self, now: Instant, states: &BTreeMap<ViewerId, &'static str>) -> Verdict {
        self.heard.retain(|viewer, _| states.contains_key(viewer));
        self.half_open.retain(|viewer, _| states.get(viewer) == Some(&"half-open"));
        for (viewer, state) in states {
            let since = match *state {
                "half-open" => *self.half_open.entry(*viewer).or_insert(now),
                _ => self.heard.get(viewer).copied().unwrap_or(now),
            };
            let time = now - since;
            let understood = self.understood.get(viewer).map(|at| now - *at);
            let hears = *state != "silent" || understood.is_none_or(|time| time > SILENCE / 2);
            rule!(hears, "L3: {viewer} is silent, and was understood {understood:?} ago");
            rule!(time <= Duration::from_secs(10), "L4: {viewer} is {state} for {time:?}");
        }
        Ok(())
    }

    /// Promises whose time has run out. `excused`: the source gives no frames just now.
    /// `states` are those of the viewers that there are.
    pub fn overdue(
        &mut self,
        now: Instant,
        excused: bool,
        states: &BTreeMap<ViewerId, &'static str>,
    ) -> Verdict {
        let state = |viewer: ViewerId| states.get(&viewer).copied();
        self.gone_in_time(now, states)?;
        let is_live = |viewer: &ViewerId| state(*viewer) == Some("live");
        self.waiting.retain(|viewer, _| is_live(viewer));
        self.asked.retain(|viewer, _| is_live(viewer));
        self.left.retain(|viewer, _| state(*viewer).is_some());
        if excused {
            self.waiting.values_mut().chain(self.asked.values_mut()).for_each(|at| *at = now);
            return Ok(());
        }
        let grace = self.period + Duration::from_millis(10);
        for (viewer, since) in &self.waiting {
            let waits = now - *since;
            rule!(waits <= grace, "L1: {viewer} waits {waits:?} for its first key frame");
        }
        for (viewer, since) in &self.asked {
            let waits = now - *since;
            let codec = self.destinations.get(viewer).map(|(codec, _)| *codec);
            let granted = self
                .forced
                .iter()
                .filter(|(of, at)| Some(*of) == codec && *at <= *since && *at + WINDOW > *since);
            // Two a second for all: a request may have to wait for the second to pass.
            let window = if granted.count() < 2 { Duration::ZERO } else { WINDOW };
            let limit = window + Duration::from_millis(100).max(grace);
            rule!(waits <= limit, "L2: {viewer} waits {waits:?} for the key frame it asked for");
        }
        for (viewer, since) in &self.left {
            let waits = now - *since;
            rule!(waits <= Duration::from_millis(100), "L4: {viewer} left {waits:?} ago");
        }
        Ok(())
    }
}

const SILENCE: Duration = Duration::from_secs(5);
const WINDOW: Duration = Duration::from_secs(1);
