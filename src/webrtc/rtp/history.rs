//! The packets of the last second, once for all viewers: what is sent now, and what a NACK may ask
//! for again.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::media::Frame;
use crate::webrtc::payload::packetize;

/// What is older is of no use to a viewer that waits for it.
const AGE: Duration = Duration::from_secs(1);
/// Over two seconds of 2 Mbit/s, which a burst of large frames cannot exceed.
const PACKETS: usize = 512;

/// A packet without what is each viewer's own.
#[derive(Debug)]
pub struct Packet {
    pub payload: Vec<u8>,
    /// 90 kHz, before each viewer's own offset.
    pub timestamp: u32,
    /// The last one of its frame.
    pub marker: bool,
    captured: Instant,
}

/// A frame that is being sent, by its packets' numbers in the history.
#[derive(Debug, Clone)]
pub struct OutgoingFrame {
    pub packets: Range<u64>,
    pub keyframe: bool,
    /// 90 kHz, before each viewer's own offset.
    pub timestamp: u32,
    /// When it was captured, in NTP's format (RFC 3550, section 4).
    pub ntp: u64,
}

/// The newest packets, numbered without end.
#[derive(Debug, Default)]
pub struct History {
    packets: VecDeque<Packet>,
    /// The number of the oldest.
    first: u64,
}

impl History {
    /// Takes in a frame, which stays whole until the next.
    pub fn push(&mut self, frame: &Frame, timestamp: u32, ntp: u64) -> OutgoingFrame {
        let payloads = packetize(frame);
        let captured = frame.captured;
        let is_old = |packet: &Packet| captured.saturating_duration_since(packet.captured) > AGE;
        while self.packets.front().is_some_and(is_old)
            || !self.packets.is_empty() && self.packets.len() + payloads.len() > PACKETS
        {
            self.packets.pop_front();
            self.first += 1;
        }
        let start = self.first + self.packets.len() as u64;
        let count = payloads.len();
        self.packets.extend(payloads.into_iter().enumerate().map(|(index, payload)| Packet {
            payload,
            timestamp,
            marker: index + 1 == count,
            captured,
        }));
        let packets = start..start + count as u64;
        OutgoingFrame { packets, keyframe: frame.is_keyframe(), timestamp, ntp }
    }

    pub fn get(&self, number: u64) -> Option<&Packet> {
        self.packets.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: usize, captured: Instant) -> Frame {
        let mut data = vec![0, 0, 1, 0x41];
        data.resize(4 + bytes, 7);
        Frame::h264(data, captured)
    }

    #[test]
    fn packets_keep_their_numbers_for_a_second() {
        let start = Instant::now();
        let mut history = History::default();
        let first = history.push(&frame(3_000, start), 1, 0).packets;
        assert_eq!(first, 0..3);
        let second = history.push(&frame(10, start + AGE), 2, 0).packets;
        assert_eq!(second, 3..4);
        assert_eq!(history.get(0).unwrap().timestamp, 1);
        let markers: Vec<bool> = (0..4).map(|n| history.get(n).unwrap().marker).collect();
        assert_eq!(markers, [false, false, true, true]);
        history.push(&frame(10, start + AGE + Duration::from_millis(1)), 3, 0);
        assert!(history.get(2).is_none());
        assert_eq!(history.get(3).unwrap().timestamp, 2);
        assert!(history.get(5).is_none());
    }

    #[test]
    fn there_are_never_more_packets_than_allowed_but_a_frame_stays_whole() {
        let now = Instant::now();
        let mut history = History::default();
        for _ in 0..600 {
            history.push(&frame(10, now), 0, 0);
        }
        assert_eq!(history.packets.len(), PACKETS);
        let huge = history.push(&frame(700_000, now), 0, 0).packets;
        assert!(huge.end - huge.start > PACKETS as u64);
        assert!(huge.clone().all(|number| history.get(number).is_some()));
        assert!(history.get(huge.start - 1).is_none());
    }
}
