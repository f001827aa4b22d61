//! How a command is ended, and the pauses before the source is opened again.

use std::time::{Duration, Instant};

use super::Signal;
use crate::backoff::Backoff;

/// The time between two signals.
const PATIENCE: Duration = Duration::from_secs(2);
/// The pauses in seconds after the first failure, the second, and so on.
const PAUSES: [u64; 5] = [1, 2, 4, 8, 10];
/// The pause before a named pipe is reopened after a good writer, and the longest one after others. The
/// next writer may have to wait this long.
const WRITER_PAUSE: Duration = Duration::from_millis(100);
const WRITER_PAUSE_MAX: Duration = Duration::from_secs(1);
/// After pictures for this long, the pauses start over.
const GOOD_AFTER: Duration = Duration::from_secs(60);

/// The pauses between attempts.
#[derive(Debug)]
pub struct Restarts {
    backoff: Backoff,
    /// The number of bad writers of a named pipe in a row.
    bad_writers: u32,
    pub count: u64,
}

impl Default for Restarts {
    fn default() -> Restarts {
        Restarts { backoff: Backoff::new(&PAUSES, GOOD_AFTER), bad_writers: 0, count: 0 }
    }
}

impl Restarts {
    /// Returns the pause after an attempt that has failed after pictures for `good_for`.
    pub fn pause_after(&mut self, good_for: Duration) -> Duration {
        self.count += 1;
        self.backoff.pause_after(good_for)
    }

    /// Returns the pause after a writer of a named pipe has closed it.
    pub fn pause_before_writer(&mut self, was_good: bool) -> Duration {
        self.bad_writers = if was_good { 0 } else { self.bad_writers.saturating_add(1) };
        let factor = 2_u32.saturating_pow(self.bad_writers);
        WRITER_PAUSE.saturating_mul(factor).min(WRITER_PAUSE_MAX)
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
    fn a_named_pipe_is_opened_less_and_less_often_for_writers_that_are_no_good() {
        let mut restarts = Restarts::default();
        let mut pause = |good| restarts.pause_before_writer(good).as_millis();
        let pauses = [true, false, false, false, false, false, true].map(&mut pause);
        assert_eq!(pauses, [100, 200, 400, 800, 1_000, 1_000, 100]);
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
