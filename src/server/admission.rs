//! Who may come in: everything that has a limit, and the bucket that limits a rate.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Server;
use crate::http::Response;
use crate::refusal::Reason;

/// How long a source that has failed is taken for failed. A viewer has to watch for it to be tried
/// again.
const SOURCE_RETRY: Duration = Duration::from_secs(2);
/// What a refused client is told to wait when it is not known better.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Refusals of one address that are logged; all are counted.
const REFUSAL_LINES_PER_SECOND: u32 = 1;
/// Wrong tokens of one address that are compared, one after the other, and how long until one more
/// is.
const WRONG_TOKENS: u32 = 5;
const WRONG_TOKEN_INTERVAL: Duration = Duration::from_secs(12);

/// How much of everything there may be. [`Limits::default`] suits a small device.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Viewers, half-open ones included.
    pub viewers: usize,
    /// Viewers from one IP address.
    pub viewers_per_address: usize,
    /// Viewers that have an answer but are not connected.
    pub half_open: usize,
    /// TCP connections. One more closes the idle one that is oldest.
    pub connections: usize,
    /// TCP connections from one IP address. A browser opens up to six for each tab.
    pub connections_per_address: usize,
    /// Offers a second from one IP address, with bursts of twice as many.
    pub offers_per_second: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::for_viewers(50)
    }
}

impl Limits {
    /// Limits that let `viewers` watch, a tenth of them at least from one address.
    pub fn for_viewers(viewers: usize) -> Limits {
        Limits {
            viewers,
            viewers_per_address: 10,
            half_open: (viewers / 2).max(8),
            connections: 64 + viewers,
            connections_per_address: 32,
            offers_per_second: 10,
        }
    }
}

/// The rates that are limited by address.
pub struct Admission {
    offers: RateLimit,
    refusal_lines: RateLimit,
    wrong_tokens: RateLimit,
}

impl Admission {
    pub fn new(limits: &Limits) -> Admission {
        Admission {
            offers: RateLimit::per_second(limits.offers_per_second),
            refusal_lines: RateLimit::per_second(REFUSAL_LINES_PER_SECOND),
            wrong_tokens: RateLimit::new(WRONG_TOKENS, WRONG_TOKEN_INTERVAL),
        }
    }

    /// How long an address has to wait after too many wrong tokens.
    pub fn wrong_token_wait(&self, peer: IpAddr, now: Instant) -> Option<Duration> {
        self.wrong_tokens.wait(peer, now)
    }

    /// A request of this address was refused; whether that is worth a line in the log.
    pub fn note_refusal(&mut self, reason: Reason, peer: IpAddr, now: Instant) -> bool {
        if reason == Reason::TokenWrong {
            // There is a token to take, or the reason would be another.
            let _ = self.wrong_tokens.take(peer, now);
        }
        self.refusal_lines.take(peer, now).is_ok()
    }
}

impl Server {
    /// Whether there is room for one more viewer from `client`.
    pub(super) fn admit_viewer(&mut self, now: Instant, client: IpAddr) -> Result<(), Response> {
        let limits = &self.config.limits;
        let busy = |reason, wait: Duration, sentence: &str| {
            Err(Response::problem(503, reason, sentence).retry_after(wait))
        };
        if self.shutting_down {
            return busy(Reason::ShuttingDown, RETRY_AFTER, "The server is about to end.");
        }
        if self.capture_failed_at.is_some_and(|failed| now < failed + SOURCE_RETRY) {
            let sentence = "There is no picture: the camera or the encoder on the device has \
                            failed. Its log says why.";
            return Err(Response::problem(409, Reason::NoSource, sentence).retry_after(RETRY_AFTER));
        }
        if self.viewers.len() >= limits.viewers {
            let sentence = format!(
                "All places ({}) are taken (--max-viewers). Try again when a viewer has left.",
                limits.viewers
            );
            return busy(Reason::Viewers, RETRY_AFTER, &sentence);
        }
        if self.viewers.count_from(client) >= limits.viewers_per_address {
            let sentence = format!(
                "Your address has {} viewers already (--max-viewers-per-address). Close a tab.",
                limits.viewers_per_address
            );
            return busy(Reason::ViewersPerAddress, RETRY_AFTER, &sentence);
        }
        if self.viewers.counts().half_open() >= limits.half_open {
            let sentence = "Too many browsers are connecting at once. Try again in a moment.";
            return busy(Reason::HalfOpenViewers, RETRY_AFTER, sentence);
        }
        if let Err(wait) = self.admission.offers.take(client, now) {
            let sentence = "Your address asks too often (--max-offers-per-second).";
            return busy(Reason::OfferRate, wait, sentence);
        }
        Ok(())
    }
}

