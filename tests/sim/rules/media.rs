//! Frames on their way to the viewers: which are sent, in which order, with which numbers.

use std::collections::VecDeque;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ballcast::testing::media::Codec;
use ballcast::testing::webrtc::ViewerId;

use super::{CONSENT, RuleResult, Rules, SILENCE, WINDOW, rule};
use crate::tally::{Happening, Tally};
use crate::wire::Wire;

/// A packet that is sent twice is one of the last so many: of one frame, or of a group that was given
/// at once.
const MAX_SINGLE: usize = 8;
const MAX_SINGLE_OF_GROUP: usize = 1_000;
/// A frame that is sent so soon after its first bytes came was not kept.
const FRESH: Duration = Duration::from_millis(150);
/// Capture times are at most half a second from the arrival: in units of RTP time.
const MAX_LAG: i32 = 90_000 * 3 / 2;
/// Packets of a frame that may leave at once.
const BURST: usize = 20;
/// How long frames of a former group may be on their way.
const LEAVES_WITHIN: Duration = Duration::from_millis(100);

/// A frame that the source delivered. The frames of all codecs of one picture have the same number.
#[derive(Debug, Clone, Copy)]
pub struct SentFrame {
    pub codec: Codec,
    pub number: u64,
    pub keyframe: bool,
    /// When it was taken, or its first bytes came.
    pub captured: Instant,
    /// The frame before it, to which it refers.
    pub previous: Option<u64>,
    pub origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A picture of the ball or of a stream that was encoded.
    Picture,
    /// Words that were encoded.
    Words,
    /// A stream of frames.
    Stream {
        /// On its way to the server, where it may get lost for it.
        is_damaged: bool,
    },
}

/// The last packet that the server sent in an RTP stream.
#[derive(Debug)]
pub struct Stream {
    sequence: u16,
    timestamp: u32,
    /// Its frame: none as long as there were only parameter sets of it.
    pub frame: Option<u64>,
    /// The frame before.
    previous: Option<u64>,
    /// A packet could not be sent to this address, which the server was not told yet.
    pub failed_to: Option<SocketAddr>,
    /// The server was told so: the next frame must be a key frame.
    pub send_failed: bool,
    /// From the clock to the timestamp of a frame.
    lag: Option<u32>,
    /// Sequence number and timestamp of the last packets that were not sent twice.
    single: VecDeque<(u16, u32)>,
}

/// How a frame leaves.
#[derive(Debug)]
pub struct Pace {
    timestamp: u32,
    begun_at: Instant,
    /// Packets that left when it began.
    at_once: usize,
}

/// A packet of a stream.
#[derive(Debug, Clone, Copy)]
struct Packet {
    to: SocketAddr,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    fails: bool,
}

