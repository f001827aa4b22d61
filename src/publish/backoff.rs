//! When a media server is tried again.

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The longest pauses, in seconds, after the first failure, after the second, and so on; the last one
/// holds for all that follow. The shortest is half of it. A server that is restarted is found soon: for
/// the first 18 s or more, no pause is longer than 4 s.
const PAUSES: [u64; 13] = [2, 2, 4, 4, 4, 4, 4, 4, 4, 4, 8, 16, 30];
/// After a session that was live for so long, a failure is taken for the first one.
const GOOD_AFTER: Duration = Duration::from_secs(10);

/// The pauses between attempts. They are drawn, so that devices that have lost the same server do not
/// come back all at once.
pub struct Backoff {
    random: ChaCha20Rng,
    failures: usize,
}

impl Backoff {
    pub fn new(seed: [u8; 32]) -> Backoff {
        Backoff { random: ChaCha20Rng::from_seed(seed), failures: 0 }
    }

    /// An attempt has failed, after it was live for so long: how long until the next one, from 1 s to
    /// 30 s.
    pub fn pause_after(&mut self, live_for: Duration) -> Duration {
        if live_for >= GOOD_AFTER {
            self.failures = 0;
        }
        let longest = Duration::from_secs(PAUSES[self.failures.min(PAUSES.len() - 1)]);
        let shortest = longest / 2;
        self.failures += 1;
        shortest + shortest.mul_f64(f64::from(self.random.next_u32()) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_a_second_to_half_a_minute_and_begin_again_after_a_good_session() {
        let mut backoff = Backoff::new([1; 32]);
        for longest in PAUSES.into_iter().chain([30, 30]) {
            let pause = backoff.pause_after(Duration::ZERO).as_secs_f64();
            let longest = longest as f64;
            assert!((longest / 2.0..=longest).contains(&pause), "{pause}");
        }
        assert!(backoff.pause_after(GOOD_AFTER) <= Duration::from_secs(2));
    }

    #[test]
    fn devices_do_not_come_back_all_at_once() {
        let mut pauses: Vec<Duration> =
            (0..100).map(|device| Backoff::new([device; 32]).pause_after(Duration::ZERO)).collect();
        pauses.sort();
        let near = pauses.windows(10).filter(|few| few[9] - few[0] < Duration::from_millis(20));
        assert_eq!(near.count(), 0, "{pauses:?}");
    }
}
