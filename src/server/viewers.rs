//! The table of viewers: one struct owns the entries and everything that they are found by.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::limits::client::{Client, oldest_of_largest};
use crate::media::Codec;
use crate::publish::TargetId;
use crate::sdp::offer::SessionKey;
use crate::webrtc::viewer::Viewer;
use crate::webrtc::{MAX_ADDRESSES, ViewerId, ViewerState};

/// The checks of one viewer that may be under way, the latest ones: one for each of its addresses
/// and each of ours, and some that are repeated.
const CHECKS_PER_VIEWER: usize = 64;

/// A STUN transaction id (RFC 8489, section 6).
pub type TransactionId = [u8; 12];

pub struct ViewerEntry {
    pub viewer: Viewer,
    pub origin: ViewerRole,
    /// Our own ICE user fragment.
    ufrag: String,
    /// The addresses that it owns.
    addresses: Vec<SocketAddr>,
    /// Our connectivity checks that may still be answered, oldest first.
    checks: VecDeque<TransactionId>,
    /// When it was given all frames since a key frame.
    pub group_sent_at: Option<Instant>,
    /// Its timer, as it was set last.
    pub deadline: Option<Instant>,
}

/// Whose offer has made a viewer.
pub enum ViewerRole {
    /// Its own: it has asked to watch.
    Asked(Asked),
    /// Ours: it is the media server of this target.
    Invited(TargetId),
}

/// A viewer that has asked.
pub struct Asked {
    /// Where its offer came from.
    pub peer: IpAddr,
    /// Whom the limits count it for.
    pub client: Client,
    /// As a resource of WHEP, if it came that way.
    pub whep: Option<WhepSession>,
    /// The id of the page that it is.
    client_id: Option<String>,
    /// Whose offers are its own.
    session_key: SessionKey,
}

impl Asked {
    pub fn new(peer: IpAddr, client: Client, session_key: SessionKey) -> Asked {
        Asked { peer, client, whep: None, client_id: None, session_key }
    }
}

impl ViewerEntry {
    /// Where a viewer gets its media, or where its offer came from as long as that is not known.
    pub fn address(&self) -> String {
        match (self.viewer.remote(), &self.origin) {
            (Some(address), _) => address.to_string(),
            (None, ViewerRole::Asked(asked)) => asked.peer.to_string(),
            (None, ViewerRole::Invited(_)) => "an unknown address".to_owned(),
        }
    }

    /// `None` if it was invited.
    pub fn asked(&self) -> Option<&Asked> {
        match &self.origin {
            ViewerRole::Asked(asked) => Some(asked),
            ViewerRole::Invited(_) => None,
        }
    }

    pub fn asked_mut(&mut self) -> Option<&mut Asked> {
        match &mut self.origin {
            ViewerRole::Asked(asked) => Some(asked),
            ViewerRole::Invited(_) => None,
        }
    }

    /// `None` if it has asked.
    pub fn target(&self) -> Option<TargetId> {
        match self.origin {
            ViewerRole::Asked(_) => None,
            ViewerRole::Invited(target) => Some(target),
        }
    }
}

/// A viewer as a resource of WHEP.
pub struct WhepSession {
    /// What its URL ends with, 128 random bits.
    pub key: String,
    /// Changes with each ICE restart.
    pub etag: String,
    /// Of the video, if its offer has one.
    pub mid: Option<String>,
}

/// How many viewers watch, so that nobody has to look at all of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ViewerCounts {
    /// By codec.
    watching: [usize; Codec::ALL.len()],
}

impl ViewerCounts {
    fn add(&mut self, viewer: &Viewer) {
        self.watching[viewer.codec() as usize] += usize::from(viewer.is_watching());
    }

    fn remove(&mut self, viewer: &Viewer) {
        self.watching[viewer.codec() as usize] -= usize::from(viewer.is_watching());
    }

    pub fn watching(&self, codec: Codec) -> usize {
        self.watching[codec as usize]
    }

    pub fn any_watching(&self) -> bool {
        self.all_watching() > 0
    }

    pub fn all_watching(&self) -> usize {
        self.watching.iter().sum()
    }
}

