//! The received stream of one viewer: packets, frames, and losses.

use std::time::{Duration, Instant};

use super::srtp::Packet;

/// The RTP clock rate of video.
const RTP_CLOCK_HZ: u32 = 90_000;

/// Counters since the last mark.
#[derive(Default, Clone)]
pub struct Counters {
    pub packets: u64,
    pub bytes: u64,
    /// Packets that did not arrive.
    pub lost: i64,
    pub duplicates: u64,
    /// Retransmitted packets (RTX, RFC 4588).
    pub retransmitted: u64,
    /// Frames with all their packets.
    pub frames: u64,
    /// Frames with packets missing.
    pub broken: u64,
    pub longest_gap: Duration,
}

/// One viewer's media.
pub struct Stream {
    pub counters: Counters,
    pub ssrc: u32,
    /// The next expected index, after the first packet.
    next: Option<u64>,
    /// A bit for each of the 64 packets before `next` that has arrived.
    seen: u64,
    intact: bool,
    /// Packets lost since the start, for receiver reports.
    lost: i64,
    pub last_frame: Option<Instant>,
    /// RTP timestamps: of the last frame, and of the last one before the mark.
    timestamp: Option<u32>,
    marked: Option<u32>,
}

/// What a packet completes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketOutcome {
    /// Nothing: the packet is not the last one of a complete frame.
    NoFrame,
    /// A complete frame.
    Frame,
}

impl Stream {
    pub fn new() -> Stream {
        Stream {
            counters: Counters::default(),
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
        self.counters = Counters::default();
        self.marked = self.timestamp;
    }

    pub fn handle_packet(&mut self, packet: &Packet, now: Instant) -> PacketOutcome {
        self.ssrc = packet.ssrc;
        self.counters.packets += 1;
        self.counters.bytes += packet.payload.len() as u64;
        let next = self.next.unwrap_or(packet.index);
        if packet.index < next {
            self.handle_late(next - packet.index);
            return PacketOutcome::NoFrame;
        }
        let missing = packet.index - next;
        if missing > 0 {
            self.add_lost(missing as i64);
            self.intact = false;
        }
        self.seen = self.seen.checked_shl(missing as u32 + 1).unwrap_or(0) | 1;
        self.next = Some(packet.index + 1);
        if !packet.marker {
            return PacketOutcome::NoFrame;
        }
        self.timestamp = Some(packet.timestamp);
        self.marked.get_or_insert(packet.timestamp);
        if !std::mem::replace(&mut self.intact, true) {
            self.counters.broken += 1;
            return PacketOutcome::NoFrame;
        }
        self.counters.frames += 1;
        if let Some(last) = self.last_frame.replace(now) {
            self.counters.longest_gap = self.counters.longest_gap.max(now - last);
        }
        PacketOutcome::Frame
    }

    /// The extended highest sequence number received and the cumulative number of packets lost, for a
    /// receiver report.
    pub fn reception(&self) -> (u64, u32) {
        (self.next.map_or(0, |next| next - 1), self.lost.max(0) as u32)
    }

    /// Ticks since the mark without a frame, complete or broken. A late tick counts as a part of the
    /// one before it.
    pub fn skipped(&self, frames_per_second: u32) -> u64 {
        let (Some(marked), Some(last)) = (self.marked, self.timestamp) else { return 0 };
        let period = f64::from(RTP_CLOCK_HZ) / f64::from(frames_per_second);
        let ticks = (f64::from(last.wrapping_sub(marked)) / period + 0.3) as u64;
        ticks.saturating_sub(self.counters.frames + self.counters.broken)
    }

    fn handle_late(&mut self, back: u64) {
        let bit = 1_u64.checked_shl(back as u32 - 1).unwrap_or(0);
        if bit == 0 || self.seen & bit != 0 {
            self.counters.duplicates += 1;
        } else {
            self.seen |= bit;
            self.add_lost(-1);
        }
    }

    fn add_lost(&mut self, packets: i64) {
        self.counters.lost += packets;
        self.lost += packets;
    }
}