impl Rules {
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
            && sequence != stream.sequence.wrapping_add(1)
            && let Some(index) = stream.single.iter().position(|it| *it == (sequence, timestamp))
        {
            stream.single.remove(index);
            tally.happened(Happening::Repeat);
            return Ok(());
        }
        if let Some(viewer) = viewer {
            self.destinations.insert(viewer, (codec, ssrc, to));
            let silent =
                self.last_datagram.get(&viewer).map(|last| now - *last).unwrap_or_default();
            let limit = SILENCE + self.period;
            let hostile = self.hostile.contains(&viewer);
            rule!(hostile || silent <= limit, "L4: media for {viewer}, silent for {silent:?}");
        }
        self.check_burst(now, ssrc, timestamp, tally)?;
        let packet = Packet { to, ssrc, sequence, timestamp, fails };
        let last = self.streams.get(&ssrc).filter(|stream| stream.timestamp == timestamp);
        let Some(number) = frame.or(last.and_then(|stream| stream.frame)) else {
            // Parameter sets, of which the slices follow, or a picture that was cut off before its number.
            rule!(self.source.is_some(), "S1: media that belongs to no frame");
            return self.note_packet(packet, None, tally);
        };
        let frame = self.frames.get(&(number, codec)).copied();
        let frame = frame.ok_or_else(|| format!("S1: {number} of {codec:?} is no frame"))?;
        let age = now - frame.captured;
        match frame.origin {
            Origin::Picture | Origin::Words => {
                // The host may have been suspended between two packets of a large frame.
                let late = |at: Instant| frame.captured < at && now <= at + LEAVES_WITHIN;
                let is_late = self.resumed_at.is_some_and(late);
                rule!(age <= self.period * 2 || is_late, "S8: a frame leaves that is {age:?} old");
            }
            Origin::Stream { .. } => self.check_group(now, &frame)?,
        }
        if let Some(viewer) = viewer.filter(|_| frame.keyframe) {
            self.awaiting_first_keyframe.remove(&viewer);
            self.keyframe_requested_at.remove(&viewer);
            self.last_keyframe.insert(viewer, now);
        }
        self.note_packet(packet, Some(&frame), tally)?;
        self.check_pace(now, ssrc, &frame)
    }

    /// Of a large frame, a few packets leave at once, and the others later.
    fn check_burst(
        &mut self,
        now: Instant,
        ssrc: u32,
        timestamp: u32,
        tally: &mut Tally,
    ) -> RuleResult {
        let begun = Pace { timestamp, begun_at: now, at_once: 0 };
        let pace = match self.paces.entry(ssrc) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(begun),
        };
        if pace.timestamp != timestamp {
            *pace = Pace { timestamp, begun_at: now, at_once: 0 };
        }
        if pace.begun_at < now {
            tally.happened(Happening::PacedFrame);
            return Ok(());
        }
        pace.at_once += 1;
        let is_late = self.resumed_at.is_some_and(|at| now < at + WINDOW);
        rule!(pace.at_once <= BURST || is_late, "S21: a frame leaves in one burst");
        Ok(())
    }

    /// The numbers of a packet, and whether its frame may follow the one before it.
    fn note_packet(
        &mut self,
        packet: Packet,
        frame: Option<&SentFrame>,
        tally: &mut Tally,
    ) -> RuleResult {
        let Packet { to, ssrc, sequence, timestamp, fails } = packet;
        let number = frame.map(|frame| frame.number);
        let Some(stream) = self.streams.get(&ssrc) else {
            let keyframe = frame.is_none_or(|frame| frame.keyframe);
            rule!(keyframe, "S1: the first frame to {to} is no key frame");
            let stream = Stream {
                sequence,
                timestamp,
                frame: number,
                previous: None,
                failed_to: fails.then_some(to),
                send_failed: false,
                lag: None,
                single: VecDeque::from([(sequence, timestamp)]),
            };
            self.streams.insert(ssrc, stream);
            return Ok(());
        };
        let next = stream.sequence.wrapping_add(1);
        rule!(sequence == next, "S3: {sequence} follows {} to {to}", stream.sequence);
        let step = timestamp.wrapping_sub(stream.timestamp) as i32;
        rule!(step >= 0, "S3: the timestamp goes back by {step} to {to}");
        if timestamp < stream.timestamp {
            tally.happened(Happening::TimestampWrap);
        }
        let before = if step > 0 { stream.frame } else { stream.previous };
        let begins = step > 0 || stream.frame.is_none();
        if let Some(frame) = frame {
            let is_stream = matches!(frame.origin, Origin::Stream { .. });
            let again = is_stream && frame.keyframe;
            let same = stream.frame == number;
            rule!(same || begins, "S3: timestamp and frame differ to {to}");
            rule!(!same || step == 0 || again, "S3: timestamp and frame differ to {to}");
            if begins && frame.keyframe {
                if before.is_some_and(|last| frame.number > last + 1) {
                    tally.happened(Happening::GatedViewer);
                }
                if is_stream && before.is_some_and(|last| last >= frame.number) {
                    tally.happened(Happening::GroupGiven);
                }
            }
            if begins && !frame.keyframe {
                let follows = before.is_some_and(|last| self.follows(frame, last));
                let rule = if is_stream { "S16" } else { "S2" };
                rule!(follows, "{rule}: delta frame {} follows {before:?} to {to}", frame.number);
                rule!(!stream.send_failed, "S2: a delta frame follows a failed send to {to}");
            }
        }
        let most = if self.source.is_some() { MAX_SINGLE_OF_GROUP } else { MAX_SINGLE };
        let Some(stream) = self.streams.get_mut(&ssrc) else { return Ok(()) };
        if begins && frame.is_some() {
            stream.send_failed = false;
        }
        if step > 0 {
            stream.previous = stream.frame;
        }
        if fails {
            stream.failed_to = Some(to);
        }
        stream.single.push_back((sequence, timestamp));
        if stream.single.len() > most {
            stream.single.pop_front();
        }
        (stream.sequence, stream.timestamp, stream.frame) = (sequence, timestamp, number);
        Ok(())
    }

    /// Whether a delta frame is the next one after another, but for damaged ones.
    fn follows(&self, frame: &SentFrame, last: u64) -> bool {
        let mut previous = frame.previous;
        while let Some(number) = previous.filter(|number| *number != last) {
            let skipped = self.frames.get(&(number, frame.codec));
            previous = skipped
                .filter(|it| it.origin == Origin::Stream { is_damaged: true })
                .and_then(|it| it.previous);
        }
        previous.is_some()
    }

    /// Nothing of a stream is sent that is older than its last key frame.
    fn check_group(&mut self, now: Instant, frame: &SentFrame) -> RuleResult {
        if let Some((newest, since)) = self.newest_keyframe
            && frame.number < newest
        {
            let age = now - since;
            rule!(age <= LEAVES_WITHIN, "S17: {} is sent {age:?} after {newest}", frame.number);
        } else if frame.keyframe && self.newest_keyframe.is_none_or(|(it, _)| it < frame.number) {
            self.newest_keyframe = Some((frame.number, now));
        }
        Ok(())
    }

    /// Timestamps go on with the clock.
    fn check_pace(&mut self, now: Instant, ssrc: u32, frame: &SentFrame) -> RuleResult {
        let micros = (now - self.began).as_micros();
        let clock = (micros * 9 / 100) as u32;
        let Some(stream) = self.streams.get_mut(&ssrc).filter(|_| now - frame.captured <= FRESH)
        else {
            return Ok(());
        };
        let lag = stream.timestamp.wrapping_sub(clock);
        let apart = lag.wrapping_sub(*stream.lag.get_or_insert(lag)) as i32;
        rule!(apart.abs() <= MAX_LAG, "S3: the timestamp is {} s from the clock", apart / 90_000);
        Ok(())
    }
}
