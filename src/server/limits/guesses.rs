//! Limits how many wrong tokens are compared, for each client and for its neighbourhood.
//!
//! A client has a few tries, and then waits ([`TokenVerdict::RefusedFor`]). One host can be many clients on its
//! own network, so those share further tries. While these are used up, a request of a client that has not shown
//! the right token before waits for the next try. Right and wrong tokens wait equally long, so that the wait
//! reveals nothing. Guesses of a neighbour refuse nobody unless too many requests wait.

use std::time::{Duration, Instant};

use super::client::{Client, Neighbourhood};
use super::rate_limit::RateLimit;
use crate::server::timers::Timers;
use crate::web::auth::{Credential, Token, TokenPlace, TokenVerdict};

/// Wrong tokens of one client that are compared in a burst, and the time until one more is.
const CLIENT_TRIES: u32 = 5;
const CLIENT_INTERVAL: Duration = Duration::from_secs(12);
/// The same for a neighbourhood: phones with an old token do not use them up, and an attacker has 43,200 tries
/// per day, whatever its addresses.
const NEIGHBOURS_TRIES: u32 = 20;
const NEIGHBOURS_INTERVAL: Duration = Duration::from_secs(2);
/// The longest wait for a try, so that at most four requests of a neighbourhood wait.
const MOST_WAIT: Duration = Duration::from_secs(8);
/// The most clients that are remembered for having shown the right token. The one that showed it longest ago is
/// forgotten first.
const KNOWN_MAX: usize = 1_024;

/// When a token is compared.
enum Turn {
    Now,
    Later(Instant),
    RefusedFor(Duration),
}

#[derive(Debug)]
pub(crate) struct Guesses {
    /// Each place of a token has its own count.
    of_client: RateLimit<(TokenPlace, Client)>,
    of_neighbours: RateLimit<(TokenPlace, Neighbourhood)>,
    /// The clients that have shown the right token, and when they last did.
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
    /// The right token waits, too: otherwise the response would tell it from wrong ones.
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
            // A known client may have none to take.
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
