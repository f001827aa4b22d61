//! The addresses that a viewer's STUN messages bring: its own, where its checks come from, and ours,
//! as its responses tell them.
//!
//! ICE makes a candidate of each, keeps it for ever, and pairs those of the viewer with ours. A
//! viewer that sends its checks from thousands of ports would take memory and time without end, so
//! only some of them reach ICE.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::sdp::remote_answer::MAX_CANDIDATES;
use crate::work;

/// The addresses of one viewer at a time: some for each of its interfaces.
pub const MAX_ADDRESSES: usize = 16;
/// There is room for every candidate of a media server.
const _: () = assert!(MAX_CANDIDATES <= MAX_ADDRESSES);
/// New addresses that are taken at once, and how long until one more is. A browser brings its
/// addresses at once, a phone that moves about a new one each time.
const BURST: u32 = MAX_ADDRESSES as u32;
const INTERVAL: Duration = Duration::from_secs(2);
/// New addresses in the life of a viewer. ICE remembers those that it has discarded; a viewer that
/// moves on after that has to connect anew.
const MAX_EVER: usize = 256;
/// Addresses of ours that responses may tell: as many as NATs between us.
const MAX_MAPPED: usize = 16;

#[derive(Debug)]
pub struct LearntAddresses {
    /// Each with its last authentic check, the latest last.
    known: Vec<(SocketAddr, Instant)>,
    ever: usize,
    /// When as many new addresses as there may be at once are allowed again.
    allowance_full_at: Option<Instant>,
    mapped: BTreeSet<SocketAddr>,
}

/// What becomes of an address that an authentic check came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressVerdict {
    Known,
    /// A new one; ICE has to let go of this one for it, if of any.
    New(Option<SocketAddr>),
    TooMany,
}

impl LearntAddresses {
    pub fn new() -> LearntAddresses {
        LearntAddresses {
            known: Vec::new(),
            ever: 0,
            allowance_full_at: None,
            mapped: BTreeSet::new(),
        }
    }

    /// An authentic check came from `address`, while media goes to `selected`, which stays.
    pub fn admit(
        &mut self,
        now: Instant,
        address: SocketAddr,
        selected: Option<SocketAddr>,
    ) -> AddressVerdict {
        let position = self.known.iter().inspect(|_| work::step()).position(|k| k.0 == address);
        if let Some(position) = position {
            self.known.remove(position);
            self.known.push((address, now));
            return AddressVerdict::Known;
        }
        let full_at = self.allowance_full_at.map_or(now, |at| at.max(now)) + INTERVAL;
        if self.ever == MAX_EVER || full_at > now + INTERVAL * BURST {
            return AddressVerdict::TooMany;
        }
        self.allowance_full_at = Some(full_at);
        self.ever += 1;
        let dropped = (self.known.len() == MAX_ADDRESSES).then(|| {
            let oldest = self.known.iter().position(|(known, _)| Some(*known) != selected);
            self.known.remove(oldest.unwrap_or(0)).0
        });
        self.known.push((address, now));
        AddressVerdict::New(dropped)
    }

    /// An authentic response tells this address of ours; whether it may.
    pub fn admit_mapped(&mut self, mapped: SocketAddr) -> bool {
        let room = self.mapped.len() < MAX_MAPPED;
        self.mapped.contains(&mapped) || room && self.mapped.insert(mapped)
    }

    /// An authentic response from `address` is as good as a check.
    pub fn note_response(&mut self, now: Instant, address: SocketAddr) {
        self.known.iter_mut().filter(|(known, _)| *known == address).for_each(|it| it.1 = now);
    }

    /// When an authentic check last came from `address`.
    pub fn last_check(&self, address: SocketAddr) -> Option<Instant> {
        self.known.iter().find(|(known, _)| *known == address).map(|(_, at)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    #[test]
    fn the_least_recently_checked_goes_but_never_the_one_that_media_goes_to() {
        let start = Instant::now();
        let mut addresses = LearntAddresses::new();
        for port in 0..16 {
            assert_eq!(addresses.admit(start, address(port), None), AddressVerdict::New(None));
        }
        assert_eq!(addresses.admit(start, address(1), None), AddressVerdict::Known);
        let later = start + INTERVAL * 16;
        let selected = Some(address(0));
        for (port, dropped) in [(100, 2), (101, 3)] {
            let dropped = Some(address(dropped));
            let admitted = addresses.admit(later, address(port), selected);
            assert_eq!(admitted, AddressVerdict::New(dropped));
        }
    }

    #[test]
    fn new_addresses_are_taken_at_a_rate_and_only_so_many() {
        let start = Instant::now();
        let mut addresses = LearntAddresses::new();
        let mut taken = 0;
        for port in 0..10_000 {
            let admitted = addresses.admit(start, address(port), None);
            taken += usize::from(admitted != AddressVerdict::TooMany);
        }
        assert_eq!(taken, 16);
        for port in 0..10_000 {
            let now = start + INTERVAL * u32::from(port);
            let admitted = addresses.admit(now, address(port + 20_000), None);
            taken += usize::from(admitted != AddressVerdict::TooMany);
        }
        assert_eq!((taken, addresses.known.len()), (MAX_EVER, MAX_ADDRESSES));
    }
}
