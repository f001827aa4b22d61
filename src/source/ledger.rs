//! Counts good and bad pictures of the last seconds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The time over which pictures are counted.
pub const WINDOW: Duration = Duration::from_secs(5);
/// The resolution of the window.
const STEP: Duration = Duration::from_millis(500);
/// The fewest pictures from which a ratio is computed.
const FEWEST: u64 = 10;
/// Nearly all pictures are bad if at most one of this many is good.
const NEARLY_ALL: u64 = 10;

/// Counts of good and bad pictures, over [`WINDOW`].
#[derive(Debug, Default)]
pub struct Ledger {
    steps: VecDeque<LedgerStep>,
    /// The time of the first picture after the last long pause.
    since: Option<Instant>,
    noted_at: Option<Instant>,
    /// The time of the first bad picture after the last good one.
    bad_since: Option<Instant>,
}

#[derive(Debug)]
struct LedgerStep {
    begins: Instant,
    good: u64,
    bad: u64,
}

impl Ledger {
    /// Counts pictures. Discards all earlier counts after a pause of `forget_after`.
    pub fn note(&mut self, now: Instant, good: u64, bad: u64, forget_after: Duration) {
        if good + bad == 0 {
            return;
        }
        if self.noted_at.replace(now).is_some_and(|at| now > at + forget_after) {
            (self.since, self.bad_since) = (None, None);
            self.steps.clear();
        }
        self.since.get_or_insert(now);
        if good > 0 {
            self.bad_since = None;
        } else {
            self.bad_since.get_or_insert(now);
        }
        self.steps.retain(|step| step.begins + WINDOW > now);
        match self.steps.back_mut().filter(|step| now < step.begins + STEP) {
            Some(step) => (step.good, step.bad) = (step.good + good, step.bad + bad),
            None => self.steps.push_back(LedgerStep { begins: now, good, bad }),
        }
    }

    /// Whether a picture was noted within this time.
    pub fn has_noted_since(&self, now: Instant, time: Duration) -> bool {
        self.noted_at.is_some_and(|at| now <= at + time)
    }

    /// Whether there were bad pictures for this long, and no good one.
    pub fn all_bad_for(&self, now: Instant, time: Duration) -> bool {
        self.bad_since.is_some_and(|since| now >= since + time)
    }

    /// Whether nearly all pictures of a whole window are bad.
    pub fn nearly_all_bad(&self, now: Instant) -> bool {
        let (good, bad) = self.totals();
        let is_whole = self.since.is_some_and(|since| now + STEP >= since + WINDOW);
        is_whole && good + bad >= FEWEST && good * NEARLY_ALL <= good + bad
    }

    /// Whether at least as many pictures are good as are bad.
    pub fn mostly_good(&self) -> bool {
        let (good, bad) = self.totals();
        good >= bad && good > 0
    }

    fn totals(&self) -> (u64, u64) {
        let sum = |of: fn(&LedgerStep) -> u64| self.steps.iter().map(of).sum();
        (sum(|step| step.good), sum(|step| step.bad))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 25 pictures a second for some seconds, of which every `good_of`-th is good.
    fn noted(ledger: &mut Ledger, begin: Instant, seconds: u64, good_of: u64) -> Instant {
        let mut now = begin;
        for number in 1..=seconds * 25 {
            now += Duration::from_millis(40);
            let good = u64::from(number.is_multiple_of(good_of));
            ledger.note(now, good, 1 - good, WINDOW);
        }
        now
    }

    #[test]
    fn nearly_all_is_nine_of_ten_over_a_whole_window() {
        for (good_of, fails) in [(1, false), (2, false), (8, false), (12, true), (50, true)] {
            let mut ledger = Ledger::default();
            let now = noted(&mut ledger, Instant::now(), 4, good_of);
            assert!(!ledger.nearly_all_bad(now), "too soon");
            let now = noted(&mut ledger, now, 4, good_of);
            assert_eq!(ledger.nearly_all_bad(now), fails, "every {good_of}th is good");
        }
    }

    #[test]
    fn good_pictures_are_the_majority_within_a_window() {
        let mut ledger = Ledger::default();
        let now = noted(&mut ledger, Instant::now(), 10, 25);
        assert!(ledger.nearly_all_bad(now) && !ledger.mostly_good());
        let now = noted(&mut ledger, now, 2, 1);
        assert!(!ledger.mostly_good());
        noted(&mut ledger, now, 1, 1);
        assert!(ledger.mostly_good());
    }

    #[test]
    fn bad_pictures_before_a_pause_do_not_count() {
        let mut ledger = Ledger::default();
        let now = noted(&mut ledger, Instant::now(), 1, 100);
        assert!(ledger.all_bad_for(now, Duration::from_millis(900)));
        let now = now + Duration::from_secs(60);
        ledger.note(now, 0, 1, WINDOW);
        assert!(!ledger.all_bad_for(now, Duration::from_millis(900)));
        ledger.note(now, 1, 1, WINDOW);
        assert!(!ledger.all_bad_for(now, Duration::ZERO), "there is a good one");
    }
}
