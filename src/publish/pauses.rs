//! The pauses between attempts to publish.

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::backoff::Backoff;

/// The longest pauses in seconds; the shortest are half as long. For the first 18 s or more, no pause
/// exceeds 4 s: a server that restarts is found soon.
const PAUSES: [u64; 13] = [2, 2, 4, 4, 4, 4, 4, 4, 4, 4, 8, 16, 30];
/// A session that was live for this long ends a row of failures.
const GOOD_AFTER: Duration = Duration::from_secs(10);

/// The pauses between attempts. They are random, so that devices that have lost the same server do not
/// reconnect all at once.
pub struct Pauses {
    random: ChaCha20Rng,
    backoff: Backoff,
}

impl Pauses {
    pub fn new(seed: [u8; 32]) -> Pauses {
        Pauses { random: ChaCha20Rng::from_seed(seed), backoff: Backoff::new(&PAUSES, GOOD_AFTER) }
    }

    /// Returns the pause, from 1 s to 30 s, after an attempt that was live for `live_for` before it failed.
    pub fn pause_after(&mut self, live_for: Duration) -> Duration {
        let shortest = self.backoff.pause_after(live_for) / 2;
        shortest + shortest.mul_f64(f64::from(self.random.next_u32()) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_from_half_of_the_longest_to_the_longest() {
        let mut pauses = Pauses::new([1; 32]);
        for longest in PAUSES.into_iter().chain([30, 30]) {
            let pause = pauses.pause_after(Duration::ZERO).as_secs_f64();
            let longest = longest as f64;
            assert!((longest / 2.0..=longest).contains(&pause), "{pause}");
        }
        assert!(pauses.pause_after(GOOD_AFTER) <= Duration::from_secs(2));
    }

    #[test]
    fn devices_do_not_reconnect_all_at_once() {
        let mut pauses: Vec<Duration> =
            (0..100).map(|device| Pauses::new([device; 32]).pause_after(Duration::ZERO)).collect();
        pauses.sort();
        let near = pauses.windows(10).filter(|few| few[9] - few[0] < Duration::from_millis(20));
        assert_eq!(near.count(), 0, "{pauses:?}");
    }
}
