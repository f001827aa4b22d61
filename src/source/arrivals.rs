//! Estimates when pictures were taken from when they arrive.

use std::time::{Duration, Instant};

/// A picture that arrives further than this from its expected time starts a new sequence of times.
const NEW_ROW_AFTER: Duration = Duration::from_millis(500);
/// The phase follows this fraction of a difference at once: an eighth.
const PHASE_SHARE: u32 = 8;
/// The period follows this fraction of a difference, as it changes slowly.
const PERIOD_SHARE: u32 = 32;
/// The assumed period before there were two pictures.
const FIRST_PERIOD: Duration = Duration::from_millis(33);

/// Removes the jitter from arrival times. H.264 without a container, MJPEG and yuv4mpeg2 carry no
/// timestamps, and a writer that is late by 20 ms must not make the video jump.
#[derive(Debug, Default)]
pub struct Arrivals {
    last: Option<Instant>,
    last_arrival: Option<Instant>,
    period: Option<Duration>,
    /// When the next picture was taken, if the source tells.
    captured: Option<Instant>,
}

impl Arrivals {
    /// Returns the time of the picture that has arrived at `now`. It is later than that of the previous
    /// picture, and at most half a second from `now`.
    pub fn time_of_next(&mut self, now: Instant) -> Instant {
        let since_arrival = self.last_arrival.replace(now).map(|last| now - last);
        let period = self.period.unwrap_or(FIRST_PERIOD);
        let expected = self.last.map(|last| last + period);
        let is_in_row = expected.is_some_and(|expected| apart(expected, now) < NEW_ROW_AFTER);
        if is_in_row {
            let measured = since_arrival.unwrap_or(period);
            self.period = Some(toward(period, measured, PERIOD_SHARE));
        }
        let time = match (self.captured.take(), expected.filter(|_| is_in_row)) {
            (Some(captured), _) if apart(captured, now) < NEW_ROW_AFTER => captured.min(now),
            (Some(_), _) => now,
            (None, Some(expected)) => {
                let share = apart(expected, now) / PHASE_SHARE;
                if now > expected { expected + share } else { expected - share.min(period / 2) }
            }
            (None, None) => now,
        };
        let time = self.last.map_or(time, |last| time.max(last + Duration::from_millis(1)));
        self.last = Some(time);
        time
    }

    /// Sets when the next picture was taken, in place of an estimate.
    pub fn note_capture(&mut self, captured: Instant) {
        self.captured = Some(captured);
    }

    /// The time between two pictures; `None` before there were two.
    pub fn period(&self) -> Option<Duration> {
        self.period
    }
}

fn apart(a: Instant, b: Instant) -> Duration {
    a.max(b) - a.min(b)
}

fn toward(value: Duration, target: Duration, share: u32) -> Duration {
    (value * (share - 1) + target) / share
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(arrivals: &[u64]) -> Vec<u64> {
        let start = Instant::now();
        let mut row = Arrivals::default();
        let times = arrivals.iter().map(|ms| row.time_of_next(start + Duration::from_millis(*ms)));
        let times: Vec<Instant> = times.collect();
        times.windows(2).map(|pair| (pair[1] - pair[0]).as_millis() as u64).collect()
    }

    #[test]
    fn a_writer_that_is_late_now_and_then_makes_an_even_row() {
        let late = |n: u64| n * 40 + [0, 15, 3, 25, 0, 8][n as usize % 6];
        let arrivals: Vec<u64> = (0..200).map(late).collect();
        let steps = steps(&arrivals);
        assert!(steps[100..].iter().all(|step| (36..=44).contains(step)), "{steps:?}");
    }

    #[test]
    fn two_pictures_at_once_are_a_period_apart() {
        let arrivals: Vec<u64> = (0..100).map(|n: u64| n / 2 * 80 + 40).collect();
        let steps = steps(&arrivals);
        assert!(steps[60..].iter().all(|step| (30..=50).contains(step)), "{steps:?}");
    }

    #[test]
    fn a_source_that_tells_when_its_pictures_were_taken_is_believed_within_reason() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut row = Arrivals::default();
        for (arrival, captured, time) in [
            (1_000, 970, 970),
            (1_080, 1_010, 1_010),
            (1_085, 1_005, 1_011),
            (1_120, 9_000, 1_120),
            (1_160, 1_165, 1_160),
        ] {
            row.note_capture(at(captured));
            assert_eq!(row.time_of_next(at(arrival)).duration_since(at(0)).as_millis(), time);
        }
    }

    #[test]
    fn after_a_pause_a_new_row_begins_and_time_never_goes_back() {
        let start = Instant::now();
        let mut row = Arrivals::default();
        row.time_of_next(start);
        let later = start + Duration::from_secs(60);
        assert_eq!(row.time_of_next(later), later);
        let mut last = later;
        for _ in 0..50 {
            let time = row.time_of_next(later);
            assert!(time > last && time < later + Duration::from_secs(1));
            last = time;
        }
    }
}
