//! Who may come in: everything that has a limit.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::client::Client;
use super::guesses::Guesses;
use super::rate_limit::RateLimit;
use crate::web::reason::Reason;
use crate::web::refusal::Refusal;

/// What a refused client is told to wait when it is not known better.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Refusals of one client that are logged; all are counted.
const REFUSAL_LINES_PER_SECOND: u32 = 1;
/// Requests that are served for one client, a second, and twice as many at once; those beyond wait.
/// A page asks for six files and then once a second; 50 viewers behind one address stay below. A
/// request costs 10 to 300 µs on a PC.
const REQUESTS_PER_SECOND: u32 = 100;
/// The turns that a client can have ahead of it: more than its connections need, and a bound to what
/// those that are gone again leave behind.
const REQUEST_WAIT: Duration = Duration::from_secs(1);
/// JPEG files that are encoded for one client, a second, and twice as many at once. Those that others
/// asked for already count for nobody.
const SNAPSHOTS_PER_SECOND: u32 = 10;

/// How much of everything there may be. [`Limits::default`] suits a small device.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Viewers, half-open ones included.
    pub viewers: usize,
    /// Viewers of one [`Client`].
    pub viewers_per_address: usize,
    /// Viewers that have an answer but are not connected. One more ends the oldest of the client
    /// that has most of them.
    pub half_open: usize,
    /// TCP connections. One more closes the idle one that is oldest.
    pub connections: usize,
    /// TCP connections of one client. A browser opens up to six for each tab.
    pub connections_per_address: usize,
    /// Offers a second of one client, with bursts of twice as many.
    pub offers_per_second: u32,
    /// Connections with a stream of pictures, those that wait for the first one included.
    pub mjpeg_clients: usize,
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
            mjpeg_clients: 8,
        }
    }
}

/// Who may come in: limits, rates, wrong tokens, and what was refused.
pub(crate) struct Admission {
    limits: Limits,
    requests: RateLimit,
    offers: RateLimit,
    snapshots: RateLimit,
    refusal_lines: RateLimit,
    pub(crate) guesses: Guesses,
    refusals: BTreeMap<Reason, u64>,
}

/// How many viewers there are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Occupancy {
    pub(crate) viewers: usize,
    /// Of the client that asks for a place.
    pub(crate) of_client: usize,
    pub(crate) half_open: usize,
}

/// A place for one more viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Free,
    /// After the [half-open viewer](crate::server::viewers::ViewerTable::half_open_to_end) that makes room
    /// has ended.
    OfHalfOpen,
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Admission {
        Admission {
            // A request at least for each offer, and one for what comes of it.
            requests: RateLimit::per_second(REQUESTS_PER_SECOND.max(2 * limits.offers_per_second)),
            offers: RateLimit::per_second(limits.offers_per_second),
            snapshots: RateLimit::per_second(SNAPSHOTS_PER_SECOND),
            refusal_lines: RateLimit::per_second(REFUSAL_LINES_PER_SECOND),
            guesses: Guesses::new(),
            refusals: BTreeMap::new(),
            limits,
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many requests were refused since the start, by why.
    pub(crate) fn refusals(&self) -> &BTreeMap<Reason, u64> {
        &self.refusals
    }

    /// A JPEG file is to be encoded for this client.
    ///
    /// # Errors
    /// The client asks too often: how long it has to wait.
    pub(crate) fn take_snapshot(&mut self, client: Client, now: Instant) -> Result<(), Duration> {
        self.snapshots.take(client, now)
    }

    /// How long a request of this client waits for its turn.
    ///
    /// # Errors
    /// The longest time, where as many turns of the client are before it.
    pub(crate) fn take_request(
        &mut self,
        client: Client,
        now: Instant,
    ) -> Result<Duration, Duration> {
        self.requests.take_within(client, now, REQUEST_WAIT).map_err(|_| REQUEST_WAIT)
    }

    /// Charges an offer or an ICE restart, before anything of it is parsed.
    ///
    /// # Errors
    /// The client asks too often.
    pub(crate) fn take_offer(&mut self, client: Client, now: Instant) -> Result<(), Refusal> {
        self.offers.take(client, now).map_err(|wait| {
            let sentence = "Too many requests from your address. Wait a moment.";
            busy(Reason::OfferRate, wait, sentence)
        })
    }

    /// Finds a place for one more viewer of this client. Where too many are connecting, one of those makes
    /// room.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn place_for(&self, client: Client, occupancy: Occupancy) -> Result<Place, Refusal> {
        let Limits { viewers: most, viewers_per_address: most_of_client, .. } = self.limits;
        if occupancy.of_client >= most_of_client && !client.is_many {
            let sentence = format!(
                "Your address already has {most_of_client} viewers. Close a tab that shows this \
                 picture.",
            );
            return Err(busy(Reason::ViewersPerAddress, RETRY_AFTER, sentence));
        }
        if occupancy.viewers >= most {
            let sentence =
                format!("All places ({most}) are taken. Try again when a viewer has left.");
            return Err(busy(Reason::Viewers, RETRY_AFTER, sentence));
        }
        let is_crowded = occupancy.half_open >= self.limits.half_open;
        Ok(if is_crowded { Place::OfHalfOpen } else { Place::Free })
    }

    /// Counts a refused request of this client. Returns whether it is worth a line in the log.
    pub(crate) fn note_refusal(&mut self, reason: Reason, client: Client, now: Instant) -> bool {
        *self.refusals.entry(reason).or_default() += 1;
        self.refusal_lines.take(client, now).is_ok()
    }
}

/// A refusal of what would be accepted at another time.
pub(crate) fn busy(
    reason: Reason,
    wait: Duration,
    sentence: impl Into<Cow<'static, str>>,
) -> Refusal {
    Refusal::new(503, reason, sentence).retry_after(wait)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn client(number: u8) -> Client {
        Client::at(IpAddr::from([10, 0, 0, number]), [])
    }

    fn admission() -> Admission {
        let limits =
            Limits { viewers: 4, viewers_per_address: 2, half_open: 3, ..Limits::default() };
        Admission::new(limits)
    }

    #[test]
    fn places_end_by_client_then_for_everybody_and_half_open_viewers_make_room() {
        let admission = admission();
        let place = |client: Client, viewers, of_client, half_open| {
            let occupancy = Occupancy { viewers, of_client, half_open };
            admission.place_for(client, occupancy).map_err(|refusal| refusal.status)
        };
        assert_eq!(place(client(1), 1, 1, 1), Ok(Place::Free));
        assert_eq!(place(client(1), 2, 2, 1), Err(503));
        assert_eq!(place(client(1).of_many(true), 2, 2, 1), Ok(Place::Free));
        assert_eq!(place(client(2), 4, 0, 0), Err(503));
        assert_eq!(place(client(2), 3, 0, 3), Ok(Place::OfHalfOpen));
    }

    #[test]
    fn all_refusals_are_counted_and_one_a_second_of_a_client_is_logged() {
        let (mut admission, now) = (admission(), Instant::now());
        let logged = (0..10).filter(|_| admission.note_refusal(Reason::Viewers, client(1), now));
        assert_eq!(logged.count(), 2, "twice as many at once");
        assert!(admission.note_refusal(Reason::OfferRate, client(2), now));
        assert_eq!(admission.refusals()[&Reason::Viewers], 10);
    }
}
