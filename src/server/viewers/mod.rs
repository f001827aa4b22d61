//! The table of viewers: one struct owns the entries and everything that they are found by.

mod checks;
mod entry;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::time::Instant;

use self::checks::Checks;
pub(crate) use self::entry::{ViewerCounts, ViewerEntry, ViewerRole, Watcher, WhepSession};
use super::Output;
use super::limits::admission::Limits;
use super::limits::client::{Client, oldest_of_largest};
use super::outbox::{Outbox, Timer};
use crate::media::Codec;
use crate::publish::TargetId;
use crate::sdp::offer::SessionKey;
use crate::webrtc::viewer::Viewer;
use crate::webrtc::{
    EndReason, MAX_ADDRESSES, TransId, ViewerCounters, ViewerEffect, ViewerId, ViewerState,
};

/// What a change of a viewer means to the rest of the server.
#[derive(Debug)]
pub(crate) struct ViewerChange {
    pub(crate) codec: Codec,
    /// The media server that it is.
    pub(crate) target: Option<TargetId>,
    /// ICE and DTLS are up: it has nothing to decode yet.
    pub(crate) has_connected: bool,
    /// It has lost its picture.
    pub(crate) requests_keyframe: bool,
    /// It has shown that it has no certificate of ECDSA.
    pub(crate) lacks_certificate: bool,
    /// It watches, or watches no more.
    pub(crate) changes_audience: bool,
    /// It is no longer in the table.
    pub(crate) ended: Option<Ended>,
}

/// The end of a viewer.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) reason: EndReason,
    pub(crate) sent: ViewerCounters,
}

#[derive(Default)]
pub struct ViewerTable {
    /// Boxed, so that a search touches little memory.
    entries: BTreeMap<ViewerId, Box<ViewerEntry>>,
    counts: ViewerCounts,
    /// How many viewers have been in the table.
    admitted: u64,
    /// How many of them are no media servers.
    watchers: usize,
    /// How many of them each client has.
    by_client: BTreeMap<Client, usize>,
    /// Those of them that are half-open.
    half_open: BTreeMap<ViewerId, Client>,
    by_address: BTreeMap<SocketAddr, ViewerId>,
    checks: Checks,
    by_ufrag: BTreeMap<String, ViewerId>,
    by_whep_key: BTreeMap<String, ViewerId>,
    by_client_id: BTreeMap<String, ViewerId>,
    by_session_key: BTreeMap<SessionKey, ViewerId>,
    /// How many have connected, how many have ended and why, and what those were sent. Without media
    /// servers.
    served: u64,
    ended: BTreeMap<EndReason, u64>,
    sent_to_ended: ViewerCounters,
}

impl ViewerTable {
    /// How many there are, media servers included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many there are without media servers.
    pub fn watchers(&self) -> usize {
        self.watchers
    }

    /// How many have connected since the start, without media servers.
    pub(crate) fn served(&self) -> u64 {
        self.served
    }

    /// How many have ended, by why, without media servers.
    pub(crate) fn ended(&self) -> &BTreeMap<EndReason, u64> {
        &self.ended
    }

    /// What all viewers were sent, also those that have ended, without media servers.
    pub(crate) fn sent(&self) -> ViewerCounters {
        let mut sent = self.sent_to_ended;
        let watchers = self.entries.values().filter(|entry| entry.watcher().is_some());
        watchers.for_each(|entry| sent += entry.viewer.stream().counters);
        sent
    }

    pub fn counts(&self) -> &ViewerCounts {
        &self.counts
    }

    pub fn get(&self, id: ViewerId) -> Option<&ViewerEntry> {
        self.entries.get(&id).map(Box::as_ref)
    }

    pub fn get_mut(&mut self, id: ViewerId) -> Option<&mut ViewerEntry> {
        self.entries.get_mut(&id).map(Box::as_mut)
    }

    pub fn iter(&self) -> impl Iterator<Item = (ViewerId, &ViewerEntry)> {
        self.entries.iter().map(|(id, entry)| (*id, &**entry))
    }

