//! What one viewer has got: packets, frames, and what is missing.

use std::time::{Duration, Instant};

use super::srtp::Packet;

/// 90 kHz, the RTP clock of all video.
const RTP_CLOCK_HZ: u32 = 90_000;

/// Since the last mark.
#[derive(Default, Clone)]
pub struct Tally {
    pub packets: u64,
    pub bytes: u64,
    /// Packets that never came.
    pub lost: i64,
    pub duplicates: u64,
    /// Packets sent again (RFC 4588).
    pub resent: u64,
    /// Frames with all their packets.
    pub frames: u64,
    /// Frames with packets missing.
    pub broken: u64,
    pub longest_gap: Duration,
}

/// One viewer's media.
pub struct Stream {
    pub tally: Tally,
    pub ssrc: u32,
    /// The next index, once there was a packet.
    next: Option<u64>,
    /// Which of the 64 packets before `next` have come.
    seen: u64,
    intact: bool,
    /// Lost since the beginning, for reports to the server.
    lost: i64,
    pub last_frame: Option<Instant>,
    /// RTP timestamps: of the last frame, and of the last one before the mark.
    timestamp: Option<u32>,
    marked: Option<u32>,
}

/// What a packet brought about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A packet inside of a frame, or one that does not count.
    Inside,
    /// The last packet of a frame that is whole.
    Frame,
}

impl Stream {
    pub fn new() -> Stream {
        Stream {
            tally: Tally::default(),
            ssrc: 0,
            next: None,
            seen: 0,
            intact: true,
            lost: 0,
            last_frame: None,
            timestamp: None,
            marked: None,
        }
    }

    pub fn mark(&mut self) {
        self.tally = Tally::default();
        self.marked = self.timestamp;
    }

    pub fn take(&mut self, packet: &Packet, now: Instant) -> Step {
        self.ssrc = packet.ssrc;
        self.tally.packets += 1;
        self.tally.bytes += packet.payload.len() as u64;
        let next = self.next.unwrap_or(packet.index);
        if packet.index < next {
            self.late(next - packet.index);
            return Step::Inside;
        }
        let missing = packet.index - next;
        if missing > 0 {
            self.miss(missing as i64);
            self.intact = false;
        }
        self.seen = self.seen.checked_shl(missing as u32 + 1).unwrap_or(0) | 1;
        self.next = Some(packet.index + 1);
        if !packet.marker {
            return Step::Inside;
        }
        self.timestamp = Some(packet.timestamp);
        self.marked.get_or_insert(packet.timestamp);
        if !std::mem::replace(&mut self.intact, true) {
            self.tally.broken += 1;
            return Step::Inside;
        }
        self.tally.frames += 1;
        if let Some(last) = self.last_frame.replace(now) {
            self.tally.longest_gap = self.tally.longest_gap.max(now - last);
        }
        Step::Frame
    }

    /// What the server calls the highest sequence number received, and how many are lost.
    pub fn reception(&self) -> (u64, u32) {
        (self.next.map_or(0, |next| next - 1), self.lost.max(0) as u32)
    }

    /// Ticks since the mark of which no frame came, whole or broken. A tick that is late is counted
    /// with the one before it.
    pub fn skipped(&self, frames_per_second: u32) -> u64 {
        let (Some(marked), Some(last)) = (self.marked, self.timestamp) else { return 0 };
        let period = f64::from(RTP_CLOCK_HZ) / f64::from(frames_per_second);
        let ticks = (f64::from(last.wrapping_sub(marked)) / period + 0.3) as u64;
        ticks.saturating_sub(self.tally.frames + self.tally.broken)
    }

    fn late(&mut self, back: u64) {
        let bit = 1_u64.checked_shl(back as u32 - 1).unwrap_or(0);
        if bit == 0 || self.seen & bit != 0 {
            self.tally.duplicates += 1;
        } else {
            self.seen |= bit;
            self.miss(-1);
        }
    }

    fn miss(&mut self, packets: i64) {
        self.tally.lost += packets;
        self.lost += packets;
    }
}
