//! Wrong tokens: how many are compared, of one client and of all its neighbours together.
//!
//! A client has a few tries, and then waits ([`Turn::RefusedFor`]). One host can be many clients on its
//! own network, so those share tries, too. While these are used up, a request of a client that has not
//! shown the right token before takes the next try that comes back, and waits for it: right and wrong
//! tokens wait alike, so that a wait tells nothing. Nobody is refused for the guesses of a neighbour
//! unless too many of them wait.

use std::time::{Duration, Instant};

use super::client::{Client, Neighbourhood};
use super::rate_limit::RateLimit;
use crate::server::timers::Timers;
use crate::web::auth::{TokenPlace, TokenVerdict, Turn};

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

    /// When a token of this client is compared. The one of a request that [has waited](Turn::Later) is
    /// compared now, unless the client has used up its own tries meanwhile.
    pub fn turn(&mut self, client: Client, place: TokenPlace, waited: bool, now: Instant) -> Turn {
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

    /// A token of this client was judged, whose request [has waited](Turn::Later) or not.
    pub fn note(&mut self, client: Client, verdict: TokenVerdict, waited: bool, now: Instant) {
        match verdict {
            TokenVerdict::Right if client.neighbourhood().is_some() => {
                self.known.set(client, Some(now));
                if self.known.len() > KNOWN_MAX {
                    self.known.take_first();
                }
            }
            TokenVerdict::Wrong(place) => {
                // It was compared, so there is one to take.
                let _ = self.of_client.take((place, client), now);
                if let Some(neighbourhood) = client.neighbourhood().filter(|_| !waited) {
                    // Of a client that is known there may be none.
                    let _ = self.of_neighbours.take((place, neighbourhood), now);
                }
            }
            _ => {}
        }
    }
}
