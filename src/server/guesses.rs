//! Wrong tokens: how many are compared, of one client and of all its neighbours together.
//!
//! A client has a few tries, and then waits ([`Turn::RefusedFor`]). One host can be many clients on its
//! own network, so those share tries, too. While these are used up, the requests of clients that have
//! not shown the right token before wait in line, and the token of the first is compared when there is
//! a try again: right and wrong ones wait alike, so that a wait tells nothing. Nobody is refused for the
//! guesses of a neighbour unless the line is full.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::client::{Client, Neighbourhood};
use super::rate_limit::RateLimit;
use super::timers::Timers;
use super::{ConnId, Server, Timer, catch_panic};
use crate::http::{Head, Request, Response};
use crate::web::auth::{TokenCheck, TokenPlace, TokenVerdict, Turn};
use crate::web::proxies::Visitor;
use crate::web::routes;
use crate::work;

/// Wrong tokens of one client that are compared at once, and the time until one more is.
const CLIENT_TRIES: u32 = 5;
const CLIENT_INTERVAL: Duration = Duration::from_secs(12);
/// The same of all neighbours together: phones with an old token do not use them up, and a guesser
/// has 43,200 tries a day, whatever its addresses.
const NEIGHBOURS_TRIES: u32 = 20;
const NEIGHBOURS_INTERVAL: Duration = Duration::from_secs(2);
/// Requests of one neighbourhood in line. The last one gets its answer within 8 s, before
/// [`RESPOND_TIME`](crate::http::RESPOND_TIME) is over.
const LINE_LENGTH: usize = 4;
/// Requests in line altogether: a bound to what they hold, which is a body each.
const WAITING_MAX: usize = 16;
/// Clients that are remembered to have shown the right token. Beyond it the one is forgotten that has
/// not shown it for longest.
const KNOWN_MAX: usize = 1_024;

/// Tokens in each place are counted apart.
type Neighbours = (TokenPlace, Neighbourhood);

#[derive(Debug)]
pub(super) struct Guesses {
    of_client: RateLimit<(TokenPlace, Client)>,
    of_neighbours: RateLimit<Neighbours>,
    /// Clients that have shown the right token, and when they did last.
    known: Timers<Client>,
    /// The first comes first.
    waiting: VecDeque<Waiting>,
}

/// A request whose token is not compared yet.
#[derive(Debug)]
struct Waiting {
    id: ConnId,
    neighbours: Neighbours,
    visitor: Visitor,
    request: Request,
}

impl Guesses {
    pub fn new() -> Guesses {
        Guesses {
            of_client: RateLimit::new(CLIENT_TRIES, CLIENT_INTERVAL),
            of_neighbours: RateLimit::new(NEIGHBOURS_TRIES, NEIGHBOURS_INTERVAL),
            known: Timers::new(),
            waiting: VecDeque::new(),
        }
    }

    pub fn any_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether a token of this client may be compared.
    fn turn(&self, client: Client, place: TokenPlace, now: Instant) -> Turn {
        if let Some(wait) = self.of_client.wait((place, client), now) {
            return Turn::RefusedFor(wait);
        }
        let is_known = self.known.of(client).is_some();
        let neighbourhood = client.neighbourhood().filter(|_| !is_known);
        let Some(neighbours) = neighbourhood.map(|it| (place, it)) else { return Turn::Now };
        let in_line = self.waiting.iter().filter(|it| it.neighbours == neighbours).count();
        match self.of_neighbours.wait(neighbours, now) {
            None if in_line == 0 => Turn::Now,
            _ if in_line < LINE_LENGTH && self.waiting.len() < WAITING_MAX => Turn::Later,
            wait => Turn::RefusedFor(wait.unwrap_or(NEIGHBOURS_INTERVAL)),
        }
    }

    /// As [`turn`](Self::turn), of a client that is the first in line.
    fn turn_of_first(&self, client: Client, place: TokenPlace, now: Instant) -> Turn {
        self.of_client.wait((place, client), now).map_or(Turn::Now, Turn::RefusedFor)
    }