    pub fn ids(&self) -> Vec<ViewerId> {
        self.entries.keys().copied().collect()
    }

    /// The first viewer of a codec from `first` on, in the order of their ids.
    pub fn next_of(&self, codec: Codec, first: ViewerId) -> Option<ViewerId> {
        let mut rest = self.entries.range(first..);
        rest.find(|(_, entry)| entry.viewer.codec() == codec).map(|(id, _)| *id)
    }

    /// How many viewers a client has.
    pub fn count_of(&self, client: Client) -> usize {
        self.by_client.get(&client).copied().unwrap_or(0)
    }

    /// How many of them have an answer but are not connected, without media servers.
    pub fn half_open(&self) -> usize {
        self.half_open.len()
    }

    /// The viewer that makes room for another: the oldest half-open one of the client that has most
    /// of them.
    pub fn half_open_to_end(&self) -> Option<ViewerId> {
        let half_open = self.half_open.iter().map(|(id, client)| (*id, *client));
        oldest_of_largest(half_open).map(|(_, id)| id)
    }

    /// The viewer whose connectivity check a STUN response from `source` answers.
    pub fn with_check(&self, transaction: TransId, source: SocketAddr) -> Option<ViewerId> {
        self.checks.viewer_of(transaction, source)
    }

    /// The viewer that owns a validated remote address.
    pub fn at(&self, address: SocketAddr) -> Option<ViewerId> {
        self.by_address.get(&address).copied()
    }

    pub fn with_ufrag(&self, ufrag: &str) -> Option<ViewerId> {
        self.by_ufrag.get(ufrag).copied()
    }

    pub fn with_whep_key(&self, key: &str) -> Option<ViewerId> {
        self.by_whep_key.get(key).copied()
    }

    pub fn with_client_id(&self, client_id: &str) -> Option<ViewerId> {
        self.by_client_id.get(client_id).copied()
    }

    pub fn with_session_key(&self, key: &SessionKey) -> Option<ViewerId> {
        self.by_session_key.get(key).copied()
    }

    /// Adds a viewer. Its id is a new one.
    ///
    /// A session key that another viewer has stays that one's: whoever has read an offer can send
    /// it, too.
    pub fn add_viewer(&mut self, viewer: Viewer, role: ViewerRole) -> ViewerId {
        self.admitted += 1;
        let id = ViewerId(self.admitted);
        let ufrag = viewer.local().credentials.ufrag.clone();
        self.counts.add(&viewer);
        self.by_ufrag.insert(ufrag.clone(), id);
        if let ViewerRole::Viewer(Watcher { client, session_key, .. }) = &role {
            self.watchers += 1;
            *self.by_client.entry(*client).or_default() += 1;
            self.by_session_key.entry(session_key.clone()).or_insert(id);
            self.half_open.insert(id, *client);
        }
        let entry = ViewerEntry {
            viewer,
            role,
            ufrag,
            addresses: Vec::new(),
            group_sent_at: None,
            deadline: None,
        };
        self.entries.insert(id, Box::new(entry));
        id
    }

