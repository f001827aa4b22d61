//! Paces large frames: a few packets leave at once, the others evenly over some milliseconds.
//!
//! A burst overruns the buffers of the device's socket, of its Wi-Fi and of the access point, and a frame of
//! 300 kB is lost that would have passed in ten milliseconds. A frame of a few packets leaves at once.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::payload::Packets;

/// Packets that leave at once: 23 kB, enough for most frames at a few Mbit/s.
const BURST: usize = 20;
/// The fewest packets of a later step: 92 Mbit/s, the speed of most networks of small devices.
const SMALLEST_STEP: usize = 10;
/// The time between two steps: the resolution of the loop's timer.
const STEP: Duration = Duration::from_millis(1);

/// The frames that have not been sent completely to one viewer, in order.
#[derive(Debug, Default)]
pub struct Pacing {
    frames: VecDeque<Arc<Packets>>,
    /// How many packets of the first frame have left.
    sent: usize,
    /// How many packets of all frames have not left.
    unsent: usize,
    /// How many packets may leave now.
    allowed: usize,
    /// When `allowed` was last set.
    allowed_at: Option<Instant>,
    /// When the last packet has to leave.
    leave_by: Option<Instant>,
    next_step: Option<Instant>,
}

/// Packets of one frame that leave together.
#[derive(Debug)]
pub struct Slice {
    pub frame: Arc<Packets>,
    pub packets: Range<usize>,
}

impl Slice {
    pub fn begins_frame(&self) -> bool {
        self.packets.start == 0
    }

    pub fn ends_frame(&self) -> bool {
        self.packets.end == self.frame.payloads.len()
    }
}

impl Pacing {
    /// Adds a frame that has to leave within `within`. A key frame replaces all earlier frames of which
    /// nothing was sent.
    pub fn push(&mut self, now: Instant, frame: &Arc<Packets>, within: Duration) {
        if frame.keyframe {
            self.frames.truncate(usize::from(self.sent > 0));
            let rest = self.frames.front().map_or(0, |frame| frame.payloads.len());
            self.unsent = rest - self.sent;
        }
        if self.frames.is_empty() {
            if self.allowed_at.is_none_or(|at| at + STEP <= now) {
                self.allow(now, BURST);
            }
            self.next_step = Some(now + STEP);
        }
        self.leave_by = self.leave_by.max(Some(now + within));
        self.unsent += frame.payloads.len();
        self.frames.push_back(Arc::clone(frame));
    }

    /// Allows more packets if a step is due.
    pub fn advance(&mut self, now: Instant) {
        if self.next_step.is_none_or(|at| now < at) {
            return;
        }
        let left = self.leave_by.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let steps = (left.as_nanos() / STEP.as_nanos()) as usize + 1;
        self.allow(now, self.unsent.div_ceil(steps).max(SMALLEST_STEP));
        self.next_step = Some(now + STEP);
    }

    fn allow(&mut self, now: Instant, packets: usize) {
        self.allowed = packets;
        self.allowed_at = Some(now);
    }

    /// The next packets that may leave now.
    pub fn next_slice(&mut self) -> Option<Slice> {
        let frame = self.frames.front()?;
        let rest = frame.payloads.len() - self.sent;
        let count = rest.min(self.allowed);
        if count == 0 && rest > 0 {
            return None;
        }
        let frame = Arc::clone(frame);
        let packets = self.sent..self.sent + count;
        self.sent += count;
        self.unsent -= count;
        self.allowed -= count;
        if self.sent == frame.payloads.len() {
            self.frames.pop_front();
            self.sent = 0;
        }
        if self.frames.is_empty() {
            self.next_step = None;
        }
        Some(Slice { frame, packets })
    }

    /// When more packets may leave.
    pub fn next_step(&self) -> Option<Instant> {
        self.next_step
    }

    /// Drops everything that has not left.
    pub fn clear(&mut self) {
        self.frames.clear();
        (self.sent, self.unsent) = (0, 0);
        self.next_step = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Codec, Rotation};

    const WITHIN: Duration = Duration::from_millis(15);

    fn frame(packets: usize, keyframe: bool) -> Arc<Packets> {
        let payloads = vec![vec![0].into(); packets];
        let captured = Instant::now();
        let rotation = Rotation::Deg0;
        let (codec, timestamp) = (Codec::H264, 0);
        Arc::new(Packets { payloads, codec, keyframe, captured, timestamp, rotation })
    }

    fn leave(pacing: &mut Pacing) -> usize {
        std::iter::from_fn(|| pacing.next_slice()).map(|slice| slice.packets.len()).sum()
    }

    #[test]
    fn a_small_frame_leaves_at_once_and_needs_no_timer() {
        let now = Instant::now();
        let mut pacing = Pacing::default();
        pacing.push(now, &frame(BURST, false), WITHIN);
        let slice = pacing.next_slice().unwrap();
        assert!(slice.begins_frame() && slice.ends_frame() && slice.packets == (0..BURST));
        assert!(pacing.next_slice().is_none() && pacing.next_step().is_none());
    }

    #[test]
    fn a_large_frame_leaves_evenly_and_in_time() {
        let start = Instant::now();
        let mut pacing = Pacing::default();
        pacing.push(start, &frame(260, true), WITHIN);
        let mut left = vec![leave(&mut pacing)];
        let mut now = start;
        while let Some(next) = pacing.next_step() {
            now = next;
            pacing.advance(now);
            left.push(leave(&mut pacing));
        }
        assert_eq!((left[0], left.iter().sum()), (BURST, 260));
        assert!(left[1..].iter().all(|packets| (15..=17).contains(packets)), "{left:?}");
        assert!(now <= start + WITHIN);
    }

    #[test]
    fn frames_keep_their_order_and_a_late_step_sends_all_that_is_due() {
        let start = Instant::now();
        let mut pacing = Pacing::default();
        pacing.push(start, &frame(100, true), WITHIN);
        leave(&mut pacing);
        pacing.push(start + STEP, &frame(3, false), WITHIN);
        pacing.advance(start + STEP / 2);
        assert_eq!(leave(&mut pacing), 0);
        pacing.advance(start + WITHIN * 2);
        let slices: Vec<Range<usize>> =
            std::iter::from_fn(|| pacing.next_slice()).map(|slice| slice.packets).collect();
        assert_eq!(slices, [BURST..100, 0..3]);
        assert_eq!(pacing.next_step(), None);
    }

    #[test]
    fn a_key_frame_takes_the_place_of_what_has_not_begun() {
        let start = Instant::now();
        let mut pacing = Pacing::default();
        for packets in [BURST + 10, 50] {
            pacing.push(start, &frame(packets, false), WITHIN);
        }
        leave(&mut pacing);
        pacing.push(start + STEP, &frame(4, true), WITHIN);
        pacing.advance(start + WITHIN);
        pacing.advance(start + WITHIN * 2);
        assert_eq!(leave(&mut pacing), 14);
        pacing.push(start, &frame(BURST + 1, false), WITHIN);
        leave(&mut pacing);
        pacing.clear();
        assert!(pacing.next_slice().is_none() && pacing.next_step().is_none());
    }
}
