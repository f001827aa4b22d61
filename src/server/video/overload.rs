//! Pictures that are left out as encoding takes too long: how many, and a word about it in the log.

use std::time::{Duration, Instant};

/// From one word to the next.
const WINDOW: Duration = Duration::from_secs(60);

/// What has happened since the last word.
#[derive(Debug, Default)]
pub struct Overload {
    since: Option<Instant>,
    taken: u32,
    left_out: u32,
    encoding: Duration,
}

/// Too much for this device.
#[derive(Debug, PartialEq, Eq)]
pub struct Word {
    pub left_out: u32,
    pub taken: u32,
    /// For one picture, in all codecs.
    pub encoding: Duration,
}

impl Overload {
    /// A picture is taken, and those before it that were due since the last one are left out.
    pub fn add_picture(&mut self, left_out: u64) {
        self.taken += 1;
        self.left_out = self.left_out.saturating_add(left_out.try_into().unwrap_or(u32::MAX));
    }

    pub fn add_encoding(&mut self, cost: Duration) {
        self.encoding += cost;
    }

    /// At most once a minute: that a tenth of the pictures is left out, and that it is encoding which
    /// takes the time. A machine that was asleep leaves out pictures, too.
    pub fn poll(&mut self, now: Instant, period: Duration) -> Option<Word> {
        if now < *self.since.get_or_insert(now) + WINDOW {
            return None;
        }
        let Overload { taken, left_out, encoding, .. } = std::mem::take(self);
        let encoding = encoding / taken.max(1);
        let too_much = left_out > taken / 9 && encoding > period.mul_f64(0.8);
        too_much.then_some(Word { left_out, taken, encoding })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(100);

    /// A minute of pictures.
    fn word(left_out: u64, encoding: Duration) -> Option<Word> {
        let (mut overload, start) = (Overload::default(), Instant::now());
        for second in 0..60 {
            overload.add_picture(left_out);
            overload.add_encoding(encoding);
            assert_eq!(overload.poll(start + Duration::from_secs(second), PERIOD), None);
        }
        overload.poll(start + WINDOW, PERIOD)
    }

    #[test]
    fn an_encoder_that_is_too_slow_is_told_of_once_a_minute() {
        let encoding = Duration::from_millis(150);
        assert_eq!(word(1, encoding), Some(Word { left_out: 60, taken: 60, encoding }));
    }

    #[test]
    fn pictures_that_are_left_out_for_another_reason_are_not_told_of() {
        assert_eq!(word(1_000_000, Duration::from_millis(10)), None);
        assert_eq!(word(0, Duration::from_millis(90)), None);
    }
}
