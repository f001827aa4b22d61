//! The table of viewers: one struct owns the entries and everything that they are found by.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::media::Codec;
use crate::sdp::offer::SessionKey;
use crate::webrtc::State;
use crate::webrtc::ViewerId;
use crate::webrtc::viewer::Viewer;

/// The addresses that one viewer is found by. A phone that changes networks uses a few.
const ADDRESSES_PER_VIEWER: usize = 8;

pub struct ViewerEntry {
    pub viewer: Viewer,
    /// Where its offer came from; the limits count by it.
    pub client: IpAddr,
    /// As a resource of WHEP, if it came that way.
    pub whep: Option<WhepSession>,
    /// Our own ICE user fragment.
    ufrag: String,
    /// The id of the page that it is.
    client_id: Option<String>,
    /// Whose offers are its own.
    session_key: SessionKey,
    /// Addresses that proved themselves by an authenticated check, oldest first.
    addresses: Vec<SocketAddr>,
    /// Its timer, as it was set last.
    pub deadline: Option<Instant>,
}

impl ViewerEntry {
    /// Where a viewer gets its media, or where its offer came from as long as that is not known.
    pub fn address(&self) -> String {
        match self.viewer.remote() {
            Some(address) => address.to_string(),
            None => self.client.to_string(),
        }
    }
}

/// A viewer as a resource of WHEP.
pub struct WhepSession {
    /// What its URL ends with, 128 random bits.
    pub key: String,
    /// Changes with each ICE restart.
    pub etag: String,
    /// Of the video.
    pub mid: String,
}

/// How many viewers there are of a kind, so that nobody has to look at all of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ViewerCounts {
    /// By codec.
    watching: [usize; Codec::ALL.len()],
    half_open: usize,
}

impl ViewerCounts {
    fn add(&mut self, viewer: &Viewer) {
        self.watching[viewer.codec() as usize] += usize::from(viewer.is_watching());
        self.half_open += usize::from(viewer.state() == State::HalfOpen);
    }

    fn remove(&mut self, viewer: &Viewer) {
        self.watching[viewer.codec() as usize] -= usize::from(viewer.is_watching());
        self.half_open -= usize::from(viewer.state() == State::HalfOpen);
    }

    pub fn watching(&self, codec: Codec) -> usize {
        self.watching[codec as usize]
    }

    pub fn any_watching(&self) -> bool {
        self.watching.iter().any(|watching| *watching > 0)
    }

    pub fn half_open(&self) -> usize {
        self.half_open
    }
}

#[derive(Default)]
pub struct ViewerTable {
    entries: BTreeMap<ViewerId, ViewerEntry>,
    counts: ViewerCounts,
    /// How many viewers have been in the table.
    admitted: u64,
    /// How many viewers each address has.
    by_client: BTreeMap<IpAddr, usize>,
    by_address: BTreeMap<SocketAddr, ViewerId>,
    by_ufrag: BTreeMap<String, ViewerId>,
    by_whep_key: BTreeMap<String, ViewerId>,
    by_client_id: BTreeMap<String, ViewerId>,
    by_session_key: BTreeMap<SessionKey, ViewerId>,
}

