//! Descriptors that have something to be read, and the order in which they get their turn.
//!
//! The kernel reports readiness once, so a descriptor stays here until a read finds nothing more. A
//! turn of the loop serves datagrams first, then what is accepted, then all others, and connections
//! last: one after the other in a circle, as many as fit into its time.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::Duration;

use mio::Token;

use super::tokens::{Owner, owner};

/// What one descriptor, or one kind of them, may have of a turn.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    pub reads: usize,
    /// No further read begins after this time.
    pub time: Duration,
}

/// Of each UDP socket. Handshakes of viewers take about a millisecond each.
pub const DATAGRAMS: Share = Share { reads: 64, time: Duration::from_millis(2) };
/// Of each listener.
pub const ACCEPTS: Share = Share { reads: 16, time: Duration::from_micros(500) };
/// Of all connections together, each of which is served once. With a fifth of a core this is 7.5 ms,
/// and the longest request may come on top.
pub const CONNECTIONS: Share = Share { reads: usize::MAX, time: Duration::from_micros(1_500) };

#[derive(Debug, Default)]
pub struct Ready {
    datagrams: BTreeSet<Token>,
    listeners: BTreeSet<Token>,
    others: BTreeSet<Token>,
    connections: BTreeSet<Token>,
    /// The connection that was served last.
    served: Option<Token>,
}

impl Ready {
    pub fn insert(&mut self, token: Token) {
        self.of_kind(token).insert(token);
    }

    pub fn remove(&mut self, token: Token) {
        self.of_kind(token).remove(&token);
    }

    pub fn is_empty(&self) -> bool {
        let kinds = [&self.datagrams, &self.listeners, &self.others, &self.connections];
        kinds.into_iter().all(BTreeSet::is_empty)
    }

    /// What is ready now, but for connections: UDP sockets, listeners, then all others.
    pub fn sockets(&self) -> Vec<Token> {
        let kinds = [&self.datagrams, &self.listeners, &self.others];
        kinds.into_iter().flatten().copied().collect()
    }

    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// The ready connection that follows the last one in the circle.
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
            | Owner::Lookups
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
}
