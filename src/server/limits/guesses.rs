//! Wrong tokens: how many are compared, of one client and of all its neighbours together.
//!
//! A client has a few tries, and then waits ([`TokenVerdict::RefusedFor`]). One host can be many clients on its
//! own network, so those share tries, too. While these are used up, a request of a client that has not
//! shown the right token before takes the next try that comes back, and waits for it: right and wrong
//! tokens wait alike, so that a wait tells nothing. Nobody is refused for the guesses of a neighbour
//! unless too many of them wait.

use std::time::{Duration, Instant};

use super::client::{Client, Neighbourhood};
use super::rate_limit::RateLimit;
use crate::server::timers::Timers;
use crate::web::auth::{Credential, Token, TokenPlace, TokenVerdict};

/// Wrong tokens of one client that are compared at once, and the time until one more is.
const CLIENT_TRIES: u32 = 5;
const CLIENT_INTERVAL: Duration = Duration::from_secs(12);
/// The same of all neighbours together: phones with an old token do not use them up, and a guesser
/// has 43,200 tries a day, whatever its addresses.
const NEIGHBOURS_TRIES: u32 = 20;
const NEIGHBOURS_INTERVAL: Duration = Duration::from_secs(2);
/// How long a request waits for a try at most, so that four of a neighbourhood wait.
const MOST_WAIT: Duration = Duration::from_secs(8);
/// Clients that are remembered to have shown the right token. Beyond it the one is forgotten that has
/// not shown it for longest.
const KNOWN_MAX: usize = 1_024;

/// When a token is compared, after wrong ones.
enum Turn {
    Now,
    Later(Instant),
    RefusedFor(Duration),
}

#[derive(Debug)]
pub(crate) struct Guesses {
    /// Tokens in each place are counted apart.
    of_client: RateLimit<(TokenPlace, Client)>,
    of_neighbours: RateLimit<(TokenPlace, Neighbourhood)>,
    /// Clients that have shown the right token, and when they did last.
    known: Timers<Client>,
}

impl Guesses {
    pub fn new() -> Guesses {
        Guesses {
            of_client: RateLimit::new(CLIENT_TRIES, CLIENT_INTERVAL),
            of_neighbours: RateLimit::new(NEIGHBOURS_TRIES, NEIGHBOURS_INTERVAL),
            known: Timers::new(),
        }
    }

    /// Decides on the token that a request of this client shows, if it needs one. A request that
    /// [has waited](TokenVerdict::Postponed) is decided now, unless the client has used up its own tries
    /// meanwhile.
    ///
    /// Whoever has to wait does so with the right token, too: an answer would tell it from the wrong
    /// ones.
    pub fn judge(
        &mut self,
        client: Client,
        token: &Token,
        credential: &Credential,
        waited: bool,
        now: Instant,
    ) -> TokenVerdict {
        let (place, text) = match credential {
            Credential::NotNeeded => return TokenVerdict::NotNeeded,
            Credential::Missing => return TokenVerdict::Missing,
            Credential::Shown { place, text } => (*place, text),
        };
        match self.turn(client, place, waited, now) {
            Turn::RefusedFor(wait) => TokenVerdict::RefusedFor(wait),
            Turn::Later(at) => TokenVerdict::Postponed(at),
            Turn::Now if token.is_shown(text) => {
                self.note_right(client, now);
                TokenVerdict::Right
            }
            Turn::Now => {
                self.note_wrong(client, place, waited, now);
                TokenVerdict::Wrong(place)
            }
        }
    }

    fn turn(&mut self, client: Client, place: TokenPlace, waited: bool, now: Instant) -> Turn {
        if let Some(wait) = self.of_client.wait((place, client), now) {
            return Turn::RefusedFor(wait);
        }
        let is_known = waited || self.known.of(client).is_some();
        let Some(neighbourhood) = client.neighbourhood().filter(|_| !is_known) else {
            return Turn::Now;
        };
        let neighbours = (place, neighbourhood);
        if self.of_neighbours.wait(neighbours, now).is_none() {
            return Turn::Now;
        }
        match self.of_neighbours.take_within(neighbours, now, MOST_WAIT) {
            Ok(wait) => Turn::Later(now + wait),
            // Then there is a try again that comes back soon enough.
            Err(wait) => Turn::RefusedFor(wait - MOST_WAIT),
        }
    }

    fn note_right(&mut self, client: Client, now: Instant) {
        if client.neighbourhood().is_some() {
            self.known.set(client, Some(now));
            if self.known.len() > KNOWN_MAX {
                self.known.take_first();
            }
        }
    }

    fn note_wrong(&mut self, client: Client, place: TokenPlace, waited: bool, now: Instant) {
        // It was compared, so there is one to take.
        let _ = self.of_client.take((place, client), now);
        if let Some(neighbourhood) = client.neighbourhood().filter(|_| !waited) {
            // Of a client that is known there may be none.
            let _ = self.of_neighbours.take((place, neighbourhood), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Credential<'_> {
        Credential::Shown { place: TokenPlace::Bearer, text: text.into() }
    }

    #[test]
    fn a_client_without_tries_is_refused_with_the_right_token_too() {
        let (now, token) = (Instant::now(), Token::parse("open-sesame").unwrap());
        let client = Client::at("10.0.0.1".parse().unwrap(), []);
        let mut guesses = Guesses::new();
        let mut judge = |credential| guesses.judge(client, &token, &credential, false, now);
        assert_eq!(judge(shown("open-sesame")), TokenVerdict::Right);
        for _ in 0..CLIENT_TRIES {
            assert_eq!(judge(Credential::Missing), TokenVerdict::Missing, "costs no try");
            assert_eq!(judge(shown("some-other")), TokenVerdict::Wrong(TokenPlace::Bearer));
        }
        assert!(matches!(judge(shown("open-sesame")), TokenVerdict::RefusedFor(_)));
        assert_eq!(judge(Credential::NotNeeded), TokenVerdict::NotNeeded);
    }
}
