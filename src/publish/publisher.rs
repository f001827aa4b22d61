//! Publishes to one media server: makes, keeps and deletes its session, and tries again.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::call::{Call, Outcome};
use super::pauses::Pauses;
use super::whip;
use super::{BearerToken, Problem, PublishCause, PublishCommand, PublishEvent, Target};
use crate::http::{Method, Url};

/// The longest Retry-After that is respected.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);
/// The longest that a shutdown waits for a media server.
pub const END_LIMIT: Duration = Duration::from_secs(1);
/// The attempts to delete a session before it is left to the server.
const DELETE_ATTEMPTS: u32 = 3;

/// Publishes to one media server.
///
/// An attempt first deletes the stale session of the last attempt, if any, and then makes a new one. So
/// there is never a second session that we know of, not even one of an earlier process of this device, if
/// the driver has stored [`session`](Publisher::session).
pub struct Publisher {
    target: Target,
    /// Announced addresses, which lead to this device from outside.
    announced: Vec<IpAddr>,
    phase: PublisherPhase,
    /// The session that the server has, or may still have.
    session: Option<Session>,
    pauses: Pauses,
    /// Why the last attempt failed, if none was live since.
    problem: Option<Problem>,
    /// Shutting down, by this time at the latest.
    end: Option<Instant>,
    /// Sessions that were live.
    pub sessions: u64,
}

enum PublisherPhase {
    /// Until the next attempt.
    Waiting {
        until: Instant,
    },
    Deleting(Box<Call>),
    /// An offer is needed.
    Offering,
    Posting(Box<Call>),
    /// The server has answered, and the media connection is being made.
    Connecting,
    Live {
        since: Instant,
    },
    /// Shut down.
    Ended,
}

/// A session at the media server (RFC 9725, section 4.2).
struct Session {
    url: Url,
    /// The address of the URL's host, if the offer went to the same host.
    known: Option<SocketAddr>,
    delete_attempts: u32,
}

/// What a publisher wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum PublisherEffect {
    Command(PublishCommand),
    /// Make an offer, and pass it to [`Publisher::post`] at once.
    MakeOffer,
    /// Connect with this answer of the server, in SDP. Call [`Publisher::connect_failed`] if it is unusable.
    Connect(String),
}

/// The state of a publisher, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublisherStatus {
    /// `waiting`, `connecting`, `live` or `ended`.
    pub state: &'static str,
    pub live_since: Option<Instant>,
    /// Why it is not live, if an attempt has failed.
    pub problem: Option<Problem>,
    pub retry_at: Option<Instant>,
}

