//! The table of TCP connections, each of which is an HTTP machine.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::http::HttpConnection;
use crate::server::ConnId;
use crate::server::limits::client::{Client, oldest_of_largest};
use crate::web::endpoints::Endpoint;
use crate::web::proxies::Visitor;
use crate::work;

pub(crate) struct ConnectionEntry {
    pub(crate) http: HttpConnection,
    peer: SocketAddr,
    /// The peer, or the client that a trusted proxy named in its last request.
    pub(crate) client: Client,
    last_used: Instant,
    /// A request of it was admitted.
    pub(crate) has_asked: bool,
    /// Whether the driver reads it.
    is_read: bool,
    pub(crate) held_for: Option<HeldFor>,
    /// The request whose head has come, until it is reported whole or rejected.
    pub(crate) request: Option<CurrentRequest>,
}

/// What the head of a request says, looked up once.
pub(crate) struct CurrentRequest {
    pub(crate) visitor: Visitor,
    pub(crate) endpoint: Option<&'static Endpoint>,
}

/// What a held request has been given, once its time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeldFor {
    /// Its turn among the client's requests.
    Turn,
    /// And a comparison of its token.
    Comparison,
}

/// What a connection is in the middle of. The first makes room first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Between requests, after an answer: another connection serves its peer as well.
    Idle,
    /// Before the first head is whole or has its turn, in an unfinished head or body, or in what comes
    /// after a last answer: the peer is owed nothing.
    Receiving,
    Answering,
    /// Showing pictures to somebody.
    Streaming,
}

impl ConnectionEntry {
    pub(crate) fn new(
        http: HttpConnection,
        peer: SocketAddr,
        client: Client,
        now: Instant,
    ) -> ConnectionEntry {
        ConnectionEntry {
            http,
            peer,
            client,
            last_used: now,
            has_asked: false,
            is_read: true,
            held_for: None,
            request: None,
        }
    }

    pub(crate) fn peer(&self) -> IpAddr {
        self.peer.ip()
    }

    /// Changes the HTTP machine.
    pub(crate) fn change(&mut self, now: Instant, change: impl FnOnce(&mut HttpConnection)) {
        self.last_used = now;
        change(&mut self.http);
    }

    /// Whether the driver has to read it from now on, or not, if that has changed.
    pub(crate) fn change_of_reading(&mut self) -> Option<bool> {
        let takes_bytes = self.http.takes_bytes();
        let is_read = std::mem::replace(&mut self.is_read, takes_bytes);
        (is_read != takes_bytes).then_some(takes_bytes)
    }

    fn stage(&self) -> Stage {
        match &self.http {
            http if http.is_idle() && self.has_asked => Stage::Idle,
            http if http.is_streaming() => Stage::Streaming,
            http if http.is_answering() => Stage::Answering,
            _ => Stage::Receiving,
        }
    }
}

#[derive(Default)]
pub(crate) struct ConnectionTable(BTreeMap<ConnId, ConnectionEntry>);

impl ConnectionTable {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn ids(&self) -> Vec<ConnId> {
        self.0.keys().copied().collect()
    }

    pub(crate) fn get(&self, id: ConnId) -> Option<&ConnectionEntry> {
        self.0.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: ConnId) -> Option<&mut ConnectionEntry> {
        self.0.get_mut(&id)
    }

    pub(crate) fn insert(&mut self, id: ConnId, connection: ConnectionEntry) {
        self.0.insert(id, connection);
    }

    pub(crate) fn remove(&mut self, id: ConnId) {
        self.0.remove(&id);
    }

    /// How many connections a client has.
    pub(crate) fn count_of(&self, client: Client) -> usize {
        let is_of_client = |connection: &&ConnectionEntry| {
            work::step();
            connection.client == client
        };
        self.0.values().filter(is_of_client).count()
    }

    /// The connection that makes room for another: the one that is idle for longest after an answer. Where
    /// none is, one that the peer is owed nothing on, or else one with an answer under way: the oldest of
    /// the client with most of them. A stream of pictures makes room only if there is nothing else, and
    /// some client has more than one.
    ///
    /// However many addresses hold back the rest of a request, a newcomer is let in, and has until as many
    /// others have come as there are places to send its own.
    pub(crate) fn to_close(&self) -> Option<ConnId> {
        let stage = self.0.values().map(ConnectionEntry::stage).min()?;
        let at_stage = self.0.iter().filter(|(_, connection)| connection.stage() == stage);
        if stage == Stage::Idle {
            return at_stage.min_by_key(|(_, connection)| connection.last_used).map(|(id, _)| *id);
        }
        let clients = at_stage.map(|(id, connection)| (*id, connection.client));
        let (count, id) = oldest_of_largest(clients)?;
        (count > 1 || stage < Stage::Streaming).then_some(id)
    }
}