    /// Changes a viewer, writes what it wants to the outbox, and sets its timer. A viewer that has ended
    /// is removed.
    pub(crate) fn change(
        &mut self,
        now: Instant,
        id: ViewerId,
        outbox: &mut Outbox,
        change: impl FnOnce(&mut Viewer),
    ) -> Option<ViewerChange> {
        let entry = self.entries.get_mut(&id)?;
        let watched = entry.viewer.is_watching();
        let was_half_open = entry.viewer.state() == ViewerState::HalfOpen;
        self.counts.remove(&entry.viewer);
        change(&mut entry.viewer);
        self.counts.add(&entry.viewer);
        if was_half_open && entry.viewer.state() != ViewerState::HalfOpen {
            self.half_open.remove(&id);
        }
        let watches = entry.viewer.is_watching();
        let mut change = ViewerChange {
            codec: entry.viewer.codec(),
            target: entry.target(),
            has_connected: false,
            requests_keyframe: false,
            lacks_certificate: false,
            changes_audience: watched != watches,
            ended: None,
        };
        let mut dropped_addresses = Vec::new();
        while let Some(effect) = entry.viewer.poll_effect() {
            match effect {
                ViewerEffect::Transmit(transmit) => {
                    outbox.push(Output::Transmit(transmit));
                }
                ViewerEffect::CheckSent(transaction, to) => self.checks.add(id, transaction, to),
                ViewerEffect::Connected => change.has_connected = true,
                ViewerEffect::CertificateUnusable => change.lacks_certificate = true,
                ViewerEffect::KeyframeRequested => change.requests_keyframe = true,
                ViewerEffect::AddressDropped(address) => dropped_addresses.push(address),
            }
        }
        let end_reason = entry.viewer.end_reason();
        if change.has_connected {
            log::info!("{id} is live at {}", entry.address());
            self.served += u64::from(change.target.is_none());
        } else if watches && !watched {
            log::info!("{id}: media resumed");
            change.requests_keyframe = true;
        } else if watched && !watches && end_reason.is_none() {
            log::info!("{id} is silent, media paused");
        }
        if change.lacks_certificate {
            log::warn!("{id} at {} cannot connect: {}", entry.address(), EndReason::Certificate);
        }
        // A frame changes no deadline, and comes to many viewers.
        let deadline = entry.viewer.poll_timeout();
        if deadline != entry.deadline {
            entry.deadline = deadline;
            outbox.set_timer(Timer::Viewer(id), deadline);
        }
        for address in dropped_addresses {
            self.release_address(address, id);
        }
        change.ended = end_reason.and_then(|reason| self.remove(now, id, reason, outbox));
        Some(change)
    }

