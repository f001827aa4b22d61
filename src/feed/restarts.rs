//! How a command is ended, and when it is started again.

use std::time::{Duration, Instant};

use super::Signal;

/// From one signal to the next, firmer one.
const PATIENCE: Duration = Duration::from_secs(2);
/// Before the first attempt after a failure, the second, and so on; the last one holds for all that
/// follow.
const PAUSES: [u64; 5] = [1, 2, 4, 8, 10];
/// After a minute of pictures a failure is taken for the first one.
const GOOD_AFTER: Duration = Duration::from_secs(60);

/// The pauses between attempts.
#[derive(Debug, Default)]
pub struct Restarts {
    failures: usize,
    pub count: u64,
}

impl Restarts {
    /// An attempt has failed, after pictures for so long: how long until the next one.
    pub fn pause_after(&mut self, good_for: Duration) -> Duration {
        if good_for >= GOOD_AFTER {
            self.failures = 0;
        }
        let pause = PAUSES[self.failures.min(PAUSES.len() - 1)];
        self.failures += 1;
        self.count += 1;
        Duration::from_secs(pause)
    }
}

/// A command that is being ended.
#[derive(Debug)]
pub struct Ending {
    next: Signal,
    at: Instant,
}

impl Ending {
    pub fn begin(now: Instant) -> Ending {
        Ending { next: Signal::Interrupt, at: now }
    }

    /// When the next signal is due.
    pub fn at(&self) -> Instant {
        self.at
    }

    /// The signal that is due.
    pub fn take_due(&mut self, now: Instant) -> Option<Signal> {
        if now < self.at {
            return None;
        }
        let signal = self.next;
        self.next = match signal {
            Signal::Interrupt => Signal::Terminate,
            Signal::Terminate | Signal::Kill => Signal::Kill,
        };
        self.at = now + PATIENCE;
        Some(signal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_ten_seconds_and_begin_again_after_a_good_minute() {
        let mut restarts = Restarts::default();
        let mut pause = |good_for| restarts.pause_after(Duration::from_secs(good_for)).as_secs();
        assert_eq!([0, 0, 30, 0, 59, 0].map(&mut pause), [1, 2, 4, 8, 10, 10]);
        assert_eq!([60, 0].map(&mut pause), [1, 2]);
    }

    #[test]
    fn each_signal_is_firmer_than_the_one_before() {
        let now = Instant::now();
        let mut ending = Ending::begin(now);
        let mut signals = Vec::new();
        for seconds in 0..8 {
            signals.extend(ending.take_due(now + Duration::from_secs(seconds)));
        }
        let kill = Signal::Kill;
        assert_eq!(signals, [Signal::Interrupt, Signal::Terminate, kill, kill]);
    }
}
