//! Who may come in: everything that has a limit.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use super::client::Client;
use super::rate_limit::RateLimit;
use crate::server::Server;
use crate::web::reason::Reason;
use crate::web::refusal::Refusal;
use crate::web::snapshot::NO_PICTURE;
use crate::webrtc::EndReason;

/// How long a source that has failed is taken for failed. A viewer has to watch for it to be tried
/// again.
const SOURCE_RETRY: Duration = Duration::from_secs(2);
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

/// The rates that are limited by client.
pub struct Admission {
    requests: RateLimit,
    offers: RateLimit,
    snapshots: RateLimit,
    refusal_lines: RateLimit,
}

impl Admission {
    pub fn new(limits: &Limits) -> Admission {
        Admission {
            // A request at least for each offer, and one for what comes of it.
            requests: RateLimit::per_second(REQUESTS_PER_SECOND.max(2 * limits.offers_per_second)),
            offers: RateLimit::per_second(limits.offers_per_second),
            snapshots: RateLimit::per_second(SNAPSHOTS_PER_SECOND),
            refusal_lines: RateLimit::per_second(REFUSAL_LINES_PER_SECOND),
        }
    }

    /// A JPEG file is to be encoded for this client. Otherwise, how long it has to wait.
    pub fn take_snapshot(&mut self, client: Client, now: Instant) -> Result<(), Duration> {
        self.snapshots.take(client, now)
    }

    /// How long a request of this client waits for its turn. An error is the longest time, where as many
    /// turns of the client are before it.
    pub fn take_request(&mut self, client: Client, now: Instant) -> Result<Duration, Duration> {
        self.requests.take_within(client, now, REQUEST_WAIT).map_err(|_| REQUEST_WAIT)
    }

    /// A request of this client was refused; whether that is worth a line in the log.
    pub fn note_refusal(&mut self, client: Client, now: Instant) -> bool {
        self.refusal_lines.take(client, now).is_ok()
    }
}

/// An answer to what would be welcome at another time.
pub(crate) fn busy(
    reason: Reason,
    wait: Duration,
    sentence: impl Into<Cow<'static, str>>,
) -> Refusal {
    Refusal::new(503, reason, sentence).retry_after(wait)
}

impl Server {
    pub(crate) fn shutting_down(&self) -> Refusal {
        busy(Reason::ShuttingDown, RETRY_AFTER, "The server is about to end.")
    }

    /// Whether an offer of this client is read at all, or an ICE restart made. Charged before
    /// anything is parsed.
    pub(crate) fn admit_offer(&mut self, now: Instant, client: Client) -> Result<(), Refusal> {
        if self.shutting_down {
            return Err(self.shutting_down());
        }
        self.admission.offers.take(client, now).map_err(|wait| {
            let sentence = "Your address asks too often. Wait a moment.";
            busy(Reason::OfferRate, wait, sentence)
        })
    }

    /// Whether the last capture has failed, and it is too early to try again.
    pub(crate) fn source_has_failed(&self, now: Instant) -> bool {
        self.capture_failed_at.is_some_and(|failed| now < failed + SOURCE_RETRY)
    }

    /// Whether there is room for one more viewer of this client. Where too many are connecting, one of
    /// those makes room.
    pub(crate) fn admit_viewer(&mut self, now: Instant, client: Client) -> Result<(), Refusal> {
        if self.source_has_failed(now) {
            let refusal = Refusal::new(409, Reason::NoSource, NO_PICTURE);
            return Err(refusal.retry_after(RETRY_AFTER));
        }
        let limits = &self.config.limits;
        let (most, most_of_client) = (limits.viewers, limits.viewers_per_address);
        let most_half_open = limits.half_open;
        if self.viewers.count_of(client) >= most_of_client && !client.is_many {
            let sentence = format!(
                "Your address has {most_of_client} viewers already. Close a tab that shows this \
                 picture.",
            );
            return Err(busy(Reason::ViewersPerAddress, RETRY_AFTER, sentence));
        }
        if self.viewers.asked() >= most {
            let sentence =
                format!("All places ({most}) are taken. Try again when a viewer has left.");
            return Err(busy(Reason::Viewers, RETRY_AFTER, sentence));
        }
        if self.viewers.half_open() >= most_half_open
            && let Some(id) = self.viewers.half_open_to_end()
        {
            self.with_viewer(now, id, |viewer| viewer.end(now, EndReason::Displaced));
        }
        Ok(())
    }
}
