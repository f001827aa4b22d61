//! When something authentic last came from a viewer, and where its media goes.
//!
//! A datagram proves nothing by arriving: with a forged source address an attacker could keep media flowing to it.
//! What counts is a STUN message with a valid integrity, and SRTCP that str0m has decrypted.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::AddressPair;

/// A viewer that is not connected this long after its answer is given up. Browsers give up a
/// connection of their own after 15 s.
pub const HALF_OPEN_LIMIT: Duration = Duration::from_secs(10);
/// Nothing authentic for this long: no more media. We check the path every second
/// (`CHECK_INTERVAL`), browsers every 2.5 s (libwebrtc's
/// `STRONG_AND_STABLE_WRITABLE_CONNECTION_PING_INTERVAL`).
pub const SILENT_AFTER: Duration = Duration::from_secs(5);
/// Nothing authentic for this long: the path was interrupted. More than `CHECK_INTERVAL` and a round
/// trip.
const INTERRUPTED_AFTER: Duration = Duration::from_millis(1_500);
/// Nothing authentic for this long: gone.
pub const GONE_AFTER: Duration = Duration::from_millis(9_500);
/// How long media goes to an address after the last authentic STUN message from that very pair,
/// whatever comes from elsewhere: consent to receive it (RFC 7675, section 5.1).
pub const CONSENT: Duration = Duration::from_secs(30);
/// A viewer that answers a check from a new address, and of which no authentic STUN message came
/// from the selected pair for this long, has moved: it changed networks, or a NAT forgot it. More
/// than `CHECK_INTERVAL` and a round trip.
const MOVED_AFTER: Duration = Duration::from_millis(1_500);
/// Nothing authentic of a media server for this long: it, or the path to it, is gone, and it is asked
/// anew. Three of our checks; a server that was killed may be back before that, and knows us no more.
const LOST_AFTER: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub struct Activity {
    last: Instant,
    /// Where media goes.
    selected: Option<AddressPair>,
    /// When an authentic STUN message last came from the selected pair, or it was selected.
    pair_last: Instant,
    /// ICE credentials have changed, and the selected pair has not shown the new ones yet.
    ice_restarting: bool,
    /// When str0m made its last statistics.
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

    /// Something authentic came at `at`.
    pub fn note(&mut self, at: Instant) {
        self.last = self.last.max(at);
    }

    /// An authentic STUN message came. Returns whether there was nothing for so long before that the
    /// path must have been interrupted.
    pub fn note_stun(&mut self, now: Instant, pair: AddressPair) -> bool {
        let interrupted = now >= self.last + INTERRUPTED_AFTER;
        self.note(now);
        if self.selected == Some(pair) {
            self.pair_last = now;
            self.ice_restarting = false;
        }
        interrupted
    }

    /// str0m made its statistics; `reported` says whether a receiver report has come since the last
    /// ones. It may have come just after those.
    pub fn note_statistics(&mut self, at: Instant, reported: bool) {
        if reported {
            self.note(self.statistics_at);
        }
        self.statistics_at = at;
    }

    pub fn note_ice_restart(&mut self) {
        self.ice_restarting = true;
    }

    /// Media goes here, as a datagram that leaves has told. An authentic STUN message last came from
    /// there at `last`.
    pub fn select(&mut self, pair: AddressPair, last: Instant) {
        if self.selected.replace(pair) != Some(pair) {
            self.pair_last = last;
            self.ice_restarting = false;
        }
    }

    pub fn selected(&self) -> Option<AddressPair> {
        self.selected
    }

    /// Whether a viewer that answers a check from `remote` is no longer where its media goes.
    pub fn has_moved(&self, now: Instant, remote: SocketAddr) -> bool {
        let elsewhere = self.selected.is_some_and(|pair| pair.remote != remote);
        elsewhere && (self.ice_restarting || now >= self.pair_last + MOVED_AFTER)
    }

    /// When media stops.
    pub fn silent_at(&self) -> Instant {
        self.consent_until(SILENT_AFTER)
    }

    /// When a media server is given up.
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
