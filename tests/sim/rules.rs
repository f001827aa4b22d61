//! The rules that must hold after every event. Messages begin with the number of the rule: S for
//! safety, L for liveness.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ballcast::media::Codec;
use ballcast::webrtc::ViewerId;

use crate::tally::{Happening, Tally};
use crate::wire::Wire;

/// A frame that the source delivered. The frames of all codecs of one picture have the same number.
#[derive(Debug, Clone, Copy)]
pub struct SentFrame {
    pub codec: Codec,
    pub number: u64,
    pub keyframe: bool,
    pub captured: Instant,
}

/// The last packet that the server sent in an RTP stream.
#[derive(Debug)]
struct Stream {
    sequence: u16,
    timestamp: u32,
    frame: u64,
    /// A packet of this frame could not be sent: the next frame must be a key frame.
    send_failed: bool,
    /// Sequence number and timestamp of the last packets that were not sent twice.
    single: VecDeque<(u16, u32)>,
}

/// A packet that is sent twice is one of the last so many.
const MAX_SINGLE: usize = 8;

#[derive(Debug, Default)]
pub struct Rules {
    /// Addresses that have sent an authenticated connectivity check, and when an authenticated STUN
    /// message last came from each.
    verified: BTreeMap<SocketAddr, Instant>,
    /// By SSRC, without RTX streams.
    streams: BTreeMap<u32, Stream>,
    /// The codec and the SSRC of each viewer's stream, and where it went last.
    destinations: BTreeMap<ViewerId, (Codec, u32, SocketAddr)>,

    /// When ICE and DTLS were complete.
    connected_at: BTreeMap<ViewerId, Instant>,
    /// When a viewer was connected that has not been sent its first key frame yet.
    awaiting_first_keyframe: BTreeMap<ViewerId, Instant>,
    /// When a close_notify was received from a viewer.
    closed_at: BTreeMap<ViewerId, Instant>,
    /// When a viewer requested a key frame that has not been sent yet.
    keyframe_requested_at: BTreeMap<ViewerId, Instant>,
    /// The latest frames that the source delivered.
    frames: BTreeMap<(u64, Codec), SentFrame>,
    /// When the last datagram came from each viewer's address, forged or not.
    last_datagram: BTreeMap<ViewerId, Instant>,
    /// When the last authenticated datagram came from each viewer.
    last_authenticated: BTreeMap<ViewerId, Instant>,
    /// Viewers whose credentials an attacker uses: from which addresses they are heard cannot be told.
    hostile: BTreeSet<ViewerId>,
    /// When each half-open viewer was first seen.
    half_open: BTreeMap<ViewerId, Instant>,
    /// The last SRTCP index from each SSRC.
    last_srtcp_index: BTreeMap<u32, u32>,
    /// When the source was asked for key frames.
    forced_keyframes: Vec<(Codec, Instant)>,
    last_capture: Option<Instant>,
    period: Duration,
}

