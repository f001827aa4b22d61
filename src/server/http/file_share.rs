//! Limits the time that JPEG files take to a tenth, for all clients together. The rest belongs to the
//! video.

use std::time::{Duration, Instant};

/// A file is followed by a pause of nine times its cost.
const PAUSE_PER_COST: u32 = 9;
/// The longest pause. The cost is measured, and the machine may have been asleep meanwhile.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// A file that costs less than this part of a period was passed on as it is, or is too small to matter.
/// No two other files are made between two pictures.
const NEGLIGIBLE: u32 = 100;

/// Schedules one file after the other.
#[derive(Debug, Default)]
pub(crate) struct FileShare {
    /// When the file that is being made was begun.
    begun_at: Option<Instant>,
    /// When the next one may be begun.
    free_at: Option<Instant>,
    /// The time from the beginning of the last file to then.
    interval: Duration,
}

impl FileShare {
    pub fn is_free(&self, now: Instant) -> bool {
        self.begun_at.is_none() && self.free_at.is_none_or(|at| at <= now)
    }

    /// When the next file may be begun, unless one is being made.
    pub fn free_at(&self) -> Option<Instant> {
        self.free_at.filter(|_| self.begun_at.is_none())
    }

    /// The expected wait behind this many other files.
    pub fn wait_behind(&self, others: usize, now: Instant) -> Duration {
        let until_free =
            self.free_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        until_free + self.interval * u32::try_from(others).unwrap_or(u32::MAX)
    }

    pub fn begin(&mut self, now: Instant) {
        self.begun_at = Some(now);
    }

    /// The file was made at this cost. `period` is the time from one picture to the next.
    pub fn end(&mut self, now: Instant, cost: Duration, period: Duration) {
        let begun_at = self.begun_at.take().unwrap_or(now);
        let mut free_at = now + (cost * PAUSE_PER_COST).min(MAX_PAUSE);
        if cost * NEGLIGIBLE > period {
            free_at = free_at.max(begun_at + period);
        }
        self.interval = free_at.saturating_duration_since(begun_at);
        self.free_at = Some(free_at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(33);

    /// From one file to the next.
    fn interval(cost_ms: u64) -> Duration {
        let (mut share, start) = (FileShare::default(), Instant::now());
        let cost = Duration::from_millis(cost_ms);
        assert!(share.is_free(start));
        share.begin(start);
        assert!(!share.is_free(start + cost) && share.free_at().is_none());
        share.end(start + cost, cost, PERIOD);
        let free_at = share.free_at().unwrap();
        assert!(share.is_free(free_at));
        assert_eq!(share.wait_behind(2, start), 3 * (free_at - start));
        free_at - start
    }

    #[test]
    fn a_tenth_of_the_time_and_one_file_a_picture() {
        assert_eq!(interval(0), Duration::ZERO);
        assert_eq!(interval(1), PERIOD);
        assert_eq!(interval(30), Duration::from_millis(300));
        assert_eq!(interval(60_000), Duration::from_secs(65));
    }
}
