//! The peer-reflexive addresses of a viewer's STUN messages: its own, which its checks come from, and ours,
//! which its responses name.
//!
//! ICE keeps a candidate for each for ever, and pairs those of the viewer with ours. A viewer that sent
//! checks from thousands of ports would take unbounded memory and time, so only some of them reach ICE.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::sdp::remote_answer::MAX_CANDIDATES;
use crate::work;

/// The most addresses that a viewer may have at a time: some for each of its interfaces.
pub const MAX_ADDRESSES: usize = 16;
/// There is room for every candidate of a media server.
const _: () = assert!(MAX_CANDIDATES <= MAX_ADDRESSES);
/// How many new addresses may come at once, and the time until another may. A browser uses all of its
/// addresses at once, a phone that moves gets a new one each time.
const BURST: u32 = MAX_ADDRESSES as u32;
const INTERVAL: Duration = Duration::from_secs(2);
/// The most addresses in the life of a viewer, as ICE remembers those that it has discarded. A viewer that
/// moves on after that has to reconnect.
const MAX_EVER: usize = 256;
/// The most addresses of ours that responses may name: one for each NAT between us.
const MAX_MAPPED: usize = 16;

#[derive(Debug)]
pub struct LearntAddresses {
    /// Each with the time of its last authentic check, in that order.
    known: Vec<(SocketAddr, Instant)>,
    ever: usize,
    /// When `BURST` new addresses may come at once again.
    allowance_full_at: Option<Instant>,
    mapped: BTreeSet<SocketAddr>,
}

/// Whether an address that an authentic check came from is admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressVerdict {
    Known,
    /// A new address. ICE has to discard this one for it, if any.
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

    /// Handles an authentic check from `address`. Never drops `selected`, which media goes to.
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

    /// Whether an authentic response may name this address of ours.
    pub fn admit_mapped(&mut self, mapped: SocketAddr) -> bool {
        let room = self.mapped.len() < MAX_MAPPED;
        self.mapped.contains(&mapped) || room && self.mapped.insert(mapped)
    }

    /// Counts an authentic response from `address` as a check.
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