/// `Err` with a message if a rule is violated.
pub type RuleResult = Result<(), String>;

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

    /// An authenticated STUN message came from an address: a request, or the response to one.
    pub fn note_stun(&mut self, address: SocketAddr, request: bool, now: Instant) {
        match self.verified.entry(address) {
            Entry::Occupied(mut last) => *last.get_mut() = now,
            Entry::Vacant(first) if request => {
                first.insert(now);
            }
            Entry::Vacant(_) => {}
        }
    }

    pub fn is_verified(&self, address: SocketAddr) -> bool {
        self.verified.contains_key(&address)
    }

    /// ICE and DTLS have come up for a viewer.
    pub fn connected(&mut self, viewer: ViewerId, now: Instant) {
        if let Entry::Vacant(first) = self.connected_at.entry(viewer) {
            first.insert(now);
            self.awaiting_first_keyframe.insert(viewer, now);
        }
    }

    pub fn source_delivered(&mut self, frame: SentFrame) {
        self.frames.insert((frame.number, frame.codec), frame);
        if self.frames.len() > 1_000 {
            self.frames.pop_first();
        }
    }

    pub fn note_datagram(&mut self, viewer: Option<ViewerId>, authentic: bool, now: Instant) {
        self.last_datagram.extend(viewer.map(|viewer| (viewer, now)));
        self.last_authenticated.extend(viewer.filter(|_| authentic).map(|viewer| (viewer, now)));
    }

    pub fn note_hostile(&mut self, viewer: ViewerId) {
        self.hostile.insert(viewer);
    }

    /// The number of the frame that went to a viewer last.
    pub fn last_frame(&self, viewer: ViewerId) -> Option<u64> {
        Some(self.streams.get(&self.destinations.get(&viewer)?.1)?.frame)
    }

    /// Whether an SRTCP index is new. A repeated one is a replay, which the server ignores (RFC 3711,
    /// section 3.3.2).
    pub fn is_new_srtcp_packet(&mut self, ssrc: u32, index: u32) -> bool {
        let is_new = self.last_srtcp_index.get(&ssrc).is_none_or(|last| index > *last);
        if is_new {
            self.last_srtcp_index.insert(ssrc, index);
        }
        is_new
    }

    /// The host was suspended for this long: all time limits are extended by it.
    pub fn suspended(&mut self, time: Duration) {
        let Rules {
            connected_at, awaiting_first_keyframe, keyframe_requested_at, closed_at, ..
        } = self;
        for since in [connected_at, awaiting_first_keyframe, keyframe_requested_at, closed_at]
            .into_iter()
            .flat_map(BTreeMap::values_mut)
        {
            *since += time;
        }
    }

    pub fn note_close_notify(&mut self, viewer: ViewerId, now: Instant) {
        if self.connected_at.contains_key(&viewer) {
            self.closed_at.entry(viewer).or_insert(now);
        }
    }

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
        if self.keyframe_requested_at.contains_key(&viewer)
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

    pub fn captured(&mut self, now: Instant, viewers: usize) -> RuleResult {
        rule!(viewers > 0, "S11: a picture is captured and there are no viewers");
        if let Some(last) = self.last_capture.replace(now) {
            // The clock starts a new grid whenever it has been stopped.
            let spacing = now - last;
            rule!(!spacing.is_zero(), "S11: two pictures in one tick");
        }
        Ok(())
    }

    /// The server sends a datagram; with `fails`, the kernel does not accept it.
    pub fn transmitted(
        &mut self,
        now: Instant,
        to: SocketAddr,
        viewer: Option<ViewerId>,
        wire: &Wire,
        fails: bool,
        tally: &mut Tally,
    ) -> RuleResult {
        let Some(last_stun) = self.verified.get(&to).copied() else {
            return Err(format!("S4: {wire:?} goes to {to}, which is not verified"));
        };
        let Wire::Rtp { sequence, timestamp, ssrc, codec, frame } = *wire else {
            return Ok(());
        };
        let Some(codec) = codec else {
            tally.happened(Happening::Resend);
            return Ok(());
        };
        let silent = now - last_stun;
        rule!(silent <= CONSENT + self.period, "L7: media to {to}, without STUN for {silent:?}");
        if let Some(stream) = self.streams.get_mut(&ssrc)
            && let Some(index) = stream.single.iter().position(|it| *it == (sequence, timestamp))
        {
            stream.single.remove(index);
            tally.happened(Happening::Repeat);
            return Ok(());
        }
        let number = frame.or_else(|| Some(self.streams.get(&ssrc)?.frame));
        let frame = number.and_then(|number| self.frames.get(&(number, codec)).copied());
        let frame = frame.ok_or("S1: media that belongs to no frame")?;
        let age = now - frame.captured;
        rule!(age <= self.period * 2, "S8: a frame leaves that is {age:?} old");
        if let Some(viewer) = viewer {
            self.destinations.insert(viewer, (codec, ssrc, to));
            let silent =
                self.last_datagram.get(&viewer).map(|last| now - *last).unwrap_or_default();
            let limit = SILENCE + self.period;
            let hostile = self.hostile.contains(&viewer);
            rule!(hostile || silent <= limit, "L4: media for {viewer}, silent for {silent:?}");
            if frame.keyframe {
                self.awaiting_first_keyframe.remove(&viewer);
                self.keyframe_requested_at.remove(&viewer);
            }
        }
        match self.streams.get_mut(&ssrc) {
            None => {
                rule!(frame.keyframe, "S1: the first frame to {to} is no key frame");
                let single = VecDeque::from([(sequence, timestamp)]);
                let (frame, send_failed) = (frame.number, fails);
                let stream = Stream { sequence, timestamp, frame, send_failed, single };
                self.streams.insert(ssrc, stream);
            }
            Some(stream) => {
                let next = stream.sequence.wrapping_add(1);
                rule!(sequence == next, "S3: {sequence} follows {} to {to}", stream.sequence);
                let step = timestamp.wrapping_sub(stream.timestamp) as i32;
                rule!(step >= 0, "S3: the timestamp goes back by {step} to {to}");
                if timestamp < stream.timestamp {
                    tally.happened(Happening::TimestampWrap);
                }
                let same = stream.frame == frame.number;
                rule!(same == (step == 0), "S3: timestamp and frame differ to {to}");
                if frame.keyframe && frame.number > stream.frame + 1 {
                    tally.happened(Happening::GatedViewer);
                }
                if !same {
                    let follows = stream.frame + 1 == frame.number && !stream.send_failed;
                    rule!(frame.keyframe || follows, "S2: a delta frame follows a gap to {to}");
                    stream.send_failed = false;
                }
                stream.send_failed |= fails;
                stream.single.push_back((sequence, timestamp));
                if stream.single.len() > MAX_SINGLE {
                    stream.single.pop_front();
                }
                (stream.sequence, stream.timestamp, stream.frame) =
                    (sequence, timestamp, frame.number);
            }
        }
        Ok(())
    }

    /// The server asks the source for a key frame: for a viewer that is newly connected, or for
    /// requests, of which two per second are granted.
    pub fn forced_keyframe(&mut self, codec: Codec, now: Instant) -> RuleResult {
        self.forced_keyframes.push((codec, now));
        let margin = WINDOW + self.period * 2;
        let joins = self.connected_at.values().filter(|at| **at + margin > now).count();
        let forced = self.forced_since(codec, now - WINDOW);
        rule!(forced <= 2 + joins, "L2: {forced} key frames in a second, with {joins} joins");
        Ok(())
    }

    /// Silent viewers and those that never connect are freed within 10 s.
    fn check_freed_in_time(
        &mut self,
        now: Instant,
        states: &BTreeMap<ViewerId, &'static str>,
    ) -> RuleResult {
        self.last_datagram.retain(|viewer, _| states.contains_key(viewer));
        self.half_open.retain(|viewer, _| states.get(viewer) == Some(&"half-open"));
        for (viewer, state) in states.iter().filter(|(viewer, _)| !self.hostile.contains(viewer)) {
            let since = match *state {
                "half-open" => *self.half_open.entry(*viewer).or_insert(now),
                _ => self.last_datagram.get(viewer).copied().unwrap_or(now),
            };
            let time = now - since;
            let authenticated = self.last_authenticated.get(viewer).map(|at| now - *at);
            let destination = self.destinations.get(viewer).map(|(_, _, to)| *to);
            let last_stun = destination.and_then(|to| self.verified.get(&to));
            let consents = last_stun.is_none_or(|last| now < *last + CONSENT);
            let lately = authenticated.is_some_and(|time| time <= SILENCE / 2);
            let correct = *state != "silent" || !lately || !consents;
            rule!(correct, "L3: {viewer} is silent, authenticated {authenticated:?} ago");
            rule!(time <= Duration::from_secs(10), "L4: {viewer} is {state} for {time:?}");
        }
        Ok(())
    }

    /// Checks the time limits. With `excused`, the source delivers no frames at the moment.
    /// `states` has the state of every viewer that the server has.
    pub fn check_time_limits(
        &mut self,
        now: Instant,
        excused: bool,
        states: &BTreeMap<ViewerId, &'static str>,
    ) -> RuleResult {
        let state = |viewer: ViewerId| states.get(&viewer).copied();
        self.check_freed_in_time(now, states)?;
        let is_live = |viewer: &ViewerId| state(*viewer) == Some("live");
        self.awaiting_first_keyframe.retain(|viewer, _| is_live(viewer));
        self.keyframe_requested_at.retain(|viewer, _| is_live(viewer));
        self.closed_at.retain(|viewer, _| state(*viewer).is_some());
        if excused {
            self.awaiting_first_keyframe
                .values_mut()
                .chain(self.keyframe_requested_at.values_mut())
                .for_each(|at| *at = now);
            return Ok(());
        }
        let grace = self.period + Duration::from_millis(10);
        for (viewer, since) in &self.awaiting_first_keyframe {
            let waits = now - *since;
            rule!(waits <= grace, "L1: {viewer} waits {waits:?} for its first key frame");
        }
        for (viewer, since) in &self.keyframe_requested_at {
            let waits = now - *since;
            let codec = self.destinations.get(viewer).map(|(codec, ..)| *codec);
            let granted = self
                .forced_keyframes
                .iter()
                .filter(|(of, at)| Some(*of) == codec && *at <= *since && *at + WINDOW > *since);
            // Two per second for all viewers: a request may have to wait for the next second.
            let window = if granted.count() < 2 { Duration::ZERO } else { WINDOW };
            let limit = window + Duration::from_millis(100).max(grace);
            rule!(waits <= limit, "L2: {viewer} waits {waits:?} for the key frame it asked for");
        }
        for (viewer, since) in &self.closed_at {
            let waits = now - *since;
            rule!(waits <= Duration::from_millis(100), "L4: {viewer} left {waits:?} ago");
        }
        Ok(())
    }
}

const SILENCE: Duration = Duration::from_secs(5);
/// How long media goes to an address after the last authenticated STUN message from it (RFC 7675).
const CONSENT: Duration = Duration::from_secs(30);
const WINDOW: Duration = Duration::from_secs(1);