#[derive(Default)]
pub struct ViewerTable {
    entries: BTreeMap<ViewerId, ViewerEntry>,
    counts: ViewerCounts,
    /// How many viewers have been in the table.
    admitted: u64,
    /// How many viewers there are that have asked.
    asked: usize,
    /// How many of them each client has.
    by_client: BTreeMap<Client, usize>,
    /// Those of them that are half-open.
    half_open: BTreeMap<ViewerId, Client>,
    by_address: BTreeMap<SocketAddr, ViewerId>,
    /// Whose a check is, and where it was sent.
    by_check: BTreeMap<TransactionId, (ViewerId, SocketAddr)>,
    by_ufrag: BTreeMap<String, ViewerId>,
    by_whep_key: BTreeMap<String, ViewerId>,
    by_client_id: BTreeMap<String, ViewerId>,
    by_session_key: BTreeMap<SessionKey, ViewerId>,
}

impl ViewerTable {
    /// How many there are, those that were invited included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many have asked.
    pub fn asked(&self) -> usize {
        self.asked
    }

    pub fn counts(&self) -> &ViewerCounts {
        &self.counts
    }

    pub fn get(&self, id: ViewerId) -> Option<&ViewerEntry> {
        self.entries.get(&id)
    }

    pub fn get_mut(&mut self, id: ViewerId) -> Option<&mut ViewerEntry> {
        self.entries.get_mut(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (ViewerId, &ViewerEntry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
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

    /// How many viewers have asked, have an answer, and are not connected.
    pub fn half_open(&self) -> usize {
        self.half_open.len()
    }

    /// The viewer that makes room for another: the oldest half-open one of the client that has most
    /// of them.
    pub fn half_open_to_end(&self) -> Option<ViewerId> {
        let half_open = self.half_open.iter().map(|(id, client)| (*id, *client));
        oldest_of_largest(half_open).map(|(_, id)| id)
    }

    /// Whose check a STUN response from `source` answers: it comes from where the check went (RFC
    /// 8445, section 7.2.5.2.1), or its sender could name any address.
    pub fn with_check(&self, transaction: &TransactionId, source: SocketAddr) -> Option<ViewerId> {
        let (id, destination) = self.by_check.get(transaction)?;
        (*destination == source).then_some(*id)
    }

    /// Who owns an address.
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
    pub fn add_viewer(&mut self, viewer: Viewer, origin: ViewerRole) -> ViewerId {
        self.admitted += 1;
        let id = ViewerId(self.admitted);
        let ufrag = viewer.local().credentials.ufrag.clone();
        self.counts.add(&viewer);
        self.by_ufrag.insert(ufrag.clone(), id);
        if let ViewerRole::Asked(Asked { client, session_key, .. }) = &origin {
            self.asked += 1;
            *self.by_client.entry(*client).or_default() += 1;
            self.by_session_key.entry(session_key.clone()).or_insert(id);
            self.half_open.insert(id, *client);
        }
        let entry = ViewerEntry {
            viewer,
            origin,
            ufrag,
            addresses: Vec::new(),
            checks: VecDeque::new(),
            group_sent_at: None,
            deadline: None,
        };
        self.entries.insert(id, entry);
        id
    }

    /// Changes a viewer, and keeps what it is counted by. Returns whether it was watching before,
    /// too.
    pub fn change(
        &mut self,
        id: ViewerId,
        change: impl FnOnce(&mut Viewer),
    ) -> Option<(bool, &mut ViewerEntry)> {
        let entry = self.entries.get_mut(&id)?;
        let watched = entry.viewer.is_watching();
        let was_half_open = entry.viewer.state() == ViewerState::HalfOpen;
        self.counts.remove(&entry.viewer);
        change(&mut entry.viewer);
        self.counts.add(&entry.viewer);
        if was_half_open && entry.viewer.state() != ViewerState::HalfOpen {
            self.half_open.remove(&id);
        }
        Some((watched, entry))
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
        let Some(asked) = self.asked_mut(id) else { return };
        let key = session.key.clone();
        asked.whep = Some(session);
        self.by_whep_key.insert(key, id);
    }

    /// The id that a page has drawn; no other viewer has it.
    pub fn set_client_id(&mut self, id: ViewerId, client_id: &str) {
        let Some(asked) = self.asked_mut(id) else { return };
        asked.client_id = Some(client_id.to_owned());
        self.by_client_id.insert(client_id.to_owned(), id);
    }

    fn asked_mut(&mut self, id: ViewerId) -> Option<&mut Asked> {
        self.entries.get_mut(&id)?.asked_mut()
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
    pub fn complete_check(&mut self, transaction: &TransactionId) {
        let Some((id, address)) = self.by_check.remove(transaction) else { return };
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.checks.retain(|check| check != transaction);
        }
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

    /// A connectivity check of ours is on its way for a viewer.
    pub fn add_check(&mut self, id: ViewerId, transaction: TransactionId, to: SocketAddr) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if self.by_check.insert(transaction, (id, to)).is_some() {
            return;
        }
        entry.checks.push_back(transaction);
        if entry.checks.len() > CHECKS_PER_VIEWER
            && let Some(oldest) = entry.checks.pop_front()
        {
            self.by_check.remove(&oldest);
        }
    }

    pub fn remove(&mut self, id: ViewerId) -> Option<ViewerEntry> {
        let entry = self.entries.remove(&id)?;
        self.counts.remove(&entry.viewer);
        self.half_open.remove(&id);
        self.by_ufrag.remove(&entry.ufrag);
        if let ViewerRole::Asked(asked) = &entry.origin {
            self.forget_asked(id, asked);
        }
        for address in &entry.addresses {
            self.by_address.remove(address);
        }
        for transaction in &entry.checks {
            self.by_check.remove(transaction);
        }
        Some(entry)
    }

    fn forget_asked(&mut self, id: ViewerId, asked: &Asked) {
        self.asked -= 1;
        if let Some(session) = &asked.whep {
            self.by_whep_key.remove(&session.key);
        }
        if let Some(client_id) = &asked.client_id {
            self.by_client_id.remove(client_id);
        }
        // An earlier viewer may have the same key.
        if self.by_session_key.get(&asked.session_key) == Some(&id) {
            self.by_session_key.remove(&asked.session_key);
        }
        if let Entry::Occupied(mut count) = self.by_client.entry(asked.client) {
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
    pub fn check_invariants(&self) {
        let entries = &self.entries;
        let mut counts = ViewerCounts::default();
        entries.values().for_each(|entry| counts.add(&entry.viewer));
        assert_eq!(self.counts, counts);
        let asked = || entries.values().filter_map(ViewerEntry::asked);
        assert_eq!(asked().count(), self.asked);
        assert_eq!(self.by_client.values().sum::<usize>(), self.asked);
        assert_eq!(self.by_ufrag.len(), entries.len());
        for (ufrag, id) in &self.by_ufrag {
            assert_eq!(entries[id].viewer.local().credentials.ufrag, *ufrag);
        }
        let whep = asked().filter(|asked| asked.whep.is_some()).count();
        assert_eq!(self.by_whep_key.len(), whep);
        let pages = asked().filter(|asked| asked.client_id.is_some()).count();
        assert_eq!(self.by_client_id.len(), pages, "one page is one viewer");
        assert!(self.by_session_key.values().all(|id| entries.contains_key(id)));
        let known = entries.values().map(|entry| entry.addresses.len()).sum::<usize>();
        assert_eq!(self.by_address.len(), known);
        for (address, id) in &self.by_address {
            assert!(entries[id].addresses.contains(address));
        }
        assert!(entries.values().all(|entry| entry.addresses.len() <= MAX_ADDRESSES));
        assert!(entries.values().all(|entry| entry.checks.len() <= CHECKS_PER_VIEWER));
        let checks = entries.values().map(|entry| entry.checks.len()).sum::<usize>();
        assert_eq!(self.by_check.len(), checks);
        let is_half_open = |entry: &ViewerEntry| entry.viewer.state() == ViewerState::HalfOpen;
        let half_open = entries.iter().filter(|(_, e)| e.asked().is_some() && is_half_open(e));
        assert!(half_open.map(|(id, _)| id).eq(self.half_open.keys()));
        assert!(entries.values().all(|entry| entry.viewer.end_reason().is_none()));
    }
}