impl ViewerTable {
    pub fn len(&self) -> usize {
        self.entries.len()
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

    /// The first viewer of a codec from `first` on, in the order of their ids.
    pub fn next_of(&self, codec: Codec, first: ViewerId) -> Option<ViewerId> {
        let mut rest = self.entries.range(first..);
        rest.find(|(_, entry)| entry.viewer.codec() == codec).map(|(id, _)| *id)
    }

    /// How many viewers an address has.
    pub fn count_from(&self, client: IpAddr) -> usize {
        self.by_client.get(&client).copied().unwrap_or(0)
    }

    /// Whose an address is that has proved itself.
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

    /// Adds a viewer, whose offer came from `client`. Its id is a new one.
    pub fn add_viewer(
        &mut self,
        viewer: Viewer,
        client: IpAddr,
        session_key: SessionKey,
    ) -> ViewerId {
        self.admitted += 1;
        let id = ViewerId(self.admitted);
        let ufrag = viewer.local_credentials().ufrag.clone();
        self.counts.add(&viewer);
        *self.by_client.entry(client).or_default() += 1;
        self.by_ufrag.insert(ufrag.clone(), id);
        self.by_session_key.insert(session_key.clone(), id);
        let entry = ViewerEntry {
            viewer,
            client,
            whep: None,
            ufrag,
            client_id: None,
            session_key,
            addresses: Vec::new(),
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
        self.counts.remove(&entry.viewer);
        change(&mut entry.viewer);
        self.counts.add(&entry.viewer);
        Some((watched, entry))
    }

    /// Finds a viewer by its new ICE user fragment after an ICE restart, and no longer by the old
    /// one.
    pub fn update_ufrag(&mut self, id: ViewerId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let ufrag = &entry.viewer.local_credentials().ufrag;
        self.by_ufrag.remove(&entry.ufrag);
        entry.ufrag.clone_from(ufrag);
        self.by_ufrag.insert(ufrag.clone(), id);
    }

    pub fn set_whep(&mut self, id: ViewerId, session: WhepSession) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        self.by_whep_key.insert(session.key.clone(), id);
        entry.whep = Some(session);
    }

    /// The id that a page has drawn; no other viewer has it.
    pub fn set_client_id(&mut self, id: ViewerId, client_id: &str) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        self.by_client_id.insert(client_id.to_owned(), id);
        entry.client_id = Some(client_id.to_owned());
    }

    /// An address has proved itself to be this viewer's, and no longer another's.
    pub fn learn_address(&mut self, address: SocketAddr, id: ViewerId) {
        if let Some(before) = self.by_address.insert(address, id)
            && let Some(entry) = self.entries.get_mut(&before)
        {
            entry.addresses.retain(|known| *known != address);
        }
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.addresses.push(address);
        if entry.addresses.len() > ADDRESSES_PER_VIEWER {
            let oldest = entry.addresses.remove(0);
            self.by_address.remove(&oldest);
        }
    }

    pub fn remove(&mut self, id: ViewerId) -> Option<ViewerEntry> {
        let entry = self.entries.remove(&id)?;
        self.counts.remove(&entry.viewer);
        self.by_ufrag.remove(&entry.ufrag);
        if let Some(session) = &entry.whep {
            self.by_whep_key.remove(&session.key);
        }
        if let Some(client_id) = &entry.client_id {
            self.by_client_id.remove(client_id);
        }
        // A later viewer may have the same key.
        if self.by_session_key.get(&entry.session_key) == Some(&id) {
            self.by_session_key.remove(&entry.session_key);
        }
        if let Entry::Occupied(mut count) = self.by_client.entry(entry.client) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        for address in &entry.addresses {
            self.by_address.remove(address);
        }
        Some(entry)
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
        assert_eq!(self.by_client.values().sum::<usize>(), entries.len());
        assert_eq!(self.by_ufrag.len(), entries.len());
        for (ufrag, id) in &self.by_ufrag {
            assert_eq!(entries[id].viewer.local_credentials().ufrag, *ufrag);
        }
        let whep = entries.values().filter(|entry| entry.whep.is_some()).count();
        assert_eq!(self.by_whep_key.len(), whep);
        let pages = entries.values().filter(|entry| entry.client_id.is_some()).count();
        assert_eq!(self.by_client_id.len(), pages, "one page is one viewer");
        assert!(self.by_session_key.values().all(|id| entries.contains_key(id)));
        let known = entries.values().map(|entry| entry.addresses.len()).sum::<usize>();
        assert_eq!(self.by_address.len(), known);
        for (address, id) in &self.by_address {
            assert!(entries[id].addresses.contains(address));
        }
        assert!(entries.values().all(|entry| entry.viewer.end_reason().is_none()));
    }
}