    /// A token of this client was judged.
    pub fn note(&mut self, client: Client, verdict: TokenVerdict, now: Instant) {
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
                if let Some(neighbourhood) = client.neighbourhood() {
                    // Of a client that is known there may be none.
                    let _ = self.of_neighbours.take((place, neighbourhood), now);
                }
            }
            _ => {}
        }
    }

    /// The connection is gone, or has an answer.
    fn forget(&mut self, id: ConnId) {
        self.waiting.retain(|waiting| waiting.id != id);
    }

    fn take_due(&mut self, now: Instant) -> Option<Waiting> {
        let has_try = |it: &Waiting| self.of_neighbours.wait(it.neighbours, now).is_none();
        let due = self.waiting.iter().position(has_try)?;
        self.waiting.remove(due)
    }

    fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let wait = |it: &Waiting| self.of_neighbours.wait(it.neighbours, now).unwrap_or_default();
        self.waiting.iter().map(wait).min().map(|wait| now + wait)
    }

    /// What must hold between any two inputs. Panics if it does not.
    pub fn check_invariants(&self, awaits_response: impl Fn(ConnId) -> bool) {
        assert!(self.waiting.len() <= WAITING_MAX && self.known.len() <= KNOWN_MAX);
        assert!(self.waiting.iter().all(|it| awaits_response(it.id)), "one answer each");
    }
}

impl Server {
    /// Whether a request is welcome, by its head alone.
    pub(super) fn admit(
        &self,
        now: Instant,
        visitor: &Visitor,
        head: &Head,
    ) -> (TokenVerdict, Result<(), Response>) {
        let client = self.client_of(visitor);
        self.admit_with(&|place| self.guesses.turn(client, place, now), visitor, head)
    }

    fn admit_with(
        &self,
        turn: &dyn Fn(TokenPlace) -> Turn,
        visitor: &Visitor,
        head: &Head,
    ) -> (TokenVerdict, Result<(), Response>) {
        let check = self.config.token.as_ref().map(|token| TokenCheck { token, turn });
        routes::admit(head, visitor, &self.config.access, check)
    }

    /// A request whose token is compared [later](Turn::Later).
    pub(super) fn postpone(
        &mut self,
        now: Instant,
        id: ConnId,
        place: TokenPlace,
        visitor: Visitor,
        request: Request,
    ) {
        let Some(neighbourhood) = self.client_of(&visitor).neighbourhood() else { return };
        let neighbours = (place, neighbourhood);
        self.guesses.waiting.push_back(Waiting { id, neighbours, visitor, request });
        self.update_guess_timer(now);
    }

    /// Compares the tokens whose turn has come.
    pub(super) fn compare_postponed(&mut self, now: Instant) {
        while let Some(Waiting { id, visitor, request, .. }) = self.guesses.take_due(now) {
            work::step();
            match catch_panic(|| self.answer_postponed(now, id, &visitor, &request)) {
                Some(Some(response)) => {
                    self.with_connection(now, id, |http| http.respond(response));
                }
                Some(None) => {}
                None => self.request_failed(now, id, visitor.address),
            }
        }
        self.update_guess_timer(now);
    }

    fn answer_postponed(
        &mut self,
        now: Instant,
        id: ConnId,
        visitor: &Visitor,
        request: &Request,
    ) -> Option<Response> {
        let client = self.client_of(visitor);
        let turn = |place| self.guesses.turn_of_first(client, place, now);
        let (verdict, admitted) = self.admit_with(&turn, visitor, &request.head);
        self.guesses.note(client, verdict, now);
        match admitted {
            Ok(()) => self.respond(now, id, visitor, request),
            Err(refusal) => Some(refusal),
        }
    }

    /// A connection waits for no comparison any more.
    pub(super) fn forget_postponed(&mut self, now: Instant, id: ConnId) {
        if self.guesses.any_waiting() {
            self.guesses.forget(id);
            self.update_guess_timer(now);
        }
    }

    fn update_guess_timer(&mut self, now: Instant) {
        self.timers.set(Timer::Guess, self.guesses.poll_timeout(now));
    }
}
