//! When something authentic last came from a viewer, and which pair its media takes.
//!
//! A datagram proves nothing by arriving: an attacker could forge the source address, and keep media flowing to
//! it. Only STUN messages with a valid integrity count, and SRTCP that str0m has decrypted.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::AddressPair;

/// How long a viewer may take to connect after its answer. Browsers give up after 15 s.
pub const HALF_OPEN_LIMIT: Duration = Duration::from_secs(10);
/// Media stops after this long without anything authentic. We check the path every second
/// (`CHECK_INTERVAL`), browsers every 2.5 s (libwebrtc's
/// `STRONG_AND_STABLE_WRITABLE_CONNECTION_PING_INTERVAL`).
pub const SILENT_AFTER: Duration = Duration::from_secs(5);
/// The path was interrupted after this long without anything authentic. More than `CHECK_INTERVAL` and a
/// round trip.
const INTERRUPTED_AFTER: Duration = Duration::from_millis(1_500);
/// A viewer is gone after this long without anything authentic.
pub const GONE_AFTER: Duration = Duration::from_millis(9_500);
/// How long media may go to a pair after its last authentic STUN message, whatever comes from other
/// addresses: the consent of RFC 7675, section 5.1.
pub const CONSENT: Duration = Duration::from_secs(30);
/// A viewer that responds to a check from a new address has moved if no authentic STUN message came from
/// the selected pair for this long: it changed networks, or its NAT binding expired. More than
/// `CHECK_INTERVAL` and a round trip.
const MOVED_AFTER: Duration = Duration::from_millis(1_500);
/// We reconnect to a media server after this long without anything authentic. Three of our checks: a
/// server that restarts may be back before that, and does not know the session.
const LOST_AFTER: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub struct Activity {
    last: Instant,
    /// The pair that media takes.
    selected: Option<AddressPair>,
    /// When an authentic STUN message last came from the selected pair, or it was selected.
    pair_last: Instant,
    /// ICE has restarted, and no STUN message with the new credentials has come from the selected pair.
    ice_restarting: bool,
    /// The time of str0m's last statistics.
    statistics_at: Instant,
}

impl Activity {
    pub fn new(now: Instant) -> Activity {
        Activity {
            last: now,
            selected: None,
            pair_last: now,
            ice_restarting: false,
            statistics_at: now,
        }
    }

    /// Records that something authentic came at `at`.
    pub fn note(&mut self, at: Instant) {
        self.last = self.last.max(at);
    }

    /// Records an authentic STUN message. Returns whether the path was interrupted before.
    pub fn note_stun(&mut self, now: Instant, pair: AddressPair) -> bool {
        let interrupted = now >= self.last + INTERRUPTED_AFTER;
        self.note(now);
        if self.selected == Some(pair) {
            self.pair_last = now;
            self.ice_restarting = false;
        }
        interrupted
    }

    /// Records statistics of str0m. `reported` tells whether a receiver report has come since the last
    /// ones; it may have come just after those.
    pub fn note_statistics(&mut self, at: Instant, reported: bool) {
        if reported {
            self.note(self.statistics_at);
        }
        self.statistics_at = at;
    }

    pub fn note_ice_restart(&mut self) {
        self.ice_restarting = true;
    }

    /// Media goes to this pair, as a datagram that leaves shows. `last_check` is when an authentic STUN
    /// message last came from there.
    pub fn select(&mut self, pair: AddressPair, last_check: impl FnOnce() -> Instant) {
        if self.selected != Some(pair) {
            self.selected = Some(pair);
            self.pair_last = last_check();
            self.ice_restarting = false;
        }
    }

    pub fn selected(&self) -> Option<AddressPair> {
        self.selected
    }

    /// Whether a viewer that responds to a check from `remote` has left the address that media goes to.
    pub fn has_moved(&self, now: Instant, remote: SocketAddr) -> bool {
        let elsewhere = self.selected.is_some_and(|pair| pair.remote != remote);
        elsewhere && (self.ice_restarting || now >= self.pair_last + MOVED_AFTER)
    }

    /// When media stops.
    pub fn silent_at(&self) -> Instant {
        self.consent_until(SILENT_AFTER)
    }

    /// When we give up a media server.
    pub fn lost_at(&self) -> Instant {
        self.consent_until(LOST_AFTER)
    }

    fn consent_until(&self, quiet: Duration) -> Instant {
        let quiet = self.last + quiet;
        if self.selected.is_none() { quiet } else { quiet.min(self.pair_last + CONSENT) }
    }

    pub fn gone_at(&self) -> Instant {
        self.last + GONE_AFTER
    }
}