    /// The viewer's timer has fired: its deadline is to be set again.
    pub(crate) fn note_timer_fired(&mut self, id: ViewerId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.deadline = None;
        }
    }

    /// Finds a viewer by its new ICE user fragment after an ICE restart, and no longer by the old
    /// one.
    pub fn update_ufrag(&mut self, id: ViewerId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let ufrag = &entry.viewer.local().credentials.ufrag;
        self.by_ufrag.remove(&entry.ufrag);
        entry.ufrag.clone_from(ufrag);
        self.by_ufrag.insert(ufrag.clone(), id);
    }

    pub fn set_whep(&mut self, id: ViewerId, session: WhepSession) {
        let Some(watcher) = self.watcher_mut(id) else { return };
        let key = session.key.clone();
        watcher.whep = Some(session);
        self.by_whep_key.insert(key, id);
    }

    /// The id that a page has drawn; no other viewer has it.
    pub fn set_client_id(&mut self, id: ViewerId, client_id: &str) {
        let Some(watcher) = self.watcher_mut(id) else { return };
        watcher.client_id = Some(client_id.to_owned());
        self.by_client_id.insert(client_id.to_owned(), id);
    }

    fn watcher_mut(&mut self, id: ViewerId) -> Option<&mut Watcher> {
        self.entries.get_mut(&id)?.watcher_mut()
    }

    /// A viewer with authentic checks is at an address that nobody owns. A request may come with a
    /// forged source address, so that it takes nobody's.
    pub fn claim_address(&mut self, address: SocketAddr, id: ViewerId) {
        if let Entry::Vacant(vacant) = self.by_address.entry(address)
            && let Some(entry) = self.entries.get_mut(&id)
        {
            vacant.insert(id);
            entry.addresses.push(address);
        }
    }

    /// A check is answered, and its viewer owns the address that it was sent to, whoever claimed it
    /// before.
    pub fn complete_check(&mut self, transaction: TransId) {
        let Some((id, address)) = self.checks.complete(transaction) else { return };
        if let Some(owner) = self.at(address).filter(|owner| *owner != id) {
            self.release_address(address, owner);
        }
        self.claim_address(address, id);
    }

    /// A viewer does not own the address any more, if it did.
    pub fn release_address(&mut self, address: SocketAddr, id: ViewerId) {
        if self.at(address) == Some(id) {
            self.by_address.remove(&address);
        }
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.addresses.retain(|known| *known != address);
        }
    }

    fn remove(
        &mut self,
        now: Instant,
        id: ViewerId,
        reason: EndReason,
        outbox: &mut Outbox,
    ) -> Option<Ended> {
        outbox.set_timer(Timer::Viewer(id), None);
        let entry = self.entries.remove(&id)?;
        self.counts.remove(&entry.viewer);
        self.half_open.remove(&id);
        self.by_ufrag.remove(&entry.ufrag);
        self.checks.forget(id);
        for address in &entry.addresses {
            self.by_address.remove(address);
        }
        let sent = entry.viewer.stream().counters;
        if let ViewerRole::Viewer(watcher) = &entry.role {
            self.forget_watcher(id, watcher);
            *self.ended.entry(reason).or_default() += 1;
            self.sent_to_ended += sent;
        }
        let failed = matches!(reason, EndReason::Failed | EndReason::ConnectTimeout);
        let failure = entry.viewer.failure().filter(|_| failed);
        log::info!(
            "{id} at {} left after {:.1} s and {} frames: {reason}{}{}",
            entry.address(),
            entry.viewer.age(now).as_secs_f32(),
            sent.frames,
            failure.map_or(String::new(), |failure| format!(": {failure}")),
            entry.viewer.stream().reception
        );
        Some(Ended { reason, sent })
    }

    fn forget_watcher(&mut self, id: ViewerId, watcher: &Watcher) {
        self.watchers -= 1;
        if let Some(session) = &watcher.whep {
            self.by_whep_key.remove(&session.key);
        }
        if let Some(client_id) = &watcher.client_id {
            self.by_client_id.remove(client_id);
        }
        // An earlier viewer may have the same key.
        if self.by_session_key.get(&watcher.session_key) == Some(&id) {
            self.by_session_key.remove(&watcher.session_key);
        }
        if let Entry::Occupied(mut count) = self.by_client.entry(watcher.client) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// What must hold between any two inputs.
    ///
    /// # Panics
    /// If it does not, which is a bug of ours.
    pub(crate) fn check_invariants(&self, limits: &Limits) {
        assert!(self.watchers() <= limits.viewers);
        assert!(self.half_open() <= limits.half_open);
        let entries = &self.entries;
        let mut counts = ViewerCounts::default();
        entries.values().for_each(|entry| counts.add(&entry.viewer));
        assert_eq!(self.counts, counts);
        let watchers = || entries.values().filter_map(|entry| entry.watcher());
        assert_eq!(watchers().count(), self.watchers);
        assert_eq!(self.by_client.values().sum::<usize>(), self.watchers);
        assert_eq!(self.by_ufrag.len(), entries.len());
        for (ufrag, id) in &self.by_ufrag {
            assert_eq!(entries[id].viewer.local().credentials.ufrag, *ufrag);
        }
        let whep = watchers().filter(|watcher| watcher.whep.is_some()).count();
        assert_eq!(self.by_whep_key.len(), whep);
        let pages = watchers().filter(|watcher| watcher.client_id.is_some()).count();
        assert_eq!(self.by_client_id.len(), pages, "one page is one viewer");
        assert!(self.by_session_key.values().all(|id| entries.contains_key(id)));
        let known = entries.values().map(|entry| entry.addresses.len()).sum::<usize>();
        assert_eq!(self.by_address.len(), known);
        for (address, id) in &self.by_address {
            assert!(entries[id].addresses.contains(address));
        }
        assert!(entries.values().all(|entry| entry.addresses.len() <= MAX_ADDRESSES));
        self.checks.check_invariants(|id| entries.contains_key(&id));
        let is_half_open = |entry: &ViewerEntry| entry.viewer.state() == ViewerState::HalfOpen;
        let half_open = entries.iter().filter(|(_, e)| e.watcher().is_some() && is_half_open(e));
        assert!(half_open.map(|(id, _)| id).eq(self.half_open.keys()));
        assert!(entries.values().all(|entry| entry.viewer.end_reason().is_none()));
    }
}
