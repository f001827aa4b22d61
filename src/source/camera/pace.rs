//! Measures whether a camera's mode suits: how far its key frames are apart, and whether its pictures can be
//! encoded as fast as they come.

use std::time::{Duration, Instant};

use crate::source::parse::FrameRate;

/// The longest time between two key frames of H.264 that is chosen without being asked for.
const KEYFRAMES_WITHIN: Duration = Duration::from_secs(2);
/// A key frame that is late by less is on time.
const LATENESS: Duration = Duration::from_millis(500);
/// The time over which the cost of pictures is measured.
const WINDOW: Duration = Duration::from_secs(3);
/// The fewest pictures from which a mean is computed.
const FEWEST: u32 = 5;
/// The period of a camera that tells no rate.
const USUAL_PERIOD: Duration = Duration::from_nanos(33_333_333);

/// What was measured since the camera was started.
#[derive(Debug)]
pub(super) struct Pace {
    period: Duration,
    /// The last key frame, or the start.
    keyframe_at: Option<Instant>,
    /// When the current window began.
    window: Option<Instant>,
    cost: Duration,
    pictures: u32,
}

/// A picture takes longer to encode than it takes for the next one to come.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooSlow {
    pub cost: Duration,
    pub period: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            period: USUAL_PERIOD,
            keyframe_at: None,
            window: None,
            cost: Duration::ZERO,
            pictures: 0,
        }
    }
}

impl Pace {
    /// Of a camera that has started at this rate.
    pub fn begin(now: Instant, rate: Option<FrameRate>) -> Pace {
        let period = rate.map(|rate| Duration::from_secs(1) * rate.denominator / rate.numerator);
        let period = period.unwrap_or(USUAL_PERIOD);
        Pace { period, keyframe_at: Some(now), ..Pace::default() }
    }

    pub fn note_keyframe(&mut self, now: Instant) {
        if !self.lacks_keyframes(now) {
            self.keyframe_at = Some(now);
        }
    }

    /// Whether a key frame is overdue.
    pub fn lacks_keyframes(&self, now: Instant) -> bool {
        self.keyframe_at.is_some_and(|at| now > at + KEYFRAMES_WITHIN + LATENESS)
    }

    /// Records what it took to encode a picture. Returns the mean of a window in which it was too much.
    pub fn note_encoded(&mut self, now: Instant, cost: Duration) -> Option<TooSlow> {
        let began = *self.window.get_or_insert(now);
        (self.cost, self.pictures) = (self.cost + cost, self.pictures + 1);
        if now < began + WINDOW {
            return None;
        }
        let mean = self.cost / self.pictures;
        let is_slow = self.pictures >= FEWEST && mean > self.period;
        (self.window, self.cost, self.pictures) = (Some(now), Duration::ZERO, 0);
        is_slow.then_some(TooSlow { cost: mean, period: self.period })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_that_take_longer_than_a_period_for_three_seconds_are_too_slow() {
        let start = Instant::now();
        let rate = FrameRate::new(25, 1);
        for (cost, is_slow) in [(20, false), (39, false), (45, true), (400, true)] {
            let mut pace = Pace::begin(start, rate);
            let cost = Duration::from_millis(cost);
            let mut now = start;
            let slow = std::iter::from_fn(|| {
                now += cost.max(Duration::from_millis(40));
                (now < start + Duration::from_secs(5)).then(|| pace.note_encoded(now, cost))
            });
            let slow: Vec<TooSlow> = slow.flatten().collect();
            assert_eq!(!slow.is_empty(), is_slow, "{cost:?}");
            assert!(slow.iter().all(|slow| slow.cost == cost));
        }
    }

    #[test]
    fn key_frames_are_lacking_after_two_seconds_without_one() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut pace = Pace::begin(start, None);
        assert!(!pace.lacks_keyframes(at(2_400)));
        assert!(pace.lacks_keyframes(at(2_600)));
        pace.note_keyframe(at(1_000));
        assert!(!pace.lacks_keyframes(at(3_400)));
        assert!(pace.lacks_keyframes(at(3_600)));
        pace.note_keyframe(at(4_000));
        assert!(pace.lacks_keyframes(at(4_000)), "it was too late");
    }
}
