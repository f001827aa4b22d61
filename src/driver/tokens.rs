//! The tokens that identify descriptors in the poll. Each kind of descriptor has a range of its own.

use std::collections::BTreeSet;
use std::ops::Range;

use mio::Token;

pub const SIGNALS: Token = Token(0);
pub const WATCH: Token = Token(1);
pub const SOURCE: Token = Token(2);
pub const SOURCE_STDERR: Token = Token(3);
/// Calls on other threads that have returned: lookups of media servers' names, and what is done to a camera.
pub const THREADS: Token = Token(4);
/// Changes of the video devices.
pub const DEVICES: Token = Token(5);
/// The hardware encoder.
pub const ENCODER: Token = Token(6);
/// Connections to media servers.
pub const TARGETS: Range<usize> = 7..16;
/// Two tokens for each bound address: its listener, then its UDP socket.
const ENDPOINTS: Range<usize> = TARGETS.end..1 << 16;
/// The rest of a 32-bit `usize`.
const CONNECTIONS: Range<usize> = ENDPOINTS.end..1 << 31;

/// The kind of descriptor that a token identifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Signals,
    Watch,
    Source,
    SourceStderr,
    Threads,
    Devices,
    Encoder,
    Target,
    Listener,
    Datagrams,
    Connection,
}

pub fn owner(token: Token) -> Owner {
    match token {
        SIGNALS => Owner::Signals,
        WATCH => Owner::Watch,
        SOURCE => Owner::Source,
        SOURCE_STDERR => Owner::SourceStderr,
        THREADS => Owner::Threads,
        DEVICES => Owner::Devices,
        ENCODER => Owner::Encoder,
        Token(number) if TARGETS.contains(&number) => Owner::Target,
        Token(number) if !ENDPOINTS.contains(&number) => Owner::Connection,
        token if datagrams_of(listener_of(token)) == token => Owner::Datagrams,
        _ => Owner::Listener,
    }
}

/// The UDP socket at the address of a listener.
pub fn datagrams_of(listener: Token) -> Token {
    Token(listener.0 + 1)
}

/// The listener at the address of either socket.
pub fn listener_of(token: Token) -> Token {
    Token(token.0 - (token.0 - ENDPOINTS.start) % 2)
}

/// Allocates the tokens of one range, each to one owner at a time.
#[derive(Debug)]
pub struct Tokens {
    step: usize,
    end: usize,
    /// The first number that was never allocated.
    next: usize,
    returned: BTreeSet<usize>,
}

impl Tokens {
    /// Tokens of listeners.
    pub fn of_endpoints() -> Tokens {
        Tokens::new(ENDPOINTS, 2)
    }

    pub fn of_connections() -> Tokens {
        Tokens::new(CONNECTIONS, 1)
    }

    fn new(range: Range<usize>, step: usize) -> Tokens {
        Tokens { step, end: range.end, next: range.start, returned: BTreeSet::new() }
    }

    /// Allocates a token. `None` if all are taken.
    pub fn take(&mut self) -> Option<Token> {
        if let Some(number) = self.returned.pop_first() {
            return Some(Token(number));
        }
        let number = self.next;
        (number + self.step <= self.end).then(|| {
            self.next += self.step;
            Token(number)
        })
    }

    /// Frees the token of a closed descriptor.
    pub fn put_back(&mut self, token: Token) {
        let is_new = token.0 < self.next && self.returned.insert(token.0);
        debug_assert!(is_new, "{token:?} was not allocated");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_that_come_and_go_never_use_up_their_range() {
        let mut tokens = Tokens::of_endpoints();
        let stays = tokens.take().unwrap();
        for _ in 0..100_000 {
            let listener = tokens.take().unwrap();
            assert_ne!(listener, stays);
            assert_eq!(owner(listener), Owner::Listener);
            assert_eq!(owner(datagrams_of(listener)), Owner::Datagrams);
            assert_eq!(listener_of(datagrams_of(listener)), listener);
            tokens.put_back(listener);
        }
    }

    #[test]
    fn a_range_that_is_used_up_allocates_no_token_of_another() {
        let mut tokens = Tokens::of_endpoints();
        let taken: Vec<Token> = std::iter::from_fn(|| tokens.take()).collect();
        assert_eq!(taken.len(), ENDPOINTS.len() / 2);
        assert!(taken.iter().all(|token| owner(*token) == Owner::Listener));
        tokens.put_back(taken[7]);
        assert_eq!((tokens.take(), tokens.take()), (Some(taken[7]), None));
    }

    #[test]
    fn ranges_follow_each_other() {
        let mut connections = Tokens::of_connections();
        assert_eq!(connections.take(), Some(Token(ENDPOINTS.end)));
        assert_eq!(owner(Token(ENDPOINTS.end)), Owner::Connection);
        assert_eq!(owner(Token(ENDPOINTS.end - 1)), Owner::Datagrams);
        let numbers = [0, 1, 2, 3, 4, 5, 6, 7, 15].map(|number| owner(Token(number)));
        let expected = [
            Owner::Signals,
            Owner::Watch,
            Owner::Source,
            Owner::SourceStderr,
            Owner::Threads,
            Owner::Devices,
            Owner::Encoder,
        ];
        assert_eq!(numbers[..7], expected);
        assert_eq!(numbers[7..], [Owner::Target; 2]);
    }
}