/// A token bucket for each IP address. Addresses whose bucket is full are forgotten.
#[derive(Debug)]
pub struct RateLimit {
    /// How long it takes for one token to come back.
    interval: Duration,
    /// From an empty bucket to a full one.
    burst: Duration,
    /// When each address's bucket will be full again.
    full_at: BTreeMap<IpAddr, Instant>,
}

/// Forget what is full once this many addresses are known.
const SWEEP_ABOVE: usize = 256;
/// No more addresses than this are told apart; beyond it every new one is refused until the
/// buckets of others have filled. A local network has fewer.
const MAX_ADDRESSES: usize = 4_096;

impl RateLimit {
    /// A bucket of `size` tokens, to which one comes back each `interval`.
    pub fn new(size: u32, interval: Duration) -> RateLimit {
        RateLimit { interval, burst: interval * size, full_at: BTreeMap::new() }
    }

    /// As many a second, and twice as many at once.
    pub fn per_second(rate: u32) -> RateLimit {
        let rate = rate.max(1);
        RateLimit::new(2 * rate, Duration::from_secs(1) / rate)
    }

    /// Takes a token, or says how long to wait for one.
    pub fn take(&mut self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        if self.full_at.len() >= SWEEP_ABOVE {
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        self.wait(address, now).map_or(Ok(()), Err)?;
        let full_at = self.full_at.get(&address).map_or(now, |at| (*at).max(now));
        self.full_at.insert(address, full_at + self.interval);
        Ok(())
    }

    /// How long to wait for a token, if there is none to take now.
    pub fn wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let Some(full_at) = self.full_at.get(&address) else {
            let no_room = self.full_at.len() >= MAX_ADDRESSES
                && self.full_at.values().all(|full_at| *full_at > now);
            return no_room.then_some(self.burst);
        };
        let taken = (*full_at).max(now) + self.interval;
        let over = taken.saturating_duration_since(now + self.burst);
        (!over.is_zero()).then_some(over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_twice_the_rate_then_the_rate() {
        let start = Instant::now();
        let address = IpAddr::from([192, 0, 2, 1]);
        let mut limit = RateLimit::per_second(5);
        let burst = (0..100).filter(|_| limit.take(address, start).is_ok()).count();
        assert_eq!(burst, 10);
        let mut taken = 0;
        for ms in (0..10_000).step_by(10) {
            let now = start + Duration::from_millis(ms);
            taken += usize::from(limit.take(address, now).is_ok());
        }
        assert!((48..=51).contains(&taken), "{taken}");
    }

    #[test]
    fn one_address_does_not_use_up_the_tokens_of_another_and_the_wait_is_true() {
        let start = Instant::now();
        let (greedy, modest) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut limit = RateLimit::per_second(1);
        while limit.take(greedy, start).is_ok() {}
        let wait = limit.take(greedy, start).unwrap_err();
        assert!(limit.take(modest, start).is_ok());
        assert!(limit.take(greedy, start + wait).is_ok());
    }

    #[test]
    fn addresses_are_forgotten_when_their_bucket_is_full() {
        let start = Instant::now();
        let mut limit = RateLimit::per_second(10);
        for n in 0..100_000u32 {
            let now = start + Duration::from_millis(u64::from(n));
            let _ = limit.take(IpAddr::from(n.to_be_bytes()), now);
        }
        assert!(limit.full_at.len() <= MAX_ADDRESSES);
    }

    #[test]
    fn looking_takes_nothing_and_sees_the_room_that_time_has_made() {
        let start = Instant::now();
        let mut limit = RateLimit::new(5, Duration::from_secs(12));
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        for n in 0..MAX_ADDRESSES as u32 {
            assert_eq!(limit.wait(address(n), start), None);
            assert_eq!(limit.take(address(n), start), Ok(()));
        }
        let new = address(u32::MAX);
        assert!(limit.wait(new, start).is_some() && limit.take(new, start).is_err());
        assert_eq!(limit.wait(address(0), start), None, "it has four left");
        let later = start + Duration::from_secs(12);
        assert_eq!(limit.wait(new, later), None);
        assert_eq!(limit.take(new, later), Ok(()));
    }
}
