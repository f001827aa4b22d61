//! The pauses between attempts that fail.

use std::time::Duration;

/// Pauses that grow with each failure in a row, and start over after a success that lasted.
#[derive(Debug, Clone)]
pub struct Backoff {
    /// In seconds, after the first failure, the second, and so on. The last one repeats. Never empty.
    pauses: &'static [u64],
    /// An attempt that worked for this long ends the row of failures.
    good_after: Duration,
    failures: usize,
}

impl Backoff {
    /// Pauses in seconds, at least one.
    pub const fn new(pauses: &'static [u64], good_after: Duration) -> Backoff {
        assert!(!pauses.is_empty(), "a backoff without a pause");
        Backoff { pauses, good_after, failures: 0 }
    }

    /// Returns the pause after an attempt that worked for `good_for` before it failed.
    pub fn pause_after(&mut self, good_for: Duration) -> Duration {
        if good_for >= self.good_after {
            self.failures = 0;
        }
        let pause = self.pauses[self.failures.min(self.pauses.len() - 1)];
        self.failures += 1;
        Duration::from_secs(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_last_one_and_start_over_after_a_good_attempt() {
        let good_after = Duration::from_secs(60);
        let mut backoff = Backoff::new(&[1, 2, 4], good_after);
        let mut pause = |good_for| backoff.pause_after(Duration::from_secs(good_for)).as_secs();
        assert_eq!([0, 30, 0, 59].map(&mut pause), [1, 2, 4, 4]);
        assert_eq!([60, 0].map(&mut pause), [1, 2]);
    }
}