impl Publisher {
    /// A publisher whose first attempt is due at once. `announced` are addresses that lead to this device from
    /// outside; `left` is the stale session of an earlier process, if any.
    pub fn new(
        target: Target,
        announced: Vec<IpAddr>,
        left: Option<Url>,
        seed: [u8; 32],
        now: Instant,
    ) -> Publisher {
        Publisher {
            target,
            announced,
            phase: PublisherPhase::Waiting { until: now },
            session: left.map(|url| Session { url, known: None, delete_attempts: 0 }),
            pauses: Pauses::new(seed),
            problem: None,
            end: None,
            sessions: 0,
        }
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The session to delete sooner or later, even if this process is killed.
    pub fn session(&self) -> Option<&Url> {
        self.session.as_ref().map(|session| &session.url)
    }

    pub fn status(&self) -> PublisherStatus {
        let (state, live_since, retry_at) = match &self.phase {
            PublisherPhase::Waiting { until } => ("waiting", None, Some(*until)),
            PublisherPhase::Live { since } => ("live", Some(*since), None),
            PublisherPhase::Ended => ("ended", None, None),
            _ => ("connecting", None, None),
        };
        PublisherStatus { state, live_since, problem: self.problem.clone(), retry_at }
    }

    /// Handles an event of the connection.
    pub fn handle_event(&mut self, now: Instant, event: PublishEvent) {
        if let PublisherPhase::Deleting(call) | PublisherPhase::Posting(call) = &mut self.phase {
            call.handle_event(now, event);
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.end.is_some_and(|end| end <= now) {
            // Its connection goes with the process.
            self.phase = PublisherPhase::Ended;
        }
        match &mut self.phase {
            PublisherPhase::Waiting { until } if *until <= now => self.begin(now),
            PublisherPhase::Deleting(call) | PublisherPhase::Posting(call) => {
                call.handle_timeout(now)
            }
            _ => {}
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Instant> {
        let next = match &self.phase {
            PublisherPhase::Waiting { until } => Some(*until),
            PublisherPhase::Deleting(call) | PublisherPhase::Posting(call) => call.poll_timeout(),
            PublisherPhase::Offering | PublisherPhase::Connecting | PublisherPhase::Live { .. } => {
                None
            }
            PublisherPhase::Ended => return None,
        };
        next.into_iter().chain(self.end).min()
    }

    /// The next effect, in order, or `None` until there is another event.
    pub fn poll_effect(&mut self, now: Instant) -> Option<PublisherEffect> {
        match &mut self.phase {
            PublisherPhase::Deleting(call) | PublisherPhase::Posting(call) => {
                if let Some(command) = call.poll_command() {
                    return Some(PublisherEffect::Command(command));
                }
                let outcome = call.take_outcome()?;
                match self.phase {
                    PublisherPhase::Posting(_) => self.posted(now, outcome),
                    _ => {
                        self.deleted(now, outcome);
                        self.poll_effect(now)
                    }
                }
            }
            PublisherPhase::Offering => Some(PublisherEffect::MakeOffer),
            _ => None,
        }
    }

    /// Posts the offer that [`PublisherEffect::MakeOffer`] asked for.
    pub fn post(&mut self, now: Instant, offer: String) {
        debug_assert!(matches!(self.phase, PublisherPhase::Offering), "an offer without MakeOffer");
        let url = self.target.url.clone();
        self.phase = PublisherPhase::Posting(self.call(Method::Post, url, offer, None, now));
    }

    /// The media connection is up.
    pub fn connected(&mut self, now: Instant) {
        if matches!(self.phase, PublisherPhase::Connecting) {
            self.phase = PublisherPhase::Live { since: now };
            self.problem = None;
            self.sessions += 1;
        }
    }

    /// Notes why the media connection will not come up. The attempt still runs until its timeout.
    pub fn note_problem(&mut self, why: PublishCause) {
        if matches!(self.phase, PublisherPhase::Connecting) {
            self.problem = Some(why.into());
        }
    }

    /// The media connection could not be made, or has ended.
    pub fn connect_failed(&mut self, now: Instant, why: PublishCause) {
        let live_for = match self.phase {
            PublisherPhase::Connecting => Duration::ZERO,
            PublisherPhase::Live { since } => now.saturating_duration_since(since),
            _ => return,
        };
        self.fail(now, live_for, None, why.into());
    }

    /// Deletes the session, if there is one, and ends. A session that is being made is waited for: only the
    /// answer names it. Takes [`END_LIMIT`] at most.
    pub fn shut_down(&mut self, now: Instant) {
        self.end = Some(now + END_LIMIT);
        match self.phase {
            PublisherPhase::Deleting(_) | PublisherPhase::Posting(_) | PublisherPhase::Ended => {}
            _ => self.begin(now),
        }
    }

    pub fn is_live(&self) -> bool {
        matches!(self.phase, PublisherPhase::Live { .. })
    }

    /// Whether [`shut_down`](Self::shut_down) is complete.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, PublisherPhase::Ended)
    }

    /// Deletes the session that is there, then makes a new one.
    fn begin(&mut self, now: Instant) {
        self.phase = match &mut self.session {
            Some(session) => {
                session.delete_attempts += 1;
                let (url, known) = (session.url.clone(), session.known);
                PublisherPhase::Deleting(self.call(Method::Delete, url, String::new(), known, now))
            }
            None if self.end.is_some() => PublisherPhase::Ended,
            None => PublisherPhase::Offering,
        };
    }

    fn call(
        &self,
        method: Method,
        url: Url,
        body: String,
        known: Option<SocketAddr>,
        now: Instant,
    ) -> Box<Call> {
        let Publisher { target, announced, .. } = self;
        Box::new(Call::new(target, announced, method, url, body, known, now))
    }

    fn deleted(&mut self, now: Instant, outcome: Outcome) {
        // Whatever the answer is, the server has deleted the session or never will. A session at an address
        // of this device is never requested.
        let never = |why: &Problem| why.cause == PublishCause::LeadsToThisDevice;
        let is_settled = outcome.head.is_some() || outcome.body.as_ref().is_err_and(never);
        let attempts = self.session.as_ref().map_or(0, |session| session.delete_attempts);
        if is_settled || attempts >= DELETE_ATTEMPTS {
            self.session = None;
        }
        match outcome.body {
            Err(why) if !is_settled && self.end.is_none() => {
                self.fail(now, Duration::ZERO, None, why)
            }
            // Shutdown leaves no time to try again.
            Err(_) if !is_settled => self.phase = PublisherPhase::Ended,
            _ => self.begin(now),
        }
    }

    fn posted(&mut self, now: Instant, outcome: Outcome) -> Option<PublisherEffect> {
        let token = self.target.token.as_ref().map(BearerToken::text);
        // A path may name a private stream, and a query may contain a key.
        let parts = [&self.target.url, &outcome.url].map(|url| url.target.split('?'));
        let parts = parts.into_iter().flatten().filter(|part| !["", "/"].contains(part));
        let secrets: Vec<&str> = token.into_iter().chain(parts).collect();
        let answer = whip::read_answer(&outcome, &self.target, &secrets);
        let url = answer.session;
        self.session = url.map(|url| Session {
            known: outcome.address.filter(|_| url.authority == outcome.url.authority),
            url,
            delete_attempts: 0,
        });
        match answer.sdp {
            _ if self.end.is_some() => self.begin(now),
            Ok(sdp) => {
                self.phase = PublisherPhase::Connecting;
                return Some(PublisherEffect::Connect(sdp));
            }
            Err(why) => self.fail(now, Duration::ZERO, answer.retry_after, why),
        }
        self.poll_effect(now)
    }

    fn fail(
        &mut self,
        now: Instant,
        live_for: Duration,
        retry_after: Option<Duration>,
        why: Problem,
    ) {
        let wanted = retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
        let pause = self.pauses.pause_after(live_for).max(wanted);
        self.problem = Some(why);
        self.phase = PublisherPhase::Waiting { until: now + pause };
    }
}
