//! The rules that must hold after every event. Messages begin with the number of the rule: S for
//! safety, L for liveness.

mod keyframes;
mod media;
pub mod publish;
pub mod source;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ballcast::testing::media::Codec;
use ballcast::testing::webrtc::ViewerId;

pub use self::media::{Origin, SentFrame};
use self::media::{Pace, Stream};
use self::source::SourceRules;

#[derive(Debug)]
pub struct Rules {
    /// Addresses that have sent an authenticated connectivity check, and when an authenticated STUN
    /// message last came from each.
    verified: BTreeMap<SocketAddr, Instant>,
    /// By SSRC, without RTX streams.
    streams: BTreeMap<u32, Stream>,
    /// How the last frame of each of them leaves.
    paces: BTreeMap<u32, Pace>,
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
    /// In the order of their delivery.
    delivered: VecDeque<(u64, Codec)>,
    /// When the last datagram came from each viewer's address, forged or not.
    last_datagram: BTreeMap<ViewerId, Instant>,
    /// When the last authenticated datagram came from each viewer.
    last_authenticated: BTreeMap<ViewerId, Instant>,
    /// Viewers whose credentials an attacker uses: from which addresses they are heard cannot be told.
    hostile: BTreeSet<ViewerId>,
    /// Viewers that are media servers.
    media_servers: BTreeSet<ViewerId>,
    /// When each half-open viewer was first seen.
    half_open: BTreeMap<ViewerId, Instant>,
    /// The last SRTCP index from each SSRC.
    last_srtcp_index: BTreeMap<u32, u32>,
    /// When the source was asked for key frames.
    forced_keyframes: Vec<(Codec, Instant)>,
    last_capture: Option<Instant>,
    period: Duration,
    began: Instant,
    codecs: BTreeMap<ViewerId, Codec>,
    /// When each viewer was last sent the beginning of a key frame.
    last_keyframe: BTreeMap<ViewerId, Instant>,
    /// The newest key frame of a stream that was sent, and when first.
    newest_keyframe: Option<(u64, Instant)>,
    /// When the source last delivered no frames, or only delta frames.
    excused_at: Option<Instant>,
    /// When the host was last woken.
    resumed_at: Option<Instant>,
    /// Of a stream from outside, if there is one.
    pub source: Option<SourceRules>,
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
    pub fn new(frames_per_second: u32, source: Option<SourceRules>, now: Instant) -> Rules {
        Rules {
            verified: BTreeMap::new(),
            streams: BTreeMap::new(),
            paces: BTreeMap::new(),
            resumed_at: None,
            destinations: BTreeMap::new(),
            connected_at: BTreeMap::new(),
            awaiting_first_keyframe: BTreeMap::new(),
            closed_at: BTreeMap::new(),
            keyframe_requested_at: BTreeMap::new(),
            frames: BTreeMap::new(),
            delivered: VecDeque::new(),
            last_datagram: BTreeMap::new(),
            last_authenticated: BTreeMap::new(),
            hostile: BTreeSet::new(),
            media_servers: BTreeSet::new(),
            half_open: BTreeMap::new(),
            last_srtcp_index: BTreeMap::new(),
            forced_keyframes: Vec::new(),
            last_capture: None,
            period: Duration::from_secs(1) / frames_per_second,
            began: now,
            codecs: BTreeMap::new(),
            last_keyframe: BTreeMap::new(),
            newest_keyframe: None,
            excused_at: None,
            source,
        }
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
    pub fn connected(&mut self, viewer: ViewerId, codec: Option<Codec>, now: Instant) {
        self.codecs.extend(codec.map(|codec| (viewer, codec)));
        if let Entry::Vacant(first) = self.connected_at.entry(viewer) {
            first.insert(now);
            self.awaiting_first_keyframe.insert(viewer, now);
        }
    }

    pub fn source_delivered(&mut self, frame: SentFrame) {
        let key = (frame.number, frame.codec);
        self.frames.insert(key, frame);
        self.delivered.push_back(key);
        if self.delivered.len() > 1_000
            && let Some(oldest) = self.delivered.pop_front()
        {
            self.frames.remove(&oldest);
        }
    }

    pub fn note_datagram(&mut self, viewer: Option<ViewerId>, authentic: bool, now: Instant) {
        self.last_datagram.extend(viewer.map(|viewer| (viewer, now)));
        self.last_authenticated.extend(viewer.filter(|_| authentic).map(|viewer| (viewer, now)));
    }

    pub fn note_hostile(&mut self, viewer: ViewerId) {
        self.hostile.insert(viewer);
    }

    pub fn note_media_server(&mut self, viewer: ViewerId) {
        self.media_servers.insert(viewer);
    }

    /// The number of the frame that went to a viewer last.
    pub fn last_frame(&self, viewer: ViewerId) -> Option<u64> {
        self.streams.get(&self.destinations.get(&viewer)?.1)?.frame
    }

    pub fn frame(&self, number: u64, codec: Codec) -> Option<&SentFrame> {
        self.frames.get(&(number, codec))
    }

    /// The server is told that a packet to this address could not be sent.
    pub fn note_failed_send(&mut self, to: SocketAddr) {
        for stream in self.streams.values_mut().filter(|stream| stream.failed_to == Some(to)) {
            stream.send_failed = true;
            stream.failed_to = None;
        }
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
    pub fn suspended(&mut self, time: Duration, until: Instant) {
        self.resumed_at = Some(until);
        if let Some(source) = &mut self.source {
            source.suspended(until);
        }
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

    pub fn captured(&mut self, now: Instant, viewers: usize) -> RuleResult {
        rule!(viewers > 0, "S11: a picture is captured and there are no viewers");
        if let Some(last) = self.last_capture.replace(now) {
            // The clock starts a new grid whenever it has been stopped.
            let spacing = now - last;
            rule!(!spacing.is_zero(), "S11: two pictures in one tick");
        }
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
            // It does not come back by itself.
            let is_kept = time > SILENCE + LEAVES_WITHIN && *state != "half-open";
            let is_kept = is_kept && self.media_servers.contains(viewer);
            rule!(!is_kept, "L4: the media server {viewer} is {state} for {time:?}");
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
            self.excused_at = Some(now);
            if self.source.as_ref().is_some_and(SourceRules::passes_on) {
                // A group that could not be sent comes with the next request, or key frame.
                self.awaiting_first_keyframe.clear();
                self.keyframe_requested_at.clear();
            }
            self.awaiting_first_keyframe
                .values_mut()
                .chain(self.keyframe_requested_at.values_mut())
                .for_each(|at| *at = now);
            return Ok(());
        }
        self.check_keyframes(now)?;
        for (viewer, since) in &self.closed_at {
            let waits = now - *since;
            rule!(waits <= LEAVES_WITHIN, "L4: {viewer} left {waits:?} ago");
        }
        Ok(())
    }
}

const SILENCE: Duration = Duration::from_secs(5);
/// From a goodbye, or a silence, to the end.
const LEAVES_WITHIN: Duration = Duration::from_millis(100);
/// How long media goes to an address after the last authenticated STUN message from it (RFC 7675).
const CONSENT: Duration = Duration::from_secs(30);
const WINDOW: Duration = Duration::from_secs(1);
