//! Counts pictures that are skipped because encoding takes too long, and decides when to warn.

use std::time::{Duration, Instant};

/// The time between two warnings.
const WINDOW: Duration = Duration::from_secs(60);

/// The counts since the last warning.
#[derive(Debug, Default)]
pub struct Overload {
    since: Option<Instant>,
    taken: u32,
    left_out: u32,
    encoding: Duration,
}

/// Encoding takes too long on this device.
#[derive(Debug, PartialEq, Eq)]
pub struct OverloadWarning {
    pub left_out: u32,
    pub taken: u32,
    /// The mean time for one picture in all codecs.
    pub encoding: Duration,
}

impl Overload {
    /// A picture is taken; `left_out` pictures before it were skipped.
    pub fn add_picture(&mut self, left_out: u64) {
        self.taken += 1;
        self.left_out = self.left_out.saturating_add(left_out.try_into().unwrap_or(u32::MAX));
    }

    pub fn add_encoding(&mut self, cost: Duration) {
        self.encoding += cost;
    }

    /// Returns a warning, at most once a minute, if a tenth of the pictures were skipped and encoding takes
    /// most of the time. A machine that was asleep skips pictures, too.
    pub fn poll(&mut self, now: Instant, period: Duration) -> Option<OverloadWarning> {
        if now < *self.since.get_or_insert(now) + WINDOW {
            return None;
        }
        let Overload { taken, left_out, encoding, .. } = std::mem::take(self);
        let encoding = encoding / taken.max(1);
        let too_much = left_out > taken / 9 && encoding > period.mul_f64(0.8);
        too_much.then_some(OverloadWarning { left_out, taken, encoding })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(100);

    /// A minute of pictures.
    fn warning(left_out: u64, encoding: Duration) -> Option<OverloadWarning> {
        let (mut overload, start) = (Overload::default(), Instant::now());
        for second in 0..60 {
            overload.add_picture(left_out);
            overload.add_encoding(encoding);
            assert_eq!(overload.poll(start + Duration::from_secs(second), PERIOD), None);
        }
        overload.poll(start + WINDOW, PERIOD)
    }

    #[test]
    fn an_encoder_that_is_too_slow_is_reported_once_a_minute() {
        let encoding = Duration::from_millis(150);
        assert_eq!(
            warning(1, encoding),
            Some(OverloadWarning { left_out: 60, taken: 60, encoding })
        );
    }

    #[test]
    fn pictures_skipped_for_another_reason_are_not_reported() {
        assert_eq!(warning(1_000_000, Duration::from_millis(10)), None);
        assert_eq!(warning(0, Duration::from_millis(90)), None);
    }
}
