//! The rate of the pictures, which the rate control of an encoder has to know.

use std::time::{Duration, Instant};

/// The periods of one measurement.
const WINDOW: u32 = 8;
const HIGHEST: u32 = 240;

/// Measures the rate at which pictures are encoded, in frames per second.
#[derive(Debug, Clone)]
pub struct Rate {
    known: u32,
    window: Option<Window>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    last: Instant,
    periods: u32,
    sum: Duration,
    longest: Duration,
}

impl Rate {
    /// `expected` is in frames per second.
    pub fn new(expected: u32) -> Rate {
        Rate { known: expected, window: None }
    }

    /// From 1 to 240.
    pub fn frames_per_second(&self) -> u32 {
        self.known
    }

    /// Takes the time of the next picture. Returns the rate if it has become another one: it is more than a fifth off.
    /// The longest period of each measurement does not count, as it may be a pause without viewers.
    pub fn note(&mut self, captured: Instant) -> Option<u32> {
        let fresh =
            Window { last: captured, periods: 0, sum: Duration::ZERO, longest: Duration::ZERO };
        let window = self.window.get_or_insert(fresh);
        let period = captured.saturating_duration_since(window.last);
        if period.is_zero() {
            // Another codec of the same picture.
            return None;
        }
        *window = Window {
            last: captured,
            periods: window.periods + 1,
            sum: window.sum + period,
            longest: window.longest.max(period),
        };
        if window.periods < WINDOW {
            return None;
        }
        let counted = (window.sum - window.longest).max(Duration::from_nanos(1)).as_secs_f64();
        let rate = (f64::from(WINDOW - 1) / counted).round().clamp(1.0, f64::from(HIGHEST)) as u32;
        self.window = Some(fresh);
        (rate.abs_diff(self.known) * 5 > self.known).then(|| {
            self.known = rate;
            rate
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_rate_is_told_once_and_neither_jitter_nor_a_pause_is() {
        let mut rate = Rate::new(30);
        let mut at = Instant::now();
        let mut told = |pictures: u32, period_ms: u64| {
            let rates = (0..pictures).filter_map(|picture| {
                at += Duration::from_millis(period_ms + u64::from(picture % 2));
                rate.note(at).or_else(|| rate.note(at))
            });
            rates.collect::<Vec<_>>()
        };
        assert_eq!(told(41, 33), [0; 0]);
        assert_eq!(told(1, 60_000), [0; 0]);
        assert_eq!(told(47, 33), [0; 0]);
        assert_eq!(told(8, 66), [15]);
        assert_eq!(told(40, 66), [0; 0]);
        assert_eq!(told(16, 5_000), [1]);
        assert_eq!(told(40, 1), [240], "bounded");
    }
}
