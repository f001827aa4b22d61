//! Token buckets, which limit rates.

use std::time::{Duration, Instant};

use super::client::Client;
use crate::server::timers::Timers;
use crate::work;

/// A token bucket for each key, by default a client. Keys whose bucket is full are forgotten.
#[derive(Debug)]
pub struct RateLimit<K = Client> {
    /// The time in which one token returns.
    interval: Duration,
    /// The time in which an empty bucket fills up.
    burst: Duration,
    /// The times at which the buckets are full again.
    full_at: Timers<K>,
}

/// The most keys that are tracked. Beyond, the key whose bucket is full first is forgotten: an attacker that
/// floods the table with addresses gains a few tokens, and locks out nobody.
const MAX_KEYS: usize = 4_096;

impl<K: Ord + Copy> RateLimit<K> {
    /// Buckets of `size` tokens, to which one returns per `interval`.
    pub fn new(size: u32, interval: Duration) -> RateLimit<K> {
        RateLimit { interval, burst: interval * size, full_at: Timers::new() }
    }

    /// Buckets for this many tokens per second, in bursts of twice as many.
    pub fn per_second(rate: u32) -> RateLimit<K> {
        let rate = rate.max(1);
        RateLimit::new(2 * rate, Duration::from_secs(1) / rate)
    }

    /// Takes a token.
    ///
    /// # Errors
    /// There is none: how long to wait for one.
    pub fn take(&mut self, key: K, now: Instant) -> Result<(), Duration> {
        self.take_within(key, now, Duration::ZERO).map(drop)
    }

    /// Takes a token that is there or returns within `most`. Returns the time until then, so that each of those
    /// that wait has its own turn.
    ///
    /// # Errors
    /// None returns in that time, and none is taken: how long it would take.
    pub fn take_within(
        &mut self,
        key: K,
        now: Instant,
        most: Duration,
    ) -> Result<Duration, Duration> {
        while self.full_at.take_due(now).is_some() {
            work::step();
        }
        let wait = self.wait(key, now).unwrap_or_default();
        if wait > most {
            return Err(wait);
        }
        let full_at = self.full_at.of(key).map_or(now, |at| at.max(now));
        self.full_at.set(key, Some(full_at + self.interval));
        if self.full_at.len() > MAX_KEYS {
            self.full_at.take_first();
        }
        Ok(wait)
    }

    /// How long to wait for a token, or `None` if there is one.
    pub fn wait(&self, key: K, now: Instant) -> Option<Duration> {
        let full_at = self.full_at.of(key)?;
        let taken = full_at.max(now) + self.interval;
        let over = taken.saturating_duration_since(now + self.burst);
        (!over.is_zero()).then_some(over)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn client(number: u32) -> Client {
        Client::at(IpAddr::from(number.to_be_bytes()), [])
    }

    #[test]
    fn a_burst_of_twice_the_rate_then_the_rate() {
        let start = Instant::now();
        let mut limit = RateLimit::per_second(5);
        let burst = (0..100).filter(|_| limit.take(client(1), start).is_ok()).count();
        assert_eq!(burst, 10);
        let mut taken = 0;
        for ms in (0..10_000).step_by(10) {
            let now = start + Duration::from_millis(ms);
            taken += usize::from(limit.take(client(1), now).is_ok());
        }
        assert!((48..=51).contains(&taken), "{taken}");
    }

    #[test]
    fn one_client_does_not_use_up_the_tokens_of_another_and_the_wait_is_true() {
        let start = Instant::now();
        let (greedy, modest) = (client(1), client(2));
        let mut limit = RateLimit::per_second(1);
        while limit.take(greedy, start).is_ok() {}
        let wait = limit.take(greedy, start).unwrap_err();
        assert!(limit.take(modest, start).is_ok());
        assert!(limit.take(greedy, start + wait).is_ok());
    }

    #[test]
    fn those_that_wait_have_turns_one_after_the_other_and_none_is_further_away_than_the_limit() {
        let start = Instant::now();
        let mut limit = RateLimit::per_second(10);
        let second = Duration::from_secs(1);
        let turns: Vec<_> =
            (0..1_000).map_while(|_| limit.take_within(client(1), start, second).ok()).collect();
        assert_eq!(turns.len(), 20 + 10);
        assert!(turns[..20].iter().all(Duration::is_zero), "a burst");
        let steps = turns[20..].iter().zip(1..).all(|(turn, n)| *turn == second / 10 * n);
        assert!(steps, "{turns:?}");
        let later = start + second / 10;
        assert_eq!(limit.take_within(client(1), later, second), Ok(second));
    }

    #[test]
    fn clients_are_forgotten_when_their_bucket_is_full() {
        let start = Instant::now();
        let mut limit = RateLimit::per_second(10);
        for n in 0..100_000u32 {
            let _ = limit.take(client(n), start + Duration::from_millis(u64::from(n)));
        }
        assert!(limit.full_at.len() <= 101, "{}", limit.full_at.len());
    }

    #[test]
    fn a_full_table_refuses_nobody_and_forgets_the_least_of_its_debtors() {
        let start = Instant::now();
        let mut limit = RateLimit::new(5, Duration::from_secs(12));
        let greedy = client(u32::MAX);
        while limit.take(greedy, start).is_ok() {}
        for n in 0..2 * MAX_KEYS as u32 {
            assert_eq!(limit.take(client(n), start), Ok(()));
        }
        assert_eq!(limit.full_at.len(), MAX_KEYS);
        assert!(limit.wait(greedy, start).is_some(), "its debt is the largest");
    }

    #[test]
    fn a_token_costs_the_same_work_however_many_clients_are_known() {
        let start = Instant::now();
        let mut limit = RateLimit::new(5, Duration::from_secs(12));
        for n in 0..50_000 {
            let (steps, _) = work::steps_of(|| limit.take(client(n), start));
            assert!(steps <= 1, "{steps}");
        }
    }
}
