//! A viewer in the table, and what it is counted by.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::media::Codec;
use crate::publish::TargetId;
use crate::sdp::offer::SessionKey;
use crate::server::limits::client::Client;
use crate::webrtc::viewer::Viewer;

pub struct ViewerEntry {
    pub viewer: Viewer,
    pub role: ViewerRole,
    /// Our own ICE user fragment.
    pub(super) ufrag: String,
    /// The addresses that it has proved to be at.
    pub(super) addresses: Vec<SocketAddr>,
    /// When it was sent all frames since a key frame.
    pub group_sent_at: Option<Instant>,
    /// Its timer, as it was set last.
    pub deadline: Option<Instant>,
}

/// What a viewer is.
pub enum ViewerRole {
    /// A browser or player, from its own offer.
    Viewer(Watcher),
    /// The media server of this target, from our offer.
    Publish(TargetId),
}

/// A browser or player that watches.
pub struct Watcher {
    /// Where its offer came from.
    pub peer: IpAddr,
    /// The client that the limits count it for.
    pub client: Client,
    /// As a resource of WHEP, if it is one.
    pub whep: Option<WhepSession>,
    /// The id of its page, if it is one.
    pub(super) client_id: Option<String>,
    /// What further offers of the same connection have in common.
    pub(super) session_key: SessionKey,
}

impl Watcher {
    pub fn new(peer: IpAddr, client: Client, session_key: SessionKey) -> Watcher {
        Watcher { peer, client, whep: None, client_id: None, session_key }
    }
}

impl ViewerEntry {
    /// Where its media goes, or where its offer came from while that is unknown.
    pub fn address(&self) -> String {
        match (self.viewer.remote(), &self.role) {
            (Some(address), _) => address.to_string(),
            (None, ViewerRole::Viewer(asked)) => asked.peer.to_string(),
            (None, ViewerRole::Publish(_)) => "an unknown address".to_owned(),
        }
    }

    /// `None` for a media server.
    pub fn watcher(&self) -> Option<&Watcher> {
        match &self.role {
            ViewerRole::Viewer(watcher) => Some(watcher),
            ViewerRole::Publish(_) => None,
        }
    }

    pub fn watcher_mut(&mut self) -> Option<&mut Watcher> {
        match &mut self.role {
            ViewerRole::Viewer(watcher) => Some(watcher),
            ViewerRole::Publish(_) => None,
        }
    }

    /// The media server that it is, if it is one.
    pub fn target(&self) -> Option<TargetId> {
        match self.role {
            ViewerRole::Viewer(_) => None,
            ViewerRole::Publish(target) => Some(target),
        }
    }
}

/// A viewer as a resource of WHEP.
pub struct WhepSession {
    /// What its URL ends with, 128 random bits.
    pub key: String,
    /// Changes with each ICE restart.
    pub etag: String,
    /// The mid of the video, if its offer has one.
    pub mid: Option<String>,
}

/// How many viewers watch, kept so that nothing has to walk the table.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ViewerCounts {
    /// By codec.
    watching: [usize; Codec::ALL.len()],
}

impl ViewerCounts {
    pub(super) fn add(&mut self, viewer: &Viewer) {
        self.watching[viewer.codec() as usize] += usize::from(viewer.is_watching());
    }

    pub(super) fn remove(&mut self, viewer: &Viewer) {
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
