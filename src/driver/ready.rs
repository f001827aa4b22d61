//! Descriptors that are ready to be read, and the order in which they are served.
//!
//! The kernel reports readiness once (edge-triggered), so a descriptor stays here until a read finds nothing
//! more. A turn of the loop serves UDP sockets first, then listeners, then all others, and connections last,
//! round robin, as many as fit into its time.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::{Duration, Instant};

use mio::Token;

use super::tokens::{Owner, owner};

/// The most that one descriptor, or one kind of descriptor, gets of a turn.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    pub reads: usize,
    /// No read starts after this time.
    pub time: Duration,
}

/// For each UDP socket. A viewer's DTLS handshake takes about a millisecond.
pub const DATAGRAMS: Share = Share { reads: 64, time: Duration::from_millis(2) };
/// For each listener.
pub const ACCEPTS: Share = Share { reads: 16, time: Duration::from_micros(500) };
/// For all connections together, each of which is served once. On a fifth of a core this takes 7.5 ms, and the
/// longest request may come on top.
pub const CONNECTIONS: Share = Share { reads: usize::MAX, time: Duration::from_micros(1_500) };
/// For the source. 256 KiB are parsed in less than a millisecond, and a picture may be decoded and encoded.
pub const SOURCE_READS: Share = Share { reads: 4, time: Duration::from_millis(2) };

/// How long a descriptor waits after the kernel failed to serve it.
pub const RETRY_AFTER: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
pub struct Ready {
    datagrams: BTreeSet<Token>,
    listeners: BTreeSet<Token>,
    others: BTreeSet<Token>,
    connections: BTreeSet<Token>,
    /// The connection that was served last.
    served: Option<Token>,
    /// Descriptors that failed, and when they are ready again.
    postponed: BTreeSet<Token>,
    retry_at: Option<Instant>,
}

impl Ready {
    pub fn insert(&mut self, token: Token) {
        self.of_kind(token).insert(token);
    }

    pub fn remove(&mut self, token: Token) {
        self.of_kind(token).remove(&token);
    }

    /// Forgets a descriptor that is closed: the next owner of its token is not ready.
    pub fn forget(&mut self, token: Token) {
        self.remove(token);
        self.postponed.remove(&token);
    }

    /// Makes a descriptor wait, as the kernel could not serve it and reports its readiness only once.
    pub fn postpone(&mut self, token: Token, now: Instant) {
        self.remove(token);
        self.postponed.insert(token);
        self.retry_at.get_or_insert(now + RETRY_AFTER);
    }

    /// When [`retry`](Ready::retry) is due.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Makes postponed descriptors ready again if their time has come.
    pub fn retry(&mut self, now: Instant) {
        if self.retry_at.take_if(|at| *at <= now).is_some() {
            std::mem::take(&mut self.postponed).into_iter().for_each(|token| self.insert(token));
        }
    }

    pub fn is_empty(&self) -> bool {
        let kinds = [&self.datagrams, &self.listeners, &self.others, &self.connections];
        kinds.into_iter().all(BTreeSet::is_empty)
    }

    /// All that is ready except for connections: UDP sockets, listeners, then all others.
    pub fn sockets(&self) -> Vec<Token> {
        let kinds = [&self.datagrams, &self.listeners, &self.others];
        kinds.into_iter().flatten().copied().collect()
    }

    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// The ready connection after the one that was served last.
    pub fn next_connection(&mut self) -> Option<Token> {
        let after = self.served.map_or(Bound::Unbounded, Bound::Excluded);
        let mut following = self.connections.range((after, Bound::Unbounded));
        self.served = following.next().or(self.connections.first()).copied();
        self.served
    }

    fn of_kind(&mut self, token: Token) -> &mut BTreeSet<Token> {
        match owner(token) {
            Owner::Datagrams => &mut self.datagrams,
            Owner::Listener => &mut self.listeners,
            Owner::Connection => &mut self.connections,
            Owner::Signals
            | Owner::Watch
            | Owner::Source
            | Owner::SourceStderr
            | Owner::Threads
            | Owner::Devices
            | Owner::Encoder
            | Owner::Target => &mut self.others,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::tokens::{SOURCE, Tokens, datagrams_of};

    #[test]
    fn datagrams_come_first_and_connections_take_turns() {
        let mut ready = Ready::default();
        let (mut endpoints, mut connections) = (Tokens::of_endpoints(), Tokens::of_connections());
        let listeners = [(); 2].map(|()| endpoints.take().unwrap());
        let [a, b, c] = [(); 3].map(|()| connections.take().unwrap());
        let datagrams = datagrams_of(listeners[1]);
        for token in [SOURCE, c, listeners[0], b, datagrams, listeners[1], a] {
            ready.insert(token);
        }
        assert_eq!(ready.sockets(), [datagrams, listeners[0], listeners[1], SOURCE]);
        let mut served = || ready.next_connection().unwrap();
        assert_eq!([served(), served(), served(), served()], [a, b, c, a]);
        ready.remove(b);
        assert_eq!((ready.next_connection(), ready.connections()), (Some(c), 2));
        ready.remove(a);
        ready.remove(c);
        assert_eq!((ready.next_connection(), ready.is_empty()), (None, false));
    }

    #[test]
    fn a_postponed_descriptor_is_ready_after_its_pause_unless_it_is_closed() {
        let (mut ready, start) = (Ready::default(), Instant::now());
        let mut connections = Tokens::of_connections();
        let [a, b] = [(); 2].map(|()| connections.take().unwrap());
        ready.insert(a);
        ready.postpone(a, start);
        ready.postpone(b, start + RETRY_AFTER / 2);
        assert!(ready.is_empty());
        assert_eq!(ready.retry_at(), Some(start + RETRY_AFTER), "the first pause counts for all");
        ready.retry(start + RETRY_AFTER - Duration::from_millis(1));
        assert!(ready.is_empty());
        ready.forget(b);
        ready.retry(start + RETRY_AFTER);
        assert_eq!((ready.next_connection(), ready.connections()), (Some(a), 1));
        assert_eq!(ready.retry_at(), None);
    }
}
