//! Sends small frames twice to a viewer that loses packets.
//!
//! A receiver notices the loss of a frame of one packet when the next frame comes, a period later, and
//! without a playout delay shows two frames at once. A viewer that reports loss gets the datagrams of small
//! frames again some milliseconds later, which hides most losses: the receiver drops the copy (RFC 3711,
//! section 3.3.2). Only that viewer's path carries small frames twice.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Transmit;

/// Longer than a burst of losses, and well before the next frame.
const DELAY: Duration = Duration::from_millis(8);
/// A copy that is later than this comes after the next frame, and is useless.
const MAX_LATENESS: Duration = Duration::from_millis(25);
/// The size in packets of the largest frame that is sent twice. Losses of a larger one are noticed at once,
/// by the packets that follow.
const MAX_PACKETS: usize = 2;
/// How long frames are sent twice after the last loss. Long, as copies hide losses from the reports.
const HOLD: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
pub struct Repeats {
    active_until: Option<Instant>,
    /// In the order of their due times.
    queue: VecDeque<(Instant, Transmit)>,
}

impl Repeats {
    /// Records that the viewer has lost packets.
    pub fn note_loss(&mut self, now: Instant) {
        self.active_until = Some(now + HOLD);
    }

    /// Whether frames of this many packets are sent twice.
    pub fn wants(&self, now: Instant, packets: usize) -> bool {
        packets <= MAX_PACKETS && self.active_until.is_some_and(|until| now < until)
    }

    pub fn push(&mut self, now: Instant, transmit: Transmit) {
        self.queue.push_back((now + DELAY, transmit));
    }

    /// The next datagram that is due. Drops those that are too late, as the host may have been suspended.
    pub fn take_due(&mut self, now: Instant) -> Option<Transmit> {
        while self.next().is_some_and(|at| at + MAX_LATENESS < now) {
            self.queue.pop_front();
        }
        self.next().filter(|at| *at <= now)?;
        self.queue.pop_front().map(|(_, transmit)| transmit)
    }

    pub fn next(&self) -> Option<Instant> {
        self.queue.front().map(|(at, _)| *at)
    }

    /// Drops all copies.
    pub fn clear(&mut self) {
        self.queue.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_made_while_there_is_loss_and_some_time_after() {
        let start = Instant::now();
        let mut repeats = Repeats::default();
        assert!(!repeats.wants(start, 1));
        repeats.note_loss(start);
        assert!(repeats.wants(start, 2) && !repeats.wants(start, 3));
        let address = "10.0.0.1:1".parse().unwrap();
        let copy = Transmit { source: address, destination: address, contents: vec![1] };
        repeats.push(start, copy.clone());
        assert_eq!(repeats.next(), Some(start + DELAY));
        assert_eq!(repeats.take_due(start), None);
        assert_eq!(repeats.take_due(start + DELAY), Some(copy.clone()));
        assert_eq!(repeats.next(), None);
        repeats.push(start, copy);
        assert_eq!(repeats.take_due(start + HOLD), None);
        assert_eq!(repeats.next(), None);
        assert!(!repeats.wants(start + HOLD, 1));
    }
}
